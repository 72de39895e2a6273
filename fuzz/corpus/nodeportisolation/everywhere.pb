
/
s2a*u27b 
nodeport.openyurt.io/listen*C

httpsTCP»

dns5(åê10.0.0.1"NodePort’10.0.0.1’::1‚ú"kept"