//! A client is told that something is gone only if it was shown it, whatever the node remembers of that.

use serde_json::{Value, json};
use testkit::client::Streaming;
use testkit::fake::{FakeOptions, Fault};

use super::filters::{names, next, pair};
use super::held::{Watching, counted};
use super::*;

const AGENT: [(&str, &str); 1] = [("user-agent", "my-agent/v1")];
const HIDE: &str = "- {name: hide, match: {components: [my-agent], resources: [configmaps], labelSelector: {matchLabels: {hide: 'yes'}}}, drop: true}";

pub(super) fn put(rig: &Rig, name: &str, hide: &str, text: &str) {
    rig.fake.put("configmaps", "story", name, json!({"metadata": {"labels": {"hide": hide}}, "data": {"text": text}}));
}

fn configure(rig: &Rig, data: &Value) {
    rig.fake.put("configmaps", "kube-system", "yurt-hub-cfg", json!({"data": data}));
}

/// A hub with these flags, whose rule hides two ConfigMaps.
pub(super) async fn rig(flags: &[&str], agents: &str) -> Rig {
    let rig = Rig::with(FakeOptions::default(), flags).await;
    for name in ["dark", "dim"] {
        put(&rig, name, "yes", "0");
    }
    configure(&rig, &json!({"cache_agents": agents, "rules": HIDE}));
    // Another selector, another client: nobody is told anything by this.
    let probe = async || Ok(page(&rig, "labelSelector=!nothing").await.0 == ["greeting", "zz-last"]);
    eventually("they are hidden", SECONDS(10), probe).await.unwrap();
    rig
}

/// What a page of a list has, as of which version, and where the next one begins.
pub(super) async fn page(rig: &Rig, query: &str) -> (Vec<String>, String, String) {
    let client = rig.hub.kubelet().await.unwrap();
    let list = client.request("GET", &format!("{CONFIGMAPS}?{query}"), &AGENT, "").await.unwrap().json();
    let metadata = |name: &str| list["metadata"][name].as_str().unwrap_or_default().to_owned();
    (names(&list), metadata("resourceVersion"), metadata("continue"))
}

pub(super) async fn watch(rig: &Rig, query: &str) -> Streaming {
    rig.hub.kubelet().await.unwrap().stream("GET", &format!("{CONFIGMAPS}?watch=1&{query}"), &AGENT, "").await.unwrap()
}

pub(super) async fn watch_from(rig: &Rig, version: &str) -> Streaming {
    watch(rig, &format!("resourceVersion={version}")).await
}

/// Neither is the client told that a hidden one has changed, nor that one is gone, nor of a new one before it is shown.
pub(super) async fn is_told_nothing_of_what_is_hidden(rig: &Rig, watch: &mut Streaming, what: &str) {
    assert_eq!(watch.status, 200, "{what}");
    put(rig, "dark", "yes", "1");
    put(rig, "greeting", "no", "1");
    assert_eq!(next(watch).await, pair("MODIFIED", "greeting"), "{what}");
    rig.fake.delete("configmaps", "story", "dim");
    put(rig, "new", "yes", "1");
    put(rig, "greeting", "no", "2");
    assert_eq!(next(watch).await, pair("MODIFIED", "greeting"), "{what}");
    put(rig, "dark", "no", "2");
    put(rig, "new", "no", "2");
    for name in ["dark", "new"] {
        assert_eq!(next(watch).await, pair("ADDED", name), "{what}");
    }
    put(rig, "dark", "yes", "3");
    assert_eq!(next(watch).await, pair("DELETED", "dark"), "{what}");
}

#[tokio::test]
async fn what_is_hidden_is_not_told_of_whether_anything_is_remembered_or_not() {
    for (flags, agents) in [(&[][..], "*"), (&[], "nobody"), (&["--working-mode=cloud"], "*")] {
        let rig = rig(flags, agents).await;
        let (_, version, _) = page(&rig, "").await;
        let what = format!("{flags:?} {agents}");
        is_told_nothing_of_what_is_hidden(&rig, &mut watch_from(&rig, &version).await, &what).await;
    }
}

#[tokio::test]
async fn what_is_hidden_is_not_told_of_to_who_lists_in_pages_or_offline() {
    let rig = rig(&[], "*").await;
    let (mut go_on, mut version) = (String::new(), String::new());
    while version.is_empty() || !go_on.is_empty() {
        (_, version, go_on) = page(&rig, &format!("limit=1&continue={go_on}")).await;
    }
    is_told_nothing_of_what_is_hidden(&rig, &mut watch_from(&rig, &version).await, "pages").await;
    put(&rig, "dim", "yes", "4");
    rig.fake.delete("configmaps", "story", "new");
    let lists = rig.hub.metric("holdfast_lists_remembered_total").await.unwrap();
    page(&rig, "").await;
    rig.remembered(lists + 1.0).await;
    rig.cut(Fault::Refuse).await;
    let (names, version, _) = page(&rig, "").await;
    assert_eq!(names, ["greeting", "zz-last"]);
    rig.restore().await;
    is_told_nothing_of_what_is_hidden(&rig, &mut watch_from(&rig, &version).await, "offline").await;
}

/// The type of the next event, from which its client would go on; null: there is none.
async fn told(watch: &mut Streaming, version: &mut String) -> Value {
    let Some(mut event) = watch.event().await.unwrap() else { return Value::Null };
    event["object"]["metadata"]["resourceVersion"].as_str().unwrap().clone_into(version);
    event["type"].take()
}

/// The client stands before what was not told to it, and the cloud tells that again.
#[tokio::test]
async fn a_watch_that_goes_on_is_told_nothing_of_what_has_happened_unseen() {
    const STREAMED: &str = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    for (begins, flags) in
        [("a list", &[][..]), ("a list", &["--working-mode=cloud"]), (STREAMED, &[]), (STREAMED, &["--working-mode=cloud"])]
    {
        let rig = rig(flags, "*").await;
        put(&rig, "gone", "yes", "0");
        let mut version = page(&rig, "").await.1;
        let first = if begins == STREAMED { STREAMED.to_owned() } else { format!("resourceVersion={version}") };
        let mut ends = watch(&rig, &format!("{first}&timeoutSeconds=2")).await;
        if begins == STREAMED {
            while told(&mut ends, &mut version).await == "ADDED" {}
        }
        put(&rig, "greeting", "no", "before");
        assert_eq!(told(&mut ends, &mut version).await, json!("MODIFIED"));
        put(&rig, "dark", "yes", "unseen");
        rig.fake.delete("configmaps", "story", "gone");
        // Its time is up, and the cloud may say then how far it is.
        while told(&mut ends, &mut version).await == "BOOKMARK" {}
        let what = format!("{begins} {flags:?}");
        is_told_nothing_of_what_is_hidden(&rig, &mut watch_from(&rig, &version).await, &what).await;
    }
}

/// The node knows of more than the client was told, and the cloud goes on from where that stands.
#[tokio::test]
async fn a_watch_goes_on_through_a_cut_behind_what_has_happened_unseen() {
    let rig = rig(&[], "*").await;
    let lists = rig.hub.metric("holdfast_lists_remembered_total").await.unwrap();
    let (_, version, _) = page(&rig, "").await;
    rig.remembered(lists + 1.0).await;
    let mut open = watch_from(&rig, &version).await;
    let path = format!("{CONFIGMAPS}?watch=1&resourceVersion={version}");
    let mut other = rig.pod().await.stream("GET", &path, &[], "").await.unwrap();
    put(&rig, "greeting", "no", "0");
    assert_eq!(next(&mut open).await, pair("MODIFIED", "greeting"));
    put(&rig, "dark", "yes", "unseen");
    for name in ["greeting", "dark"] {
        assert_eq!(next(&mut other).await, pair("MODIFIED", name));
    }
    rig.cut(Fault::Refuse).await;
    rig.restore().await;
    is_told_nothing_of_what_is_hidden(&rig, &mut open, "behind a cut").await;
}

#[tokio::test]
async fn who_goes_on_from_where_nobody_has_told_it_what_there_is_lists_again() {
    let rig = rig(&["--working-mode=cloud"], "*").await;
    page(&rig, "").await;
    put(&rig, "greeting", "no", "1");
    assert_eq!(watch_from(&rig, &rig.fake.resource_version().to_string()).await.status, 410);
    let (_, version, _) = page(&rig, "").await;
    assert_eq!(watch_from(&rig, &version).await.status, 200);
}

/// There is no store by which the difference could be told.
#[tokio::test]
async fn in_cloud_mode_a_change_of_the_rules_ends_the_watch_and_the_list_follows_them() {
    let rig = rig(&["--working-mode=cloud"], "*").await;
    let (_, version, _) = page(&rig, "").await;
    let mut open = watch_from(&rig, &version).await;
    put(&rig, "greeting", "no", "1");
    assert_eq!(next(&mut open).await, pair("MODIFIED", "greeting"));
    configure(&rig, &json!({}));
    let last = tokio::time::timeout(SECONDS(10), open.event()).await.expect("an event").unwrap().unwrap();
    assert_eq!((&last["type"], &last["object"]["code"]), (&json!("ERROR"), &json!(410)));
    assert_eq!(next(&mut open).await, None);
    let (names, version, _) = page(&rig, "").await;
    assert_eq!(names, ["dark", "dim", "greeting", "zz-last"]);
    let mut open = watch_from(&rig, &version).await;
    put(&rig, "dark", "yes", "1");
    assert_eq!(next(&mut open).await, pair("MODIFIED", "dark"));
}

/// The last that has happened was hidden: its client stands before that, and the hub knows more.
#[tokio::test]
async fn where_the_cloud_knows_the_version_no_more_the_difference_is_told_of_what_is_shown() {
    let rig = rig(&[], "*").await;
    let (_, version, _) = page(&rig, "").await;
    let mut watch = watch_from(&rig, &version).await;
    put(&rig, "greeting", "no", "1");
    assert_eq!(next(&mut watch).await, pair("MODIFIED", "greeting"));
    let mut unfiltered = Watching::begin(&rig, &rig.pod().await, "").await.stream;
    for text in ["1", "2"] {
        put(&rig, "dark", "yes", text);
        assert_eq!(next(&mut unfiltered).await, pair("MODIFIED", "dark"));
    }
    rig.cut(Fault::Refuse).await;
    put(&rig, "dark", "yes", "3");
    put(&rig, "dim", "no", "1");
    put(&rig, "greeting", "yes", "2");
    rig.fake.compact();
    rig.restore().await;
    let mut told = [next(&mut watch).await, next(&mut watch).await];
    told.sort();
    assert_eq!(told, [pair("ADDED", "dim"), pair("DELETED", "greeting")]);
    put(&rig, "later", "no", "1");
    assert_eq!(next(&mut watch).await, pair("ADDED", "later"));
}

/// The same state, of a later version.
#[tokio::test]
async fn a_watch_goes_on_though_somebody_else_has_listed_the_same_later() {
    let rig = rig(&[], "my-agent,sample").await;
    let (_, version, _) = page(&rig, "").await;
    let mut watch = watch_from(&rig, &version).await;
    rig.fake.put("secrets", "story", "another", json!({}));
    let lists = rig.hub.metric("holdfast_lists_remembered_total").await.unwrap();
    rig.pod().await.get(CONFIGMAPS).await.unwrap();
    rig.remembered(lists + 1.0).await;
    rig.cut(Fault::Refuse).await;
    let goes_on = async || Ok(counted(&rig, "the store goes on").await >= 1.0);
    eventually("the store goes on", SECONDS(10), goes_on).await.unwrap();
    rig.restore().await;
    is_told_nothing_of_what_is_hidden(&rig, &mut watch, "after the cut").await;
}
