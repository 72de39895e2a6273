//! What the node knows, on disk and bounded.
//!
//! Bottom up: [`Store`] is an ordered table of sealed rows with atomic batches (disk:
//! redb; memory: for tests). The [`writer`] groups batches into commits. [`Knowledge`]
//! gives rows their meaning: collections, objects, documents, grants, tokens and the
//! journal. [`record`] turns a passing answer into rows without slowing it.
//!
//! Invariants: a collection changes only by a complete list or by the next event of a
//! watch that has seen everything before it; what goes goes whole; a row that fails
//! its seal is never answered from, and takes the collection it belongs to with it.

mod at_work;
pub mod budget;
mod claim;
mod collection;
mod coming;
mod contents;
mod cover;
mod discard;
mod disk;
mod document;
mod garbage;
mod grant;
mod heard;
mod history;
mod journal;
mod keys;
mod knowledge;
mod local;
mod memory;
mod missed;
mod object;
mod online;
mod page;
mod pods;
mod readers;
mod recent;
pub mod record;
mod repeats;
mod seal;
mod sweep;
mod trail;
mod writer;
mod written;

pub use collection::{Header, ListView, Scope, version_number};
pub use disk::{Aside, Disk, caught, takes_panic};
pub use document::Document;
pub use garbage::Ages;
pub use grant::{Grant, Known, NODE};
pub use history::{Cluster, Node, Stood, Versions};
pub use journal::{Credential, Entry, NotAccepted};
pub use knowledge::{Knowledge, Limits, Parts};
pub use local::{Local, TakenBack};
pub use memory::Memory;
pub use object::{Found, ObjectKey, ObjectRecord};
pub use readers::{Reader, Readers};
pub use record::Recording;
pub use seal::Sealer;
pub use trail::Happened;
pub use written::Written;

/// One change of a row.
#[derive(Debug, Clone)]
pub enum Op {
    Put(Vec<u8>, Vec<u8>),
    Delete(Vec<u8>),
    /// Every row whose key begins with this.
    DeletePrefix(Vec<u8>),
}

#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    #[error("store: {0}")]
    Backend(String),
    /// The file itself is damaged.
    #[error("store: {0}")]
    Unreadable(String),
    #[error("store: the record {key} is damaged")]
    Damaged { key: String },
    #[error("store: {path}: {why}")]
    File { path: String, why: String },
    #[error("store: the writer has ended")]
    Ended,
    /// Another hub has the file.
    #[error("store: another process of the hub has it")]
    Closed,
}

/// An ordered table of rows.
pub trait Store: Send + Sync {
    /// Applies all of the operations or none. With `durable`, they survive power loss
    /// once this returns; without, they are visible at once and survive the end of
    /// the process only after a later durable call. Never panics, nor does reading.
    fn apply(&self, ops: &[Op], durable: bool) -> Result<(), StoreError>;
    fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError>;
}

/// One consistent state of a store.
pub trait Snapshot: Send + Sync {
    fn read(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;
    /// Visits rows whose key begins with `prefix`, in order, until `visit` says false.
    fn scan(&self, prefix: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), StoreError>;
    /// The same, beginning behind the key `after`.
    fn scan_after(&self, prefix: &[u8], after: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), StoreError>;
    /// It is kept for what may come, and nobody waits for it: where it is in the way it cannot be read any more.
    fn is_kept(&self) {}
}

/// Makes a file that is there as a whole or not at all, whatever happens meanwhile: `write` makes it under another name.
fn whole_file(path: &std::path::Path, write: impl FnOnce(&std::path::Path) -> std::io::Result<()>) -> std::io::Result<()> {
    let new = path.with_added_extension("new");
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => write(&new)?,
    }
    std::fs::rename(new, path)?;
    // Else the name may be lost with the power, and all that is promised later with it.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(std::path::Path::new("."));
    std::fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests;
