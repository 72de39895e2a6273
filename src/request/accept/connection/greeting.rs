//! What a client says first must come in time: hyper waits for it without a limit until it
//! can tell HTTP/2 from HTTP/1.1. After that this is one look at a flag for each read.
//!
//! A client that the hub ends the connection of reads what it is told, although it is still sending: a head that is no good, or
//! over HTTP/2 that it has read some of a long answer. A connection that is closed with something unread takes the answer with
//! it (RFC 9112, 9.6).

use std::io::{Error, ErrorKind, Result};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::streaming::Lent;

/// How HTTP/2 begins (RFC 9113, 3.4); any other byte is the beginning of HTTP/1.1.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How long, and how much at most, is read from a client that reads its last answer over HTTP/2.
const LINGER: Duration = Duration::from_secs(5);
/// From one whose first head is no good.
const LINGER_UNSERVED: Duration = Duration::from_millis(500);
const LINGER_BYTES: usize = 4 << 20;

/// An io whose reads fail if it has not said within a limit which protocol it speaks.
pub(super) struct Greeted {
    io: Lent,
    waiting: Option<Waiting>,
    is_http2: bool,
    /// Whether there was a request.
    pub(super) is_served: Arc<AtomicBool>,
    lingering: Option<Lingering>,
}

/// The answer is sent.
struct Lingering {
    deadline: Pin<Box<Sleep>>,
    left: usize,
}

/// The protocol is not known yet.
struct Waiting {
    deadline: Pin<Box<Sleep>>,
    /// Bytes that have come, all of them the preface's.
    came: usize,
}

impl Greeted {
    pub(super) fn new(io: Lent, limit: Duration) -> Self {
        let waiting = Waiting { deadline: Box::pin(tokio::time::sleep(limit)), came: 0 };
        Self { io, waiting: Some(waiting), is_http2: false, is_served: Arc::default(), lingering: None }
    }

    /// Reads away what the client is still sending, until it ends the connection too.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let within = match (self.is_served.load(Ordering::Relaxed), self.is_http2) {
            (false, _) => LINGER_UNSERVED,
            (true, true) => LINGER,
            // It says nothing before it has read its answer.
            (true, false) => return Poll::Ready(()),
        };
        let linger = || Lingering { deadline: Box::pin(tokio::time::sleep(within)), left: LINGER_BYTES };
        let Lingering { deadline, left } = self.lingering.get_or_insert_with(linger);
        let mut buf = [0; 8 * 1024];
        while *left > 0 {
            let mut buf = ReadBuf::new(&mut buf);
            match Pin::new(&mut self.io).poll_read(cx, &mut buf) {
                Poll::Pending => return deadline.as_mut().poll(cx),
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => *left = left.saturating_sub(buf.filled().len()),
                Poll::Ready(_) => break,
            }
        }
        Poll::Ready(())
    }
}

impl Waiting {
    /// Whether it is HTTP/2, once these bytes show that.
    fn is_http2(&mut self, bytes: &[u8]) -> Option<bool> {
        let rest = &PREFACE[self.came..];
        self.came += bytes.len();
        let is_whole = bytes.starts_with(rest);
        (is_whole || !rest.starts_with(bytes)).then_some(is_whole)
    }
}

impl AsyncRead for Greeted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        let before = buf.filled().len();
        let poll = Pin::new(&mut self.io).poll_read(cx, buf);
        let Some(waiting) = &mut self.waiting else { return poll };
        if poll.is_pending() {
            let late = || Error::new(ErrorKind::TimedOut, "the client has not said in time which protocol it speaks");
            return waiting.deadline.as_mut().poll(cx).map(|()| Err(late()));
        }
        if let Some(is_http2) = waiting.is_http2(&buf.filled()[before..]) {
            (self.waiting, self.is_http2) = (None, is_http2);
        }
        poll
    }
}

impl AsyncWrite for Greeted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[std::io::IoSlice<'_>]) -> Poll<Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if self.lingering.is_none() {
            ready!(Pin::new(&mut self.io).poll_shutdown(cx))?;
        }
        self.poll_linger(cx).map(Ok)
    }
}
