//! The link is back, and open watches go on whose clients were shown what was written on this node meanwhile.

use serde_json::json;
use testkit::client::{Client, Streaming};
use testkit::fake::Fault;

use super::local::{EVENTS, METADATA, next, pair, post, rig, told, watch};
use super::*;

const SAMPLE_USER: &str = "system:serviceaccount:story:sample";

/// Its client has not had to list, and is told what happens now.
async fn goes_on(rig: &Rig, watch: &mut Streaming, name: &str) {
    rig.fake.put("events", "story", name, json!({"message": "from the cloud"}));
    assert_eq!(told(watch).await, pair("ADDED", name));
}

#[tokio::test]
async fn what_was_delivered_comes_once_more_as_the_cloud_has_it_in_each_form() {
    let (rig, pod, _, version) = rig().await;
    let mut whole = watch(&pod, &version, "&allowWatchBookmarks=true", &[]).await;
    let mut metadata = watch(&pod, &version, "", &METADATA).await;
    assert_eq!(post(&pod, "a-local", "p").await, 201);
    for watch in [&mut whole, &mut metadata] {
        assert_eq!(told(watch).await, pair("ADDED", "a-local"));
    }
    rig.fake.clear_requests();
    rig.restore().await;
    for watch in [&mut whole, &mut metadata] {
        let clouds = next(watch).await;
        assert_eq!((&clouds["type"], &clouds["object"]["metadata"]["name"]), (&json!("ADDED"), &json!("a-local")), "{clouds}");
        assert_ne!(clouds["object"]["metadata"]["resourceVersion"], version);
        goes_on(&rig, watch, "later").await;
        rig.fake.delete("events", "story", "later");
        assert_eq!(told(watch).await, pair("DELETED", "later"));
    }
    let lists = rig.fake.requests().into_iter().filter(|asked| asked.path_and_query.starts_with(EVENTS) && asked.method == "GET");
    assert!(lists.into_iter().all(|asked| asked.path_and_query.contains("watch=")), "nobody has listed");
}

#[tokio::test]
async fn what_was_refused_is_deleted() {
    let (rig, pod, _, version) = rig().await;
    let mut watching = [watch(&pod, &version, "", &[]).await, watch(&pod, &version, "&timeoutSeconds=3000", &METADATA).await];
    assert_eq!(post(&pod, "a-local", "p").await, 201);
    for watch in &mut watching {
        assert_eq!(told(watch).await, pair("ADDED", "a-local"));
    }
    only_reads(&rig);
    rig.restore().await;
    for watch in &mut watching {
        assert_eq!(told(watch).await, pair("DELETED", "a-local"));
        goes_on(&rig, watch, "later").await;
        rig.fake.delete("events", "story", "later");
        assert_eq!(told(watch).await, pair("DELETED", "later"));
    }
}

/// A cut, and one whose own token is good when the author's of what it was shown is not.
async fn rig_of_two() -> (Rig, Client, Client, String) {
    let (rig, pod, _, _) = rig().await;
    rig.fake.add_token("other", SAMPLE_USER, &["system:serviceaccounts"]);
    let other = rig.hub.pod("other", Alpn::H2).await.unwrap();
    rig.restore().await;
    assert_eq!(other.stream("GET", &format!("{EVENTS}?watch=1"), &[], "").await.unwrap().status, 200);
    assert_eq!(post(&other, "online", "p").await, 201);
    let version = is_cut_behind_a_list(&rig, &other).await;
    (rig, pod, other, version)
}

/// The link is cut, and the node knows a list of before that; its version.
async fn is_cut_behind_a_list(rig: &Rig, client: &Client) -> String {
    let version = async || -> anyhow::Result<serde_json::Value> {
        Ok(client.get(EVENTS).await?.json()["metadata"]["resourceVersion"].take())
    };
    let listed = version().await.unwrap();
    rig.cut(Fault::Refuse).await;
    eventually("the list is remembered", SECONDS(10), async || Ok(version().await? == listed)).await.unwrap();
    listed.as_str().unwrap().to_owned()
}

/// Nobody may do anything but read Events.
fn only_reads(rig: &Rig) {
    rig.fake.forbid_all();
    for verb in ["list", "watch"] {
        rig.fake.allow(SAMPLE_USER, verb, "events", "story", "*");
    }
}

/// Whatever comes next, in the order of words.
async fn all_told<const N: usize>(watch: &mut Streaming) -> [(String, String); N] {
    let mut all = std::array::from_fn(|_| pair("", ""));
    for one in &mut all {
        *one = told(watch).await;
    }
    all.sort();
    all
}

/// The next event, which its client may have to wait for as long as something may be on its way.
async fn told_at_last(watch: &mut Streaming) -> (String, String) {
    let event = tokio::time::timeout(SECONDS(20), watch.event()).await.unwrap().unwrap().unwrap();
    let word = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    (word(&event["type"]), word(&event["object"]["metadata"]["name"]))
}

#[tokio::test]
async fn what_waits_on_is_deleted_until_the_cloud_has_it() {
    let (rig, pod, other, version) = rig_of_two().await;
    assert_eq!(post(&pod, "a-local", "p").await, 201);
    let mut watch = watch(&other, &version, "", &[]).await;
    assert_eq!(told(&mut watch).await, pair("ADDED", "a-local"));
    rig.fake.remove_token(TOKEN);
    rig.restore().await;
    assert_eq!(told_at_last(&mut watch).await, pair("DELETED", "a-local"));
    rig.fake.add_token(TOKEN, SAMPLE_USER, &["system:serviceaccounts"]);
    assert_eq!(told(&mut watch).await, pair("ADDED", "a-local"));
    goes_on(&rig, &mut watch, "later").await;
}

/// The node knows more than this one, which waits for what was written here.
#[tokio::test]
async fn what_somebody_else_has_listed_meanwhile_is_told_in_its_turn() {
    let (rig, pod, other, version) = rig_of_two().await;
    let mut watch = watch(&other, &version, "", &[]).await;
    assert_eq!(post(&pod, "waits", "p").await, 201);
    assert_eq!(post(&other, "goes", "p").await, 201);
    for name in ["waits", "goes"] {
        assert_eq!(told(&mut watch).await, pair("ADDED", name));
    }
    rig.fake.put("events", "story", "meanwhile", json!({"message": "from the cloud"}));
    rig.fake.delete("events", "story", "m-online");
    rig.fake.remove_token(TOKEN);
    rig.restore().await;
    assert_eq!(other.get(EVENTS).await.unwrap().status, 200);
    eventually("one is delivered", SECONDS(10), async || Ok(rig.fake.get("events", "story", "goes").is_some())).await.unwrap();
    assert_eq!(other.get(EVENTS).await.unwrap().status, 200);
    assert_eq!(told_at_last(&mut watch).await, pair("DELETED", "waits"));
    assert_eq!(all_told(&mut watch).await, [pair("ADDED", "goes"), pair("ADDED", "meanwhile"), pair("DELETED", "m-online")]);
    goes_on(&rig, &mut watch, "later").await;
}

/// It is still to be shown while it waits.
#[tokio::test]
async fn a_link_that_falls_again_takes_nothing_back() {
    let (rig, pod, other, version) = rig_of_two().await;
    let mut watch = watch(&other, &version, "", &[]).await;
    assert_eq!(post(&pod, "waits", "p").await, 201);
    assert_eq!(told(&mut watch).await, pair("ADDED", "waits"));
    rig.fake.remove_token(TOKEN);
    rig.restore().await;
    // As this one does from the cloud.
    assert_eq!(other.get(&format!("{EVENTS}/m-online")).await.unwrap().status, 200);
    rig.cut(Fault::Refuse).await;
    assert_eq!(post(&other, "more", "p").await, 201);
    assert_eq!(told(&mut watch).await, pair("ADDED", "more"), "and nothing is DELETED before");
    rig.fake.add_token(TOKEN, SAMPLE_USER, &["system:serviceaccounts"]);
    rig.restore().await;
    assert_eq!(all_told(&mut watch).await, [pair("ADDED", "more"), pair("ADDED", "waits")]);
    goes_on(&rig, &mut watch, "later").await;
}

#[tokio::test]
async fn a_change_that_was_refused_is_taken_back_and_one_that_was_delivered_comes_as_the_clouds() {
    for is_refused in [true, false] {
        let (rig, pod, _, _) = rig().await;
        rig.restore().await;
        let patch = async |count: u32| {
            let fields = [("content-type", "application/strategic-merge-patch+json")];
            let change = json!({"count": count, "message": format!("{count} times"), "lastTimestamp": "2026-01-01T00:00:09Z"});
            pod.request("PATCH", &format!("{EVENTS}/m-online"), &fields, change.to_string()).await.unwrap().status.as_u16()
        };
        rig.fake.allow(SAMPLE_USER, "patch", "events", "story", "*");
        assert_eq!(patch(2).await, 200);
        let version = is_cut_behind_a_list(&rig, &pod).await;
        let mut watch = watch(&pod, &version, "", &[]).await;
        assert_eq!(patch(5).await, 200);
        let mut count = async || {
            let event = next(&mut watch).await;
            assert_eq!(event["type"], "MODIFIED", "{event}");
            event["object"]["count"].as_u64().unwrap()
        };
        assert_eq!(count().await, 5);
        if is_refused {
            only_reads(&rig);
        }
        rig.restore().await;
        assert_eq!(count().await, if is_refused { 2 } else { 5 });
        goes_on(&rig, &mut watch, "later").await;
    }
}

#[tokio::test]
async fn where_the_cloud_knows_the_version_no_more_the_difference_has_it() {
    let (rig, pod, _, version) = rig().await;
    let mut watch = watch(&pod, &version, "", &[]).await;
    assert_eq!(post(&pod, "a-local", "p").await, 201);
    assert_eq!(told(&mut watch).await, pair("ADDED", "a-local"));
    rig.fake.put("events", "story", "meanwhile", json!({"message": "from the cloud"}));
    rig.fake.delete("events", "story", "m-online");
    rig.fake.compact();
    rig.restore().await;
    assert_eq!(all_told(&mut watch).await, [pair("ADDED", "a-local"), pair("ADDED", "meanwhile"), pair("DELETED", "m-online")]);
    goes_on(&rig, &mut watch, "later").await;
}

#[tokio::test]
async fn another_process_goes_on_in_the_cut_and_after_it() {
    let (mut rig, pod, _, version) = rig().await;
    let mut watch = watch(&pod, &version, "", &[]).await;
    assert_eq!(post(&pod, "a-local", "p").await, 201);
    assert_eq!(told(&mut watch).await, pair("ADDED", "a-local"));
    rig.hub.hand_over().await.unwrap();
    assert_eq!(told(&mut watch).await, pair("ADDED", "a-local"), "all that waits is told again");
    rig.restore().await;
    assert_eq!(told(&mut watch).await, pair("ADDED", "a-local"), "by the cloud");
    rig.hub.hand_over().await.unwrap();
    goes_on(&rig, &mut watch, "later").await;
}
