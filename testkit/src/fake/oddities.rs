//! Answers that stream or switch protocol: logs, exec, trailers, large bodies.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::body::{FakeBody, Feed, Reply, reply, typed};
use super::request::{Call, Target};
use super::status::Failure;

const PIECE: usize = 64 * 1024;

/// `/fake/trailers` and `/fake/big?bytes=N`, which ask for no authentication.
pub(crate) fn fake_path(path: &str, bytes: u64) -> Reply {
    match path {
        "/fake/trailers" => {
            let (feed, body) = FakeBody::fed();
            tokio::spawn(trailers(feed));
            let mut answer = typed(200, "text/plain", body);
            answer.headers_mut().insert(header::TRAILER, HeaderValue::from_static("x-fake-trailer"));
            answer
        }
        "/fake/big" => {
            let (feed, body) = FakeBody::fed();
            tokio::spawn(big(feed, bytes));
            typed(200, "application/octet-stream", body)
        }
        _ => reply(404, "text/plain; charset=utf-8", "404 page not found\n"),
    }
}

/// `/fake/echo`: sends the request's body back as it comes, and then a line for each of its trailers. Is not recorded.
pub(crate) fn echo_body(mut request: Incoming) -> Reply {
    let (feed, body) = FakeBody::fed();
    tokio::spawn(async move {
        while let Some(Ok(frame)) = request.frame().await {
            let part = match frame.into_data() {
                Ok(data) => data,
                Err(frame) => lines(&frame.into_trailers().unwrap_or_default()).into(),
            };
            if !feed.data(part).await {
                return;
            }
        }
    });
    typed(200, "application/octet-stream", body)
}

fn lines(headers: &HeaderMap) -> String {
    headers.iter().map(|(name, value)| format!("{name}: {}\n", value.to_str().unwrap_or("?"))).collect()
}

async fn trailers(feed: Feed) {
    feed.data("body before the trailers\n").await;
    let mut trailers = HeaderMap::new();
    trailers.insert("x-fake-trailer", HeaderValue::from_static("done"));
    feed.trailers(trailers).await;
}

async fn big(feed: Feed, bytes: u64) {
    let piece = Bytes::from(vec![b'x'; PIECE]);
    let mut left = bytes;
    while left > 0 {
        let part = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
        left -= part as u64;
        if !feed.data(piece.slice(..part)).await {
            return;
        }
    }
}

/// `pods/NAME/log`: three lines, and with `follow` one more every tenth of a second.
pub(crate) fn log(call: &Call) -> Reply {
    let follow = call.query.flag("follow");
    let (feed, body) = FakeBody::fed();
    tokio::spawn(async move {
        let mut line = 0_u64;
        while line < 3 || follow {
            if !feed.data(format!("line {line}\n")).await {
                return;
            }
            line += 1;
            if line >= 3 {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    });
    typed(200, "text/plain", body)
}

/// Switches protocols and sends back whatever comes.
pub(crate) fn echo(call: &Call, target: &Target, upgrade: Option<OnUpgrade>) -> Result<Reply, Failure> {
    let protocol = call.headers.get(header::UPGRADE).cloned();
    let (Some(protocol), Some(upgrade)) = (protocol, upgrade) else {
        return Err(Failure::bad_request(format!("Upgrade request required for {}", target.subresource)));
    };
    tokio::spawn(async move {
        let Ok(upgraded) = upgrade.await else { return };
        let mut io = TokioIo::new(upgraded);
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(count @ 1..) = io.read(&mut buffer).await {
            if io.write_all(&buffer[..count]).await.is_err() || io.flush().await.is_err() {
                return;
            }
        }
        io.shutdown().await.ok();
    });
    let mut answer = Response::new(FakeBody::Whole(None));
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    answer.headers_mut().insert(header::UPGRADE, protocol);
    answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    for name in ["sec-websocket-protocol", "x-stream-protocol-version"] {
        let first = call.header(name).split(',').next().unwrap_or_default().trim().to_owned();
        if let Ok(value) = HeaderValue::from_str(&first)
            && !first.is_empty()
        {
            answer.headers_mut().insert(name, value);
        }
    }
    Ok(answer)
}
