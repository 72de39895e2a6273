//! Objects as messages of named fields, alike in JSON and in protobuf.
//!
//! Receives an object in item form, or a message within one, and a [`Field`] that both encodings know. Promises to
//! hand out the parts of a field as slices, and to give a message back with one field changed and every other byte as
//! it was, fields that nobody here knows included. What cannot be read is a [`MessageError`]; nothing here panics.
//!
//! A part is one element of a repeated field (a JSON array, or one occurrence of a protobuf field), or the value of a
//! single one. JSON's `null` is no part at all. The kube-apiserver writes no field of JSON twice; of one that is there
//! twice all the same, the first one is read.
//!
//! Source of numbers and names: the `generated.proto` beside each `types.go` of `k8s.io/api` and `k8s.io/apimachinery`.

mod edit;

use std::borrow::Cow;
use std::ops::Range;

use super::json::{self, JsonError};
use super::list::Encoding;
use super::proto::{self, ProtoError};
pub use edit::{Set, change_behind_metadata, change_entry, edit, remove, remove_entry, set};
pub(super) use edit::{splice, with_member, without};

/// One field of a message, in both spellings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    pub json: &'static str,
    pub proto: u32,
    /// An array in JSON.
    many: bool,
}

impl Field {
    /// A single field, or one that maps strings to strings.
    pub const fn new(json: &'static str, proto: u32) -> Self {
        Self { json, proto, many: false }
    }

    /// A repeated field.
    pub const fn many(json: &'static str, proto: u32) -> Self {
        Self { json, proto, many: true }
    }
}

/// Why a message could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    #[error("{0}")]
    Json(#[from] JsonError),
    #[error("{0}")]
    Proto(#[from] ProtoError),
    #[error("{0} is not what it should be")]
    Shape(&'static str),
}

/// What becomes of one part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    Keep,
    Replace(Vec<u8>),
    Remove,
}

/// Where the parts of `field` are in `message`.
pub fn parts(encoding: Encoding, message: &[u8], field: Field) -> Result<Vec<Range<usize>>, MessageError> {
    let mut found = Vec::new();
    match encoding {
        Encoding::Json => {
            for member in json::members(message) {
                let member = member?;
                if member.is(field.json) {
                    return json_parts(message, member.value, field);
                }
            }
        }
        Encoding::Protobuf => {
            for part in proto::fields(message) {
                let part = part?;
                if part.number == field.proto {
                    let length = part.bytes()?.len();
                    found.push(part.range.end - length..part.range.end);
                }
            }
        }
    }
    Ok(found)
}

fn json_parts(message: &[u8], value: Range<usize>, field: Field) -> Result<Vec<Range<usize>>, MessageError> {
    let text = &message[value.clone()];
    if text == b"null" {
        return Ok(Vec::new());
    }
    field.check(text)?;
    if !field.many {
        return Ok(vec![value]);
    }
    json::elements(text).map(|element| Ok(shifted(element?, value.start))).collect()
}

impl Field {
    /// Whether a JSON value is an array where it should be, and only there.
    fn check(self, value: &[u8]) -> Result<(), MessageError> {
        if value.starts_with(b"[") == self.many { Ok(()) } else { Err(MessageError::Shape(self.json)) }
    }
}

fn shifted(range: Range<usize>, by: usize) -> Range<usize> {
    range.start + by..range.end + by
}

/// The value of a single field.
pub fn part(encoding: Encoding, message: &[u8], field: Field) -> Result<Option<&[u8]>, MessageError> {
    Ok(parts(encoding, message, field)?.pop().map(|range| &message[range]))
}

/// The text of a single string field; empty if it is not set.
pub fn text<'a>(encoding: Encoding, message: &'a [u8], field: Field) -> Result<Cow<'a, str>, MessageError> {
    match part(encoding, message, field)? {
        None => Ok(Cow::Borrowed("")),
        Some(part) => decode(encoding, part, field),
    }
}

/// The number of a single integer field, or 1 and 0 for true and false; 0 if it is not set.
pub fn number(encoding: Encoding, message: &[u8], field: Field) -> Result<i64, MessageError> {
    let wrong = MessageError::Shape(field.json);
    match encoding {
        Encoding::Json => match part(encoding, message, field)? {
            None | Some(b"false") => Ok(0),
            Some(b"true") => Ok(1),
            Some(text) => std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(wrong),
        },
        Encoding::Protobuf => {
            let mut number = 0;
            for part in proto::fields(message) {
                let part = part?;
                if part.number == field.proto {
                    number = part.varint()?.cast_signed();
                }
            }
            Ok(number)
        }
    }
}

fn decode<'a>(encoding: Encoding, part: &'a [u8], field: Field) -> Result<Cow<'a, str>, MessageError> {
    let wrong = MessageError::Shape(field.json);
    match encoding {
        Encoding::Json => json::string_value(part).ok_or(wrong),
        Encoding::Protobuf => std::str::from_utf8(part).map(Cow::Borrowed).map_err(|_| wrong),
    }
}

/// A map entry in protobuf: key 1, value 2.
const KEY: Field = Field::new("", 1);
const VALUE: Field = Field::new("", 2);

/// The value of `key` in a field that maps strings to strings.
pub fn entry<'a>(encoding: Encoding, message: &'a [u8], field: Field, key: &str) -> Result<Option<Cow<'a, str>>, MessageError> {
    if encoding == Encoding::Json {
        return part(encoding, message, field)?.map_or(Ok(None), |map| json_entry(map, field, key));
    }
    let mut found = None;
    for range in parts(encoding, message, field)? {
        let pair = &message[range];
        if text(encoding, pair, KEY)? == key {
            found = Some(text(encoding, pair, VALUE)?);
        }
    }
    Ok(found)
}

fn json_entry<'a>(map: &'a [u8], field: Field, key: &str) -> Result<Option<Cow<'a, str>>, MessageError> {
    let mut found = None;
    for member in json::members(map) {
        let member = member?;
        if member.is(key) {
            found = Some(decode(Encoding::Json, &map[member.value], field)?);
        }
    }
    Ok(found)
}

/// The value of `key` in a field, within the single message `outer`, that maps strings to strings. Looks no further than
/// it has to: of a field that occurs twice in JSON the first one counts.
pub fn inner_entry<'a>(
    encoding: Encoding,
    message: &'a [u8],
    outer: Field,
    field: Field,
    key: &str,
) -> Result<Option<Cow<'a, str>>, MessageError> {
    match encoding {
        Encoding::Protobuf => match part(encoding, message, outer)? {
            Some(inner) => entry(encoding, inner, field, key),
            None => Ok(None),
        },
        Encoding::Json => {
            let Some(inner) = json::from_member(message, outer.json)? else { return Ok(None) };
            let Some(map) = json::from_member(inner, field.json)?.filter(|map| !map.starts_with(b"null")) else {
                return Ok(None);
            };
            for member in json::members(map) {
                let member = member?;
                if member.is(key) {
                    return decode(encoding, &map[member.value], field).map(Some);
                }
            }
            Ok(None)
        }
    }
}

#[cfg(test)]
mod tests;
