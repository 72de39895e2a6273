//! A damaged record is noticed, taken out with the collection it belongs to, named in the log, and fetched again.

use holdfast::store::{Disk, Op, Store as _};
use testkit::fake::Fault;

use super::*;

const PODS: &str = "/api/v1/namespaces/story/pods";

#[tokio::test]
async fn a_collection_with_a_damaged_member_is_not_complete_until_it_is_fetched_again() {
    let mut rig = Rig::start(FakeOptions::default()).await;
    rig.put_pod("p-1");
    rig.put_pod("p-2");
    let whole = rig.hub.kubelet().await.unwrap().get(PODS).await.unwrap();
    rig.hub.signal("TERM").unwrap();
    assert_eq!(rig.hub.ended(SECONDS(10)).await.unwrap().code(), Some(0));
    damage(&rig, b"story/p-1");
    rig.fake.fault(Fault::Refuse);
    rig.hub.run().await.unwrap();
    // The second time it is gone.
    for _ in 0..2 {
        let answer = rig.hub.kubelet().await.unwrap().get(PODS).await.unwrap();
        assert_eq!(answer.status, 503, "one Pod of two is no list: {}", answer.text());
    }
    let log = rig.hub.log();
    assert!(log.contains("a damaged collection is taken out of the store") && log.contains(r#"resource="pods""#), "{log}");
    rig.link_is(0.0).await;
    rig.fake.heal().unwrap();
    rig.link_is(1.0).await;
    assert_eq!(rig.hub.kubelet().await.unwrap().get(PODS).await.unwrap().body, whole.body);
    rig.fake.fault(Fault::Refuse);
    assert_eq!(rig.hub.kubelet().await.unwrap().get(PODS).await.unwrap().body, whole.body, "known again");
}

/// One bit of the row whose key ends so.
fn damage(rig: &Rig, end: &[u8]) {
    let (disk, _) = Disk::open(&rig.hub.store_file()).unwrap();
    let mut damaged = Vec::new();
    let mut each = |key: &[u8], row: &[u8]| {
        if key.ends_with(end) {
            let mut row = row.to_vec();
            row[0] ^= 1;
            damaged.push(Op::Put(key.to_vec(), row));
        }
        true
    };
    disk.snapshot().unwrap().scan(b"i", &mut each).unwrap();
    assert_eq!(damaged.len(), 1);
    disk.apply(&damaged, true).unwrap();
}
