//! Looks whether the cluster's history has gone back: an etcd restored from a snapshot, a cluster built anew.
//!
//! Asks for this node's own Node with a consistent read, whose version is that of the whole etcd, when the link comes up
//! and now and then.

use std::sync::Arc;
use std::time::Duration;

use ::kube::api::{ListParams, PartialObjectMeta};
use ::kube::{Api, Client};
use k8s_openapi::api::core::v1::Node;

use crate::state::link::Link;
use crate::store::Knowledge;

const AGAIN: Duration = Duration::from_secs(60);

pub struct History {
    pub client: Client,
    pub node_name: String,
    pub link: Arc<Link>,
    pub knowledge: Arc<Knowledge>,
}

impl History {
    /// Looks for ever.
    pub async fn watch(self) {
        let mut link = self.link.watch();
        loop {
            self.link.is_back().await;
            if let Err(error) = self.look().await {
                tracing::debug!(error = format!("{error:#}"), "etcd's version is not known");
            }
            // Over a restored etcd the link is down for a while.
            let went_down = async { link.wait_for(|up| !*up).await.is_ok() };
            let _ = tokio::time::timeout(AGAIN, went_down).await;
        }
    }

    async fn look(&self) -> anyhow::Result<()> {
        let before = self.knowledge.versions();
        let nodes: Api<PartialObjectMeta<Node>> = Api::all(self.client.clone());
        let own = ListParams::default().fields(&format!("metadata.name={}", self.node_name)).limit(1);
        let version = nodes.list_metadata(&own).await?.metadata.resource_version;
        let version = version.and_then(|version| version.parse().ok());
        let version = version.ok_or_else(|| anyhow::anyhow!("a list of Nodes without a version"))?;
        if let Some(known) = self.knowledge.check_history(version, &before).await? {
            tracing::error!(
                version,
                known,
                "the cluster's history went back (etcd restored, or a cluster built anew): what was remembered is given up, and remembered anew"
            );
        }
        Ok(())
    }
}
