//! The cloud's bytes on their way to the client, and a copy to the store.
//!
//! The copy costs a reference, never a wait. Only a body that ended as it should is
//! finished; every other end drops the recording, and then it never happened.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::shared::{Beginning, Share};
use crate::store::Recording;
use crate::upstream::{self, Error};

pub(super) struct Tee {
    source: Source,
    recording: Option<Recording>,
}

enum Source {
    Cloud(upstream::Body),
    /// What is remembered where it comes from.
    Shared(Share),
    /// The same, once it has begun.
    Beginning(Box<Beginning>),
}

impl Tee {
    pub(super) fn new(body: upstream::Body, recording: Option<Recording>) -> Self {
        let mut tee = Self { source: Source::Cloud(body), recording };
        tee.finish_at_end();
        tee
    }

    pub(super) fn of(share: Share) -> Self {
        Self { source: Source::Shared(share), recording: None }
    }

    pub(super) fn beginning(beginning: Beginning) -> Self {
        Self { source: Source::Beginning(Box::new(beginning)), recording: None }
    }

    /// hyper does not ask again for what has announced its end.
    fn finish_at_end(&mut self) {
        if self.is_end_stream()
            && let Some(recording) = self.recording.take()
        {
            recording.finish();
        }
    }
}

impl HttpBody for Tee {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = ready!(match &mut self.source {
            Source::Cloud(body) => Pin::new(body).poll_frame(cx),
            Source::Shared(share) => share.poll_frame(cx),
            Source::Beginning(beginning) => beginning.poll_frame(cx),
        });
        match &frame {
            None => {
                if let Some(recording) = self.recording.take() {
                    recording.finish();
                }
            }
            Some(Ok(frame)) => {
                if let (Some(data), Some(recording)) = (frame.data_ref(), &mut self.recording) {
                    recording.push(data);
                }
                self.finish_at_end();
            }
            Some(Err(_)) => self.recording = None,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.source, Source::Cloud(body) if body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Cloud(body) => body.size_hint(),
            Source::Shared(_) | Source::Beginning(_) => SizeHint::default(),
        }
    }
}
