//! What the link carries when it is back: a thousand watches and fifty listers through the hub, beside the same clients
//! directly on the kube-apiserver. Counted by the network interface that leads to it, headers and all.
//!
//! The server has begun anew and does not know what was before, as after etcd's compaction: clients on their own list again.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use futures_util::future::{join_all, try_join_all};
use serde_json::{Value, json};
use testkit::apiserver::{Apiserver, TOKEN};
use testkit::client::{Alpn, Client, Streaming};
use testkit::hub::eventually;
use testkit::network::Namespace;
use testkit::{lab, skipped};

use crate::hub_over;

const NAMESPACES: usize = 50;
/// Of each namespace.
const OBJECTS: usize = 40;
const SIZE: usize = 2000;
const WATCHES: usize = 1000;
const CONNECTIONS: usize = 10;
/// Of what clients on their own would have had sent.
const PART: f64 = 0.1;
const SOON: Duration = Duration::from_secs(60);

/// Here the interfaces, and at their other ends the server: one is the link, by the other the test itself reaches it.
const LINK: &str = "hf-link";
const ASIDE: &str = "hf-aside";
const SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 0, 2));
const SERVER_ASIDE: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 1, 2));

struct Wan {
    server: Apiserver,
    namespace: Namespace,
}

impl Wan {
    /// `None`: this process may not make a network.
    async fn make(lab: &std::path::Path) -> Option<Self> {
        let namespace = Namespace::make().await.unwrap()?;
        let pid = namespace.pid();
        for (name, subnet) in [(LINK, 0), (ASIDE, 1)] {
            // One that was left behind.
            let _ = std::process::Command::new("ip").args(["link", "del", name]).output();
            run(&format!("ip link add {name} type veth peer name {name}-c netns {pid}"));
            run(&format!("ip address add 198.18.{subnet}.1/24 dev {name}"));
            run(&format!("ip link set {name} up"));
            let (address, peer) = (format!("198.18.{subnet}.2/24"), format!("{name}-c"));
            namespace.run("ip", &["address", "add", &address, "dev", &peer]).await.unwrap();
            namespace.run("ip", &["link", "set", &peer, "up"]).await.unwrap();
        }
        let server = Apiserver::inside(lab, &namespace, SERVER, SERVER_ASIDE).await.unwrap();
        Some(Self { server, namespace })
    }

    /// At the server's end: nothing else answers in its place.
    async fn set(&self, up: bool) {
        let (peer, state) = (format!("{LINK}-c"), if up { "up" } else { "down" });
        self.namespace.run("ip", &["link", "set", &peer, state]).await.unwrap();
    }

    /// Bytes, both ways.
    fn carried(&self) -> u64 {
        let count = |what: &str| std::fs::read_to_string(format!("/sys/class/net/{LINK}/statistics/{what}_bytes")).unwrap();
        ["rx", "tx"].map(|what| count(what).trim().parse::<u64>().unwrap()).iter().sum()
    }

    /// A client on the link, of somebody who may do everything.
    async fn client(&self) -> Client {
        let client = Client::https(self.server.address, self.server.pki.ca_pem(), "127.0.0.1", Alpn::H2).await;
        client.unwrap().with_token(TOKEN)
    }

    /// While the link is down: in each namespace one object changes and one goes, and then the server begins anew.
    async fn past_is_gone(&mut self) {
        let cloud = self.server.client().await.unwrap();
        for namespace in 0..NAMESPACES {
            put(&cloud, namespace, 0, "end").await;
            let gone = cloud.request("DELETE", &format!("{}/n1", maps(namespace)), &[], "").await.unwrap();
            assert_eq!(gone.status, 200, "{}", gone.text());
        }
        self.server.kill();
        self.server.run().await.unwrap();
    }
}

fn run(line: &str) {
    let words: Vec<&str> = line.split(' ').collect();
    let output = std::process::Command::new(words[0]).args(&words[1..]).output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}

fn maps(namespace: usize) -> String {
    format!("/api/v1/namespaces/gentle-{namespace}/configmaps")
}

async fn put(cloud: &Client, namespace: usize, name: usize, time: &str) {
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("n{name}")},
        "data": {"time": time, "text": testkit::noise(SIZE + name)}});
    let headers = [("content-type", "application/apply-patch+yaml")];
    let path = format!("{}/n{name}?fieldManager=test&force=true", maps(namespace));
    let answer = cloud.request("PATCH", &path, &headers, map.to_string()).await.unwrap();
    assert!(answer.status.is_success(), "{}", answer.text());
}

async fn fill(cloud: &Client, namespace: usize) {
    let headers = [("content-type", "application/json")];
    let body = json!({"metadata": {"name": format!("gentle-{namespace}")}}).to_string();
    assert_eq!(cloud.request("POST", "/api/v1/namespaces", &headers, body).await.unwrap().status, 201);
    for name in 0..OBJECTS {
        put(cloud, namespace, name, "begin").await;
    }
}

/// The version of a list of all, from any version on, as informers begin.
async fn list(client: &Client, namespace: usize) -> String {
    let list = client.get(&format!("{}?resourceVersion=0", maps(namespace))).await.unwrap();
    assert_eq!(list.status, 200, "{}", list.text());
    list.json()["metadata"]["resourceVersion"].as_str().unwrap().to_owned()
}

async fn watch(client: &Client, namespace: usize, version: &str) -> Streaming {
    let path = format!("{}?watch=true&allowWatchBookmarks=true&timeoutSeconds=900&resourceVersion={version}", maps(namespace));
    client.stream("GET", &path, &[], "").await.unwrap()
}

/// Until its client has been told how `n0` is in the end, and that `n1` is gone.
async fn is_current(stream: &mut Streaming) {
    let (mut changed, mut gone) = (0, 0);
    while (changed, gone) != (1, 1) {
        let event = tokio::time::timeout(SOON, stream.event()).await.unwrap().unwrap().expect("no end");
        let object: &Value = &event["object"];
        match event["type"].as_str().unwrap() {
            "BOOKMARK" => {}
            "MODIFIED" if object["data"]["time"] == "end" => changed += 1,
            "DELETED" if object["metadata"]["name"] == "n1" => gone += 1,
            other => panic!("{other} {}", object["metadata"]),
        }
    }
}

/// What each would do by itself: it goes on with its watch, and lists because that version is gone.
async fn comes_back(client: &Client, namespace: usize, version: &str) {
    let mut gone = watch(client, namespace, version).await;
    let said = if gone.status == 200 { gone.event().await.unwrap().unwrap()["object"]["code"].clone() } else { 410.into() };
    assert_eq!(said, 410, "the server does not know what was before");
    let version = list(client, namespace).await;
    assert_eq!(watch(client, namespace, &version).await.status, 200);
}

#[tokio::test]
async fn the_return_of_the_link_costs_a_tenth_of_what_all_would_list_again() {
    let Some(lab) = lab() else { return };
    let Some(mut wan) = Wan::make(&lab).await else { return skipped("root, to make a network") };
    let cloud = wan.server.client().await.unwrap();
    join_all((0..NAMESPACES).map(|namespace| fill(&cloud, namespace))).await;
    let hub = hub_over(&wan.server, vec![wan.server.url()]).await;
    eventually("the API's description is known", SOON, async || Ok(hub.log().contains("description is known"))).await.unwrap();
    let pods = try_join_all((0..CONNECTIONS).map(|_| hub.pod(TOKEN, Alpn::H2))).await.unwrap();
    let mut watches = Vec::new();
    for number in 0..WATCHES {
        let (pod, namespace) = (&pods[number % CONNECTIONS], number / (WATCHES / NAMESPACES));
        let version = list(pod, namespace).await;
        watches.push(watch(pod, namespace, &version).await);
    }
    let is_up = async |up: f64| {
        let verdict = async || Ok(hub.metric("node_yurthub_server_healthy_status").await? == up);
        eventually("the verdict changes", SOON, verdict).await.unwrap();
    };

    let past = list(&cloud, 0).await;
    wan.set(false).await;
    is_up(0.0).await;
    wan.past_is_gone().await;
    let before = wan.carried();
    wan.set(true).await;
    let began = Instant::now();
    let listers = join_all((0..NAMESPACES).map(|namespace| list(&pods[namespace % CONNECTIONS], namespace)));
    tokio::join!(listers, join_all(watches.iter_mut().map(is_current)));
    let (took, through) = (began.elapsed(), wan.carried() - before);
    let told = hub.metric("holdfast_watches_held_total{reason=\"the difference was told\"}").await.unwrap();
    assert!(told > 0.0, "the server has known what was before");
    drop((watches, pods, hub));

    let direct = join_all((0..CONNECTIONS).map(|_| wan.client())).await;
    let before = wan.carried();
    let all = (0..WATCHES).map(|number| comes_back(&direct[number % CONNECTIONS], number / (WATCHES / NAMESPACES), &past));
    let listers = join_all((0..NAMESPACES).map(|namespace| list(&direct[namespace % CONNECTIONS], namespace)));
    tokio::join!(listers, join_all(all));
    let alone = wan.carried() - before;
    let part = through as f64 / alone as f64;
    println!(
        "{WATCHES} watches and {NAMESPACES} listers come back: {} KB through the hub, all current after {:.1} s; {} KB by themselves: {part:.3}",
        through / 1000,
        took.as_secs_f64(),
        alone / 1000
    );
    assert!(part <= PART, "{part:.3}");
}
