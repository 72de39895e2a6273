//! HTTP/1.1 to the cloud: for upgrades (exec, attach, port-forward), and for a
//! server or balancer that speaks nothing newer. One connection a request.
//!
//! There is no ping: the kernel notices a peer that vanished, and [`Server`](super::Server)
//! one that is silent before it has answered a read.

use std::pin::Pin;

use bytes::Bytes;
use http::header::{CONNECTION, HOST};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;

use super::body::{Body, RequestBody};
use super::connect::{self, Stream};
use super::error::{Error, Fault};

/// What a server answered to a request to upgrade.
pub enum Upgraded {
    /// 101: the connection itself, behind this promise.
    Switched(hyper::upgrade::OnUpgrade),
    /// Anything else: an ordinary answer.
    Refused(Body),
}

pub(super) async fn send(io: Stream, host: String, mut request: Request<Option<RequestBody>>) -> Result<Response<Body>, Error> {
    request.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    if request.body().is_none() {
        connect::expect_acknowledgement(io.get_ref().0.tcp());
    }
    Ok(exchange(io, host, request).await?.map(Body::h1))
}

pub(super) async fn upgrade(
    io: Stream,
    host: String,
    request: Request<Option<RequestBody>>,
) -> Result<Response<Upgraded>, Error> {
    let mut answer = exchange(io, host, request).await?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(answer.map(|body| Upgraded::Refused(Body::h1(body))));
    }
    let switched = hyper::upgrade::on(&mut answer);
    Ok(answer.map(|_| Upgraded::Switched(switched)))
}

async fn exchange(
    io: Stream,
    host: String,
    mut request: Request<Option<RequestBody>>,
) -> Result<Response<hyper::body::Incoming>, Error> {
    connect::keep_alive(io.get_ref().0.tcp());
    let (mut send, connection): (SendRequest<RequestBody>, _) =
        handshake(TokioIo::new(io)).await.map_err(|error| Error::new(Fault::Link, false, error))?;
    tokio::spawn(connection.with_upgrades());
    let host = HeaderValue::try_from(host).map_err(|error| Error::new(Fault::Client, false, error))?;
    request.headers_mut().insert(HOST, host);
    *request.version_mut() = http::Version::HTTP_11;
    let path = request.uri().path_and_query().map_or("/", http::uri::PathAndQuery::as_str).to_owned();
    *request.uri_mut() = path.parse().map_err(|error| Error::new(Fault::Client, false, error))?;
    send.send_request(request.map(|body| body.unwrap_or_else(empty))).await.map_err(|error| {
        let fault = if error.is_parse() { Fault::Server } else { Fault::Link };
        Error::new(fault, true, error)
    })
}

fn empty() -> RequestBody {
    let body: Pin<Box<_>> = Box::pin(Empty::<Bytes>::new().map_err(|never| match never {}));
    body
}
