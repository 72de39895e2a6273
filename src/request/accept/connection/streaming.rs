//! A watch over HTTP/1.1, which has its connection to itself while it lasts: nothing else is read or written.
//!
//! hyper keeps 24 KB of buffers for what may come next (docs/decisions/0020-a-watch-alone.md); here is none. When the watch
//! has ended hyper goes on.

use std::io::Result;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::SystemTime;

use bytes::Bytes;
use http::header::{DATE, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body::Frame;
use http_body_util::BodyExt as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};

use super::Socket;
use crate::request::context::Response;

/// Bytes that a client may say before the watch has ended; more are left unread.
const AHEAD: usize = 4096;

/// A connection's io, of which hyper has one handle and whoever takes it back another.
#[derive(Clone)]
pub(super) struct Lent(Arc<Mutex<State>>);

struct State {
    io: Socket,
    /// What the client has said already.
    said: Vec<u8>,
    /// All that hyper had to write is written.
    is_flushed: bool,
}

impl Lent {
    pub(super) fn new(io: Socket, said: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new(State { io, said, is_flushed: true })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nothing of an answer before is on its way: the client may have sent several requests at once.
    pub(super) fn is_flushed(&self) -> bool {
        self.state().is_flushed
    }

    /// Once hyper's handle is gone.
    pub(super) fn take_back(self) -> Option<Socket> {
        Arc::into_inner(self.0).map(|state| state.into_inner().unwrap_or_else(PoisonError::into_inner).io)
    }
}

impl AsyncRead for Lent {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        let mut state = self.state();
        if state.said.is_empty() {
            return Pin::new(&mut state.io).poll_read(cx, buf);
        }
        let some = state.said.len().min(buf.remaining());
        buf.put_slice(&state.said[..some]);
        state.said.drain(..some);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Lent {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<Result<usize>> {
        let mut state = self.state();
        state.is_flushed = false;
        Pin::new(&mut state.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[std::io::IoSlice<'_>]) -> Poll<Result<usize>> {
        let mut state = self.state();
        state.is_flushed = false;
        Pin::new(&mut state.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.state().io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let mut state = self.state();
        let flushed = Pin::new(&mut state.io).poll_flush(cx);
        // hyper flushes once it has written all it has.
        state.is_flushed = matches!(flushed, Poll::Ready(Ok(())));
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.state().io).poll_shutdown(cx)
    }
}

/// Writes the answer until it ends, and returns the connection with what the client has said meanwhile; or until its client
/// leaves. One that breaks off has no end (RFC 9112, 7.1).
pub(super) async fn stream(mut io: Socket, response: Response) -> Result<Option<(Socket, Vec<u8>)>> {
    let (parts, mut body) = response.into_parts();
    let mut said = Vec::new();
    io.write_all(&head(parts.status, &parts.headers)).await?;
    io.flush().await?;
    loop {
        let frame = tokio::select! {
            frame = body.frame() => frame,
            () = leaves(&mut io, &mut said) => return Ok(None),
        };
        let out = match frame.transpose().map_err(std::io::Error::other)? {
            Some(frame) => chunk(frame),
            None => break,
        };
        io.write_all(&out).await?;
        io.flush().await?;
    }
    io.write_all(b"0\r\n\r\n").await?;
    io.flush().await?;
    Ok(Some((io, said)))
}

/// Nothing for a frame without bytes: a chunk of none would be the last.
fn chunk(frame: Frame<Bytes>) -> Vec<u8> {
    let Some(data) = frame.into_data().ok().filter(|data| !data.is_empty()) else { return Vec::new() };
    [format!("{:x}\r\n", data.len()).as_bytes(), &data, b"\r\n"].concat()
}

fn head(status: StatusCode, headers: &HeaderMap) -> Vec<u8> {
    let mut out = format!("HTTP/1.1 {} {}\r\n", status.as_str(), status.canonical_reason().unwrap_or_default()).into_bytes();
    let mut field = |name: &str, value: &[u8]| {
        [name.as_bytes(), b": ", value, b"\r\n"].iter().for_each(|part| out.extend_from_slice(part));
    };
    headers.iter().for_each(|(name, value): (_, &HeaderValue)| field(name.as_str(), value.as_bytes()));
    if !headers.contains_key(DATE) {
        field(DATE.as_str(), httpdate::fmt_http_date(SystemTime::now()).as_bytes());
    }
    field(TRANSFER_ENCODING.as_str(), b"chunked");
    out.extend_from_slice(b"\r\n");
    out
}

/// Returns when the client has ended the connection.
async fn leaves(io: &mut Socket, said: &mut Vec<u8>) {
    let mut some = [0; 256];
    loop {
        if said.len() >= AHEAD {
            return std::future::pending().await;
        }
        match io.read(&mut some).await {
            Ok(read) if read > 0 => said.extend_from_slice(&some[..read]),
            _ => return,
        }
    }
}
