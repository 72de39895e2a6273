

pa*u27(!
ci:
KUBERNETES_SERVICE_HOST
d