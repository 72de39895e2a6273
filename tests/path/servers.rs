//! Several servers, of which one is gone: the others are asked.

use std::time::{Duration, Instant};

use testkit::fake::Fault;

use super::*;

pub const SERVICE: &str = "/api/v1/namespaces/default/services/kubernetes";

/// Two servers with the same tenant, and a hub in front of them.
async fn two_servers() -> (Fake, Fake, Hub) {
    two_servers_with(&[]).await
}

async fn two_servers_with(flags: &[&str]) -> (Fake, Fake, Hub) {
    let first = Fake::start(FakeOptions::default()).await.unwrap();
    let second = Fake::start(FakeOptions { pki: Some(first.pki().clone()), ..FakeOptions::default() }).await.unwrap();
    for fake in [&first, &second] {
        fake.add_token(TOKEN, "system:admin", &["system:masters"]);
    }
    let servers = vec![first.url(), second.url()];
    let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
    let options = HubOptions { binary: env!("CARGO_BIN_EXE_holdfast"), servers, pki: first.pki(), flags };
    let hub = Hub::start(options).await.unwrap();
    (first, second, hub)
}

/// Waits until the hub counts so many servers as up.
async fn are_up(hub: &Hub, servers: usize) {
    let count = async || {
        let text = Client::http1(hub.admin).await?.get("/metrics").await?.text();
        Ok(text.lines().filter(|line| line.contains("healthy_status{") && line.ends_with(" 1")).count() == servers)
    };
    eventually("so many servers are up", SECONDS(20), count).await.unwrap();
}

#[tokio::test]
async fn several_servers_fail_over() {
    for fault in [Fault::Refuse, Fault::Silence] {
        let (first, second, hub) = two_servers().await;
        let client = hub.pod(TOKEN, Alpn::H2).await.unwrap();
        for fake in [&first, &second] {
            fake.fault(fault);
            for _ in 0..10 {
                let began = Instant::now();
                let answer = client.get(SERVICE).await.unwrap();
                let what = format!("{fault:?}: {}", answer.text());
                assert_eq!((answer.status.as_u16(), answer.header("cache-status")), (200, ""), "{what}");
                assert!(began.elapsed() < SECONDS(2), "{what}");
            }
            fake.heal().unwrap();
            are_up(&hub, 2).await;
        }
    }
}

#[tokio::test]
async fn a_read_that_no_server_answers_is_the_stores_within_two_seconds() {
    let (first, second, hub) = two_servers().await;
    let client = hub.pod(TOKEN, Alpn::H2).await.unwrap();
    // Each server has a connection then.
    for _ in 0..2 {
        assert_eq!(client.get(SERVICE).await.unwrap().status, 200);
    }
    first.fault(Fault::Silence);
    second.fault(Fault::Silence);
    let began = Instant::now();
    let answer = client.get(SERVICE).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_ne!(answer.header("cache-status"), "", "the store's");
    assert!(began.elapsed() < SECONDS(2), "{:?}", began.elapsed());
}

/// Of this client the node knows nothing, and one server is silent: the other one is waited for, slow as it is.
#[tokio::test]
async fn what_the_store_does_not_know_is_waited_for() {
    let (silent, slow, hub) = two_servers().await;
    for fake in [&silent, &slow] {
        fake.add_token("unknown-token", "system:admin", &["system:masters"]);
    }
    let known = hub.pod(TOKEN, Alpn::H2).await.unwrap();
    // Each server has a connection then.
    for _ in 0..4 {
        assert_eq!(known.get(SERVICE).await.unwrap().status, 200);
    }
    silent.fault(Fault::Silence);
    slow.fault_at(SERVICE, Fault::LateHeaders(Duration::from_millis(2500)));
    let client = hub.pod("unknown-token", Alpn::H2).await.unwrap();
    // Whosever turn it is: the hub has its own requests between.
    let ask = || client.get(SERVICE);
    let (a, b, c, d) = tokio::join!(ask(), ask(), ask(), ask());
    for answer in [a, b, c, d] {
        let answer = answer.unwrap();
        assert_eq!((answer.status.as_u16(), answer.header("cache-status")), (200, ""), "{}", answer.text());
    }
}

#[tokio::test]
async fn a_read_is_not_sent_twice_to_servers_that_are_slow() {
    let (first, second, hub) = two_servers().await;
    let client = hub.pod(TOKEN, Alpn::H2).await.unwrap();
    for fake in [&first, &second] {
        fake.fault_at(SERVICE, Fault::LateHeaders(Duration::from_millis(2000)));
    }
    assert_eq!(client.get(SERVICE).await.unwrap().status, 200);
    let asked = |fake: &Fake| fake.requests().iter().filter(|request| request.path_and_query == SERVICE).count();
    assert_eq!(asked(&first) + asked(&second), 1, "a server that replies to pings is waited for");
}

#[tokio::test]
async fn a_write_that_a_silent_server_has_not_seen_goes_to_the_next_one() {
    let (silent, healthy, hub) = two_servers().await;
    silent.fault(Fault::Silence);
    let client = hub.pod(TOKEN, Alpn::H2).await.unwrap();
    // Before the verdict on the silent one falls, and whosever turn it is.
    for name in ["first", "second"] {
        let body = json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name}}).to_string();
        let answer = client.request("POST", CONFIGMAPS, &[("content-type", "application/json")], body).await.unwrap();
        assert_eq!(answer.status, 201, "{}", answer.text());
        assert!(healthy.get("configmaps", "story", name).is_some());
    }
}

#[tokio::test]
async fn a_server_may_have_a_name() {
    let fake = Fake::start(FakeOptions::default()).await.unwrap();
    fake.add_token(TOKEN, "system:admin", &["system:masters"]);
    let servers = vec![format!("https://localhost:{}", fake.addr().port())];
    let options = HubOptions { binary: env!("CARGO_BIN_EXE_holdfast"), servers, pki: fake.pki(), flags: Vec::new() };
    let hub = Hub::start(options).await.unwrap();
    let answer = hub.pod(TOKEN, Alpn::H2).await.unwrap().get(SERVICE).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.header("cache-status")), (200, ""), "{}", answer.text());
}

#[tokio::test]
async fn by_priority_the_first_server_has_all_requests_while_it_is_up() {
    let (first, second, hub) = two_servers_with(&["--lb-mode=priority"]).await;
    let client = hub.pod(TOKEN, Alpn::H2).await.unwrap();
    let ask = async || assert_eq!(client.get(SERVICE).await.unwrap().status, 200);
    for (servers, to_first, to_second) in [(2, 4, 0), (1, 4, 4), (2, 8, 4)] {
        match servers {
            1 => first.fault(Fault::Refuse),
            _ => first.heal().unwrap(),
        }
        are_up(&hub, servers).await;
        for _ in 0..4 {
            ask().await;
        }
        assert_eq!((asked_by_pods(&first).len(), asked_by_pods(&second).len()), (to_first, to_second));
    }
}

#[tokio::test]
async fn by_consistent_hashing_the_same_is_asked_of_one_server_while_it_is_up() {
    let (first, second, hub) = two_servers_with(&["--lb-mode=consistent-hashing"]).await;
    are_up(&hub, 2).await;
    let client = hub.pod(TOKEN, Alpn::H2).await.unwrap();
    let paths: Vec<String> = (0..24).map(|number| format!("/api/v1/namespaces/n-{number}/configmaps")).collect();
    let ask_for_all = async || {
        for path in &paths {
            assert_eq!(client.get(path).await.unwrap().status, 200);
        }
    };
    ask_for_all().await;
    let (of_first, of_second) = (asked_by_pods(&first), asked_by_pods(&second));
    assert!(!of_first.is_empty() && !of_second.is_empty(), "{of_first:?} {of_second:?}");
    ask_for_all().await;
    assert_eq!(asked_by_pods(&first), [of_first.clone(), of_first].concat());
    second.fault(Fault::Refuse);
    are_up(&hub, 1).await;
    let before = asked_by_pods(&first).len();
    ask_for_all().await;
    assert_eq!(asked_by_pods(&first)[before..], paths);
}

#[tokio::test]
async fn by_latency_the_server_that_answers_probes_faster_has_the_requests() {
    let (slow, fast, hub) = two_servers_with(&["--lb-mode=lowest-latency", "--heartbeat-interval-seconds=1"]).await;
    slow.fault_at("/readyz", Fault::LateHeaders(Duration::from_millis(300)));
    let probes = async || Ok(slow.requests().iter().filter(|request| request.path_and_query == "/readyz").count() > 3);
    eventually("the hub has seen how slow it is", SECONDS(20), probes).await.unwrap();
    let client = hub.pod(TOKEN, Alpn::H2).await.unwrap();
    for _ in 0..4 {
        assert_eq!(client.get(SERVICE).await.unwrap().status, 200);
    }
    assert_eq!((asked_by_pods(&slow).len(), asked_by_pods(&fast).len()), (0, 4));
}
