//! From sockets to requests: plain HTTP on loopback, HTTPS for Pods, HTTP/1.1 and
//! HTTP/2 on both.
//!
//! A connection that misbehaves ends alone. Bounds: connections, all and of one source,
//! header bytes, the time a head may take, streams of one HTTP/2 connection.

mod connection;
mod shares;
mod tls;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use http::{HeaderMap, HeaderName};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::{OnceCell, Semaphore};

use super::Path;
use super::caller::Ownership;
use super::context::Bearer;
use crate::runtime::drain::Draining;
use crate::state::credentials::Serving;
use shares::Shares;
pub use tls::Subject;

/// Connections at one listener; further ones wait in the kernel's queue.
const CONNECTIONS: usize = 8192;

/// Of these from one address, unless it is the node's own: one Pod does not shut the door for all.
const SHARE: usize = CONNECTIONS / 8;

/// Whose request it is, from one process to the next: an address.
pub const CLIENT: HeaderName = HeaderName::from_static("holdfast-client");

/// The other end of a connection.
#[derive(Debug)]
pub struct Peer {
    pub remote: SocketAddr,
    pub local: SocketAddr,
    pub port: Port,
    /// The token of its last request: most connections bring the same one each time.
    pub bearer: Mutex<Option<Arc<Bearer>>>,
}

/// Which door it came through, and what that door knows of it.
#[derive(Debug)]
pub enum Port {
    /// Plain HTTP on loopback.
    Loopback { ownership: OnceCell<Ownership> },
    /// HTTPS; `client`: a verified client certificate.
    Secure { client: Option<Subject> },
    /// The process whose place this one has taken: what its clients still watch, and without a token the node itself does.
    Predecessor,
    /// The hub's own loops.
    Internal,
}

impl Peer {
    /// The hub itself.
    pub fn internal() -> Self {
        Self::of_nowhere(Port::Internal)
    }

    fn of_nowhere(port: Port) -> Self {
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        Self::new(nowhere, nowhere, port)
    }

    /// Whether it is the hub itself.
    pub fn is_internal(&self) -> bool {
        matches!(self.port, Port::Internal)
    }

    /// The process before asks for many clients, and says for which one.
    pub fn of_request(connected: Arc<Self>, headers: &HeaderMap) -> Arc<Self> {
        if !connected.is_predecessor() {
            return connected;
        }
        let said = headers.get(CLIENT).and_then(|client| client.to_str().ok()?.parse::<IpAddr>().ok());
        let remote = said.map_or(connected.remote, |client| SocketAddr::new(client, 0));
        Arc::new(Self::new(remote, connected.local, Port::Predecessor))
    }

    /// Whether it is the process whose place this one has taken.
    pub fn is_predecessor(&self) -> bool {
        matches!(self.port, Port::Predecessor)
    }

    pub fn new(remote: SocketAddr, local: SocketAddr, port: Port) -> Self {
        Self { remote, local, port, bearer: Mutex::default() }
    }
}

/// A bound door.
pub struct Listener {
    socket: TcpListener,
    tls: Option<Arc<Serving>>,
}

impl Listener {
    pub fn plain(socket: TcpListener) -> Self {
        Self { socket, tls: None }
    }

    pub fn secure(socket: TcpListener, tls: Arc<Serving>) -> Self {
        Self { socket, tls: Some(tls) }
    }

    /// Serves until the hub leaves for good; connections at work then finish on their own. While it may leave, whoever comes
    /// waits at the door, which may be another process's as well.
    pub async fn serve(self, path: Arc<Path>, mut draining: Draining) {
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        let shares = Shares::new(SHARE);
        loop {
            let Ok(permit) = room.clone().acquire_owned().await else { return };
            let accepted = tokio::select! {
                biased;
                () = draining.ending.leaving() => {
                    if draining.ending.stays().await {
                        continue;
                    }
                    return;
                }
                accepted = self.socket.accept() => accepted,
            };
            match accepted {
                Ok((stream, remote)) => {
                    let Some(share) = shares.take(remote.ip()) else {
                        path.metrics.connections_refused.inc();
                        continue;
                    };
                    let (path, tls, draining) = (path.clone(), self.tls.clone(), draining.clone());
                    tokio::spawn(async move {
                        let _place = (permit, share);
                        accept(stream, remote, tls, path, draining).await;
                    });
                }
                Err(error) => {
                    // Out of descriptors, most likely: the others go on, this one waits.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            }
        }
    }
}

/// Serves the process whose place this one has taken, until it ends.
pub async fn predecessor(socket: UnixStream, path: Arc<Path>, draining: Draining) {
    let peer = Peer::of_nowhere(Port::Predecessor);
    connection::serve(Box::new(socket), Arc::new(peer), path, draining).await;
}

async fn accept(stream: TcpStream, remote: SocketAddr, tls: Option<Arc<Serving>>, path: Arc<Path>, draining: Draining) {
    let Ok(local) = stream.local_addr() else { return };
    prepare(&stream);
    match tls {
        None => {
            let peer = Peer::new(remote, local, Port::Loopback { ownership: OnceCell::new() });
            connection::serve(Box::new(stream), Arc::new(peer), path, draining).await;
        }
        Some(tls) => {
            // Boxed, and gone with its end: it takes more than what comes after it.
            let accepted = Box::pin(tls::accept(tls.current(), stream)).await;
            match accepted {
                Ok((stream, client)) => {
                    let peer = Peer::new(remote, local, Port::Secure { client });
                    connection::serve(Box::new(stream), Arc::new(peer), path, draining).await;
                }
                Err(error) => tracing::debug!(%remote, %error, "TLS handshake failed"),
            }
        }
    }
}

/// Small frames go out at once; a peer that vanished is noticed by the kernel.
fn prepare(stream: &TcpStream) {
    use std::time::Duration;
    let _ = stream.set_nodelay(true);
    let keepalive = socket2::TcpKeepalive::new().with_time(Duration::from_secs(30)).with_interval(Duration::from_secs(10));
    let _ = socket2::SockRef::from(stream).set_tcp_keepalive(&keepalive);
}
