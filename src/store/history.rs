//! The cluster's own history may go back: etcd restored from a snapshot, a cluster built anew at the same address.
//!
//! Versions are numbers of one etcd, and never fall. Where it stands now is asked of the Nodes; if it stood further
//! before, or Nodes were remembered at a version beyond that and not said anew since, its history is another one; and so
//! is everything that was remembered before. It is given up whole: nothing of it can be told from what is still true.
//!
//! Where it stood is written now and then, for it may be restored while the hub does not run.
//!
//! While the link is down a restored etcd may come further than it stood. It gives itself away where this node's Node is
//! of a version that was passed already, and was not the Node's then. Where the Node was written since, or not at all
//! between the snapshot and the cut, nothing tells the histories apart: each collection is of the new one with its next
//! list.
//!
//! A cluster built anew may have come further than the old one in the meantime: it is another one if both what it calls
//! this node and what it calls its own Service have other uids. (A Node alone may be registered anew.)
//!
//! A kube-apiserver may keep any other resource in an etcd of its own (`--etcd-servers-overrides`), and custom groups may
//! be behind another API server: they prove nothing.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::grant::now;
use super::writer::Batch;
use super::{Header, Knowledge, Op, StoreError, keys};

/// Seconds between two writes of where etcd stands.
const REFRESH: u64 = 600;

/// The uids by which a cluster is known; empty: not known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// Of this node's Node.
    pub node: String,
    /// Of Service default/kubernetes.
    pub service: String,
}

impl Cluster {
    /// Whether it cannot be the same one.
    pub fn is_another(&self, than: &Self) -> bool {
        let differs = |own: &str, other: &str| !own.is_empty() && !other.is_empty() && own != other;
        differs(&self.node, &than.node) && differs(&self.service, &than.service)
    }
}

/// Where the Nodes' etcd stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stood {
    /// 0: not known.
    pub version: u64,
    /// This node's Node at that version; `None`: not known.
    pub node: Option<Node>,
}

/// Which state of a Node it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    pub uid: String,
    pub version: u64,
}

impl Stood {
    /// Whether etcd can have come from here to `now`: what was not so at this version was written after it.
    fn may_become(&self, now: &Self) -> bool {
        match (&self.node, &now.node) {
            (Some(before), Some(after)) => before == after || after.version > self.version,
            _ => true,
        }
    }
}

/// What was known when etcd's version was asked for: collections, by key, at their versions.
pub struct Versions(HashMap<Vec<u8>, String>);

impl Versions {
    /// Whether nothing was said of the collection since.
    fn is_last_of(&self, key: &[u8], header: &Header) -> bool {
        self.0.get(key) == Some(&header.resource_version)
    }
}

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

    /// Where the Nodes' etcd stands and last stood; it was asked after `before` was taken. If what is known is of another
    /// history it is given up; says at which version it was.
    pub async fn check_history(&self, now: &Stood, last: &Stood, before: &Versions) -> Result<Option<u64>, StoreError> {
        let beyond = self.beyond(now.version, last.version, before);
        let Some(other) = beyond.or_else(|| (!last.may_become(now)).then_some(last.version)) else {
            self.note_version(now.version);
            return Ok(None);
        };
        self.give_up(now.version, before).await?;
        Ok(Some(other))
    }

    /// The cluster that is known; the last one that was noted.
    pub fn cluster(&self) -> Cluster {
        let row = self.snapshot().and_then(|snapshot| snapshot.read(keys::CLUSTER)).ok().flatten();
        let row = row.and_then(|row| self.sealer().open_row(keys::CLUSTER, row).ok());
        row.and_then(|row| serde_json::from_slice(&row).ok()).unwrap_or_default()
    }

    pub fn note_cluster(&self, cluster: &Cluster) {
        // It is asked for again, should there be no room now.
        self.put(keys::CLUSTER.to_vec(), &serde_json::to_vec(cluster).expect("a plain struct"));
    }

    /// Gives up all that was known `before` and was not said since, for another history, which stands at `version`.
    pub async fn give_up(&self, version: u64, before: &Versions) -> Result<(), StoreError> {
        self.trail.forget();
        let dead = self.dead_collections(before);
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
        ops.push(self.forget_heard());
        // With what is given up: else that is done again after a restart.
        ops.push(self.version_row(version));
        self.writer().apply(Batch { ops, epoch: Some(self.writer().epoch()), durable: true, ..Batch::default() }).await
    }

    fn note_version(&self, version: u64) {
        if self.first_in(keys::HISTORY, REFRESH, now()) && !self.put(keys::HISTORY.to_vec(), &version.to_be_bytes()) {
            self.recent.forget(keys::HISTORY);
        }
    }

    fn version_row(&self, version: u64) -> Op {
        Op::Put(keys::HISTORY.to_vec(), self.sealer().seal(keys::HISTORY, &version.to_be_bytes()))
    }

    /// The highest version beyond etcd's; `None`: none is.
    fn beyond(&self, version: u64, last: u64, before: &Versions) -> Option<u64> {
        let catalogue = self.catalogue();
        let is_node = |header: &Header| header.scope.group.is_empty() && header.scope.resource == "nodes";
        let nodes = catalogue.headers.iter().filter(|(key, header)| before.is_last_of(key, header) && is_node(header));
        let known = nodes.map(|(_, header)| header.version_number()).chain([last]);
        known.filter(|known| *known > version).max()
    }

    /// All collections that nothing was said of since; they are out of the catalogue.
    fn dead_collections(&self, before: &Versions) -> Vec<Header> {
        let mut catalogue = self.catalogue();
        let dead = catalogue.headers.extract_if(|key, header| before.is_last_of(key, header));
        let dead: Vec<Header> = dead.map(|(_, header)| header).collect();
        dead.iter().for_each(|header| self.contents.forget(self.writer().epoch(), header.id));
        self.show(catalogue.headers.values());
        dead
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
