
:
s2a*u27b+
nodeport.openyurt.io/listenΓ©β€¨,-pΓ©,pC

httpsTCP»

dns5(εκ10.0.0.1"NodePort’10.0.0.1’::1‚ϊ"kept"