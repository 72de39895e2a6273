//! A cloud whose Nodes have labels, without OpenYurt's own resources at first.

use std::convert::Infallible;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody};
use serde_json::{Value, json};
use tokio::sync::broadcast;
use tokio::time::Instant;

use super::*;
use crate::state::inputs::Part;

/// What there is in the cloud, and what it was asked.
struct Cloud {
    /// Names of the Nodes in the pool.
    nodes: Mutex<Vec<&'static str>>,
    /// What the NodePool names, once there is one.
    pool: Mutex<Option<Vec<&'static str>>>,
    /// Whether the API has NodePools, and lets nobody list Nodes.
    has_pools: bool,
    denies: bool,
    lists_of_nodes: AtomicUsize,
    events: broadcast::Sender<Value>,
}

impl Default for Cloud {
    fn default() -> Self {
        let (nodes, pool) = (Mutex::new(vec!["n1", "n2"]), Mutex::default());
        let (lists_of_nodes, events) = (AtomicUsize::default(), broadcast::Sender::new(8));
        Self { nodes, pool, has_pools: false, denies: false, lists_of_nodes, events }
    }
}

type Answer = Response<http_body_util::combinators::UnsyncBoxBody<Bytes, Infallible>>;

impl Cloud {
    fn sources(self: &Arc<Self>) -> Sources {
        let cloud = self.clone();
        let service =
            tower::service_fn(move |request: Request<Body>| std::future::ready(Ok::<_, Infallible>(cloud.answer(&request))));
        Sources {
            client: Client::new(service, "default"),
            node_name: "n1".to_owned(),
            nodepool_name: None,
            membership: Membership::Any,
            inputs: Arc::default(),
            metrics: Arc::default(),
        }
    }

    fn answer(&self, request: &Request<Body>) -> Answer {
        let query = request.uri().query().unwrap_or_default();
        let is_metadata =
            request.headers().get(ACCEPT).is_some_and(|accept| accept.as_bytes().starts_with(b"application/json;as="));
        if query.contains("watch=true") {
            return Response::new(if is_metadata { self.watch().boxed_unsync() } else { silence().boxed_unsync() });
        }
        let list = |items: Vec<Value>| json!({"metadata": {"resourceVersion": "1"}, "items": items});
        let pool = self.pool.lock().unwrap().clone().map(|nodes| json!({"metadata": {"name": "p"}, "status": {"nodes": nodes}}));
        let said = match (request.uri().path(), pool) {
            ("/apis", _) => Some(json!({"groups": self.groups()})),
            ("/apis/apps.openyurt.io/v1beta2", _) => Some(json!({"groupVersion": OPENYURT, "resources": [
                {"name": "nodepools", "singularName": "nodepool", "namespaced": false, "kind": "NodePool", "verbs": ["get"]},
            ]})),
            ("/api/v1/nodes", _) if is_metadata && self.denies => None,
            ("/api/v1/nodes", _) if is_metadata => {
                self.lists_of_nodes.fetch_add(1, Ordering::Relaxed);
                Some(list(self.nodes.lock().unwrap().iter().map(|name| node(name, 1)).collect()))
            }
            ("/api/v1/nodes", _) => Some(list(vec![node("n1", 1)])),
            ("/api/v1/services", _) => Some(list(Vec::new())),
            ("/apis/apps.openyurt.io/v1beta2/nodepools/p", pool) => pool,
            ("/apis/apps.openyurt.io/v1beta2/nodepools", pool) => Some(list(pool.into_iter().collect())),
            _ => None,
        };
        let none = || json!({"kind": "Status", "status": "Failure", "reason": "NotFound", "message": "none", "code": 404});
        let code = if said.is_some() { 200 } else { 404 };
        let said = said.unwrap_or_else(none).to_string();
        Response::builder().status(code).body(Full::from(said).boxed_unsync()).unwrap()
    }

    fn groups(&self) -> Value {
        let version = json!({"groupVersion": OPENYURT, "version": "v1beta2"});
        if self.has_pools { json!([{"name": "apps.openyurt.io", "versions": [version]}]) } else { json!([]) }
    }

    /// Of the pool's Nodes.
    fn watch(&self) -> impl http_body::Body<Data = Bytes, Error = Infallible> + use<> {
        let events = self.events.subscribe();
        StreamBody::new(futures_util::stream::unfold(events, async |mut events| {
            let event = events.recv().await.ok()?;
            Some((Ok(Frame::data(Bytes::from(event.to_string() + "\n"))), events))
        }))
    }

    fn joins(&self, name: &'static str) {
        self.nodes.lock().unwrap().push(name);
        self.events.send(json!({"type": "ADDED", "object": node(name, 2)})).unwrap();
    }

    fn leaves(&self, name: &'static str) {
        self.nodes.lock().unwrap().retain(|node| *node != name);
        self.events.send(json!({"type": "DELETED", "object": node(name, 3)})).unwrap();
    }
}

fn node(name: &str, version: u64) -> Value {
    json!({"metadata": {"name": name, "resourceVersion": version.to_string(), "labels": {POOL_LABEL: "p"}}})
}

/// Nothing ever happens.
fn silence() -> impl http_body::Body<Data = Bytes, Error = Infallible> {
    StreamBody::new(futures_util::stream::pending::<Result<Frame<Bytes>, Infallible>>())
}

/// A cloud of whose pool the members are known.
async fn followed() -> (Arc<Cloud>, Arc<Inputs>) {
    followed_in(Cloud::default()).await
}

async fn followed_in(cloud: Cloud) -> (Arc<Cloud>, Arc<Inputs>) {
    let cloud = Arc::new(cloud);
    let sources = cloud.sources();
    let inputs = sources.inputs.clone();
    tokio::spawn(sources.follow());
    assert!(inputs.known(&[Part::Pool], Instant::now() + RETRY).await);
    (cloud, inputs)
}

/// Waits until the pool has these members.
async fn become_known(inputs: &Inputs, expected: &[&str], within: Duration) {
    let mut changes = inputs.changes();
    let expected = expected.iter().map(|name| (*name).to_owned()).collect();
    let known = async {
        while inputs.current().pool.as_deref() != Some(&expected) {
            changes.changed().await.unwrap();
        }
    };
    let told = tokio::time::timeout(within, known).await;
    assert!(told.is_ok(), "{:?}, not {expected:?}", inputs.current().pool);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_joins_or_leaves_the_pool_by_its_label_is_known_at_once() {
    let (cloud, inputs) = followed().await;
    become_known(&inputs, &["n1", "n2"], Duration::ZERO).await;
    let lists = || cloud.lists_of_nodes.load(Ordering::Relaxed);
    tokio::time::sleep(AGAIN * 5 / 2).await;
    assert_eq!(lists(), 1, "while nothing changes they are listed once");
    cloud.joins("n3");
    become_known(&inputs, &["n1", "n2", "n3"], RETRY).await;
    cloud.leaves("n2");
    become_known(&inputs, &["n1", "n3"], RETRY).await;
    tokio::time::sleep(AGAIN * 5 / 2).await;
    assert_eq!(lists(), 1, "what the watch has told is remembered");
}

#[tokio::test(start_paused = true)]
async fn a_node_pool_that_comes_into_being_counts_for_more_than_labels() {
    let (cloud, inputs) = followed().await;
    *cloud.pool.lock().unwrap() = Some(vec!["n1", "n4"]);
    become_known(&inputs, &["n1", "n4"], AGAIN + RETRY * 2).await;
}

#[tokio::test(start_paused = true)]
async fn who_may_read_no_members_is_alone_where_there_are_pools_and_goes_by_the_zone_where_there_are_none() {
    for (has_pools, members) in [(true, &["n1"][..]), (false, &[])] {
        let (_cloud, inputs) = followed_in(Cloud { has_pools, denies: true, ..Cloud::default() }).await;
        become_known(&inputs, members, Duration::ZERO).await;
    }
}

/// It is in a pool by the hub's configuration.
#[tokio::test(start_paused = true)]
async fn a_node_is_in_its_pool_whatever_its_label_says() {
    let (_cloud, inputs) = followed_in(Cloud { nodes: Mutex::default(), ..Cloud::default() }).await;
    become_known(&inputs, &["n1"], Duration::ZERO).await;
}
