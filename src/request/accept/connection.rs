//! One connection: its protocol, its bounds, its end.
//!
//! One that leaves HTTP behind is the same connection until its joined end: it keeps its place at the door and holds up
//! the hub's end.

mod greeting;
mod streaming;

use std::convert::Infallible;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{Method, StatusCode, Version};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;

use self::greeting::Greeted;
use self::streaming::Lent;
use super::Peer;
use crate::request::context::{Body, Response, Watch, full};
use crate::request::{self, Path, Request};
use crate::runtime::drain::{Draining, Ending};
use crate::upstream::{Error, Fault};

/// A head must be complete within this; idle kept-alive connections end after it.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
/// How long a new connection's first request is waited for where the hub's place is taken.
const FIRST: Duration = Duration::from_secs(2);
const MAX_HEADERS: u32 = 64 * 1024;
/// Of one client.
const STREAMS: u32 = 2048;

/// Who is at the other end.
#[derive(Debug, Clone, Copy)]
enum Whose {
    Clients,
    /// What all clients of another process watch comes on one connection, for as long as that one has any.
    Predecessors,
}

impl Whose {
    fn streams(self) -> u32 {
        match self {
            Self::Clients => STREAMS,
            Self::Predecessors => u32::MAX,
        }
    }

    /// Who has just come is let ask first: clients do not try again on a new connection that is closed.
    async fn is_to_leave(self, ending: &mut Ending, has_asked: &HasAsked) {
        match self {
            Self::Clients => ending.leaving().await,
            Self::Predecessors => ending.begun().await,
        }
        if !ending.has_begun() && !has_asked.0.load(Ordering::Relaxed) {
            let _ = tokio::time::timeout(FIRST, has_asked.1.notified()).await;
        }
    }
}

/// Whether a client has asked for anything, and who waits for that.
#[derive(Default)]
struct HasAsked(AtomicBool, Notify);

impl HasAsked {
    fn note(&self) {
        if !self.0.load(Ordering::Relaxed) {
            self.0.store(true, Ordering::Relaxed);
            self.1.notify_one();
        }
    }
}

type Failed = Box<dyn std::error::Error + Send + Sync>;

pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Of either door: hyper's server is in the binary once.
pub(super) type Socket = Box<dyn Io>;

pub(super) async fn serve(io: Socket, peer: Arc<Peer>, path: Arc<Path>, draining: Draining) {
    let (remote, whose) = (peer.remote, if peer.is_predecessor() { Whose::Predecessors } else { Whose::Clients });
    let service = service_fn(move |request: http::Request<Incoming>| {
        let request: Request = request.map(|body| -> crate::upstream::RequestBody {
            Box::pin(body.map_err(|error| Error::new(Fault::Client, true, error)))
        });
        // Boxed, so that a watch holds what finding its answer took only until it is found.
        let answer = Box::pin(request::serve(path.clone(), peer.clone(), request));
        async { Ok::<_, Infallible>(answer.await) }
    });
    if let Err(error) = drive(io, service, whose, draining).await {
        tracing::debug!(%remote, %error, "connection ended");
    }
}

/// Serves until the connection ends: the client's doing, or the hub's own end.
async fn drive<S>(io: Socket, service: S, whose: Whose, draining: Draining) -> Result<(), Failed>
where
    S: Service<http::Request<Incoming>, Response = Response, Error = Infallible> + Send + Sync,
    S::Future: Send + 'static,
{
    let (service, has_asked) = (Arc::new(service), Arc::default());
    let (mut io, mut said) = (io, Vec::new());
    loop {
        let lent = Lent::new(io, said);
        // Boxed, so that what has a connection to itself holds no more than that.
        let left =
            Box::pin(http(lent.clone(), service.clone(), (whose, Arc::clone(&has_asked)), draining.ending.clone())).await?;
        match (left, lent.take_back()) {
            (Some(Left::Joined(body)), _) => return run(body).await,
            (Some(Left::Watch(answer)), Some(lent)) => match streaming::stream(lent, answer).await? {
                Some(ended) => (io, said) = ended,
                None => return Ok(()),
            },
            _ => return Ok(()),
        }
    }
}

/// What a connection is left to.
enum Left {
    /// The joined connections.
    Joined(Body),
    /// The answer to a watch.
    Watch(Response),
}

/// Whether the connection is this watch's alone while it lasts: over HTTP/1.1 nothing else comes on it before its end.
fn is_alone(asked: (&Method, Version), answer: &Response) -> bool {
    let is_watch = answer.status() == StatusCode::OK && answer.extensions().get::<Watch>().is_some();
    asked == (&Method::GET, Version::HTTP_11) && is_watch && !answer.headers().contains_key(CONTENT_LENGTH)
}

/// What became of a connection's answers that hyper does not write.
#[derive(Clone, Default)]
struct Handed(Arc<Mutex<Option<Left>>>, Arc<Notify>);

impl Handed {
    /// Keeps the body of a 101; hyper would drop it.
    fn joined(&self, answer: Response) -> Response {
        let (parts, body) = answer.into_parts();
        *self.lock() = Some(Left::Joined(body));
        Response::from_parts(parts, full(Bytes::new()))
    }

    fn watch(&self, answer: Response) {
        *self.lock() = Some(Left::Watch(answer));
        self.1.notify_one();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Left>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Polls the joined connections to their end.
async fn run(mut body: Body) -> Result<(), Failed> {
    while body.frame().await.transpose()?.is_some() {}
    Ok(())
}

/// Until the connection ends, or is left to one answer.
async fn http<S>(
    io: Lent,
    service: S,
    (whose, has_asked): (Whose, Arc<HasAsked>),
    mut ending: Ending,
) -> Result<Option<Left>, Failed>
where
    S: Service<http::Request<Incoming>, Response = Response, Error = Infallible>,
    S::Future: Send + 'static,
{
    let handed = Handed::default();
    let greeted = Greeted::new(io.clone(), HEAD_TIMEOUT);
    let is_served = greeted.is_served.clone();
    let (keep, asks) = (handed.clone(), has_asked.clone());
    let service = service_fn(move |request: http::Request<Incoming>| {
        is_served.store(true, Ordering::Relaxed);
        asks.note();
        let asked = (request.method().clone(), request.version());
        let (answer, keep, io) = (service.call(request), keep.clone(), io.clone());
        async move {
            let answer = answer.await?;
            if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
                return Ok(keep.joined(answer));
            }
            if is_alone((&asked.0, asked.1), &answer) && io.is_flushed() {
                keep.watch(answer);
                std::future::pending::<()>().await;
                return Ok::<_, Infallible>(Response::default());
            }
            Ok(answer)
        }
    });
    let builder = builder(whose.streams());
    let mut connection = pin!(builder.serve_connection_with_upgrades(TokioIo::new(greeted), service));
    let mut is_to_leave = pin!(whose.is_to_leave(&mut ending, &has_asked));
    let mut told = false;
    loop {
        tokio::select! {
            result = connection.as_mut() => {
                result?;
                return Ok(handed.lock().take());
            }
            () = handed.1.notified() => return Ok(handed.lock().take()),
            () = &mut is_to_leave, if !told => {
                told = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

fn builder(streams: u32) -> Builder<TokioExecutor> {
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
        .max_concurrent_streams(streams)
        .initial_stream_window_size(256 * 1024)
        .initial_connection_window_size(4 * 1024 * 1024)
        .max_send_buf_size(64 * 1024)
        .keep_alive_interval(Some(Duration::from_secs(30)))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}

#[cfg(test)]
mod tests;
