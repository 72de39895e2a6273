//! The hub as a process, as a user starts it: the real binary, real flags, real
//! listeners on free ports of 127.0.0.1.
//!
//! Dropping it kills the process, and those that have taken its place. Their log is kept in its folder.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::client::{Alpn, Client};
use crate::pki::{Identity, Pki};
use crate::port::free_address;

pub const NODE: &str = "edge-1";
/// What the old process says.
const TAKEN_OVER: &str = "another process has taken over: this one ends";

/// What a hub is started with.
pub struct HubOptions<'a> {
    /// The binary; tests have it from cargo.
    pub binary: &'a str,
    pub servers: Vec<String>,
    pub pki: &'a Pki,
    /// More flags; of a repeated one the last counts.
    pub flags: Vec<String>,
}

pub struct Hub {
    binary: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    folder: tempfile::TempDir,
    pub loopback: SocketAddr,
    pub secure: SocketAddr,
    pub admin: SocketAddr,
    ca_pem: String,
    child: Option<Child>,
    /// The processes that have taken its place, one after the other.
    heirs: Vec<u32>,
    /// How often that has happened, in the log.
    taken_over: usize,
}

impl Hub {
    /// Prepares certificates and flags in a folder of its own; starts nothing.
    pub fn prepare(options: HubOptions<'_>) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let pki = options.pki;
        let ca = pki.write_to(folder.path())?;
        let node = pki.client(&format!("system:node:{NODE}"), "system:nodes");
        let serving: Identity = pki.server(&["127.0.0.1", "localhost", "kubernetes.default.svc"]);
        let (node_cert, node_key) = node.write_to(folder.path(), "node")?;
        let (tls_cert, tls_key) = serving.write_to(folder.path(), "serving")?;
        let (loopback, secure, admin) = (free_address()?, free_address()?, free_address()?);
        let path = |path: &Path| path.display().to_string();
        let mut arguments = vec![
            "hub".to_owned(),
            format!("--node-name={NODE}"),
            format!("--server-addr={}", options.servers.join(",")),
            format!("--client-certificate={}", path(&node_cert)),
            format!("--client-key={}", path(&node_key)),
            format!("--certificate-authority={}", path(&ca)),
            format!("--tls-cert-file={}", path(&tls_cert)),
            format!("--tls-private-key-file={}", path(&tls_key)),
            format!("--root-dir={}", path(&folder.path().join("root"))),
            "--dummy-if-ip=127.0.0.1".to_owned(),
            format!("--proxy-port={}", loopback.port()),
            format!("--proxy-secure-port={}", secure.port()),
            format!("--serve-port={}", admin.port()),
        ];
        arguments.extend(options.flags);
        let ca_pem = pki.ca_pem().to_owned();
        let (binary, environment) = (options.binary.into(), Vec::new());
        Ok(Self {
            binary,
            arguments,
            environment,
            folder,
            loopback,
            secure,
            admin,
            ca_pem,
            child: None,
            heirs: Vec::new(),
            taken_over: 0,
        })
    }

    /// Prepares and starts one, and waits until it is ready.
    pub async fn start(options: HubOptions<'_>) -> anyhow::Result<Self> {
        let mut hub = Self::prepare(options)?;
        hub.run().await?;
        Ok(hub)
    }

    /// One more flag, from its next start on.
    pub fn add_flag(&mut self, flag: &str) {
        self.arguments.push(flag.to_owned());
    }

    /// One more variable of its environment, from its next start on.
    pub fn set_env(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Without a flag, from its next start on.
    pub fn remove_flag(&mut self, name: &str) {
        self.arguments.retain(|argument| argument.split('=').next() != Some(name));
    }

    /// The command that starts it, for tests of its start.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        // A developer's wish for backtraces is not what a service manager starts it with, and costs memory.
        command.args(&self.arguments).stdin(Stdio::null()).env_remove("RUST_BACKTRACE");
        // Nor is a proxy of the developer's for the clouds of tests.
        for name in ["HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"] {
            command.env_remove(name);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Starts the process (again) and waits until it is ready.
    pub async fn run(&mut self) -> anyhow::Result<()> {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log_path())?;
        self.child = Some(self.command().stdout(Stdio::null()).stderr(log).spawn().context("the hub's binary")?);
        let deadline = Instant::now() + Duration::from_secs(20);
        while !self.is_ready().await {
            if let Some(status) = self.child.as_mut().and_then(|child| child.try_wait().transpose()) {
                anyhow::bail!("the hub ended with {:?}:\n{}", status?, self.log());
            }
            anyhow::ensure!(Instant::now() < deadline, "the hub is not ready:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    async fn is_ready(&self) -> bool {
        match Client::http1(self.admin).await {
            Ok(client) => client.get("/v1/readyz").await.is_ok_and(|answer| answer.status == 200),
            Err(_) => false,
        }
    }

    /// SIGHUP: another process takes its place. The old one goes on with what it has begun, and [`Hub::ended`] waits for it.
    pub async fn hand_over(&mut self) -> anyhow::Result<()> {
        self.signal("HUP")?;
        let takes = async || Ok(self.log().matches(TAKEN_OVER).count() > self.taken_over);
        eventually("another process takes over", Duration::from_secs(60), takes).await?;
        let log = self.log();
        let line = log.lines().filter(|line| line.contains(TAKEN_OVER)).nth(self.taken_over).context("a line")?;
        let pid = line.split("pid=").nth(1).and_then(|rest| rest.split_whitespace().next()).context("a pid")?;
        self.heirs.push(pid.parse()?);
        self.taken_over += 1;
        Ok(())
    }

    /// kill -9.
    pub fn kill(&mut self) {
        for heir in self.heirs.drain(..) {
            let own = self.folder.path().display().to_string();
            // Its number may be somebody else's by now.
            if std::fs::read(format!("/proc/{heir}/cmdline")).is_ok_and(|words| String::from_utf8_lossy(&words).contains(&own)) {
                let _ = Command::new("kill").arg("-9").arg(heir.to_string()).status();
            }
        }
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Sends a signal by name, as in `TERM`.
    pub fn signal(&self, name: &str) -> anyhow::Result<()> {
        let pid = self.pid().context("the hub does not run")?;
        let status = Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status()?;
        anyhow::ensure!(status.success(), "kill -{name}");
        Ok(())
    }

    /// Waits for the process to end.
    pub async fn ended(&mut self, within: Duration) -> anyhow::Result<ExitStatus> {
        let deadline = Instant::now() + within;
        loop {
            let child = self.child.as_mut().context("the hub does not run")?;
            if let Some(status) = child.try_wait()? {
                self.child = None;
                return Ok(status);
            }
            anyhow::ensure!(Instant::now() < deadline, "the hub still runs:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Of the process that serves.
    pub fn pid(&self) -> Option<u32> {
        self.heirs.last().copied().or_else(|| self.child.as_ref().map(Child::id))
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn store_file(&self) -> PathBuf {
        self.folder.path().join("root/store/holdfast.redb")
    }

    pub fn log_path(&self) -> PathBuf {
        self.folder.path().join("hub.log")
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// A client on the loopback port, as kubelet is one.
    pub async fn kubelet(&self) -> anyhow::Result<Client> {
        Ok(Client::http1(self.loopback).await?.with_header("user-agent", "kubelet/v1.34.4 (linux/amd64)"))
    }

    /// A client on the HTTPS port, as a Pod's is one.
    pub async fn pod(&self, token: &str, alpn: Alpn) -> anyhow::Result<Client> {
        let client = Client::https(self.secure, &self.ca_pem, "127.0.0.1", alpn).await?;
        Ok(client.with_token(token).with_header("user-agent", "sample/v0 (linux/amd64)"))
    }

    /// One figure of /metrics, 0 if it is not there.
    pub async fn metric(&self, name: &str) -> anyhow::Result<f64> {
        Ok(self.series(name).await?.first().copied().unwrap_or(0.0))
    }

    /// The same, of all its labels together.
    pub async fn total(&self, name: &str) -> anyhow::Result<f64> {
        Ok(self.series(name).await?.into_iter().sum())
    }

    async fn series(&self, name: &str) -> anyhow::Result<Vec<f64>> {
        let text = Client::http1(self.admin).await?.get("/metrics").await?.text();
        let is_of = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']));
        let value = |line: &str| line.rsplit(' ').next().and_then(|value| value.parse().ok()).unwrap_or(0.0);
        Ok(text.lines().filter(is_of).map(value).collect())
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- the hub's log ---\n{}", self.log());
        }
    }
}

/// Waits until `probe` is true; the message says what was waited for.
pub async fn eventually<F, Fut>(what: &str, within: Duration, mut probe: F) -> anyhow::Result<()>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = anyhow::Result<bool>>,
{
    let deadline = Instant::now() + within;
    loop {
        if probe().await? {
            return Ok(());
        }
        anyhow::ensure!(Instant::now() < deadline, "not within {within:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
