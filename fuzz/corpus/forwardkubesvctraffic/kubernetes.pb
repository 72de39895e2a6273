


kubernetesdefault*u27
10.1.1.12m1
10.1.1.12m2
httpsTCP«2"IPv4‚ú"kept"