//! TLS for Pods: the certificate is swapped while connections go on, client
//! certificates are verified when they are shown.

use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use x509_parser::prelude::{FromDer as _, X509Certificate};

const HANDSHAKE: Duration = Duration::from_secs(10);

/// The subject of a client certificate that the cluster's CA has signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    pub common_name: String,
    pub organizations: Vec<String>,
}

impl Subject {
    /// Kubernetes' form of a node's identity (Node authorization, "system:nodes").
    pub fn is_node(&self, name: &str) -> bool {
        self.common_name.strip_prefix("system:node:") == Some(name)
            && self.organizations.iter().any(|group| group == "system:nodes")
    }

    fn of(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let subject = certificate.subject();
        let text = |attribute: &x509_parser::x509::AttributeTypeAndValue<'_>| attribute.as_str().ok().map(str::to_owned);
        Some(Self {
            common_name: subject.iter_common_name().next().and_then(text)?,
            organizations: subject.iter_organization().filter_map(text).collect(),
        })
    }
}

/// The handshake, and who the other end has proved to be.
pub(super) async fn accept(
    config: Arc<ServerConfig>,
    stream: TcpStream,
) -> std::io::Result<(TlsStream<TcpStream>, Option<Subject>)> {
    let stream = tokio::time::timeout(HANDSHAKE, TlsAcceptor::from(config).accept(stream))
        .await
        .map_err(|_| std::io::Error::new(std::io::ErrorKind::TimedOut, "no handshake in time"))??;
    let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let subject = shown.and_then(|certificate| Subject::of(certificate));
    Ok((stream, subject))
}
