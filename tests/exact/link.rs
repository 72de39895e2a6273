//! A link to the kube-apiserver that can be cut while the server goes on.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use testkit::hub::{Hub, eventually};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Up,
    /// Connections are cut, and new ones at once.
    Cut,
    /// Nothing comes through.
    Silent,
}

/// To the hub it is a server of its own.
pub struct Link {
    pub server: SocketAddr,
    state: watch::Sender<State>,
    carried: Arc<AtomicU64>,
}

impl Link {
    pub async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, state) = watch::channel(State::Up);
        let carried = Arc::new(AtomicU64::new(0));
        let count = carried.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(Counted(client, count.clone()), server, state.clone()));
            }
        });
        Self { server: address, state: sender, carried }
    }

    /// Bytes, both ways, of TCP's payload.
    pub fn carried(&self) -> u64 {
        self.carried.load(Ordering::Relaxed)
    }

    pub fn url(&self) -> String {
        format!("https://{}", self.server)
    }

    pub fn set(&self, state: State) {
        self.state.send_replace(state);
    }

    /// Makes or cuts it, and waits until the hub has noticed.
    pub async fn is_up(&self, up: bool, hub: &Hub) {
        self.set(if up { State::Up } else { State::Cut });
        self.verdict(up, hub).await;
    }

    /// Waits until the hub has it.
    pub async fn verdict(&self, up: bool, hub: &Hub) {
        let name = format!("node_yurthub_server_healthy_status{{server=\"{}\"}}", self.server);
        let value = if up { 1.0 } else { 0.0 };
        eventually("the verdict changes", Duration::from_secs(60), async || Ok(hub.metric(&name).await? == value)).await.unwrap();
    }
}

/// Until one of both ends it, or the link is cut. What was silent is cut when the silence is over.
async fn carry(mut client: Counted, server: SocketAddr, mut link: watch::Receiver<State>) {
    let carried = async {
        let mut server = TcpStream::connect(server).await?;
        copy_bidirectional(&mut client, &mut server).await
    };
    tokio::select! {
        biased;
        _ = link.wait_for(|state| *state != State::Up) => {}
        _ = carried => return,
    }
    let _ = link.wait_for(|state| *state != State::Silent).await;
}

/// A connection of which each byte is counted.
struct Counted(TcpStream, Arc<AtomicU64>);

impl Counted {
    fn count(&self, bytes: usize) {
        self.1.fetch_add(u64::try_from(bytes).unwrap(), Ordering::Relaxed);
    }
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.0).poll_read(cx, buf))?;
        self.count(buf.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.0).poll_write(cx, buf))?;
        self.count(written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
