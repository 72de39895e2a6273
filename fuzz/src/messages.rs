//! Messages: walked over, edited and read again.

use holdfast::kube::json::{elements, members};
use holdfast::kube::list::Encoding;
use holdfast::kube::message::{Edit, Field, MessageError, Set, edit, parts, remove, set, text};
use holdfast::kube::proto::{Value, fields};

/// One field of each sort, that real objects and lists have.
const ONE: Field = Field::new("metadata", 1);
const MANY: Field = Field::many("items", 2);
const SET: &str = "a \"new\"\nvalue é";

/// What a message has beside some fields: for JSON members as names and values, for protobuf whole fields.
/// `None`: it cannot be read to its end.
pub fn others<'a>(encoding: Encoding, message: &'a [u8], but: &[Field]) -> Option<Vec<(&'a [u8], &'a [u8])>> {
    match encoding {
        Encoding::Json => {
            let mut walk = members(message);
            let read: Result<Vec<_>, _> = walk.by_ref().collect();
            let kept = read.ok()?.into_iter().filter(|member| !but.iter().any(|field| member.is(field.json)));
            let kept = kept.map(|member| (member.raw_key, &message[member.value])).collect();
            walk.rest().trim_ascii().is_empty().then_some(kept)
        }
        Encoding::Protobuf => {
            let read: Result<Vec<_>, _> = fields(message).collect();
            let kept = read.ok()?.into_iter().filter(|field| !but.iter().any(|other| field.number == other.proto));
            Some(kept.map(|field| (&b""[..], &message[field.range])).collect())
        }
    }
}

/// What may become different in a message.
#[derive(Clone, Copy)]
pub enum May {
    /// The field, in whatever way.
    Change(Field),
    /// In each part of the field only this; no part comes or goes.
    ChangeIn(Field, &'static [May]),
}

/// A message is, but for what may change, the same after as before; where it has changed, it can be read to its end.
pub fn same_but(may: &[May], encoding: Encoding, before: &[u8], after: &[u8]) {
    if before == after {
        return;
    }
    let fields: Vec<Field> = may.iter().map(|(May::Change(field) | May::ChangeIn(field, _))| *field).collect();
    let kept = others(encoding, before, &fields).expect("what was changed was read");
    assert_eq!(others(encoding, after, &fields), Some(kept), "another field has changed");
    for may in may {
        let May::ChangeIn(field, inner) = may else { continue };
        let parts = |message: &[u8]| parts(encoding, message, *field).expect("what was changed was read");
        let (old, new) = (parts(before), parts(after));
        assert_eq!(new.len(), old.len(), "a part has come or gone");
        old.into_iter().zip(new).for_each(|(old, new)| same_but(inner, encoding, &before[old], &after[new]));
    }
}

/// The data is a JSON value: members and elements lie within it one after the other, and edits are read again.
pub fn check_json(data: &[u8]) {
    let mut at = 0;
    for member in members(data).map_while(Result::ok) {
        assert!(at < member.value.start && member.value.start < member.value.end, "{member:?} after {at}");
        at = member.value.end;
        assert!(at <= data.len());
    }
    at = 0;
    for element in elements(data).map_while(Result::ok) {
        assert!(at < element.start && element.start < element.end && element.end <= data.len(), "{element:?} after {at}");
        at = element.end;
    }
    check_edits(Encoding::Json, data);
}

/// The data is a protobuf message: its fields lie side by side, a field by itself says the same, and edits are read
/// again.
pub fn check_proto(data: &[u8]) {
    let mut at = 0;
    for field in fields(data).map_while(Result::ok) {
        assert_eq!(field.range.start, at, "a gap");
        at = field.range.end;
        let alone = fields(&data[field.range.clone()]).next().expect("a field").expect("well formed");
        assert_eq!((alone.number, alone.value), (field.number, field.value));
        if let Value::Bytes(bytes) = field.value {
            assert!(data[field.range].ends_with(bytes));
        }
    }
    assert!(at == data.len() || fields(data).any(|field| field.is_err()), "the end is missing");
    check_edits(Encoding::Protobuf, data);
}

fn check_edits(encoding: Encoding, message: &[u8]) {
    for field in [ONE, MANY] {
        let found = parts(encoding, message, field);
        let kept = edit(encoding, message, field, |_| Ok::<_, MessageError>(Edit::Keep));
        assert!(kept.is_err() || kept == Ok(None), "nothing changes, and yet it does");
        check_replaced(encoding, message, field, found.unwrap_or_default().len());
        if let Ok(without) = remove(encoding, message, field) {
            assert_eq!(parts(encoding, &without, field), Ok(Vec::new()));
            unchanged(encoding, message, &without, field);
        }
    }
    check_set(encoding, message);
}

/// Every part replaced: as many parts as before, all new.
fn check_replaced(encoding: Encoding, message: &[u8], field: Field, count: usize) {
    let new: &[u8] = if encoding == Encoding::Json { br#"{"new":1}"# } else { b"new" };
    let replaced = edit(encoding, message, field, |_| Ok::<_, MessageError>(Edit::Replace(new.to_vec())));
    if let Ok(Some(after)) = replaced {
        let found = parts(encoding, &after, field).expect("written anew");
        assert_eq!(found.len(), count);
        assert!(found.into_iter().all(|range| &after[range] == new));
        unchanged(encoding, message, &after, field);
    }
}

/// A field that is set is read again, whatever it was.
fn check_set(encoding: Encoding, message: &[u8]) {
    let Ok(after) = set(encoding, message, ONE, Set::Text(SET)) else { return };
    // A splitter hands out an object with nothing behind it; where something is, `set` may take that for the end.
    if others(encoding, message, &[]).is_none() {
        return;
    }
    assert_eq!(text(encoding, &after, ONE).as_deref(), Ok(SET));
    unchanged(encoding, message, &after, ONE);
    assert_eq!(set(encoding, &after, ONE, Set::Text(SET)).as_deref(), Ok(&after[..]), "not the same once more");
}

fn unchanged(encoding: Encoding, before: &[u8], after: &[u8], field: Field) {
    // `None`: something is behind the object, or damaged where the edit did not look.
    if let Some(before) = others(encoding, before, &[field]) {
        assert_eq!(others(encoding, after, &[field]).as_ref(), Some(&before), "another field has changed");
    }
}
