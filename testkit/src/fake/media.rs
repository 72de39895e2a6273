//! The form an answer takes: what `Accept` asks for, and objects written that way.

use std::borrow::Cow;
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, HeaderValue, header};
use serde_json::Value;

use super::body::{FakeBody, Reply, reply};
use super::resource::Resource;
use super::state::{Change, Object};
use super::status::Failure;
use super::{json, proto};

/// Bodies above this are compressed, as the real server does.
const GZIP_ABOVE: usize = 128 * 1024;

/// What is in CBOR is JSON here: this is for those who pass it on without a look.
const CBOR: &str = "application/cbor";
const CBOR_WATCH: &str = "application/cbor-seq";

pub(crate) const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

const META_VERSION: &str = "meta.k8s.io/v1";
const METADATA: &str = "PartialObjectMetadata";
const METADATA_LIST: &str = "PartialObjectMetadataList";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Json,
    Proto,
}

/// What is asked for first.
fn first(accept: &str) -> &str {
    accept.split(',').next().unwrap_or_default().trim()
}

/// How objects are presented. A list in metadata form has another name than its items, which events have as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Whole,
    Metadata,
    MetadataList,
}

/// What an answer is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Media {
    pub(crate) encoding: Encoding,
    form: Form,
}

impl Media {
    const JSON: Self = Self { encoding: Encoding::Json, form: Form::Whole };

    /// The first acceptable one; `proto` tells whether whole objects can be written so. There are no Tables here.
    pub(crate) fn negotiate(headers: &HeaderMap, proto: bool) -> Result<Self, Failure> {
        let accepts = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let mut any = false;
        for entry in accepts.flat_map(|value| value.split(',')) {
            any = true;
            let mut params = entry.split(';').map(str::trim);
            let kind = params.next().unwrap_or_default();
            let Some(form) = form(params) else { continue };
            match kind {
                PROTOBUF if proto || form != Form::Whole => return Ok(Self { encoding: Encoding::Proto, form }),
                "application/json" | "application/*" | "*/*" | CBOR | CBOR_WATCH => {
                    return Ok(Self { encoding: Encoding::Json, form });
                }
                _ => {}
            }
        }
        if any { Err(Failure::not_acceptable()) } else { Ok(Self::JSON) }
    }

    /// The same for a list, or for what is none. (A watch as a list's form is refused in its first event by the real
    /// server.)
    pub(crate) fn negotiate_read(headers: &HeaderMap, proto: bool, of_list: bool) -> Result<Self, Failure> {
        let media = Self::negotiate(headers, proto)?;
        match media.form {
            Form::Metadata if of_list => Err(Failure::of_another_shape(METADATA, "a list")),
            Form::MetadataList if !of_list => Err(Failure::of_another_shape(METADATA_LIST, "not a list")),
            _ => Ok(media),
        }
    }

    pub(crate) fn content_type(self) -> &'static str {
        match self.encoding {
            Encoding::Json => "application/json",
            Encoding::Proto => PROTOBUF,
        }
    }

    /// Of what is read with this `Accept`.
    pub(crate) fn read_type(self, accept: &str) -> &'static str {
        if first(accept) == CBOR { CBOR } else { self.content_type() }
    }

    pub(crate) fn watch_type(self, accept: &str) -> &'static str {
        match self.encoding {
            _ if first(accept) == CBOR_WATCH => CBOR_WATCH,
            Encoding::Json => "application/json",
            Encoding::Proto => "application/vnd.kubernetes.protobuf;stream=watch",
        }
    }

    /// What an object of this kind calls itself: version and kind.
    pub(crate) fn types(self, resource: &Resource, kind: &str) -> (String, String) {
        match self.form {
            Form::Whole => (resource.api_version(), kind.to_owned()),
            _ => (META_VERSION.to_owned(), METADATA.to_owned()),
        }
    }

    /// Whether a list without items says `null` in JSON, as Go writes one that nobody has put anything in.
    pub(crate) fn is_null_without_items(self) -> bool {
        self.form != Form::Whole
    }

    /// An object as it stands in a list.
    pub(crate) fn item<'a>(self, resource: &Resource, object: &'a Object) -> Cow<'a, [u8]> {
        match self {
            Self { encoding: Encoding::Json, form: Form::Whole } => Cow::Borrowed(&object.item),
            Self { encoding: Encoding::Proto, form: Form::Whole } => Cow::Owned(object.proto(resource)),
            _ => Cow::Owned(self.written(resource, &object.value)),
        }
    }

    fn written(self, resource: &Resource, value: &Value) -> Vec<u8> {
        match (self.encoding, self.form) {
            (Encoding::Json, Form::Whole) => json::item(resource, value),
            (Encoding::Json, _) => json::metadata(value),
            (Encoding::Proto, Form::Whole) => proto::object(resource, value),
            (Encoding::Proto, _) => proto::metadata(value),
        }
    }

    /// An object on its own, from its form in a list.
    fn full(self, resource: &Resource, kind: &str, item: &[u8]) -> Vec<u8> {
        match (self.encoding, self.form) {
            (Encoding::Json, Form::Whole) => json::whole(resource, kind, item),
            (Encoding::Json, _) => item.to_vec(),
            (Encoding::Proto, _) => {
                let (api_version, kind) = self.types(resource, kind);
                proto::envelope(&api_version, &kind, item)
            }
        }
    }

    /// One object's whole body.
    pub(crate) fn object(self, resource: &Resource, object: &Object) -> Vec<u8> {
        let mut out = self.full(resource, object.kind(), &self.item(resource, object));
        if self.encoding == Encoding::Json {
            out.push(b'\n');
        }
        out
    }

    /// One change, as a watch tells it.
    pub(crate) fn event(self, resource: &Resource, change: Change, object: &Object) -> Vec<u8> {
        let change = match change {
            Change::Added => "ADDED",
            Change::Modified => "MODIFIED",
            Change::Deleted => "DELETED",
        };
        self.framed(change, &self.full(resource, object.kind(), &self.item(resource, object)))
    }

    fn framed(self, change: &str, object: &[u8]) -> Vec<u8> {
        match self.encoding {
            Encoding::Json => json_event(change, object),
            Encoding::Proto => proto::frame(change, object),
        }
    }

    /// A bookmark at a version; `initial_end` marks the end of the initial events.
    pub(crate) fn bookmark(self, resource: &Resource, kind: &str, rv: u64, initial_end: bool) -> Vec<u8> {
        let mut value = serde_json::json!({"kind": kind, "apiVersion": resource.api_version(),
            "metadata": {"resourceVersion": rv.to_string()}});
        if initial_end {
            value["metadata"]["annotations"] = serde_json::json!({"k8s.io/initial-events-end": "true"});
        }
        self.framed("BOOKMARK", &self.full(resource, kind, &self.written(resource, &value)))
    }

    /// An error inside a watch.
    pub(crate) fn error_event(self, failure: &Failure) -> Vec<u8> {
        match self.encoding {
            Encoding::Json => json_event("ERROR", &failure.json()),
            Encoding::Proto => proto::frame("ERROR", &proto::envelope("v1", "Status", &proto::status(failure))),
        }
    }

    /// An error, or the success of a deletion, as the whole answer.
    pub(crate) fn status(self, failure: &Failure) -> Reply {
        let bytes = match self.encoding {
            Encoding::Json => {
                let mut out = failure.json();
                out.push(b'\n');
                out
            }
            Encoding::Proto => proto::envelope("v1", "Status", &proto::status(failure)),
        };
        let mut answer = reply(failure.code, self.content_type(), bytes);
        if let Some(details) = failure.details.as_ref().filter(|details| details.retry_after > 0) {
            answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(details.retry_after));
        }
        answer
    }
}

/// The form that a media type's parameters ask for; `None`: one that there is not.
fn form<'a>(params: impl Iterator<Item = &'a str>) -> Option<Form> {
    let (mut wanted, mut of_meta) = ("", 0);
    for param in params {
        match param.split_once('=') {
            Some(("as", value)) => wanted = value,
            Some(("g", "meta.k8s.io") | ("v", "v1")) => of_meta += 1,
            _ => {}
        }
    }
    match wanted {
        "" => Some(Form::Whole),
        METADATA if of_meta == 2 => Some(Form::Metadata),
        METADATA_LIST if of_meta == 2 => Some(Form::MetadataList),
        _ => None,
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
    Media::negotiate(headers, true).unwrap_or(Media::JSON).status(failure)
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
