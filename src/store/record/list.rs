//! A LIST becomes a collection, whole or not at all.
//!
//! Until it has ended the earlier collection stands as it was (record/items.rs).

use std::sync::Arc;

use super::items::Items;
use super::{ENDED_EARLY, ListAsk, OLDER, OTHERWISE, Parts, Reason};
use crate::kube::list::{Envelope, Limits, Piece, Splitter};
use crate::kube::metadata;
use crate::store::grant::now;
use crate::store::writer::Batch;
use crate::store::{Header, Knowledge, Op, Readers, keys};

const MAX_HEAD: usize = 64 * 1024;

pub(super) async fn record(knowledge: &Arc<Knowledge>, ask: ListAsk, parts: Parts) -> Result<(), Reason> {
    let result = keep(knowledge, &ask, parts).await;
    if let Err(reason) = result {
        tracing::debug!(reason, scope = ?ask.scope, "a list is not remembered");
    }
    // Of a list that ended early its client has not got the whole either.
    if result.is_err_and(|reason| ![ENDED_EARLY, OLDER].contains(&reason)) {
        knowledge.note_not_kept(&ask.scope, &ask.reader);
    }
    result
}

async fn keep(knowledge: &Knowledge, ask: &ListAsk, parts: Parts) -> Result<(), Reason> {
    let items = begin(knowledge, ask).ok_or("first page unknown")?;
    let id = items.partial.id();
    let result = take(knowledge, ask, parts, items).await;
    if result.is_err() {
        knowledge.drop_items(id).await;
    }
    result
}

async fn take(knowledge: &Knowledge, ask: &ListAsk, mut parts: Parts, mut items: Items<'_>) -> Result<(), Reason> {
    let encoding = ask.scope.encoding();
    let limits = Limits { max_item: knowledge.limits.max_item, max_head: MAX_HEAD };
    let mut splitter = Splitter::new(encoding, limits);
    let mut pieces = Vec::new();
    parts.queue.take_in_passing(items.compared_with.is_some());
    while let Some(data) = parts.next().await? {
        splitter.feed(data, &mut pieces).map_err(|_| "not a list")?;
        for piece in pieces.drain(..) {
            if let Piece::Item(item) = piece {
                items.add(encoding, &item)?;
            }
        }
        parts.queue.pack_during(items.flush_if_large()).await?;
        parts.queue.take_in_passing(items.compared_with.is_some());
        tokio::task::yield_now().await;
    }
    let envelope = splitter.finish().map_err(|_| "not a list")?;
    end(items, ask, envelope, parts.at).await
}

/// Begins, or goes on behind the page before.
fn begin<'a>(knowledge: &'a Knowledge, ask: &ListAsk) -> Option<Items<'a>> {
    if !ask.continue_token.is_empty() {
        return knowledge.pages.resume(&ask.continue_token, &ask.scope).map(|partial| Items::go_on(knowledge, partial));
    }
    let mut items = Items::begin(knowledge, ask.scope.clone());
    (items.partial.quorum, items.partial.started) = (ask.quorum, ask.started);
    Some(items)
}

async fn end(mut items: Items<'_>, ask: &ListAsk, envelope: Envelope, at: u64) -> Result<(), Reason> {
    if ask.scope.is_of_metadata() && envelope.kind != metadata::list_types().kind {
        return Err(OTHERWISE);
    }
    let partial = &mut items.partial;
    if !partial.resource_version.is_empty() && partial.resource_version != envelope.resource_version {
        return Err("pages of different versions");
    }
    if let Some(token) = envelope.continue_token.filter(|token| !token.is_empty()) {
        partial.resource_version = envelope.resource_version;
        return items.wait(token).await;
    }
    let header = Header {
        id: partial.id(),
        scope: ask.scope.clone(),
        kind: envelope.kind,
        kind_is_guess: false,
        item_kind: std::mem::take(&mut partial.item_kind),
        api_version: envelope.api_version,
        sorted_keys: envelope.sorted_keys,
        resource_version: envelope.resource_version,
        updated: at,
        used: now(),
        pinned: ask.reader.node,
        readers: Readers::of(&ask.reader),
        items: partial.items,
        bytes: partial.bytes,
        missed: 0,
        changed: 0,
    };
    // A list replaces what is known if it is not older; one that is older by version still does if it is a read of
    // the newest state, asked after the last news: then the cluster itself has gone back.
    let (quorum, started) = (partial.quorum, partial.started);
    items.replace(header, |(old, new)| new.version_number() >= old.version_number() || (quorum && started > old.updated)).await
}

impl Knowledge {
    /// Items of a list that came to nothing.
    pub(super) async fn drop_items(&self, id: u64) {
        let batch = Batch { ops: vec![Op::DeletePrefix(keys::items(id))], ..Batch::default() };
        let _ = self.writer().send(batch).await;
    }
}
