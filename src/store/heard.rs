//! Events that clients of this node have lately told the cloud, as it has answered: they are changed when they happen again,
//! and then the link may be down.
//!
//! In memory alone, the last [`BYTES`] of them: what was accepted since is in the journal, on disk. An Event that a
//! collection has is that collection's.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::collection::version_number;
use super::journal;
use super::knowledge::now_ms;
use super::local::record;
use super::{Entry, Found, Knowledge, ObjectKey, Scope};
use crate::kube::list::Encoding;
use crate::kube::object;
use crate::kube::typed::{self, Typed};

/// Of all that are kept; some two hundred.
const BYTES: usize = 256 * 1024;
/// Of one: hardly any is larger than 2 KB.
const LARGEST: usize = 16 * 1024;

/// Milliseconds within which an answer is taken apart.
const LATE: u64 = 60_000;

#[derive(Default)]
pub(super) struct Heard(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    /// The latest last.
    events: VecDeque<Event>,
    bytes: usize,
    /// When one was deleted last, in unix milliseconds.
    forgotten_at: u64,
}

struct Event {
    place: String,
    /// As the cloud has written it: whose fields the item has, and in which encoding.
    key: ObjectKey,
    item: Box<[u8]>,
    resource_version: String,
    at: u64,
}

impl Event {
    fn bytes(&self) -> usize {
        self.place.len() + self.item.len() + size_of::<Self>()
    }

    /// As it is wanted, in another API or encoding.
    fn shown(&self, wanted: &ObjectKey) -> Option<Vec<u8>> {
        let of = |key: &ObjectKey| typed::of(&key.scope.group, &key.scope.resource);
        let event = Typed::read(of(&self.key)?, self.key.scope.encoding(), &self.item).ok()?;
        Some(event.write(of(wanted)?, wanted.scope.encoding()))
    }
}

impl Kept {
    fn forget_within(&mut self, prefix: &str) {
        self.events.retain(|event| !event.place.starts_with(prefix));
        self.bytes = self.events.iter().map(Event::bytes).sum();
    }

    fn forget(&mut self, place: &str) {
        if let Some(index) = self.events.iter().position(|event| event.place == place)
            && let Some(event) = self.events.remove(index)
        {
            self.bytes -= event.bytes();
        }
    }

    fn keep(&mut self, event: Event) {
        // Two answers may be taken apart in the other order.
        let version = |event: &Event| version_number(&event.resource_version);
        if self.events.iter().any(|known| known.place == event.place && version(known) > version(&event)) {
            return;
        }
        self.forget(&event.place);
        // An answer is taken apart a little later than it came; what was forgotten meanwhile stays so.
        let is_older = event.at <= self.forgotten_at && self.forgotten_at - event.at < LATE;
        if is_older || event.item.len() > LARGEST {
            return;
        }
        self.bytes += event.bytes();
        self.events.push_back(event);
        while self.bytes > BYTES
            && let Some(oldest) = self.events.pop_front()
        {
            self.bytes -= oldest.bytes();
        }
    }
}

impl Knowledge {
    fn heard(&self) -> MutexGuard<'_, Kept> {
        self.heard.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The cloud has answered the write of an Event with this, at `at` in unix milliseconds.
    pub(super) fn hear_event(&self, key: ObjectKey, item: &[u8], resource_version: String, at: u64) {
        let place = journal::place(&key.scope.namespace, &key.name);
        self.heard().keep(Event { place, key, item: item.into(), resource_version, at });
    }

    /// The cloud has answered the delivery of an Event, or of a change, with this in JSON.
    pub fn hear_delivered(&self, entry: &Entry, event: &[u8]) {
        let info = entry.info();
        let Ok((_, item)) = object::into_item(Encoding::Json, event) else { return };
        let Ok(meta) = object::meta(Encoding::Json, &item) else { return };
        if typed::of(&info.api_group, &info.resource).is_none() || meta.name != entry.name {
            return;
        }
        let (group, version) = (info.api_group, info.api_version);
        let scope = Scope { group, version, resource: info.resource, namespace: info.namespace, ..Scope::default() };
        self.hear_event(ObjectKey { scope, name: meta.name }, &item, meta.resource_version, now_ms());
    }

    /// It was deleted; without a name all of the namespace were, or of all namespaces.
    pub fn forget_event(&self, key: &ObjectKey) {
        let place = journal::place(&key.scope.namespace, &key.name);
        let mut heard = self.heard();
        heard.forgotten_at = now_ms();
        if key.name.is_empty() { heard.forget_within(&place) } else { heard.forget(&place) }
    }

    /// The cloud has answered a write of it, and how it is since is not known here.
    pub(super) fn mishear_event(&self, key: &ObjectKey) {
        self.heard().forget(&journal::place(&key.scope.namespace, &key.name));
    }

    /// The Event as the cloud has answered its write; of metadata nothing is kept.
    pub(super) fn heard_event(&self, wanted: &ObjectKey) -> Option<Found> {
        let place = journal::place(&wanted.scope.namespace, &wanted.name);
        let heard = self.heard();
        let event = heard.events.iter().find(|event| event.place == place)?;
        let record = record(&wanted.scope, event.resource_version.clone(), event.at);
        Some(Found::Object { record, item: event.shown(wanted)? })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::store::Memory;
    use crate::store::tests::open;

    fn key(group: &str, name: &str, protobuf: bool) -> ObjectKey {
        let (group, resource, namespace) = (group.to_owned(), "events".to_owned(), "n".to_owned());
        let scope = Scope { group, version: "v1".into(), resource, namespace, protobuf, ..Scope::default() };
        ObjectKey { scope, name: name.to_owned() }
    }

    fn hear(knowledge: &Knowledge, name: &str, note: &str) {
        let event = format!(r#"{{"metadata":{{"name":"{name}","namespace":"n","resourceVersion":"7"}},"note":"{note}"}}"#);
        knowledge.hear_event(key("events.k8s.io", name, false), event.as_bytes(), "7".into(), 1);
    }

    fn message(knowledge: &Knowledge, name: &str) -> Option<String> {
        let Ok(Found::Object { item, record }) = knowledge.object_here(&key("", name, true)) else { return None };
        assert_eq!((&*record.api_version, &*record.resource_version), ("v1", "7"));
        let event = Typed::read(typed::of("", "events")?, Encoding::Protobuf, &item).ok()?;
        let event = event.write(typed::of("", "events")?, Encoding::Json);
        serde_json::from_slice::<serde_json::Value>(&event).ok()?["message"].as_str().map(str::to_owned)
    }

    #[tokio::test]
    async fn it_is_known_in_both_apis_and_encodings_as_it_was_last() {
        let knowledge = open(Arc::new(Memory::default()));
        hear(&knowledge, "e", "once");
        hear(&knowledge, "e", "twice");
        assert_eq!(message(&knowledge, "e").as_deref(), Some("twice"));
        assert_eq!(message(&knowledge, "f"), None);
        knowledge.forget_event(&key("", "e", true));
        assert_eq!((message(&knowledge, "e"), knowledge.heard().bytes), (None, 0));
        for (namespace, is_left) in [("other", true), ("n", false), ("", false)] {
            hear(&knowledge, "e", "again");
            let all = key("", "", true);
            knowledge.forget_event(&ObjectKey { scope: Scope { namespace: namespace.into(), ..all.scope }, ..all });
            assert_eq!(message(&knowledge, "e").is_some(), is_left, "{namespace}");
        }
        assert_eq!(knowledge.heard().bytes, 0);
    }

    #[tokio::test]
    async fn an_answer_that_is_taken_apart_after_a_deletion_comes_too_late() {
        let knowledge = open(Arc::new(Memory::default()));
        let deleted = now_ms();
        knowledge.forget_event(&key("", "e", true));
        let event = br#"{"metadata":{"name":"e","namespace":"n","resourceVersion":"7"},"note":"x"}"#;
        for (at, is_known) in [(deleted, false), (deleted - LATE / 2, false), (now_ms() + 1, true), (1, true)] {
            knowledge.heard().forget("n/e");
            knowledge.hear_event(key("events.k8s.io", "e", false), event, "7".into(), at);
            assert_eq!(message(&knowledge, "e").is_some(), is_known, "{at}");
        }
    }

    #[tokio::test]
    async fn the_oldest_go_before_they_are_too_many() {
        let knowledge = open(Arc::new(Memory::default()));
        let large = "x".repeat(1000);
        (0..1000).for_each(|index| hear(&knowledge, &format!("e{index}"), &large));
        assert!(knowledge.heard().bytes <= BYTES && message(&knowledge, "e999").is_some());
        let known = (0..1000).filter(|index| message(&knowledge, &format!("e{index}")).is_some()).count();
        assert!((150..250).contains(&known), "{known}");
        hear(&knowledge, "e999", &"x".repeat(LARGEST));
        assert_eq!(message(&knowledge, "e999"), None, "it is not as it was, and too large as it is");
        assert!(message(&knowledge, "e998").is_some(), "the others stay");
    }
}
