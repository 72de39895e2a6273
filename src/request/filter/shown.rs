//! What a watch's client has been shown, so that what is hidden from now on is deleted for it, and only for it.
//!
//! Receives each event's object by its key ([`Hidden`](crate::state::hidden::Hidden)) and whether the filters hide it.
//! Promises the event that leads the client from what it was shown to what it may see: hidden and shown before is DELETED,
//! hidden and never shown is nothing, shown and hidden before is ADDED.
//!
//! Holds eight bytes for each object that is hidden; of a watch that begins in the middle, for each that was shown.

use std::collections::HashSet;

use crate::kube::watch::EventType;

/// Begins with everything shown; a client that is yet to be told what there is has been shown all of nothing.
#[derive(Default)]
pub struct Shown {
    /// Whether nothing but the exceptions was shown, or all but them.
    nothing_but: bool,
    exceptions: HashSet<u64>,
    /// Hidden ones that are gone, which the client is not told: it may go on from before that.
    gone: HashSet<u64>,
}

impl Shown {
    /// All that there is, but these.
    pub(super) fn all_but(hidden: impl IntoIterator<Item = u64>) -> Self {
        Self { exceptions: hidden.into_iter().collect(), ..Self::default() }
    }

    /// Nothing of what there is: the watch tells only what happens.
    pub(super) fn nothing() -> Self {
        Self { nothing_but: true, ..Self::default() }
    }

    /// What is hidden from a client that goes on from the last event it was shown; `None`: that is not known.
    pub(super) fn hidden(&self) -> Option<impl Iterator<Item = u64>> {
        (!self.nothing_but).then(|| self.exceptions.iter().copied())
    }

    /// An object is as the client is told, or not told, by somebody else.
    pub(super) fn note(&mut self, key: u64, hidden: bool) {
        self.gone.remove(&key);
        if hidden == self.nothing_but {
            self.exceptions.remove(&key)
        } else {
            self.exceptions.insert(key)
        };
    }

    /// The event for the client; `None`: nothing for it to see.
    pub(in crate::request) fn event(&mut self, kind: EventType, key: u64, hidden: bool) -> Option<EventType> {
        let had = self.has(kind, key);
        if kind == EventType::Deleted {
            match (had, self.nothing_but) {
                (true, true) => _ = self.exceptions.remove(&key),
                (false, false) => _ = self.gone.insert(key),
                _ => {}
            }
            return had.then_some(kind);
        }
        self.note(key, hidden);
        match (had, hidden) {
            (true, true) => Some(EventType::Deleted),
            (false, true) => None,
            (false, false) => Some(EventType::Added),
            (true, false) => Some(kind),
        }
    }

    /// The client has been shown an event: it does not go on from before that any more.
    pub(super) fn stands(&mut self) {
        for key in self.gone.drain() {
            self.exceptions.remove(&key);
        }
    }

    fn has(&self, kind: EventType, key: u64) -> bool {
        match self.exceptions.contains(&key) {
            true => self.nothing_but,
            // New is what the client cannot have.
            false => !self.nothing_but && kind != EventType::Added,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    /// What happens in the cloud, and what of it a client has been told.
    struct Model {
        shown: Shown,
        /// Object -> hidden.
        cloud: BTreeMap<u64, bool>,
        client: BTreeSet<u64>,
        /// What has happened since the last event that the client was shown.
        since: Vec<(EventType, u64, bool)>,
    }

    impl Model {
        /// A client that has listed.
        fn listed(cloud: BTreeMap<u64, bool>) -> Self {
            let client = cloud.iter().filter(|(_, hidden)| !**hidden).map(|(object, _)| *object).collect();
            let hidden = cloud.iter().filter(|(_, hidden)| **hidden).map(|(object, _)| *object);
            Self { shown: Shown::all_but(hidden), cloud, client, since: Vec::new() }
        }

        fn happens(&mut self, object: u64, change: u8) {
            let kind = match (change, self.cloud.contains_key(&object)) {
                (2, false) => return,
                (2, true) => EventType::Deleted,
                (_, false) => EventType::Added,
                (_, true) => EventType::Modified,
            };
            let hidden = change == 1;
            if kind == EventType::Deleted {
                self.cloud.remove(&object)
            } else {
                self.cloud.insert(object, hidden)
            };
            self.event((kind, object, hidden));
        }

        fn event(&mut self, event: (EventType, u64, bool)) {
            self.since.push(event);
            let (kind, object, hidden) = event;
            let Some(told) = self.shown.event(kind, object, hidden) else { return };
            self.shown.stands();
            self.since.clear();
            match told {
                EventType::Added => assert!(self.client.insert(object), "it has it already"),
                EventType::Deleted => assert!(self.client.remove(&object), "it was never shown it"),
                _ => assert!(self.client.contains(&object), "it was never shown it"),
            }
        }

        /// Another watch from where the client stands.
        fn goes_on(&mut self) {
            self.shown = Shown::all_but(self.shown.hidden().unwrap().collect::<Vec<_>>());
            for event in std::mem::take(&mut self.since) {
                self.event(event);
            }
        }
    }

    proptest! {
        /// Whatever happens, whatever is hidden when, and wherever a watch ends and another goes on: a client that applies
        /// what it gets has just what it may see, is never told to delete what it has not, and never to add what it has.
        #[test]
        fn the_client_has_what_it_may_see(
            listed in proptest::collection::btree_map(0_u64..6, any::<bool>(), 0..6),
            changes in proptest::collection::vec((0_u64..6, 0_u8..4), 0..60),
        ) {
            let mut model = Model::listed(listed);
            for (object, change) in changes {
                if change == 3 { model.goes_on() } else { model.happens(object, change) }
                let may: BTreeSet<u64> = model.cloud.iter().filter(|(_, hidden)| !**hidden).map(|(object, _)| *object).collect();
                prop_assert_eq!(&model.client, &may);
            }
        }
    }

    #[test]
    fn a_watch_that_begins_in_the_middle_deletes_what_it_has_shown_itself() {
        let mut shown = Shown::nothing();
        assert_eq!(shown.event(EventType::Modified, 1, true), None);
        assert_eq!(shown.event(EventType::Deleted, 1, true), None);
        assert_eq!(shown.event(EventType::Modified, 2, false), Some(EventType::Added));
        assert_eq!(shown.event(EventType::Modified, 2, true), Some(EventType::Deleted));
        assert_eq!(shown.event(EventType::Added, 3, false), Some(EventType::Added));
        assert_eq!(shown.event(EventType::Deleted, 3, false), Some(EventType::Deleted));
        assert!(shown.hidden().is_none());
    }
}
