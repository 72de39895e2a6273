//! A damaged record is noticed, taken out with the collection it belongs to, named in the log, and fetched again. A file
//! that is damaged itself is not written any more, and set aside at the next start.

use std::collections::BTreeSet;
use std::os::unix::fs::FileExt as _;

use holdfast::store::{Disk, Op, Store as _};
use testkit::client::Client;
use testkit::fake::Fault;

use super::*;
use crate::random::Random;

const PODS: &str = "/api/v1/namespaces/story/pods";
/// What redb reads and writes at once, at least.
const PAGE: u64 = 4096;
/// More of them than redb keeps in memory.
const MANY: usize = 100;

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
    let version = whole.json()["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let watch = format!("{PODS}?watch=true&timeoutSeconds=1&resourceVersion={version}");
    assert_eq!(rig.hub.kubelet().await.unwrap().get(&watch).await.unwrap().status, 410, "its client is to list");
    assert_eq!(rig.hub.kubelet().await.unwrap().get(PODS).await.unwrap().body, whole.body);
    rig.remembered(1.0).await;
    rig.fake.fault(Fault::Refuse);
    assert_eq!(rig.hub.kubelet().await.unwrap().get(PODS).await.unwrap().body, whole.body, "known again");
}

/// Many large Pods and an Event, remembered by a hub that has ended; returns the list of them.
async fn remembered_by_an_ended_hub(rig: &mut Rig) -> Response {
    let padding = json!({"padding": testkit::noise(20_000)});
    for number in 0..MANY {
        let pod = json!({"metadata": {"annotations": padding}, "spec": {"nodeName": NODE}});
        rig.fake.put("pods", "story", &format!("p-{number:03}"), pod);
    }
    let whole = rig.hub.kubelet().await.unwrap().get(PODS).await.unwrap();
    rig.post_event("right-to-events").await;
    rig.hub.signal("TERM").unwrap();
    assert_eq!(rig.hub.ended(SECONDS(10)).await.unwrap().code(), Some(0));
    rig.fake.fault(Fault::Refuse);
    whole
}

fn spoil(rig: &Rig, at: u64) {
    let file = std::fs::OpenOptions::new().read(true).write(true).open(rig.hub.store_file()).unwrap();
    let mut bytes = [0; 64];
    file.read_exact_at(&mut bytes, at).unwrap();
    bytes.iter_mut().for_each(|byte| *byte ^= 0x5a);
    file.write_all_at(&bytes, at).unwrap();
}

#[tokio::test]
async fn damage_under_a_running_hub_is_never_answered_from_and_ends_nothing() {
    let seed = std::env::var("HOLDFAST_SEED").map_or_else(|_| crate::random::seed(), |seed| seed.parse().unwrap());
    println!("HOLDFAST_SEED={seed}");
    let mut random = Random::new(seed);
    let mut rig = Rig::start(FakeOptions::default()).await;
    let whole = remembered_by_an_ended_hub(&mut rig).await;
    let good = std::fs::read(rig.hub.store_file()).unwrap();
    let mut hidden = 0;
    for round in 0..12 {
        std::fs::write(rig.hub.store_file(), &good).unwrap();
        rig.hub.run().await.unwrap();
        rig.post_event("before").await;
        let mut accepted = 1.0;
        let most = 1 << random.below(6);
        (0..=random.below(most)).for_each(|_| spoil(&rig, (1 + random.below(good.len() / 4096 - 2) as u64) * PAGE));
        for number in 0..3 {
            let answer = rig.hub.kubelet().await.unwrap().get(PODS).await.unwrap();
            match answer.status.as_u16() {
                200 => assert_eq!(answer.body, whole.body, "HOLDFAST_SEED={seed}, {round}"),
                403 | 503 => hidden += 1,
                other => panic!("HOLDFAST_SEED={seed}, {round}: {other} {}", answer.text()),
            }
            match rig.try_event(&format!("e-{number}")).await.status.as_u16() {
                201 => accepted += 1.0,
                403 | 503 => {}
                other => panic!("HOLDFAST_SEED={seed}, {round}: {other}"),
            }
        }
        assert!(rig.hub.ended(SECONDS(0)).await.is_err(), "HOLDFAST_SEED={seed}, {round}: it has ended");
        if readiness(&rig).await.status != 200 {
            is_copied(&rig).await;
        }
        rig.hub.kill();
        rig.hub.run().await.unwrap();
        let waiting = rig.hub.metric("holdfast_journal_entries").await.unwrap();
        let log = rig.hub.log();
        let is_told = log.contains("cannot be delivered") || log.contains("Events that waited for delivery are in it");
        assert!(waiting >= accepted || is_told, "HOLDFAST_SEED={seed}, {round}: {waiting} of {accepted} Events");
        rig.hub.kill();
    }
    assert!(hidden > 0, "no damage was met");
}

/// Each page that has these bytes, once.
fn spoil_pages(rig: &Rig, bytes: &[u8]) {
    let file = std::fs::read(rig.hub.store_file()).unwrap();
    let found = file.windows(bytes.len()).enumerate().filter(|(_, found)| *found == bytes);
    let pages: BTreeSet<u64> = found.map(|(at, _)| at as u64 / PAGE * PAGE).collect();
    pages.into_iter().for_each(|at| spoil(rig, at));
}

/// Where the Pod in the middle is.
fn spoil_pods(rig: &Rig) {
    spoil_pages(rig, b"story/p-050");
}

/// A hub whose file is found damaged while it runs without the link; returns the Pods.
async fn found_damaged(rig: &mut Rig) -> Response {
    let whole = remembered_by_an_ended_hub(rig).await;
    rig.hub.run().await.unwrap();
    rig.link_is(0.0).await;
    rig.post_event("before").await;
    spoil_pods(rig);
    for _ in 0..2 {
        let answer = rig.hub.kubelet().await.unwrap().get(PODS).await.unwrap();
        assert_eq!(answer.status, 503, "{}", answer.text());
    }
    let refused = rig.try_event("after").await;
    assert!(refused.status == 503 && refused.text().contains("damaged"), "{}", refused.text());
    let ready = readiness(rig).await;
    assert!(ready.status == 500 && ready.text().contains("damaged"), "{}", ready.text());
    assert_eq!(rig.hub.metric("holdfast_store_damaged").await.unwrap(), 1.0);
    whole
}

async fn is_copied(rig: &Rig) {
    let next = rig.hub.store_file().with_extension("next");
    eventually("what was accepted is copied", SECONDS(10), async || Ok(next.exists())).await.unwrap();
}

async fn readiness(rig: &Rig) -> Response {
    Client::http1(rig.hub.admin).await.unwrap().get("/v1/readyz").await.unwrap()
}

/// The link comes back; what was accepted is delivered, and a client that goes on with its watch is sent back to list.
async fn goes_on_with_another_file(rig: &Rig, whole: &Response) {
    rig.fake.heal().unwrap();
    rig.link_is(1.0).await;
    eventually("what was accepted is in the cloud", SECONDS(10), async || {
        Ok(rig.fake.get("events", "story", "before").is_some() && readiness(rig).await.status == 200)
    })
    .await
    .unwrap();
    assert!(rig.fake.get("events", "story", "after").is_none());
    assert_eq!(rig.hub.metric("holdfast_store_damaged").await.unwrap(), 0.0);
    let version = whole.json()["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let kubelet = rig.hub.kubelet().await.unwrap();
    let watch = format!("{PODS}?watch=true&timeoutSeconds=1&resourceVersion={version}");
    assert_eq!(kubelet.get(&watch).await.unwrap().status, 410, "the node does not know what the client goes on from");
    assert_eq!(items(&kubelet.get(PODS).await.unwrap()), items(whole));
    rig.remembered(1.0).await;
    rig.fake.fault(Fault::Refuse);
    assert_eq!(items(&kubelet.get(PODS).await.unwrap()), items(whole), "remembered in the new one");
}

fn items(list: &Response) -> serde_json::Value {
    list.json()["items"].take()
}

#[tokio::test]
async fn a_file_that_is_damaged_at_a_start_is_set_aside_once() {
    let mut rig = Rig::start(FakeOptions::default()).await;
    let whole = remembered_by_an_ended_hub(&mut rig).await;
    spoil_pages(&rig, b"c\0\0v1\0pods");
    rig.fake.heal().unwrap();
    rig.hub.run().await.unwrap();
    assert!(rig.hub.store_file().with_extension("unreadable-1").exists());
    assert_eq!(items(&rig.hub.kubelet().await.unwrap().get(PODS).await.unwrap()), items(&whole));
    rig.remembered(1.0).await;
    rig.hub.signal("TERM").unwrap();
    rig.hub.ended(SECONDS(10)).await.unwrap();
    rig.fake.fault(Fault::Refuse);
    rig.hub.run().await.unwrap();
    let known = rig.hub.kubelet().await.unwrap().get(PODS).await.unwrap();
    assert_eq!(items(&known), items(&whole), "{}", rig.hub.log());
}

#[tokio::test]
async fn a_hub_whose_file_is_damaged_goes_on_with_another_one_when_the_link_is_back() {
    let mut rig = Rig::start(FakeOptions::default()).await;
    let whole = found_damaged(&mut rig).await;
    goes_on_with_another_file(&rig, &whole).await;
}

/// In its first seconds a hub hopes that the link is up.
#[tokio::test]
async fn a_damaged_file_gives_way_when_the_link_is_seen_to_be_up() {
    // Each request has a connection of its own to break.
    let mut rig = Rig::start(FakeOptions { http2: false, ..FakeOptions::default() }).await;
    let whole = remembered_by_an_ended_hub(&mut rig).await;
    rig.fake.heal().unwrap();
    // The verdict takes two seconds; a request that meets the same is answered from the store at once.
    rig.fake.fault_at("/readyz", Fault::StallHeaders);
    rig.fake.fault_at(PODS, Fault::Reset);
    rig.hub.run().await.unwrap();
    spoil_pods(&rig);
    let kubelet = rig.hub.kubelet().await.unwrap();
    // What redb has in memory is as it was.
    eventually("the damage is met", SECONDS(2), async || Ok(kubelet.get(PODS).await?.status == 503)).await.unwrap();
    is_copied(&rig).await;
    rig.link_is(0.0).await;
    let aside = rig.hub.store_file().with_extension("unreadable-1");
    assert!(!aside.exists(), "what can be read of it is worth more than nothing");
    rig.fake.heal().unwrap();
    eventually("another file goes on", SECONDS(20), async || Ok(aside.exists() && readiness(&rig).await.status == 200))
        .await
        .unwrap();
    assert_eq!(items(&rig.hub.kubelet().await.unwrap().get(PODS).await.unwrap()), items(&whole));
}

#[tokio::test]
async fn a_hub_whose_file_was_damaged_goes_on_with_another_one_at_its_next_start() {
    let mut rig = Rig::start(FakeOptions::default()).await;
    let whole = found_damaged(&mut rig).await;
    is_copied(&rig).await;
    rig.hub.kill();
    rig.hub.run().await.unwrap();
    assert_eq!(rig.hub.metric("holdfast_journal_entries").await.unwrap(), 1.0);
    rig.link_is(0.0).await;
    goes_on_with_another_file(&rig, &whole).await;
    rig.hub.signal("TERM").unwrap();
    rig.hub.ended(SECONDS(10)).await.unwrap();
    rig.hub.run().await.unwrap();
    let known = rig.hub.kubelet().await.unwrap().get(PODS).await.unwrap();
    assert_eq!(items(&known), items(&whole), "once");
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
