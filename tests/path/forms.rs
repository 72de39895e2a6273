//! Metadata forms and Tables: what the cloud and the node show in them, and to whom.

use std::collections::VecDeque;

use holdfast::kube::list::Encoding;
use holdfast::kube::object;
use holdfast::kube::watch::{EventType, Frame, Framer};
use serde_json::{Value, json};
use testkit::client::{Alpn, Streaming};
use testkit::fake::Fault;

use super::filters::{PROXY, SERVICES, names, next, pair, proxy, rig, service};
use super::*;

const JSON: &str = "application/json";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
const METADATA_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
pub(super) const TABLE: &str = "application/json;as=Table;g=meta.k8s.io;v=v1";
const ONE: &str = "/api/v1/namespaces/story/services";
const STREAMED: &str = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";

/// Reads the Services as kube-proxy does, whole, and comes to have the right to all that is asked for here.
async fn read_whole(rig: &Rig) {
    let client = rig.hub.kubelet().await.unwrap();
    let lists = rig.hub.metric("holdfast_lists_remembered_total").await.unwrap();
    for accept in [JSON, PROTOBUF] {
        proxy(&client, SERVICES, accept).await;
        proxy(&client, &format!("{SERVICES}?watch=1&timeoutSeconds=1"), accept).await;
    }
    for name in ["plain", "cloud"] {
        proxy(&client, &format!("{ONE}/{name}"), JSON).await;
    }
    rig.remembered(lists + 2.0).await;
}

async fn watch(rig: &Rig, query: &str, accept: &str) -> Streaming {
    let client = rig.hub.kubelet().await.unwrap();
    let watch = client.stream("GET", &format!("{SERVICES}?{query}"), &[PROXY[0], ("accept", accept)], "").await.unwrap();
    assert_eq!(watch.status, 200, "{query} {accept}");
    watch
}

/// What was read so is asked for again, offline, in metadata form.
async fn listed_offline() -> (Rig, Value) {
    let rig = rig().await;
    read_whole(&rig).await;
    rig.cut(Fault::Refuse).await;
    let list = proxy(&rig.hub.kubelet().await.unwrap(), SERVICES, METADATA_LIST).await.json();
    (rig, list)
}

/// The objects that a Table has in its rows, by name.
fn rows(table: &Value) -> Vec<String> {
    let name = |row: &Value| row["cells"][0].as_str().unwrap().to_owned();
    table["rows"].as_array().unwrap().iter().map(name).filter(|name| name != "kubernetes").collect()
}

/// What an event is about, be it a row.
pub(super) fn of_event(event: &Value) -> String {
    let object = match &event["object"]["rows"] {
        Value::Null => &event["object"],
        rows => &rows[0]["object"],
    };
    object["metadata"]["name"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn what_a_filter_hides_is_hidden_offline_in_metadata_forms_and_tables_too() {
    let (rig, list) = listed_offline().await;
    let client = rig.hub.kubelet().await.unwrap();
    assert_eq!((&list["kind"], names(&list)), (&json!("PartialObjectMetadataList"), vec!["near".into(), "plain".into()]));
    for target in [SERVICES.to_owned(), format!("{SERVICES}?includeObject=None"), format!("{SERVICES}?includeObject=Object")] {
        let table = proxy(&client, &target, TABLE).await;
        assert_eq!(rows(&table.json()), ["near", "plain"], "{target}");
    }
    for accept in [METADATA, TABLE] {
        let hidden = proxy(&client, &format!("{ONE}/cloud"), accept).await;
        assert_eq!((hidden.status.as_u16(), &hidden.json()["reason"]), (404, &json!("NotFound")), "{accept}");
        assert_eq!(proxy(&client, &format!("{ONE}/plain"), accept).await.status, 200, "{accept}");
        let mut open = watch(&rig, STREAMED, accept).await;
        let mut seen = Vec::new();
        while seen.last().is_none_or(|(kind, _): &(Value, String)| kind != "BOOKMARK") {
            let event = tokio::time::timeout(SECONDS(10), open.event()).await.expect("an event").unwrap().unwrap();
            seen.push((event["type"].clone(), of_event(&event)));
        }
        let expected = [("ADDED", "kubernetes"), ("ADDED", "near"), ("ADDED", "plain"), ("BOOKMARK", "")];
        assert_eq!(seen, expected.map(|(kind, name)| (json!(kind), name.to_owned())), "{accept}");
    }
    let mut open = watch(&rig, STREAMED, &METADATA.replace(JSON, PROTOBUF)).await;
    let (mut framer, mut frames) = (Framer::new(Encoding::Protobuf, 1 << 20), Vec::new());
    while frames.last().is_none_or(|frame: &holdfast::kube::watch::Frame| frame.event.kind != EventType::Bookmark) {
        let chunk = tokio::time::timeout(SECONDS(10), open.chunk()).await.expect("an event").unwrap().unwrap();
        framer.feed(chunk, &mut frames).unwrap();
    }
    let meta = |object: &[u8]| object::sent_meta(Encoding::Protobuf, object).unwrap().name;
    let seen: Vec<String> = frames.iter().map(|frame| meta(&frame.event.object)).collect();
    assert_eq!(seen, ["kubernetes", "near", "plain", ""]);
}

/// Who is shown metadata offline and goes on with the cloud.
#[tokio::test]
async fn after_the_cut_what_was_hidden_in_metadata_form_is_no_news_and_what_was_shown_is_taken_back() {
    let (rig, list) = listed_offline().await;
    let from_there = format!("watch=1&resourceVersion={}", list["metadata"]["resourceVersion"].as_str().unwrap());
    let mut online = watch(&rig, &from_there, METADATA).await;
    rig.restore().await;
    let client = rig.hub.kubelet().await.unwrap();
    service(&rig, "plain", "ClusterIP", &json!({"mark": "1"}));
    assert_eq!(next(&mut online).await, pair("MODIFIED", "plain"));
    let discarded = json!({"svc.openyurt.io/discard": "true", "mark": "2"});
    service(&rig, "cloud", "LoadBalancer", &discarded);
    service(&rig, "near", "ClusterIP", &json!({"openyurt.io/topologyKeys": "kubernetes.io/zone", "mark": "2"}));
    assert_eq!(next(&mut online).await, pair("MODIFIED", "near"), "nothing of what it was never shown");
    service(&rig, "plain", "LoadBalancer", &discarded);
    // The event is as fast as the hub's own knowledge, by which it is hidden.
    let mut last = next(&mut online).await;
    if last == pair("MODIFIED", "plain") {
        last = next(&mut online).await;
    }
    assert_eq!(last, pair("DELETED", "plain"));
    assert_eq!(names(&proxy(&client, SERVICES, METADATA_LIST).await.json()), ["near"]);
}

/// As client-go's metadata client asks (k8s.io/client-go/metadata), for a list and for a watch.
const INFORMER: [&str; 2] = [
    "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json",
    "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json",
];

/// A watch of metadata.
struct Metadata {
    watch: Streaming,
    encoding: Encoding,
    framer: Framer,
    came: VecDeque<Frame>,
}

impl Metadata {
    fn of(watch: Streaming, encoding: Encoding) -> Self {
        assert_eq!(watch.status, 200);
        Self { watch, encoding, framer: Framer::new(encoding, 1 << 20), came: VecDeque::new() }
    }

    /// The next event, with a name and a version.
    async fn next(&mut self) -> (EventType, String, u64) {
        while self.came.is_empty() {
            let mut frames = Vec::new();
            self.framer.feed(self.watch.chunk().await.unwrap().expect("the watch goes on"), &mut frames).unwrap();
            self.came.extend(frames);
        }
        let event = self.came.pop_front().unwrap().event;
        let (types, item) = object::whole_into_item(self.encoding, &event.object).unwrap();
        assert_eq!(types.kind, "PartialObjectMetadata");
        let meta = object::meta(self.encoding, &item).unwrap();
        (event.kind, meta.name, meta.resource_version.parse().unwrap())
    }

    /// The same without its version, which an event of the hub's own has from its object; bookmarks are passed over.
    async fn next_named(&mut self) -> (EventType, String) {
        loop {
            match tokio::time::timeout(SECONDS(10), self.next()).await.expect("an event") {
                (EventType::Bookmark, ..) => {}
                (kind, name, _) => return (kind, name),
            }
        }
    }

    /// The names of what it begins with, and as of which version that is.
    async fn begins_with(&mut self) -> (Vec<String>, u64) {
        let mut names = Vec::new();
        loop {
            match self.next().await {
                (EventType::Bookmark, _, version) => return (names, version),
                (kind, name, _) => {
                    assert_eq!(kind, EventType::Added);
                    names.push(name);
                }
            }
        }
    }
}

async fn read(client: &Client, path: &str, accept: &str) -> Streaming {
    client.stream("GET", path, &[("accept", accept)], "").await.unwrap()
}

/// A reflector that is shown metadata alone: nobody on the node has ever asked for whole objects.
#[tokio::test]
async fn an_informer_of_metadata_starts_offline_from_what_it_was_told_and_its_watch_is_held_until_the_link_is_back() {
    const LIST: &str = "/api/v1/namespaces/story/configmaps?limit=500&resourceVersion=0";
    for ([list, watch], encoding) in [(INFORMER, Encoding::Protobuf), ([METADATA_LIST, METADATA], Encoding::Json)] {
        let rig = Rig::start().await;
        let client = rig.pod().await;
        let listed = read(&client, LIST, list).await.finish().await.unwrap();
        let from = |version: u64, seconds: u64| {
            format!("{CONFIGMAPS}?allowWatchBookmarks=true&resourceVersion={version}&timeoutSeconds={seconds}&watch=true")
        };
        assert_eq!(listed.status, 200);
        let mut online = Metadata::of(read(&client, &from(rig.fake.resource_version(), 437), watch).await, encoding);
        let version = rig.fake.put("configmaps", "story", "made", json!({"metadata": {"labels": {"app": "web"}}}));
        assert_eq!(online.next().await, (EventType::Added, "made".into(), version));
        // A user of whom the cloud has said no more than that it may list.
        rig.fake.add_token("lister", "lister", &[]);
        rig.fake.allow("lister", "list", "configmaps", "story", "*");
        let lister = rig.hub.pod("lister", Alpn::H2).await.unwrap();
        let known = read(&lister, LIST, list).await.finish().await.unwrap();
        rig.cut(Fault::Refuse).await;
        let again = read(&client, LIST, list).await.finish().await.unwrap();
        assert_eq!((again.status.as_u16(), &again.body), (200, &known.body), "whoever starts is told what is known");
        // The one goes on from what is known, the other has been told more since.
        let held = [read(&client, &from(version, 502), watch).await, read(&client, &from(version + 1, 511), watch).await];
        for held in &held {
            assert_eq!(
                (held.status, held.headers["content-type"].clone()),
                (online.watch.status, online.watch.headers["content-type"].clone())
            );
        }
        let old = read(&client, &from(1, 523), watch).await.finish().await.unwrap();
        assert!(old.text().contains("Expired"), "older than what is known: {}", old.text());
        let selected = format!("{CONFIGMAPS}?{STREAMED}&labelSelector=app%3Dweb");
        let mut selected = Metadata::of(read(&client, &selected, watch).await, encoding);
        assert_eq!(selected.begins_with().await.0, ["made"]);
        assert_eq!(read(&client, &from(version, 502), JSON).await.status, 503, "of whole objects nothing is known");
        let refused = read(&lister, &from(version, 502), watch).await.finish().await.unwrap();
        assert_eq!(refused.status, 403, "{}", refused.text());
        let meanwhile = rig.fake.put("configmaps", "story", "made-meanwhile", json!({"data": {}}));
        rig.restore().await;
        // Of what the other one has heard of the node knows nothing: it may be sent back to list.
        let [goes_on, _] = held.map(|held| Metadata::of(held, encoding));
        for mut watch in [goes_on, online] {
            assert_eq!(watch.next().await, (EventType::Added, "made-meanwhile".into(), meanwhile));
        }
    }
}

/// The same with `WatchList`: it never lists.
#[tokio::test]
async fn an_informer_of_metadata_that_streams_its_list_starts_offline_from_what_it_was_streamed() {
    for ([_, watch], encoding) in [(INFORMER, Encoding::Protobuf), ([METADATA_LIST, METADATA], Encoding::Json)] {
        let mut rig = Rig::start().await;
        let client = rig.pod().await;
        let path = format!("{CONFIGMAPS}?{STREAMED}");
        let mut online = Metadata::of(read(&client, &path, watch).await, encoding);
        assert_eq!(online.begins_with().await.0, ["greeting", "zz-last"]);
        let version = rig.fake.put("configmaps", "story", "made", json!({"data": {"text": "x"}}));
        assert_eq!(online.next().await, (EventType::Added, "made".into(), version));
        rig.cut(Fault::Refuse).await;
        for _ in 0..2 {
            let client = rig.pod().await;
            let mut offline = Metadata::of(read(&client, &path, watch).await, encoding);
            let known = (vec!["greeting".into(), "made".into(), "zz-last".into()], version);
            assert_eq!(offline.begins_with().await, known);
            let newer = read(&client, &format!("{path}&resourceVersion={}", version + 1), watch).await;
            assert_eq!(newer.status, 503, "who has seen more is told nothing older");
            assert_eq!(read(&client, &path, JSON).await.status, 503, "of whole objects nothing is known");
            rig.restart().await;
        }
    }
}

/// Whole objects, in an encoding.
fn media(encoding: Encoding) -> &'static str {
    if encoding == Encoding::Json { JSON } else { PROTOBUF }
}

const META: (&str, &str) = ("user-agent", "my-meta/v1");

/// Sets what ConfigMap yurt-hub-cfg says, and waits until that client sees these Services and no others.
async fn configure(rig: &Rig, data: Value, shown: &[&str]) {
    rig.fake.put("configmaps", "kube-system", "yurt-hub-cfg", json!({"data": data}));
    let client = rig.hub.kubelet().await.unwrap();
    eventually("it holds", SECONDS(10), async || {
        // Another selector, another collection: nothing that is asked for later is known by this.
        let path = format!("{SERVICES}?labelSelector=!nothing");
        Ok(names(&client.request("GET", &path, &[META, ("accept", METADATA_LIST)], "").await?.json()) == shown)
    })
    .await
    .unwrap();
    // What comes is newer than what the hub itself was told of Services.
    rig.fake.put("configmaps", "story", "greeting", json!({"data": {"text": "later"}}));
}

/// Lists, and watches from there.
async fn informed(rig: &Rig, path: &str, [list, watch]: [&str; 2]) -> Streaming {
    let client = rig.hub.kubelet().await.unwrap();
    let version = rig.fake.resource_version();
    assert_eq!(client.request("GET", path, &[META, ("accept", list)], "").await.unwrap().status, 200);
    let path = format!("{path}?watch=1&resourceVersion={version}");
    client.stream("GET", &path, &[META, ("accept", watch)], "").await.unwrap()
}

/// Nobody on the node has asked for whole Services in its scope and encoding as of its version.
#[tokio::test]
async fn an_informer_of_metadata_is_told_nothing_of_what_it_was_never_shown() {
    for (path, forms, encoding) in [
        (SERVICES, INFORMER, Encoding::Protobuf),
        (ONE, INFORMER, Encoding::Protobuf),
        (ONE, [METADATA_LIST, METADATA], Encoding::Json),
    ] {
        let rig = rig().await;
        configure(&rig, json!({"discardcloudservice": "my-meta"}), &["near", "plain"]).await;
        let mut open = Metadata::of(informed(&rig, path, forms).await, encoding);
        service(&rig, "cloud", "LoadBalancer", &json!({"svc.openyurt.io/discard": "true", "mark": "1"}));
        let version = rig.fake.resource_version() + 1;
        service(&rig, "plain", "ClusterIP", &json!({"mark": "1"}));
        assert_eq!(open.next().await, (EventType::Modified, "plain".into(), version), "{path} {forms:?}");
    }
}

/// Rules judge metadata by itself.
#[tokio::test]
async fn what_a_rule_hides_in_metadata_form_comes_to_light_as_new_and_goes_once() {
    const RULE: &str = "- {name: hide, match: {components: [my-meta], resources: [services], labelSelector: {matchLabels: {hide: 'yes'}}}, drop: true}";
    let rig = rig().await;
    let labelled = |name: &str, labels: Value| {
        rig.fake.put("services", "story", name, json!({"metadata": {"labels": labels}, "spec": {"ports": [{"port": 80}]}}));
    };
    labelled("cloud", json!({"hide": "yes"}));
    configure(&rig, json!({"rules": RULE}), &["near", "plain"]).await;
    let mut open = informed(&rig, SERVICES, [METADATA_LIST, METADATA]).await;
    labelled("cloud", json!({"hide": "yes", "mark": "1"}));
    labelled("cloud", json!({"mark": "1"}));
    labelled("plain", json!({"hide": "yes"}));
    for (kind, name) in [("ADDED", "cloud"), ("DELETED", "plain")] {
        assert_eq!(next(&mut open).await, pair(kind, name));
    }
}

/// Of metadata that is remembered as such, and of whole objects that somebody else has read.
#[tokio::test]
async fn a_change_of_the_filters_is_told_to_a_watch_of_metadata_as_events() {
    for ([list, watch], encoding) in [(INFORMER, Encoding::Protobuf), ([METADATA_LIST, METADATA], Encoding::Json)] {
        for reads_it_itself in [true, false] {
            let rig = rig().await;
            let client = rig.hub.kubelet().await.unwrap();
            let reads = if reads_it_itself { [META, ("accept", list)] } else { [PROXY[0], ("accept", media(encoding))] };
            let lists = rig.hub.metric("holdfast_lists_remembered_total").await.unwrap();
            let version = rig.fake.resource_version();
            assert_eq!(client.request("GET", SERVICES, &reads, "").await.unwrap().status, 200);
            rig.remembered(lists + 1.0).await;
            let path = format!("{SERVICES}?watch=1&allowWatchBookmarks=true&resourceVersion={version}");
            let open = client.stream("GET", &path, &[META, ("accept", watch)], "").await.unwrap();
            let mut open = Metadata::of(open, encoding);
            let what = format!("{encoding:?}, its own list: {reads_it_itself}");
            let hide = |data: Value| rig.fake.put("configmaps", "kube-system", "yurt-hub-cfg", json!({"data": data}));
            hide(json!({"discardcloudservice": "my-meta"}));
            assert_eq!(open.next_named().await, (EventType::Deleted, "cloud".into()), "{what}");
            let (kind, _, at) = open.next().await;
            assert!(kind == EventType::Bookmark && at <= version, "{what}: {kind:?} at {at}");
            hide(json!({}));
            assert_eq!(open.next_named().await, (EventType::Added, "cloud".into()), "{what}");
            service(&rig, "plain", "ClusterIP", &json!({"mark": "1"}));
            assert_eq!(open.next_named().await, (EventType::Modified, "plain".into()), "{what}: and it goes on");
        }
    }
}
