//! A list that ended early, for whatever reason, leaves the earlier collection as it was.

use http::StatusCode;
use testkit::fake::Fault;

use super::*;

const PODS: &str = "/api/v1/namespaces/story/pods";
/// After so long a client gives a list up that stands still.
const PATIENCE: Duration = Duration::from_millis(200);

/// Why a list ends before its end.
#[derive(Debug, Clone, Copy)]
enum Early {
    Met(Fault),
    /// The rest is a page that cannot be had any more.
    ExpiredToken,
    /// kill -9 in the middle of it.
    Killed,
}

const REASONS: [Early; 10] = [
    Early::Met(Fault::Reset),
    Early::Met(Fault::Refuse),
    Early::Met(Fault::TruncateBody(300)),
    Early::Met(Fault::WrongContentLength),
    Early::Met(Fault::BadChunk),
    Early::Met(Fault::StallBody(300)),
    Early::Met(Fault::Garbage),
    Early::Met(Fault::Status(503)),
    Early::ExpiredToken,
    Early::Killed,
];

#[tokio::test]
async fn a_list_that_ends_early_leaves_the_earlier_one_over_http2() {
    for early in REASONS {
        ends(early, true).await;
    }
}

#[tokio::test]
async fn a_list_that_ends_early_leaves_the_earlier_one_over_http1() {
    for early in REASONS {
        ends(early, false).await;
    }
}

async fn ends(early: Early, http2: bool) {
    let mut rig = Rig::start(FakeOptions { http2, ..FakeOptions::default() }).await;
    for pod in ["p-0", "p-1", "p-2"] {
        rig.put_pod(pod);
    }
    let kubelet = rig.hub.kubelet().await.unwrap();
    let earlier = kubelet.get(PODS).await.unwrap();
    assert_eq!(earlier.status, StatusCode::OK);
    rig.post_event("online").await;
    rig.remembered(1.0).await;
    // What the list would have told.
    rig.put_pod("p-9");
    rig.fake.delete("pods", "story", "p-0");
    match early {
        Early::Met(fault) => {
            rig.fake.fault_at(PODS, fault);
            if let Ok(Ok(answer)) = tokio::time::timeout(PATIENCE, kubelet.get(PODS)).await {
                let is_earlier = answer.status == StatusCode::OK && answer.body == earlier.body;
                assert!(is_earlier || answer.status.is_server_error(), "{early:?}: {}", answer.text());
            }
        }
        Early::ExpiredToken => {
            let first = kubelet.get(&format!("{PODS}?limit=2")).await.unwrap().json();
            let token = first["metadata"]["continue"].as_str().unwrap();
            rig.put_pod("p-10");
            rig.fake.compact();
            assert_eq!(kubelet.get(&format!("{PODS}?limit=2&continue={token}")).await.unwrap().status, StatusCode::GONE);
        }
        Early::Killed => {
            rig.fake.fault(Fault::Refuse);
            rig.link_is(0.0).await;
            rig.post_event("offline").await;
            rig.fake.heal().unwrap();
            rig.link_is(1.0).await;
            rig.fake.fault_at(PODS, Fault::StallBody(300));
            let kubelet = rig.hub.kubelet().await.unwrap();
            let mut list = kubelet.stream("GET", PODS, &[], "").await.unwrap();
            assert!(list.chunk().await.unwrap().is_some(), "the list has begun");
            rig.hub.kill();
            assert!(list.finish().await.is_err(), "it ends as what it is");
            rig.fake.heal().unwrap();
            rig.fake.fault(Fault::Refuse);
            rig.hub.run().await.unwrap();
        }
    }
    rig.fake.heal().unwrap();
    rig.fake.fault(Fault::Refuse);
    let later = rig.hub.kubelet().await.unwrap().get(PODS).await.unwrap();
    assert_eq!(later.status, StatusCode::OK, "{early:?}: {}", later.text());
    assert_eq!(later.text(), earlier.text(), "{early:?}");
}
