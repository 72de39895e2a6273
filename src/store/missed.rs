//! Collections that have missed something: what a watch or a list brought could not be kept, or its client has seen more than the
//! node has (the hub was killed before it was written). Such a collection says nothing wrong of its own version, but that
//! something is not in it proves nothing any more.
//!
//! Of what kubelet reads, only kubelet says what it has seen: others may say to have seen anything, and kubelet would be
//! refused its Pods. What the cloud tells them counts, whoever they are.
//!
//! Events in order or a newer list heal it. So that one comes, the next watch that goes on from beyond it is sent back
//! to list, once, kubelet's own whoever else was: a list that cannot be kept either must not keep its client from watching.
//! So is one that goes on with what damage has taken.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::writer::Batch;
use super::{Header, Knowledge, Op, Reader, Scope};

/// How long a watch waits at most for what is on its way to the store.
const PATIENCE: Duration = Duration::from_millis(300);
/// Collections that watches were sent back for; beyond this many all are forgotten.
const MOST: usize = 4096;

impl Header {
    /// Something is known to have been after its version.
    pub fn is_behind(&self) -> bool {
        self.missed > self.version_number()
    }

    /// Whether it counts what this reader says that it has seen.
    pub(super) fn believes(&self, reader: &Reader) -> bool {
        reader.node || !self.pinned
    }

    /// It was never written: what the disk has instead has missed that.
    pub(super) fn leave_mark(&self, headers: &mut HashMap<Vec<u8>, Self>) {
        if let Some(there) = headers.get_mut(&self.scope.key()) {
            there.missed = there.missed.max(self.missed).max(self.version_number());
        }
    }
}

/// For which collections a watch was sent back: one of kubelet's, and one of anybody else's.
#[derive(Default)]
pub(super) struct SentBack(Mutex<Ids>);

#[derive(Default)]
struct Ids {
    known: HashSet<(u64, bool)>,
    /// By scope those that damage has taken, for which none was sent back yet.
    lost: HashSet<(Vec<u8>, bool)>,
    /// Damage has taken all there was: for which of them one was sent back.
    of_all: Option<HashSet<(Vec<u8>, bool)>>,
}

impl SentBack {
    fn is_first(&self, id: u64, node: bool) -> bool {
        bounded(&mut self.lock().known).insert((id, node))
    }

    /// A list has changed the collection in place: one may be sent back again.
    pub(super) fn has_listed(&self, id: u64) {
        let known = &mut self.lock().known;
        known.remove(&(id, false));
        known.remove(&(id, true));
    }

    /// As [`SentBack::is_first`] is for what is known.
    fn is_first_of_lost(&self, scope: &Scope, node: bool) -> bool {
        let (mut ids, key) = (self.lock(), (scope.key(), node));
        ids.lost.remove(&key) || ids.of_all.as_mut().is_some_and(|told| bounded(told).insert(key))
    }

    /// Nothing is known of it any more, and clients that have seen something are to say it again.
    pub(super) fn forget(&self, scope: &Scope) {
        bounded(&mut self.lock().lost).extend([(scope.key(), false), (scope.key(), true)]);
    }

    /// The same of everything.
    pub(super) fn forget_all(&self) {
        *self.lock() = Ids { of_all: Some(HashSet::new()), ..Ids::default() };
    }

    fn lock(&self) -> MutexGuard<'_, Ids> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn bounded<T>(ids: &mut HashSet<T>) -> &mut HashSet<T> {
    if ids.len() >= MOST {
        ids.clear();
    }
    ids
}

impl Knowledge {
    /// Notes that there was something of this version which the collection does not have.
    pub(super) fn missed(&self, scope: &Scope, version: u64) -> Option<Op> {
        let mut catalogue = self.catalogue();
        let header = catalogue.headers.get_mut(&scope.key())?;
        if version <= header.missed.max(header.version_number()) {
            return None;
        }
        header.missed = version;
        Some(self.head_row(header))
    }

    /// The same, for who has nothing else to write.
    pub fn note_missed(&self, scope: &Scope, version: u64) {
        if self.missed(scope, version).is_some() {
            self.write_head_later(scope);
        }
    }

    pub(super) fn write_head_later(&self, scope: &Scope) {
        let Some(knowledge) = self.own.upgrade() else { return };
        let scope = scope.clone();
        self.tasks.spawn(async move { knowledge.write_head(&scope).await });
    }

    /// The same of what a reader says that it has seen.
    pub(super) fn note_seen(&self, scope: &Scope, version: u64, reader: &Reader) {
        if self.header(scope).is_some_and(|header| header.believes(reader)) {
            self.note_missed(scope, version);
        }
    }

    /// Notes that a client has a state which could not be kept: it may have more than the collection.
    pub(super) fn note_not_kept(&self, scope: &Scope, reader: &Reader) {
        if let Some(version) = self.version(scope) {
            self.note_seen(scope, version + 1, reader);
        }
    }

    /// Writes the head as it is when there is room: a list may have replaced it by then.
    async fn write_head(&self, scope: &Scope) {
        let Ok(room) = self.writer().room(0).await else { return };
        let epoch = Some(self.writer().epoch());
        if let Some(header) = self.header(scope) {
            room.send(Batch { ops: vec![self.head_row(&header)], epoch, ..Batch::default() });
        }
    }

    /// Whether a watch that goes on from `version` is to list instead, because the collection has not come so far, or was
    /// lost. `node`: it is kubelet's.
    pub async fn sends_back(&self, scope: &Scope, version: u64, node: bool) -> bool {
        let is_coming = || self.lists.has(scope);
        if self.version(scope).is_none() {
            return !is_coming() && self.sent_back.is_first_of_lost(scope, node);
        }
        let beyond = || self.header(scope).filter(|header| version > header.version_number() && !is_coming());
        if beyond().is_none() {
            return false;
        }
        // It may be on its way.
        let _ = tokio::time::timeout(PATIENCE, self.works.rest()).await;
        beyond().is_some_and(|header| self.sent_back.is_first(header.id, node))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::super::record::{ListAsk, Subject, WatchAsk};
    use super::super::tests::{ask, event, known, list_body, names, open, open_within, record, scope, settle, watch};
    use super::super::{Found, Limits, Memory, ObjectKey, Reader};
    use super::*;

    fn is_behind(knowledge: &Knowledge) -> bool {
        knowledge.list(&scope()).unwrap().unwrap().header.is_behind()
    }

    fn proves_absence(knowledge: &Knowledge) -> bool {
        let found = knowledge.object(&ObjectKey { scope: scope(), name: "unheard-of".into() });
        matches!(found.unwrap(), Found::Lacking(_))
    }

    #[tokio::test]
    async fn a_gap_is_known_until_events_or_a_list_fill_it() {
        let knowledge = open(Arc::new(Memory::default()));
        record(&knowledge, ask(""), &list_body(10, &["x"], ""), true).await;
        assert!(!is_behind(&knowledge) && proves_absence(&knowledge));
        watch(&knowledge, "12", false, &event("ADDED", "z", 13)).await;
        assert!(is_behind(&knowledge) && !proves_absence(&knowledge));
        watch(&knowledge, "10", false, &event("ADDED", "y", 11)).await;
        assert!(is_behind(&knowledge), "12 and 13 are still missing");
        let any = ListAsk { quorum: false, ..ask("") };
        record(&knowledge, any, &list_body(12, &["x", "y"], ""), true).await;
        assert!(is_behind(&knowledge), "one that need not be the newest");
        watch(&knowledge, "12", false, &event("ADDED", "z", 13)).await;
        assert!(!is_behind(&knowledge) && proves_absence(&knowledge));
        watch(&knowledge, "20", false, &event("ADDED", "w", 21)).await;
        record(&knowledge, ask(""), &list_body(22, &["x"], ""), true).await;
        assert!(!is_behind(&knowledge));
    }

    #[tokio::test]
    async fn what_a_watch_brings_too_fast_is_missed() {
        let knowledge = open_within(Arc::new(Memory::default()), Limits { queue_bytes: 4096, ..Limits::default() });
        record(&knowledge, ask(""), &list_body(10, &["x"], ""), true).await;
        let ask =
            WatchAsk { scope: scope(), resource_version: "10".into(), send_initial_events: false, reader: Reader::default() };
        let mut recording = knowledge.record(Subject::Watch(ask), false);
        for version in 11..100 {
            recording.push(&Bytes::from(event("MODIFIED", "x", version)));
        }
        drop(recording);
        settle(&knowledge).await;
        assert!(is_behind(&knowledge));
    }

    /// A list that is not remembered may be the next time; a watch that is not any more is not before it is asked for again.
    #[tokio::test]
    async fn what_a_watch_brings_has_room_beside_all_that_lists_may_take() {
        let knowledge = open_within(Arc::new(Memory::default()), Limits { queue_bytes: 4096, ..Limits::default() });
        record(&knowledge, ask(""), &list_body(10, &["x"], ""), true).await;
        let mut large = knowledge.record(Subject::List(ask("of another")), false);
        // It has not ended: what has come waits.
        let begun = list_body(20, &["y"], "").replacen("\"items\"", &format!("\"more\":\"{}\",\"items\"", "m".repeat(4000)), 1);
        large.push(&Bytes::copy_from_slice(&begun.as_bytes()[..4090]));
        watch(&knowledge, "10", false, &event("ADDED", "z", 11)).await;
        assert_eq!(known(&knowledge).unwrap(), ("11".into(), names(&["x", "z"])));
        drop(large);
        settle(&knowledge).await;
        assert!(!is_behind(&knowledge));
    }

    /// A client goes on from its list at once; the node may still be taking that apart, be it the first one or not.
    #[tokio::test]
    async fn events_wait_for_the_list_that_they_go_on_from() {
        for before in [None, Some(list_body(10, &["x"], ""))] {
            let knowledge = open(Arc::new(Memory::default()));
            if let Some(before) = &before {
                record(&knowledge, ask(""), before, true).await;
            }
            let body = list_body(20, &["x", "y"], "");
            let (first, rest) = body.split_at(body.len() / 2);
            let mut list = knowledge.record(Subject::List(ask("")), false);
            list.push(&Bytes::copy_from_slice(first.as_bytes()));
            settle(&knowledge).await;
            assert!(!knowledge.sends_back(&scope(), 20, false).await, "it is coming");
            watch_beside(&knowledge).await;
            list.push(&Bytes::copy_from_slice(rest.as_bytes()));
            list.finish();
            settle(&knowledge).await;
            assert_eq!(known(&knowledge).unwrap(), ("21".into(), names(&["x", "y", "z"])), "{before:?}");
            assert!(!is_behind(&knowledge));
        }
    }

    async fn watch_beside(knowledge: &Arc<Knowledge>) {
        let ask =
            WatchAsk { scope: scope(), resource_version: "20".into(), send_initial_events: false, reader: Reader::default() };
        let mut recording = knowledge.record(Subject::Watch(ask), false);
        recording.push(&Bytes::from(event("ADDED", "z", 21)));
        drop(recording);
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_watch_from_beyond_is_sent_back_once_for_each_list() {
        let knowledge = open(Arc::new(Memory::default()));
        assert!(!knowledge.sends_back(&scope(), 12, false).await, "nothing is known that could have a gap");
        record(&knowledge, ask(""), &list_body(10, &["x"], ""), true).await;
        assert!(!knowledge.sends_back(&scope(), 10, false).await);
        assert!(knowledge.sends_back(&scope(), 12, false).await);
        assert!(!knowledge.sends_back(&scope(), 12, false).await, "its list was not kept");
        record(&knowledge, ask(""), &list_body(13, &["x"], ""), true).await;
        assert!(!knowledge.sends_back(&scope(), 13, false).await);
        assert!(knowledge.sends_back(&scope(), 14, false).await);
    }

    #[tokio::test]
    async fn a_watch_of_what_damage_has_taken_is_sent_back_once() {
        let knowledge = open(Arc::new(Memory::default()));
        knowledge.begin_anew();
        assert!(knowledge.sends_back(&scope(), 12, false).await);
        assert!(!knowledge.sends_back(&scope(), 12, false).await, "its list was not kept");
        record(&knowledge, ask(""), &list_body(13, &["x"], ""), true).await;
        assert!(!knowledge.sends_back(&scope(), 13, false).await);
    }

    fn by_kubelet() -> ListAsk {
        ListAsk { reader: Reader { node: true, ..Reader::default() }, ..ask("") }
    }

    /// Whoever may read the same may say to have seen anything.
    #[tokio::test]
    async fn of_what_is_kubelets_others_say_nothing_but_what_the_cloud_has_told_them() {
        let knowledge = open_within(Arc::new(Memory::default()), Limits { cache_max_objects: 2, ..Limits::default() });
        record(&knowledge, by_kubelet(), &list_body(10, &["x"], ""), true).await;
        watch(&knowledge, "99", false, "").await;
        watch(&knowledge, "99", false, &event("BOOKMARK", "", 120)).await;
        watch(&knowledge, "99", false, "no event\n").await;
        watch(&knowledge, "", true, &event("UNHEARD-OF", "x", 20)).await;
        record(&knowledge, ask("of nobody's list"), &list_body(20, &["x"], ""), true).await;
        record(&knowledge, ask(""), &list_body(20, &["x", "y", "z"], ""), true).await;
        assert!(!is_behind(&knowledge));
        watch(&knowledge, "12", false, &event("ADDED", "z", 13)).await;
        assert!(is_behind(&knowledge), "there is something new");
        watch(&knowledge, "10", false, &(event("ADDED", "y", 11) + &event("ADDED", "z", 13))).await;
        assert!(!is_behind(&knowledge));
        let mut own =
            WatchAsk { scope: scope(), resource_version: "14".into(), send_initial_events: false, reader: by_kubelet().reader };
        drop(knowledge.record(Subject::Watch(own.clone()), false));
        settle(&knowledge).await;
        assert!(is_behind(&knowledge), "kubelet itself has seen it");
        own.resource_version = "13".into();
        let mut recording = knowledge.record(Subject::Watch(own), false);
        recording.push(&Bytes::from(event("BOOKMARK", "", 15)));
        drop(recording);
        settle(&knowledge).await;
        assert!(!is_behind(&knowledge));
    }

    #[tokio::test]
    async fn kubelet_is_sent_back_whoever_else_was() {
        let knowledge = open(Arc::new(Memory::default()));
        knowledge.begin_anew();
        for node in [false, true] {
            assert!(knowledge.sends_back(&scope(), 12, node).await, "what was lost");
        }
        record(&knowledge, by_kubelet(), &list_body(10, &["x"], ""), true).await;
        for node in [false, true] {
            assert!(knowledge.sends_back(&scope(), 12, node).await);
            assert!(!knowledge.sends_back(&scope(), 12, node).await, "once");
        }
    }

    #[tokio::test]
    async fn it_is_known_after_a_restart() {
        let store = Arc::new(Memory::default());
        let knowledge = open(store.clone());
        record(&knowledge, ask(""), &list_body(10, &["x"], ""), true).await;
        knowledge.note_missed(&scope(), 11);
        settle(&knowledge).await;
        assert!(is_behind(&open(store)));
    }
}
