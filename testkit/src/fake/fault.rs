//! Faults: what can be made to go wrong, and where.

use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, header};

use super::body::{FakeBody, Feed, Reply};
use super::line::Line;
use super::lock;

/// What goes wrong. The first group spoils answers, the second connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Answers with this code and a `v1.Status`.
    Status(u16),
    /// Takes the request and never answers.
    StallHeaders,
    /// Answers after this long.
    LateHeaders(Duration),
    /// Sends this many bytes of the body, then nothing.
    StallBody(usize),
    /// Sends this many bytes of the body, then resets the stream (h2) or closes (h1).
    TruncateBody(usize),
    /// Claims a longer body than it sends.
    WrongContentLength,
    /// Breaks the framing in the middle of the body: a chunk size that is no number over HTTP/1.
    BadChunk,
    /// Sends the body without saying how long it is, and its end by itself: as a Go server does with what its buffer does not
    /// hold.
    NoLength,
    /// Sends the body at this many bytes a second.
    SlowBody(u64),
    /// Sends so many bytes of the body at this many a second, then does as with `TruncateBody`.
    SlowTruncateBody(u64, usize),
    /// Finishes what runs, takes nothing new: GOAWAY over HTTP/2, no keep-alive over HTTP/1. All
    /// connections at once; does not last.
    GoAway,

    /// New connections: after the TLS handshake, bytes that are not HTTP.
    Garbage,
    /// New connections: bytes that are not TLS.
    GarbageTls,
    /// Open connections neither read nor write from now on, as after SIGSTOP.
    Freeze,
    /// As `Freeze`, and new connections too: the kernel accepts, nobody answers.
    Silence,
    /// Drops all connections with RST, new ones too.
    Reset,
    /// Closes all connections and stops listening.
    Refuse,
}

/// Which requests a fault meets.
#[derive(Clone, Debug)]
pub(crate) enum Scope {
    All,
    /// The next one that starts with this.
    Next(String),
    Prefix(String),
}

/// The faults in force. Connection faults of scope `All` are not here but in the server.
#[derive(Default)]
pub(crate) struct Faults(Mutex<Vec<(Scope, Fault)>>);

impl Fault {
    /// Acts on connections, not on answers.
    pub(crate) fn on_connections(self) -> bool {
        matches!(
            self,
            Self::GoAway | Self::Garbage | Self::GarbageTls | Self::Freeze | Self::Silence | Self::Reset | Self::Refuse
        )
    }
}

impl Faults {
    pub(crate) fn add(&self, scope: Scope, fault: Fault) {
        lock(&self.0).push((scope, fault));
    }

    pub(crate) fn clear(&self) {
        lock(&self.0).clear();
    }

    /// The fault this request meets, if any; one for the next request is over with it.
    pub(crate) fn pick(&self, path_and_query: &str) -> Option<Fault> {
        let mut rules = lock(&self.0);
        let index = rules.iter().position(|(scope, _)| match scope {
            Scope::All => true,
            Scope::Next(prefix) | Scope::Prefix(prefix) => path_and_query.starts_with(prefix.as_str()),
        })?;
        let fault = rules[index].1;
        if matches!(rules[index].0, Scope::Next(_)) {
            rules.remove(index);
        }
        Some(fault)
    }
}

/// Lets a connection fault meet the one connection a request came on. `true`: do answer.
pub(crate) fn strike(fault: Fault, line: &Line) -> bool {
    match fault {
        Fault::GoAway => line.go_away(),
        Fault::Garbage | Fault::GarbageTls => line.inject(GARBAGE),
        Fault::Freeze | Fault::Silence => line.freeze(),
        Fault::Reset => line.cut(true),
        Fault::Refuse => line.cut(false),
        _ => {}
    }
    matches!(fault, Fault::GoAway | Fault::Garbage | Fault::GarbageTls)
}

/// Not HTTP of any version, not TLS.
pub(crate) const GARBAGE: &[u8] = b"\x00\x01garbage: no protocol you know\r\n\xff\xfe";

/// Spoils an answer.
pub(crate) fn spoil(fault: Fault, mut answer: Reply, line: std::sync::Arc<Line>) -> Reply {
    if matches!(answer.body(), FakeBody::Whole(Some(_))) && fault == Fault::WrongContentLength {
        return wrong_length(answer);
    }
    let spoils = matches!(
        fault,
        Fault::StallBody(_)
            | Fault::TruncateBody(_)
            | Fault::BadChunk
            | Fault::SlowBody(_)
            | Fault::SlowTruncateBody(..)
            | Fault::NoLength
    );
    if !spoils {
        return answer;
    }
    let (feed, body) = FakeBody::fed();
    let length = match answer.body() {
        FakeBody::Whole(Some(bytes)) if !matches!(fault, Fault::BadChunk | Fault::NoLength) => Some(bytes.len()),
        _ => None,
    };
    if let Some(length) = length {
        answer.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    let inner = std::mem::replace(answer.body_mut(), body);
    tokio::spawn(async move {
        match fault {
            Fault::StallBody(limit) => stall(inner, &feed, limit).await,
            Fault::TruncateBody(limit) => {
                pump(inner, &feed, limit).await;
                feed.fail().await;
            }
            Fault::BadChunk => bad_chunk(inner, &feed, &line).await,
            Fault::SlowBody(rate) => slow(inner, &feed, rate, usize::MAX).await,
            Fault::SlowTruncateBody(rate, limit) => {
                slow(inner, &feed, rate, limit).await;
                feed.fail().await;
            }
            Fault::NoLength => drop(pump(inner, &feed, usize::MAX).await),
            _ => {}
        }
    });
    answer
}

fn wrong_length(mut answer: Reply) -> Reply {
    let FakeBody::Whole(bytes) = std::mem::replace(answer.body_mut(), FakeBody::Whole(None)) else { return answer };
    let bytes = bytes.unwrap_or_default();
    answer.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.len() + 100));
    let (feed, body) = FakeBody::fed();
    *answer.body_mut() = body;
    tokio::spawn(async move { feed.data(bytes).await });
    answer
}

/// Passes on `limit` bytes; false when the body ended before that or the client left.
async fn pump(mut inner: FakeBody, feed: &Feed, limit: usize) -> bool {
    let mut left = limit;
    while left > 0 {
        let Some(chunk) = inner.chunk().await else { return false };
        let part = chunk.slice(..chunk.len().min(left));
        left -= part.len();
        if !feed.data(part).await {
            return false;
        }
    }
    true
}

async fn stall(inner: FakeBody, feed: &Feed, limit: usize) {
    if pump(inner, feed, limit).await {
        feed.closed().await;
    }
}

async fn slow(mut inner: FakeBody, feed: &Feed, rate: u64, limit: usize) {
    let step = usize::try_from(rate / 20).unwrap_or(usize::MAX).max(1);
    let pause = Duration::from_millis(if rate >= 20 { 50 } else { 1000 / rate.max(1) });
    let (mut begun, mut left) = (false, limit);
    while let Some(mut chunk) = inner.chunk().await {
        while !chunk.is_empty() {
            // Between parts, not after the last: a body ends with its last byte.
            if std::mem::replace(&mut begun, true) {
                tokio::time::sleep(pause).await;
            }
            let part = chunk.split_to(step.min(chunk.len()).min(left));
            left -= part.len();
            if part.is_empty() || !feed.data(part).await {
                return;
            }
        }
    }
}

async fn bad_chunk(mut inner: FakeBody, feed: &Feed, line: &Line) {
    let chunk = inner.chunk().await.unwrap_or_else(|| Bytes::from_static(b"{}"));
    feed.data(chunk.slice(..chunk.len().div_ceil(2))).await;
    tokio::time::sleep(Duration::from_millis(30)).await;
    line.inject(b"zz-not-a-chunk-size\r\n");
    feed.data(chunk.slice(chunk.len().div_ceil(2)..)).await;
    feed.closed().await;
}
