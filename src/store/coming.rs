//! How large rows of items are, those on their way to the disk among them: what a collection takes of the budget is known
//! exactly, whatever becomes of its items.
//!
//! A size is kept until its batch is written; from then on the disk tells it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::{Knowledge, keys};

/// Beyond this many those that are written are dropped.
const MOST: usize = 1024;

/// Held by a batch until it is written.
pub type OnItsWay = Arc<()>;

#[derive(Default)]
pub(super) struct Coming(Mutex<Rows>);

#[derive(Default)]
struct Rows {
    epoch: u64,
    sizes: HashMap<Vec<u8>, (u64, Weak<()>)>,
}

impl Coming {
    fn of<T>(&self, epoch: u64, look: impl FnOnce(&mut HashMap<Vec<u8>, (u64, Weak<()>)>) -> T) -> T {
        let mut rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // What was on its way when a write failed never comes.
        if rows.epoch != epoch {
            *rows = Rows { epoch, ..Rows::default() };
        }
        look(&mut rows.sizes)
    }
}

impl Knowledge {
    /// Bytes of an item's row and key; 0: there is none. `None`: its collection is only just being written.
    pub(super) fn item_size(&self, key: &[u8]) -> Option<u64> {
        if keys::item_id(key).is_some_and(|id| self.claims.has(id)) {
            return None;
        }
        let coming = self.coming.of(self.writer().epoch(), |sizes| {
            sizes.get(key).filter(|(_, written)| written.strong_count() > 0).map(|(size, _)| *size)
        });
        let on_disk = || self.snapshot().and_then(|snapshot| snapshot.read(key)).ok().flatten();
        Some(coming.unwrap_or_else(|| on_disk().map_or(0, |row| (key.len() + row.len()) as u64)))
    }

    /// Items have these sizes as soon as the batch is written.
    pub(super) fn note_sizes<'a>(&self, items: impl Iterator<Item = (&'a [u8], u64)>, batch: &OnItsWay) {
        self.coming.of(self.writer().epoch(), |sizes| {
            if sizes.len() >= MOST {
                sizes.retain(|_, (_, written)| written.strong_count() > 0);
            }
            sizes.extend(items.map(|(key, size)| (key.to_vec(), (size, Arc::downgrade(batch)))));
        });
    }
}
