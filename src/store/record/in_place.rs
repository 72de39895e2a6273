//! A list that is much like what is known of its collection changes it in place: one batch with what has become another.
//!
//! What the collection has already is dropped as it comes, and what it has is looked at again when all has come, in the same
//! moment in which its head changes: events may have come meanwhile. A list that turns out to be another one, or to come in
//! pages, is made whole under a fresh id from then on: what was dropped of it is on the disk, and is taken from there.

use std::collections::{HashMap, HashSet};

use super::items::{BATCH, Items, end};
use super::{OVER, Reason};
use crate::store::coming::OnItsWay;
use crate::store::contents;
use crate::store::grant::now;
use crate::store::writer::{Batch, Room};
use crate::store::{Header, Knowledge, Op, Scope, Snapshot, keys};

/// Bytes of changed rows that are kept until the end.
const MUCH: usize = 1 << 20;
/// Items that go in one batch.
const MANY: usize = 1024;
/// How often it is tried to find a moment in which everything of the collection is on the disk.
const TRIES: usize = 10;
const CHANGED: Reason = "what is known has changed while it came";

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
        self.known(scope).filter(|id| !self.contents.is_old(self.writer().epoch(), *id, now()))
    }

    /// The same, if a list can be.
    fn known(&self, scope: &Scope) -> Option<u64> {
        let header = self.header(scope)?;
        self.contents.has_all_of(self.writer().epoch(), header.id, header.items).then_some(header.id)
    }
}

impl<'a> Items<'a> {
    /// Whether so much of it is another that it is to be written whole.
    pub(super) fn is_another(&self) -> bool {
        self.like.is_some() && (self.bytes > MUCH || self.came.as_ref().is_none_or(|came| came.len() > contents::MOST))
    }

    /// Makes it a list under a fresh id, with all that has come.
    pub(super) async fn become_whole(&mut self) -> Result<(), Reason> {
        let Some(id) = self.like.take() else { return Ok(()) };
        // Another list may have taken its place.
        let id = self.knowledge.known(&self.partial.scope).unwrap_or(id);
        let result = self.write_whole(id).await;
        self.distrust(id, result)
    }

    /// What cannot be found as it should be is not relied on another time.
    fn distrust<T>(&self, id: u64, result: Result<T, Reason>) -> Result<T, Reason> {
        result.inspect_err(|_| self.knowledge.contents.forget(self.partial.epoch, id))
    }

    async fn write_whole(&mut self, id: u64) -> Result<(), Reason> {
        let contents = &self.knowledge.contents;
        let changed: Vec<(Vec<u8>, Vec<u8>)> = std::mem::take(&mut self.ops).into_iter().filter_map(put).collect();
        let new: HashSet<u64> = changed.iter().map(|(key, _)| contents.place(key)).collect();
        let came = self.came.iter().flatten().filter(|item| !new.contains(&item.place));
        let mut same: HashMap<u64, u64> = came.map(|item| (item.place, item.bytes)).collect();
        (self.bytes, self.partial.bytes) = (0, 0);
        for (key, row) in changed {
            self.copy(self.partial.id(), &key, row)?;
            self.flush_batch().await?;
        }
        // What events have brought may be on its way.
        self.knowledge.flush().await.map_err(|_| "store ended")?;
        let snapshot = self.knowledge.snapshot().map_err(|_| "the store cannot be read")?;
        let mut after = keys::items(id);
        while let Some((last, rows)) = some_rows(&*snapshot, id, &after, |key| same.contains_key(&contents.place(key)))? {
            for (key, row) in rows {
                let item = self.copy(self.partial.id(), &key, row)?;
                // One that an event has changed since: the list would have had that, too.
                if same.remove(&contents.place(&key)) != Some(item) {
                    return Err(CHANGED);
                }
                self.flush_batch().await?;
            }
            after = last;
        }
        if same.is_empty() { Ok(()) } else { Err(CHANGED) }
    }

    /// Puts the item of a row of another id; returns the number of its bytes.
    fn copy(&mut self, to: u64, key: &[u8], row: Vec<u8>) -> Result<u64, Reason> {
        let item = self.knowledge.sealer().open_row(key, row).map_err(|_| "a damaged record")?;
        self.put([&keys::items(to), keys::place(key)].concat(), &item);
        self.fits()?;
        Ok(self.knowledge.contents.item(key, &item).bytes)
    }

    async fn flush_batch(&mut self) -> Result<(), Reason> {
        if self.bytes < BATCH { Ok(()) } else { self.flush().await }
    }

    /// What is to be changed, with room to write it: until that is queued nothing may wait. `None`: it is a list under a
    /// fresh id.
    pub(super) async fn change(&mut self) -> Result<Option<(Room<'a>, Change)>, Reason> {
        let Some(id) = self.like else { return Ok(None) };
        let result = self.try_to_change().await;
        self.distrust(id, result)
    }

    async fn try_to_change(&mut self) -> Result<Option<(Room<'a>, Change)>, Reason> {
        for _ in 0..TRIES {
            let id = self.follow()?;
            let gone = self.difference(id)?.gone;
            if gone.len() > MANY {
                self.become_whole().await?;
                return Ok(None);
            }
            let gone = if gone.is_empty() { Vec::new() } else { self.keys_of(id, &gone)? };
            let room = self.knowledge.writer().room(self.bytes).await.map_err(|_| "store ended")?;
            if self.knowledge.known(&self.partial.scope) == Some(id)
                && let Some(change) = self.change_now(id, &gone)?
            {
                return Ok(Some((room, change)));
            }
            drop(room);
            self.knowledge.flush().await.map_err(|_| "a write failed")?;
            // Whoever waits for the same commit lets go of what it has claimed.
            tokio::task::yield_now().await;
        }
        Err(CHANGED)
    }

    /// Another list may have written the collection whole, under another id: then it is compared with that.
    fn follow(&mut self) -> Result<u64, Reason> {
        let now = self.knowledge.known(&self.partial.scope).ok_or(CHANGED)?;
        if self.like.replace(now) != Some(now) {
            (self.bytes, self.partial.bytes) = (0, 0);
            for (key, row) in std::mem::take(&mut self.ops).into_iter().filter_map(put) {
                self.copy(now, &key, row)?;
            }
        }
        Ok(now)
    }

    fn difference(&self, id: u64) -> Result<contents::Difference, Reason> {
        let came = self.came.as_deref().unwrap_or_default();
        self.knowledge.contents.difference(self.partial.epoch, id, came).ok_or(CHANGED)
    }

    /// The keys of these places, as far as the disk has them.
    fn keys_of(&self, id: u64, places: &[u64]) -> Result<Vec<Vec<u8>>, Reason> {
        let (places, mut keys) = (places.iter().collect::<HashSet<_>>(), Vec::new());
        let snapshot = self.knowledge.snapshot().map_err(|_| "the store cannot be read")?;
        let scan = snapshot.scan(&keys::items(id), &mut |key, _| {
            if places.contains(&self.knowledge.contents.place(key)) {
                keys.push(key.to_vec());
            }
            keys.len() < places.len()
        });
        scan.map_err(|_| "the store cannot be read")?;
        Ok(keys)
    }

    /// `None`: something of it is on its way to the disk.
    fn change_now(&self, id: u64, gone: &[Vec<u8>]) -> Result<Option<Change>, Reason> {
        let (difference, place) = (self.difference(id)?, |key: &[u8]| self.knowledge.contents.place(key));
        let rows: HashMap<u64, &Op> = self.ops.iter().map(|op| (key(op).map_or(0, place), op)).collect();
        let gone: HashMap<u64, &Vec<u8>> = gone.iter().map(|key| (place(key), key)).collect();
        let mut change = Change { ops: Vec::new(), before: 0, after: 0 };
        for place in difference.changed {
            // Else it was there when it came, and is another now.
            let Some(Op::Put(key, row)) = rows.get(&place) else { return Err(CHANGED) };
            let Some(before) = self.knowledge.item_size(key) else { return Ok(None) };
            (change.before, change.after) = (change.before + before, change.after + (key.len() + row.len()) as u64);
            change.ops.push(Op::Put(key.clone(), row.clone()));
        }
        for place in difference.gone {
            let Some((key, before)) = gone.get(&place).and_then(|key| Some((*key, self.knowledge.item_size(key)?))) else {
                return Ok(None);
            };
            change.before += before;
            change.ops.push(Op::Delete(key.clone()));
        }
        Ok(Some(change))
    }

    pub(super) async fn change_in_place(
        mut self,
        room: Room<'_>,
        change: Change,
        mut header: Header,
        may: impl Fn((&Header, &Header)) -> bool,
    ) -> Result<(), Reason> {
        let (knowledge, epoch) = (self.knowledge, self.partial.epoch);
        let old = self.succeed(&mut header, may)?.filter(|old| self.like == Some(old.id)).ok_or(CHANGED)?;
        header.id = old.id;
        header.bytes = (old.bytes + change.after).saturating_sub(change.before);
        if header.bytes > knowledge.limits.cache_max_bytes {
            return Err(OVER);
        }
        let batch = OnItsWay::default();
        for op in &change.ops {
            let size = if let Op::Put(key, row) = op { key.len() + row.len() } else { 0 };
            key(op).inspect(|key| knowledge.note_size(key, size as u64, &batch));
        }
        knowledge.contents.turn(epoch, header.id, self.came.take().unwrap_or_default());
        knowledge.sent_back.has_listed(header.id);
        let mut ops = change.ops;
        ops.push(knowledge.set_header(header));
        end(knowledge, room, Batch { ops, epoch: Some(epoch), on_its_way: Some(batch), ..Batch::default() }).await
    }
}

fn key(op: &Op) -> Option<&[u8]> {
    match op {
        Op::Put(key, _) | Op::Delete(key) => Some(key),
        Op::DeletePrefix(_) => None,
    }
}

fn put(op: Op) -> Option<(Vec<u8>, Vec<u8>)> {
    if let Op::Put(key, row) = op { Some((key, row)) } else { None }
}

/// Some rows of a collection behind the key `after` that are `wanted`, and the last key that was looked at; `None`: there
/// are no more.
type Rows = (Vec<u8>, Vec<(Vec<u8>, Vec<u8>)>);
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
    scan.map_err(|_| "the store cannot be read")?;
    Ok(last.map(|last| (last, rows)))
}
