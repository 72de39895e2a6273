//! Events written the way the API server does.
//!
//! Receives an object in full form, or what a Status or bookmark has to say. Promises the bytes of the frame.
//! Nothing here fails.

use bytes::Bytes;

use super::EventType;
use crate::kube::json::write_string;
use crate::kube::list::Encoding;
use crate::kube::object::TypeMeta;
use crate::kube::proto::{self, write_bytes, write_number};
use crate::kube::status::Status;

/// The annotation of the bookmark that ends the initial events of a streaming list (KEP-3157).
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

/// A frame for `object` in full form.
pub fn encode(encoding: Encoding, kind: EventType, object: &[u8]) -> Bytes {
    match encoding {
        Encoding::Json => {
            let object = object.trim_ascii_end();
            [b"{\"type\":\"", kind.as_str().as_bytes(), b"\",\"object\":", object, b"}\n"].concat().into()
        }
        Encoding::Protobuf => {
            let mut extension = Vec::with_capacity(object.len() + 8);
            write_bytes(&mut extension, 1, object);
            let mut out = Vec::with_capacity(extension.len() + 32);
            out.extend_from_slice(&[0; 4]);
            write_bytes(&mut out, 1, kind.as_str().as_bytes());
            write_bytes(&mut out, 2, &extension);
            let length = u32::try_from(out.len() - 4).unwrap_or(u32::MAX);
            out[..4].copy_from_slice(&length.to_be_bytes());
            out.into()
        }
    }
}

/// A BOOKMARK frame for the type. It has metadata only: what a type's empty spec or status would add is left out,
/// which decodes the same. `initial_end` marks the end of the initial events of a streaming list.
pub fn bookmark(encoding: Encoding, type_meta: &TypeMeta, resource_version: &str, initial_end: bool) -> Bytes {
    encode(encoding, EventType::Bookmark, &bookmark_object(encoding, type_meta, resource_version, initial_end))
}

/// The object of such a frame, in full form.
pub fn bookmark_object(encoding: Encoding, type_meta: &TypeMeta, resource_version: &str, initial_end: bool) -> Vec<u8> {
    match encoding {
        Encoding::Json => json_bookmark(type_meta, resource_version, initial_end),
        Encoding::Protobuf => {
            let mut message = Vec::with_capacity(96);
            write_bytes(&mut message, 1, &bookmark_meta(resource_version, initial_end));
            proto::envelop(&type_meta.api_version, &type_meta.kind, &message)
        }
    }
}

/// An ERROR frame with a Status of failure.
pub fn error_status(encoding: Encoding, code: u16, reason: &str, message: &str) -> Bytes {
    encode(encoding, EventType::Error, &Status { code, reason, message, ..Status::default() }.body(encoding))
}

fn json_bookmark(type_meta: &TypeMeta, resource_version: &str, initial_end: bool) -> Vec<u8> {
    let mut out = b"{\"kind\":".to_vec();
    write_string(&mut out, &type_meta.kind);
    out.extend_from_slice(b",\"apiVersion\":");
    write_string(&mut out, &type_meta.api_version);
    out.extend_from_slice(b",\"metadata\":{\"resourceVersion\":");
    write_string(&mut out, resource_version);
    if initial_end {
        out.extend_from_slice(format!(",\"annotations\":{{\"{INITIAL_EVENTS_END}\":\"true\"}}").as_bytes());
    }
    out.extend_from_slice(b"}}");
    out
}

/// ObjectMeta with all the fields gogo writes although they are empty: name, generateName, namespace, selfLink, uid,
/// (resourceVersion), generation, creationTimestamp; then annotations.
fn bookmark_meta(resource_version: &str, initial_end: bool) -> Vec<u8> {
    let mut meta = Vec::with_capacity(64);
    for number in 1..=5 {
        write_bytes(&mut meta, number, b"");
    }
    write_bytes(&mut meta, 6, resource_version.as_bytes());
    write_number(&mut meta, 7, 0);
    write_bytes(&mut meta, 8, b"");
    if initial_end {
        let mut entry = Vec::with_capacity(40);
        write_bytes(&mut entry, 1, INITIAL_EVENTS_END.as_bytes());
        write_bytes(&mut entry, 2, b"true");
        write_bytes(&mut meta, 12, &entry);
    }
    meta
}
