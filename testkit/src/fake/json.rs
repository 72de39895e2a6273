//! JSON with the very bytes the real server would send.
//!
//! Built-in types come in the order of Go's struct fields (kind, apiVersion, metadata, the rest);
//! unstructured ones with sorted keys. `<`, `>` and `&` are escaped as `encoding/json` does.

use serde_json::{Map, Value};

use super::resource::Resource;

/// Field order of `metav1.ObjectMeta`.
const OBJECT_META: &[&str] = &[
    "name",
    "generateName",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "labels",
    "annotations",
    "ownerReferences",
    "finalizers",
    "managedFields",
];

/// Field order at the top of the built-in types, those whose order is not alphabetical included.
const TOP: &[&str] = &["kind", "apiVersion", "metadata", "immutable", "spec", "data", "binaryData", "stringData", "type"];

/// An object as it stands in a list: built-in types lose `kind` and `apiVersion` there.
pub(crate) fn item(resource: &Resource, value: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    match value {
        Value::Object(map) if !resource.custom() => write_top(&mut out, map, true),
        other => write(&mut out, other),
    }
    out
}

/// A whole object, made from its [`item`] form.
pub(crate) fn whole(resource: &Resource, kind: &str, item: &[u8]) -> Vec<u8> {
    if resource.custom() {
        return item.to_vec();
    }
    let mut out = Vec::with_capacity(item.len() + 64);
    out.extend_from_slice(b"{\"kind\":");
    write_string(&mut out, kind);
    out.extend_from_slice(b",\"apiVersion\":");
    write_string(&mut out, &resource.api_version());
    if item.len() > 2 {
        out.push(b',');
    }
    out.extend_from_slice(&item[1..]);
    out
}

/// The `PartialObjectMetadata` of an object, as it stands in lists as well.
pub(crate) fn metadata(value: &Value) -> Vec<u8> {
    let mut out = br#"{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":"#.to_vec();
    match &value["metadata"] {
        Value::Object(meta) => write_ordered(&mut out, meta, OBJECT_META, |_| false),
        other => write(&mut out, other),
    }
    out.push(b'}');
    out
}

/// Any object written by hand, struct order at the top.
pub(crate) fn object(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    match value {
        Value::Object(map) => write_top(&mut out, map, false),
        other => write(&mut out, other),
    }
    out
}

fn write_top(out: &mut Vec<u8>, map: &Map<String, Value>, bare: bool) {
    write_ordered(out, map, TOP, |key| bare && (key == "kind" || key == "apiVersion"));
}

fn write_ordered(out: &mut Vec<u8>, map: &Map<String, Value>, order: &[&str], skip: impl Fn(&str) -> bool) {
    let mut keys: Vec<&str> = map.keys().map(String::as_str).filter(|key| !skip(key)).collect();
    keys.sort_unstable_by_key(|key| (order.iter().position(|known| known == key).unwrap_or(order.len()), *key));
    write_keys(out, map, &keys, !order.is_empty());
}

fn write_keys(out: &mut Vec<u8>, map: &Map<String, Value>, keys: &[&str], structured: bool) {
    out.push(b'{');
    for (index, key) in keys.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_string(out, key);
        out.push(b':');
        match &map[*key] {
            Value::Object(meta) if structured && *key == "metadata" => {
                write_ordered(out, meta, OBJECT_META, |_| false);
            }
            other => write(out, other),
        }
    }
    out.push(b'}');
}

/// Any value, keys sorted at every level.
pub(crate) fn write(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<&str> = map.keys().map(String::as_str).collect();
            keys.sort_unstable();
            write_keys(out, map, &keys, false);
        }
        Value::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write(out, item);
            }
            out.push(b']');
        }
        Value::String(text) => write_string(out, text),
        scalar => out.extend_from_slice(scalar.to_string().as_bytes()),
    }
}

/// A string with Go's HTML escapes.
pub(crate) fn write_string(out: &mut Vec<u8>, text: &str) {
    let quoted = Value::from(text).to_string();
    for piece in quoted.chars() {
        match piece {
            '<' => out.extend_from_slice(b"\\u003c"),
            '>' => out.extend_from_slice(b"\\u003e"),
            '&' => out.extend_from_slice(b"\\u0026"),
            '\u{2028}' => out.extend_from_slice(b"\\u2028"),
            '\u{2029}' => out.extend_from_slice(b"\\u2029"),
            other => out.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}
