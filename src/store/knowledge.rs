//! What the node knows: the meaning of the rows.
//!
//! Receives answers (through [`super::record`]), grants, tokens and accepted writes;
//! answers the offline stages. Catalogue and writer agree by the writer's epoch: when
//! a write fails, the catalogue is read from disk again.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::at_work::Scopes;
use super::claim::{Claim, Claims};
use super::collection::{Header, ListView, Scope};
use super::coming::Coming;
use super::contents::Contents;
use super::document::Etags;
use super::grant::now;
use super::heard::Heard;
use super::journal::Journal;
use super::local::Renewed;
use super::missed::SentBack;
use super::online::Online;
use super::page::Pages;
use super::recent::{RECENT, Recent};
use super::record::{Waiting, Works};
use super::repeats::Repeats;
use super::sweep::Singles;
use super::trail::Trail;
use super::writer::{Batch, Writer};
use super::{Op, Sealer, Snapshot, Store, StoreError, keys};
use crate::runtime::metrics::Metrics;

/// Bounds of what is kept.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of items on disk.
    pub cache_max_bytes: u64,
    /// Items, and rows that stand for themselves.
    pub cache_max_objects: u64,
    /// Bytes that wait in memory to be remembered, packed; half as many more of what watches bring.
    pub queue_bytes: usize,
    /// One object; larger ones are not remembered.
    pub max_item: usize,
    /// One document (a discovery answer, a table).
    pub max_document: usize,
    /// Events that wait for delivery, and their bytes; further ones are refused, unless some that wait are old and go for them.
    pub journal_entries: usize,
    pub journal_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            cache_max_bytes: 256 << 20,
            cache_max_objects: 200_000,
            queue_bytes: 5 << 20,
            max_item: 8 << 20,
            max_document: 8 << 20,
            journal_entries: 4096,
            journal_bytes: 16 << 20,
        }
    }
}

const TAKEN_APART: Duration = Duration::from_secs(1);

/// The format of the rows; docs/store-format.md.
const FORMAT: &[u8] = b"holdfast store 2";
/// Older ones, of which every row is read.
const READ: [&[u8]; 1] = [b"holdfast store 1"];

pub struct Knowledge {
    /// For what goes on without whoever began it.
    pub(super) own: Weak<Self>,
    store: Arc<dyn Store>,
    sealer: Sealer,
    writer: Writer,
    metrics: Arc<Metrics>,
    pub(super) limits: Limits,
    catalogue: Mutex<Catalogue>,
    next_id: AtomicU64,
    /// Items of other ids without a collection are remains.
    pub(super) claims: Claims,
    pub(super) singles: Singles,
    /// Bytes of answers that wait to be remembered.
    pub(super) queued: Arc<Waiting>,
    /// Answers that are being taken apart.
    pub(super) works: Works,
    pub(super) recent: Recent,
    pub(super) trail: Trail,
    pub(super) repeats: Repeats,
    pub(super) pages: Pages,
    pub(super) etags: Etags,
    /// Lists that have not come to their end.
    pub(super) lists: Scopes,
    /// Watches that have brought events which are not on their way yet.
    pub(super) following: Scopes,
    pub(super) sent_back: SentBack,
    pub(super) online: Online,
    pub(super) coming: Coming,
    pub(super) contents: Contents,
    journal: Mutex<Journal>,
    pub(super) heard: Heard,
    /// Held by who changes an Event that waits.
    pub(super) changing: tokio::sync::Mutex<()>,
    /// The node's own Lease, as kubelet last renewed it while the link was down.
    pub(super) lease: Mutex<Option<Arc<Renewed>>>,
    /// Counts the changes of what was written on this node.
    pub(super) written_here: tokio::sync::watch::Sender<u64>,
    used: Mutex<HashMap<Vec<u8>, u64>>,
    /// Where answers are taken apart.
    pub(super) tasks: tokio::runtime::Handle,
    /// A list was remembered: the budget may be exceeded now.
    pub(super) sweep_wanted: tokio::sync::Notify,
}

/// What [`Knowledge::open`] is made of.
pub struct Parts {
    pub store: Arc<dyn Store>,
    pub sealer: Sealer,
    pub metrics: Arc<Metrics>,
    pub limits: Limits,
    /// The runtime on which answers are taken apart; not the path's.
    pub tasks: tokio::runtime::Handle,
}

#[derive(Default)]
pub(super) struct Catalogue {
    epoch: u64,
    pub(super) headers: HashMap<Vec<u8>, Header>,
}

impl Knowledge {
    /// Opens what `store` holds. Fails with [`StoreError::Damaged`] if its rows were
    /// sealed under another key or written in a newer format.
    pub fn open(parts: Parts) -> Result<Arc<Self>, StoreError> {
        let Parts { store, sealer, metrics, limits, tasks } = parts;
        let snapshot = store.snapshot()?;
        match Self::format(&*snapshot, &sealer)? {
            None => store.apply(&[Op::DeletePrefix(Vec::new()), format_row(&sealer)], true)?,
            // From now on there are rows that its hub could not read.
            Some(format) if format != FORMAT => store.apply(&[format_row(&sealer)], true)?,
            Some(_) => {}
        }
        let writer = Writer::start(store.clone());
        let knowledge = Arc::new_cyclic(|own| Self {
            own: own.clone(),
            store,
            sealer,
            writer,
            metrics,
            limits,
            catalogue: Mutex::default(),
            next_id: AtomicU64::new(1),
            claims: Claims::default(),
            singles: Singles::default(),
            queued: Arc::new(Waiting::at_most(limits.queue_bytes)),
            works: Works::default(),
            recent: Recent::default(),
            trail: Trail::default(),
            repeats: Repeats::default(),
            pages: Pages::default(),
            etags: Etags::default(),
            lists: Scopes::default(),
            following: Scopes::default(),
            sent_back: SentBack::default(),
            online: Online::default(),
            coming: Coming::default(),
            contents: Contents::default(),
            journal: Mutex::default(),
            heard: Heard::default(),
            changing: tokio::sync::Mutex::default(),
            lease: Mutex::default(),
            written_here: tokio::sync::watch::Sender::default(),
            used: Mutex::default(),
            tasks,
            sweep_wanted: tokio::sync::Notify::new(),
        });
        knowledge.load()?;
        Ok(knowledge)
    }

    /// Whether there are rows of ours; fails as [`Knowledge::open`] does.
    pub fn is_begun(rows: &dyn Snapshot, sealer: &Sealer) -> Result<bool, StoreError> {
        Ok(Self::format(rows, sealer)?.is_some())
    }

    fn format(rows: &dyn Snapshot, sealer: &Sealer) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(row) = rows.read(keys::VERSION)? else { return Ok(None) };
        let format = sealer.open_row(keys::VERSION, row)?;
        if format != FORMAT && !READ.contains(&&*format) {
            return Err(StoreError::Damaged { key: "format version".into() });
        }
        Ok(Some(format))
    }

    /// What a store that takes the place of this one begins with: what was promised, and nothing that can be told anew.
    pub fn last_will(&self) -> Vec<Op> {
        [format_row(&self.sealer)].into_iter().chain(self.promised()).collect()
    }

    /// Another store has taken the place of the one that was known, with the rows of [`Knowledge::last_will`].
    pub fn begin_anew(&self) {
        self.writer.turn();
        self.sent_back.forget_all();
        self.trail.forget();
    }

    /// Reads catalogue and journal from disk.
    fn load(&self) -> Result<(), StoreError> {
        let headers = self.read_headers()?;
        let highest = headers.values().map(|header| header.id).max().unwrap_or(0);
        // Ids of lists that a crash left half-written are never used again.
        let last = self.item_ids()?.last().copied().unwrap_or(0);
        self.next_id.fetch_max(highest.max(last) + 1, Ordering::Relaxed);
        self.show(headers.values());
        *self.catalogue.lock().unwrap_or_else(PoisonError::into_inner) = Catalogue { epoch: self.writer.epoch(), headers };
        self.load_online();
        self.load_heard()?;
        self.load_journal()?;
        // Counts on from what has left the journal.
        self.load_trail();
        Ok(())
    }

    fn read_headers(&self) -> Result<HashMap<Vec<u8>, Header>, StoreError> {
        let mut headers = HashMap::new();
        let mut damaged = Vec::new();
        self.snapshot()?.scan(&[keys::COLLECTION], &mut |key, row| {
            match self.open_header(key, row.to_vec()) {
                Ok(header) => drop(headers.insert(key.to_vec(), header)),
                Err(error) => damaged.push((key.to_vec(), error)),
            }
            true
        })?;
        for (key, error) in damaged {
            tracing::error!(%error, "a collection's head is damaged: it is taken out and will be fetched again");
            self.metrics.damaged_records.inc();
            // Beside the writer, who does not owe it to the disk.
            self.store.apply(&[Op::Delete(key)], true)?;
        }
        Ok(headers)
    }

    /// Every id under which items are stored, in order.
    pub(super) fn item_ids(&self) -> Result<Vec<u64>, StoreError> {
        let snapshot = self.snapshot()?;
        let mut ids = Vec::new();
        // One row for each id: jump behind each id's items.
        loop {
            let last = ids.last().copied();
            let mut after = keys::items(last.unwrap_or_default());
            after.push(0xff);
            let mut found = None;
            snapshot.scan_after(&[keys::ITEM], &after, &mut |key, _| {
                found = keys::item_id(key);
                false
            })?;
            match found {
                Some(id) if last.is_none_or(|last| id > last) => ids.push(id),
                _ => return Ok(ids),
            }
        }
    }

    fn open_header(&self, key: &[u8], row: Vec<u8>) -> Result<Header, StoreError> {
        let row = self.sealer.open_row(key, row)?;
        serde_json::from_slice(&row).map_err(|_| StoreError::Damaged { key: keys::printable(key) })
    }

    /// The head of a scope as it is visible. One that is damaged is not; it is written anew from memory.
    pub(super) fn header_in(&self, snapshot: &dyn Snapshot, scope: &Scope) -> Result<Option<Header>, StoreError> {
        let key = scope.key();
        let Some(row) = snapshot.read(&key)? else { return Ok(None) };
        let header = self.open_header(&key, row).inspect_err(|error| {
            tracing::error!(%error, "a collection's head is damaged: it is written anew");
            self.metrics.damaged_records.inc();
            self.write_head_later(scope);
        });
        Ok(header.ok())
    }

    /// A consistent state of the collection of exactly this scope, if it is complete.
    pub fn list(&self, scope: &Scope) -> Result<Option<ListView>, StoreError> {
        let snapshot = self.snapshot()?;
        let Some(header) = self.header_in(&*snapshot, scope)? else { return Ok(None) };
        self.touch(scope.key());
        Ok(Some(ListView::of(header, snapshot)))
    }

    /// Makes everything visible to readers that has come, that of answers which are still being taken apart too.
    pub async fn catch_up(&self) -> Result<(), StoreError> {
        self.works.rest().await;
        self.flush().await
    }

    /// Returns when more may come of a list: what waits to be remembered is not much.
    pub async fn has_room(&self) {
        self.queued.has_room().await;
    }

    /// Returns when the lists of a scope that have come are taken apart, each page of them too.
    pub async fn has_lists(&self, scope: &Scope) {
        self.lists.rest(scope).await;
    }

    /// Makes everything that was queued visible to readers.
    pub async fn flush(&self) -> Result<(), StoreError> {
        self.writer.flush().await
    }

    /// Makes everything durable that has come.
    pub async fn settle_disk(&self) -> Result<(), StoreError> {
        // An answer that is being taken apart is soon done; one that is not is worth no wait.
        let _ = tokio::time::timeout(TAKEN_APART, self.works.rest()).await;
        let settled = self.writer.apply(Batch { durable: true, ..Batch::default() }).await;
        if let Err(error) = &settled {
            tracing::warn!(%error, "the last second of what was remembered may be lost");
        }
        settled
    }

    /// The catalogue's head of a scope.
    pub(super) fn header(&self, scope: &Scope) -> Option<Header> {
        self.catalogue().headers.get(&scope.key()).cloned()
    }

    /// As of which version a scope is known.
    pub fn version(&self, scope: &Scope) -> Option<u64> {
        self.catalogue().headers.get(&scope.key()).map(Header::version_number)
    }

    /// Replaces the catalogue's head; the row is the caller's to queue, without waiting for anything in between. `None`: a
    /// write has failed since this `epoch` of the writer, and what the head says would never come.
    pub(super) fn set_header(&self, epoch: u64, header: Header) -> Option<Op> {
        let (op, now) = (self.head_row(&header), (header.bytes, header.items));
        let mut catalogue = self.catalogue();
        if catalogue.epoch != epoch {
            return None;
        }
        let before = catalogue.headers.insert(header.scope.key(), header);
        self.note_growth(before.map_or((0, 0), |before| (before.bytes, before.items)), now);
        Some(op)
    }

    /// Bytes and items of a collection, for the figures. To be said while the catalogue is locked; a sweep counts anew.
    pub(super) fn note_growth(&self, before: (u64, u64), now: (u64, u64)) {
        let grown = |before: u64, now: u64| now.wrapping_sub(before).cast_signed();
        self.metrics.store_bytes.inc_by(grown(before.0, now.0));
        self.metrics.store_objects.inc_by(grown(before.1, now.1));
    }

    pub(super) fn head_row(&self, header: &Header) -> Op {
        let key = header.scope.key();
        let row = self.sealer.seal(&key, &serde_json::to_vec(header).expect("a plain struct"));
        Op::Put(key, row)
    }

    pub(super) fn catalogue(&self) -> MutexGuard<'_, Catalogue> {
        let mut catalogue = self.catalogue.lock().unwrap_or_else(PoisonError::into_inner);
        let epoch = self.writer.epoch();
        if catalogue.epoch != epoch {
            // A write failed: what the disk says is what is known.
            match self.read_headers() {
                Ok(mut headers) => {
                    catalogue.headers.values().for_each(|lost| lost.leave_mark(&mut headers));
                    self.show(headers.values());
                    *catalogue = Catalogue { epoch, headers };
                }
                // Nothing is lost: it is asked again when it is this process's.
                Err(StoreError::Closed) => {}
                Err(error) => {
                    tracing::error!(%error, "the store cannot be read");
                    self.show([].iter());
                    *catalogue = Catalogue { epoch, headers: HashMap::new() };
                }
            }
        }
        catalogue
    }

    /// Returns when the budget may be exceeded.
    pub async fn sweep_wanted(&self) {
        self.sweep_wanted.notified().await;
    }

    /// Somebody is answered from the collection or the object of this row.
    pub(super) fn touch(&self, row: Vec<u8>) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        // Swept each minute; beyond this many all are forgotten, for they only put something off.
        if used.len() >= RECENT {
            used.clear();
        }
        used.insert(row, now());
    }

    /// Collections and objects used since this was last asked, with the unix second of their use.
    pub(super) fn take_used(&self) -> HashMap<Vec<u8>, u64> {
        std::mem::take(&mut *self.used.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// An id that was never used.
    pub(super) fn fresh_id(&self) -> Claim {
        self.claims.claim(self.next_id.fetch_add(1, Ordering::Relaxed))
    }

    pub fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        self.store.snapshot()
    }

    pub fn sealer(&self) -> &Sealer {
        &self.sealer
    }

    pub(super) fn writer(&self) -> &Writer {
        &self.writer
    }

    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    pub(super) fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this was not written within such a `time`; it now counts as written. `row`: its key, or anything that
    /// stands for it, always with the same unit of time.
    pub(super) fn first_in(&self, row: &(impl Hash + ?Sized), time: u64, now: u64) -> bool {
        self.recent.first_in(self.writer.epoch(), row, time, now)
    }

    /// Queues one sealed row if the writer has room.
    pub(super) fn put(&self, key: Vec<u8>, value: &[u8]) -> bool {
        let row = self.sealer.seal(&key, value);
        self.singles.written(key.len() + row.len());
        self.writer.try_send(Op::Put(key, row))
    }

    /// Queues the removal of a row that exists or is about to.
    pub(super) fn remove(&self, key: Vec<u8>) {
        let is_written = self.recent.forget(&key);
        self.delete(key, is_written);
    }

    /// Queues the removal of a row that exists or, by `is_written`, is about to: what the cloud takes back must go, however
    /// long the queue is.
    pub(super) fn delete(&self, key: Vec<u8>, is_written: bool) {
        let exists = || self.snapshot().and_then(|snapshot| snapshot.read(&key)).is_ok_and(|row| row.is_some());
        if !is_written && !exists() {
            return;
        }
        if !self.writer.try_send(Op::Delete(key.clone())) {
            self.send_later(vec![Op::Delete(key)]);
        }
    }

    /// Queues what must not be lost, however long the queue is.
    pub(super) fn send_later(&self, ops: Vec<Op>) {
        let (writer, batch) = (self.writer.clone(), Batch { ops, ..Batch::default() });
        self.tasks.spawn(async move { writer.send(batch).await });
    }
}

fn format_row(sealer: &Sealer) -> Op {
    Op::Put(keys::VERSION.to_vec(), sealer.seal(keys::VERSION, FORMAT))
}

/// Unix milliseconds.
pub(super) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
