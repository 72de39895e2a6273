//! Reads and writes.

use serde_json::json;

use super::super::FakeOptions;
use super::{config_map, connect, start, start_with};
use crate::client::Alpn;

#[tokio::test]
async fn a_list_has_the_bytes_of_the_real_one() {
    let fake = start().await;
    let client = connect(&fake, Alpn::H2).await;
    let rv = fake.put("configmaps", "a", "x", json!({"data": {"k": "<v>"}, "metadata": {"labels": {"l": "1"}}}));
    let stored = fake.get("configmaps", "a", "x").expect("just put");
    let (uid, created) = (&stored["metadata"]["uid"], &stored["metadata"]["creationTimestamp"]);
    let answer = client.get("/api/v1/namespaces/a/configmaps").await.expect("answers");
    let expected = format!(
        "{{\"kind\":\"ConfigMapList\",\"apiVersion\":\"v1\",\"metadata\":{{\"resourceVersion\":\"{rv}\"}},\"items\":[{{\"metadata\":{{\"name\":\"x\",\"namespace\":\"a\",\"uid\":{uid},\"resourceVersion\":\"{rv}\",\"creationTimestamp\":{created},\"labels\":{{\"l\":\"1\"}}}},\"data\":{{\"k\":\"\\u003cv\\u003e\"}}}}]}}\n"
    );
    assert_eq!(answer.text(), expected);
    assert_eq!(answer.header("content-type"), "application/json");
}

#[tokio::test]
async fn a_custom_list_is_sorted_and_whole() {
    let fake = start().await;
    let client = connect(&fake, Alpn::H1).await;
    fake.put("example.com/v1/widgets", "a", "w", json!({"kind": "Widget", "spec": {"z": 1, "b": 2}}));
    let text = client.get("/apis/example.com/v1/namespaces/a/widgets").await.expect("answers").text();
    assert!(
        text.starts_with("{\"apiVersion\":\"example.com/v1\",\"items\":[{\"apiVersion\":\"example.com/v1\",\"kind\":\"Widget\"")
    );
    assert!(text.contains("\"spec\":{\"b\":2,\"z\":1}}],\"kind\":\"WidgetList\",\"metadata\":{\"continue\":\"\","));
}

#[tokio::test]
async fn selectors_choose() {
    let fake = start().await;
    let client = connect(&fake, Alpn::H2).await;
    for (name, app) in [("one", "web"), ("two", "web"), ("three", "db")] {
        fake.put("pods", "a", name, json!({"metadata": {"labels": {"app": app}}, "spec": {"nodeName": name}}));
    }
    for (query, count) in [
        ("labelSelector=app%3Dweb", 2),
        ("labelSelector=app!=web", 1),
        ("labelSelector=app+in+(web,db),app!=db", 2),
        ("labelSelector=!app", 0),
        ("fieldSelector=metadata.name%3Dthree", 1),
        ("fieldSelector=spec.nodeName=one", 1),
        ("fieldSelector=metadata.namespace!=a", 0),
    ] {
        let answer = client.get(&format!("/api/v1/pods?{query}")).await.expect("answers");
        assert_eq!(answer.json()["items"].as_array().map(Vec::len), Some(count), "{query}");
    }
}

#[tokio::test]
async fn pages_stay_at_the_version_of_the_first() {
    let fake = start().await;
    let client = connect(&fake, Alpn::H2).await;
    for index in 0..5 {
        fake.put("configmaps", "a", &format!("x{index}"), config_map("old"));
    }
    let base = "/api/v1/namespaces/a/configmaps?limit=2";
    let first = client.get(base).await.expect("answers").json();
    assert_eq!(first["metadata"]["remainingItemCount"], 3);
    fake.put("configmaps", "a", "x3", config_map("new"));
    fake.delete("configmaps", "a", "x4");
    fake.put("configmaps", "a", "x5", config_map("new"));
    let token = first["metadata"]["continue"].as_str().expect("more to come");
    let second = client.get(&format!("{base}&continue={token}")).await.expect("answers").json();
    assert_eq!(second["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    assert_eq!(second["items"][1]["metadata"]["name"], "x3");
    assert_eq!(second["items"][1]["data"]["key"], "old");
    let next = second["metadata"]["continue"].as_str().expect("more to come");
    let third = client.get(&format!("{base}&continue={next}")).await.expect("answers").json();
    assert_eq!(third["items"][0]["metadata"]["name"], "x4");
    assert_eq!(third["metadata"].get("continue"), None);

    fake.compact();
    let expired = client.get(&format!("{base}&continue={next}")).await.expect("answers");
    assert_eq!((expired.status.as_u16(), &expired.json()["reason"]), (410, &json!("Expired")));
    let inconsistent = expired.json()["metadata"]["continue"].as_str().expect("a way on").to_owned();
    let rest = client.get(&format!("{base}&continue={inconsistent}")).await.expect("answers").json();
    assert_eq!(rest["items"][0]["metadata"]["name"], "x5");
}

#[tokio::test]
async fn exact_and_future_versions() {
    let fake = start().await;
    let client = connect(&fake, Alpn::H2).await;
    let old = fake.put("configmaps", "a", "x", config_map("old"));
    fake.put("configmaps", "a", "x", config_map("new"));
    let path = format!("/api/v1/configmaps?resourceVersion={old}&resourceVersionMatch=Exact");
    let answer = client.get(&path).await.expect("answers").json();
    assert_eq!(answer["items"][0]["data"]["key"], "old");
    let answer = client.get("/api/v1/configmaps?resourceVersion=999999").await.expect("answers");
    assert_eq!(answer.status, 504);
    assert!(answer.text().contains("Too large resource version: 999999, current: "));
    fake.compact();
    assert_eq!(client.get(&path).await.expect("answers").status, 410);
}

#[tokio::test]
async fn writes_follow_the_versions() {
    let fake = start().await;
    let client = connect(&fake, Alpn::H1).await;
    let all = "/api/v1/namespaces/a/configmaps";
    let one = "/api/v1/namespaces/a/configmaps/x";
    let json = [("content-type", "application/json")];
    let body = r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"x"},"data":{"k":"1"}}"#;
    let made = client.request("POST", all, &json, body).await.expect("answers");
    assert_eq!(made.status, 201);
    assert!(made.text().starts_with("{\"kind\":\"ConfigMap\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"x\","));
    let again = client.request("POST", all, &json, body).await.expect("answers");
    assert_eq!(
        again.text(),
        "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},\"status\":\"Failure\",\"message\":\"configmaps \\\"x\\\" already exists\",\"reason\":\"AlreadyExists\",\"details\":{\"name\":\"x\",\"kind\":\"configmaps\"},\"code\":409}\n"
    );

    let same = client.request("PUT", one, &json, made.body.clone()).await.expect("answers");
    assert_eq!(same.json()["metadata"]["resourceVersion"], made.json()["metadata"]["resourceVersion"]);
    let patch = [("content-type", "application/strategic-merge-patch+json")];
    let patched = client.request("PATCH", one, &patch, r#"{"data":{"k":null,"j":"2"}}"#).await.expect("answers");
    assert_eq!(patched.json()["data"], json!({"j": "2"}));
    let stale = client.request("PUT", one, &json, made.body).await.expect("answers");
    assert_eq!((stale.status.as_u16(), &stale.json()["reason"]), (409, &json!("Conflict")));
    assert_eq!(client.request("DELETE", one, &[], "").await.expect("answers").json()["status"], "Success");
    let gone = client.get(one).await.expect("answers");
    assert_eq!((gone.status.as_u16(), &gone.json()["message"]), (404, &json!("configmaps \"x\" not found")));

    let generated = client.request("POST", all, &json, r#"{"metadata":{"generateName":"g-"}}"#).await.expect("answers");
    assert_eq!(generated.json()["metadata"]["name"].as_str().map(str::len), Some(7));
    let lease = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n";
    assert_eq!(client.request("PUT", lease, &json, r#"{"spec":{}}"#).await.expect("answers").status, 201);
    assert_eq!(client.request("PUT", one, &json, "{}").await.expect("answers").status, 404);
}

#[tokio::test]
async fn status_is_replaced_alone() {
    let fake = start().await;
    let client = connect(&fake, Alpn::H2).await;
    fake.put("nodes", "", "n", json!({"spec": {"podCIDR": "10.0.0.0/24"}}));
    let body = r#"{"spec":{"podCIDR":"changed"},"status":{"phase":"x"}}"#;
    client.request("PUT", "/api/v1/nodes/n/status", &[], body).await.expect("answers");
    let node = fake.get("nodes", "", "n").expect("put above");
    assert_eq!((&node["spec"]["podCIDR"], &node["status"]["phase"]), (&json!("10.0.0.0/24"), &json!("x")));
}

#[tokio::test]
async fn discovery_and_health() {
    let fake = start().await;
    let client = connect(&fake, Alpn::H1).await;
    fake.put("example.com/v1/widgets", "a", "w", json!({}));
    assert_eq!(client.get("/readyz").await.expect("answers").text(), "ok");
    assert_eq!(client.get("/api").await.expect("answers").json()["versions"], json!(["v1"]));
    assert!(client.get("/apis").await.expect("answers").text().contains("example.com/v1"));
    let list = client.get("/apis/example.com/v1").await.expect("answers").json();
    assert_eq!((&list["resources"][0]["name"], &list["resources"][0]["namespaced"]), (&json!("widgets"), &json!(true)));
    assert_eq!(client.get("/api/v1/nonsense").await.expect("answers").status, 404);
    assert_eq!(client.get("/nonsense").await.expect("answers").text(), "404 page not found\n");
    let service = client.get("/api/v1/namespaces/default/services/kubernetes").await.expect("answers").json();
    assert_eq!(service["spec"]["clusterIP"], "10.96.0.1");
}

#[tokio::test]
async fn requests_are_recorded() {
    let fake = start_with(FakeOptions { keep_requests: 2, ..FakeOptions::default() }).await;
    let client = connect(&fake, Alpn::H2).await;
    for index in 0..3 {
        let path = format!("/api/v1/pods?limit={index}");
        client.request("GET", &path, &[("user-agent", "test/1")], "").await.expect("answers");
    }
    let requests = fake.requests();
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[1].path_and_query, "/api/v1/pods?limit=2");
    assert_eq!((requests[1].header("user-agent"), requests[1].version), ("test/1", http::Version::HTTP_2));
    assert_eq!(requests[1].header("authorization"), "Bearer root");
    assert_eq!(fake.connections().accepted, 1);
}
