//! A real Kubernetes on one machine: etcd, kube-apiserver, controllers and
//! scheduler in one network namespace, a node with containerd and kubelet in
//! another, and a link between the two that can be cut.
//!
//! Needs root, and the programs named by `HOLDFAST_LAB` (the servers) and
//! `HOLDFAST_SAMPLE` (the Pod), which `make lab` builds; beside them containerd,
//! runc, the CNI plugins, iproute2, nftables and util-linux.
//! Nothing outside the two namespaces is contacted.
//!
//! Promises: when a `Cluster` is dropped, and when its process is killed in
//! whatever way, every process, container, mount, namespace, cgroup and file of
//! it is gone (see `guardian`). Names contain the process id, so clusters can
//! run side by side. Each wait is bounded and fails with the end of a log.
//!
//! Layout of [`Cluster::dir`]: `pki/` (see `pki`), `log/NAME.log` of every
//! process, `admin.conf` and the other kubeconfigs, `bin/` the two programs,
//! `etcd/`, and `node/` with what the node mounts over /run, /var/lib and
//! /var/log.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};

mod control;
mod edge;
mod guardian;
mod network;
mod node;
mod pki;
mod process;
mod story;

pub use network::Cut;
pub use node::SAMPLE_IMAGE;
pub use process::eventually;
pub use story::{NAMESPACE, SAMPLE_PORT, sample_workload};

use control::{ControlPlane, Site, write_kubeconfig};
use guardian::Guardian;
use network::{CLOUD_IP, Network, PORT};
use node::Node;
use process::run;

/// What a cluster is made like.
#[derive(Clone, Debug)]
pub struct Options {
    /// Name of the one node, in its certificate and on its kubelet.
    pub node_name: String,
    /// `--http2-max-streams-per-connection` of the API server; its own default if none.
    pub http2_max_streams: Option<u32>,
    /// Whether containerd is started with the servers; the kubelet never is.
    pub with_node: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options { node_name: "edge-1".to_owned(), http2_max_streams: None, with_node: false }
    }
}

/// A running cluster. Fields are dropped in order; the guardian comes last.
pub struct Cluster {
    node: Option<Node>,
    control: ControlPlane,
    network: Network,
    options: Options,
    name: String,
    dir: PathBuf,
    _guardian: Guardian,
}

impl Cluster {
    /// Brings the servers up and waits for /readyz; with `with_node`, containerd too.
    ///
    /// # Errors
    /// When a program is missing or does not become ready in time.
    pub fn start(options: Options) -> Result<Cluster> {
        let lab = program("HOLDFAST_LAB")?;
        let sample = program("HOLDFAST_SAMPLE")?;
        let name = guardian::unique_name();
        let dir = guardian::directory(&name);
        let guardian = Guardian::start(&name, &dir)?;
        for part in ["pki", "log", "bin"] {
            fs::create_dir_all(dir.join(part)).with_context(|| format!("cannot make {}", dir.display()))?;
        }
        bring(&lab, &dir.join("bin/lab"))?;
        bring(&sample, &dir.join("bin/sample"))?;
        pki::write(&dir.join("pki"), &options.node_name)?;
        let network = Network::create(&name).context("cannot make the network: is this root?")?;
        let lab = dir.join("bin/lab");
        let site = Site { dir: &dir, lab: &lab, network: &network, http2_max_streams: options.http2_max_streams };
        let control = ControlPlane::start(site)?;
        let mut cluster = Cluster { node: None, control, network, options, name, dir, _guardian: guardian };
        if cluster.options.with_node {
            cluster.start_containerd()?;
        }
        Ok(cluster)
    }

    /// Where the cluster's files are; removed with it.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The API server as seen from the edge.
    #[must_use]
    pub fn server_url(&self) -> String {
        format!("https://{CLOUD_IP}:{PORT}")
    }

    /// The node's name.
    #[must_use]
    pub fn node_name(&self) -> &str {
        &self.options.node_name
    }

    /// The cluster's CA.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.dir.join("pki/ca.pem")
    }

    /// A client certificate for `system:node:NAME` of the group `system:nodes`.
    #[must_use]
    pub fn node_cert(&self) -> PathBuf {
        self.dir.join("pki/node.pem")
    }

    /// The key of [`Cluster::node_cert`].
    #[must_use]
    pub fn node_key(&self) -> PathBuf {
        self.dir.join("pki/node-key.pem")
    }

    /// A serving certificate for the hub, signed by the cluster's CA, for
    /// 169.254.2.1, 127.0.0.1 and the names of the Service `kubernetes`.
    #[must_use]
    pub fn serving_cert(&self) -> PathBuf {
        self.dir.join("pki/serving.pem")
    }

    /// The key of [`Cluster::serving_cert`].
    #[must_use]
    pub fn serving_key(&self) -> PathBuf {
        self.dir.join("pki/serving-key.pem")
    }

    /// A command in the edge network namespace; whatever runs there ends with
    /// the cluster. Its process id is that of `program`.
    #[must_use]
    pub fn edge_command(&self, program: &str) -> Command {
        self.network.edge_command(program)
    }

    /// A command in the cloud network namespace, like [`Cluster::edge_command`].
    #[must_use]
    pub fn cloud_command(&self, program: &str) -> Command {
        self.network.cloud_command(program)
    }

    /// kubectl as the administrator, from the cloud; returns what it prints.
    ///
    /// # Errors
    /// With kubectl's own words.
    pub fn kubectl(&self, args: &[&str]) -> Result<String> {
        run(self.kubectl_command().args(args))
    }

    /// [`Cluster::kubectl`] as a command, for what goes on for a while.
    #[must_use]
    pub fn kubectl_command(&self) -> Command {
        self.site(&self.dir.join("bin/lab")).kubectl()
    }

    /// `kubectl apply` of some YAML.
    ///
    /// # Errors
    /// With kubectl's own words.
    pub fn apply(&self, yaml: &str) -> Result<()> {
        let file = self.dir.join("apply.yaml");
        fs::write(&file, yaml)?;
        self.kubectl(&["apply", "-f", &file.to_string_lossy()]).map(drop)
    }

    /// A token of a service account, valid for an hour.
    ///
    /// # Errors
    /// With kubectl's own words.
    pub fn token(&self, namespace: &str, service_account: &str) -> Result<String> {
        Ok(self.kubectl(&["create", "token", "-n", namespace, service_account])?.trim().to_owned())
    }

    /// The body of a GET made in the edge namespace, over plain HTTP.
    ///
    /// # Errors
    /// On anything but a 2xx, and after five seconds without an answer.
    pub fn http_get_from_edge(&self, url: &str) -> Result<String> {
        // Any HTTP server will do for kubectl: SCHEME://HOST[:PORT], then a path.
        let path = url.find("://").and_then(|at| url[at + 3..].find('/').map(|slash| at + 3 + slash)).unwrap_or(url.len());
        let (server, path) = url.split_at(path);
        let path = if path.is_empty() { "/" } else { path };
        self.get_raw(&[&format!("--server={server}"), "--request-timeout=5s"], path)
    }

    /// GET of a path of the API server as the node, from the edge: the probe of the link.
    ///
    /// # Errors
    /// On any status but 200, and after `timeout`.
    pub fn probe_from_edge(&self, path: &str, timeout: Duration) -> Result<String> {
        write_kubeconfig(&self.dir, "probe", &self.server_url(), Some("node"))?;
        let kubeconfig = format!("--kubeconfig={}", self.dir.join("probe.conf").display());
        self.get_raw(&[&kubeconfig, &format!("--request-timeout={}ms", timeout.as_millis())], path)
    }

    fn get_raw(&self, flags: &[&str], path: &str) -> Result<String> {
        let mut command = self.edge_command(&self.dir.join("bin/lab").to_string_lossy());
        command.arg("kubectl").args(flags).args(["get", "--raw", path]);
        run(command.env("HOME", &self.dir).env_remove("KUBECONFIG"))
    }

    /// Cuts the node off.
    ///
    /// # Errors
    /// When a tool of the network fails.
    pub fn cut(&self, how: Cut) -> Result<()> {
        if how == Cut::StopServer {
            return self.control.apiserver()?.signal("STOP");
        }
        self.network.cut(how)
    }

    /// Undoes [`Cluster::cut`].
    ///
    /// # Errors
    /// When a tool of the network fails.
    pub fn restore(&self, how: Cut) -> Result<()> {
        if how == Cut::StopServer {
            return self.control.apiserver()?.signal("CONT");
        }
        self.network.restore(how)
    }

    /// Kills the API server with SIGKILL.
    pub fn kill_apiserver(&mut self) {
        self.control.kill_apiserver();
    }

    /// Starts the API server again, over the same etcd, and waits for /readyz.
    ///
    /// # Errors
    /// When it is not ready in time.
    pub fn start_apiserver(&mut self) -> Result<()> {
        let lab = self.dir.join("bin/lab");
        let site = Site { dir: &self.dir, lab: &lab, network: &self.network, http2_max_streams: self.options.http2_max_streams };
        self.control.start_apiserver(site)
    }

    /// Makes the Service `kubernetes` work on the node without a hub, as
    /// kube-proxy would.
    ///
    /// # Errors
    /// When nft fails.
    pub fn serve_kubernetes_service(&self) -> Result<()> {
        self.network.serve_kubernetes_service()
    }

    fn site<'a>(&'a self, lab: &'a Path) -> Site<'a> {
        Site { dir: &self.dir, lab, network: &self.network, http2_max_streams: self.options.http2_max_streams }
    }
}

/// The program that an environment variable names.
fn program(variable: &str) -> Result<PathBuf> {
    let hint = "build it and learn its path with: make lab";
    let path = std::env::var_os(variable).map(PathBuf::from).ok_or_else(|| anyhow!("{variable} is not set; {hint}"))?;
    if !path.is_file() {
        bail!("{variable}={} is no file; {hint}", path.display());
    }
    Ok(path)
}

/// A program where the node sees it too: a link if that can be, else a copy.
fn bring(from: &Path, to: &Path) -> Result<()> {
    if fs::hard_link(from, to).is_err() {
        fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
    }
    Ok(())
}
