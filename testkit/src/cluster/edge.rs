//! What a test does with the node: start and end its programs, cut its power,
//! follow the sample Pod. The node is made when containerd is first started.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};

use super::control::write_kubeconfig;
use super::node::Node;
use super::process::tail;
use super::{Cluster, NAMESPACE, SAMPLE_PORT};

impl Cluster {
    /// Starts containerd with both images imported, on a node made for it the first time.
    ///
    /// # Errors
    /// When it does not answer in time.
    pub fn start_containerd(&mut self) -> Result<()> {
        if self.node.is_none() {
            let lab = self.dir.join("bin/lab");
            let mut node = Node::create(&self.options.node_name, &self.dir, &lab, &self.name, &self.network)?;
            node.start_containerd()?;
            node.import_images(&self.dir.join("bin/sample"))?;
            self.node = Some(node);
            return Ok(());
        }
        self.node_mut()?.start_containerd()
    }

    /// Kills containerd with SIGKILL; containers live on.
    ///
    /// # Errors
    /// When there is no node.
    pub fn stop_containerd(&mut self) -> Result<()> {
        self.node_mut()?.stop_containerd();
        Ok(())
    }

    /// Starts the kubelet towards `server`, without credentials: a hub's
    /// `http://127.0.0.1:10261`. Starts containerd first, if there is no node yet.
    ///
    /// # Errors
    /// When a process cannot be started.
    pub fn start_kubelet(&mut self, server: &str) -> Result<()> {
        self.start_kubelet_as(server, None)
    }

    /// Starts the kubelet towards the API server itself, with the node's certificate.
    ///
    /// # Errors
    /// When a process cannot be started.
    pub fn start_kubelet_directly(&mut self) -> Result<()> {
        self.start_kubelet_as(&self.server_url(), Some("node"))
    }

    fn start_kubelet_as(&mut self, server: &str, user: Option<&str>) -> Result<()> {
        if self.node.is_none() {
            self.start_containerd()?;
        }
        write_kubeconfig(&self.dir, "kubelet", server, user)?;
        self.node_mut()?.start_kubelet("kubelet")
    }

    /// Kills the kubelet with SIGKILL; containers live on.
    ///
    /// # Errors
    /// When there is no node.
    pub fn stop_kubelet(&mut self) -> Result<()> {
        self.node_mut()?.stop_kubelet();
        Ok(())
    }

    /// Makes a static Pod of some YAML: a manifest on the node, which the kubelet
    /// notices at once.
    ///
    /// # Errors
    /// When there is no node, or the file cannot be written.
    pub fn put_static_pod(&self, name: &str, yaml: &str) -> Result<()> {
        // Beside the folder first: the kubelet is not to read half of it.
        let whole = self.dir.join("static.yaml");
        fs::write(&whole, yaml)?;
        Ok(fs::rename(whole, self.node()?.manifest(name))?)
    }

    /// Undoes [`Cluster::put_static_pod`].
    ///
    /// # Errors
    /// When there is no such manifest.
    pub fn remove_static_pod(&self, name: &str) -> Result<()> {
        Ok(fs::remove_file(self.node()?.manifest(name))?)
    }

    /// Cuts the node's power and gives it back: no process, container, mount or
    /// anything in /run is left; /var/lib is. Start containerd and kubelet again.
    ///
    /// # Errors
    /// When there is no node, or something of it does not end.
    pub fn reboot_node(&mut self) -> Result<()> {
        self.node_mut()?.reboot()
    }

    /// Kills and removes every container and sandbox, behind the kubelet's back,
    /// and starts containerd anew. Stop the kubelet first, or it makes others.
    ///
    /// # Errors
    /// When there is no node, or containerd refuses.
    pub fn remove_pod_containers(&mut self) -> Result<()> {
        self.node_mut()?.remove_containers()
    }

    /// `ctr -n k8s.io` on the node.
    ///
    /// # Errors
    /// When there is no node, or with the program's own words.
    pub fn ctr(&self, args: &[&str]) -> Result<String> {
        self.node()?.ctr(args)
    }

    /// A command of the machine's, in the network namespace of a container that
    /// runs: `id` as `ctr tasks ls` has it.
    ///
    /// # Errors
    /// When there is no such container.
    pub fn pod_command(&self, id: &str, program: &str) -> Result<Command> {
        self.node()?.pod_command(id, program)
    }

    /// Waits until the API server holds the node for ready.
    ///
    /// # Errors
    /// After `timeout`, or when the kubelet ends.
    pub fn wait_node_ready(&mut self, timeout: Duration) -> Result<()> {
        let mut node = self.node.take().context("there is no node")?;
        let ready = node.wait_kubelet(timeout, || self.node_is_ready());
        self.node = Some(node);
        ready
    }

    fn node_is_ready(&self) -> Result<()> {
        let path = "jsonpath={.status.conditions[?(@.type==\"Ready\")]['status','message']}";
        let condition = self.kubectl(&["get", "node", self.node_name(), "-o", path])?;
        ensure!(condition.starts_with("True"), "the node is not ready: {condition}");
        Ok(())
    }

    /// The address of the running sample Pod, as the API server has it.
    ///
    /// # Errors
    /// When there is none yet.
    pub fn sample_ip(&self) -> Result<String> {
        let path = "jsonpath={.items[?(@.status.phase==\"Running\")].status.podIP}";
        let found = self.kubectl(&["get", "pods", "-n", NAMESPACE, "-l", "app=sample", "-o", path])?;
        found.split_whitespace().next().map(str::to_owned).ok_or_else(|| anyhow!("no sample Pod is running"))
    }

    /// What the sample Pod at `ip` has seen: `host`, `synced`, `configmaps`,
    /// `secret`, `secretError`, `forbidden`.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn sample_view(&self, ip: &str) -> Result<serde_json::Value> {
        let body = self.http_get_from_edge(&format!("http://{ip}:{SAMPLE_PORT}/"))?;
        serde_json::from_str(&body).with_context(|| format!("not JSON: {body}"))
    }

    /// The end of a process' log: `kube-apiserver`, `kubelet`, `containerd`, ...
    #[must_use]
    pub fn log_tail(&self, name: &str) -> String {
        tail(&self.dir.join(format!("log/{name}.log")))
    }

    fn node(&self) -> Result<&Node> {
        self.node.as_ref().context("there is no node")
    }

    fn node_mut(&mut self) -> Result<&mut Node> {
        self.node.as_mut().context("there is no node")
    }
}
