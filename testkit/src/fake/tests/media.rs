//! Protobuf, gzip, upgrades, trailers.

use std::io::Read;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::super::FakeOptions;
use super::{config_map, connect, start, start_with};
use crate::client::Alpn;

const PROTO: [(&str, &str); 1] = [("accept", "application/vnd.kubernetes.protobuf,application/json")];

/// Fields of a message: number and, for wire type 2, content.
fn fields(mut bytes: &[u8]) -> Vec<(u64, &[u8])> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let (mut value, mut shift) = (0, 0);
        loop {
            let byte = bytes[0];
            *bytes = &bytes[1..];
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                return value;
            }
        }
    }
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        let mut content: &[u8] = &[];
        let length = varint(&mut bytes) as usize;
        if tag & 7 == 2 {
            (content, bytes) = bytes.split_at(length);
        }
        found.push((tag >> 3, content));
    }
    found
}

fn field(bytes: &[u8], number: u64) -> &[u8] {
    fields(bytes).into_iter().find(|(known, _)| *known == number).expect("the field is there").1
}

/// The raw message in an envelope, and its kind.
fn open(bytes: &[u8]) -> (&[u8], &[u8]) {
    let unknown = bytes.strip_prefix(b"k8s\0").expect("the magic");
    (field(unknown, 2), field(field(unknown, 1), 2))
}

#[tokio::test]
async fn protobuf_holds_what_json_does() {
    let fake = start().await;
    let client = connect(&fake, Alpn::H2).await;
    fake.put("secrets", "a", "s", json!({"type": "Opaque", "data": {"k": "aGVsbG8="}, "metadata": {"labels": {"l": "v"}}}));
    let answer = client.request("GET", "/api/v1/namespaces/a/secrets/s", &PROTO, "").await.expect("answers");
    assert_eq!(answer.header("content-type"), "application/vnd.kubernetes.protobuf");
    let (secret, kind) = open(&answer.body);
    assert_eq!((kind, field(secret, 3), field(field(secret, 2), 2)), (&b"Secret"[..], &b"Opaque"[..], &b"hello"[..]));
    assert_eq!((field(field(secret, 1), 1), field(field(field(secret, 1), 11), 2)), (&b"s"[..], &b"v"[..]));

    let answer = client.request("GET", "/api/v1/services", &PROTO, "").await.expect("answers");
    let (list, kind) = open(&answer.body);
    assert_eq!((kind, field(field(list, 1), 2)), (&b"ServiceList"[..], fake.resource_version().to_string().as_bytes()));
    let spec = field(field(list, 2), 2);
    assert_eq!(
        (field(spec, 3), field(spec, 18), field(field(spec, 1), 1)),
        (&b"10.96.0.1"[..], &b"10.96.0.1"[..], &b"https"[..])
    );
}

#[tokio::test]
async fn what_protobuf_cannot_say_comes_as_json_or_not_at_all() {
    let fake = start().await;
    let client = connect(&fake, Alpn::H2).await;
    let answer = client.request("GET", "/api/v1/nodes", &PROTO, "").await.expect("answers");
    assert_eq!(answer.header("content-type"), "application/json");
    let only = [("accept", "application/vnd.kubernetes.protobuf")];
    let answer = client.request("GET", "/api/v1/nodes", &only, "").await.expect("answers");
    assert_eq!((answer.status.as_u16(), open(&answer.body).1), (406, &b"Status"[..]));
    let answer = client.request("GET", "/api/v1/namespaces/a/configmaps/x", &only, "").await.expect("answers");
    assert_eq!(field(open(&answer.body).0, 4), b"NotFound");
}

#[tokio::test]
async fn protobuf_watches_are_framed() {
    let fake = start().await;
    let client = connect(&fake, Alpn::H1).await;
    fake.put("configmaps", "a", "x", config_map("1"));
    let path = "/api/v1/configmaps?watch=true&timeoutSeconds=1&allowWatchBookmarks=true";
    let answer = client.request("GET", path, &PROTO, "").await.expect("answers");
    assert_eq!(answer.header("content-type"), "application/vnd.kubernetes.protobuf;stream=watch");
    let (mut rest, mut seen) = (&answer.body[..], Vec::new());
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let (frame, after) = after.split_at(u32::from_be_bytes(*length) as usize);
        rest = after;
        let (object, kind) = open(field(field(frame, 2), 1));
        seen.push((field(frame, 1).to_vec(), kind.to_vec(), field(field(object, 1), 1).to_vec()));
    }
    // One where the initial events end, and one where the watch does.
    let expected = [("ADDED", "x"), ("BOOKMARK", ""), ("BOOKMARK", "")];
    assert_eq!(seen, expected.map(|(change, name)| (change.into(), b"ConfigMap".to_vec(), name.into())).to_vec());
}

#[tokio::test]
async fn large_bodies_are_compressed_if_asked_for() {
    let fake = start_with(FakeOptions { gzip: true, ..FakeOptions::default() }).await;
    let client = connect(&fake, Alpn::H2).await;
    let gzip = [("accept-encoding", "gzip")];
    let path = "/api/v1/namespaces/a/configmaps";
    let small = client.request("GET", path, &gzip, "").await.expect("answers");
    assert_eq!(small.header("content-encoding"), "");
    fake.put("configmaps", "a", "x", config_map(&"x".repeat(200_000)));
    let plain = client.get(path).await.expect("answers");
    let packed = client.request("GET", path, &gzip, "").await.expect("answers");
    assert_eq!(packed.header("content-encoding"), "gzip");
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(&packed.body[..]).read_to_end(&mut unpacked).expect("gzip");
    assert_eq!(unpacked, plain.body);
}

#[tokio::test]
async fn exec_echoes() {
    let fake = start().await;
    for protocol in ["websocket", "SPDY/3.1"] {
        let client = connect(&fake, Alpn::H1).await;
        let path = "/api/v1/namespaces/a/pods/p/exec?command=sh";
        let mut stream = client.upgrade("POST", path, protocol, &[]).await.expect("switches");
        stream.write_all(b"hello").await.expect("open");
        let mut back = [0; 5];
        stream.read_exact(&mut back).await.expect("open");
        assert_eq!(&back, b"hello");
    }
    let client = connect(&fake, Alpn::H1).await;
    assert_eq!(client.get("/api/v1/namespaces/a/pods/p/exec").await.expect("answers").status, 400);
}

#[tokio::test]
async fn logs_trailers_and_floods() {
    let fake = start().await;
    for alpn in [Alpn::H2, Alpn::H1] {
        let client = connect(&fake, alpn).await;
        let mut log = client.stream("GET", "/api/v1/namespaces/a/pods/p/log?follow=true", &[], "").await.expect("answers");
        for index in 0..5 {
            assert_eq!(log.line().await.expect("whole"), Some(format!("line {index}")));
        }
        let client = connect(&fake, alpn).await;
        let answer = client.request("GET", "/fake/trailers", &[("te", "trailers")], "").await.expect("answers");
        let trailers = answer.trailers.expect("trailers");
        assert_eq!(trailers["x-fake-trailer"], "done");
        assert_eq!(client.get("/fake/big?bytes=1000000").await.expect("answers").body.len(), 1_000_000);
    }
}

#[tokio::test]
async fn metadata_comes_as_objects_of_its_own() {
    let fake = start().await;
    let client = connect(&fake, Alpn::H2).await;
    let (list, one) = ("as=PartialObjectMetadataList;g=meta.k8s.io;v=v1", "as=PartialObjectMetadata;g=meta.k8s.io;v=v1");
    let get = async |path: &str, accept: String| client.request("GET", path, &[("accept", &accept)], "").await.expect("answers");
    let path = "/api/v1/nodes";
    let empty = get(path, format!("application/json;{list}")).await.json();
    assert_eq!((&empty["kind"], &empty["items"]), (&json!("PartialObjectMetadataList"), &json!(null)));
    fake.put("nodes", "", "n", json!({"metadata": {"labels": {"l": "v"}}, "spec": {"podCIDR": "10.0.0.0/24"}}));
    let node = get("/api/v1/nodes/n", format!("application/json;{one}")).await.json();
    assert_eq!((&node["kind"], &node["apiVersion"]), (&json!("PartialObjectMetadata"), &json!("meta.k8s.io/v1")));
    assert_eq!((&node["metadata"]["labels"]["l"], node.get("spec")), (&json!("v"), None));
    assert_eq!(get(path, format!("application/json;{list}")).await.json()["items"], json!([node]));
    let watch = format!("{path}?watch=true&timeoutSeconds=1&allowWatchBookmarks=true");
    let events = get(&watch, format!("application/json;{one}")).await.text();
    let objects: Vec<serde_json::Value> = events.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!((&objects[0]["object"], &objects[1]["object"]["kind"]), (&node, &node["kind"]));

    let proto = |form: &str| format!("application/vnd.kubernetes.protobuf;{form}");
    let answer = get("/api/v1/nodes/n", proto(one)).await;
    let (node, kind) = open(&answer.body);
    assert_eq!((kind, field(field(node, 1), 1), fields(node).len()), (&b"PartialObjectMetadata"[..], &b"n"[..], 1));
    let answer = get(path, proto(list)).await;
    assert_eq!((open(&answer.body).1, field(open(&answer.body).0, 2)), (&b"PartialObjectMetadataList"[..], node));
    for (path, form) in [(path, one), ("/api/v1/nodes/n", list)] {
        assert_eq!(get(path, format!("application/json;{form}")).await.status, 406, "{form} of {path}");
    }
}
