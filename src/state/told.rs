//! Under what each client was last told what there is: by which filters and rules, and by which facts.
//!
//! Written when a client lists, begins a watch anew, or is led over a change while its watch is open. A watch that goes
//! on from a version may do so only if nothing of that has changed since; else nobody would ever tell its client what
//! looks different now.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// More clients than this and all are forgotten: they list once more.
const MOST: usize = 4096;

/// By the hash of a client the hash of what it was told under. Whom nothing serves is not noted.
#[derive(Debug, Default)]
pub struct Told(Mutex<HashMap<u64, u64>>);

impl Told {
    /// `under`: `None` if nothing serves the client.
    pub fn note(&self, client: u64, under: Option<u64>) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(under) = under else {
            told.remove(&client);
            return;
        };
        if told.len() >= MOST && !told.contains_key(&client) {
            told.clear();
        }
        told.insert(client, under);
    }

    /// Whether the client was told under just this.
    pub fn was(&self, client: u64, under: Option<u64>) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&client).copied() == under
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
    fn it_is_bounded() {
        let told = Told::default();
        (0..10_000).for_each(|client| told.note(client, Some(1)));
        assert!(told.0.lock().unwrap().len() <= MOST);
    }
}
