//! What filters make of single requests: of HEAD, of what a client accepts, of a node in no pool, and each of what only
//! some components ask for.

use serde_json::{Value, json};
use testkit::client::Streaming;
use testkit::fake::Fault;

use super::filters::{HUB, PROXY, SERVICES, SLICES, addresses, names, proxy, rig, service, slices, stays_offline};
use super::*;

const JSON: &str = "application/json";

#[tokio::test]
async fn head_tells_no_more_than_get_online_and_offline() {
    let rig = rig().await;
    let kubelet = rig.hub.kubelet().await.unwrap();
    let http2 = rig.pod().await;
    rig.fake.allow("system:serviceaccount:story:sample", "get", "services", "story", "*");
    let path = |name: &str| format!("/api/v1/namespaces/story/services/{name}");
    for offline in [false, true] {
        for client in [&kubelet, &http2] {
            for name in ["cloud", "plain", "none"] {
                let got = proxy(client, &path(name), JSON).await;
                let head = client.request("HEAD", &path(name), &PROXY, "").await.unwrap();
                assert_eq!((head.status, head.text()), (got.status, String::new()), "{name}, offline: {offline}");
                assert_eq!(head.header("content-length"), got.body.len().to_string(), "{name}, offline: {offline}");
            }
            let got = proxy(client, &path("cloud"), JSON).await;
            assert_eq!(got.status, 404);
        }
        if !offline {
            rig.cut(Fault::Refuse).await;
        }
    }
}

/// Which of the representations that a client takes it gets is the hub's to say where a filter reads some of them only.
#[tokio::test]
async fn who_takes_what_filters_read_and_other_things_gets_what_they_read() {
    let rig = rig().await;
    let client = rig.hub.kubelet().await.unwrap();
    for accept in ["application/cbor, application/json", "application/yaml,application/cbor,*/*;q=0.1"] {
        let list = proxy(&client, SERVICES, accept).await;
        assert_eq!((list.status.as_u16(), list.header("content-type")), (200, JSON), "{accept}: {}", list.text());
        assert_eq!(names(&list.json()), ["near", "plain"], "{accept}");
    }
    assert_eq!(proxy(&client, SERVICES, "application/cbor").await.status, 406, "nothing else is taken");
    let others =
        client.request("GET", SERVICES, &[("user-agent", "other/v1"), ("accept", "application/cbor, */*")], "").await.unwrap();
    assert_eq!(others.header("content-type"), "application/cbor", "whom no filter serves");
}

/// The zone stands for pools only where the API has none.
#[tokio::test]
async fn a_node_in_no_pool_is_alone_where_there_are_pools_and_goes_by_its_zone_where_there_are_none() {
    for (pools, shown) in [(true, &["10.1.0.1"][..]), (false, &["10.1.0.1", "10.1.0.2"])] {
        let mut rig = rig().await;
        if pools {
            rig.fake.put_path("/apis/apps.openyurt.io/v1beta2/nodepools/p", json!({"status": {"nodes": ["far-1"]}})).unwrap();
        }
        let client = rig.hub.kubelet().await.unwrap();
        eventually("it knows", SECONDS(10), async || Ok(addresses(&slices(&client).await) == shown)).await.unwrap();
        stays_offline(&mut rig, client, shown).await;
    }
}

/// The object that the next event has.
async fn told(watch: &mut Streaming) -> Value {
    tokio::time::timeout(SECONDS(10), watch.event()).await.expect("an event").unwrap().unwrap()["object"].take()
}

/// An object by its own path, in the list that it stands in, and in the first event of a watch of all of them.
async fn in_every_read(rig: &Rig, (all, one): (&str, &str), agent: (&str, &str)) -> [Value; 3] {
    let [client, other] = [rig.hub.kubelet().await.unwrap(), rig.hub.kubelet().await.unwrap()];
    let get = async |path: &str| {
        let answer = client.request("GET", path, &[agent, ("accept", JSON)], "").await.unwrap();
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json()
    };
    let mut watch = other.stream("GET", &format!("{all}?watch=1&resourceVersion=0"), &[agent], "").await.unwrap();
    [get(one).await, get(all).await["items"][0].take(), told(&mut watch).await]
}

#[tokio::test]
async fn kubelet_mounts_a_kube_proxy_config_that_leads_to_the_hub() {
    const MAPS: &str = "/api/v1/namespaces/kube-system/configmaps";
    const CONFIG: &str = "clientConnection:\n  kubeconfig: /var/lib/kube-proxy/kubeconfig.conf\nmode: nftables\n";
    let rig = Rig::start().await;
    let put = |namespace: &str, text: &str| {
        rig.fake.put("configmaps", namespace, "kube-proxy", json!({"data": {"config.conf": text, "kubeconfig.conf": CONFIG}}));
    };
    put("kube-system", CONFIG);
    put("story", CONFIG);
    let client = rig.hub.kubelet().await.unwrap();
    let one = format!("{MAPS}/kube-proxy");
    let changed = CONFIG.replace("kubeconfig:", "#kubeconfig:");
    for offline in [false, true] {
        for map in in_every_read(&rig, (MAPS, &one), KUBELET).await {
            assert_eq!(map["data"], json!({"config.conf": changed, "kubeconfig.conf": CONFIG}), "offline: {offline}");
        }
        let of_others = in_every_read(&rig, (MAPS, &one), ("user-agent", "other/v1")).await;
        assert!(of_others.iter().all(|map| map["data"]["config.conf"] == CONFIG), "kubelet alone is served");
        let elsewhere = client.get(&format!("{CONFIGMAPS}/kube-proxy")).await.unwrap().json();
        assert_eq!(elsewhere["data"]["config.conf"], CONFIG, "of another namespace");
        if !offline {
            rig.cut(Fault::Refuse).await;
        }
    }
    rig.restore().await;
    let version = client.get(MAPS).await.unwrap().json()["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let mut watch = client.stream("GET", &format!("{MAPS}?watch=1&resourceVersion={version}"), &[], "").await.unwrap();
    put("kube-system", &CONFIG.replace("nftables", "ipvs"));
    assert_eq!(told(&mut watch).await["data"]["config.conf"], changed.replace("nftables", "ipvs"));
}

const KUBELET: (&str, &str) = ("user-agent", "kubelet/v1.34.4 (linux/amd64)");

/// The same in the three reads of an object, with the link and without.
async fn in_every_read_alike(
    rig: &Rig,
    paths: (&str, &str),
    agent: (&str, &str),
    shown: impl Fn(&Value) -> Value,
    expected: Value,
) {
    for offline in [false, true] {
        for object in in_every_read(rig, paths, agent).await {
            assert_eq!(shown(&object), expected, "{paths:?}, offline: {offline}");
        }
        if !offline {
            rig.cut(Fault::Refuse).await;
        }
    }
    rig.restore().await;
}

#[tokio::test]
async fn the_hub_stands_for_the_kube_apiserver_in_every_read() {
    for (hub, family) in [(HUB, "IPv4"), ("::1", "IPv6")] {
        let mut rig = Rig::with(FakeOptions::default(), &[&format!("--dummy-if-ip={hub}")]).await;
        rig.hub.secure.set_ip(hub.parse().unwrap());
        assert_eq!(rig.pod().await.get(CONFIGMAPS).await.unwrap().status, 200, "a Pod's door at {hub}");
        let port = rig.hub.secure.port();
        let slice = json!({
            "metadata": {"labels": {"kubernetes.io/service-name": "kubernetes"}}, "addressType": family,
            "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": true}}], "ports": [{"name": "https", "port": 6443}],
        });
        rig.fake.put("discovery.k8s.io/v1/endpointslices", "default", "kubernetes", slice);
        let at = |resource: &str| format!("/{resource}/kubernetes").replace("/v1/", "/v1/namespaces/default/");
        let service = |service: &Value| {
            json!([service["spec"]["clusterIP"], service["spec"]["clusterIPs"], service["spec"]["ports"][0]["port"]])
        };
        let expected = json!([hub, [hub], port]);
        in_every_read_alike(&rig, (SERVICES, &at("api/v1/services")), KUBELET, service, expected).await;
        let slice = |slice: &Value| json!([slice["endpoints"][0]["addresses"], slice["ports"][0]["port"]]);
        let one = at("apis/discovery.k8s.io/v1/endpointslices");
        in_every_read_alike(&rig, (SLICES, &one), PROXY[0], slice, json!([[hub], port])).await;
    }
}

#[tokio::test]
async fn a_pods_own_environment_leads_to_the_hub_in_every_read() {
    let rig = Rig::start().await;
    let container = |name: &str| {
        let env = json!([{"name": "KUBERNETES_SERVICE_HOST", "value": "10.0.0.1"}, {"name": "KUBERNETES_SERVICE_PORT", "value": "6443"}, {"name": "OTHER", "value": "kept"}]);
        json!([{"name": name, "image": "i", "env": env}])
    };
    let lists = ["initContainers", "containers", "ephemeralContainers"];
    let spec: serde_json::Map<String, Value> = lists.iter().map(|list| ((*list).to_owned(), container(list))).collect();
    rig.fake.put("pods", "story", "p", json!({"spec": spec}));
    let values = |pod: &Value| {
        let of = |list: &&str| pod["spec"][*list][0]["env"].as_array().unwrap().iter().map(|set| set["value"].clone()).collect();
        lists.iter().map(of).collect::<Vec<Vec<Value>>>().into()
    };
    let hubs = json!([HUB, rig.hub.secure.port().to_string(), "kept"]);
    let paths = ("/api/v1/pods", "/api/v1/namespaces/story/pods/p");
    in_every_read_alike(&rig, paths, KUBELET, values, json!([hubs, hubs, hubs])).await;
}

#[tokio::test]
async fn a_node_port_of_another_pool_is_in_no_read() {
    let rig = Rig::with(FakeOptions::default(), &["--nodepool-name=p"]).await;
    rig.fake.put("nodes", "", "edge-1", json!({"metadata": {}}));
    let client = rig.hub.kubelet().await.unwrap();
    for (name, listen) in [("elsewhere", "q,-p"), ("everywhere", "*"), ("here", "p")] {
        service(&rig, name, "NodePort", &json!({"nodeport.openyurt.io/listen": listen}));
        proxy(&client, &format!("/api/v1/namespaces/story/services/{name}"), JSON).await;
    }
    for offline in [false, true] {
        assert_eq!(names(&proxy(&client, SERVICES, JSON).await.json()), ["everywhere", "here"], "offline: {offline}");
        let one = proxy(&client, "/api/v1/namespaces/story/services/elsewhere", JSON).await;
        assert_eq!(one.status, 404, "offline: {offline}");
        let events = proxy(&client, &format!("{SERVICES}?watch=1&resourceVersion=0&timeoutSeconds=1"), JSON).await.text();
        let told = ["elsewhere", "everywhere", "here"].map(|name| events.contains(&format!(r#""name":"{name}""#)));
        assert_eq!(told, [false, true, true], "offline: {offline}: {events}");
        if !offline {
            rig.cut(Fault::Refuse).await;
        }
    }
}

const ENDPOINTS: &str = "/api/v1/namespaces/story/endpoints";

/// Of Service `near`, on three nodes and two of them not ready.
fn put_endpoints(rig: &Rig, mark: &str) {
    let on = |node: &str, number: u8| json!({"ip": format!("10.1.0.{number}"), "nodeName": node});
    let ready = [on("edge-1", 1), on("edge-2", 2), on("far-1", 3)];
    let subset = json!({"addresses": ready, "notReadyAddresses": [on("edge-2", 4), on("far-1", 5)], "ports": [{"port": 80}]});
    rig.fake.put("endpoints", "story", "near", json!({"metadata": {"labels": {"mark": mark}}, "subsets": [subset]}));
}

/// Where a subset's endpoints are, ready or not.
fn nodes(endpoints: &Value) -> [Vec<&str>; 2] {
    ["addresses", "notReadyAddresses"].map(|list| {
        let endpoints = endpoints["subsets"][0][list].as_array().map(Vec::as_slice).unwrap_or_default();
        endpoints.iter().map(|endpoint| endpoint["nodeName"].as_str().unwrap()).collect()
    })
}

#[tokio::test]
async fn endpoints_of_core_v1_stay_near_as_slices_do() {
    let rig = rig().await;
    rig.fake.put_path("/apis/apps.openyurt.io/v1beta2/nodepools/p", json!({"status": {"nodes": ["edge-1", "far-1"]}})).unwrap();
    rig.fake.put("nodes", "", "edge-1", json!({"metadata": {"labels": {"apps.openyurt.io/nodepool": "p"}}}));
    put_endpoints(&rig, "1");
    let client = rig.hub.kubelet().await.unwrap();
    let one = format!("{ENDPOINTS}/near");
    for (keys, expected) in [
        ("openyurt.io/nodepool", [vec!["edge-1", "far-1"], vec!["far-1"]]),
        ("kubernetes.io/hostname", [vec!["edge-1"], vec![]]),
        ("other", [vec!["edge-1", "edge-2", "far-1"], vec!["edge-2", "far-1"]]),
        ("openyurt.io/nodepool", [vec!["edge-1", "far-1"], vec!["far-1"]]),
    ] {
        service(&rig, "near", "ClusterIP", &json!({"openyurt.io/topologyKeys": keys}));
        eventually("the annotation holds", SECONDS(10), async || Ok(nodes(&proxy(&client, &one, JSON).await.json()) == expected))
            .await
            .unwrap();
        for endpoints in in_every_read(&rig, (ENDPOINTS, &one), PROXY[0]).await {
            assert_eq!(nodes(&endpoints), expected, "{keys}");
        }
    }
    let list = proxy(&client, ENDPOINTS, JSON).await.json();
    let version = list["metadata"]["resourceVersion"].as_str().unwrap();
    let path = format!("{ENDPOINTS}?watch=1&resourceVersion={version}");
    let mut watch = rig.hub.kubelet().await.unwrap().stream("GET", &path, &PROXY, "").await.unwrap();
    put_endpoints(&rig, "2");
    assert_eq!(nodes(&told(&mut watch).await), [vec!["edge-1", "far-1"], vec!["far-1"]]);
    rig.cut(Fault::Refuse).await;
    for endpoints in in_every_read(&rig, (ENDPOINTS, &one), PROXY[0]).await {
        assert_eq!(nodes(&endpoints), [vec!["edge-1", "far-1"], vec!["far-1"]], "offline");
    }
}

/// They name no zones: those of their nodes count, which the hub asks for as soon as somebody asks for Endpoints.
#[tokio::test]
async fn endpoints_of_core_v1_go_by_the_zones_of_their_nodes_where_there_are_no_pools() {
    const ZONE: &str = "topology.kubernetes.io%2Fzone";
    let mut rig = rig().await;
    let node = |name: &str, zone: &str| {
        rig.fake.put("nodes", "", name, json!({"metadata": {"labels": {"topology.kubernetes.io/zone": zone}}}));
    };
    node("edge-2", "here");
    node("far-1", "there");
    put_endpoints(&rig, "1");
    let client = rig.hub.kubelet().await.unwrap();
    assert_eq!(addresses(&slices(&client).await), ["10.1.0.1", "10.1.0.2"]);
    let asked = || rig.fake.requests().iter().any(|request| request.path_and_query.contains(ZONE));
    assert!(!asked(), "slices name their zones");
    let one = format!("{ENDPOINTS}/near");
    let near = [vec!["edge-1", "edge-2"], vec!["edge-2"]];
    assert_eq!(nodes(&proxy(&client, &one, JSON).await.json()), near);
    assert!(asked());
    let list = proxy(&client, ENDPOINTS, JSON).await.json();
    let version = list["metadata"]["resourceVersion"].as_str().unwrap();
    let path = format!("{ENDPOINTS}?watch=1&resourceVersion={version}");
    let mut watch = rig.hub.kubelet().await.unwrap().stream("GET", &path, &PROXY, "").await.unwrap();
    node("far-1", "here");
    let all = [vec!["edge-1", "edge-2", "far-1"], vec!["edge-2", "far-1"]];
    assert_eq!(nodes(&told(&mut watch).await), all, "a Node that comes into the zone brings its endpoints");
    node("far-1", "there");
    assert_eq!(nodes(&told(&mut watch).await), near);
    drop((client, watch));
    rig.cut(Fault::Refuse).await;
    rig.restart().await;
    rig.link_is(0.0).await;
    assert_eq!(nodes(&proxy(&rig.hub.kubelet().await.unwrap(), &one, JSON).await.json()), near, "offline, after a restart");
}
