//! Answers that were remembered a moment ago: the same bytes again need not be
//! written again.
//!
//! Receives the row an answer belongs to and its bytes; promises that only an answer
//! like the last one of its row counts as a repeat, for as long as no write has failed
//! since. Forgetting an entry costs a write, never the truth.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

/// Seconds after which a repeat is written all the same: it tells how fresh a row is.
const REFRESH: u64 = 30;
/// More rows than this and all are forgotten.
const ROWS: usize = 4096;

#[derive(Default)]
pub(super) struct Repeats {
    hasher: RandomState,
    seen: Mutex<HashMap<Vec<u8>, Seen>>,
}

#[derive(PartialEq)]
struct Seen {
    digest: u64,
    epoch: u64,
    /// Unix seconds.
    at: u64,
}

impl Repeats {
    /// Whether the last answer of `row` was the same, lately and under the same
    /// writer's `epoch`; this one is now the last.
    pub(super) fn is_repeat(&self, row: &[u8], body: &[Bytes], epoch: u64, now: u64) -> bool {
        let mut hasher = self.hasher.build_hasher();
        body.iter().for_each(|data| hasher.write(data));
        let digest = hasher.finish();
        let mut seen = self.lock();
        if seen
            .get(row)
            .is_some_and(|last| last.digest == digest && last.epoch == epoch && last.at <= now && now < last.at + REFRESH)
        {
            return true;
        }
        if seen.len() >= ROWS {
            seen.clear();
        }
        seen.insert(row.to_vec(), Seen { digest, epoch, at: now });
        false
    }

    /// Whether an answer of this row was remembered, or is about to be.
    pub(super) fn has(&self, row: &[u8]) -> bool {
        self.lock().contains_key(row)
    }

    /// The row has become another, or was not written.
    pub(super) fn forget(&self, row: &[u8]) {
        self.lock().remove(row);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Vec<u8>, Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_answer_lately_is_a_repeat() {
        let repeats = Repeats::default();
        let body = |text: &'static str| [Bytes::from_static(text.as_bytes())];
        assert!(!repeats.is_repeat(b"r", &body("a"), 0, 100));
        assert!(repeats.is_repeat(b"r", &body("a"), 0, 129));
        assert!(!repeats.is_repeat(b"other", &body("a"), 0, 129), "another row");
        assert!(!repeats.is_repeat(b"r", &body("b"), 0, 129), "another body");
        assert!(!repeats.is_repeat(b"r", &body("a"), 0, 129), "and back again");
        assert!(!repeats.is_repeat(b"r", &body("a"), 0, 160), "long ago");
        assert!(!repeats.is_repeat(b"r", &body("a"), 0, 150), "the clock went back");
        assert!(!repeats.is_repeat(b"r", &body("a"), 1, 150), "a write has failed");
        repeats.forget(b"r");
        assert!(!repeats.is_repeat(b"r", &body("a"), 1, 150));
    }
}
