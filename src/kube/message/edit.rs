//! A message given back with some of it changed.

use std::borrow::Cow;
use std::ops::Range;

use super::{Edit, Field, KEY, MessageError, VALUE, entry, json_entry, text};
use crate::kube::json::{self, JsonError, Member};
use crate::kube::list::Encoding;
use crate::kube::proto::{self, write_bytes, write_number};

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
        return Ok(Some(without(message, |member| member.is(field.json))?));
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
pub(in crate::kube) fn with_member(object: &[u8], name: &str, value: &[u8]) -> Result<Vec<u8>, MessageError> {
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
        Encoding::Json => without(message, |member| member.is(field.json)),
        Encoding::Protobuf => proto_set(message, field, &[]),
    }
}

/// The JSON object without the members that are `gone`.
pub(in crate::kube) fn without(object: &[u8], gone: impl Fn(&Member<'_>) -> bool) -> Result<Vec<u8>, MessageError> {
    let mut kept = Vec::new();
    for member in json::members(object) {
        let member = member?;
        if !gone(&member) {
            kept.push([b"\"", member.raw_key, b"\":", &object[member.value]].concat());
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
        Encoding::Json => Ok(match without(part, |member| member.is(key))? {
            map if map == b"{}" => Edit::Remove,
            map => Edit::Replace(map),
        }),
        Encoding::Protobuf if text(encoding, part, KEY)? == key => Ok(Edit::Remove),
        Encoding::Protobuf => Ok(Edit::Keep),
    })
}

/// `message` with the ranges of `edits`, which are in order, replaced.
pub(in crate::kube) fn splice(message: &[u8], edits: &[(Range<usize>, Vec<u8>)]) -> Vec<u8> {
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
