//! Events that were accepted while the link is down come to the cloud, each once.

use serde_json::json;
use testkit::client::Client;
use testkit::fake::Fault;

use super::*;

#[tokio::test]
async fn an_event_accepted_offline_is_in_the_cloud_after_the_cut_once() {
    let mut rig = Rig::start().await;
    let events = "/api/v1/namespaces/story/events";
    let post = async |client: &Client, name: &str| {
        client.request("POST", events, &[("content-type", "application/json")], event("story", name).to_string()).await.unwrap()
    };
    let client = rig.pod().await;
    assert_eq!(post(&client, "online").await.status, 201);
    rig.hub
        .kubelet()
        .await
        .unwrap()
        .request("POST", events, &[("content-type", "application/json")], r#"{"metadata":{"name":"k"}}"#)
        .await
        .unwrap();
    rig.cut(Fault::Refuse).await;
    assert_eq!(post(&client, "offline").await.status, 201);
    assert_eq!(post(&client, "offline").await.status, 409);
    let nameless = client
        .request("POST", events, &[("content-type", "application/json")], r#"{"metadata":{"generateName":"x"}}"#)
        .await
        .unwrap();
    assert_eq!(nameless.status, 503);
    rig.hub.kill();
    rig.hub.run().await.unwrap();
    rig.link_is(0.0).await;
    rig.fake.clear_requests();
    rig.fake.heal().unwrap();
    eventually("the Event is delivered", SECONDS(30), async || Ok(rig.fake.get("events", "story", "offline").is_some()))
        .await
        .unwrap();
    eventually("and counted", SECONDS(5), async || Ok(rig.hub.metric("holdfast_events_delivered_total").await? == 1.0))
        .await
        .unwrap();
    let delivered: Vec<_> = rig.fake.requests().into_iter().filter(|request| request.path_and_query == events).collect();
    assert_eq!(delivered.len(), 1);
    assert_eq!(delivered[0].header("authorization"), format!("Bearer {TOKEN}"), "with its author's own credential");
    assert_eq!(delivered[0].client_cn, None);
}

#[tokio::test]
async fn an_event_whose_authors_token_expired_waits_for_the_next_one() {
    let rig = Rig::start().await;
    let events = "/api/v1/namespaces/story/events";
    let headers = [("content-type", "application/json")];
    rig.fake.put("serviceaccounts", "story", "sample", json!({}));
    let kubelet = rig.hub.kubelet().await.unwrap();
    let issue = async |pod: &str| {
        let request = json!({"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1",
            "spec": {"expirationSeconds": 3600, "boundObjectRef": {"kind": "Pod", "name": pod, "uid": "u"}}});
        let tokens = "/api/v1/namespaces/story/serviceaccounts/sample/token";
        let issued = kubelet.request("POST", tokens, &headers, request.to_string()).await.unwrap();
        issued.json()["status"]["token"].as_str().unwrap().to_owned()
    };
    let first = issue("p").await;
    let client = rig.hub.pod(&first, Alpn::H2).await.unwrap();
    let post = async |client: &Client, name: &str| {
        client.request("POST", events, &headers, event("story", name).to_string()).await.unwrap().status
    };
    assert_eq!(post(&client, "online").await, 201);
    post(&kubelet, "online-too").await;
    rig.cut(Fault::Refuse).await;
    assert_eq!(post(&client, "pods").await, 201);
    assert_eq!(post(&kubelet, "kubelets").await, 201);
    rig.fake.remove_token(&first);
    rig.restore().await;
    let delivered = async |name: &'static str| {
        eventually("the Event is delivered", SECONDS(30), async || Ok(rig.fake.get("events", "story", name).is_some()))
            .await
            .unwrap();
    };
    // It holds up nobody, and is not given up.
    delivered("kubelets").await;
    assert!(rig.fake.get("events", "story", "pods").is_none());
    eventually("one waits", SECONDS(5), async || Ok(rig.hub.metric("holdfast_journal_entries").await? == 1.0)).await.unwrap();
    issue("p2").await;
    delivered("pods").await;
}

#[tokio::test]
async fn an_event_that_the_cloud_cannot_take_holds_up_no_other() {
    let rig = Rig::start().await;
    let kubelet = rig.hub.kubelet().await.unwrap();
    let post = async |namespace, name| {
        let path = format!("/api/v1/namespaces/{namespace}/events");
        let event = event(namespace, name).to_string();
        let answer = kubelet.request("POST", &path, &[("content-type", "application/json")], event).await.unwrap();
        assert_eq!(answer.status, 201, "{}", answer.text());
    };
    for namespace in ["bad", "story"] {
        post(namespace, "before").await;
    }
    rig.cut(Fault::Refuse).await;
    for namespace in ["bad", "story"] {
        post(namespace, "e").await;
    }
    rig.fake.heal().unwrap();
    rig.fake.fault_at("/api/v1/namespaces/bad/events", Fault::Status(500));
    rig.link_is(1.0).await;
    eventually("the other is delivered", SECONDS(30), async || Ok(rig.fake.get("events", "story", "e").is_some())).await.unwrap();
    assert!(rig.fake.get("events", "bad", "e").is_none());
    rig.fake.heal().unwrap();
    eventually("and then this one", SECONDS(30), async || Ok(rig.fake.get("events", "bad", "e").is_some())).await.unwrap();
}
