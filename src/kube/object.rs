//! One object, as bytes.
//!
//! Receives an object in one of two forms. *Full form* is what a GET answers and what a watch event carries: JSON
//! with kind and apiVersion, or protobuf with prefix and `runtime.Unknown`. *Item form* is what stands in a list:
//! JSON without kind and apiVersion if it is a built-in type (custom resources keep them), or the bare message.
//! Promises to read what identifies the object, and to turn one form into the other so that there and back gives
//! the same bytes. Damaged objects are an [`ObjectError`].

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;

use super::json::{self, JsonError};
use super::list::Encoding;
use super::message::MessageError;
use super::proto::{self, MAGIC, ProtoError, ProtoFault};

/// Why bytes are not an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ObjectError {
    #[error("object: {0}")]
    Json(#[from] JsonError),
    #[error("object: {0}")]
    Proto(#[from] ProtoError),
    #[error("object: no valid JSON")]
    Invalid,
    #[error("object: no {0}")]
    Missing(&'static str),
    #[error("object: bytes after its end")]
    Trailing,
    #[error("object: {0} is not a string")]
    NotText(&'static str),
    #[error("object: {0}")]
    Message(#[from] MessageError),
}

/// What identifies an object. A field that is not set is empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Meta {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub resource_version: String,
}

/// Which type an object is of.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct TypeMeta {
    /// `v1`, `apps/v1`
    pub api_version: String,
    pub kind: String,
}

/// Reads the metadata of an object in item form; in JSON it may be in full form as well.
pub fn meta(encoding: Encoding, item: &[u8]) -> Result<Meta, ObjectError> {
    match encoding {
        Encoding::Json => json_meta(item),
        Encoding::Protobuf => proto_meta(item),
    }
}

/// Reads the metadata of an object as a client sends it: JSON, whole and valid, with or without kind and apiVersion
/// (the API server takes them from the path), or protobuf in full form.
pub fn sent_meta(encoding: Encoding, sent: &[u8]) -> Result<Meta, ObjectError> {
    match encoding {
        Encoding::Json => {
            serde_json::from_slice::<serde::de::IgnoredAny>(sent).map_err(|_| ObjectError::Invalid)?;
            json_meta(sent)
        }
        Encoding::Protobuf => proto_meta(sent_item(encoding, sent)?),
    }
}

/// The resourceVersion of an object in full form, that of a watch event for instance; `None`: it has none that is a number.
pub fn version(encoding: Encoding, full: &[u8]) -> Option<u64> {
    let item = match encoding {
        Encoding::Json => full,
        Encoding::Protobuf => sent_item(encoding, full).ok()?,
    };
    meta(encoding, item).ok()?.resource_version.parse().ok()
}

/// What an object as a client sends it says of its type; empty where that is left to the path.
pub fn sent_type(encoding: Encoding, sent: &[u8]) -> Result<TypeMeta, ObjectError> {
    if encoding == Encoding::Protobuf {
        return Ok(open_envelope(sent)?.0);
    }
    let value = |name| json::top_level_field(sent, name).filter(|value| sent[value.clone()] != *b"null");
    let said = |name| value(name).map_or(Ok(String::new()), |value| text(sent, value, name));
    Ok(TypeMeta { api_version: said("apiVersion")?, kind: said("kind")? })
}

/// The same object without what stands around it in protobuf; JSON may be in full form as well.
pub fn sent_item(encoding: Encoding, sent: &[u8]) -> Result<&[u8], ObjectError> {
    match encoding {
        Encoding::Json => Ok(sent),
        Encoding::Protobuf => Ok(sent.get(open_envelope(sent)?.1).unwrap_or_default()),
    }
}

/// What an object in item form calls its kind, as only custom resources do.
pub fn own_kind(encoding: Encoding, item: &[u8]) -> Option<String> {
    let value = json::top_level_field(item, "kind").filter(|_| encoding == Encoding::Json)?;
    json::string_value(&item[value]).map(Cow::into_owned)
}

/// Turns full form into item form. White space after the object is dropped.
pub fn into_item(encoding: Encoding, full: &[u8]) -> Result<(TypeMeta, Bytes), ObjectError> {
    check(encoding, full)?;
    whole_into_item(encoding, full)
}

/// Fails if JSON is not one object and nothing else. Protobuf is looked at by whoever opens it.
pub fn check(encoding: Encoding, full: &[u8]) -> Result<(), ObjectError> {
    if encoding == Encoding::Protobuf {
        return Ok(());
    }
    let mut members = json::members(full);
    members.by_ref().try_for_each(|member| member.map(drop))?;
    if members.rest().trim_ascii_end().is_empty() { Ok(()) } else { Err(ObjectError::Trailing) }
}

/// The same for what is known to be one whole object, as in a watch event: of JSON no more is read than its type takes,
/// which stands first.
pub fn whole_into_item(encoding: Encoding, full: &[u8]) -> Result<(TypeMeta, Bytes), ObjectError> {
    match encoding {
        Encoding::Json => json_into_item(full.trim_ascii_end()),
        Encoding::Protobuf => {
            let (type_meta, raw) = open_envelope(full)?;
            Ok((type_meta, Bytes::copy_from_slice(&full[raw])))
        }
    }
}

/// Which type an object in full form is of. Of JSON no more is read than that takes.
pub fn type_of(encoding: Encoding, full: &[u8]) -> Result<TypeMeta, ObjectError> {
    match encoding {
        Encoding::Json => json_type(full),
        Encoding::Protobuf => Ok(open_envelope(full)?.0),
    }
}

/// Turns item form into full form, without a newline at the end. An item that names its own kind or apiVersion
/// stays as it is.
pub fn from_item(encoding: Encoding, type_meta: &TypeMeta, item: &[u8]) -> Vec<u8> {
    match encoding {
        Encoding::Json => json_from_item(type_meta, item),
        Encoding::Protobuf => proto::envelop(&type_meta.api_version, &type_meta.kind, item),
    }
}

/// Turns what [`into_item`] made of `full`, and what has become of it since, into full form again: where that took kind
/// and apiVersion away they are put back, without looking for them.
pub fn back_to_full(encoding: Encoding, type_meta: &TypeMeta, item: Vec<u8>, full: &[u8]) -> Vec<u8> {
    match encoding {
        Encoding::Json if full.starts_with(&type_prefix(type_meta)) => with_type(type_meta, &item),
        Encoding::Json => item,
        Encoding::Protobuf => proto::envelop(&type_meta.api_version, &type_meta.kind, &item),
    }
}

/// The type of an object in full form, and where its `Unknown.raw` is.
pub(crate) fn open_envelope(full: &[u8]) -> Result<(TypeMeta, Range<usize>), ObjectError> {
    let no_magic = ProtoError { fault: ProtoFault::NoMagic, at: 0 };
    let unknown = full.strip_prefix(&MAGIC).ok_or(no_magic)?;
    let (mut type_meta, mut raw) = (None, None);
    for field in proto::fields(unknown) {
        let field = field?;
        match field.number {
            1 => type_meta = Some(proto::read_type_meta(field.bytes()?)?),
            2 => {
                let end = MAGIC.len() + field.range.end;
                raw = Some(end - field.bytes()?.len()..end);
            }
            3 if !field.bytes()?.is_empty() => {
                return Err(ObjectError::Missing("raw without contentEncoding"));
            }
            _ => {}
        }
    }
    let (api_version, kind) = type_meta.ok_or(ObjectError::Missing("typeMeta"))?;
    Ok((TypeMeta { api_version, kind }, raw.ok_or(ObjectError::Missing("raw"))?))
}

fn json_type(full: &[u8]) -> Result<TypeMeta, ObjectError> {
    let mut type_meta = TypeMeta::default();
    let (mut has_version, mut has_kind) = (false, false);
    for member in json::members(full) {
        let member = member?;
        if member.is("apiVersion") {
            (type_meta.api_version, has_version) = (text(full, member.value, "apiVersion")?, true);
        } else if member.is("kind") {
            (type_meta.kind, has_kind) = (text(full, member.value, "kind")?, true);
        }
        if has_version && has_kind {
            return Ok(type_meta);
        }
    }
    Err(ObjectError::Missing(if has_version { "kind" } else { "apiVersion" }))
}

fn json_into_item(full: &[u8]) -> Result<(TypeMeta, Bytes), ObjectError> {
    let type_meta = json_type(full)?;
    let prefix = type_prefix(&type_meta);
    let Some(rest) = full.strip_prefix(prefix.as_slice()) else {
        return Ok((type_meta, Bytes::copy_from_slice(full)));
    };
    let rest = rest.strip_prefix(b",").unwrap_or(rest);
    Ok((type_meta, [b"{", rest].concat().into()))
}

fn json_from_item(type_meta: &TypeMeta, item: &[u8]) -> Vec<u8> {
    let named = json::members(item).map_while(Result::ok).any(|member| member.is("apiVersion") || member.is("kind"));
    if named { item.to_vec() } else { with_type(type_meta, item) }
}

fn with_type(type_meta: &TypeMeta, item: &[u8]) -> Vec<u8> {
    let Some(inside) = item.trim_ascii_start().strip_prefix(b"{") else { return item.to_vec() };
    let mut out = type_prefix(type_meta);
    if !inside.trim_ascii_start().starts_with(b"}") {
        out.push(b',');
    }
    out.extend_from_slice(inside);
    out
}

/// How the API server begins an object of a built-in type.
fn type_prefix(type_meta: &TypeMeta) -> Vec<u8> {
    let mut out = b"{\"kind\":".to_vec();
    json::write_string(&mut out, &type_meta.kind);
    out.extend_from_slice(b",\"apiVersion\":");
    json::write_string(&mut out, &type_meta.api_version);
    out
}

fn text(object: &[u8], value: Range<usize>, name: &'static str) -> Result<String, ObjectError> {
    let value = object.get(value).unwrap_or_default();
    json::string_value(value).map(|text| text.into_owned()).ok_or(ObjectError::NotText(name))
}

fn json_meta(object: &[u8]) -> Result<Meta, ObjectError> {
    // What comes behind the four fields, managedFields above all, need not be looked at.
    let metadata = json::from_member(object, "metadata")?.ok_or(ObjectError::Missing("metadata"))?;
    let mut meta = Meta::default();
    let mut missing = 4;
    for member in json::members(metadata) {
        let member = member?;
        let fields = [
            ("namespace", &mut meta.namespace),
            ("name", &mut meta.name),
            ("uid", &mut meta.uid),
            ("resourceVersion", &mut meta.resource_version),
        ];
        let Some((name, field)) = fields.into_iter().find(|(name, _)| member.is(name)) else {
            continue;
        };
        *field = text(metadata, member.value, name)?;
        missing -= 1;
        if missing == 0 {
            break;
        }
    }
    Ok(meta)
}

/// Field 1 of every object is ObjectMeta: name 1, namespace 3, uid 5, resourceVersion 6.
fn proto_meta(item: &[u8]) -> Result<Meta, ObjectError> {
    let mut meta = None;
    for field in proto::fields(item) {
        let field = field?;
        if field.number != 1 {
            continue;
        }
        let meta = meta.get_or_insert_with(Meta::default);
        for field in proto::fields(field.bytes()?) {
            let field = field?;
            match field.number {
                1 => meta.name = field.text()?.to_owned(),
                3 => meta.namespace = field.text()?.to_owned(),
                5 => meta.uid = field.text()?.to_owned(),
                6 => meta.resource_version = field.text()?.to_owned(),
                _ => {}
            }
        }
    }
    meta.ok_or(ObjectError::Missing("metadata"))
}

#[cfg(test)]
mod tests;
