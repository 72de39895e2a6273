//! A list that is much like what is known of its collection changes it in place: one batch with what has become another.
//!
//! What the collection has already is dropped as it comes, and what it has is looked at again when all has come, in the same
//! moment in which its head changes: events may have come meanwhile. A list that turns out to be another one, or to come in
//! pages, or whose collection is not known well enough any more, is made whole under a fresh id from then on: what was dropped
//! of it is on the disk, and is taken from there.

use std::collections::{HashMap, HashSet};

use super::items::{BATCH, Items, end};
use super::{FAILED, OLDER, OVER, Reason};
use crate::store::coming::OnItsWay;
use crate::store::contents;
use crate::store::grant::now;
use crate::store::writer::{Batch, Room};
use crate::store::{Header, Knowledge, Op, Scope, Snapshot, keys};

/// Items that are deleted in one batch.
const MANY: usize = 1024;
/// How often it is tried to find a moment in which everything of the collection is on the disk.
const TRIES: usize = 10;
const CHANGED: Reason = "what is known has changed while it came";
const UNREADABLE: Reason = "the store cannot be read";

/// What makes a collection what came.
pub(super) struct Change {
    ops: Vec<Op>,
    /// Bytes of the rows that there were, and that there are.
    before: u64,
    after: u64,
}

impl Knowledge {
    /// The collection of this scope, if a list is to be compared with it.
    pub(super) fn comparable(&self, scope: &Scope) -> Option<u64> {
        self.compared(scope).filter(|id| !self.contents.is_old(self.writer().epoch(), *id, now()))
    }

    /// The same, if a list can be.
    fn compared(&self, scope: &Scope) -> Option<u64> {
        let header = self.header(scope)?;
        self.contents.has_all_of(self.writer().epoch(), header.id, header.items).then_some(header.id)
    }
}

impl<'a> Items<'a> {
    /// Whether so much of it is another that it is to be written whole.
    pub(super) fn is_another(&self) -> bool {
        let is_much = self.bytes > BATCH || self.came.as_ref().is_none_or(|came| came.len() > contents::MOST);
        self.compared_with.is_some() && is_much
    }

    /// Makes it a list under a fresh id, with all that has come.
    pub(super) async fn become_whole(&mut self) -> Result<(), Reason> {
        if self.compared_with.take().is_none() {
            return Ok(());
        }
        let contents = &self.knowledge.contents;
        let changed: Vec<(Vec<u8>, Vec<u8>)> = std::mem::take(&mut self.ops).into_iter().filter_map(put).collect();
        let new: HashSet<u64> = changed.iter().map(|(key, _)| contents.place(key)).collect();
        let came = self.came.iter().flatten().filter(|item| !new.contains(&item.place));
        let same: HashMap<u64, u64> = came.map(|item| (item.place, item.bytes)).collect();
        (self.bytes, self.partial.bytes) = (0, 0);
        for (key, row) in changed {
            self.copy(self.partial.id(), &key, row)?;
            self.flush_batch().await?;
        }
        if same.is_empty() { Ok(()) } else { self.copy_all(same).await }
    }

    /// Copies what the collection has: numbers of bytes by those of places.
    async fn copy_all(&mut self, same: HashMap<u64, u64>) -> Result<(), Reason> {
        // What events have brought may be on its way.
        self.knowledge.flush().await.map_err(|_| FAILED)?;
        // Another list may have taken its place.
        let Some(id) = self.knowledge.header(&self.partial.scope).map(|header| header.id) else {
            // It was given up: whoever goes on from this list is to list again.
            self.knowledge.sent_back.forget(&self.partial.scope);
            return Err(CHANGED);
        };
        let result = self.copy_from(id, same).await;
        // What is not as it should be is not relied on another time.
        result.inspect_err(|_| self.knowledge.contents.forget(self.partial.epoch, id))
    }

    async fn copy_from(&mut self, id: u64, mut same: HashMap<u64, u64>) -> Result<(), Reason> {
        let contents = &self.knowledge.contents;
        let snapshot = self.knowledge.snapshot().map_err(|_| UNREADABLE)?;
        let mut after = keys::items(id);
        while let Some((last, rows)) = some_rows(&*snapshot, id, &after, |key| same.contains_key(&contents.place(key)))? {
            for (key, row) in rows {
                let bytes = self.copy(self.partial.id(), &key, row)?;
                if same.remove(&contents.place(&key)) != Some(bytes) {
                    return Err(self.why());
                }
                self.flush_batch().await?;
            }
            after = last;
        }
        if same.is_empty() { Ok(()) } else { Err(self.why()) }
    }

    /// Why something that was there when it came is not there any more: something newer has taken it, which this list does not
    /// have, or the disk has lost it.
    fn why(&self) -> Reason {
        let is_newer = self.knowledge.version(&self.partial.scope).is_some_and(|version| version > self.began_at);
        if is_newer { OLDER } else { CHANGED }
    }

    /// Puts the item of a row of another id; returns the number of its bytes.
    fn copy(&mut self, to: u64, key: &[u8], row: Vec<u8>) -> Result<u64, Reason> {
        let item = self.knowledge.sealer().open_row(key, row).map_err(|_| "a damaged record")?;
        self.put([&keys::items(to), keys::place(key)].concat(), &item);
        self.fits()?;
        Ok(self.knowledge.contents.item(key, &item).bytes)
    }

    /// What is to be changed, with room to write it: until that is queued nothing may wait. `None`: it is a list under a
    /// fresh id. `is_older`: than what is known by now.
    pub(super) async fn change(&mut self, is_older: impl Fn(&Knowledge) -> bool) -> Result<Option<(Room<'a>, Change)>, Reason> {
        for _ in 0..TRIES {
            if self.compared_with.is_none() {
                return Ok(None);
            }
            if is_older(self.knowledge) {
                return Err(OLDER);
            }
            let Some(id) = self.follow()? else { break };
            let Some(difference) = self.difference(id).filter(|difference| difference.gone.len() <= MANY) else { break };
            let gone = if difference.gone.is_empty() { Vec::new() } else { self.keys_of(id, &difference.gone)? };
            let room = self.knowledge.writer().room(self.bytes).await.map_err(|_| "store ended")?;
            if is_older(self.knowledge) {
                return Err(OLDER);
            }
            if self.knowledge.compared(&self.partial.scope) == Some(id)
                && let Some(change) = self.change_now(id, &gone)
            {
                return Ok(Some((room, change)));
            }
            drop(room);
            self.knowledge.flush().await.map_err(|_| FAILED)?;
            // Whoever waits for the same commit lets go of what it has claimed.
            tokio::task::yield_now().await;
        }
        self.become_whole().await?;
        Ok(None)
    }

    /// Another list may have written the collection whole, under another id: then it is compared with that. `None`: it is not
    /// known what there is.
    fn follow(&mut self) -> Result<Option<u64>, Reason> {
        let Some(now) = self.knowledge.compared(&self.partial.scope) else { return Ok(None) };
        if self.compared_with.replace(now) != Some(now) {
            (self.bytes, self.partial.bytes) = (0, 0);
            for (key, row) in std::mem::take(&mut self.ops).into_iter().filter_map(put) {
                self.copy(now, &key, row)?;
            }
        }
        Ok(Some(now))
    }

    fn difference(&self, id: u64) -> Option<contents::Difference> {
        self.knowledge.contents.difference(self.partial.epoch, id, self.came.as_deref()?)
    }

    /// The keys of these places, as far as the disk has them.
    fn keys_of(&self, id: u64, places: &[u64]) -> Result<Vec<Vec<u8>>, Reason> {
        let (places, mut keys) = (places.iter().collect::<HashSet<_>>(), Vec::new());
        let snapshot = self.knowledge.snapshot().map_err(|_| UNREADABLE)?;
        let scan = snapshot.scan(&keys::items(id), &mut |key, _| {
            if places.contains(&self.knowledge.contents.place(key)) {
                keys.push(key.to_vec());
            }
            keys.len() < places.len()
        });
        scan.map_err(|_| UNREADABLE)?;
        Ok(keys)
    }

    /// `None`: something of it is on its way to the disk, or something that was there when it came is another now.
    fn change_now(&mut self, id: u64, gone: &[Vec<u8>]) -> Option<Change> {
        let (difference, place) = (self.difference(id)?, |key: &[u8]| self.knowledge.contents.place(key));
        let rows: HashMap<u64, &Op> = self.ops.iter().map(|op| (key(op).map_or(0, place), op)).collect();
        let gone: HashMap<u64, &Vec<u8>> = gone.iter().map(|key| (place(key), key)).collect();
        let (mut before, mut after, mut ops) = (0, 0, Vec::new());
        for place in &difference.changed {
            let Some(Op::Put(key, row)) = rows.get(place) else { return None };
            before += self.knowledge.item_size(key)?;
            after += (key.len() + row.len()) as u64;
        }
        for place in &difference.gone {
            let key = *gone.get(place)?;
            before += self.knowledge.item_size(key)?;
            ops.push(Op::Delete(key.clone()));
        }
        let changed: HashSet<u64> = difference.changed.into_iter().collect();
        ops.extend(
            std::mem::take(&mut self.ops).into_iter().filter(|op| key(op).is_some_and(|key| changed.contains(&place(key)))),
        );
        Some(Change { ops, before, after })
    }

    pub(super) async fn change_in_place(
        mut self,
        room: Room<'_>,
        change: Change,
        mut header: Header,
        may: impl Fn((&Header, &Header)) -> bool,
    ) -> Result<(), Reason> {
        let (knowledge, epoch) = (self.knowledge, self.partial.epoch);
        let old = self.succeed(&mut header, may)?.ok_or(CHANGED)?;
        let id = old.id;
        (header.id, header.bytes) = (id, (old.bytes + change.after).saturating_sub(change.before));
        if header.bytes > knowledge.limits.cache_max_bytes {
            return Err(OVER);
        }
        let batch = OnItsWay::default();
        knowledge.note_sizes(change.ops.iter().filter_map(|op| Some((key(op)?, size(op)))), &batch);
        let mut ops = change.ops;
        ops.push(self.turn(Some(&old), header)?);
        knowledge.contents.turn(epoch, id, self.came.take().unwrap_or_default());
        end(knowledge, room, Batch { ops, epoch: Some(epoch), on_its_way: Some(batch), ..Batch::default() }).await?;
        knowledge.sent_back.has_listed(id);
        Ok(())
    }
}

fn key(op: &Op) -> Option<&[u8]> {
    match op {
        Op::Put(key, _) | Op::Delete(key) => Some(key),
        Op::DeletePrefix(_) => None,
    }
}

/// Bytes of the row and its key, once this is written.
fn size(op: &Op) -> u64 {
    if let Op::Put(key, row) = op { (key.len() + row.len()) as u64 } else { 0 }
}

fn put(op: Op) -> Option<(Vec<u8>, Vec<u8>)> {
    if let Op::Put(key, row) = op { Some((key, row)) } else { None }
}

/// The last key that was looked at, and rows up to there.
type Rows = (Vec<u8>, Vec<(Vec<u8>, Vec<u8>)>);

/// Some rows of a collection behind the key `after` that are `wanted`; `None`: there are no more.
fn some_rows(snapshot: &dyn Snapshot, id: u64, after: &[u8], wanted: impl Fn(&[u8]) -> bool) -> Result<Option<Rows>, Reason> {
    let (mut rows, mut bytes, mut last) = (Vec::new(), 0, None);
    let scan = snapshot.scan_after(&keys::items(id), after, &mut |key, row| {
        last = Some(key.to_vec());
        if wanted(key) {
            bytes += row.len();
            rows.push((key.to_vec(), row.to_vec()));
        }
        bytes < BATCH
    });
    scan.map_err(|_| UNREADABLE)?;
    Ok(last.map(|last| (last, rows)))
}
