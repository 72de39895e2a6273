//! An object's fields out of its bytes.

use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;

use super::{Kind, Member, Record, SECOND, Type, Value};
use crate::kube::json;
use crate::kube::message::MessageError;
use crate::kube::proto::{self, Field};
use crate::kube::table::time;

pub(super) fn json(of: Type, object: &[u8]) -> Result<Record, MessageError> {
    let mut record = Record::new();
    if !object.trim_ascii_start().starts_with(b"{") {
        return Err(MessageError::Shape("an object"));
    }
    for found in json::members(object) {
        let found = found?;
        let text = &object[found.value.clone()];
        let Some(member) = of.iter().find(|member| found.is(member.json)).filter(|_| text != b"null") else { continue };
        let value = json_value(member, text)?;
        record.entry(member.key).or_insert(value);
    }
    Ok(record)
}

fn json_value(member: &Member, text: &[u8]) -> Result<Value, MessageError> {
    let wrong = MessageError::Shape(member.json);
    let string = |text: &[u8]| json::string_value(text).map(|text| text.into_owned()).ok_or(wrong);
    Ok(match member.kind {
        Kind::Text => Value::Text(string(text)?),
        Kind::Number => Value::Number(number::<i32>(text).ok_or(wrong)?.into()),
        Kind::Long => Value::Number(number(text).ok_or(wrong)?),
        Kind::Flag => Value::Flag(match text {
            b"true" => true,
            b"false" => false,
            _ => return Err(wrong),
        }),
        Kind::Time => Value::Time(time(&string(text)?).ok_or(wrong)?.div_euclid(SECOND) * SECOND),
        Kind::MicroTime => Value::Time(time(&string(text)?).ok_or(wrong)?),
        Kind::Json => Value::Json(text.to_vec()),
        Kind::Texts => Value::Texts(elements(text, wrong)?.into_iter().map(string).collect::<Result<_, _>>()?),
        Kind::Map => Value::Map(json_map(text, wrong)?),
        Kind::One(of) => Value::One(json(of, text)?),
        Kind::Many(of) => Value::Many(elements(text, wrong)?.into_iter().map(|text| json(of, text)).collect::<Result<_, _>>()?),
    })
}

fn number<N: std::str::FromStr>(text: &[u8]) -> Option<N> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn elements(array: &[u8], wrong: MessageError) -> Result<Vec<&[u8]>, MessageError> {
    if !array.starts_with(b"[") {
        return Err(wrong);
    }
    json::elements(array).map(|element| Ok(&array[element?])).collect()
}

fn json_map(object: &[u8], wrong: MessageError) -> Result<BTreeMap<String, String>, MessageError> {
    if !object.starts_with(b"{") {
        return Err(wrong);
    }
    let pair = |member: Result<json::Member<'_>, json::JsonError>| {
        let member = member?;
        let key = [b"\"", member.raw_key, b"\""].concat();
        let key = json::string_value(&key).ok_or(wrong)?.into_owned();
        let value = match &object[member.value] {
            b"null" => String::new(),
            text => json::string_value(text).ok_or(wrong)?.into_owned(),
        };
        Ok((key, value))
    };
    json::members(object).map(pair).collect()
}

pub(super) fn proto(of: Type, message: &[u8]) -> Result<Record, MessageError> {
    let mut record = Record::new();
    for field in proto::fields(message) {
        let field = field?;
        let Some(member) = of.iter().find(|member| member.number == field.number) else { continue };
        match (proto_value(member, &field)?, record.get_mut(member.key)) {
            (None, _) => {}
            (Some(Value::Texts(more)), Some(Value::Texts(known))) => known.extend(more),
            (Some(Value::Map(more)), Some(Value::Map(known))) => known.extend(more),
            (Some(Value::Many(more)), Some(Value::Many(known))) => known.extend(more),
            (Some(value), _) => drop(record.insert(member.key, value)),
        }
    }
    Ok(record)
}

/// `None`: a time that is not set.
fn proto_value(member: &Member, field: &Field<'_>) -> Result<Option<Value>, MessageError> {
    Ok(Some(match member.kind {
        Kind::Text => Value::Text(field.text()?.to_owned()),
        // What is beyond 32 bits falls away, as in the kube-apiserver.
        Kind::Number => Value::Number(i64::from(u32::try_from(field.varint()? & 0xffff_ffff).unwrap_or_default().cast_signed())),
        Kind::Long => Value::Number(field.varint()?.cast_signed()),
        Kind::Flag => Value::Flag(field.varint()? != 0),
        Kind::Time | Kind::MicroTime => return Ok(proto_time(member, field.bytes()?)?.map(Value::Time)),
        Kind::Json => {
            let raw = proto::fields(field.bytes()?).next().transpose()?;
            let text = raw.map_or(Ok(&b"null"[..]), |raw| raw.bytes())?;
            serde_json::from_slice::<serde::de::IgnoredAny>(text).map_err(|_| MessageError::Shape(member.json))?;
            Value::Json(text.to_vec())
        }
        Kind::Texts => Value::Texts(vec![field.text()?.to_owned()]),
        Kind::Map => {
            let (mut key, mut value) = (String::new(), String::new());
            for half in proto::fields(field.bytes()?) {
                let half = half?;
                match half.number {
                    1 => key = half.text()?.to_owned(),
                    2 => value = half.text()?.to_owned(),
                    _ => {}
                }
            }
            Value::Map([(key, value)].into())
        }
        Kind::One(of) => Value::One(proto(of, field.bytes()?)?),
        Kind::Many(of) => Value::Many(vec![proto(of, field.bytes()?)?]),
    }))
}

/// A `Timestamp`: seconds 1, nanos 2; 1970 itself stands for no time at all.
fn proto_time(member: &Member, message: &[u8]) -> Result<Option<i64>, MessageError> {
    let (mut seconds, mut nanos) = (0_i64, 0);
    for part in proto::fields(message) {
        let part = part?;
        match part.number {
            1 => seconds = part.varint()?.cast_signed(),
            2 => nanos = part.varint()?.cast_signed(),
            _ => {}
        }
    }
    if matches!(member.kind, Kind::Time) {
        nanos = 0;
    }
    let micros = seconds.checked_mul(SECOND).and_then(|micros| micros.checked_add(nanos / 1000));
    let micros = micros.filter(|micros| Timestamp::from_microsecond(*micros).is_ok());
    let micros = micros.ok_or(MessageError::Shape(member.json))?;
    Ok((micros != 0).then_some(micros))
}
