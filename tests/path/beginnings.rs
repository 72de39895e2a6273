//! Watches that begin with all there is, as of clients that do not list: they go on through a cut like any other.

use serde_json::Value;
use testkit::client::{Client, Streaming};
use testkit::fake::{FakeOptions, Fault};
use testkit::hub::eventually;

use crate::held::{counted, event, listed, put};
use crate::{CONFIGMAPS, Rig, SECONDS, hidden};

/// As clients ask who know nothing of bookmarks.
const PLAIN: [&str; 2] = ["watch=true", "watch=1&resourceVersion=0"];

struct Begun(Streaming);

impl Begun {
    async fn begin(client: &Client, query: &str) -> Self {
        let stream = client.stream("GET", &format!("{CONFIGMAPS}?{query}&timeoutSeconds=600"), &[], "").await.unwrap();
        assert_eq!(stream.status, 200);
        Self(stream)
    }

    /// The next event, whatever it is; `None`: the end.
    async fn any(&mut self) -> Option<Value> {
        tokio::time::timeout(SECONDS(20), self.0.event()).await.expect("an event").expect("no fault")
    }

    /// The type of the next event, its object's name and its text.
    async fn next(&mut self) -> (String, String, String) {
        let event = self.any().await.expect("no end");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let object = &event["object"];
        (text(&event["type"]), text(&object["metadata"]["name"]), text(&object["data"]["text"]))
    }

    async fn has_all(&mut self) {
        assert_eq!(self.next().await, event("ADDED", "greeting", "hello"));
        assert_eq!(self.next().await.1, "zz-last");
    }
}

#[tokio::test]
async fn whoever_has_not_asked_for_bookmarks_gets_none_and_goes_on() {
    for query in PLAIN {
        let rig = Rig::start().await;
        let mut watch = Begun::begin(&rig.pod().await, query).await;
        watch.has_all().await;
        put(&rig, "before", "1");
        assert_eq!(watch.next().await, event("ADDED", "before", "1"));
        for round in ["2", "3"] {
            rig.cut(Fault::Refuse).await;
            put(&rig, "before", round);
            rig.restore().await;
            assert_eq!(watch.next().await, event("MODIFIED", "before", round), "{query}");
        }
        rig.fake.delete("configmaps", "story", "greeting");
        assert_eq!(watch.next().await.0, "DELETED");
    }
}

/// What it is told is remembered as a list is.
#[tokio::test]
async fn it_begins_again_while_the_link_is_down() {
    for query in PLAIN {
        let rig = Rig::start().await;
        let client = rig.pod().await;
        Begun::begin(&client, query).await.has_all().await;
        rig.remembered(1.0).await;
        rig.cut(Fault::Refuse).await;
        let mut watch = Begun::begin(&client, query).await;
        watch.has_all().await;
        put(&rig, "meanwhile", "1");
        rig.restore().await;
        assert_eq!(watch.next().await, event("ADDED", "meanwhile", "1"), "{query}");
        rig.cut(Fault::Refuse).await;
        put(&rig, "meanwhile", "2");
        rig.restore().await;
        assert_eq!(watch.next().await, event("MODIFIED", "meanwhile", "2"), "{query}");
    }
}

/// A kube-apiserver without the gate WatchList.
async fn old(bookmark_every: std::time::Duration) -> Rig {
    Rig::with(FakeOptions { watch_list: false, bookmark_every, ..FakeOptions::default() }, &[]).await
}

/// It says only after a while where a client stands.
#[tokio::test]
async fn where_the_cloud_does_not_mark_the_end_the_next_bookmark_does() {
    let rig = old(SECONDS(1)).await;
    let client = rig.pod().await;
    let mut watch = Begun::begin(&client, PLAIN[0]).await;
    watch.has_all().await;
    // This one begins later, and is shown its bookmark.
    let mut marked = Begun::begin(&client, "watch=true&allowWatchBookmarks=true").await;
    marked.has_all().await;
    assert_eq!(marked.next().await.0, "BOOKMARK");
    rig.cut(Fault::Refuse).await;
    put(&rig, "meanwhile", "1");
    rig.restore().await;
    assert_eq!(watch.next().await, event("ADDED", "meanwhile", "1"));
}

/// The initial events are ADDED, and come first.
#[tokio::test]
async fn where_no_bookmark_comes_the_first_change_says_where_a_client_stands() {
    let rig = old(SECONDS(3600)).await;
    let client = rig.pod().await;
    let mut watch = Begun::begin(&client, PLAIN[0]).await;
    watch.has_all().await;
    put(&rig, "greeting", "1");
    assert_eq!(watch.next().await, event("MODIFIED", "greeting", "1"));
    rig.remembered(1.0).await;
    rig.cut(Fault::Refuse).await;
    let mut again = Begun::begin(&client, PLAIN[0]).await;
    assert_eq!(again.next().await, event("ADDED", "greeting", "1"), "it is remembered");
    put(&rig, "meanwhile", "1");
    rig.restore().await;
    assert_eq!(watch.next().await, event("ADDED", "meanwhile", "1"));
}

/// Bytes that an event has beside its object, and some of the next one's.
const MORE: usize = 80;

fn names(events: &[(String, String, String)]) -> Vec<&str> {
    events.iter().map(|(_, name, _)| &**name).collect()
}

/// Of the next answer no more comes than the events of these objects, and some of the next one's.
async fn stall_behind(rig: &Rig, client: &Client, names: &[&str]) {
    let mut bytes = 0;
    for name in names {
        bytes += client.get(&format!("{CONFIGMAPS}/{name}")).await.unwrap().text().len() + MORE;
    }
    rig.fake.fault_next(CONFIGMAPS, Fault::StallBody(bytes));
}

/// Its client has the first of two objects when the link breaks.
async fn broken_off(rig: &Rig, client: &Client, query: &str) -> Begun {
    stall_behind(rig, client, &["greeting"]).await;
    let mut watch = Begun::begin(client, query).await;
    assert_eq!(watch.next().await, event("ADDED", "greeting", "hello"));
    rig.cut(Fault::Refuse).await;
    watch
}

#[tokio::test]
async fn who_was_still_being_told_is_told_what_it_lacks() {
    let marked = "watch=true&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
    for query in PLAIN.into_iter().chain([marked]) {
        let rig = Rig::start().await;
        let mut watch = broken_off(&rig, &rig.pod().await, query).await;
        put(&rig, "greeting", "again");
        put(&rig, "meanwhile", "1");
        rig.restore().await;
        let told = [watch.next().await, watch.next().await, watch.next().await];
        assert_eq!(names(&told), ["greeting", "meanwhile", "zz-last"], "{query}");
        assert_eq!((&told[0], &told[1]), (&event("MODIFIED", "greeting", "again"), &event("ADDED", "meanwhile", "1")));
        assert_eq!(told[2].0, "ADDED");
        if query == marked {
            let bookmark = watch.any().await.unwrap();
            assert_eq!(bookmark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true", "{bookmark}");
        }
        put(&rig, "after", "1");
        assert_eq!(watch.next().await, event("ADDED", "after", "1"));
        assert!(counted(&rig, "the cloud goes on").await >= 1.0);
    }
}

#[tokio::test]
async fn what_a_rule_hides_is_not_told_when_it_begins_anew() {
    let rig = hidden::rig(&[], "my-agent").await;
    stall_behind(&rig, &rig.hub.kubelet().await.unwrap(), &["dark", "dim", "greeting"]).await;
    let stream = hidden::watch(&rig, "").await;
    assert_eq!(stream.status, 200);
    let mut watch = Begun(stream);
    assert_eq!(watch.next().await, event("ADDED", "greeting", "hello"));
    rig.cut(Fault::Refuse).await;
    hidden::put(&rig, "dark", "yes", "1");
    put(&rig, "greeting", "again");
    rig.restore().await;
    assert_eq!(watch.next().await, event("MODIFIED", "greeting", "again"));
    assert_eq!(watch.next().await.1, "zz-last");
    hidden::is_told_nothing_of_what_is_hidden(&rig, &mut watch.0, "behind the beginning").await;
}

#[tokio::test]
async fn what_the_node_knows_it_tells_while_the_link_is_down() {
    let rig = Rig::start().await;
    let client = rig.pod().await;
    listed(&rig, &client, "").await;
    let mut watch = broken_off(&rig, &client, PLAIN[0]).await;
    assert_eq!(watch.next().await.1, "zz-last");
    rig.fake.delete("configmaps", "story", "greeting");
    put(&rig, "meanwhile", "1");
    rig.restore().await;
    assert_eq!(watch.next().await, event("DELETED", "greeting", "hello"));
    assert_eq!(watch.next().await, event("ADDED", "meanwhile", "1"));
}

#[tokio::test]
async fn who_has_what_is_gone_meanwhile_is_told_so() {
    let rig = Rig::start().await;
    let mut watch = broken_off(&rig, &rig.pod().await, PLAIN[0]).await;
    rig.fake.delete("configmaps", "story", "greeting");
    rig.restore().await;
    assert_eq!(watch.next().await.1, "zz-last");
    assert_eq!(watch.next().await, event("DELETED", "greeting", "hello"));
    put(&rig, "greeting", "again");
    assert_eq!(watch.next().await, event("ADDED", "greeting", "again"));
}

/// An end would tell its client that it has all there is.
#[tokio::test]
async fn where_the_cloud_refuses_to_tell_the_rest_the_stream_breaks_off() {
    let rig = old(SECONDS(3600)).await;
    let mut watch = broken_off(&rig, &rig.pod().await, PLAIN[0]).await;
    rig.restore().await;
    assert!(watch.0.event().await.is_err());
    let over = async || Ok(counted(&rig, "ended").await >= 1.0);
    eventually("it is counted", SECONDS(5), over).await.unwrap();
}
