use super::*;
use proptest::prelude::*;

macro_rules! fixture {
    ($name:literal) => {
        &include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/kube/", $name))[..]
    };
}

fn expected() -> Meta {
    Meta {
        namespace: "kube-system".into(),
        name: "cm-0".into(),
        uid: "0b5bbd5e-0000-4000-8000-000000000000".into(),
        resource_version: "100".into(),
    }
}

#[test]
fn real_objects_go_there_and_back() {
    for (encoding, full) in [(Encoding::Json, fixture!("configmap.json")), (Encoding::Protobuf, fixture!("configmap.pb"))] {
        let (type_meta, item) = into_item(encoding, full).expect("an object");
        assert_eq!((type_meta.api_version.as_str(), type_meta.kind.as_str()), ("v1", "ConfigMap"));
        assert_eq!(meta(encoding, &item), Ok(expected()));
        let newline: &[u8] = if encoding == Encoding::Json { b"\n" } else { b"" };
        assert_eq!([&from_item(encoding, &type_meta, &item), newline].concat(), full);
    }
}

#[test]
fn built_in_objects_lose_their_type_in_lists() {
    let (_, item) = into_item(Encoding::Json, fixture!("configmap.json")).expect("an object");
    let list = fixture!("configmaplist.json");
    assert!(list.windows(item.len()).any(|window| window == item), "not the form of the list");
    let (_, item) = into_item(Encoding::Protobuf, fixture!("configmap.pb")).expect("an object");
    let list = fixture!("configmaplist.pb");
    assert!(list.windows(item.len()).any(|window| window == item), "not the form of the list");
}

#[test]
fn custom_resources_keep_their_type() {
    let full = fixture!("widget.json").trim_ascii_end();
    let (type_meta, item) = into_item(Encoding::Json, full).expect("an object");
    assert_eq!(item, full);
    assert_eq!(from_item(Encoding::Json, &type_meta, &item), full);
    assert_eq!(type_meta, TypeMeta { api_version: "example.com/v1".into(), kind: "Widget".into() });
    assert_eq!(meta(Encoding::Json, &item).map(|meta| meta.name), Ok("w0".into()));
}

#[test]
fn any_spelling_goes_there_and_back() {
    for full in [
        r#"{"kind":"X","apiVersion":"v1"}"#,
        r#"{"kind":"X","apiVersion":"v1","a":1}"#,
        r#"{"kind":"X","apiVersion":"v1", "a":1}"#,
        r#"{"kind":"X","apiVersion":"v1" }"#,
        r#"{"kind":"X" ,"apiVersion":"v1"}"#,
        r#"{"kind":"\u0058","apiVersion":"v1","a":1}"#,
        r#"{"apiVersion":"v1","kind":"X","a":1}"#,
        r#"{"a":{},"kind":"X","apiVersion":"v1"}"#,
        "{\n  \"kind\": \"X\",\n  \"apiVersion\": \"v1\"\n}",
    ] {
        let (type_meta, item) = into_item(Encoding::Json, full.as_bytes()).expect("an object");
        assert_eq!(String::from_utf8_lossy(&from_item(Encoding::Json, &type_meta, &item)), full);
    }
}

#[test]
fn damage_is_refused() {
    for full in [&b"{}"[..], b"", b"[]", b"{\"kind\":\"X\"}", b"{\"kind\":1,\"apiVersion\":\"v1\"}", b"{\"kind\":\"X\""] {
        assert!(into_item(Encoding::Json, full).is_err(), "{}", String::from_utf8_lossy(full));
    }
    let twice = br#"{"kind":"X","apiVersion":"v1"}{}"#;
    assert_eq!(into_item(Encoding::Json, twice), Err(ObjectError::Trailing));
    for full in [&b"{}"[..], b"k8s\0", b"k8s\0\x12\0", b"k8s\0\x0a\0", b"k8s\0\x0a\0\x12\0\x1a\x01x", b"k8s\0\x0a\xff"] {
        assert!(into_item(Encoding::Protobuf, full).is_err(), "{full:02x?}");
    }
    assert_eq!(meta(Encoding::Json, b"{\"spec\":{}}"), Err(ObjectError::Missing("metadata")));
    assert_eq!(meta(Encoding::Json, b"{\"metadata\":{\"name\":1}}"), Err(ObjectError::NotText("name")));
    assert_eq!(meta(Encoding::Json, b"{\"metadata\":{}}"), Ok(Meta::default()));
    assert_eq!(meta(Encoding::Protobuf, b"\x12\0"), Err(ObjectError::Missing("metadata")));
    assert_eq!(meta(Encoding::Protobuf, b"\x0a\0"), Ok(Meta::default()));
    assert!(meta(Encoding::Protobuf, b"\x0a\x02\x08\x01").is_err());
}

fn type_meta() -> impl Strategy<Value = TypeMeta> {
    ("[a-z./0-9]{1,20}", "\\PC{1,8}").prop_map(|(api_version, kind)| TypeMeta { api_version, kind })
}

proptest! {
    #[test]
    fn json_goes_there_and_back(
        type_meta in type_meta(),
        members in proptest::collection::btree_map("[b-jl-z<\"]{1,5}", any::<(String, i8)>(), 0..4),
        sorted: bool,
    ) {
        let mut full = type_prefix(&type_meta);
        if sorted {
            full = b"{\"apiVersion\":".to_vec();
            json::write_string(&mut full, &type_meta.api_version);
            full.extend(b",\"kind\":");
            json::write_string(&mut full, &type_meta.kind);
        }
        for (name, value) in &members {
            full.push(b',');
            json::write_string(&mut full, name);
            full.push(b':');
            full.extend(serde_json::to_vec(value)?);
        }
        full.push(b'}');
        let (found, item) = into_item(Encoding::Json, &full)?;
        prop_assert_eq!(&found, &type_meta);
        prop_assert_eq!(back_to_full(Encoding::Json, &found, item.to_vec(), &full), full.clone());
        prop_assert_eq!(from_item(Encoding::Json, &found, &item), full);
    }

    #[test]
    fn protobuf_goes_there_and_back(type_meta in type_meta(), raw in proptest::collection::vec(any::<u8>(), 0..300)) {
        let full = proto::envelop(&type_meta.api_version, &type_meta.kind, &raw);
        let (found, item) = into_item(Encoding::Protobuf, &full)?;
        prop_assert_eq!((&found, &item[..]), (&type_meta, &raw[..]));
        prop_assert_eq!(back_to_full(Encoding::Protobuf, &found, item.to_vec(), &full), full.clone());
        prop_assert_eq!(from_item(Encoding::Protobuf, &found, &item), full);
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60), json: bool) {
        let encoding = if json { Encoding::Json } else { Encoding::Protobuf };
        let _ = meta(encoding, &bytes);
        let _ = into_item(encoding, &bytes);
        let _ = into_item(Encoding::Protobuf, &[&MAGIC[..], &bytes].concat());
        let _ = from_item(encoding, &TypeMeta::default(), &bytes);
    }
}
