use super::*;
use crate::kube::object::TypeMeta;
use crate::kube::status::Status;
use proptest::prelude::*;

macro_rules! fixtures {
    ($name:literal) => {
        [
            (Encoding::Json, &include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/kube/", $name, ".json"))[..]),
            (Encoding::Protobuf, &include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/kube/", $name, ".pb"))[..]),
        ]
    };
}

const MAX: usize = 4096;

fn frames(encoding: Encoding, max: usize, stream: &[u8], cuts: &[usize]) -> (Vec<Frame>, Result<(), WatchError>) {
    let (mut framer, mut frames, mut at) = (Framer::new(encoding, max), Vec::new(), 0);
    for cut in cuts.iter().cycle() {
        let end = (at + cut).min(stream.len());
        if let Err(error) = framer.feed(Bytes::copy_from_slice(&stream[at..end]), &mut frames) {
            return (frames, Err(error));
        }
        at = end;
        if at == stream.len() {
            break;
        }
    }
    (frames, framer.finish())
}

fn one(encoding: Encoding, frame: &[u8]) -> Frame {
    let (mut frames, end) = frames(encoding, MAX, frame, &[frame.len()]);
    assert_eq!((frames.len(), end), (1, Ok(())));
    frames.remove(0)
}

#[test]
fn real_frames_come_apart_and_together() {
    for ((encoding, frame), (_, object)) in fixtures!("watch-added").into_iter().zip(fixtures!("configmap")) {
        let found = one(encoding, frame);
        assert_eq!(found.raw, frame);
        assert_eq!(found.event.kind, EventType::Added);
        let trimmed = if encoding == Encoding::Json { object.trim_ascii_end() } else { object };
        assert_eq!(found.event.object, trimmed);
        assert_eq!(encode(encoding, EventType::Added, object), frame);
    }
}

#[test]
fn bookmarks_are_those_of_the_api_server() {
    let type_meta = TypeMeta { api_version: "v1".into(), kind: "ConfigMap".into() };
    for ((encoding, plain), (_, end)) in fixtures!("watch-bookmark").into_iter().zip(fixtures!("watch-bookmark-end")) {
        assert_eq!(bookmark(encoding, &type_meta, "12", false), plain);
        assert_eq!(bookmark(encoding, &type_meta, "12", true), end);
        assert_eq!(one(encoding, end).event.kind, EventType::Bookmark);
    }
}

#[test]
fn a_status_is_that_of_the_api_server() {
    let message = "too old resource version: 1 (<2>)";
    for ((encoding, frame), (_, body)) in fixtures!("watch-error").into_iter().zip(fixtures!("status")) {
        assert_eq!(error_status(encoding, 410, "Expired", message), frame);
        let status = Status { code: 410, reason: "Expired", message, ..Status::default() };
        assert_eq!(status.body(encoding), body);
        assert_eq!(one(encoding, frame).event.kind, EventType::Error);
    }
}

#[test]
fn unusual_frames_are_frames() {
    let found = one(Encoding::Json, b" { \"object\" : {\"a\":1} , \"x\":0, \"type\":\"NEW\" } \r\n");
    assert_eq!(found.event, Event { kind: EventType::Other, object: Bytes::from_static(b"{\"a\":1}") });
    let mut frame = vec![0, 0, 0, 11, 0x48, 5, 0x12, 4, 0x0a, 2, b'o', b'k', 0x0a, 1, b'X'];
    assert_eq!(one(Encoding::Protobuf, &frame).event.object, "ok");
    frame.pop();
    let (found, end) = frames(Encoding::Protobuf, MAX, &frame, &[3]);
    assert_eq!((found.len(), end), (0, Err(WatchError::Truncated(14))));
}

#[test]
fn damaged_frames_are_refused() {
    let error = |encoding, frame: &[u8]| frames(encoding, 64, frame, &[frame.len()]).1.err();
    assert_eq!(error(Encoding::Json, b"{\"object\":{}}\n"), Some(WatchError::Missing("type")));
    assert_eq!(error(Encoding::Json, b"{\"type\":\"ADDED\"}\n"), Some(WatchError::Missing("object")));
    assert_eq!(error(Encoding::Json, b"{\"type\":\"ADDED\",\"object\":{}}{}\n"), Some(WatchError::Trailing));
    assert_eq!(error(Encoding::Json, b"{\"type\":\"ADDED\""), Some(WatchError::Truncated(15)));
    assert!(matches!(error(Encoding::Json, b"\n"), Some(WatchError::Json(_))));
    assert_eq!(error(Encoding::Json, &[b' '; 65]), Some(WatchError::TooLong(64)));
    assert_eq!(error(Encoding::Json, &[b' '; 64]), Some(WatchError::Truncated(64)));
    assert_eq!(error(Encoding::Protobuf, &[0, 0, 0, 61]), Some(WatchError::TooLong(64)));
    assert_eq!(error(Encoding::Protobuf, &[0, 0, 0, 60]), Some(WatchError::Truncated(4)));
    assert_eq!(error(Encoding::Protobuf, &[0, 0, 0, 0]), Some(WatchError::Missing("type")));
    assert!(matches!(error(Encoding::Protobuf, &[0, 0, 0, 1, 0]), Some(WatchError::Proto(_))));
}

fn event_type() -> impl Strategy<Value = EventType> {
    use EventType::*;
    proptest::sample::select(vec![Added, Modified, Deleted, Bookmark, Error])
}

proptest! {
    #[test]
    fn chunks_make_no_difference(
        json: bool,
        events in proptest::collection::vec((event_type(), "\\PC{0,60}"), 0..8),
        cuts in proptest::collection::vec(1_usize..50, 1..8),
    ) {
        let encoding = if json { Encoding::Json } else { Encoding::Protobuf };
        let mut expected = Vec::new();
        for (kind, text) in events {
            let object = serde_json::to_vec(&serde_json::json!({ "text": text }))?;
            let raw = encode(encoding, kind, &object);
            expected.push(Frame { raw, event: Event { kind, object: object.into() } });
        }
        let stream: Vec<u8> = expected.iter().flat_map(|frame| frame.raw.to_vec()).collect();
        prop_assert_eq!(frames(encoding, MAX, &stream, &cuts), (expected, Ok(())));
    }

    #[test]
    fn no_bytes_panic(json: bool, bytes in proptest::collection::vec(any::<u8>(), 0..80), cut in 1_usize..9) {
        let encoding = if json { Encoding::Json } else { Encoding::Protobuf };
        let _ = frames(encoding, 60, &bytes, &[cut]);
        let _ = frames(Encoding::Protobuf, 90, &[&[0, 0, 0, bytes.len() as u8], &bytes[..]].concat(), &[cut]);
    }
}

#[test]
fn a_large_event_leaves_nothing_behind() {
    let object = format!(r#"{{"kind":"ConfigMap","data":{{"v":"{}"}}}}"#, "y".repeat(1 << 20));
    let event = format!("{{\"type\":\"ADDED\",\"object\":{object}}}\n");
    let mut framer = Framer::new(Encoding::Json, 8 << 20);
    let mut frames = Vec::new();
    for chunk in event.as_bytes().chunks(16 * 1024) {
        framer.feed(Bytes::copy_from_slice(chunk), &mut frames).unwrap();
    }
    assert_eq!(frames.len(), 1);
    assert_eq!(framer.held.capacity(), 0);
}
