"""Lists and watches the ConfigMaps of its namespace, and prints their names once it has them."""

from pathlib import Path

from kubernetes import client, config, watch

config.load_incluster_config()
namespace = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace").read_text()
api = client.CoreV1Api()
found = api.list_namespaced_config_map(namespace)
names = sorted(item.metadata.name for item in found.items)
print("synced", len(names), *names, flush=True)
version = found.metadata.resource_version
for event in watch.Watch().stream(api.list_namespaced_config_map, namespace, resource_version=version):
    print(event["type"], event["object"].metadata.name, flush=True)
