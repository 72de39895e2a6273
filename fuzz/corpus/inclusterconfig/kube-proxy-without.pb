


kube-proxykube-system*u27
otherkubeconfig: x