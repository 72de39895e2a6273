//! The answer to a write says what the object is since.

use super::single::keep_object;
use super::{ObjectAsk, Parts, Reason, WriteAsk};
use crate::kube::list::Encoding;
use crate::kube::message::{self, MessageError};
use crate::kube::object::{self, Meta};
use crate::kube::schema::{METADATA, meta};
use crate::store::{Knowledge, ObjectKey, Written};

pub(super) async fn record(knowledge: &Knowledge, ask: WriteAsk, parts: Parts) -> Result<(), Reason> {
    let key = ask.key.clone();
    let result = read(knowledge, ask, parts).await;
    // Nobody knows what it was that has been created.
    if result.is_err() && key.name.is_empty() {
        knowledge.note_created(&key);
    }
    result
}

async fn read(knowledge: &Knowledge, ask: WriteAsk, mut parts: Parts) -> Result<(), Reason> {
    let full = parts.whole(knowledge.limits.max_item).await?;
    let encoding = ask.key.scope.encoding();
    let (types, item) = object::into_item(encoding, &full).map_err(|_| "unreadable item")?;
    // That is all the cloud says of most deletions, and of them all is said.
    if types.api_version == "v1" && types.kind == "Status" {
        return Ok(());
    }
    let unreadable = |_: MessageError| "unreadable item";
    let own = object::meta(encoding, &item).map_err(|_| "unreadable item")?;
    if own.name.is_empty() || !(ask.key.name.is_empty() || ask.key.name == own.name) {
        return Ok(());
    }
    let there = if ask.deletes {
        lingers(encoding, &item).map_err(unreadable)?
    } else {
        !is_gone(encoding, &item).map_err(unreadable)?
    };
    if ask.key.scope.resource == "events" {
        hear(knowledge, ask, (own, there), (&item, parts.at));
        return Ok(());
    }
    note(knowledge, ask, (own, there), (&full, parts.at))
}

fn hear(knowledge: &Knowledge, ask: WriteAsk, (own, there): (Meta, bool), (item, at): (&[u8], u64)) {
    let key = ObjectKey { name: own.name, ..ask.key };
    if there && ask.keeps && !ask.deletes {
        knowledge.hear_event(key, item, own.resource_version, at);
    } else {
        knowledge.mishear_event(&key);
    }
}

fn note(knowledge: &Knowledge, ask: WriteAsk, (own, there): (Meta, bool), (full, at): (&[u8], u64)) -> Result<(), Reason> {
    let WriteAsk { key, reader, keeps, .. } = ask;
    let key = ObjectKey { name: own.name, ..key };
    // Of what is gone the version is that of the object as it was.
    let version = if there { own.resource_version.as_str() } else { "" };
    let written = Written { at, ..Written::now(&key.scope.version, there, version) };
    let may_say_absent = knowledge.may_say_absent(&key, &written);
    // Leases are written all the time.
    let is_wanted = keeps && there && key.scope.resource != "leases" && (may_say_absent || knowledge.is_known_alone(&key));
    knowledge.note_written(&key, &written);
    if is_wanted { keep_object(knowledge, ObjectAsk { key, reader }, full, at) } else { Ok(()) }
}

/// Whether an object that was to be deleted is still there for a while, and says so itself.
fn lingers(encoding: Encoding, item: &[u8]) -> Result<bool, MessageError> {
    Ok(is_being_deleted(encoding, item)? && !is_gone(encoding, item)?)
}

/// Whether nothing holds an object any more that is being deleted: with this write it has gone.
fn is_gone(encoding: Encoding, item: &[u8]) -> Result<bool, MessageError> {
    let Some(metadata) = message::part(encoding, item, METADATA)? else { return Ok(false) };
    let is_held = message::part(encoding, metadata, meta::FINALIZERS)?.is_some();
    let seconds = message::number(encoding, metadata, meta::DELETION_GRACE_PERIOD_SECONDS)?;
    Ok(is_being_deleted(encoding, item)? && !is_held && seconds == 0)
}

fn is_being_deleted(encoding: Encoding, item: &[u8]) -> Result<bool, MessageError> {
    let Some(metadata) = message::part(encoding, item, METADATA)? else { return Ok(false) };
    Ok(message::part(encoding, metadata, meta::DELETION_TIMESTAMP)?.is_some())
}
