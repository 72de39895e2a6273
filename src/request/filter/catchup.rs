//! The rules or what a filter goes by have changed under an open watch: what its client has to be told.
//!
//! Receives the chain as it was, the collection as the node remembers it, and the version up to which the client has
//! been told. Promises just the difference: what came to light as ADDED, what is hidden now as DELETED, what looks
//! different as MODIFIED, then a bookmark at the client's version if it takes bookmarks, so that it never goes on from
//! an older one. Where that cannot be said exactly (nothing is remembered, or not yet up to that version, or the
//! difference is too large), the answer is `None`, and the watch ends with 410.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::chain::Chain;
use super::item::{Item, name};
use super::shown::Shown;
use crate::kube::list::Encoding;
use crate::kube::message::Edit;
use crate::kube::object::{self, TypeMeta};
use crate::kube::watch::{self, EventType};
use crate::store::{Knowledge, ListView, Scope};

/// How long the store may take to know what the client knows.
const PATIENCE: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(20);
/// Bytes of events that are made at once.
const AT_ONCE: usize = 4 << 20;

/// Where the watch's collection is remembered.
#[derive(Clone)]
pub(in crate::request) struct Source {
    pub knowledge: Arc<Knowledge>,
    pub scope: Scope,
    pub bookmarks: bool,
}

/// What leads the client from the old chain to the new one.
pub(super) struct CaughtUp {
    pub chain: Chain,
    pub shown: Option<Shown>,
    pub frames: Vec<Bytes>,
}

pub(super) async fn catch_up(old: Arc<Chain>, source: Source, seen: u64) -> Option<CaughtUp> {
    let chain = old.renewed().await?;
    if chain.wants_json() && source.scope.encoding() != Encoding::Json {
        return None;
    }
    let view = tokio::time::timeout(PATIENCE, reaches(&source, seen)).await.ok()??;
    let work = move || difference(&old, chain, &source, &view, seen);
    tokio::task::spawn_blocking(work).await.ok()?
}

/// The collection, once it has everything that the client was told.
async fn reaches(source: &Source, seen: u64) -> Option<ListView> {
    loop {
        source.knowledge.flush().await.ok()?;
        let view = source.knowledge.list(&source.scope).ok()??;
        if view.header.version_number() >= seen {
            return Some(view);
        }
        drop(view);
        tokio::time::sleep(LOOK).await;
    }
}

fn difference(old: &Chain, chain: Chain, source: &Source, view: &ListView, seen: u64) -> Option<CaughtUp> {
    view.whole().ok()?;
    let (encoding, header) = (source.scope.encoding(), &view.header);
    let types = TypeMeta { api_version: header.api_version.clone(), kind: header.item_kind().to_owned() };
    let mut shown = chain.hides().then(Shown::default);
    let (mut frames, mut bytes, mut exact) = (Vec::new(), 0, true);
    let visited = view.visit(&source.knowledge, None, &mut |_, item| {
        let told = told(encoding, &item).is_some_and(|version| version <= seen);
        let (Ok(before), Ok(now)) = (old.item(encoding, &header.kind, &item), chain.item(encoding, &header.kind, &item)) else {
            exact = false;
            return false;
        };
        if let (Some(shown), Ok(name)) = (&mut shown, name(&Item { encoding, bytes: &item })) {
            // What the client was not told of yet comes by the stream itself.
            shown.note(&name, if told { now == Edit::Remove } else { before == Edit::Remove });
        }
        if told && let Some((kind, item)) = event(before, now, item) {
            let frame = watch::encode(encoding, kind, &object::from_item(encoding, &types, &item));
            bytes += frame.len();
            frames.push(frame);
        }
        bytes <= AT_ONCE
    });
    if visited.is_err() || !exact || bytes > AT_ONCE {
        return None;
    }
    if source.bookmarks && !frames.is_empty() {
        frames.push(watch::bookmark(encoding, &types, &seen.to_string(), false));
    }
    Some(CaughtUp { chain, shown, frames })
}

/// The item's own version.
fn told(encoding: Encoding, item: &[u8]) -> Option<u64> {
    object::meta(encoding, item).ok()?.resource_version.parse().ok()
}

fn event(before: Edit, now: Edit, item: Vec<u8>) -> Option<(EventType, Vec<u8>)> {
    if before == now {
        return None;
    }
    Some(match (before, now) {
        (Edit::Remove, Edit::Replace(now)) => (EventType::Added, now),
        (Edit::Remove, _) => (EventType::Added, item),
        (Edit::Replace(before), Edit::Remove) => (EventType::Deleted, before),
        (_, Edit::Remove) => (EventType::Deleted, item),
        (_, Edit::Replace(now)) => (EventType::Modified, now),
        (_, Edit::Keep) => (EventType::Modified, item),
    })
}
