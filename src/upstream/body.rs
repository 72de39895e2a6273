//! An answer's body as it arrives, and the place it holds on its connection.
//!
//! Dropping it before its end cancels the request at the server.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;

use super::connection::{Expecting, Place};
use super::error::{Error, Fault};
use super::lane::LaneBody;

/// A body on its way to the cloud.
pub type RequestBody = Pin<Box<dyn HttpBody<Data = Bytes, Error = Error> + Send>>;

pub struct Body(Inner);

enum Inner {
    H2(H2),
    H1 { body: Incoming },
    Lane(LaneBody),
}

struct H2 {
    stream: h2::RecvStream,
    place: Place,
    ended: bool,
    /// Whether its end is waited for, as that of a list and not that of a watch.
    has_end: bool,
    /// While more of it is waited for.
    waiting: Option<Expecting>,
}

impl Body {
    pub(super) fn h2(stream: h2::RecvStream, place: Place) -> Self {
        let ended = stream.is_end_stream();
        Self(Inner::H2(H2 { stream, place, ended, has_end: false, waiting: None }))
    }

    pub(super) fn h1(body: Incoming) -> Self {
        Self(Inner::H1 { body })
    }

    pub(super) fn lane(body: LaneBody) -> Self {
        Self(Inner::Lane(body))
    }

    /// Its end is waited for: a connection that falls silent in the middle of it is found as soon as one that falls silent
    /// before an answer. (Without this a silent body is as good as a watch in which nothing happens.)
    pub fn has_an_end(&mut self) {
        if let Inner::H2(body) = &mut self.0 {
            body.has_end = true;
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match &mut self.0 {
            Inner::H2(body) => body.poll_awaited(cx),
            Inner::H1 { body } => Pin::new(body).poll_frame(cx).map_err(|error| Error::new(Fault::Link, true, error)),
            Inner::Lane(body) => body.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Inner::H2(body) => body.ended,
            Inner::H1 { body } => body.is_end_stream(),
            Inner::Lane(body) => body.is_end(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::H2(_) => SizeHint::default(),
            Inner::H1 { body } => body.size_hint(),
            Inner::Lane(body) => body.left().map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}

impl H2 {
    fn poll_awaited(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let poll = self.poll_frame(cx);
        if poll.is_ready() {
            self.waiting = None;
        } else if self.has_end && self.waiting.is_none() {
            self.waiting = Some(Expecting::new(self.place.shared()));
        }
        poll
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        match ready!(self.stream.poll_data(cx)) {
            Some(Ok(data)) => {
                // Hands the window back as the client takes the data: a slow client slows
                // its own stream and holds at most one stream window of memory.
                self.place.shared().has_delivered();
                let _ = self.stream.flow_control().release_capacity(data.len());
                self.ended = self.stream.is_end_stream();
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Some(Err(error)) => Poll::Ready(Some(Err(self.broken(&error)))),
            None => match ready!(self.stream.poll_trailers(cx)) {
                Ok(trailers) => {
                    self.ended = true;
                    Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
                }
                Err(error) => Poll::Ready(Some(Err(self.broken(&error)))),
            },
        }
    }

    fn broken(&mut self, error: &h2::Error) -> Error {
        self.ended = true;
        self.place.shared().explain(error, true)
    }
}
