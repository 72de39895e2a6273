//! Events that are gone from the cloud when the link comes back: it keeps them for an hour, and a cut may be longer.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::apiserver::{Apiserver, TOKEN};
use testkit::client::{Alpn, Client, Response};
use testkit::hub::eventually;
use testkit::lab;

use crate::hub_over;
use crate::link::Link;

const SOON: Duration = Duration::from_secs(30);
const MERGE: [(&str, &str); 1] = [("content-type", "application/strategic-merge-patch+json")];
/// Both APIs.
const CORE: &str = "/api/v1/namespaces/default/events";
const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/default/events";

/// As a recorder begins it.
fn begun(api: &str, name: &str) -> Value {
    let about = json!({"apiVersion": "v1", "kind": "ConfigMap", "namespace": "default", "name": "about"});
    let metadata = json!({"name": name, "namespace": "default", "labels": {"a": "b"}});
    match api {
        CORE => json!({"apiVersion": "v1", "kind": "Event", "metadata": metadata, "involvedObject": about, "reason": "Happened",
            "message": "it happened", "type": "Normal", "source": {"component": "test"}, "count": 1,
            "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:00:00Z"}),
        _ => json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": metadata, "regarding": about,
            "reason": "Happened", "note": "it happened", "type": "Normal", "action": "test", "reportingController": "test",
            "reportingInstance": "test-1", "eventTime": "2026-01-01T00:00:00.000001Z"}),
    }
}

async fn again(client: &Client, api: &str, name: &str, count: u64) -> Response {
    let patch = match api {
        CORE => json!({"count": count, "lastTimestamp": "2026-01-01T01:00:00Z"}),
        _ => json!({"series": {"count": count, "lastObservedTime": "2026-01-01T01:00:00.000001Z"}}),
    };
    client.request("PATCH", &format!("{api}/{name}?fieldManager=test"), &MERGE, patch.to_string()).await.unwrap()
}

#[tokio::test]
async fn an_event_that_has_expired_is_created_anew_with_the_count_it_has_reached() {
    let Some(lab) = lab() else { return };
    let server = Apiserver::start(&lab).await.unwrap();
    let cloud = server.client().await.unwrap();
    let link = Link::to(server.address).await;
    let hub = hub_over(&server, vec![link.url()]).await;
    let client = hub.pod(TOKEN, Alpn::H2).await.unwrap();
    let all = [(CORE, "core"), (EVENTS, "events")];
    let mut before = Vec::new();
    for (api, name) in all {
        let headers = [("content-type", "application/json")];
        let answer = client.request("POST", api, &headers, begun(api, name).to_string()).await.unwrap();
        assert_eq!(answer.status, 201, "{}", answer.text());
        assert_eq!(again(&client, api, name, 2).await.status, 200);
        before.push(cloud.get(&format!("{api}/{name}")).await.unwrap().json());
    }
    link.is_up(false, &hub).await;
    for (api, name) in all {
        for count in 3..=5 {
            let answer = again(&client, api, name, count).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
        assert_eq!(cloud.request("DELETE", &format!("{api}/{name}"), &[], "").await.unwrap().status, 200);
    }
    link.is_up(true, &hub).await;
    for ((api, name), mut before) in all.into_iter().zip(before) {
        let found = async || Ok(cloud.get(&format!("{api}/{name}")).await?.status == 200);
        eventually("it is there again", SOON, found).await.unwrap();
        let mut now = cloud.get(&format!("{api}/{name}")).await.unwrap().json();
        assert_ne!(now["metadata"]["uid"], before["metadata"]["uid"]);
        assert_eq!(now["metadata"]["labels"], before["metadata"]["labels"]);
        let (count, series) = if api == CORE { (json!(5), Value::Null) } else { (Value::Null, json!(5)) };
        assert_eq!((&now["count"], &now["series"]["count"]), (&count, &series));
        for event in [&mut now, &mut before] {
            for field in ["metadata", "count", "lastTimestamp", "series"] {
                event.as_object_mut().unwrap().remove(field);
            }
        }
        assert_eq!(now, before, "the rest is as it was");
    }
    let delivered = async || Ok(hub.metric("holdfast_events_delivered_total").await? == 2.0);
    eventually("all is delivered", SOON, delivered).await.unwrap();
}
