//! A watch's answer, event by event.

use std::pin::Pin;
use std::task::{Context as Task, Poll, ready};

use bytes::Bytes;
use http_body::Body;

use crate::kube::list::{Encoding, Limits};
use crate::kube::object;
use crate::kube::watch::{self, EventType, Framer};
use crate::upstream::Error;

/// What brings a watch.
pub(super) struct Brought {
    body: Pin<Box<dyn Body<Data = Bytes, Error = Error> + Send>>,
    framer: Framer,
    /// What comes first.
    next: Vec<Event>,
    is_over: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Event {
    pub(super) raw: Bytes,
    pub(super) kind: EventType,
    /// `None`: it has none, or one that cannot be read.
    pub(super) version: Option<u64>,
}

impl Brought {
    pub(super) fn new(body: Pin<Box<dyn Body<Data = Bytes, Error = Error> + Send>>, encoding: Encoding) -> Self {
        Self { body, framer: Framer::new(encoding, Limits::ANSWER.max_item), next: Vec::new(), is_over: false }
    }

    pub(super) fn encoding(&self) -> Encoding {
        self.framer.encoding()
    }

    /// These come once more.
    pub(super) fn give_back(&mut self, events: Vec<Event>) {
        self.next = events;
    }

    /// What has come, or nothing yet of an event; `Err`: nothing comes any more, and why if that is no end. What ends it
    /// comes last, if it says so or cannot be read.
    pub(super) fn poll(&mut self, cx: &mut Task<'_>) -> Poll<Result<Vec<Event>, Option<Error>>> {
        if !self.next.is_empty() {
            return Poll::Ready(Ok(std::mem::take(&mut self.next)));
        }
        if self.is_over {
            return Poll::Ready(Err(None));
        }
        let Some(frame) = ready!(self.body.as_mut().poll_frame(cx)) else { return Poll::Ready(Err(None)) };
        let Ok(data) = frame?.into_data() else { return Poll::Ready(Ok(Vec::new())) };
        let mut frames = Vec::new();
        let read = self.framer.feed(data, &mut frames);
        let encoding = self.framer.encoding();
        let event = |frame: watch::Frame| {
            let version = object::version(encoding, &frame.event.object);
            Event { raw: frame.raw, kind: frame.event.kind, version }
        };
        let mut events: Vec<Event> = frames.into_iter().map(event).collect();
        if let Some(last) = events.iter().position(|event| event.kind == EventType::Error) {
            events.truncate(last + 1);
            self.is_over = true;
        } else if let Err(error) = read {
            tracing::warn!(%error, "a watch cannot be read");
            let message = format!("the cloud's answer is no watch: {error}");
            let raw = watch::error_status(encoding, 500, "InternalError", &message);
            events.push(Event { raw, kind: EventType::Error, version: None });
            self.is_over = true;
        }
        Poll::Ready(Ok(events))
    }
}
