
.
s1a*u27b
svc.openyurt.io/discardtrue