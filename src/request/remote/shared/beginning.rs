//! A watch that begins with all there is: its own up to the bookmark that says so, and then for all who watch the same.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context as Task, Poll, ready};

use bytes::Bytes;
use http_body::Frame;

use super::Wish;
use super::brought::{Brought, Event};
use super::feed::{Answer, Feed, Place};
use super::share::Share;
use crate::kube::watch::EventType;
use crate::upstream::Error;

pub(in crate::request::remote) struct Beginning {
    wish: Wish,
    answer: Answer,
    /// Whole events on their way to the client.
    out: VecDeque<Bytes>,
    stage: Stage,
}

enum Stage {
    /// Its own, and whether there is more to come before it is for others as well.
    Own(Brought, bool),
    Shared(Box<Share>),
    Over,
}

impl Beginning {
    pub(super) fn new(wish: Wish, brought: Brought, answer: Answer) -> Self {
        Self { wish, answer, out: VecDeque::new(), stage: Stage::Own(brought, true) }
    }

    pub(in crate::request::remote) fn poll_frame(&mut self, cx: &mut Task<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        loop {
            if let Some(raw) = self.out.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(raw))));
            }
            let (brought, is_beginning) = match &mut self.stage {
                Stage::Own(brought, is_beginning) => (brought, *is_beginning),
                Stage::Shared(share) => return share.poll_frame(cx),
                Stage::Over => return Poll::Ready(None),
            };
            match ready!(brought.poll(cx)) {
                Ok(events) if is_beginning => self.tell(events),
                Ok(events) => self.out.extend(events.into_iter().map(|event| event.raw)),
                Err(why) => {
                    self.stage = Stage::Over;
                    return Poll::Ready(why.map(Err));
                }
            }
        }
    }

    /// The first bookmark says that all there is has been told.
    fn tell(&mut self, mut events: Vec<Event>) {
        let end = events.iter().position(|event| event.kind == EventType::Bookmark);
        let rest = end.map(|end| events.split_off(end + 1));
        let version = events.last().and_then(|event| event.version);
        self.out.extend(events.into_iter().map(|event| event.raw));
        if let Some(rest) = rest {
            self.go_on(version, rest);
        }
    }

    fn go_on(&mut self, version: Option<u64>, rest: Vec<Event>) {
        let Stage::Own(mut brought, _) = std::mem::replace(&mut self.stage, Stage::Over) else { return };
        brought.give_back(rest);
        self.stage = match version {
            Some(version) => self.joined(brought, version),
            None => Stage::Own(brought, false),
        };
    }

    fn joined(&self, brought: Brought, version: u64) -> Stage {
        let wish = &self.wish;
        let feed = wish.shared.feed(&wish.key, version);
        if let Some(share) = self.share(&feed, version) {
            return Stage::Shared(Box::new(share));
        }
        let Ok(turn) = feed.turn.clone().try_lock_owned() else { return Stage::Own(brought, false) };
        if feed.is_led() {
            drop(turn);
            let share = self.share(&feed, version).map(Box::new);
            return share.map_or(Stage::Own(brought, false), Stage::Shared);
        }
        match wish.may_lead(feed, turn, version) {
            // Else it goes on from elsewhere than this one does.
            Some(lead) if lead.version == version => {
                let (feed, reader) = lead.begin(brought, self.answer.clone());
                Stage::Shared(Box::new(wish.reads(feed, reader, version, None)))
            }
            _ => Stage::Own(brought, false),
        }
    }

    fn share(&self, feed: &Arc<Feed>, version: u64) -> Option<Share> {
        let Place::Reader(reader) = feed.place(version) else { return None };
        // The cloud itself has let its client in just now.
        Some(self.wish.reads(feed.clone(), reader, version, Some(self.wish.is_let_in())))
    }
}
