//! Bad input, from both sides: one request ends with clear words, the others go on.

use serde_json::json;
use testkit::client::Client;
use testkit::disk::SmallDisk;
use testkit::fake::Fault;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;

async fn alive(rig: &Rig) {
    let answer = rig.pod().await.get(&format!("{CONFIGMAPS}/greeting")).await.unwrap();
    assert_eq!(answer.status, 200, "the neighbours go on: {}", answer.text());
}

async fn raw(rig: &Rig, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(rig.hub.loopback).await.unwrap();
    // The hub may answer and close before it has read everything.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(SECONDS(10), stream.read_to_end(&mut answer)).await.expect("the hub ends it");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn malformed_requests_end_alone() {
    let rig = Rig::start().await;
    assert!(raw(&rig, b"\x16\x03\x01\x02\x00\x01garbage\r\n\r\n").await.starts_with("HTTP/1.1 400"));
    assert!(raw(&rig, b"GET / HTTP/9.9\r\n\r\n").await.starts_with("HTTP/1.1 "));
    assert!(
        raw(&rig, b"POST /api HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n")
            .await
            .starts_with("HTTP/1.1 4")
    );
    assert!(
        raw(&rig, b"GET /api/v1/watch HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            .await
            .contains("unable to determine kind")
    );
    let mut huge = b"GET /api HTTP/1.1\r\nhost: x\r\nx-huge: ".to_vec();
    huge.resize(1 << 20, b'a');
    let answer = raw(&rig, &[&huge[..], b"\r\n\r\n"].concat()).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    let ask = async |alpn, length: usize| {
        let client = rig.hub.pod(TOKEN, alpn).await.unwrap();
        client.request("GET", CONFIGMAPS, &[("x-huge", &"a".repeat(length))], "").await
    };
    for (alpn, length) in [(Alpn::H1, 1 << 20), (Alpn::H1, 100_000), (Alpn::H2, 100_000)] {
        assert_eq!(ask(alpn, length).await.unwrap().status, 431, "{alpn:?} {length}");
    }
    // More pieces than anybody sends: it is the connection that ends, and says why.
    let error = ask(Alpn::H2, 1 << 20).await.unwrap_err();
    assert!(format!("{error:?}").contains("too_many_continuations"), "{error:?}");
    alive(&rig).await;
}

#[tokio::test]
async fn a_write_that_is_answered_with_garbage_is_a_502() {
    // Over HTTP/2 it might be the beginning of a frame of a kind that is to be ignored.
    let rig = Rig::with(testkit::fake::FakeOptions { http2: false, ..testkit::fake::FakeOptions::default() }, &[]).await;
    let client = rig.hub.kubelet().await.unwrap();
    rig.fake.fault_next(CONFIGMAPS, Fault::Garbage);
    let body = json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "new"}}).to_string();
    let answer = client.request("POST", CONFIGMAPS, &[("content-type", "application/json")], body).await.unwrap();
    assert_eq!(answer.status, 502, "{}", answer.text());
    assert!(answer.json()["message"].as_str().unwrap().contains("not valid HTTP"), "{}", answer.text());
    alive(&rig).await;
}

#[tokio::test]
async fn half_open_and_slow_senders_hold_nobody_up() {
    let rig = Rig::start().await;
    let mut idle = Vec::new();
    for index in 0..200 {
        let mut stream = TcpStream::connect(rig.hub.loopback).await.unwrap();
        if index % 2 == 0 {
            stream.write_all(b"GET /api HT").await.unwrap();
        }
        idle.push(stream);
    }
    alive(&rig).await;
}

#[tokio::test]
async fn a_body_that_stops_in_the_middle_never_counts_upstream() {
    let rig = Rig::start().await;
    let mut stream = TcpStream::connect(rig.hub.loopback).await.unwrap();
    let head = format!(
        "POST {CONFIGMAPS} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{{\"metadata\":{{\"name\":\"half\"}}"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    drop(stream);
    alive(&rig).await;
    assert!(rig.fake.get("configmaps", "story", "half").is_none());
}

#[tokio::test]
async fn an_upstream_that_lies_gets_an_honest_error_and_is_not_remembered() {
    let rig = Rig::start().await;
    let client = rig.pod().await;
    let whole = client.get(CONFIGMAPS).await.unwrap();
    rig.remembered(1.0).await;
    for fault in [Fault::TruncateBody(100), Fault::WrongContentLength] {
        let name = format!("{fault:?}");
        rig.fake.put("configmaps", "story", &format!("more-{}", name.len()), json!({"data": {}}));
        rig.fake.fault_at(CONFIGMAPS, fault);
        let answer = client.get(CONFIGMAPS).await.unwrap();
        assert_eq!(answer.status, 502, "{name}: {}", answer.text());
        rig.fake.heal().unwrap();
        rig.link_is(1.0).await;
    }
    rig.cut(Fault::Refuse).await;
    assert_eq!(client.get(CONFIGMAPS).await.unwrap().body, whole.body, "the last whole list, as it was");
}

/// A single object is looked at whole before any of it is passed on.
#[tokio::test]
async fn an_object_that_breaks_off_on_its_way_to_a_filter_is_the_stores() {
    let options = testkit::fake::FakeOptions { http2: false, ..testkit::fake::FakeOptions::default() };
    let rig = Rig::with(options, &[]).await;
    let kubelet = rig.hub.kubelet().await.unwrap();
    let service = "/api/v1/namespaces/default/services/kubernetes";
    let whole = kubelet.get(service).await.unwrap();
    assert_eq!(whole.status, 200);
    rig.fake.fault_at(service, Fault::TruncateBody(20));
    let answer = kubelet.get(service).await.unwrap();
    assert_eq!((answer.status.as_u16(), &answer.body), (200, &whole.body), "{}", answer.text());
    assert_ne!(answer.header("cache-status"), "", "the store's");
}

/// The head of an answer is no promise: what its client has seen nothing of is the store's, whatever it was.
#[tokio::test]
async fn an_answer_that_breaks_off_at_its_beginning_is_the_stores() {
    let object = format!("{CONFIGMAPS}/greeting");
    for (path, http2, fault) in [
        (CONFIGMAPS, true, Fault::Freeze),
        (&object, true, Fault::Freeze),
        (CONFIGMAPS, false, Fault::Silence),
        (&object, false, Fault::Silence),
        (CONFIGMAPS, false, Fault::TruncateBody(20)),
        (&object, false, Fault::TruncateBody(20)),
    ] {
        let stalls = !matches!(fault, Fault::TruncateBody(_));
        let rig = Rig::with(FakeOptions { http2, ..FakeOptions::default() }, &[]).await;
        let client = rig.pod().await;
        let whole = client.get(path).await.unwrap();
        rig.remembered(1.0).await;
        rig.fake.clear_requests();
        rig.fake.fault_at(path, if stalls { Fault::StallBody(20) } else { fault });
        let cut = async {
            eventually("the request has come", SECONDS(10), async || {
                Ok(rig.fake.requests().iter().any(|request| request.path_and_query == path))
            })
            .await
            .unwrap();
            if stalls {
                rig.fake.fault(fault);
            }
        };
        let (answer, ()) = tokio::join!(client.get(path), cut);
        let answer = answer.unwrap();
        assert_eq!((answer.status.as_u16(), &answer.body), (200, &whole.body), "{path} {http2} {fault:?}: {}", answer.text());
        assert_ne!(answer.header("cache-status"), "", "the store's");
    }
}

/// Over a slow link a cut is likely to meet a long answer.
#[tokio::test]
async fn a_long_answer_that_comes_slowly_and_breaks_off_is_the_stores() {
    let rig = Rig::with(FakeOptions { http2: false, ..FakeOptions::default() }, &[]).await;
    let client = rig.pod().await;
    rig.fake.put("configmaps", "story", "long", json!({"data": {"text": "x".repeat(900_000)}}));
    let whole = client.get(CONFIGMAPS).await.unwrap();
    rig.remembered(1.0).await;
    for (fault, is_clouds) in [(Fault::SlowBody(800_000), true), (Fault::SlowTruncateBody(800_000, 600_000), false)] {
        rig.fake.fault_at(CONFIGMAPS, fault);
        let answer = client.get(CONFIGMAPS).await.unwrap();
        assert!(answer.status == 200 && answer.body == whole.body, "{fault:?}: {} bytes", answer.body.len());
        assert_eq!(answer.header("cache-status").is_empty(), is_clouds, "{fault:?}");
        rig.fake.heal().unwrap();
    }
}

/// It has said all that counts in its head.
#[tokio::test]
async fn a_refusal_that_breaks_off_is_a_refusal() {
    let rig = Rig::with(FakeOptions { http2: false, ..FakeOptions::default() }, &[]).await;
    let client = rig.pod().await;
    assert_eq!(client.get(CONFIGMAPS).await.unwrap().status, 200);
    rig.remembered(1.0).await;
    rig.fake.forbid_all();
    rig.fake.fault_at(CONFIGMAPS, Fault::TruncateBody(20));
    let refused = client.get(CONFIGMAPS).await;
    assert!(refused.as_ref().is_ok_and(|answer| answer.status == 403) || refused.is_err(), "{refused:?}");
    rig.cut(Fault::Refuse).await;
    assert_eq!(client.get(CONFIGMAPS).await.unwrap().status, 403, "the store goes by it as well");
}

/// As a Go server sends what its buffer does not hold: it ends with a frame that says nothing else.
#[tokio::test]
async fn what_does_not_say_how_long_it_is_is_remembered_whoever_reads_it() {
    for alpn in [Alpn::H1, Alpn::H2] {
        let rig = Rig::start().await;
        rig.fake.fault_at(CONFIGMAPS, Fault::NoLength);
        let client = rig.hub.pod(TOKEN, alpn).await.unwrap();
        let whole = client.get(CONFIGMAPS).await.unwrap();
        assert_eq!(whole.status, 200);
        rig.remembered(1.0).await;
        rig.cut(Fault::Refuse).await;
        assert_eq!(client.get(CONFIGMAPS).await.unwrap().body, whole.body, "{alpn:?}");
    }
}

#[tokio::test]
async fn a_server_that_speaks_no_http_is_a_server_that_is_down() {
    let rig = Rig::start().await;
    let client = rig.pod().await;
    let whole = client.get(CONFIGMAPS).await.unwrap();
    rig.remembered(1.0).await;
    rig.fake.fault(Fault::Refuse);
    rig.fake.heal().unwrap();
    rig.fake.fault(Fault::Garbage);
    let answer = client.get(CONFIGMAPS).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.body, whole.body);
}

/// Before its etcd can be reached a kube-apiserver answers, and knows nothing.
#[tokio::test]
async fn a_server_that_says_it_is_not_ready_is_a_server_that_is_down() {
    let rig = Rig::with(testkit::fake::FakeOptions::default(), &["--heartbeat-interval-seconds=1"]).await;
    let client = rig.pod().await;
    let whole = client.get(CONFIGMAPS).await.unwrap();
    rig.remembered(1.0).await;
    for code in [500, 503] {
        rig.fake.fault_at("/readyz", Fault::Status(code));
        rig.link_is(0.0).await;
        let answer = client.get(CONFIGMAPS).await.unwrap();
        assert_eq!((answer.status.as_u16(), &answer.body), (200, &whole.body));
        assert_ne!(answer.header("cache-status"), "", "the store's");
        rig.restore().await;
        assert_eq!(client.get(CONFIGMAPS).await.unwrap().header("cache-status"), "", "the cloud's");
    }
}

/// On a link that loses much it is chance which connection gets through.
#[tokio::test]
async fn a_server_that_answers_on_the_third_connection_is_up() {
    let rig = Rig::with(testkit::fake::FakeOptions::default(), &["--heartbeat-interval-seconds=1"]).await;
    rig.link_is(1.0).await;
    let probes = || rig.fake.requests().iter().filter(|request| request.path_and_query == "/readyz").count();
    let before = probes();
    (0..2).for_each(|_| rig.fake.fault_next("/readyz", Fault::Silence));
    eventually("probes get through", SECONDS(20), async || Ok(probes() >= before + 5)).await.unwrap();
    let log = rig.hub.log();
    assert!(!log.contains("the link to the cloud is down: answering"), "{log}");
}

/// A probe's answer may be behind a large list on a slow link.
#[tokio::test]
async fn a_server_that_is_answering_is_up_however_long_its_probe_waits() {
    let flags = ["--heartbeat-interval-seconds=1", "--heartbeat-timeout-seconds=1", "--heartbeat-failed-retry=1"];
    let rig = Rig::with(testkit::fake::FakeOptions::default(), &flags).await;
    let client = rig.pod().await;
    rig.fake.put("configmaps", "story", "large", json!({"data": {"text": "x".repeat(20_000)}}));
    let whole = client.get(CONFIGMAPS).await.unwrap();
    rig.fake.fault_at("/readyz", Fault::StallHeaders);
    rig.fake.fault_next(CONFIGMAPS, Fault::SlowBody(4000));
    let slow = client.get(CONFIGMAPS).await.unwrap();
    assert_eq!((slow.status, slow.body), (whole.status, whole.body));
    assert_eq!(rig.hub.metric("node_yurthub_server_healthy_status").await.unwrap(), 1.0);
    rig.link_is(0.0).await;
}

#[tokio::test]
async fn ordinary_errors_of_a_healthy_server_are_passed_on() {
    let rig = Rig::start().await;
    let client = rig.pod().await;
    client.get(CONFIGMAPS).await.unwrap();
    rig.remembered(1.0).await;
    for code in [400, 409, 422, 429, 500] {
        rig.fake.fault_at(CONFIGMAPS, Fault::Status(code));
        let answer = client.get(CONFIGMAPS).await.unwrap();
        assert_eq!((answer.status.as_u16(), answer.header("cache-status")), (code, ""));
        rig.fake.heal().unwrap();
    }
}

#[tokio::test]
async fn an_event_too_large_to_be_kept_is_the_clouds_while_it_is_there() {
    let rig = Rig::start().await;
    let client = rig.pod().await;
    let event = |name: &str| {
        let mut event = event("story", name);
        event["message"] = json!("m".repeat(300 * 1024));
        serde_json::to_vec(&event).unwrap()
    };
    let path = "/api/v1/namespaces/story/events";
    let json = [("content-type", "application/json")];
    let answer = client.request("POST", path, &json, event("large.1")).await.unwrap();
    assert_eq!(answer.status, 201, "{}", answer.text());
    assert_eq!(rig.fake.get("events", "story", "large.1").unwrap()["message"].as_str().unwrap().len(), 300 * 1024);
    rig.cut(Fault::Refuse).await;
    let answer = client.request("POST", path, &json, event("large.2")).await.unwrap();
    assert_eq!(answer.status, 503);
    assert!(answer.text().contains("are not kept here"), "{}", answer.text());
}

#[tokio::test]
async fn a_list_too_large_for_the_budget_is_passed_on_and_counted() {
    let rig = Rig::with(testkit::fake::FakeOptions::default(), &["--cache-max-bytes=1048576"]).await;
    for index in 0..20 {
        rig.fake.put("configmaps", "story", &format!("big-{index}"), json!({"data": {"v": testkit::noise(100_000)}}));
    }
    let answer = rig.pod().await.get(CONFIGMAPS).await.unwrap();
    assert_eq!(answer.json()["items"].as_array().unwrap().len(), 22);
    eventually("it is counted", SECONDS(5), async || {
        let text = Client::http1(rig.hub.admin).await?.get("/metrics").await?.text();
        Ok(text.contains("holdfast_lists_not_remembered_total{reason=\"over the budget\"} 1"))
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_store_with_more_objects_than_allowed_stops_no_request() {
    let rig = Rig::with(testkit::fake::FakeOptions::default(), &["--cache-max-objects=1000"]).await;
    for index in 0..1000 {
        rig.fake.put("configmaps", "story", &format!("c-{index}"), json!({"data": {}}));
    }
    let client = rig.pod().await;
    let greeting = format!("{CONFIGMAPS}/greeting");
    for _ in 0..3 {
        let answer = client.get(CONFIGMAPS).await.unwrap();
        assert_eq!(answer.json()["items"].as_array().unwrap().len(), 1002);
        assert_eq!(client.get(&greeting).await.unwrap().status, 200);
    }
    eventually("it is counted", SECONDS(5), async || {
        let text = Client::http1(rig.hub.admin).await?.get("/metrics").await?.text();
        Ok(text.contains("holdfast_lists_not_remembered_total{reason=\"over the budget\"} 3"))
    })
    .await
    .unwrap();
    rig.cut(Fault::Refuse).await;
    assert_eq!(client.get(CONFIGMAPS).await.unwrap().status, 503, "never a part of it");
    assert_eq!(client.get(&greeting).await.unwrap().status, 200);
}

#[tokio::test]
async fn a_full_disk_costs_memory_of_new_things_and_nothing_else() {
    let Some(disk) = SmallDisk::mount(1 << 20) else { return skipped("root, to mount a small disk") };
    let flag = format!("--disk-cache-path={}", disk.path().display());
    let mut rig = Rig::with(testkit::fake::FakeOptions::default(), &[&flag]).await;
    let client = rig.pod().await;
    let small = client.get(CONFIGMAPS).await.unwrap();
    rig.remembered(2.0).await;
    for index in 0..30 {
        rig.fake.put("configmaps", "story", &format!("big-{index:02}"), json!({"data": {"v": testkit::noise(100_000)}}));
    }
    for _ in 0..5 {
        let answer = client.get(CONFIGMAPS).await.unwrap();
        assert_eq!(answer.json()["items"].as_array().unwrap().len(), 32, "the cloud's answer is passed on");
    }
    eventually("the log says so", SECONDS(10), async || Ok(rig.hub.log().contains("a write to the store failed"))).await.unwrap();
    let mut event = event("story", "e");
    event["message"] = json!("x".repeat(60_000));
    disk.fill().unwrap();
    rig.cut(Fault::Refuse).await;
    assert_eq!(client.get(CONFIGMAPS).await.unwrap().body, small.body, "the last list that fitted");
    let events = "/api/v1/namespaces/story/events";
    let answer = client.request("POST", events, &[("content-type", "application/json")], event.to_string()).await.unwrap();
    assert_ne!(answer.status, 201, "nothing is promised that is not on the disk");
    rig.hub.kill();
    rig.hub.run().await.unwrap();
    let answer = rig.pod().await.get(CONFIGMAPS).await.unwrap();
    assert!(answer.body == small.body || answer.status.as_u16() >= 400, "{}", answer.text());
    rig.restore().await;
    alive(&rig).await;
}

fn damaged(good: &[u8], at: usize) -> Vec<u8> {
    let mut bad = good.to_vec();
    bad[at..at + 64].iter_mut().for_each(|byte| *byte ^= 0x5a);
    bad
}

/// As systemd does it: some damage makes redb end the process, until the hub leaves the file alone.
async fn start(hub: &mut Hub) {
    for _ in 0..3 {
        if hub.run().await.is_ok() {
            return;
        }
    }
    hub.run().await.unwrap();
}

#[tokio::test]
async fn a_store_at_which_the_hub_ends_again_and_again_is_left_alone() {
    let mut rig = Rig::start().await;
    rig.pod().await.get(CONFIGMAPS).await.unwrap();
    rig.remembered(2.0).await;
    for (marks, known) in [("++", 200), ("+++", 401)] {
        rig.hub.signal("TERM").unwrap();
        rig.hub.ended(SECONDS(10)).await.unwrap();
        let starts = rig.hub.store_file().with_extension("starts");
        assert!(!starts.exists(), "the last one came through");
        std::fs::write(&starts, marks).unwrap();
        rig.fake.fault(Fault::Refuse);
        rig.hub.run().await.unwrap();
        assert_eq!(rig.pod().await.get(CONFIGMAPS).await.unwrap().status, known, "after {marks}");
    }
}

#[tokio::test]
async fn a_damaged_store_is_never_answered_from() {
    let mut rig = Rig::start().await;
    for index in 0..50 {
        rig.fake.put("configmaps", "story", &format!("m-{index:02}"), json!({"data": {"v": testkit::noise(2000)}}));
    }
    let client = rig.pod().await;
    let whole = client.get(CONFIGMAPS).await.unwrap();
    rig.remembered(2.0).await;
    rig.hub.signal("TERM").unwrap();
    drop(client);
    assert_eq!(rig.hub.ended(SECONDS(10)).await.unwrap().code(), Some(0));
    let good = std::fs::read(rig.hub.store_file()).unwrap();
    rig.fake.fault(Fault::Refuse);
    let mut refused = 0;
    for at in (0..48).map(|step| good.len() * step / 48 + 17) {
        std::fs::write(rig.hub.store_file(), damaged(&good, at)).unwrap();
        start(&mut rig.hub).await;
        let answer = rig.pod().await.get(CONFIGMAPS).await.unwrap();
        match answer.status.as_u16() {
            200 => assert_eq!(answer.body, whole.body, "damaged at {at}"),
            401 | 403 | 503 => refused += 1,
            other => panic!("damaged at {at}: {other} {}", answer.text()),
        }
        rig.hub.kill();
    }
    assert!(refused > 0, "no damage was met");
    rig.hub.run().await.unwrap();
    // A hub that has just begun takes the link for up.
    rig.link_is(0.0).await;
    rig.restore().await;
    alive(&rig).await;
}
