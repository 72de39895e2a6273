//! What was hidden from each client of what there was when it was told of that.
//!
//! Written at the end of a list and of a watch, read when a watch goes on from there: what is not here was shown. So that
//! an object goes, or is hidden from now on, is news only for a client that has it. Nothing of it is kept over the hub's
//! end, when whom something serves lists again in any case (state::told); it goes with the watches that are handed over.
//!
//! Bounded: of one list [`MOST`] objects are noted, and the others count as shown. What was noted before half of [`ALL`]
//! others is forgotten, and its client lists once more.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::inputs::ServiceName;
use super::mark;

/// Objects of one list or watch.
pub const MOST: usize = 32 * 1024;
/// Lists and watches with their objects.
const ALL: usize = 128 * 1024;

#[derive(Default)]
pub struct Hidden {
    kept: Mutex<Kept>,
}

/// Where a client stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Standing {
    pub client: u64,
    /// Up to which version it was told everything.
    pub version: u64,
    /// By which filters and facts.
    pub under: Option<u64>,
}

/// The keys of what was hidden.
type Generation = HashMap<Standing, Box<[u64]>>;

/// What was noted lately, and before that.
#[derive(Default)]
struct Kept {
    young: Generation,
    old: Generation,
    /// Of the young.
    weight: usize,
}

impl Hidden {
    /// What an object is known by here and in other processes, from its namespace and name.
    pub fn key((namespace, name): &ServiceName) -> u64 {
        mark::of_bytes([namespace, "\0", name].concat().as_bytes())
    }

    /// Notes what was hidden, of one page if the list has several.
    pub fn note(&self, at: Standing, keys: impl IntoIterator<Item = u64>) {
        let mut kept = self.kept();
        let mut all = kept.take(&at).unwrap_or_default().into_vec();
        all.extend(keys);
        all.sort_unstable();
        all.dedup();
        all.truncate(MOST);
        kept.put(at, all.into());
    }

    /// `None`: that is not known.
    pub fn known(&self, at: &Standing) -> Option<Box<[u64]>> {
        let kept = self.kept();
        kept.young.get(at).or(kept.old.get(at)).cloned()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn take(&mut self, at: &Standing) -> Option<Box<[u64]>> {
        let young = self.young.remove(at).inspect(|keys| self.weight -= weight(keys));
        young.or(self.old.remove(at))
    }

    fn put(&mut self, at: Standing, keys: Box<[u64]>) {
        if self.weight + weight(&keys) > ALL / 2 {
            (self.old, self.weight) = (std::mem::take(&mut self.young), 0);
        }
        self.weight += weight(&keys);
        self.young.insert(at, keys);
    }
}

fn weight(keys: &[u64]) -> usize {
    // Where the client stands is as large as some.
    keys.len() + 8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(client: u64, version: u64) -> Standing {
        Standing { client, version, under: Some(1) }
    }

    #[test]
    fn each_client_is_known_where_it_stands_and_nowhere_else() {
        let hidden = Hidden::default();
        hidden.note(at(1, 7), [3, 2]);
        hidden.note(at(1, 9), []);
        assert_eq!(hidden.known(&at(1, 7)).as_deref(), Some(&[2, 3][..]));
        assert_eq!(hidden.known(&at(1, 9)).as_deref(), Some(&[][..]));
        assert_eq!(hidden.known(&at(1, 8)), None);
        assert_eq!(hidden.known(&at(2, 7)), None);
        assert_eq!(hidden.known(&Standing { under: Some(2), ..at(1, 7) }), None, "by other filters");
    }

    #[test]
    fn the_pages_of_a_list_are_one_list() {
        let hidden = Hidden::default();
        for page in [vec![5], vec![], vec![1, 5]] {
            hidden.note(at(1, 7), page);
        }
        assert_eq!(hidden.known(&at(1, 7)).as_deref(), Some(&[1, 5][..]));
    }

    #[test]
    fn it_is_bounded_and_what_was_noted_last_is_known() {
        let hidden = Hidden::default();
        for client in 0..100 {
            hidden.note(at(client, 7), 0..2 * MOST as u64);
            assert_eq!(hidden.known(&at(client, 7)).map(|keys| keys.len()), Some(MOST));
        }
        for client in 0..100_000 {
            hidden.note(at(client, 8), []);
            assert!(hidden.known(&at(client, 8)).is_some());
        }
        let kept = hidden.kept();
        let all = kept.young.values().chain(kept.old.values());
        assert!(all.map(|keys| weight(keys)).sum::<usize>() <= ALL);
    }
}
