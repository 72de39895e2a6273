//! One TLS connection to one server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::address::Address;
use super::error::{Error, Fault};

/// A peer that vanished is noticed by the kernel after this long, where HTTP has no ping.
const VANISHED: Duration = Duration::from_secs(6);
const PROBES: u32 = 3;

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

/// Has the kernel look after a quiet connection.
pub(super) fn keep_alive(stream: &TcpStream) {
    let interval = Duration::from_secs(1);
    let keepalive = TcpKeepalive::new().with_time(VANISHED - interval * PROBES).with_interval(interval).with_retries(PROBES);
    let _ = SockRef::from(stream).set_tcp_keepalive(&keepalive);
}

/// Has the kernel end a connection whose peer does not take what is sent. Not for large
/// requests: an API server that is busy leaves a body unread for longer.
pub(super) fn expect_acknowledgement(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_tcp_user_timeout(Some(VANISHED));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_kernel_is_told_when_a_peer_has_vanished() {
        let door = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(door.local_addr().unwrap()).await.unwrap();
        let socket = SockRef::from(&stream);
        keep_alive(&stream);
        assert!(socket.keepalive().unwrap());
        let probing = socket.tcp_keepalive_interval().unwrap() * socket.tcp_keepalive_retries().unwrap();
        assert_eq!(socket.tcp_keepalive_time().unwrap() + probing, VANISHED);
        assert_eq!(socket.tcp_user_timeout().unwrap(), None);
        expect_acknowledgement(&stream);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(VANISHED));
    }
}
