//! One HTTP/2 connection: its driver, its pings, its places.
//!
//! A connection lives until its server ends it, it breaks, or a ping stays without
//! reply. Its death fails every stream on it with the reason of the death.

#[cfg(test)]
mod tests;

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Ping, PingPong};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::error::{Error, Fault};
use super::timing::Timing;

/// Streams share a connection window so large that one stalled client never stops
/// its neighbours; each stream's own window bounds the memory.
const CONNECTION_WINDOW: u32 = (1 << 31) - 1;
const STREAM_WINDOW: u32 = 512 * 1024;
const MAX_HEADERS: u32 = 256 * 1024;

/// What a connection's users and its driver both know.
pub(super) struct Shared {
    in_flight: AtomicUsize,
    /// Requests that wait for an answer's head, or for more of a body that has an end.
    waiting: AtomicUsize,
    began: Instant,
    /// When something came last, in nanoseconds since it began.
    read: AtomicU64,
    dead: AtomicBool,
    silent: AtomicBool,
    /// Nobody waited when silence was last looked for: the next request to do so says it.
    resting: AtomicBool,
    expecting: Notify,
    signs: Arc<Signs>,
}

/// A server's signs of life, of all its connections.
#[derive(Default)]
pub(super) struct Signs {
    /// Parts of answers that have come.
    pub(super) parts: AtomicU64,
    /// Replies to pings, and handshakes.
    pub(super) replies: AtomicU64,
}

/// A stream's place on a connection; given back when dropped.
pub(super) struct Place(Arc<Shared>);

/// A stream whose head is sent: the answer to come, and where the body goes.
pub(super) type Opened = (h2::client::ResponseFuture, h2::SendStream<Bytes>);

/// A request waits as long as this lives.
pub(super) struct Expecting(Arc<Shared>);

pub(super) struct Connection {
    pub(super) generation: u64,
    send: SendRequest<Bytes>,
    shared: Arc<Shared>,
}

impl Shared {
    fn new(signs: Arc<Signs>) -> Self {
        Self {
            in_flight: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            began: Instant::now(),
            read: AtomicU64::new(0),
            dead: AtomicBool::new(false),
            silent: AtomicBool::new(false),
            resting: AtomicBool::new(false),
            expecting: Notify::new(),
            signs,
        }
    }

    /// A part of an answer has come.
    pub(super) fn has_delivered(&self) {
        self.signs.parts.fetch_add(1, Ordering::Relaxed);
    }

    fn has_come(&self) {
        let nanoseconds = self.began.elapsed().as_nanos();
        self.read.store(u64::try_from(nanoseconds).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn came_last(&self) -> Instant {
        self.began + Duration::from_nanos(self.read.load(Ordering::Relaxed))
    }

    /// Returns when nothing has come for as long as those who use the connection have patience.
    async fn falls_quiet(&self, timing: Timing) {
        let mut since = None;
        loop {
            self.resting.store(true, Ordering::SeqCst);
            if self.waiting.load(Ordering::SeqCst) > 0 {
                self.resting.store(false, Ordering::SeqCst);
                since.get_or_insert_with(Instant::now);
            } else {
                since = None;
            }
            let is_used = self.in_flight.load(Ordering::Relaxed) > 0;
            let end = match since {
                Some(since) => Some(self.came_last().max(since) + timing.patience / 2),
                None => is_used.then(|| self.came_last() + timing.keepalive),
            };
            if end.is_some_and(|end| end <= Instant::now()) {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep_until(end.unwrap_or_else(Instant::now)), if end.is_some() => {}
                () = self.expecting.notified(), if since.is_none() => {}
            }
        }
    }

    /// What a stream's failure means: on a silent connection, always the silence.
    pub(super) fn explain(&self, error: &h2::Error, sent: bool) -> Error {
        if self.silent.load(Ordering::Relaxed) {
            return Error::silence(sent, "the connection fell silent: no reply to a ping");
        }
        Error::from_h2(error, sent)
    }
}

impl Expecting {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        shared.waiting.fetch_add(1, Ordering::SeqCst);
        if shared.resting.load(Ordering::SeqCst) && shared.resting.swap(false, Ordering::SeqCst) {
            shared.expecting.notify_one();
        }
        Self(shared.clone())
    }
}

impl Drop for Expecting {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Place {
    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Connection {
    /// Shakes hands in HTTP/2 and starts the driver.
    pub(super) async fn start<Io>(
        io: Io,
        generation: u64,
        timing: Timing,
        signs: Arc<Signs>,
        died: impl FnOnce(bool) + Send + 'static,
    ) -> Result<Self, Error>
    where
        Io: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let shared = Arc::new(Shared::new(signs));
        let io = Noted { io, shared: shared.clone() };
        let handshake = h2::client::Builder::new()
            .initial_connection_window_size(CONNECTION_WINDOW)
            .initial_window_size(STREAM_WINDOW)
            .max_header_list_size(MAX_HEADERS)
            .max_frame_size(64 * 1024)
            .enable_push(false)
            .handshake(io);
        let (send, mut driver) = handshake.await.map_err(|error| Error::from_h2(&error, false))?;
        let pings = driver.ping_pong().expect("taken once, right after the handshake");
        let state = shared.clone();
        tokio::spawn(async move {
            let clean = tokio::select! {
                result = &mut driver => result.is_ok(),
                () = watch_silence(pings, &state, timing) => {
                    state.silent.store(true, Ordering::Relaxed);
                    false
                }
            };
            state.dead.store(true, Ordering::Relaxed);
            drop(driver);
            died(clean);
        });
        Ok(Self { generation, send, shared })
    }

    pub(super) fn is_dead(&self) -> bool {
        self.shared.dead.load(Ordering::Relaxed)
    }

    /// Another number each time something comes.
    pub(super) fn heard(&self) -> u64 {
        self.shared.read.load(Ordering::Relaxed)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.shared.in_flight.load(Ordering::Relaxed) == 0
    }

    /// A place for one more stream, if the server allows one more.
    pub(super) fn take_place(&self) -> Option<Place> {
        let limit = self.send.current_max_send_streams();
        let taken = self.shared.in_flight.fetch_add(1, Ordering::Relaxed);
        let place = Place(self.shared.clone());
        (taken < limit && !self.is_dead()).then_some(place)
    }

    /// Sends the head; the answer is awaited by `answer`, the body is the caller's.
    /// Fails only if nothing was sent: the connection was ending, and is not taken again.
    pub(super) async fn send(&self, head: http::Request<()>, end: bool) -> Result<Opened, Error> {
        let ended = |error| {
            self.shared.dead.store(true, Ordering::Relaxed);
            Error::new(Fault::Refused, false, error)
        };
        let mut send = self.send.clone().ready().await.map_err(ended)?;
        send.send_request(head, end).map_err(ended)
    }

    /// Waits for the answer's head, however long: a slow server is waited for, and a
    /// dead one is noticed by [`watch_silence`]. A timer of its own for each request
    /// would wake the runtime each time.
    pub(super) async fn answer(&self, future: h2::client::ResponseFuture) -> Result<http::Response<h2::RecvStream>, Error> {
        let _expecting = Expecting::new(&self.shared);
        future.await.inspect(|_| self.shared.has_delivered()).map_err(|error| {
            // It takes no more streams, although it may finish those it has.
            if error.is_go_away() || error.is_io() {
                self.shared.dead.store(true, Ordering::Relaxed);
            }
            self.shared.explain(&error, true)
        })
    }
}

/// Returns when nothing has come in the time that a ping's reply has. A connection that is quiet is pinged: soon if
/// somebody waits for an answer, now and then if it only carries watches. One that is busy is
/// looked at in that rhythm, not at each request.
async fn watch_silence(mut pings: PingPong, shared: &Shared, timing: Timing) {
    loop {
        shared.falls_quiet(timing).await;
        let mut pong = pin!(pings.ping(Ping::opaque()));
        let mut since = Instant::now();
        loop {
            match tokio::time::timeout_at(since + timing.pong, &mut pong).await {
                Ok(Ok(_)) => {
                    shared.signs.replies.fetch_add(1, Ordering::Relaxed);
                    break;
                }
                // The driver ends by itself and knows the reason.
                Ok(Err(_)) => std::future::pending().await,
                // The reply may be behind much else on a slow link.
                Err(_) if shared.came_last() > since => since = shared.came_last(),
                Err(_) => return,
            }
        }
    }
}

/// Notes when something comes, so that a busy connection is not pinged.
struct Noted<Io> {
    io: Io,
    shared: Arc<Shared>,
}

impl<Io: AsyncRead + Unpin> AsyncRead for Noted<Io> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        let poll = Pin::new(&mut self.io).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.shared.has_come();
        }
        poll
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for Noted<Io> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
