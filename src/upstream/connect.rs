//! One TLS connection to one server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::address::Address;
use super::error::{Error, Fault};

/// Connects and shakes hands within `limit`; TCP addresses are tried in turn.
pub async fn tls(address: &Address, config: Arc<rustls::ClientConfig>, limit: Duration) -> Result<TlsStream<TcpStream>, Error> {
    let failed = |what: &str, why: &dyn std::fmt::Display| Error::new(Fault::Link, false, format!("{what} {address}: {why}"));
    let connect = async {
        let tcp = tcp(address).await.map_err(|error| failed("connect to", &error))?;
        let name = ServerName::try_from(address.host.clone()).map_err(|error| failed("server name of", &error))?;
        TlsConnector::from(config).connect(name, tcp).await.map_err(|error| failed("TLS handshake with", &error))
    };
    tokio::time::timeout(limit, connect)
        .await
        .unwrap_or_else(|_| Err(failed("connect to", &format_args!("no answer within {limit:?}"))))
}

/// The same, for a connection that is to speak HTTP/1.1.
pub fn http1_only(config: &rustls::ClientConfig) -> Arc<rustls::ClientConfig> {
    let mut config = config.clone();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}

async fn tcp(address: &Address) -> std::io::Result<TcpStream> {
    let mut last = std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address");
    for candidate in resolve(address).await? {
        match TcpStream::connect(candidate).await {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn resolve(address: &Address) -> std::io::Result<Vec<SocketAddr>> {
    Ok(tokio::net::lookup_host((address.host.as_str(), address.port)).await?.collect())
}
