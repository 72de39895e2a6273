//! A disk that is busy, and a client that asks meanwhile.

use std::sync::Mutex;
use std::sync::mpsc;

use super::*;
use crate::request::filter::Hub;
use crate::request::names;
use crate::runtime::drain;
use crate::runtime::metrics::Metrics;
use crate::state::inputs::Inputs;
use crate::state::rules::{Agents, RuleSet, Rules};
use crate::store::record::{ListAsk, Subject};
use crate::store::{Credential, Entry, Limits, Memory, Op, Parts, Sealer, Snapshot, Store, StoreError};

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
    with_limits(store, Limits::default())
}

fn with_limits(store: Arc<dyn Store>, limits: Limits) -> Offline {
    let metrics = Arc::new(Metrics::default());
    let parts = Parts {
        store,
        sealer: Sealer::new(&[1; 32]),
        metrics: metrics.clone(),
        limits,
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
    let context = Context::of_node("/api/v1/namespaces/a/configmaps");
    let uri = context.target.parse().unwrap();
    (context, Asked { uri, accept: None, content_type: None, if_none_match: None, body: Bytes::new() })
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
    let scope = names::scope(&context.info, &context.accepts[0]);
    let ask = ListAsk { scope, continue_token: String::new(), quorum: true, pinned: false, started: 0 };
    let mut recording = knowledge.record(Subject::List(ask), false);
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

/// Once the journal is full, the oldest Event goes for each new one.
#[tokio::test]
async fn a_watch_whose_event_had_to_go_for_a_newer_one_makes_its_client_list_again() {
    let limits = Limits { journal_entries: 2, ..Limits::default() };
    let mut offline = with_limits(Arc::new(Memory::default()), limits);
    let (_begins, draining) = drain::channel();
    offline.ending = draining.ending;
    let knowledge = offline.knowledge.as_ref().unwrap();
    let target = "/api/v1/namespaces/a/events";
    let list = Context::of_node(target);
    let scope = names::scope(&list.info, &list.accepts[0]);
    let ask = ListAsk { scope, continue_token: String::new(), quorum: true, pinned: false, started: 0 };
    let mut recording = knowledge.record(Subject::List(ask), false);
    let body = r#"{"kind":"EventList","apiVersion":"v1","metadata":{"resourceVersion":"7"},"items":[]}"#;
    recording.push(&Bytes::from_static(body.as_bytes()));
    recording.finish();
    knowledge.catch_up().await.unwrap();
    let context = Context::of_node(&format!("{target}?watch=1&resourceVersion=7"));
    let mut watch = watch::serve(&offline, knowledge, &context).await.unwrap().into_body();
    for (name, said) in [("e1", "e1"), ("e2", "e2"), ("e3", "410")] {
        let body = format!(r#"{{"metadata":{{"name":"{name}"}}}}"#).into_bytes();
        let entry = Entry::new(target.into(), name.into(), "application/json".into(), Credential::Node, body);
        knowledge.accept(entry).await.unwrap();
        let frame = watch.frame().await.unwrap().unwrap().into_data().unwrap();
        let text = String::from_utf8(frame.to_vec()).unwrap();
        assert!(text.contains(said), "{text}");
    }
    assert!(watch.frame().await.is_none());
    let resumed = watch::serve(&offline, knowledge, &context).await;
    assert_eq!(resumed.err().map(|refusal| refusal.code.as_u16()), Some(410), "nor does another one go on from there");
}
