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
