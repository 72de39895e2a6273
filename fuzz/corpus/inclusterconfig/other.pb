


kube-proxya*u27
config.confkubeconfig: x