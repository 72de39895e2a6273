//! What comes while the disk is busy.

use super::*;

/// A disk that is busy with as many large batches as may wait.
async fn keep_busy(store: &Arc<Failing>, knowledge: &Knowledge) -> std::sync::mpsc::SyncSender<()> {
    let release = hold(store);
    for number in 0..4 {
        let key = keys::key(keys::DOCUMENT, &[&number.to_string()]);
        let batch = writer::Batch { ops: vec![Op::Put(key, vec![0; 40_000])], ..Default::default() };
        knowledge.writer().send(batch).await.unwrap();
    }
    release
}

async fn yield_often() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

fn begin_watch(knowledge: &Arc<Knowledge>, from: &str, events: String) -> Recording {
    let ask = WatchAsk { scope: scope(), resource_version: from.into(), send_initial_events: false, reader: Reader::default() };
    let mut recording = knowledge.record(Subject::Watch(ask), false);
    recording.push(&Bytes::from(events));
    recording
}

#[tokio::test]
async fn an_event_does_not_overtake_the_list_that_it_follows() {
    let store = Arc::new(Failing::default());
    let knowledge = open(store.clone());
    record(&knowledge, ask(""), &list_body(10, &["x"], ""), true).await;
    let long: Vec<String> = (0..40).map(|index| format!("{}-{index:02}", "n".repeat(1000))).collect();
    let mut long: Vec<&str> = long.iter().map(String::as_str).collect();
    let release = keep_busy(&store, &knowledge).await;
    let mut list = knowledge.record(Subject::List(ask("")), false);
    list.push(&Bytes::from(list_body(20, &long, "")));
    list.finish();
    yield_often().await;
    let watch = begin_watch(&knowledge, "20", event("MODIFIED", long[0], 21) + &event("DELETED", long[1], 22));
    yield_often().await;
    release.send(()).unwrap();
    knowledge.catch_up().await.unwrap();
    drop(watch);
    long.remove(1);
    let (version, there) = known(&knowledge).unwrap();
    assert_eq!(version, "22");
    assert!(there == names(&long), "without what was deleted");
    let Found::Object { item: modified, .. } = knowledge.object(&key(long[0])).unwrap() else { panic!("not known") };
    assert!(modified == item(long[0], 21).as_bytes());
}

#[tokio::test]
async fn a_list_does_not_overtake_an_event_that_it_follows() {
    let store = Arc::new(Failing::default());
    let knowledge = open(store.clone());
    record(&knowledge, ask(""), &list_body(10, &["x"], ""), true).await;
    let release = keep_busy(&store, &knowledge).await;
    let large = "n".repeat(40_000);
    let watch = begin_watch(&knowledge, "10", event("ADDED", &large, 11));
    yield_often().await;
    let mut list = knowledge.record(Subject::List(ask("")), false);
    list.push(&Bytes::from(list_body(12, &["y"], "")));
    list.finish();
    yield_often().await;
    release.send(()).unwrap();
    knowledge.catch_up().await.unwrap();
    drop(watch);
    assert_eq!(known(&knowledge).unwrap(), ("12".into(), names(&["y"])));
}

/// A watch that has lost its connection goes on over another, while what it has brought waits for the disk.
#[tokio::test]
async fn an_event_does_not_overtake_those_that_another_connection_has_brought() {
    let store = Arc::new(Failing::default());
    let knowledge = open(store.clone());
    record(&knowledge, ask(""), &list_body(10, &["x"], ""), true).await;
    let release = keep_busy(&store, &knowledge).await;
    let mut list = knowledge.record(Subject::List(ask("")), false);
    list.push(&Bytes::from(list_body(20, &["y"], "")));
    list.finish();
    let mut watches = Vec::new();
    for versions in [21..24, 24..27, 27..30] {
        let events = versions.clone().map(|version| event("MODIFIED", "y", version)).collect();
        watches.push(begin_watch(&knowledge, &(versions.start - 1).to_string(), events));
        yield_often().await;
    }
    release.send(()).unwrap();
    knowledge.catch_up().await.unwrap();
    drop(watches);
    settle(&knowledge).await;
    assert_eq!(known(&knowledge).unwrap(), ("29".into(), names(&["y"])));
    assert!(!knowledge.header(&scope()).unwrap().is_behind());
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
