//! What the node promises of what it remembers, kept by the real binary while the cloud, the network and the hub fail:
//! lists are whole or as they were, kubelet's Pods never become fewer by a fault, old and newer stores are treated as
//! docs/store-format.md says.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

#[path = "promises/damage.rs"]
mod damage;
#[path = "promises/format.rs"]
mod format;
#[path = "promises/lists.rs"]
mod lists;
#[path = "promises/pods.rs"]
mod pods;
#[path = "exact/random.rs"]
mod random;

use std::time::Duration;

use serde_json::json;
use testkit::client::Response;
use testkit::fake::{Fake, FakeOptions};
use testkit::hub::{Hub, HubOptions, NODE, eventually};

const SECONDS: fn(u64) -> Duration = Duration::from_secs;

/// A cloud, and the node's hub in front of it.
struct Rig {
    fake: Fake,
    hub: Hub,
}

impl Rig {
    async fn start(options: FakeOptions) -> Self {
        Self::with(options, Vec::new()).await
    }

    async fn with(options: FakeOptions, flags: Vec<String>) -> Self {
        let fake = Fake::start(options).await.unwrap();
        let hub = Hub::start(HubOptions { flags, ..options_for(&fake) }).await.unwrap();
        Self { fake, hub }
    }

    /// A Pod of this node, new or changed; returns the version.
    fn put_pod(&self, name: &str) -> u64 {
        let change = json!({"change": self.fake.resource_version().to_string()});
        self.fake.put("pods", "story", name, json!({"metadata": {"annotations": change}, "spec": {"nodeName": NODE}}))
    }

    async fn link_is(&self, up: f64) {
        eventually("the verdict changes", SECONDS(60), async || {
            Ok(self.hub.metric("node_yurthub_server_healthy_status").await? == up)
        })
        .await
        .unwrap();
    }

    /// Posts an Event as kubelet. Offline, 201 means that it is durable, and all with it that was remembered before.
    async fn try_event(&self, name: &str) -> Response {
        let about = json!({"kind": "Pod", "name": "p", "namespace": "story"});
        let body = json!({"kind": "Event", "apiVersion": "v1", "metadata": {"name": name}, "involvedObject": about}).to_string();
        let headers = [("content-type", "application/json")];
        let kubelet = self.hub.kubelet().await.unwrap();
        kubelet.request("POST", "/api/v1/namespaces/story/events", &headers, body).await.unwrap()
    }

    async fn post_event(&self, name: &str) {
        let answer = self.try_event(name).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
    }

    /// Waits until so many lists were remembered since the hub's start.
    async fn remembered(&self, lists: f64) {
        eventually("the list is remembered", SECONDS(10), async || {
            Ok(self.hub.metric("holdfast_lists_remembered_total").await? >= lists)
        })
        .await
        .unwrap();
    }
}

fn options_for(fake: &Fake) -> HubOptions<'_> {
    HubOptions { binary: env!("CARGO_BIN_EXE_holdfast"), servers: vec![fake.url()], pki: fake.pki(), flags: Vec::new() }
}
