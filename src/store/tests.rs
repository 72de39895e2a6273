//! What a reader of the store would notice: collections are whole or as they were,
//! events apply once and in order, what was promised is there after a restart.

use std::sync::Arc;

use bytes::Bytes;

use super::knowledge::now_ms;
use super::record::{ListAsk, Subject, WatchAsk};
use super::*;
use crate::kube::list::Encoding;
use crate::runtime::metrics::{Metrics, Why};

mod busy;
mod durable;
mod kubelets;
mod sizes;

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
    let items: Vec<String> = names.iter().map(|name| item(name, version)).collect();
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
    settle(knowledge).await;
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

/// A slow link: others have listed much before it ends.
#[tokio::test]
async fn a_sweep_leaves_what_is_still_arriving() {
    let knowledge = open_within(Arc::new(Memory::default()), Limits::default());
    let long: Vec<String> = (0..300).map(|index| format!("{}-{index:03}", "n".repeat(1000))).collect();
    let long: Vec<&str> = long.iter().map(String::as_str).collect();
    let mut in_pages = knowledge.record(Subject::List(ask("")), false);
    in_pages.push(&Bytes::from(list_body(10, &long, "page2")));
    in_pages.finish();
    sweep_behind_many_lists(&knowledge).await;
    record(&knowledge, ask("page2"), &list_body(10, &["z"], ""), true).await;
    assert_eq!(known(&knowledge).unwrap().1.len(), long.len() + 1, "in pages");

    let body = list_body(20, &long, "");
    let (first, rest) = body.split_at(body.len() - 10);
    let mut slow = knowledge.record(Subject::List(ask("")), false);
    slow.push(&Bytes::copy_from_slice(first.as_bytes()));
    sweep_behind_many_lists(&knowledge).await;
    slow.push(&Bytes::copy_from_slice(rest.as_bytes()));
    slow.finish();
    settle(&knowledge).await;
    assert_eq!(known(&knowledge).unwrap(), ("20".into(), names(&long)));
}

async fn sweep_behind_many_lists(knowledge: &Arc<Knowledge>) {
    settle(knowledge).await;
    for version in 1..=65 {
        let other = ListAsk { scope: Scope { namespace: "other".into(), ..scope() }, ..ask("") };
        record(knowledge, other, &list_body(version, &["x"], ""), true).await;
    }
    knowledge.sweep(|_| false).await.unwrap();
    settle(knowledge).await;
}

/// Pages that nobody goes on with are remains once they are given up.
#[tokio::test]
async fn a_sweep_takes_pages_that_are_given_up() {
    let knowledge = open(Arc::new(Memory::default()));
    record(&knowledge, ask(""), &list_body(10, &["x"], "page2"), true).await;
    knowledge.sweep(|_| false).await.unwrap();
    settle(&knowledge).await;
    assert_eq!(knowledge.item_ids().unwrap().len(), 1);
    knowledge.pages.give_up(std::time::Instant::now() + std::time::Duration::from_secs(600));
    knowledge.sweep(|_| false).await.unwrap();
    settle(&knowledge).await;
    assert!(knowledge.item_ids().unwrap().is_empty());
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
async fn damage_that_a_get_meets_is_taken_out_and_what_is_whole_answers() {
    let store: Arc<dyn Store> = Arc::new(Memory::default());
    let knowledge = open(store.clone());
    let harm = |row_key: Vec<u8>| {
        let mut row = store.snapshot().unwrap().read(&row_key).unwrap().unwrap();
        row[3] ^= 1;
        store.apply(&[Op::Put(row_key, row)], true).unwrap();
    };
    record(&knowledge, ask(""), &list_body(10, &["x", "y"], ""), true).await;
    knowledge.note_absent(&key("x"));
    settle(&knowledge).await;
    harm(key("x").key());
    assert!(matches!(knowledge.object(&key("x")).unwrap(), Found::Object { .. }), "of the collection");
    settle(&knowledge).await;
    assert_eq!(store.snapshot().unwrap().read(&key("x").key()).unwrap(), None);
    harm(keys::item(knowledge.list(&scope()).unwrap().unwrap().header.id, "a", "x"));
    assert!(matches!(knowledge.object(&key("x")).unwrap(), Found::Unknown));
    settle(&knowledge).await;
    assert_eq!(known(&knowledge), None);
    assert_eq!(knowledge.metrics().damaged_records.get(), 2);
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
async fn initial_events_count_from_their_bookmark_on() {
    let knowledge = open(Arc::new(Memory::default()));
    let added = event("ADDED", "x", 3) + &event("ADDED", "y", 4);
    watch(&knowledge, "", true, &added).await;
    assert_eq!(known(&knowledge), None, "no bookmark, no collection");
    let end = r#"{"type":"BOOKMARK","object":{"kind":"ConfigMap","apiVersion":"v1","metadata":{"resourceVersion":"9","annotations":{"k8s.io/initial-events-end":"true"}}}}"#;
    watch(&knowledge, "", true, &(added + end + "\n" + &event("DELETED", "x", 12))).await;
    assert_eq!(known(&knowledge).unwrap(), ("12".into(), names(&["y"])));
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
        knowledge.settle_disk().await;
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
async fn a_damaged_item_is_noticed_and_takes_its_collection_out() {
    let store: Arc<dyn Store> = Arc::new(Memory::default());
    let knowledge = open(store.clone());
    record(&knowledge, ask(""), &list_body(10, &["x", "y"], ""), true).await;
    let view = knowledge.list(&scope()).unwrap().unwrap();
    damage(&store, &keys::item(view.header.id, "a", "x"));
    let view = knowledge.list(&scope()).unwrap().unwrap();
    assert!(matches!(view.visit(&knowledge, None, &mut |_, _| true), Err(StoreError::Damaged { .. })));
    knowledge.discard(&view.header).await;
    assert_eq!(known(&knowledge), None);
}

/// What is said of `names` when the file is as it is now; `false`: something that is not so.
async fn is_honest(path: &std::path::Path, names: &[String]) -> bool {
    let Ok((disk, None)) = Disk::open(path) else { return true };
    let store: Arc<dyn Store> = Arc::new(disk);
    let limits = Limits::default();
    let (sealer, metrics, tasks) = (Sealer::new(&[1; 32]), Arc::new(Metrics::default()), tokio::runtime::Handle::current());
    let Ok(knowledge) = Knowledge::open(Parts { store, sealer, metrics, limits, tasks }) else { return true };
    if let Ok(Some(view)) = knowledge.list(&scope())
        && view.whole().is_ok()
    {
        let mut items = Vec::new();
        let mut each = |_: &[u8], item: Vec<u8>| {
            items.push(String::from_utf8(item).unwrap());
            true
        };
        let all: Vec<String> = names.iter().map(|name| item(name, 10)).collect();
        if view.visit(&knowledge, None, &mut each).is_ok() && items != all {
            return false;
        }
    }
    names.iter().all(|name| match knowledge.object(&ObjectKey { scope: scope(), name: name.clone() }) {
        Ok(Found::Object { item: found, .. }) => found == item(name, 10).as_bytes(),
        Ok(Found::Lacking(view)) => view.whole().is_err(),
        Ok(Found::Absent { .. }) => false,
        Ok(Found::Unknown) | Err(_) => true,
    })
}

/// Damages the row, as it is while the hub runs.
fn damage(store: &Arc<dyn Store>, key: &[u8]) {
    let mut row = store.snapshot().unwrap().read(key).unwrap().unwrap();
    row[3] ^= 1;
    store.apply(&[Op::Put(key.to_vec(), row)], true).unwrap();
}

#[tokio::test]
async fn a_head_that_is_damaged_is_written_anew() {
    let store: Arc<dyn Store> = Arc::new(Memory::default());
    let knowledge = open(store.clone());
    record(&knowledge, ask(""), &list_body(10, &["x"], ""), true).await;
    let listed = known(&knowledge);
    damage(&store, &scope().key());
    assert_eq!(known(&knowledge), None);
    assert_eq!(knowledge.metrics().damaged_records.get(), 1, "it is said");
    settle(&knowledge).await;
    assert_eq!(known(&knowledge), listed);
    assert_eq!(known(&open(store)), listed);
}

#[tokio::test]
async fn a_watch_of_a_collection_that_was_taken_out_is_sent_back_to_list() {
    let store: Arc<dyn Store> = Arc::new(Memory::default());
    let knowledge = open(store.clone());
    record(&knowledge, ask(""), &list_body(10, &["x"], ""), true).await;
    let id = knowledge.list(&scope()).unwrap().unwrap().header.id;
    damage(&store, &keys::item(id, "a", "x"));
    knowledge.object(&key("x")).unwrap();
    settle(&knowledge).await;
    assert!(knowledge.sends_back(&scope(), 10, false).await);
    assert!(!knowledge.sends_back(&scope(), 10, false).await, "once");
}

#[tokio::test]
async fn a_right_that_is_damaged_is_written_anew_when_the_cloud_grants_it_again() {
    let store: Arc<dyn Store> = Arc::new(Memory::default());
    let knowledge = open(store.clone());
    let grant = Grant { user: "u".into(), verb: "get".into(), thing: "t".into() };
    let digest = crate::kube::token::TokenDigest([7; 32]);
    let say = async || {
        knowledge.grant(&grant);
        knowledge.know_token(digest, "u", None);
        knowledge.flush().await.unwrap();
    };
    say().await;
    for kind in [keys::GRANT, keys::TOKEN] {
        let mut key = Vec::new();
        let mut each = |found: &[u8], _: &[u8]| {
            key = found.to_vec();
            true
        };
        store.snapshot().unwrap().scan(&[kind], &mut each).unwrap();
        damage(&store, &key);
    }
    knowledge.granted(&grant).unwrap_err();
    knowledge.token(digest).unwrap_err();
    say().await;
    assert!(knowledge.granted(&grant).unwrap() && knowledge.token(digest).unwrap().is_some());
}

/// What is found damaged is a state that may have been replaced by then, or be about to.
#[tokio::test]
async fn a_list_that_comes_while_an_older_one_is_taken_out_stands() {
    for turns in 0..30 {
        let store: Arc<dyn Store> = Arc::new(Memory::default());
        let knowledge = open(store.clone());
        record(&knowledge, ask(""), &list_body(10, &["x"], ""), true).await;
        let view = knowledge.list(&scope()).unwrap().unwrap();
        store.apply(&[Op::Put(keys::item(view.header.id, "a", "x"), b"damaged".to_vec())], true).unwrap();
        let mut list = knowledge.record(Subject::List(ask("")), false);
        list.push(&Bytes::from(list_body(20, &["x", "y"], "")));
        list.finish();
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
        knowledge.object(&key("x")).unwrap();
        settle(&knowledge).await;
        let listed = Some(("20".to_owned(), names(&["x", "y"])));
        assert_eq!(known(&knowledge), listed, "after {turns} turns");
        knowledge.discard(&view.header).await;
        assert_eq!(known(&knowledge), listed, "another one was damaged");
    }
}

/// Wherever the file is damaged: what is there is said, or nothing. redb's own pages have
/// checksums that are looked at only after a crash.
#[tokio::test]
async fn damage_anywhere_in_the_file_never_makes_a_list_shorter() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("good.redb");
    let names: Vec<String> = (0..200).map(|index| format!("x-{index:03}")).collect();
    let (disk, _) = Disk::open(&path).unwrap();
    let knowledge = open(Arc::new(disk));
    let body = list_body(10, &names.iter().map(String::as_str).collect::<Vec<_>>(), "");
    record(&knowledge, ask(""), &body, true).await;
    knowledge.settle_disk().await;
    drop(knowledge);
    let good = std::fs::read(&path).unwrap();
    assert!(is_honest(&path, &names).await);
    let bad = folder.path().join("bad.redb");
    // Empty pages have nothing to damage.
    let places = (17..good.len() - 64).step_by(211).filter(|at| good[*at..at + 64].iter().any(|byte| *byte != 0));
    for at in places {
        let mut bytes = good.clone();
        bytes[at..at + 64].iter_mut().for_each(|byte| *byte ^= 0x5a);
        std::fs::write(&bad, bytes).unwrap();
        let (bad, names) = (bad.clone(), names.clone());
        // A panic of the database is no answer either.
        let honest = tokio::spawn(async move { is_honest(&bad, &names).await }).await.unwrap_or(true);
        assert!(honest, "damaged at {at}");
    }
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
async fn over_the_budget_the_least_recently_used_goes_whole() {
    let knowledge = open(Arc::new(Memory::default()));
    let big = testkit::noise(300_000);
    for (index, resource) in ["a", "b", "c", "d", "e"].into_iter().enumerate() {
        let mut ask = ask("");
        ask.scope.resource = resource.into();
        ask.reader.node = index == 0;
        let body = list_body(10, &["x"], "")
            .replace(r#""namespace":"a""#, &format!(r#""namespace":"a","annotations":{{"big":"{big}"}}"#));
        record(&knowledge, ask, &body, true).await;
    }
    knowledge.sweep(|_| false).await.unwrap();
    settle(&knowledge).await;
    let kept: Vec<_> = ["a", "b", "c", "d", "e"]
        .into_iter()
        .filter(|resource| knowledge.list(&Scope { resource: (*resource).into(), ..scope() }).unwrap().is_some())
        .collect();
    assert_eq!(kept.len(), 3, "{kept:?}");
    assert!(kept.contains(&"a"), "pinned");
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

#[tokio::test]
async fn lists_of_nothing_by_ever_other_selectors_are_bounded() {
    let limits = Limits { cache_max_bytes: 1 << 20, ..Limits::default() };
    let knowledge = open_within(Arc::new(Memory::default()), limits);
    for number in 0..100 {
        let mut ask = ask("");
        ask.scope.label_selector = format!("job-name=j-{number}");
        record(&knowledge, ask, &list_body(10, &[], ""), true).await;
    }
    knowledge.sweep(|_| false).await.unwrap();
    settle(&knowledge).await;
    let kept = knowledge.catalogue().headers.len();
    assert!((1..=64).contains(&kept), "{kept}");
}

#[tokio::test]
async fn more_objects_than_allowed_are_given_up_whole_and_what_a_pinned_agent_read_stays() {
    let limits = Limits { cache_max_objects: 8, ..Limits::default() };
    let knowledge = open_within(Arc::new(Memory::default()), limits);
    for (resource, agent) in [("a", "named"), ("b", "any"), ("c", "any")] {
        let mut ask = ask("");
        (ask.scope.resource, ask.reader.agent) = (resource.into(), agent.into());
        record(&knowledge, ask, &list_body(10, &["x", "y", "z"], ""), true).await;
    }
    knowledge.sweep(|agent| agent == "named").await.unwrap();
    settle(&knowledge).await;
    let known = |resource: &str| knowledge.list(&Scope { resource: resource.into(), ..scope() }).unwrap().is_some();
    let kept = ["a", "b", "c"].map(known);
    assert!(kept[0] && (kept[1] ^ kept[2]), "{kept:?}");
    let mut larger = ask("");
    larger.scope.resource = "d".into();
    record(&knowledge, larger, &list_body(10, &["1", "2", "3", "4", "5", "6", "7", "8", "9"], ""), true).await;
    assert!(!known("d"), "what can never fit does not push out the rest");
}

const DAY: u64 = 24 * 3600;
const AGES: Ages = Ages { unseen: 30 * DAY, unlisted: 90 * DAY };

async fn get(knowledge: &Arc<Knowledge>, key: &ObjectKey, reader: Reader, body: &str) {
    let mut recording = knowledge.record(Subject::Object(record::ObjectAsk { key: key.clone(), reader }), false);
    recording.push(&Bytes::copy_from_slice(body.as_bytes()));
    recording.finish();
    settle(knowledge).await;
}

#[tokio::test]
async fn what_only_agents_have_read_that_are_not_seen_any_more_goes_whole() {
    let knowledge = open(Arc::new(Memory::default()));
    let reader = |agent: &str| Reader { agent: agent.into(), node: agent == "kubelet" };
    let collections = [("a", vec!["left"]), ("b", vec!["left", "stays"]), ("c", vec!["left", "kubelet"]), ("d", vec!["named"])];
    for (resource, agents) in &collections {
        for agent in agents {
            let mut ask = ask("");
            (ask.scope.resource, ask.reader) = ((*resource).into(), reader(agent));
            record(&knowledge, ask, &list_body(10, &["x"], ""), true).await;
            knowledge.see(agent);
        }
    }
    let key = |name: &str| ObjectKey { scope: Scope { resource: "e".into(), ..scope() }, name: name.into() };
    let body = |name: &str| item(name, 5).replacen('{', r#"{"kind":"ConfigMap","apiVersion":"v1","#, 1);
    for (name, agents) in [("one", vec!["left"]), ("both", vec!["stays", "left"]), ("node", vec!["kubelet", "left"])] {
        for agent in agents {
            get(&knowledge, &key(name), reader(agent), &(body(name) + &" ".repeat(agent.len()))).await;
        }
    }
    let known = || {
        let list = |resource: &str| knowledge.list(&Scope { resource: resource.into(), ..scope() }).unwrap().is_some();
        let object = |name: &str| matches!(knowledge.object(&key(name)).unwrap(), Found::Object { .. });
        (["a", "b", "c", "d"].map(list), ["one", "both", "node"].map(object))
    };
    let pins = |agent: &str| agent == "named";
    let later = grant::now() + 31 * DAY;
    // Everybody but one is seen again, a month later.
    let row = |agent: &str, at: u64| {
        let key = keys::raw(keys::AGENT, agent.as_bytes());
        Op::Put(key.clone(), knowledge.sealer().seal(&key, &at.to_be_bytes()))
    };
    knowledge.drop_rows(vec![row("stays", later), row("kubelet", later)]).await.unwrap();
    settle(&knowledge).await;
    knowledge.sweep_garbage_at(grant::now() + 29 * DAY, AGES, pins).await.unwrap();
    settle(&knowledge).await;
    assert_eq!(known(), ([true; 4], [true; 3]), "not yet");
    knowledge.sweep_garbage_at(later, AGES, pins).await.unwrap();
    settle(&knowledge).await;
    assert_eq!(known(), ([false, true, true, true], [false, true, true]));
    assert!(knowledge.snapshot().unwrap().read(&keys::raw(keys::AGENT, b"left")).unwrap().is_none(), "and is forgotten");
    knowledge.sweep_garbage_at(grant::now() + 91 * DAY, Ages { unseen: u64::MAX, ..AGES }, pins).await.unwrap();
    settle(&knowledge).await;
    assert_eq!(known(), ([false, true, true, true], [false, false, true]), "single, and nobody has asked for it");
}

#[tokio::test]
async fn pods_that_are_gone_go_though_they_are_kubelets() {
    let knowledge = open(Arc::new(Memory::default()));
    let kubelet = Reader { agent: "kubelet".into(), node: true };
    let pods = Scope { resource: "pods".into(), namespace: String::new(), ..scope() };
    let of_node = Scope { field_selector: "spec.nodeName=n-1".into(), ..pods.clone() };
    let pod = |name: &str, node: &str, version: u64| {
        item(name, version).replacen('{', r#"{"kind":"Pod","apiVersion":"v1","#, 1).replacen(
            "}}",
            &format!(r#"}},"spec":{{"nodeName":"{node}"}}}}"#),
            1,
        )
    };
    let key = |name: &str| ObjectKey { scope: Scope { namespace: "a".into(), ..pods.clone() }, name: name.into() };
    let all = [("gone", "n-1", 5), ("here", "n-1", 5), ("elsewhere", "n-2", 5), ("newer", "n-1", 11)];
    for (name, node, version) in all {
        get(&knowledge, &key(name), kubelet.clone(), &pod(name, node, version)).await;
    }
    let is_known = |name: &str| {
        let snapshot = knowledge.snapshot().unwrap();
        snapshot.read(&key(name).key()).unwrap().is_some()
    };
    knowledge.sweep_garbage_at(grant::now(), AGES, |_| false).await.unwrap();
    settle(&knowledge).await;
    assert_eq!(all.map(|(name, ..)| is_known(name)), [true; 4], "no list says anything");
    let list = ListAsk { scope: of_node, reader: kubelet, ..ask("") };
    record(&knowledge, list, &list_body(10, &["here"], "").replace("ConfigMap", "Pod"), true).await;
    knowledge.sweep_garbage_at(grant::now(), AGES, |_| false).await.unwrap();
    settle(&knowledge).await;
    assert_eq!(all.map(|(name, ..)| is_known(name)), [false, true, true, true]);
}

#[tokio::test]
async fn what_is_watched_is_in_use() {
    let store: Arc<dyn Store> = Arc::new(Memory::default());
    let knowledge = open(store.clone());
    record(&knowledge, ask(""), &list_body(10, &["x"], ""), true).await;
    let mut header = knowledge.header(&scope()).unwrap();
    header.used = 0;
    knowledge.drop_rows(vec![knowledge.set_header(header)]).await.unwrap();
    watch(&knowledge, "10", false, &event("BOOKMARK", "", 11)).await;
    assert!(knowledge.list(&scope()).unwrap().unwrap().header.used + 60 > grant::now());
}

#[tokio::test]
async fn a_write_that_fails_leaves_no_half_collection() {
    let store = Arc::new(Failing::default());
    let knowledge = open(store.clone());
    record(&knowledge, ask(""), &list_body(10, &["x"], ""), true).await;
    store.fail.store(true, std::sync::atomic::Ordering::Relaxed);
    record(&knowledge, ask(""), &list_body(20, &["x", "y"], ""), true).await;
    store.fail.store(false, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(known(&knowledge).unwrap(), ("10".into(), names(&["x"])));
    record(&knowledge, ask(""), &list_body(30, &["z"], ""), true).await;
    assert_eq!(known(&knowledge).unwrap(), ("30".into(), names(&["z"])), "goes on once the disk does");
}

/// A node's first seconds: discovery, grants and objects all at once, and slow flash.
#[tokio::test]
async fn a_slow_disk_loses_none_of_many_small_answers() {
    let store = Arc::new(Failing::default());
    let knowledge = open(store.clone());
    let grant = |number: usize| Grant { user: "u".into(), verb: "get".into(), thing: number.to_string() };
    let hanging = store.hang.lock().unwrap();
    (0..500).for_each(|number| knowledge.grant(&grant(number)));
    knowledge.revoke(&grant(7));
    drop(hanging);
    knowledge.flush().await.unwrap();
    for number in 0..500 {
        assert_eq!(knowledge.granted(&grant(number)).unwrap(), number != 7, "{number}: what was taken back a moment later is");
    }
}

fn is_behind(knowledge: &Knowledge) -> bool {
    knowledge.list(&scope()).unwrap().unwrap().header.is_behind()
}

const END: &str = r#"{"type":"BOOKMARK","object":{"kind":"ConfigMap","apiVersion":"v1","metadata":{"resourceVersion":"20","annotations":{"k8s.io/initial-events-end":"true"}}}}"#;

/// Their client goes by them all the same.
#[tokio::test]
async fn initial_events_that_are_not_kept_are_missed() {
    let knowledge = open_within(Arc::new(Memory::default()), Limits { cache_max_objects: 2, ..Limits::default() });
    let added = event("ADDED", "x", 3) + &event("ADDED", "y", 4);
    let too_many = added.clone() + &event("ADDED", "z", 5) + END + "\n";
    let broken_off = added.clone() + &event("MODIFIED", "x", 20);
    for told in [too_many, broken_off] {
        record(&knowledge, ask(""), &list_body(10, &["x"], ""), true).await;
        assert!(!is_behind(&knowledge));
        watch(&knowledge, "", true, &told).await;
        assert!(is_behind(&knowledge), "{told}");
    }
    record(&knowledge, ask(""), &list_body(11, &["x"], ""), true).await;
    watch(&knowledge, "", true, &added).await;
    assert!(!is_behind(&knowledge), "cut: the client has not got them all either");
}

#[tokio::test]
async fn a_watch_whose_initial_events_are_older_goes_on_all_the_same() {
    let knowledge = open(Arc::new(Memory::default()));
    record(&knowledge, ask(""), &list_body(30, &["x"], ""), true).await;
    watch(&knowledge, "", true, &(event("ADDED", "old", 3) + END + "\n" + &event("ADDED", "y", 29) + &event("ADDED", "z", 31)))
        .await;
    assert_eq!(known(&knowledge).unwrap(), ("31".into(), names(&["x", "z"])));
    assert!(!is_behind(&knowledge));
    assert_eq!(knowledge.item_ids().unwrap().len(), 1, "nothing is left of the older ones");
}

#[tokio::test]
async fn a_list_that_is_not_kept_is_missed() {
    let limits = Limits { cache_max_objects: 2, queue_bytes: 4096, ..Limits::default() };
    let knowledge = open_within(Arc::new(Memory::default()), limits);
    let name = "n".repeat(1000);
    let too_large = list_body(20, &[name.as_str(); 5], "");
    record(&knowledge, ask(""), &list_body(10, &["x"], ""), true).await;
    record(&knowledge, ask(""), &list_body(9, &["x"], ""), true).await;
    record(&knowledge, ask(""), &list_body(20, &["x", "y"], "")[..100], false).await;
    assert!(!is_behind(&knowledge), "one that is older or was cut says nothing");
    record(&knowledge, ask(""), &list_body(20, &["x", "y", "z"], ""), true).await;
    assert!(is_behind(&knowledge), "over the budget");
    record(&knowledge, ask(""), &list_body(21, &["x"], ""), true).await;
    assert!(!is_behind(&knowledge));
    let mut behind = knowledge.record(Subject::List(ask("")), false);
    behind.push(&Bytes::from(too_large));
    behind.finish();
    settle(&knowledge).await;
    assert!(is_behind(&knowledge), "the store is behind");
    let reason = Why { reason: "store behind" };
    assert_eq!(knowledge.metrics().lists_not_remembered.get_or_create(&reason).get(), 1);
}

#[tokio::test]
async fn a_list_whose_first_items_cannot_be_written_is_missed() {
    let store = Arc::new(Failing::default());
    let knowledge = open_within(store.clone(), Limits::default());
    record(&knowledge, ask(""), &list_body(10, &["x"], ""), true).await;
    let long: Vec<String> = (0..300).map(|index| format!("{}-{index:03}", "n".repeat(1000))).collect();
    let body = list_body(20, &long.iter().map(String::as_str).collect::<Vec<_>>(), "");
    let (first, rest) = body.split_at(body.len() - 10);
    store.fail.store(true, std::sync::atomic::Ordering::Relaxed);
    let mut list = knowledge.record(Subject::List(ask("")), false);
    list.push(&Bytes::copy_from_slice(first.as_bytes()));
    settle(&knowledge).await;
    store.fail.store(false, std::sync::atomic::Ordering::Relaxed);
    assert!(!is_behind(&knowledge));
    list.push(&Bytes::copy_from_slice(rest.as_bytes()));
    list.finish();
    settle(&knowledge).await;
    assert_eq!(known(&knowledge).unwrap().0, "10");
    assert!(is_behind(&knowledge));
}

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
}

impl Store for Failing {
    fn apply(&self, ops: &[Op], durable: bool) -> Result<(), StoreError> {
        let _turn = self.hang.lock().unwrap();
        self.durable.fetch_add(usize::from(durable), std::sync::atomic::Ordering::Relaxed);
        if self.fail.load(std::sync::atomic::Ordering::Relaxed) && !ops.is_empty() {
            return Err(StoreError::Backend("No space left on device".into()));
        }
        self.store.apply(ops, durable)
    }

    fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        self.store.snapshot()
    }
}

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
        if self.found.load(std::sync::atomic::Ordering::Relaxed) {
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
    store.found.store(true, std::sync::atomic::Ordering::Relaxed);
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
        store.fail.store(fails, std::sync::atomic::Ordering::Relaxed);
        drop(busy);
        settle(&knowledge).await;
        store.fail.store(false, std::sync::atomic::Ordering::Relaxed);
        let again = knowledge.accept(entry("e")).await;
        assert_eq!(matches!(again, Err(NotAccepted::AlreadyExists)), !fails);
        assert_eq!(knowledge.entries(0, 9).unwrap().len(), 1);
    }
}

#[tokio::test]
async fn single_objects_stay_within_their_part_and_kubelets_stay() {
    let knowledge = open(Arc::new(Memory::default()));
    let key = |name: &str| ObjectKey { scope: scope(), name: name.into() };
    let body = |name: &str| {
        let padding = "x".repeat(10_000);
        format!(
            r#"{{"kind":"ConfigMap","apiVersion":"v1","metadata":{{"name":"{name}","resourceVersion":"1"}},"data":{{"p":"{padding}"}}}}"#
        )
    };
    for index in 0..60 {
        let name = format!("o-{index}");
        let ask = record::ObjectAsk { key: key(&name), reader: Reader { node: index == 0, ..Reader::default() } };
        let mut recording = knowledge.record(Subject::Object(ask), false);
        recording.push(&Bytes::from(body(&name)));
        recording.finish();
        settle(&knowledge).await;
    }
    knowledge.sweep(|_| false).await.unwrap();
    settle(&knowledge).await;
    let known = |index: usize| matches!(knowledge.object(&key(&format!("o-{index}"))).unwrap(), Found::Object { .. });
    let kept = (0..60).filter(|index| known(*index)).count();
    assert!(known(0), "kubelet's");
    assert!((15..=26).contains(&kept), "{kept} of 10 KB in a quarter of 1 MiB");
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

#[tokio::test]
async fn what_a_failed_write_has_lost_is_missed() {
    let store = Arc::new(Failing::default());
    let knowledge = open(store.clone());
    record(&knowledge, ask(""), &list_body(10, &["x"], ""), true).await;
    store.fail.store(true, std::sync::atomic::Ordering::Relaxed);
    watch(&knowledge, "10", false, &event("ADDED", "y", 11)).await;
    store.fail.store(false, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(known(&knowledge).unwrap().0, "10");
    assert!(!matches!(knowledge.object(&key("y")).unwrap(), Found::Lacking(_)));
    let fields = crate::kube::selector::Fields::of("", "v1", "configmaps");
    assert!(knowledge.covering(&scope(), &fields, |_| true, false).unwrap().unwrap().header.is_behind());
    record(&knowledge, ask(""), &list_body(12, &["x"], ""), true).await;
    assert!(matches!(knowledge.object(&key("y")).unwrap(), Found::Lacking(_)));
}
