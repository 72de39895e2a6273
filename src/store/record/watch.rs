//! A WATCH keeps its collection current.
//!
//! An event is applied if the watch has seen everything between the collection's
//! version and the event: once, in order. Others are ignored, so several watches on
//! one scope do no harm. A watch with initial events builds a collection of its own,
//! which counts from the first bookmark or change on.

use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::poll;
use tokio::time::timeout;

use super::items::Items;
use super::{ENDED_EARLY, OLDER, OTHERWISE, Parts, Reason, WatchAsk};
use crate::kube::list::Encoding;
use crate::kube::metadata;
use crate::kube::object;
use crate::kube::watch::{EventType, Frame, Framer};
use crate::store::at_work::AtWork;
use crate::store::collection::version_number;
use crate::store::coming::OnItsWay;
use crate::store::grant::now;
use crate::store::knowledge::now_ms;
use crate::store::writer::{Batch, Room};
use crate::store::{Header, Knowledge, Op, Readers, Scope, StoreError, keys};

/// Bytes by which an item grows that are worth a look at the budget.
const LARGE: u64 = 64 * 1024;

/// How long a server that sends bookmarks may be silent before one says where the initial events end: it sends one a minute.
pub(in crate::store) const SILENT: Duration = Duration::from_secs(180);

struct Follower<'a> {
    knowledge: &'a Arc<Knowledge>,
    ask: WatchAsk,
    encoding: Encoding,
    /// The version up to which this watch has seen everything; `None`: unknown.
    seen: Option<u64>,
    /// Boxed, as what comes with an event is: a watch at rest holds little.
    initial: Option<Box<Items<'a>>>,
    /// While what it has brought waits for the disk.
    at_work: Option<Box<AtWork>>,
}

/// No `async fn`: that would hold its arguments twice, and there are many watches.
pub(super) fn record(knowledge: &Arc<Knowledge>, ask: WatchAsk, mut parts: Parts) -> impl Future<Output = Result<(), Reason>> {
    let encoding = ask.scope.encoding();
    let seen = Some(version_number(&ask.resource_version)).filter(|version| *version > 0 && !ask.send_initial_events);
    let initial = ask.send_initial_events.then(|| Box::new(Items::begin(knowledge, ask.scope.clone())));
    let mut framer = Framer::new(encoding, knowledge.limits.max_item);
    let mut follower = Follower { knowledge, ask, encoding, seen, initial, at_work: None };
    async move {
        if follower.is_ahead() {
            Box::pin(follower.begin_ahead()).await;
        }
        let result = loop {
            // However a watch ends, what it brought before was right.
            let data = match follower.next(&mut parts).await {
                Ok(Some(data)) => data,
                Ok(None) | Err(ENDED_EARLY) => break Ok(()),
                Err(reason) => break Err(reason),
            };
            let mut frames = Vec::new();
            if framer.feed(data, &mut frames).is_err() {
                break Err("unreadable watch");
            }
            match Box::pin(follower.take(frames)).await {
                Ok(true) => {}
                Ok(false) => break Ok(()),
                Err(reason) => break Err(reason),
            }
        };
        if let Err(reason) = result {
            tracing::debug!(reason, scope = ?follower.ask.scope, "a watch is not remembered any more");
        }
        Box::pin(follower.end(result.is_ok())).await;
        result
    }
}

impl Follower<'_> {
    /// What comes next; with nothing there it has brought all it had.
    async fn next(&mut self, parts: &mut Parts) -> Result<Option<Bytes>, Reason> {
        let mut next = pin!(parts.next());
        if let Poll::Ready(next) = poll!(next.as_mut()) {
            return next;
        }
        self.at_work = None;
        match &self.initial {
            Some(_) => timeout(SILENT, next).await.unwrap_or(Err("nothing says where the initial events end")),
            None => next.await,
        }
    }

    /// Waits until what its client had seen before is in the collection: the list that it goes on from may be on its way, and
    /// what another connection has brought it before.
    async fn catch_up(&mut self) {
        let (Some(seen), Self { knowledge, ask, .. }) = (self.seen, &*self) else { return };
        let at_work = self.at_work.is_none().then(|| Box::new(knowledge.following.begin(&ask.scope, seen)));
        if self.is_ahead() {
            knowledge.lists.rest(&ask.scope).await;
            if at_work.is_some() {
                knowledge.following.are_beyond(&ask.scope, seen).await;
            }
        }
        self.at_work = at_work.or(self.at_work.take());
    }

    /// Whether the stream goes on.
    async fn take(&mut self, frames: Vec<Frame>) -> Result<bool, Reason> {
        for Frame { event, .. } in frames {
            if event.kind == EventType::Error {
                return Ok(false);
            }
            if !self.knows(&event.object) {
                self.event(event.kind, &event.object).await?;
            }
        }
        Ok(true)
    }

    /// Whether another watch of the same has brought this event before, as for all but one of many. Nothing comes of it, so
    /// it waits for nobody and nobody waits for it.
    fn knows(&mut self, full: &[u8]) -> bool {
        let (None, Some(seen)) = (&self.initial, self.seen) else { return false };
        let Some(told) = object::version(self.encoding, full).map(|version| seen.max(version)) else { return false };
        let is_known = self.knowledge.version(&self.ask.scope).is_some_and(|known| told <= known);
        if is_known {
            self.seen = Some(told);
        }
        is_known
    }

    async fn event(&mut self, kind: EventType, full: &[u8]) -> Result<(), Reason> {
        let (types, item) = object::whole_into_item(self.encoding, full).map_err(|_| "unreadable item")?;
        let meta = object::meta(self.encoding, &item).map_err(|_| "unreadable item")?;
        if self.ask.scope.is_of_metadata() && types.kind != metadata::types().kind {
            return Err(OTHERWISE);
        }
        let version = version_number(&meta.resource_version);
        if let Some(items) = &mut self.initial {
            if kind == EventType::Added {
                items.add(self.encoding, &item)?;
                return items.flush_if_large().await;
            }
            if kind == EventType::Other || version == 0 {
                return Err("initial events broken off");
            }
            let head = Head { kind: &types.kind, api_version: &types.api_version, sorted: !is_struct_order(self.encoding, full) };
            // All that is of before has been told, marked (KEP-3157) or not.
            let told = if kind == EventType::Bookmark { version } else { version - 1 };
            self.initial_end(head, told.to_string()).await?;
            if kind == EventType::Bookmark {
                return Ok(());
            }
        }
        self.catch_up().await;
        if !self.concerns(version) {
            self.seen = self.seen.map(|seen| seen.max(version));
            return Ok(());
        }
        let (room, before) = room(self.knowledge, &self.ask.scope, &meta, item.len()).await?;
        // From here to the queue nothing waits: a list that sees the new head comes behind it.
        let epoch = self.knowledge.writer().epoch();
        let batch = OnItsWay::default();
        let ops = self.apply(&Event { kind, own_kind: &types.kind, meta: &meta, item: &item, version, before }, epoch, &batch);
        if !ops.is_empty() {
            room.send(Batch { ops, epoch: Some(epoch), on_its_way: Some(batch), ..Batch::default() });
        }
        Ok(())
    }

    /// Whether the collection has not come as far as this event, or as this watch before it.
    fn concerns(&self, version: u64) -> bool {
        let known = self.knowledge.version(&self.ask.scope);
        self.seen.zip(known).is_some_and(|(seen, known)| seen.max(version) > known)
    }

    /// Whether the watch has seen more than there is in the collection, if there is one yet.
    fn is_ahead(&self) -> bool {
        self.seen.is_some_and(|seen| self.knowledge.version(&self.ask.scope).is_none_or(|version| seen > version))
    }

    /// Its client has been told of more than there is.
    async fn begin_ahead(&mut self) {
        self.catch_up().await;
        if let Some(seen) = self.seen {
            self.knowledge.note_seen(&self.ask.scope, seen, &self.ask.reader);
        }
    }

    /// `whole`: everything that came was taken; what did not come, its client has not got either.
    async fn end(self, whole: bool) {
        if let (false, Some(seen)) = (whole, self.seen) {
            self.knowledge.note_seen(&self.ask.scope, seen + 1, &self.ask.reader);
        }
        if let Some(initial) = self.initial {
            if !whole {
                self.knowledge.note_not_kept(&self.ask.scope, &self.ask.reader);
            }
            self.knowledge.drop_items(initial.partial.id()).await;
        }
    }

    async fn initial_end(&mut self, head: Head<'_>, resource_version: String) -> Result<(), Reason> {
        let Some(items) = self.initial.take() else { return Ok(()) };
        self.seen = Some(version_number(&resource_version));
        let header = Header {
            id: items.partial.id(),
            scope: self.ask.scope.clone(),
            kind: format!("{}List", head.kind),
            // A definition may have named it otherwise; those of Kubernetes are all named so.
            kind_is_guess: head.sorted,
            item_kind: head.kind.to_owned(),
            api_version: head.api_version.to_owned(),
            sorted_keys: head.sorted,
            resource_version,
            updated: now_ms(),
            used: now(),
            pinned: self.ask.reader.node,
            readers: Readers::of(&self.ask.reader),
            items: items.partial.items,
            bytes: items.partial.bytes,
            missed: 0,
            changed: 0,
        };
        let id = items.partial.id();
        let result = items.replace(header, |(old, new)| new.version_number() >= old.version_number()).await;
        if result.is_err() {
            self.knowledge.drop_items(id).await;
        }
        if result == Err(OLDER) {
            // What follows may be news all the same.
            self.knowledge.not_remembered(OLDER);
            return Ok(());
        }
        result
    }

    /// Changes the catalogue, and returns the rows that say so; none, too, if a write has failed since this `epoch`.
    fn apply(&mut self, event: &Event<'_>, epoch: u64, batch: &OnItsWay) -> Vec<Op> {
        let Event { kind, own_kind, meta, item, version, before } = *event;
        let mut ops = Vec::new();
        let Some(seen) = self.seen else { return ops };
        self.seen = Some(seen.max(version));
        let Some(mut header) = self.knowledge.header(&self.ask.scope) else { return ops };
        if seen > header.version_number() {
            let told = Some(version).filter(|_| kind != EventType::Bookmark);
            let missed = if header.believes(&self.ask.reader) { Some(version.max(seen)) } else { told };
            ops.extend(missed.and_then(|version| self.knowledge.missed(&self.ask.scope, version)));
            return ops;
        }
        if version <= header.version_number() {
            return ops;
        }
        let key = keys::item(header.id, &meta.namespace, &meta.name);
        match kind {
            EventType::Added | EventType::Modified => {
                if kind == EventType::Added {
                    header.items += 1;
                }
                let row = self.knowledge.sealer().seal(&key, item);
                let size = (row.len() + key.len()) as u64;
                header.bytes = (header.bytes + size).saturating_sub(before);
                self.knowledge.note_sizes([(&*key, size)].into_iter(), batch);
                self.knowledge.contents.note(epoch, &key, Some(item));
                if size > before + LARGE {
                    self.knowledge.sweep_wanted.notify_one();
                }
                ops.push(Op::Put(key, row));
            }
            EventType::Deleted => {
                header.items = header.items.saturating_sub(1);
                header.bytes = header.bytes.saturating_sub(before);
                self.knowledge.note_sizes([(&*key, 0)].into_iter(), batch);
                self.knowledge.contents.note(epoch, &key, None);
                ops.push(Op::Delete(key));
            }
            EventType::Bookmark => {}
            EventType::Error | EventType::Other => return ops,
        }
        if kind != EventType::Bookmark {
            self.knowledge.trail.note(&header, version, kind, item);
        }
        header.changed = match kind {
            EventType::Bookmark if header.changed == 0 => header.version_number(),
            EventType::Bookmark => header.changed,
            _ => version,
        };
        meta.resource_version.clone_into(&mut header.resource_version);
        own_kind.clone_into(&mut header.item_kind);
        header.updated = now_ms();
        // Who watches uses it, however long ago it was listed.
        header.used = now();
        header.pinned |= self.ask.reader.node;
        header.readers.note(&self.ask.reader.agent);
        match self.knowledge.set_header(epoch, header) {
            Some(head) => ops.push(head),
            // A write has failed since, and what the disk has is not known yet: it does not have this.
            None => {
                ops.clear();
                if kind != EventType::Bookmark {
                    let _ = self.knowledge.missed(&self.ask.scope, version);
                }
            }
        }
        ops
    }
}

/// Room for an event, and how large its item was before.
async fn room<'a>(
    knowledge: &'a Arc<Knowledge>,
    scope: &Scope,
    meta: &object::Meta,
    bytes: usize,
) -> Result<(Room<'a>, u64), Reason> {
    let writer = knowledge.writer();
    loop {
        let room = writer.room(bytes).await.map_err(|_| "store ended")?;
        let Some(header) = knowledge.header(scope) else { return Ok((room, 0)) };
        if let Some(before) = knowledge.item_size(&keys::item(header.id, &meta.namespace, &meta.name)) {
            return Ok((room, before));
        }
        // A list is only just being written; whoever looks again comes behind it.
        drop(room);
        if matches!(writer.flush().await, Err(StoreError::Ended)) {
            return Err("store ended");
        }
        tokio::task::yield_now().await;
    }
}

/// What has happened to an item.
struct Event<'a> {
    kind: EventType,
    own_kind: &'a str,
    meta: &'a object::Meta,
    item: &'a [u8],
    version: u64,
    /// Bytes of its row until then.
    before: u64,
}

/// What an initial collection's envelope is made of.
struct Head<'a> {
    kind: &'a str,
    api_version: &'a str,
    sorted: bool,
}

/// Built-in types put `kind` first, custom resources sort their keys.
fn is_struct_order(encoding: Encoding, full: &[u8]) -> bool {
    encoding == Encoding::Protobuf || full.trim_ascii_start().starts_with(b"{\"kind\"")
}
