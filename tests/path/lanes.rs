//! Dense GETs to a server nearby, which go over HTTP/1.1: nobody is to notice but by the
//! clock.

use std::collections::BTreeSet;
use std::time::Instant;

use http::Version;
use testkit::client::{Client, Response};
use testkit::fake::{FakeOptions, Fault};
use testkit::hub::eventually;

use super::{CONFIGMAPS, Rig, SECONDS};

const GREETING: &str = "/api/v1/namespaces/story/configmaps/greeting";

/// Asks until the answers come over HTTP/1.1; a server that seems far for a moment is left alone for a while.
async fn warm(rig: &Rig, client: &Client) {
    eventually("dense GETs go over HTTP/1.1", SECONDS(60), async || {
        for _ in 0..50 {
            assert_eq!(client.get(GREETING).await?.status, 200);
        }
        Ok(last(rig).0 == Version::HTTP_11)
    })
    .await
    .unwrap();
}

/// How the last GET of the greeting came to the cloud: over which HTTP, as whom.
fn last(rig: &Rig) -> (Version, Option<String>, String) {
    let request = rig.fake.requests().into_iter().rfind(|request| request.path_and_query == GREETING).unwrap();
    (request.version, request.client_cn.clone(), request.header("authorization").to_owned())
}

#[tokio::test]
async fn dense_gets_share_no_identity_and_keep_their_answers() {
    let rig = Rig::with(FakeOptions { max_concurrent_streams: 100, ..FakeOptions::default() }, &[]).await;
    let (pod, kubelet) = (rig.pod().await, rig.hub.kubelet().await.unwrap());
    let first = pod.get(GREETING).await.unwrap();
    warm(&rig, &pod).await;
    let again = pod.get(GREETING).await.unwrap();
    assert_eq!((again.status, &again.body), (first.status, &first.body));
    let fields = |answer: &Response| answer.headers.keys().map(ToString::to_string).collect::<BTreeSet<_>>();
    assert_eq!(fields(&again), fields(&first));
    let (version, cn, token) = last(&rig);
    assert_eq!((version, cn, token.as_str()), (Version::HTTP_11, None, "Bearer sample-token"));
    assert_eq!(pod.get("/api/v1/namespaces/story/configmaps/none").await.unwrap().status, 404);
    assert_eq!(pod.get("/api/v1/namespaces/story/secrets/forbidden").await.unwrap().status, 403);
    warm(&rig, &kubelet).await;
    kubelet.get(GREETING).await.unwrap();
    let (version, cn, token) = last(&rig);
    assert_eq!((version, cn.as_deref(), token.as_str()), (Version::HTTP_11, Some("system:node:edge-1"), ""));
    // Everything else stays on HTTP/2.
    pod.get(CONFIGMAPS).await.unwrap();
    let list = rig.fake.requests().into_iter().rfind(|request| request.path_and_query == CONFIGMAPS).unwrap();
    assert_eq!(list.version, Version::HTTP_2);
}

#[tokio::test]
async fn a_get_without_an_answer_at_once_is_asked_again_over_http2() {
    let rig = Rig::start().await;
    let client = rig.pod().await;
    warm(&rig, &client).await;
    rig.fake.clear_requests();
    rig.fake.fault_next(GREETING, Fault::StallHeaders);
    assert_eq!(client.get(GREETING).await.unwrap().status, 200);
    let versions: Vec<_> =
        rig.fake.requests().iter().filter(|seen| seen.path_and_query == GREETING).map(|seen| seen.version).collect();
    assert_eq!(versions, [Version::HTTP_11, Version::HTTP_2]);
}

#[tokio::test]
async fn whatever_happens_to_its_connection_a_get_is_answered() {
    let rig = Rig::start().await;
    let client = rig.pod().await;
    for fault in [Fault::GoAway, Fault::Freeze, Fault::Reset, Fault::Garbage, Fault::Silence, Fault::Refuse] {
        warm(&rig, &client).await;
        let name = format!("{fault:?}");
        rig.fake.fault(fault);
        for _ in 0..3 {
            let began = Instant::now();
            let answer = client.get(GREETING).await.unwrap();
            assert_eq!(answer.status, 200, "{name}: {}", answer.text());
            assert!(began.elapsed() < SECONDS(2), "{name}: {:?}", began.elapsed());
        }
        rig.fake.heal().unwrap();
        rig.link_is(1.0).await;
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_asked_for_again_and_is_not_remembered() {
    let rig = Rig::start().await;
    let client = rig.pod().await;
    for fault in [Fault::TruncateBody(20), Fault::BadChunk, Fault::WrongContentLength] {
        warm(&rig, &client).await;
        let name = format!("{fault:?}");
        rig.fake.put("configmaps", "story", "greeting", serde_json::json!({"data": {"text": name}}));
        rig.fake.fault_next(GREETING, fault);
        rig.fake.clear_requests();
        let whole = client.get(GREETING).await.unwrap();
        assert_eq!(whole.json()["data"]["text"], name);
        assert_eq!(rig.fake.requests().iter().filter(|request| request.path_and_query == GREETING).count(), 2, "{name}");
    }
    rig.cut(Fault::Refuse).await;
    assert_eq!(client.get(GREETING).await.unwrap().json()["data"]["text"], "WrongContentLength");
}
