//! What a collection takes of the budget is what its rows take.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    /// Names of items, and of what size each is.
    List(Vec<(usize, usize)>),
    Event(&'static str, usize, usize),
    /// Lets everything become visible.
    Settle,
}

fn step() -> impl Strategy<Value = Step> {
    let item = || (0..6_usize, 0..400_usize);
    prop_oneof![
        1 => proptest::collection::vec(item(), 0..6).prop_map(Step::List),
        6 => (prop_oneof![Just("ADDED"), Just("MODIFIED"), Just("DELETED")], item())
            .prop_map(|(kind, (name, size))| Step::Event(kind, name, size)),
        2 => Just(Step::Settle),
    ]
}

fn sized(name: usize, size: usize, version: u64) -> String {
    format!(
        r#"{{"metadata":{{"name":"n-{name}","namespace":"a","resourceVersion":"{version}"}},"data":{{"x":"{}"}}}}"#,
        testkit::noise(size)
    )
}

/// The cloud as far as names go: events are of what is there, or not.
async fn play(steps: Vec<Step>) {
    let knowledge = open(Arc::new(Memory::default()));
    record(&knowledge, ask(""), &list_body(1, &[], ""), true).await;
    let from = WatchAsk { scope: scope(), resource_version: "1".into(), send_initial_events: false, reader: Reader::default() };
    let mut watch = knowledge.record(Subject::Watch(from), false);
    let mut there = std::collections::BTreeMap::new();
    for (version, step) in (2..).zip(steps) {
        match step {
            Step::List(items) => {
                there = items.into_iter().collect();
                let body = list_of(version, there.iter().map(|(name, size)| sized(*name, *size, version)), "");
                let mut list = knowledge.record(Subject::List(ask("")), false);
                list.push(&Bytes::from(body));
                list.finish();
                knowledge.works.rest().await;
            }
            Step::Event(kind, name, size) => {
                let kind = match (kind, there.contains_key(&name)) {
                    ("DELETED", true) => "DELETED",
                    (_, true) => "MODIFIED",
                    (_, false) => "ADDED",
                };
                if kind == "DELETED" {
                    there.remove(&name)
                } else {
                    there.insert(name, size)
                };
                let object = sized(name, size, version).replacen('{', r#"{"kind":"ConfigMap","apiVersion":"v1","#, 1);
                watch.push(&Bytes::from(format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n")));
                knowledge.works.rest().await;
            }
            Step::Settle => settle(&knowledge).await,
        }
    }
    knowledge.catch_up().await.unwrap();
    settle(&knowledge).await;
    let header = knowledge.header(&scope()).unwrap();
    let (rows, bytes) = rows_of(&knowledge, &[keys::ITEM]);
    assert_eq!((header.items, header.bytes), (rows, bytes));
    let figure = |gauge: &prometheus_client::metrics::gauge::Gauge| gauge.get() as u64;
    let metrics = knowledge.metrics();
    assert_eq!((figure(&metrics.store_objects), figure(&metrics.store_bytes)), (rows, bytes));
    assert_eq!(rows, there.len() as u64);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn a_collection_is_as_large_as_its_rows(steps in proptest::collection::vec(step(), 0..24)) {
        run(play(steps));
    }
}

/// A list of small objects, which grow while they are watched.
#[tokio::test]
async fn what_grows_is_counted() {
    let knowledge = open_within(Arc::new(Memory::default()), Limits { cache_max_bytes: 100_000, ..Limits::default() });
    record(&knowledge, ask(""), &list_body(1, &["n-0", "n-1"], ""), true).await;
    let large = |name: usize| sized(name, 60_000, 2 + name as u64).replacen('{', r#"{"kind":"ConfigMap","apiVersion":"v1","#, 1);
    let events: String = (0..2).map(|name| format!("{{\"type\":\"MODIFIED\",\"object\":{}}}\n", large(name))).collect();
    watch(&knowledge, "1", false, &events).await;
    knowledge.sweep(|_| false).await.unwrap();
    settle(&knowledge).await;
    assert_eq!(known(&knowledge), None, "it does not fit any more");
}
