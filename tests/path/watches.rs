//! Watches while the link is down: from where they begin, and what they are told.

use serde_json::{Value, json};
use testkit::fake::Fault;

use super::filters::{next, pair};
use super::forms::{TABLE, of_event};
use super::offline::see;
use super::*;

#[tokio::test]
async fn a_watch_stays_open_through_the_cut_and_leads_back() {
    let rig = Rig::start().await;
    let client = see(&rig).await;
    let list = client.get(CONFIGMAPS).await.unwrap().json();
    let version = list["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let path = format!("{CONFIGMAPS}?watch=1&allowWatchBookmarks=true&resourceVersion={version}");
    let mut online = client.stream("GET", &path, &[], "").await.unwrap();
    rig.cut(Fault::Refuse).await;
    let mut offline = client.stream("GET", &path, &[], "").await.unwrap();
    assert_eq!(offline.status, 200);
    let from_zero = client.stream("GET", &format!("{CONFIGMAPS}?watch=1&resourceVersion=0"), &[], "").await.unwrap();
    let first = {
        let mut from_zero = from_zero;
        from_zero.event().await.unwrap().unwrap()
    };
    assert_eq!((first["type"].as_str(), first["object"]["metadata"]["name"].as_str()), (Some("ADDED"), Some("greeting")));
    let mut listed = client
        .stream(
            "GET",
            &format!("{CONFIGMAPS}?watch=1&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan"),
            &[],
            "",
        )
        .await
        .unwrap();
    let mut events = Vec::new();
    while events.last().is_none_or(|event: &Value| event["type"] != "BOOKMARK") {
        events.push(listed.event().await.unwrap().unwrap());
    }
    assert_eq!(events.len(), 3);
    assert_eq!(events[2]["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    let mut old = client.stream("GET", &format!("{CONFIGMAPS}?watch=1&resourceVersion=1"), &[], "").await.unwrap();
    let error = old.event().await.unwrap().unwrap();
    assert_eq!((error["type"].as_str(), error["object"]["code"].as_u64()), (Some("ERROR"), Some(410)));
    rig.fake.put("configmaps", "story", "made-meanwhile", json!({"data": {}}));
    rig.restore().await;
    for watch in [&mut online, &mut offline] {
        assert_eq!(watch.event().await.unwrap().unwrap()["object"]["metadata"]["name"], "made-meanwhile");
    }
}

/// Its client has seen less than somebody else of the same.
#[tokio::test]
async fn a_watch_from_a_little_before_what_is_known_is_led_up_to_it() {
    let rig = Rig::start().await;
    let client = see(&rig).await;
    let watch = async |version: u64, accept: &str| {
        let path = format!("{CONFIGMAPS}?watch=1&resourceVersion={version}");
        client.stream("GET", &path, &[("accept", accept)], "").await.unwrap()
    };
    let listed = rig.fake.resource_version();
    let mut first = watch(listed, "application/json").await;
    rig.fake.put("configmaps", "story", "added", json!({"data": {"n": "1"}}));
    let between = rig.fake.resource_version();
    rig.fake.put("configmaps", "story", "greeting", json!({"data": {"n": "2"}}));
    rig.fake.delete("configmaps", "story", "added");
    let events = [pair("ADDED", "added"), pair("MODIFIED", "greeting"), pair("DELETED", "added")];
    for event in &events {
        assert_eq!(&next(&mut first).await, event);
    }
    rig.cut(Fault::Refuse).await;
    for (version, told) in [(listed, &events[..]), (between, &events[1..])] {
        let mut whole = watch(version, "application/json").await;
        let mut tables = watch(version, TABLE).await;
        for (number, event) in told.iter().enumerate() {
            assert_eq!(&next(&mut whole).await, event, "from {version}");
            let table = tokio::time::timeout(SECONDS(10), tables.event()).await.expect("an event").unwrap().unwrap();
            assert_eq!(pair(table["type"].as_str().unwrap(), &of_event(&table)), *event, "from {version}");
            let columns = table["object"]["columnDefinitions"].as_array().map_or(0, Vec::len);
            assert_eq!(columns > 0, number == 0, "the first Table has the columns of all: {table}");
        }
    }
}

#[tokio::test]
async fn what_a_watch_brought_is_in_the_next_offline_list() {
    let rig = Rig::start().await;
    let client = see(&rig).await;
    let version = rig.fake.resource_version();
    let mut watch = client.stream("GET", &format!("{CONFIGMAPS}?watch=1&resourceVersion={version}"), &[], "").await.unwrap();
    rig.fake.put("configmaps", "story", "added", json!({"data": {"n": "1"}}));
    rig.fake.delete("configmaps", "story", "zz-last");
    for _ in 0..2 {
        watch.event().await.unwrap().unwrap();
    }
    rig.cut(Fault::Refuse).await;
    let list = client.get(CONFIGMAPS).await.unwrap().json();
    let names: Vec<_> = list["items"].as_array().unwrap().iter().map(|item| item["metadata"]["name"].clone()).collect();
    assert_eq!(names, ["added", "greeting"]);
    assert_eq!(list["metadata"]["resourceVersion"], rig.fake.resource_version().to_string());
}

#[tokio::test]
async fn a_watch_may_ask_for_any_time() {
    let rig = Rig::start().await;
    let client = see(&rig).await;
    drop(client.stream("GET", &format!("{CONFIGMAPS}?watch=1"), &[], "").await.unwrap());
    rig.cut(Fault::Refuse).await;
    let path = format!("{CONFIGMAPS}?watch=1&resourceVersion=0&timeoutSeconds={}", i64::MAX);
    let mut watch = client.stream("GET", &path, &[], "").await.unwrap();
    assert_eq!(watch.status, 200);
    assert_eq!(watch.event().await.unwrap().unwrap()["type"], "ADDED");
    assert_eq!(client.get(CONFIGMAPS).await.unwrap().status, 200, "the connection lives on");
}
