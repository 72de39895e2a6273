//! What a write that the cloud has taken, and has not only tried, teaches: of its object the node knows the past.
//!
//! Whoever has written it, and with whatever credential: the object has changed for everybody.

use std::sync::Arc;

use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::response::Parts;

use crate::kube::layout::Layout;
use crate::kube::list::Encoding;
use crate::kube::media::{self, Form, Media};
use crate::kube::request::RequestInfo;
use crate::request::context::Context;
use crate::request::names;
use crate::state::rules::Rules;
use crate::store::record::{Subject, WriteAsk};
use crate::store::{Knowledge, ObjectKey, Reader, Recording, Written};

/// Notes what the head says already, and begins to read the rest.
pub(super) fn from_head(knowledge: &Arc<Knowledge>, rules: &Rules, context: &Context, parts: &Parts) -> Option<Recording> {
    let info = &context.info;
    let deletes = deletes(info);
    let writes = deletes || matches!(info.verb.as_str(), "create" | "update" | "patch");
    // Nothing has happened, or nothing that could make the object come or go.
    if !writes || !info.is_resource || !info.subresource.is_empty() || !parts.status.is_success() {
        return None;
    }
    let content_type = parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let encoding = media::encoding_of(content_type);
    let key = names::object(info, &Media { encoding: encoding.unwrap_or(Encoding::Json), form: Form::Full });
    let is_event = info.resource == "events";
    if is_event {
        event(knowledge, context, &key)
    } else {
        object(knowledge, context, &key)
    }
    let gzip = match parts.headers.get(CONTENT_ENCODING).map(http::HeaderValue::as_bytes) {
        None | Some(b"identity") => false,
        Some(b"gzip") => true,
        Some(_) => return None,
    };
    if encoding.is_none() || info.verb == "deletecollection" {
        return None;
    }
    let is_whole = context.layout == Layout::Compact && context.accepts.iter().all(|media| media.form == Form::Full);
    // Of an Event as long as it may happen again, whoever it is by.
    let is_worth = is_event || rules.current().cache_agents.contains(&context.component);
    let is_remembered = !context.impersonated && is_worth;
    // Who writes something does not come to read it: it is nobody's own.
    let reader = Reader { agent: context.component.clone(), node: false };
    Some(knowledge.record(Subject::Write(WriteAsk { key, deletes, keeps: is_whole && is_remembered, reader }), gzip))
}

fn deletes(info: &RequestInfo) -> bool {
    matches!(info.verb.as_str(), "delete" | "deletecollection")
}

fn event(knowledge: &Knowledge, context: &Context, key: &ObjectKey) {
    if context.info.verb == "create" {
        knowledge.note_created(key);
    }
    if deletes(&context.info) {
        knowledge.forget_event(key);
    }
    let query = &context.info.query;
    // Which ones are selected only the cloud knows.
    if query.label_selector.is_empty() && query.field_selector.is_empty() {
        knowledge.overtake_change(key, context.started);
    }
}

fn object(knowledge: &Knowledge, context: &Context, key: &ObjectKey) {
    let info = &context.info;
    if deletes(info) {
        knowledge.forget_copies(info.path.trim_end_matches('/'));
    }
    // Of one that is created the name is in the answer.
    if info.verb != "create" {
        knowledge.note_written(key, &Written::now(&info.api_version, !deletes(info), ""));
    }
}
