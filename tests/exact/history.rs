//! The cluster's history goes back: its etcd is restored from an earlier state.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::apiserver::{Apiserver, TOKEN};
use testkit::client::{Alpn, Client};
use testkit::hub::{Hub, NODE, eventually};
use testkit::lab;

use crate::hub_over;
use crate::link::Link;

const CONFIGMAPS: &str = "/api/v1/namespaces/default/configmaps";
const SOON: Duration = Duration::from_secs(60);

async fn names(client: &Client, query: &str) -> Vec<String> {
    let answer = client.get(&format!("{CONFIGMAPS}?labelSelector=kept&{query}")).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let list = answer.json();
    let names = list["items"].as_array().unwrap().iter().map(|item| item["metadata"]["name"].as_str().unwrap().to_owned());
    names.collect()
}

async fn create(cloud: &Client, name: &str) {
    send(cloud, "POST", CONFIGMAPS, json!({"metadata": {"name": name, "labels": {"kept": ""}}}), 201).await;
}

async fn send(cloud: &Client, method: &str, path: &str, body: Value, status: u16) {
    let content_type = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
    let answer = cloud.request(method, path, &[("content-type", content_type)], body.to_string()).await.unwrap();
    assert_eq!(answer.status, status, "{}", answer.text());
}

/// Whether the hub itself has an answer about Nodes.
async fn has_asked_for_nodes(hub: &Hub) -> bool {
    let metrics = Client::http1(hub.admin).await.unwrap().get("/metrics").await.unwrap().text();
    let own = ["requests_collector{", r#"client="holdfast""#, r#"verb="list""#, r#"resource="nodes""#];
    metrics.lines().any(|line| own.iter().all(|part| line.contains(part)) && line.ends_with(" 0"))
}

/// The node knows a state of which the cloud has a snapshot from before.
struct Known {
    server: Apiserver,
    link: Link,
    hub: Hub,
    client: Client,
}

impl Known {
    async fn begin() -> Option<Self> {
        let mut server = Apiserver::start(&lab()?).await.unwrap();
        let cloud = server.client().await.unwrap();
        create(&cloud, "before").await;
        send(&cloud, "POST", "/api/v1/nodes", json!({"metadata": {"name": NODE}}), 201).await;
        server.kill();
        server.snapshot().unwrap();
        server.run().await.unwrap();
        let cloud = server.client().await.unwrap();
        // As kubelet does every few minutes.
        send(&cloud, "PATCH", &format!("/api/v1/nodes/{NODE}"), json!({"metadata": {"labels": {"alive": "1"}}}), 200).await;
        for number in 0..300 {
            create(&cloud, &format!("lost-{number}")).await;
        }
        let link = Link::to(server.address).await;
        let hub = hub_over(&server, vec![link.url()]).await;
        let client = hub.pod(TOKEN, Alpn::H2).await.unwrap();
        assert_eq!(names(&client, "").await.len(), 301);
        eventually("the list is remembered", SOON, async || Ok(hub.metric("holdfast_lists_remembered_total").await? >= 1.0))
            .await
            .unwrap();
        eventually("where etcd stands is known", SOON, async || Ok(has_asked_for_nodes(&hub).await)).await.unwrap();
        link.is_up(false, &hub).await;
        assert_eq!(names(&client, "").await.len(), 301, "what the node knows");
        Some(Self { server, link, hub, client })
    }

    /// While the link is down.
    async fn restore(&mut self) {
        self.server.kill();
        self.server.restore().unwrap();
        self.server.run().await.unwrap();
    }

    /// The link is back, and nothing that was known is any more.
    async fn is_noticed(&self, now: &[&str]) {
        let Self { link, hub, client, .. } = self;
        link.is_up(true, hub).await;
        eventually("it is noticed", SOON, async || Ok(hub.log().contains("the cluster's history went back"))).await.unwrap();
        // From memory, as an informer reads: this version alone would not replace a later one.
        eventually("the list of now is remembered", SOON, async || {
            assert_eq!(names(client, "resourceVersion=0").await, now);
            Ok(hub.metric("holdfast_lists_remembered_total").await? >= 2.0)
        })
        .await
        .unwrap();
        link.is_up(false, hub).await;
        assert_eq!(names(client, "").await, now, "no object of the lost history");
    }
}

#[tokio::test]
async fn nothing_of_another_history_survives_a_restored_etcd() {
    let Some(mut known) = Known::begin().await else { return };
    known.restore().await;
    known.is_noticed(&["before"]).await;
}

#[tokio::test]
async fn nor_one_that_has_come_further_meanwhile() {
    let Some(mut known) = Known::begin().await else { return };
    known.restore().await;
    let cloud = known.server.client().await.unwrap();
    for number in 0..400 {
        send(&cloud, "PATCH", &format!("{CONFIGMAPS}/before"), json!({"data": {"number": number.to_string()}}), 200).await;
    }
    known.is_noticed(&["before"]).await;
}
