//! Watches: one task each, fed from the log of changes.
//!
//! An object that starts or stops matching the selectors is told as added or deleted. A version
//! that was compacted ends the watch with an ERROR event of code 410, inside a 200 as the real
//! server does it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, interval_at, sleep_until};

use super::Shared;
use super::body::{FakeBody, Feed, Reply, typed};
use super::media::Media;
use super::proto;
use super::request::{Call, Target};
use super::selector::Selector;
use super::state::{Change, Event};
use super::status::Failure;

/// How long a watch lasts when the client names no time.
const DEFAULT_TIMEOUT: u64 = 1800;

/// One running watch.
struct Watch {
    shared: Arc<Shared>,
    target: Target,
    prefix: String,
    selector: Selector,
    media: Media,
    /// Everything up to here was told.
    position: u64,
    bookmarks: bool,
}

/// What a watch begins with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Begin {
    /// The objects there are, then a bookmark if `true`.
    Initial(bool),
    After(u64),
    Now,
}

/// Answers a WATCH with a body that goes on.
pub(crate) fn watch(shared: &Arc<Shared>, call: &Call, target: &Target) -> Result<Reply, Failure> {
    let media = Media::negotiate_read(&call.headers, proto::supports(&target.resource), false)?;
    let begin = begin(shared, call, target)?;
    let timeout = call.query.number("timeoutSeconds").filter(|seconds| *seconds > 0).unwrap_or(DEFAULT_TIMEOUT);
    let mut selector = call.query.selector()?;
    if !target.name.is_empty() {
        selector.require_name(&target.name);
    }
    let watch = Watch {
        shared: Arc::clone(shared),
        target: target.clone(),
        prefix: target.prefix(),
        selector,
        media,
        position: 0,
        bookmarks: call.query.flag("allowWatchBookmarks"),
    };
    let (feed, body) = FakeBody::fed();
    tokio::spawn(watch.run(begin, feed, Duration::from_secs(timeout)));
    Ok(typed(200, media.watch_type(call.header("accept")), body))
}

fn begin(shared: &Shared, call: &Call, target: &Target) -> Result<Begin, Failure> {
    let version = call.query.version()?;
    let matching = call.query.text("resourceVersionMatch");
    let forbidden = |why: &str| {
        let mut failure = Failure::invalid(&target.resource, "", why);
        failure.message = format!("ListOptions.meta.k8s.io \"\" is invalid: {why}");
        failure
    };
    match (call.query.text("sendInitialEvents"), matching) {
        ("", "") => Ok(match version {
            // As with the gate WatchList (SetListOptionsDefaults of k8s.io/apimachinery).
            None | Some(0) => Begin::Initial(call.query.flag("allowWatchBookmarks") && shared.watch_list),
            Some(rv) => Begin::After(rv),
        }),
        ("", _) => Err(forbidden(
            "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
        )),
        _ if !shared.watch_list => Err(forbidden(
            "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled",
        )),
        (_, "NotOlderThan") if call.query.flag("sendInitialEvents") => Ok(Begin::Initial(call.query.flag("allowWatchBookmarks"))),
        (_, "NotOlderThan") => Ok(version.filter(|rv| *rv > 0).map_or(Begin::Now, Begin::After)),
        (_, _) => Err(forbidden(
            "resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        )),
    }
}

impl Watch {
    async fn run(mut self, begin: Begin, feed: Feed, timeout: Duration) {
        let mut changed = self.shared.changed.subscribe();
        let end = Instant::now() + timeout;
        let every = self.shared.bookmark_every;
        let mut bookmarks = interval_at(Instant::now() + every, every);
        if !self.begin(begin, &feed).await {
            return;
        }
        loop {
            changed.mark_unchanged();
            if !self.tell(&feed).await {
                return;
            }
            tokio::select! {
                result = changed.changed() => if result.is_err() { return },
                _ = bookmarks.tick() => if !self.bookmark(&feed).await { return },
                () = sleep_until(end) => {
                    self.bookmark(&feed).await;
                    return;
                }
                () = feed.closed() => return,
            }
        }
    }

    /// Sends the initial objects; false when the client is gone.
    async fn begin(&mut self, begin: Begin, feed: &Feed) -> bool {
        let table = {
            let state = self.shared.state();
            match begin {
                Begin::After(rv) => {
                    self.position = rv;
                    return true;
                }
                Begin::Now => {
                    self.position = state.rv();
                    return true;
                }
                Begin::Initial(_) => {
                    self.position = state.rv();
                    state.table(&self.target.resource, &self.prefix)
                }
            }
        };
        for object in table.values().filter(|object| self.selector.matches(&object.value)) {
            let event = self.media.event(&self.target.resource, Change::Added, object);
            if !feed.data(event).await {
                return false;
            }
        }
        if begin == Begin::Initial(true) {
            return feed.data(self.bookmark_bytes(true)).await;
        }
        true
    }

    /// Sends what happened since; false when the watch is over.
    async fn tell(&mut self, feed: &Feed) -> bool {
        let events = match self.news() {
            Ok(events) => events,
            Err(failure) => {
                feed.data(self.media.error_event(&failure)).await;
                return false;
            }
        };
        for event in events {
            let Some(change) = self.seen_as(&event) else { continue };
            if !feed.data(self.media.event(&self.target.resource, change, &event.object)).await {
                return false;
            }
        }
        true
    }

    /// What happened to this watch's objects since its position, which moves on.
    fn news(&mut self) -> Result<Vec<Event>, Failure> {
        let shared = Arc::clone(&self.shared);
        let state = shared.state();
        let Some(events) = state.since(self.position) else {
            let message = format!("too old resource version: {} ({})", self.position, state.compacted());
            return Err(Failure::expired(message));
        };
        let events = events.filter(|event| self.concerns(event)).cloned().collect();
        self.position = self.position.max(state.rv());
        Ok(events)
    }

    fn concerns(&self, event: &Event) -> bool {
        *event.resource == self.target.resource && event.key.starts_with(&self.prefix)
    }

    /// The change as it looks through the selectors.
    fn seen_as(&self, event: &Event) -> Option<Change> {
        let before = event.previous.as_ref().is_some_and(|object| self.selector.matches(&object.value));
        let after = event.change != Change::Deleted && self.selector.matches(&event.object.value);
        match (before, after) {
            (false, false) => None,
            (false, true) => Some(Change::Added),
            (true, true) => Some(Change::Modified),
            (true, false) => Some(Change::Deleted),
        }
    }

    /// Sends a bookmark, if asked for any; false when the client is gone.
    async fn bookmark(&self, feed: &Feed) -> bool {
        !self.bookmarks || feed.data(self.bookmark_bytes(false)).await
    }

    fn bookmark_bytes(&self, initial_end: bool) -> Vec<u8> {
        let kind = self.shared.kind_of(&self.target.resource);
        self.media.bookmark(&self.target.resource, &kind, self.position, initial_end)
    }
}
