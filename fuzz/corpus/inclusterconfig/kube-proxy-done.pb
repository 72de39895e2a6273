


kube-proxykube-system*u27
config.conf#kubeconfig: x
