//! HTTP/1.1 connections for small GETs to a server nearby.
//!
//! One exchange at a time on each, written and read by the request's own task: that
//! spares client, hub and server the compression of heads and the bookkeeping of
//! streams, which are most of what a small GET costs. Lanes are opened while GETs
//! come densely and closed soon after. A lane never fails a request: one without an
//! answer at once is closed, and the GET goes over HTTP/2, which knows what silence
//! means. Where the server is far they are not opened: there the way is what takes
//! the time, and a request should not travel twice.

mod exchange;
mod framing;
#[cfg(test)]
mod tests;

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::time::{Instant, Sleep};

pub(super) use exchange::LaneBody;

/// Lanes of one pool.
const LANES: usize = 16;
/// This many GETs within a second are dense.
const DENSE: u32 = 32;
/// A server that takes longer to shake hands is far.
const NEAR: Duration = Duration::from_millis(50);
/// A lane that is not used for this long is closed.
const IDLE: Duration = Duration::from_secs(10);
/// How long nobody tries again after a lane was of no use.
const PAUSE: Duration = Duration::from_secs(10);
/// Bytes read at a time.
const READ: usize = 8 * 1024;

/// A connection.
pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// The lanes to one server under one identity.
#[derive(Default)]
pub(super) struct Lanes(Mutex<State>);

#[derive(Default)]
struct State {
    idle: Vec<Lane>,
    /// Lanes there are, in use or not: those that hold it.
    open: Arc<()>,
    opening: bool,
    closing_idle: bool,
    /// Lanes of before are not taken back.
    epoch: u64,
    /// Since when GETs are counted, and how many came.
    window: Option<(Instant, u32)>,
    paused_until: Option<Instant>,
}

pub(super) struct Lane {
    io: Box<dyn Io>,
    /// What was read and not yet made sense of.
    buf: BytesMut,
    patience: Patience,
    /// Of the credentials.
    generation: u64,
    epoch: u64,
    used: Instant,
    _open: Arc<()>,
}

/// A deadline that moves with every exchange, and a timer that is set anew only now and
/// then.
struct Patience {
    since: Instant,
    timer: Pin<Box<Sleep>>,
}

impl Lanes {
    /// A lane that is free and still quiet: whatever a server says unasked is its end.
    pub(super) fn take(&self, generation: u64) -> Option<Lane> {
        let now = Instant::now();
        loop {
            let mut lane = self.lock().idle.pop()?;
            if lane.generation == generation && now < lane.used + IDLE && lane.is_quiet() {
                return Some(lane);
            }
        }
    }

    /// Whether to open one more, asked for each GET that found none free. The caller
    /// then owes [`Lanes::opened`].
    pub(super) fn wants_one(&self) -> bool {
        let now = Instant::now();
        let mut state = self.lock();
        let (began, gets) = state.window.filter(|(began, _)| now < *began + Duration::from_secs(1)).unwrap_or((now, 0));
        state.window = Some((began, gets + 1));
        let dense = gets + 1 >= DENSE;
        let may =
            !state.opening && Arc::strong_count(&state.open) <= LANES && state.paused_until.is_none_or(|until| now >= until);
        state.opening |= dense && may;
        dense && may
    }

    /// Takes in what was opened since `began`; `None`: it failed.
    pub(super) fn opened(self: &Arc<Self>, io: Option<Box<dyn Io>>, generation: u64, began: Instant) {
        let near = began.elapsed() < NEAR;
        let mut state = self.lock();
        state.opening = false;
        let Some(io) = io.filter(|_| near) else {
            state.paused_until = Some(Instant::now() + PAUSE);
            return;
        };
        let lane = Lane {
            io,
            buf: BytesMut::new(),
            patience: Patience::new(),
            generation,
            epoch: state.epoch,
            used: Instant::now(),
            _open: state.open.clone(),
        };
        state.idle.push(lane);
        if !std::mem::replace(&mut state.closing_idle, true) {
            tokio::spawn(close_idle(self.clone()));
        }
    }

    fn give_back(&self, mut lane: Lane) {
        let mut state = self.lock();
        if lane.epoch == state.epoch && lane.buf.is_empty() {
            lane.used = Instant::now();
            state.idle.push(lane);
        }
    }

    /// This server is not for lanes at present.
    fn pause(&self) {
        self.lock().paused_until = Some(Instant::now() + PAUSE);
        self.forget();
    }

    pub(super) fn forget(&self) {
        let mut state = self.lock();
        state.epoch += 1;
        state.idle.clear();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes lanes nobody uses; ends when there are none left.
async fn close_idle(lanes: Arc<Lanes>) {
    loop {
        tokio::time::sleep(IDLE).await;
        let now = Instant::now();
        let mut state = lanes.lock();
        state.idle.retain(|lane| now < lane.used + IDLE);
        if Arc::strong_count(&state.open) == 1 {
            state.closing_idle = false;
            return;
        }
    }
}

impl Lane {
    /// Reads some; 0 bytes are the end.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<usize>> {
        self.buf.reserve(READ);
        std::pin::pin!(self.io.read_buf(&mut self.buf)).poll(cx)
    }

    /// Looks, however busy the task has been.
    fn is_quiet(&mut self) -> bool {
        let look = std::future::poll_fn(|cx| self.poll_fill(cx));
        std::pin::pin!(tokio::task::coop::unconstrained(look)).poll(&mut Context::from_waker(Waker::noop())).is_pending()
    }
}

impl Patience {
    fn new() -> Self {
        let since = Instant::now();
        Self { since, timer: Box::pin(tokio::time::sleep_until(since)) }
    }

    fn renew(&mut self) {
        self.since = Instant::now();
    }

    /// Ready when `limit` has passed since the last `renew`.
    fn poll_over(&mut self, limit: Duration, cx: &mut Context<'_>) -> Poll<()> {
        let due = self.since + limit;
        if self.timer.deadline() > due || self.timer.is_elapsed() {
            self.timer.as_mut().reset(due);
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            if Instant::now() >= due {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(due);
        }
        Poll::Pending
    }
}
