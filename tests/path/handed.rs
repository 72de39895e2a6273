//! Another process takes the hub's place while filters serve its clients: they go on with what they have shown and hidden.

use serde_json::{Value, json};
use testkit::client::Streaming;
use testkit::fake::{FakeOptions, Fault};

use super::filters::{self, HUB, PROXY, SERVICES, SLICES, addresses, next, pair, service, slice};
use super::handover::are_handed_over;
use super::held::counted;
use super::hidden::{self, is_told_nothing_of_what_is_hidden};
use super::*;

const KUBELET: [(&str, &str); 1] = [("user-agent", "kubelet/v1.34.4 (linux/amd64)")];

/// A watch from where a list by the same client ends.
async fn watch(rig: &Rig, path: &str, fields: &[(&str, &str)]) -> Streaming {
    let client = rig.hub.kubelet().await.unwrap();
    let list = client.request("GET", path, fields, "").await.unwrap().json();
    let version = list["metadata"]["resourceVersion"].as_str().unwrap();
    let watch = client.stream("GET", &format!("{path}?watch=1&resourceVersion={version}"), fields, "").await.unwrap();
    assert_eq!(watch.status, 200);
    watch
}

async fn event(watch: &mut Streaming) -> Value {
    tokio::time::timeout(SECONDS(10), watch.event()).await.expect("an event").unwrap().unwrap()
}

#[tokio::test]
async fn kube_proxy_and_kubelet_are_told_by_the_new_process_what_they_would_have_been_told_by_the_old_one() {
    let mut rig = filters::rig().await;
    let mut services = watch(&rig, SERVICES, &PROXY).await;
    let mut slices = watch(&rig, SLICES, &PROXY).await;
    let mut kubelets = watch(&rig, SERVICES, &KUBELET).await;
    for round in ["1", "2"] {
        rig.hub.hand_over().await.unwrap();
        are_handed_over(&rig, 3.0).await;
        service(&rig, "cloud", "LoadBalancer", &json!({"svc.openyurt.io/discard": "true", "round": round}));
        service(&rig, "plain", "ClusterIP", &json!({"round": round}));
        assert_eq!(next(&mut services).await, pair("MODIFIED", "plain"), "the other one is hidden");
        slice(&rig, round, "near");
        assert_eq!(addresses(&event(&mut slices).await["object"]), ["10.1.0.1", "10.1.0.2"], "those of its zone");
        rig.fake.put(
            "services",
            "default",
            "kubernetes",
            json!({"metadata": {"annotations": {"round": round}}, "spec": {"clusterIP": "10.0.0.1", "ports": [{"port": 443}]}}),
        );
        for name in ["cloud", "plain"] {
            assert_eq!(next(&mut kubelets).await, pair("MODIFIED", name));
        }
        assert_eq!(event(&mut kubelets).await["object"]["spec"]["clusterIP"], HUB);
        next(&mut services).await;
        assert_eq!(counted(&rig, "the difference was told").await, 0.0, "nobody has listed again, nor the hub for them");
    }
    service(&rig, "cloud", "LoadBalancer", &json!({}));
    assert_eq!(next(&mut services).await, pair("ADDED", "cloud"), "it was never shown");
}

#[tokio::test]
async fn what_users_rules_hide_stays_hidden_with_the_link_and_without() {
    let mut rig = hidden::rig(&[], "*").await;
    let (_, version, _) = hidden::page(&rig, "").await;
    let mut watch = hidden::watch_from(&rig, &version).await;
    rig.hub.hand_over().await.unwrap();
    are_handed_over(&rig, 1.0).await;
    is_told_nothing_of_what_is_hidden(&rig, &mut watch, "with the link").await;
    hidden::put(&rig, "new", "yes", "3");
    assert_eq!(next(&mut watch).await, pair("DELETED", "new"));
    hidden::put(&rig, "dim", "yes", "3");
    rig.cut(Fault::Refuse).await;
    rig.hub.hand_over().await.unwrap();
    are_handed_over(&rig, 1.0).await;
    rig.restore().await;
    rig.fake.delete("configmaps", "story", "new");
    is_told_nothing_of_what_is_hidden(&rig, &mut watch, "in a cut").await;
}

#[tokio::test]
async fn whom_the_new_process_shows_something_else_lists_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hub.yaml");
    let configure = |filters: &str| {
        let whole = format!("apiVersion: holdfast.dev/v1alpha1\nkind: HubConfiguration\nfilters: [{filters}]\n");
        std::fs::write(&file, whole).unwrap();
    };
    configure("");
    let mut rig = Rig::with(FakeOptions::default(), &[&format!("--config={}", file.display())]).await;
    rig.fake.put("nodes", "", "edge-1", json!({}));
    service(&rig, "plain", "ClusterIP", &json!({}));
    let mut kubelets = watch(&rig, SERVICES, &KUBELET).await;
    let mut proxys = watch(&rig, SERVICES, &PROXY).await;
    configure("{name: mark, match: {components: [kubelet], resources: [services]}, annotate: {seen: 'yes'}}");
    rig.hub.hand_over().await.unwrap();
    let last = event(&mut kubelets).await;
    assert_eq!((&last["type"], &last["object"]["code"]), (&json!("ERROR"), &json!(410)), "{last}");
    assert!(kubelets.event().await.unwrap().is_none());
    service(&rig, "plain", "ClusterIP", &json!({"more": "1"}));
    assert_eq!(next(&mut proxys).await, pair("MODIFIED", "plain"), "the neighbour goes on");
}
