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

pub(super) async fn are_handed_over(rig: &Rig, count: f64) {
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

/// Each on a connection of its own, all the time: kubelet, and Pods by both protocols.
#[tokio::test]
async fn no_request_fails_while_processes_take_over() {
    let mut rig = Rig::start().await;
    let (loopback, secure, ca) = (rig.hub.loopback, rig.hub.secure, rig.fake.pki().ca_pem().to_owned());
    let count = Arc::new(AtomicUsize::new(0));
    let ask = |count: Arc<AtomicUsize>, ca: String, alpn: Option<Alpn>| async move {
        loop {
            let answer = async {
                let client = match alpn {
                    None => Client::http1(loopback).await?,
                    Some(alpn) => Client::https(secure, &ca, "127.0.0.1", alpn).await?.with_token(TOKEN),
                };
                client.get(CONFIGMAPS).await
            };
            assert_eq!(answer.await.unwrap().status, 200, "{alpn:?}");
            count.fetch_add(1, Ordering::Relaxed);
        }
    };
    let mut asking = tokio::task::JoinSet::new();
    for alpn in [None, Some(Alpn::H1), Some(Alpn::H2)] {
        (0..2).for_each(|_| drop(asking.spawn(ask(count.clone(), ca.clone(), alpn))));
    }
    for round in 1..=3 {
        let answered = async || Ok(count.load(Ordering::Relaxed) > round * 20);
        eventually("all have asked", SECONDS(20), answered).await.unwrap();
        rig.hub.hand_over().await.unwrap();
    }
    // Beyond what the old one waits for those that have just come.
    let before = count.load(Ordering::Relaxed);
    let answered = async || Ok(count.load(Ordering::Relaxed) > before + 100);
    eventually("all have asked", SECONDS(20), answered).await.unwrap();
    rig.hub.ended(SECONDS(20)).await.unwrap();
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

/// What happens while the store is another process's, and that one does not come up.
#[tokio::test]
async fn nothing_is_missed_meanwhile_where_the_new_process_does_not_come_up() {
    let rig = Rig::start().await;
    for verb in ["list", "watch"] {
        rig.fake.allow(SAMPLE, verb, "secrets", "story", "*");
    }
    let pod = rig.pod().await;
    let secrets = pod.get("/api/v1/namespaces/story/secrets").await.unwrap().json();
    let from = &secrets["metadata"]["resourceVersion"].as_str().unwrap();
    let target = format!("/api/v1/namespaces/story/secrets?watch=1&resourceVersion={from}");
    let mut others = pod.stream("GET", &target, &[], "").await.unwrap();
    let mut three = watching(&rig).await;
    let key = rig.hub.folder().join("root/store.key");
    let whole = std::fs::read(&key).unwrap();
    std::fs::remove_file(&key).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&key).status().unwrap().success());
    rig.hub.signal("HUP").unwrap();
    let heir = heir(&rig.hub).await;
    let waits = |thread: std::io::Result<std::fs::DirEntry>| {
        std::fs::read_to_string(thread.unwrap().path().join("wchan")).is_ok_and(|at| at == "wait_for_partner")
    };
    let wait = async || Ok(std::fs::read_dir(format!("/proc/{heir}/task"))?.any(waits));
    eventually("the new one waits for its key", SECONDS(20), wait).await.unwrap();
    let of_story = |asked: &testkit::fake::Recorded| asked.path_and_query.starts_with("/api/v1/namespaces/story/");
    let asked = || rig.fake.requests().into_iter().filter(of_story);
    let none = async || Ok(asked().all(|asked| rig.fake.open(&asked.path_and_query) == 0));
    eventually("nobody is told what the store is not told", SECONDS(20), none).await.unwrap();
    put(&rig, "meanwhile", "1");
    rig.fake.put("secrets", "story", "meanwhile", json!({"data": {"value": "MQ=="}}));
    assert!(std::process::Command::new("kill").arg("-9").arg(&heir).status().unwrap().success());
    all_see(&mut three, &event("ADDED", "meanwhile", "1")).await;
    assert_eq!(others.event().await.unwrap().unwrap()["object"]["metadata"]["name"], "meanwhile");
    std::fs::remove_file(&key).unwrap();
    std::fs::write(&key, whole).unwrap();
    rig.cut(Fault::Refuse).await;
    for (path, count) in [(CONFIGMAPS, 3), ("/api/v1/namespaces/story/secrets", 3)] {
        let list = rig.pod().await.get(path).await.unwrap();
        assert_eq!((list.status.as_u16(), list.json()["items"].as_array().unwrap().len()), (200, count), "{path}");
    }
}

/// The process that is to take the hub's place.
async fn heir(hub: &Hub) -> String {
    let pid = hub.pid().unwrap();
    let children = || std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    eventually("another process is begun", SECONDS(10), async || Ok(!children().is_empty())).await.unwrap();
    children().trim().to_owned()
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

#[tokio::test]
async fn an_answer_from_the_store_is_read_to_its_end() {
    let mut rig = Rig::start().await;
    // More than waits in sockets and windows.
    let text = "x".repeat(1 << 20);
    let large = |name: u32| rig.fake.put("configmaps", "story", &format!("large-{name}"), json!({"data": {"text": text}}));
    (0..12).for_each(|name| _ = large(name));
    rig.link_is(1.0).await;
    let client = rig.pod().await;
    listed(&rig, &client, "").await;
    rig.cut(Fault::Refuse).await;
    let is_remembered = async || Ok(client.get(CONFIGMAPS).await?.status == 200);
    eventually("the list is remembered", SECONDS(10), is_remembered).await.unwrap();
    let mut answer = client.stream("GET", CONFIGMAPS, &[], "").await.unwrap();
    assert_eq!(answer.status, 200);
    let mut length = answer.chunk().await.unwrap().unwrap().len();
    rig.hub.signal("HUP").unwrap();
    let failed = async || Ok(rig.hub.log().contains("reads so slowly"));
    eventually("the store is not given up", SECONDS(30), failed).await.unwrap();
    while let Some(chunk) = answer.chunk().await.unwrap() {
        length += chunk.len();
    }
    assert!(length > 12 << 20, "{length}");
    rig.hub.hand_over().await.unwrap();
    assert_eq!(rig.pod().await.get(CONFIGMAPS).await.unwrap().body.len(), length);
}

#[tokio::test]
async fn a_thousand_watches_go_over_and_nobody_misses_anything() {
    let mut rig = Rig::start().await;
    let client = rig.pod().await;
    let version = listed(&rig, &client, "").await;
    let mut watching = Vec::new();
    for number in 0..1000 {
        watching.push(Watching::from(&client, version, &format!("labelSelector=!not-{number}")).await);
    }
    rig.hub.hand_over().await.unwrap();
    put(&rig, "at-once", "1");
    are_handed_over(&rig, 1000.0).await;
    put(&rig, "later", "2");
    for watching in &mut watching {
        assert_eq!(watching.next().await, event("ADDED", "at-once", "1"));
        assert_eq!(watching.next().await, event("ADDED", "later", "2"));
    }
}

/// As systemd reads it.
#[tokio::test]
async fn the_service_manager_is_told_which_process_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let manager = std::os::unix::net::UnixDatagram::bind(folder.path().join("notify")).unwrap();
    manager.set_nonblocking(true).unwrap();
    let told = || {
        let mut text = [0; 4096];
        std::iter::from_fn(|| manager.recv(&mut text).ok().map(|length| String::from_utf8_lossy(&text[..length]).into_owned()))
            .collect::<String>()
    };
    let (_fake, mut hub) = prepared().await;
    hub.set_env("NOTIFY_SOCKET", &folder.path().join("notify").display().to_string());
    hub.run().await.unwrap();
    assert!(told().contains("READY=1"));
    hub.hand_over().await.unwrap();
    let now = told();
    let at = |word: &str| now.find(word).unwrap_or_else(|| panic!("{word} in {now}"));
    let main = at(&format!("MAINPID={}\nREADY=1", hub.pid().unwrap()));
    assert!(at("RELOADING=1\nMONOTONIC_USEC=") < main, "{now}");
    hub.signal("TERM").unwrap();
    eventually("the new one ends", SECONDS(10), async || Ok(told().contains("STOPPING=1"))).await.unwrap();
}

#[tokio::test]
async fn a_process_that_is_to_end_takes_the_one_with_it_that_has_not_come_up() {
    let (_fake, mut hub) = prepared().await;
    hub.run().await.unwrap();
    // Reading this never ends, and the old one has read it.
    let key = hub.folder().join("root/store.key");
    std::fs::remove_file(&key).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&key).status().unwrap().success());
    hub.signal("HUP").unwrap();
    let heir = heir(&hub).await;
    hub.signal("TERM").unwrap();
    assert!(hub.ended(SECONDS(20)).await.unwrap().success());
    assert!(!std::path::Path::new(&format!("/proc/{heir}")).exists());
}
