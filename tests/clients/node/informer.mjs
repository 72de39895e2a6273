// Lists and watches the ConfigMaps of its namespace by an informer, and prints their names once it has them.

import { readFileSync } from 'node:fs';
import * as k8s from '@kubernetes/client-node';

const namespace = readFileSync('/var/run/secrets/kubernetes.io/serviceaccount/namespace', 'utf8');
const config = new k8s.KubeConfig();
config.loadFromCluster();
const api = config.makeApiClient(k8s.CoreV1Api);
const informer = k8s.makeInformer(config, `/api/v1/namespaces/${namespace}/configmaps`, () =>
  api.listNamespacedConfigMap({ namespace }),
);
informer.on('error', (error) => {
  console.error(error);
  setTimeout(() => informer.start(), 1000);
});
await informer.start();
const names = informer.list().map((configMap) => configMap.metadata.name).sort();
console.log('synced', names.length, ...names);
