//! A LIST becomes a collection, whole or not at all.
//!
//! Items are written under a fresh id as they come; one last batch turns the
//! collection to that id and drops the old items. Until then the earlier collection
//! stands as it was.

use std::sync::Arc;

use super::{ENDED_EARLY, ListAsk, OLDER, OTHERWISE, Parts, Reason};
use crate::kube::list::{Encoding, Envelope, Limits, Piece, Splitter};
use crate::kube::metadata;
use crate::kube::object;
use crate::store::collection::version_number;
use crate::store::grant::now;
use crate::store::page::Partial;
use crate::store::writer::{self, Batch};
use crate::store::{Header, Knowledge, Op, Readers, Scope, keys};

/// Bytes of sealed items in one batch.
const BATCH: usize = 256 * 1024;
const MAX_HEAD: usize = 64 * 1024;

/// Items on their way into a collection that does not count yet.
pub(super) struct Items<'a> {
    knowledge: &'a Knowledge,
    pub(super) partial: Partial,
    ops: Vec<Op>,
    bytes: usize,
}

pub(super) async fn record(knowledge: &Arc<Knowledge>, ask: ListAsk, parts: Parts) -> Result<(), Reason> {
    let result = keep(knowledge, &ask, parts).await;
    if let Err(reason) = result {
        tracing::debug!(reason, scope = ?ask.scope, "a list is not remembered");
    }
    // Of a list that ended early its client has not got the whole either.
    if result.is_err_and(|reason| ![ENDED_EARLY, OLDER].contains(&reason)) {
        knowledge.note_not_kept(&ask.scope, &ask.reader);
    }
    result
}

async fn keep(knowledge: &Knowledge, ask: &ListAsk, parts: Parts) -> Result<(), Reason> {
    let items = Items::resume(knowledge, ask).ok_or("first page unknown")?;
    let id = items.partial.id();
    let result = take(knowledge, ask, parts, items).await;
    if result.is_err() {
        knowledge.drop_items(id).await;
    }
    result
}

async fn take(knowledge: &Knowledge, ask: &ListAsk, mut parts: Parts, mut items: Items<'_>) -> Result<(), Reason> {
    let encoding = ask.scope.encoding();
    let limits = Limits { max_item: knowledge.limits.max_item, max_head: MAX_HEAD };
    let mut splitter = Splitter::new(encoding, limits);
    let mut pieces = Vec::new();
    while let Some(data) = parts.next().await? {
        splitter.feed(data, &mut pieces).map_err(|_| "not a list")?;
        for piece in pieces.drain(..) {
            if let Piece::Item(item) = piece {
                items.add(encoding, &item)?;
            }
        }
        parts.queue.pack_during(items.flush_if_large()).await?;
        tokio::task::yield_now().await;
    }
    let envelope = splitter.finish().map_err(|_| "not a list")?;
    items.end(ask, envelope, parts.at).await
}

impl Knowledge {
    /// Items of a list that came to nothing.
    pub(super) async fn drop_items(&self, id: u64) {
        let batch = Batch { ops: vec![Op::DeletePrefix(keys::items(id))], ..Batch::default() };
        let _ = self.writer().send(batch).await;
    }
}

impl<'a> Items<'a> {
    pub(super) fn begin(knowledge: &'a Knowledge, scope: Scope) -> Self {
        let partial = Partial {
            scope,
            item_kind: String::new(),
            claim: knowledge.fresh_id(),
            epoch: knowledge.writer().epoch(),
            items: 0,
            bytes: 0,
            newest: 0,
            resource_version: String::new(),
            quorum: false,
            started: 0,
        };
        Self { knowledge, partial, ops: Vec::new(), bytes: 0 }
    }

    /// Begins, or goes on behind the page before.
    fn resume(knowledge: &'a Knowledge, ask: &ListAsk) -> Option<Self> {
        if ask.continue_token.is_empty() {
            let mut items = Self::begin(knowledge, ask.scope.clone());
            (items.partial.quorum, items.partial.started) = (ask.quorum, ask.started);
            return Some(items);
        }
        let partial = knowledge.pages.resume(&ask.continue_token, &ask.scope)?;
        Some(Self { knowledge, partial, ops: Vec::new(), bytes: 0 })
    }

    pub(super) fn add(&mut self, encoding: Encoding, item: &[u8]) -> Result<(), Reason> {
        let meta = object::meta(encoding, item).map_err(|_| "unreadable item")?;
        if self.partial.items == 0 {
            self.partial.item_kind = object::own_kind(encoding, item).unwrap_or_default();
        }
        let key = keys::item(self.partial.id(), &meta.namespace, &meta.name);
        let row = self.knowledge.sealer().seal(&key, item);
        self.bytes += row.len() + key.len();
        self.partial.items += 1;
        self.partial.note_version(version_number(&meta.resource_version));
        self.partial.bytes += (row.len() + key.len()) as u64;
        self.ops.push(Op::Put(key, row));
        // What can never fit must not push everything else out.
        let limits = &self.knowledge.limits;
        if self.partial.bytes > limits.cache_max_bytes || self.partial.items > limits.cache_max_objects {
            return Err("over the budget");
        }
        Ok(())
    }

    pub(super) async fn flush_if_large(&mut self) -> Result<(), Reason> {
        if self.bytes < BATCH {
            return Ok(());
        }
        self.bytes = 0;
        let (ops, epoch) = (std::mem::take(&mut self.ops), Some(self.partial.epoch));
        let batch = Batch { ops, epoch, is_part: true, ..Batch::default() };
        self.knowledge.writer().send(batch).await.map_err(|_| "store ended")
    }

    async fn end(mut self, ask: &ListAsk, envelope: Envelope, at: u64) -> Result<(), Reason> {
        if ask.scope.is_of_metadata() && envelope.kind != metadata::list_types().kind {
            return Err(OTHERWISE);
        }
        let first = self.partial.resource_version.is_empty();
        if !first && self.partial.resource_version != envelope.resource_version {
            return Err("pages of different versions");
        }
        if let Some(token) = envelope.continue_token.filter(|token| !token.is_empty()) {
            self.partial.resource_version = envelope.resource_version;
            return self.wait(token).await;
        }
        let header = Header {
            id: self.partial.id(),
            scope: ask.scope.clone(),
            kind: envelope.kind,
            kind_is_guess: false,
            item_kind: std::mem::take(&mut self.partial.item_kind),
            api_version: envelope.api_version,
            sorted_keys: envelope.sorted_keys,
            resource_version: envelope.resource_version,
            updated: at,
            used: now(),
            pinned: ask.reader.node,
            readers: Readers::of(&ask.reader),
            items: self.partial.items,
            bytes: self.partial.bytes,
            missed: 0,
            changed: 0,
        };
        // A list replaces what is known if it is not older; one that is older by version still does if it is a read of
        // the newest state, asked after the last news: then the cluster itself has gone back.
        let (quorum, started) = (self.partial.quorum, self.partial.started);
        self.replace(header, |(old, new)| new.version_number() >= old.version_number() || (quorum && started > old.updated)).await
    }

    /// Writes what there is, and waits for the page behind `token`.
    async fn wait(self, token: String) -> Result<(), Reason> {
        let (mut ops, epoch) = (self.ops, Some(self.partial.epoch));
        let gone = self.knowledge.pages.wait(token, self.partial);
        ops.extend(gone.into_iter().map(|id| Op::DeletePrefix(keys::items(id))));
        self.knowledge.writer().send(Batch { ops, epoch, ..Batch::default() }).await.map_err(|_| "store ended")
    }

    /// Turns the collection to the new items, if `may` agrees with the old head.
    pub(super) async fn replace(
        mut self,
        mut header: Header,
        may: impl FnOnce((&Header, &Header)) -> bool,
    ) -> Result<(), Reason> {
        let room = self.knowledge.writer().room(writer::size(&self.ops)).await.map_err(|_| "store ended")?;
        // From here to the queue nothing waits: a watch that sees the new head comes behind it.
        if self.knowledge.writer().epoch() != self.partial.epoch {
            return Err("a write failed");
        }
        let old = self.knowledge.header(&header.scope);
        if let Some(old) = &old {
            header.pinned |= old.pinned;
            header.readers.note_all(&old.readers);
            if !may((old, &header)) {
                return Err(OLDER);
            }
            // The newest state there is has everything; another one may be as old as it likes.
            header.missed = if self.partial.quorum { 0 } else { old.missed };
            if self.partial.is_as_it_was(old) {
                self.knowledge.note_difference(old, header.version_number(), &[]);
            }
        }
        // Until this is written, a reader finds the old items by the old head.
        let _old = old.as_ref().map(|old| self.knowledge.claims.claim(old.id));
        self.ops.push(self.knowledge.set_header(header));
        self.ops.extend(old.map(|old| Op::DeletePrefix(keys::items(old.id))));
        let batch = Batch { ops: self.ops, epoch: Some(self.partial.epoch), ..Batch::default() };
        // Only what a reader sees counts as remembered.
        room.apply(batch).await.map_err(|_| "a write failed")?;
        self.knowledge.metrics().lists_remembered.inc();
        self.knowledge.sweep_wanted.notify_one();
        Ok(())
    }
}
