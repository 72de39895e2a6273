//! Events accepted while the link is down, until they are in the cloud.
//!
//! An entry is durable before its 201 is sent; it is removed once the cloud has it
//! (201, or 409 AlreadyExists) or refuses it for good. Bounded: what was acknowledged
//! stays, and what comes once it is full is refused, and counted.

use std::collections::BTreeMap;
use std::ops::Bound;

use serde::{Deserialize, Serialize};

use super::grant::now;
use super::writer::Batch;
use super::{Knowledge, Op, StoreError, keys};
use crate::kube::request::{self, RequestInfo};
use crate::runtime::metrics::Why;

const BODY: usize = 64 * 1024;
/// Entries read at a time.
const PAGE: usize = 64;

pub(super) fn key(sequence: u64) -> Vec<u8> {
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
    #[error("{0} Events wait for delivery, and no more are kept")]
    Full(usize),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Knowledge {
    /// Takes an entry; once this returns `Ok` it survives power loss. It is taken or not, and that is known, whether who
    /// brought it waits or not.
    pub async fn accept(&self, entry: Entry) -> Result<(), NotAccepted> {
        let knowledge = self.own.upgrade().ok_or(StoreError::Ended)?;
        self.tasks.spawn(async move { knowledge.take(entry).await }).await.map_err(|_| StoreError::Ended)?
    }

    async fn take(&self, entry: Entry) -> Result<(), NotAccepted> {
        if entry.body.len() > BODY {
            return Err(NotAccepted::TooLarge(entry.body.len()));
        }
        let admitted = self.journal().admit(entry.place(), self.limits.journal_entries);
        let sequence = admitted.inspect_err(|error| {
            if let NotAccepted::Full(_) = error {
                self.metrics().events_dropped.get_or_create(&Why { reason: "journal full" }).inc();
            }
        })?;
        let row = self.sealer().seal(&key(sequence), &super::object::join(&entry, &entry.body));
        let ops = vec![Op::Put(key(sequence), row)];
        let result = self.writer().apply(Batch { ops, durable: true, ..Batch::default() }).await;
        match &result {
            Err(_) => self.journal().leave(sequence),
            Ok(()) => drop(self.metrics().events_accepted.inc()),
        }
        self.journal_changed();
        Ok(result?)
    }

    /// The oldest entries behind number `after` that wait, at most `limit`, with the numbers to
    /// settle them by. Damaged ones are removed and counted.
    pub fn entries(&self, after: u64, limit: usize) -> Result<Vec<(u64, Entry)>, StoreError> {
        let waits = |sequence| self.journal().waiting.contains_key(&sequence);
        self.stored_entries(after, limit, waits)
    }

    fn stored_entries(&self, after: u64, limit: usize, wanted: impl Fn(u64) -> bool) -> Result<Vec<(u64, Entry)>, StoreError> {
        let mut entries = Vec::new();
        let mut damaged = Vec::new();
        self.snapshot()?.scan_after(&[keys::JOURNAL], &key(after), &mut |key, row| {
            match (self.open_entry(key, row.to_vec()), keys::item_id(key)) {
                (Ok(entry), Some(sequence)) if wanted(sequence) => entries.push((sequence, entry)),
                (Ok(_), Some(_)) => {}
                _ => damaged.push(key.to_vec()),
            }
            entries.len() < limit
        })?;
        damaged.into_iter().for_each(|key| self.lost(key));
        Ok(entries)
    }

    pub(super) fn open_entry(&self, key: &[u8], row: Vec<u8>) -> Result<Entry, StoreError> {
        let mut row = self.sealer().open_row(key, row)?;
        let mut entry: Entry = super::object::split(key, &mut row)?;
        entry.body = row;
        Ok(entry)
    }

    /// A damaged entry is given up, and said to be.
    pub(super) fn lost(&self, key: Vec<u8>) {
        self.metrics().damaged_records.inc();
        tracing::error!(record = keys::printable(&key), "a journalled Event is damaged and cannot be delivered");
        if let Some(sequence) = keys::item_id(&key) {
            self.journal().leave(sequence);
        }
        self.remove(key);
        self.journal_changed();
    }

    /// The entry is in the cloud, or refused for good. A damaged file cannot be told so: the next life of the hub delivers
    /// it once more, and hears that it is there.
    pub async fn settle(&self, sequence: u64) -> Result<(), StoreError> {
        let ops = vec![Op::Delete(key(sequence))];
        match self.writer().apply(Batch { ops, durable: true, ..Batch::default() }).await {
            Ok(()) | Err(StoreError::Unreadable(_)) => {}
            Err(error) => return Err(error),
        }
        self.journal().leave(sequence);
        self.journal_changed();
        Ok(())
    }

    /// The rows of all that was acknowledged and is not in the cloud yet, as far as they can be read.
    pub(super) fn promised(&self) -> Vec<Op> {
        let waiting: Vec<u64> = self.journal().waiting.keys().copied().collect();
        let mut rows = Vec::new();
        for key in waiting.into_iter().map(key) {
            match self.snapshot().and_then(|snapshot| snapshot.read(&key)) {
                Ok(Some(row)) if self.open_entry(&key, row.clone()).is_ok() => rows.push(Op::Put(key, row)),
                _ => self.lost(key),
            }
        }
        rows
    }

    /// Reads which entries wait, at the start.
    pub(super) fn load_journal(&self) -> Result<(), StoreError> {
        let (mut waiting, mut after) = (Vec::new(), 0);
        loop {
            let entries = self.stored_entries(after, PAGE, |_| true)?;
            let Some((last, _)) = entries.last() else { break };
            after = *last;
            waiting.extend(entries.into_iter().map(|(sequence, entry)| (sequence, entry.place())));
        }
        *self.journal() = waiting.into_iter().collect();
        self.journal_changed();
        Ok(())
    }

    fn journal_changed(&self) {
        let waiting = self.journal().waiting.len();
        self.metrics().journal_entries.set(i64::try_from(waiting).unwrap_or(i64::MAX));
        self.written_here.send_modify(|changes| *changes += 1);
    }
}

/// Which entries wait, in the order they came.
#[derive(Default)]
pub(super) struct Journal {
    last: u64,
    waiting: BTreeMap<u64, String>,
    /// By `namespace/name`, in the order of lists.
    places: BTreeMap<String, u64>,
    /// How many have left since the hub began.
    pub(super) left: u64,
}

impl Journal {
    /// The new entry's number.
    fn admit(&mut self, place: String, limit: usize) -> Result<u64, NotAccepted> {
        if self.places.contains_key(&place) {
            return Err(NotAccepted::AlreadyExists);
        }
        if self.waiting.len() >= limit {
            return Err(NotAccepted::Full(limit));
        }
        self.last += 1;
        self.places.insert(place.clone(), self.last);
        self.waiting.insert(self.last, place);
        Ok(self.last)
    }

    fn leave(&mut self, sequence: u64) {
        if let Some(place) = self.waiting.remove(&sequence) {
            self.places.remove(&place);
            self.left += 1;
        }
    }

    pub(super) fn at(&self, place: &str) -> Option<u64> {
        self.places.get(place).copied()
    }

    /// Those whose place begins with this.
    pub(super) fn within<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, u64)> {
        let from = self.places.range::<str, _>((Bound::Included(prefix), Bound::Unbounded));
        from.take_while(move |(place, _)| place.starts_with(prefix)).map(|(place, sequence)| (place.as_str(), *sequence))
    }
}

impl FromIterator<(u64, String)> for Journal {
    fn from_iter<I: IntoIterator<Item = (u64, String)>>(entries: I) -> Self {
        let waiting: BTreeMap<u64, String> = entries.into_iter().collect();
        let places = waiting.iter().map(|(sequence, place)| (place.clone(), *sequence)).collect();
        let last = waiting.keys().last().copied().unwrap_or(0);
        Self { last, waiting, places, left: 0 }
    }
}

impl Entry {
    pub fn new(target: String, name: String, content_type: String, credential: Credential, body: Vec<u8>) -> Self {
        Self { target, name, content_type, credential, at: now(), body }
    }

    /// What it was posted to.
    pub(super) fn info(&self) -> RequestInfo {
        let uri = self.target.parse().ok();
        uri.and_then(|uri| request::parse(&http::Method::POST, &uri).ok()).unwrap_or_default()
    }

    /// Where the cloud would put it: both APIs that have Events have the same ones.
    fn place(&self) -> String {
        place(&self.info().namespace, &self.name)
    }
}

pub(super) fn place(namespace: &str, name: &str) -> String {
    if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") }
}
