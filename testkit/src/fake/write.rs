//! Writes: create, update, patch, delete.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::Shared;
use super::body::{Reply, reply};
use super::media::Media;
use super::proto;
use super::request::{Call, Target};
use super::resource::Resource;
use super::stamp;
use super::state::Object;
use super::status::{Failure, deleted};

const APPLY: &str = "application/apply-patch+yaml";

/// Answers a write to a resource that is no special one.
pub(crate) fn write(shared: &Shared, call: &Call, target: &Target) -> Result<Reply, Failure> {
    let media = Media::negotiate(&call.headers, proto::supports(&target.resource))?;
    let (code, object) = match target.verb {
        "create" => (201, create(shared, call, target)?),
        "update" => update(shared, call, target)?,
        "patch" => patch(shared, call, target)?,
        "delete" => return delete(shared, call, target, media),
        "deletecollection" => return delete_collection(shared, call, target),
        _ => return Err(Failure::method_not_allowed()),
    };
    Ok(reply(code, media.content_type(), media.object(&target.resource, &object)))
}

fn create(shared: &Shared, call: &Call, target: &Target) -> Result<Arc<Object>, Failure> {
    let mut value = parse(call)?;
    let meta = value.get("metadata").cloned().unwrap_or(Value::Null);
    let given = meta["name"].as_str().unwrap_or_default();
    let name = match meta["generateName"].as_str() {
        Some(base) if given.is_empty() => format!("{base}{}", suffix()),
        _ => given.to_owned(),
    };
    if name.is_empty() {
        return Err(Failure::invalid(&target.resource, "", "metadata.name: Required value: name or generateName is required"));
    }
    check_namespace(&value, target)?;
    if target.resource.plural == "namespaces" && value.get("status").is_none() {
        value["status"] = json!({"phase": "Active"});
    }
    shared.write(|state| match state.read(&target.resource, target.home(), &name) {
        Some(_) => Err(Failure::already_exists(&target.resource, &name)),
        None => Ok(state.put(&target.resource, target.home(), &name, value)),
    })
}

fn update(shared: &Shared, call: &Call, target: &Target) -> Result<(u16, Arc<Object>), Failure> {
    let value = parse(call)?;
    check_namespace(&value, target)?;
    shared.write(|state| {
        let found = state.read(&target.resource, target.home(), &target.name);
        let Some(found) = found else {
            if !creates_on_update(&target.resource) {
                return Err(Failure::not_found(&target.resource, &target.name));
            }
            return Ok((201, state.put(&target.resource, target.home(), &target.name, value)));
        };
        check_version(&value, &found, target)?;
        let value = merge_status(&found.value, value, target);
        Ok((200, state.put(&target.resource, target.home(), &target.name, value)))
    })
}

fn patch(shared: &Shared, call: &Call, target: &Target) -> Result<(u16, Arc<Object>), Failure> {
    let content_type = call.header("content-type").split(';').next().unwrap_or_default();
    if !content_type.ends_with("-patch+json") && content_type != APPLY {
        return Err(Failure::unsupported_media(content_type));
    }
    let patch: Value = serde_json::from_slice(&call.body).map_err(|error| Failure::bad_request(error.to_string()))?;
    if !patch.is_object() {
        return Err(Failure::bad_request("only patches that are objects are understood"));
    }
    shared.write(|state| {
        let found = state.read(&target.resource, target.home(), &target.name);
        let (code, mut value) = match &found {
            Some(found) => {
                check_version(&patch, found, target)?;
                (200, found.value.clone())
            }
            None if content_type == APPLY => (201, json!({})),
            None => return Err(Failure::not_found(&target.resource, &target.name)),
        };
        merge(&mut value, &patch);
        Ok((code, state.put(&target.resource, target.home(), &target.name, value)))
    })
}

fn delete(shared: &Shared, call: &Call, target: &Target, media: Media) -> Result<Reply, Failure> {
    let options: Value = serde_json::from_slice(&call.body).unwrap_or(Value::Null);
    let object = shared.write(|state| {
        let missing = || Failure::not_found(&target.resource, &target.name);
        let found = state.read(&target.resource, target.home(), &target.name).ok_or_else(missing)?;
        check_preconditions(&options["preconditions"], &found, target)?;
        state.remove(&target.resource, target.home(), &target.name).ok_or_else(missing)
    })?;
    if target.resource.plural == "pods" {
        return Ok(reply(200, media.content_type(), media.object(&target.resource, &object)));
    }
    let uid = object.value["metadata"]["uid"].as_str().unwrap_or_default();
    Ok(media.status(&deleted(&target.resource, &target.name, uid)))
}

/// Deletes what the selectors match; answers with the list of it, as it was.
fn delete_collection(shared: &Shared, call: &Call, target: &Target) -> Result<Reply, Failure> {
    let selector = call.query.selector()?;
    let answer = super::list::list(shared, call, target)?;
    shared.write(|state| {
        let table = state.table(&target.resource, &target.prefix());
        for object in table.values().filter(|object| selector.matches(&object.value)) {
            let meta = &object.value["metadata"];
            let (namespace, name) = (meta["namespace"].as_str(), meta["name"].as_str());
            state.remove(&target.resource, namespace.unwrap_or_default(), name.unwrap_or_default());
        }
    });
    Ok(answer)
}

/// The body as a JSON object.
pub(crate) fn parse(call: &Call) -> Result<Value, Failure> {
    let content_type = call.header("content-type").split(';').next().unwrap_or_default();
    if !matches!(content_type, "" | "application/json" | "*/*") {
        return Err(Failure::unsupported_media(content_type));
    }
    let value: Value = serde_json::from_slice(&call.body)
        .map_err(|error| Failure::bad_request(format!("couldn't get version/kind; json parse error: {error}")))?;
    if value.is_object() { Ok(value) } else { Err(Failure::bad_request("the body is not an object")) }
}

fn check_namespace(value: &Value, target: &Target) -> Result<(), Failure> {
    let named = value.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or_default();
    if named.is_empty() || target.home().is_empty() || named == target.home() {
        return Ok(());
    }
    Err(Failure::bad_request("the namespace of the provided object does not match the namespace sent on the request"))
}

/// A version in the body must be the current one.
fn check_version(value: &Value, found: &Object, target: &Target) -> Result<(), Failure> {
    match value.pointer("/metadata/resourceVersion").and_then(Value::as_str) {
        Some(version) if !version.is_empty() && version != found.rv.to_string() => {
            Err(Failure::stale(&target.resource, &target.name))
        }
        _ => Ok(()),
    }
}

fn check_preconditions(wanted: &Value, found: &Object, target: &Target) -> Result<(), Failure> {
    for (key, label) in [("uid", "UID"), ("resourceVersion", "ResourceVersion")] {
        let (Some(wanted), have) = (wanted[key].as_str(), found.value["metadata"][key].as_str()) else { continue };
        if have != Some(wanted) {
            let have = have.unwrap_or_default();
            let why = format!("Precondition failed: {label} in precondition: {wanted}, {label} in object meta: {have}");
            return Err(Failure::conflict(&target.resource, &target.name, &why));
        }
    }
    Ok(())
}

/// `/status` replaces the status alone.
fn merge_status(old: &Value, new: Value, target: &Target) -> Value {
    if target.subresource != "status" {
        return new;
    }
    let mut value = old.clone();
    value["status"] = new.get("status").cloned().unwrap_or(Value::Null);
    value
}

/// RFC 7396.
fn merge(value: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *value = patch.clone();
        return;
    };
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    let Value::Object(map) = value else { return };
    for (key, change) in patch {
        if change.is_null() {
            map.remove(key);
        } else {
            merge(map.entry(key.clone()).or_insert(Value::Null), change);
        }
    }
}

fn creates_on_update(resource: &Resource) -> bool {
    matches!(resource.plural.as_str(), "leases" | "endpoints" | "events" | "limitranges")
}

/// Five letters, as `generateName` has them.
fn suffix() -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut number = stamp::serial().wrapping_mul(7_919);
    let mut out = String::new();
    for _ in 0..5 {
        out.push(char::from(LETTERS[(number % LETTERS.len() as u64) as usize]));
        number = number / LETTERS.len() as u64 + 31;
    }
    out
}
