//! Which entries wait, and which Events they are about.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::Instant;

use super::NotAccepted;
use super::fates::{Fate, Fates};
use crate::store::knowledge::Limits;

/// What has waited for so many seconds makes room for what happens now: the cloud keeps an Event for an hour.
const OLD: u64 = 24 * 3600;

/// In the order they came.
#[derive(Default)]
pub(in crate::store) struct Journal {
    last: u64,
    /// Of all that wait.
    bytes: usize,
    waiting: BTreeMap<u64, Subject>,
    /// By `namespace/name`, in the order of lists.
    events: BTreeMap<String, Event>,
    /// Those that were overtaken while the disk took no writes: it is told with the next that is settled.
    pub(super) on_disk: Vec<u64>,
    /// How many have left since the hub began.
    pub(in crate::store) left: u64,
    pub(super) fates: Fates,
}

/// The entries that wait of one Event, by their numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Event {
    pub(in crate::store) created: Option<u64>,
    /// All changes of it are one entry, and the last of them has its number.
    pub(in crate::store) changed: Option<u64>,
}

/// What an entry is about.
#[derive(Debug, Clone)]
pub(super) struct Subject {
    pub(super) place: String,
    pub(super) is_change: bool,
    /// Of this life of the hub.
    pub(super) since: Instant,
    /// Unix seconds.
    pub(super) at: u64,
    pub(super) bytes: usize,
}

/// What a new entry is told.
#[derive(Debug)]
pub(super) struct Admitted {
    pub(super) sequence: u64,
    /// Those that make room for it, once it is on disk.
    pub(super) too_old: Vec<u64>,
}

impl Event {
    fn of(&mut self, subject: &Subject) -> &mut Option<u64> {
        if subject.is_change { &mut self.changed } else { &mut self.created }
    }
}

impl Journal {
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(in crate::store) fn has(&self, sequence: u64) -> bool {
        self.waiting.contains_key(&sequence)
    }

    pub(in crate::store) fn sequences(&self) -> Vec<u64> {
        self.waiting.keys().copied().collect()
    }

    /// The new entry's number. A change is the Event's once it [counts](Self::counts).
    pub(super) fn admit(&mut self, subject: Subject, limits: &Limits) -> Result<Admitted, NotAccepted> {
        if !subject.is_change && self.at(&subject.place).created.is_some() {
            return Err(NotAccepted::AlreadyExists);
        }
        let too_old = self.room_for(&subject, limits)?;
        self.last += 1;
        if !subject.is_change {
            self.set(self.last, &subject);
        }
        self.insert(self.last, subject);
        Ok(Admitted { sequence: self.last, too_old })
    }

    /// Those that have to go for it, the oldest first. Only what is old goes: where that is not enough it is not admitted.
    fn room_for(&self, subject: &Subject, limits: &Limits) -> Result<Vec<u64>, NotAccepted> {
        let replaced = self.at(&subject.place).changed.filter(|_| subject.is_change);
        let mut others = self.waiting.iter().filter(|(sequence, _)| Some(**sequence) != replaced);
        let freed = replaced.and_then(|sequence| self.waiting.get(&sequence));
        let mut entries = self.waiting.len() + 1 - usize::from(freed.is_some());
        let mut bytes = self.bytes + subject.bytes - freed.map_or(0, |freed| freed.bytes);
        let mut too_old = Vec::new();
        while entries > limits.journal_entries || bytes > limits.journal_bytes {
            let oldest = others.find(|(_, oldest)| oldest.at.saturating_add(OLD) <= subject.at);
            let (sequence, oldest) = oldest.ok_or(NotAccepted::Full(self.waiting.len()))?;
            too_old.push(*sequence);
            (entries, bytes) = (entries - 1, bytes - oldest.bytes);
        }
        Ok(too_old)
    }

    fn insert(&mut self, sequence: u64, subject: Subject) {
        self.bytes += subject.bytes;
        self.waiting.insert(sequence, subject);
    }

    /// The entry is on disk, in the place of the one before; returns whether that has waited until now.
    pub(super) fn counts(&mut self, sequence: u64, before: Option<u64>) -> bool {
        let has_waited = before.is_some_and(|before| self.remove(before));
        // It may have been delivered by now.
        if let Some(subject) = self.waiting.get(&sequence).cloned() {
            self.set(sequence, &subject);
        }
        has_waited
    }

    fn set(&mut self, sequence: u64, subject: &Subject) {
        *self.events.entry(subject.place.clone()).or_default().of(subject) = Some(sequence);
    }

    /// Of the changes of an Event from this number on the last, on the disk or on its way there.
    pub(super) fn latest_change(&self, place: &str, from: u64) -> u64 {
        let is_it = |subject: &Subject| subject.is_change && subject.place == place;
        self.waiting.range(from..).rev().find(|(_, subject)| is_it(subject)).map_or(from, |(sequence, _)| *sequence)
    }

    /// Gives up the changes of Events that have waited since before `begun`.
    pub(super) fn overtake(&mut self, changes: Vec<u64>, begun: Instant) -> Vec<u64> {
        let is_older = |sequence: &u64| self.waiting.get(sequence).is_some_and(|subject| subject.since < begun);
        let older: Vec<u64> = changes.into_iter().filter(is_older).collect();
        older.iter().for_each(|sequence| _ = self.leave(*sequence));
        older
    }

    /// It is in the cloud, or given up.
    pub(super) fn leave(&mut self, sequence: u64) -> bool {
        let has_waited = self.remove(sequence);
        self.left += u64::from(has_waited);
        has_waited
    }

    /// What has become of one that has left, or leaves: it is known before it is off the disk.
    pub(in crate::store) fn fate(&self, sequence: u64) -> Option<Fate> {
        self.fates.of(sequence)
    }

    fn remove(&mut self, sequence: u64) -> bool {
        let Some(subject) = self.waiting.remove(&sequence) else { return false };
        self.bytes -= subject.bytes;
        if let Some(event) = self.events.get_mut(&subject.place) {
            event.of(&subject).take_if(|waiting| *waiting == sequence);
            if *event == Event::default() {
                self.events.remove(&subject.place);
            }
        }
        true
    }

    pub(in crate::store) fn at(&self, place: &str) -> Event {
        self.events.get(place).copied().unwrap_or_default()
    }

    /// Those whose place begins with this.
    pub(in crate::store) fn within<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, Event)> {
        let from = self.events.range::<str, _>((Bound::Included(prefix), Bound::Unbounded));
        from.take_while(move |(place, _)| place.starts_with(prefix)).map(|(place, event)| (place.as_str(), *event))
    }
}

impl FromIterator<(u64, Subject)> for Journal {
    fn from_iter<I: IntoIterator<Item = (u64, Subject)>>(entries: I) -> Self {
        let mut journal = Self::default();
        for (sequence, subject) in entries {
            journal.set(sequence, &subject);
            journal.insert(sequence, subject);
            journal.last = journal.last.max(sequence);
        }
        journal
    }
}
