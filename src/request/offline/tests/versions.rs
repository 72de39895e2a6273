//! What is known in two encodings as of two versions, and clients that ask for one at least.

use super::*;
use crate::kube::list::{self, Encoding, Envelope};
use crate::kube::media::{self, Media};
use crate::kube::proto;
use crate::kube::request::RequestInfo;
use crate::store::record::ObjectAsk;

const MAPS: &str = "/api/v1/namespaces/a/configmaps";
const MAP: &str = "/api/v1/namespaces/a/configmaps/m";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const BOTH: &str = "application/vnd.kubernetes.protobuf,application/json";

async fn ask(offline: &Offline, target: &str, accept: &str) -> Result<Response, Refusal> {
    let (mut context, asked) = asked(target);
    context.accepts = media::accepted(Some(accept));
    let knowledge = offline.knowledge.as_ref().unwrap();
    knowledge.grant(&context.grant(crate::store::NODE));
    // A paused clock runs on while the disk is waited for.
    knowledge.flush().await.unwrap();
    serve(offline, &context, asked).await
}

/// The code, and what it is answered in or why it is refused.
async fn answered(offline: &Offline, target: &str, accept: &str) -> (u16, String) {
    match ask(offline, target, accept).await {
        Ok(answer) => (answer.status().as_u16(), answer.headers()["content-type"].to_str().unwrap().to_owned()),
        Err(refusal) => (refusal.code.as_u16(), refusal.message),
    }
}

fn media(encoding: Encoding) -> Media {
    Media { encoding, form: media::Form::Full }
}

fn info(target: &str) -> RequestInfo {
    Context::of_node(target).info
}

/// A ConfigMap in item form.
fn item(encoding: Encoding, version: &str) -> Vec<u8> {
    if encoding == Encoding::Json {
        return format!(r#"{{"metadata":{{"name":"m","namespace":"a","resourceVersion":"{version}"}}}}"#).into_bytes();
    }
    let (mut meta, mut item) = (Vec::new(), Vec::new());
    for (number, text) in [(1, "m"), (3, "a"), (6, version)] {
        proto::write_bytes(&mut meta, number, text.as_bytes());
    }
    proto::write_bytes(&mut item, 1, &meta);
    item
}

fn list_of(encoding: Encoding, version: &str, items: &[Vec<u8>]) -> Vec<u8> {
    let envelope = Envelope {
        kind: "ConfigMapList".into(),
        api_version: "v1".into(),
        resource_version: version.into(),
        continue_token: None,
        remaining_item_count: None,
        sorted_keys: false,
    };
    if encoding == Encoding::Json {
        return [list::envelope_json_head(&envelope), items.join(&b','), list::envelope_json_tail(&envelope)].concat();
    }
    let items: Vec<u8> = items.iter().flat_map(|item| [list::proto_item_frame(item.len()), item.clone()].concat()).collect();
    [list::envelope_proto_head(&envelope, items.len() as u64), items, list::envelope_proto_tail()].concat()
}

async fn told(knowledge: &Arc<Knowledge>, subject: Subject, body: Vec<u8>) {
    let mut recording = knowledge.record(subject, false);
    recording.push(&Bytes::from(body));
    recording.finish();
    knowledge.catch_up().await.unwrap();
}

/// The cloud has listed the ConfigMaps.
async fn listed(offline: &Offline, encoding: Encoding, version: &str, items: &[Vec<u8>]) {
    let knowledge = offline.knowledge.as_ref().unwrap();
    let scope = names::scope(&info(MAPS), &media(encoding));
    let ask = ListAsk { scope, continue_token: String::new(), quorum: true, reader: Reader::default(), started: u64::MAX };
    told(knowledge, Subject::List(ask), list_of(encoding, version, items)).await;
}

/// The cloud has answered a GET.
async fn got(offline: &Offline, encoding: Encoding, version: &str) {
    let knowledge = offline.knowledge.as_ref().unwrap();
    let key = names::object(&info(MAP), &media(encoding));
    let types = crate::kube::object::TypeMeta { api_version: "v1".into(), kind: "ConfigMap".into() };
    let object = crate::kube::object::from_item(encoding, &types, &item(encoding, version));
    told(knowledge, Subject::Object(ObjectAsk { key, reader: Reader::default() }), object).await;
}

fn empty() -> Offline {
    offline(Arc::new(Memory::default()))
}

/// Protobuf as of 100, JSON as of 200.
async fn of_two_versions() -> Offline {
    let offline = empty();
    listed(&offline, Encoding::Protobuf, "100", &[item(Encoding::Protobuf, "90")]).await;
    listed(&offline, Encoding::Json, "200", &[item(Encoding::Json, "90")]).await;
    offline
}

/// The same, where watches last.
async fn held_open() -> (Offline, drain::Drain) {
    let mut offline = of_two_versions().await;
    let (begin, draining) = drain::channel();
    offline.ending = draining.ending;
    (offline, begin)
}

#[tokio::test]
async fn what_is_too_old_in_one_encoding_is_looked_for_in_the_other() {
    let offline = of_two_versions().await;
    let initial = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&timeoutSeconds=1&resourceVersion=";
    for (query, accept, code, said) in [
        ("resourceVersion=100", BOTH, 200, PROTOBUF),
        ("resourceVersion=150", BOTH, 200, "application/json"),
        ("resourceVersion=150", PROTOBUF, 503, "150 is newer than what this node knows, 100"),
        ("resourceVersion=250", BOTH, 503, "250 is newer than what this node knows, 100"),
        (&format!("{initial}100"), BOTH, 200, PROTOBUF),
        (&format!("{initial}150"), BOTH, 200, "application/json"),
        (&format!("{initial}150"), PROTOBUF, 503, "150 is newer than what this node knows, 100"),
        (&format!("{initial}250"), BOTH, 503, "250 is newer than what this node knows, 100"),
        (&format!("{initial}0"), PROTOBUF, 200, PROTOBUF),
        (initial, PROTOBUF, 200, PROTOBUF),
    ] {
        let answer = answered(&offline, &format!("{MAPS}?{query}"), accept).await;
        assert!(answer.0 == code && answer.1.contains(said), "{query} {accept}: {answer:?}");
    }
}

/// All that a watch says until it ends.
async fn said(offline: &Offline, query: &str) -> String {
    let answer = ask(offline, &format!("{MAPS}?watch=1&allowWatchBookmarks=1&{query}"), "application/json").await.unwrap();
    String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_watch_of_what_is_newer_than_what_is_known_is_held_and_told_of_no_version() {
    let (offline, _drains) = held_open().await;
    assert_eq!(said(&offline, "resourceVersion=250&timeoutSeconds=130").await, "");
    let bookmarks = said(&offline, "resourceVersion=200&timeoutSeconds=130").await;
    assert_eq!(bookmarks.matches(r#""resourceVersion":"200""#).count(), 2, "{bookmarks}");
}

#[tokio::test(start_paused = true)]
async fn who_wants_no_initial_events_gets_none() {
    let (offline, _drains) = held_open().await;
    let none = "sendInitialEvents=false&resourceVersionMatch=NotOlderThan";
    for (query, said) in [("resourceVersion=0", ""), ("", ""), ("resourceVersion=200", ""), ("resourceVersion=150", "410")] {
        let events = self::said(&offline, &format!("{none}&{query}&timeoutSeconds=1")).await;
        assert!(if said.is_empty() { events.is_empty() } else { events.contains(said) }, "{query}: {events}");
    }
    assert!(said(&offline, "resourceVersion=0&timeoutSeconds=1").await.contains("ADDED"));
}

#[tokio::test(start_paused = true)]
async fn a_watch_of_no_seconds_lasts_as_long_as_one_that_names_none() {
    let (mut offline, _drains) = held_open().await;
    offline.min_request_timeout = 1800;
    let began = tokio::time::Instant::now();
    said(&offline, "resourceVersion=200&timeoutSeconds=0").await;
    assert!((1800..=3600).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
}

#[tokio::test]
async fn options_of_a_watch_are_refused_as_the_kube_apiserver_does() {
    let offline = of_two_versions().await;
    let forbidden = "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden";
    for (query, code, message) in [
        ("resourceVersion=x", 500, r#"resourceVersion: Invalid value: "x""#),
        ("sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion=x", 500, "Invalid value"),
        (
            "sendInitialEvents=true",
            422,
            "invalid: resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        ),
        ("sendInitialEvents=", 422, "sendInitialEvents requires"),
        ("sendInitialEvents=false&resourceVersion=0", 422, "sendInitialEvents requires"),
        (
            "resourceVersionMatch=NotOlderThan",
            422,
            &format!("invalid: {forbidden} for watch unless sendInitialEvents is provided"),
        ),
        (
            "resourceVersionMatch=Exact&resourceVersion=1",
            422,
            &format!(
                r#"invalid: [{forbidden} for watch unless sendInitialEvents is provided, resourceVersionMatch: Unsupported value: "Exact": supported values: "NotOlderThan"]"#
            ),
        ),
        (
            "resourceVersionMatch=NotOlderThan&sendInitialEvents=1&continue=x",
            422,
            &format!("invalid: {forbidden} when continue is provided"),
        ),
    ] {
        let answer = answered(&offline, &format!("{MAPS}?watch=1&{query}"), "application/json").await;
        assert!(answer.0 == code && answer.1.contains(message), "{query}: {answer:?}");
    }
    let answer = answered(&offline, &format!("{MAPS}?sendInitialEvents=false"), "application/json").await;
    let message =
        r#"ListOptions.meta.k8s.io "" is invalid: sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list"#;
    assert_eq!(answer, (422, message.to_owned()));
}

#[tokio::test]
async fn a_get_may_ask_for_a_version_at_least() {
    let offline = empty();
    listed(&offline, Encoding::Json, "200", &[item(Encoding::Json, "90")]).await;
    let other = format!("{MAPS}/other");
    for (target, query, code) in [
        (MAP, "resourceVersion=0", 200),
        (MAP, "resourceVersion=200", 200),
        (MAP, "resourceVersion=201", 503),
        (MAP, "resourceVersion=x", 500),
        (MAP, "resourceVersion=-1", 500),
        // A GET has no such options.
        (MAP, "resourceVersionMatch=Exact&limit=x", 200),
        (&other, "resourceVersion=200", 404),
        (&other, "resourceVersion=201", 503),
    ] {
        let answer = answered(&offline, &format!("{target}?{query}"), "application/json").await;
        assert_eq!(answer.0, code, "{target} {query}: {answer:?}");
    }
}

#[tokio::test]
async fn of_several_encodings_the_one_that_knows_more_recent_things_answers() {
    use Encoding::{Json, Protobuf};
    let there = |encoding| vec![item(encoding, "90")];
    for (protobuf, json, answer) in [
        (("100", there(Protobuf)), ("200", vec![]), (404, "not found")),
        (("100", vec![]), ("200", there(Json)), (200, "application/json")),
        (("200", there(Protobuf)), ("100", vec![]), (200, PROTOBUF)),
        (("200", vec![]), ("100", there(Json)), (404, "not found")),
        (("100", there(Protobuf)), ("200", there(Json)), (200, "application/json")),
        (("200", there(Protobuf)), ("200", there(Json)), (200, PROTOBUF)),
    ] {
        let offline = empty();
        listed(&offline, Protobuf, protobuf.0, &protobuf.1).await;
        listed(&offline, Json, json.0, &json.1).await;
        let said = answered(&offline, MAP, BOTH).await;
        assert!(said.0 == answer.0 && said.1.contains(answer.1), "{} {}: {said:?}", protobuf.0, json.0);
    }
}

#[tokio::test]
async fn what_is_known_in_another_encoding_is_not_said_to_be_gone() {
    let offline = empty();
    listed(&offline, Encoding::Protobuf, "100", &[]).await;
    assert_eq!(answered(&offline, MAP, PROTOBUF).await.0, 404);
    got(&offline, Encoding::Json, "150").await;
    let answer = answered(&offline, MAP, PROTOBUF).await;
    assert!(answer.0 == 503 && answer.1.contains("knows configmaps m as application/json"), "{answer:?}");
    listed(&offline, Encoding::Protobuf, "200", &[]).await;
    assert_eq!(answered(&offline, MAP, PROTOBUF).await.0, 404, "it has gone since");
}

/// What is said now has a later time than what was said before: times are in milliseconds.
fn a_moment_passes() {
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    let before = now();
    while now() == before {
        std::thread::yield_now();
    }
}

/// The cloud's own 404 has a time and no version.
#[tokio::test]
async fn what_has_come_back_since_the_cloud_said_404_is_there() {
    let offline = empty();
    let knowledge = offline.knowledge.as_ref().unwrap();
    got(&offline, Encoding::Json, "150").await;
    a_moment_passes();
    knowledge.note_absent(&names::object(&info(MAP), &media(Encoding::Protobuf)));
    knowledge.catch_up().await.unwrap();
    assert_eq!(answered(&offline, MAP, PROTOBUF).await.0, 404);
    assert_eq!(answered(&offline, MAP, BOTH).await.0, 404);
    assert_eq!(answered(&offline, &format!("{MAP}?resourceVersion=100"), PROTOBUF).await.0, 503, "as of when, nobody knows");
    a_moment_passes();
    listed(&offline, Encoding::Json, "200", &[item(Encoding::Json, "190")]).await;
    assert_eq!(answered(&offline, MAP, PROTOBUF).await.0, 503);
    assert_eq!(answered(&offline, MAP, BOTH).await, (200, "application/json".to_owned()));
}
