//! A client's watch stays open whatever happens to the connection that brings it, and leads to the cloud's state.

use serde_json::{Value, json};
use testkit::client::{Client, Streaming};
use testkit::disk::SmallDisk;
use testkit::fake::{FakeOptions, Fault};
use testkit::hub::eventually;

use crate::{CONFIGMAPS, Rig, SECONDS, TOKEN, asked_by_pods, skipped};

/// All that a watch from here on is told of, and where its client stands.
pub(super) struct Watching {
    pub(super) stream: Streaming,
    pub(super) version: u64,
    /// The object of the last event.
    pub(super) last: String,
}

impl Watching {
    /// Lists, and watches from there.
    pub(super) async fn begin(rig: &Rig, client: &Client, query: &str) -> Self {
        let version = listed(rig, client, query).await;
        Self::from(client, version, query).await
    }

    pub(super) async fn from(client: &Client, version: u64, query: &str) -> Self {
        let path = format!("{CONFIGMAPS}?watch=true&timeoutSeconds=600&resourceVersion={version}&{query}");
        let stream = client.stream("GET", &path, &[], "").await.unwrap();
        assert_eq!(stream.status, 200);
        Self { stream, version, last: String::new() }
    }

    /// The next event but bookmarks: its type, the object's name and its text. Versions never go back.
    pub(super) async fn next(&mut self) -> (String, String, String) {
        loop {
            let event = tokio::time::timeout(SECONDS(20), self.stream.event()).await.expect("an event").unwrap().expect("no end");
            let object = &event["object"];
            let version = object["metadata"]["resourceVersion"].as_str().and_then(|version| version.parse::<u64>().ok());
            let version = version.unwrap_or_else(|| panic!("{event}"));
            assert!(version >= self.version, "{version} after {}: {event}", self.version);
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            if event["type"] != "BOOKMARK" {
                let name = text(&object["metadata"]["name"]);
                assert!(version > self.version || name != self.last, "no event twice: {event}");
                (self.version, self.last) = (version, name.clone());
                return (text(&event["type"]), name, text(&object["data"]["text"]));
            }
            self.version = version;
        }
    }
}

/// The version of a list that the node remembers.
pub(super) async fn listed(rig: &Rig, client: &Client, query: &str) -> u64 {
    let list = client.get(&format!("{CONFIGMAPS}?{query}")).await.unwrap().json();
    rig.remembered(1.0).await;
    list["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
}

pub(super) fn event(kind: &str, name: &str, text: &str) -> (String, String, String) {
    (kind.to_owned(), name.to_owned(), text.to_owned())
}

pub(super) fn put(rig: &Rig, name: &str, text: &str) {
    rig.fake.put("configmaps", "story", name, json!({"metadata": {"labels": {"is": text}}, "data": {"text": text}}));
}

/// The requests of a kind that the cloud has got.
fn asked(rig: &Rig, what: &str) -> usize {
    asked_by_pods(&rig.fake).iter().filter(|path| path.contains(what)).count()
}

pub(super) async fn counted(rig: &Rig, reason: &str) -> f64 {
    rig.hub.metric(&format!("holdfast_watches_held_total{{reason=\"{reason}\"}}")).await.unwrap_or(0.0)
}

#[tokio::test]
async fn a_watch_goes_on_through_a_cut_from_where_its_client_stands() {
    for fault in [Fault::Refuse, Fault::Reset, Fault::Silence] {
        let rig = Rig::start().await;
        let mut watching = Watching::begin(&rig, &rig.pod().await, "allowWatchBookmarks=true").await;
        put(&rig, "before", "1");
        assert_eq!(watching.next().await, event("ADDED", "before", "1"));
        rig.cut(fault).await;
        put(&rig, "before", "2");
        rig.fake.delete("configmaps", "story", "greeting");
        put(&rig, "meanwhile", "3");
        rig.restore().await;
        assert_eq!(watching.next().await, event("MODIFIED", "before", "2"), "{fault:?}");
        assert_eq!(watching.next().await, event("DELETED", "greeting", "hello"));
        assert_eq!(watching.next().await, event("ADDED", "meanwhile", "3"));
        put(&rig, "after", "4");
        assert_eq!(watching.next().await, event("ADDED", "after", "4"));
        assert_eq!(asked(&rig, "configmaps?limit"), 0, "nothing is listed again");
    }
}

/// A disk on which an event had no room.
#[tokio::test]
async fn what_the_node_has_missed_it_fetches_before_a_watch_goes_on() {
    let Some(disk) = SmallDisk::mount(8 << 20) else { return skipped("root, to mount a small disk") };
    let flag = format!("--disk-cache-path={}", disk.path().display());
    let rig = Rig::with(FakeOptions::default(), &[&flag]).await;
    let client = rig.pod().await;
    assert_eq!(client.get(CONFIGMAPS).await.unwrap().status, 200);
    rig.described().await;
    let post = async |name: &str| {
        let (path, headers) = ("/api/v1/namespaces/story/events", [("content-type", "application/json")]);
        client.request("POST", path, &headers, crate::event("story", name).to_string()).await.unwrap().status
    };
    assert_eq!(post("granted").await, 201);
    rig.cut(Fault::Refuse).await;
    assert_eq!(post("promised").await, 201, "all that came before is on the disk with it");
    rig.restore().await;
    let mut watching = Watching::begin(&rig, &client, "").await;
    disk.fill().unwrap();
    let large = testkit::noise(100_000);
    put(&rig, "large", &large);
    assert_eq!(watching.next().await, event("ADDED", "large", &large));
    let failed = async || Ok(rig.hub.log().contains("a write to the store failed"));
    eventually("there is no room for it", SECONDS(10), failed).await.unwrap();
    disk.free().unwrap();
    rig.fake.fault(Fault::Reset);
    put(&rig, "after", "1");
    rig.fake.heal().unwrap();
    assert_eq!(watching.next().await, event("ADDED", "after", "1"));
    rig.cut(Fault::Refuse).await;
    let list = client.get(CONFIGMAPS).await.unwrap();
    assert_eq!(list.status, 200, "{}", list.text());
    let names: Vec<_> = list.json()["items"].as_array().unwrap().iter().map(|item| item["metadata"]["name"].clone()).collect();
    assert_eq!(names, ["after", "greeting", "large", "zz-last"]);
}

#[tokio::test]
async fn what_the_store_is_ahead_of_the_cloud_may_still_tell() {
    let rig = Rig::start().await;
    let client = rig.pod().await;
    let version = listed(&rig, &client, "").await;
    let mut watching = Watching::from(&client, version, "labelSelector=is%3Dselected").await;
    // Another list is newer than what this client was told.
    put(&rig, "other", "not-selected");
    listed(&rig, &client, "").await;
    rig.remembered(2.0).await;
    rig.cut(Fault::Refuse).await;
    put(&rig, "meanwhile", "selected");
    rig.restore().await;
    assert_eq!(watching.next().await, event("ADDED", "meanwhile", "selected"));
    assert_eq!(asked(&rig, "configmaps?limit"), 0, "nothing is listed again");
}

#[tokio::test]
async fn a_watch_goes_on_in_its_own_representation_alone() {
    let rig = Rig::start().await;
    let client = rig.pod().await;
    // Of all that this client takes the node has JSON.
    let version = listed(&rig, &client, "").await;
    let path = format!("{CONFIGMAPS}?watch=true&resourceVersion={version}");
    let accept = ("accept", "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json");
    let mut stream = client.stream("GET", &path, &[accept], "").await.unwrap();
    assert_eq!(stream.headers["content-type"], "application/vnd.kubernetes.protobuf;stream=watch");
    rig.cut(Fault::Refuse).await;
    put(&rig, "meanwhile", "1");
    rig.restore().await;
    let chunk = tokio::time::timeout(SECONDS(20), stream.chunk()).await.expect("an event").unwrap().expect("no end");
    let text = String::from_utf8_lossy(&chunk);
    assert!(text.contains("k8s\0") && text.contains("PartialObjectMetadata") && text.contains("meanwhile"), "{text}");
}

#[tokio::test]
async fn a_connection_that_breaks_under_a_link_that_is_up_is_none_of_a_watchs_business() {
    let rig = Rig::start().await;
    let mut watching = Watching::begin(&rig, &rig.pod().await, "").await;
    for text in ["1", "2", "3"] {
        rig.fake.fault(Fault::Reset);
        put(&rig, "greeting", text);
        rig.fake.heal().unwrap();
        assert_eq!(watching.next().await, event("MODIFIED", "greeting", text));
    }
}

#[tokio::test]
async fn what_the_cloud_has_forgotten_is_told_as_the_difference() {
    let rig = Rig::start().await;
    for selector in ["", "labelSelector=is%21%3Dhidden"] {
        for name in ["stays", "changes", "goes", "is-made-anew", "leaves"] {
            put(&rig, name, "old");
        }
        let lists = asked(&rig, "limit=");
        let mut watching = Watching::begin(&rig, &rig.pod().await, selector).await;
        put(&rig, "last", if selector.is_empty() { "1" } else { "2" });
        assert_eq!(watching.next().await.1, "last");
        rig.cut(Fault::Refuse).await;
        put(&rig, "changes", "new");
        rig.fake.delete("configmaps", "story", "goes");
        rig.fake.delete("configmaps", "story", "is-made-anew");
        put(&rig, "is-made-anew", "new");
        put(&rig, "leaves", "hidden");
        put(&rig, "comes", "new");
        rig.fake.compact();
        rig.restore().await;
        // Of these nobody knows since when.
        assert_eq!(watching.next().await, event("DELETED", "goes", "old"));
        assert_eq!(watching.next().await, event("DELETED", "is-made-anew", "old"));
        if !selector.is_empty() {
            assert_eq!(watching.next().await, event("DELETED", "leaves", "old"));
        }
        assert_eq!(watching.next().await, event("MODIFIED", "changes", "new"));
        assert_eq!(watching.next().await, event("ADDED", "is-made-anew", "new"));
        if selector.is_empty() {
            assert_eq!(watching.next().await, event("MODIFIED", "leaves", "hidden"));
        }
        assert_eq!(watching.next().await, event("ADDED", "comes", "new"));
        put(&rig, "comes", "newer");
        assert_eq!(watching.next().await, event("MODIFIED", "comes", "newer"));
        assert_eq!(asked(&rig, "limit="), lists + 1, "one list, of the hub's");
        for name in ["comes", "goes"] {
            rig.fake.delete("configmaps", "story", name);
        }
    }
    assert_eq!(counted(&rig, "the difference was told").await, 2.0);
}

/// The store knows what the client was shown before the first cut, and what it was told since.
#[tokio::test]
async fn what_was_told_between_two_cuts_is_no_part_of_the_difference() {
    let rig = Rig::start().await;
    let mut watching = Watching::begin(&rig, &rig.pod().await, "").await;
    rig.cut(Fault::Refuse).await;
    put(&rig, "meanwhile", "1");
    rig.restore().await;
    assert_eq!(watching.next().await, event("ADDED", "meanwhile", "1"));
    rig.cut(Fault::Refuse).await;
    put(&rig, "last", "1");
    rig.fake.compact();
    rig.restore().await;
    assert_eq!(watching.next().await, event("ADDED", "last", "1"));
    assert_eq!(counted(&rig, "the difference was told").await, 1.0);
}

/// What the node knows of more than it watches is not what it is told next.
#[tokio::test]
async fn who_is_told_a_difference_can_be_told_the_next_one_whoever_has_listed_more() {
    let rig = Rig::start().await;
    let client = rig.pod().await;
    let mut watching = Watching::begin(&rig, &client, "labelSelector=is%21%3Dhidden").await;
    for name in ["first", "second", "third"] {
        rig.cut(Fault::Refuse).await;
        put(&rig, name, "old");
        rig.fake.compact();
        rig.restore().await;
        // Before anybody whose watch was lost lists.
        listed(&rig, &client, "").await;
        assert_eq!(watching.next().await, event("ADDED", name, "old"));
        put(&rig, name, "new");
        assert_eq!(watching.next().await, event("MODIFIED", name, "new"));
    }
    assert_eq!(counted(&rig, "the difference was told").await, 3.0);
    assert_eq!(asked(&rig, "limit="), 3, "one list for each, of the hub's");
}

#[tokio::test]
async fn two_that_stand_at_different_versions_are_each_told_their_own_difference() {
    let rig =
        Rig::with(FakeOptions { bookmark_every: std::time::Duration::from_millis(200), ..FakeOptions::default() }, &[]).await;
    let client = rig.pod().await;
    let mut quiet = Watching::begin(&rig, &client, "").await;
    let mut marked = Watching::begin(&rig, &client, "allowWatchBookmarks=true").await;
    // Something else goes on in the cluster, which bookmarks tell of.
    rig.fake.put("secrets", "story", "allowed", json!({}));
    while marked.version < rig.fake.resource_version() {
        let event = marked.stream.event().await.unwrap().unwrap();
        marked.version = event["object"]["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
    }
    rig.cut(Fault::Refuse).await;
    rig.fake.delete("configmaps", "story", "greeting");
    put(&rig, "new", "1");
    rig.fake.compact();
    rig.restore().await;
    for watching in [&mut quiet, &mut marked] {
        assert_eq!(watching.next().await.1, "greeting");
        assert_eq!(watching.next().await, event("ADDED", "new", "1"));
    }
    assert_eq!(asked(&rig, "limit="), 1, "what one of them has listed serves the other");
}

#[tokio::test]
async fn a_credential_that_the_cloud_does_not_accept_any_more_ends_the_stream_with_its_401() {
    let rig = Rig::start().await;
    let mut watching = Watching::begin(&rig, &rig.pod().await, "").await;
    rig.cut(Fault::Refuse).await;
    rig.fake.remove_token(TOKEN);
    rig.restore().await;
    let last = watching.stream.event().await.unwrap().unwrap();
    assert_eq!((&last["type"], &last["object"]["code"]), (&json!("ERROR"), &json!(401)));
    assert_eq!(watching.stream.event().await.unwrap(), None);
}

#[tokio::test]
async fn a_right_that_the_cloud_has_taken_back_ends_the_stream_with_its_403() {
    let rig = Rig::start().await;
    let mut watching = Watching::begin(&rig, &rig.pod().await, "").await;
    rig.cut(Fault::Refuse).await;
    rig.fake.forbid_all();
    rig.restore().await;
    let last = watching.stream.event().await.unwrap().unwrap();
    assert_eq!((&last["type"], &last["object"]["code"]), (&json!("ERROR"), &json!(403)));
}

#[tokio::test]
async fn a_client_whose_own_version_is_too_old_is_told_so() {
    let rig = Rig::start().await;
    put(&rig, "greeting", "1");
    rig.fake.compact();
    let mut stream = rig.pod().await.stream("GET", &format!("{CONFIGMAPS}?watch=1&resourceVersion=1"), &[], "").await.unwrap();
    let last = stream.event().await.unwrap().unwrap();
    assert_eq!((&last["type"], &last["object"]["code"]), (&json!("ERROR"), &json!(410)));
    assert_eq!(stream.event().await.unwrap(), None);
    assert_eq!(counted(&rig, "the difference was told").await, 0.0);
}

#[tokio::test]
async fn a_watch_ends_when_its_clients_time_is_up() {
    let rig = Rig::start().await;
    let version = rig.fake.resource_version();
    let path = format!("{CONFIGMAPS}?watch=1&timeoutSeconds=2&resourceVersion={version}");
    let mut stream = rig.pod().await.stream("GET", &path, &[], "").await.unwrap();
    assert_eq!(stream.event().await.unwrap(), None);
    assert_eq!(asked(&rig, "watch=1"), 1, "nobody has asked again");
}

#[tokio::test]
async fn half_an_event_is_not_passed_on_and_comes_whole() {
    let rig = Rig::start().await;
    let client = rig.pod().await;
    client.get(CONFIGMAPS).await.unwrap();
    rig.remembered(1.0).await;
    let version = rig.fake.resource_version();
    rig.fake.fault_next(&format!("{CONFIGMAPS}?watch"), Fault::TruncateBody(700));
    let path = format!("{CONFIGMAPS}?watch=1&resourceVersion={version}");
    let stream = client.stream("GET", &path, &[], "").await.unwrap();
    let mut watching = Watching { stream, version, last: String::new() };
    for text in ["1", "2", "3", "4"] {
        put(&rig, "greeting", text);
        assert_eq!(watching.next().await, event("MODIFIED", "greeting", text));
    }
    eventually("it was asked again", SECONDS(5), async || Ok(counted(&rig, "the cloud goes on").await >= 1.0)).await.unwrap();
}
