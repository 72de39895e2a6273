//! An answer's body as it arrives, and the place it holds on its connection.
//!
//! Dropping it before its end cancels the request at the server.

use std::collections::VecDeque;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

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
    Begun(Box<Begun>),
}

/// How much of a body is held before anybody takes any of it.
#[derive(Debug, Clone, Copy)]
pub struct Beginning {
    /// More than so many bytes are enough,
    pub most: usize,
    /// unless they have come more slowly, in bytes a second,
    pub slow: u32,
    /// and there is room for more, in bytes, beside what is held of others.
    pub room: &'static Semaphore,
    /// So long at most.
    pub within: Duration,
}

/// A body of which some has come before anybody took it.
struct Begun {
    come: VecDeque<Frame<Bytes>>,
    /// While any of that is held.
    room: Option<SemaphorePermit<'static>>,
    /// `None`: there is no more.
    rest: Option<Body>,
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

    pub(super) fn is_h1(&self) -> bool {
        matches!(self.0, Inner::H1 { .. })
    }

    /// Waits until all of it has come, or enough. What has come is held, to be taken as if it came now: an answer that breaks
    /// off meanwhile is an error, and none that somebody was shown a part of.
    /// `part`: some of it has come.
    pub async fn begun(mut self, beginning: Beginning, part: impl Fn()) -> Result<Self, Error> {
        let mut is_whole = self.is_end_stream();
        if is_whole {
            return Ok(self);
        }
        let began = Instant::now();
        let (mut come, mut held, mut room) = (VecDeque::new(), 0, None);
        let mut is_over = pin!(tokio::time::sleep_until(began + beginning.within));
        while !is_whole && beginning.has_room(&mut room, held, began) {
            let frame = tokio::select! {
                biased;
                frame = self.frame() => frame.transpose()?,
                () = &mut is_over => break,
            };
            part();
            is_whole = frame.is_none() || self.is_end_stream();
            // One that only says that it is the last would come after what its length says is all.
            let Some(frame) = frame.filter(|frame| frame.data_ref().is_none_or(|data| !data.is_empty())) else { continue };
            held += frame.data_ref().map_or(0, Bytes::len) + size_of::<Frame<Bytes>>();
            come.push_back(frame);
        }
        let rest = (!is_whole).then_some(self);
        Ok(Self(Inner::Begun(Box::new(Begun { come, room, rest }))))
    }
}

impl Beginning {
    /// Whether it is worth waiting for more than is `held`, and there is `room` for it.
    fn has_room(&self, room: &mut Option<SemaphorePermit<'static>>, held: usize, began: Instant) -> bool {
        let Some(beyond) = held.checked_sub(self.most).filter(|beyond| *beyond > 0) else { return true };
        if held as f64 > f64::from(self.slow) * began.elapsed().as_secs_f64() {
            return false;
        }
        let taken = room.as_ref().map_or(0, SemaphorePermit::num_permits);
        let more = u32::try_from(beyond.saturating_sub(taken)).unwrap_or(u32::MAX);
        let Ok(more) = self.room.try_acquire_many(more) else { return false };
        match room {
            Some(room) => room.merge(more),
            None => *room = Some(more),
        }
        true
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
            Inner::Begun(body) => body.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Inner::H2(body) => body.ended,
            Inner::H1 { body } => body.is_end_stream(),
            Inner::Lane(body) => body.is_end(),
            Inner::Begun(body) => body.come.is_empty() && body.rest.as_ref().is_none_or(HttpBody::is_end_stream),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::H2(_) => SizeHint::default(),
            Inner::H1 { body } => body.size_hint(),
            Inner::Lane(body) => body.left().map_or_else(SizeHint::default, SizeHint::with_exact),
            Inner::Begun(body) => body.size_hint(),
        }
    }
}

impl Begun {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if self.come.is_empty() {
            self.room = None;
        }
        match (self.come.pop_front(), &mut self.rest) {
            (Some(frame), _) => Poll::Ready(Some(Ok(frame))),
            (None, Some(rest)) => Pin::new(rest).poll_frame(cx),
            (None, None) => Poll::Ready(None),
        }
    }

    /// What has trailers has no length: over HTTP/1.1 they would not be sent.
    fn size_hint(&self) -> SizeHint {
        let come: Option<usize> = self.come.iter().map(|frame| frame.data_ref().map(Bytes::len)).sum();
        let rest = self.rest.as_ref().map_or(Some(0), |rest| rest.size_hint().exact());
        come.zip(rest).map_or_else(SizeHint::default, |(come, rest)| SizeHint::with_exact(come as u64 + rest))
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
