//! HTTP from within the node's network namespace: this process stays outside, and
//! `busybox nc` in there carries the bytes. TLS and HTTP are spoken here.

use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use testkit::client::{Alpn, Client};
use testkit::cluster::Cluster;
use tokio::process::{Child, Command};
use tokio_rustls::TlsConnector;

/// Longer than anything a test waits for.
const FOREVER: Duration = Duration::from_secs(90);

/// Where a client comes in.
#[derive(Clone, Copy)]
pub enum Door<'a> {
    /// Plain HTTP on loopback, as kubelet, without a credential.
    Loopback,
    /// HTTPS, with this token.
    Pods(&'a str),
    /// The admin listener.
    Admin,
}

/// One connection from the edge; `program` is its user agent.
pub struct Edge {
    pub client: Client,
    _pipe: Child,
}

/// An answer and how long it took.
pub struct Answer {
    pub status: u16,
    pub text: String,
    pub took: Duration,
}

impl Edge {
    pub async fn connect(cluster: &Cluster, door: Door<'_>, program: &str) -> Result<Edge> {
        let (host, port) = match door {
            Door::Loopback => ("127.0.0.1", "10261"),
            Door::Pods(_) => ("169.254.2.1", "10268"),
            Door::Admin => ("127.0.0.1", "10267"),
        };
        let mut command = Command::from(cluster.edge_command("busybox"));
        command.args(["nc", host, port]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        let mut pipe = command.spawn().context("busybox nc")?;
        let (Some(input), Some(output)) = (pipe.stdin.take(), pipe.stdout.take()) else { anyhow::bail!("no pipes to nc") };
        let stream = tokio::io::join(output, input);
        let authority = format!("{host}:{port}");
        let client = match door {
            Door::Loopback | Door::Admin => Client::over(stream, Alpn::H1, "http", &authority).await?,
            Door::Pods(token) => {
                let stream = tls(cluster)?.connect(ServerName::try_from(host)?, stream).await.context("TLS handshake")?;
                Client::over(stream, Alpn::H2, "https", &authority).await?.with_token(token)
            }
        };
        Ok(Edge { client: client.with_header("user-agent", program), _pipe: pipe })
    }

    /// Sends a request and reads the whole answer.
    pub async fn ask(&self, method: &str, path: &str, body: &str) -> Result<Answer> {
        self.ask_for("application/json", method, path, body).await
    }

    /// The same in the representations that `accept` allows.
    pub async fn ask_for(&self, accept: &str, method: &str, path: &str, body: &str) -> Result<Answer> {
        let started = Instant::now();
        let headers = [("accept", accept), ("content-type", "application/json")];
        let answer = tokio::time::timeout(FOREVER, self.client.request(method, path, &headers, body.to_owned()));
        let answer =
            answer.await.with_context(|| format!("{method} {path}: no answer"))?.with_context(|| format!("{method} {path}"))?;
        Ok(Answer { status: answer.status.as_u16(), text: answer.text(), took: started.elapsed() })
    }
}

fn tls(cluster: &Cluster) -> Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    for cert in CertificateDer::pem_file_iter(cluster.ca())? {
        roots.add(cert?)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}
