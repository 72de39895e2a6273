"""Watches the ConfigMaps of its namespace, without a list before, and prints what happens to them."""

from pathlib import Path

from kubernetes import client, config, watch

config.load_incluster_config()
namespace = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace").read_text()
api = client.CoreV1Api()
for event in watch.Watch().stream(api.list_namespaced_config_map, namespace):
    print(event["type"], event["object"].metadata.name, flush=True)
