//! What a watch brings through the hub is what the kube-apiserver brings: the bytes of each event, in their order, where
//! the link is cut meanwhile, too.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use holdfast::kube::media;
use holdfast::kube::watch::{EventType, Framer};
use serde_json::{Value, json};
use testkit::apiserver::{Apiserver, TOKEN};
use testkit::client::{Alpn, Client, Streaming};
use testkit::lab;

use crate::compare::INITIAL_EVENTS_END;
use crate::link::Link;
use crate::objects::{self, Resource};
use crate::random::Random;
use crate::requests::{self, Asked};
use crate::{JSON, hub, hub_over, seed, version};

const WATCHES: usize = 60;
/// In each of the times before, while and after the link is cut.
const CHANGES: usize = 60;
/// The last object that is made: all watches see it.
const LAST: &str = "the-last-one";
/// What is watched.
const NAMES: [&str; 5] = ["configmaps", "secrets", "pods", "nodes", "widgets"];

pub fn watched() -> impl Iterator<Item = &'static Resource> {
    objects::RESOURCES.iter().filter(|resource| NAMES.contains(&resource.name))
}

#[tokio::test]
async fn a_watch_through_the_hub_brings_what_the_kube_apiserver_does() {
    let Some(lab) = lab() else { return };
    let mut random = Random::new(seed("watches"));
    let server = Apiserver::start(&lab).await.unwrap();
    let cloud = server.client().await.unwrap();
    objects::create(&cloud, &mut random).await;
    let link = Link::to(server.address).await;
    let hub = hub_over(&server, vec![link.url()]).await;
    let version = version(&cloud).await;
    let resources: Vec<_> = watched().collect();
    let asked: Vec<Asked> =
        (0..WATCHES).map(|number| requests::long_watch(&mut random, resources[number % resources.len()], version)).collect();
    let direct = join_all(asked.iter().map(|asked| open(&cloud, asked))).await;
    let client = hub.pod(TOKEN, Alpn::H2).await.unwrap();
    let through = join_all(asked.iter().map(|asked| open(&client, asked))).await;
    let readers = |streams: Vec<Streaming>| streams.into_iter().map(|stream| tokio::spawn(told(stream))).collect::<Vec<_>>();
    let (direct, through) = (readers(direct), readers(through));

    change(&cloud, &mut random, CHANGES).await;
    link.is_up(false, &hub).await;
    change(&cloud, &mut random, CHANGES).await;
    link.is_up(true, &hub).await;
    change(&cloud, &mut random, CHANGES).await;
    for resource in watched() {
        let mut object = objects::object(resource, &mut random, 0);
        object["metadata"] = json!({"name": LAST, "labels": {"app": "web", "tier": "2"}});
        objects::send(&cloud, "POST", &resource.path(if resource.namespaced { "a" } else { "" }, ""), &object, 201).await;
    }

    let (mut count, mut different) = (0, Vec::new());
    for ((asked, direct), through) in asked.iter().zip(direct).zip(through) {
        let (direct, through) = (direct.await.unwrap(), through.await.unwrap());
        count += direct.len();
        different.extend(difference(asked, &direct, &through));
    }
    println!("{count} events of {WATCHES} watches");
    assert!(different.is_empty(), "{} of {WATCHES} differ:\n{}", different.len(), different.join("\n"));
}

/// Which event is the first that is not the same.
fn difference(Asked { target, accept }: &Asked, direct: &[Bytes], through: &[Bytes]) -> Option<String> {
    let at = direct.iter().zip(through).take_while(|(one, other)| one == other).count();
    let text =
        |events: &[Bytes]| events.get(at).map(|event| String::from_utf8_lossy(&event[..event.len().min(300)]).into_owned());
    (direct != through).then(|| format!("{target} {accept}: event {at}:\n  {:?}\n  {:?}", text(direct), text(through)))
}

async fn open(client: &Client, asked: &Asked) -> Streaming {
    let stream = client.stream("GET", &asked.target, &[("accept", asked.accept)], "").await.unwrap();
    assert_eq!(stream.status, 200, "{}", asked.target);
    stream
}

/// All events up to the last object's. Of bookmarks only the end of the initial events is told at a certain place.
async fn told(mut stream: Streaming) -> Vec<Bytes> {
    let content_type = stream.headers["content-type"].to_str().unwrap();
    let mut framer = Framer::new(media::encoding_of(content_type).unwrap(), 8 << 20);
    let (mut frames, mut told) = (Vec::new(), Vec::new());
    loop {
        let chunk = tokio::time::timeout(Duration::from_secs(120), stream.chunk()).await.expect("the last event").unwrap();
        // One that ends before that is one event short.
        let Some(chunk) = chunk else { return told };
        framer.feed(chunk, &mut frames).unwrap();
        let has = |object: &[u8], word: &[u8]| object.windows(word.len()).any(|bytes| bytes == word);
        for frame in frames.drain(..) {
            let object = &frame.event.object;
            let is_last = has(object, LAST.as_bytes());
            if frame.event.kind != EventType::Bookmark || has(object, INITIAL_EVENTS_END) {
                told.push(frame.raw);
            }
            if is_last {
                return told;
            }
        }
    }
}

/// Objects come, change and go, as far as they are there.
pub async fn change(cloud: &Client, random: &mut Random, times: usize) {
    let resources: Vec<_> = watched().collect();
    for _ in 0..times {
        let resource = resources[random.below(resources.len())];
        let number = random.below(resource.count);
        let (namespace, name) = resource.place(number);
        let path = resource.path(&namespace, &name);
        let (method, path, content_type, body) = match random.below(4) {
            0 => ("DELETE", path, JSON, json!({"gracePeriodSeconds": 0})),
            1 => {
                let mut object = objects::object(resource, random, number);
                object["metadata"]["name"] = name.into();
                object["metadata"]["labels"] = objects::labels(random);
                ("POST", resource.path(&namespace, ""), JSON, object)
            }
            2 => ("PATCH", path, "application/merge-patch+json", json!({"metadata": {"finalizers": Value::Null}})),
            _ => ("PATCH", path, "application/merge-patch+json", json!({"metadata": {"labels": objects::labels(random)}})),
        };
        let answer = cloud.request(method, &path, &[("content-type", content_type)], body.to_string()).await.unwrap();
        assert!(matches!(answer.status.as_u16(), 200 | 201 | 404 | 409), "{method} {path}: {}", answer.text());
    }
}

/// The rows of a Table were printed by the cloud: no event of them can be made here.
#[tokio::test]
async fn a_watch_of_tables_that_a_rule_comes_to_serve_ends_and_the_list_follows_the_rule() {
    const MAPS: &str = "/api/v1/namespaces/default/configmaps";
    const RULE: &str = "- {name: r, match: {resources: [configmaps], labelSelector: {matchLabels: {app: dark}}}, drop: true}";
    let Some(lab) = lab() else { return };
    let server = Apiserver::start(&lab).await.unwrap();
    let cloud = server.client().await.unwrap();
    let map = |name: &str| json!({"metadata": {"name": name, "labels": {"app": name}}});
    for name in ["dark", "light"] {
        objects::send(&cloud, "POST", MAPS, &map(name), 201).await;
    }
    let hub = hub(&server).await;
    let client = hub.pod(TOKEN, Alpn::H2).await.unwrap();
    let listed = async || {
        let table = client.request("GET", MAPS, &[("accept", requests::TABLE)], "").await.unwrap().json();
        let rows = table["rows"].as_array().unwrap().iter().map(|row| row["cells"][0].as_str().unwrap().to_owned());
        (rows.filter(|name| name != "kube-root-ca.crt").collect::<Vec<_>>(), table["metadata"]["resourceVersion"].clone())
    };
    let watch = async |version: &Value| {
        let target = format!("{MAPS}?watch=1&resourceVersion={}", version.as_str().unwrap());
        open(&client, &Asked { target, accept: requests::TABLE }).await
    };
    let next = async |stream: &mut Streaming| {
        tokio::time::timeout(Duration::from_secs(20), stream.event()).await.expect("an event").unwrap().unwrap()
    };
    let (names, version) = listed().await;
    assert_eq!(names, ["dark", "light"]);
    let mut table = watch(&version).await;
    let rules = json!({"metadata": {"name": "yurt-hub-cfg"}, "data": {"rules": RULE}});
    objects::send(&cloud, "POST", "/api/v1/namespaces/kube-system/configmaps", &rules, 201).await;
    let last = next(&mut table).await;
    assert_eq!((&last["type"], &last["object"]["code"]), (&json!("ERROR"), &json!(410)), "{last}");
    let (names, version) = listed().await;
    assert_eq!(names, ["light"]);
    let mut table = watch(&version).await;
    for name in ["dark", "light"] {
        objects::send(
            &cloud,
            "PUT",
            &format!("{MAPS}/{name}"),
            &json!({"metadata": map(name)["metadata"], "data": {"x": "y"}}),
            200,
        )
        .await;
    }
    let event = next(&mut table).await;
    assert_eq!((&event["type"], &event["object"]["rows"][0]["cells"][0]), (&json!("MODIFIED"), &json!("light")), "{event}");
}
