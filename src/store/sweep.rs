//! What keeps the store within its bounds: collections over the budget, remains of
//! lists that never ended, single rows that nobody renews, rights that have lapsed.
//!
//! Runs in the background. A sweep that fails changes nothing, and the next one tries
//! again.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};

use super::grant::{GrantRecord, Known, NODE, issued_token, now};
use super::object::{Document, ObjectRecord, split};
use super::writer::Batch;
use super::{Header, Knowledge, Op, StoreError, budget, keys};
use crate::kube::token;

/// Single rows may have this part of the budget, the collections have the rest.
const SINGLES: u64 = 4;

/// Bytes of single rows (objects, documents, grants): counted up as they are written,
/// counted anew when that is over the bound.
pub(super) struct Singles(AtomicU64);

impl Default for Singles {
    /// Not known until they are counted.
    fn default() -> Self {
        Self(AtomicU64::new(u64::MAX / 2))
    }
}

impl Singles {
    pub(super) fn written(&self, bytes: usize) {
        self.0.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

impl Knowledge {
    /// Gives up what is over the budget, and what no list stands behind.
    pub async fn sweep(&self) -> Result<(), StoreError> {
        let mut ops = self.sweep_singles()?;
        let singles = self.singles.0.load(Ordering::Relaxed);
        ops.extend(self.sweep_collections(self.limits.cache_max_bytes.saturating_sub(singles))?);
        self.drop_rows(ops).await
    }

    async fn drop_rows(&self, ops: Vec<Op>) -> Result<(), StoreError> {
        if ops.is_empty() {
            return Ok(());
        }
        self.writer().send(Batch { ops, epoch: Some(self.writer().epoch()), ..Batch::default() }).await
    }

    fn sweep_collections(&self, budget: u64) -> Result<Vec<Op>, StoreError> {
        let used = self.take_used();
        let mut ops = Vec::new();
        let (gone, live, total) = {
            let mut catalogue = self.catalogue();
            for (key, at) in used {
                if let Some(header) = catalogue.headers.get_mut(&key).filter(|header| header.used + 60 < at) {
                    header.used = at;
                    ops.push(Op::Put(
                        key.clone(),
                        self.sealer().seal(&key, &serde_json::to_vec(header).expect("a plain struct")),
                    ));
                }
            }
            let candidate = |(key, header): (&Vec<u8>, &Header)| budget::Candidate {
                key: key.clone(),
                bytes: header.bytes,
                used: header.used,
                pinned: header.pinned,
            };
            let candidates: Vec<_> = catalogue.headers.iter().map(candidate).collect();
            let plan = budget::plan(&candidates, budget);
            let gone: Vec<Header> = plan.iter().filter_map(|key| catalogue.headers.remove(key)).collect();
            let live: HashSet<u64> = catalogue.headers.values().map(|header| header.id).collect();
            let total = catalogue.headers.values().map(|header| header.bytes).sum::<u64>();
            (gone, live, total)
        };
        self.metrics().store_bytes.set(i64::try_from(total).unwrap_or(i64::MAX));
        for header in gone {
            let scope = &header.scope;
            tracing::info!(resource = scope.resource, namespace = scope.namespace, bytes = header.bytes, "given up for space");
            ops.push(Op::Delete(scope.key()));
            ops.push(Op::DeletePrefix(keys::items(header.id)));
        }
        // Remains of lists that never ended.
        let abandoned = self.item_ids()?.into_iter().filter(|id| !live.contains(id) && !self.is_young(*id));
        ops.extend(abandoned.map(|id| Op::DeletePrefix(keys::items(id))));
        Ok(ops)
    }

    /// The oldest single rows beyond their part of the budget; kubelet's never go.
    fn sweep_singles(&self) -> Result<Vec<Op>, StoreError> {
        let bound = self.limits.cache_max_bytes / SINGLES;
        if self.singles.0.load(Ordering::Relaxed) <= bound {
            return Ok(Vec::new());
        }
        let snapshot = self.snapshot()?;
        let kinds = [keys::OBJECT, keys::DOCUMENT, keys::GRANT];
        let mut total = 0;
        for kind in kinds {
            snapshot.scan(&[kind], &mut |key, row| {
                total += (key.len() + row.len()) as u64;
                true
            })?;
        }
        let mut candidates = Vec::new();
        if total > bound {
            for kind in kinds {
                snapshot.scan(&[kind], &mut |key, row| {
                    let (used, pinned) = self.age(key, row.to_vec()).unwrap_or_default();
                    candidates.push(budget::Candidate { key: key.to_vec(), bytes: (key.len() + row.len()) as u64, used, pinned });
                    true
                })?;
            }
        }
        // Somewhat more than must be, so that the next row does not begin it all again.
        let gone: HashSet<Vec<u8>> = budget::plan(&candidates, bound - bound / 4).into_iter().collect();
        let freed: u64 =
            candidates.iter().filter(|candidate| gone.contains(&candidate.key)).map(|candidate| candidate.bytes).sum();
        self.singles.0.store(total - freed, Ordering::Relaxed);
        gone.iter().for_each(|row| self.repeats.forget(row));
        Ok(gone.into_iter().map(Op::Delete).collect())
    }

    /// Unix seconds at which the cloud last said this, and whether it is kubelet's. A
    /// damaged row is as old as can be.
    fn age(&self, key: &[u8], row: Vec<u8>) -> Option<(u64, bool)> {
        let mut row = self.sealer().open_row(key, row).ok()?;
        match *key.first()? {
            keys::OBJECT => split(key, &mut row).ok().map(|record: ObjectRecord| (record.at / 1000, record.pinned)),
            // Discovery is read once and wanted by everybody.
            keys::DOCUMENT => split(key, &mut row).ok().map(|document: Document| (document.at / 1000, keys::is_discovery(key))),
            _ => serde_json::from_slice(&row).ok().map(|grant: GrantRecord| (grant.at, grant.user == NODE)),
        }
    }

    /// Drops grants older than `age` seconds, and tokens that have expired.
    pub async fn sweep_rights(&self, age: u64) -> Result<(), StoreError> {
        let mut ops = Vec::new();
        let snapshot = self.snapshot()?;
        let now = now();
        for kind in [keys::GRANT, keys::TOKEN, keys::ISSUED] {
            snapshot.scan(&[kind], &mut |key, row| {
                let lapses = self.sealer().open_row(key, row.to_vec()).ok().and_then(|row| lapses(key, row, age));
                if lapses.is_none_or(|lapses| lapses < now) {
                    ops.push(Op::Delete(key.to_vec()));
                }
                true
            })?;
        }
        self.drop_rows(ops).await
    }
}

/// Unix seconds at which a right ends.
fn lapses(key: &[u8], row: Vec<u8>, age: u64) -> Option<u64> {
    match *key.first()? {
        keys::GRANT => serde_json::from_slice(&row).ok().map(|grant: GrantRecord| grant.at.saturating_add(age)),
        keys::TOKEN => serde_json::from_slice(&row).ok().map(|known: Known| known.expires.unwrap_or(u64::MAX)),
        _ => token::claims(&issued_token(key, row)?)?.expires,
    }
}
