//! The cluster's own history may go back: etcd restored from a snapshot, a cluster built anew at the same address.
//!
//! Versions are numbers of one etcd, and never fall. Where it stands now is asked of the Nodes; if it stood further
//! before, or Nodes were remembered at a version beyond that and not said anew since, its history is another one; and so
//! is everything that was remembered before. It is given up whole: nothing of it can be told from what is still true.
//!
//! Where it stood is written now and then, for it may be restored while the hub does not run.
//!
//! A kube-apiserver may keep any other resource in an etcd of its own (`--etcd-servers-overrides`), and custom groups may
//! be behind another API server: they prove nothing.

use std::collections::HashMap;

use super::grant::now;
use super::writer::Batch;
use super::{Header, Knowledge, Op, StoreError, keys};

/// Seconds between two writes of where etcd stands.
const REFRESH: u64 = 600;

/// What was known when etcd's version was asked for: collections, by key, at their versions.
pub struct Versions(HashMap<Vec<u8>, String>);

impl Knowledge {
    /// Where the Nodes' etcd stood when that was last written; 0: not known.
    pub fn last_version(&self) -> u64 {
        let row = self.snapshot().and_then(|snapshot| snapshot.read(keys::HISTORY));
        let row = row.ok().flatten().and_then(|row| self.sealer().open_row(keys::HISTORY, row).ok());
        row.and_then(|row| row.try_into().ok()).map_or(0, u64::from_be_bytes)
    }

    /// To be taken before etcd is asked.
    pub fn versions(&self) -> Versions {
        let catalogue = self.catalogue();
        Versions(catalogue.headers.iter().map(|(key, header)| (key.clone(), header.resource_version.clone())).collect())
    }

    /// The Nodes' etcd stands at `version`, stood at `last` (0: not known), and was asked after `before` was taken. If what
    /// is known is of another history it is given up; says at which version it was.
    pub async fn check_history(&self, version: u64, last: u64, before: &Versions) -> Result<Option<u64>, StoreError> {
        let Some((beyond, dead)) = self.dead_collections(version, last, before) else {
            self.note_version(version);
            return Ok(None);
        };
        let mut ops: Vec<Op> = dead
            .into_iter()
            .flat_map(|header| [Op::Delete(header.scope.key()), Op::DeletePrefix(keys::items(header.id))])
            .collect();
        let singles = self.dead_singles()?;
        for row in &singles {
            self.repeats.forget(row);
            self.recent.forget(row);
        }
        ops.extend(singles.into_iter().map(Op::Delete));
        // With what is given up: else that is done again after a restart.
        ops.push(self.version_row(version));
        self.writer().apply(Batch { ops, epoch: Some(self.writer().epoch()), durable: true, done: None }).await?;
        Ok(Some(beyond))
    }

    fn note_version(&self, version: u64) {
        if self.first_in(keys::HISTORY, REFRESH, now()) && !self.put(keys::HISTORY.to_vec(), &version.to_be_bytes()) {
            self.recent.forget(keys::HISTORY);
        }
    }

    fn version_row(&self, version: u64) -> Op {
        Op::Put(keys::HISTORY.to_vec(), self.sealer().seal(keys::HISTORY, &version.to_be_bytes()))
    }

    /// The highest version beyond etcd's, and all collections that nothing was said of since; they are out of the
    /// catalogue. `None`: none is beyond.
    fn dead_collections(&self, version: u64, last: u64, before: &Versions) -> Option<(u64, Vec<Header>)> {
        let mut catalogue = self.catalogue();
        let unsaid = |key: &Vec<u8>, header: &Header| before.0.get(key) == Some(&header.resource_version);
        let is_node = |header: &Header| header.scope.group.is_empty() && header.scope.resource == "nodes";
        let nodes = catalogue.headers.iter().filter(|(key, header)| unsaid(key, header) && is_node(header));
        let known = nodes.map(|(_, header)| header.version_number()).chain([last]);
        let beyond = known.filter(|known| *known > version).max()?;
        let dead: Vec<Vec<u8>> =
            catalogue.headers.iter().filter(|(key, header)| unsaid(key, header)).map(|(key, _)| key.clone()).collect();
        Some((beyond, dead.iter().filter_map(|key| catalogue.headers.remove(key)).collect()))
    }

    /// Single objects, and what was remembered of others in forms of their own. Those said just now are fetched again.
    fn dead_singles(&self) -> Result<Vec<Vec<u8>>, StoreError> {
        let (mut rows, snapshot) = (Vec::new(), self.snapshot()?);
        for kind in [keys::OBJECT, keys::DOCUMENT] {
            snapshot.scan(&[kind], &mut |key, _| {
                if kind == keys::OBJECT || !keys::is_discovery(key) {
                    rows.push(key.to_vec());
                }
                true
            })?;
        }
        Ok(rows)
    }
}

#[cfg(test)]
mod tests;
