//! The last events of all collections, in memory: who stands a little behind one is led up to where it is.
//!
//! Several clients watch the same, each from where it stands; what one of them has been told is in the collection, and the
//! others may lose their connection just before. Where a list was compared with what was known before, their difference is such
//! an event; a list of the same is one in which nothing has happened. Each says which state it has changed, so that another
//! list, an event that was not kept or one that did not come to the disk breaks the trail, and whoever asks is told that it is
//! not known. An orderly end of the hub leaves it to the next process ([`kept`]).

mod kept;

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Header, Knowledge, Scope};
use crate::kube::watch::EventType;

/// Bytes of all of them.
const MOST: usize = 128 * 1024;
/// Bytes of an event's item.
const LARGEST: usize = MOST / 4;
/// Bytes of all that a list has shown to have happened.
const LARGEST_DIFFERENCE: usize = MOST / 2;
/// Events among which one of the same item is looked for: watches of the same objects are told of them together.
const ALIKE: usize = 64;

/// What has happened to an item of a collection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happened {
    pub kind: EventType,
    /// In item form.
    pub item: Vec<u8>,
}

#[derive(Default)]
pub(super) struct Trail(Mutex<Events>);

#[derive(Default)]
struct Events {
    events: VecDeque<Event>,
    bytes: usize,
}

struct Event {
    /// The collection's key.
    of: Vec<u8>,
    /// The versions at which it was not yet so.
    before: RangeInclusive<u64>,
    /// The version from which on it was.
    to: u64,
    happened: Vec<Kept>,
}

struct Kept {
    kind: EventType,
    /// What several collections have is kept once.
    item: Arc<[u8]>,
}

impl Event {
    /// Of what others have as well none.
    fn bytes(&self) -> usize {
        let own = |kept: &Kept| if Arc::strong_count(&kept.item) == 1 { kept.item.len() } else { 0 };
        self.bytes_without_items() + self.happened.iter().map(own).sum::<usize>()
    }

    fn bytes_without_items(&self) -> usize {
        size_of::<Self>() + self.of.len() + self.happened.len() * size_of::<Kept>()
    }
}

impl Events {
    /// The item, as an event of the same moment has it if there is one.
    fn shared(&self, version: u64, item: &[u8]) -> Arc<[u8]> {
        let same = self.events.iter().rev().take(ALIKE).filter(|event| event.to == version).flat_map(|event| &event.happened);
        let found = same.map(|kept| &kept.item).find(|kept| kept[..] == *item);
        found.cloned().unwrap_or_else(|| item.into())
    }

    fn push(&mut self, event: Event) {
        self.bytes += event.bytes();
        self.events.push_back(event);
        self.trim();
    }

    fn trim(&mut self) {
        while self.bytes > MOST
            && let Some(oldest) = self.events.pop_front()
        {
            self.bytes -= oldest.bytes();
        }
    }
}

impl Trail {
    /// An event is about to change the collection with this head.
    pub(super) fn note(&self, before: &Header, version: u64, kind: EventType, item: &[u8]) {
        if item.len() <= LARGEST {
            self.note_all(before, version.saturating_sub(1), version, &[(kind, item)]);
        }
    }

    /// `until`: the last version at which it is known to have been as it was before.
    fn note_all(&self, header: &Header, until: u64, version: u64, happened: &[(EventType, &[u8])]) {
        if happened.iter().map(|(_, item)| item.len()).sum::<usize>() > LARGEST_DIFFERENCE {
            return;
        }
        let mut known = self.lock();
        let kept = |(kind, item): &(EventType, &[u8])| Kept { kind: *kind, item: known.shared(version, item) };
        let happened = happened.iter().map(kept).collect();
        known.push(Event { of: header.scope.key(), before: header.changed_at()..=until, to: version, happened });
    }

    /// The cluster's history is another one: its versions say nothing any more.
    pub(super) fn forget(&self) {
        *self.lock() = Events::default();
    }

    fn lock(&self) -> MutexGuard<'_, Events> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn since(&self, header: &Header, version: u64) -> Option<Vec<Happened>> {
        let (known, key) = (self.lock(), header.scope.key());
        let (mut at, mut back) = (header.changed_at()..=header.version_number(), Vec::new());
        // Not as they were noted: a list's difference is compared while watches bring more. One that leads to an earlier version,
        // in a cluster that has gone back, is a dead end.
        let mut own: Vec<&Event> = known.events.iter().filter(|event| event.of == key).collect();
        own.sort_by_key(|event| event.to);
        for event in own.into_iter().rev() {
            if *at.start() <= version {
                break;
            }
            // One that leads elsewhere is of a list that did not become the collection.
            if event.to != *at.start() {
                continue;
            }
            at = event.before.clone();
            back.extend(event.happened.iter().rev().map(|kept| Happened { kind: kept.kind, item: kept.item.to_vec() }));
        }
        back.reverse();
        at.contains(&version).then_some(back)
    }
}

impl Knowledge {
    /// The versions at which a collection is known to have been as it is.
    pub fn stands(&self, scope: &Scope) -> Option<RangeInclusive<u64>> {
        self.header(scope).map(|header| header.changed_at()..=header.version_number())
    }

    /// What has happened to a collection since it was of this version, in order; `None`: that is not known.
    pub fn since(&self, header: &Header, version: u64) -> Option<Vec<Happened>> {
        self.trail.since(header, version)
    }

    /// A list of this version shows what has happened to a collection since it had this head.
    pub fn note_difference(&self, before: &Header, version: u64, happened: &[Happened]) {
        let happened: Vec<_> = happened.iter().map(|happened| (happened.kind, &happened.item[..])).collect();
        self.trail.note_all(before, before.version_number(), version, &happened);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::record::{ListAsk, Subject, WatchAsk};
    use super::super::tests::{ask, event, item, list_body, open, record, scope, settle, watch};
    use super::super::{Memory, Reader, Scope};
    use super::*;

    /// What leads up to what there is.
    fn since(knowledge: &Knowledge, version: u64) -> Option<Vec<String>> {
        let header = knowledge.list(&scope()).unwrap().unwrap().header;
        let text = |happened: &Happened| {
            let item: serde_json::Value = serde_json::from_slice(&happened.item).unwrap();
            let metadata = &item["metadata"];
            let text = |name: &str| metadata[name].as_str().unwrap().to_owned();
            format!("{} {}@{}", happened.kind.as_str(), text("name"), text("resourceVersion"))
        };
        knowledge.since(&header, version).map(|events| events.iter().map(text).collect())
    }

    #[tokio::test]
    async fn whoever_stands_behind_is_led_on_as_far_as_events_are_known() {
        let knowledge = open(Arc::new(Memory::default()));
        record(&knowledge, ask(""), &list_body(10, &["x"], ""), true).await;
        assert_eq!(since(&knowledge, 10), Some(Vec::new()));
        let events = [event("ADDED", "y", 12), event("BOOKMARK", "", 15), event("MODIFIED", "x", 17), event("DELETED", "y", 19)];
        watch(&knowledge, "10", false, &events.concat()).await;
        let all = ["ADDED y@12", "MODIFIED x@17", "DELETED y@19"].map(str::to_owned);
        assert_eq!((since(&knowledge, 9), since(&knowledge, 20)), (None, None), "nobody knows, and not yet");
        for (version, told) in [(10, 0), (11, 0), (12, 1), (15, 1), (16, 1), (17, 2), (19, 3)] {
            assert_eq!(since(&knowledge, version).as_deref(), Some(&all[told..]), "{version}");
        }
        // What comes now has not seen what was before it.
        watch(&knowledge, "30", false, &event("ADDED", "z", 31)).await;
        assert_eq!(since(&knowledge, 10).as_deref(), Some(&all[..]));
        record(&knowledge, ask(""), &list_body(40, &["x"], ""), true).await;
        assert_eq!(since(&knowledge, 19), None, "a list says nothing of what was before it");
        watch(&knowledge, "40", false, &event("MODIFIED", "x", 41)).await;
        assert_eq!(since(&knowledge, 40), Some(vec!["MODIFIED x@41".to_owned()]));
        // Somebody compares the next list with this state.
        let before = knowledge.list(&scope()).unwrap().unwrap().header;
        record(&knowledge, ask(""), &list_body(50, &["x", "z"], ""), true).await;
        let happened = ["x", "z"].map(|name| Happened { kind: EventType::Modified, item: item(name, 50).into() });
        knowledge.note_difference(&before, 50, &happened);
        assert_eq!(since(&knowledge, 40).unwrap(), ["MODIFIED x@41", "MODIFIED x@50", "MODIFIED z@50"]);
        assert_eq!(since(&knowledge, 41).unwrap(), ["MODIFIED x@50", "MODIFIED z@50"]);
        assert_eq!(since(&knowledge, 45), None, "who stands between the two states may have been told some of it");
        // While a list is compared watches bring more, beside it or behind it.
        let before = knowledge.list(&scope()).unwrap().unwrap().header;
        watch(&knowledge, "50", false, &(event("DELETED", "z", 52) + &event("MODIFIED", "x", 54))).await;
        knowledge.note_difference(&before, 53, &[Happened { kind: EventType::Deleted, item: item("z", 53).into() }]);
        assert_eq!(since(&knowledge, 50).unwrap(), ["DELETED z@52", "MODIFIED x@54"]);
        let before = knowledge.list(&scope()).unwrap().unwrap().header;
        record(&knowledge, ask(""), &list_body(60, &["x"], ""), true).await;
        watch(&knowledge, "60", false, &event("MODIFIED", "x", 61)).await;
        knowledge.note_difference(&before, 60, &[]);
        assert_eq!(since(&knowledge, 50).unwrap(), ["DELETED z@52", "MODIFIED x@54", "MODIFIED x@61"]);
        knowledge.trail.forget();
        assert_eq!(since(&knowledge, 50), None);
    }

    /// The same object in many collections, as kubelet's, a Pod's of its namespace and another one's are.
    #[tokio::test]
    async fn what_several_collections_have_takes_its_room_once() {
        let knowledge = open(Arc::new(Memory::default()));
        let scopes: Vec<_> = (0..8).map(|number| Scope { label_selector: format!("!not-{number}"), ..scope() }).collect();
        for scope in &scopes {
            record(&knowledge, ListAsk { scope: scope.clone(), ..ask("") }, &list_body(10, &["x"], ""), true).await;
        }
        let text = format!(r#""text":"{}","metadata""#, "x".repeat(MOST / 16));
        let large = |version| event("MODIFIED", "x", version).replace(r#""metadata""#, &text);
        let tell = |scope: &Scope, version: u64| {
            let (scope, resource_version) = (scope.clone(), (version - 1).to_string());
            let ask = WatchAsk { scope, resource_version, send_initial_events: false, reader: Reader::default() };
            knowledge.record(Subject::Watch(ask), false).push(&Bytes::from(large(version)));
        };
        let bytes = || knowledge.trail.lock().bytes;
        let lacks = |scope| knowledge.since(&knowledge.header(scope).unwrap(), 10).map(|happened| happened.len());
        let known = |events| scopes.iter().filter(|scope| lacks(scope) == Some(events)).count();
        for version in 11..22 {
            scopes.iter().for_each(|scope| tell(scope, version));
            settle(&knowledge).await;
            assert_eq!(known(version as usize - 10), scopes.len(), "{version}: {} bytes", bytes());
        }
        for version in 22..60 {
            tell(&scopes[0], version);
            settle(&knowledge).await;
        }
        assert_eq!(scopes.iter().filter_map(lacks).count(), 0);
        let kept: usize = knowledge.trail.lock().events.iter().map(Event::bytes).sum();
        assert_eq!(bytes(), kept, "what the last of them has had is given back");
    }

    #[tokio::test]
    async fn what_is_kept_of_them_is_bounded() {
        let knowledge = open(Arc::new(Memory::default()));
        record(&knowledge, ask(""), &list_body(10, &["x"], ""), true).await;
        let text = "x".repeat(MOST / 16);
        let large = |version| event("MODIFIED", "x", version).replace(r#""metadata""#, &format!(r#""text":"{text}","metadata""#));
        for version in 11..60 {
            watch(&knowledge, &(version - 1).to_string(), false, &large(version)).await;
        }
        assert!(knowledge.trail.0.lock().unwrap().bytes <= MOST);
        assert_eq!((since(&knowledge, 10), since(&knowledge, 50).map(|events| events.len())), (None, Some(9)));
        let larger = large(60).replace(&text, &text.repeat(5));
        watch(&knowledge, "59", false, &(larger + &event("MODIFIED", "x", 61))).await;
        assert_eq!((since(&knowledge, 59), since(&knowledge, 60).map(|events| events.len())), (None, Some(1)));
    }
}
