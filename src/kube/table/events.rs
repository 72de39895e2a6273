//! Events, under both of their names.

use serde_json::Value;

use super::age::{Now, since};
use super::column::{Column, NAME, text};
use super::printer::BuiltIn;
use super::value::{at, name, number, text as text_at, text_or};

pub(super) const CORE: BuiltIn = BuiltIn::new(COLUMNS, |event, now| cells(event, now, &IN_CORE));
pub(super) const EVENTS: BuiltIn = BuiltIn::new(COLUMNS, |event, now| cells(event, now, &IN_EVENTS));

const COLUMNS: &[Column] = &[
    text("Last Seen", "The time at which the most recent occurrence of this event was recorded."),
    text("Type", "Type of this event (Normal, Warning), new types could be added in the future"),
    text("Reason", "This should be a short, machine understandable string that gives the reason for the transition into the object's current status."),
    text("Object", "The object that this event is about."),
    text("Subobject", "If referring to a piece of an object instead of an entire object, this string should contain a valid JSON/Go field access statement, such as desiredState.manifest.containers[2]. For example, if the object reference is to a container within a pod, this would take on a value like: \"spec.containers{name}\" (where \"name\" refers to the name of the container that triggered the event) or if no container name is specified \"spec.containers[2]\" (container with index 2 in this pod). This syntax is chosen only to have some well-defined way of referencing a part of an object.").wide(),
    text("Source", "The component reporting this event. Should be a short machine understandable string.").wide(),
    text("Message", "A human-readable description of the status of this operation."),
    text("First Seen", "The time at which the event was first recorded. (Time of server receipt is in TypeMeta.)").wide(),
    text("Count", "The number of times this event has occurred.").wide(),
    NAME.wide(),
];

/// What the fields are called.
struct Fields {
    first: &'static str,
    last: &'static str,
    count: &'static str,
    about: &'static str,
    message: &'static str,
    source: &'static str,
    controller: &'static str,
}

const IN_CORE: Fields = Fields {
    first: "firstTimestamp",
    last: "lastTimestamp",
    count: "count",
    about: "involvedObject",
    message: "message",
    source: "source",
    controller: "reportingComponent",
};
const IN_EVENTS: Fields = Fields {
    first: "deprecatedFirstTimestamp",
    last: "deprecatedLastTimestamp",
    count: "deprecatedCount",
    about: "regarding",
    message: "note",
    source: "deprecatedSource",
    controller: "reportingController",
};

fn cells(event: &Value, now: Now, fields: &Fields) -> Vec<Value> {
    let first = since(now, event, fields.first).unwrap_or_else(|| now.since(event, "eventTime"));
    let last = since(now, event, fields.last).unwrap_or_else(|| first.clone());
    let series = at(event, "series");
    let (last, count) = match number(event, fields.count) {
        _ if series.is_object() => (now.since(series, "lastObservedTime"), number(series, "count")),
        0 => (last, 1),
        count => (last, count),
    };
    let about = at(event, fields.about);
    vec![
        last.into(),
        text_at(event, "type").into(),
        text_at(event, "reason").into(),
        object(about).into(),
        text_at(about, "fieldPath").into(),
        source(event, fields).into(),
        text_at(event, fields.message).trim().into(),
        first.into(),
        count.into(),
        name(event),
    ]
}

fn object(about: &Value) -> String {
    let kind = text_at(about, "kind").to_lowercase();
    match text_at(about, "name") {
        "" => kind,
        name => format!("{kind}/{name}"),
    }
}

fn source(event: &Value, fields: &Fields) -> String {
    let source = at(event, fields.source);
    let component = text_or(source, "component", text_at(event, fields.controller));
    match text_or(source, "host", text_at(event, "reportingInstance")) {
        "" => component.to_owned(),
        instance => format!("{component}, {instance}"),
    }
}
