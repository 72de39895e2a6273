//! A real node: containerd and kubelet in the edge network namespace, in a
//! mount and a PID namespace of their own.
//!
//! The first process of the PID namespace does nothing but live. When it is
//! killed the kernel ends everything else of the node, containers too, and with
//! them their mounts: that is both the node's reboot and its end. What the two
//! programs write to fixed places (/run, /var/lib, /var/log) lands below
//! `DIR/node`, because those are mounted over. The settings of the kernel that
//! the kubelet insists on are hidden behind files that already agree with it,
//! so that the machine keeps its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::network::{EDGE_IP, Network, POD_CIDR};
use super::process::{Process, eventually, run};

/// From the start of containerd to its first answer.
const CONTAINERD_WITHIN: Duration = Duration::from_secs(30);
/// The sandbox's own image: the sample program, told to do nothing.
const PAUSE_IMAGE: &str = "docker.io/library/pause:1";
/// The sample Pod's image.
pub const SAMPLE_IMAGE: &str = "docker.io/library/sample:1";

const INIT: &str = r#"
set -e
dir=$1
mount --bind "$dir/run" /run
mount --bind "$dir/lib" /var/lib
mount --bind "$dir/log" /var/log
agree() { [ ! -e "/proc/sys/$1" ] || { echo "$2" >"$dir/sysctl/${1##*/}"; mount --bind "$dir/sysctl/${1##*/}" "/proc/sys/$1"; }; }
agree vm/overcommit_memory 1
agree vm/panic_on_oom 0
agree kernel/panic 10
agree kernel/panic_on_oops 1
agree kernel/keys/root_maxkeys 1000000
agree kernel/keys/root_maxbytes 25000000
: >"$dir/up"
while :; do sleep 3600 & wait; done
"#;

/// The node, from its power switch upwards.
pub(super) struct Node {
    name: String,
    dir: PathBuf,
    lab: PathBuf,
    cgroup: String,
    kubelet: Option<Process>,
    containerd: Option<Process>,
    init: Option<Process>,
    /// Of the first process in the node's namespaces, as seen from outside.
    init_pid: u32,
    network: String,
}

impl Node {
    /// Prepares the node's files below `dir` and switches it on, with nothing running.
    pub(super) fn create(name: &str, dir: &Path, lab: &Path, cgroup: &str, network: &Network) -> Result<Node> {
        let mut node = Node {
            name: name.to_owned(),
            dir: dir.to_owned(),
            lab: lab.to_owned(),
            cgroup: cgroup.to_owned(),
            kubelet: None,
            containerd: None,
            init: None,
            init_pid: 0,
            network: network.edge_path(),
        };
        for part in ["lib/kubelet", "log", "sysctl", "cni", "manifests", "plugins"] {
            fs::create_dir_all(node.path(part))?;
        }
        fs::write(node.path("containerd.toml"), containerd_config(&node))?;
        fs::write(node.path("cni/10-bridge.conflist"), cni_config())?;
        fs::write(node.path("kubelet.yaml"), kubelet_config(&node))?;
        for group in controllers()? {
            let path = group.join(cgroup);
            fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        }
        node.power_on()?;
        Ok(node)
    }

    fn path(&self, part: &str) -> PathBuf {
        self.dir.join("node").join(part)
    }

    /// A command inside the node; killed with `nsenter`, which waits outside.
    pub(super) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args([format!("--target={}", self.init_pid), format!("--net={}", self.network)]);
        command.args(["--mount", "--pid", "--wd=/", "--", "setpriv", "--pdeathsig", "KILL", "--", program]);
        command
    }

    fn power_on(&mut self) -> Result<()> {
        let up = self.path("up");
        for wiped in [&up, &self.path("run")] {
            if wiped.is_dir() {
                fs::remove_dir_all(wiped)?;
            } else if wiped.exists() {
                fs::remove_file(wiped)?;
            }
        }
        fs::create_dir_all(self.path("run"))?;
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.network));
        command.args(["--", "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
        command.args(["sh", "-c", INIT, "init"]).arg(self.path(""));
        let mut init = Process::start(&self.dir.join("log"), "node", command)?;
        init.wait_ready(Duration::from_secs(10), || fs::metadata(&up).context("the node's mounts are not made"))?;
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", init.id()))?;
        self.init_pid = children.trim().parse().with_context(|| format!("not one process: {children:?}"))?;
        self.init = Some(init);
        Ok(())
    }

    /// As a power cut: everything ends at once, and what was in memory is gone.
    pub(super) fn reboot(&mut self) -> Result<()> {
        self.init = None;
        self.kubelet = None;
        self.containerd = None;
        eventually("end of the node's processes", Duration::from_secs(10), || {
            ensure!(!fs::exists(format!("/proc/{}/ns/pid", self.init_pid))?, "process {} lives", self.init_pid);
            Ok(())
        })?;
        // What is left of a container's cgroup would hold the next kubelet up for seconds.
        for group in controllers()? {
            let path = group.join(&self.cgroup);
            eventually("empty cgroups", Duration::from_secs(10), || {
                run(Command::new("find").arg(&path).args(["-mindepth", "1", "-depth", "-type", "d", "-exec", "rmdir", "{}", "+"]))
            })?;
        }
        self.power_on()
    }

    /// Starts containerd and waits until it answers.
    pub(super) fn start_containerd(&mut self) -> Result<()> {
        self.containerd = None;
        let mut command = self.command("containerd");
        command.arg("--config").arg(self.path("containerd.toml"));
        let mut containerd = Process::start(&self.dir.join("log"), "containerd", command)?;
        containerd.wait_ready(CONTAINERD_WITHIN, || self.ctr(&["version"]))?;
        self.containerd = Some(containerd);
        Ok(())
    }

    /// The manifest of a static Pod, where the kubelet looks for them.
    pub(super) fn manifest(&self, name: &str) -> PathBuf {
        self.path("manifests").join(format!("{name}.yaml"))
    }

    /// Imports the sandbox's image and the sample's, both from one program.
    pub(super) fn import_images(&self, sample: &Path) -> Result<()> {
        for (image, entrypoint) in [(PAUSE_IMAGE, "/sample,pause"), (SAMPLE_IMAGE, "/sample")] {
            let archive = self.path("image.tar");
            let mut command = Command::new(&self.lab);
            command.args(["image", "--name", image, "--entrypoint", entrypoint, "--out"]).arg(&archive);
            run(command.arg(format!("/sample={}", sample.display())))?;
            self.ctr(&["images", "import", &archive.to_string_lossy()])?;
            fs::remove_file(&archive)?;
        }
        Ok(())
    }

    /// `ctr` in the namespace that Kubernetes uses.
    pub(super) fn ctr(&self, args: &[&str]) -> Result<String> {
        run(self.command("ctr").args(["--connect-timeout", "5s", "--timeout", "60s", "-n", "k8s.io"]).args(args))
    }

    /// A command in the network namespace of the container `id`, else as outside.
    pub(super) fn pod_command(&self, id: &str, program: &str) -> Result<Command> {
        let tasks = self.ctr(&["tasks", "ls"])?;
        let pid = tasks
            .lines()
            .find_map(|line| line.strip_prefix(id)?.split_whitespace().next())
            .with_context(|| format!("no container {id:?} runs"))?;
        // The process id is of the node's PID namespace, so /proc is the node's.
        let mut command = self.command("nsenter");
        command.args([&format!("--net=/proc/{pid}/ns/net"), "--", program]);
        Ok(command)
    }

    /// Kills and removes every container and sandbox there is, and starts
    /// containerd again, which else would remember them.
    pub(super) fn remove_containers(&mut self) -> Result<()> {
        for id in self.ctr(&["containers", "ls", "-q"])?.split_whitespace() {
            // A container that has ended has no task; what matters is that none is left.
            let _ = self.ctr(&["tasks", "rm", "-f", id]);
            eventually("removal of a container", Duration::from_secs(10), || self.ctr(&["containers", "rm", id]))?;
        }
        self.start_containerd()
    }

    /// Starts the kubelet with `dir`/`kubeconfig`.conf.
    pub(super) fn start_kubelet(&mut self, kubeconfig: &str) -> Result<()> {
        self.kubelet = None;
        let mut command = self.command(&self.lab.to_string_lossy());
        command.arg("kubelet").args([
            format!("--config={}", self.path("kubelet.yaml").display()),
            format!("--kubeconfig={}", self.dir.join(format!("{kubeconfig}.conf")).display()),
            format!("--hostname-override={}", self.name),
            format!("--node-ip={EDGE_IP}"),
            "--root-dir=/var/lib/kubelet".to_owned(),
            "--cert-dir=/var/lib/kubelet/pki".to_owned(),
        ]);
        self.kubelet = Some(Process::start(&self.dir.join("log"), "kubelet", command)?);
        Ok(())
    }

    /// Kills the kubelet with SIGKILL; containers live on.
    pub(super) fn stop_kubelet(&mut self) {
        self.kubelet = None;
    }

    /// Kills containerd with SIGKILL; containers live on.
    pub(super) fn stop_containerd(&mut self) {
        self.containerd = None;
    }

    /// Repeats `probe` while the kubelet lives.
    pub(super) fn wait_kubelet<T>(&mut self, timeout: Duration, probe: impl FnMut() -> Result<T>) -> Result<T> {
        self.kubelet.as_mut().context("the kubelet does not run")?.wait_ready(timeout, probe)
    }
}

/// Where a cgroup of ours is to be made: each hierarchy of v1, or the one of v2.
fn controllers() -> Result<Vec<PathBuf>> {
    let root = Path::new("/sys/fs/cgroup");
    if root.join("cgroup.controllers").exists() {
        return Ok(vec![root.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(root)? {
        let path = entry?.path();
        if path.join("cgroup.procs").exists() {
            found.push(path);
        }
    }
    Ok(found)
}

fn containerd_config(node: &Node) -> String {
    let cni = node.path("cni");
    format!(
        r#"version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs"]
[grpc]
address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE_IMAGE}"
# Without CAP_SYS_RESOURCE no score can be lowered, and no sandbox would start.
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{}"
"#,
        cni.display()
    )
}

/// Pods reach everything through the bridge, which is the node's own address there.
fn cni_config() -> String {
    format!(
        r#"{{"cniVersion": "0.4.0", "name": "pods", "plugins": [
  {{"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
    "ipam": {{"type": "host-local", "ranges": [[{{"subnet": "{POD_CIDR}"}}]], "routes": [{{"dst": "0.0.0.0/0"}}]}}}}
]}}
"#
    )
}

fn kubelet_config(node: &Node) -> String {
    format!(
        r"apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
cgroupDriver: cgroupfs
cgroupRoot: /{cgroup}
failCgroupV1: false
failSwapOn: false
makeIPTablesUtilChains: false
enforceNodeAllocatable: [pods]
evictionHard: {{memory.available: 1Mi, nodefs.available: 1Mi, imagefs.available: 1Mi}}
imageGCHighThresholdPercent: 100
resolvConf: /dev/null
clusterDomain: cluster.local
staticPodPath: {manifests}
volumePluginDir: {plugins}
authentication:
  anonymous: {{enabled: false}}
  webhook: {{enabled: true}}
  x509: {{clientCAFile: {ca}}}
authorization: {{mode: Webhook}}
",
        cgroup = node.cgroup,
        manifests = node.path("manifests").display(),
        plugins = node.path("plugins").display(),
        ca = node.dir.join("pki/ca.pem").display(),
    )
}
