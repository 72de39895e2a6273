
E

kubernetesdefault*u27Z(
kubernetes.io/service-name
kubernetes
10.1.1.12m1
httpsTCP«2"IPv6‚ú"kept"