//! The cluster with a hub on its node, and what every act needs of the two.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use testkit::cluster::{Cluster, Cut, NAMESPACE, Options, eventually, sample_workload};

use crate::edge::{Answer, Door, Edge};

pub const MINUTE: Duration = Duration::from_secs(60);
/// What a read may take at most, whatever the link does.
pub const AT_ONCE: Duration = Duration::from_secs(2);
pub const GREETING: &str = "/api/v1/namespaces/story/configmaps/greeting";
pub const CONFIGMAPS: &str = "/api/v1/namespaces/story/configmaps";
/// User agents: component names are what comes before the slash.
pub const OPERATOR: &str = "operator/v1 (linux/amd64)";
pub const KUBELET: &str = "kubelet/v1.34.4 (linux/amd64)";

/// An administrator of the tests' own, and what OpenYurt grants nodes: reading the
/// hub's own ConfigMap.
const RIGHTS: &str = "
apiVersion: v1
kind: ServiceAccount
metadata: {name: operator, namespace: story}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: operator}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects: [{kind: ServiceAccount, name: operator, namespace: story}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: yurt-hub-cfg, namespace: kube-system}
rules:
- {apiGroups: [''], resources: [configmaps], resourceNames: [yurt-hub-cfg], verbs: [get, list, watch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: yurt-hub-cfg, namespace: kube-system}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: yurt-hub-cfg}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: 'system:nodes'}]
";

/// What this machine lacks, if anything.
pub fn missing() -> Option<String> {
    let root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.starts_with(b"0\n"));
    if !root {
        return Some("root".to_owned());
    }
    for variable in ["HOLDFAST_LAB", "HOLDFAST_SAMPLE"] {
        if !std::env::var_os(variable).is_some_and(|path| Path::new(&path).is_file()) {
            return Some(format!("{variable}, the path of a program that `make lab` builds"));
        }
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let programs = ["containerd", "ctr", "runc", "ip", "ss", "nft", "nsenter", "unshare", "setpriv", "busybox"];
    let found = |program: &str| std::env::split_paths(&path).any(|folder| folder.join(program).is_file());
    if let Some(program) = programs.into_iter().find(|program| !found(program)) {
        return Some(format!("the program {program}"));
    }
    (!Path::new("/usr/lib/cni/bridge").is_file()).then(|| "the CNI plugins in /usr/lib/cni".to_owned())
}

pub struct Rig {
    hub: Option<Child>,
    pub cluster: Cluster,
    /// Of a service account that may do everything.
    pub operator: String,
    runtime: tokio::runtime::Runtime,
    started: Instant,
}

impl Rig {
    /// The servers, the workload, the node without kubelet, and a hub that is ready.
    pub fn start() -> Result<Rig> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let started = Instant::now();
        // Few streams: what is opened through the hub must not stop at one connection's limit.
        let options = Options { http2_max_streams: Some(100), with_node: true, ..Options::default() };
        let cluster = Cluster::start(options)?;
        cluster.apply(&format!("{}---{RIGHTS}", sample_workload(cluster.node_name())))?;
        let operator = cluster.token(NAMESPACE, "operator")?;
        let mut rig = Rig { hub: None, cluster, operator, runtime, started };
        rig.say("cluster", "servers, containerd and workload are there");
        let took = rig.start_hub()?;
        rig.say("hub", &format!("ready {} after its start", seconds(took)));
        Ok(rig)
    }

    /// One line of evidence.
    pub fn say(&self, step: &str, evidence: &str) {
        println!("{:>6.1} s  {step}: {evidence}", self.started.elapsed().as_secs_f64());
    }

    /// Starts the hub and returns how long it took to be ready.
    pub fn start_hub(&mut self) -> Result<Duration> {
        let log = File::options().create(true).append(true).open(self.hub_log())?;
        let path = |path: PathBuf| path.display().to_string();
        let cluster = &self.cluster;
        let mut command = cluster.edge_command(env!("CARGO_BIN_EXE_holdfast"));
        command.arg("hub").args([
            format!("--node-name={}", cluster.node_name()),
            format!("--server-addr={}", cluster.server_url()),
            format!("--client-certificate={}", path(cluster.node_cert())),
            format!("--client-key={}", path(cluster.node_key())),
            format!("--certificate-authority={}", path(cluster.ca())),
            format!("--tls-cert-file={}", path(cluster.serving_cert())),
            format!("--tls-private-key-file={}", path(cluster.serving_key())),
            format!("--root-dir={}", path(cluster.dir().join("hub"))),
            "--dummy-if-ip=169.254.2.1".to_owned(),
            "--v=2".to_owned(),
        ]);
        let started = Instant::now();
        self.hub = Some(command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?);
        eventually("the hub is ready", Duration::from_secs(20), || {
            if let Some(status) = self.hub.as_mut().map(Child::try_wait).transpose()?.flatten() {
                bail!("the hub ended with {status}");
            }
            let answer = self.ask(Door::Admin, "test/1", "GET", "/v1/readyz", "")?;
            ensure!(answer.status == 200, "{}", answer.text);
            Ok(started.elapsed())
        })
    }

    /// kill -9.
    pub fn kill_hub(&mut self) -> Result<()> {
        let mut hub = self.hub.take().context("the hub does not run")?;
        hub.kill()?;
        hub.wait()?;
        Ok(())
    }

    /// SIGTERM, and how the hub ended.
    pub fn terminate_hub(&mut self) -> Result<()> {
        let pid = self.hub.as_ref().context("the hub does not run")?.id();
        let status = Command::new("kill").args(["-s", "TERM", &pid.to_string()]).status()?;
        ensure!(status.success(), "kill: {status}");
        Ok(())
    }

    pub fn hub_ended(&mut self, within: Duration) -> Result<ExitStatus> {
        let hub = self.hub.as_mut().context("the hub does not run")?;
        eventually("the end of the hub", within, || hub.try_wait()?.context("the hub runs"))
    }

    /// Resident memory of the hub, in MB.
    pub fn hub_memory(&self) -> Result<f64> {
        let pid = self.hub.as_ref().context("the hub does not run")?.id();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kilobytes: f64 = line.split_whitespace().next().unwrap_or_default().parse()?;
        Ok(kilobytes / 1024.0)
    }

    /// One request on a connection of its own.
    pub fn ask(&self, door: Door<'_>, program: &str, method: &str, path: &str, body: &str) -> Result<Answer> {
        let started = Instant::now();
        let mut answer = self.block_on(async {
            let edge = Edge::connect(&self.cluster, door, program).await?;
            edge.ask(method, path, body).await
        })?;
        answer.took = started.elapsed();
        Ok(answer)
    }

    /// [`Rig::ask`] as the tests' administrator, from where Pods come in.
    pub fn operate(&self, method: &str, path: &str, body: &str) -> Result<Answer> {
        self.ask(Door::Pods(&self.operator), OPERATOR, method, path, body)
    }

    pub fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// kubectl on the node, through the hub's HTTPS port.
    pub fn hub_kubectl(&self) -> Command {
        let mut command = self.cluster.edge_command(&self.cluster.dir().join("bin/lab").to_string_lossy());
        command.args(["kubectl", "--server=https://169.254.2.1:10268", "-n", NAMESPACE]);
        command.arg(format!("--certificate-authority={}", self.cluster.ca().display()));
        command.arg(format!("--token={}", self.operator));
        command.env("HOME", self.cluster.dir()).env_remove("KUBECONFIG").stdin(Stdio::null());
        command
    }

    pub fn cut(&self, how: Cut) -> Result<()> {
        self.cluster.cut(how)
    }

    /// Restores the link and waits until the hub has noticed; how long that took.
    pub fn restore(&self, how: Cut) -> Result<Duration> {
        self.cluster.restore(how)?;
        self.wait_link(true)
    }

    /// Waits for the hub's verdict.
    pub fn wait_link(&self, up: bool) -> Result<Duration> {
        let started = Instant::now();
        let wanted = if up { " 1" } else { " 0" };
        eventually("the hub's verdict on the link", MINUTE, || {
            let metrics = self.ask(Door::Admin, "test/1", "GET", "/metrics", "")?.text;
            let line = metrics.lines().find(|line| line.starts_with("node_yurthub_server_healthy_status"));
            ensure!(line.is_some_and(|line| line.ends_with(wanted)), "{line:?}");
            Ok(started.elapsed())
        })
    }

    /// Changes the ConfigMap that the sample Pod follows, in the cloud.
    pub fn greet(&self, text: &str) -> Result<()> {
        let patch = format!(r#"{{"data":{{"text":"{text}"}}}}"#);
        self.cluster.kubectl(&["patch", "configmap", "greeting", "-n", NAMESPACE, "--type=merge", "-p", &patch]).map(drop)
    }

    /// The container id of the sample that runs on the node, as containerd has it.
    pub fn sample_id(&self) -> Result<String> {
        let containers = self.cluster.ctr(&["containers", "ls"])?;
        let tasks = self.cluster.ctr(&["tasks", "ls"])?;
        let running = |id: &str| tasks.lines().any(|line| line.starts_with(id) && line.contains("RUNNING"));
        let mut samples =
            containers.lines().filter(|line| line.contains("/sample:1")).filter_map(|line| line.split_whitespace().next());
        samples.find(|id| running(id)).map(str::to_owned).context("no sample container runs")
    }

    /// What the sample that runs on the node has seen, asked without the cloud.
    pub fn sample_view(&self) -> Result<Value> {
        let id = self.sample_id()?;
        let output = self.cluster.pod_command(&id, "ip")?.args(["-4", "-o", "addr", "show", "dev", "eth0"]).output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let address = text.split_whitespace().skip_while(|word| *word != "inet").nth(1).context("the Pod has no address")?;
        self.cluster.sample_view(address.split('/').next().unwrap_or_default())
    }

    /// Waits until the sample has all that it may have: the ConfigMap's text is
    /// `greeting`, the Secret is read, the forbidden one is refused.
    pub fn wait_sample(&self, greeting: &str, within: Duration) -> Result<(Value, Duration)> {
        let started = Instant::now();
        eventually(&format!("the sample Pod sees {greeting:?}"), within, || {
            let view = self.sample_view()?;
            ensure!(view["synced"] == true && view["configmaps"]["greeting"]["text"] == *greeting, "{view}");
            ensure!(view["secret"] == "open" && view["secretError"] == "", "{view}");
            let refused = view["forbidden"].as_str().unwrap_or_default();
            // In the cloud's words, or in the hub's.
            let words = ["cannot get resource", "has not granted this"];
            ensure!(words.iter().any(|words| refused.contains(words)), "{view}");
            Ok((view, started.elapsed()))
        })
    }

    /// Kills the sample's process and waits for kubelet to have started another one.
    pub fn restart_sample(&self) -> Result<Duration> {
        let old = self.sample_id()?;
        let started = Instant::now();
        self.cluster.ctr(&["tasks", "kill", "--signal", "SIGKILL", &old])?;
        eventually("another sample container", MINUTE, || {
            let new = self.sample_id()?;
            ensure!(new != old, "the old container still runs");
            Ok(started.elapsed())
        })
    }

    fn hub_log(&self) -> PathBuf {
        self.cluster.dir().join("log/hub.log")
    }

    pub fn hub_log_tail(&self) -> String {
        self.cluster.log_tail("hub")
    }

    /// Copies the logs to where they outlive the cluster.
    pub fn keep_logs(&self) -> PathBuf {
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cluster-log");
        let _ = std::fs::create_dir_all(&kept);
        for log in std::fs::read_dir(self.cluster.dir().join("log")).into_iter().flatten().flatten() {
            let _ = std::fs::copy(log.path(), kept.join(log.file_name()));
        }
        kept
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        // It may have ended; the cluster's guardian looks after the rest.
        let _ = self.kill_hub();
    }
}

pub fn seconds(duration: Duration) -> String {
    format!("{:.2} s", duration.as_secs_f64())
}

/// A Pod's view in a few words.
pub fn brief(view: &Value) -> String {
    format!("text {}, Secret {}, forbidden one: {}", view["configmaps"]["greeting"]["text"], view["secret"], view["forbidden"])
}
