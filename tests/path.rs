//! What a client receives through the hub, with the fake API server as the cloud: the
//! real binary, real sockets.
#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "path/beginnings.rs"]
mod beginnings;
#[path = "path/damaged.rs"]
mod damaged;
#[path = "path/differences.rs"]
mod differences;
#[path = "path/doors.rs"]
mod doors;
#[path = "path/events.rs"]
mod events;
#[path = "path/faults.rs"]
mod faults;
#[path = "path/filters.rs"]
mod filters;
#[path = "path/forms.rs"]
mod forms;
#[path = "path/handed.rs"]
mod handed;
#[path = "path/handover.rs"]
mod handover;
#[path = "path/held.rs"]
mod held;
#[path = "path/hidden.rs"]
mod hidden;
#[path = "path/lanes.rs"]
mod lanes;
#[path = "path/local.rs"]
mod local;
#[path = "path/network.rs"]
mod network;
#[path = "path/offline.rs"]
mod offline;
#[path = "path/online.rs"]
mod online;
#[path = "path/proxy.rs"]
mod proxy;
#[path = "path/returned.rs"]
mod returned;
#[path = "path/rights.rs"]
mod rights;
#[path = "path/rules.rs"]
mod rules;
#[path = "path/secrecy.rs"]
mod secrecy;
#[path = "path/series.rs"]
mod series;
#[path = "path/served.rs"]
mod served;
#[path = "path/servers.rs"]
mod servers;
#[path = "path/sessions.rs"]
mod sessions;
#[path = "path/shared.rs"]
mod shared;
#[path = "path/start.rs"]
mod start;
#[path = "path/told.rs"]
mod told;
#[path = "path/watches.rs"]
mod watches;
#[path = "path/written.rs"]
mod written;

use std::time::Duration;

use serde_json::json;
use testkit::client::{Alpn, Client};
use testkit::fake::{Fake, FakeOptions};
use testkit::hub::{Hub, HubOptions, eventually};
use testkit::skipped;

const TOKEN: &str = "sample-token";
const SECONDS: fn(u64) -> Duration = Duration::from_secs;

/// A cloud with one tenant, and a hub in front of it.
struct Rig {
    fake: Fake,
    hub: Hub,
}

impl Rig {
    async fn start() -> Self {
        Self::with(FakeOptions::default(), &[]).await
    }

    async fn with(options: FakeOptions, flags: &[&str]) -> Self {
        let fake = Fake::start(options).await.unwrap();
        fake.add_token(TOKEN, "system:serviceaccount:story:sample", &["system:serviceaccounts"]);
        for verb in ["get", "list", "watch"] {
            fake.allow("system:serviceaccount:story:sample", verb, "configmaps", "story", "*");
        }
        fake.allow("system:serviceaccount:story:sample", "get", "secrets", "story", "allowed");
        fake.allow("system:serviceaccount:story:sample", "create", "events", "story", "*");
        fake.put("configmaps", "story", "greeting", json!({"data": {"text": "hello"}}));
        fake.put("configmaps", "story", "zz-last", json!({"data": {"text": "\u{e9}\u{1F980} \"quoted\" <&>"}}));
        fake.put("secrets", "story", "allowed", json!({"data": {"value": "czNjcjN0"}}));
        fake.put("secrets", "story", "forbidden", json!({"data": {"value": "bm8="}}));
        let servers = vec![fake.url()];
        let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let options = HubOptions { binary: env!("CARGO_BIN_EXE_holdfast"), servers, pki: fake.pki(), flags };
        let hub = Hub::start(options).await.unwrap();
        Self { fake, hub }
    }

    async fn pod(&self) -> Client {
        self.hub.pod(TOKEN, Alpn::H2).await.unwrap()
    }

    /// Cuts the link and waits until the hub has noticed.
    async fn cut(&self, fault: testkit::fake::Fault) {
        self.fake.fault(fault);
        self.link_is(0.0).await;
    }

    /// The hub ends, as an operator ends it, and starts again.
    async fn restart(&mut self) {
        self.hub.signal("TERM").unwrap();
        self.hub.ended(SECONDS(10)).await.unwrap();
        self.hub.run().await.unwrap();
    }

    async fn restore(&self) {
        self.fake.heal().unwrap();
        self.link_is(1.0).await;
    }

    async fn link_is(&self, up: f64) {
        eventually("the verdict changes", SECONDS(60), async || {
            Ok(self.hub.metric("node_yurthub_server_healthy_status").await? == up)
        })
        .await
        .unwrap();
    }

    /// Waits until the hub itself has asked what the API has.
    async fn described(&self) {
        let asked = |path: &str| self.fake.requests().iter().any(|request| request.path_and_query == path);
        eventually("the groups are read", SECONDS(30), async || Ok(asked("/apis/storage.k8s.io/v1"))).await.unwrap();
    }

    /// Waits until this many lists were remembered.
    async fn remembered(&self, lists: f64) {
        eventually("the list is remembered", SECONDS(10), async || {
            Ok(self.hub.metric("holdfast_lists_remembered_total").await? >= lists)
        })
        .await
        .unwrap();
    }
}

/// A cloud, and a hub in front of it that is still to run.
async fn prepared() -> (Fake, Hub) {
    let fake = Fake::start(FakeOptions::default()).await.unwrap();
    let options =
        HubOptions { binary: env!("CARGO_BIN_EXE_holdfast"), servers: vec![fake.url()], pki: fake.pki(), flags: Vec::new() };
    let hub = Hub::prepare(options).unwrap();
    (fake, hub)
}

/// What Pods have asked this server for.
fn asked_by_pods(fake: &Fake) -> Vec<String> {
    let requests = fake.requests();
    let of_pods = requests.iter().filter(|request| request.header("authorization").contains(TOKEN));
    of_pods.map(|request| request.path_and_query.clone()).collect()
}

/// An Event that the kube-apiserver takes.
fn event(namespace: &str, name: &str) -> serde_json::Value {
    json!({"kind": "Event", "apiVersion": "v1", "metadata": {"name": name},
        "involvedObject": {"kind": "Pod", "name": "p", "namespace": namespace}, "message": name})
}

/// Whose the token of `Rig::pod` is.
const SAMPLE: &str = "system:serviceaccount:story:sample";
const CONFIGMAPS: &str = "/api/v1/namespaces/story/configmaps";
