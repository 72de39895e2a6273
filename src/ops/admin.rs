//! `/v1/healthz`, `/v1/readyz`, `/metrics`.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::runtime::drain::Ending;
use crate::runtime::metrics::Metrics;

/// Why the hub is not ready; ready once there is no reason.
#[derive(Debug, Clone)]
pub struct Readiness(Arc<Mutex<Option<String>>>);

impl Readiness {
    pub fn not_yet(reason: &str) -> Self {
        Self(Arc::new(Mutex::new(Some(reason.to_owned()))))
    }

    pub fn ready(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub fn not_any_more(&self, reason: &str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_owned());
    }

    fn reason(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

pub struct Admin {
    registry: Registry,
    readiness: Readiness,
    ending: Ending,
}

const CONNECTIONS: usize = 64;

impl Admin {
    pub fn new(metrics: &Metrics, readiness: Readiness, ending: Ending) -> Self {
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        Self { registry, readiness, ending }
    }

    /// Answers until the process ends, a draining hub that it drains; or until another process answers in its place.
    pub async fn serve(self, socket: TcpListener) {
        let mut ending = self.ending.clone();
        let admin = Arc::new(self);
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let Ok(permit) = room.clone().acquire_owned().await else { return };
            let accepted = tokio::select! {
                biased;
                () = ending.leaving(), if !ending.has_begun() => {
                    if ending.stays().await || ending.has_begun() {
                        continue;
                    }
                    return;
                }
                accepted = socket.accept() => accepted,
            };
            let Ok((stream, _)) = accepted else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let admin = admin.clone();
            tokio::spawn(async move {
                let _permit = permit;
                let service = service_fn(move |request| {
                    let mut answer = admin.answer(&request);
                    if admin.ending.is_leaving() {
                        // The next one may be another process's to answer.
                        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                    }
                    async { Ok::<_, Infallible>(answer) }
                });
                let _ = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(Duration::from_secs(30))
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return text(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered here\n");
        }
        match request.uri().path() {
            "/v1/healthz" => text(StatusCode::OK, "OK"),
            "/v1/readyz" => match self.not_ready() {
                None => text(StatusCode::OK, "OK"),
                Some(reason) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("not ready: {reason}\n")),
            },
            "/metrics" => self.metrics(),
            path => text(StatusCode::NOT_FOUND, format!("{path}: there are /v1/healthz, /v1/readyz and /metrics here\n")),
        }
    }

    fn not_ready(&self) -> Option<String> {
        if self.ending.has_begun() {
            return Some("the hub is draining".to_owned());
        }
        self.readiness.reason()
    }

    fn metrics(&self) -> Response<Full<Bytes>> {
        let mut out = String::new();
        match prometheus_client::encoding::text::encode(&mut out, &self.registry) {
            Ok(()) => {
                let mut response = text(StatusCode::OK, out);
                let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
                response.headers_mut().insert(CONTENT_TYPE, kind);
                response
            }
            Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "the figures could not be written\n"),
        }
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response
}
