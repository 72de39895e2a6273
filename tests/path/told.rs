//! What a client knows when it goes on with a watch, and what the hub knows of that.

use serde_json::json;
use testkit::client::Streaming;
use testkit::fake::Fault;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::filters::{PROXY, SERVICES, SLICES, addresses, list_and_watch, names, next, pair, proxy, rig, service, slice};
use super::*;

const MINE: [(&str, &str); 1] = [("user-agent", "my-proxy/v1")];

async fn list(rig: &Rig, path: &str, agent: &[(&str, &str)]) -> (serde_json::Value, String) {
    let list = rig.hub.kubelet().await.unwrap().request("GET", path, agent, "").await.unwrap().json();
    let version = list["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    (list, version)
}

async fn watch_from(rig: &Rig, path: &str, version: &str, agent: &[(&str, &str)]) -> Streaming {
    let target = format!("{path}?watch=1&allowWatchBookmarks=true&resourceVersion={version}");
    rig.hub.kubelet().await.unwrap().stream("GET", &target, agent, "").await.unwrap()
}

/// Sets what ConfigMap yurt-hub-cfg says, and waits until it holds for Services.
async fn configure(rig: &Rig, data: serde_json::Value, shown: &[&str]) {
    rig.fake.put("configmaps", "kube-system", "yurt-hub-cfg", json!({"data": data}));
    eventually("the key holds", SECONDS(10), async || {
        // Another selector, another client: nobody is told anything by this.
        let probe = rig.hub.kubelet().await?;
        let answer = probe.request("GET", &format!("{SERVICES}?labelSelector=!nothing"), &MINE, "").await?;
        Ok(names(&answer.json()) == shown)
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn what_changed_between_two_watches_makes_the_client_list_again() {
    let rig = rig().await;
    let (before, version) = list(&rig, SLICES, &PROXY).await;
    assert_eq!(addresses(&before["items"][0]).len(), 2, "the zone");
    assert_eq!(watch_from(&rig, SLICES, &version, &PROXY).await.status, 200, "nothing has changed");
    service(&rig, "near", "ClusterIP", &json!({"openyurt.io/topologyKeys": "kubernetes.io/hostname"}));
    let client = rig.hub.kubelet().await.unwrap();
    eventually("the annotation holds", SECONDS(10), async || {
        let probe = proxy(&client, &format!("{SLICES}?labelSelector=!nothing"), "application/json").await.json();
        Ok(addresses(&probe["items"][0]).len() == 1)
    })
    .await
    .unwrap();
    let refused = watch_from(&rig, SLICES, &version, &PROXY).await;
    assert_eq!(refused.status, 410, "its list has an endpoint that is hidden now, and no event will tell");
    let (_, version) = list(&rig, SLICES, &PROXY).await;
    assert_eq!(watch_from(&rig, SLICES, &version, &PROXY).await.status, 200);
}

#[tokio::test]
async fn who_was_told_before_anything_was_known_lists_again() {
    let rig = rig().await;
    rig.fake.fault_at("/api/v1/nodes", Fault::Status(500));
    let (whole, version) = list(&rig, SLICES, &PROXY).await;
    assert_eq!(addresses(&whole["items"][0]).len(), 3, "for comfort: passed on as it is");
    rig.fake.heal().unwrap();
    let client = rig.hub.kubelet().await.unwrap();
    eventually("it knows", SECONDS(20), async || Ok(proxy(&client, SERVICES, "application/json").await.status == 200))
        .await
        .unwrap();
    assert_eq!(watch_from(&rig, SLICES, &version, &PROXY).await.status, 410);
}

#[tokio::test]
async fn after_a_restart_of_the_hub_its_filters_clients_list_again_and_others_go_on() {
    let mut rig = rig().await;
    let (_, version) = list(&rig, SERVICES, &PROXY).await;
    let (_, others) = list(&rig, SERVICES, &[("user-agent", "other/v1")]).await;
    rig.restart().await;
    assert_eq!(watch_from(&rig, SERVICES, &version, &PROXY).await.status, 410);
    assert_eq!(watch_from(&rig, SERVICES, &others, &[("user-agent", "other/v1")]).await.status, 200);
}

async fn again(rig: &mut Rig) {
    rig.restart().await;
}

#[tokio::test]
async fn after_a_restart_without_filters_who_was_served_by_one_lists_again_and_once() {
    for flag in ["--disabled-resource-filters=*", "--enable-resource-filter=false", "--working-mode=cloud"] {
        let mut rig = rig().await;
        let (hidden, version) = list(&rig, SERVICES, &PROXY).await;
        assert_eq!(names(&hidden), ["near", "plain"]);
        let (_, others) = list(&rig, SERVICES, &MINE).await;
        rig.hub.add_flag(flag);
        if flag.contains("mode") {
            // Where another filter would still serve it, it lists in any case.
            rig.hub.add_flag("--disabled-resource-filters=nodeportisolation");
        }
        again(&mut rig).await;
        assert_eq!(watch_from(&rig, SERVICES, &others, &MINE).await.status, 200, "{flag}: nothing has changed for it");
        assert_eq!(watch_from(&rig, SERVICES, &version, &PROXY).await.status, 410, "{flag}");
        again(&mut rig).await;
        assert_eq!(watch_from(&rig, SERVICES, &version, &PROXY).await.status, 410, "{flag}: it has still to list");
        let (all, version) = list(&rig, SERVICES, &PROXY).await;
        assert_eq!(names(&all), ["cloud", "near", "plain"], "{flag}");
        again(&mut rig).await;
        assert_eq!(watch_from(&rig, SERVICES, &version, &PROXY).await.status, 200, "{flag}: it has listed");
    }
}

#[tokio::test]
async fn who_is_served_no_more_since_the_hub_was_away_lists_again() {
    let mut rig = rig().await;
    configure(&rig, json!({"discardcloudservice": "my-proxy"}), &["near", "plain"]).await;
    let (_, version) = list(&rig, SERVICES, &MINE).await;
    rig.hub.signal("TERM").unwrap();
    rig.hub.ended(SECONDS(10)).await.unwrap();
    rig.fake.put("configmaps", "kube-system", "yurt-hub-cfg", json!({"data": {}}));
    rig.hub.run().await.unwrap();
    configure(&rig, json!({}), &["cloud", "near", "plain"]).await;
    assert_eq!(watch_from(&rig, SERVICES, &version, &MINE).await.status, 410);
}

#[tokio::test]
async fn who_is_served_no_more_lists_what_was_hidden() {
    let rig = rig().await;
    configure(&rig, json!({"discardcloudservice": "my-proxy"}), &["near", "plain"]).await;
    let (hidden, version) = list(&rig, SERVICES, &MINE).await;
    assert_eq!(names(&hidden), ["near", "plain"]);
    configure(&rig, json!({}), &["cloud", "near", "plain"]).await;
    assert_eq!(watch_from(&rig, SERVICES, &version, &MINE).await.status, 410, "nothing would ever show it the third");
}

/// Each page is told under what holds at its time: what its client has is none of it.
#[tokio::test]
async fn a_list_whose_pages_differ_is_no_place_to_go_on_from() {
    let rig = rig().await;
    let (hiding, hidden) = (json!({"discardcloudservice": "my-proxy"}), &["near", "plain"][..]);
    let (none, all) = (json!({}), &["cloud", "near", "plain"][..]);
    for ways in [[(&none, all), (&hiding, hidden), (&hiding, hidden)], [(&none, all), (&hiding, hidden), (&none, all)]] {
        let mut go_on = String::new();
        let mut version = String::new();
        for (data, shown) in ways {
            configure(&rig, data.clone(), shown).await;
            let (page, told) = list(&rig, &format!("{SERVICES}?limit=1&continue={go_on}"), &MINE).await;
            go_on = page["metadata"]["continue"].as_str().unwrap_or_default().to_owned();
            version = told;
        }
        assert_eq!(
            watch_from(&rig, SERVICES, &version, &MINE).await.status,
            410,
            "what it was shown first is hidden now, or was"
        );
        let (_, version) = list(&rig, SERVICES, &MINE).await;
        assert_eq!(watch_from(&rig, SERVICES, &version, &MINE).await.status, 200);
    }
}

#[tokio::test]
async fn who_was_led_over_a_change_goes_on_from_there() {
    let rig = rig().await;
    let mut open = list_and_watch(&rig, SERVICES, &MINE).await;
    rig.fake.put("configmaps", "kube-system", "yurt-hub-cfg", json!({"data": {"discardcloudservice": "my-proxy"}}));
    assert_eq!(next(&mut open).await, pair("DELETED", "cloud"));
    let bookmark = tokio::time::timeout(SECONDS(10), open.event()).await.unwrap().unwrap().unwrap();
    let version = bookmark["object"]["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    drop(open);
    assert_eq!(watch_from(&rig, SERVICES, &version, &MINE).await.status, 200);
}

#[tokio::test]
async fn a_watch_is_led_over_a_change_by_what_somebody_else_has_read_of_more() {
    let rig = rig().await;
    let _wider = list_and_watch(&rig, SERVICES, &[("user-agent", "other/v1")]).await;
    let path = "/api/v1/namespaces/story/services?watch=1&resourceVersion=";
    let client = rig.hub.kubelet().await.unwrap();
    let mut open = client.stream("GET", &format!("{path}{}", rig.fake.resource_version()), &MINE, "").await.unwrap();
    for (data, told) in [(json!({"discardcloudservice": "my-proxy"}), "DELETED"), (json!({}), "ADDED")] {
        service(&rig, "plain", "ClusterIP", &json!({"before": told}));
        assert_eq!(next(&mut open).await, pair("MODIFIED", "plain"));
        rig.fake.put("configmaps", "kube-system", "yurt-hub-cfg", json!({"data": data}));
        assert_eq!(next(&mut open).await, pair(told, "cloud"));
    }
}

/// What the node remembers may be older than what the client has: then it says nothing of what that was shown.
#[tokio::test]
async fn what_is_remembered_from_before_is_not_what_the_client_was_shown() {
    let rig = rig().await;
    let all = json!({"discardcloudservice": "my-proxy"});
    configure(&rig, all, &["near", "plain"]).await;
    let lists = rig.hub.metric("holdfast_lists_remembered_total").await.unwrap();
    list(&rig, SERVICES, &MINE).await;
    rig.remembered(lists + 1.0).await;
    // From now on nothing of it is remembered; what was stays.
    configure(&rig, json!({"discardcloudservice": "my-proxy", "cache_agents": "nobody"}), &["near", "plain"]).await;
    service(&rig, "cloud", "ClusterIP", &json!({}));
    let (shown, version) = list(&rig, SERVICES, &MINE).await;
    assert_eq!(names(&shown), ["cloud", "near", "plain"]);
    let mut watch = watch_from(&rig, SERVICES, &version, &MINE).await;
    service(&rig, "cloud", "LoadBalancer", &json!({"svc.openyurt.io/discard": "true"}));
    assert_eq!(next(&mut watch).await, pair("DELETED", "cloud"));
}

/// No client may go round the filters by its words.
#[tokio::test]
async fn an_upgrade_does_not_go_round_the_filters() {
    let rig = rig().await;
    let client = rig.hub.kubelet().await.unwrap();
    let upgrade = [PROXY[0], ("connection", "Upgrade"), ("upgrade", "websocket")];
    let answer = client.request("GET", SERVICES, &upgrade, "").await.unwrap();
    assert_eq!((answer.status.as_u16(), names(&answer.json())), (200, vec!["near".to_owned(), "plain".to_owned()]));
}

/// Nor while a filter does not know yet what it goes by, and leaves the answer as it is.
#[tokio::test]
async fn an_upgrade_does_not_go_round_a_filter_that_waits() {
    let rig = rig().await;
    rig.fake.fault_at("/api/v1/nodes", Fault::Status(500));
    let client = rig.hub.kubelet().await.unwrap();
    let upgrade = [("user-agent", "coredns/v1"), ("connection", "Upgrade"), ("upgrade", "websocket")];
    let path = format!("{SLICES}?watch=1");
    assert_eq!(client.stream("GET", &path, &upgrade, "").await.unwrap().status, 200);
    let asked = rig.fake.requests().into_iter().find(|request| request.path_and_query == path).unwrap();
    assert_eq!(asked.header("upgrade"), "", "servicetopology will know in a moment");
}

#[tokio::test]
async fn an_upgraded_watch_ends_when_something_comes_to_serve_it() {
    for (resource, data) in [
        ("/api/v1/services", json!({"discardcloudservice": "my-proxy"})),
        ("/api/v1/secrets", json!({"rules": "- {name: x, match: {resources: [secrets]}, drop: true}"})),
    ] {
        let rig = rig().await;
        let client = rig.hub.kubelet().await.unwrap();
        let mut watch = client.upgrade("GET", &format!("{resource}?watch=1"), "websocket", &MINE).await.unwrap();
        watch.write_all(b"open").await.unwrap();
        watch.read_exact(&mut [0; 4]).await.unwrap();
        rig.fake.put("configmaps", "kube-system", "yurt-hub-cfg", json!({"data": data}));
        let end = tokio::time::timeout(SECONDS(10), watch.read(&mut [0; 1])).await.expect("it ends");
        assert!(!matches!(end, Ok(1..)), "{resource}: {end:?}");
    }
}

#[tokio::test]
async fn a_compressed_answer_is_filtered_too() {
    let rig = Rig::with(FakeOptions { gzip: true, ..FakeOptions::default() }, &[]).await;
    rig.fake.put("nodes", "", "edge-1", json!({"metadata": {}}));
    let long = "x".repeat(1 << 20);
    service(&rig, "cloud", "LoadBalancer", &json!({"svc.openyurt.io/discard": "true"}));
    service(&rig, "plain", "ClusterIP", &json!({"long": long}));
    let client = rig.hub.kubelet().await.unwrap();
    let packed = [PROXY[0], ("accept-encoding", "gzip")];
    let seen = rig.fake.requests().len();
    for path in [SERVICES, "/api/v1/namespaces/story/services"] {
        let answer = client.request("GET", path, &packed, "").await.unwrap();
        assert_eq!((answer.status.as_u16(), names(&answer.json())), (200, vec!["plain".to_owned()]));
        let list = answer.json();
        let last = list["items"].as_array().unwrap().last().unwrap();
        assert_eq!(last["metadata"]["annotations"]["long"].as_str().unwrap().len(), long.len());
    }
    let one = client.request("GET", "/api/v1/namespaces/story/services/plain", &packed, "").await.unwrap();
    assert_eq!(one.json()["metadata"]["annotations"]["long"].as_str().unwrap().len(), long.len());
    let protobuf = [packed[0], packed[1], ("accept", "application/vnd.kubernetes.protobuf")];
    let list = client.request("GET", SERVICES, &protobuf, "").await.unwrap();
    let has = |text: &[u8]| list.body.windows(text.len()).any(|window| window == text);
    assert_eq!((list.header("content-type"), list.header("content-encoding")), (protobuf[2].1, ""));
    assert!(has(b"plain") && has(long.as_bytes()) && !has(b"cloud"), "in protobuf too");
    let hidden = client.request("GET", "/api/v1/namespaces/story/services/cloud", &protobuf, "").await.unwrap();
    assert_eq!(hidden.status, 404, "{}", hidden.text());
    let asked = rig.fake.requests().split_off(seen);
    let in_protobuf = |request: &&testkit::fake::Recorded| request.header("accept") == protobuf[2].1;
    assert_eq!(asked.iter().filter(in_protobuf).filter(|request| request.header("accept-encoding") == "gzip").count(), 2);
    assert!(asked.iter().any(|request| request.header("accept-encoding") == "gzip"), "it came compressed");
}

/// yurthub's two flags.
#[tokio::test]
async fn who_names_the_members_of_a_pool_may_be_chosen() {
    for (flag, near) in [
        ("--enable-node-pool", &["10.1.0.1"][..]),
        ("--enable-pool-service-topology", &["10.1.0.1", "10.1.0.2"]),
        ("--enable-node-pool=false", &["10.1.0.1", "10.1.0.2", "10.1.0.3"]),
    ] {
        let rig = Rig::with(FakeOptions::default(), &[flag, "--nodepool-name=p"]).await;
        rig.fake.put("nodes", "", "edge-1", json!({"metadata": {"labels": {"topology.kubernetes.io/zone": "here"}}}));
        let put = |path: &str, object| rig.fake.put_path(&format!("/apis/apps.openyurt.io/{path}"), object).unwrap();
        put("v1beta2/nodepools/p", json!({"status": {"nodes": ["edge-1"]}}));
        let labels = json!({"openyurt.io/pool-name": "p"});
        put(
            "v1alpha1/nodebuckets/p-1",
            json!({"metadata": {"labels": labels}, "nodes": [{"name": "edge-1"}, {"name": "edge-2"}]}),
        );
        service(&rig, "near", "ClusterIP", &json!({"openyurt.io/topologyKeys": "openyurt.io/nodepool"}));
        service(&rig, "own", "ClusterIP", &json!({"openyurt.io/topologyKeys": "kubernetes.io/hostname"}));
        slice(&rig, "near-1", "near");
        slice(&rig, "own-1", "own");
        let (list, _) = list(&rig, SLICES, &PROXY).await;
        let items = list["items"].as_array().unwrap();
        let of = |name: &str| addresses(items.iter().find(|item| item["metadata"]["name"] == name).unwrap());
        assert_eq!(of("near-1"), near, "{flag}");
        assert_eq!(of("own-1"), ["10.1.0.1"], "{flag}");
    }
}

#[tokio::test]
async fn a_pool_may_be_made_of_buckets_and_is_another_one_for_a_node_that_moves() {
    let rig = rig().await;
    let bucket = |name: &str, pool: &str, members: &[&str]| {
        let nodes: Vec<_> = members.iter().map(|name| json!({"name": name})).collect();
        let object = json!({"metadata": {"labels": {"openyurt.io/pool-name": pool}}, "nodes": nodes});
        rig.fake.put_path(&format!("/apis/apps.openyurt.io/v1alpha1/nodebuckets/{name}"), object).unwrap();
    };
    let pool =
        |name: &str| rig.fake.put("nodes", "", "edge-1", json!({"metadata": {"labels": {"apps.openyurt.io/nodepool": name}}}));
    bucket("p-1", "p", &["edge-1"]);
    bucket("q-1", "q", &["edge-1", "edge-2"]);
    pool("p");
    service(&rig, "near", "ClusterIP", &json!({"openyurt.io/topologyKeys": "openyurt.io/nodepool"}));
    let client = rig.hub.kubelet().await.unwrap();
    let shows = async |what: &str, expected: &[&str]| {
        eventually(what, SECONDS(20), async || {
            Ok(addresses(&proxy(&client, SLICES, "application/json").await.json()["items"][0]) == expected)
        })
        .await
        .unwrap();
    };
    shows("one bucket", &["10.1.0.1"]).await;
    let mut watch = list_and_watch(&rig, SLICES, &PROXY).await;
    bucket("p-2", "p", &["far-1"]);
    let event = tokio::time::timeout(SECONDS(20), watch.event()).await.expect("a change of a bucket is told").unwrap().unwrap();
    assert_eq!((event["type"].as_str(), addresses(&event["object"]).len()), (Some("MODIFIED"), 2));
    shows("two buckets", &["10.1.0.1", "10.1.0.3"]).await;
    pool("q");
    shows("the other pool", &["10.1.0.1", "10.1.0.2"]).await;
}

/// OpenYurt writes a pool's nodes a little later than the pool.
#[tokio::test]
async fn a_pool_that_names_no_nodes_yet_is_this_node_alone() {
    let rig = Rig::with(FakeOptions::default(), &["--nodepool-name=p"]).await;
    rig.fake.put("nodes", "", "edge-1", json!({"metadata": {"labels": {"topology.kubernetes.io/zone": "here"}}}));
    rig.fake.put_path("/apis/apps.openyurt.io/v1beta2/nodepools/p", json!({"status": {"nodes": []}})).unwrap();
    service(&rig, "near", "ClusterIP", &json!({"openyurt.io/topologyKeys": "openyurt.io/nodepool"}));
    slice(&rig, "near-1", "near");
    let (list, _) = list(&rig, SLICES, &PROXY).await;
    assert_eq!(addresses(&list["items"][0]), ["10.1.0.1"], "not those of the zone");
}
