//! Objects from the cloud that a filter cannot read: refused where it is for safety, as they are where it is for comfort.

use serde_json::{Value, json};
use testkit::client::Streaming;
use testkit::fake::{Damage, Fault};

use super::filters::{PROXY, SERVICES, SLICES, addresses, proxy, rig, service, slice};
use super::*;

const JSON: &str = "application/json";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const SERVICE: &str = "/api/v1/namespaces/story/services/damaged";
const SLICE: &str = "/apis/discovery.k8s.io/v1/namespaces/story/endpointslices/damaged";

/// No UTF-8 wherever there is a tilde.
const NO_TEXT: Damage = |bytes| bytes.iter_mut().filter(|byte| **byte == b'~').for_each(|byte| *byte = 0xff);
/// A message that ends within its last field.
const CUT: Damage = |bytes| bytes.truncate(bytes.len() - 2);
/// It says what it should not, in good JSON.
const NOTHING: Damage = |_| {};

async fn errors(rig: &Rig, filter: &str) -> f64 {
    rig.hub.metric(&format!("holdfast_filter_errors_total{{filter=\"{filter}\"}}")).await.unwrap()
}

/// A watch from now on.
async fn watch(rig: &Rig, path: &str, agent: &str, accept: &str) -> Streaming {
    let client = rig.hub.kubelet().await.unwrap();
    // Whom a filter serves goes on from what it was told.
    let headers = [("user-agent", agent), ("accept", accept)];
    let listed = client.request("GET", path, &headers, "").await.unwrap();
    assert_eq!(listed.status, 200, "{}", listed.text());
    let version = rig.fake.resource_version();
    let watch = client.stream("GET", &format!("{path}?watch=1&resourceVersion={version}"), &headers, "").await.unwrap();
    assert_eq!(watch.status, 200);
    watch
}

/// What comes until `last` is in it; an error where the watch is broken off.
async fn until(watch: &mut Streaming, last: &str) -> anyhow::Result<Vec<u8>> {
    let mut came = Vec::new();
    while !has(&came, last) {
        let chunk = tokio::time::timeout(SECONDS(10), watch.chunk()).await.expect("an event, or an end")?;
        came.extend(chunk.ok_or_else(|| anyhow::anyhow!("a proper end"))?);
    }
    Ok(came)
}

fn has(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[tokio::test]
async fn a_damaged_service_ends_the_answer_of_whom_a_filter_for_safety_serves() {
    let rig = rig().await;
    let client = rig.hub.kubelet().await.unwrap();
    let discard = |value: Value| json!({"svc.openyurt.io/discard": value});
    for (accept, annotations, damage) in [
        (JSON, discard(json!(7)), NOTHING),
        (JSON, json!("none"), NOTHING),
        (JSON, discard(json!("~")), NO_TEXT),
        (PROTOBUF, discard(json!("~")), NO_TEXT),
        (PROTOBUF, json!({}), CUT),
    ] {
        let case = format!("{accept} {annotations}");
        let mut open = watch(&rig, SERVICES, PROXY[0].1, accept).await;
        let object = json!({"metadata": {"annotations": annotations}, "spec": {"type": "LoadBalancer"}});
        let mut counted = errors(&rig, "discardcloudservice").await;
        let mut counts = async || {
            let now = errors(&rig, "discardcloudservice").await;
            now > std::mem::replace(&mut counted, now)
        };
        rig.fake.put_damaged("services", ("story", "damaged"), object, damage);
        service(&rig, "behind", "ClusterIP", &json!({}));
        let ended = until(&mut open, "behind").await.expect_err(&case);
        assert_ne!(ended.to_string(), "a proper end", "{case}");
        assert!(counts().await, "{case}: WATCH");
        // Its connection ends with it.
        let lists = rig.hub.kubelet().await.unwrap();
        let list = lists.request("GET", SERVICES, &[PROXY[0], ("accept", accept)], "").await;
        assert!(list.is_err(), "{case}: {}", list.unwrap().text());
        assert!(counts().await, "{case}: LIST");
        let one = proxy(&client, SERVICE, accept).await;
        assert_eq!(one.status, 502, "{case}: {}", one.text());
        assert!(counts().await, "{case}: GET");
        let other = client.request("GET", SERVICES, &[("user-agent", "other/v1"), ("accept", accept)], "").await.unwrap();
        assert!(has(&other.body, "damaged") && has(&other.body, "behind"), "{case}: whom none serves gets it as it is");
        for name in ["damaged", "behind"] {
            rig.fake.delete("services", "story", name);
        }
        assert_eq!(proxy(&client, SERVICES, accept).await.status, 200, "{case}: it is over with what has caused it");
    }
}

#[tokio::test]
async fn a_damaged_slice_passes_a_filter_for_comfort_as_it_is_and_the_others_are_filtered() {
    let rig = rig().await;
    let client = rig.hub.kubelet().await.unwrap();
    for (accept, service, endpoints, damage) in [
        (JSON, json!(7), json!([{"addresses": ["10.2.0.3"], "nodeName": "far-1"}]), NOTHING),
        (JSON, json!("near"), json!({"addresses": ["10.2.0.3"]}), NOTHING),
        (JSON, json!("near"), json!([{"addresses": ["10.2.0.3"], "nodeName": "~"}]), NO_TEXT),
        (PROTOBUF, json!("near"), json!([{"addresses": ["10.2.0.3"], "nodeName": "~"}]), NO_TEXT),
        (PROTOBUF, json!("near"), json!([{"addresses": ["10.2.0.3"], "nodeName": "far-1"}]), CUT),
    ] {
        let case = format!("{accept} {service} {endpoints}");
        let mut open = watch(&rig, SLICES, PROXY[0].1, accept).await;
        let mut counted = errors(&rig, "servicetopology").await;
        let mut counts = async || {
            let now = errors(&rig, "servicetopology").await;
            now > std::mem::replace(&mut counted, now)
        };
        let labels = json!({"kubernetes.io/service-name": service});
        let object = json!({"metadata": {"labels": labels}, "addressType": "IPv4", "endpoints": endpoints});
        rig.fake.put_damaged("discovery.k8s.io/v1/endpointslices", ("story", "damaged"), object, damage);
        slice(&rig, "near-2", "near");
        let came = until(&mut open, "10.1.0.2").await.expect(&case);
        assert!(has(&came, "10.2.0.3") && !has(&came, "10.1.0.3"), "{case}: {}", String::from_utf8_lossy(&came));
        assert!(counts().await, "{case}: WATCH");
        let list = proxy(&client, SLICES, accept).await;
        assert!(has(&list.body, "10.2.0.3") && has(&list.body, "10.1.0.2"), "{case}: {}", list.text());
        assert!(!has(&list.body, "10.1.0.3"), "{case}: {}", list.text());
        assert!(counts().await, "{case}: LIST");
        let one = proxy(&client, SLICE, accept).await;
        let cloud = client.request("GET", SLICE, &[("user-agent", "other/v1"), ("accept", accept)], "").await.unwrap();
        assert_eq!((one.status.as_u16(), &one.body), (200, &cloud.body), "{case}");
        assert!(counts().await, "{case}: GET");
        for name in ["damaged", "near-2"] {
            rig.fake.delete("discovery.k8s.io/v1/endpointslices", "story", name);
        }
    }
}

/// What the hub itself reads of the Services: one that it cannot read is told of, and keeps nobody from the others.
#[tokio::test]
async fn a_service_that_the_hub_cannot_read_leaves_its_own_endpoints_alone_and_is_told_of() {
    let rig = rig().await;
    slice(&rig, "bent-1", "bent");
    let bent = |annotations: Value| {
        let object = json!({"metadata": {"annotations": annotations}, "spec": {"type": "ClusterIP"}});
        rig.fake.put_damaged("services", ("story", "bent"), object, NOTHING);
    };
    bent(json!({"openyurt.io/topologyKeys": 7}));
    let (near, all) = (["10.1.0.1", "10.1.0.2"].as_slice(), ["10.1.0.1", "10.1.0.2", "10.1.0.3"].as_slice());
    let client = rig.hub.kubelet().await.unwrap();
    let shows = async |bent: &[&str]| {
        let list = proxy(&client, SLICES, JSON).await.json();
        let of =
            |name: &str| list["items"].as_array().unwrap().iter().find(|item| item["metadata"]["name"] == name).map(addresses);
        of("bent-1").unwrap() == bent && of("near-1").unwrap() == near
    };
    assert!(shows(all).await, "known at once, though one of them is not");
    assert!(errors(&rig, "inputs").await >= 1.0);
    assert!(errors(&rig, "servicetopology").await >= 1.0, "nothing is passed on in silence");
    for (annotations, expected) in [(json!({"openyurt.io/topologyKeys": "kubernetes.io/zone"}), near), (json!("none"), all)] {
        bent(annotations);
        eventually("what is known of it follows", SECONDS(10), async || Ok(shows(expected).await)).await.unwrap();
    }
}

#[tokio::test]
async fn a_pool_and_a_node_that_the_hub_cannot_read_stay_as_they_were() {
    let rig = rig().await;
    let pool = |nodes: Value| {
        rig.fake.put_path("/apis/apps.openyurt.io/v1beta2/nodepools/p", json!({"status": {"nodes": nodes}})).unwrap();
    };
    let node = |pool: Value| {
        let object = json!({"metadata": {"labels": {"apps.openyurt.io/nodepool": pool}}});
        rig.fake.put_damaged("nodes", ("", "edge-1"), object, NOTHING);
    };
    pool(json!(["edge-1", "far-1"]));
    node(json!("p"));
    let client = rig.hub.kubelet().await.unwrap();
    let shows = async |expected: &[&str]| {
        let list = proxy(&client, SLICES, JSON).await.json();
        Ok(addresses(&list["items"][0]) == expected)
    };
    let (both, own) = (["10.1.0.1", "10.1.0.3"], ["10.1.0.1"]);
    eventually("the pool's", SECONDS(10), async || shows(&both).await).await.unwrap();
    pool(json!(["edge-1", 7]));
    eventually("one is told of", SECONDS(10), async || Ok(errors(&rig, "inputs").await == 1.0)).await.unwrap();
    assert!(shows(&both).await.unwrap());
    node(json!(7));
    eventually("the other as well", SECONDS(10), async || Ok(errors(&rig, "inputs").await == 2.0)).await.unwrap();
    assert!(shows(&both).await.unwrap());
    pool(json!(["edge-1"]));
    eventually("what can be read again", SECONDS(10), async || shows(&own).await).await.unwrap();
}

/// What is remembered is as the cloud has told it, and is met by filters without the cloud as with it.
#[tokio::test]
async fn an_object_that_a_filter_for_safety_cannot_read_is_an_error_offline_and_its_neighbours_are_there() {
    const RULE: &str =
        "- {name: safe, match: {components: [ingress], resources: [services], labelSelector: {matchLabels: {a: b}}}, drop: true}";
    let rig = rig().await;
    let client = rig.hub.kubelet().await.unwrap();
    let damaged = json!({"labels": {"a": 7}, "annotations": {"svc.openyurt.io/discard": 7}});
    rig.fake.put_damaged(
        "services",
        ("story", "damaged"),
        json!({"metadata": damaged, "spec": {"type": "LoadBalancer"}}),
        NOTHING,
    );
    rig.fake.put("configmaps", "kube-system", "yurt-hub-cfg", json!({"data": {"rules": RULE}}));
    let get = async |path: &str, agent: &str| {
        client.request("GET", path, &[("user-agent", agent), ("accept", JSON)], "").await.unwrap()
    };
    eventually("the rule applies", SECONDS(10), async || Ok(get(SERVICE, "ingress/v1").await.status == 502)).await.unwrap();
    let neighbour = SERVICE.replace("damaged", "plain");
    let selected = format!("{SERVICES}?fieldSelector=metadata.name%3Dplain");
    let lists = rig.hub.metric("holdfast_lists_remembered_total").await.unwrap();
    for path in [SERVICES, &selected, SERVICE, &neighbour] {
        assert_eq!(get(path, "other/v1").await.status, 200, "{path}");
    }
    rig.remembered(lists + 2.0).await;
    // By then it is known what filters go by.
    assert_eq!(get(&neighbour, PROXY[0].1).await.status, 200);
    rig.cut(Fault::Refuse).await;
    assert!(has(&get(SERVICES, "other/v1").await.body, "damaged"), "whom none serves gets it as it is");
    for (agent, filter) in [(PROXY[0].1, "discardcloudservice"), ("ingress/v1", "rule/safe")] {
        for path in [SERVICES, SERVICE] {
            let counted = errors(&rig, filter).await;
            let answer = get(path, agent).await;
            assert_eq!(answer.status, 503, "{agent} {path}: {}", answer.text());
            assert!(has(&answer.body, filter), "{agent} {path}: {}", answer.text());
            assert!(errors(&rig, filter).await > counted, "{agent} {path}");
        }
        for path in [&selected, &neighbour] {
            let answer = get(path, agent).await;
            assert_eq!(answer.status, 200, "{agent} {path}: {}", answer.text());
            assert!(has(&answer.body, "plain"), "{agent} {path}: {}", answer.text());
        }
    }
}
