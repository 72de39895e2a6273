//! What collections have, in memory: a list that comes again changes only what has become another.
//!
//! Of each item two numbers are kept, one of its place and one of its bytes: tags of AES-256-GCM over nothing but them (GMAC,
//! NIST SP 800-38D) under a key of this process, which leaves it no more than they do. So nobody can make another item that
//! counts as this one. What is not known here is written as if it were new; forgetting costs a write, never the truth.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use super::keys;

/// Items of a collection that are worth it.
const FEW: usize = 2;
/// Items of all of them; of one they take 16 bytes.
pub(super) const MOST: usize = 64 * 1024;
/// Seconds after which a list is written whole all the same: what the disk has lost meanwhile is there again.
const REFRESH: u64 = 3600;

/// An item as it is told from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Item {
    pub(super) place: u64,
    pub(super) bytes: u64,
}

pub(super) struct Contents {
    key: LessSafeKey,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    epoch: u64,
    /// By the collection's id.
    of: HashMap<u64, Table>,
    /// Items of all of them.
    items: usize,
}

struct Table {
    /// In the order of their places.
    items: Vec<Item>,
    /// Unix seconds at which all of it was written.
    written: u64,
}

impl Known {
    fn remove(&mut self, id: u64) {
        self.items -= self.of.remove(&id).map_or(0, |table| table.items.len());
    }

    /// Those that were written before it make room.
    fn put(&mut self, id: u64, table: Table) {
        self.remove(id);
        while self.items + table.items.len() > MOST
            && let Some(oldest) = self.of.iter().min_by_key(|(_, table)| table.written).map(|(id, _)| *id)
        {
            self.remove(oldest);
        }
        if self.items + table.items.len() <= MOST {
            self.items += table.items.len();
            self.of.insert(id, table);
        }
    }
}

/// What leads from what there was to what there is.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Difference {
    /// Places of what is new, or another.
    pub(super) changed: Vec<u64>,
    /// Places of what is gone.
    pub(super) gone: Vec<u64>,
}

impl Default for Contents {
    fn default() -> Self {
        let mut key = [0; 32];
        aws_lc_rs::rand::fill(&mut key).expect("there is randomness");
        let key = UnboundKey::new(&AES_256_GCM, &key).expect("32 bytes are an AES-256 key");
        Self { key: LessSafeKey::new(key), known: Mutex::default() }
    }
}

impl Contents {
    /// `key`: of its row, in any collection.
    pub(super) fn item(&self, key: &[u8], bytes: &[u8]) -> Item {
        Item { place: self.place(key), bytes: self.tag(bytes) }
    }

    pub(super) fn place(&self, key: &[u8]) -> u64 {
        self.tag(keys::place(key))
    }

    fn tag(&self, bytes: &[u8]) -> u64 {
        // Nothing is encrypted, and nobody sees the tags.
        let nonce = Nonce::assume_unique_for_key([0; NONCE_LEN]);
        let tag = self.key.seal_in_place_separate_tag(nonce, Aad::from(bytes), &mut []).expect("an item is far below 64 GiB");
        tag.as_ref().first_chunk().map_or(0, |first| u64::from_le_bytes(*first))
    }

    fn known<T>(&self, epoch: u64, look: impl FnOnce(&mut Known) -> T) -> T {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match epoch.cmp(&known.epoch) {
            // It began before a write failed: of what is known since it knows nothing.
            Ordering::Less => return look(&mut Known::default()),
            Ordering::Equal => {}
            // A write has failed: what was written before it may be lost.
            Ordering::Greater => *known = Known { epoch, ..Known::default() },
        }
        look(&mut known)
    }

    /// Whether it is known what this collection has, which has so many items.
    pub(super) fn has_all_of(&self, epoch: u64, id: u64, items: u64) -> bool {
        self.known(epoch, |known| known.of.get(&id).is_some_and(|table| table.items.len() as u64 == items))
    }

    /// Whether it is time to write the collection whole. `now`: unix seconds.
    pub(super) fn is_old(&self, epoch: u64, id: u64, now: u64) -> bool {
        let is_new = |table: &Table| (table.written..table.written + REFRESH).contains(&now);
        self.known(epoch, |known| !known.of.get(&id).is_some_and(is_new))
    }

    /// Whether the collection has exactly this.
    pub(super) fn has(&self, epoch: u64, id: u64, item: Item) -> bool {
        self.known(epoch, |known| known.of.get(&id).is_some_and(|table| table.items.binary_search(&item).is_ok()))
    }

    /// What a collection would have to become; `None`: what it has is not known. `items`: in the order of their places.
    pub(super) fn difference(&self, epoch: u64, id: u64, items: &[Item]) -> Option<Difference> {
        self.known(epoch, |known| Some(difference(&known.of.get(&id)?.items, items)))
    }

    /// All that a collection has, in the order of their places: it was just written whole.
    pub(super) fn set(&self, epoch: u64, id: u64, items: Vec<Item>, now: u64) {
        if items.len() >= FEW {
            self.known(epoch, |known| known.put(id, Table { items, written: now }));
        }
    }

    /// The same where only what has become another was written.
    pub(super) fn turn(&self, epoch: u64, id: u64, items: Vec<Item>) {
        self.known(epoch, |known| {
            let Some(written) = known.of.get(&id).map(|table| table.written) else { return };
            known.put(id, Table { items, written });
        });
    }

    /// Another list has taken its place, or it is gone, or not as it should be.
    pub(super) fn forget(&self, epoch: u64, id: u64) {
        self.known(epoch, |known| known.remove(id));
    }

    /// An event: the place has this, or nothing (`None`). `bytes` are looked at only if they matter.
    pub(super) fn note(&self, epoch: u64, key: &[u8], bytes: Option<&[u8]>) {
        let Some(id) = keys::item_id(key).filter(|id| self.known(epoch, |known| known.of.contains_key(id))) else { return };
        let (place, bytes) = (self.place(key), bytes.map(|bytes| self.tag(bytes)));
        self.known(epoch, |known| {
            let Some(Table { items, .. }) = known.of.get_mut(&id) else { return };
            match (items.binary_search_by_key(&place, |item| item.place), bytes) {
                (Ok(at), Some(bytes)) => items[at].bytes = bytes,
                (Ok(at), None) => {
                    items.remove(at);
                    known.items -= 1;
                }
                (Err(at), Some(bytes)) => {
                    items.insert(at, Item { place, bytes });
                    known.items += 1;
                }
                (Err(_), None) => {}
            }
            if known.items > MOST {
                known.remove(id);
            }
        });
    }
}

fn difference(before: &[Item], now: &[Item]) -> Difference {
    let (mut before, mut difference) = (before.iter().peekable(), Difference::default());
    for item in now {
        while let Some(gone) = before.next_if(|before| before.place < item.place) {
            difference.gone.push(gone.place);
        }
        if before.next_if(|before| before.place == item.place) != Some(item) {
            difference.changed.push(item.place);
        }
    }
    difference.gone.extend(before.map(|gone| gone.place));
    difference
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(place: u64, bytes: u64) -> Item {
        Item { place, bytes }
    }

    #[test]
    fn what_has_become_another_is_told_from_what_is_new_and_what_is_gone() {
        let before = [item(1, 1), item(3, 1), item(5, 1), item(9, 1)];
        let of = |changed: &[u64], gone: &[u64]| Difference { changed: changed.to_vec(), gone: gone.to_vec() };
        assert_eq!(difference(&before, &before), of(&[], &[]));
        assert_eq!(difference(&before, &[]), of(&[], &[1, 3, 5, 9]));
        assert_eq!(difference(&[], &before), of(&[1, 3, 5, 9], &[]));
        assert_eq!(difference(&before, &[item(2, 1), item(3, 2), item(5, 1), item(10, 1)]), of(&[2, 3, 10], &[1, 9]));
    }

    #[test]
    fn two_items_are_the_same_only_if_every_byte_is() {
        let contents = Contents::default();
        let key = keys::item(1, "default", "a");
        let of = |bytes: &[u8]| contents.item(&key, bytes);
        for length in [0, 1, 15, 16, 17, 4096] {
            let bytes = vec![b'a'; length];
            assert_eq!(of(&bytes), of(&bytes));
            assert_ne!(of(&bytes), of(&[&bytes[..], b"\0"].concat()), "{length}");
            for at in [0, length / 2, length.saturating_sub(1)].into_iter().filter(|at| *at < length) {
                let mut other = bytes.clone();
                other[at] ^= 1;
                assert_ne!(of(&bytes), of(&other), "{at} of {length}");
            }
        }
        assert_eq!(contents.place(&key), contents.place(&keys::item(2, "default", "a")), "in whichever collection");
        assert_ne!(contents.place(&key), contents.place(&keys::item(1, "default", "b")));
        assert_ne!(of(b"a"), Contents::default().item(&key, b"a"), "each process has a key of its own");
    }

    #[test]
    fn what_is_known_is_bounded_and_grows_old() {
        let contents = Contents::default();
        let items = |count: usize| (0..count as u64).map(|place| item(place, 1)).collect::<Vec<_>>();
        contents.set(0, 1, items(FEW - 1), 100);
        contents.set(0, 2, items(MOST + 1), 100);
        assert!(!contents.has_all_of(0, 1, FEW as u64 - 1) && !contents.has_all_of(0, 2, MOST as u64 + 1), "not worth it");
        for (id, now) in [(3, 100), (4, 101), (5, 102)] {
            contents.set(0, id, items(MOST / 2), now);
        }
        let has = |id| contents.has_all_of(0, id, MOST as u64 / 2);
        assert_eq!([has(3), has(4), has(5)], [false, true, true], "the oldest has made room");
        let is_old = |now| contents.is_old(0, 4, now);
        assert_eq!([100, 101, 100 + REFRESH, 101 + REFRESH].map(is_old), [true, false, false, true]);
        contents.turn(0, 4, items(10));
        assert!(contents.has_all_of(0, 4, 10) && is_old(101 + REFRESH), "written whole it was then");
        for name in 0..MOST {
            contents.note(0, &keys::item(4, "", &name.to_string()), Some(b"{}"));
        }
        assert!(!contents.has_all_of(0, 4, MOST as u64 + 10) && has(5), "it has become too much");
        contents.turn(0, 5, items(MOST + 1));
        assert_eq!(contents.known.lock().unwrap().items, 0);
        contents.set(1, 6, items(10), 100);
        contents.forget(0, 6);
        assert!(!contents.has_all_of(0, 6, 10) && contents.has_all_of(1, 6, 10), "who began before a write failed knows nothing");
        assert!(!contents.has_all_of(2, 6, 10), "a write has failed");
    }
}
