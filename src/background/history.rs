//! Looks whether the cluster's history has gone back: an etcd restored from a snapshot, a cluster built anew.
//!
//! Asks for this node's own Node with a consistent read, whose version is that of the whole etcd, when the link comes up
//! and now and then, and compares it with the last one, which the store keeps from one life of the hub to the next; so are the uids by which the
//! cluster is known.

use std::sync::Arc;
use std::time::Duration;

use ::kube::Client;
use ::kube::client::Body;
use http::header::ACCEPT;
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use serde::Deserialize;

use crate::state::link::Link;
use crate::store::{Cluster, Knowledge, Node, Stood, Versions};

const AGAIN: Duration = Duration::from_secs(60);

/// As little as possible is wanted.
const METADATA: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";

const METADATA_OF_ONE: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";

/// Of a list what it says of itself, and of its items who they are.
#[derive(Deserialize)]
struct List {
    metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ListMeta,
    #[serde(default)]
    items: Option<Vec<Object>>,
}

#[derive(Deserialize)]
struct Object {
    metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
}

pub struct History {
    pub client: Client,
    pub node_name: String,
    pub link: Arc<Link>,
    pub knowledge: Arc<Knowledge>,
}

/// Of a resourceVersion.
fn number(version: Option<String>) -> Option<u64> {
    version?.parse().ok()
}

impl History {
    /// Looks for ever.
    pub async fn watch(self) {
        let (mut link, mut last) = (self.link.watch(), Stood { version: self.knowledge.last_version(), node: None });
        loop {
            self.link.is_back().await;
            match self.look(&last).await {
                Ok(now) => last = now,
                Err(error) => tracing::debug!(error = format!("{error:#}"), "etcd's version is not known"),
            }
            // Over a restored etcd the link is down for a while.
            let went_down = async { link.wait_for(|up| !*up).await.is_ok() };
            let _ = tokio::time::timeout(AGAIN, went_down).await;
        }
    }

    /// Where etcd stands; `last`: where it stood.
    async fn look(&self, last: &Stood) -> anyhow::Result<Stood> {
        let before = self.knowledge.versions();
        let target = format!("/api/v1/nodes?fieldSelector=metadata.name%3D{}&limit=1", self.node_name);
        let list: List = self.get(&target, METADATA).await?;
        let version = number(list.metadata.resource_version);
        let version = version.ok_or_else(|| anyhow::anyhow!("a list of Nodes without a version"))?;
        let metadata = list.items.unwrap_or_default().pop().map(|node| node.metadata);
        let node = metadata.and_then(|own| Some(Node { uid: own.uid?, version: number(own.resource_version)? }));
        let now = Stood { version, node };
        if let Some(known) = self.knowledge.check_history(&now, last, &before).await? {
            tracing::error!(
                version,
                known,
                "the cluster's history went back (etcd restored, or a cluster built anew): what was remembered is given up, and remembered anew"
            );
        }
        let uid = now.node.as_ref().map(|node| node.uid.clone()).unwrap_or_default();
        if let Err(error) = self.look_who(uid, version, &before).await {
            tracing::debug!(error = format!("{error:#}"), "which cluster it is is not known");
        }
        Ok(now)
    }

    /// Whether it is still the same cluster, in which this node's Node has the uid `node`.
    async fn look_who(&self, node: String, version: u64, before: &Versions) -> anyhow::Result<()> {
        let known = self.knowledge.cluster();
        if node.is_empty() || (known.node == node && !known.service.is_empty()) {
            return Ok(());
        }
        let service: Object = self.get("/api/v1/namespaces/default/services/kubernetes", METADATA_OF_ONE).await?;
        let now = Cluster { node, service: service.metadata.uid.unwrap_or_default() };
        if now.is_another(&known) {
            self.knowledge.give_up(version, before).await?;
            tracing::error!(
                "this is another cluster (its Service default/kubernetes and this Node have other uids): what was remembered is given up, and remembered anew"
            );
        }
        self.knowledge.note_cluster(&now);
        Ok(())
    }

    async fn get<T: for<'de> Deserialize<'de>>(&self, target: &str, accept: &str) -> anyhow::Result<T> {
        let request = Request::get(target).header(ACCEPT, accept).body(Body::empty())?;
        let response = self.client.send(request).await?;
        anyhow::ensure!(response.status() == StatusCode::OK, "{}", response.status());
        // Only the cloud can say what it is now.
        anyhow::ensure!(!response.headers().contains_key("cache-status"), "the store has answered");
        Ok(serde_json::from_slice(&response.into_body().collect().await?.to_bytes())?)
    }
}
