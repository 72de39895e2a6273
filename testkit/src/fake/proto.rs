//! The protobuf encoding of a few types, written by hand.
//!
//! Field numbers are those of `k8s.io/api/core/v1/generated.proto`,
//! `k8s.io/api/discovery/v1/generated.proto` and
//! `k8s.io/apimachinery/pkg/apis/meta/v1/generated.proto`. Pods carry their metadata and
//! their node only.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use super::resource::Resource;
use super::status::Failure;

/// Whether this module can encode the resource's objects.
pub(crate) fn supports(resource: &Resource) -> bool {
    matches!(
        (resource.group.as_str(), resource.plural.as_str()),
        ("", "configmaps" | "secrets" | "services" | "pods") | ("discovery.k8s.io", "endpointslices")
    )
}

/// One message being written.
#[derive(Default)]
pub(crate) struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    /// A field of wire type 2, written even when empty.
    pub(crate) fn bytes(&mut self, field: u64, bytes: &[u8]) -> &mut Self {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    fn number(&mut self, field: u64, value: u64) -> &mut Self {
        self.varint(field << 3);
        self.varint(value);
        self
    }

    fn text(&mut self, field: u64, value: &Value) -> &mut Self {
        self.bytes(field, value.as_str().unwrap_or_default().as_bytes())
    }

    /// Absent when the value is, as optional and repeated fields are.
    fn text_if(&mut self, field: u64, value: &Value) -> &mut Self {
        if value.as_str().is_some_and(|text| !text.is_empty()) { self.text(field, value) } else { self }
    }

    fn map(&mut self, field: u64, value: &Value, encode: impl Fn(&str) -> Vec<u8>) -> &mut Self {
        for (key, value) in value.as_object().into_iter().flatten() {
            let mut entry = Self::default();
            entry.bytes(1, key.as_bytes()).bytes(2, &encode(value.as_str().unwrap_or_default()));
            self.bytes(field, &entry.0);
        }
        self
    }

    pub(crate) fn finish(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.0)
    }
}

/// `k8s\0` and a `runtime.Unknown` around a message.
pub(crate) fn envelope(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let type_meta = Message::default().bytes(1, api_version.as_bytes()).bytes(2, kind.as_bytes()).finish();
    let mut unknown = Message(b"k8s\0".to_vec());
    unknown.bytes(1, &type_meta).bytes(2, raw).bytes(3, b"").bytes(4, b"").finish()
}

/// An object of a supported resource, without envelope.
pub(crate) fn object(resource: &Resource, value: &Value) -> Vec<u8> {
    let plain = |text: &str| text.as_bytes().to_vec();
    let mut message = Message::default();
    message.bytes(1, &object_meta(&value["metadata"]));
    match resource.plural.as_str() {
        "configmaps" => {
            message.map(2, &value["data"], plain);
        }
        "secrets" => {
            let decode = |text: &str| BASE64_STANDARD.decode(text).unwrap_or_default();
            message.map(2, &value["data"], decode).text(3, &value["type"]);
        }
        "services" => {
            message.bytes(2, &service_spec(&value["spec"]));
        }
        "pods" => {
            message.bytes(2, &Message::default().text_if(10, &value["spec"]["nodeName"]).finish());
        }
        "endpointslices" => endpoint_slice(&mut message, value),
        _ => {}
    }
    message.finish()
}

/// The `PartialObjectMetadata` of an object, without envelope.
pub(crate) fn metadata(value: &Value) -> Vec<u8> {
    Message::default().bytes(1, &object_meta(&value["metadata"])).finish()
}

/// `ListMeta` and the encoded items.
pub(crate) fn list(rv: &str, resume: &str, items: impl Iterator<Item = impl AsRef<[u8]>>) -> Vec<u8> {
    let meta = Message::default().bytes(1, b"").bytes(2, rv.as_bytes()).bytes(3, resume.as_bytes()).finish();
    let mut message = Message::default();
    message.bytes(1, &meta);
    for item in items {
        message.bytes(2, item.as_ref());
    }
    message.finish()
}

/// A watch frame: length, then a `WatchEvent` around an enveloped object.
pub(crate) fn frame(change: &str, object: &[u8]) -> Vec<u8> {
    let raw = Message::default().bytes(1, object).finish();
    let event = Message::default().bytes(1, change.as_bytes()).bytes(2, &raw).finish();
    let length = u32::try_from(event.len()).expect("an event is far below 4 GiB");
    let mut out = length.to_be_bytes().to_vec();
    out.extend_from_slice(&event);
    out
}

/// A `v1.Status`, without envelope.
pub(crate) fn status(failure: &Failure) -> Vec<u8> {
    let meta = Message::default().bytes(1, b"").bytes(2, b"").bytes(3, failure.resume.as_bytes()).finish();
    let state: &[u8] = if failure.code < 400 { b"Success" } else { b"Failure" };
    let mut message = Message::default();
    message.bytes(1, &meta).bytes(2, state);
    message.bytes(3, failure.message.as_bytes()).bytes(4, failure.reason.as_bytes());
    if let Some(details) = &failure.details {
        let mut inner = Message::default();
        inner.bytes(1, details.name.as_bytes()).bytes(2, details.group.as_bytes());
        inner.bytes(3, details.kind.as_bytes());
        if let Some((reason, text)) = &details.cause {
            let mut cause = Message::default();
            let cause = cause.bytes(1, reason.as_bytes()).bytes(2, text.as_bytes()).bytes(3, b"").finish();
            inner.bytes(4, &cause);
        }
        inner.number(5, u64::from(details.retry_after)).bytes(6, details.uid.as_bytes());
        message.bytes(5, &inner.finish());
    }
    let code = if failure.code < 400 { 0 } else { u64::from(failure.code) };
    message.number(6, code).finish()
}

fn object_meta(meta: &Value) -> Vec<u8> {
    let plain = |text: &str| text.as_bytes().to_vec();
    let mut message = Message::default();
    message.text(1, &meta["name"]).text(2, &meta["generateName"]).text(3, &meta["namespace"]).text(4, &Value::Null);
    message.text(5, &meta["uid"]).text(6, &meta["resourceVersion"]);
    message.number(7, meta["generation"].as_u64().unwrap_or(0));
    message.map(11, &meta["labels"], plain).map(12, &meta["annotations"], plain);
    message.finish()
}

fn endpoint_slice(message: &mut Message, value: &Value) {
    for endpoint in value["endpoints"].as_array().into_iter().flatten() {
        let mut inner = Message::default();
        for address in endpoint["addresses"].as_array().into_iter().flatten() {
            inner.text(1, address);
        }
        inner.bytes(2, b"").text_if(6, &endpoint["nodeName"]).text_if(7, &endpoint["zone"]);
        message.bytes(2, &inner.finish());
    }
    message.text(4, &value["addressType"]);
}

fn service_spec(spec: &Value) -> Vec<u8> {
    let mut message = Message::default();
    for port in spec["ports"].as_array().into_iter().flatten() {
        let mut inner = Message::default();
        inner.text(1, &port["name"]).text(2, &port["protocol"]);
        inner.number(3, port["port"].as_u64().unwrap_or(0));
        message.bytes(1, &inner.finish());
    }
    message.map(2, &spec["selector"], |text| text.as_bytes().to_vec());
    message.text(3, &spec["clusterIP"]).text(4, &spec["type"]);
    for ip in spec["clusterIPs"].as_array().into_iter().flatten() {
        message.text_if(18, ip);
    }
    message.finish()
}
