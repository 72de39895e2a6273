//! One reader's share of a watch: the body of its answer.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Task, Poll, ready};

use bytes::Bytes;
use http_body::Frame;
use tokio::time::{Instant, Sleep, sleep_until};

use super::Shared;
use super::brought::Event;
use super::feed::{Feed, Found, Reader, lost};
use super::review::Asking;
use crate::kube::watch::{self, EventType};
use crate::request::filter::LEFT_BEHIND;
use crate::upstream::Error;

pub(in crate::request::remote) struct Share {
    shared: Arc<Shared>,
    pub(super) feed: Arc<Feed>,
    reader: Reader,
    /// The version up to which its client has been told everything.
    from: u64,
    /// Whether its client has asked for bookmarks.
    bookmarks: bool,
    /// `None`: the cloud itself has let it in, and ends it.
    terms: Option<Box<Terms>>,
    /// While it waits for one that is slower.
    patience: Option<Pin<Box<Sleep>>>,
    is_over: bool,
}

/// Of who reads what the cloud tells another one.
pub(super) struct Terms {
    /// Its client's time.
    until: Option<Instant>,
    asking: Asking,
    timer: Pin<Box<Sleep>>,
}

enum Ended {
    InTime,
    NotGranted,
}

impl Terms {
    /// `granted`: until when that need not be asked again.
    pub(super) fn new(until: Option<Instant>, granted: Instant, asking: Asking) -> Box<Self> {
        let next = until.map_or(granted, |until| until.min(granted));
        Box::new(Self { until, asking, timer: Box::pin(sleep_until(next)) })
    }

    fn poll(&mut self, cx: &mut Task<'_>) -> Poll<Ended> {
        loop {
            ready!(self.timer.as_mut().poll(cx));
            if self.until.is_some_and(|until| Instant::now() >= until) {
                return Poll::Ready(Ended::InTime);
            }
            let Some(granted) = ready!(self.asking.poll(cx)) else { return Poll::Ready(Ended::NotGranted) };
            let next = self.until.map_or(granted, |until| until.min(granted));
            self.timer.as_mut().reset(next);
        }
    }
}

impl Share {
    pub(super) fn new(
        shared: Arc<Shared>,
        feed: Arc<Feed>,
        reader: Reader,
        from: u64,
        bookmarks: bool,
        terms: Option<Box<Terms>>,
    ) -> Self {
        Self { shared, feed, reader, from, bookmarks, terms, patience: None, is_over: false }
    }

    pub(in crate::request::remote) fn poll_frame(&mut self, cx: &mut Task<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let ended = self.terms.as_mut().map(|terms| terms.poll(cx));
        match ended {
            Some(Poll::Ready(Ended::InTime)) => return self.end(None),
            // Whoever asks again is told by the cloud.
            Some(Poll::Ready(Ended::NotGranted)) => return self.end(Some(Err(lost()))),
            _ => {}
        }
        loop {
            let event = match ready!(self.feed.poll(&mut self.reader, cx)) {
                Ok(Found::Event(event)) => event,
                Ok(Found::LeftBehind) => {
                    let last = watch::error_status(self.feed.encoding(), 410, "Expired", LEFT_BEHIND);
                    return self.end(Some(Ok(Frame::data(last))));
                }
                Ok(Found::Lost(why)) => return self.end(why.map(Err)),
                Err(until) => {
                    let patience = self.patience.get_or_insert_with(|| Box::pin(sleep_until(until)));
                    patience.as_mut().reset(until);
                    ready!(patience.as_mut().poll(cx));
                    continue;
                }
            };
            self.patience = None;
            if self.is_for_client(&event) {
                return Poll::Ready(Some(Ok(Frame::data(event.raw))));
            }
        }
    }

    fn is_for_client(&self, event: &Event) -> bool {
        let from = self.from;
        match event.kind {
            EventType::Bookmark => self.bookmarks && event.version.is_none_or(|version| version >= from),
            _ => event.version.is_none_or(|version| version > from),
        }
    }

    fn end(&mut self, last: Option<Result<Frame<Bytes>, Error>>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.is_over = true;
        Poll::Ready(last)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shared.leave(&self.feed, &self.reader);
    }
}
