//! Kubelet's Pods, and what others were told of them.

use super::*;
use crate::store::record::ObjectAsk;

const PODS: &str = "/api/v1/pods?fieldSelector=spec.nodeName%3Dn1";

/// On a node, of a uid and a version.
fn pod(name: &str, node: &str, uid: &str, version: u64) -> String {
    format!(
        r#"{{"metadata":{{"name":"{name}","namespace":"a","uid":"{uid}","resourceVersion":"{version}"}},"spec":{{"nodeName":"{node}"}}}}"#
    )
}

async fn told(knowledge: &Arc<Knowledge>, target: &str, version: u64, pods: &[String]) {
    let body = format!(
        r#"{{"kind":"PodList","apiVersion":"v1","metadata":{{"resourceVersion":"{version}"}},"items":[{}]}}"#,
        pods.join(",")
    );
    remember(knowledge, Subject::List(list_ask(target)), &body).await;
}

async fn read(knowledge: &Arc<Knowledge>, pod: &str) {
    let key = names::object(&asked("/api/v1/namespaces/a/pods/q").0.info, &list_of_configmaps().0.accepts[0]);
    let body = pod.replacen('{', r#"{"kind":"Pod","apiVersion":"v1","#, 1);
    remember(knowledge, Subject::Object(ObjectAsk { key, reader: Reader::default() }), &body).await;
}

/// The status of kubelet's list.
async fn listed(offline: &Offline) -> u16 {
    let (context, asked) = asked(PODS);
    let knowledge = offline.knowledge.as_ref().unwrap();
    knowledge.grant(&context.grant(crate::store::NODE));
    knowledge.catch_up().await.unwrap();
    serve(offline, &context, asked).await.map_or_else(|refusal| refusal.code.as_u16(), |answer| answer.status().as_u16())
}

/// A hub on which kubelet has listed `p`, of the uid `1`, at version 7.
async fn with_one_pod() -> Offline {
    let offline = offline(Arc::new(Memory::default()));
    told(offline.knowledge.as_ref().unwrap(), PODS, 7, &[pod("p", "n1", "1", 5)]).await;
    offline
}

#[tokio::test]
async fn kubelet_is_told_no_list_without_a_pod_that_somebody_else_was_told_of_from_later() {
    let all = "/api/v1/namespaces/a/pods";
    for (status, version, other) in [
        (200, 9, pod("p", "n1", "1", 9)),
        (200, 9, pod("q", "n2", "2", 9)),
        // Gone by the time of kubelet's list.
        (200, 6, pod("q", "n1", "2", 6)),
        (503, 9, pod("q", "n1", "2", 9)),
        // Another one of the same name.
        (503, 9, pod("p", "n1", "2", 9)),
    ] {
        let offline = with_one_pod().await;
        let knowledge = offline.knowledge.as_ref().unwrap();
        told(knowledge, all, version, std::slice::from_ref(&other)).await;
        assert_eq!(listed(&offline).await, status, "a list of {other} at {version}");
    }
}

#[tokio::test]
async fn kubelet_is_told_no_list_without_a_pod_that_somebody_has_read_from_later() {
    for (status, other) in [(200, pod("q", "n2", "2", 9)), (200, pod("q", "n1", "2", 6)), (503, pod("q", "n1", "2", 9))] {
        let offline = with_one_pod().await;
        let knowledge = offline.knowledge.as_ref().unwrap();
        read(knowledge, &other).await;
        assert_eq!(listed(&offline).await, status, "{other}");
        told(knowledge, PODS, 10, &[pod("p", "n1", "1", 5)]).await;
        assert_eq!(listed(&offline).await, 200, "the cloud itself says so: {other}");
    }
}
