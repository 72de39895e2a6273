//! A node's Pods, known from more than one collection: kubelet ends the containers of what is missing in its list.
//!
//! Receives the list that is to be told. Promises to find whatever says that it may lack a Pod of the node: one that is
//! known from later, in a collection of any scope and encoding or by itself, and that is not in the list, or is there as
//! another one of the same name; or that what kubelet was told came further, and could not be kept.

use super::collection::{Row, version_number};
use super::object::{ObjectRecord, split};
use super::{Header, Knowledge, ListView, Scope, StoreError, keys};
use crate::kube::list::Encoding;
use crate::kube::object;
use crate::kube::selector::{Fields, Selection};

/// Which Pods must be in the list.
struct Wanted<'a> {
    scope: &'a Scope,
    selection: Selection,
    of_node: Selection,
    fields: Fields,
}

impl ListView {
    /// Whether it may lack one of a node's Pods of all that are `wanted`. May block.
    pub fn may_lack_pods(&self, knowledge: &Knowledge, wanted: &Scope, node: &str) -> Result<bool, StoreError> {
        let wanted = Wanted {
            scope: wanted,
            selection: wanted.selection().unwrap_or_default(),
            of_node: Selection::of_field("spec.nodeName", node),
            fields: Fields::of("", "v1", "pods"),
        };
        for known in knowledge.headers(|header| header.scope.is_of_pods()) {
            if self.is_overtaken_by(&known, &wanted) || self.lacks_items(knowledge, &known.scope, &wanted)? {
                return Ok(true);
            }
        }
        self.lacks_singles(knowledge, &wanted)
    }

    /// What others were told does not count: anybody may say to have seen anything.
    fn is_overtaken_by(&self, known: &Header, wanted: &Wanted<'_>) -> bool {
        known.pinned && known.missed > self.header.version_number() && known.scope.answers_for(wanted.scope, &wanted.fields)
    }

    /// Of a collection from later.
    fn lacks_items(&self, knowledge: &Knowledge, scope: &Scope, wanted: &Wanted<'_>) -> Result<bool, StoreError> {
        let header = knowledge.header_in(&*self.snapshot, scope)?;
        let is_later = |header: &Header| header.version_number() > self.header.version_number();
        let Some(header) = header.filter(is_later) else { return Ok(false) };
        let mut lacks = Ok(false);
        self.snapshot.scan(&keys::items(header.id), &mut |key, row| {
            let item = knowledge.sealer().open_row(key, row.to_vec());
            lacks = item.and_then(|item| self.lacks(knowledge, scope.encoding(), &item, wanted));
            matches!(lacks, Ok(false))
        })?;
        lacks.inspect_err(|_| drop(knowledge.discard_later(&header)))
    }

    /// Of those that were read one by one, and from later.
    fn lacks_singles(&self, knowledge: &Knowledge, wanted: &Wanted<'_>) -> Result<bool, StoreError> {
        let mut lacks = Ok(false);
        self.snapshot.scan(&keys::key(keys::OBJECT, &["", "v1", "pods", ""]), &mut |key, row| {
            // One that is damaged is found by whoever asks for it.
            let Ok(mut item) = knowledge.sealer().open_row(key, row.to_vec()) else { return true };
            let Ok(record) = split::<ObjectRecord>(key, &mut item) else { return true };
            if !record.absent && version_number(&record.resource_version) > self.header.version_number() {
                let encoding = if keys::is_protobuf(key) { Encoding::Protobuf } else { Encoding::Json };
                lacks = self.lacks(knowledge, encoding, &item, wanted);
            }
            matches!(lacks, Ok(false))
        })?;
        lacks
    }

    fn lacks(&self, knowledge: &Knowledge, encoding: Encoding, item: &[u8], wanted: &Wanted<'_>) -> Result<bool, StoreError> {
        let meta = object::meta(encoding, item).map_err(unreadable)?;
        if !wanted.has(&meta.namespace, encoding, item)? {
            return Ok(false);
        }
        let key = keys::item(self.header.id, &meta.namespace, &meta.name);
        let Some(row) = self.snapshot.read(&key)? else { return Ok(true) };
        let Some(own) = self.wanted(knowledge, &key, &Row::Stored(&row))? else { return Ok(true) };
        Ok(object::meta(self.header.scope.encoding(), &own).map_err(unreadable)?.uid != meta.uid)
    }
}

impl Wanted<'_> {
    fn has(&self, namespace: &str, encoding: Encoding, item: &[u8]) -> Result<bool, StoreError> {
        let is = |selection: &Selection| selection.matches(&self.fields, encoding, item).map_err(unreadable);
        let is_within = self.scope.namespace.is_empty() || self.scope.namespace == namespace;
        Ok(is_within && is(&self.of_node)? && is(&self.selection)?)
    }
}

fn unreadable(error: impl std::fmt::Display) -> StoreError {
    StoreError::Backend(format!("a Pod: {error}"))
}

impl Scope {
    pub(super) fn is_of_pods(&self) -> bool {
        (&*self.group, &*self.version, &*self.resource, &*self.form) == ("", "v1", "pods", "")
    }
}
