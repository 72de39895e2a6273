
1
x-tunnel-server-internal-svckube-system*u27D

httpsTCP»

dns5(åê10.0.0.1"	ClusterIP’10.0.0.1’::1‚ú"kept"