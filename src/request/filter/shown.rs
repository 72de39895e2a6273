//! What a watch's client has been shown, so that what is hidden from now on is deleted for it, and only for it.
//!
//! Receives each event's object by name and whether the filters hide it. Promises the event that leads the client from
//! what it was shown to what it may see: hidden and shown before is DELETED, hidden and never shown is nothing, shown
//! and hidden before is ADDED. An object that the client knows from its list, and the hub does not, counts as shown: a
//! DELETED of something unknown harms nobody.
//!
//! Holds sixteen bytes for each object of the watch, and only if a filter may hide one.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};

use crate::kube::watch::EventType;

/// By each object that was told of, whether the client has it.
#[derive(Default)]
pub struct Shown {
    hasher: RandomState,
    /// By the hash of namespace and name.
    known: HashMap<u64, bool>,
}

impl Shown {
    /// What a list has shown or hidden before.
    pub(in crate::request) fn note(&mut self, (namespace, name): &(String, String), hidden: bool) {
        self.known.insert(self.hasher.hash_one((namespace, name)), !hidden);
    }

    /// The event for the client; `None`: nothing for it to see.
    pub(super) fn event(&mut self, kind: EventType, (namespace, name): &(String, String), hidden: bool) -> Option<EventType> {
        let key = self.hasher.hash_one((namespace, name));
        if kind == EventType::Deleted {
            let shown = self.known.remove(&key).unwrap_or(true);
            return shown.then_some(kind);
        }
        match (hidden, self.known.insert(key, !hidden)) {
            (true, Some(true)) => Some(EventType::Deleted),
            (true, Some(false)) => None,
            // New is what the client cannot have seen.
            (true, None) => (kind != EventType::Added).then_some(EventType::Deleted),
            (false, Some(false)) => Some(EventType::Added),
            (false, _) => Some(kind),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever happens and whatever is hidden when: a client that applies what it gets has just what it may see,
        /// is never told to delete what it has not, and never to add what it has.
        #[test]
        fn the_client_has_what_it_may_see(
            listed in proptest::collection::btree_map(0_u8..6, any::<bool>(), 0..6),
            changes in proptest::collection::vec((0_u8..6, 0_u8..3), 0..40),
        ) {
            let name = |object: u8| ("a".to_owned(), object.to_string());
            let mut shown = Shown::default();
            // In the cloud: object -> hidden.
            let mut cloud = listed.clone();
            let mut client: BTreeMap<u8, ()> = BTreeMap::new();
            for (object, hidden) in &listed {
                shown.note(&name(*object), *hidden);
                if !hidden {
                    client.insert(*object, ());
                }
            }
            for (object, change) in changes {
                let kind = match (change, cloud.contains_key(&object)) {
                    (2, false) => continue,
                    (2, true) => EventType::Deleted,
                    (_, false) => EventType::Added,
                    (_, true) => EventType::Modified,
                };
                let hidden = change == 1;
                if kind == EventType::Deleted { cloud.remove(&object); } else { cloud.insert(object, hidden); }
                match shown.event(kind, &name(object), hidden) {
                    None => {}
                    Some(EventType::Added) => prop_assert!(client.insert(object, ()).is_none()),
                    Some(EventType::Deleted) => prop_assert!(client.remove(&object).is_some()),
                    Some(_) => prop_assert!(client.contains_key(&object)),
                }
                let may: Vec<_> = cloud.iter().filter(|(_, hidden)| !**hidden).map(|(object, _)| *object).collect();
                prop_assert_eq!(client.keys().copied().collect::<Vec<_>>(), may);
            }
        }
    }

    #[test]
    fn what_only_the_client_knows_counts_as_shown() {
        let name = ("a".to_owned(), "b".to_owned());
        assert_eq!(Shown::default().event(EventType::Modified, &name, true), Some(EventType::Deleted));
        assert_eq!(Shown::default().event(EventType::Added, &name, true), None);
        assert_eq!(Shown::default().event(EventType::Deleted, &name, true), Some(EventType::Deleted));
    }
}
