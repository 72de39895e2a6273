//! The store may be ahead of the client by what other clients of the same collection were told.

use super::*;
use crate::request::filter::Ask;
use crate::request::filter::testing::{ask, filters};
use crate::state::filters::Filter;
use crate::state::inputs::Node;
use crate::state::rules::{Agents, RuleSet};
use crate::store::record::{ListAsk, Subject};
use crate::store::{Limits, Memory, Parts, Reader, Sealer};

const SERVICE: &str = r#"{"metadata":{"name":"NAME","namespace":"a","resourceVersion":"VERSION","annotations":{"nodeport.openyurt.io/listen":"POOLS"}},"spec":{"type":"NodePort"}}"#;

fn item(name: &str, version: u64, pools: &str) -> String {
    SERVICE.replace("NAME", name).replace("VERSION", &version.to_string()).replace("POOLS", pools)
}

async fn source(items: &[String]) -> Source {
    source_of("ServiceList", items).await
}

async fn source_of(kind: &str, items: &[String]) -> Source {
    source_in(services(), kind, items).await
}

fn services() -> Scope {
    Scope { version: "v1".into(), resource: "services".into(), ..Scope::default() }
}

async fn source_in(scope: Scope, kind: &str, items: &[String]) -> Source {
    let parts = Parts {
        store: Arc::new(Memory::default()),
        sealer: Sealer::new(&[1; 32]),
        metrics: Arc::default(),
        limits: Limits::default(),
        tasks: tokio::runtime::Handle::current(),
    };
    let knowledge = Knowledge::open(parts).unwrap();
    let ask =
        ListAsk { scope: scope.clone(), continue_token: String::new(), quorum: true, reader: Reader::default(), started: 0 };
    let mut recording = knowledge.record(Subject::List(ask), false);
    let items = items.join(",");
    let body = format!(r#"{{"kind":"{kind}","apiVersion":"v1","metadata":{{"resourceVersion":"9"}},"items":[{items}]}}"#);
    recording.push(&Bytes::from(body));
    recording.finish();
    let source = Source { knowledge, scope, bookmarks: true };
    source.reaching(9).await.unwrap();
    source
}

/// The node moves from pool p to pool q; the client was told everything up to version 7, the store knows version 9.
#[tokio::test]
async fn what_the_client_is_yet_to_be_told_of_stays_as_it_was_told() {
    let filters = filters(RuleSet::new(Agents::parse("*"), &[Filter::NodePortIsolation]));
    let moves = |pool: &str| {
        let node = Node { pool: Some(pool.to_owned()), zone: None };
        filters.inputs.update(|facts| facts.node = Some(Arc::new(node)));
    };
    moves("p");
    let key = |name: &str| crate::state::hidden::Hidden::key(&("a".to_owned(), name.to_owned()));
    let old = Arc::new(filters.chain_for(ask("kube-proxy", ("", "services"), "watch")).await.unwrap());
    let source = source(&[
        item("comes", 5, "q"),
        item("goes", 6, "p"),
        // In version 5 the client was shown it; in version 9, which it has not had, both pools hide it.
        item("late", 9, "r"),
        item("hidden-late", 9, "p"),
    ])
    .await;
    let mut shown = Shown::default();
    for (name, hidden) in [("comes", true), ("goes", false), ("late", false), ("hidden-late", true)] {
        shown.note(key(name), hidden);
    }
    moves("q");
    let caught_up = catch_up(old, source, Some(shown), 7).await.unwrap();
    let told: Vec<String> = caught_up.frames.iter().map(|frame| String::from_utf8_lossy(frame).into_owned()).collect();
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told[0].contains("ADDED") && told[0].contains("comes"), "{told:?}");
    assert!(told[1].contains("DELETED") && told[1].contains("goes"), "{told:?}");
    assert!(told[2].contains("BOOKMARK") && told[2].contains("\"7\""), "{told:?}");
    // Then the stream tells of version 9.
    let mut shown = caught_up.shown.unwrap();
    assert_eq!(shown.event(EventType::Modified, key("late"), true), Some(EventType::Deleted));
    assert_eq!(shown.event(EventType::Deleted, key("hidden-late"), true), None);
    assert_eq!(shown.event(EventType::Modified, key("comes"), false), Some(EventType::Modified));
}

/// Whom nothing serves, and then a rule that hides all.
async fn becomes_hidden(source: Source, ask: Ask, seen: u64) -> Option<Vec<String>> {
    let filters = filters(RuleSet::new(Agents::parse("*"), &[]));
    let old = Arc::new(filters.chain_for(ask).await.unwrap());
    let rule = "- {name: x, match: {resources: [services]}, drop: true}";
    filters.rules.apply(Some(&[("rules".to_owned(), rule.to_owned())].into()));
    let caught_up = catch_up(old, Source { bookmarks: false, ..source }, None, seen).await?;
    Some(caught_up.frames.iter().map(|frame| String::from_utf8_lossy(frame).into_owned()).collect())
}

fn whole() -> Ask {
    ask("sample", ("", "services"), "watch")
}

/// A custom resource may say that its list is called like that.
#[tokio::test]
async fn what_is_remembered_is_whole_whatever_its_list_is_called() {
    let item = item("one", 5, "p").replacen('{', r#"{"apiVersion":"example.com/v1","kind":"Widget","#, 1);
    for kind in ["Table", "PartialObjectMetadataList"] {
        let told = becomes_hidden(source_of(kind, std::slice::from_ref(&item)).await, whole(), 7).await.unwrap();
        assert!(matches!(&told[..], [told] if told.contains("DELETED") && told.contains("NodePort")), "{kind}: {told:?}");
    }
}

#[tokio::test]
async fn metadata_is_told_as_such_of_whatever_collection_it_is() {
    let of_metadata = Scope { form: "PartialObjectMetadata;meta.k8s.io;v1".into(), ..services() };
    let metadata = r#"{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"name":"one","namespace":"a","resourceVersion":"5"}}"#;
    let own = source_in(of_metadata.clone(), "PartialObjectMetadataList", &[metadata.to_owned()]).await;
    let wider = Source { scope: Scope { namespace: "a".into(), ..of_metadata.clone() }, ..own.clone() };
    let of_whole = Source { scope: of_metadata, ..source(&[item("one", 5, "p")]).await };
    for (source, what) in [(own, "its own"), (wider, "one of all namespaces"), (of_whole, "one of whole objects")] {
        let told = becomes_hidden(source, Ask { whole: false, ..whole() }, 7).await.unwrap();
        assert_eq!(told.len(), 1, "{what}");
        assert!(told[0].contains("DELETED") && told[0].contains("PartialObjectMetadata"), "{what}: {told:?}");
        assert!(!told[0].contains("spec"), "{what}: {told:?}");
    }
}

#[tokio::test]
async fn what_cannot_come_is_not_waited_for() {
    let source = source(&[item("one", 5, "p")]).await;
    let elsewhere = Source { scope: Scope { resource: "other".into(), ..services() }, ..source.clone() };
    for (source, seen) in [(source, 10), (elsewhere, 7)] {
        let began = std::time::Instant::now();
        assert_eq!(becomes_hidden(source, whole(), seen).await, None, "nothing is known");
        assert!(began.elapsed() < PATIENCE / 2, "{:?}", began.elapsed());
    }
}
