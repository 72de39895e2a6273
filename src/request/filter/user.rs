//! The users' rules at work on one object.
//!
//! Receives an object in JSON; promises what the rule makes of it: whole or, with the reason, not at all. Nothing of the
//! object stands in the reason.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::item::Item;
use crate::kube::json::Outline;
use crate::kube::message::{Edit, MessageError};
use crate::kube::path::Editor;
use crate::state::inputs::{Facts, Part};
use crate::state::user_rule::{Change, Term, UserRule};

/// Larger objects are not taken apart.
const MAX_OBJECT: usize = 1 << 20;
/// Nor are those with more values in them.
const MAX_VALUES: usize = 20_000;

/// What a rule goes by beside the object.
pub(super) fn needs(rule: &UserRule) -> &'static [Part] {
    if rule.uses_node() { &[Part::Node, Part::Pool] } else { &[] }
}

/// `node`: `name`; `pool` and `zone` if it has them; `neighbours`, whose names are its pool's members, if it is in one.
pub(super) fn node(name: &str, facts: &Facts) -> Term {
    let pool = facts.pool.iter().filter(|_| facts.node.as_ref().is_some_and(|node| node.pool.is_some()));
    let members = pool.flat_map(|members| members.iter());
    let neighbours: serde_json::Map<String, Value> = members.map(|member| (member.clone(), Value::Bool(true))).collect();
    let mut node = json!({"name": name, "neighbours": neighbours});
    if let Some(known) = &facts.node {
        for (key, value) in [("pool", &known.pool), ("zone", &known.zone)] {
            if let Some(value) = value.as_deref().filter(|value| !value.is_empty()) {
                node[key] = Value::from(value);
            }
        }
    }
    Term::from(node)
}

/// What becomes of an object; of one that is not `full`, only its metadata changes.
pub(super) fn apply(rule: &UserRule, node: Option<&Term>, full: bool, item: &Item<'_>) -> Result<Edit, String> {
    let bound = |object: &[u8]| if rule.looks_inside() { bounded(object) } else { Ok(()) };
    bound(item.bytes)?;
    let mut object = Outline::new(item.bytes);
    if !is_meant(rule, node, &mut object)? {
        return Ok(Edit::Keep);
    }
    if rule.drops() {
        return Ok(Edit::Remove);
    }
    let mut now: Option<Vec<u8>> = None;
    for change in rule.changes().iter().filter(|change| full || change.path.begins_with("metadata")) {
        let mut hand = Hand { change, node };
        let changed = match &now {
            None => change.path.edit(&mut object, &mut hand),
            Some(now) => {
                // What the change before has put in counts as well.
                bound(now)?;
                change.path.edit(&mut Outline::new(now), &mut hand)
            }
        };
        now = changed.map_err(|Fault(why)| why)?.or(now);
    }
    Ok(now.map_or(Edit::Keep, Edit::Replace))
}

/// What of an object is looked at before an expression is.
#[derive(serde::Deserialize)]
struct Named {
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Metadata {
    namespace: String,
    labels: Option<BTreeMap<String, String>>,
}

fn is_meant(rule: &UserRule, node: Option<&Term>, object: &mut Outline<'_>) -> Result<bool, String> {
    let unreadable = || "the object's metadata cannot be read".to_owned();
    if !object.text().starts_with(b"{") {
        return Err(unreadable());
    }
    if rule.asks_for_metadata() {
        let Named { metadata } = serde_json::from_slice(object.text()).map_err(|_| unreadable())?;
        if !rule.is_for(&metadata.namespace, &metadata.labels.unwrap_or_default()) {
            return Ok(false);
        }
    }
    match rule.expression() {
        None => Ok(true),
        Some(expression) => expression.holds(object, node).map_err(|why| format!("match.expression: {why}")),
    }
}

/// What is taken apart has a bound.
fn bounded(json: &[u8]) -> Result<(), String> {
    if json.len() > MAX_OBJECT {
        return Err(format!("an object of more than {MAX_OBJECT} bytes is not looked at"));
    }
    // No value is without a byte of its own.
    if json.len() < MAX_VALUES {
        return Ok(());
    }
    let (mut values, mut within, mut escaped) = (1, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => within = !within,
            b',' | b':' | b'[' | b'{' if !within => values += 1,
            _ => {}
        }
    }
    if values > MAX_VALUES {
        return Err(format!("an object of more than {MAX_VALUES} values is not looked at"));
    }
    Ok(())
}

/// Makes one change.
struct Hand<'a> {
    change: &'a Change,
    node: Option<&'a Term>,
}

struct Fault(String);

impl From<MessageError> for Fault {
    fn from(error: MessageError) -> Self {
        Self(error.to_string())
    }
}

impl Editor<Fault> for Hand<'_> {
    fn enters(&mut self, element: &[u8]) -> Result<bool, Fault> {
        let Some(condition) = &self.change.condition else { return Ok(true) };
        condition.holds(&mut Outline::new(element), self.node).map_err(|why| Fault(format!("where: {why}")))
    }

    fn value(&mut self, value: Option<&[u8]>) -> Edit {
        match (&self.change.value, value) {
            (Some(new), Some(old)) if new == old => Edit::Keep,
            (Some(new), _) => Edit::Replace(new.clone()),
            (None, Some(_)) => Edit::Remove,
            (None, None) => Edit::Keep,
        }
    }
}

#[cfg(test)]
mod tests;
