//! One connection: its protocol, its bounds, its end.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};

use super::Peer;
use crate::request::{self, Path, Request};
use crate::runtime::drain::Draining;
use crate::upstream::{Error, Fault};

/// A head must be complete within this; idle kept-alive connections end after it.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
const MAX_HEADERS: u32 = 64 * 1024;
const STREAMS: u32 = 2048;

pub(super) async fn serve<Io>(io: Io, peer: Arc<Peer>, path: Arc<Path>, mut draining: Draining)
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
    let builder = builder();
    let mut connection = pin!(builder.serve_connection_with_upgrades(TokioIo::new(io), service));
    let mut ending = false;
    loop {
        tokio::select! {
            result = connection.as_mut() => {
                if let Err(error) = result {
                    tracing::debug!(%remote, %error, "connection ended");
                }
                return;
            }
            () = draining.ending.begun(), if !ending => {
                ending = true;
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
