//! Events that clients of this node have lately told the cloud, as it has answered: they are changed when they happen again,
//! and then the link may be down.
//!
//! The last [`BYTES`] of them, in memory and each in a row of its own, for a node may be started again while the link is
//! down: what was accepted since is in the journal. A row is written as soon as others are, and what is lost with the last of
//! them is no promise. An Event that a collection has is that collection's.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::collection::version_number;
use super::journal;
use super::knowledge::now_ms;
use super::local::record;
use super::object::{join, split};
use super::{Entry, Found, Knowledge, ObjectKey, Op, Scope, StoreError, keys};
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

/// What a row begins with; the item is behind it.
#[derive(Serialize, Deserialize)]
struct Head {
    scope: Scope,
    name: String,
    resource_version: String,
    at: u64,
}

/// The names of the rows that are not needed any more.
type Gone = Vec<Vec<u8>>;

fn row_key(place: &str) -> Vec<u8> {
    keys::key(keys::HEARD, &[place])
}

impl Event {
    fn new(key: ObjectKey, item: &[u8], resource_version: String, at: u64) -> Self {
        Self { place: journal::place(&key.scope.namespace, &key.name), key, item: item.into(), resource_version, at }
    }

    fn row(&self) -> Vec<u8> {
        let ObjectKey { scope, name } = self.key.clone();
        join(&Head { scope, name, resource_version: self.resource_version.clone(), at: self.at }, &self.item)
    }

    fn of_row(key: &[u8], mut row: Vec<u8>) -> Result<Self, StoreError> {
        let Head { scope, name, resource_version, at } = split(key, &mut row)?;
        Ok(Self::new(ObjectKey { scope, name }, &row, resource_version, at))
    }

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
    fn forget_within(&mut self, prefix: &str) -> Gone {
        let gone =
            self.events.iter().filter(|event| event.place.starts_with(prefix)).map(|event| row_key(&event.place)).collect();
        self.events.retain(|event| !event.place.starts_with(prefix));
        self.bytes = self.events.iter().map(Event::bytes).sum();
        gone
    }

    fn forget(&mut self, place: &str) -> Option<Vec<u8>> {
        let index = self.events.iter().position(|event| event.place == place)?;
        let event = self.events.remove(index)?;
        self.bytes -= event.bytes();
        Some(row_key(place))
    }

    /// Whether it is kept, and what is not any more.
    fn keep(&mut self, event: Event) -> (bool, Gone) {
        // Two answers may be taken apart in the other order.
        let version = |event: &Event| version_number(&event.resource_version);
        if self.events.iter().any(|known| known.place == event.place && version(known) > version(&event)) {
            return (false, Gone::new());
        }
        let before = self.forget(&event.place);
        // An answer is taken apart a little later than it came; what was forgotten meanwhile stays so.
        let is_older = event.at <= self.forgotten_at && self.forgotten_at - event.at < LATE;
        if is_older || event.item.len() > LARGEST {
            return (false, before.into_iter().collect());
        }
        self.bytes += event.bytes();
        self.events.push_back(event);
        (true, self.trim())
    }

    fn trim(&mut self) -> Gone {
        let mut gone = Gone::new();
        while self.bytes > BYTES
            && let Some(oldest) = self.events.pop_front()
        {
            self.bytes -= oldest.bytes();
            gone.push(row_key(&oldest.place));
        }
        gone
    }
}

impl Knowledge {
    fn heard(&self) -> MutexGuard<'_, Kept> {
        self.heard.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The cloud has answered the write of an Event with this, at `at` in unix milliseconds.
    pub(super) fn hear_event(&self, key: ObjectKey, item: &[u8], resource_version: String, at: u64) {
        let event = Event::new(key, item, resource_version, at);
        let (key, row) = (row_key(&event.place), event.row());
        // Rows come in the order of what is known.
        let mut heard = self.heard();
        let (is_kept, gone) = heard.keep(event);
        self.remove_heard(gone);
        if is_kept && !self.put(key.clone(), &row) {
            // No room in the queue: what was there is of another state.
            self.delete(key, true);
        }
    }

    fn remove_heard(&self, gone: impl IntoIterator<Item = Vec<u8>>) {
        gone.into_iter().for_each(|key| self.delete(key, true));
    }

    /// They are of another history; what makes the rows go.
    pub(super) fn forget_heard(&self) -> Op {
        *self.heard() = Kept { forgotten_at: now_ms(), ..Kept::default() };
        Op::DeletePrefix(vec![keys::HEARD])
    }

    /// Reads what was known before; what is damaged is not known.
    pub(super) fn load_heard(&self) -> Result<(), StoreError> {
        let (mut events, mut damaged) = (Vec::new(), Gone::new());
        self.snapshot()?.scan(&[keys::HEARD], &mut |key, row| {
            match self.sealer().open_row(key, row.to_vec()).and_then(|row| Event::of_row(key, row)) {
                Ok(event) => events.push(event),
                Err(_) => damaged.push(key.to_vec()),
            }
            true
        })?;
        events.sort_by_key(|event| event.at);
        let mut heard = self.heard();
        heard.bytes = events.iter().map(Event::bytes).sum();
        heard.events = events.into();
        damaged.extend(heard.trim());
        self.remove_heard(damaged);
        Ok(())
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
        let gone = if key.name.is_empty() { heard.forget_within(&place) } else { heard.forget(&place).into_iter().collect() };
        self.remove_heard(gone);
    }

    /// The cloud has answered a write of it, and how it is since is not known here.
    pub(super) fn mishear_event(&self, key: &ObjectKey) {
        let mut heard = self.heard();
        let gone = heard.forget(&journal::place(&key.scope.namespace, &key.name));
        self.remove_heard(gone);
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
    use crate::store::tests::{open, settle};
    use crate::store::{Memory, Store as _};

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
    async fn the_next_process_knows_what_was_known_and_nothing_else() {
        let store = Arc::new(Memory::default());
        let knowledge = open(store.clone());
        let large = "x".repeat(1000);
        (0..400).for_each(|index| hear(&knowledge, &format!("e{index}"), &large));
        hear(&knowledge, "e399", "again");
        hear(&knowledge, "e398", &"x".repeat(LARGEST));
        knowledge.forget_event(&key("", "e397", true));
        knowledge.mishear_event(&key("", "e396", true));
        let known = |knowledge: &Knowledge| (0..400).map(|index| message(knowledge, &format!("e{index}"))).collect::<Vec<_>>();
        let before = known(&knowledge);
        assert!(before[399].as_deref() == Some("again") && before[395].is_some());
        settle(&knowledge).await;
        drop(knowledge);
        let next = open(store.clone());
        assert_eq!(known(&next), before);
        drop(next);
        let damaged = row_key("n/e395");
        assert!(store.snapshot().unwrap().read(&damaged).unwrap().is_some());
        store.apply(&[Op::Put(damaged.clone(), b"no such row".to_vec())], true).unwrap();
        let next = open(store.clone());
        let after = known(&next);
        assert!(after[395].is_none() && after[394] == before[394] && after[399] == before[399]);
        settle(&next).await;
        assert!(store.snapshot().unwrap().read(&damaged).unwrap().is_none());
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
