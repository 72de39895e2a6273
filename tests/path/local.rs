//! What is written on the node while the link is down is seen there at once, and nobody is left with what the cloud
//! never got.

use holdfast::kube::list::Encoding;
use holdfast::kube::{proto, typed};
use serde_json::{Value, json};
use testkit::client::{Client, Streaming};
use testkit::fake::Fault;

use super::*;

pub(super) const EVENTS: &str = "/api/v1/namespaces/story/events";
const NEW_EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/story/events";
const JSON: [(&str, &str); 1] = [("content-type", "application/json")];
const PROTOBUF: [(&str, &str); 1] = [("content-type", "application/vnd.kubernetes.protobuf")];
const TABLE: [(&str, &str); 1] = [("accept", "application/json;as=Table;g=meta.k8s.io;v=v1")];
const KUBECTL: [(&str, &str); 1] = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json")];
pub(super) const METADATA: [(&str, &str); 1] = [("accept", "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1")];

fn event(name: &str, about: &str) -> Value {
    json!({"kind": "Event", "apiVersion": "v1", "metadata": {"name": name, "namespace": "story", "labels": {"about": about}},
        "involvedObject": {"kind": "Pod", "name": about, "namespace": "story"}, "reason": "Sampled", "message": name,
        "type": "Normal", "count": 1, "lastTimestamp": "2026-01-01T00:00:00Z"})
}

pub(super) async fn post(client: &Client, name: &str, about: &str) -> u16 {
    client.request("POST", EVENTS, &JSON, event(name, about).to_string()).await.unwrap().status.as_u16()
}

async fn post_protobuf(client: &Client, name: &str, about: &str) -> u16 {
    post_as_protobuf(client, &event(name, about)).await
}

/// As kubelet sends them.
async fn post_as_protobuf(client: &Client, event: &Value) -> u16 {
    let of = typed::of("", "events").unwrap();
    let event = typed::Typed::read(of, Encoding::Json, event.to_string().as_bytes()).unwrap();
    let body = proto::envelop("v1", "Event", &event.write(of, Encoding::Protobuf));
    client.request("POST", EVENTS, &PROTOBUF, body).await.unwrap().status.as_u16()
}

/// A cut link, and one Event that came from the cloud; the list's version.
pub(super) async fn rig() -> (Rig, Client, Client, String) {
    let rig = Rig::start().await;
    for verb in ["get", "list", "watch"] {
        rig.fake.allow("system:serviceaccount:story:sample", verb, "events", "story", "*");
    }
    let (pod, kubelet) = (rig.pod().await, rig.hub.kubelet().await.unwrap());
    assert_eq!(post(&pod, "m-online", "p").await, 201);
    assert_eq!(post(&kubelet, "elsewhere", "p").await, 201);
    rig.fake.delete("events", "story", "elsewhere");
    // 409 is an answer to somebody who may.
    rig.fake.fault_next(NEW_EVENTS, Fault::Status(409));
    assert_eq!(kubelet.request("POST", NEW_EVENTS, &JSON, "{}").await.unwrap().status, 409);
    // Rights are asked for one by one.
    assert_eq!(pod.get(&format!("{EVENTS}/a-local")).await.unwrap().status, 404);
    let lists = rig.hub.metric("holdfast_lists_remembered_total").await.unwrap();
    let list = pod.get(EVENTS).await.unwrap().json();
    assert_eq!(kubelet.get("/api/v1/events").await.unwrap().status, 200);
    assert_eq!(kubelet.get(NEW_EVENTS).await.unwrap().status, 200);
    assert_eq!(pod.request("GET", &format!("{EVENTS}?copy=1"), &KUBECTL, "").await.unwrap().status, 200);
    assert_eq!(pod.stream("GET", &format!("{EVENTS}?watch=1"), &[], "").await.unwrap().status, 200);
    rig.remembered(lists + 3.0).await;
    rig.cut(Fault::Refuse).await;
    let version = list["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    (rig, pod, kubelet, version)
}

fn names_of(list: &Value) -> Vec<String> {
    let items = list["items"].as_array().unwrap_or_else(|| panic!("{list}"));
    items.iter().map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

async fn names(client: &Client, target: &str) -> Vec<String> {
    names_of(&client.get(target).await.unwrap().json())
}

pub(super) async fn watch(client: &Client, version: &str, query: &str, headers: &[(&str, &str)]) -> Streaming {
    let watch = client.stream("GET", &format!("{EVENTS}?watch=1&resourceVersion={version}{query}"), headers, "").await.unwrap();
    assert_eq!(watch.status, 200);
    watch
}

pub(super) async fn next(watch: &mut Streaming) -> Value {
    tokio::time::timeout(SECONDS(10), watch.event()).await.unwrap().unwrap().unwrap()
}

/// Of an event what it is and of what.
pub(super) async fn told(watch: &mut Streaming) -> (String, String) {
    let event = next(watch).await;
    let name = event["object"]["metadata"]["name"].as_str().unwrap_or_default();
    (event["type"].as_str().unwrap().to_owned(), name.to_owned())
}

pub(super) fn pair(kind: &str, name: &str) -> (String, String) {
    (kind.to_owned(), name.to_owned())
}

#[tokio::test]
async fn an_event_accepted_offline_is_read_like_any_other() {
    let (_rig, pod, kubelet, version) = rig().await;
    assert_eq!(post(&pod, "z-local", "q").await, 201);
    assert_eq!(post_protobuf(&kubelet, "a-local", "p").await, 201);
    let list = pod.get(EVENTS).await.unwrap().json();
    assert_eq!(names_of(&list), ["a-local", "m-online", "z-local"]);
    assert_eq!(list["metadata"]["resourceVersion"], version);
    let mut local = list["items"][0].clone();
    assert_eq!(local["metadata"]["resourceVersion"], version, "a watch goes on from there");
    assert!(local["metadata"]["creationTimestamp"].as_str().is_some());
    assert_eq!(local["message"], "a-local", "kubelet sends protobuf, and others read JSON");
    let got = pod.get(&format!("{EVENTS}/a-local")).await.unwrap();
    assert_eq!(got.status, 200, "{}", got.text());
    (local["kind"], local["apiVersion"]) = (json!("Event"), json!("v1"));
    let mut got = got.json();
    (local["metadata"]["resourceVersion"], got["metadata"]["resourceVersion"]) = (json!(""), json!(""));
    assert_eq!(got, local);
    for (query, selected) in [
        ("fieldSelector=involvedObject.name%3Dp", vec!["a-local", "m-online"]),
        ("fieldSelector=involvedObject.kind%3DPod,metadata.name%3Dz-local", vec!["z-local"]),
        ("fieldSelector=reason!%3DSampled", vec![]),
        ("labelSelector=about+in+(q)", vec!["z-local"]),
    ] {
        assert_eq!(names(&pod, &format!("{EVENTS}?{query}")).await, selected, "{query}");
    }
    assert_eq!(names(&kubelet, "/api/v1/events").await, ["a-local", "m-online", "z-local"], "in all namespaces");
    let same = kubelet.get(NEW_EVENTS).await.unwrap().json();
    assert_eq!(names_of(&same), ["a-local", "z-local"], "in the other API as well");
    assert_eq!((&same["items"][0]["note"], &same["items"][0]["regarding"]["name"]), (&json!("a-local"), &json!("p")));

    let (mut pages, mut token, mut remaining) = (Vec::new(), String::new(), Vec::new());
    loop {
        let page = pod.get(&format!("{EVENTS}?limit=1&continue={token}")).await.unwrap().json();
        pages.extend(names_of(&page));
        remaining.push(page["metadata"]["remainingItemCount"].as_u64().unwrap_or(0));
        token = page["metadata"]["continue"].as_str().unwrap_or_default().to_owned();
        if token.is_empty() {
            break;
        }
    }
    assert_eq!((pages, remaining), (vec!["a-local".into(), "m-online".into(), "z-local".into()], vec![2, 1, 0]));

    let table = pod.request("GET", EVENTS, &TABLE, "").await.unwrap().json();
    let rows: Vec<_> = table["rows"].as_array().unwrap().iter().map(|row| row["cells"][6].clone()).collect();
    assert_eq!((&table["kind"], rows), (&json!("Table"), vec![json!("a-local"), json!("m-online"), json!("z-local")]));
}

#[tokio::test]
async fn what_the_cloud_alone_can_do_with_it_is_refused() {
    let (_rig, pod, _, _) = rig().await;
    assert_eq!(post(&pod, "a-local", "p").await, 201);
    assert_eq!(post(&pod, "a-local", "p").await, 409);
    let again = pod.request("POST", NEW_EVENTS, &JSON, r#"{"metadata":{"name":"a-local"}}"#).await.unwrap();
    assert_eq!(again.status, 403, "never granted");
    let path = format!("{EVENTS}/a-local");
    let patch = [("content-type", "application/strategic-merge-patch+json")];
    assert_eq!(pod.request("PATCH", &path, &patch, r#"{"count":2}"#).await.unwrap().status, 403, "never granted either");
    assert_eq!(pod.request("DELETE", &path, &[], "").await.unwrap().status, 503);
    for (target, body, code) in [
        (format!("{EVENTS}?dryRun=All"), event("dry", "p"), 503),
        (EVENTS.to_owned(), json!({"metadata": {"name": "b", "namespace": "other"}}), 400),
        (EVENTS.to_owned(), json!({"metadata": {"name": "b"}, "count": "many"}), 400),
    ] {
        let answer = pod.request("POST", &target, &JSON, body.to_string()).await.unwrap();
        assert_eq!(answer.status, code, "{body}: {}", answer.text());
    }
    assert_eq!(names(&pod, EVENTS).await, ["a-local", "m-online"]);
    let kubectl = [KUBECTL[0], ("user-agent", "kubectl/v1.34.4 (linux/amd64)")];
    let copy = pod.request("GET", &format!("{EVENTS}?copy=1"), &kubectl, "").await.unwrap();
    assert_eq!(names_of(&copy.json()), ["m-online"], "no more than the cloud's own words");
    let warnings: Vec<_> = copy.headers.get_all("warning").iter().map(|value| value.to_str().unwrap()).collect();
    assert!(warnings[0].contains("what the node knew") && warnings[1].contains("not in this copy: 1"), "{warnings:?}");
    let copy = pod.request("GET", &format!("{EVENTS}?copy=1"), &KUBECTL, "").await.unwrap();
    assert_eq!((copy.status.as_u16(), copy.header("warning")), (200, ""), "for kubectl alone, which prints it");
}

/// Whoever gets a 201 does not hear of the cloud's refusal.
#[tokio::test]
async fn what_the_cloud_would_refuse_is_refused_at_once() {
    let (rig, pod, kubelet, _) = rig().await;
    let with = |path: &str, value: Value| {
        let mut event = event("a-local", "p");
        *event.pointer_mut(path).unwrap() = value;
        event
    };
    let new = |event: Value| {
        let of = typed::of("", "events").unwrap();
        let read = typed::Typed::read(of, Encoding::Json, event.to_string().as_bytes()).unwrap();
        let event = read.write(typed::of("events.k8s.io", "events").unwrap(), Encoding::Json);
        serde_json::from_slice::<Value>(&event).unwrap()
    };
    for (target, event, code, words) in [
        (EVENTS, with("/involvedObject/namespace", json!("other")), 422, "does not match event.namespace"),
        (EVENTS, with("/involvedObject/namespace", json!("")), 422, "involvedObject.namespace: Invalid value"),
        (EVENTS, with("/metadata/namespace", json!("other")), 400, "does not match the namespace sent on the request"),
        (EVENTS, with("/metadata/name", json!("a/b")), 422, "metadata.name: Invalid value"),
        (EVENTS, with("/kind", json!("Pod")), 400, "cannot be handled as a Event"),
        (EVENTS, with("/apiVersion", json!("events.k8s.io/v1")), 400, "does not match the expected API version (v1)"),
        (NEW_EVENTS, new(event("a-local", "p")), 422, "eventTime: Required value"),
    ] {
        // Kubelet has been told that it may do both.
        let answer = kubelet.request("POST", target, &JSON, event.to_string()).await.unwrap();
        assert_eq!(answer.status, code, "{event}: {}", answer.text());
        let reason = if code == 422 { "Invalid" } else { "BadRequest" };
        assert_eq!(answer.json()["reason"], reason);
        assert!(answer.text().contains(words), "{}", answer.text());
    }
    let elsewhere = with("/involvedObject/namespace", json!("other"));
    assert_eq!(post_as_protobuf(&kubelet, &elsewhere).await, 422);
    assert_eq!(rig.hub.metric("holdfast_journal_entries").await.unwrap(), 0.0);
    assert_eq!(names(&pod, EVENTS).await, ["m-online"]);
}

#[tokio::test]
async fn open_watches_are_told_at_once_each_in_its_own_form() {
    let (_rig, pod, kubelet, version) = rig().await;
    let mut whole = watch(&pod, &version, "", &[]).await;
    let mut rows = watch(&pod, &version, "", &TABLE).await;
    let mut metadata = watch(&pod, &version, "", &METADATA).await;
    let mut others = watch(&pod, &version, "&fieldSelector=involvedObject.name%3Dq", &[]).await;
    assert_eq!(post_protobuf(&kubelet, "z-local", "p").await, 201);
    assert_eq!(told(&mut whole).await, pair("ADDED", "z-local"));
    let row = next(&mut rows).await;
    assert_eq!((&row["type"], &row["object"]["rows"][0]["cells"][6]), (&json!("ADDED"), &json!("z-local")), "{row}");
    assert!(row["object"]["columnDefinitions"].is_array(), "with the first one");
    let about = next(&mut metadata).await;
    assert_eq!(about["object"]["kind"], "PartialObjectMetadata", "{about}");
    assert!(about["object"].get("message").is_none());
    assert_eq!(post(&pod, "a-local", "q").await, 201);
    assert_eq!(told(&mut whole).await, pair("ADDED", "a-local"));
    assert_eq!(told(&mut others).await, pair("ADDED", "a-local"), "and nothing before");
    // Whoever comes later is told of both, in the order of names.
    let mut late = watch(&pod, &version, "&timeoutSeconds=100", &[]).await;
    for name in ["a-local", "z-local"] {
        assert_eq!(told(&mut late).await, pair("ADDED", name));
    }
    let mut anew = watch(&pod, "0", "", &[]).await;
    for name in ["a-local", "m-online", "z-local"] {
        assert_eq!(told(&mut anew).await, pair("ADDED", name));
    }
    assert_eq!(post(&pod, "b-local", "q").await, 201);
    assert_eq!(told(&mut anew).await, pair("ADDED", "b-local"), "and nothing twice");
}

#[tokio::test]
async fn an_event_is_shown_after_the_hub_was_killed() {
    let (mut rig, pod, _, version) = rig().await;
    assert_eq!(post(&pod, "a-local", "p").await, 201);
    let shown = format!("{EVENTS}?labelSelector=about%3Dp");
    let file = rig.hub.folder().join("root/told");
    let kept = || std::fs::metadata(&file).map_or(0, |file| file.len());
    let before = kept();
    assert_eq!(names(&pod, &shown).await, ["a-local", "m-online"]);
    // It takes a second at most; the Event has made durable what was remembered before it.
    eventually("who was told is written", SECONDS(10), async || Ok(kept() > before)).await.unwrap();
    rig.hub.kill();
    rig.hub.run().await.unwrap();
    rig.link_is(0.0).await;
    let pod = rig.pod().await;
    let resumed = pod.stream("GET", &format!("{shown}&watch=1&resourceVersion={version}"), &[], "").await.unwrap();
    assert_eq!(resumed.status, 410, "whom the node has shown it may have what the cloud never gets");
    let mut watch = watch(&pod, &version, "", &[]).await;
    assert_eq!(told(&mut watch).await, pair("ADDED", "a-local"), "whom the cloud has told goes on");
    assert_eq!(names(&pod, EVENTS).await, ["a-local", "m-online"]);
    assert_eq!(pod.get(&format!("{EVENTS}/a-local")).await.unwrap().status, 200);
}

#[tokio::test]
async fn after_the_return_open_watches_go_on_and_whoever_watches_anew_from_before_lists_again() {
    let (rig, pod, _, version) = rig().await;
    let mut nothing = watch(&pod, &version, "&labelSelector=about%3Dnobody", &[]).await;
    let mut open = watch(&pod, &version, "", &[]).await;
    assert_eq!(post(&pod, "a-local", "p").await, 201);
    assert_eq!(told(&mut open).await, pair("ADDED", "a-local"));
    rig.fake.clear_requests();
    rig.restore().await;
    let clouds = next(&mut open).await;
    assert_eq!((&clouds["type"], &clouds["object"]["metadata"]["name"]), (&json!("ADDED"), &json!("a-local")));
    assert_ne!(clouds["object"]["metadata"]["uid"], "", "the cloud's own");
    let resume = async |query: &str| {
        let target = format!("{EVENTS}?watch=1&resourceVersion={version}{query}");
        pod.stream("GET", &target, &[], "").await.unwrap().status.as_u16()
    };
    assert_eq!(resume("").await, 410, "of this one it is not known what came of it");
    let list = pod.get(EVENTS).await.unwrap().json();
    assert_eq!(names_of(&list), ["a-local", "m-online"]);
    assert_eq!(resume("").await, 200, "the cloud has told its client all there is");
    let posts = rig.fake.requests().into_iter().filter(|request| request.path_and_query == EVENTS && request.method == "POST");
    assert_eq!(posts.count(), 1);
    rig.fake.put("events", "story", "of-nobody", json!({"metadata": {"labels": {"about": "nobody"}}}));
    for watch in [&mut nothing, &mut open] {
        assert_eq!(told(watch).await, pair("ADDED", "of-nobody"));
    }
}

#[tokio::test]
async fn what_the_cloud_refuses_stays_with_nobody() {
    let (rig, pod, kubelet, version) = rig().await;
    assert_eq!(post(&pod, "a-local", "p").await, 201);
    assert_eq!(names(&pod, EVENTS).await, ["a-local", "m-online"]);
    rig.fake.forbid_all();
    rig.fake.allow("system:serviceaccount:story:sample", "watch", "events", "story", "*");
    rig.restore().await;
    eventually("the Event is refused", SECONDS(30), async || Ok(rig.hub.metric("holdfast_journal_entries").await? == 0.0))
        .await
        .unwrap();
    rig.cut(Fault::Refuse).await;
    let target = format!("{EVENTS}?watch=1&resourceVersion={version}");
    assert_eq!(pod.stream("GET", &target, &[], "").await.unwrap().status, 410, "its list has what is gone");
    assert_eq!(names(&kubelet, "/api/v1/events").await, ["m-online"]);
}

#[tokio::test]
async fn the_nodes_own_lease_is_shown_as_kubelet_renews_it() {
    const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
    let rig = Rig::start().await;
    for name in ["edge-1", "edge-2"] {
        rig.fake.put("coordination.k8s.io/v1/leases", "kube-node-lease", name, json!({"spec": {"holderIdentity": name}}));
    }
    let kubelet = rig.hub.kubelet().await.unwrap();
    let own = format!("{LEASES}/edge-1");
    let mut lease = kubelet.get(&own).await.unwrap().json();
    let list = kubelet.get(LEASES).await.unwrap().json();
    // HTTP/1.1: each watch has a connection of its own.
    let stream = async |target: String| rig.hub.kubelet().await.unwrap().stream("GET", &target, &[], "").await.unwrap();
    assert_eq!(stream(format!("{LEASES}?watch=1")).await.status, 200);
    rig.remembered(1.0).await;
    rig.cut(Fault::Refuse).await;
    let version = list["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let mut watch = stream(format!("{LEASES}?watch=1&resourceVersion={version}&allowWatchBookmarks=1")).await;
    let of = typed::of("coordination.k8s.io", "leases").unwrap();
    for (second, in_protobuf) in [("01", false), ("11", true)] {
        lease["spec"]["renewTime"] = json!(format!("2026-01-01T00:00:{second}.000000Z"));
        let body = lease.to_string();
        let answer = if in_protobuf {
            let read = typed::Typed::read(of, Encoding::Json, body.as_bytes()).unwrap();
            let body = proto::envelop("coordination.k8s.io/v1", "Lease", &read.write(of, Encoding::Protobuf));
            kubelet.request("PUT", &own, &PROTOBUF, body).await
        } else {
            kubelet.request("PUT", &own, &JSON, body).await
        };
        assert_eq!(answer.unwrap().status, 200);
        let event = next(&mut watch).await;
        assert_eq!((&event["type"], &event["object"]["spec"]["renewTime"]), (&json!("MODIFIED"), &lease["spec"]["renewTime"]));
        assert_eq!(next(&mut watch).await["object"]["metadata"]["resourceVersion"], version, "no way back");
        let got = kubelet.get(&own).await.unwrap().json();
        assert_eq!(got["spec"]["renewTime"], lease["spec"]["renewTime"]);
        assert_eq!(got["metadata"], lease["metadata"], "the version that the next renewal is checked by");
        let list = kubelet.get(LEASES).await.unwrap().json();
        assert_eq!(names_of(&list), ["edge-1", "edge-2"]);
        assert_eq!(list["items"][0]["spec"]["renewTime"], lease["spec"]["renewTime"]);
    }
    rig.restore().await;
    lease["spec"]["renewTime"] = json!("2026-01-01T00:00:21.000000Z");
    assert_eq!(kubelet.request("PUT", &own, &JSON, lease.to_string()).await.unwrap().status, 200, "nothing else has changed it");
    let event = next(&mut watch).await;
    assert_eq!((&event["type"], &event["object"]["spec"]["renewTime"]), (&json!("MODIFIED"), &lease["spec"]["renewTime"]));
    assert_ne!(event["object"]["metadata"]["resourceVersion"], version, "the cloud's own");
    rig.cut(Fault::Refuse).await;
    let known = async || Ok(kubelet.get(&own).await?.json()["spec"]["renewTime"] == lease["spec"]["renewTime"]);
    eventually("what the cloud has now is newer than what was renewed here", SECONDS(10), known).await.unwrap();
}
