//! A real kube-proxy reads Services and EndpointSlices through the hub: its rules have the endpoints of the node or of
//! its pool and no other, follow the annotation, and are made again without the cloud.

use std::fs::File;
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Result, ensure};
use testkit::cluster::{Cut, eventually};

use crate::rig::{MINUTE, Rig};

const WORKLOAD: &str = "
apiVersion: v1
kind: ServiceAccount
metadata: {name: kube-proxy, namespace: kube-system}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: kube-proxy}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: 'system:node-proxier'}
subjects: [{kind: ServiceAccount, name: kube-proxy, namespace: kube-system}]
---
apiVersion: v1
kind: Service
metadata: {name: near, namespace: story, annotations: {openyurt.io/topologyKeys: kubernetes.io/hostname}}
spec: {ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: hidden, namespace: story, annotations: {svc.openyurt.io/discard: 'true'}}
spec: {type: LoadBalancer, ports: [{port: 80, targetPort: 8080, nodePort: 30999}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: near-1, namespace: story, labels: {kubernetes.io/service-name: near}}
addressType: IPv4
ports: [{name: '', port: 8080, protocol: TCP}]
endpoints:
- {addresses: [10.9.0.1], conditions: {ready: true}, nodeName: NODE}
- {addresses: [10.9.0.2], conditions: {ready: true}, nodeName: far-away, zone: elsewhere}
- {addresses: [10.9.0.3], conditions: {ready: true}, nodeName: neighbour, zone: here}
";
/// As OpenYurt has it, with what is read of it.
const NODE_POOLS: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: nodepools.apps.openyurt.io}
spec:
  group: apps.openyurt.io
  names: {kind: NodePool, listKind: NodePoolList, plural: nodepools, singular: nodepool}
  scope: Cluster
  versions:
  - name: v1beta2
    served: true
    storage: true
    subresources: {status: {}}
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: read-node-pools}
rules: [{apiGroups: [apps.openyurt.io], resources: [nodepools], verbs: [get, list, watch]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: read-node-pools}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: read-node-pools}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: 'system:nodes'}]
";
const NODE_POOL: &str = "
apiVersion: apps.openyurt.io/v1beta2
kind: NodePool
metadata: {name: shop}
spec: {type: Edge}
";
/// Endpoints, as the rules lead to them: a chain that leads nowhere any more keeps its name for a while.
const NEAR: &str = "dnat to 10.9.0.1:8080";
const FAR: &str = "dnat to 10.9.0.2:8080";
const NEIGHBOUR: &str = "dnat to 10.9.0.3:8080";
const HUB: &str = "dnat to 169.254.2.1:10268";
const NODE_PORT: &str = "30999";
const ANNOTATION: &str = "openyurt.io/topologyKeys";

/// Ends with the act.
struct Proxy(Child);

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn play(rig: &Rig) -> Result<()> {
    rig.cluster.apply(&WORKLOAD.replace("NODE", rig.cluster.node_name()))?;
    write_kubeconfig(rig)?;
    let proxy = start(rig)?;
    rules(rig, "near alone", &[NEAR, HUB], &[FAR, NEIGHBOUR, NODE_PORT])?;
    rig.say("kube-proxy", "its rules have this node's endpoint and the hub's, not the far one, and no hidden Service");
    annotate(rig, &format!("{ANNOTATION}-"))?;
    rules(rig, "far as well", &[NEAR, FAR, NEIGHBOUR], &[])?;
    annotate(rig, &format!("{ANNOTATION}=kubernetes.io/hostname"))?;
    rules(rig, "near alone again", &[NEAR], &[FAR, NEIGHBOUR])?;
    annotate(rig, &format!("{ANNOTATION}=openyurt.io/nodepool"))?;
    label(rig, "topology.kubernetes.io/zone=here")?;
    rules(rig, "the zone's", &[NEAR, NEIGHBOUR, HUB], &[FAR, NODE_PORT])?;
    rig.say("kube-proxy", "its rules follow the Service's annotation, from none to the node and the zone");
    join_pool(rig)?;
    members(rig, "far-away")?;
    rules(rig, "the NodePool's", &[NEAR, FAR, HUB], &[NEIGHBOUR, NODE_PORT])?;
    members(rig, "neighbour")?;
    rules(rig, "the NodePool's new members", &[NEAR, NEIGHBOUR, HUB], &[FAR, NODE_PORT])?;
    rig.say("kube-proxy", "its rules have the members of the NodePool, and follow them");
    rig.cut(Cut::SilentDrop)?;
    rig.wait_link(false)?;
    drop(proxy);
    let nft = rig.cluster.edge_command("nft").args(["delete", "table", "ip", "kube-proxy"]).status()?;
    ensure!(nft.success(), "nft: {nft}");
    let proxy = start(rig)?;
    rules(rig, "the pool's, offline", &[NEAR, NEIGHBOUR, HUB], &[FAR, NODE_PORT])?;
    rig.say("kube-proxy restarted offline", "it has made the same rules again");
    rig.restore(Cut::SilentDrop)?;
    drop(proxy);
    label(rig, "apps.openyurt.io/nodepool-")?;
    label(rig, "topology.kubernetes.io/zone-")
}

fn join_pool(rig: &Rig) -> Result<()> {
    rig.cluster.apply(NODE_POOLS)?;
    rig.cluster.kubectl(&["wait", "--for=condition=Established", "crd/nodepools.apps.openyurt.io", "--timeout=60s"])?;
    rig.cluster.apply(NODE_POOL)?;
    label(rig, "apps.openyurt.io/nodepool=shop")
}

/// Of the NodePool: this node and one other.
fn members(rig: &Rig, other: &str) -> Result<()> {
    let status = format!(r#"{{"status":{{"nodes":["{}","{other}"]}}}}"#, rig.cluster.node_name());
    rig.cluster.kubectl(&["patch", "nodepool", "shop", "--subresource=status", "--type=merge", "-p", &status]).map(drop)
}

fn write_kubeconfig(rig: &Rig) -> Result<()> {
    let token = rig.cluster.token("kube-system", "kube-proxy")?;
    let ca = rig.cluster.ca().display().to_string();
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: hub\n\
         contexts: [{{name: hub, context: {{cluster: hub, user: proxy}}}}]\n\
         clusters: [{{name: hub, cluster: {{server: 'https://169.254.2.1:10268', certificate-authority: {ca}}}}}]\n\
         users: [{{name: proxy, user: {{token: {token}}}}}]\n"
    );
    Ok(std::fs::write(rig.cluster.dir().join("kube-proxy.conf"), text)?)
}

fn start(rig: &Rig) -> Result<Proxy> {
    let dir = rig.cluster.dir();
    let log = File::options().create(true).append(true).open(dir.join("log/kube-proxy.log"))?;
    let mut command = rig.cluster.edge_command(&dir.join("bin/lab").to_string_lossy());
    command.args([
        "kube-proxy",
        "--proxy-mode=nftables",
        &format!("--kubeconfig={}", dir.join("kube-proxy.conf").display()),
        &format!("--hostname-override={}", rig.cluster.node_name()),
        // The machine's own limits are not the test's to change.
        "--conntrack-max-per-core=0",
        "--conntrack-tcp-timeout-established=0",
        "--conntrack-tcp-timeout-close-wait=0",
    ]);
    Ok(Proxy(command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?))
}

fn annotate(rig: &Rig, change: &str) -> Result<()> {
    rig.cluster.kubectl(&["annotate", "service", "near", "-n", "story", "--overwrite", change]).map(drop)
}

fn label(rig: &Rig, change: &str) -> Result<()> {
    rig.cluster.kubectl(&["label", "node", rig.cluster.node_name(), "--overwrite", change]).map(drop)
}

/// Waits until kube-proxy's rules name all of `there` and none of `gone`.
fn rules(rig: &Rig, what: &str, there: &[&str], gone: &[&str]) -> Result<Duration> {
    let started = std::time::Instant::now();
    eventually(what, MINUTE, || {
        let output = rig.cluster.edge_command("nft").args(["list", "table", "ip", "kube-proxy"]).output()?;
        let rules = String::from_utf8_lossy(&output.stdout);
        let has = |word: &&str| rules.contains(*word);
        ensure!(there.iter().all(has) && !gone.iter().any(has), "{rules}");
        Ok(started.elapsed())
    })
}
