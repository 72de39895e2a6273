//! What nobody will ask for any more: what only agents have read that are not seen any more, single objects that nobody
//! lists and nobody has asked for in a long time, and Pods that are gone.
//!
//! Runs in the background, seldom, and only while the cloud is there to say again what was given up in vain. Kubelet's
//! own and what pinned agents have read stays; a Pod that is gone is nobody's.

use super::budget::{Bounds, Candidate, Why};
use super::grant::now;
use super::object::{ObjectRecord, split};
use super::readers::{Seen, seen_at};
use super::{Header, Knowledge, Op, Scope, Snapshot, StoreError, keys};
use crate::kube::list::Encoding;
use crate::kube::object;
use crate::kube::selector::{Fields, Selection};

/// Seconds after which something is garbage.
#[derive(Debug, Clone, Copy)]
pub struct Ages {
    /// An agent was not seen: what only it and its like have read.
    pub unseen: u64,
    /// A single object was not asked for.
    pub unlisted: u64,
}

/// A complete collection that has every Pod it selects.
struct Pods {
    header: Header,
    selection: Selection,
    fields: Fields,
}

impl Knowledge {
    /// Gives up what is garbage by now. `pins`: whether what an agent has read stays.
    pub async fn sweep_garbage(&self, ages: Ages, pins: impl Fn(&str) -> bool) -> Result<(), StoreError> {
        self.sweep_garbage_at(now(), ages, pins).await
    }

    /// The same at another time, in unix seconds.
    pub(super) async fn sweep_garbage_at(&self, now: u64, ages: Ages, pins: impl Fn(&str) -> bool) -> Result<(), StoreError> {
        let bounds = Bounds { now, unseen: ages.unseen, unlisted: ages.unlisted, ..Bounds::NONE };
        let room = self.writer().room(0).await?;
        let seen = self.seen()?;
        let mut ops = Vec::new();
        self.note_used(&mut ops);
        ops.extend(self.garbage_objects(&bounds, &seen, &pins)?);
        ops.extend(self.idle_marks()?);
        ops.extend(self.sweep_collections(&bounds, &seen, &pins)?);
        ops.extend(self.forgotten_agents(&bounds)?);
        self.drop_rows_in(room, ops);
        Ok(())
    }

    fn garbage_objects(&self, bounds: &Bounds, seen: &Seen, pins: &impl Fn(&str) -> bool) -> Result<Vec<Op>, StoreError> {
        let snapshot = self.snapshot()?;
        let pods = self.pods(&*snapshot)?;
        let mut gone: Vec<(Vec<u8>, Why)> = Vec::new();
        snapshot.scan(&[keys::OBJECT], &mut |key, row| {
            // One that is damaged is found by whoever asks for it.
            let Ok(mut item) = self.sealer().open_row(key, row.to_vec()) else { return true };
            let Ok(record) = split::<ObjectRecord>(key, &mut item) else { return true };
            let at = (record.at / 1000).max(self.singles.used(key));
            let candidate = Candidate {
                key: (),
                bytes: row.len() as u64,
                objects: 1,
                used: at,
                seen: seen.last(&record.readers).max(at),
                pinned: record.pinned || record.readers.any(pins),
                idle: self.idle(!keys::is_of_many(key), at, record.readers.any(pins)),
                single: true,
                gone: !record.absent && pods.iter().any(|pods| pods.lack(&*snapshot, key, &record, &item)),
            };
            gone.extend(bounds.garbage(&candidate).map(|why| (key.to_vec(), why)));
            true
        })?;
        for (key, why) in &gone {
            self.note_given_up(*why);
            self.repeats.forget(key);
            self.recent.forget(key);
        }
        Ok(gone.into_iter().map(|(key, _)| Op::Delete(key)).collect())
    }

    /// How long what kubelet has read could have been used since it was; `None`: it stays in any case.
    pub(super) fn idle(&self, of_one: bool, used: u64, pinned_by_name: bool) -> Option<u64> {
        (of_one && !pinned_by_name).then(|| self.online.since(used))
    }

    /// The collections of Pods that have all their rows.
    fn pods(&self, snapshot: &dyn Snapshot) -> Result<Vec<Pods>, StoreError> {
        let mut pods = Vec::new();
        for Header { scope, .. } in self.headers(|header| header.scope.is_of_pods()) {
            let Some(header) = self.header_in(snapshot, &scope)? else { continue };
            let Ok(selection) = Selection::parse(&scope.label_selector, &scope.field_selector) else { continue };
            if header.is_whole_in(snapshot)? {
                pods.push(Pods { header, selection, fields: Fields::of("", "v1", "pods") });
            }
        }
        Ok(pods)
    }

    /// When agents were seen that count as not seen anyway.
    fn forgotten_agents(&self, bounds: &Bounds) -> Result<Vec<Op>, StoreError> {
        let mut ops = Vec::new();
        self.snapshot()?.scan(&[keys::AGENT], &mut |key, row| {
            let at = self.sealer().open_row(key, row.to_vec()).ok().and_then(|row| seen_at(&row));
            if at.is_none_or(|at| at.saturating_add(bounds.unseen) < bounds.now) {
                ops.push(Op::Delete(key.to_vec()));
            }
            true
        })?;
        Ok(ops)
    }
}

impl Scope {
    /// Whether it is of one object by its name, of a kind of which kubelet reads those that its Pods name.
    pub(super) fn is_of_one(&self) -> bool {
        let is_named = self.selection().is_some_and(|selection| selection.fields.exactly("metadata.name").is_some());
        is_named && !keys::KUBELETS.contains(&&*self.resource)
    }
}

impl Pods {
    /// Whether an object is a Pod that would be among these, were it still there: they are of a later state, and select
    /// by what the Pod keeps all its life.
    fn lack(&self, snapshot: &dyn Snapshot, key: &[u8], record: &ObjectRecord, item: &[u8]) -> bool {
        let scope = &self.header.scope;
        let is_later = self.header.version_number() > super::collection::version_number(&record.resource_version);
        let keeps = scope.label_selector.is_empty() && self.selection.fields.fields().all(|field| field == "spec.nodeName");
        if (&*record.api_version, &*record.kind) != ("v1", "Pod") || !is_later || !keeps {
            return false;
        }
        let encoding = if keys::is_protobuf(key) { Encoding::Protobuf } else { Encoding::Json };
        let Ok(meta) = object::meta(encoding, item) else { return false };
        let is_selected = self.selection.matches(&self.fields, encoding, item).unwrap_or(false);
        let is_within = scope.namespace.is_empty() || scope.namespace == meta.namespace;
        let row = keys::item(self.header.id, &meta.namespace, &meta.name);
        is_selected && is_within && matches!(snapshot.read(&row), Ok(None))
    }
}
