

pa*u27ØZ
ci:$
KUBERNETES_SERVICE_HOST	10.96.0.1:,
KUBERNETES_SERVICE_PORT
status.hostIP
ci:

OTHERx¢4
ci:,
KUBERNETES_SERVICE_PORT
status.hostIP’.
,
ci:$
KUBERNETES_SERVICE_HOST	10.96.0.1	
Running