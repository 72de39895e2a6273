//! Events accepted while the link is down, until they are in the cloud.
//!
//! An entry is durable before its 201 is sent; it is removed once the cloud has it
//! (201, or 409 AlreadyExists) or refuses it for good. Bounded: the oldest go first,
//! and are counted.

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};

use super::grant::now;
use super::writer::Batch;
use super::{Knowledge, Op, StoreError, keys};
use crate::runtime::metrics::Why;

const BODY: usize = 64 * 1024;
/// Entries read at a time.
const PAGE: usize = 64;

fn key(sequence: u64) -> Vec<u8> {
    keys::raw(keys::JOURNAL, &sequence.to_be_bytes())
}

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
        let identity = entry.identity();
        let (sequence, oldest) =
            self.journal().admit(&identity, self.limits.journal_entries).ok_or(NotAccepted::AlreadyExists)?;
        let row = self.sealer().seal(&key(sequence), &super::object::join(&entry, &entry.body));
        let mut ops = vec![Op::Put(key(sequence), row)];
        ops.extend(oldest.map(|oldest| Op::Delete(key(oldest))));
        let result = self.writer().apply(Batch { ops, durable: true, ..Batch::default() }).await;
        match &result {
            Err(_) => self.journal().leave(sequence),
            Ok(()) => {
                self.metrics().events_accepted.inc();
                if let Some(oldest) = oldest {
                    self.journal().leave(oldest);
                    self.metrics().events_dropped.get_or_create(&Why { reason: "journal full" }).inc();
                }
            }
        }
        self.count_journal();
        Ok(result?)
    }

    /// The oldest entries behind number `after`, at most `limit`, with the numbers to
    /// settle them by. Damaged ones are removed and counted.
    pub fn entries(&self, after: u64, limit: usize) -> Result<Vec<(u64, Entry)>, StoreError> {
        let mut entries = Vec::new();
        let mut damaged = Vec::new();
        self.snapshot()?.scan_after(&[keys::JOURNAL], &key(after), &mut |key, row| {
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
    pub async fn settle(&self, sequence: u64) -> Result<(), StoreError> {
        let ops = vec![Op::Delete(key(sequence))];
        self.writer().apply(Batch { ops, durable: true, ..Batch::default() }).await?;
        self.journal().leave(sequence);
        self.count_journal();
        Ok(())
    }

    /// Reads which entries wait, at the start.
    pub(super) fn load_journal(&self) -> Result<(), StoreError> {
        let (mut waiting, mut after) = (Vec::new(), 0);
        loop {
            let entries = self.entries(after, PAGE)?;
            let Some((last, _)) = entries.last() else { break };
            after = *last;
            waiting.extend(entries.into_iter().map(|(sequence, entry)| (sequence, entry.identity())));
        }
        *self.journal() = waiting.into_iter().collect();
        self.count_journal();
        Ok(())
    }

    fn count_journal(&self) {
        let waiting = self.journal().waiting.len();
        self.metrics().journal_entries.set(i64::try_from(waiting).unwrap_or(i64::MAX));
    }
}

/// Which entries wait, in the order they came.
#[derive(Default)]
pub(super) struct Journal {
    last: u64,
    waiting: BTreeMap<u64, String>,
    identities: HashSet<String>,
}

impl Journal {
    /// The new entry's number, and the oldest one if it has to go for it. `None` if one
    /// of this identity waits.
    fn admit(&mut self, identity: &str, limit: usize) -> Option<(u64, Option<u64>)> {
        if !self.identities.insert(identity.to_owned()) {
            return None;
        }
        let oldest = self.waiting.keys().next().copied().filter(|_| self.waiting.len() >= limit);
        self.last += 1;
        self.waiting.insert(self.last, identity.to_owned());
        Some((self.last, oldest))
    }

    fn leave(&mut self, sequence: u64) {
        if let Some(identity) = self.waiting.remove(&sequence) {
            self.identities.remove(&identity);
        }
    }
}

impl FromIterator<(u64, String)> for Journal {
    fn from_iter<I: IntoIterator<Item = (u64, String)>>(entries: I) -> Self {
        let waiting: BTreeMap<u64, String> = entries.into_iter().collect();
        let identities = waiting.values().cloned().collect();
        Self { last: waiting.keys().last().copied().unwrap_or(0), waiting, identities }
    }
}

impl Entry {
    pub fn new(target: String, name: String, content_type: String, credential: Credential, body: Vec<u8>) -> Self {
        Self { target, name, content_type, credential, at: now(), body }
    }

    /// What the cloud would call the same Event.
    fn identity(&self) -> String {
        format!("{} {}", self.target, self.name)
    }
}
