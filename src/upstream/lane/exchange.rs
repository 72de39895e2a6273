//! One GET on a lane, and its answer's body.

use std::mem::MaybeUninit;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body::Frame;
use tokio::io::AsyncWriteExt as _;

use super::framing::{Framing, Step};
use super::{Lane, Lanes};
use crate::upstream::error::{Error, Fault};

/// An answer that has not begun by then is asked for over HTTP/2 instead.
const AT_ONCE: Duration = Duration::from_millis(100);
/// A body in which nothing comes for this long has broken off: it is one object, of a server nearby.
const STALLED: Duration = Duration::from_millis(1300);
const MAX_HEAD: usize = 256 * 1024;
const MAX_FIELDS: usize = 100;

/// A body that gives its lane back at its end; dropped before, the lane is closed, and
/// so the server learns that nobody waits.
pub(in crate::upstream) struct LaneBody {
    lane: Option<Lane>,
    lanes: Arc<Lanes>,
    framing: Framing,
    reusable: bool,
}

/// An answer's head.
struct Head {
    response: Response<()>,
    framing: Framing,
    reusable: bool,
}

fn broken(why: impl std::fmt::Display) -> Error {
    Error::new(Fault::Link, true, why)
}

fn overdue(lanes: &Lanes) -> Error {
    lanes.pause();
    broken("no answer at once")
}

impl Lane {
    /// Sends a GET and waits for its answer's head, but not long. After an error it is
    /// safe to ask again.
    pub(in crate::upstream) async fn get(
        mut self,
        lanes: &Arc<Lanes>,
        host: &str,
        head: &http::request::Parts,
    ) -> Result<Response<LaneBody>, Error> {
        self.patience.renew();
        self.write(lanes, &request_head(host, head)).await?;
        let Head { response, framing, reusable } = std::future::poll_fn(|cx| self.poll_head(lanes, cx)).await?;
        let mut body = LaneBody { lane: Some(self), lanes: lanes.clone(), framing, reusable };
        if body.is_end() {
            body.end();
        }
        Ok(response.map(|()| body))
    }

    async fn write(&mut self, lanes: &Lanes, request: &[u8]) -> Result<(), Error> {
        let Self { io, patience, .. } = self;
        let mut write = std::pin::pin!(async {
            io.write_all(request).await?;
            io.flush().await
        });
        std::future::poll_fn(|cx| match write.as_mut().poll(cx) {
            Poll::Ready(result) => Poll::Ready(result.map_err(broken)),
            Poll::Pending => patience.poll_over(AT_ONCE, cx).map(|()| Err(overdue(lanes))),
        })
        .await
    }

    fn poll_head(&mut self, lanes: &Lanes, cx: &mut Context<'_>) -> Poll<Result<Head, Error>> {
        loop {
            if let Some((head, length)) = parse(&self.buf)? {
                self.buf.advance(length);
                // 103 and the like announce the answer, they are none.
                if head.response.status().is_informational() {
                    continue;
                }
                return Poll::Ready(Ok(head));
            }
            if self.buf.len() > MAX_HEAD {
                return Poll::Ready(Err(broken("the head of the answer is too large")));
            }
            match self.poll_fill(cx) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(broken("closed before an answer"))),
                Poll::Ready(read) => drop(read.map_err(broken)?),
                Poll::Pending => return self.patience.poll_over(AT_ONCE, cx).map(|()| Err(overdue(lanes))),
            }
        }
    }
}

fn request_head(host: &str, head: &http::request::Parts) -> Vec<u8> {
    let path = head.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let fields: usize = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    let mut request = Vec::with_capacity(fields + path.len() + host.len() + 32);
    for part in [b"GET ", path.as_bytes(), b" HTTP/1.1\r\nhost: ", host.as_bytes(), b"\r\n"] {
        request.extend_from_slice(part);
    }
    for (name, value) in &head.headers {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            request.extend_from_slice(part);
        }
    }
    request.extend_from_slice(b"\r\n");
    request
}

/// The answer's head and its length, once it is whole.
fn parse(buf: &[u8]) -> Result<Option<(Head, usize)>, Error> {
    if buf.is_empty() {
        return Ok(None);
    }
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut answer = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut answer, buf, &mut fields);
    let httparse::Status::Complete(length) = parsed.map_err(broken)? else { return Ok(None) };
    let status = StatusCode::from_u16(answer.code.unwrap_or_default()).map_err(broken)?;
    let mut response = Response::new(());
    *response.status_mut() = status;
    for field in answer.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(broken)?;
        response.headers_mut().append(name, HeaderValue::from_bytes(field.value).map_err(broken)?);
    }
    let headers = response.headers();
    let reusable = answer.version == Some(1) && !headers.get_all(CONNECTION).iter().any(|value| value != "keep-alive");
    let framing = match status {
        StatusCode::SWITCHING_PROTOCOLS => return Err(broken("switched protocols unasked")),
        StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED => Framing::length(0),
        status if status.is_informational() => Framing::length(0),
        _ => framing(headers)?,
    };
    Ok(Some((Head { response, framing, reusable }, length)))
}

/// Where the body ends (RFC 9112, 6.3). One that ends with its connection could be cut
/// short unnoticed, and one that names two ends is a trap: neither is taken.
fn framing(headers: &HeaderMap) -> Result<Framing, Error> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (lengths.next(), codings.next()) {
        (Some(length), None) if lengths.next().is_none() => {
            let digits = length.as_bytes().iter().all(u8::is_ascii_digit);
            let length = length.to_str().ok().filter(|_| digits).and_then(|length| length.parse().ok());
            length.map(Framing::length).ok_or_else(|| broken("not a Content-Length"))
        }
        (None, Some(coding)) if coding == "chunked" && codings.next().is_none() => Ok(Framing::chunked()),
        _ => Err(broken("the answer does not say where it ends")),
    }
}

impl LaneBody {
    pub(in crate::upstream) fn is_end(&self) -> bool {
        self.framing.is_end()
    }

    /// Bytes to come, where they are known.
    pub(in crate::upstream) fn left(&self) -> Option<u64> {
        self.framing.left()
    }

    fn end(&mut self) {
        if let Some(lane) = self.lane.take().filter(|_| self.reusable) {
            self.lanes.give_back(lane);
        }
    }

    pub(in crate::upstream) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let result = ready!(self.poll_step(cx));
        if result.is_err() {
            self.lane = None;
        } else if self.is_end() {
            self.end();
        }
        Poll::Ready(result.transpose())
    }

    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Frame<Bytes>>, Error>> {
        let Some(lane) = &mut self.lane else { return Poll::Ready(Ok(None)) };
        loop {
            match self.framing.step(&mut lane.buf).map_err(broken)? {
                Step::Data(data) => return Poll::Ready(Ok(Some(Frame::data(data)))),
                Step::Trailers(trailers) => return Poll::Ready(Ok(Some(Frame::trailers(trailers)))),
                Step::End => return Poll::Ready(Ok(None)),
                Step::More => {}
            }
            match lane.poll_fill(cx) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(broken("the connection broke in the middle of the answer"))),
                Poll::Ready(read) => {
                    read.map_err(broken)?;
                    lane.patience.renew();
                }
                Poll::Pending => return lane.patience.poll_over(STALLED, cx).map(|()| Err(broken("the answer stalled"))),
            }
        }
    }
}
