//! Clients as people have them, in their own languages and unchanged: offline each starts cold and comes into sync.
//!
//! Each program below `tests/clients` is what the documentation of its library shows. It finds in its environment and at
//! /var/run/secrets/kubernetes.io/serviceaccount what kubelet gives a Pod, lists and watches the ConfigMaps of its
//! namespace (client-go's the Services, which have a status, and metadata alone, too), and prints their names once it has
//! them. helm is helm, client-go's recorder writes Events, and Python has a watch that does not list. `scripts/build-clients`
//! builds them and says where they are.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

#[path = "clients/helm.rs"]
mod helm;
#[path = "clients/pod.rs"]
mod pod;
#[path = "clients/recorder.rs"]
mod recorder;
#[path = "clients/rig.rs"]
mod rig;
#[path = "clients/watcher.rs"]
mod watcher;

use std::time::{Duration, Instant};

use pod::Pod;
use rig::Rig;
use testkit::skipped;

/// A program, and how it is started.
struct Client {
    name: &'static str,
    /// The variable with its folder, which is `{}` in the command.
    folder: &'static str,
    command: &'static str,
    /// Of its own, beside what kubelet sets.
    environment: &'static [(&'static str, &'static str)],
    /// What it asks to come into sync and to stay so.
    asks: &'static [&'static str],
    /// What it is about.
    resource: &'static str,
}

impl Client {
    const fn new(name: &'static str, folder: &'static str, command: &'static str) -> Self {
        Self { name, folder, command, environment: &[], asks: &["list", "watch"], resource: "configmaps" }
    }
}

const CLIENT_GO: Client = Client {
    environment: &[("KUBE_FEATURE_WatchListClient", "false")],
    ..Client::new("client-go", "HOLDFAST_CLIENT_GO", "{}/informer")
};
const CLIENT_GO_WATCH_LIST: Client =
    Client { name: "watch-list", environment: &[("KUBE_FEATURE_WatchListClient", "true")], asks: &["watch"], ..CLIENT_GO };
const SERVICES: Client = Client { name: "services", command: "{}/informer services", resource: "services", ..CLIENT_GO };
const SERVICES_WATCH_LIST: Client =
    Client { name: "services-watch-list", command: SERVICES.command, resource: SERVICES.resource, ..CLIENT_GO_WATCH_LIST };
const METADATA: Client = Client { name: "metadata", command: "{}/informer configmaps metadata", ..CLIENT_GO };
const METADATA_WATCH_LIST: Client = Client { name: "metadata-watch-list", command: METADATA.command, ..CLIENT_GO_WATCH_LIST };
const CONTROLLER_RUNTIME: Client = Client::new("controller-runtime", "HOLDFAST_CLIENT_GO", "{}/manager");
const PYTHON: Client = Client::new("python", "HOLDFAST_CLIENT_PYTHON", "{}/bin/python {}/informer.py");
const NODE: Client = Client::new("node", "HOLDFAST_CLIENT_NODE", "node {}/informer.mjs");
const JAVA: Client = Client::new("java", "HOLDFAST_CLIENT_JAVA", "java -cp {}:{}/* Informer");
const KUBE_RS: Client = Client::new("kube-rs", "HOLDFAST_CLIENT_RUST", "{}/kube-rs-client");

/// From its start until it is in sync.
const SYNC: Duration = Duration::from_secs(60);

impl Client {
    /// The command's words; none if it is not built here.
    fn command(&self) -> Option<Vec<String>> {
        let Ok(folder) = std::env::var(self.folder) else {
            skipped(&format!("{} (scripts/build-clients)", self.folder));
            return None;
        };
        Some(self.command.split(' ').map(|word| word.replace("{}", &folder)).collect())
    }

    /// Starts it, waits until it is in sync and watches, and kills it. Returns what it has printed.
    async fn sync(&self, command: &[String], pod: &Pod, rig: &Rig) -> String {
        let started = Instant::now();
        let mut running = pod.start(command, self.environment);
        let line = running.line(SYNC).await;
        let took = started.elapsed();
        rig.watches(self.resource, 1).await;
        drop(running);
        rig.watches(self.resource, 0).await;
        println!("{}: {line} ({:.1} s)", self.name, took.as_secs_f32());
        line
    }
}

#[tokio::test]
async fn who_starts_again_offline_is_in_sync() {
    let Some(mut rig) = Rig::start().await else { return };
    let mut ran = Vec::new();
    let go = [CLIENT_GO, CLIENT_GO_WATCH_LIST, SERVICES, SERVICES_WATCH_LIST, METADATA, METADATA_WATCH_LIST];
    for client in go.into_iter().chain([CONTROLLER_RUNTIME, PYTHON, NODE, JAVA, KUBE_RS]) {
        let Some(command) = client.command() else { continue };
        // Each has a namespace and a token of its own: what the others have read is no help.
        let pod = rig.namespace(client.name).await;
        let online = client.sync(&command, &pod, &rig).await;
        assert_eq!(online, format!("synced 3 {0}-a {0}-b {0}-c", client.name));
        ran.push((client, command, pod, online));
    }
    rig.cut().await;
    for (client, command, pod, online) in &ran {
        assert_eq!(&client.sync(command, pod, &rig).await, online, "{}", client.name);
        assert_eq!(rig.answered_offline(client.name, client.resource), client.asks, "{}", client.name);
    }
}

#[tokio::test]
async fn who_starts_offline_for_the_first_time_is_in_sync_by_what_others_have_read() {
    // In their encoding: these take protobuf, the others JSON.
    let protobuf = (CLIENT_GO, vec![CLIENT_GO_WATCH_LIST, CONTROLLER_RUNTIME]);
    let json = (PYTHON, vec![NODE, JAVA, KUBE_RS]);
    others_sync("first", vec![protobuf, json]).await;
}

/// Online only the first of each runs; the node starts anew offline, and the others are in sync as well.
async fn others_sync(name: &str, readers: Vec<(Client, Vec<Client>)>) {
    let Some(mut rig) = Rig::start().await else { return };
    let mut read = Vec::new();
    for (reader, others) in readers {
        let Some(command) = reader.command() else { continue };
        let pod = rig.namespace(&format!("{name}-{}", reader.name)).await;
        let online = reader.sync(&command, &pod, &rig).await;
        read.push((pod, online, others));
    }
    rig.cut().await;
    rig.restart().await;
    for (pod, online, others) in &read {
        for client in others {
            let Some(command) = client.command() else { continue };
            assert_eq!(&client.sync(&command, pod, &rig).await, online, "{}", client.name);
        }
    }
}

#[tokio::test]
async fn a_token_that_the_cloud_has_never_seen_is_refused_offline() {
    let Some(mut rig) = Rig::start().await else { return };
    let (pod, stranger) = (rig.namespace("rights").await, rig.pod("rights", "stranger").await);
    rig.kubectl(&pod, "get configmaps").unwrap();
    rig.cut().await;
    rig.kubectl(&pod, "get configmaps").unwrap();
    // The cloud would let it, by the same Role; the node has never heard so.
    let refused = rig.kubectl(&stranger, "get configmaps").unwrap_err();
    assert!(refused.contains("You must be logged in"), "{refused}");
}

#[tokio::test]
async fn kubectl_prints_offline_what_it_has_printed_online() {
    let Some(mut rig) = Rig::start().await else { return };
    let (pod, other) = (rig.namespace("kubectl").await, rig.namespace("table").await);
    let asked = [
        (&other, "get configmaps"),
        (&pod, "get configmaps --output=yaml"),
        (&pod, "get configmaps --output=name"),
        (&pod, "get configmap kubectl-a --output=yaml"),
        (&other, "get widgets"),
        (&pod, "get widgets --output=yaml"),
        (&pod, "get widget kubectl-a --output=json"),
        (&pod, "explain widget.spec"),
        (&pod, "api-resources"),
        (&pod, "explain configmap"),
        (&pod, "version"),
    ];
    let online = asked.map(|(pod, arguments)| rig.kubectl(pod, arguments).unwrap());
    rig.cut().await;
    for ((pod, arguments), online) in asked.iter().zip(&online) {
        assert_eq!(rig.kubectl(pod, arguments).as_ref(), Ok(online), "{arguments}");
        println!("kubectl {arguments}: {} lines", online.lines().count());
    }
    // Of its ConfigMaps nobody has asked for a Table: it is made of the objects, with all its columns.
    let table = rig.kubectl(&pod, "get configmaps").unwrap();
    let columns = |line: &str| line.split_whitespace().take(2).map(str::to_owned).collect::<Vec<_>>();
    let rows: Vec<Vec<String>> = table.lines().map(columns).collect();
    assert_eq!(rows, [["NAME", "DATA"], ["kubectl-a", "1"], ["kubectl-b", "1"], ["kubectl-c", "1"]], "{table}");
    assert!(table.lines().all(|line| line.split_whitespace().count() == 3), "and its age: {table}");
}
