//! Copies of the cloud's Tables, of collections of which nobody has asked for more.
//!
//! Receives what is watched. Promises of each copy of a list of just this the version that it is of. No event can be made
//! of them, but who goes on from one may be held.

use std::sync::Arc;

use bytes::Bytes;

use crate::kube::list::{Encoding, Limits, Splitter};
use crate::kube::media::{self, Media};
use crate::kube::request::RequestInfo;
use crate::kube::table;
use crate::request::names;
use crate::store::{Document, Knowledge, Scope, StoreError};

/// One of them.
pub(super) struct Copied {
    pub version: u64,
    /// Unix milliseconds.
    pub at: u64,
}

pub(super) async fn copies(knowledge: &Arc<Knowledge>, info: &RequestInfo) -> Result<Vec<Copied>, StoreError> {
    let (knowledge, path, watched) = (knowledge.clone(), info.path.clone(), collection(info));
    // They may be large.
    let read = move || read(&knowledge, &path, &watched);
    tokio::task::spawn_blocking(read).await.unwrap_or_else(|error| Err(StoreError::Backend(error.to_string())))
}

fn read(knowledge: &Knowledge, path: &str, watched: &Scope) -> Result<Vec<Copied>, StoreError> {
    let mut copies = Vec::new();
    for name in knowledge.documents_at(path)? {
        if !names::asked_for(&name).is_some_and(|list| list.verb == "list" && collection(&list) == *watched) {
            continue;
        }
        // One that is damaged is taken out, and says nothing.
        if let Ok(Some(document)) = knowledge.document(&name)
            && let Some(version) = version(&document)
        {
            copies.push(Copied { version, at: document.at });
        }
    }
    Ok(copies)
}

/// Whatever representation it is asked for in.
fn collection(info: &RequestInfo) -> Scope {
    names::scope(info, &Media { encoding: Encoding::Json, form: media::Form::Full })
}

/// `None`: no Table, or of no version.
fn version(document: &Document) -> Option<u64> {
    let mut splitter = Splitter::new(media::encoding_of(&document.content_type)?, Limits::ANSWER).with_tables();
    splitter.feed(Bytes::copy_from_slice(&document.body), &mut Vec::new()).ok()?;
    let envelope = splitter.finish().ok()?;
    let is_table = envelope.kind == table::types().kind;
    envelope.resource_version.parse().ok().filter(|_| is_table)
}
