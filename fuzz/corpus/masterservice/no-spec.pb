


kubernetesdefault*u27