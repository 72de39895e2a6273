//! What the story needs of the place where it is played. Every method takes effect
//! before it returns; none waits for what the story itself measures.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::Value;
use tokio::runtime::Handle;

/// What kubelet puts into a Pod's environment, from the Service default/kubernetes.
#[derive(Clone)]
pub struct Told {
    pub host: String,
    pub port: u16,
}

/// A cloud, a node, a Pod and the link between.
pub trait Stage {
    /// What is the cloud here, in a few words.
    fn cloud(&self) -> String;
    /// How the link is cut here.
    fn way_of_cutting(&self) -> &'static str;

    /// The runtime that carries connections.
    fn handle(&self) -> &Handle;
    /// The authority that signed the certificates of cloud and hub.
    fn ca_pem(&self) -> &str;
    /// A command that, given HOST PORT, joins its input and output to a connection made
    /// on the node; none if this process is on the node itself.
    fn carrier(&self) -> Option<Command>;

    /// The command that runs the hub on the node.
    fn hub_command(&self) -> Command;
    /// The folder of the logs: the hub's is `hub.log`.
    fn log_folder(&self) -> PathBuf;

    /// The Service default/kubernetes as the cloud has it.
    fn service(&self) -> Result<Value>;
    /// A token of a ServiceAccount of the story's namespace: `sample` has the Pod's own
    /// rights, `operator` may also write ConfigMaps.
    fn token(&self, account: &str) -> Result<String>;
    /// Changes the text that ConfigMap greeting has in the cloud.
    fn greet(&self, text: &str) -> Result<()>;

    /// Starts the Pod's program for the first time; returns what it was given.
    fn start_pod(&mut self, told: &Told) -> Result<Vec<String>>;
    /// kill -9, and another start of the same. Returns when the new process runs.
    fn restart_pod(&mut self) -> Result<()>;
    /// Who starts it again, and when.
    fn restarter(&self) -> &'static str;
    /// Where the Pod serves what it has seen.
    fn pod_address(&self) -> Result<SocketAddr>;

    /// Cuts the link.
    fn cut(&self) -> Result<()>;
    /// Undoes [`Stage::cut`].
    fn restore(&self) -> Result<()>;
}

/// Between two looks at something that is awaited.
const POLL: Duration = Duration::from_millis(10);

/// Repeats `probe` until it succeeds; its last error is the error after `within`.
pub fn wait_for<T>(what: &str, within: Duration, mut probe: impl FnMut() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + within;
    loop {
        match probe() {
            Ok(value) => return Ok(value),
            Err(error) if Instant::now() > deadline => return Err(error.context(format!("{what}: not within {within:?}"))),
            Err(_) => std::thread::sleep(POLL),
        }
    }
}
