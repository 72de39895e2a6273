//! Offline, a read is answered as the kube-apiserver would answer it, or honestly refused.
//!
//! A real kube-apiserver answers random requests over random objects; then it is gone, and the hub, which has read each
//! resource once and whole, answers the same requests from the same state: items byte for byte and in order, what the list
//! says of itself field for field, and a refusal whole. The seed is printed; `HOLDFAST_SEED` plays it again,
//! `HOLDFAST_REQUESTS` sets how many there are.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

#[path = "exact/compare.rs"]
mod compare;
#[path = "exact/cuts.rs"]
mod cuts;
#[path = "exact/discovery.rs"]
mod discovery;
#[path = "exact/expired.rs"]
mod expired;
#[path = "exact/follower.rs"]
mod follower;
#[path = "exact/gentle.rs"]
mod gentle;
#[path = "exact/history.rs"]
mod history;
#[path = "exact/link.rs"]
mod link;
#[path = "exact/objects.rs"]
mod objects;
#[path = "exact/random.rs"]
mod random;
#[path = "exact/requests.rs"]
mod requests;
#[path = "exact/shared.rs"]
mod shared;
#[path = "exact/status.rs"]
mod status;
#[path = "exact/watches.rs"]
mod watches;

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use testkit::apiserver::{Apiserver, TOKEN};
use testkit::client::{Alpn, Client};
use testkit::hub::{Hub, HubOptions, eventually};
use testkit::lab;

use compare::{Answer, difference};
use objects::RESOURCES;
use random::Random;
use requests::Asked;

const REQUESTS: usize = 2000;
const JSON: &str = "application/json";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

#[tokio::test]
async fn offline_a_read_is_answered_as_the_kube_apiserver_would() {
    let Some(lab) = lab() else { return };
    let count = number("HOLDFAST_REQUESTS").map_or(REQUESTS, |count| usize::try_from(count).unwrap());
    println!("HOLDFAST_REQUESTS={count}");
    let mut random = Random::new(seed("reads"));

    let mut server = Apiserver::start(&lab).await.unwrap();
    let cloud = server.client().await.unwrap();
    objects::create(&cloud, &mut random).await;

    let hub = hub(&server).await;
    eventually("the API's description is known", Duration::from_secs(60), async || {
        Ok(hub.log().contains("description is known"))
    })
    .await
    .unwrap();
    let (asked, online) = of_one_state(&cloud, &hub, &mut random, count).await;
    cut(&mut server, &hub).await;
    let client = hub.pod(TOKEN, Alpn::H2).await.unwrap();
    let offline = answers(&client, &asked).await;
    let (mut different, mut by_code) = (Vec::new(), std::collections::BTreeMap::new());
    for ((request, online), offline) in asked.iter().zip(&online).zip(&offline) {
        *by_code.entry((online.status, offline.status)).or_insert(0) += 1;
        different.extend(difference(request, online, offline));
    }
    let count = asked.len();
    println!("answers by (online, offline): {by_code:?}");
    let same = by_code.iter().filter(|((online, offline), _)| online == offline).map(|(_, count)| count).sum::<usize>();
    assert!(different.is_empty(), "{} of {count} differ:\n{}", different.len(), different[..different.len().min(12)].join("\n"));
    assert!(same * 10 > count * 9, "only {same} of {count} are answered offline as online");
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// With which a test is random.
fn seed(test: &str) -> u64 {
    let seed = number("HOLDFAST_SEED").unwrap_or_else(random::seed);
    println!("{test}: HOLDFAST_SEED={seed}");
    seed
}

async fn hub(server: &Apiserver) -> Hub {
    hub_over(server, vec![server.url()]).await
}

/// A hub to which the server has these addresses.
async fn hub_over(server: &Apiserver, servers: Vec<String>) -> Hub {
    hub_with(server, servers, Vec::new()).await
}

async fn hub_with(server: &Apiserver, servers: Vec<String>, mut flags: Vec<String>) -> Hub {
    // What it does is told where a test fails.
    flags.push("--v=4".to_owned());
    let options = HubOptions { binary: env!("CARGO_BIN_EXE_holdfast"), servers, pki: &server.pki, flags };
    Hub::start(options).await.unwrap()
}

async fn cut(server: &mut Apiserver, hub: &Hub) {
    server.kill();
    eventually("the link is down", Duration::from_secs(30), async || {
        Ok(hub.metric("node_yurthub_server_healthy_status").await? == 0.0)
    })
    .await
    .unwrap();
}

/// Random requests and the cloud's answers, all of the one state that the hub has read: what the kube-apiserver still
/// does of itself after its start begins them anew.
async fn of_one_state(cloud: &Client, hub: &Hub, random: &mut Random, count: usize) -> (Vec<Asked>, Vec<Answer>) {
    for _ in 0..10 {
        let version = version(cloud).await;
        read_everything(hub, random).await;
        let found = requests::FOUND.map(|target| (target, JSON)).into_iter();
        let found = found.chain(requests::TABLES.map(|target| (target, requests::TABLE)));
        let mut asked: Vec<_> = found.map(|(target, accept)| Asked { target: target.to_owned(), accept }).collect();
        asked.extend((0..count / 20).map(|_| requests::watch(random, version)));
        let mut online = answers(cloud, &asked).await;
        while asked.len() < count {
            let request = requests::next(random, version, asked.last().zip(online.last()));
            online.push(answer(cloud, &request).await);
            asked.push(request);
        }
        if self::version(cloud).await == version {
            return (asked, online);
        }
    }
    panic!("the kube-apiserver's state does not settle");
}

async fn answer(client: &Client, asked: &Asked) -> Answer {
    Answer::of(client.request("GET", &asked.target, &[("accept", asked.accept)], "").await.unwrap())
}

/// Some at a time: a watch takes a second.
async fn answers(client: &Client, asked: &[Asked]) -> Vec<Answer> {
    stream::iter(asked).map(|asked| answer(client, asked)).buffered(32).collect().await
}

/// The version of the whole state.
async fn version(cloud: &Client) -> u64 {
    let list = cloud.get("/api/v1/configmaps?limit=1").await.unwrap().json();
    list["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
}

/// Each resource once and whole, in both encodings, and the right to each object; some lists narrower as well.
async fn read_everything(hub: &Hub, random: &mut Random) {
    let client = hub.pod(TOKEN, Alpn::H2).await.unwrap();
    let mut lists = hub.metric("holdfast_lists_remembered_total").await.unwrap();
    // The columns of custom resources.
    client.request("GET", objects::DEFINITIONS, &[("accept", JSON)], "").await.unwrap();
    lists += 1.0;
    for resource in &RESOURCES {
        for accept in resource.accepts() {
            let narrow = resource.namespaced && random.one_in(2);
            let all = resource.path("", "");
            for target in [Some(all), narrow.then(|| resource.path("a", "") + "?labelSelector=app%3Dweb")].into_iter().flatten() {
                let answer = client.request("GET", &target, &[("accept", accept)], "").await.unwrap();
                assert_eq!(answer.status, 200, "{target}: {}", answer.text());
                lists += 1.0;
            }
        }
        // A right, and nothing of the object.
        for (namespace, name) in requests::names(resource) {
            let accept = "application/json;as=Table;g=meta.k8s.io;v=v1";
            client.request("GET", &resource.path(&namespace, &name), &[("accept", accept)], "").await.unwrap();
        }
    }
    // And to watch it.
    let watch = |resource: &objects::Resource| resource.path("", "") + "?watch=1&timeoutSeconds=1";
    answers(&client, &RESOURCES.each_ref().map(|resource| Asked { target: watch(resource), accept: JSON })).await;
    // What columns there are.
    for target in requests::TABLES.iter().filter(|target| target.contains("watch=")) {
        client.request("GET", target, &[("accept", requests::TABLE)], "").await.unwrap();
    }
    eventually("the lists are remembered", Duration::from_secs(20), async || {
        Ok(hub.metric("holdfast_lists_remembered_total").await? >= lists)
    })
    .await
    .unwrap();
}
