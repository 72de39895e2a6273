//! Items on their way into a collection, of which none counts before the end.
//!
//! They are written under a fresh id as they come; one last batch turns the collection to that id and drops what there was.
//! Where it is known what there was (store/contents.rs), nothing is written before the end, and then only what has become
//! another, under the same id (record/in_place.rs).

use super::{FAILED, OLDER, OVER, Reason};
use crate::kube::list::Encoding;
use crate::kube::object;
use crate::store::collection::version_number;
use crate::store::contents::{self, Item};
use crate::store::grant::now;
use crate::store::page::Partial;
use crate::store::writer::{self, Batch, Room};
use crate::store::{Header, Knowledge, Op, Scope, keys};

/// Bytes of sealed items in one batch.
pub(super) const BATCH: usize = 256 * 1024;

pub(super) struct Items<'a> {
    pub(super) knowledge: &'a Knowledge,
    pub(super) partial: Partial,
    /// Rows that are not written yet.
    pub(super) ops: Vec<Op>,
    /// Bytes of them.
    pub(super) bytes: usize,
    /// All that has come; `None`: not worth to be known.
    pub(super) came: Option<Vec<Item>>,
    /// The collection that this is compared with: what it has is not among `ops`, which are of its id.
    pub(super) compared_with: Option<u64>,
    /// The version of that collection when this began.
    pub(super) began_at: u64,
}

impl<'a> Items<'a> {
    pub(super) fn begin(knowledge: &'a Knowledge, scope: Scope) -> Self {
        let compared_with = knowledge.comparable(&scope);
        let began_at = knowledge.version(&scope).unwrap_or_default();
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
        Self { knowledge, partial, ops: Vec::new(), bytes: 0, came: Some(Vec::new()), compared_with, began_at }
    }

    /// Goes on behind the page before.
    pub(super) fn go_on(knowledge: &'a Knowledge, partial: Partial) -> Self {
        Self { knowledge, partial, ops: Vec::new(), bytes: 0, came: None, compared_with: None, began_at: 0 }
    }

    pub(super) fn add(&mut self, encoding: Encoding, item: &[u8]) -> Result<(), Reason> {
        let meta = object::meta(encoding, item).map_err(|_| "unreadable item")?;
        if self.partial.items == 0 {
            self.partial.item_kind = object::own_kind(encoding, item).unwrap_or_default();
        }
        self.partial.items += 1;
        self.partial.note_version(version_number(&meta.resource_version));
        let key = keys::item(self.compared_with.unwrap_or(self.partial.id()), &meta.namespace, &meta.name);
        if !self.is_there(&key, item) {
            self.put(key, item);
        }
        self.fits()
    }

    /// What can never fit must not push everything else out.
    pub(super) fn fits(&self) -> Result<(), Reason> {
        let limits = &self.knowledge.limits;
        let is_over = self.partial.bytes > limits.cache_max_bytes || self.partial.items > limits.cache_max_objects;
        if is_over { Err(OVER) } else { Ok(()) }
    }

    /// Whether the collection has exactly this, as far as that is known. It is among what came from now on.
    fn is_there(&mut self, key: &[u8], item: &[u8]) -> bool {
        let (contents, Some(came)) = (&self.knowledge.contents, &mut self.came) else { return false };
        let item = contents.item(key, item);
        came.push(item);
        self.compared_with.is_some_and(|id| contents.has(self.partial.epoch, id, item))
    }

    pub(super) fn put(&mut self, key: Vec<u8>, item: &[u8]) {
        let row = self.knowledge.sealer().seal(&key, item);
        let bytes = row.len() + key.len();
        self.bytes += bytes;
        self.partial.bytes += bytes as u64;
        self.ops.push(Op::Put(key, row));
    }

    /// To be called now and then while items come.
    pub(super) async fn flush_if_large(&mut self) -> Result<(), Reason> {
        if self.is_another() {
            self.become_whole().await?;
        }
        if self.came.as_ref().is_some_and(|came| came.len() > contents::MOST) {
            self.came = None;
        }
        if self.compared_with.is_some() { Ok(()) } else { self.flush_batch().await }
    }

    /// Writes what there is, if it is a batch.
    pub(super) async fn flush_batch(&mut self) -> Result<(), Reason> {
        if self.bytes < BATCH {
            return Ok(());
        }
        self.bytes = 0;
        let (ops, epoch) = (std::mem::take(&mut self.ops), Some(self.partial.epoch));
        let batch = Batch { ops, epoch, is_part: true, ..Batch::default() };
        self.knowledge.writer().send(batch).await.map_err(|_| "store ended")
    }

    /// Writes what there is, and waits for the page behind `token`.
    pub(super) async fn wait(mut self, token: String) -> Result<(), Reason> {
        self.become_whole().await?;
        let (mut ops, epoch) = (self.ops, Some(self.partial.epoch));
        let gone = self.knowledge.pages.wait(token, self.partial);
        ops.extend(gone.into_iter().map(|id| Op::DeletePrefix(keys::items(id))));
        self.knowledge.writer().send(Batch { ops, epoch, ..Batch::default() }).await.map_err(|_| "store ended")
    }

    /// Turns the collection to the new items, if `may` agrees with the old head.
    pub(super) async fn replace(mut self, header: Header, may: impl Fn((&Header, &Header)) -> bool) -> Result<(), Reason> {
        if self.sort_and_find_twice() {
            self.become_whole().await?;
            self.came = None;
        }
        let is_older = |knowledge: &Knowledge| knowledge.header(&header.scope).is_some_and(|old| !may((&old, &header)));
        if let Some((room, change)) = self.change(is_older).await? {
            return self.change_in_place(room, change, header, may).await;
        }
        let room = self.knowledge.writer().room(writer::size(&self.ops)).await.map_err(|_| "store ended")?;
        // From here to the queue nothing waits: a watch that sees the new head comes behind it.
        self.turn_to_fresh_id(room, header, may).await
    }

    /// Whether an item has come twice: then it is not clear what there is.
    fn sort_and_find_twice(&mut self) -> bool {
        let Some(came) = &mut self.came else { return false };
        came.sort_unstable();
        came.windows(2).any(|pair| pair[0].place == pair[1].place)
    }

    async fn turn_to_fresh_id(
        mut self,
        room: Room<'_>,
        mut header: Header,
        may: impl Fn((&Header, &Header)) -> bool,
    ) -> Result<(), Reason> {
        let old = self.succeed(&mut header, may)?;
        let (id, contents, epoch) = (header.id, &self.knowledge.contents, self.partial.epoch);
        (header.items, header.bytes) = (self.partial.items, self.partial.bytes);
        // Until this is written, a reader finds the old items by the old head.
        let _old = old.as_ref().map(|old| self.knowledge.claims.claim(old.id));
        self.ops.push(self.turn(old.as_ref(), header)?);
        old.iter().for_each(|old| contents.forget(epoch, old.id));
        contents.set(epoch, id, self.came.take().unwrap_or_default(), now());
        self.ops.extend(old.map(|old| Op::DeletePrefix(keys::items(old.id))));
        let batch = Batch { ops: self.ops, epoch: Some(epoch), ..Batch::default() };
        end(self.knowledge, room, batch).await
    }

    /// The head counts from now on; its row is to be written.
    pub(super) fn turn(&self, old: Option<&Header>, header: Header) -> Result<Op, Reason> {
        let version = header.version_number();
        let row = self.knowledge.set_header(self.partial.epoch, header).ok_or(FAILED)?;
        if let Some(old) = old.filter(|old| self.partial.is_as_it_was(old)) {
            self.knowledge.note_difference(old, version, &[]);
        }
        Ok(row)
    }

    /// Takes over from the head that there is, if there is one and `may` agrees.
    pub(super) fn succeed(
        &self,
        header: &mut Header,
        may: impl Fn((&Header, &Header)) -> bool,
    ) -> Result<Option<Header>, Reason> {
        if self.knowledge.writer().epoch() != self.partial.epoch {
            return Err(FAILED);
        }
        let Some(old) = self.knowledge.header(&header.scope) else { return Ok(None) };
        header.pinned |= old.pinned;
        header.readers.note_all(&old.readers);
        if !may((&old, header)) {
            return Err(OLDER);
        }
        // The newest state there is has everything; another one may be as old as it likes.
        header.missed = if self.partial.quorum { 0 } else { old.missed };
        Ok(Some(old))
    }
}

/// Only what a reader sees counts as remembered.
pub(super) async fn end(knowledge: &Knowledge, room: Room<'_>, batch: Batch) -> Result<(), Reason> {
    room.apply(batch).await.map_err(|_| FAILED)?;
    knowledge.metrics().lists_remembered.inc();
    knowledge.sweep_wanted.notify_one();
    Ok(())
}
