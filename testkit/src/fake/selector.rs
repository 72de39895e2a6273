//! Field and label selectors.
//!
//! Field selectors: equality on any dotted path (the real server allows a few per type). Label
//! selectors: the whole grammar but for `gt` and `lt`.

use serde_json::Value;

use super::status::Failure;

/// Both selectors of a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selector {
    fields: Vec<(String, bool, String)>,
    labels: Vec<Term>,
}

#[derive(Clone, Debug)]
struct Term {
    key: String,
    test: Test,
}

#[derive(Clone, Debug)]
enum Test {
    Exists,
    Missing,
    In(Vec<String>),
    NotIn(Vec<String>),
}

impl Selector {
    pub(crate) fn parse(fields: &str, labels: &str) -> Result<Self, Failure> {
        let mut selector = Self::default();
        for part in fields.split(',').filter(|part| !part.is_empty()) {
            selector.fields.push(field(part)?);
        }
        for part in split(labels) {
            selector.labels.push(term(part.trim())?);
        }
        Ok(selector)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.fields.is_empty() && self.labels.is_empty()
    }

    /// As `metadata.name=NAME` would.
    pub(crate) fn require_name(&mut self, name: &str) {
        self.fields.push(("metadata.name".to_owned(), true, name.to_owned()));
    }

    /// The name, when the field selector asks for exactly one.
    pub(crate) fn name(&self) -> Option<&str> {
        let wanted = self.fields.iter().find(|(path, equal, _)| *equal && path == "metadata.name");
        wanted.map(|(_, _, value)| value.as_str())
    }

    pub(crate) fn matches(&self, object: &Value) -> bool {
        self.fields.iter().all(|(path, equal, value)| (lookup(object, path) == *value) == *equal)
            && self.labels.iter().all(|term| term.matches(object))
    }
}

impl Term {
    fn matches(&self, object: &Value) -> bool {
        let value = object.pointer("/metadata/labels").and_then(|labels| labels.get(&self.key)).and_then(Value::as_str);
        match (&self.test, value) {
            (Test::Exists, value) => value.is_some(),
            (Test::Missing, value) => value.is_none(),
            (Test::In(wanted), value) => value.is_some_and(|value| wanted.iter().any(|want| want == value)),
            (Test::NotIn(wanted), value) => !value.is_some_and(|value| wanted.iter().any(|want| want == value)),
        }
    }
}

fn field(part: &str) -> Result<(String, bool, String), Failure> {
    let (path, equal, value) = if let Some((path, value)) = part.split_once("!=") {
        (path, false, value)
    } else if let Some((path, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        (path, true, value)
    } else {
        return Err(Failure::bad_request(format!("Unable to find field selector operator in {part:?}")));
    };
    Ok((path.to_owned(), equal, value.to_owned()))
}

fn term(part: &str) -> Result<Term, Failure> {
    let one = |value: &str| vec![value.trim().to_owned()];
    let (key, test) = if let Some((key, list)) = part.split_once(" notin ") {
        (key, Test::NotIn(set(list)))
    } else if let Some((key, list)) = part.split_once(" in ") {
        (key, Test::In(set(list)))
    } else if let Some((key, value)) = part.split_once("!=") {
        (key, Test::NotIn(one(value)))
    } else if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        (key, Test::In(one(value)))
    } else if let Some(key) = part.strip_prefix('!') {
        (key, Test::Missing)
    } else {
        (part, Test::Exists)
    };
    let key = key.trim();
    if key.is_empty() || key.contains(char::is_whitespace) {
        return Err(Failure::bad_request(format!("unable to parse requirement: found {part:?}")));
    }
    Ok(Term { key: key.to_owned(), test })
}

fn set(list: &str) -> Vec<String> {
    list.trim().trim_matches(['(', ')']).split(',').map(|value| value.trim().to_owned()).collect()
}

/// Splits at commas outside parentheses.
fn split(labels: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0_usize, 0);
    for (index, byte) in labels.bytes().enumerate() {
        match byte {
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            b',' if depth == 0 => {
                parts.push(&labels[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    parts.push(&labels[start..]);
    parts.retain(|part| !part.trim().is_empty());
    parts
}

fn lookup(object: &Value, path: &str) -> String {
    let found = path.split('.').try_fold(object, |value, key| value.get(key));
    match found {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}
