//! What filters go by: this node's labels, the members of its pool, the Services' annotations.
//!
//! Read through the hub's own path, so that it is remembered like anything else and is there after a restart without
//! the cloud. Begins when a filter first wants any of it. What cannot be read now is tried again; what was read stands
//! until then.
//!
//! An object of which a part is not of its type is counted and told, and keeps nobody from the others: what was known of the
//! Node or the pool stands, and of a Service it is known that it cannot be read.
//!
//! The pool's members come from the NodePool, if the configuration does not leave that out; where there is none, or it may
//! not be read, from its NodeBuckets; else from the Nodes that carry its label. The kube-apiserver may let a node read none
//! of these, and a node may be in no pool: then it is alone, or where the API has no NodePools the members are nobody, and
//! filters go by the zone.

mod found;
mod services;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ::kube::api::ListParams;
use ::kube::client::Body;
use ::kube::core::{ApiResource, GroupVersionKind};
use ::kube::runtime::watcher::{self, Event, watcher};
use ::kube::{Api, Client};
use futures_util::StreamExt as _;
use http::Request;
use http::header::{ACCEPT, HeaderValue};

use self::found::{Found, Texts};
use self::services::Services;
use crate::runtime::metrics::{FilterLabel, Metrics};
use crate::state::inputs::{Facts, HOSTNAME, Inputs, Membership, Node};

/// Between tries of what cannot be read.
const RETRY: Duration = Duration::from_secs(1);
const RETRY_AT_MOST: Duration = Duration::from_secs(30);
/// What may come into being unseen is looked for this often.
const AGAIN: Duration = Duration::from_secs(60);
/// And this often what comes once in a cluster's life.
const RARELY: Duration = Duration::from_secs(600);

const OPENYURT: &str = "apps.openyurt.io/v1beta2";
const POOL_LABEL: &str = "apps.openyurt.io/nodepool";
const ZONE_LABEL: &str = "topology.kubernetes.io/zone";
const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
const METADATA_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
/// Names the pool of a NodeBucket.
const BUCKET_LABEL: &str = "openyurt.io/pool-name";

pub struct Sources {
    pub client: Client,
    pub node_name: String,
    /// Wins over the Node's label.
    pub nodepool_name: Option<String>,
    pub membership: Membership,
    pub inputs: Arc<Inputs>,
    pub metrics: Arc<Metrics>,
}

impl Sources {
    /// Follows everything for ever, once it is wanted.
    pub async fn follow(self) {
        self.inputs.wanted().await;
        // What is seldom wanted takes no room before.
        let zone = async {
            self.inputs.zone_wanted().await;
            Box::pin(self.zone()).await;
        };
        futures_util::future::join4(self.node(), self.services(), self.pool(), zone).await;
    }

    async fn node(&self) {
        let config = watcher::Config::default().fields(&format!("metadata.name={}", self.node_name));
        let mut events = std::pin::pin!(watcher(self.all("", "v1", "Node", "nodes"), config));
        let mut pause = RETRY;
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::InitApply(node) | Event::Apply(node)) => match &node.labels {
                    Some(labels) => self.publish_node(labels),
                    None => self.cannot_read("Node", &node),
                },
                // Only that it is about to ask.
                Ok(Event::Init) => continue,
                Ok(_) => {}
                Err(error) => {
                    wait("Node", &error, &mut pause).await;
                    continue;
                }
            }
            pause = RETRY;
        }
    }

    fn publish_node(&self, labels: &Texts) {
        let label = |name: &str| labels.get(name).filter(|value| !value.is_empty()).cloned();
        let node = Node { pool: self.nodepool_name.clone().or_else(|| label(POOL_LABEL)), zone: label(ZONE_LABEL) };
        self.inputs.update(|facts| {
            // The members of another pool say nothing of this one.
            if facts.node.as_ref().is_some_and(|before| before.pool != node.pool) {
                facts.pool = None;
            }
            if facts.node.as_ref().is_some_and(|before| before.zone != node.zone) {
                facts.zone = None;
            }
            facts.node = Some(Arc::new(node));
        });
    }

    async fn services(&self) {
        let mut events = std::pin::pin!(watcher(self.all("", "v1", "Service", "services"), watcher::Config::default()));
        let (mut services, mut listed, mut pause) = (Services::default(), Services::default(), RETRY);
        while let Some(event) = events.next().await {
            let settled = !matches!(event, Ok(Event::Init | Event::InitApply(_)));
            match event {
                Ok(Event::Init) => listed = Services::default(),
                Ok(Event::InitApply(service)) => self.put(&mut listed, service),
                Ok(Event::InitDone) => services = std::mem::take(&mut listed),
                Ok(Event::Apply(service)) => self.put(&mut services, service),
                Ok(Event::Delete(service)) => services.remove(&service.full_name()),
                Err(error) => {
                    wait("Services", &error, &mut pause).await;
                    continue;
                }
            }
            if settled {
                pause = RETRY;
                let Services { marked, mut topology, unreadable } = services.clone();
                topology.retain(|_, keys| self.membership != Membership::Nobody || keys == HOSTNAME);
                self.inputs.update(|facts| {
                    (facts.services, facts.topology) = (Some(Arc::new(marked)), Some(Arc::new(topology)));
                    facts.unreadable = Arc::new(unreadable);
                });
            }
        }
    }

    fn put(&self, services: &mut Services, service: Found) {
        if service.annotations.is_none() || service.service_type.is_none() {
            self.cannot_read("Service", &service);
        }
        services.put(service.full_name(), service.annotations.zip(service.service_type));
    }

    fn cannot_read(&self, what: &str, found: &Found) {
        self.metrics.filter_errors.get_or_create(&FilterLabel { filter: "inputs".to_owned() }).inc();
        let (namespace, name) = found.full_name();
        tracing::warn!(what, namespace, name, "what filters go by cannot be read of this object");
    }

    fn all(&self, group: &str, version: &str, kind: &str, plural: &str) -> Api<Found> {
        Api::all_with(self.client.clone(), &resource(group, version, kind, plural))
    }

    fn node_pools(&self) -> Api<Found> {
        self.all("apps.openyurt.io", "v1beta2", "NodePool", "nodepools")
    }

    fn node_buckets(&self) -> Api<Found> {
        self.all("apps.openyurt.io", "v1alpha1", "NodeBucket", "nodebuckets")
    }

    /// The members of whatever pool the node is in, for ever.
    async fn pool(&self) {
        let mut changes = self.inputs.changes();
        loop {
            let Some(node) = self.inputs.current().node.clone() else {
                let _ = changes.changed().await;
                continue;
            };
            let members = async {
                match &node.pool {
                    pool if self.membership == Membership::Nobody => {
                        self.publish_pool(pool.as_deref(), BTreeSet::new());
                        std::future::pending().await
                    }
                    Some(pool) => self.members(pool).await,
                    None => {
                        let pause = if self.publish_unnamed(None).await { RARELY } else { RETRY };
                        tokio::time::sleep(pause).await;
                    }
                }
            };
            let moved = async {
                while changes.changed().await.is_ok() {
                    if self.inputs.current().node.as_ref() != Some(&node) {
                        return;
                    }
                }
            };
            tokio::select! {
                () = members => {}
                () = moved => {}
            }
        }
    }

    /// The members of a pool, if the node is still in it.
    fn publish_pool(&self, pool: Option<&str>, members: BTreeSet<String>) {
        self.inputs.update(|facts| {
            if facts.node.as_ref().is_some_and(|node| node.pool.as_deref() == pool) {
                facts.pool = Some(Arc::new(members));
            }
        });
    }

    /// The same where nothing names the members: with OpenYurt the node is alone, and else it goes by the zone. Whether that
    /// is known.
    async fn publish_unnamed(&self, pool: Option<&str>) -> bool {
        match self.has_node_pools().await {
            Ok(true) => self.publish_pool(pool, BTreeSet::from([self.node_name.clone()])),
            Ok(false) => self.publish_pool(pool, BTreeSet::new()),
            Err(error) => {
                tracing::debug!(%error, "whether there are NodePools in this API cannot be read");
                return false;
            }
        }
        true
    }

    /// Whether the API has NodePools. By its discovery, which everybody may read: who may not read NodePools is told the
    /// same of them where there are none.
    async fn has_node_pools(&self) -> Result<bool, ::kube::Error> {
        let read = async {
            let groups = self.client.list_api_groups().await?.groups;
            if !groups.iter().flat_map(|group| &group.versions).any(|version| version.group_version == OPENYURT) {
                return Ok(false);
            }
            let resources = self.client.list_api_group_resources(OPENYURT).await?.resources;
            Ok(resources.iter().any(|resource| resource.name == "nodepools"))
        };
        read.await.or_else(|error| if is_denied(&error) { Ok(false) } else { Err(error) })
    }

    /// The nodes of this node's zone, for ever: what does not name its zone itself goes by them.
    async fn zone(&self) {
        let mut changes = self.inputs.changes();
        loop {
            let Some(zone) = self.zone_that_counts(&self.inputs.current()) else {
                let _ = changes.changed().await;
                continue;
            };
            let moved = async {
                while changes.changed().await.is_ok() {
                    if self.zone_that_counts(&self.inputs.current()).as_ref() != Some(&zone) {
                        return;
                    }
                }
            };
            tokio::select! {
                () = self.zone_members(&zone) => {}
                () = moved => {}
            }
        }
    }

    /// `None`: it is not known yet; empty: none does.
    fn zone_that_counts(&self, facts: &Facts) -> Option<String> {
        let (node, pool) = (facts.node.as_ref()?, facts.pool.as_ref()?);
        let counts = pool.is_empty() && self.membership != Membership::Nobody;
        Some(node.zone.clone().filter(|_| counts).unwrap_or_default())
    }

    /// Follows the nodes of one zone; returns when they are to be looked up anew.
    async fn zone_members(&self, zone: &str) {
        let publish = |members: BTreeSet<String>| {
            self.inputs.update(|facts| {
                if self.zone_that_counts(facts).as_deref() == Some(zone) {
                    facts.zone = Some(Arc::new(members));
                }
            });
        };
        if zone.is_empty() {
            publish(BTreeSet::new());
            return std::future::pending().await;
        }
        let read = self.follow_nodes(&format!("{ZONE_LABEL}={zone}"), publish).await;
        if read == Read::Denied {
            publish(BTreeSet::new());
        }
        tokio::time::sleep(if read == Read::Denied { RARELY } else { RETRY }).await;
    }

    /// Follows one pool; returns when it is to be looked up anew.
    async fn members(&self, pool: &str) {
        // By name: that there is none is remembered, and known without the cloud.
        let found = if self.membership == Membership::Buckets { Ok(None) } else { self.node_pools().get_opt(pool).await };
        let is_elsewhere = match found {
            Ok(Some(_)) => {
                let config = watcher::Config::default().fields(&format!("metadata.name={pool}"));
                self.follow_members(pool, self.node_pools(), config).await == Read::Denied
            }
            Ok(None) => true,
            Err(error) => {
                tracing::debug!(%error, pool, "the NodePool cannot be read");
                is_denied(&error)
            }
        };
        if is_elsewhere {
            let config = watcher::Config::default().labels(&format!("{BUCKET_LABEL}={pool}"));
            self.follow_members(pool, self.node_buckets(), config).await;
            self.follow_labels(pool).await;
        }
        tokio::time::sleep(RETRY).await;
    }

    /// Follows the objects that name the pool's members, as long as there are any.
    async fn follow_members(&self, pool: &str, api: Api<Found>, config: watcher::Config) -> Read {
        let (mut known, mut listed) = (BTreeMap::new(), BTreeMap::new());
        let put = |into: &mut BTreeMap<String, Option<Vec<String>>>, found: Found| {
            if found.nodes.is_none() {
                self.cannot_read("pool", &found);
            }
            into.insert(found.name(), found.nodes);
        };
        let mut events = std::pin::pin!(watcher(api, config));
        let mut pause = RETRY;
        while let Some(event) = events.next().await {
            let settled = !matches!(event, Ok(Event::Init | Event::InitApply(_)));
            match event {
                Ok(Event::Init) => listed.clear(),
                Ok(Event::InitApply(found)) => put(&mut listed, found),
                Ok(Event::InitDone) => known = std::mem::take(&mut listed),
                Ok(Event::Apply(found)) => put(&mut known, found),
                Ok(Event::Delete(gone)) => drop(known.remove(&gone.name())),
                // There may be other sources; what was known of this one stands while it cannot be read.
                Err(error) if known.is_empty() => return Read::failed(&error),
                Err(error) => {
                    wait("the pool's members", &error, &mut pause).await;
                    continue;
                }
            }
            if settled && known.is_empty() {
                return Read::Ended;
            }
            if settled {
                pause = RETRY;
                // With one that cannot be read, what was known of them all stands.
                if let Some(members) = known.values().cloned().collect::<Option<Vec<_>>>() {
                    // A pool that says nothing yet of its nodes has this one, which is no reason to go by the zone.
                    let members = members.into_iter().flatten().chain([self.node_name.clone()]);
                    self.publish_pool(Some(pool), members.collect());
                }
            }
        }
        Read::Ended
    }

    /// Follows the Nodes with the pool's label. Returns when the pool is to be looked up anew.
    async fn follow_labels(&self, pool: &str) {
        let publish = |mut members: BTreeSet<String>| {
            // The node is in it by its configuration, whatever its label says.
            members.insert(self.node_name.clone());
            self.publish_pool(Some(pool), members);
        };
        let named = async {
            loop {
                tokio::time::sleep(AGAIN).await;
                if self.is_named(pool).await {
                    return;
                }
            }
        };
        let label = format!("{POOL_LABEL}={pool}");
        let read = tokio::select! {
            read = self.follow_nodes(&label, publish) => read,
            () = named => return,
        };
        if read == Read::Denied {
            let pause = if self.publish_unnamed(Some(pool)).await { AGAIN } else { RETRY };
            tokio::time::sleep(pause).await;
        }
    }

    /// Follows the Nodes with a label by their metadata alone: their status, which is most of them, is nothing to a filter.
    /// Returns when they cannot be followed.
    async fn follow_nodes(&self, label: &str, publish: impl Fn(BTreeSet<String>)) -> Read {
        let nodes: Api<Found> = Api::all_with(of_metadata(&self.client), &resource("", "v1", "Node", "nodes"));
        let mut events = std::pin::pin!(watcher(nodes, watcher::Config::default().labels(label)));
        let (mut known, mut listed, mut pause) = (None, BTreeSet::new(), RETRY);
        while let Some(event) = events.next().await {
            match (event, &mut known) {
                (Ok(Event::Init), _) => {
                    listed.clear();
                    continue;
                }
                (Ok(Event::InitApply(node)), _) => {
                    listed.insert(node.name());
                    continue;
                }
                (Ok(Event::InitDone), known) => *known = Some(std::mem::take(&mut listed)),
                (Ok(Event::Apply(node)), Some(known)) => _ = known.insert(node.name()),
                (Ok(Event::Delete(node)), Some(known)) => _ = known.remove(&node.name()),
                (Err(error), _) if Read::failed(&error) == Read::Denied => return Read::Denied,
                (Err(error), Some(_)) => {
                    wait("Nodes by their label", &error, &mut pause).await;
                    continue;
                }
                _ => return Read::Ended,
            }
            pause = RETRY;
            publish(known.clone().unwrap_or_default());
        }
        Read::Ended
    }

    /// Whether there is a NodePool or a NodeBucket that can be followed, which come before the Nodes' labels.
    async fn is_named(&self, pool: &str) -> bool {
        let there = async |api: Api<Found>, params| api.list(&params).await.is_ok_and(|list| !list.items.is_empty());
        let by_name = ListParams::default().fields(&format!("metadata.name={pool}"));
        let by_label = ListParams::default().labels(&format!("{BUCKET_LABEL}={pool}"));
        self.membership != Membership::Buckets && there(self.node_pools(), by_name).await
            || there(self.node_buckets(), by_label).await
    }
}

/// How following a source has ended.
#[derive(PartialEq, Eq)]
enum Read {
    Ended,
    /// One may be allowed to get an object and not to list or watch it.
    Denied,
}

impl Read {
    fn failed(error: &watcher::Error) -> Self {
        match error {
            watcher::Error::InitialListFailed(error) | watcher::Error::WatchStartFailed(error) if is_denied(error) => {
                Self::Denied
            }
            _ => Self::Ended,
        }
    }
}

/// Forbidden, or no such resource: there is nothing to read, and that is an answer.
fn is_denied(error: &::kube::Error) -> bool {
    matches!(error, ::kube::Error::Api(status) if matches!(status.code, 403 | 404))
}

async fn wait(what: &str, error: &watcher::Error, pause: &mut Duration) {
    tracing::debug!(%error, what, "what filters go by cannot be read, what is known stands");
    tokio::time::sleep(*pause).await;
    *pause = (*pause * 2).min(RETRY_AT_MOST);
}

/// The same client, for objects of which nothing but their metadata comes. With `kube`'s own way to ask for that, one object
/// that is not as it should be would hide all others.
fn of_metadata(client: &Client) -> Client {
    let client = client.clone();
    let service = tower::service_fn(move |mut request: Request<Body>| {
        let is_watch = request.uri().query().is_some_and(|query| query.contains("watch=true"));
        let accept = if is_watch { METADATA } else { METADATA_LIST };
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static(accept));
        let client = client.clone();
        async move { client.send(request).await }
    });
    Client::new(service, "default")
}

fn resource(group: &str, version: &str, kind: &str, plural: &str) -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
}

#[cfg(test)]
mod tests;
