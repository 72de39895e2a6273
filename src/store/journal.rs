//! Events accepted while the link is down, and what of an Event has changed since, until they are in the cloud.
//!
//! An entry is durable before its client is answered; it is removed once the cloud has it
//! (success, or of a new Event 409 AlreadyExists) or refuses it for good. Bounded in entries and bytes: once it is full what
//! has waited for more than a day makes room; else what was acknowledged stays, and what comes is refused. Both are counted.
//!
//! An Event that happens a thousand times is changed a thousand times: of all changes of one there is one entry, the last
//! of them on top of those before. It comes behind the entry of the Event itself, which is never touched: that may be on
//! its way to the cloud.

mod fates;
mod waiting;

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::grant::now;
use super::writer::Batch;
use super::{Knowledge, ObjectKey, Op, StoreError, keys};
use crate::kube::list::Encoding;
use crate::kube::request::{self, RequestInfo};
use crate::kube::token;
use crate::kube::typed::{self, Change, Typed};
use crate::runtime::metrics::Why;
pub(super) use fates::Fate;
use waiting::{Admitted, Subject};
pub(super) use waiting::{Event, Journal};

const BODY: usize = 64 * 1024;
/// Entries read at a time.
const PAGE: usize = 64;
/// How long a change waits for those before it to be on the disk.
const TURN: Duration = Duration::from_secs(5);

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

impl Credential {
    /// A client's tokens change, and its user does not.
    fn is_of_same_user(&self, other: &Self) -> bool {
        let user = |token: &str| token::claims(token).map(|claims| claims.user);
        match (self, other) {
            (Self::Token(one), Self::Token(other)) => one == other || user(one).is_some_and(|one| user(other) == Some(one)),
            _ => self == other,
        }
    }
}

/// An Event as it was known when a change of it was accepted.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Known {
    /// As of when, in unix milliseconds.
    pub(super) at: u64,
    /// In JSON, in item form, by the API that its entry's `target` names.
    item: Box<RawValue>,
}

/// One accepted write.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Entry {
    /// Path and query it was sent to.
    pub target: String,
    pub name: String,
    pub content_type: String,
    pub credential: Credential,
    /// Unix seconds.
    pub at: u64,
    /// It is a PATCH of an Event; else it is a new one.
    #[serde(default)]
    pub is_change: bool,
    /// What is changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) known: Option<Known>,
    #[serde(skip)]
    pub body: Vec<u8>,
}

#[derive(Debug, thiserror::Error)]
pub enum NotAccepted {
    #[error("an Event of this name is waiting for delivery already")]
    AlreadyExists,
    #[error("an Event of {0} bytes is too large to be kept, at most {BODY} are")]
    TooLarge(usize),
    #[error("{0} Events wait for delivery, and there is no room for more")]
    Full(usize),
    #[error("another client's change of this Event waits for delivery")]
    Anothers,
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

    async fn take(&self, mut entry: Entry) -> Result<(), NotAccepted> {
        if entry.body.len() > BODY {
            return Err(NotAccepted::TooLarge(entry.body.len()));
        }
        // Each change of an Event is on top of the one before.
        let _turn = if entry.is_change { Some(self.turn_to_change().await?) } else { None };
        let before = if entry.is_change { self.changes_of(&entry.place())? } else { None };
        if let Some((_, before)) = &before {
            entry = entry.on_top_of(before)?;
        }
        if entry.body.len() > BODY {
            return Err(NotAccepted::TooLarge(entry.body.len()));
        }
        // Then it is changed while the cloud has it, and not created anew.
        entry.known.take_if(|known| known.item.get().len() > BODY);
        let admitted = self.journal().admit(entry.subject(), &self.limits);
        let Admitted { sequence, too_old } = admitted.inspect_err(|error| {
            if let NotAccepted::Full(_) = error {
                self.metrics().events_dropped.get_or_create(&Why { reason: "journal full" }).inc();
            }
        })?;
        let row = self.sealer().seal(&key(sequence), &super::object::join(&entry, &entry.body));
        let before = before.map(|(sequence, _)| sequence);
        let gone = before.iter().chain(&too_old).map(|sequence| Op::Delete(key(*sequence)));
        let ops = gone.chain([Op::Put(key(sequence), row)]).collect();
        let result = self.writer().apply(Batch { ops, durable: true, ..Batch::default() }).await;
        match &result {
            Err(_) => drop(self.journal().leave(sequence)),
            Ok(()) if self.journal().counts(sequence, before) => drop(self.metrics().events_folded.inc()),
            Ok(()) => drop(self.metrics().events_accepted.inc()),
        }
        if result.is_ok() {
            self.give_up_old(&too_old);
        }
        self.journal_changed();
        Ok(result?)
    }

    /// They are on the disk no more.
    fn give_up_old(&self, too_old: &[u64]) {
        let count = too_old.iter().filter(|sequence| self.journal().leave(**sequence)).count();
        if count > 0 {
            self.metrics().events_dropped.get_or_create(&Why { reason: "too old" }).inc_by(count as u64);
            tracing::warn!(count, "Events that have waited for more than a day make room for what happens now");
        }
    }

    /// Those that wait for a disk that hangs take memory.
    async fn turn_to_change(&self) -> Result<tokio::sync::MutexGuard<'_, ()>, StoreError> {
        let turn = tokio::time::timeout(TURN, self.changing.lock()).await;
        turn.map_err(|_| StoreError::Backend("the disk is busy with others' changes of Events".to_owned()))
    }

    /// The oldest entries behind number `after` that wait, at most `limit`, with the numbers to
    /// settle them by. Damaged ones are removed and counted.
    pub fn entries(&self, after: u64, limit: usize) -> Result<Vec<(u64, Entry)>, StoreError> {
        let waits = |sequence| self.journal().has(sequence);
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

    /// What waits to be changed of an Event.
    pub(super) fn changes_of(&self, place: &str) -> Result<Option<(u64, Entry)>, StoreError> {
        loop {
            let Some(counts) = self.journal().at(place).changed else { return Ok(None) };
            let snapshot = self.snapshot()?;
            let (mut sequence, mut row) = (counts, snapshot.read(&key(counts))?);
            if row.is_none() {
                // One that has taken its place on the disk may not count yet.
                sequence = self.journal().latest_change(place, counts);
                row = snapshot.read(&key(sequence))?;
            }
            match row.map(|row| self.open_entry(&key(sequence), row)) {
                Some(Ok(entry)) => return Ok(Some((sequence, entry))),
                Some(Err(_)) => self.lost(key(sequence)),
                // It is being settled just now.
                None if self.journal().at(place).changed == Some(counts) => return Ok(None),
                None => {}
            }
        }
    }

    /// Whether an entry has not been overtaken since it was read.
    pub fn waits(&self, sequence: u64) -> bool {
        self.journal().has(sequence)
    }

    /// Whether the Event that an entry changes is not in the cloud yet.
    pub fn is_early(&self, entry: &Entry) -> bool {
        entry.is_change && self.journal().at(&entry.place()).created.is_some()
    }

    /// The cloud has taken a write of this Event that has begun then: what has waited since before that to be changed of it
    /// would go back behind it. Without a name: all of the namespace are deleted, or of all namespaces.
    pub fn overtake_change(&self, written: &ObjectKey, begun: Instant) {
        let place = place(&written.scope.namespace, &written.name);
        let overtaken = {
            let mut journal = self.journal();
            let changes: Vec<u64> = match written.name.is_empty() {
                true => journal.within(&place).filter_map(|(_, event)| event.changed).collect(),
                false => journal.at(&place).changed.into_iter().collect(),
            };
            journal.overtake(changes, begun)
        };
        self.metrics().events_dropped.get_or_create(&Why { reason: "overtaken" }).inc_by(overtaken.len() as u64);
        self.journal_changed();
        let Some(knowledge) = self.own.upgrade().filter(|_| !overtaken.is_empty()) else { return };
        self.tasks.spawn(async move {
            for sequence in overtaken {
                if let Err(error) = knowledge.settle(sequence).await {
                    tracing::warn!(%error, "a change of an Event that is overtaken is still on the disk");
                }
            }
        });
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

    /// The cloud has refused the entry for good, and it is going to be settled.
    pub fn note_refused(&self, sequence: u64, entry: Entry) {
        let entry = Entry { credential: Credential::Node, ..entry };
        self.journal().fates.note(sequence, Fate::Refused(Arc::new(entry)));
    }

    /// The cloud has a new Event's name already.
    pub fn note_there(&self, sequence: u64) {
        self.journal().fates.note(sequence, Fate::WasThere);
    }

    /// The cloud has taken it.
    pub fn note_delivered(&self, sequence: u64) {
        self.journal().fates.note(sequence, Fate::Delivered);
    }

    /// The entry is in the cloud, or refused for good, or was overtaken. A damaged file cannot be told so: the next life of
    /// the hub delivers it once more, and hears that it is there.
    pub async fn settle(&self, sequence: u64) -> Result<(), StoreError> {
        let mut rows = std::mem::take(&mut self.journal().on_disk);
        rows.push(sequence);
        let ops = rows.iter().map(|sequence| Op::Delete(key(*sequence))).collect();
        match self.writer().apply(Batch { ops, durable: true, ..Batch::default() }).await {
            Ok(()) | Err(StoreError::Unreadable(_)) => drop(self.journal().leave(sequence)),
            Err(error) => {
                let mut journal = self.journal();
                rows.retain(|sequence| !journal.has(*sequence));
                journal.on_disk.extend(rows);
                return Err(error);
            }
        }
        self.journal_changed();
        Ok(())
    }

    /// The rows of all that was acknowledged and is not in the cloud yet, as far as they can be read.
    pub(super) fn promised(&self) -> Vec<Op> {
        let waiting = self.journal().sequences();
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
            waiting.extend(entries.into_iter().map(|(sequence, entry)| (sequence, entry.subject())));
        }
        let mut read: Journal = waiting.into_iter().collect();
        let mut journal = self.journal();
        // Those that were damaged have left.
        read.left = journal.left;
        *journal = read;
        drop(journal);
        self.journal_changed();
        Ok(())
    }

    fn journal_changed(&self) {
        let waiting = self.journal().len();
        self.metrics().journal_entries.set(i64::try_from(waiting).unwrap_or(i64::MAX));
        self.written_here.send_modify(|changes| *changes += 1);
    }
}

impl Entry {
    pub fn new(target: String, name: String, content_type: String, credential: Credential, body: Vec<u8>) -> Self {
        Self { target, name, content_type, credential, at: now(), is_change: false, known: None, body }
    }

    /// A change of the Event at `target`.
    pub fn change(target: String, name: String, content_type: String, credential: Credential, body: Vec<u8>) -> Self {
        Self { is_change: true, ..Self::new(target, name, content_type, credential, body) }
    }

    /// With the Event as it is known, as of `at` in unix milliseconds: by it one that has expired in the cloud is created anew,
    /// and one that has begun before the hub did is known.
    #[must_use]
    pub fn with_event(mut self, event: &Typed, at: u64) -> Self {
        let info = self.info();
        let json = typed::of(&info.api_group, &info.resource).map(|of| event.write(of, Encoding::Json));
        self.known = json.and_then(|json| serde_json::from_slice(&json).ok()).map(|item| Known { at, item });
        self
    }

    /// The Event that is changed, as it was known.
    pub(super) fn event(&self) -> Option<Typed> {
        let (info, known) = (self.info(), self.known.as_ref()?);
        Typed::read(typed::of(&info.api_group, &info.resource)?, Encoding::Json, known.item.get().as_bytes()).ok()
    }

    /// The creation of the Event that is changed, with the count that it has reached.
    pub fn creation(&self) -> Option<Self> {
        let info = self.info();
        let event = self.event()?.changed(&self.as_change()?).anew(&info.namespace);
        let body = event.write(typed::of(&info.api_group, &info.resource)?, Encoding::Json);
        let (path, query) = self.target.split_once('?').unwrap_or((&self.target, ""));
        let target = format!("{}?{query}", path.rsplit_once('/')?.0);
        Some(Self::new(target, self.name.clone(), "application/json".to_owned(), self.credential.clone(), body))
    }

    /// Of all that its client has had a say in.
    fn bytes(&self) -> usize {
        let credential = if let Credential::Token(token) = &self.credential { token.len() } else { 0 };
        let known = self.known.as_ref().map_or(0, |known| known.item.get().len());
        self.target.len() + self.name.len() + self.content_type.len() + credential + known + self.body.len()
    }

    /// Both changes as one, by the later one's credential.
    fn on_top_of(self, before: &Self) -> Result<Self, NotAccepted> {
        let is_same_api = before.info().api_group == self.info().api_group;
        if !is_same_api || !before.credential.is_of_same_user(&self.credential) {
            return Err(NotAccepted::Anothers);
        }
        Ok(match (before.as_change(), self.as_change()) {
            (Some(before), Some(change)) => Self { body: before.and_then(change).to_patch(), ..self },
            _ => self,
        })
    }

    /// What it changes.
    pub(super) fn as_change(&self) -> Option<Change> {
        Change::read(&self.info().api_group, &self.content_type, &self.body).ok()
    }

    pub fn method(&self) -> Method {
        if self.is_change { Method::PATCH } else { Method::POST }
    }

    /// What it was sent to.
    pub(super) fn info(&self) -> RequestInfo {
        let uri = self.target.parse().ok();
        uri.and_then(|uri| request::parse(&self.method(), &uri).ok()).unwrap_or_default()
    }

    /// Where the cloud has its Event: both APIs that have Events have the same ones.
    fn place(&self) -> String {
        place(&self.info().namespace, &self.name)
    }

    fn subject(&self) -> Subject {
        Subject { place: self.place(), is_change: self.is_change, since: Instant::now(), at: self.at, bytes: self.bytes() }
    }
}

pub(super) fn place(namespace: &str, name: &str) -> String {
    if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") }
}
