//! An object's bytes, as the kube-apiserver writes them.

use k8s_openapi::jiff::Timestamp;

use super::{Kind, Member, Record, SECOND, Shown, Type, Value};
use crate::kube::json::write_string;
use crate::kube::proto::{write_bytes, write_number};

pub(super) fn json(of: Type, record: &Record) -> Vec<u8> {
    let mut out = Vec::new();
    let members = of.iter().map(|member| (member, record.get(member.key)));
    let shown = members.filter(|(member, value)| is_shown(member, *value));
    series(&mut out, *b"{}", shown, |out, (member, value)| {
        write_string(out, member.json);
        out.push(b':');
        json_value(out, member.kind, value);
    });
    out
}

fn is_shown(member: &Member, value: Option<&Value>) -> bool {
    match member.shown {
        Shown::Always => true,
        Shown::Set => value.is_some(),
        Shown::NotEmpty => match value {
            None | Some(Value::Number(0) | Value::Flag(false)) => false,
            Some(Value::Text(text)) => !text.is_empty(),
            Some(Value::Texts(texts)) => !texts.is_empty(),
            Some(Value::Map(map)) => !map.is_empty(),
            Some(Value::Many(records)) => !records.is_empty(),
            Some(_) => true,
        },
    }
}

fn json_value(out: &mut Vec<u8>, kind: Kind, value: Option<&Value>) {
    match (kind, value) {
        (_, Some(Value::Text(text))) => write_string(out, text),
        (_, Some(Value::Number(number))) => out.extend_from_slice(number.to_string().as_bytes()),
        (_, Some(Value::Flag(flag))) => out.extend_from_slice(flag.to_string().as_bytes()),
        (_, Some(Value::Time(micros))) => write_string(out, &time(kind, *micros)),
        (_, Some(Value::Json(text))) => out.extend_from_slice(text),
        (_, Some(Value::Texts(texts))) => series(out, *b"[]", texts, |out, text| write_string(out, text)),
        (_, Some(Value::Map(map))) => series(out, *b"{}", map, |out, (key, value)| {
            write_string(out, key);
            out.push(b':');
            write_string(out, value);
        }),
        (Kind::One(of), Some(Value::One(record))) => out.extend_from_slice(&json(of, record)),
        (Kind::Many(of), Some(Value::Many(records))) => {
            series(out, *b"[]", records, |out, record| out.extend_from_slice(&json(of, record)));
        }
        (Kind::Text, _) => out.extend_from_slice(b"\"\""),
        (Kind::Number | Kind::Long, _) => out.push(b'0'),
        (Kind::One(of), _) => out.extend_from_slice(&json(of, &Record::new())),
        _ => out.extend_from_slice(b"null"),
    }
}

/// Items with commas between them, in brackets.
fn series<T>(out: &mut Vec<u8>, [open, close]: [u8; 2], items: impl IntoIterator<Item = T>, write: impl Fn(&mut Vec<u8>, T)) {
    out.push(open);
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(out, item);
    }
    out.push(close);
}

fn time(kind: Kind, micros: i64) -> String {
    let time = Timestamp::from_microsecond(micros).unwrap_or_default();
    if matches!(kind, Kind::Time) { format!("{time:.0}") } else { format!("{time:.6}") }
}

pub(super) fn proto(of: Type, record: &Record) -> Vec<u8> {
    let mut out = Vec::new();
    let mut members: Vec<&Member> = of.iter().collect();
    members.sort_by_key(|member| member.number);
    for member in members {
        let value = record.get(member.key);
        if member.shown != Shown::Set || value.is_some() {
            proto_value(&mut out, member, value);
        }
    }
    out
}

fn proto_value(out: &mut Vec<u8>, member: &Member, value: Option<&Value>) {
    let number = member.number;
    match (member.kind, value) {
        (_, Some(Value::Text(text))) => write_bytes(out, number, text.as_bytes()),
        (_, Some(Value::Number(value))) => write_number(out, number, value.cast_unsigned()),
        (_, Some(Value::Flag(flag))) => write_number(out, number, u64::from(*flag)),
        (_, Some(Value::Time(micros))) => write_bytes(out, number, &timestamp(*micros)),
        (_, Some(Value::Json(text))) => {
            let mut raw = Vec::with_capacity(text.len() + 4);
            write_bytes(&mut raw, 1, text);
            write_bytes(out, number, &raw);
        }
        (_, Some(Value::Texts(texts))) => texts.iter().for_each(|text| write_bytes(out, number, text.as_bytes())),
        (_, Some(Value::Map(map))) => {
            for (key, value) in map {
                let mut pair = Vec::with_capacity(key.len() + value.len() + 4);
                write_bytes(&mut pair, 1, key.as_bytes());
                write_bytes(&mut pair, 2, value.as_bytes());
                write_bytes(out, number, &pair);
            }
        }
        (Kind::One(of), Some(Value::One(record))) => write_bytes(out, number, &proto(of, record)),
        (Kind::Many(of), Some(Value::Many(records))) => {
            records.iter().for_each(|record| write_bytes(out, number, &proto(of, record)));
        }
        (Kind::Number | Kind::Long | Kind::Flag, _) => write_number(out, number, 0),
        (Kind::One(of), _) => write_bytes(out, number, &proto(of, &Record::new())),
        (Kind::Text | Kind::Time | Kind::MicroTime, _) => write_bytes(out, number, b""),
        _ => {}
    }
}

/// Seconds 1, nanos 2, both always.
fn timestamp(micros: i64) -> Vec<u8> {
    let mut out = Vec::with_capacity(16);
    write_number(&mut out, 1, micros.div_euclid(SECOND).cast_unsigned());
    write_number(&mut out, 2, micros.rem_euclid(SECOND).cast_unsigned() * 1000);
    out
}
