//! Link up: the cloud's answers, as they are.

use bytes::Bytes;
use serde_json::json;
use testkit::client::{Alpn, Client};
use testkit::fake::FakeOptions;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

#[tokio::test]
async fn answers_are_the_clouds_byte_for_byte_over_both_protocols() {
    let rig = Rig::start().await;
    let direct = Client::https(rig.fake.addr(), rig.fake.ca_pem(), "127.0.0.1", Alpn::H2).await.unwrap().with_token(TOKEN);
    for alpn in [Alpn::H1, Alpn::H2] {
        let client = rig.hub.pod(TOKEN, alpn).await.unwrap();
        for path in [
            CONFIGMAPS.to_owned(),
            format!("{CONFIGMAPS}/greeting"),
            format!("{CONFIGMAPS}/missing"),
            "/api".into(),
            "/version".into(),
        ] {
            for accept in ["application/json", "application/vnd.kubernetes.protobuf,application/json"] {
                let through = client.request("GET", &path, &[("accept", accept)], "").await.unwrap();
                let expected = direct.request("GET", &path, &[("accept", accept)], "").await.unwrap();
                assert_eq!(through.status, expected.status, "{path}");
                assert_eq!(through.body, expected.body, "{path} as {accept}");
                assert_eq!(through.header("content-type"), expected.header("content-type"));
            }
        }
    }
}

#[tokio::test]
async fn a_token_is_passed_on_and_never_travels_under_the_nodes_certificate() {
    let rig = Rig::start().await;
    // The node's own connection exists first: the fake believes certificates before tokens.
    rig.hub.kubelet().await.unwrap().get("/api/v1/nodes").await.unwrap();
    let answer = rig.pod().await.get("/api/v1/namespaces/story/secrets/forbidden").await.unwrap();
    assert_eq!(answer.status, 403, "{}", answer.text());
    let requests = rig.fake.requests();
    let request = requests.iter().find(|request| request.path_and_query.ends_with("secrets/forbidden")).unwrap();
    assert_eq!(request.client_cn, None);
    assert_eq!(request.header("authorization"), format!("Bearer {TOKEN}"));
}

#[tokio::test]
async fn the_node_is_only_who_proves_it() {
    let rig = Rig::start().await;
    let answer = rig.hub.kubelet().await.unwrap().get("/api/v1/namespaces/story/secrets/forbidden").await.unwrap();
    assert_eq!(answer.status, 200, "a host process on loopback: {}", answer.text());
    let anonymous = Client::https(rig.hub.secure, rig.fake.ca_pem(), "127.0.0.1", Alpn::H2).await.unwrap();
    let answer = anonymous.get(CONFIGMAPS).await.unwrap();
    assert_eq!(answer.status, 401);
    assert_eq!(answer.json()["reason"], "Unauthorized");
    for (cn, org, status) in [
        ("system:node:edge-1", "system:nodes", 200),
        ("system:node:other", "system:nodes", 401),
        ("system:node:edge-1", "other", 401),
        ("admin", "system:masters", 401),
    ] {
        let identity = rig.fake.pki().client(cn, org);
        let client = Client::https_as(rig.hub.secure, rig.fake.ca_pem(), "127.0.0.1", Alpn::H2, Some(&identity)).await.unwrap();
        let answer = client.get(CONFIGMAPS).await.unwrap();
        assert_eq!(answer.status, status, "{cn}: {}", answer.text());
    }
    // A header alone makes nobody the node.
    let client = rig.hub.kubelet().await.unwrap();
    let answer =
        client.request("GET", CONFIGMAPS, &[("authorization", "Bearer wrong"), ("x-remote-user", "admin")], "").await.unwrap();
    assert_eq!(answer.status, 401);
    assert!(rig.fake.requests().iter().all(|request| request.header("x-remote-user").is_empty()));
}

#[tokio::test]
async fn writes_arrive_whole_and_conflicts_come_back() {
    let rig = Rig::start().await;
    let client = rig.hub.kubelet().await.unwrap();
    let big = "x".repeat(700_000);
    let body = json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "new"}, "data": {"big": big}}).to_string();
    let headers = [("content-type", "application/json"), ("expect", "100-continue")];
    let answer = client.request("POST", CONFIGMAPS, &headers, body.clone()).await.unwrap();
    assert_eq!(answer.status, 201, "{}", answer.text());
    assert_eq!(rig.fake.get("configmaps", "story", "new").unwrap()["data"]["big"], big);
    let answer = client.request("POST", CONFIGMAPS, &headers, body).await.unwrap();
    assert_eq!(answer.json()["reason"], "AlreadyExists");
    let answer = client.request("DELETE", &format!("{CONFIGMAPS}/new"), &[], "").await.unwrap();
    assert_eq!(answer.status, 200);
    assert!(rig.fake.get("configmaps", "story", "new").is_none());
}

#[tokio::test]
async fn watches_stream_and_a_client_that_leaves_is_left_upstream() {
    let rig = Rig::start().await;
    let client = rig.pod().await;
    let version = client.get(CONFIGMAPS).await.unwrap().json()["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let mut watch = client.stream("GET", &format!("{CONFIGMAPS}?watch=1&resourceVersion={version}"), &[], "").await.unwrap();
    rig.fake.put("configmaps", "story", "fresh", json!({"data": {}}));
    let event = watch.event().await.unwrap().unwrap();
    assert_eq!((event["type"].as_str(), event["object"]["metadata"]["name"].as_str()), (Some("ADDED"), Some("fresh")));
    assert!(rig.hub.metric("node_yurthub_in_flight_requests_total").await.unwrap() >= 1.0);
    drop(watch);
    eventually("the hub's in-flight watch is gone", SECONDS(5), async || {
        let text = Client::http1(rig.hub.admin).await?.get("/metrics").await?.text();
        Ok(text.lines().any(|line| {
            line.contains("in_flight_requests_collector")
                && line.contains("client=\"sample\"")
                && line.contains("\"watch\"")
                && line.ends_with(" 0")
        }))
    })
    .await
    .unwrap();
}

/// Whether it waits for an answer or reads one, and over which HTTP it and the cloud speak.
#[tokio::test]
async fn a_request_whose_client_leaves_ends_in_the_cloud_too() {
    for http2 in [true, false] {
        let rig = Rig::with(FakeOptions { http2, ..FakeOptions::default() }, &[]).await;
        let waiting = format!("{CONFIGMAPS}/never-answered");
        rig.fake.fault_at(&waiting, testkit::fake::Fault::StallHeaders);
        let version = rig.fake.resource_version();
        let reading = format!("{CONFIGMAPS}?watch=1&resourceVersion={version}&allowWatchBookmarks=true");
        for alpn in [Alpn::H1, Alpn::H2] {
            for path in [&waiting, &reading] {
                let client = rig.hub.pod(TOKEN, alpn).await.unwrap();
                let open = async |count: usize| {
                    let what = format!("{count} open in the cloud: {path}, {alpn:?}, http2 {http2}");
                    eventually(&what, SECONDS(5), async || Ok(rig.fake.open(path) == count)).await.unwrap();
                };
                let answer = async {
                    let _streaming = client.stream("GET", path, &[], "").await;
                    std::future::pending::<()>().await;
                };
                tokio::select! {
                    () = answer => {}
                    () = open(1) => {}
                }
                open(0).await;
                drop(client);
            }
        }
        let told = |log: &str| log.lines().filter(|line| line.contains("never-answered") && line.contains(" status=0 ")).count();
        eventually("both are told", SECONDS(5), async || Ok(told(&rig.hub.log()) == 2)).await.unwrap();
    }
}

#[tokio::test]
async fn exec_attach_and_port_forward_are_passed_through_over_spdy_and_websocket() {
    let rig = Rig::start().await;
    for what in ["exec?command=cat", "attach?stdin=true", "portforward?ports=80"] {
        for (method, protocol) in [("POST", "SPDY/3.1"), ("GET", "websocket")] {
            let client = rig.hub.kubelet().await.unwrap();
            let path = format!("/api/v1/namespaces/story/pods/p/{what}");
            let mut stream = client.upgrade(method, &path, protocol, &[]).await.unwrap();
            stream.write_all(b"bytes of any kind \x00\xff").await.unwrap();
            let mut echo = [0; 20];
            stream.read_exact(&mut echo).await.unwrap();
            assert_eq!(&echo, b"bytes of any kind \x00\xff");
        }
    }
}

/// The cloud has its first half before the client sends the second.
#[tokio::test]
async fn a_body_goes_to_the_cloud_as_it_comes_and_its_trailers_with_it() {
    let rig = Rig::start().await;
    let mut stream = tokio::net::TcpStream::connect(rig.hub.loopback).await.unwrap();
    let head =
        "POST /fake/echo HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\ntrailer: x-digest\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    for (part, comes_back) in [("5\r\nfirst\r\n", "first"), ("6\r\nsecond\r\n0\r\nx-digest: abc\r\n\r\n", "x-digest: abc")] {
        stream.write_all(part.as_bytes()).await.unwrap();
        while !String::from_utf8_lossy(&answer).contains(comes_back) {
            let read = tokio::time::timeout(SECONDS(10), stream.read_buf(&mut answer)).await.expect("it comes back").unwrap();
            assert_ne!(read, 0, "{}", String::from_utf8_lossy(&answer));
        }
    }
    assert!(String::from_utf8_lossy(&answer).contains("second"));
}

#[tokio::test]
async fn a_renewed_client_certificate_is_used_from_then_on_and_no_request_fails() {
    let rig = Rig::start().await;
    let path = format!("{CONFIGMAPS}?watch=1&resourceVersion={}", rig.fake.resource_version());
    let mut watch = rig.hub.kubelet().await.unwrap().stream("GET", &path, &[], "").await.unwrap();
    let kubelet = rig.hub.kubelet().await.unwrap();
    let ask = async || {
        for path in [CONFIGMAPS.to_owned(), format!("{CONFIGMAPS}/greeting")] {
            let answer = kubelet.get(&path).await.unwrap();
            assert_eq!((answer.status.as_u16(), answer.header("cache-status")), (200, ""), "{}", answer.text());
        }
        let requests = rig.fake.requests().into_iter().filter(|request| request.path_and_query.starts_with(CONFIGMAPS));
        requests.last().unwrap().client_cn
    };
    assert_eq!(ask().await.as_deref(), Some("system:node:edge-1"));
    rig.fake.pki().client("system:node:renewed", "system:nodes").write_to(rig.hub.folder(), "node").unwrap();
    let renewed = async || Ok(ask().await.as_deref() == Some("system:node:renewed"));
    eventually("the new certificate is shown", SECONDS(30), renewed).await.unwrap();
    rig.fake.clear_requests();
    for _ in 0..50 {
        ask().await;
    }
    let asked = rig.fake.requests().into_iter().filter(|request| request.path_and_query.starts_with(CONFIGMAPS));
    assert!(asked.into_iter().all(|request| request.client_cn.as_deref() == Some("system:node:renewed")));
    rig.fake.put("configmaps", "story", "fresh", json!({"data": {}}));
    assert_eq!(watch.event().await.unwrap().unwrap()["object"]["metadata"]["name"], "fresh", "what was open goes on");
}

#[tokio::test]
async fn gzip_is_passed_through_and_remembered_all_the_same() {
    let rig = Rig::with(FakeOptions { gzip: true, ..FakeOptions::default() }, &[]).await;
    let text = "compressible ".repeat(20_000);
    rig.fake.put("configmaps", "story", "large", json!({"data": {"text": text}}));
    let client = rig.pod().await;
    let plain = client.get(CONFIGMAPS).await.unwrap();
    let packed = client.request("GET", CONFIGMAPS, &[("accept-encoding", "gzip")], "").await.unwrap();
    assert_eq!(packed.header("content-encoding"), "gzip");
    assert!(packed.body.len() < plain.body.len() / 10);
    rig.remembered(3.0).await;
    rig.cut(testkit::fake::Fault::Refuse).await;
    let offline = client.get(CONFIGMAPS).await.unwrap();
    assert_eq!(offline.body, plain.body);
}

#[tokio::test]
async fn trailers_come_through() {
    let rig = Rig::start().await;
    for alpn in [Alpn::H2, Alpn::H1] {
        let te = if alpn == Alpn::H2 { vec![("te", "trailers")] } else { vec![("te", "trailers"), ("connection", "te")] };
        let client = rig.hub.pod(TOKEN, alpn).await.unwrap();
        let direct = Client::https(rig.fake.addr(), rig.fake.ca_pem(), "127.0.0.1", alpn).await.unwrap().with_token(TOKEN);
        let expected = direct.request("GET", "/fake/trailers", &te, "").await.unwrap();
        let through = client.request("GET", "/fake/trailers", &te, "").await.unwrap();
        assert!(expected.trailers.is_some(), "the fake sends some");
        assert_eq!(through.trailers, expected.trailers, "{alpn:?}");
        assert_eq!(through.body, expected.body);
    }
}

#[tokio::test]
async fn the_service_kubernetes_is_rewritten_for_kubelet_alone_in_both_encodings() {
    let rig = Rig::start().await;
    let kubelet = rig.hub.kubelet().await.unwrap();
    let port = rig.hub.secure.port();
    let list = kubelet.get("/api/v1/services").await.unwrap().json();
    let service = list["items"].as_array().unwrap().iter().find(|item| item["metadata"]["name"] == "kubernetes").unwrap().clone();
    assert_eq!(service["spec"]["clusterIP"], "127.0.0.1");
    assert_eq!(service["spec"]["clusterIPs"], json!(["127.0.0.1"]));
    assert_eq!(service["spec"]["ports"][0]["port"], port);
    let get = kubelet.get("/api/v1/namespaces/default/services/kubernetes").await.unwrap().json();
    assert_eq!(get["spec"]["clusterIP"], "127.0.0.1");
    let mut watch = kubelet.stream("GET", "/api/v1/services?watch=1&resourceVersion=0", &[], "").await.unwrap();
    let event = watch.event().await.unwrap().unwrap();
    assert_eq!(event["object"]["spec"]["clusterIP"], "127.0.0.1");
    let kubelet = rig.hub.kubelet().await.unwrap();
    let other = kubelet.request("GET", "/api/v1/services", &[("user-agent", "other/v1")], "").await.unwrap().text();
    assert!(other.contains("10.96.0.1") && !other.contains(&format!("{port}")), "{other}");
    let accept = [("accept", "application/vnd.kubernetes.protobuf")];
    let proto: Bytes = kubelet.request("GET", "/api/v1/services", &accept, "").await.unwrap().body;
    let contains = |needle: &[u8]| proto.windows(needle.len()).any(|window| window == needle);
    assert!(contains(b"127.0.0.1") && !contains(b"10.96.0.1"));
}

/// One that shares nobody else's.
fn watch_of_its_own(rig: &Rig, number: usize) -> String {
    let version = rig.fake.resource_version();
    format!("{CONFIGMAPS}?watch=1&resourceVersion={version}&fieldSelector=metadata.name%3Dn{number}")
}

#[tokio::test]
async fn a_thousand_watches_do_not_keep_the_next_get_waiting() {
    let rig = Rig::with(FakeOptions { max_concurrent_streams: 100, ..FakeOptions::default() }, &[]).await;
    let client = rig.pod().await;
    let paths: Vec<String> = (0..1000).map(|number| watch_of_its_own(&rig, number)).collect();
    let watches = client.watches(&paths.iter().map(String::as_str).collect::<Vec<_>>()).await.unwrap();
    let answer = tokio::time::timeout(SECONDS(5), client.get(&format!("{CONFIGMAPS}/greeting"))).await.unwrap().unwrap();
    assert_eq!(answer.status, 200);
    assert!(rig.fake.connections().live >= 10, "{:?}", rig.fake.connections());
    drop(watches);
}

#[tokio::test]
async fn a_goaway_is_invisible() {
    let rig = Rig::start().await;
    let client = rig.pod().await;
    for _ in 0..20 {
        rig.fake.fault(testkit::fake::Fault::GoAway);
        let answer = client.get(&format!("{CONFIGMAPS}/greeting")).await.unwrap();
        assert_eq!((answer.status.as_u16(), answer.header("cache-status")), (200, ""), "{}", answer.text());
    }
}

#[tokio::test]
async fn a_goaway_on_every_connection_of_many_is_invisible() {
    let rig = Rig::with(FakeOptions { max_concurrent_streams: 2, ..FakeOptions::default() }, &[]).await;
    let client = rig.pod().await;
    let mut watches = Vec::new();
    for number in 0..40 {
        watches.push(client.stream("GET", &watch_of_its_own(&rig, number), &[], "").await.unwrap());
    }
    let in_flight = async || rig.hub.metric("node_yurthub_in_flight_requests_total").await;
    let before = in_flight().await.unwrap();
    // One watch stays on each connection, so that none of them ends; each has a free place.
    let staying: Vec<_> = watches.into_iter().step_by(2).collect();
    eventually("half of the watches have ended", SECONDS(5), async || Ok(in_flight().await? <= before - 20.0)).await.unwrap();
    rig.fake.fault(testkit::fake::Fault::GoAway);
    let answer = client.get(CONFIGMAPS).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.header("cache-status")), (200, ""), "{}", answer.text());
    drop(staying);
}

/// A control group that kubelet could have made for a Pod, gone with the test.
struct PodGroup(std::path::PathBuf);

impl PodGroup {
    /// `None`: this process may not make one.
    fn make() -> Option<Self> {
        let root = std::path::Path::new("/sys/fs/cgroup");
        let root = if root.join("cgroup.controllers").exists() { root.to_owned() } else { root.join("pids") };
        let group = root.join(format!("kubepods-of-a-test-{}", std::process::id()));
        std::fs::create_dir(&group).is_ok().then_some(Self(group))
    }
}

impl Drop for PodGroup {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

#[tokio::test]
async fn a_process_of_a_pod_is_not_the_node_on_loopback() {
    let Some(group) = PodGroup::make() else { return skipped("root, to make a control group") };
    let rig = Rig::start().await;
    let ask = |prepare: &str| {
        let (procs, port) = (group.0.join("cgroup.procs").display().to_string(), rig.hub.loopback.port());
        let script = format!(
            r#"{prepare} exec 3<>/dev/tcp/127.0.0.1/{port}
               printf 'GET {CONFIGMAPS} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n' >&3; cat <&3"#
        );
        let script = script.replace("PROCS", &procs);
        tokio::process::Command::new("bash").args(["-c", &script]).output()
    };
    let host = ask("").await.unwrap();
    let pod = ask("echo $$ > PROCS || exit 9;").await.unwrap();
    let (host, pod) = (String::from_utf8_lossy(&host.stdout).into_owned(), String::from_utf8_lossy(&pod.stdout).into_owned());
    assert!(host.starts_with("HTTP/1.1 200"), "{host}");
    assert!(pod.starts_with("HTTP/1.1 401") && pod.contains("a process of a Pod is never answered as the node"), "{pod}");
}
