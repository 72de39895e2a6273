//! One connection's wire, and the hand on it.
//!
//! [`WireIo`] sits below TLS and can be frozen or cut at any moment; [`TextIo`] sits above TLS and
//! can put bytes of its own before the next ones written. Both obey the connection's [`Line`].
//!
//! Invariant: whoever returns `Pending` has left its waker with the line, so that every change of
//! mode is seen at once.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::lock;

/// What the connection's task is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    Run,
    GoAway,
    Cut,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Open,
    Frozen,
    Cut { reset: bool },
}

struct Inner {
    mode: Mode,
    wakers: [Option<Waker>; 2],
    inject: Bytes,
}

/// Control over one connection.
pub(crate) struct Line {
    inner: Mutex<Inner>,
    signal: watch::Sender<Signal>,
}

impl Line {
    pub(crate) fn new(frozen: bool) -> Arc<Self> {
        let mode = if frozen { Mode::Frozen } else { Mode::Open };
        let inner = Inner { mode, wakers: [None, None], inject: Bytes::new() };
        Arc::new(Self { inner: Mutex::new(inner), signal: watch::Sender::new(Signal::Run) })
    }

    pub(crate) fn signals(&self) -> watch::Receiver<Signal> {
        self.signal.subscribe()
    }

    pub(crate) fn freeze(&self) {
        self.set(Mode::Frozen);
    }

    pub(crate) fn thaw(&self) {
        self.set(Mode::Open);
    }

    pub(crate) fn go_away(&self) {
        self.signal.send_replace(Signal::GoAway);
    }

    /// Ends the connection, with RST or with FIN.
    pub(crate) fn cut(&self, reset: bool) {
        self.set(Mode::Cut { reset });
        self.signal.send_replace(Signal::Cut);
    }

    /// Puts bytes before the next ones written.
    pub(crate) fn inject(&self, bytes: &'static [u8]) {
        lock(&self.inner).inject = Bytes::from_static(bytes);
    }

    fn set(&self, mode: Mode) {
        let mut inner = lock(&self.inner);
        if matches!(inner.mode, Mode::Cut { .. }) {
            return;
        }
        inner.mode = mode;
        let wakers = std::mem::take(&mut inner.wakers);
        drop(inner);
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    /// Whether bytes may move now; leaves the waker in any case.
    fn ready(&self, side: usize, cx: &Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = lock(&self.inner);
        let waker = &mut inner.wakers[side];
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        match inner.mode {
            Mode::Open => Poll::Ready(Ok(())),
            Mode::Frozen => Poll::Pending,
            Mode::Cut { .. } => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
        }
    }
}

/// The TCP stream, obeying its line. Runs `on_close` when dropped.
pub(crate) struct WireIo {
    stream: TcpStream,
    line: Arc<Line>,
    on_close: Option<Box<dyn FnOnce() + Send>>,
}

impl WireIo {
    pub(crate) fn new(stream: TcpStream, line: Arc<Line>, on_close: impl FnOnce() + Send + 'static) -> Self {
        Self { stream, line, on_close: Some(Box::new(on_close)) }
    }
}

impl Drop for WireIo {
    fn drop(&mut self) {
        if lock(&self.line.inner).mode == (Mode::Cut { reset: true }) {
            self.stream.set_zero_linger().ok();
        }
        if let Some(on_close) = self.on_close.take() {
            on_close();
        }
    }
}

macro_rules! when_ready {
    ($line:expr, $side:expr, $cx:expr) => {
        match $line.ready($side, $cx) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => return Poll::Pending,
        }
    };
}

impl AsyncRead for WireIo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        when_ready!(self.line, 0, cx);
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for WireIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        when_ready!(self.line, 1, cx);
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        when_ready!(self.line, 1, cx);
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        when_ready!(self.line, 1, cx);
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The plain text of a connection: a TLS stream, with room for bytes put in between.
pub(crate) struct TextIo<S> {
    inner: S,
    line: Arc<Line>,
}

impl<S: AsyncWrite + Unpin> TextIo<S> {
    pub(crate) fn new(inner: S, line: Arc<Line>) -> Self {
        Self { inner, line }
    }

    /// Writes what was injected, all of it, before anything else.
    fn poll_injected(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let bytes = lock(&self.line.inner).inject.clone();
            if bytes.is_empty() {
                return Poll::Ready(Ok(()));
            }
            match Pin::new(&mut self.inner).poll_write(cx, &bytes) {
                Poll::Ready(Ok(count)) => lock(&self.line.inner).inject.advance(count),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for TextIo<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for TextIo<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.poll_injected(cx) {
            Poll::Ready(Ok(())) => Pin::new(&mut self.inner).poll_write(cx, buf),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
