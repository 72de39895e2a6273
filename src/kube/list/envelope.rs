//! The list around the items: what it says about itself, and writing it the way the API server does.
//!
//! Receives an [`Envelope`]. Promises the bytes that the streaming encoders of the API server write before and after
//! the items of such a list. Nothing here fails.

use std::borrow::Cow;

use crate::kube::{json, proto};

/// What a list says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Envelope {
    pub kind: String,
    pub api_version: String,
    /// Empty if the list has none (those of aggregated API servers without storage).
    pub resource_version: String,
    /// None for the last or only page; the empty token counts as none.
    pub continue_token: Option<String>,
    pub remaining_item_count: Option<u64>,
    /// Members in the order of their names, as lists of custom resources are written; otherwise kind, apiVersion,
    /// metadata, items.
    pub sorted_keys: bool,
}

impl Envelope {
    /// Takes resourceVersion, continue and remainingItemCount from the JSON text of a ListMeta. None if it is wrong.
    pub(super) fn read_json_meta(&mut self, meta: &[u8]) -> Option<()> {
        for member in json::members(meta) {
            let member = member.ok()?;
            let value = meta.get(member.value.clone())?;
            if value == b"null" {
                continue;
            }
            if member.is("resourceVersion") {
                self.resource_version = json::string_value(value)?.into_owned();
            } else if member.is("continue") {
                self.continue_token = token(json::string_value(value)?);
            } else if member.is("remainingItemCount") {
                self.remaining_item_count = Some(std::str::from_utf8(value).ok()?.parse().ok()?);
            }
        }
        Some(())
    }

    /// The same from a protobuf ListMeta.
    pub(super) fn read_proto_meta(&mut self, meta: &[u8]) -> Result<(), proto::ProtoError> {
        for field in proto::fields(meta) {
            let field = field?;
            match field.number {
                2 => self.resource_version = field.text()?.to_owned(),
                3 => self.continue_token = token(field.text()?.into()),
                4 => self.remaining_item_count = Some(field.varint()?),
                _ => {}
            }
        }
        Ok(())
    }
}

fn token(text: Cow<'_, str>) -> Option<String> {
    (!text.is_empty()).then(|| text.into_owned())
}

/// What a JSON list has before its first item.
pub fn envelope_json_head(envelope: &Envelope) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    if envelope.sorted_keys {
        out.extend_from_slice(b"{\"apiVersion\":");
        json::write_string(&mut out, &envelope.api_version);
        out.extend_from_slice(b",\"items\":[");
        return out;
    }
    write_json_start(&mut out, envelope);
    out.extend_from_slice(b",\"items\":[");
    out
}

/// What a Table has before its first row; `columns` is JSON.
pub fn envelope_table_head(envelope: &Envelope, columns: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(128 + columns.len());
    write_json_start(&mut out, envelope);
    out.extend_from_slice(b",\"columnDefinitions\":");
    out.extend_from_slice(columns);
    out.extend_from_slice(b",\"rows\":[");
    out
}

/// Up to the metadata, in the order of built-in types.
fn write_json_start(out: &mut Vec<u8>, envelope: &Envelope) {
    out.extend_from_slice(b"{\"kind\":");
    json::write_string(out, &envelope.kind);
    out.extend_from_slice(b",\"apiVersion\":");
    json::write_string(out, &envelope.api_version);
    out.extend_from_slice(b",\"metadata\":{");
    let mut comma = "";
    if !envelope.resource_version.is_empty() {
        out.extend_from_slice(b"\"resourceVersion\":");
        json::write_string(out, &envelope.resource_version);
        comma = ",";
    }
    if let Some(token) = &envelope.continue_token {
        out.extend_from_slice(format!("{comma}\"continue\":").as_bytes());
        json::write_string(out, token);
        comma = ",";
    }
    if let Some(count) = envelope.remaining_item_count {
        out.extend_from_slice(format!("{comma}\"remainingItemCount\":{count}").as_bytes());
    }
    out.push(b'}');
}

/// What a JSON list has after its last item, newline included.
pub fn envelope_json_tail(envelope: &Envelope) -> Vec<u8> {
    if !envelope.sorted_keys {
        return b"]}\n".to_vec();
    }
    let mut out = b"],\"kind\":".to_vec();
    json::write_string(&mut out, &envelope.kind);
    out.extend_from_slice(b",\"metadata\":{\"continue\":");
    json::write_string(&mut out, envelope.continue_token.as_deref().unwrap_or_default());
    if let Some(count) = envelope.remaining_item_count {
        out.extend_from_slice(format!(",\"remainingItemCount\":{count}").as_bytes());
    }
    out.extend_from_slice(b",\"resourceVersion\":");
    json::write_string(&mut out, &envelope.resource_version);
    out.extend_from_slice(b"}}\n");
    out
}

/// What a protobuf list has before its first item. `items_total` is the sum over the items of
/// [`proto_item_frame`] and payload, in bytes: the length of the whole comes first.
pub fn envelope_proto_head(envelope: &Envelope, items_total: u64) -> Vec<u8> {
    let mut meta = Vec::with_capacity(32);
    proto::write_bytes(&mut meta, 1, b"");
    proto::write_bytes(&mut meta, 2, envelope.resource_version.as_bytes());
    proto::write_bytes(&mut meta, 3, envelope.continue_token.as_deref().unwrap_or_default().as_bytes());
    if let Some(count) = envelope.remaining_item_count {
        proto::write_number(&mut meta, 4, count);
    }
    let mut meta_field = Vec::with_capacity(meta.len() + 4);
    proto::write_bytes(&mut meta_field, 1, &meta);

    let mut out = proto::MAGIC.to_vec();
    proto::write_type_meta(&mut out, &envelope.api_version, &envelope.kind);
    out.push(2 << 3 | 2);
    proto::write_varint(&mut out, meta_field.len() as u64 + items_total);
    out.extend_from_slice(&meta_field);
    out
}

/// Tag and length of an item of `length` bytes.
pub fn proto_item_frame(length: usize) -> Vec<u8> {
    let mut out = vec![2 << 3 | 2];
    proto::write_varint(&mut out, length as u64);
    out
}

/// What a protobuf list has after its last item: contentEncoding and contentType, both empty.
pub fn envelope_proto_tail() -> Vec<u8> {
    vec![0x1a, 0, 0x22, 0]
}
