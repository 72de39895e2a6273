use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::kube::proto::{MAGIC, envelop, write_bytes, write_number, write_varint_padded};

macro_rules! fixture {
    ($name:literal) => {
        &include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/kube/", $name))[..]
    };
}

pub(super) const LIMITS: Limits = Limits { max_item: 4096, max_head: 1024 };

type Parts = (Vec<Vec<u8>>, Result<Envelope, ListError>);

/// Cuts `body` into chunks of the lengths of `cuts`, over and over.
pub(super) fn chunks(body: &[u8], cuts: &[usize]) -> Vec<Bytes> {
    let (mut chunks, mut at) = (Vec::new(), 0);
    for cut in cuts.iter().cycle().take_while(|_| !cuts.is_empty()) {
        let end = (at + cut).min(body.len());
        chunks.push(Bytes::copy_from_slice(&body[at..end]));
        at = end;
        if at == body.len() {
            break;
        }
    }
    if at < body.len() {
        chunks.push(Bytes::copy_from_slice(&body[at..]));
    }
    chunks
}

/// Splits `body` in chunks, checks that nothing is lost, and gives the items and the end.
fn split(encoding: Encoding, limits: Limits, body: &[u8], cuts: &[usize]) -> Parts {
    let mut splitter = Splitter::new(encoding, limits);
    let mut pieces = Vec::new();
    let result = chunks(body, cuts).into_iter().try_for_each(|chunk| splitter.feed(chunk, &mut pieces));
    let finished = splitter.finish();
    let (mut all, mut items) = (Vec::new(), Vec::new());
    for piece in pieces {
        let (Piece::Between(bytes) | Piece::Item(bytes)) = &piece;
        all.extend_from_slice(bytes);
        if let Piece::Item(bytes) = piece {
            items.push(bytes.to_vec());
        }
    }
    assert!(body.starts_with(&all), "pieces are not what came");
    if result.is_ok() && finished.is_ok() {
        assert_eq!(all, body, "pieces are not all that came");
    }
    if let Err(error) = &result {
        assert_eq!(finished.as_ref().err(), Some(error), "the error is forgotten");
    }
    (items, finished)
}

fn whole(encoding: Encoding, body: &[u8]) -> Parts {
    split(encoding, LIMITS, body, &[])
}

fn fault(encoding: Encoding, limits: Limits, body: &[u8]) -> Option<(ListFault, u64)> {
    let error = split(encoding, limits, body, &[]).1.err();
    for cut in [1, 2, 3, 7] {
        assert_eq!(split(encoding, limits, body, &[cut]).1.err(), error, "depends on chunks of {cut}");
    }
    error.map(|error| (error.fault, error.offset))
}

fn envelope(kind: &str, api_version: &str, resource_version: &str) -> Envelope {
    Envelope {
        kind: kind.into(),
        api_version: api_version.into(),
        resource_version: resource_version.into(),
        ..Envelope::default()
    }
}

#[test]
fn real_lists_come_apart_and_together() {
    let plain = envelope("ConfigMapList", "v1", "4711");
    let page = Envelope {
        continue_token: Some("eyJ2IjoibWV0YS5rOHMuaW8vdjEifQ".into()),
        remaining_item_count: Some(300),
        ..plain.clone()
    };
    let widgets = Envelope { sorted_keys: true, ..envelope("WidgetList", "example.com/v1", "4713") };
    let widgets_page = Envelope { continue_token: Some("token".into()), remaining_item_count: Some(300), ..widgets.clone() };
    for (body, count, expected) in [
        (fixture!("configmaplist.json"), 2, &plain),
        (fixture!("configmaplist-page.json"), 1, &page),
        (fixture!("configmaplist-empty.json"), 0, &plain),
        (fixture!("servicelist.json"), 3, &envelope("ServiceList", "v1", "4712")),
        (fixture!("widgetlist.json"), 2, &widgets),
        (fixture!("widgetlist-page.json"), 2, &widgets_page),
    ] {
        let (items, found) = whole(Encoding::Json, body);
        let found = found.expect("a list");
        assert_eq!((items.len(), &found), (count, expected));
        let mut again = envelope_json_head(&found);
        again.extend(items.join(&b','));
        again.extend(envelope_json_tail(&found));
        assert_eq!(again, body);
    }
    for (body, count, expected) in [
        (fixture!("configmaplist.pb"), 2, &plain),
        (fixture!("configmaplist-page.pb"), 1, &page),
        (fixture!("configmaplist-empty.pb"), 0, &plain),
        (fixture!("servicelist.pb"), 3, &envelope("ServiceList", "v1", "4712")),
    ] {
        let (items, found) = whole(Encoding::Protobuf, body);
        let found = found.expect("a list");
        assert_eq!((items.len(), &found), (count, expected));
        let framed: Vec<u8> = items.iter().flat_map(|item| [proto_item_frame(item.len()), item.clone()].concat()).collect();
        let again = [envelope_proto_head(&found, framed.len() as u64), framed, envelope_proto_tail()].concat();
        assert_eq!(again, body);
    }
}

#[test]
fn items_within_a_chunk_are_not_copied() {
    for (encoding, body) in [(Encoding::Json, fixture!("configmaplist.json")), (Encoding::Protobuf, fixture!("configmaplist.pb"))]
    {
        let chunk = Bytes::copy_from_slice(body);
        let mut pieces = Vec::new();
        Splitter::new(encoding, LIMITS).feed(chunk.clone(), &mut pieces).expect("a list");
        let within = chunk.as_ptr_range();
        let items: Vec<_> = pieces.iter().filter(|piece| matches!(piece, Piece::Item(_))).collect();
        assert_eq!(items.len(), 2);
        for piece in pieces {
            let (Piece::Between(bytes) | Piece::Item(bytes)) = piece;
            assert!(within.contains(&bytes.as_ptr()));
        }
    }
}

#[test]
fn unusual_json_lists_are_lists() {
    for (body, count) in [
        (r#"{"items":null,"kind":"List","apiVersion":"v1"}"#, 0),
        (
            " {\r\n \"kind\" : \"XList\" ,\t\"x\":[1,{\"items\":[]}], \"items\" : [ {} , {\"a\":\"]\"} ] ,\"apiVersion\":\"v1\"} \n",
            2,
        ),
        (r#"{"\u006bind":"XList","apiVersion":"v1","metadata":{"resourceVersion":"","continue":""},"y":-1,"items":[]}"#, 0),
        (r#"{"kind":"XList","apiVersion":"v1","metadata":{},"items":[{"deep":[[[[]]]]}],"z":true}"#, 1),
        (r#"{"apiVersion":"x.io/v1","items":[{"kind":"Fish"}],"kind":"Shoal","metadata":{}}"#, 1),
        (r#"{"kind":"Shoal","apiVersion":"x.io/v1","items":[{"kind":"Fish"},{}]}"#, 2),
    ] {
        let (items, end) = whole(Encoding::Json, body.as_bytes());
        let end = end.expect("a list");
        assert_eq!((items.len(), end.continue_token), (count, None), "{body}");
    }
}

#[test]
fn json_that_is_no_list_is_refused() {
    use ListFault::*;
    let deep = format!("{{\"kind\":\"XList\",\"items\":[{{\"a\":{}", "[".repeat(10_000));
    let table = [
        (r#"{"kind":"Status","apiVersion":"v1"}"#, NotAList("Status".into()), 35),
        (r#"{"kind":"Table","apiVersion":"v1","rows":[]}"#, NotAList("Table".into()), 44),
        (r#"{"kind":"XList","apiVersion":"v1"}"#, Missing("items"), 34),
        (r#"{"items":[],"apiVersion":"v1"}"#, Missing("kind"), 30),
        (r#"{"items":[],"kind":"XList"}"#, Missing("apiVersion"), 27),
        (r#"{"items":[],"kind":"XList","apiVersion":"v1"} {"#, Trailing, 46),
        (r#"{"items":[],"items":[]}"#, Twice("items"), 19),
        (r#"{"items":{}}"#, Expected("an array as items"), 11),
        (r#"{"items":[1]}"#, Expected("an object in items"), 10),
        (r#"{"items":[{},]}"#, Expected("an object in items"), 13),
        (r#"{"items":[{} {}]}"#, Expected("a comma or the end of items"), 13),
        (r#"{"items":[{}}"#, Expected("a comma or the end of items"), 12),
        (r#"{"items":[{]"#, Json(JsonFault::Mismatched), 11),
        (r#"{"items":[{}],}"#, Expected("the name of a member"), 14),
        (r#"{"items" []}"#, Expected("a colon"), 9),
        (r#"{"kind":"XList";"#, Expected("a comma or the end of the list"), 15),
        (r#"{"kind":7}"#, Expected("a string as kind"), 9),
        (r#"{"apiVersion":{}}"#, Expected("a string as apiVersion"), 16),
        (r#"{"metadata":[]}"#, Expected("a ListMeta as metadata"), 14),
        (r#"{"metadata":{"resourceVersion":5}}"#, Expected("a ListMeta as metadata"), 33),
        ("[]", Expected("an object"), 0),
        ("", Truncated, 0),
        (r#"{"items":[{"a":""#, Truncated, 16),
        ("k8s\0", Expected("an object"), 0),
        (&deep, Json(JsonFault::TooDeep), 30 + 9_999),
    ];
    for (body, expected, offset) in table {
        let limits = Limits { max_item: 1 << 20, max_head: 1024 };
        assert_eq!(fault(Encoding::Json, limits, body.as_bytes()), Some((expected, offset)), "{body:.60}");
    }
}

#[test]
fn limits_hold() {
    let limits = Limits { max_item: 8, max_head: 30 };
    let json = |text: &str| fault(Encoding::Json, limits, text.as_bytes());
    assert_eq!(json(r#"{"items":[{"a":12}],"kind":"XList"}"#), Some((ListFault::Missing("apiVersion"), 35)));
    assert_eq!(json(r#"{"items":[{"a":123}]}"#), Some((ListFault::ItemTooLong(8), 18)));
    assert_eq!(json(r#"{"kind":"XList","metadata":{"x":"0123456789"}}"#), Some((ListFault::HeadTooLong(30), 34)));
    let proto = |item: usize, version: usize| {
        let mut raw = Vec::new();
        write_bytes(&mut raw, 1, &vec![0x58; version]);
        write_bytes(&mut raw, 2, &vec![0; item]);
        fault(Encoding::Protobuf, limits, &envelop("v1", "XList", &raw)).map(|(fault, _)| fault)
    };
    assert_eq!(proto(8, 18), None);
    assert_eq!(proto(9, 18), Some(ListFault::ItemTooLong(8)));
    assert_eq!(proto(8, 20), Some(ListFault::HeadTooLong(30)));
}

#[test]
fn protobuf_that_is_no_list_is_refused() {
    use ListFault::*;
    let body = |fields: &[u8]| [&MAGIC[..], fields].concat();
    let type_meta = [0x0a, 7, 0x12, 5, b'X', b'L', b'i', b's', b't'];
    let after = |fields: &[u8]| body(&[&type_meta, fields].concat());
    let table = [
        (fixture!("status.pb").to_vec(), NotAList("Status".into()), 18),
        (b"{}".to_vec(), Proto(ProtoFault::NoMagic), 0),
        (MAGIC.to_vec(), Missing("typeMeta"), 4),
        (body(&type_meta), Missing("raw"), 13),
        (after(&[0x12, 1]), Truncated, 15),
        (after(&[0x12, 2, 0x12]), Truncated, 16),
        (after(&[0x12, 2, 0x12, 1]), Proto(ProtoFault::Overrun), 17),
        (after(&[0x12, 1, 0x12, 0]), Proto(ProtoFault::Overrun), 16),
        (after(&[0x12, 3, 0x19, 0, 0]), Proto(ProtoFault::Overrun), 16),
        (after(&[0x12, 0, 0x12, 0]), Twice("raw"), 16),
        (after(&type_meta), Twice("typeMeta"), 14),
        (after(&[0x12, 0, 0x1a, 1, b'x']), Expected("a raw without contentEncoding"), 16),
        (after(&[0x12, 0, 0x00]), Proto(ProtoFault::FieldNumber), 15),
        (after(&[0x12, 0, 0x2b]), Proto(ProtoFault::WireType(3)), 15),
        (after(&[0x10]), Proto(ProtoFault::UnexpectedType(2)), 13),
        (after(&[0x12, 0, 0x28, 0x80]), Truncated, 17),
        (body(&[0x12, 0]), Missing("typeMeta before raw"), 5),
        (body(&[0xff; 11]), Proto(ProtoFault::VarintTooLong), 13),
        (after(&[0x12, 2, 0x0a, 0x00, 0x10]), Proto(ProtoFault::UnexpectedType(2)), 17),
    ];
    for (body, expected, offset) in table {
        assert_eq!(fault(Encoding::Protobuf, LIMITS, &body), Some((expected, offset)), "{body:02x?}");
    }
}

#[test]
fn every_beginning_of_a_list_is_truncated() {
    let body = fixture!("widgetlist-page.json").trim_ascii_end();
    for end in 0..body.len() {
        let expected = ListError::new(ListFault::Truncated, end as u64);
        assert_eq!(whole(Encoding::Json, &body[..end]).1, Err(expected));
    }
    let body = fixture!("configmaplist-page.pb");
    for end in 0..body.len() - 4 {
        assert!(whole(Encoding::Protobuf, &body[..end]).1.is_err());
    }
}

/// Items and the protobuf list of them, with unknown fields and lengths spelled too long.
pub(super) fn proto_list() -> impl Strategy<Value = (Vec<Vec<u8>>, Vec<u8>)> {
    let item = proptest::collection::vec(any::<u8>(), 0..200);
    let between = (0_u8..4, 1_usize..6);
    (proptest::collection::vec((item, between), 0..6), "[0-9]{0,6}").prop_map(|(items, version)| {
        let (mut raw, mut meta) = (Vec::new(), Vec::new());
        write_bytes(&mut meta, 2, version.as_bytes());
        write_bytes(&mut raw, 1, &meta);
        for (item, (unknown, width)) in &items {
            match unknown {
                0 => write_number(&mut raw, 9, 300),
                1 => write_bytes(&mut raw, 77, b"unknown"),
                2 => raw.extend_from_slice(&[0x1d, 1, 2, 3, 4, 0x21, 1, 2, 3, 4, 5, 6, 7, 8]),
                _ => {}
            }
            raw.push(0x12);
            write_varint_padded(&mut raw, item.len() as u64, *width);
            raw.extend_from_slice(item);
        }
        (items.into_iter().map(|(item, _)| item).collect(), envelop("v1", "XList", &raw))
    })
}

/// Items and the JSON list of them, with members in any order and white space.
pub(super) fn json_list() -> impl Strategy<Value = (Vec<Vec<u8>>, Vec<u8>)> {
    let item = proptest::collection::btree_map(any::<String>(), any::<(String, i32)>(), 0..4)
        .prop_map(|map| serde_json::to_vec(&map).expect("JSON"));
    let space = proptest::sample::select(vec!["", " ", "\n  "]);
    let members = Just(vec!["kind", "apiVersion", "metadata", "items", "other"]).prop_shuffle();
    (proptest::collection::vec(item, 0..6), members, space).prop_map(|(items, members, space)| {
        let mut body = format!("{space}{{{space}").into_bytes();
        for (index, member) in members.into_iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            body.extend(format!("{comma}{space}\"{member}\"{space}:{space}").bytes());
            match member {
                "kind" => body.extend(b"\"XList\""),
                "apiVersion" => body.extend(b"\"v1\""),
                "metadata" => body.extend(b"{\"resourceVersion\":\"5\"}"),
                "items" => {
                    let joined = items.join(format!("{space},{space}").as_bytes());
                    body.extend([b"[", space.as_bytes(), &joined, space.as_bytes(), b"]"].concat());
                }
                _ => body.extend(b"[null,{\"items\":[\"\\\"\"]},-1e3]"),
            }
        }
        body.extend(format!("{space}}}{space}").bytes());
        (items, body)
    })
}

pub(super) fn cuts() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![
        Just(vec![1]),
        Just(vec![]),
        proptest::collection::vec(0_usize..40, 1..8).prop_map(|mut cuts| {
            cuts.push(1);
            cuts
        })
    ]
}

proptest! {
    #[test]
    fn chunks_make_no_difference_in_json((items, body) in json_list(), cuts in cuts()) {
        let (found, end) = split(Encoding::Json, LIMITS, &body, &cuts);
        prop_assert_eq!(found, items);
        prop_assert_eq!(end.map(|end| (end.kind, end.resource_version)), Ok(("XList".into(), "5".into())));
    }

    #[test]
    fn chunks_make_no_difference_in_protobuf((items, body) in proto_list(), cuts in cuts()) {
        let (found, end) = split(Encoding::Protobuf, LIMITS, &body, &cuts);
        prop_assert_eq!(found, items);
        prop_assert_eq!(end.map(|end| end.kind), Ok("XList".into()));
    }

    #[test]
    fn damage_is_found_alike_in_any_chunks(
        (json, body) in prop_oneof![json_list().prop_map(|list| (true, list.1)), proto_list().prop_map(|list| (false, list.1))],
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cuts in cuts(),
    ) {
        let mut body = body;
        for (index, byte) in damage {
            *index.get_mut(&mut body) = byte;
        }
        let encoding = if json { Encoding::Json } else { Encoding::Protobuf };
        let limits = Limits { max_item: 150, max_head: 60 };
        let (items, end) = split(encoding, limits, &body, &[]);
        prop_assert_eq!(split(encoding, limits, &body, &cuts), (items, end));
    }
}
