//! What a PATCH changes of an Event that happens again: how often and when it was seen last, and what it says.
//!
//! Receives a strategic merge patch or a JSON merge patch (RFC 7386): for these fields, none of which is a list, they mean
//! the same. Anything else is [`NotKept`]: only the cloud can say what comes of it.
//!
//! Sources: `EventCorrelator` in k8s.io/client-go/tools/record/events_cache.go and `createPatchBytesForSeries` in
//! tools/events/event_recorder.go for what is sent, `ValidateEventUpdate` in pkg/apis/core/validation/events.go of
//! k8s.io/kubernetes 1.34 for what events.k8s.io/v1 lets be changed.

use serde_json::{Map, Value as Json};

use super::{Record, Type, Typed, Value, known};
use crate::kube::list::Encoding;
use crate::kube::message::MessageError;

/// Content types of patches that are read here.
const KINDS: [&str; 2] = ["application/strategic-merge-patch+json", "application/merge-patch+json"];

/// Of an Event, by which API it is changed.
const OF_CORE: [&str; 4] = ["count", "lastTimestamp", "message", "series"];
const OF_EVENTS: [&str; 1] = ["series"];

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NotKept {
    #[error("a patch as {0:?} is not read here")]
    Kind(String),
    #[error("it is no JSON object")]
    NoObject,
    #[error("it changes {0:?}, and only how often and when an Event was seen last, and what it says, can be changed here")]
    Field(String),
    #[error("it takes {0:?} away")]
    Removal(String),
    #[error(transparent)]
    Shape(#[from] MessageError),
}

/// Fields and their new values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    patch: Map<String, Json>,
    record: Record,
}

impl Change {
    /// `group`: of the API by which an Event is changed.
    pub fn read(group: &str, content_type: &str, patch: &[u8]) -> Result<Self, NotKept> {
        let kind = content_type.split(';').next().unwrap_or_default().trim();
        let of = known::of(group, "events").filter(|_| KINDS.contains(&kind));
        let of = of.ok_or_else(|| NotKept::Kind(content_type.to_owned()))?;
        let patch: Map<String, Json> = serde_json::from_slice(patch).map_err(|_| NotKept::NoObject)?;
        Self::of(of, group, patch)
    }

    fn of(of: Type, group: &str, patch: Map<String, Json>) -> Result<Self, NotKept> {
        let changeable: &[&str] = if group.is_empty() { &OF_CORE } else { &OF_EVENTS };
        for (name, value) in &patch {
            let is_known = of.iter().any(|member| member.json == name && changeable.contains(&member.key));
            if !is_known {
                return Err(NotKept::Field(name.clone()));
            }
            if takes_away(value) {
                return Err(NotKept::Removal(name.clone()));
            }
        }
        let text = serde_json::to_vec(&patch).map_err(|_| NotKept::NoObject)?;
        let Typed(record) = Typed::read(of, Encoding::Json, &text)?;
        Ok(Self { patch, record })
    }

    /// The same as this one and then a later one of the same API.
    #[must_use]
    pub fn and_then(mut self, later: Self) -> Self {
        merge(&mut self.patch, later.patch);
        overlay(&mut self.record, later.record);
        self
    }

    /// As it is sent.
    pub fn to_patch(&self) -> Vec<u8> {
        serde_json::to_vec(&self.patch).unwrap_or_default()
    }
}

impl Typed {
    /// The Event once the change has happened.
    #[must_use]
    pub fn changed(mut self, change: &Change) -> Self {
        overlay(&mut self.0, change.record.clone());
        self
    }
}

/// By a null, or by a directive of a strategic merge patch (`$patch`).
fn takes_away(value: &Json) -> bool {
    match value {
        Json::Null => true,
        Json::Object(members) => members.iter().any(|(name, value)| name.starts_with('$') || takes_away(value)),
        _ => false,
    }
}

fn merge(patch: &mut Map<String, Json>, later: Map<String, Json>) {
    for (name, value) in later {
        match (patch.get_mut(&name), value) {
            (Some(Json::Object(before)), Json::Object(later)) => merge(before, later),
            (_, value) => drop(patch.insert(name, value)),
        }
    }
}

fn overlay(record: &mut Record, later: Record) {
    for (key, value) in later {
        match (record.get_mut(key), value) {
            (Some(Value::One(before)), Value::One(later)) => overlay(before, later),
            (_, value) => drop(record.insert(key, value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRATEGIC: &str = KINDS[0];

    fn change(group: &str, patch: &str) -> Result<Change, NotKept> {
        Change::read(group, STRATEGIC, patch.as_bytes())
    }

    fn event() -> Typed {
        let event = r#"{"metadata":{"name":"e"},"message":"once","count":1,"series":{"count":2}}"#;
        Typed::read(known::of("", "events").unwrap(), Encoding::Json, event.as_bytes()).unwrap()
    }

    fn json(event: &Typed) -> serde_json::Value {
        serde_json::from_slice(&event.write(known::of("", "events").unwrap(), Encoding::Json)).unwrap()
    }

    #[test]
    fn what_a_recorder_changes_is_changed_and_the_rest_stays() {
        let patch = r#"{"count":7,"lastTimestamp":"2026-01-01T00:00:07Z","message":"seven","series":{"lastObservedTime":"2026-01-01T00:00:07.5Z"}}"#;
        let changed = json(&event().changed(&change("", patch).unwrap()));
        assert_eq!(changed["metadata"]["name"], "e");
        assert_eq!((&changed["count"], &changed["message"]), (&7.into(), &"seven".into()));
        assert_eq!(changed["lastTimestamp"], "2026-01-01T00:00:07Z");
        assert_eq!(changed["series"]["count"], 2, "the fields of one within are merged");
        assert_eq!(changed["series"]["lastObservedTime"], "2026-01-01T00:00:07.500000Z");
        let of_events = change("events.k8s.io", r#"{"series":{"count":9}}"#).unwrap();
        assert_eq!(json(&event().changed(&of_events))["series"]["count"], 9, "it is the same Event");
    }

    #[test]
    fn two_are_the_same_as_one_after_the_other() {
        let [first, second] = [r#"{"count":2,"message":"a","series":{"count":2}}"#, r#"{"count":3,"series":{"count":4}}"#]
            .map(|patch| change("", patch).unwrap());
        let both = first.clone().and_then(second.clone());
        assert_eq!(event().changed(&both), event().changed(&first).changed(&second));
        let sent: serde_json::Value = serde_json::from_slice(&both.to_patch()).unwrap();
        assert_eq!(sent, serde_json::json!({"count": 3, "message": "a", "series": {"count": 4}}));
        assert_eq!(Change::read("", STRATEGIC, &both.to_patch()).unwrap(), both);
    }

    #[test]
    fn what_only_the_cloud_can_do_is_not_kept() {
        for (group, patch, why) in [
            ("", r#"{"metadata":{"labels":{"a":"b"}}}"#, NotKept::Field("metadata".into())),
            ("", r#"{"reason":"x"}"#, NotKept::Field("reason".into())),
            ("", r#"{"$patch":"delete"}"#, NotKept::Field("$patch".into())),
            ("", r#"{"series":{"$patch":"replace"}}"#, NotKept::Removal("series".into())),
            ("", r#"{"count":null}"#, NotKept::Removal("count".into())),
            ("", r#"{"series":{"count":null}}"#, NotKept::Removal("series".into())),
            ("", r#"[{"op":"add"}]"#, NotKept::NoObject),
            ("", "{", NotKept::NoObject),
            ("", r#"{"count":"two"}"#, NotKept::Shape(MessageError::Shape("count"))),
            ("events.k8s.io", r#"{"note":"x"}"#, NotKept::Field("note".into())),
            ("events.k8s.io", r#"{"count":2}"#, NotKept::Field("count".into())),
        ] {
            assert_eq!(change(group, patch), Err(why), "{group} {patch}");
        }
        for kind in ["application/json-patch+json", "application/apply-patch+yaml", ""] {
            assert_eq!(Change::read("", kind, b"{}"), Err(NotKept::Kind(kind.to_owned())));
        }
        assert!(Change::read("", "application/merge-patch+json; charset=utf-8", b"{}").is_ok());
    }
}
