//! Reading objects, and writing cells, as the kube-apiserver does.

use serde_json::Value;

use crate::kube::json;

/// What is at a path (`spec.nodeName`); null where nothing is.
pub(super) fn at<'a>(object: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(object, |value, name| value.get(name).unwrap_or(&Value::Null))
}

/// A text; empty where none is.
pub(super) fn text<'a>(object: &'a Value, path: &str) -> &'a str {
    at(object, path).as_str().unwrap_or_default()
}

/// A text, or something else where none or an empty one is.
pub(super) fn text_or<'a>(object: &'a Value, path: &str, otherwise: &'a str) -> &'a str {
    Some(text(object, path)).filter(|text| !text.is_empty()).unwrap_or(otherwise)
}

/// A number; 0 where none is.
pub(super) fn number(object: &Value, path: &str) -> i64 {
    at(object, path).as_i64().unwrap_or_default()
}

pub(super) fn list<'a>(object: &'a Value, path: &str) -> &'a [Value] {
    at(object, path).as_array().map(Vec::as_slice).unwrap_or_default()
}

/// How many entries a map has.
pub(super) fn entries(object: &Value, path: &str) -> i64 {
    count(at(object, path).as_object().map_or(0, serde_json::Map::len))
}

pub(super) fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A field of each element, with commas.
pub(super) fn joined(list: &[Value], field: &str) -> String {
    list.iter().map(|element| text(element, field)).collect::<Vec<_>>().join(",")
}

/// The name that an object has.
pub(super) fn name(object: &Value) -> Value {
    text(object, "metadata.name").into()
}

pub(super) fn is_deleted(object: &Value) -> bool {
    !at(object, "metadata.deletionTimestamp").is_null()
}

/// What condition of this type says; `None`: there is none.
pub(super) fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a str> {
    list(object, "status.conditions").iter().find(|one| text(one, "type") == kind).map(|one| text(one, "status"))
}

/// Labels in the order of their keys, `<none>` where none are.
pub(super) fn labels(map: &Value) -> String {
    let Some(map) = map.as_object().filter(|map| !map.is_empty()) else { return "<none>".to_owned() };
    let mut labels: Vec<_> = map.iter().map(|(key, value)| (key, value.as_str().unwrap_or_default())).collect();
    labels.sort_unstable();
    labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

/// A label selector as text, its terms in the order of their keys; empty where it selects nothing or everything.
pub(super) fn selector(selector: &Value) -> String {
    let labels = selector.get("matchLabels").and_then(Value::as_object);
    let equal =
        labels.into_iter().flatten().map(|(key, value)| (&**key, format!("{key}={}", value.as_str().unwrap_or_default())));
    let expressions = list(selector, "matchExpressions").iter().map(|term| {
        let key = text(term, "key");
        let mut values: Vec<&str> = list(term, "values").iter().filter_map(Value::as_str).collect();
        values.sort_unstable();
        let values = values.join(",");
        let term = match text(term, "operator") {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "Exists" => key.to_owned(),
            _ => format!("!{key}"),
        };
        (key, term)
    });
    let mut terms: Vec<(&str, String)> = equal.chain(expressions).collect();
    terms.sort_by_key(|(key, _)| *key);
    terms.into_iter().map(|(_, term)| term).collect::<Vec<_>>().join(",")
}

/// The same, `<none>` where it is empty.
pub(super) fn selector_or_none(value: &Value) -> String {
    Some(selector(value)).filter(|text| !text.is_empty()).unwrap_or_else(|| "<none>".to_owned())
}

/// A cell in JSON as Go writes it.
pub(super) fn write(out: &mut Vec<u8>, cell: &Value) {
    match cell {
        Value::String(text) => json::write_string(out, text),
        // Whole numbers without a point.
        Value::Number(number) => match number.as_f64().filter(|_| number.is_f64()) {
            Some(float) if float.abs() < 1e21 && (float == 0.0 || float.abs() >= 1e-6) => {
                out.extend_from_slice(float.to_string().as_bytes());
            }
            _ => out.extend_from_slice(number.to_string().as_bytes()),
        },
        Value::Array(elements) => {
            let mut before = b'[';
            for element in elements {
                out.push(before);
                write(out, element);
                before = b',';
            }
            out.extend_from_slice(if elements.is_empty() { b"[]" } else { b"]" });
        }
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_unstable_by_key(|(name, _)| *name);
            out.push(b'{');
            for (index, (name, value)) in members.into_iter().enumerate() {
                out.extend_from_slice(if index > 0 { b"," } else { b"" });
                json::write_string(out, name);
                out.push(b':');
                write(out, value);
            }
            out.push(b'}');
        }
        Value::Null | Value::Bool(_) => out.extend_from_slice(cell.to_string().as_bytes()),
    }
}
