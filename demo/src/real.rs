//! The real stage: testkit's cluster with etcd, kube-apiserver, controllers, scheduler,
//! containerd and kubelet, and the sample Pod that the scheduler puts on the node.
//!
//! What kubelet, containerd and Pod do, they do themselves; this only gives them the
//! workload, kills, and looks. The cluster's guardian removes everything.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use testkit::cluster::{Cluster, Cut, NAMESPACE, Options, SAMPLE_PORT, eventually, sample_workload};
use tokio::runtime::Handle;

use crate::hub::Flags;
use crate::report::time;
use crate::stage::{Stage, Told};

const MINUTE: Duration = Duration::from_secs(60);
const CUT: Cut = Cut::SilentDrop;

/// Somebody who may write, and what OpenYurt grants nodes: reading the hub's own ConfigMap.
const RIGHTS: &str = "
apiVersion: v1
kind: ServiceAccount
metadata: {name: operator, namespace: story}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: operator, namespace: story}
rules: [{apiGroups: [''], resources: [configmaps], verbs: [create]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: operator, namespace: story}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: operator}
subjects: [{kind: ServiceAccount, name: operator, namespace: story}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: yurt-hub-cfg, namespace: kube-system}
rules: [{apiGroups: [''], resources: [configmaps], resourceNames: [yurt-hub-cfg], verbs: [get, list, watch]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: yurt-hub-cfg, namespace: kube-system}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: yurt-hub-cfg}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: 'system:nodes'}]
";

pub struct Real {
    handle: Handle,
    hub: PathBuf,
    flags: Flags,
    ca_pem: String,
    version: String,
    pod: Option<Pod>,
    cluster: Cluster,
}

/// The sample's container that runs, as containerd names it, and its Pod's address.
struct Pod {
    container: String,
    address: IpAddr,
}

impl Real {
    /// Starts the control plane and containerd, and applies the workload.
    pub fn raise(handle: Handle, hub: &Path) -> Result<Real> {
        let cluster = Cluster::start(Options { with_node: true, ..Options::default() })?;
        cluster.apply(&format!("{}---{RIGHTS}", sample_workload(cluster.node_name())))?;
        let version: Value = serde_json::from_str(&cluster.kubectl(&["get", "--raw", "/version"])?)?;
        let flags = Flags {
            node_name: cluster.node_name().to_owned(),
            server: cluster.server_url(),
            client_certificate: cluster.node_cert(),
            client_key: cluster.node_key(),
            authority: cluster.ca(),
            serving_certificate: cluster.serving_cert(),
            serving_key: cluster.serving_key(),
            root: cluster.dir().join("hub"),
        };
        let ca_pem = fs::read_to_string(cluster.ca())?;
        let version = version["gitVersion"].as_str().unwrap_or("of unknown version").to_owned();
        Ok(Real { handle, hub: hub.to_owned(), flags, ca_pem, version, pod: None, cluster })
    }

    /// The sample's container that runs now, asked without the cloud.
    fn running(&self) -> Result<Pod> {
        let containers = self.cluster.ctr(&["containers", "ls"])?;
        let tasks = self.cluster.ctr(&["tasks", "ls"])?;
        let runs = |id: &&str| tasks.lines().any(|line| line.starts_with(*id) && line.contains("RUNNING"));
        let samples = containers.lines().filter(|line| line.contains("/sample:1"));
        let container = samples.filter_map(|line| line.split_whitespace().next()).find(runs);
        let container = container.context("no container of the sample runs")?.to_owned();
        let output = self.cluster.pod_command(&container, "ip")?.args(["-4", "-o", "addr", "show", "dev", "eth0"]).output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let address = text.split_whitespace().skip_while(|word| *word != "inet").nth(1).context("the Pod has no address")?;
        let address = address.split('/').next().unwrap_or_default().parse()?;
        Ok(Pod { container, address })
    }
}

impl Stage for Real {
    fn cloud(&self) -> String {
        format!("kube-apiserver {}, {}", self.version, self.cluster.server_url())
    }

    fn way_of_cutting(&self) -> &'static str {
        "the cloud's packets are dropped"
    }

    fn handle(&self) -> &Handle {
        &self.handle
    }

    fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    fn carrier(&self) -> Option<Command> {
        let mut command = self.cluster.edge_command("busybox");
        command.arg("nc");
        Some(command)
    }

    fn hub_command(&self) -> Command {
        self.flags.onto(self.cluster.edge_command(&self.hub.to_string_lossy()))
    }

    fn log_folder(&self) -> PathBuf {
        self.cluster.dir().join("log")
    }

    fn service(&self) -> Result<Value> {
        Ok(serde_json::from_str(&self.cluster.kubectl(&["get", "service", "-n", "default", "kubernetes", "-o", "json"])?)?)
    }

    fn token(&self, account: &str) -> Result<String> {
        self.cluster.token(NAMESPACE, account)
    }

    fn greet(&self, text: &str) -> Result<()> {
        let patch = serde_json::json!({"data": {"text": text}}).to_string();
        self.cluster.kubectl(&["patch", "configmap", "greeting", "-n", NAMESPACE, "--type=merge", "-p", &patch]).map(drop)
    }

    /// Kubelet reads the Service itself, so it needs not be told.
    fn start_pod(&mut self, _: &Told) -> Result<Vec<String>> {
        let started = Instant::now();
        self.cluster.start_kubelet("http://127.0.0.1:10261")?;
        self.cluster.wait_node_ready(MINUTE)?;
        let ready = started.elapsed();
        let pod = eventually("the Pod runs", MINUTE, || self.running())?;
        let short = pod.container.get(..12).unwrap_or(&pod.container);
        let evidence = vec![
            format!("kubelet {} registered the node through the hub, which was Ready after {}", self.version, time(ready)),
            format!("container {short} at {}, an ordinary program: client-go, rest.InClusterConfig", pod.address),
        ];
        self.pod = Some(pod);
        Ok(evidence)
    }

    fn restart_pod(&mut self) -> Result<()> {
        let old = self.pod.take().context("there is no Pod")?.container;
        self.cluster.ctr(&["tasks", "kill", "--signal", "SIGKILL", &old])?;
        let pod = eventually("kubelet starts another container", MINUTE, || {
            let pod = self.running()?;
            ensure!(pod.container != old, "the old container still runs");
            Ok(pod)
        })?;
        self.pod = Some(pod);
        Ok(())
    }

    fn restarter(&self) -> &'static str {
        "kubelet starts it, from the second time on after a back-off of ten seconds"
    }

    fn pod_address(&self) -> Result<SocketAddr> {
        Ok((self.pod.as_ref().context("there is no Pod")?.address, SAMPLE_PORT).into())
    }

    fn cut(&self) -> Result<()> {
        self.cluster.cut(CUT)
    }

    fn restore(&self) -> Result<()> {
        self.cluster.restore(CUT)
    }
}
