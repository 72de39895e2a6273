//! What a reader of the store would notice: collections are whole or as they were,
//! events apply once and in order, what was promised is there after a restart.

use std::sync::Arc;

use bytes::Bytes;

use super::knowledge::now_ms;
use super::record::watch::SILENT;
use super::record::{ListAsk, Subject, WatchAsk};
use super::*;
use crate::kube::list::Encoding;
use crate::runtime::metrics::{Metrics, Why};

mod budget;
mod busy;
mod damage;
mod durable;
mod events;
mod in_place;
mod kubelets;
mod lost;
mod sizes;
mod stand;

pub(super) fn scope() -> Scope {
    Scope {
        group: String::new(),
        version: "v1".into(),
        resource: "configmaps".into(),
        namespace: "a".into(),
        label_selector: String::new(),
        field_selector: String::new(),
        protobuf: false,
        form: String::new(),
    }
}

pub(super) fn open(store: Arc<dyn Store>) -> Arc<Knowledge> {
    open_within(store, Limits { cache_max_bytes: 1 << 20, ..Limits::default() })
}

pub(super) fn open_within(store: Arc<dyn Store>, limits: Limits) -> Arc<Knowledge> {
    let parts = Parts {
        store,
        sealer: Sealer::new(&[1; 32]),
        metrics: Arc::new(Metrics::default()),
        limits,
        tasks: tokio::runtime::Handle::current(),
    };
    Knowledge::open(parts).unwrap()
}

pub(super) fn item(name: &str, version: u64) -> String {
    format!(r#"{{"metadata":{{"name":"{name}","namespace":"a","resourceVersion":"{version}"}}}}"#)
}

pub(super) fn list_body(version: u64, names: &[&str], token: &str) -> String {
    list_of(version, names.iter().map(|name| item(name, version)), token)
}

/// The list of these items.
pub(super) fn list_of(version: u64, items: impl IntoIterator<Item = String>, token: &str) -> String {
    let items: Vec<String> = items.into_iter().collect();
    let token = if token.is_empty() { String::new() } else { format!(r#","continue":"{token}""#) };
    format!(
        r#"{{"kind":"ConfigMapList","apiVersion":"v1","metadata":{{"resourceVersion":"{version}"{token}}},"items":[{}]}}"#,
        items.join(",")
    )
}

pub(super) fn ask(token: &str) -> ListAsk {
    ListAsk { scope: scope(), continue_token: token.into(), quorum: true, reader: Reader::default(), started: 0 }
}

/// Lets the recording tasks run, then the writer; a flush that shares a commit with a
/// write that fails shares its error.
pub(super) async fn settle(knowledge: &Knowledge) {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    let _ = knowledge.flush().await;
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    let _ = knowledge.flush().await;
}

/// Returns when all that has come is taken apart and on the disk, however many turns that takes.
pub(super) async fn quiet(knowledge: &Knowledge) {
    knowledge.works.rest().await;
    settle(knowledge).await;
}

/// How many rows there are of those that begin so, and their bytes.
pub(super) fn rows_of(knowledge: &Knowledge, prefix: &[u8]) -> (u64, u64) {
    let mut rows = (0, 0);
    let count = &mut |key: &[u8], row: &[u8]| {
        rows = (rows.0 + 1, rows.1 + (key.len() + row.len()) as u64);
        true
    };
    knowledge.snapshot().unwrap().scan(prefix, count).unwrap();
    rows
}

/// Plays one case of a property.
pub(super) fn run(case: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(case);
}

pub(super) async fn record(knowledge: &Arc<Knowledge>, ask: ListAsk, body: &str, whole: bool) {
    let mut recording = knowledge.record(Subject::List(ask), false);
    for chunk in body.as_bytes().chunks(7) {
        recording.push(&Bytes::copy_from_slice(chunk));
        tokio::task::yield_now().await;
    }
    if whole {
        recording.finish()
    } else {
        drop(recording)
    }
    quiet(knowledge).await;
}

/// Version and names of what a LIST would answer now.
pub(super) fn known(knowledge: &Knowledge) -> Option<(String, Vec<String>)> {
    let view = knowledge.list(&scope()).unwrap()?;
    view.whole().unwrap();
    let mut names = Vec::new();
    view.visit(knowledge, None, &mut |_, item| {
        names.push(crate::kube::object::meta(Encoding::Json, &item).unwrap().name);
        true
    })
    .unwrap();
    Some((view.header.resource_version.clone(), names))
}

pub(super) fn names(list: &[&str]) -> Vec<String> {
    list.iter().map(|name| (*name).to_owned()).collect()
}

#[tokio::test]
async fn a_list_that_ends_early_leaves_the_earlier_collection() {
    let knowledge = open(Arc::new(Memory::default()));
    record(&knowledge, ask(""), &list_body(10, &["x", "y"], ""), true).await;
    let before = known(&knowledge).unwrap();
    assert_eq!(before, ("10".into(), names(&["x", "y"])));
    let body = list_body(20, &["x", "y", "z"], "");
    for cut in 0..body.len() {
        record(&knowledge, ask(""), &body[..cut], false).await;
        assert_eq!(known(&knowledge).unwrap(), before, "cut at {cut}");
        record(&knowledge, ask(""), &body[..cut], true).await;
        assert_eq!(known(&knowledge).unwrap(), before, "cut at {cut}, claimed whole");
    }
    record(&knowledge, ask(""), &body, true).await;
    assert_eq!(known(&knowledge).unwrap(), ("20".into(), names(&["x", "y", "z"])));
}

/// A client that has its answer may ask again at once, with the link cut in between.
#[tokio::test]
async fn what_was_seen_a_moment_ago_is_known_after_catching_up() {
    let knowledge = open(Arc::new(Memory::default()));
    let mut recording = knowledge.record(Subject::List(ask("")), false);
    recording.push(&Bytes::from(list_body(10, &["x"], "")));
    recording.finish();
    knowledge.catch_up().await.unwrap();
    assert_eq!(known(&knowledge).unwrap(), ("10".into(), names(&["x"])));
    let from = WatchAsk { scope: scope(), resource_version: "10".into(), send_initial_events: false, reader: Reader::default() };
    let mut watch = knowledge.record(Subject::Watch(from), false);
    for version in 11..14 {
        watch.push(&Bytes::from(event("MODIFIED", "x", version)));
        knowledge.catch_up().await.unwrap();
        assert_eq!(known(&knowledge).unwrap().0, version.to_string(), "while the watch goes on");
    }
}

#[tokio::test]
async fn pages_count_only_together() {
    let knowledge = open(Arc::new(Memory::default()));
    record(&knowledge, ask(""), &list_body(10, &["a", "b"], "page2"), true).await;
    assert_eq!(known(&knowledge), None);
    record(&knowledge, ask("unknown"), &list_body(10, &["z"], ""), true).await;
    assert_eq!(known(&knowledge), None, "the last page of another list");
    record(&knowledge, ask("page2"), &list_body(10, &["c"], ""), true).await;
    assert_eq!(known(&knowledge).unwrap(), ("10".into(), names(&["a", "b", "c"])));
    record(&knowledge, ask(""), &list_body(20, &["a"], "again"), true).await;
    record(&knowledge, ask("again"), &list_body(21, &["b"], ""), true).await;
    assert_eq!(known(&knowledge).unwrap().0, "10", "pages of different versions are no list");
}

/// Its other pages are asked for later, but show the state of the first.
#[tokio::test]
async fn a_list_in_pages_is_as_old_as_its_first_page() {
    let knowledge = open(Arc::new(Memory::default()));
    record(&knowledge, ask(""), &list_body(10, &["x"], ""), true).await;
    record(&knowledge, ask(""), &list_body(11, &["x"], "page2"), true).await;
    watch(&knowledge, "10", false, &event("ADDED", "y", 12)).await;
    let last = ListAsk { started: u64::MAX, ..ask("page2") };
    record(&knowledge, last, &list_body(11, &["z"], ""), true).await;
    assert_eq!(known(&knowledge).unwrap(), ("12".into(), names(&["x", "y"])));
}

#[tokio::test]
async fn a_list_that_comes_to_nothing_leaves_no_rows() {
    let knowledge = open_within(Arc::new(Memory::default()), Limits { cache_max_objects: 3, ..Limits::default() });
    record(&knowledge, ask(""), &list_body(10, &["x"], ""), true).await;
    let long = list_body(20, &["a", "b", "c", "d", "e"], "");
    let pages = list_body(21, &["a", "b"], "page2");
    let ids = |knowledge: &Knowledge| knowledge.item_ids().unwrap().len();
    record(&knowledge, ask(""), &long, true).await;
    record(&knowledge, ask(""), &long[..long.len() / 2], false).await;
    record(&knowledge, ask(""), &pages, true).await;
    assert_eq!(ids(&knowledge), 2, "a page that waits for the next one stays");
    record(&knowledge, ask("page2"), &long[..9], true).await;
    watch(&knowledge, "", true, &event("ADDED", "w", 20)).await;
    assert_eq!(ids(&knowledge), 1);
    assert_eq!(known(&knowledge).unwrap().1, names(&["x"]));
}

fn key(name: &str) -> ObjectKey {
    ObjectKey { scope: scope(), name: name.into() }
}

#[tokio::test]
async fn an_object_that_came_and_went_within_a_minute_is_gone() {
    let knowledge = open(Arc::new(Memory::default()));
    knowledge.note_absent(&key("x"));
    settle(&knowledge).await;
    // What is said in the same one is no later.
    let millisecond = now_ms();
    while now_ms() == millisecond {
        tokio::task::yield_now().await;
    }
    record(&knowledge, ask(""), &list_body(10, &["x"], ""), true).await;
    assert!(matches!(knowledge.object(&key("x")).unwrap(), Found::Object { .. }));
    knowledge.note_absent(&key("x"));
    settle(&knowledge).await;
    assert!(matches!(knowledge.object(&key("x")).unwrap(), Found::Absent { .. }));
}

#[tokio::test]
async fn an_older_list_does_not_replace_a_newer_one_unless_the_cluster_went_back() {
    let knowledge = open(Arc::new(Memory::default()));
    record(&knowledge, ask(""), &list_body(20, &["new"], ""), true).await;
    let lagging = ListAsk { quorum: false, started: u64::MAX, ..ask("") };
    record(&knowledge, lagging, &list_body(10, &["old"], ""), true).await;
    assert_eq!(known(&knowledge).unwrap().0, "20", "a lagging apiserver");
    record(&knowledge, ask(""), &list_body(10, &["old"], ""), true).await;
    assert_eq!(known(&knowledge).unwrap().0, "20", "asked before the newer one came");
    let later = ListAsk { started: u64::MAX, ..ask("") };
    record(&knowledge, later, &list_body(5, &["restored"], ""), true).await;
    assert_eq!(known(&knowledge).unwrap(), ("5".into(), names(&["restored"])), "etcd was restored");
}

pub(super) fn event(kind: &str, name: &str, version: u64) -> String {
    let object = item(name, version).replacen('{', r#"{"kind":"ConfigMap","apiVersion":"v1","#, 1);
    format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n")
}

pub(super) async fn watch(knowledge: &Arc<Knowledge>, from: &str, initial: bool, body: &str) {
    let ask = WatchAsk { scope: scope(), resource_version: from.into(), send_initial_events: initial, reader: Reader::default() };
    let mut recording = knowledge.record(Subject::Watch(ask), false);
    for chunk in body.as_bytes().chunks(11) {
        recording.push(&Bytes::copy_from_slice(chunk));
        tokio::task::yield_now().await;
    }
    settle(knowledge).await;
    drop(recording);
    settle(knowledge).await;
}

#[tokio::test]
async fn events_apply_once_in_order_and_only_without_a_gap() {
    let knowledge = open(Arc::new(Memory::default()));
    record(&knowledge, ask(""), &list_body(10, &["x", "y"], ""), true).await;
    let events = event("ADDED", "z", 11) + &event("DELETED", "x", 12) + &event("BOOKMARK", "", 15);
    watch(&knowledge, "10", false, &events).await;
    assert_eq!(known(&knowledge).unwrap(), ("15".into(), names(&["y", "z"])));
    watch(&knowledge, "10", false, &events).await;
    assert_eq!(known(&knowledge).unwrap(), ("15".into(), names(&["y", "z"])), "seen before");
    watch(&knowledge, "17", false, &event("DELETED", "y", 18)).await;
    assert_eq!(known(&knowledge).unwrap().0, "15", "16 and 17 are missing: not applied");
    watch(&knowledge, "", false, &event("DELETED", "y", 18)).await;
    assert_eq!(known(&knowledge).unwrap().0, "15", "from nowhere in particular");
    watch(&knowledge, "15", false, &(event("ADDED", "w", 16) + "{\"type\":\"ADDED\",\"obj")).await;
    assert_eq!(known(&knowledge).unwrap(), ("16".into(), names(&["w", "y", "z"])), "what came before a cut counts");
}

#[tokio::test]
async fn error_events_and_versions_out_of_order_do_no_harm() {
    let knowledge = open(Arc::new(Memory::default()));
    record(&knowledge, ask(""), &list_body(10, &["x", "y"], ""), true).await;
    let error = r#"{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"code":410}}"#;
    let events = event("ADDED", "z", 12) + &event("DELETED", "y", 11) + error + "\n" + &event("DELETED", "x", 13);
    let expected = Some(("12".into(), names(&["x", "y", "z"])));
    watch(&knowledge, "10", false, &events).await;
    assert_eq!(known(&knowledge), expected, "11 is behind 12, and nothing follows an error");
    watch(&knowledge, "12", false, &(error.to_owned() + "\n")).await;
    watch(&knowledge, "", true, &(event("ADDED", "w", 20) + error + "\n")).await;
    assert_eq!(known(&knowledge), expected, "initial events that end in an error never were");
}

#[tokio::test]
async fn initial_events_count_from_the_first_bookmark_or_change_on() {
    let knowledge = open(Arc::new(Memory::default()));
    let added = event("ADDED", "x", 3) + &event("ADDED", "y", 4);
    watch(&knowledge, "", true, &added).await;
    assert_eq!(known(&knowledge), None, "no bookmark, no collection");
    let end = r#"{"type":"BOOKMARK","object":{"kind":"ConfigMap","apiVersion":"v1","metadata":{"resourceVersion":"9","annotations":{"k8s.io/initial-events-end":"true"}}}}"#;
    watch(&knowledge, "", true, &(added.clone() + end + "\n" + &event("DELETED", "x", 12))).await;
    assert_eq!(known(&knowledge).unwrap(), ("12".into(), names(&["y"])));
    for (name, rest, version, left) in [
        ("no mark", event("BOOKMARK", "", 19), "19", ["x", "y"].as_slice()),
        ("MODIFIED", event("MODIFIED", "x", 22), "22", &["x", "y"]),
        ("DELETED", event("ADDED", "z", 30) + &event("DELETED", "x", 31) + &event("ADDED", "x", 32), "32", &["x", "y", "z"]),
    ] {
        watch(&knowledge, "", true, &(added.clone() + &rest)).await;
        assert_eq!(known(&knowledge).unwrap(), (version.into(), names(left)), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn initial_events_of_which_nothing_says_where_they_end_are_given_up() {
    let knowledge = open(Arc::new(Memory::default()));
    record(&knowledge, ask(""), &list_body(10, &["x"], ""), true).await;
    let ask = WatchAsk { scope: scope(), resource_version: String::new(), send_initial_events: true, reader: Reader::default() };
    let mut recording = knowledge.record(Subject::Watch(ask), false);
    recording.push(&Bytes::from(event("ADDED", "x", 3)));
    settle(&knowledge).await;
    tokio::time::advance(SILENT).await;
    settle(&knowledge).await;
    recording.push(&Bytes::from(event("BOOKMARK", "", 20)));
    settle(&knowledge).await;
    assert_eq!(known(&knowledge).unwrap(), ("10".into(), names(&["x"])));
    assert!(knowledge.list(&scope()).unwrap().unwrap().header.is_behind(), "its client has been told more");
}

#[tokio::test]
async fn what_was_remembered_and_promised_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.redb");
    let grant = Grant { user: "u".into(), verb: "list".into(), thing: "t".into() };
    {
        let knowledge = open(Arc::new(Disk::open(&path).unwrap().0));
        record(&knowledge, ask(""), &list_body(10, &["x"], ""), true).await;
        knowledge.grant(&grant);
        let entry = Entry::new("/e".into(), "n".into(), "application/json".into(), Credential::Node, b"{}".to_vec());
        knowledge.accept(entry.clone()).await.unwrap();
        assert!(matches!(knowledge.accept(entry).await, Err(NotAccepted::AlreadyExists)));
        knowledge.settle_disk().await.unwrap();
    }
    let mut tries = 0;
    let disk = loop {
        // The writer's thread gives the file up when it has seen its queue closed.
        match Disk::open(&path) {
            Ok((disk, aside)) => {
                assert_eq!(aside, None);
                break disk;
            }
            Err(error) => {
                tries += 1;
                assert!(tries < 1000, "{error}");
                tokio::task::yield_now().await;
                std::thread::yield_now();
            }
        }
    };
    let knowledge = open(Arc::new(disk));
    assert_eq!(known(&knowledge).unwrap(), ("10".into(), names(&["x"])));
    assert!(knowledge.granted(&grant).unwrap());
    let entries = knowledge.entries(0, 10).unwrap();
    assert_eq!(entries.len(), 1);
    knowledge.settle(entries[0].0).await.unwrap();
    assert!(knowledge.entries(0, 10).unwrap().is_empty());
}

#[tokio::test]
async fn what_the_cloud_has_refused_is_not_what_it_was_never_asked() {
    let knowledge = open(Arc::new(Memory::default()));
    let grant = Grant { user: "u".into(), verb: "get".into(), thing: "/api".into() };
    assert_eq!(knowledge.answer_to(&grant).unwrap(), None);
    for denied in [true, false, true] {
        if denied {
            knowledge.deny(&grant)
        } else {
            knowledge.grant(&grant)
        }
        knowledge.flush().await.unwrap();
        assert_eq!(knowledge.answer_to(&grant).unwrap(), Some(!denied), "the last answer counts");
        assert_eq!(knowledge.granted(&grant).unwrap(), !denied);
    }
}

#[tokio::test]
async fn an_object_is_not_overtaken_by_what_a_lagging_server_says() {
    let knowledge = open(Arc::new(Memory::default()));
    let key = ObjectKey { scope: scope(), name: "x".into() };
    let body = |version: u64| {
        format!(r#"{{"kind":"Pod","apiVersion":"v1","metadata":{{"name":"x","namespace":"a","resourceVersion":"{version}"}}}}"#)
    };
    for (version, known) in [(7, "7"), (5, "7"), (9, "9")] {
        get(&knowledge, &key, Reader::default(), &body(version)).await;
        let Found::Object { record, .. } = knowledge.object(&key).unwrap() else { panic!("it is known") };
        assert_eq!(record.resource_version, known, "after {version}");
    }
}

const DAY: u64 = 24 * 3600;
const AGES: Ages = Ages { unseen: 30 * DAY, unlisted: 90 * DAY };

async fn get(knowledge: &Arc<Knowledge>, key: &ObjectKey, reader: Reader, body: &str) {
    let mut recording = knowledge.record(Subject::Object(record::ObjectAsk { key: key.clone(), reader }), false);
    recording.push(&Bytes::copy_from_slice(body.as_bytes()));
    recording.finish();
    settle(knowledge).await;
}

const END: &str = r#"{"type":"BOOKMARK","object":{"kind":"ConfigMap","apiVersion":"v1","metadata":{"resourceVersion":"20","annotations":{"k8s.io/initial-events-end":"true"}}}}"#;

/// Keeps writes waiting until the sender is used or dropped.
fn hold(store: &Arc<Failing>) -> std::sync::mpsc::SyncSender<()> {
    let (release, released) = std::sync::mpsc::sync_channel(1);
    let (busy, is_busy) = std::sync::mpsc::sync_channel(1);
    let store = store.clone();
    std::thread::spawn(move || {
        let _hanging = store.hang.lock().unwrap();
        busy.send(()).unwrap();
        let _ = released.recv();
    });
    is_busy.recv().unwrap();
    release
}

#[derive(Default)]
struct Failing {
    /// Whoever holds it keeps writes waiting.
    hang: std::sync::Mutex<()>,
    store: Memory,
    fail: std::sync::atomic::AtomicBool,
    /// Durable commits so far.
    durable: std::sync::atomic::AtomicUsize,
    /// What was written.
    applied: std::sync::Mutex<Vec<Op>>,
}

impl Store for Failing {
    fn apply(&self, ops: &[Op], durable: bool) -> Result<(), StoreError> {
        let _turn = self.hang.lock().unwrap();
        self.durable.fetch_add(usize::from(durable), std::sync::atomic::Ordering::Relaxed);
        if self.fail.load(std::sync::atomic::Ordering::Relaxed) && !ops.is_empty() {
            return Err(StoreError::Backend("No space left on device".into()));
        }
        self.applied.lock().unwrap().extend_from_slice(ops);
        self.store.apply(ops, durable)
    }

    fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        self.store.snapshot()
    }
}

#[tokio::test]
async fn the_same_answer_again_is_known_again_after_a_404() {
    let knowledge = open(Arc::new(Memory::default()));
    let key = ObjectKey { scope: scope(), name: "x".into() };
    let body = r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"x","namespace":"a","resourceVersion":"5"}}"#;
    for size in [body.len(), 10] {
        for _ in 0..2 {
            let mut recording =
                knowledge.record(Subject::Object(record::ObjectAsk { key: key.clone(), reader: Reader::default() }), false);
            body.as_bytes().chunks(size).for_each(|data| recording.push(&Bytes::copy_from_slice(data)));
            recording.finish();
            settle(&knowledge).await;
            assert!(matches!(knowledge.object(&key).unwrap(), Found::Object { .. }));
        }
        knowledge.note_absent(&key);
        settle(&knowledge).await;
        assert!(matches!(knowledge.object(&key).unwrap(), Found::Absent { .. }));
    }
    assert_eq!(knowledge.queued.bytes(), 0, "what was gathered is no longer queued");
}

#[tokio::test]
async fn a_large_object_is_remembered_as_it_comes() {
    let knowledge = open(Arc::new(Memory::default()));
    let key = ObjectKey { scope: scope(), name: "x".into() };
    let text = "t".repeat(200_000);
    let body = format!(
        r#"{{"kind":"ConfigMap","apiVersion":"v1","metadata":{{"name":"x","namespace":"a","resourceVersion":"5"}},"data":{{"t":"{text}"}}}}"#
    );
    let mut recording =
        knowledge.record(Subject::Object(record::ObjectAsk { key: key.clone(), reader: Reader::default() }), false);
    body.as_bytes().chunks(1000).for_each(|data| recording.push(&Bytes::copy_from_slice(data)));
    recording.finish();
    settle(&knowledge).await;
    let Found::Object { item, .. } = knowledge.object(&key).unwrap() else { panic!("not remembered") };
    assert!(item.len() > text.len());
    assert_eq!(knowledge.queued.bytes(), 0);
}
