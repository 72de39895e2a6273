//! Events that wait for delivery, and changes of them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::*;

fn entry(name: &str) -> Entry {
    Entry::new("/e".into(), name.into(), "application/json".into(), Credential::Node, b"{}".to_vec())
}

/// A file that was found damaged.
#[derive(Default)]
struct Damaged {
    store: Memory,
    found: std::sync::atomic::AtomicBool,
}

impl Store for Damaged {
    fn apply(&self, ops: &[Op], durable: bool) -> Result<(), StoreError> {
        if self.found.load(Ordering::Relaxed) {
            return Err(StoreError::Unreadable("damaged".into()));
        }
        self.store.apply(ops, durable)
    }

    fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        self.store.snapshot()
    }
}

#[tokio::test]
async fn an_event_is_not_delivered_again_because_a_damaged_file_cannot_be_told() {
    let store = Arc::new(Damaged::default());
    let knowledge = open(store.clone());
    knowledge.accept(entry("e")).await.unwrap();
    let (sequence, _) = knowledge.entries(0, 1).unwrap().pop().unwrap();
    store.found.store(true, Ordering::Relaxed);
    knowledge.settle(sequence).await.unwrap();
    assert!(knowledge.entries(0, 1).unwrap().is_empty());
    assert_eq!(open(store).entries(0, 9).unwrap().len(), 1, "a restart delivers it once more, for nobody can tell");
}

#[tokio::test]
async fn a_full_journal_keeps_what_it_has_and_refuses_more() {
    let knowledge = open_within(Arc::new(Memory::default()), Limits { journal_entries: 2, ..Limits::default() });
    let waiting = || {
        let entries = knowledge.entries(0, 9).unwrap();
        (entries[0].0, entries.into_iter().map(|(_, entry)| entry.name).collect::<Vec<_>>())
    };
    for name in ["a", "b"] {
        knowledge.accept(entry(name)).await.unwrap();
    }
    assert!(matches!(knowledge.accept(entry("b")).await, Err(NotAccepted::AlreadyExists)));
    assert!(matches!(knowledge.accept(entry("c")).await, Err(NotAccepted::Full(2))));
    let full = Why { reason: "journal full" };
    assert_eq!(knowledge.metrics().events_dropped.get_or_create(&full).get(), 1);
    let (oldest, names) = waiting();
    assert_eq!(names, ["a", "b"]);
    knowledge.settle(oldest).await.unwrap();
    knowledge.accept(entry("c")).await.unwrap();
    assert_eq!(waiting().1, ["b", "c"], "there is room again");
}

/// What the cloud has forgotten after an hour anyway is worth less than what happens now; what is younger was promised.
#[tokio::test]
async fn in_a_full_journal_what_has_waited_for_more_than_a_day_makes_room() {
    let sized = |name: &str, days_old: u64, bytes: usize| {
        let mut entry = Entry::new("/e".into(), name.into(), "application/json".into(), Credential::Node, vec![b' '; bytes]);
        entry.at -= days_old * 24 * 3600;
        entry
    };
    let limits = Limits { journal_entries: 3, journal_bytes: 1100, ..Limits::default() };
    let store = Arc::new(Memory::default());
    let knowledge = open_within(store.clone(), limits);
    let names = |knowledge: &Knowledge| {
        let entries = knowledge.entries(0, 9).unwrap();
        entries.into_iter().map(|(_, entry)| entry.name).collect::<Vec<_>>().concat()
    };
    let dropped = |reason| knowledge.metrics().events_dropped.get_or_create(&Why { reason }).get();
    for (entry, waiting) in [
        (sized("a", 2, 300), "a"),
        (sized("b", 1, 300), "ab"),
        (sized("c", 0, 300), "abc"),
        (sized("d", 0, 300), "bcd"),
        (sized("e", 0, 500), "bcd"),
        (sized("f", 0, 400), "cdf"),
        (sized("g", 0, 1), "cdf"),
    ] {
        let name = entry.name.clone();
        let accepted = knowledge.accept(entry).await;
        assert_eq!(accepted.is_ok(), waiting.contains(&name), "{name}");
        assert!(matches!(accepted, Ok(()) | Err(NotAccepted::Full(3))));
        assert_eq!(names(&knowledge), waiting, "{name}");
        assert_eq!(names(&open_within(store.clone(), limits)), waiting, "{name}, on the disk");
    }
    assert_eq!((dropped("too old"), dropped("journal full")), (2, 2));
    let (oldest, _) = knowledge.entries(0, 1).unwrap().pop().unwrap();
    knowledge.settle(oldest).await.unwrap();
    // By a clock that was ahead.
    let mut ahead = sized("h", 0, 100);
    ahead.at += 365 * 24 * 3600;
    knowledge.accept(ahead).await.unwrap();
    assert_eq!(names(&knowledge), "dfh", "there is room again");
    for (days_old, name, waiting) in [(0, "i", "dfh"), (2, "j", "dfh")] {
        assert!(knowledge.accept(sized(name, days_old, 1)).await.is_err());
        assert_eq!(names(&knowledge), waiting);
    }
    let mut tomorrow = sized("k", 0, 1);
    tomorrow.at += 25 * 3600;
    knowledge.accept(tomorrow).await.unwrap();
    assert_eq!(names(&knowledge), "fhk", "what is old goes, and not what seems to be of next year");
}

#[tokio::test]
async fn what_would_make_room_stays_if_the_disk_takes_nothing_new() {
    let store = Arc::new(Failing::default());
    let knowledge = open_within(store.clone(), Limits { journal_entries: 1, ..Limits::default() });
    let mut old = entry("old");
    old.at -= 2 * 24 * 3600;
    knowledge.accept(old).await.unwrap();
    for (fails, left) in [(true, "old"), (false, "new")] {
        store.fail.store(fails, Ordering::Relaxed);
        assert_eq!(knowledge.accept(entry("new")).await.is_err(), fails);
        store.fail.store(false, Ordering::Relaxed);
        let names: Vec<_> = knowledge.entries(0, 9).unwrap().into_iter().map(|(_, entry)| entry.name).collect();
        assert_eq!(names, [left]);
    }
}

/// Who goes away while the disk is busy may come again, and is told what has become of it.
#[tokio::test]
async fn an_event_whose_author_went_away_is_kept_or_not_and_never_in_between() {
    for fails in [false, true] {
        let store = Arc::new(Failing::default());
        let knowledge = open(store.clone());
        let busy = hold(&store);
        let mut accepting = Box::pin(knowledge.accept(entry("e")));
        assert!(futures_util::poll!(&mut accepting).is_pending());
        // It is on its way to the disk.
        tokio::task::yield_now().await;
        drop(accepting);
        store.fail.store(fails, Ordering::Relaxed);
        drop(busy);
        settle(&knowledge).await;
        store.fail.store(false, Ordering::Relaxed);
        let again = knowledge.accept(entry("e")).await;
        assert_eq!(matches!(again, Err(NotAccepted::AlreadyExists)), !fails);
        assert_eq!(knowledge.entries(0, 9).unwrap().len(), 1);
    }
}

const EVENTS: &str = "/api/v1/namespaces/n/events";

fn create(name: &str) -> Entry {
    Entry::new(EVENTS.into(), name.into(), "application/json".into(), Credential::Node, b"{}".to_vec())
}

fn change_by(credential: Credential, name: &str, patch: &str) -> Entry {
    let kind = "application/strategic-merge-patch+json";
    Entry::change(format!("{EVENTS}/{name}"), name.into(), kind.into(), credential, patch.as_bytes().to_vec())
}

fn change(name: &str, count: u64) -> Entry {
    change_by(Credential::Node, name, &format!(r#"{{"count":{count}}}"#))
}

/// What waits, in order: of which Event, and of a change how often that has happened.
fn waiting(knowledge: &Knowledge) -> Vec<(String, Option<u64>)> {
    let count = |entry: &Entry| serde_json::from_slice::<serde_json::Value>(&entry.body).unwrap()["count"].as_u64();
    let entries = knowledge.entries(0, 99).unwrap();
    entries.into_iter().map(|(_, entry)| (entry.name.clone(), count(&entry))).collect()
}

#[tokio::test]
async fn changes_of_an_event_wait_as_one_behind_it() {
    let store = Arc::new(Memory::default());
    let knowledge = open(store.clone());
    knowledge.accept(create("e")).await.unwrap();
    knowledge.accept(change("e", 2)).await.unwrap();
    knowledge.accept(create("f")).await.unwrap();
    let patch = r#"{"message":"three","series":{"count":3}}"#;
    knowledge.accept(change_by(Credential::Node, "e", patch)).await.unwrap();
    knowledge.accept(change("e", 3)).await.unwrap();
    let all = [("e".to_owned(), None), ("f".to_owned(), None), ("e".to_owned(), Some(3))];
    for knowledge in [knowledge, open(store)] {
        assert_eq!(waiting(&knowledge), all);
        let (_, entry) = knowledge.entries(0, 9).unwrap().pop().unwrap();
        let sent: serde_json::Value = serde_json::from_slice(&entry.body).unwrap();
        assert_eq!(sent, serde_json::json!({"count": 3, "message": "three", "series": {"count": 3}}));
    }
}

/// One client's word is not sent with another's credential, nor in an API that calls the fields otherwise.
#[tokio::test]
async fn changes_of_two_clients_are_not_made_one() {
    let knowledge = open(Arc::new(Memory::default()));
    knowledge.accept(change("e", 2)).await.unwrap();
    let others = change_by(Credential::Token("t".into()), "e", r#"{"count":9}"#);
    assert!(matches!(knowledge.accept(others).await, Err(NotAccepted::Anothers)));
    let mut elsewhere = change_by(Credential::Node, "e", r#"{"series":{"count":9}}"#);
    elsewhere.target = elsewhere.target.replace("/api/v1", "/apis/events.k8s.io/v1");
    assert!(matches!(knowledge.accept(elsewhere).await, Err(NotAccepted::Anothers)));
    assert_eq!(waiting(&knowledge), [("e".to_owned(), Some(2))]);
}

#[tokio::test]
async fn a_full_journal_takes_a_change_on_top_of_one_that_waits() {
    let knowledge = open_within(Arc::new(Memory::default()), Limits { journal_entries: 1, ..Limits::default() });
    knowledge.accept(change("e", 2)).await.unwrap();
    knowledge.accept(change("e", 3)).await.unwrap();
    assert!(matches!(knowledge.accept(change("f", 2)).await, Err(NotAccepted::Full(1))));
    assert_eq!(waiting(&knowledge), [("e".to_owned(), Some(3))]);
}

/// What is delivered while a later one is on its way to the disk takes nothing of that with it.
#[tokio::test]
async fn a_change_that_comes_while_the_one_before_is_delivered_is_kept() {
    let store = Arc::new(Failing::default());
    let knowledge = open(store.clone());
    knowledge.accept(change("e", 2)).await.unwrap();
    let (before, _) = knowledge.entries(0, 1).unwrap().pop().unwrap();
    let busy = hold(&store);
    let later = tokio::spawn({
        let knowledge = knowledge.clone();
        async move { knowledge.accept(change("e", 3)).await }
    });
    let settled = tokio::spawn({
        let knowledge = knowledge.clone();
        async move { knowledge.settle(before).await }
    });
    tokio::task::yield_now().await;
    drop(busy);
    later.await.unwrap().unwrap();
    settled.await.unwrap().unwrap();
    assert_eq!(waiting(&knowledge), [("e".to_owned(), Some(3))]);
    let (sequence, _) = knowledge.entries(0, 1).unwrap().pop().unwrap();
    knowledge.settle(sequence).await.unwrap();
    assert_eq!(knowledge.metrics().journal_entries.get(), 0, "nothing is left of either");
}

fn key(name: &str) -> ObjectKey {
    let scope = Scope { version: "v1".into(), resource: "events".into(), namespace: "n".into(), ..Scope::default() };
    ObjectKey { scope, name: name.to_owned() }
}

/// At once, whatever the disk does: it may have been read already to be delivered.
#[tokio::test]
async fn what_the_cloud_has_been_told_since_overtakes_what_waits_and_nothing_that_came_after() {
    let store = Arc::new(Failing::default());
    let knowledge = open(store.clone());
    let before = Instant::now().checked_sub(Duration::from_secs(1)).unwrap();
    knowledge.accept(create("e")).await.unwrap();
    knowledge.accept(change("e", 2)).await.unwrap();
    let (sequence, _) = knowledge.entries(0, 9).unwrap().pop().unwrap();
    knowledge.overtake_change(&key("e"), before);
    assert!(knowledge.waits(sequence), "it was accepted later");
    store.fail.store(true, Ordering::Relaxed);
    knowledge.overtake_change(&key("f"), Instant::now());
    knowledge.overtake_change(&key("e"), Instant::now());
    knowledge.overtake_change(&key("e"), Instant::now());
    assert!(!knowledge.waits(sequence));
    assert_eq!(knowledge.metrics().events_dropped.get_or_create(&Why { reason: "overtaken" }).get(), 1);
    settle(&knowledge).await;
    assert_eq!(waiting(&knowledge), [("e".to_owned(), None)]);
    assert_eq!(waiting(&open(store.clone())).len(), 2, "the disk has not been told");
    store.fail.store(false, Ordering::Relaxed);
    let (created, _) = knowledge.entries(0, 9).unwrap().pop().unwrap();
    knowledge.settle(created).await.unwrap();
    assert!(waiting(&open(store)).is_empty(), "with the next one it is");
}

#[derive(Debug, Clone)]
enum Step {
    Create(&'static str),
    Change(&'static str),
    /// The oldest of those that were read is in the cloud.
    Deliver,
    /// The cloud is told of the same Event itself.
    Online(&'static str),
    Fail,
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let name = || prop::sample::select(vec!["a", "b", "c"]);
    let step = prop_oneof![
        2 => name().prop_map(Step::Create),
        5 => name().prop_map(Step::Change),
        3 => Just(Step::Deliver),
        1 => name().prop_map(Step::Online),
        1 => Just(Step::Fail),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..40)
}

/// Whatever happens, what was acknowledged comes to the cloud, and the last that it hears of each Event is the last that was
/// acknowledged.
#[test]
fn what_was_acknowledged_of_an_event_is_delivered_in_order_and_its_last_change_last() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let config = Config { cases: 128, ..Config::default() };
    let result = TestRunner::new(config).run(&steps(), |steps| {
        runtime.block_on(run(steps));
        Ok(())
    });
    result.unwrap();
}

async fn run(steps: Vec<Step>) {
    let store = Arc::new(Failing::default());
    let mut knowledge = open(store.clone());
    let (mut count, mut acknowledged) = (0, BTreeMap::new());
    let mut cloud: BTreeMap<String, Option<u64>> = BTreeMap::new();
    let mut page = VecDeque::new();
    for step in steps.into_iter().chain(std::iter::repeat_n(Step::Deliver, 40)) {
        match step {
            Step::Create(name) => match knowledge.accept(create(name)).await {
                Ok(()) => drop(acknowledged.entry(name.to_owned()).or_insert(None)),
                Err(error) => assert!(matches!(error, NotAccepted::AlreadyExists), "{error}"),
            },
            Step::Change(name) => {
                count += 1;
                knowledge.accept(change(name, count)).await.unwrap();
                acknowledged.insert(name.to_owned(), Some(count));
            }
            Step::Deliver => {
                page.retain(|(sequence, _)| knowledge.waits(*sequence));
                if page.is_empty() {
                    page.extend(knowledge.entries(0, 9).unwrap());
                }
                let Some((sequence, entry)) = page.pop_front() else { continue };
                let body: serde_json::Value = serde_json::from_slice(&entry.body).unwrap();
                let said = cloud.entry(entry.name.clone()).or_default();
                if entry.is_change {
                    assert!(*said < body["count"].as_u64(), "it goes on");
                    *said = body["count"].as_u64();
                }
                knowledge.settle(sequence).await.unwrap();
            }
            Step::Online(name) => {
                count += 1;
                knowledge.overtake_change(&key(name), Instant::now());
                cloud.insert(name.to_owned(), Some(count));
                acknowledged.insert(name.to_owned(), Some(count));
            }
            Step::Fail => {
                settle(&knowledge).await;
                store.fail.store(true, Ordering::Relaxed);
                assert!(knowledge.accept(change("a", 0)).await.is_err());
                store.fail.store(false, Ordering::Relaxed);
            }
            Step::Restart => {
                settle(&knowledge).await;
                (knowledge, page) = (open(store.clone()), VecDeque::new());
            }
        }
        let entries = knowledge.entries(0, 99).unwrap();
        let kinds: BTreeSet<_> = entries.iter().map(|(_, entry)| (&entry.name, entry.is_change)).collect();
        assert_eq!(kinds.len(), entries.len(), "of each Event one, and one change");
    }
    assert_eq!(cloud, acknowledged);
    assert_eq!(knowledge.metrics().journal_entries.get(), 0);
}
