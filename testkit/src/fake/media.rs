//! The form an answer takes: what `Accept` asks for, and objects written that way.

use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, HeaderValue, header};
use std::io::Write;

use super::body::{FakeBody, Reply, reply};
use super::resource::Resource;
use super::state::{Change, Object};
use super::status::Failure;
use super::{json, proto};

/// Bodies above this are compressed, as the real server does.
const GZIP_ABOVE: usize = 128 * 1024;

/// A watch in CBOR. What is in it is JSON here: this is for those who pass it on without a look.
pub(crate) const CBOR: &str = "application/cbor-seq";

pub(crate) const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// One of the two encodings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Media {
    Json,
    Proto,
}

impl Media {
    /// The first acceptable form; `proto` tells whether protobuf is one.
    pub(crate) fn negotiate(headers: &HeaderMap, proto: bool) -> Result<Self, Failure> {
        let accepts = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let mut any = false;
        for entry in accepts.flat_map(|value| value.split(',')) {
            any = true;
            let mut params = entry.split(';').map(str::trim);
            let kind = params.next().unwrap_or_default();
            if params.any(|param| param.starts_with("as=")) {
                continue;
            }
            match kind {
                PROTOBUF if proto => return Ok(Self::Proto),
                "application/json" | "application/*" | "*/*" | CBOR => return Ok(Self::Json),
                _ => {}
            }
        }
        if any { Err(Failure::not_acceptable()) } else { Ok(Self::Json) }
    }

    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Proto => PROTOBUF,
        }
    }

    pub(crate) fn watch_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Proto => "application/vnd.kubernetes.protobuf;stream=watch",
        }
    }

    /// One object's whole body.
    pub(crate) fn object(self, resource: &Resource, object: &Object) -> Vec<u8> {
        let kind = object.value["kind"].as_str().unwrap_or_default();
        match self {
            Self::Json => {
                let mut out = json::whole(resource, kind, &object.item);
                out.push(b'\n');
                out
            }
            Self::Proto => proto::envelope(&resource.api_version(), kind, &object.proto(resource)),
        }
    }

    /// One change, as a watch tells it.
    pub(crate) fn event(self, resource: &Resource, change: Change, object: &Object) -> Vec<u8> {
        let kind = object.value["kind"].as_str().unwrap_or_default();
        let change = match change {
            Change::Added => "ADDED",
            Change::Modified => "MODIFIED",
            Change::Deleted => "DELETED",
        };
        match self {
            Self::Json => json_event(change, &json::whole(resource, kind, &object.item)),
            Self::Proto => proto::frame(change, &self.object(resource, object)),
        }
    }

    /// A bookmark at a version; `initial_end` marks the end of the initial events.
    pub(crate) fn bookmark(self, resource: &Resource, kind: &str, rv: u64, initial_end: bool) -> Vec<u8> {
        let mut value = serde_json::json!({"kind": kind, "apiVersion": resource.api_version(),
            "metadata": {"resourceVersion": rv.to_string()}});
        if initial_end {
            value["metadata"]["annotations"] = serde_json::json!({"k8s.io/initial-events-end": "true"});
        }
        match self {
            Self::Json => {
                let item = json::item(resource, &value);
                json_event("BOOKMARK", &json::whole(resource, kind, &item))
            }
            Self::Proto => {
                let raw = proto::object(resource, &value);
                proto::frame("BOOKMARK", &proto::envelope(&resource.api_version(), kind, &raw))
            }
        }
    }

    /// An error inside a watch.
    pub(crate) fn error_event(self, failure: &Failure) -> Vec<u8> {
        match self {
            Self::Json => json_event("ERROR", &failure.json()),
            Self::Proto => proto::frame("ERROR", &proto::envelope("v1", "Status", &proto::status(failure))),
        }
    }

    /// An error, or the success of a deletion, as the whole answer.
    pub(crate) fn status(self, failure: &Failure) -> Reply {
        let bytes = match self {
            Self::Json => {
                let mut out = failure.json();
                out.push(b'\n');
                out
            }
            Self::Proto => proto::envelope("v1", "Status", &proto::status(failure)),
        };
        let mut answer = reply(failure.code, self.content_type(), bytes);
        if let Some(details) = failure.details.as_ref().filter(|details| details.retry_after > 0) {
            answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(details.retry_after));
        }
        answer
    }
}

fn json_event(change: &str, object: &[u8]) -> Vec<u8> {
    let mut out = format!("{{\"type\":\"{change}\",\"object\":").into_bytes();
    out.extend_from_slice(object);
    out.extend_from_slice(b"}\n");
    out
}

/// An error, in the form the client asked for.
pub(crate) fn failure(headers: &HeaderMap, failure: &Failure) -> Reply {
    Media::negotiate(headers, true).unwrap_or(Media::Json).status(failure)
}

/// Compresses a large whole body if the client takes gzip.
pub(crate) fn compress(headers: &HeaderMap, mut answer: Reply) -> Reply {
    let accepted = headers
        .get_all(header::ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|coding| coding.trim().split(';').next() == Some("gzip"));
    let FakeBody::Whole(Some(bytes)) = answer.body() else { return answer };
    if !accepted || bytes.len() <= GZIP_ABOVE {
        return answer;
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("writing to memory does not fail");
    let packed = encoder.finish().expect("writing to memory does not fail");
    *answer.body_mut() = FakeBody::Whole(Some(packed.into()));
    answer.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    answer.headers_mut().append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    answer
}
