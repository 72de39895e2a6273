//! Rules that users write: `filters` of the hub's configuration and key `rules` of
//! ConfigMap yurt-hub-cfg.
//!
//! Receives rules as written; promises rules that hold, or a [`BadRule`] that says which
//! one, which of its fields, and what is allowed: a list of rules is taken whole or not
//! at all. What a rule costs is bounded by the size of the object it looks at and
//! of the node's pool.

mod expression;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use ::kube::core::{Selector, SelectorExt as _};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::Deserialize;
use serde_json::Value;

pub use expression::{Expression, Term};

use super::mark;
use crate::kube::path::Path;

/// Rules in one list.
const RULES: usize = 64;

/// What tells a rule from a filter.
const LABEL: &str = "rule/";

/// The name of the rule whose label this is; `None`: it is not one's.
pub fn labelled(label: &str) -> Option<&str> {
    label.strip_prefix(LABEL)
}
/// Bytes of a value that is set, once or in each element of a list.
const MAX_VALUE: usize = 16 * 1024;
const MAX_VALUE_OF_ELEMENTS: usize = 1024;
/// What one rule removes, sets and annotates.
const CHANGES: usize = 32;

/// What tells an object from others and its versions apart, which clients rely on.
const IDENTITY: [&str; 8] = [
    "/apiVersion",
    "/kind",
    "/metadata",
    "/metadata/*",
    "/metadata/name",
    "/metadata/namespace",
    "/metadata/uid",
    "/metadata/resourceVersion",
];

/// Which rule, which of its fields, what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("rule {rule}: {field}: {why}")]
pub struct BadRule {
    /// Its name, or its place in the list.
    pub rule: String,
    pub field: String,
    pub why: String,
}

/// A rule as written.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Written {
    name: String,
    #[serde(rename = "match")]
    matches: Matches,
    #[serde(default)]
    drop: bool,
    #[serde(default)]
    remove: Vec<WrittenEdit>,
    #[serde(default)]
    set: Vec<WrittenEdit>,
    #[serde(default)]
    annotate: BTreeMap<String, String>,
    #[serde(default)]
    on_error: OnError,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Matches {
    #[serde(default)]
    components: Vec<String>,
    #[serde(default)]
    users: Vec<String>,
    resources: Vec<String>,
    #[serde(default)]
    namespaces: Vec<String>,
    #[serde(default)]
    label_selector: Option<LabelSelector>,
    #[serde(default)]
    expression: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WrittenEdit {
    path: String,
    #[serde(default)]
    value: Option<Value>,
    #[serde(default, rename = "where")]
    condition: Option<String>,
}

/// What becomes of an object on which the rule fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OnError {
    Keep,
    Drop,
    /// The answer is refused: nothing is passed on that the rule could not look at.
    #[default]
    Refuse,
}

/// A rule that holds.
#[derive(Debug)]
pub struct UserRule {
    written: Written,
    selector: Option<Selector>,
    expression: Option<Expression>,
    edits: Vec<Change>,
    mark: u64,
}

/// One change of an object.
#[derive(Debug)]
pub struct Change {
    pub path: Path,
    /// The JSON text that is set; `None`: what is there is removed.
    pub value: Option<Vec<u8>>,
    /// For which of the elements; it knows them as `self`.
    pub condition: Option<Expression>,
}

/// Who asks for what.
pub struct Asked<'a> {
    pub component: &'a str,
    pub user: &'a str,
    pub group: &'a str,
    pub resource: &'a str,
    /// Empty: all of them, or none.
    pub namespace: &'a str,
}

/// A rule is what is written of it.
impl PartialEq for UserRule {
    fn eq(&self, other: &Self) -> bool {
        self.written == other.written
    }
}

impl Eq for UserRule {}

/// The rules of a YAML text; `taken` are names that are taken already.
pub fn parse(yaml: &str, taken: &[Arc<UserRule>]) -> Result<Vec<Arc<UserRule>>, BadRule> {
    if yaml.trim().is_empty() {
        return Ok(Vec::new());
    }
    // As in YAML 1.2: `y` and `on` are words.
    let options = serde_saphyr::options! { strict_booleans: true };
    let list: Vec<Value> = serde_saphyr::from_str_with_options(yaml, options).map_err(|error| BadRule {
        rule: "list".into(),
        field: "yaml".into(),
        why: error.to_string(),
    })?;
    check(list, taken)
}

/// The rules of a list.
pub fn check(list: Vec<Value>, taken: &[Arc<UserRule>]) -> Result<Vec<Arc<UserRule>>, BadRule> {
    let mut names: HashSet<String> = taken.iter().map(|rule| rule.name().to_owned()).collect();
    if list.len() > RULES {
        return Err(BadRule { rule: "list".into(), field: "length".into(), why: format!("at most {RULES} rules") });
    }
    let mut rules = Vec::with_capacity(list.len());
    for (place, rule) in list.into_iter().enumerate() {
        let name = rule.get("name").and_then(Value::as_str).map_or_else(|| format!("number {}", place + 1), str::to_owned);
        let bad = |(field, why): (String, String)| BadRule { rule: name.clone(), field, why };
        let written = serde_json::from_value(rule).map_err(|error| bad(("fields".into(), error.to_string())))?;
        let rule = UserRule::new(written).map_err(bad)?;
        if !names.insert(rule.name().to_owned()) {
            return Err(bad(("name".into(), "another rule has it already".into())));
        }
        rules.push(Arc::new(rule));
    }
    Ok(rules)
}

/// Which field, and what is wrong with it.
type Fault = (String, String);

fn fault(field: impl Into<String>, why: impl Into<String>) -> Fault {
    (field.into(), why.into())
}

impl UserRule {
    fn new(written: Written) -> Result<Self, Fault> {
        let valid = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if written.name.is_empty() || written.name.len() > 63 || !written.name.bytes().all(valid) {
            return Err(fault("name", "1 to 63 lower-case letters, digits and '-'"));
        }
        let matches = &written.matches;
        let known = |name: &String| !name.is_empty() && name.bytes().all(|byte| valid(byte) || byte == b'.');
        if matches.resources.is_empty() || !matches.resources.iter().all(known) {
            return Err(fault(
                "match.resources",
                "plural names as in RBAC, with their group: services, endpointslices.discovery.k8s.io",
            ));
        }
        let lists = [("components", &matches.components), ("users", &matches.users), ("namespaces", &matches.namespaces)];
        if let Some((field, _)) = lists.iter().find(|(_, names)| names.iter().any(|name| name.is_empty() || name == "*")) {
            return Err(fault(format!("match.{field}"), "names, none of them empty or '*'; left out, it is all of them"));
        }
        let selector = matches.label_selector.clone().map(Selector::try_from).transpose();
        let selector = selector.map_err(|error| fault("match.labelSelector", error.to_string()))?;
        let expression = matches.expression.as_deref().map(Expression::of_object).transpose();
        let expression = expression.map_err(|why| fault("match.expression", why))?;
        let edits = edits(&written)?;
        if written.drop != edits.is_empty() {
            return Err(fault("drop", "a rule either drops, or has at least one of remove, set and annotate"));
        }
        let mark = mark::of(&written);
        Ok(Self { written, selector, expression, edits, mark })
    }

    /// That of what is written.
    pub fn mark(&self) -> u64 {
        self.mark
    }

    pub fn name(&self) -> &str {
        &self.written.name
    }

    /// What it is called beside the filters, in metrics as well.
    pub fn label(&self) -> String {
        format!("{LABEL}{}", self.name())
    }

    pub fn on_error(&self) -> OnError {
        self.written.on_error
    }

    pub fn drops(&self) -> bool {
        self.written.drop
    }

    pub fn changes(&self) -> &[Change] {
        &self.edits
    }

    pub fn expression(&self) -> Option<&Expression> {
        self.expression.as_ref()
    }

    /// Whether it looks at the answer to such a request.
    pub fn serves(&self, asked: &Asked<'_>) -> bool {
        let matches = &self.written.matches;
        let any = |list: &[String], value: &str| list.is_empty() || list.iter().any(|one| one == value);
        any(&matches.components, asked.component)
            && any(&matches.users, asked.user)
            && matches.resources.iter().any(|resource| is_resource(resource, asked))
            && (asked.namespace.is_empty() || any(&matches.namespaces, asked.namespace))
    }

    /// Whether it is not for every object.
    pub fn asks_for_metadata(&self) -> bool {
        !self.written.matches.namespaces.is_empty() || self.selector.is_some()
    }

    /// Whether it is for an object with these.
    pub fn is_for(&self, namespace: &str, labels: &BTreeMap<String, String>) -> bool {
        let namespaces = &self.written.matches.namespaces;
        (namespaces.is_empty() || namespaces.iter().any(|one| one == namespace))
            && self.selector.as_ref().is_none_or(|selector| selector.matches(labels))
    }

    /// Whether it takes more apart of an object than its metadata.
    pub fn looks_inside(&self) -> bool {
        self.expression.is_some() || self.edits.iter().any(|edit| edit.path.has_elements())
    }

    /// Whether it asks for something of the node.
    pub fn uses_node(&self) -> bool {
        self.expressions().any(Expression::uses_node)
    }

    fn expressions(&self) -> impl Iterator<Item = &Expression> {
        self.expression.iter().chain(self.edits.iter().filter_map(|edit| edit.condition.as_ref()))
    }
}

/// `services`, `deployments.apps`; a group has dots of its own.
fn is_resource(written: &str, asked: &Asked<'_>) -> bool {
    let (resource, group) = written.split_once('.').unwrap_or((written, ""));
    (resource, group) == (asked.resource, asked.group)
}

/// What is removed, set and annotated, in this order.
fn edits(written: &Written) -> Result<Vec<Change>, Fault> {
    let mut edits = Vec::new();
    for (number, edit) in written.remove.iter().enumerate() {
        let field = format!("remove[{number}]");
        if edit.value.is_some() {
            return Err(fault(field, "what is removed has no value"));
        }
        edits.push(change(&field, edit, None)?);
    }
    for (number, edit) in written.set.iter().enumerate() {
        let field = format!("set[{number}]");
        let value = edit.value.as_ref().ok_or_else(|| fault(&field, "it needs a value"))?;
        edits.push(change(&field, edit, Some(text(value)))?);
    }
    for (key, value) in &written.annotate {
        let path = Path::of(&["metadata", "annotations", key]);
        edits.push(Change { path, value: Some(text(&Value::String(value.clone()))), condition: None });
    }
    if edits.len() > CHANGES {
        return Err(fault("changes", format!("at most {CHANGES} of remove, set and annotate together")));
    }
    Ok(edits)
}

fn change(field: &str, edit: &WrittenEdit, value: Option<Vec<u8>>) -> Result<Change, Fault> {
    let path = Path::parse(&edit.path).map_err(|why| fault(format!("{field}.path"), why))?;
    if IDENTITY.contains(&edit.path.as_str()) {
        return Err(fault(format!("{field}.path"), "this is what an object is known by, and stays as it is"));
    }
    let condition = edit.condition.as_deref().map(Expression::of_element).transpose();
    let condition = condition.map_err(|why| fault(format!("{field}.where"), why))?;
    if condition.is_some() && !path.has_elements() {
        return Err(fault(format!("{field}.where"), "only for a path with '*': it says which of the elements"));
    }
    let most = if path.has_elements() { MAX_VALUE_OF_ELEMENTS } else { MAX_VALUE };
    if value.as_ref().is_some_and(|value| value.len() > most) {
        return Err(fault(format!("{field}.value"), format!("at most {most} bytes")));
    }
    Ok(Change { path, value, condition })
}

fn text(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

#[cfg(test)]
mod tests;
