//! Watches.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::FakeOptions;
use super::{config_map, connect, soon, start, start_with};
use crate::client::{Alpn, Streaming};

async fn next(stream: &mut Streaming) -> (String, Value) {
    let event = tokio::time::timeout(Duration::from_secs(5), stream.event()).await.expect("in time");
    let event = event.expect("the stream is whole").expect("the stream goes on");
    (event["type"].as_str().unwrap_or_default().to_owned(), event["object"].clone())
}

#[tokio::test]
async fn a_watch_goes_on_from_a_version() {
    let fake = start().await;
    let client = connect(&fake, Alpn::H2).await;
    let rv = fake.put("configmaps", "a", "x", config_map("1"));
    fake.put("configmaps", "a", "x", config_map("2"));
    let path = format!("/api/v1/namespaces/a/configmaps?watch=true&resourceVersion={rv}");
    let mut stream = client.stream("GET", &path, &[], "").await.expect("answers");
    let line = stream.line().await.expect("whole").expect("goes on");
    assert!(line.starts_with(
        "{\"type\":\"MODIFIED\",\"object\":{\"kind\":\"ConfigMap\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"x\""
    ));
    let deleted = fake.delete("configmaps", "a", "x").expect("was there");
    fake.put("configmaps", "b", "other", config_map("1"));
    let (change, object) = next(&mut stream).await;
    assert_eq!((change.as_str(), &object["metadata"]["resourceVersion"]), ("DELETED", &json!(deleted.to_string())));
    assert!(soon(stream.event()).await.is_none());
}

#[tokio::test]
async fn a_watch_from_nowhere_tells_what_there_is() {
    let fake = start().await;
    let client = connect(&fake, Alpn::H1).await;
    fake.put("configmaps", "a", "x", config_map("1"));
    let mut stream = client.stream("GET", "/api/v1/configmaps?watch=1&resourceVersion=0", &[], "").await.expect("answers");
    assert_eq!(next(&mut stream).await.0, "ADDED");
    fake.put("configmaps", "a", "y", config_map("1"));
    assert_eq!(next(&mut stream).await.1["metadata"]["name"], "y");
}

#[tokio::test]
async fn initial_events_end_with_a_bookmark() {
    let fake = start().await;
    let client = connect(&fake, Alpn::H2).await;
    fake.put("configmaps", "a", "x", config_map("1"));
    let path = "/api/v1/configmaps?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut stream = client.stream("GET", path, &[], "").await.expect("answers");
    assert_eq!(next(&mut stream).await.0, "ADDED");
    let line = stream.line().await.expect("whole").expect("goes on");
    let rv = fake.resource_version();
    assert_eq!(
        line,
        format!(
            "{{\"type\":\"BOOKMARK\",\"object\":{{\"kind\":\"ConfigMap\",\"apiVersion\":\"v1\",\"metadata\":{{\"resourceVersion\":\"{rv}\",\"annotations\":{{\"k8s.io/initial-events-end\":\"true\"}}}}}}}}"
        )
    );
    fake.put("configmaps", "a", "y", config_map("1"));
    assert_eq!(next(&mut stream).await.0, "ADDED");
    let wrong = client.get("/api/v1/configmaps?watch=true&sendInitialEvents=true").await.expect("answers");
    assert_eq!(wrong.status, 422);
}

#[tokio::test]
async fn selectors_turn_changes_into_additions_and_deletions() {
    let fake = start().await;
    let client = connect(&fake, Alpn::H2).await;
    let label = |value: &str| json!({"metadata": {"labels": {"app": value}}});
    let rv = fake.put("pods", "a", "p", label("no"));
    let path = format!("/api/v1/pods?watch=true&labelSelector=app%3Dyes&resourceVersion={rv}");
    let mut stream = client.stream("GET", &path, &[], "").await.expect("answers");
    for (value, change) in [("yes", "ADDED"), ("no", "DELETED")] {
        fake.put("pods", "a", "p", label(value));
        assert_eq!(next(&mut stream).await.0, change);
    }
}

#[tokio::test]
async fn compacted_versions_are_expired_inside_the_stream() {
    let fake = start().await;
    let client = connect(&fake, Alpn::H2).await;
    fake.put("configmaps", "a", "x", config_map("1"));
    fake.compact();
    let mut stream = client.stream("GET", "/api/v1/configmaps?watch=true&resourceVersion=1", &[], "").await.expect("answers");
    assert_eq!(stream.status, 200);
    let (change, status) = next(&mut stream).await;
    assert_eq!((change.as_str(), &status["code"], &status["reason"]), ("ERROR", &json!(410), &json!("Expired")));
    assert!(stream.event().await.expect("a proper end").is_none());
}

#[tokio::test]
async fn timeouts_and_bookmarks() {
    let fake = start_with(FakeOptions { bookmark_every: Duration::from_millis(300), ..FakeOptions::default() }).await;
    let client = connect(&fake, Alpn::H2).await;
    let rv = fake.resource_version();
    let path = format!("/api/v1/pods?watch=true&allowWatchBookmarks=true&timeoutSeconds=1&resourceVersion={rv}");
    let mut stream = client.stream("GET", &path, &[], "").await.expect("answers");
    let (change, object) = next(&mut stream).await;
    assert_eq!((change.as_str(), &object["kind"]), ("BOOKMARK", &json!("Pod")));
    while let Some(event) = stream.event().await.expect("a proper end") {
        assert_eq!(event["type"], "BOOKMARK");
    }
}

#[tokio::test]
async fn many_watches_share_a_connection() {
    let fake = start().await;
    let client = connect(&fake, Alpn::H2).await;
    let path = format!("/api/v1/configmaps?watch=true&resourceVersion={}", fake.resource_version());
    let mut streams = client.watches(&vec![path.as_str(); 100]).await.expect("all answer");
    fake.put("configmaps", "a", "x", config_map("1"));
    for stream in &mut streams {
        assert_eq!(next(stream).await.0, "ADDED");
    }
    assert_eq!(fake.connections().live, 1);
}
