//! Another process takes the hub's place, as it does at an upgrade: clients do not notice.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use testkit::fake::Fault;

use super::held::{Watching, event, listed, put};
use super::*;

const EVENTS: &str = "/api/v1/namespaces/story/events";
const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

/// A Pod over HTTP/2, one over HTTP/1.1, and kubelet.
async fn three(rig: &Rig) -> [Client; 3] {
    let http1 = rig.hub.pod(TOKEN, Alpn::H1).await.unwrap();
    [rig.pod().await, http1, rig.hub.kubelet().await.unwrap()]
}

async fn watching(rig: &Rig) -> [Watching; 3] {
    let version = listed(rig, &rig.pod().await, "").await;
    let [http2, http1, kubelet] = three(rig).await;
    let begin = async |client: &Client, query: &str| Watching::from(client, version, query).await;
    [begin(&http2, "allowWatchBookmarks=true").await, begin(&http1, "").await, begin(&kubelet, "").await]
}

async fn all_see(watching: &mut [Watching; 3], expected: &(String, String, String)) {
    for watching in watching {
        assert_eq!(watching.next().await, *expected);
    }
}

/// How many watches the process that answers now has.
async fn watches(rig: &Rig) -> f64 {
    rig.hub.total("node_yurthub_in_flight_requests_total").await.unwrap()
}

async fn are_handed_over(rig: &Rig, count: f64) {
    eventually("the new process has the watches", SECONDS(10), async || Ok(watches(rig).await >= count)).await.unwrap();
}

/// Lists that the cloud was asked for by clients.
fn lists(rig: &Rig) -> usize {
    let of_clients = rig.fake.requests().into_iter().filter(|request| request.path_and_query.starts_with(CONFIGMAPS));
    of_clients.filter(|request| !request.path_and_query.contains("watch=")).count()
}

#[tokio::test]
async fn watches_stay_open_and_are_told_everything_by_the_new_process() {
    let mut rig = Rig::start().await;
    let mut three = watching(&rig).await;
    let before = lists(&rig);
    put(&rig, "before", "1");
    all_see(&mut three, &event("ADDED", "before", "1")).await;
    let old = rig.hub.pid().unwrap();
    for text in ["2", "3"] {
        rig.hub.hand_over().await.unwrap();
        are_handed_over(&rig, 3.0).await;
        put(&rig, "before", text);
        all_see(&mut three, &event("MODIFIED", "before", text)).await;
    }
    assert_ne!(rig.hub.pid(), Some(old));
    rig.cut(Fault::Reset).await;
    put(&rig, "before", "4");
    rig.fake.delete("configmaps", "story", "greeting");
    rig.restore().await;
    all_see(&mut three, &event("MODIFIED", "before", "4")).await;
    all_see(&mut three, &event("DELETED", "greeting", "hello")).await;
    assert_eq!(lists(&rig), before, "nobody has listed again");
    drop(three);
    assert!(rig.hub.ended(SECONDS(20)).await.unwrap().success(), "once its clients have left");
    assert_eq!(rig.pod().await.get(CONFIGMAPS).await.unwrap().status, 200);
}

#[tokio::test]
async fn a_process_takes_over_while_the_link_is_down() {
    let mut rig = Rig::start().await;
    let pod = rig.pod().await;
    // 409 is an answer to somebody who may.
    rig.fake.fault_next(EVENTS, Fault::Status(409));
    assert_eq!(pod.request("POST", EVENTS, &JSON, "{}").await.unwrap().status, 409);
    let mut three = watching(&rig).await;
    rig.cut(Fault::Refuse).await;
    let post = async |pod: &Client, name: &str| {
        pod.request("POST", EVENTS, &JSON, super::event("story", name).to_string()).await.unwrap().status.as_u16()
    };
    assert_eq!(post(&pod, "before").await, 201);
    rig.hub.hand_over().await.unwrap();
    let pod = rig.pod().await;
    let list = pod.get(CONFIGMAPS).await.unwrap();
    assert_eq!((list.status.as_u16(), list.json()["items"].as_array().unwrap().len()), (200, 2));
    assert_eq!(post(&pod, "after").await, 201);
    are_handed_over(&rig, 3.0).await;
    put(&rig, "greeting", "changed");
    rig.restore().await;
    all_see(&mut three, &event("MODIFIED", "greeting", "changed")).await;
    for name in ["before", "after"] {
        eventually("it is delivered", SECONDS(20), async || Ok(rig.fake.get("events", "story", name).is_some())).await.unwrap();
    }
    let posted = |request: &testkit::fake::Recorded| request.method == "POST" && request.path_and_query.starts_with(EVENTS);
    assert_eq!(rig.fake.requests().iter().filter(|request| posted(request)).count(), 3, "each once");
}

/// Each on a connection of its own, all the time.
#[tokio::test]
async fn no_request_fails_while_processes_take_over() {
    let mut rig = Rig::start().await;
    assert_eq!(rig.pod().await.get(CONFIGMAPS).await.unwrap().status, 200);
    let (loopback, count) = (rig.hub.loopback, Arc::new(AtomicUsize::new(0)));
    let ask = |count: Arc<AtomicUsize>| async move {
        loop {
            let answer = async { Client::http1(loopback).await?.get(CONFIGMAPS).await };
            assert_eq!(answer.await.unwrap().status, 200);
            count.fetch_add(1, Ordering::Relaxed);
        }
    };
    let mut asking = tokio::task::JoinSet::new();
    (0..4).for_each(|_| drop(asking.spawn(ask(count.clone()))));
    for round in 1..=3 {
        let answered = async || Ok(count.load(Ordering::Relaxed) > round * 20);
        eventually("all have asked", SECONDS(20), answered).await.unwrap();
        rig.hub.hand_over().await.unwrap();
    }
    assert!(asking.try_join_next().is_none(), "none has failed");
}

#[tokio::test]
async fn where_the_new_process_does_not_come_up_the_old_one_goes_on() {
    let rig = Rig::start().await;
    let mut three = watching(&rig).await;
    let failures = || rig.hub.log().matches("no other process takes over").count();
    // Before it is given anything, and when it opens the store.
    let key = rig.hub.folder().join("root/store.key");
    for (round, file) in [rig.hub.folder().join("serving.crt"), key].into_iter().enumerate() {
        let whole = std::fs::read(&file).unwrap_or_else(|_| panic!("{}", file.display()));
        std::fs::write(&file, "no such thing").unwrap();
        rig.hub.signal("HUP").unwrap();
        eventually("it has failed", SECONDS(60), async || Ok(failures() > round)).await.unwrap();
        std::fs::write(&file, whole).unwrap();
        let text = round.to_string();
        put(&rig, &text, "1");
        all_see(&mut three, &event("ADDED", &text, "1")).await;
        listed(&rig, &rig.pod().await, "").await;
        rig.cut(Fault::Refuse).await;
        let list = rig.pod().await.get(CONFIGMAPS).await.unwrap();
        assert_eq!((list.status.as_u16(), list.json()["items"].as_array().unwrap().len()), (200, 3 + round), "the store is open");
        rig.restore().await;
    }
}

#[tokio::test]
async fn what_is_left_ends_as_it_should_when_the_new_process_is_killed() {
    let mut rig = Rig::start().await;
    let mut three = watching(&rig).await;
    rig.hub.hand_over().await.unwrap();
    are_handed_over(&rig, 3.0).await;
    rig.hub.signal("KILL").unwrap();
    for watching in &mut three {
        assert!(watching.stream.event().await.unwrap().is_none(), "a clean end: its client asks again");
    }
    rig.hub.ended(SECONDS(20)).await.unwrap();
}
