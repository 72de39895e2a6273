//! Events accepted while the link is down, until they are in the cloud.
//!
//! An entry is durable before its 201 is sent; it is removed once the cloud has it
//! (201, or 409 AlreadyExists) or refuses it for good. Bounded: the oldest go first,
//! and are counted.

use serde::{Deserialize, Serialize};

use super::grant::now;
use super::writer::Batch;
use super::{Knowledge, Op, StoreError, keys};

/// Entries beyond this push out the oldest.
const ENTRIES: usize = 4096;
const BODY: usize = 64 * 1024;

/// Who delivers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Credential {
    Node,
    /// The caller's own token; sealed like every row.
    Token(String),
}

/// One accepted write.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Entry {
    /// Path and query it was posted to.
    pub target: String,
    pub name: String,
    pub content_type: String,
    pub credential: Credential,
    /// Unix seconds.
    pub at: u64,
    #[serde(skip)]
    pub body: Vec<u8>,
}

#[derive(Debug, thiserror::Error)]
pub enum NotAccepted {
    #[error("an Event of this name is waiting for delivery already")]
    AlreadyExists,
    #[error("an Event of {0} bytes is too large to be kept, at most {BODY} are")]
    TooLarge(usize),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Knowledge {
    /// Takes an entry; once this returns `Ok` it survives power loss.
    pub async fn accept(&self, entry: Entry) -> Result<(), NotAccepted> {
        if entry.body.len() > BODY {
            return Err(NotAccepted::TooLarge(entry.body.len()));
        }
        let identity = format!("{} {}", entry.target, entry.name);
        let sequence = {
            let mut journal = self.journal();
            if journal.names.contains(&identity) {
                return Err(NotAccepted::AlreadyExists);
            }
            journal.names.insert(identity.clone());
            journal.next += 1;
            journal.next
        };
        let mut ops = Vec::new();
        if let Some(oldest) = self.oldest_beyond(ENTRIES) {
            self.metrics().events_dropped.get_or_create(&crate::runtime::metrics::Why { reason: "journal full" }).inc();
            ops.push(Op::Delete(oldest));
        }
        let key = keys::raw(keys::JOURNAL, &sequence.to_be_bytes());
        let row = self.sealer().seal(&key, &super::object::join(&entry, &entry.body));
        ops.push(Op::Put(key, row));
        let result = self.writer().apply(Batch { ops, epoch: self.writer().epoch(), durable: true, done: None }).await;
        if result.is_err() {
            self.journal().names.remove(&identity);
        } else {
            self.metrics().events_accepted.inc();
        }
        Ok(result?)
    }

    /// The oldest entries, at most `limit`, with the numbers to settle them by.
    /// Damaged ones are removed and counted.
    pub fn entries(&self, limit: usize) -> Result<Vec<(u64, Entry)>, StoreError> {
        let mut entries = Vec::new();
        let mut damaged = Vec::new();
        self.snapshot()?.scan(&[keys::JOURNAL], &mut |key, row| {
            let opened = self.sealer().open_row(key, row.to_vec()).and_then(|mut row| {
                let mut entry: Entry = super::object::split(key, &mut row)?;
                entry.body = row;
                Ok(entry)
            });
            match (opened, keys::item_id(key)) {
                (Ok(entry), Some(sequence)) => entries.push((sequence, entry)),
                _ => damaged.push(key.to_vec()),
            }
            entries.len() < limit
        })?;
        for key in damaged {
            self.metrics().damaged_records.inc();
            tracing::error!(record = keys::printable(&key), "a journalled Event is damaged and cannot be delivered");
            self.remove(key);
        }
        Ok(entries)
    }

    /// The entry is in the cloud, or refused for good.
    pub async fn settle(&self, sequence: u64, entry: &Entry) -> Result<(), StoreError> {
        let ops = vec![Op::Delete(keys::raw(keys::JOURNAL, &sequence.to_be_bytes()))];
        self.writer().apply(Batch { ops, epoch: self.writer().epoch(), durable: true, done: None }).await?;
        self.journal().names.remove(&format!("{} {}", entry.target, entry.name));
        Ok(())
    }

    fn oldest_beyond(&self, limit: usize) -> Option<Vec<u8>> {
        let (mut oldest, mut count) = (None, 0);
        let snapshot = self.snapshot().ok()?;
        let counted = snapshot.scan(&[keys::JOURNAL], &mut |key, _| {
            oldest.get_or_insert_with(|| key.to_vec());
            count += 1;
            count < limit
        });
        counted.ok().and(oldest.filter(|_| count >= limit))
    }
}

impl Entry {
    pub fn new(target: String, name: String, content_type: String, credential: Credential, body: Vec<u8>) -> Self {
        Self { target, name, content_type, credential, at: now(), body }
    }
}
