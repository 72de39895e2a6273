use super::*;
use crate::kube::list::{Encoding, Limits, Rewriter};
use crate::kube::proto::{self, write_bytes, write_number};
use crate::request::filter::testing::hub;
use bytes::Bytes;
use proptest::prelude::*;

macro_rules! fixture {
    ($name:literal) => {
        &include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/kube/", $name))[..]
    };
}

fn rewritten(encoding: Encoding, host: &str, body: &[u8], cut: usize) -> Vec<u8> {
    let hub = hub(host);
    let limits = Limits { max_item: 1 << 20, max_head: 1 << 16 };
    let edit = |_: &str, item: &[u8]| apply(&hub, &Item { encoding, bytes: item });
    let mut rewriter = Rewriter::new(encoding, limits, |_| 128, edit);
    let mut out = Vec::new();
    for chunk in body.chunks(cut) {
        rewriter.feed(Bytes::copy_from_slice(chunk), &mut out).expect("a list");
    }
    rewriter.finish().expect("a list");
    out.concat()
}

/// `None`: as it was.
fn edited(encoding: Encoding, item: &[u8]) -> Result<Option<Vec<u8>>, FilterError> {
    Ok(match apply(&hub("169.254.2.1"), &Item { encoding, bytes: item })? {
        Edit::Replace(new) => Some(new),
        Edit::Keep | Edit::Remove => None,
    })
}

fn json(item: &str) -> Result<Option<String>, FilterError> {
    Ok(edited(Encoding::Json, item.as_bytes())?.map(|out| String::from_utf8_lossy(&out).into_owned()))
}

fn service(spec: &str) -> String {
    format!(r#"{{"metadata":{{"name":"kubernetes","namespace":"default"}},"spec":{spec},"status":{{}}}}"#)
}

#[test]
fn only_the_master_service_changes_in_a_json_list() {
    let before = String::from_utf8_lossy(fixture!("servicelist.json")).into_owned();
    let expected = before.replacen(r#""port":443"#, r#""port":10268"#, 1).replacen(
        r#""clusterIP":"10.96.0.1","clusterIPs":["10.96.0.1"]"#,
        r#""clusterIP":"169.254.2.1","clusterIPs":["169.254.2.1"]"#,
        1,
    );
    for cut in [1, 13, 10_000] {
        let out = rewritten(Encoding::Json, "169.254.2.1", before.as_bytes(), cut);
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }
}

#[test]
fn only_what_must_changes_in_json() {
    for (before, after) in [
        (
            r#"{"clusterIPs":["1.1.1.1","::1"],"x":[ 1 ],"clusterIP":"1.1.1.1","ports":[{"port":443,"name":"https","nodePort":1},{"name":"dns","port":53}]}"#,
            r#"{"clusterIPs":["169.254.2.1"],"x":[ 1 ],"clusterIP":"169.254.2.1","ports":[{"port":10268,"name":"https","nodePort":1},{"name":"dns","port":53}]}"#,
        ),
        ("{}", r#"{"clusterIP":"169.254.2.1","clusterIPs":["169.254.2.1"]}"#),
        (r#"{"ports":null,"clusterIP":""}"#, r#"{"ports":null,"clusterIP":"169.254.2.1","clusterIPs":["169.254.2.1"]}"#),
        (
            r#"{"ports":[{"name":"https"}] }"#,
            r#"{"ports":[{"name":"https","port":10268}] ,"clusterIP":"169.254.2.1","clusterIPs":["169.254.2.1"]}"#,
        ),
    ] {
        assert_eq!(json(&service(before)), Ok(Some(service(after))));
    }
}

#[test]
fn other_objects_stay() {
    assert_eq!(json(r#"{"metadata":{"name":"kubernetes","namespace":"other"},"spec":{}}"#), Ok(None));
    assert_eq!(json(r#"{"metadata":{"name":"other","namespace":"default"}}"#), Ok(None));
    let out = edited(Encoding::Protobuf, &service_message("kubernetes", "other", &[]));
    assert_eq!(out, Ok(None));
}

#[test]
fn a_damaged_master_service_is_an_error() {
    for spec in ["1", "null", "{\"ports\":{}}", "{\"ports\":[1]}", "{\"ports\"}", "{},\"spec\":{}"] {
        assert!(json(&service(spec)).is_err(), "{spec}");
    }
    assert_eq!(json(r#"{"metadata":{"name":"kubernetes","namespace":"default"}}"#), Err(FilterError::Missing("spec")));
    assert!(json("{}").is_err());
    for rest in [&[0x12_u8, 9][..], &[0x10, 1], &[0x12, 2, 0x0a, 1], &[0x12, 0, 0x12, 0], &[]] {
        let item = [&service_message("kubernetes", "default", &[])[..], rest].concat();
        assert!(edited(Encoding::Protobuf, &item).is_err(), "{rest:02x?}");
    }
}

/// A Service message without spec, then `rest`.
fn service_message(name: &str, namespace: &str, rest: &[u8]) -> Vec<u8> {
    let (mut meta, mut out) = (Vec::new(), Vec::new());
    write_bytes(&mut meta, 1, name.as_bytes());
    write_bytes(&mut meta, 3, namespace.as_bytes());
    write_bytes(&mut out, 1, &meta);
    out.extend_from_slice(rest);
    out
}

/// ServiceSpec fields as (number, payload), where an empty payload stands for a varint.
fn spec_message(fields: &[(u32, &[u8])]) -> Vec<u8> {
    let mut spec = Vec::new();
    for (number, payload) in fields {
        if payload.is_empty() {
            write_number(&mut spec, *number, 443);
        } else {
            write_bytes(&mut spec, *number, payload);
        }
    }
    let mut out = Vec::new();
    write_bytes(&mut out, 2, &spec);
    service_message("kubernetes", "default", &[&out[..], &[0x1a, 1, 0x7f]].concat())
}

#[test]
fn only_what_must_changes_in_protobuf() {
    let https = |port| spec_port("https", port);
    let (dns, host) = (spec_port("dns", 53), &b"169.254.2.1"[..]);
    for (before, after) in [
        (
            spec_message(&[
                (1, &dns),
                (77, b"unknown"),
                (1, &https(443)),
                (3, b"10.0.0.1"),
                (9, b""),
                (18, b"10.0.0.1"),
                (18, b"::1"),
            ]),
            spec_message(&[(1, &dns), (77, b"unknown"), (1, &https(10_268)), (3, host), (9, b""), (18, host)]),
        ),
        (spec_message(&[]), spec_message(&[(3, host), (18, host)])),
    ] {
        assert_eq!(edited(Encoding::Protobuf, &before), Ok(Some(after)));
    }
}

fn spec_port(name: &str, port: u64) -> Vec<u8> {
    let mut out = Vec::new();
    write_bytes(&mut out, 1, name.as_bytes());
    write_bytes(&mut out, 2, b"TCP");
    write_number(&mut out, 3, port);
    write_bytes(&mut out, 99, b"new");
    out
}

#[test]
fn the_longest_address_fits_into_a_protobuf_list() {
    let host = "2001:db8:1111:2222:3333:4444:5555:6666";
    let out = rewritten(Encoding::Protobuf, host, fixture!("servicelist.pb"), 7);
    assert_eq!(out.windows(host.len()).filter(|window| *window == host.as_bytes()).count(), 2);
    // The worst case: neither field was there.
    let (mut raw, item) = (Vec::new(), spec_message(&[(1, &spec_port("https", 1))]));
    write_bytes(&mut raw, 2, &item);
    rewritten(Encoding::Protobuf, host, &proto::envelop("v1", "ServiceList", &raw), 100);
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60), text in "[\\[\\]{}\":,a-z1]{0,40}") {
        let _ = edited(Encoding::Json, service(&text).as_bytes());
        let _ = edited(Encoding::Protobuf, &service_message("kubernetes", "default", &bytes));
        let mut spec = Vec::new();
        write_bytes(&mut spec, 2, &bytes);
        let _ = edited(Encoding::Protobuf, &service_message("kubernetes", "default", &spec));
    }
}
