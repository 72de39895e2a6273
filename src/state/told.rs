//! Under what each client was last told what there is: by which filters and rules, and by which facts.
//!
//! Written when a client lists, begins a watch anew, or is led over a change while its watch is open. A watch that goes
//! on from a version may do so only if nothing of that has changed since; else nobody would ever tell its client what
//! looks different now.
//!
//! Over the hub's end only that a client was told under something is kept, not under what, for it may have been told under
//! something else since the file was written: whom something serves lists again. Whom nothing serves goes on, unless it was
//! told under something before, in whatever life that was: flags, rules and working mode may all be others then, and the hub
//! need not know which they were. What is kept are eight bytes a client (background::told), and clients are processes of
//! this node. A process that hands its clients' watches over says of each under what it was told ([`Told::handed`]).
//!
//! Bounded: who has not been heard of while [`MOST`] / 2 others were is forgotten. It lists once more if something serves
//! it, and goes on untold if nothing does any more.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

const MOST: usize = 4096;

/// Whom nothing serves is not noted.
#[derive(Debug, Default)]
pub struct Told {
    clients: Mutex<Clients>,
    changed: Notify,
}

/// By the hash of a client.
type Generation = HashMap<u64, What>;

/// What a client was told under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    /// By its mark.
    One(u64),
    /// Not one thing: a list whose pages differ.
    Several,
    /// It was told in an earlier life of the hub.
    Unknown,
}

/// Those heard of lately, and those heard of before them.
#[derive(Debug, Default)]
struct Clients {
    young: Generation,
    old: Generation,
}

impl Clients {
    /// Whether it is new.
    fn put(&mut self, client: u64, under: What) -> bool {
        let before = self.old.remove(&client);
        if self.young.len() >= MOST / 2 && !self.young.contains_key(&client) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(client, under).or(before).is_none()
    }

    fn get(&self, client: u64) -> Option<What> {
        self.young.get(&client).or(self.old.get(&client)).copied()
    }

    fn remove(&mut self, client: u64) -> bool {
        self.young.remove(&client).or(self.old.remove(&client)).is_some()
    }
}

impl Told {
    /// What [`Told::kept`] was in an earlier life.
    pub fn earlier(kept: &[u8]) -> Self {
        let (whole, _) = kept.as_chunks();
        let mut clients = Clients::default();
        for client in whole {
            clients.put(u64::from_be_bytes(*client), What::Unknown);
        }
        Self { clients: Mutex::new(clients), changed: Notify::new() }
    }

    /// Who was told under something.
    pub fn kept(&self) -> Vec<u8> {
        let clients = self.clients();
        clients.old.keys().chain(clients.young.keys()).flat_map(|client| client.to_be_bytes()).collect()
    }

    /// Returns once that is different.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// `under`: `None` if nothing serves the client.
    pub fn note(&self, client: u64, under: Option<u64>) {
        let changed = match under {
            Some(under) => self.clients().put(client, What::One(under)),
            None => self.clients().remove(client),
        };
        if changed {
            self.changed.notify_one();
        }
    }

    /// The client is told more of what it was told the beginning of. If that was under something else, it has been told
    /// under nothing that anybody could go on from.
    pub fn went_on(&self, client: u64, under: Option<u64>) {
        if !self.was(client, under) && self.clients().put(client, What::Several) {
            self.changed.notify_one();
        }
    }

    /// Whether the client was told under just this.
    pub fn was(&self, client: u64, under: Option<u64>) -> bool {
        let mut clients = self.clients();
        let under = under.map(What::One);
        let was = clients.get(client) == under;
        if let (true, Some(under)) = (was, under) {
            clients.put(client, under);
        }
        was
    }

    /// The mark of what the client was told under, if there is one.
    pub fn under(&self, client: u64) -> Option<u64> {
        match self.clients().get(client) {
            Some(What::One(under)) => Some(under),
            _ => None,
        }
    }

    /// Under what all clients like this one were told by the process before this one, which knows that better than the file;
    /// but not better than this one, if it has told any of them anything.
    pub fn handed(&self, client: u64, under: u64) {
        let mut clients = self.clients();
        if clients.get(client) == Some(What::Unknown) {
            clients.put(client, What::One(under));
        }
    }

    fn clients(&self) -> MutexGuard<'_, Clients> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_was_told_under_something_else_was_not_told() {
        let told = Told::default();
        assert!(told.was(1, None), "nothing served it, and nothing does");
        assert!(!told.was(1, Some(7)), "it is served now");
        told.note(1, Some(7));
        assert!(told.was(1, Some(7)) && !told.was(1, Some(8)));
        assert!(!told.was(1, None), "what was hidden from it is not any more");
        told.note(1, None);
        assert!(told.was(1, None));
    }

    #[test]
    fn a_list_whose_pages_differ_was_told_under_nothing() {
        let told = Told::default();
        told.went_on(1, None);
        assert!(told.was(1, None), "nothing served it from the first page on");
        for pages in [[None, Some(7), None], [Some(7), None, Some(7)], [Some(7), Some(8), Some(7)]] {
            told.note(1, pages[0]);
            told.went_on(1, pages[1]);
            assert!(!pages.iter().any(|under| told.was(1, *under)), "{pages:?}: after the second");
            told.went_on(1, pages[2]);
            assert!(!pages.iter().any(|under| told.was(1, *under)), "{pages:?}: after the third");
        }
        told.note(1, Some(7));
        told.went_on(1, Some(7));
        assert!(told.was(1, Some(7)));
    }

    #[test]
    fn in_another_life_it_is_known_who_was_told_and_not_under_what() {
        let told = Told::default();
        for client in [1, 2, 3] {
            told.note(client, Some(7));
        }
        told.note(2, None);
        let mut kept = told.kept();
        assert_eq!(kept.len(), 16);
        // What was cut off of one is nobody.
        kept.push(0);
        let told = Told::earlier(&kept);
        assert!(!told.was(1, Some(7)) && !told.was(1, None));
        assert!(told.was(2, None));
        told.note(1, None);
        assert!(told.was(1, None));
        assert_eq!(told.kept(), 3_u64.to_be_bytes());
    }

    #[test]
    fn what_another_process_hands_over_is_known_and_what_this_one_has_told_known_better() {
        let told = Told::default();
        for client in [1, 2, 3, 4] {
            told.note(client, Some(7));
        }
        assert_eq!((told.under(1), told.under(5)), (Some(7), None));
        let told = Told::earlier(&told.kept());
        assert_eq!(told.under(1), None);
        told.note(2, Some(8));
        told.note(3, None);
        told.went_on(4, Some(8));
        for client in [1, 2, 3, 4, 5] {
            told.handed(client, 7);
        }
        assert!(told.was(1, Some(7)), "nobody knew better");
        assert!(told.was(2, Some(8)) && told.was(3, None) && told.was(5, None));
        assert!(!told.was(4, Some(7)) && !told.was(4, None));
    }

    #[test]
    fn it_is_bounded_and_who_is_heard_of_stays() {
        let told = Told::default();
        told.note(0, Some(1));
        for client in 1..10_000 {
            told.note(client, Some(1));
            assert!(told.was(0, Some(1)));
        }
        assert!(told.kept().len() <= MOST * 8);
        assert!(told.was(1, None), "forgotten");
    }

    #[tokio::test]
    async fn who_keeps_it_hears_of_what_is_new_alone() {
        let told = Told::default();
        let has_changed = async || futures_util::FutureExt::now_or_never(told.changed()).is_some();
        told.note(1, Some(7));
        assert!(has_changed().await);
        told.note(1, Some(8));
        told.note(2, None);
        assert!(!has_changed().await);
        told.note(1, None);
        assert!(has_changed().await);
    }
}
