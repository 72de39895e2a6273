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

use std::borrow::Cow;
use std::ops::Range;

use super::json::{self, JsonError};
use super::list::Encoding;
use super::proto::{self, ProtoError, write_bytes, write_number};

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

/// `message` with the parts of `field` as `edit` wants them; `None`: nothing changes.
pub fn edit<E: From<MessageError>>(
    encoding: Encoding,
    message: &[u8],
    field: Field,
    mut edit: impl FnMut(&[u8]) -> Result<Edit, E>,
) -> Result<Option<Vec<u8>>, E> {
    match encoding {
        Encoding::Json => json_edit(message, field, &mut edit),
        Encoding::Protobuf => proto_edit(message, field, &mut edit),
    }
}

fn json_edit<E: From<MessageError>>(
    message: &[u8],
    field: Field,
    edit: &mut dyn FnMut(&[u8]) -> Result<Edit, E>,
) -> Result<Option<Vec<u8>>, E> {
    let mut edits: Vec<(Range<usize>, Vec<u8>)> = Vec::new();
    let mut removed = false;
    for member in json::members(message) {
        let member = member.map_err(MessageError::from)?;
        if !member.is(field.json) {
            continue;
        }
        let text = &message[member.value.clone()];
        if text == b"null" {
            continue;
        }
        field.check(text)?;
        if field.many {
            if let Some(array) = json_array(text, edit)? {
                edits.push((member.value, array));
            }
        } else {
            match edit(text)? {
                Edit::Keep => {}
                Edit::Replace(value) => edits.push((member.value, value)),
                Edit::Remove => removed = true,
            }
        }
    }
    if removed {
        return Ok(Some(without_member(message, field)?));
    }
    Ok((!edits.is_empty()).then(|| splice(message, &edits)))
}

/// The array with its elements edited; `None`: nothing changes.
fn json_array<E: From<MessageError>>(array: &[u8], edit: &mut dyn FnMut(&[u8]) -> Result<Edit, E>) -> Result<Option<Vec<u8>>, E> {
    let mut kept: Vec<Cow<'_, [u8]>> = Vec::new();
    let mut changed = false;
    for element in json::elements(array) {
        let element = &array[element.map_err(MessageError::from)?];
        match edit(element)? {
            Edit::Keep => kept.push(Cow::Borrowed(element)),
            Edit::Replace(new) => {
                changed = true;
                kept.push(Cow::Owned(new));
            }
            Edit::Remove => changed = true,
        }
    }
    Ok(changed.then(|| [b"[", kept.join(&b","[..]).as_slice(), b"]"].concat()))
}

fn proto_edit<E: From<MessageError>>(
    message: &[u8],
    field: Field,
    edit: &mut dyn FnMut(&[u8]) -> Result<Edit, E>,
) -> Result<Option<Vec<u8>>, E> {
    let mut out = Vec::with_capacity(message.len() + 64);
    let mut changed = false;
    for part in proto::fields(message) {
        let part = part.map_err(MessageError::from)?;
        let verdict = match part.number == field.proto {
            true => edit(part.bytes().map_err(MessageError::from)?)?,
            false => Edit::Keep,
        };
        match verdict {
            Edit::Keep => out.extend_from_slice(&message[part.range]),
            Edit::Replace(new) => {
                changed = true;
                write_bytes(&mut out, field.proto, &new);
            }
            Edit::Remove => changed = true,
        }
    }
    Ok(changed.then_some(out))
}

/// A value to set.
#[derive(Debug, Clone, Copy)]
pub enum Set<'a> {
    Text(&'a str),
    /// A repeated field of strings, all of them.
    Texts(&'a [&'a str]),
    Number(u64),
    True,
    /// A message, written in the encoding at hand.
    Message(&'a [u8]),
    /// A repeated field of messages, all of them.
    Messages(&'a [Vec<u8>]),
}

/// `message` with `field` set, in the place of what it had or at the end.
pub fn set(encoding: Encoding, message: &[u8], field: Field, value: Set<'_>) -> Result<Vec<u8>, MessageError> {
    match encoding {
        Encoding::Json => json_set(message, field.json, &json_value(value)),
        Encoding::Protobuf => proto_set(message, field, &proto_value(field.proto, value)),
    }
}

fn json_value(value: Set<'_>) -> Vec<u8> {
    let quoted = |text: &str| {
        let mut out = Vec::with_capacity(text.len() + 2);
        json::write_string(&mut out, text);
        out
    };
    let list = |items: Vec<Vec<u8>>| [b"[", items.join(&b","[..]).as_slice(), b"]"].concat();
    match value {
        Set::Text(text) => quoted(text),
        Set::Texts(texts) => list(texts.iter().map(|text| quoted(text)).collect()),
        Set::Number(number) => number.to_string().into_bytes(),
        Set::True => b"true".to_vec(),
        Set::Message(message) => message.to_vec(),
        Set::Messages(messages) => list(messages.to_vec()),
    }
}

fn proto_value(number: u32, value: Set<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    match value {
        Set::Text(text) => write_bytes(&mut out, number, text.as_bytes()),
        Set::Texts(texts) => texts.iter().for_each(|text| write_bytes(&mut out, number, text.as_bytes())),
        Set::Number(value) => write_number(&mut out, number, value),
        Set::True => write_number(&mut out, number, 1),
        Set::Message(message) => write_bytes(&mut out, number, message),
        Set::Messages(messages) => messages.iter().for_each(|message| write_bytes(&mut out, number, message)),
    }
    out
}

fn json_set(message: &[u8], name: &str, value: &[u8]) -> Result<Vec<u8>, MessageError> {
    let mut edits = Vec::new();
    for member in json::members(message) {
        let member = member?;
        if member.is(name) {
            edits.push((member.value, value.to_vec()));
        }
    }
    if edits.is_empty() { with_member(message, name, value) } else { Ok(splice(message, &edits)) }
}

/// The JSON object with one more member at its end; what follows the object stays behind it.
pub(super) fn with_member(object: &[u8], name: &str, value: &[u8]) -> Result<Vec<u8>, MessageError> {
    let (mut members, mut member) = (json::members(object), Vec::new());
    for other in members.by_ref() {
        other?;
        member = b",".to_vec();
    }
    json::write_string(&mut member, name);
    member.push(b':');
    member.extend_from_slice(value);
    // Before the bracket with which the walk has ended.
    let end = object.len() - members.rest().len() - 1;
    Ok(splice(object, &[(end..end, member)]))
}

fn proto_set(message: &[u8], field: Field, value: &[u8]) -> Result<Vec<u8>, MessageError> {
    let mut out = Vec::with_capacity(message.len() + value.len());
    let mut written = false;
    for part in proto::fields(message) {
        let part = part?;
        if part.number != field.proto {
            out.extend_from_slice(&message[part.range]);
        } else if !std::mem::replace(&mut written, true) {
            out.extend_from_slice(value);
        }
    }
    if !written {
        out.extend_from_slice(value);
    }
    Ok(out)
}

/// What `change` makes of an object, of which it reads and changes fields beside the metadata. Of JSON with the metadata
/// first, as the kube-apiserver writes it, it is given what stands behind that: most of an object is its managedFields,
/// and they are not walked over again for each field.
pub fn change_behind_metadata<E: From<MessageError>>(
    encoding: Encoding,
    object: &[u8],
    change: impl FnOnce(&[u8]) -> Result<Edit, E>,
) -> Result<Edit, E> {
    let behind = if encoding == Encoding::Json { behind_metadata(object).map_err(MessageError::from)? } else { None };
    let Some(behind) = behind else { return change(object) };
    let edit = change(&[b"{", &object[behind.end..]].concat())?;
    let Edit::Replace(rest) = edit else { return Ok(edit) };
    let comma: &[u8] = if rest.starts_with(b"{}") { b"" } else { &object[behind.clone()] };
    Ok(Edit::Replace([&object[..behind.start], comma, &rest[1..]].concat()))
}

/// The comma behind an object's metadata, with the space before it, if nothing but its type stands before the metadata.
fn behind_metadata(object: &[u8]) -> Result<Option<Range<usize>>, JsonError> {
    for member in json::members(object) {
        let member = member?;
        if member.is("metadata") {
            let (start, rest) = (member.value.end, &object[member.value.end..]);
            let space = rest.iter().take_while(|byte| json::is_space(**byte)).count();
            return Ok((rest.get(space) == Some(&b',')).then(|| start..start + space + 1));
        }
        if !member.is("kind") && !member.is("apiVersion") {
            break;
        }
    }
    Ok(None)
}

/// `message` without `field`.
pub fn remove(encoding: Encoding, message: &[u8], field: Field) -> Result<Vec<u8>, MessageError> {
    match encoding {
        Encoding::Json => without_member(message, field),
        Encoding::Protobuf => proto_set(message, field, &[]),
    }
}

fn without_member(message: &[u8], field: Field) -> Result<Vec<u8>, MessageError> {
    let mut kept = Vec::new();
    for member in json::members(message) {
        let member = member?;
        if !member.is(field.json) {
            kept.push([b"\"", member.raw_key, b"\":", &message[member.value]].concat());
        }
    }
    Ok([b"{", kept.join(&b","[..]).as_slice(), b"}"].concat())
}

/// `message` with what `change` makes of the value of `key` in a field that maps strings to strings; `None`: there is none, or
/// nothing changes.
pub fn change_entry(
    encoding: Encoding,
    message: &[u8],
    field: Field,
    key: &str,
    change: impl Fn(&str) -> Option<String>,
) -> Result<Option<Vec<u8>>, MessageError> {
    match encoding {
        Encoding::Json => edit(encoding, message, field, |map| {
            let changed = json_entry(map, field, key)?.and_then(|value| change(&value));
            Ok(match changed {
                Some(value) => Edit::Replace(json_set(map, key, &json_value(Set::Text(&value)))?),
                None => Edit::Keep,
            })
        }),
        Encoding::Protobuf => {
            let changed = entry(encoding, message, field, key)?.and_then(|value| change(&value));
            changed.map_or(Ok(None), |value| proto_replace_entry(message, field, key, &value))
        }
    }
}

/// Of a key that is there twice the last one counts: none but the new one is left.
fn proto_replace_entry(message: &[u8], field: Field, key: &str, value: &str) -> Result<Option<Vec<u8>>, MessageError> {
    let (encoding, mut written) = (Encoding::Protobuf, false);
    edit(encoding, message, field, |pair| {
        if text(encoding, pair, KEY)? != key {
            return Ok(Edit::Keep);
        }
        Ok(match std::mem::replace(&mut written, true) {
            true => Edit::Remove,
            false => Edit::Replace(set(encoding, pair, VALUE, Set::Text(value))?),
        })
    })
}

/// `message` without `key` in a field that maps strings to strings, and without the field where nothing else is in it.
pub fn remove_entry(
    encoding: Encoding,
    message: &[u8],
    field: Field,
    key: &'static str,
) -> Result<Option<Vec<u8>>, MessageError> {
    edit(encoding, message, field, |part| match encoding {
        Encoding::Json => Ok(match without_member(part, Field::new(key, 0))? {
            map if map == b"{}" => Edit::Remove,
            map => Edit::Replace(map),
        }),
        Encoding::Protobuf if text(encoding, part, KEY)? == key => Ok(Edit::Remove),
        Encoding::Protobuf => Ok(Edit::Keep),
    })
}

/// `message` with the ranges of `edits`, which are in order, replaced.
pub(super) fn splice(message: &[u8], edits: &[(Range<usize>, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() + 64);
    let mut at = 0;
    for (range, text) in edits {
        out.extend_from_slice(&message[at..range.start]);
        out.extend_from_slice(text);
        at = range.end;
    }
    out.extend_from_slice(&message[at..]);
    out
}

#[cfg(test)]
mod tests;
