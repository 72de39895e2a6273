//! Beside what Kubernetes' own code makes of the same objects (`lab transcode`).

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::*;
use crate::kube::object::{self, TypeMeta};

/// Resource, JSON and protobuf.
const REAL: [((&str, &str), &str, &str); 4] = [
    (
        ("", "events"),
        r#"{"kind":"Event","apiVersion":"v1","metadata":{"name":"e","namespace":"n","resourceVersion":"7","creationTimestamp":"2026-01-01T00:00:00Z","labels":{"a":"\u003c2\u003e","b":"1"},"ownerReferences":[{"apiVersion":"v1","kind":"K","name":"o","uid":"u","controller":false}],"finalizers":["f"]},"involvedObject":{"kind":"Pod","name":"p"},"reason":"R","message":"m \u003c\u0026\u003e","source":{},"firstTimestamp":"2026-01-01T00:00:00Z","lastTimestamp":null,"count":-3,"type":"Normal","eventTime":"2026-01-02T00:00:00.123456Z","series":{"lastObservedTime":null},"action":"A","related":{},"reportingComponent":"","reportingInstance":""}"#,
        "azhzAAoLCgJ2MRIFRXZlbnQSsAEKQQoBZRIAGgFuIgAqADIBNzgAQggIgPLWygYQAFoICgFhEgM8Mj5aBgoBYhIBMWoPCgFLGgFvIgF1KgJ2MTAAcgFmEhIKA1BvZBIAGgFwIgAqADIAOgAaAVIiBW0gPCY+KgQKABIAMggIgPLWygYQADoAQP3//////////wFKBk5vcm1hbFILCICV3MoGEICU7zpaBAgAEgBiAUFqDgoAEgAaACIAKgAyADoAcgB6ABoAIgA=",
    ),
    (
        ("events.k8s.io", "events"),
        r#"{"kind":"Event","apiVersion":"events.k8s.io/v1","metadata":{"name":"e"},"eventTime":null,"series":{"count":2,"lastObservedTime":"2026-01-02T00:00:00.120000Z"},"regarding":{},"note":"x","deprecatedSource":{},"deprecatedFirstTimestamp":null,"deprecatedLastTimestamp":null,"deprecatedCount":2}"#,
        "azhzAAoZChBldmVudHMuazhzLmlvL3YxEgVFdmVudBJPChEKAWUSABoAIgAqADIAOABCABIAGg8IAhILCICV3MoGEICcnDkiACoAMgA6AEIOCgASABoAIgAqADIAOgBSAXhaAGIECgASAGoAcgB4AhoAIgA=",
    ),
    (
        ("coordination.k8s.io", "leases"),
        r#"{"kind":"Lease","apiVersion":"coordination.k8s.io/v1","metadata":{"name":"e","namespace":"n","uid":"u","resourceVersion":"5","generation":3,"creationTimestamp":"2026-01-01T00:00:00Z","managedFields":[{"manager":"k","operation":"Update","apiVersion":"coordination.k8s.io/v1","time":"2026-01-01T00:00:00Z","fieldsType":"FieldsV1","fieldsV1":{"f:spec":{"f:x":{}}}}]},"spec":{"holderIdentity":"","leaseDurationSeconds":0,"renewTime":"2026-01-02T00:00:00.120000Z"}}"#,
        "azhzAAofChZjb29yZGluYXRpb24uazhzLmlvL3YxEgVMZWFzZRKGAQpxCgFlEgAaAW4iACoBdTIBNTgDQggIgPLWygYQAIoBUgoBaxIGVXBkYXRlGhZjb29yZGluYXRpb24uazhzLmlvL3YxIggIgPLWygYQADIIRmllbGRzVjE6FwoVeyJmOnNwZWMiOnsiZjp4Ijp7fX19QgASEQoAEAAiCwiAldzKBhCAnJw5GgAiAA==",
    ),
    (
        ("", "events"),
        r#"{"kind":"Event","apiVersion":"v1","metadata":{"name":"e"},"involvedObject":{},"source":{},"firstTimestamp":null,"lastTimestamp":null,"eventTime":null,"reportingComponent":"","reportingInstance":""}"#,
        "azhzAAoLCgJ2MRIFRXZlbnQSPQoRCgFlEgAaACIAKgAyADgAQgASDgoAEgAaACIAKgAyADoAGgAiACoECgASADIAOgBAAEoAUgBiAHIAegAaACIA",
    ),
];

fn items((_, json, protobuf): &((&str, &str), &str, &str)) -> (TypeMeta, Vec<u8>, Vec<u8>) {
    let protobuf = BASE64_STANDARD.decode(protobuf).unwrap();
    let (types, item) = object::into_item(Encoding::Json, json.as_bytes()).unwrap();
    (types, item.to_vec(), object::into_item(Encoding::Protobuf, &protobuf).unwrap().1.to_vec())
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn each_encoding_is_written_as_kubernetes_writes_it() {
    for real in &REAL {
        let of = of(real.0.0, real.0.1).unwrap();
        let (_, json, protobuf) = items(real);
        for (encoding, item) in [(Encoding::Json, &json), (Encoding::Protobuf, &protobuf)] {
            let read = Typed::read(of, encoding, item).unwrap();
            assert_eq!(text(&read.write(of, Encoding::Json)), text(&json));
            assert_eq!(read.write(of, Encoding::Protobuf), protobuf, "{}", text(&json));
        }
    }
}

#[test]
fn an_event_is_the_same_one_in_both_of_its_apis() {
    let (core, new) = (of("", "events").unwrap(), of("events.k8s.io", "events").unwrap());
    let sent = br#"{"metadata":{"name":"e"},"involvedObject":{"kind":"Pod"},"message":"m","count":2,"source":{"component":"c"},"reportingComponent":"r","lastTimestamp":"2026-01-01T00:00:00Z"}"#;
    let shown = Typed::read(core, Encoding::Json, sent).unwrap().write(new, Encoding::Json);
    assert_eq!(
        text(&shown),
        r#"{"metadata":{"name":"e"},"eventTime":null,"reportingController":"r","regarding":{"kind":"Pod"},"note":"m","deprecatedSource":{"component":"c"},"deprecatedFirstTimestamp":null,"deprecatedLastTimestamp":"2026-01-01T00:00:00Z","deprecatedCount":2}"#
    );
    let back = Typed::read(new, Encoding::Json, &shown).unwrap();
    assert_eq!(back.write(core, Encoding::Json), Typed::read(core, Encoding::Json, sent).unwrap().write(core, Encoding::Json));
}

#[test]
fn what_was_created_has_what_the_client_said_and_what_the_server_adds() {
    let of = of("", "events").unwrap();
    let sent = br#" {"kind":"Event","unknown":[1],"metadata":{"name":"e","uid":"mine","resourceVersion":"9","labels":{"a":null},"managedFields":[{"manager":"m"}]}}"#;
    let created = Created { namespace: "n", resource_version: "7", at: 1_767_225_600 };
    let shown = Typed::read(of, Encoding::Json, sent).unwrap().created(&created).write(of, Encoding::Json);
    let metadata = r#"{"metadata":{"name":"e","namespace":"n","resourceVersion":"7","creationTimestamp":"2026-01-01T00:00:00Z","labels":{"a":""}},"#;
    assert!(text(&shown).starts_with(metadata), "{}", text(&shown));
    assert!(!text(&shown).contains("unknown"));
}

#[test]
fn what_is_of_another_shape_is_an_error() {
    let of = of("", "events").unwrap();
    for wrong in [
        r#"[]"#,
        r#"{"metadata":1}"#,
        r#"{"count":"1"}"#,
        r#"{"count":1.5}"#,
        r#"{"message":{}}"#,
        r#"{"firstTimestamp":"yesterday"}"#,
        r#"{"metadata":{"labels":["a"]}}"#,
        r#"{"metadata":{"finalizers":"a"}}"#,
        r#"{"metadata":{"ownerReferences":[{"controller":"yes"}]}}"#,
        r#"{"message":"#,
    ] {
        assert!(Typed::read(of, Encoding::Json, wrong.as_bytes()).is_err(), "{wrong}");
    }
    assert!(Typed::read(of, Encoding::Protobuf, &[0x0a, 9, 1]).is_err());
    assert!(Typed::read(of, Encoding::Protobuf, &[0x18, 1]).is_err(), "a number for a text");
}

proptest::proptest! {
    /// Whatever is read can be written, in each encoding what the other one has.
    #[test]
    fn any_bytes_are_an_object_or_an_error(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..64)) {
        for (group, resource) in [("", "events"), ("events.k8s.io", "events"), ("coordination.k8s.io", "leases")] {
            let of = of(group, resource).unwrap();
            let _ = Typed::read(of, Encoding::Json, &bytes);
            let Ok(read) = Typed::read(of, Encoding::Protobuf, &bytes) else { continue };
            let again = Typed::read(of, Encoding::Protobuf, &read.write(of, Encoding::Protobuf)).unwrap();
            proptest::prop_assert_eq!(again.write(of, Encoding::Json), read.write(of, Encoding::Json));
        }
    }
}

/// The kube-apiserver says 400 to such a one.
#[test]
fn a_count_has_32_bits_and_a_generation_64() {
    let events = of("", "events").unwrap();
    let read = |text: &str| Typed::read(events, Encoding::Json, text.as_bytes());
    for (count, is_read) in [("2147483647", true), ("2147483648", false), ("-2147483648", true), ("1.5", false), ("1e3", false)] {
        assert_eq!(read(&format!(r#"{{"count":{count}}}"#)).is_ok(), is_read, "{count}");
        assert_eq!(read(&format!(r#"{{"series":{{"count":{count}}}}}"#)).is_ok(), is_read, "{count}");
    }
    assert!(read(r#"{"metadata":{"generation":2147483648}}"#).is_ok());
}
