//! Response bodies: whole ones, and ones fed by a task.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;

/// Frames a task may be ahead of the connection.
const AHEAD: usize = 16;

/// The body of every answer.
pub(crate) enum FakeBody {
    /// Known in full.
    Whole(Option<Bytes>),
    /// Fed by a task; of unknown length.
    Fed(mpsc::Receiver<io::Result<Frame<Bytes>>>),
}

/// The feeding end. Dropping it ends the body properly.
pub(crate) struct Feed(mpsc::Sender<io::Result<Frame<Bytes>>>);

pub(crate) type Reply = Response<FakeBody>;

impl FakeBody {
    pub(crate) fn fed() -> (Feed, Self) {
        let (sender, receiver) = mpsc::channel(AHEAD);
        (Feed(sender), Self::Fed(receiver))
    }

    /// The next piece of data; trailers are dropped.
    pub(crate) async fn chunk(&mut self) -> Option<Bytes> {
        match self {
            Self::Whole(bytes) => bytes.take().filter(|bytes| !bytes.is_empty()),
            Self::Fed(receiver) => loop {
                if let Ok(data) = receiver.recv().await?.ok()?.into_data() {
                    return Some(data);
                }
            },
        }
    }
}

impl Feed {
    /// Sends data; false once the client is gone.
    pub(crate) async fn data(&self, bytes: impl Into<Bytes>) -> bool {
        self.0.send(Ok(Frame::data(bytes.into()))).await.is_ok()
    }

    pub(crate) async fn trailers(&self, trailers: HeaderMap) {
        self.0.send(Ok(Frame::trailers(trailers))).await.ok();
    }

    /// Breaks the body off: a stream reset over HTTP/2, a closed connection over HTTP/1.
    pub(crate) async fn fail(&self) {
        self.0.send(Err(io::Error::other("cut by a fault"))).await.ok();
    }

    /// Returns when the client is gone.
    pub(crate) async fn closed(&self) {
        self.0.closed().await;
    }
}

impl Body for FakeBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Fed(receiver) => receiver.poll_recv(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Self::Fed(_) => SizeHint::default(),
        }
    }
}

/// An answer with a whole body.
pub(crate) fn reply(code: u16, content_type: &'static str, bytes: impl Into<Bytes>) -> Reply {
    let bytes = bytes.into();
    let body = FakeBody::Whole((!bytes.is_empty()).then_some(bytes));
    typed(code, content_type, body)
}

/// An answer with any body.
pub(crate) fn typed(code: u16, content_type: &'static str, body: FakeBody) -> Reply {
    let mut reply = Response::new(body);
    *reply.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    reply.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static(content_type));
    reply
}
