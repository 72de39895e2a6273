


kube-proxykube-system*u27K
config.conf<a: b
clientConnection:
  kubeconfig: /x
	kubeconfig: ""
c: d 
kubeconfig.confkubeconfig: y