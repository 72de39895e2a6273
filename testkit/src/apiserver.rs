//! A real kube-apiserver and its etcd, alone on loopback: what it answers is what Kubernetes answers.
//!
//! Nothing in it changes but by requests: no leases or endpoints of its own. Both processes end with the value, and
//! with the thread that has started it.

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::client::{Alpn, Client};
use crate::hub::eventually;
use crate::network::Namespace;
use crate::pki::Pki;
use crate::port::free_address;

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A static token of somebody who may do everything.
pub const TOKEN: &str = "somebody";
/// And of others of whom the same is true.
pub const OTHERS: [&str; 2] = ["second", "third"];
/// From the start to an answer.
const READY: Duration = Duration::from_secs(40);

pub struct Apiserver {
    pub address: SocketAddr,
    /// Where the test itself reaches it.
    pub reached: SocketAddr,
    pub pki: Pki,
    folder: tempfile::TempDir,
    /// Before the command of each server.
    enter: Vec<String>,
    lab: PathBuf,
    etcd_flags: Vec<String>,
    server_flags: Vec<String>,
    servers: Vec<Child>,
}

impl Apiserver {
    /// `lab` is the program with all of Kubernetes in it. Everybody may do everything.
    pub async fn start(lab: &Path) -> Result<Self> {
        Self::with(lab, &[]).await
    }

    /// The same with more flags of the kube-apiserver.
    pub async fn with(lab: &Path, flags: &[&str]) -> Result<Self> {
        Self::at(lab, [LOCALHOST; 2], Vec::new(), flags).await
    }

    /// In a network namespace at its address `ip`, and at another one by which the test reaches it whatever becomes of that.
    pub async fn inside(lab: &Path, namespace: &Namespace, ip: IpAddr, aside: IpAddr) -> Result<Self> {
        let advertised = format!("--advertise-address={ip}");
        Self::at(lab, [ip, aside], namespace.enter(), &["--bind-address=0.0.0.0", &advertised]).await
    }

    async fn at(lab: &Path, [ip, aside]: [IpAddr; 2], enter: Vec<String>, flags: &[&str]) -> Result<Self> {
        let (address, etcd, peers) = (free_address()?, free_address()?, free_address()?);
        let [address, reached] = [ip, aside].map(|ip| SocketAddr::new(ip, address.port()));
        let (pki, folder) = (Pki::new(), tempfile::tempdir()?);
        let path = |name: &str| folder.path().join(name).display().to_string();
        let ca = pki.write_to(folder.path())?;
        pki.server(&["127.0.0.1", "localhost", &ip.to_string()]).write_to(folder.path(), "serving")?;
        pki.client("tokens", "tokens").write_to(folder.path(), "tokens")?;
        let users = [TOKEN].into_iter().chain(OTHERS).map(|token| format!("{token},{token},{token},system:masters\n"));
        std::fs::write(path("users.csv"), users.collect::<String>())?;
        let etcd_url = format!("http://{etcd}");
        let etcd_flags = vec![
            format!("--data-dir={}", path("etcd")),
            format!("--listen-client-urls={etcd_url}"),
            format!("--advertise-client-urls={etcd_url}"),
            format!("--listen-peer-urls=http://{peers}"),
            "--unsafe-no-fsync".to_owned(),
            "--log-level=warn".to_owned(),
        ];
        let mut server_flags = vec![
            format!("--etcd-servers={etcd_url}"),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--secure-port={}", address.port()),
            format!("--cert-dir={}", path("pki")),
            format!("--tls-cert-file={}", path("serving.crt")),
            format!("--tls-private-key-file={}", path("serving.key")),
            format!("--client-ca-file={}", ca.display()),
            format!("--token-auth-file={}", path("users.csv")),
            "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
            // Pods are only stored here: nobody makes the ServiceAccount that they would run with.
            "--disable-admission-plugins=ServiceAccount".to_owned(),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!("--service-account-key-file={}", path("tokens.crt")),
            format!("--service-account-signing-key-file={}", path("tokens.key")),
            "--endpoint-reconciler-type=none".to_owned(),
            "--feature-gates=APIServerIdentity=false".to_owned(),
        ];
        server_flags.extend(flags.iter().map(|flag| (*flag).to_owned()));
        let lab = lab.to_owned();
        let mut server = Self { address, reached, pki, folder, enter, lab, etcd_flags, server_flags, servers: Vec::new() };
        server.run().await?;
        Ok(server)
    }

    /// Starts both (again) and waits until they answer.
    pub async fn run(&mut self) -> Result<()> {
        for (program, flags) in [("etcd", &self.etcd_flags), ("kube-apiserver", &self.server_flags)] {
            let log = std::fs::File::create(self.folder.path().join(format!("{program}.log")))?;
            let mut command = Command::new("setpriv");
            command.args(["--pdeathsig", "KILL"]).args(&self.enter).arg(&self.lab).arg(program).args(flags);
            command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
            self.servers.push(command.spawn().with_context(|| format!("{program}: setpriv of util-linux"))?);
        }
        self.ready().await
    }

    /// Etcd's data as they are, while it does not run.
    pub fn snapshot(&self) -> Result<()> {
        copy(&self.folder.path().join("etcd"), &self.folder.path().join("snapshot"))
    }

    /// Puts that back, while it does not run.
    pub fn restore(&self) -> Result<()> {
        std::fs::remove_dir_all(self.folder.path().join("etcd"))?;
        copy(&self.folder.path().join("snapshot"), &self.folder.path().join("etcd"))
    }

    async fn ready(&mut self) -> Result<()> {
        let (address, ca) = (self.reached, self.pki.ca_pem().to_owned());
        let servers = RefCell::new(&mut self.servers);
        let ready = eventually("the kube-apiserver is ready", READY, async || {
            let ended = servers.borrow_mut().iter_mut().any(|server| !matches!(server.try_wait(), Ok(None)));
            ensure!(!ended, "one of the servers has ended");
            let Ok(client) = client(address, &ca).await else { return Ok(false) };
            Ok(client.get("/readyz").await.is_ok_and(|answer| answer.status == 200))
        });
        ready.await.with_context(|| self.logs())
    }

    /// The last lines of both.
    fn logs(&self) -> String {
        let tail = |program: &str| {
            let log = std::fs::read_to_string(self.folder.path().join(format!("{program}.log"))).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            lines[lines.len().saturating_sub(15)..].join("\n")
        };
        [tail("etcd"), tail("kube-apiserver")].join("\n")
    }

    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// A client on the server itself, with the token of somebody who may do everything.
    pub async fn client(&self) -> Result<Client> {
        client(self.reached, self.pki.ca_pem()).await
    }

    /// Ends both servers, as a cut would.
    pub fn kill(&mut self) {
        for mut server in self.servers.drain(..).rev() {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

async fn client(address: SocketAddr, ca_pem: &str) -> Result<Client> {
    Ok(Client::https(address, ca_pem, "127.0.0.1", Alpn::H2).await?.with_token(TOKEN))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let status = Command::new("cp").arg("-a").args([from, to]).status()?;
    ensure!(status.success(), "cp -a {}: {status}", from.display());
    Ok(())
}

impl Drop for Apiserver {
    fn drop(&mut self) {
        self.kill();
    }
}
