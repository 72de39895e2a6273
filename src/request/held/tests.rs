use bytes::Bytes;

use super::*;
use crate::kube::object::TypeMeta;

#[test]
fn a_410_counts_as_expired_unless_its_client_is_to_list_for_another_reason() {
    for encoding in [Encoding::Json, Encoding::Protobuf] {
        let status = |code, message| {
            let mut frames = Vec::new();
            let raw = watch::error_status(encoding, code, "Expired", message);
            Framer::new(encoding, Limits::ANSWER.max_item).feed(raw, &mut frames).unwrap();
            frames.remove(0).event.object
        };
        for (code, message, expired) in [
            (410, "too old resource version: 1 (2)", true),
            (410, OUTDATED, false),
            (410, OVERTAKEN, false),
            (410, LEFT_BEHIND, false),
            (500, "too old resource version: 1 (2)", false),
        ] {
            assert_eq!(is_expired(encoding, &status(code, message)), expired, "{code} {message}");
        }
        assert!(!is_expired(encoding, b"nothing of the kind"));
    }
}

#[test]
fn where_a_client_stands_is_the_version_of_its_last_event() {
    let types = TypeMeta { api_version: "v1".into(), kind: "Pod".into() };
    for encoding in [Encoding::Json, Encoding::Protobuf] {
        let object = watch::bookmark_object(encoding, &types, "77", false);
        assert_eq!(object::version(encoding, &Bytes::from(object)), Some(77));
    }
    assert_eq!(object::version(Encoding::Json, br#"{"kind":"Pod","metadata":{"name":"a"}}"#), None);
}
