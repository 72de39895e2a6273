use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::super::tests::{ask, open, record};
use super::*;
use crate::kube::selector::{Fields, Selection};
use crate::store::{Credential, Memory, NotAccepted};

/// By `namespace/name` what an Event's label `app` is, and who wrote it.
type Model = BTreeMap<String, (&'static str, &'static str)>;

const APPS: [&str; 2] = ["web", "db"];

fn scope(namespace: &str, labels: &str) -> Scope {
    Scope {
        version: "v1".into(),
        resource: "events".into(),
        namespace: namespace.into(),
        label_selector: labels.into(),
        ..Scope::default()
    }
}

fn event(place: &str, app: &str, by: &str) -> String {
    let (namespace, name) = place.split_once('/').unwrap();
    format!(r#"{{"metadata":{{"name":"{name}","namespace":"{namespace}","labels":{{"app":"{app}"}}}},"message":"{by}"}}"#)
}

fn entry(place: &str, app: &str) -> Entry {
    let (namespace, name) = place.split_once('/').unwrap();
    let target = format!("/api/v1/namespaces/{namespace}/events?fieldManager=m");
    let body = event(place, app, "node").into_bytes();
    Entry::new(target, name.to_owned(), "application/json".into(), Credential::Node, body)
}

/// The cloud has said this in version 10.
async fn cloud(knowledge: &Arc<Knowledge>, scope: Scope, model: &Model) {
    let items: Vec<String> = model.iter().map(|(place, (app, by))| event(place, app, by)).collect();
    let items = items.join(",");
    let body = format!(r#"{{"kind":"EventList","apiVersion":"v1","metadata":{{"resourceVersion":"10"}},"items":[{items}]}}"#);
    let mut ask = ask("");
    ask.scope = scope;
    record(knowledge, ask, &body, true).await;
}

fn view(knowledge: &Knowledge, namespace: &str, labels: &str) -> ListView {
    let wanted = scope(namespace, labels);
    let view = knowledge.covering(&wanted, &Fields::of("", "v1", "events"), |_| true, false).unwrap().unwrap();
    view.with_local(knowledge).unwrap()
}

/// All that is shown, `limit` at a time, and how many are said to be behind each page.
fn pages(knowledge: &Knowledge, view: &ListView, limit: usize) -> (Vec<(String, String)>, Vec<u64>) {
    let (mut shown, mut behind, mut after) = (Vec::new(), Vec::new(), None::<Vec<u8>>);
    loop {
        let (mut left, mut last) = (limit, None);
        let mut each = |key: &[u8], item: Vec<u8>| {
            let meta = object::meta(Encoding::Json, &item).unwrap();
            let item = String::from_utf8(item).unwrap();
            let by = if item.contains(r#""message":"node""#) { "node" } else { "cloud" };
            shown.push((format!("{}/{}", meta.namespace, meta.name), by.to_owned()));
            (left, last) = (left - 1, Some(key.to_vec()));
            left > 0
        };
        view.visit(knowledge, after.as_deref(), &mut each).unwrap();
        let Some(last) = last else { return (shown, behind) };
        behind.push(view.count_after(knowledge, &last, &Selection::default()).unwrap());
        after = Some(last);
    }
}

/// Of Events of which metadata alone is known.
#[tokio::test]
async fn what_was_written_here_is_shown_as_metadata_too() {
    let knowledge = open(Arc::new(Memory::default()));
    let metadata = Scope { form: "PartialObjectMetadata;meta.k8s.io;v1".into(), ..scope("a", "") };
    let body =
        r#"{"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/v1","metadata":{"resourceVersion":"10"},"items":[]}"#;
    let mut ask = ask("");
    ask.scope = metadata.clone();
    record(&knowledge, ask, body, true).await;
    knowledge.accept(entry("a/x", "web")).await.unwrap();
    let view = knowledge.covering(&metadata, &Fields::of("", "v1", "events"), |_| true, false).unwrap().unwrap();
    let view = view.with_local(&knowledge).unwrap();
    assert_eq!(pages(&knowledge, &view, 9).0, [("a/x".to_owned(), "node".to_owned())]);
}

/// A list in protobuf says how long it is before its items come.
#[tokio::test]
async fn a_list_shows_each_event_as_it_was_when_it_began() {
    let knowledge = open(Arc::new(Memory::default()));
    cloud(&knowledge, scope("", ""), &Model::from([("a/known".to_owned(), ("web", "cloud"))])).await;
    knowledge.accept(entry("a/new", "web")).await.unwrap();
    let change = async |name: &str, message: &str| {
        let (target, patch) = (format!("/api/v1/namespaces/a/events/{name}"), format!(r#"{{"message":"{message}"}}"#));
        let kind = "application/merge-patch+json".to_owned();
        knowledge.accept(Entry::change(target, name.to_owned(), kind, Credential::Node, patch.into_bytes())).await.unwrap();
    };
    let messages = |view: &ListView| {
        let mut messages = Vec::new();
        let mut each = |_: &[u8], item: Vec<u8>| {
            let item: serde_json::Value = serde_json::from_slice(&item).unwrap();
            messages.push(item["message"].as_str().unwrap().to_owned());
            true
        };
        view.visit(&knowledge, None, &mut each).unwrap();
        messages
    };
    change("known", "once").await;
    change("new", "once").await;
    let before = view(&knowledge, "a", "");
    change("known", "and again").await;
    change("new", "and again").await;
    assert_eq!(messages(&before), ["once", "once"]);
    assert_eq!(messages(&view(&knowledge, "a", "")), ["and again", "and again"]);
}

/// Who holds a Lease.
fn is_nodes(item: &[u8]) -> bool {
    item.windows(6).any(|word| word == b"\"node\"")
}

fn place() -> impl Strategy<Value = String> {
    (prop::sample::select(vec!["a", "ab", "b"]), prop::sample::select(vec!["e", "e.1", "e1", "f", "z"]))
        .prop_map(|(namespace, name)| format!("{namespace}/{name}"))
}

fn written() -> impl Strategy<Value = BTreeMap<String, &'static str>> {
    prop::collection::btree_map(place(), prop::sample::select(APPS.to_vec()), 0..8)
}

/// Whatever the cloud has said and the node has written, a list has each once, in one order, the cloud's first.
#[test]
fn a_list_is_the_simple_union_in_pages_of_any_size() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let inputs = (written(), written(), 1..5_usize, prop::sample::select(vec!["", "a", "b"]), any::<[bool; 2]>());
    let mut runner = TestRunner::new(Config { cases: 64, ..Config::default() });
    let result = runner.run(&inputs, |(clouds, nodes, limit, namespace, [selects, narrow])| {
        let labels = if selects { "app=web" } else { "" };
        let all: Model = clouds.into_iter().map(|(place, app)| (place, (app, "cloud"))).collect();
        // The collection may have been selected itself.
        let known = scope("", if narrow { labels } else { "" });
        let is_known = |app: &str| known.label_selector.is_empty() || app == "web";
        let mut model: Model = all.into_iter().filter(|(_, (app, _))| is_known(app)).collect();
        let (shown, behind) = runtime.block_on(async {
            let knowledge = open(Arc::new(Memory::default()));
            cloud(&knowledge, known.clone(), &model).await;
            for (place, app) in &nodes {
                knowledge.accept(entry(place, app)).await.unwrap();
            }
            pages(&knowledge, &view(&knowledge, namespace, labels), limit)
        });
        for (place, app) in nodes {
            model.entry(place).or_insert((app, "node"));
        }
        model.retain(|place, (app, _)| is_known(app) && (namespace.is_empty() || place.starts_with(&format!("{namespace}/"))));
        let wanted: Vec<_> = model.iter().filter(|(_, (app, _))| labels.is_empty() || *app == "web").collect();
        let places: Vec<_> = wanted.iter().map(|(place, (_, by))| ((*place).clone(), (*by).to_owned())).collect();
        prop_assert_eq!(&shown, &places);
        let last_of_page = |index: &usize| (index + 1).is_multiple_of(limit) || index + 1 == wanted.len();
        let ends = (0..wanted.len()).filter(last_of_page).map(|index| wanted[index].0);
        let counts: Vec<u64> = ends.map(|last| model.range(last.clone()..).skip(1).count() as u64).collect();
        prop_assert_eq!(behind, counts);
        Ok(())
    });
    result.unwrap();
}

#[tokio::test]
async fn an_event_is_shown_from_its_acceptance_until_it_is_settled() {
    let knowledge = open(Arc::new(Memory::default()));
    cloud(&knowledge, scope("", ""), &Model::new()).await;
    let mut writes = knowledge.writes_here();
    let gone = knowledge.gone_here();
    knowledge.accept(entry("a/e", "web")).await.unwrap();
    assert!(writes.has_changed().unwrap());
    writes.mark_unchanged();
    let before = view(&knowledge, "", "");
    let wanted = ObjectKey { scope: scope("a", ""), name: "e".into() };
    let Found::Object { record, item } = knowledge.object_here(&wanted).unwrap() else { panic!("accepted, and not there") };
    assert_eq!((record.kind.as_str(), record.api_version.as_str()), ("Event", "v1"));
    assert_eq!(object::meta(Encoding::Json, &item).unwrap().resource_version, "10");
    assert!(!matches!(knowledge.object(&wanted).unwrap(), Found::Object { .. }), "the cloud has said nothing of it");
    let in_new = Entry { target: "/apis/events.k8s.io/v1/namespaces/a/events".into(), ..entry("a/e", "web") };
    assert!(matches!(knowledge.accept(in_new).await, Err(NotAccepted::AlreadyExists)), "both APIs have the same Events");

    let sequence = knowledge.entries(0, 1).unwrap()[0].0;
    knowledge.settle(sequence).await.unwrap();
    assert!(writes.has_changed().unwrap());
    assert_eq!(knowledge.gone_here(), gone + 1);
    assert!(!matches!(knowledge.object_here(&wanted).unwrap(), Found::Object { .. }));
    assert!(pages(&knowledge, &view(&knowledge, "", ""), 9).0.is_empty());
    assert_eq!(pages(&knowledge, &before, 9).0.len(), 1, "a list that has begun ends as it began");
}

#[tokio::test]
async fn the_cloud_comes_first_where_it_has_the_same_event() {
    let knowledge = open(Arc::new(Memory::default()));
    knowledge.accept(entry("a/e", "web")).await.unwrap();
    cloud(&knowledge, scope("", ""), &[("a/e".to_owned(), ("web", "cloud"))].into()).await;
    assert_eq!(pages(&knowledge, &view(&knowledge, "", ""), 9).0, [("a/e".to_owned(), "cloud".to_owned())]);
}

#[tokio::test]
async fn a_damaged_entry_is_given_up_and_the_rest_is_shown() {
    let store: Arc<dyn super::super::Store> = Arc::new(Memory::default());
    let knowledge = open(store.clone());
    cloud(&knowledge, scope("", ""), &Model::new()).await;
    let gone = knowledge.gone_here();
    for place in ["a/e", "a/f"] {
        knowledge.accept(entry(place, "web")).await.unwrap();
    }
    let key = journal::key(knowledge.entries(0, 1).unwrap()[0].0);
    let mut row = store.snapshot().unwrap().read(&key).unwrap().unwrap();
    row[9] ^= 1;
    store.apply(&[super::super::Op::Put(key, row)], true).unwrap();
    assert_eq!(pages(&knowledge, &view(&knowledge, "", ""), 9).0, [("a/f".to_owned(), "node".to_owned())]);
    assert_eq!(knowledge.metrics().damaged_records.get(), 1, "and it is said");
    assert_eq!(knowledge.gone_here(), gone + 1);
}

#[tokio::test]
async fn of_a_lease_the_newer_one_is_shown() {
    let knowledge = open(Arc::new(Memory::default()));
    let leases = |name: &str| ObjectKey {
        scope: Scope {
            group: "coordination.k8s.io".into(),
            version: "v1".into(),
            resource: "leases".into(),
            namespace: "kube-node-lease".into(),
            ..Scope::default()
        },
        name: name.to_owned(),
    };
    let lease = |version: u64, by: &str| {
        format!(
            r#"{{"metadata":{{"name":"n","namespace":"kube-node-lease","resourceVersion":"{version}"}},"spec":{{"holderIdentity":"{by}"}}}}"#
        )
    };
    let renew = |version: u64| {
        let sent = lease(version, "node");
        let of = typed::of("coordination.k8s.io", "leases").unwrap();
        let read = Typed::read(of, Encoding::Json, sent.as_bytes()).unwrap();
        knowledge.renew(object::meta(Encoding::Json, sent.as_bytes()).unwrap(), read);
    };
    let holder = || match knowledge.object_here(&leases("n")).unwrap() {
        Found::Object { item, .. } => Some(is_nodes(&item)),
        _ => None,
    };
    let mut ask = ask("");
    ask.scope = leases("n").scope;
    let body = format!(
        r#"{{"kind":"LeaseList","apiVersion":"coordination.k8s.io/v1","metadata":{{"resourceVersion":"20"}},"items":[{}]}}"#,
        lease(10, "cloud")
    );
    let listed = || {
        let scope = leases("n").scope;
        let fields = Fields::of("coordination.k8s.io", "v1", "leases");
        let view = knowledge.covering(&scope, &fields, |_| true, false).unwrap().unwrap().with_local(&knowledge).unwrap();
        let mut items = Vec::new();
        view.visit(&knowledge, None, &mut |_, item| {
            items.push(is_nodes(&item));
            true
        })
        .unwrap();
        items
    };
    record(&knowledge, ask.clone(), &body, true).await;
    for (version, shown) in [(9, false), (10, true), (11, true)] {
        renew(version);
        assert_eq!((holder(), listed()), (Some(shown), vec![shown]), "{version}");
    }
    assert!(!matches!(knowledge.object_here(&leases("other")).unwrap(), Found::Object { .. }));
    knowledge.forget_renewal();
    assert_eq!((holder(), listed()), (Some(false), vec![false]), "the cloud has a newer one than what was known");
    renew(11);
    let gone = body.replace(&lease(10, "cloud"), "");
    record(&knowledge, ask, &gone, true).await;
    assert_eq!((holder(), listed()), (None, vec![]), "deleted since");
    renew(30);
    assert_eq!((holder(), listed()), (Some(true), vec![true]), "made anew since");
}
