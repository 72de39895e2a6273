//! One connection: its protocol, its bounds, its end.
//!
//! One that leaves HTTP behind is the same connection until its joined end: it keeps its place at the door and holds up
//! the hub's end.

mod greeting;

use std::convert::Infallible;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};

use self::greeting::Greeted;
use super::Peer;
use crate::request::context::{Body, Response, full};
use crate::request::{self, Path, Request};
use crate::runtime::drain::{Draining, Ending};
use crate::upstream::{Error, Fault};

/// A head must be complete within this; idle kept-alive connections end after it.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
const MAX_HEADERS: u32 = 64 * 1024;
const STREAMS: u32 = 2048;

type Failed = Box<dyn std::error::Error + Send + Sync>;

pub(super) async fn serve<Io>(io: Io, peer: Arc<Peer>, path: Arc<Path>, draining: Draining)
where
    Io: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let remote = peer.remote;
    let service = service_fn(move |request: http::Request<Incoming>| {
        let request: Request = request.map(|body| -> crate::upstream::RequestBody {
            Box::pin(body.map_err(|error| Error::new(Fault::Client, true, error)))
        });
        // Boxed, so that a watch holds what finding its answer took only until it is found.
        let answer = Box::pin(request::serve(path.clone(), peer.clone(), request));
        async { Ok::<_, Infallible>(answer.await) }
    });
    if let Err(error) = drive(io, service, draining).await {
        tracing::debug!(%remote, %error, "connection ended");
    }
}

/// Serves until the connection ends: the client's doing, or the hub's own end.
async fn drive<Io, S>(io: Io, service: S, draining: Draining) -> Result<(), Failed>
where
    Io: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    S: Service<http::Request<Incoming>, Response = Response, Error = Infallible>,
    S::Future: Send + 'static,
{
    let joined = Joined::default();
    let keep = joined.clone();
    let io = Greeted::new(io, HEAD_TIMEOUT);
    let is_served = io.is_served.clone();
    let service = service_fn(move |request| {
        is_served.store(true, Ordering::Relaxed);
        let (answer, keep) = (service.call(request), keep.clone());
        async move { answer.await.map(|answer| keep.of(answer)) }
    });
    http(io, service, draining.ending.clone()).await?;
    match joined.take() {
        Some(body) => run(body).await,
        None => Ok(()),
    }
}

/// The body of a 101: what becomes of the connection when HTTP has left it.
#[derive(Clone, Default)]
struct Joined(Arc<Mutex<Option<Body>>>);

impl Joined {
    /// Keeps the body of a 101; hyper would drop it.
    fn of(&self, answer: Response) -> Response {
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            return answer;
        }
        let (parts, body) = answer.into_parts();
        *self.lock() = Some(body);
        Response::from_parts(parts, full(Bytes::new()))
    }

    fn take(&self) -> Option<Body> {
        self.lock().take()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Body>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Polls the joined connections to their end.
async fn run(mut body: Body) -> Result<(), Failed> {
    while body.frame().await.transpose()?.is_some() {}
    Ok(())
}

async fn http<Io, S>(io: Greeted<Io>, service: S, mut ending: Ending) -> Result<(), Failed>
where
    Io: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    S: Service<http::Request<Incoming>, Response = Response, Error = Infallible>,
    S::Future: Send + 'static,
{
    let builder = builder();
    let mut connection = pin!(builder.serve_connection_with_upgrades(TokioIo::new(io), service));
    let mut told = false;
    loop {
        tokio::select! {
            result = connection.as_mut() => return result,
            () = ending.begun(), if !told => {
                told = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEADERS as usize)
        .half_close(false);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(MAX_HEADERS)
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(256 * 1024)
        .initial_connection_window_size(4 * 1024 * 1024)
        .max_send_buf_size(64 * 1024)
        .keep_alive_interval(Some(Duration::from_secs(30)))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}

#[cfg(test)]
mod tests;
