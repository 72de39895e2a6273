//! What the cloud takes back is refused while it cannot be asked.

use testkit::fake::Fault;

use super::*;

const GREETING: &str = "/api/v1/namespaces/story/configmaps/greeting";

#[tokio::test]
async fn what_the_cloud_has_refused_since_is_refused_offline() {
    let rig = Rig::start().await;
    let client = rig.pod().await;
    for target in [GREETING, CONFIGMAPS] {
        assert_eq!(client.get(target).await.unwrap().status, 200);
    }
    rig.remembered(1.0).await;
    rig.fake.forbid_all();
    assert_eq!(client.get(GREETING).await.unwrap().status, 403);
    rig.cut(Fault::Refuse).await;
    assert_eq!(client.get(CONFIGMAPS).await.unwrap().status, 200, "of this the cloud was not asked again");
    let answer = client.get(GREETING).await.unwrap();
    assert_eq!((answer.status.as_u16(), &answer.json()["reason"]), (403, &json!("Forbidden")), "{}", answer.text());
}

/// NodeRestriction, a quota, a webhook: of another Pod it may say yes.
#[tokio::test]
async fn a_write_that_is_refused_takes_no_right_away() {
    let rig = Rig::start().await;
    rig.fake.put("serviceaccounts", "story", "sample", json!({}));
    let kubelet = rig.hub.kubelet().await.unwrap();
    let tokens = "/api/v1/namespaces/story/serviceaccounts/sample/token";
    let ask = async |pod: &str| {
        let spec = json!({"expirationSeconds": 3600, "boundObjectRef": {"kind": "Pod", "name": pod, "uid": pod}});
        let request = json!({"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "spec": spec}).to_string();
        kubelet.request("POST", tokens, &[("content-type", "application/json")], request).await.unwrap()
    };
    let issued = ask("p").await;
    assert_eq!(issued.status, 201, "{}", issued.text());
    rig.fake.fault_next(tokens, Fault::Status(403));
    assert_eq!(ask("gone").await.status, 403);
    rig.cut(Fault::Refuse).await;
    let again = ask("p").await;
    assert_eq!((again.status, &again.body), (issued.status, &issued.body), "{}", again.text());
}

#[tokio::test]
async fn a_token_that_the_cloud_has_refused_since_is_refused_offline() {
    let rig = Rig::start().await;
    let client = rig.pod().await;
    assert_eq!(client.get(GREETING).await.unwrap().status, 200);
    rig.fake.remove_token(TOKEN);
    assert_eq!(client.get(CONFIGMAPS).await.unwrap().status, 401);
    rig.cut(Fault::Refuse).await;
    let answer = client.get(GREETING).await.unwrap();
    assert_eq!((answer.status.as_u16(), &answer.json()["reason"]), (401, &json!("Unauthorized")), "{}", answer.text());
}

#[tokio::test]
async fn a_refusal_in_one_namespace_takes_back_the_right_to_all_until_that_is_granted_anew() {
    const ALL: &str = "/api/v1/configmaps";
    let rig = Rig::start().await;
    let allow = || rig.fake.allow("system:serviceaccount:story:sample", "list", "configmaps", "*", "*");
    let client = rig.pod().await;
    let status = async |target: &str| client.get(target).await.unwrap().status.as_u16();
    allow();
    assert_eq!(status(ALL).await, 200);
    rig.remembered(1.0).await;
    rig.cut(Fault::Refuse).await;
    assert_eq!(status(CONFIGMAPS).await, 200, "who may list all may list some");
    rig.restore().await;
    rig.fake.forbid_all();
    assert_eq!(status(CONFIGMAPS).await, 403);
    rig.cut(Fault::Refuse).await;
    for target in [CONFIGMAPS, ALL] {
        assert_eq!(status(target).await, 403, "{target}");
    }
    rig.restore().await;
    allow();
    assert_eq!(status(ALL).await, 200);
    rig.cut(Fault::Refuse).await;
    for target in [CONFIGMAPS, ALL] {
        assert_eq!(status(target).await, 200, "{target}");
    }
}
