//! What keeps the store within its bounds: collections over the budget, remains of
//! lists that never ended, single rows that nobody renews, rights that have lapsed.
//!
//! Runs in the background. A sweep that fails changes nothing, and the next one tries
//! again.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::budget::{self, Bounds, Candidate, Why};
use super::document::Document;
use super::grant::{GrantRecord, Known, NODE, issued_token, now};
use super::object::{ObjectRecord, split};
use super::readers::{Seen, seen_at};
use super::writer::{Batch, Room};
use super::{Header, Knowledge, Op, StoreError, keys};
use crate::kube::token;
use crate::runtime::metrics;

/// Single rows may have this part of the budget, the collections have the rest.
const SINGLES: u64 = 4;

/// What a collection costs of the budget beside its items. There are as many as there are selectors, empty ones too, and
/// what is known of each is kept in memory, where room is dearer.
const HEAD_BYTES: u64 = 16 * 1024;

/// Rows that stand for themselves (objects, documents, grants, agents, marks of writes): counted up as they
/// are written, counted anew when that is over the bound.
pub(super) struct Singles {
    bytes: AtomicU64,
    rows: AtomicU64,
    /// Unix seconds at which objects were answered from, in this life of the hub.
    used: Mutex<HashMap<Vec<u8>, u64>>,
}

/// More objects that were used than these and all are forgotten: they only go sooner.
const USED: usize = 16 * 1024;

impl Default for Singles {
    /// Not known until they are counted.
    fn default() -> Self {
        Self { bytes: AtomicU64::new(u64::MAX / 2), rows: AtomicU64::new(u64::MAX / 2), used: Mutex::default() }
    }
}

impl Singles {
    pub(super) fn written(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.rows.fetch_add(1, Ordering::Relaxed);
    }

    fn note_used(&self, row: Vec<u8>, at: u64) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if used.len() >= USED {
            used.clear();
        }
        used.insert(row, at);
    }

    /// Unix seconds; 0: it was not.
    pub(super) fn used(&self, row: &[u8]) -> u64 {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).get(row).copied().unwrap_or_default()
    }

    fn counted(&self) -> (u64, u64) {
        (self.bytes.load(Ordering::Relaxed), self.rows.load(Ordering::Relaxed))
    }

    fn set(&self, (bytes, rows): (u64, u64)) {
        self.bytes.store(bytes, Ordering::Relaxed);
        self.rows.store(rows, Ordering::Relaxed);
    }
}

impl Knowledge {
    /// Gives up what is over the budget, and what no list stands behind. `pins`: whether
    /// what an agent has read stays.
    pub async fn sweep(&self, pins: impl Fn(&str) -> bool) -> Result<(), StoreError> {
        let room = self.writer().room(0).await?;
        let mut ops = self.sweep_singles(&pins)?;
        let (bytes, rows) = self.singles.counted();
        let bounds = Bounds {
            bytes: self.limits.cache_max_bytes.saturating_sub(bytes),
            objects: self.limits.cache_max_objects.saturating_sub(rows),
            ..Bounds::NONE
        };
        self.note_used(&mut ops);
        ops.extend(self.sweep_collections(&bounds, &Seen::default(), &pins)?);
        self.drop_rows_in(room, ops);
        Ok(())
    }

    /// For what changes heads: whoever changes them next comes behind it.
    pub(super) fn drop_rows_in(&self, room: Room<'_>, ops: Vec<Op>) {
        if !ops.is_empty() {
            room.send(Batch { ops, epoch: Some(self.writer().epoch()), ..Batch::default() });
        }
    }

    pub(super) async fn drop_rows(&self, ops: Vec<Op>) -> Result<(), StoreError> {
        if ops.is_empty() {
            return Ok(());
        }
        self.writer().send(Batch { ops, epoch: Some(self.writer().epoch()), ..Batch::default() }).await
    }

    /// When collections were used lately.
    pub(super) fn note_used(&self, ops: &mut Vec<Op>) {
        let used = self.take_used();
        let mut catalogue = self.catalogue();
        for (key, at) in used {
            if key.first() == Some(&keys::OBJECT) {
                self.singles.note_used(key, at);
                continue;
            }
            if let Some(header) = catalogue.headers.get_mut(&key).filter(|header| header.used + 60 < at) {
                header.used = at;
                ops.push(self.head_row(header));
            }
        }
    }

    /// The collections that go by these bounds, whole.
    pub(super) fn sweep_collections(
        &self,
        bounds: &Bounds,
        seen: &Seen,
        pins: &impl Fn(&str) -> bool,
    ) -> Result<Vec<Op>, StoreError> {
        let mut ops = Vec::new();
        self.pages.give_up(Instant::now());
        // Read first: what is written from here on is not looked at.
        let written = self.item_ids()?;
        let live: HashSet<u64> = {
            let mut catalogue = self.catalogue();
            let candidate = |(key, header): (&Vec<u8>, &Header)| Candidate {
                key: key.clone(),
                bytes: header.bytes + HEAD_BYTES,
                objects: header.items,
                used: header.used,
                seen: seen.last(&header.readers).max(header.used),
                pinned: header.pinned || header.readers.any(pins),
                idle: self.idle(header.scope.is_of_one(), header.used, header.readers.any(pins)),
                single: false,
                gone: false,
            };
            let candidates: Vec<_> = catalogue.headers.iter().map(candidate).collect();
            for (key, why) in budget::plan(&candidates, bounds) {
                if let Some(header) = catalogue.headers.remove(&key) {
                    self.note_given_up(why);
                    self.contents.forget(self.writer().epoch(), header.id);
                    tracing::info!(
                        resource = header.scope.resource,
                        namespace = header.scope.namespace,
                        bytes = header.bytes,
                        items = header.items,
                        why = why.label(),
                        "a collection is given up"
                    );
                    ops.extend([Op::Delete(key), Op::DeletePrefix(keys::items(header.id))]);
                }
            }
            self.show(catalogue.headers.values());
            // Under one lock with the heads: a list lets go of its id only after it has set its head.
            catalogue.headers.values().map(|header| header.id).chain(self.claims.all()).collect()
        };
        // Remains of lists that never ended.
        let abandoned = written.into_iter().filter(|id| !live.contains(id));
        ops.extend(abandoned.map(|id| Op::DeletePrefix(keys::items(id))));
        Ok(ops)
    }

    /// Puts what there is of collections into the figures.
    pub(super) fn show<'a>(&self, headers: impl Iterator<Item = &'a Header>) {
        let (bytes, items) = headers.fold((0, 0), |(bytes, items), header| (bytes + header.bytes, items + header.items));
        self.metrics().store_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        self.metrics().store_objects.set(i64::try_from(items).unwrap_or(i64::MAX));
    }

    pub(super) fn note_given_up(&self, why: Why) {
        self.metrics().given_up.get_or_create(&metrics::Why { reason: why.label() }).inc();
    }

    /// The oldest single rows beyond their part of the budget; what is pinned never goes.
    fn sweep_singles(&self, pins: &impl Fn(&str) -> bool) -> Result<Vec<Op>, StoreError> {
        let bound = (self.limits.cache_max_bytes / SINGLES, self.limits.cache_max_objects / SINGLES);
        let is_over = |(bytes, rows): (u64, u64)| bytes > bound.0 || rows > bound.1;
        if !is_over(self.singles.counted()) {
            return Ok(Vec::new());
        }
        let (mut counted, snapshot) = ((0, 0), self.snapshot()?);
        let kinds = [keys::OBJECT, keys::DOCUMENT, keys::GRANT, keys::AGENT, keys::WRITTEN];
        for kind in kinds {
            snapshot.scan(&[kind], &mut |key, row| {
                counted = (counted.0 + (key.len() + row.len()) as u64, counted.1 + 1);
                true
            })?;
        }
        let mut candidates = Vec::new();
        if is_over(counted) {
            for kind in kinds {
                snapshot.scan(&[kind], &mut |key, row| {
                    candidates.push(self.single(key, row, pins));
                    true
                })?;
            }
        }
        // Somewhat more than must be, so that the next row does not begin it all again.
        let bounds = Bounds { bytes: bound.0 - bound.0 / 4, objects: bound.1 - bound.1 / 4, ..Bounds::NONE };
        let gone: HashSet<Vec<u8>> = budget::plan(&candidates, &bounds).into_iter().map(|(key, _)| key).collect();
        for candidate in candidates.iter().filter(|candidate| gone.contains(&candidate.key)) {
            counted = (counted.0 - candidate.bytes, counted.1 - 1);
            self.note_given_up(Why::Space);
            self.repeats.forget(&candidate.key);
            self.recent.forget(&candidate.key);
        }
        self.singles.set(counted);
        Ok(gone.into_iter().map(Op::Delete).collect())
    }

    /// A row that stands for itself, as the plan looks at it.
    fn single(&self, key: &[u8], row: &[u8], pins: &impl Fn(&str) -> bool) -> Candidate<Vec<u8>> {
        let bytes = (key.len() + row.len()) as u64;
        let (used, pinned) = self.age(key, row.to_vec(), pins).unwrap_or_default();
        Candidate { key: key.to_vec(), bytes, objects: 1, used, seen: u64::MAX, pinned, idle: None, single: false, gone: false }
    }

    /// Unix seconds at which the cloud last said this, and whether it is pinned. A
    /// damaged row is as old as can be.
    fn age(&self, key: &[u8], row: Vec<u8>, pins: &impl Fn(&str) -> bool) -> Option<(u64, bool)> {
        let mut row = self.sealer().open_row(key, row).ok()?;
        match *key.first()? {
            keys::OBJECT => {
                let record: ObjectRecord = split(key, &mut row).ok()?;
                Some(((record.at / 1000).max(self.singles.used(key)), record.pinned || record.readers.any(pins)))
            }
            // Discovery is read once and wanted by everybody.
            keys::DOCUMENT => split(key, &mut row).ok().map(|document: Document| (document.at / 1000, keys::is_discovery(key))),
            keys::AGENT => seen_at(&row).map(|at| (at, false)),
            // What is not so any more must not be believed for want of a few bytes.
            keys::WRITTEN => Some((u64::MAX, false)),
            _ => serde_json::from_slice(&row).ok().map(|grant: GrantRecord| (grant.at, grant.user == NODE)),
        }
    }

    /// Drops grants older than `age` seconds, and tokens that have expired.
    pub async fn sweep_rights(&self, age: u64) -> Result<(), StoreError> {
        let mut ops = Vec::new();
        let snapshot = self.snapshot()?;
        let now = now();
        for kind in [keys::GRANT, keys::TOKEN, keys::ISSUED] {
            snapshot.scan(&[kind], &mut |key, row| {
                let lapses = self.sealer().open_row(key, row.to_vec()).ok().and_then(|row| lapses(key, row, age));
                if lapses.is_none_or(|lapses| lapses < now) {
                    ops.push(Op::Delete(key.to_vec()));
                }
                true
            })?;
        }
        self.drop_rows(ops).await
    }
}

/// Unix seconds at which a right ends.
fn lapses(key: &[u8], row: Vec<u8>, age: u64) -> Option<u64> {
    match *key.first()? {
        keys::GRANT => serde_json::from_slice(&row).ok().map(|grant: GrantRecord| grant.at.saturating_add(age)),
        keys::TOKEN => serde_json::from_slice(&row).ok().map(|known: Known| known.expires.unwrap_or(u64::MAX)),
        _ => token::claims(&issued_token(key, row)?)?.expires,
    }
}
