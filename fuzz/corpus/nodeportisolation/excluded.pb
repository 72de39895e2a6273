
2
s2a*u27b#
nodeport.openyurt.io/listen*,-pG

httpsTCP»

dns5(åê10.0.0.1"LoadBalancer’10.0.0.1’::1‚ú"kept"