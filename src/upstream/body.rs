//! An answer's body as it arrives, and the place it holds on its connection.
//!
//! Dropping it before its end cancels the request at the server.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;

use super::connection::{Place, Shared};
use super::error::{Error, Fault};
use super::lane::LaneBody;

/// A body on its way to the cloud.
pub type RequestBody = Pin<Box<dyn HttpBody<Data = Bytes, Error = Error> + Send>>;

pub struct Body(Inner);

enum Inner {
    H2 { stream: h2::RecvStream, place: Place, ended: bool },
    H1 { body: Incoming },
    Lane(LaneBody),
}

impl Body {
    pub(super) fn h2(stream: h2::RecvStream, place: Place) -> Self {
        let ended = stream.is_end_stream();
        Self(Inner::H2 { stream, place, ended })
    }

    pub(super) fn h1(body: Incoming) -> Self {
        Self(Inner::H1 { body })
    }

    pub(super) fn lane(body: LaneBody) -> Self {
        Self(Inner::Lane(body))
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match &mut self.0 {
            Inner::H2 { stream, place, ended } => poll_h2(stream, place.shared(), ended, cx),
            Inner::H1 { body } => Pin::new(body).poll_frame(cx).map_err(|error| Error::new(Fault::Link, true, error)),
            Inner::Lane(body) => body.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Inner::H2 { ended, .. } => *ended,
            Inner::H1 { body } => body.is_end_stream(),
            Inner::Lane(body) => body.is_end(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::H2 { .. } => SizeHint::default(),
            Inner::H1 { body } => body.size_hint(),
            Inner::Lane(body) => body.left().map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}

fn poll_h2(
    stream: &mut h2::RecvStream,
    shared: &Arc<Shared>,
    ended: &mut bool,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
    if *ended {
        return Poll::Ready(None);
    }
    match ready!(stream.poll_data(cx)) {
        Some(Ok(data)) => {
            // Hands the window back as the client takes the data: a slow client slows
            // its own stream and holds at most one stream window of memory.
            let _ = stream.flow_control().release_capacity(data.len());
            *ended = stream.is_end_stream();
            Poll::Ready(Some(Ok(Frame::data(data))))
        }
        Some(Err(error)) => {
            *ended = true;
            Poll::Ready(Some(Err(shared.explain(&error, true))))
        }
        None => match ready!(stream.poll_trailers(cx)) {
            Ok(trailers) => {
                *ended = true;
                Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
            }
            Err(error) => {
                *ended = true;
                Poll::Ready(Some(Err(shared.explain(&error, true))))
            }
        },
    }
}
