//! What filters make of the cloud's answers, online and offline, for clients with open watches too.

use holdfast::kube::list::Encoding;
use holdfast::kube::object;
use holdfast::kube::watch::{EventType, Framer};
use serde_json::{Value, json};
use testkit::client::{Client, Streaming};
use testkit::fake::Fault;

use super::*;

pub(super) const PROXY: [(&str, &str); 1] = [("user-agent", "kube-proxy/v1.34.4 (linux/amd64)")];
pub(super) const SERVICES: &str = "/api/v1/services";
const JSON: &str = "application/json";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
pub(super) const SLICES: &str = "/apis/discovery.k8s.io/v1/endpointslices";

/// Where the hub listens for Pods here.
pub(super) const HUB: &str = "127.0.0.1";

pub(super) fn service(rig: &Rig, name: &str, kind: &str, annotations: &Value) {
    let object = json!({"metadata": {"annotations": annotations}, "spec": {"type": kind, "ports": [{"port": 80}]}});
    rig.fake.put("services", "story", name, object);
}

/// A node in zone `here`, three Services and the endpoints of one of them on two nodes.
pub(super) async fn rig() -> Rig {
    let rig = Rig::start().await;
    rig.fake.put("nodes", "", "edge-1", json!({"metadata": {"labels": {"topology.kubernetes.io/zone": "here"}}}));
    service(&rig, "plain", "ClusterIP", &json!({}));
    service(&rig, "cloud", "LoadBalancer", &json!({"svc.openyurt.io/discard": "true"}));
    service(&rig, "near", "ClusterIP", &json!({"openyurt.io/topologyKeys": "kubernetes.io/zone"}));
    slice(&rig, "near-1", "near");
    rig
}

pub(super) fn slice(rig: &Rig, name: &str, service: &str) {
    let endpoint = |address: &str, node: &str, zone: &str| json!({"addresses": [address], "nodeName": node, "zone": zone});
    let object = json!({
        "metadata": {"labels": {"kubernetes.io/service-name": service}}, "addressType": "IPv4",
        "endpoints": [endpoint("10.1.0.1", "edge-1", "here"), endpoint("10.1.0.2", "edge-2", "here"), endpoint("10.1.0.3", "far-1", "there")],
    });
    rig.fake.put("discovery.k8s.io/v1/endpointslices", "story", name, object);
}

pub(super) async fn proxy(client: &Client, path: &str, accept: &str) -> testkit::client::Response {
    client.request("GET", path, &[PROXY[0], ("accept", accept)], "").await.unwrap()
}

pub(super) fn names(list: &Value) -> Vec<String> {
    let metadata = list["items"].as_array().unwrap().iter().map(|item| &item["metadata"]);
    let own = metadata.filter(|metadata| metadata["namespace"] == "story");
    own.map(|metadata| metadata["name"].as_str().unwrap().to_owned()).collect()
}

pub(super) fn addresses(slice: &Value) -> Vec<String> {
    let endpoints = slice["endpoints"].as_array().unwrap();
    endpoints.iter().map(|endpoint| endpoint["addresses"][0].as_str().unwrap().to_owned()).collect()
}

pub(super) async fn slices(client: &Client) -> Value {
    let answer = proxy(client, SLICES, "application/json").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let list = answer.json();
    list["items"].as_array().unwrap().iter().find(|item| item["metadata"]["name"] == "near-1").unwrap().clone()
}

/// The next event, as type and name; bookmarks are passed over.
pub(super) async fn next(watch: &mut Streaming) -> Option<(String, String)> {
    let next = async {
        while let Some(event) = watch.event().await.unwrap() {
            if event["type"] != "BOOKMARK" {
                let name = &event["object"]["metadata"]["name"];
                return Some((event["type"].as_str().unwrap().to_owned(), name.as_str().unwrap_or_default().to_owned()));
            }
        }
        None
    };
    tokio::time::timeout(SECONDS(10), next).await.expect("an event")
}

/// The endpoints in the next event of a slice.
async fn told(watch: &mut Streaming) -> Vec<String> {
    let next = async {
        loop {
            let event = watch.event().await.unwrap().expect("a watch that goes on");
            if event["type"] != "BOOKMARK" {
                return addresses(&event["object"]);
            }
        }
    };
    tokio::time::timeout(SECONDS(10), next).await.expect("an event")
}

pub(super) fn pair(kind: &str, name: &str) -> Option<(String, String)> {
    Some((kind.to_owned(), name.to_owned()))
}

#[tokio::test]
async fn a_hidden_service_is_nowhere_and_others_keep_their_bytes() {
    let rig = rig().await;
    let client = rig.hub.kubelet().await.unwrap();
    assert_eq!(names(&proxy(&client, SERVICES, "application/json").await.json()), ["near", "plain"]);
    let all = client.request("GET", SERVICES, &[("user-agent", "other/v1")], "").await.unwrap();
    assert_eq!(names(&all.json()), ["cloud", "near", "plain"], "only kube-proxy is served");
    let protobuf = proxy(&client, SERVICES, "application/vnd.kubernetes.protobuf").await.body;
    let contains = |needle: &[u8]| protobuf.windows(needle.len()).any(|window| window == needle);
    assert!(contains(b"plain") && !contains(b"cloud"));
    let path = "/api/v1/namespaces/story/services";
    let hidden = proxy(&client, &format!("{path}/cloud"), "application/json").await;
    assert_eq!((hidden.status.as_u16(), hidden.json()["reason"].as_str()), (404, Some("NotFound")));
    let status = proxy(&client, &format!("{path}/cloud/status"), "application/json").await;
    assert_eq!(status.status, 404, "nor by its status: {}", status.text());
    let shown = proxy(&client, &format!("{path}/plain"), "application/json").await;
    assert_eq!(shown.body, client.get(&format!("{path}/plain")).await.unwrap().body);
}

#[tokio::test]
async fn a_watch_deletes_only_what_it_has_shown_and_adds_what_comes_to_light() {
    let rig = rig().await;
    let client = rig.hub.kubelet().await.unwrap();
    settled(&rig).await;
    let lists = rig.hub.metric("holdfast_lists_remembered_total").await.unwrap();
    let version = proxy(&client, SERVICES, "application/json").await.json()["metadata"]["resourceVersion"].clone();
    rig.remembered(lists + 1.0).await;
    let path = format!("{SERVICES}?watch=1&resourceVersion={}", version.as_str().unwrap());
    let mut watch = client.stream("GET", &path, &PROXY, "").await.unwrap();
    let discarded = json!({"svc.openyurt.io/discard": "true"});
    // It was hidden in the list, and is again: nothing to say.
    service(&rig, "cloud", "LoadBalancer", &json!({"svc.openyurt.io/discard": "true", "x": "1"}));
    service(&rig, "born-hidden", "LoadBalancer", &discarded);
    service(&rig, "plain", "LoadBalancer", &discarded);
    assert_eq!(next(&mut watch).await, pair("DELETED", "plain"));
    rig.fake.delete("services", "story", "plain");
    service(&rig, "cloud", "ClusterIP", &json!({}));
    assert_eq!(next(&mut watch).await, pair("ADDED", "cloud"));
    service(&rig, "cloud", "ClusterIP", &json!({"y": "1"}));
    assert_eq!(next(&mut watch).await, pair("MODIFIED", "cloud"));
    service(&rig, "born-hidden", "ClusterIP", &json!({}));
    assert_eq!(next(&mut watch).await, pair("ADDED", "born-hidden"));
}

#[tokio::test]
async fn topology_follows_the_annotation_and_the_pool_and_holds_offline() {
    let mut rig = rig().await;
    let client = rig.hub.kubelet().await.unwrap();
    assert_eq!(addresses(&slices(&client).await), ["10.1.0.1", "10.1.0.2"], "the zone");
    let everyone = client.request("GET", SLICES, &[("user-agent", "other/v1")], "").await.unwrap().json();
    assert_eq!(addresses(&everyone["items"][0]).len(), 3);
    service(&rig, "near", "ClusterIP", &json!({"openyurt.io/topologyKeys": "kubernetes.io/hostname"}));
    eventually("only this node's", SECONDS(10), async || Ok(addresses(&slices(&client).await) == ["10.1.0.1"])).await.unwrap();
    // A pool: its members count, not the zone.
    rig.fake.put_path("/apis/apps.openyurt.io/v1beta2/nodepools/p", json!({"status": {"nodes": ["edge-1", "far-1"]}})).unwrap();
    rig.fake.put("nodes", "", "edge-1", json!({"metadata": {"labels": {"apps.openyurt.io/nodepool": "p"}}}));
    service(&rig, "near", "ClusterIP", &json!({"openyurt.io/topologyKeys": "openyurt.io/nodepool"}));
    let pool = ["10.1.0.1", "10.1.0.3"];
    eventually("the pool's", SECONDS(10), async || Ok(addresses(&slices(&client).await) == pool)).await.unwrap();
    let client = stays_offline(&mut rig, client, &pool).await;
    assert_eq!(names(&proxy(&client, SERVICES, "application/json").await.json()), ["near", "plain"]);
}

/// Whoever may get a NodePool need not be allowed to list them.
#[tokio::test]
async fn the_members_of_a_pool_are_its_buckets_where_it_may_not_be_followed() {
    let mut rig = rig().await;
    rig.fake.put_path("/apis/apps.openyurt.io/v1beta2/nodepools/p", json!({"status": {"nodes": ["edge-1"]}})).unwrap();
    rig.fake.fault_at("/apis/apps.openyurt.io/v1beta2/nodepools?", Fault::Status(403));
    let bucket =
        json!({"metadata": {"labels": {"openyurt.io/pool-name": "p"}}, "nodes": [{"name": "edge-1"}, {"name": "far-1"}]});
    rig.fake.put_path("/apis/apps.openyurt.io/v1alpha1/nodebuckets/b", bucket).unwrap();
    rig.fake.put("nodes", "", "edge-1", json!({"metadata": {"labels": {"apps.openyurt.io/nodepool": "p"}}}));
    service(&rig, "near", "ClusterIP", &json!({"openyurt.io/topologyKeys": "openyurt.io/nodepool"}));
    let pool = ["10.1.0.1", "10.1.0.3"];
    let client = rig.hub.kubelet().await.unwrap();
    eventually("the pool's", SECONDS(10), async || Ok(addresses(&slices(&client).await) == pool)).await.unwrap();
    stays_offline(&mut rig, client, &pool).await;
}

/// In a cluster without OpenYurt: the label of the Nodes is all there is.
#[tokio::test]
async fn the_members_of_a_pool_are_the_nodes_of_its_label_where_nothing_else_names_them() {
    let mut rig = rig().await;
    rig.fake.fault_at("/apis/apps.openyurt.io", Fault::Status(404));
    let node = |name: &str, pool: &str| {
        rig.fake.put("nodes", "", name, json!({"metadata": {"labels": {"apps.openyurt.io/nodepool": pool}}}));
    };
    for name in ["edge-1", "far-1"] {
        node(name, "p");
    }
    service(&rig, "near", "ClusterIP", &json!({"openyurt.io/topologyKeys": "openyurt.io/nodepool"}));
    let client = rig.hub.kubelet().await.unwrap();
    let shows = async |what: &str, expected: &[&str]| {
        eventually(what, SECONDS(10), async || Ok(addresses(&slices(&client).await) == expected)).await.unwrap();
    };
    shows("those of pool p", &["10.1.0.1", "10.1.0.3"]).await;
    node("edge-2", "q");
    node("edge-1", "q");
    shows("this node has gone over to pool q", &["10.1.0.1", "10.1.0.2"]).await;
    node("far-1", "q");
    node("edge-1", "p");
    shows("and is back in p, alone", &["10.1.0.1"]).await;
    node("edge-2", "p");
    node("edge-1", "q");
    shows("the one of q is another now", &["10.1.0.1", "10.1.0.3"]).await;
    let mut watch = list_and_watch(&rig, SLICES, &PROXY).await;
    for (pool, expected) in [("p", vec!["10.1.0.1"]), ("q", vec!["10.1.0.1", "10.1.0.3"])] {
        node("far-1", pool);
        assert_eq!(told(&mut watch).await, expected, "of a Node in {pool}");
    }
    stays_offline(&mut rig, client, &["10.1.0.1", "10.1.0.3"]).await;
}

/// The hub starts anew without the cloud, and filters as before.
pub(super) async fn stays_offline(rig: &mut Rig, client: Client, shown: &[&str]) -> Client {
    rig.cut(Fault::Refuse).await;
    drop(client);
    rig.restart().await;
    rig.link_is(0.0).await;
    let client = rig.hub.kubelet().await.unwrap();
    assert_eq!(addresses(&slices(&client).await), shown, "offline, after a restart");
    client
}

/// What is remembered is the cloud's: other filters make something else of it, without the cloud as well.
#[tokio::test]
async fn a_change_of_filters_holds_offline() {
    const CLOUD: &str = "/api/v1/namespaces/story/services/cloud";
    const WATCH: &str = "/api/v1/services?watch=1&resourceVersion=0&timeoutSeconds=1";
    let mut rig = rig().await;
    let client = rig.hub.kubelet().await.unwrap();
    proxy(&client, SERVICES, PROTOBUF).await;
    proxy(&client, WATCH, JSON).await;
    sees(&client, &["near", "plain"]).await;
    assert_eq!(proxy(&client, CLOUD, JSON).await.status, 404);
    rig.cut(Fault::Refuse).await;
    sees(&client, &["near", "plain"]).await;
    assert_eq!(proxy(&client, CLOUD, JSON).await.status, 404);
    drop(client);
    rig.hub.add_flag("--disabled-resource-filters=discardcloudservice");
    rig.restart().await;
    rig.link_is(0.0).await;
    let client = rig.hub.kubelet().await.unwrap();
    sees(&client, &["cloud", "near", "plain"]).await;
    assert_eq!(proxy(&client, CLOUD, JSON).await.status, 200);
}

/// What kube-proxy is shown, as a list in both encodings and as a watch's initial events.
async fn sees(client: &Client, services: &[&str]) {
    assert_eq!(names(&proxy(client, SERVICES, JSON).await.json()), services);
    let protobuf = proxy(client, SERVICES, PROTOBUF).await;
    let has = |name: &str| protobuf.body.windows(name.len()).any(|bytes| bytes == name.as_bytes());
    assert_eq!((has("cloud"), has("plain")), (services.contains(&"cloud"), true), "{}", protobuf.text());
    let events = proxy(client, "/api/v1/services?watch=1&resourceVersion=0&timeoutSeconds=1", JSON).await.text();
    let shown: Vec<&str> =
        ["cloud", "near", "plain"].into_iter().filter(|name| events.contains(&format!(r#""name":"{name}""#))).collect();
    assert_eq!(shown, services, "{events}");
}

#[tokio::test]
async fn a_pool_that_cannot_be_read_for_a_while_stays_as_it_was() {
    const POOLS: &str = "/apis/apps.openyurt.io";
    let rig = rig().await;
    let client = rig.hub.kubelet().await.unwrap();
    let pool = |members: &[&str]| {
        let object = json!({"status": {"nodes": members}});
        rig.fake.put_path(&format!("{POOLS}/v1beta2/nodepools/p"), object).unwrap();
    };
    pool(&["edge-1", "far-1"]);
    rig.fake.put("nodes", "", "edge-1", json!({"metadata": {"labels": {"apps.openyurt.io/nodepool": "p"}}}));
    service(&rig, "near", "ClusterIP", &json!({"openyurt.io/topologyKeys": "openyurt.io/nodepool"}));
    let shows = async |expected: &[&str]| Ok(addresses(&slices(&client).await) == expected);
    eventually("the pool's", SECONDS(10), async || shows(&["10.1.0.1", "10.1.0.3"]).await).await.unwrap();
    // Every watch begins anew behind a cut.
    rig.cut(Fault::Reset).await;
    rig.fake.heal().unwrap();
    rig.fake.clear_requests();
    rig.fake.fault_at(POOLS, Fault::Status(500));
    rig.link_is(1.0).await;
    let client = rig.hub.kubelet().await.unwrap();
    let shows = async |expected: &[&str]| Ok(addresses(&slices(&client).await) == expected);
    eventually("it is asked for in vain", SECONDS(30), async || {
        assert!(shows(&["10.1.0.1", "10.1.0.3"]).await?, "what was known stands");
        Ok(rig.fake.requests().iter().filter(|seen| seen.path_and_query.starts_with(POOLS)).count() >= 2)
    })
    .await
    .unwrap();
    rig.fake.heal().unwrap();
    pool(&["edge-1", "edge-2"]);
    eventually("the pool as it is now", SECONDS(30), async || shows(&["10.1.0.1", "10.1.0.2"]).await).await.unwrap();
}

/// Waits until what the hub reads for itself (yurt-hub-cfg, its Node, the Services) is remembered, and one list more: the
/// next one that is remembered is the next one that is asked for.
async fn settled(rig: &Rig) {
    if rig.hub.metric("holdfast_lists_remembered_total").await.unwrap() < 4.0 {
        proxy(&rig.hub.kubelet().await.unwrap(), SERVICES, "application/json").await;
        rig.remembered(4.0).await;
    }
}

/// Lists, so that it is remembered, and watches from there.
pub(super) async fn list_and_watch(rig: &Rig, path: &str, agent: &[(&str, &str)]) -> Streaming {
    settled(rig).await;
    let client = rig.hub.kubelet().await.unwrap();
    let lists = rig.hub.metric("holdfast_lists_remembered_total").await.unwrap();
    let list = client.request("GET", path, agent, "").await.unwrap().json();
    rig.remembered(lists + 1.0).await;
    let version = list["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    client.stream("GET", &format!("{path}?watch=1&allowWatchBookmarks=true&resourceVersion={version}"), agent, "").await.unwrap()
}

#[tokio::test]
async fn a_change_of_the_rules_is_told_as_events_to_the_watches_it_concerns_and_no_other() {
    let rig = rig().await;
    let mut mine = list_and_watch(&rig, SERVICES, &[("user-agent", "my-proxy/v1")]).await;
    let mut other = list_and_watch(&rig, SERVICES, &[("user-agent", "other/v1")]).await;
    let version = rig.fake.resource_version();
    rig.fake.put("configmaps", "kube-system", "yurt-hub-cfg", json!({"data": {"discardcloudservice": "my-proxy"}}));
    assert_eq!(next(&mut mine).await, pair("DELETED", "cloud"));
    let bookmark = tokio::time::timeout(SECONDS(10), mine.event()).await.unwrap().unwrap().unwrap();
    assert_eq!(bookmark["type"], "BOOKMARK");
    let at: u64 = bookmark["object"]["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
    assert!(at <= version, "never beyond what it was told: {at}");
    service(&rig, "plain", "ClusterIP", &json!({"x": "1"}));
    assert_eq!(next(&mut mine).await, pair("MODIFIED", "plain"), "and it goes on");
    rig.fake.delete("configmaps", "kube-system", "yurt-hub-cfg");
    assert_eq!(next(&mut mine).await, pair("ADDED", "cloud"));
    assert_eq!(next(&mut other).await, pair("MODIFIED", "plain"));
}

#[tokio::test]
async fn a_streamed_list_shows_what_may_be_seen_and_follows_the_rules_from_its_end_on() {
    let rig = rig().await;
    let client = rig.hub.kubelet().await.unwrap();
    let path = format!("{SERVICES}?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true");
    let mut watch = client.stream("GET", &path, &[("user-agent", "my-proxy/v1")], "").await.unwrap();
    let mut seen = Vec::new();
    loop {
        let event = tokio::time::timeout(SECONDS(10), watch.event()).await.unwrap().unwrap().unwrap();
        if event["type"] == "BOOKMARK" {
            break;
        }
        seen.push(event["object"]["metadata"]["name"].as_str().unwrap().to_owned());
    }
    assert_eq!(seen, ["kubernetes", "cloud", "near", "plain"]);
    rig.fake.put("configmaps", "kube-system", "yurt-hub-cfg", json!({"data": {"discardcloudservice": "my-proxy"}}));
    assert_eq!(next(&mut watch).await, pair("DELETED", "cloud"));
    let client = rig.hub.kubelet().await.unwrap();
    let mut watch = client.stream("GET", &path, &[("user-agent", "my-proxy/v1")], "").await.unwrap();
    for name in ["kubernetes", "near", "plain"] {
        assert_eq!(next(&mut watch).await, pair("ADDED", name));
    }
}

#[tokio::test]
async fn a_list_streamed_in_protobuf_is_filtered_up_to_its_end_and_behind_it() {
    let rig = rig().await;
    let client = rig.hub.kubelet().await.unwrap();
    let path = format!("{SERVICES}?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true");
    let accept = ("accept", "application/vnd.kubernetes.protobuf;stream=watch");
    let mut watch = client.stream("GET", &path, &[PROXY[0], accept], "").await.unwrap();
    let mut framer = Framer::new(Encoding::Protobuf, 1 << 20);
    let mut until = async |last: EventType| {
        let mut seen = Vec::new();
        loop {
            let chunk = tokio::time::timeout(SECONDS(10), watch.chunk()).await.expect("an event").unwrap().unwrap();
            let mut frames = Vec::new();
            framer.feed(chunk, &mut frames).unwrap();
            for frame in frames {
                let name = object::sent_meta(Encoding::Protobuf, &frame.event.object).unwrap().name;
                seen.push((frame.event.kind, name));
            }
            if seen.iter().any(|(kind, _)| *kind == last) {
                return seen;
            }
        }
    };
    let of = |kind: EventType, name: &str| (kind, name.to_owned());
    let shown = ["kubernetes", "near", "plain"].map(|name| of(EventType::Added, name));
    assert_eq!(until(EventType::Bookmark).await, [&shown[..], &[of(EventType::Bookmark, "")]].concat());
    service(&rig, "plain", "LoadBalancer", &json!({"svc.openyurt.io/discard": "true"}));
    assert_eq!(until(EventType::Deleted).await, [of(EventType::Deleted, "plain")]);
}

#[tokio::test]
async fn a_change_of_the_topology_is_told_as_events() {
    let rig = rig().await;
    let mut watch = list_and_watch(&rig, SLICES, &PROXY).await;
    slice(&rig, "other-1", "plain");
    assert_eq!(next(&mut watch).await, pair("ADDED", "other-1"));
    service(&rig, "near", "ClusterIP", &json!({}));
    let event = tokio::time::timeout(SECONDS(10), watch.event()).await.unwrap().unwrap().unwrap();
    assert_eq!((event["type"].as_str(), event["object"]["metadata"]["name"].as_str()), (Some("MODIFIED"), Some("near-1")));
    assert_eq!(addresses(&event["object"]).len(), 3);
    for (keys, left) in [("kubernetes.io/zone", 2), ("none", 3), ("kubernetes.io/hostname", 1)] {
        service(&rig, "near", "ClusterIP", &json!({"openyurt.io/topologyKeys": keys}));
        let event = loop {
            let event = tokio::time::timeout(SECONDS(10), watch.event()).await.unwrap().unwrap().unwrap();
            if event["type"] != "BOOKMARK" {
                break event;
            }
        };
        assert_eq!((event["type"].as_str(), addresses(&event["object"]).len()), (Some("MODIFIED"), left), "{keys}");
    }
    service(&rig, "plain", "ClusterIP", &json!({"openyurt.io/topologyKeys": "kubernetes.io/hostname"}));
    assert_eq!(next(&mut watch).await, pair("MODIFIED", "other-1"));
    slice(&rig, "late-1", "plain");
    let event = loop {
        let event = tokio::time::timeout(SECONDS(10), watch.event()).await.unwrap().unwrap().unwrap();
        if event["type"] != "BOOKMARK" {
            break event;
        }
    };
    assert_eq!((event["type"].as_str(), addresses(&event["object"]).len()), (Some("ADDED"), 1), "by the new facts");
}

#[tokio::test]
async fn a_watch_whose_collection_is_not_remembered_ends_with_410() {
    let rig = rig().await;
    let client = rig.hub.kubelet().await.unwrap();
    let path = format!("{SERVICES}?watch=1&labelSelector=a%3Db&resourceVersion={}", rig.fake.resource_version());
    let mut watch = client.stream("GET", &path, &[("user-agent", "my-proxy/v1")], "").await.unwrap();
    rig.fake.put("configmaps", "kube-system", "yurt-hub-cfg", json!({"data": {"discardcloudservice": "my-proxy"}}));
    let last = tokio::time::timeout(SECONDS(10), watch.event()).await.expect("an event").unwrap().unwrap();
    assert_eq!((last["type"].as_str(), last["object"]["code"].as_u64()), (Some("ERROR"), Some(410)));
    assert_eq!(next(&mut watch).await, None);
}

#[tokio::test]
async fn a_filter_for_safety_that_does_not_know_its_pool_refuses() {
    let rig = rig().await;
    rig.fake.fault_at("/api/v1/nodes", Fault::Status(500));
    let client = rig.hub.kubelet().await.unwrap();
    let refused = proxy(&client, SERVICES, "application/json").await;
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(refused.text().contains("nodeportisolation"), "{}", refused.text());
    let comfort = proxy(&client, SLICES, "application/json").await.json();
    assert_eq!(addresses(&comfort["items"][0]).len(), 3, "for comfort: passed on as it is");
    rig.fake.heal().unwrap();
    eventually("it knows", SECONDS(20), async || Ok(proxy(&client, SERVICES, "application/json").await.status == 200))
        .await
        .unwrap();
}

/// What kubelet writes of a Pod comes back as it is to see it.
#[tokio::test]
async fn the_answer_to_a_write_of_a_pod_is_filtered_too() {
    let rig = rig().await;
    let address = |value: &str| json!({"name": "KUBERNETES_SERVICE_HOST", "value": value});
    let spec = json!({"nodeName": "edge-1", "containers": [{"name": "c", "image": "i", "env": [address("10.0.0.1")]}]});
    rig.fake.put("pods", "story", "p", json!({"spec": spec}));
    let client = rig.hub.kubelet().await.unwrap();
    let host = |pod: &Value| pod["spec"]["containers"][0]["env"][0]["value"].as_str().unwrap_or_default().to_owned();
    let path = "/api/v1/namespaces/story/pods/p";
    let own = client.get(path).await.unwrap().json();
    assert_eq!(host(&own), HUB);
    let patch = json!({"metadata": {"annotations": {"a": "b"}}}).to_string();
    for part in ["", "/status"] {
        let headers = [("content-type", "application/merge-patch+json")];
        let answer = client.request("PATCH", &format!("{path}{part}"), &headers, patch.clone()).await.unwrap();
        assert_eq!((answer.status.as_u16(), host(&answer.json())), (200, HUB.to_owned()), "patch {part}");
        let whole = rig.fake.get("pods", "story", "p").unwrap().to_string();
        let answer =
            client.request("PUT", &format!("{path}{part}"), &[("content-type", "application/json")], whole).await.unwrap();
        assert_eq!((answer.status.as_u16(), host(&answer.json())), (200, HUB.to_owned()), "put {part}");
    }
    assert_eq!(host(&rig.fake.get("pods", "story", "p").unwrap()), "10.0.0.1", "the cloud keeps its own");
    let other = client.request("GET", path, &[("user-agent", "other/v1")], "").await.unwrap().json();
    assert_eq!(host(&other), "10.0.0.1");
}

/// The pool of the node, and of the Service.
#[tokio::test]
async fn a_watch_is_told_what_another_pool_hides_and_shows() {
    let rig = rig().await;
    let pool =
        |name: &str| rig.fake.put("nodes", "", "edge-1", json!({"metadata": {"labels": {"apps.openyurt.io/nodepool": name}}}));
    let members = |members: &[&str]| {
        let object = json!({"status": {"nodes": members}});
        rig.fake.put_path("/apis/apps.openyurt.io/v1beta2/nodepools/p", object).unwrap();
    };
    pool("p");
    members(&["edge-1"]);
    service(&rig, "port", "NodePort", &json!({"nodeport.openyurt.io/listen": "p"}));
    service(&rig, "near", "ClusterIP", &json!({"openyurt.io/topologyKeys": "openyurt.io/nodepool"}));
    let client = rig.hub.kubelet().await.unwrap();
    eventually("the pool is known", SECONDS(20), async || Ok(addresses(&slices(&client).await) == ["10.1.0.1"])).await.unwrap();
    let mut watch = list_and_watch(&rig, SLICES, &PROXY).await;
    let mut services = list_and_watch(&rig, SERVICES, &PROXY).await;
    members(&["edge-1", "far-1"]);
    let event = tokio::time::timeout(SECONDS(10), watch.event()).await.expect("an event").unwrap().unwrap();
    assert_eq!(
        (event["type"].as_str(), addresses(&event["object"])),
        (Some("MODIFIED"), vec!["10.1.0.1".into(), "10.1.0.3".into()])
    );
    pool("q");
    assert_eq!(next(&mut services).await, pair("DELETED", "port"));
    pool("p");
    assert_eq!(next(&mut services).await, pair("ADDED", "port"));
}

/// What a client gets that takes gzip alone, unpacked.
async fn gunzipped(client: &Client, path: &str) -> Vec<u8> {
    use std::io::Read as _;
    let insists = [PROXY[0], ("accept", "application/json"), ("accept-encoding", "gzip, identity;q=0")];
    let answer = client.request("GET", path, &insists, "").await.unwrap();
    let head = ["content-encoding", "vary", "content-length"].map(|name| answer.header(name));
    assert_eq!(head, ["gzip", "Accept-Encoding", ""], "{path}");
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(&*answer.body).read_to_end(&mut plain).unwrap();
    plain
}

#[tokio::test]
async fn who_takes_nothing_but_gzip_gets_the_same_in_gzip_online_and_offline() {
    let rig = rig().await;
    let client = rig.hub.kubelet().await.unwrap();
    settled(&rig).await;
    let paths = [SERVICES, SLICES, "/api/v1/namespaces/story/services/cloud", "/api/v1/namespaces/story/services/near"];
    for offline in [false, true] {
        for path in paths {
            let plain = proxy(&client, path, "application/json").await;
            assert_eq!((plain.header("content-encoding"), !plain.header("cache-status").is_empty()), ("", offline), "{path}");
            let unpacked = gunzipped(&client, path).await;
            assert!(plain.body == unpacked, "{path}: {}", String::from_utf8_lossy(&unpacked));
        }
        if !offline {
            rig.cut(Fault::Refuse).await;
        }
    }
    let insists = [PROXY[0], ("accept-encoding", "gzip, *;q=0")];
    let watch = client.stream("GET", &format!("{SERVICES}?watch=1&resourceVersion=0"), &insists, "").await.unwrap();
    assert_eq!((watch.status.as_u16(), watch.headers.get("content-encoding")), (200, None), "as the kube-apiserver's watches");
}
