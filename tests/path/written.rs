//! What clients have written through the hub is so when the link is down, or it is said that nobody knows.

use holdfast::kube::proto;
use serde_json::{Value, json};
use testkit::client::{Client, Response};
use testkit::fake::Fault;

use super::*;

const JSON: &str = "application/json";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

/// A client that may do anything with ConfigMaps.
async fn writer(rig: &Rig) -> Client {
    for verb in ["create", "update", "patch", "delete", "deletecollection"] {
        rig.fake.allow(SAMPLE, verb, "configmaps", "story", "*");
    }
    rig.pod().await
}

async fn send(client: &Client, method: &str, path: &str, body: Value) -> Response {
    let content_type = if method == "PATCH" { "application/merge-patch+json" } else { JSON };
    let body = if body.is_null() { String::new() } else { body.to_string() };
    client.request(method, path, &[("content-type", content_type), ("accept", JSON)], body).await.unwrap()
}

async fn read(client: &Client, name: &str, accept: &str) -> Response {
    client.request("GET", &format!("{CONFIGMAPS}/{name}"), &[("accept", accept)], "").await.unwrap()
}

fn config_map(name: &str) -> Value {
    json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name, "namespace": "story"}, "data": {"by": "client"}})
}

#[tokio::test]
async fn what_a_client_has_created_is_not_absent() {
    let rig = Rig::start().await;
    let client = writer(&rig).await;
    for name in ["posted", "posted-in-protobuf"] {
        for accept in [JSON, PROTOBUF] {
            assert_eq!(read(&client, name, accept).await.status, 404, "{name}");
        }
    }
    let created = send(&client, "POST", CONFIGMAPS, config_map("posted")).await;
    assert_eq!(created.status, 201, "{}", created.text());
    let headers = [("content-type", JSON), ("accept", PROTOBUF)];
    let body = config_map("posted-in-protobuf").to_string();
    assert_eq!(client.request("POST", CONFIGMAPS, &headers, body).await.unwrap().status, 201);
    rig.cut(Fault::Refuse).await;
    let known = read(&client, "posted", JSON).await;
    assert_eq!((known.status.as_u16(), &known.body), (200, &created.body), "{}", known.text());
    assert_eq!(read(&client, "posted", PROTOBUF).await.status, 503, "it is there, but not known in protobuf");
    assert_eq!(read(&client, "posted-in-protobuf", JSON).await.status, 503);
    assert_eq!(read(&client, "posted-in-protobuf", PROTOBUF).await.status, 200);
}

#[tokio::test]
async fn a_list_from_before_does_not_make_what_was_created_since_absent() {
    let mut rig = Rig::start().await;
    let client = writer(&rig).await;
    assert_eq!(client.get(CONFIGMAPS).await.unwrap().status, 200);
    rig.remembered(1.0).await;
    assert_eq!(read(&client, "never-there", JSON).await.status, 404);
    let mut named = config_map("");
    named["metadata"] = json!({"generateName": "made-", "namespace": "story"});
    let made = send(&client, "POST", CONFIGMAPS, named).await.json();
    let made = made["metadata"]["name"].as_str().unwrap().to_owned();
    let by = json!({"data": {"by": "apply"}});
    let applied = format!("{CONFIGMAPS}/applied");
    let headers = [("content-type", "application/apply-patch+yaml"), ("accept", JSON)];
    assert_eq!(client.request("PATCH", &applied, &headers, by.to_string()).await.unwrap().status, 201);
    // The answer may be no whole object.
    let either = format!("{METADATA},{JSON}");
    let headers = [("content-type", JSON), ("accept", &*either)];
    let body = config_map("seen-by-its-name-alone").to_string();
    assert_eq!(client.request("POST", CONFIGMAPS, &headers, body).await.unwrap().status, 201);
    // The right to read them, and nothing of the objects.
    for name in [&*made, "applied", "seen-by-its-name-alone"] {
        assert_eq!(read(&client, name, METADATA).await.status, 200);
    }
    rig.cut(Fault::Refuse).await;
    for restarted in [false, true] {
        if restarted {
            rig.restart().await;
            rig.link_is(0.0).await;
        }
        let client = rig.pod().await;
        for name in [&*made, "applied"] {
            let known = read(&client, name, JSON).await;
            assert_eq!(known.status, 200, "{name}: {}", known.text());
        }
        let unknown = read(&client, "seen-by-its-name-alone", JSON).await;
        assert_eq!(unknown.status, 503, "{}", unknown.text());
        assert_eq!(read(&client, "never-there", JSON).await.status, 404, "the list says so as ever");
        let list = client.get(CONFIGMAPS).await.unwrap();
        assert_eq!((list.status.as_u16(), list.header("age").is_empty()), (200, false), "a list is as old as it says");
    }
}

#[tokio::test]
async fn what_a_client_has_deleted_is_not_there_as_if_nothing_had_happened() {
    let rig = Rig::start().await;
    let dry = ["dry", "dry-in-json", "dry-in-protobuf"];
    let names = ["finished", "read-by-name", "kept", "not-dry"].into_iter().chain(dry);
    for name in names {
        rig.fake.put("configmaps", "story", name, json!({"data": {"text": name}}));
    }
    let client = writer(&rig).await;
    for name in ["read-by-name", "kept", "not-dry"].into_iter().chain(dry) {
        for accept in [JSON, PROTOBUF, METADATA] {
            assert_eq!(read(&client, name, accept).await.status, 200);
        }
    }
    assert_eq!(read(&client, "finished", METADATA).await.status, 200);
    assert_eq!(client.get(CONFIGMAPS).await.unwrap().status, 200);
    rig.remembered(1.0).await;
    for name in ["finished", "read-by-name"] {
        assert_eq!(send(&client, "DELETE", &format!("{CONFIGMAPS}/{name}"), Value::Null).await.status, 200);
    }
    let trial = proto::envelop("v1", "DeleteOptions", b"\x2a\x03All");
    for (target, content_type, options) in [
        ("dry?dryRun=All", JSON, Vec::new()),
        ("dry-in-json", JSON, br#"{"kind":"DeleteOptions","apiVersion":"v1","dryRun":["All"]}"#.to_vec()),
        ("dry-in-protobuf", PROTOBUF, trial),
        // The kube-apiserver takes no options of the query where there are some in the body.
        ("not-dry?dryRun=All", JSON, br#"{"gracePeriodSeconds":0}"#.to_vec()),
    ] {
        let path = format!("{CONFIGMAPS}/{target}");
        let answer = client.request("DELETE", &path, &[("content-type", content_type), ("accept", JSON)], options).await.unwrap();
        assert_eq!(answer.status, 200, "{target}: {}", answer.text());
    }
    rig.cut(Fault::Refuse).await;
    for accept in [JSON, PROTOBUF, METADATA] {
        let answer = read(&client, "read-by-name", accept).await;
        assert_eq!(answer.status, 503, "{accept}: {}", answer.text());
    }
    let answer = read(&client, "finished", JSON).await;
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.text().contains("deleted through this node"), "{}", answer.text());
    assert_eq!(read(&client, "kept", JSON).await.status, 200);
    assert_eq!(read(&client, "not-dry", JSON).await.status, 503);
    for name in dry {
        assert_eq!(read(&client, name, JSON).await.status, 200, "{name}: nothing has happened to it");
    }
}

#[tokio::test]
async fn many_that_were_deleted_at_once_are_not_there_either() {
    let rig = Rig::start().await;
    let client = writer(&rig).await;
    assert_eq!(read(&client, "greeting", JSON).await.status, 200);
    assert_eq!(send(&client, "DELETE", CONFIGMAPS, Value::Null).await.status, 200);
    rig.cut(Fault::Refuse).await;
    let answer = read(&client, "greeting", JSON).await;
    assert_eq!(answer.status, 503, "{}", answer.text());
}

#[tokio::test]
async fn what_the_cloud_says_after_a_write_counts() {
    let rig = Rig::start().await;
    let client = writer(&rig).await;
    let path = format!("{CONFIGMAPS}/back-again");
    assert_eq!(read(&client, "back-again", JSON).await.status, 404);
    assert_eq!(send(&client, "POST", CONFIGMAPS, config_map("back-again")).await.status, 201);
    assert_eq!(send(&client, "DELETE", &path, Value::Null).await.status, 200);
    assert_eq!(read(&client, "back-again", JSON).await.status, 404);
    assert_eq!(read(&client, "greeting", METADATA).await.status, 200);
    let list = client.get(CONFIGMAPS).await.unwrap().json();
    rig.remembered(1.0).await;
    let version = list["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let mut watch = client.stream("GET", &format!("{CONFIGMAPS}?watch=1&resourceVersion={version}"), &[], "").await.unwrap();
    assert_eq!(send(&client, "DELETE", &format!("{CONFIGMAPS}/greeting"), Value::Null).await.status, 200);
    assert_eq!(watch.event().await.unwrap().unwrap()["type"], "DELETED");
    rig.cut(Fault::Refuse).await;
    assert_eq!(read(&client, "back-again", JSON).await.status, 404, "the cloud has said so since");
    assert_eq!(read(&client, "greeting", JSON).await.status, 404, "the watch has told it");
}

#[tokio::test]
async fn the_clouds_404_counts_for_every_form_and_encoding() {
    let rig = Rig::start().await;
    rig.fake.put("configmaps", "story", "gone", json!({"data": {}}));
    let client = rig.pod().await;
    for accept in [JSON, METADATA] {
        assert_eq!(read(&client, "gone", accept).await.status, 200);
    }
    rig.fake.delete("configmaps", "story", "gone");
    assert_eq!(read(&client, "gone", PROTOBUF).await.status, 404);
    assert_eq!(read(&client, "never", METADATA).await.status, 404);
    rig.cut(Fault::Refuse).await;
    for (name, accept) in [("gone", JSON), ("gone", METADATA), ("never", METADATA), ("never", JSON)] {
        let answer = read(&client, name, accept).await;
        assert_eq!(answer.status, 404, "{name} {accept}: {}", answer.text());
    }
}

#[tokio::test]
async fn a_404_of_metadata_overtakes_an_older_copy() {
    let rig = Rig::start().await;
    rig.fake.put("configmaps", "story", "gone", json!({"data": {}}));
    let client = rig.pod().await;
    assert_eq!(read(&client, "gone", METADATA).await.status, 200);
    rig.fake.delete("configmaps", "story", "gone");
    assert_eq!(read(&client, "gone", METADATA).await.status, 404);
    rig.cut(Fault::Refuse).await;
    let answer = read(&client, "gone", METADATA).await;
    assert_eq!(answer.status, 404, "{}", answer.text());
}

#[tokio::test]
async fn what_is_not_installed_is_not_found() {
    let rig = Rig::start().await;
    let client = rig.pod().await;
    for path in ["/api", "/apis", "/apis/apps", "/apis/apps/v1"] {
        assert_eq!(client.get(path).await.unwrap().status, 200);
    }
    // What the hub itself has asked for, and got, is for everybody.
    rig.described().await;
    rig.cut(Fault::Refuse).await;
    for (path, status) in [
        ("/apis/not-installed.io/v1", 404),
        ("/apis/not-installed.io", 404),
        ("/apis/apps/v9", 404),
        ("/api/v9", 404),
        ("/apis/apps/v1", 200),
        ("/apis/apps", 200),
    ] {
        let answer = client.get(path).await.unwrap();
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
    }
}
