//! Link down: the same clients, the same answers, their own rights.

use std::time::Instant;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::json;
use testkit::client::{Alpn, Client};
use testkit::fake::Fault;

use super::*;

pub(super) async fn see(rig: &Rig) -> Client {
    let client = rig.pod().await;
    client.get(CONFIGMAPS).await.unwrap();
    client.get("/api/v1/namespaces/story/secrets/allowed").await.unwrap();
    client.get("/api/v1/namespaces/story/secrets/forbidden").await.unwrap();
    client.get("/version").await.unwrap();
    rig.remembered(1.0).await;
    client
}

#[tokio::test]
async fn what_was_read_is_answered_again_exactly() {
    let rig = Rig::start().await;
    let client = rig.pod().await;
    let accept = [("accept", "application/vnd.kubernetes.protobuf,application/json")];
    let paths = [CONFIGMAPS.to_owned(), format!("{CONFIGMAPS}/greeting"), "/version".to_owned(), "/api".to_owned()];
    let mut online = Vec::new();
    for path in &paths {
        for headers in [&accept[..], &[]] {
            online.push(client.request("GET", path, headers, "").await.unwrap());
        }
    }
    rig.remembered(2.0).await;
    rig.cut(Fault::Refuse).await;
    let mut online = online.into_iter();
    for path in &paths {
        for headers in [&accept[..], &[]] {
            let offline = client.request("GET", path, headers, "").await.unwrap();
            let before = online.next().unwrap();
            assert_eq!(offline.status, 200, "{path}: {}", offline.text());
            assert_eq!(offline.body, before.body, "{path}");
            assert_eq!(offline.header("content-type"), before.header("content-type"));
            assert!(offline.header("cache-status").contains("detail=offline"));
            assert!(!offline.header("age").is_empty());
        }
    }
    assert!(rig.hub.metric("holdfast_offline_answer_age_seconds_count").await.unwrap() >= 8.0);
    let log = rig.hub.log();
    let told = |route: &str, age: bool| {
        log.lines().any(|line| line.contains(CONFIGMAPS) && line.contains(route) && line.contains(" age_s=") == age)
    };
    assert!(told("route=\"offline\"", true) && !told("route=\"offline\"", false), "{log}");
    assert!(told("route=\"remote\"", false) && !told("route=\"remote\"", true), "{log}");
}

#[tokio::test]
async fn unknown_is_not_absent_and_nobody_gets_more_than_before() {
    let rig = Rig::start().await;
    let client = see(&rig).await;
    rig.hub.kubelet().await.unwrap().get("/api/v1/namespaces/story/secrets/forbidden").await.unwrap();
    rig.cut(Fault::Refuse).await;
    let status = async |client: &Client, method: &str, path: &str| {
        let answer = client.request(method, path, &[("content-type", "application/json")], "{}").await.unwrap();
        assert_eq!(answer.header("retry-after"), "", "client-go would sleep inside the caller");
        assert_eq!(answer.json()["kind"], "Status");
        answer.status.as_u16()
    };
    assert_eq!(client.get("/api/v1/namespaces/story/secrets/allowed").await.unwrap().status, 200);
    assert_eq!(
        status(&client, "GET", "/api/v1/namespaces/story/secrets/forbidden").await,
        403,
        "known to the node, not to this caller"
    );
    assert_eq!(status(&client, "GET", "/api/v1/namespaces/story/pods").await, 403, "never granted");
    assert_eq!(status(&client, "POST", CONFIGMAPS).await, 503);
    assert_eq!(status(&client, "PUT", &format!("{CONFIGMAPS}/greeting")).await, 503);
    assert_eq!(status(&client, "DELETE", &format!("{CONFIGMAPS}/greeting")).await, 503);
    let stranger = rig.hub.pod("another-token", Alpn::H2).await.unwrap();
    assert_eq!(status(&stranger, "GET", CONFIGMAPS).await, 401);
    let kubelet = rig.hub.kubelet().await.unwrap();
    assert_eq!(status(&kubelet, "GET", "/api/v1/namespaces/story/secrets/never-asked").await, 403);
}

#[tokio::test]
async fn absence_is_known_from_a_complete_list_or_from_the_cloud() {
    let rig = Rig::start().await;
    let client = see(&rig).await;
    // The right to get any of them by name, granted for one that is not there.
    assert_eq!(client.get(&format!("{CONFIGMAPS}/missing")).await.unwrap().status, 404);
    let kubelet = rig.hub.kubelet().await.unwrap();
    assert_eq!(kubelet.get("/api/v1/namespaces/story/secrets/gone").await.unwrap().status, 404);
    rig.cut(Fault::Refuse).await;
    let answer = client.get(&format!("{CONFIGMAPS}/missing")).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.json()["reason"].as_str().map(str::to_owned)), (404, Some("NotFound".into())));
    assert_eq!((answer.header("cache-status"), answer.header("age").is_empty()), ("holdfast; hit; detail=offline", false));
    assert_eq!(kubelet.get("/api/v1/namespaces/story/secrets/gone").await.unwrap().status, 404);
    let unknown = kubelet.get("/api/v1/namespaces/story/configmaps/never-asked").await.unwrap();
    assert_eq!(unknown.header("cache-status"), "", "{}", unknown.text());
}

#[tokio::test]
async fn a_whole_list_answers_for_its_parts_and_parts_never_for_the_whole() {
    let rig = Rig::start().await;
    rig.fake.put("configmaps", "story", "marked", json!({"metadata": {"labels": {"app": "web"}}, "data": {}}));
    let client = see(&rig).await;
    let kubelet = rig.hub.kubelet().await.unwrap();
    let part = "/api/v1/namespaces/story/secrets?fieldSelector=metadata.name%3Dallowed";
    assert_eq!(kubelet.get(part).await.unwrap().status, 200);
    // The right to watch is another one.
    let watch = client.stream("GET", &format!("{CONFIGMAPS}?watch=1"), &[], "").await.unwrap();
    assert_eq!(watch.status, 200);
    rig.cut(Fault::Refuse).await;
    let names = async |query: &str| {
        let answer = client.get(&format!("{CONFIGMAPS}?{query}")).await.unwrap();
        assert_eq!(answer.status, 200, "{query}: {}", answer.text());
        let list = answer.json();
        let names = list["items"].as_array().unwrap().iter().map(|item| item["metadata"]["name"].as_str().unwrap().to_owned());
        (names.collect::<Vec<_>>(), list["metadata"]["continue"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(names("labelSelector=app+in+(web)").await.0, ["marked"]);
    assert_eq!(names("labelSelector=!app&fieldSelector=metadata.name!%3Dgreeting").await.0, ["zz-last"]);
    let (first, token) = names("limit=2").await;
    let (rest, end) = names(&format!("limit=2&continue={token}")).await;
    assert_eq!(([first, rest].concat(), end.as_str()), (vec!["greeting".into(), "marked".into(), "zz-last".into()], ""));
    let refused = client.get(&format!("{CONFIGMAPS}?fieldSelector=data.text%3Dx")).await.unwrap();
    assert_eq!((refused.status.as_u16(), refused.json()["reason"].as_str().unwrap()), (400, "BadRequest"));
    let line =
        client.stream("GET", &format!("{CONFIGMAPS}?watch=1&labelSelector=app"), &[], "").await.unwrap().event().await.unwrap();
    assert_eq!(line.unwrap()["object"]["metadata"]["name"], "marked", "a watch selects, too");
    let whole = kubelet.get("/api/v1/namespaces/story/secrets").await.unwrap();
    assert_eq!(whole.status, 403, "one Secret by its name is neither all of them nor the right to them");
}

#[tokio::test]
async fn metadata_is_made_of_whole_objects_and_what_cannot_be_made_is_said() {
    let rig = Rig::start().await;
    let client = see(&rig).await;
    let watch = client.stream("GET", &format!("{CONFIGMAPS}?watch=1"), &[], "").await.unwrap();
    assert_eq!(watch.status, 200);
    assert_eq!(client.get(&format!("{CONFIGMAPS}/greeting")).await.unwrap().status, 200);
    rig.cut(Fault::Refuse).await;
    let metadata = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";
    let target = format!("{CONFIGMAPS}?watch=1&allowWatchBookmarks=1&sendInitialEvents=1&resourceVersionMatch=NotOlderThan");
    let mut watch = client.stream("GET", &target, &[("accept", metadata)], "").await.unwrap();
    for (kind, name) in [("ADDED", "greeting"), ("ADDED", "zz-last"), ("BOOKMARK", "")] {
        let event = watch.event().await.unwrap().unwrap();
        let object = &event["object"];
        assert_eq!((&event["type"], &object["kind"]), (&json!(kind), &json!("PartialObjectMetadata")), "{event}");
        assert_eq!(object["metadata"]["name"].as_str().unwrap_or_default(), name);
        assert!(object.get("data").is_none(), "{event}");
    }
    for (accept, code, says) in [
        ("application/vnd.kubernetes.protobuf", 503, "as application/json"),
        ("application/cbor", 406, "application/vnd.kubernetes.protobuf"),
    ] {
        for target in [CONFIGMAPS.to_owned(), format!("{CONFIGMAPS}/greeting"), format!("{CONFIGMAPS}?watch=1")] {
            let answer = client.request("GET", &target, &[("accept", accept)], "").await.unwrap();
            assert_eq!(answer.status, code, "{target}: {}", answer.text());
            assert!(answer.text().contains(says), "{target}: {}", answer.text());
        }
    }
}

#[tokio::test]
async fn a_read_that_meets_the_cut_is_answered_within_two_seconds() {
    for fault in [Fault::Refuse, Fault::Reset, Fault::Freeze, Fault::Silence] {
        let rig = Rig::start().await;
        let client = see(&rig).await;
        let name = format!("{fault:?}");
        rig.fake.fault(fault);
        let started = Instant::now();
        let answer = client.get(CONFIGMAPS).await.unwrap();
        let took = started.elapsed();
        assert_eq!(answer.status, 200, "{name}: {}", answer.text());
        assert!(took < SECONDS(2), "{name}: {took:?}");
    }
}

#[tokio::test]
async fn a_list_that_the_cut_meets_in_its_middle_ends_within_two_seconds_and_is_the_stores_then() {
    let rig = Rig::start().await;
    // Of one that is shorter the client sees nothing before it has come.
    rig.fake.put("configmaps", "story", "long", json!({"data": {"text": "x".repeat(400_000)}}));
    let client = see(&rig).await;
    let whole = client.get(CONFIGMAPS).await.unwrap();
    rig.remembered(1.0).await;
    rig.fake.fault_next(CONFIGMAPS, Fault::StallBody(300_000));
    let mut list = client.stream("GET", CONFIGMAPS, &[], "").await.unwrap();
    assert!(list.chunk().await.unwrap().is_some(), "it has begun");
    rig.fake.fault(Fault::Silence);
    let started = Instant::now();
    assert!(list.finish().await.is_err(), "it ends as what it is");
    assert!(started.elapsed() < SECONDS(2), "{:?}", started.elapsed());
    let again = client.get(CONFIGMAPS).await.unwrap();
    assert_eq!((again.status, again.text()), (whole.status, whole.text()));
}

fn assert_not_on_disk(rig: &Rig, secrets: &[&str]) {
    let disk = std::fs::read(rig.hub.store_file()).unwrap();
    for secret in secrets {
        assert!(!disk.windows(secret.len()).any(|window| window == secret.as_bytes()), "{secret} in the clear on disk");
    }
}

#[tokio::test]
async fn the_hub_killed_during_the_cut_answers_again_without_the_cloud() {
    let mut rig = Rig::start().await;
    let before = see(&rig).await.get(CONFIGMAPS).await.unwrap();
    rig.remembered(2.0).await;
    rig.cut(Fault::Silence).await;
    // The last second may be lost: this is older.
    tokio::time::sleep(std::time::Duration::from_millis(1200)).await;
    rig.hub.kill();
    rig.hub.run().await.unwrap();
    let client = rig.pod().await;
    let started = Instant::now();
    let answer = client.get(CONFIGMAPS).await.unwrap();
    assert_eq!(answer.body, before.body, "{}", answer.text());
    assert!(started.elapsed() < SECONDS(2), "{:?}", started.elapsed());
    assert_eq!(client.get("/api/v1/namespaces/story/secrets/forbidden").await.unwrap().status, 403);
    assert_not_on_disk(&rig, &["czNjcjN0", "hello", TOKEN]);
}

#[tokio::test]
async fn kubelets_heartbeat_and_tokens_go_on() {
    let rig = Rig::start().await;
    rig.fake.put("serviceaccounts", "story", "sample", json!({}));
    let kubelet = rig.hub.kubelet().await.unwrap();
    let headers = [("content-type", "application/json")];
    let tokens = "/api/v1/namespaces/story/serviceaccounts/sample/token";
    let request = r#"{"kind":"TokenRequest","apiVersion":"authentication.k8s.io/v1","spec":{"audiences":["a"],"expirationSeconds":3600,"boundObjectRef":{"kind":"Pod","name":"p","uid":"u"}}}"#;
    let issued = kubelet.request("POST", tokens, &headers, request).await.unwrap();
    assert_eq!(issued.status, 201, "{}", issued.text());
    let lease = json!({"kind": "Lease", "apiVersion": "coordination.k8s.io/v1", "metadata": {"name": "edge-1", "namespace": "kube-node-lease"}, "spec": {"holderIdentity": "edge-1"}}).to_string();
    rig.cut(Fault::Silence).await;
    let again = kubelet.request("POST", tokens, &headers, request).await.unwrap();
    assert_eq!((again.status, &again.body), (issued.status, &issued.body), "the kept one");
    let token = issued.json()["status"]["token"].as_str().unwrap().to_owned();
    assert_not_on_disk(&rig, &[&token]);
    let other = kubelet.request("POST", tokens, &headers, request.replace("\"p\"", "\"q\"")).await.unwrap();
    assert_eq!(other.status, 503, "another Pod's was never issued");
    let renew = async |name: &str, client: &Client| {
        let path = format!("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{name}");
        client.request("PUT", &path, &headers, lease.clone()).await.unwrap().status.as_u16()
    };
    assert_eq!(renew("edge-1", &kubelet).await, 200);
    assert_eq!(renew("edge-2", &kubelet).await, 503);
    // The token issued for a Pod is known, although the Pod has not used it yet.
    let pod = rig.hub.pod(&token, Alpn::H2).await.unwrap();
    assert_eq!(pod.get(CONFIGMAPS).await.unwrap().status, 403, "known, but granted nothing yet");
    assert_eq!(renew("edge-1", &pod).await, 403);
}

#[tokio::test]
async fn the_service_kubernetes_is_rewritten_offline_too_and_a_change_of_filters_holds() {
    let mut rig = Rig::start().await;
    let kubelet = rig.hub.kubelet().await.unwrap();
    let online = kubelet.get("/api/v1/services").await.unwrap();
    rig.remembered(1.0).await;
    rig.cut(Fault::Refuse).await;
    assert_eq!(kubelet.get("/api/v1/services").await.unwrap().body, online.body);
    let _ = &mut rig;
}

#[tokio::test]
async fn cache_agents_narrows_live_and_impersonation_is_never_remembered() {
    let rig = Rig::start().await;
    let client = rig.pod().await;
    rig.fake.allow("system:serviceaccount:story:sample", "impersonate", "*", "*", "*");
    rig.fake.put("configmaps", "kube-system", "yurt-hub-cfg", json!({"data": {"cache_agents": "other"}}));
    eventually("the rules are applied", SECONDS(10), async || Ok(rig.hub.log().contains("rules of ConfigMap"))).await.unwrap();
    client.get(CONFIGMAPS).await.unwrap();
    let other = [("user-agent", "other/v1")];
    let single = format!("{CONFIGMAPS}/greeting");
    client.request("GET", &single, &other, "").await.unwrap();
    client
        .request("GET", &format!("{CONFIGMAPS}/zz-last"), &[("user-agent", "other/v1"), ("impersonate-user", "x")], "")
        .await
        .unwrap();
    rig.cut(Fault::Refuse).await;
    assert_eq!(client.get(CONFIGMAPS).await.unwrap().status, 503, "granted, but not remembered");
    assert_eq!(client.request("GET", &single, &other, "").await.unwrap().status, 200);
    let zz = format!("{CONFIGMAPS}/zz-last");
    assert_eq!(client.request("GET", &zz, &other, "").await.unwrap().status, 403);
    assert_eq!(
        client.request("GET", &single, &[("user-agent", "other/v1"), ("impersonate-user", "x")], "").await.unwrap().status,
        503
    );
}

#[tokio::test]
async fn a_token_that_expires_during_the_cut_is_refused_from_then_on() {
    use base64::Engine as _;
    let rig = Rig::start().await;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let user = "system:serviceaccount:story:sample";
    let claims = json!({"iss": "https://kubernetes.default.svc", "sub": user, "exp": now + 4}).to_string();
    let token = format!("e30.{}.c2ln", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(claims));
    rig.fake.add_token(&token, user, &["system:serviceaccounts"]);
    let client = rig.hub.pod(&token, Alpn::H2).await.unwrap();
    assert_eq!(client.get(CONFIGMAPS).await.unwrap().status, 200);
    rig.cut(Fault::Refuse).await;
    assert_eq!(client.get(CONFIGMAPS).await.unwrap().status, 200, "still valid");
    eventually("it is refused", SECONDS(10), async || Ok(client.get(CONFIGMAPS).await?.status == 401)).await.unwrap();
}

/// The node has missed something that its kubelet may have seen: one that was killed before it was written, say.
#[tokio::test]
async fn where_pods_were_missed_kubelet_lists_again_and_is_told_no_shorter_list() {
    let rig = Rig::start().await;
    let pods = "/api/v1/pods?fieldSelector=spec.nodeName%3Dedge-1";
    let put = |name: &str| rig.fake.put("pods", "story", name, json!({"spec": {"nodeName": "edge-1", "containers": []}}));
    put("first");
    let kubelet = rig.hub.kubelet().await.unwrap();
    let list = async || {
        let before = rig.hub.metric("holdfast_lists_remembered_total").await.unwrap();
        let list = kubelet.get(pods).await.unwrap().json();
        rig.remembered(before + 1.0).await;
        list["metadata"]["resourceVersion"].as_str().unwrap().to_owned()
    };
    let watch = async |version: &str| {
        let target = format!("{pods}&watch=1&resourceVersion={version}");
        rig.hub.kubelet().await.unwrap().stream("GET", &target, &[], "").await.unwrap().status.as_u16()
    };
    let version = list().await;
    assert_eq!(watch(&version).await, 200);
    // Its client has left, and the hub has to know that before there is anything to tell.
    let open = |watch: &str| rig.fake.open(watch);
    let watches = || rig.fake.requests().into_iter().map(|asked| asked.path_and_query).filter(|asked| asked.contains("watch=1"));
    eventually("nobody watches", SECONDS(10), async || Ok(!watches().any(|asked| open(&asked) > 0))).await.unwrap();
    put("second");
    let second = kubelet.get("/api/v1/namespaces/story/pods/second").await.unwrap().json();
    let beyond = second["metadata"]["resourceVersion"].as_str().unwrap();
    // A watch that has brought it to nobody here.
    assert_eq!(watch(beyond).await, 410);
    assert_eq!(watch(beyond).await, 200, "it would not list: it is not kept from watching");
    eventually("that something is missing is known", SECONDS(10), async || {
        rig.fake.fault(Fault::Refuse);
        rig.link_is(0.0).await;
        let status = kubelet.get(&format!("{pods}&resourceVersion=0")).await?.status;
        rig.restore().await;
        Ok(status == 503)
    })
    .await
    .unwrap();
    put("third");
    let version = list().await;
    assert_eq!(watch(&version).await, 200);
    rig.cut(Fault::Refuse).await;
    let known = kubelet.get(&format!("{pods}&resourceVersion=0")).await.unwrap().json();
    assert_eq!(known["items"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn the_api_is_described_offline_though_nobody_has_asked_before() {
    let rig = Rig::start().await;
    rig.described().await;
    rig.cut(Fault::Refuse).await;
    let kubelet = rig.hub.kubelet().await.unwrap();
    for path in ["/version", "/api/v1", "/apis", "/apis/apps", "/apis/apps/v1"] {
        assert_eq!(kubelet.get(path).await.unwrap().status, 200, "{path}");
    }
    let cbor = kubelet.request("GET", "/apis/apps/v1", &[("accept", "application/cbor")], "").await.unwrap();
    assert_eq!(cbor.status, 406, "{}", cbor.text());
}

/// The next round of the hub's discovery is that of its next start: background::discovery's own test waits for it.
#[tokio::test]
async fn what_the_api_has_come_to_have_is_described_offline_and_its_objects_are_listed() {
    let mut rig = Rig::start().await;
    rig.described().await;
    let late = ["/apis/late.example.com/v1", "/apis/metrics.example.io/v1beta1"];
    for group in late {
        rig.fake.put_path(&format!("{group}/namespaces/story/widgets/w"), json!({"spec": {"color": "red"}})).unwrap();
    }
    rig.restart().await;
    let asked = |path: &str| rig.fake.requests().iter().any(|request| request.path_and_query == path);
    eventually("and what has come", SECONDS(30), async || Ok(late.into_iter().all(asked))).await.unwrap();
    let kubelet = rig.hub.kubelet().await.unwrap();
    let lists = rig.hub.metric("holdfast_lists_remembered_total").await.unwrap();
    for group in late {
        assert_eq!(kubelet.get(&format!("{group}/widgets")).await.unwrap().status, 200);
    }
    rig.remembered(lists + 2.0).await;
    rig.cut(Fault::Refuse).await;
    let groups = kubelet.get("/apis").await.unwrap().text();
    for group in late {
        assert!(groups.contains(&group["/apis/".len()..]), "{groups}");
        let resources = kubelet.get(group).await.unwrap();
        assert_eq!((resources.status.as_u16(), &resources.json()["resources"][0]["name"]), (200, &json!("widgets")), "{group}");
        let list = kubelet.get(&format!("{group}/widgets?fieldSelector=metadata.name%3Dw")).await.unwrap().json();
        assert_eq!(list["items"][0]["spec"]["color"], "red", "{group}: {list}");
    }
}

/// The node knows no CBOR: it is for the cloud to answer in.
#[tokio::test]
async fn cbor_passes_online_and_is_not_acceptable_offline() {
    let rig = Rig::start().await;
    let client = see(&rig).await;
    let read = async |path: &str| client.request("GET", path, &[("accept", "application/cbor")], "").await.unwrap();
    let paths = [CONFIGMAPS.to_owned(), format!("{CONFIGMAPS}/greeting")];
    for path in &paths {
        let (cbor, json) = (read(path).await, client.get(path).await.unwrap());
        assert_eq!((cbor.status.as_u16(), cbor.header("content-type")), (200, "application/cbor"), "{path}");
        assert_eq!(cbor.body, json.body, "{path}: as the cloud has sent it");
    }
    rig.cut(Fault::Refuse).await;
    for path in &paths {
        let cbor = read(path).await;
        assert_eq!((cbor.status.as_u16(), &cbor.json()["reason"]), (406, &json!("NotAcceptable")), "{path}: {}", cbor.text());
    }
}

/// A token is believed once the cloud has accepted it: one that it has not even looked at says nothing.
#[tokio::test]
async fn a_token_that_the_cloud_has_not_looked_at_stays_unknown() {
    let rig = Rig::with(FakeOptions { anonymous: true, ..FakeOptions::default() }, &[]).await;
    let claims = BASE64_URL_SAFE_NO_PAD.encode(json!({"iss": "cluster", "sub": "victim", "exp": 4_000_000_000_u64}).to_string());
    let (genuine, forged) = (format!("e30.{claims}.genuine"), format!("e30.{claims}.forged"));
    rig.fake.add_token(&genuine, "system:serviceaccount:story:sample", &[]);
    assert_eq!(rig.hub.pod(&genuine, Alpn::H2).await.unwrap().get(CONFIGMAPS).await.unwrap().status, 200);
    rig.remembered(2.0).await;
    let (plain, spaced) = (format!("Bearer {forged}"), format!("Bearer  {forged}"));
    for (status, headers) in [
        (400, vec![("authorization", plain.as_str()), ("connection", "authorization")]),
        (400, vec![("authorization", plain.as_str()), ("connection", "close, Authorization")]),
        (400, vec![("authorization", plain.as_str()), ("connection", "impersonate-user"), ("impersonate-user", "victim")]),
        (401, vec![("authorization", plain.as_str())]),
        // As the kube-apiserver splits it, there is no token.
        (200, vec![("authorization", spaced.as_str())]),
    ] {
        let anybody = Client::http1(rig.hub.loopback).await.unwrap();
        let answer = anybody.request("GET", "/version", &headers, "").await.unwrap();
        assert_eq!(answer.status, status, "{headers:?}: {}", answer.text());
    }
    rig.cut(Fault::Refuse).await;
    assert_eq!(rig.hub.pod(&genuine, Alpn::H2).await.unwrap().get(CONFIGMAPS).await.unwrap().status, 200);
    for (status, credential) in [(401, &plain), (503, &spaced)] {
        let anybody = Client::http1(rig.hub.loopback).await.unwrap();
        let answer = anybody.request("GET", CONFIGMAPS, &[("authorization", credential)], "").await.unwrap();
        assert_eq!(answer.status, status, "{credential:?}: {}", answer.text());
    }
}

/// What was sent when the link broke is no "nothing has happened".
#[tokio::test]
async fn a_write_that_may_have_happened_is_a_504() {
    let rig = Rig::start().await;
    let kubelet = rig.hub.kubelet().await.unwrap();
    kubelet.get("/api/v1/nodes").await.unwrap();
    rig.fake.fault(Fault::Freeze);
    let json = [("content-type", "application/json")];
    let answer = kubelet.request("POST", "/api/v1/namespaces/story/events", &json, r#"{"metadata":{"generateName":"x"}}"#);
    let answer = answer.await.unwrap();
    assert_eq!((answer.status.as_u16(), &answer.json()["reason"]), (504, &json!("Timeout")), "{}", answer.text());
}

#[tokio::test]
async fn a_server_that_speaks_http_1_is_waited_for_while_it_is_slow_and_not_when_it_is_gone() {
    let rig = Rig::with(FakeOptions { http2: false, ..FakeOptions::default() }, &[]).await;
    let client = rig.pod().await;
    let known = client.get(CONFIGMAPS).await.unwrap();
    rig.remembered(1.0).await;
    rig.fake.clear_requests();
    rig.fake.fault_at(CONFIGMAPS, Fault::StallHeaders);
    let mut list = std::pin::pin!(client.get(CONFIGMAPS));
    assert!(tokio::time::timeout(SECONDS(3), list.as_mut()).await.is_err(), "slow is not gone");
    assert!(rig.fake.requests().iter().any(|request| request.path_and_query == CONFIGMAPS), "it is there");
    rig.fake.fault(Fault::Silence);
    let answer = tokio::time::timeout(SECONDS(8), list).await.expect("it is not waited for").unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.header("cache-status").starts_with("holdfast; hit"), "{:?}", answer.headers);
    assert_eq!(answer.body, known.body);
}

/// It replies to pings.
#[tokio::test]
async fn a_slow_server_is_waited_for_on_a_connection_that_is_new() {
    let mut rig = Rig::start().await;
    assert_eq!(rig.pod().await.get(CONFIGMAPS).await.unwrap().status, 200);
    rig.remembered(1.0).await;
    rig.restart().await;
    rig.link_is(1.0).await;
    rig.fake.fault_at(CONFIGMAPS, Fault::StallHeaders);
    let client = rig.pod().await;
    assert!(tokio::time::timeout(SECONDS(3), client.get(CONFIGMAPS)).await.is_err(), "slow is not gone");
}

#[tokio::test]
async fn a_read_that_is_under_way_when_the_server_is_found_unready_is_answered_by_the_store() {
    let rig = Rig::with(FakeOptions::default(), &["--heartbeat-interval-seconds=1"]).await;
    let client = rig.pod().await;
    let known = client.get(CONFIGMAPS).await.unwrap();
    rig.remembered(1.0).await;
    rig.fake.clear_requests();
    rig.fake.fault_at(CONFIGMAPS, Fault::StallHeaders);
    let asked = async || Ok(rig.fake.requests().iter().any(|request| request.path_and_query == CONFIGMAPS));
    let and_then = async {
        eventually("the cloud has the request", SECONDS(10), asked).await.unwrap();
        rig.fake.fault_at("/readyz", Fault::Status(500));
    };
    let (answer, ()) = tokio::join!(client.get(CONFIGMAPS), and_then);
    let answer = answer.unwrap();
    assert_eq!((answer.status.as_u16(), &answer.body), (200, &known.body), "{}", answer.text());
    assert!(answer.header("cache-status").starts_with("holdfast; hit"), "{:?}", answer.headers);
}
