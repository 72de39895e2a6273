//! One TLS connection to one server.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::address::Address;
use super::error::{Error, Fault};
use super::proxy::{Proxies, Proxy};
use super::resolver::Resolver;
use super::transport::Transport;

/// A peer that vanished is noticed by the kernel after this long, where HTTP has no ping.
const VANISHED: Duration = Duration::from_secs(6);
const PROBES: u32 = 3;
/// An address that has not answered for this long has the next one asked beside it, or the same again: what is lost of the
/// first packets is sent once more by the kernel only after a second.
const STAGGER: Duration = Duration::from_millis(250);
/// As many are asked at a time.
const ASKED: usize = 6;

/// TLS with a server.
pub type Stream = TlsStream<Transport>;

/// Where a server is, what its name means at present, and what is between it and here.
pub struct Peer {
    pub address: Address,
    resolver: Arc<Resolver>,
    proxy: Option<Proxy>,
}

impl Peer {
    pub fn new(address: Address, proxies: &Proxies) -> Self {
        let resolver = Arc::new(Resolver::new(&address));
        let proxy = proxies.to(&address);
        Self { address, resolver, proxy }
    }

    /// A connection on which the server is next, and be it behind a proxy. The error says what failed.
    async fn transport(&self) -> Result<Transport, String> {
        let Some(proxy) = &self.proxy else { return direct(&self.resolver, &self.address).await.map(Transport::Tcp) };
        let stream = direct(&proxy.resolver, proxy).await?;
        let refused = |error| format!("ask the proxy {proxy} for a tunnel to {}: {error}", self.address);
        proxy.tunnel(stream, &self.address).await.map_err(refused)
    }
}

async fn direct(resolver: &Arc<Resolver>, whom: &(dyn std::fmt::Display + Sync)) -> Result<TcpStream, String> {
    let addresses = resolver.addresses().await.map_err(|error| format!("look up {whom}: {error}"))?;
    let stream = first(addresses, TcpStream::connect).await.and_then(|stream| stream.set_nodelay(true).map(|()| stream));
    stream.map_err(|error| format!("connect to {whom}: {error}"))
}

/// Connects and shakes hands within `limit`.
pub async fn tls(peer: &Peer, config: Arc<rustls::ClientConfig>, limit: Duration) -> Result<Stream, Error> {
    let address = &peer.address;
    let failed = |what: &str, why: &dyn std::fmt::Display| Error::new(Fault::Link, false, format!("{what} {address}: {why}"));
    let connect = async {
        let transport = peer.transport().await.map_err(|why| Error::new(Fault::Link, false, why))?;
        let name = ServerName::try_from(address.host.clone()).map_err(|error| failed("server name of", &error))?;
        TlsConnector::from(config).connect(name, transport).await.map_err(|error| failed("TLS handshake with", &error))
    };
    tokio::time::timeout(limit, connect)
        .await
        .unwrap_or_else(|_| Err(Error::silence(false, format_args!("connect to {address}: no answer within {limit:?}"))))
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

/// The first address that answers. One that is silent is not waited for alone (RFC 8305, 5).
async fn first<T, Connecting>(addresses: Vec<SocketAddr>, connect: impl Fn(SocketAddr) -> Connecting) -> std::io::Result<T>
where
    Connecting: Future<Output = std::io::Result<T>>,
{
    let mut turns = VecDeque::from(addresses);
    let mut asked = FuturesUnordered::new();
    loop {
        if asked.len() < ASKED
            && let Some(address) = turns.pop_front()
        {
            turns.push_back(address);
            let connecting = connect(address);
            asked.push(async move { (address, connecting.await) });
        }
        match tokio::time::timeout(STAGGER, asked.next()).await {
            Ok(Some((_, Ok(stream)))) => return Ok(stream),
            Ok(Some((refused, Err(error)))) => {
                turns.retain(|address| *address != refused);
                if turns.is_empty() && asked.is_empty() {
                    return Err(error);
                }
            }
            Ok(None) => return Err(std::io::Error::new(std::io::ErrorKind::NotFound, "no address")),
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

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

    #[tokio::test]
    async fn an_address_that_refuses_or_is_silent_leaves_the_next_one() {
        let door = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let there = door.local_addr().unwrap();
        let refuses = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        // Its queue is full: what more comes gets no answer.
        let silent = tokio::net::TcpSocket::new_v4().unwrap();
        silent.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let silent = silent.listen(0).unwrap();
        let _full = TcpStream::connect(silent.local_addr().unwrap()).await.unwrap();
        let silent = silent.local_addr().unwrap();
        for addresses in [vec![refuses, there], vec![silent, there], vec![silent, refuses, there], vec![there, silent]] {
            assert_eq!(first(addresses, TcpStream::connect).await.unwrap().peer_addr().unwrap(), there);
        }
        let refused = first(vec![refuses], TcpStream::connect).await.unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_whose_answer_is_lost_is_asked_again_soon_and_a_few_times_at_once() {
        let (asked, began) = (AtomicUsize::new(0), tokio::time::Instant::now());
        let connect = |lost: usize| {
            let asked = &asked;
            move |_| {
                let is_lost = asked.fetch_add(1, Ordering::Relaxed) < lost;
                async move { if is_lost { std::future::pending().await } else { Ok(()) } }
            }
        };
        let address = "192.0.2.1:6443".parse().unwrap();
        first(vec![address], connect(2)).await.unwrap();
        assert_eq!(began.elapsed(), STAGGER * 2);
        asked.store(0, Ordering::Relaxed);
        let silent = first(vec![address], connect(usize::MAX));
        tokio::time::timeout(Duration::from_secs(60), silent).await.unwrap_err();
        assert_eq!(asked.load(Ordering::Relaxed), ASKED);
    }
}
