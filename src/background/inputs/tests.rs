//! A cloud without OpenYurt's own resources, whose Nodes have labels.

use std::convert::Infallible;
use std::sync::Mutex;

use ::kube::client::Body;
use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::*;
use crate::state::inputs::Part;

/// The Nodes of the cloud, each with its pool.
type Pools = Arc<Mutex<BTreeMap<&'static str, &'static str>>>;

fn sources(pools: &Pools) -> Sources {
    let pools = pools.clone();
    let service = tower::service_fn(move |request: Request<Body>| {
        std::future::ready(Ok::<_, Infallible>(answer(&pools.lock().unwrap(), request.uri())))
    });
    Sources {
        client: Client::new(service, "default"),
        node_name: "n1".to_owned(),
        nodepool_name: None,
        membership: Membership::Any,
        inputs: Arc::default(),
        metrics: Arc::default(),
    }
}

fn answer(
    pools: &BTreeMap<&str, &str>,
    uri: &http::Uri,
) -> Response<http_body_util::combinators::UnsyncBoxBody<Bytes, Infallible>> {
    let query = format!("{}&", uri.query().unwrap_or_default());
    if query.contains("watch=true") {
        // Nothing ever happens.
        let silence = futures_util::stream::pending::<Result<Frame<Bytes>, Infallible>>();
        return Response::new(StreamBody::new(silence).boxed_unsync());
    }
    let node = |name: &str, pool: &str| json!({"metadata": {"name": name, "labels": {POOL_LABEL: pool}}});
    let list = |items: Vec<Value>| json!({"metadata": {"resourceVersion": "1"}, "items": items});
    let is_asked_for = |name: &str, pool: &str| query.contains(&format!("{name}&")) || query.contains(&format!("{pool}&"));
    let (code, said) = match uri.path() {
        "/api/v1/nodes" => {
            let asked = pools.iter().filter(|(name, pool)| is_asked_for(name, pool));
            (200, list(asked.map(|(name, pool)| node(name, pool)).collect()))
        }
        "/api/v1/services" => (200, list(Vec::new())),
        _ => (404, json!({"kind": "Status", "status": "Failure", "reason": "NotFound", "message": "none", "code": 404})),
    };
    Response::builder().status(code).body(Full::from(said.to_string()).boxed_unsync()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_node_that_joins_or_leaves_the_pool_by_its_label_is_known_within_a_minute() {
    let pools = Pools::new(Mutex::new([("n1", "pool-a"), ("n2", "pool-a"), ("n3", "pool-b")].into()));
    let sources = sources(&pools);
    let inputs = sources.inputs.clone();
    let mut changes = inputs.changes();
    tokio::spawn(sources.follow());
    assert!(inputs.known(&[Part::Pool], Instant::now() + RETRY).await);
    let mut within = async |limit: Duration, expected: [&str; 2]| {
        let mut members = async || {
            while *inputs.current().pool.as_deref().unwrap() != expected.map(str::to_owned).into() {
                changes.changed().await.unwrap();
            }
        };
        let told = tokio::time::timeout(limit, members()).await;
        assert!(told.is_ok(), "{:?}, not {expected:?}", inputs.current().pool);
    };
    within(Duration::ZERO, ["n1", "n2"]).await;
    pools.lock().unwrap().extend([("n2", "pool-b"), ("n3", "pool-a")]);
    within(AGAIN + RETRY * 2, ["n1", "n3"]).await;
}
