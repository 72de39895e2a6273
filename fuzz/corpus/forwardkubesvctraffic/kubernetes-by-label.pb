
<
xdefault*u27Z(
kubernetes.io/service-name
kubernetes
httpsTCP«2"IPv4‚ú"kept"