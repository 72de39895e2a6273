//! A disk that is busy, and a client that asks meanwhile.

use std::sync::Mutex;
use std::sync::mpsc;

mod copies;
mod led;
mod pods;
mod shown;
mod versions;

use super::*;
use crate::request::filter::Hub;
use crate::request::names;
use crate::runtime::drain;
use crate::runtime::metrics::Metrics;
use crate::state::inputs::Inputs;
use crate::state::rules::{Agents, RuleSet, Rules};
use crate::store::record::{ListAsk, Subject, WatchAsk};
use crate::store::{Credential, Document, Entry, Limits, Memory, Op, Parts, Reader, Sealer, Snapshot, Store, StoreError};

#[derive(Default)]
struct Busy {
    /// Whoever holds it keeps writes waiting.
    hang: Mutex<()>,
    rows: Memory,
}

impl Store for Busy {
    fn apply(&self, ops: &[Op], durable: bool) -> Result<(), StoreError> {
        let _turn = self.hang.lock().unwrap();
        self.rows.apply(ops, durable)
    }

    fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        self.rows.snapshot()
    }
}

fn offline(store: Arc<dyn Store>) -> Offline {
    let metrics = Arc::new(Metrics::default());
    let parts = Parts {
        store,
        sealer: Sealer::new(&[1; 32]),
        metrics: metrics.clone(),
        limits: Limits::default(),
        tasks: tokio::runtime::Handle::current(),
    };
    let link = Arc::new(Link::new(1));
    link.set(0, false);
    let filters = Filters {
        hub: Hub { address: [127, 0, 0, 1].into(), port: 1 },
        node_name: "n1".into(),
        inputs: Arc::new(Inputs::default()),
        rules: Arc::new(Rules::new(RuleSet::new(Agents::parse("*"), &[]))),
        told: Default::default(),
        hidden: Default::default(),
        metrics,
    };
    Offline {
        knowledge: Some(Knowledge::open(parts).unwrap()),
        filters: Arc::new(filters),
        link,
        node_name: "n1".into(),
        ending: drain::channel().1.ending,
        min_request_timeout: 1,
    }
}

fn list_of_configmaps() -> (Context, Asked) {
    asked("/api/v1/namespaces/a/configmaps")
}

/// The cloud is asked for all of it.
fn list_ask(target: &str) -> ListAsk {
    let (list, _) = asked(target);
    let scope = names::scope(&list.info, &list.accepts[0]);
    ListAsk { scope, continue_token: String::new(), quorum: true, reader: Reader::default(), started: 0 }
}

fn asked(target: &str) -> (Context, Asked) {
    let context = Context::of_node(target);
    let uri = context.target.parse().unwrap();
    (context, Asked { uri, accept: None, content_type: None, if_none_match: None, body: Some(Bytes::new()) })
}

/// Keeps the disk busy until told. The clock moves only by hand until the sender is
/// dropped, for that is what a paused clock does while a blocking task runs.
fn keep_busy(store: &Arc<Busy>) -> mpsc::SyncSender<()> {
    let (release, released) = mpsc::sync_channel(1);
    let (busy, is_busy) = mpsc::sync_channel(1);
    let store = store.clone();
    tokio::task::spawn_blocking(move || {
        let hanging = store.hang.lock().unwrap();
        busy.send(()).unwrap();
        let _ = released.recv();
        drop(hanging);
        let _ = released.recv();
    });
    is_busy.recv().unwrap();
    release
}

#[tokio::test(start_paused = true)]
async fn a_busy_disk_is_no_reason_to_say_that_the_node_does_not_know() {
    let store = Arc::new(Busy::default());
    let offline = offline(store.clone());
    let knowledge = offline.knowledge.as_ref().unwrap();
    let release = keep_busy(&store);
    let (context, asked) = list_of_configmaps();
    knowledge.grant(&context.grant(crate::store::NODE));
    let mut recording = knowledge.record(Subject::List(list_ask(&context.target)), false);
    let body = r#"{"kind":"ConfigMapList","apiVersion":"v1","metadata":{"resourceVersion":"7"},"items":[]}"#;
    recording.push(&Bytes::from_static(body.as_bytes()));
    recording.finish();
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    assert_eq!(knowledge.metrics().lists_remembered.get(), 0, "nobody can read it yet");

    let mut answer = std::pin::pin!(serve(&offline, &context, asked));
    assert!(futures_util::poll!(&mut answer).is_pending());
    tokio::time::advance(FLUSH * 2).await;
    assert!(futures_util::poll!(&mut answer).is_pending(), "still busy");
    release.send(()).unwrap();
    assert_eq!(answer.await.unwrap().status(), 200);
    assert_eq!(knowledge.metrics().lists_remembered.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_hangs_costs_the_last_second_not_the_answer() {
    let store = Arc::new(Busy::default());
    let offline = offline(store.clone());
    let _hangs = keep_busy(&store);
    let (context, asked) = list_of_configmaps();
    offline.knowledge.as_ref().unwrap().grant(&context.grant("somebody else"));
    let mut answer = std::pin::pin!(serve(&offline, &context, asked));
    assert!(futures_util::poll!(&mut answer).is_pending());
    tokio::time::advance(FLUSH).await;
    assert!(futures_util::poll!(&mut answer).is_pending(), "a refusal waits longer");
    tokio::time::advance(FLUSH_OR_REFUSE).await;
    assert_eq!(answer.await.unwrap_err().code, 403);
}

const SHOALS: &str = "/apis/x.io/v1/namespaces/a/fish";
const FISH: &str = r#"{"apiVersion":"x.io/v1","kind":"Fish","metadata":{"name":"f","namespace":"a","resourceVersion":"5"}}"#;
const EMPTY: &str = r#"{"apiVersion":"x.io/v1","items":[],"kind":"Shoal","metadata":{"continue":"","resourceVersion":"7"}}"#;

async fn remember(knowledge: &Arc<Knowledge>, subject: Subject, body: &str) {
    let mut recording = knowledge.record(subject, false);
    recording.push(&Bytes::copy_from_slice(body.as_bytes()));
    recording.finish();
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    knowledge.flush().await.unwrap();
}

/// A list that is not older than any before.
fn shoal(knowledge: &Knowledge) -> Subject {
    let (context, _) = asked(SHOALS);
    knowledge.grant(&context.grant(crate::store::NODE));
    Subject::List(ListAsk { started: u64::MAX, ..list_ask(SHOALS) })
}

async fn answer(offline: &Offline, target: &str) -> Result<Response, Refusal> {
    let (context, asked) = asked(target);
    offline.knowledge.as_ref().unwrap().grant(&context.grant(crate::store::NODE));
    serve(offline, &context, asked).await
}

/// An answer that the store gives by what it knows says how old that is; one that it does not know says nothing.
#[tokio::test]
async fn a_refusal_by_what_is_known_says_since_when() {
    let offline = offline(Arc::new(Memory::default()));
    let knowledge = offline.knowledge.as_ref().unwrap();
    let refused =
        async |target: &str| answer(&offline, target).await.err().map(|refusal| (refusal.code.as_u16(), refusal.known_at));
    let fish = format!("{SHOALS}/f");
    assert_eq!(refused(&fish).await, Some((503, None)), "neither known nor known to be absent");
    let (context, _) = asked(&fish);
    knowledge.note_absent(&names::object(&context.info, &context.accepts[0]));
    let (code, at) = refused(&fish).await.unwrap();
    assert!(code == 404 && at.is_some(), "the cloud has said so");
    remember(knowledge, shoal(knowledge), EMPTY).await;
    let (code, at) = refused(&format!("{SHOALS}/other")).await.unwrap();
    assert!(code == 404 && at.is_some(), "a complete list is without it");
    let (code, at) = refused(&format!("{SHOALS}?resourceVersion=5&resourceVersionMatch=Exact")).await.unwrap();
    assert!(code == 410 && at.is_some(), "the list has gone on");
    assert_eq!(refused(&format!("{SHOALS}?resourceVersion=9&resourceVersionMatch=NotOlderThan")).await, Some((503, None)));
}

/// Nobody describes the API in CBOR: the client's fault, as with resources, not the link's.
#[tokio::test]
async fn discovery_in_no_representation_there_is_is_not_acceptable() {
    let offline = offline(Arc::new(Memory::default()));
    let knowledge = offline.knowledge.as_ref().unwrap();
    let head = Document { content_type: "application/json".into(), ..Document::default() };
    remember(knowledge, Subject::Document { name: "/apis/x.io/v1\0application/json".into(), head }, "{}").await;
    for (accept, code) in [
        ("application/cbor", 406),
        ("application/json;q=0", 406),
        ("application/cbor,application/json", 200),
        ("application/vnd.kubernetes.protobuf", 503),
        ("application/com.github.proto-openapi.spec.v2@v1.0+protobuf", 503),
    ] {
        let (mut context, mut asked) = asked("/apis/x.io/v1");
        knowledge.grant(&context.grant(crate::store::NODE));
        context.accepts = crate::kube::media::accepted(Some(accept));
        asked.accept = HeaderValue::try_from(accept).ok();
        let answer = serve(&offline, &context, asked).await;
        assert_eq!(answer.map_or_else(|refusal| refusal.code, |answer| answer.status()), code, "{accept}");
    }
}

/// The frames of a watch from the beginning, up to its bookmark.
async fn beginning(offline: &Offline) -> Result<String, u16> {
    let target = format!(
        "{SHOALS}?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&timeoutSeconds=60"
    );
    let mut body = answer(offline, &target).await.map_err(|refusal| refusal.code.as_u16())?.into_body();
    let mut told = String::new();
    while !told.contains("BOOKMARK") {
        told += std::str::from_utf8(body.frame().await.unwrap().unwrap().data_ref().unwrap()).unwrap();
    }
    Ok(told)
}

/// What a document of `/openapi/v3` says of it.
async fn describe(knowledge: &Arc<Knowledge>) {
    let kind = |kind: &str| serde_json::json!({"group": "x.io", "version": "v1", "kind": kind});
    let content = serde_json::json!({"application/json": {"schema": {"$ref": "#/components/schemas/io.x.v1.FishList"}}});
    let document = serde_json::json!({
        "info": {"title": "Kubernetes CRD Swagger"},
        "paths": {SHOALS.replace("/a/", "/{namespace}/"): {
            "get": {"x-kubernetes-group-version-kind": kind("Fish"), "responses": {"200": {"content": content}}},
        }},
        "components": {"schemas": {"io.x.v1.FishList": {"x-kubernetes-group-version-kind": [kind("Shoal")]}}},
    });
    let head = Document { content_type: "application/json".into(), ..Document::default() };
    let name = names::openapi(&asked(SHOALS).0.info);
    remember(knowledge, Subject::Document { name, head }, &document.to_string()).await;
}

/// A definition may give the lists of its resource any name.
#[tokio::test]
async fn a_list_may_have_any_name() {
    let offline = offline(Arc::new(Memory::default()));
    let knowledge = offline.knowledge.as_ref().unwrap();
    let list = EMPTY.replace("[]", &format!("[{FISH}]"));
    remember(knowledge, shoal(knowledge), &list).await;
    let answered = answer(&offline, SHOALS).await.unwrap().into_body().collect().await.unwrap().to_bytes();
    assert_eq!(String::from_utf8_lossy(&answered).trim_end(), list);
    let told = beginning(&offline).await.unwrap();
    assert!(told.starts_with(&format!(r#"{{"type":"ADDED","object":{FISH}}}"#)), "{told}");
    assert!(told.contains(r#""kind":"Fish","#) && !told.contains("Shoal"), "{told}");
}

#[tokio::test]
async fn the_kind_of_what_is_not_there_is_looked_up_or_not_said() {
    let offline = offline(Arc::new(Memory::default()));
    let knowledge = offline.knowledge.as_ref().unwrap();
    remember(knowledge, shoal(knowledge), EMPTY).await;
    assert_eq!(beginning(&offline).await, Err(503), "a bookmark of nobody knows what");
    describe(knowledge).await;
    let told = beginning(&offline).await.unwrap();
    assert!(told.contains(r#""kind":"Fish""#), "{told}");
}

#[tokio::test]
async fn a_watch_does_not_say_what_a_list_is_called() {
    let offline = offline(Arc::new(Memory::default()));
    let knowledge = offline.knowledge.as_ref().unwrap();
    let Subject::List(ListAsk { scope, .. }) = shoal(knowledge) else { unreachable!() };
    let end = r#"{"apiVersion":"x.io/v1","kind":"Fish","metadata":{"annotations":{"k8s.io/initial-events-end":"true"},"resourceVersion":"7"}}"#;
    let told = format!("{{\"type\":\"ADDED\",\"object\":{FISH}}}\n{{\"type\":\"BOOKMARK\",\"object\":{end}}}\n");
    let ask = WatchAsk { scope, resource_version: String::new(), send_initial_events: true, reader: Reader::default() };
    remember(knowledge, Subject::Watch(ask), &told).await;
    describe(knowledge).await;
    let answered = answer(&offline, SHOALS).await.unwrap().into_body().collect().await.unwrap().to_bytes();
    assert_eq!(String::from_utf8_lossy(&answered).trim_end(), EMPTY.replace("[]", &format!("[{FISH}]")));
}

/// One object for each node, as a LIST has them; no node: it is of none, or not scheduled yet.
fn list_of_nodes_own((api_version, kind): (&str, &str), nodes: &[&str]) -> String {
    let namespace = if kind == "PodList" { r#""namespace":"a","# } else { "" };
    let own = |(index, node): (usize, &&str)| {
        let spec = if node.is_empty() { String::new() } else { format!(r#","spec":{{"nodeName":"{node}"}}"#) };
        format!(r#"{{"metadata":{{"name":"p-{index}",{namespace}"resourceVersion":"5"}}{spec}}}"#)
    };
    let items: Vec<String> = nodes.iter().enumerate().map(own).collect();
    let items = items.join(",");
    format!(r#"{{"kind":"{kind}","apiVersion":"{api_version}","metadata":{{"resourceVersion":"7"}},"items":[{items}]}}"#)
}

async fn page(offline: &Offline, target: &str) -> (Vec<String>, String) {
    let answer = answer(offline, target).await.unwrap();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    let list: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let names = list["items"].as_array().unwrap().iter().map(|item| item["metadata"]["name"].as_str().unwrap().to_owned());
    (names.collect(), list["metadata"]["continue"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn pages_of_what_is_a_nodes_go_on_while_there_are_more() {
    let slices = ("/apis/resource.k8s.io/v1/resourceslices", ("resource.k8s.io/v1", "ResourceSliceList"));
    for (path, types) in [("/api/v1/pods", ("v1", "PodList")), slices] {
        for case in 0..243_usize {
            let nodes: Vec<&str> = (0..5).map(|place| ["n-1", "n-2", ""][case / 3_usize.pow(place) % 3]).collect();
            pages_of_nodes(path, types, &nodes).await;
        }
    }
}

async fn pages_of_nodes(path: &str, types: (&str, &str), nodes: &[&str]) {
    let offline = offline(Arc::new(Memory::default()));
    let knowledge = offline.knowledge.as_ref().unwrap();
    let mut recording = knowledge.record(Subject::List(list_ask(path)), false);
    recording.push(&Bytes::from(list_of_nodes_own(types, nodes)));
    recording.finish();
    knowledge.catch_up().await.unwrap();
    for (node, limit) in ["n-1", ""].into_iter().flat_map(|node| (1..4).map(move |limit| (node, limit))) {
        let told = format!("{path}: {nodes:?} {node} {limit}");
        let mut left: Vec<String> = (0..5).filter(|index| nodes[*index] == node).map(|index| format!("p-{index}")).collect();
        let target = format!("{path}?fieldSelector=spec.nodeName%3D{node}&limit={limit}");
        let (names, mut token) = page(&offline, &target).await;
        assert_eq!(names, left.drain(..limit.min(left.len())).collect::<Vec<_>>(), "{told}");
        assert_eq!(!token.is_empty(), !left.is_empty(), "{told}: no other is seen behind the last");
        while !token.is_empty() {
            let names;
            (names, token) = page(&offline, &format!("{target}&continue={token}")).await;
            assert_eq!(names, left.drain(..limit.min(left.len())).collect::<Vec<_>>(), "{told}");
        }
        assert!(left.is_empty(), "{told}: {left:?} never came");
    }
}

#[tokio::test]
async fn a_document_that_came_compressed_goes_out_so_to_whom_takes_it() {
    use std::io::Write as _;

    use crate::kube::coding::Codings;
    let plain = format!(r#"{{"swagger":"2.0","text":"{}"}}"#, "text ".repeat(50_000));
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(plain.as_bytes()).unwrap();
    let packed = encoder.finish().unwrap();
    let offline = offline(Arc::new(Memory::default()));
    let knowledge = offline.knowledge.as_ref().unwrap();
    let head = Document { content_type: "application/json".into(), ..Document::default() };
    let mut recording = knowledge.record(Subject::Document { name: "/openapi/v2\0application/json".into(), head }, true);
    recording.push(&Bytes::from(packed.clone()));
    recording.finish();
    for (encodings, layout, is_packed) in [
        ("gzip, deflate", Layout::Compact, true),
        ("gzip, identity;q=0", Layout::Compact, true),
        ("", Layout::Compact, false),
        ("gzip;q=0", Layout::Compact, false),
        ("gzip", Layout::Indented, false),
    ] {
        let (mut context, asked) = asked("/openapi/v2");
        (context.codings, context.layout) = (Codings::of([encodings].into_iter()), layout);
        knowledge.grant(&context.grant(crate::store::NODE));
        let answer = serve(&offline, &context, asked).await.unwrap();
        let headers = answer.headers();
        assert_eq!(headers.get("content-encoding").is_some_and(|coding| coding == "gzip"), is_packed, "{encodings}");
        assert_eq!(headers["vary"], "Accept-Encoding");
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        if is_packed || layout == Layout::Compact {
            assert!(body == if is_packed { packed.clone() } else { plain.clone().into_bytes() }, "{encodings}");
        }
        if !is_packed {
            assert!(serde_json::from_slice::<serde_json::Value>(&body).is_ok(), "{encodings}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let never = http_body_util::StreamBody::new(futures_util::stream::pending());
    let request = http::Request::post("/api/v1/namespaces/a/events").body(Box::pin(never) as RequestBody).unwrap();
    let asked = tokio::time::timeout(2 * BODY_TIMEOUT, Asked::of(request)).await.expect("it ends");
    let refusal = asked.err().unwrap();
    assert_eq!(refusal.code, StatusCode::REQUEST_TIMEOUT, "{}", refusal.message);
}

/// Counts the states that somebody holds.
#[derive(Default)]
struct Held {
    rows: Memory,
    count: tokio::sync::watch::Sender<usize>,
}

struct HeldSnapshot {
    rows: Box<dyn Snapshot>,
    count: tokio::sync::watch::Sender<usize>,
}

impl Drop for HeldSnapshot {
    fn drop(&mut self) {
        self.count.send_modify(|count| *count -= 1);
    }
}

impl Store for Held {
    fn apply(&self, ops: &[Op], durable: bool) -> Result<(), StoreError> {
        self.rows.apply(ops, durable)
    }

    fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        let rows = self.rows.snapshot()?;
        self.count.send_modify(|count| *count += 1);
        Ok(Box::new(HeldSnapshot { rows, count: self.count.clone() }))
    }
}

impl Snapshot for HeldSnapshot {
    fn read(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.rows.read(key)
    }

    fn scan(&self, prefix: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), StoreError> {
        self.rows.scan(prefix, visit)
    }

    fn scan_after(&self, prefix: &[u8], after: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), StoreError> {
        self.rows.scan_after(prefix, after, visit)
    }
}

/// The disk can free nothing of what has changed since that state.
#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_holds_the_state_that_it_is_told_for_a_minute() {
    let store = Arc::new(Held::default());
    let offline = offline(store.clone());
    let knowledge = offline.knowledge.as_ref().unwrap();
    let target = "/api/v1/namespaces/a/configmaps";
    let item =
        |name: usize| format!(r#"{{"metadata":{{"name":"c-{name}","namespace":"a"}},"data":{{"v":"{}"}}}}"#, "x".repeat(200_000));
    let items: Vec<String> = (0..8).map(item).collect();
    let items = items.join(",");
    let body = format!(r#"{{"kind":"ConfigMapList","apiVersion":"v1","metadata":{{"resourceVersion":"7"}},"items":[{items}]}}"#);
    remember(knowledge, Subject::List(list_ask(target)), &body).await;
    let mut held = store.count.subscribe();
    assert_eq!(*held.borrow(), 0);
    for target in [target.to_owned(), format!("{target}?watch=1&resourceVersion=0")] {
        let context = Context::of_node(&target);
        let mut body = match context.info.verb.as_str() {
            "watch" => watch::serve(&offline, knowledge, &context).await.unwrap().into_body(),
            _ => answer::list(&offline, knowledge, &context).await.unwrap().into_body(),
        };
        body.frame().await.unwrap().unwrap();
        let began = tokio::time::Instant::now();
        assert_eq!(*held.borrow(), 1, "{target}");
        held.wait_for(|held| *held == 0).await.unwrap();
        let minute = Duration::from_secs(60)..Duration::from_secs(61);
        assert!(minute.contains(&began.elapsed()), "{target}: {:?}", began.elapsed());
        let broken = loop {
            match body.frame().await {
                Some(Ok(_)) => {}
                Some(Err(_)) => break true,
                None => break false,
            }
        };
        assert!(broken, "{target}: what did not come whole does not end as if it had");
    }
}
