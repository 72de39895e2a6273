//! What was written lately, so that the same row is not written for every request.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::{Mutex, PoisonError};

/// Each row is known by a hash, for every request asks: two that share one would at worst be written an hour late.
#[derive(Default)]
pub(super) struct Recent {
    keyed: RandomState,
    lately: Mutex<Lately>,
}

#[derive(Default)]
struct Lately {
    epoch: u64,
    rows: HashMap<u64, u64>,
}

/// More than this and all are forgotten: they are only a saving.
pub(super) const RECENT: usize = 16 * 1024;

impl Recent {
    /// Whether `row` was not seen within such a `time` of this epoch of the writer
    /// (a write that failed may have taken the row with it); it now counts as seen.
    pub(super) fn first_in(&self, epoch: u64, row: &(impl Hash + ?Sized), time: u64, now: u64) -> bool {
        let hash = self.keyed.hash_one(row);
        let mut lately = self.lately.lock().unwrap_or_else(PoisonError::into_inner);
        if lately.epoch != epoch || lately.rows.len() >= RECENT {
            *lately = Lately { epoch, ..Lately::default() };
        }
        // A clock that jumped back makes the entry old, not eternal.
        if lately.rows.get(&hash).is_some_and(|at| *at <= now && now < *at + time) {
            return false;
        }
        lately.rows.insert(hash, now);
        true
    }

    /// When it was written, if that was lately.
    pub(super) fn last(&self, row: &(impl Hash + ?Sized)) -> Option<u64> {
        let hash = self.keyed.hash_one(row);
        self.lately.lock().unwrap_or_else(PoisonError::into_inner).rows.get(&hash).copied()
    }

    /// Whether it was written lately; it now counts as not.
    pub(super) fn forget(&self, row: &(impl Hash + ?Sized)) -> bool {
        let hash = self.keyed.hash_one(row);
        self.lately.lock().unwrap_or_else(PoisonError::into_inner).rows.remove(&hash).is_some()
    }
}
