//! The rules or what a filter goes by have changed under an open watch: what its client has to be told.
//!
//! Receives the chain as it was, what it has shown, the collection as the node remembers it, and the version up to which
//! the client has been told. Promises just the difference: what came to light as ADDED, what is hidden now as DELETED, what looks
//! different as MODIFIED, then a bookmark at the client's version if it takes bookmarks, so that it never goes on from
//! an older one. Metadata is what it is shown as well, be it made of whole objects. Where that cannot be said exactly
//! (nothing is remembered, or not yet up to that version, or the difference is too large), the answer is `None`, and the
//! watch ends with 410.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::chain::{Chain, Shape};
use super::item::{Item, name};
use super::shown::Shown;
use crate::kube::list::Encoding;
use crate::kube::message::{Edit, MessageError};
use crate::kube::metadata;
use crate::kube::object::{self, TypeMeta};
use crate::kube::selector::Fields;
use crate::kube::watch::{self, EventType};
use crate::store::{Header, Knowledge, ListView, Scope};

/// How long the store may take to know what the client knows.
const PATIENCE: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(20);
/// Bytes of events that are made at once.
const AT_ONCE: usize = 4 << 20;

/// Where the watch's collection is remembered.
#[derive(Clone)]
pub struct Source {
    pub knowledge: Arc<Knowledge>,
    pub scope: Scope,
    pub bookmarks: bool,
}

/// What leads the client from the old chain to the new one.
pub(super) struct CaughtUp {
    pub chain: Chain,
    pub shown: Option<Shown>,
    pub frames: Vec<Bytes>,
    /// The highest version that they tell the client.
    pub stands: u64,
}

pub(super) async fn catch_up(old: Arc<Chain>, source: Source, shown: Option<Shown>, seen: u64) -> Option<CaughtUp> {
    let chain = old.renewed().await?;
    if chain.wants_json() && source.scope.encoding() != Encoding::Json {
        return None;
    }
    let view = source.reaching(seen).await?;
    let work = move || difference(&old, chain, &source, &view, (shown, seen));
    tokio::task::spawn_blocking(work).await.ok()?
}

fn difference(
    old: &Chain,
    chain: Chain,
    source: &Source,
    view: &ListView,
    (shown, seen): (Option<Shown>, u64),
) -> Option<CaughtUp> {
    view.whole().ok()?;
    let (encoding, form) = (source.scope.encoding(), Form::of(&source.scope, &view.header)?);
    // Without one, nothing was hidden.
    let mut shown = shown.or_else(|| chain.hides().then(Shown::default));
    let (mut frames, mut bytes, mut stands, mut exact) = (Vec::new(), 0, 0, true);
    let visited = view.visit(&source.knowledge, None, &mut |_, item| {
        let Some(version) = version(encoding, &item).filter(|version| *version <= seen) else {
            // The stream itself is yet to tell of it, and until then the client knows what it was told before.
            return true;
        };
        let Ok(item) = form.item(encoding, item) else {
            exact = false;
            return false;
        };
        let judged = |chain: &Chain| chain.shaped(encoding, form.shape, &item);
        let (Ok(before), Ok(now)) = (judged(old), judged(&chain)) else {
            exact = false;
            return false;
        };
        if let (Some(shown), Ok(name)) = (&mut shown, name(&Item { encoding, bytes: &item })) {
            shown.note(chain.key(&name), now == Edit::Remove);
        }
        if let Some((kind, item)) = event(before, now, item) {
            let frame = watch::encode(encoding, kind, &object::from_item(encoding, form.types(), &item));
            (bytes, stands) = (bytes + frame.len(), stands.max(version));
            frames.push(frame);
        }
        bytes <= AT_ONCE
    });
    if visited.is_err() || !exact || bytes > AT_ONCE {
        return None;
    }
    if source.bookmarks && !frames.is_empty() {
        frames.push(watch::bookmark(encoding, form.types(), &seen.to_string(), false));
        stands = seen;
    }
    Some(CaughtUp { chain, shown, frames, stands })
}

/// What the client is shown of an item.
struct Form {
    /// [`Shape::Full`], whatever the list of whole objects is called, or metadata.
    shape: Shape,
    /// What the items are in the store.
    stored: TypeMeta,
    metadata: TypeMeta,
}

impl Form {
    fn of(scope: &Scope, header: &Header) -> Option<Self> {
        let stored = TypeMeta { api_version: header.api_version.clone(), kind: header.item_kind()?.to_owned() };
        let shape = if scope.is_of_metadata() { Shape::Metadata } else { Shape::Full };
        Some(Self { shape, stored, metadata: metadata::types() })
    }

    fn item(&self, encoding: Encoding, item: Vec<u8>) -> Result<Vec<u8>, MessageError> {
        if self.shape == Shape::Metadata { metadata::of_item(encoding, &self.stored, &item) } else { Ok(item) }
    }

    fn types(&self) -> &TypeMeta {
        if self.shape == Shape::Metadata { &self.metadata } else { &self.stored }
    }
}

/// Since when an item is as it is.
fn version(encoding: Encoding, item: &[u8]) -> Option<u64> {
    object::meta(encoding, item).ok()?.resource_version.parse().ok()
}

impl Source {
    /// The collection, or another one that has all of it, once that has everything that a client was told; `None`: that is
    /// not so, and nothing is on its way.
    async fn reaching(&self, seen: u64) -> Option<ListView> {
        let mut at_rest = std::pin::pin!(self.knowledge.catch_up());
        let reached = async {
            loop {
                self.knowledge.flush().await.ok()?;
                if let Some(view) = self.known(seen) {
                    return Some(view);
                }
                tokio::select! {
                    rest = &mut at_rest => return rest.ok().and_then(|()| self.known(seen)),
                    () = tokio::time::sleep(LOOK) => {}
                }
            }
        };
        tokio::time::timeout(PATIENCE, reached).await.ok()?
    }

    fn known(&self, seen: u64) -> Option<ListView> {
        let reaches = |header: &Header| header.version_number() >= seen;
        let own = self.knowledge.list(&self.scope).ok()?.filter(|view| reaches(&view.header));
        let wider = || {
            let Scope { group, version, resource, .. } = &self.scope;
            let fields = Fields::of(group, version, resource);
            self.knowledge.covering(&self.scope, &fields, reaches, false).ok()?.filter(|view| reaches(&view.header))
        };
        own.or_else(wider)
    }
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

#[cfg(test)]
mod tests;
