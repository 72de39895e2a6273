//! What was written on this node while the link was down, beside what the cloud has said: Events that wait in the
//! journal, and the node's own Lease as kubelet last renewed it.
//!
//! Shown in the order of the kube-apiserver, in either encoding, and an Event in both APIs that have it. It is read out
//! of the journal when it is shown: there is no second copy of it.
//!
//! What the cloud has said of the same Event comes before what was written here; of the Lease the newer one does, by
//! its resourceVersion. So nothing is there twice, and no version goes back. An Event has no version of its own yet: it
//! has that of the collection it is shown in, from which a watch goes on and misses nothing, for the Event is delivered
//! later than that. The Lease keeps the version that kubelet renewed, by which the next renewal is checked.

use std::sync::{Arc, PoisonError};

use tokio::sync::watch;

use super::collection::{ListView, Scope, version_number};
use super::journal::{self, Entry, Fate};
use super::knowledge::now_ms;
use super::{Found, Knowledge, ObjectKey, ObjectRecord, Snapshot, StoreError, keys};
use crate::kube::list::Encoding;
use crate::kube::media;
use crate::kube::object::{self, Meta, ObjectError};
use crate::kube::typed::{self, Change, Created, Typed};

/// The Lease as kubelet sent it.
pub struct Renewed {
    meta: Meta,
    lease: Typed,
}

/// What waits of an Event in the journal, as it is shown from the first to the last page.
pub struct WrittenEvent {
    place: String,
    /// By which it is told whether something has changed.
    waiting: journal::Event,
    change: Option<Change>,
}

/// What is to be told to whoever was shown something that was written on this node and is not to be shown as such any more.
pub enum TakenBack {
    /// Nothing: the cloud has it, or something newer, behind whatever it was shown with.
    Clouds,
    /// Back to this, which the cloud has said.
    Modified(Vec<u8>),
    /// The cloud does not have it: its last state.
    Deleted(Vec<u8>),
    /// It is not known.
    Unknown,
}

/// One that was written on this node.
#[derive(Clone)]
pub enum Local {
    Event(Arc<WrittenEvent>),
    Lease(Arc<Renewed>),
}

impl PartialEq for Local {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Event(one), Self::Event(other)) => one.waiting == other.waiting,
            (Self::Lease(one), Self::Lease(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }
}

impl Local {
    /// Where it stands in any collection: `namespace/name`.
    pub fn place(&self) -> String {
        match self {
            Self::Event(event) => event.place.clone(),
            Self::Lease(renewed) => journal::place(&renewed.meta.namespace, &renewed.meta.name),
        }
    }

    /// The same, if it is an Event that the cloud did not have.
    pub fn new_place(&self) -> Option<&str> {
        match self {
            Self::Event(event) => event.waiting.created.map(|_| &*event.place),
            Self::Lease(_) => None,
        }
    }
}

impl Scope {
    fn has_events(&self) -> bool {
        typed::of(&self.group, &self.resource).is_some() && self.resource == "events" && self.is_of_objects()
    }

    /// Whether something of it may be written on this node.
    pub fn may_be_written_here(&self) -> bool {
        self.has_events() || self.has_leases()
    }

    fn has_leases(&self) -> bool {
        self.group == "coordination.k8s.io" && self.version == "v1" && self.resource == "leases" && self.is_of_objects()
    }

    /// Whole or as metadata: what was written here can be shown as either.
    fn is_of_objects(&self) -> bool {
        self.form.is_empty() || self.is_of_metadata()
    }
}

impl ListView {
    /// With what was written on this node.
    pub fn with_local(mut self, knowledge: &Knowledge) -> Result<Self, StoreError> {
        if self.header.scope.has_events() {
            self.local = self.events(knowledge)?;
        } else if self.header.scope.has_leases() {
            self.local = self.lease(knowledge)?.into_iter().collect();
        }
        Ok(self)
    }

    /// The Events that wait, in this state, and that the cloud has not said itself; and those of which a change waits.
    fn events(&self, knowledge: &Knowledge) -> Result<Vec<(Vec<u8>, Local)>, StoreError> {
        let items = keys::items(self.header.id);
        let within = String::from_utf8_lossy(&self.prefix[items.len()..]).into_owned();
        let waiting: Vec<(String, journal::Event)> =
            knowledge.journal().within(&within).map(|(place, event)| (place.to_owned(), event)).collect();
        let mut events = Vec::with_capacity(waiting.len());
        for (place, mut event) in waiting {
            let key = [&*items, place.as_bytes()].concat();
            let is_clouds = self.snapshot.read(&key)?.is_some();
            let has = |sequence| self.snapshot.read(&journal::key(sequence)).map(|row| row.is_some());
            event.created = event.created.filter(|_| !is_clouds);
            let is_shown = match event.created {
                Some(sequence) => has(sequence)?,
                // What changes is no metadata.
                None => is_clouds && event.changed.is_some() && !self.header.scope.is_of_metadata(),
            };
            if is_shown {
                events.push((key, Local::Event(Arc::new(knowledge.written_event(place, event)?))));
            }
        }
        Ok(events)
    }

    /// The Lease, unless the cloud's is newer.
    fn lease(&self, knowledge: &Knowledge) -> Result<Option<(Vec<u8>, Local)>, StoreError> {
        let Some(renewed) = knowledge.renewed() else { return Ok(None) };
        let key = keys::item(self.header.id, &renewed.meta.namespace, &renewed.meta.name);
        let is_here = key.starts_with(&self.prefix) && self.version_at(knowledge, &key)? <= renewed.version();
        Ok(is_here.then_some((key, Local::Lease(renewed))))
    }

    /// All that was written on this node, wanted or not, by its key.
    pub fn written_here(&self) -> &[(Vec<u8>, Local)] {
        &self.local
    }

    /// Whether the cloud has something at this place.
    pub fn has(&self, key: &[u8]) -> Result<bool, StoreError> {
        Ok(self.snapshot.read(key)?.is_some())
    }

    /// As of which version it is known what is at this place.
    fn version_at(&self, knowledge: &Knowledge, key: &[u8]) -> Result<u64, StoreError> {
        let Some(row) = self.snapshot.read(key)? else { return Ok(self.header.version_number()) };
        // A damaged one stays in its place: whoever reads it takes the collection out.
        let item = knowledge.sealer().open_row(key, row);
        Ok(item.map_or(u64::MAX, |item| version_of(self.header.scope.encoding(), &item)))
    }
}

impl WrittenEvent {
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// Whether the cloud has the Event, of which a change waits.
    pub(super) fn is_clouds(&self) -> bool {
        self.waiting.created.is_none()
    }

    fn changed(&self, event: Typed) -> Typed {
        match &self.change {
            Some(change) => event.changed(change),
            None => event,
        }
    }

    /// The cloud's own Event once what waits to be changed of it has happened.
    pub(super) fn changed_item(&self, scope: &Scope, item: Vec<u8>) -> Vec<u8> {
        let Some(of) = typed::of(&scope.group, &scope.resource).filter(|_| !scope.is_of_metadata()) else { return item };
        let Ok(event) = Typed::read(of, scope.encoding(), &item) else { return item };
        self.changed(event).write(of, scope.encoding())
    }
}

impl Renewed {
    fn version(&self) -> u64 {
        version_number(&self.meta.resource_version)
    }
}

fn version_of(encoding: Encoding, item: &[u8]) -> u64 {
    object::meta(encoding, item).map_or(0, |meta| version_number(&meta.resource_version))
}

impl Knowledge {
    /// What is known of an object, what was written on this node included.
    pub fn object_here(&self, wanted: &ObjectKey) -> Result<Found, StoreError> {
        let (found, from) = self.find_object(wanted)?;
        let found = match found {
            Found::Unknown if wanted.scope.has_events() => match self.heard_event(wanted) {
                Some(heard) => heard,
                None => self.event_that_waits(wanted)?.unwrap_or(found),
            },
            Found::Unknown => found,
            // Whoever is answered from it uses it.
            found => {
                self.touch(from);
                found
            }
        };
        let Some((local, version)) = self.local_instead(wanted, &found)? else { return self.with_changes(wanted, found) };
        let item = self.local_item(&*self.snapshot()?, &wanted.scope, &version, &local)?;
        Ok(item.map_or(found, |item| Found::Object { record: record(&wanted.scope, version, now_ms()), item }))
    }

    /// The cloud's Event, with what waits to be changed of it.
    fn with_changes(&self, wanted: &ObjectKey, found: Found) -> Result<Found, StoreError> {
        if !wanted.scope.has_events() {
            return Ok(found);
        }
        let Found::Object { record, item } = found else { return Ok(found) };
        let place = journal::place(&wanted.scope.namespace, &wanted.name);
        let waiting = self.journal().at(&place);
        let item = match waiting.changed {
            Some(_) => self.written_event(place, waiting)?.changed_item(&wanted.scope, item),
            None => item,
        };
        Ok(Found::Object { record, item })
    }

    /// The cloud's Event, of which a change waits, as it was known when that was accepted.
    fn event_that_waits(&self, wanted: &ObjectKey) -> Result<Option<Found>, StoreError> {
        let place = journal::place(&wanted.scope.namespace, &wanted.name);
        // One that was created here is shown as such.
        if self.journal().at(&place).created.is_some() {
            return Ok(None);
        }
        let waits = self.changes_of(&place)?.map(|(_, entry)| entry);
        let of = typed::of(&wanted.scope.group, &wanted.scope.resource);
        Ok(waits.and_then(|entry| {
            let item = entry.event()?.write(of?, wanted.scope.encoding());
            let version = object::meta(wanted.scope.encoding(), &item).ok()?.resource_version;
            Some(Found::Object { record: record(&wanted.scope, version, entry.known?.at), item })
        }))
    }

    /// The Event as this node shows it, whoever may see it, and as of when it is known, in unix milliseconds; `None`: it does
    /// not know it as a whole.
    pub fn event_here(&self, wanted: &ObjectKey) -> Result<Option<(Typed, u64)>, StoreError> {
        for key in wanted.in_both() {
            if let (Some(of), Found::Object { item, record }) =
                (typed::of(&key.scope.group, &key.scope.resource), self.object_here(&key)?)
            {
                return Ok(Typed::read(of, key.scope.encoding(), &item).ok().map(|event| (event, record.at)));
            }
        }
        Ok(None)
    }

    /// How many Events wait in the journal that belong to a scope, selected or not.
    pub fn events_here(&self, scope: &Scope) -> usize {
        let within = if scope.namespace.is_empty() { String::new() } else { journal::place(&scope.namespace, "") };
        if scope.resource == "events" { self.journal().within(&within).count() } else { 0 }
    }

    /// What is shown instead of what was found, and its resourceVersion.
    fn local_instead(&self, wanted: &ObjectKey, found: &Found) -> Result<Option<(Local, String)>, StoreError> {
        let ObjectKey { scope, name } = wanted;
        if scope.has_events() && !matches!(found, Found::Object { .. }) {
            let place = journal::place(&scope.namespace, name);
            let waiting = self.journal().at(&place);
            let event = waiting.created.map(|_| self.written_event(place, waiting)).transpose()?;
            return Ok(event.map(|event| (Local::Event(Arc::new(event)), self.newest_of_events())));
        }
        let Some(renewed) = self.renewed().filter(|_| scope.has_leases()) else { return Ok(None) };
        let known = match found {
            Found::Object { item, .. } => version_of(scope.encoding(), item),
            Found::Lacking(view) => view.header.version_number(),
            Found::Absent { .. } | Found::Unknown => 0,
        };
        let is_it = renewed.meta.namespace == scope.namespace && renewed.meta.name == *name;
        let version = renewed.meta.resource_version.clone();
        Ok((is_it && known <= renewed.version()).then_some((Local::Lease(renewed), version)))
    }

    /// The newest resourceVersion at which Events are known; empty: at none.
    fn newest_of_events(&self) -> String {
        let newest = self.headers(|header| header.scope.has_events()).iter().map(super::Header::version_number).max();
        newest.map_or_else(String::new, |version| version.to_string())
    }

    /// In item form, as a collection of this scope has it; `None`: it is not there any more.
    pub(super) fn local_item(
        &self,
        snapshot: &dyn Snapshot,
        scope: &Scope,
        version: &str,
        local: &Local,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(of) = typed::of(&scope.group, &scope.resource) else { return Ok(None) };
        Ok(match local {
            Local::Lease(renewed) => Some(renewed.lease.write(of, scope.encoding())),
            Local::Event(written) => {
                let Some(sequence) = written.waiting.created else { return Ok(None) };
                let event = self.event(snapshot, sequence, version)?;
                event.map(|event| written.changed(event).write(of, scope.encoding()))
            }
        })
    }

    fn written_event(&self, place: String, waiting: journal::Event) -> Result<WrittenEvent, StoreError> {
        let change = self.changes_of(&place)?.and_then(|(_, entry)| entry.as_change());
        Ok(WrittenEvent { place, waiting, change })
    }

    fn event(&self, snapshot: &dyn Snapshot, sequence: u64, version: &str) -> Result<Option<Typed>, StoreError> {
        let key = journal::key(sequence);
        let Some(row) = snapshot.read(&key)? else { return Ok(None) };
        let Ok(entry) = self.open_entry(&key, row) else {
            self.lost(key);
            return Ok(None);
        };
        // An earlier version of the hub has accepted some that nobody can read; the cloud will refuse them.
        Ok(entry.created(version).inspect_err(|error| tracing::debug!(%error, name = entry.name, "cannot be shown")).ok())
    }

    /// Whether it still waits to be told to the cloud.
    pub fn is_written_here(&self, local: &Local) -> bool {
        match local {
            Local::Event(event) => {
                let entry = event.waiting.created.or(event.waiting.changed);
                entry.is_some_and(|sequence| self.journal().has(sequence))
            }
            Local::Lease(_) => self.renewed().is_some(),
        }
    }

    /// What leads whoever was shown this with a collection of this scope at this version back to what the cloud has.
    pub fn taken_back(&self, scope: &Scope, version: u64, local: &Local) -> Result<TakenBack, StoreError> {
        let entry = match local {
            Local::Event(event) => event.waiting.created.or(event.waiting.changed),
            Local::Lease(_) if self.renewed().is_none() => return Ok(TakenBack::Clouds),
            Local::Lease(_) => None,
        };
        match entry.and_then(|sequence| self.journal().fate(sequence)) {
            Some(Fate::Delivered) => return Ok(TakenBack::Clouds),
            // Which may be what the client was told before, or nothing that it is to see.
            Some(Fate::WasThere) => return Ok(TakenBack::Unknown),
            Some(Fate::Refused(entry)) if !entry.is_change => return self.refused(scope, version, &entry),
            _ => {}
        }
        if local.new_place().is_some() {
            let item = self.local_item(&*self.snapshot()?, scope, &version.to_string(), local)?;
            return Ok(item.map_or(TakenBack::Unknown, TakenBack::Deleted));
        }
        self.clouds_own(scope, version, &local.place())
    }

    fn refused(&self, scope: &Scope, version: u64, entry: &Entry) -> Result<TakenBack, StoreError> {
        let Some(of) = typed::of(&scope.group, &scope.resource) else { return Ok(TakenBack::Unknown) };
        let event = entry.created(&version.to_string()).map(|event| event.write(of, scope.encoding()));
        Ok(event.map_or(TakenBack::Unknown, TakenBack::Deleted))
    }

    /// What the cloud has said of what was changed here, if that is no newer than what it was shown with.
    fn clouds_own(&self, scope: &Scope, version: u64, place: &str) -> Result<TakenBack, StoreError> {
        let (namespace, name) = place.split_once('/').unwrap_or(("", place));
        let encoding = scope.encoding();
        let scope = Scope { namespace: namespace.to_owned(), ..scope.clone() };
        let found = self.object(&ObjectKey { scope, name: name.to_owned() })?;
        Ok(match found {
            Found::Object { item, .. } if version_of(encoding, &item) <= version => TakenBack::Modified(item),
            Found::Object { .. } | Found::Absent { .. } | Found::Lacking(_) => TakenBack::Clouds,
            Found::Unknown => TakenBack::Unknown,
        })
    }

    /// Kubelet has renewed the node's own Lease; without a version it could not be told which is newer.
    pub fn renew(&self, meta: Meta, lease: Typed) {
        if meta.resource_version.is_empty() {
            return;
        }
        self.set_lease(Some(Arc::new(Renewed { meta, lease })));
    }

    /// The cloud has a newer one.
    pub fn forget_renewal(&self) {
        if self.renewed().is_some() {
            self.journal().left += 1;
            self.set_lease(None);
        }
    }

    fn set_lease(&self, lease: Option<Arc<Renewed>>) {
        *self.lease.lock().unwrap_or_else(PoisonError::into_inner) = lease;
        self.written_here.send_modify(|changes| *changes += 1);
    }

    pub(super) fn renewed(&self) -> Option<Arc<Renewed>> {
        self.lease.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says when something is written on this node, or is not shown as such any more.
    pub fn writes_here(&self) -> watch::Receiver<u64> {
        self.written_here.subscribe()
    }

    /// How much of what was written on this node is shown as such no more, since a hub began that did not take another one's place.
    pub fn gone_here(&self) -> u64 {
        self.journal().left
    }
}

/// Of one whose type is known here, as of `at` in unix milliseconds.
pub(super) fn record(scope: &Scope, resource_version: String, at: u64) -> ObjectRecord {
    let kind = if scope.has_events() { "Event" } else { "Lease" };
    let api_version = if scope.group.is_empty() { scope.version.clone() } else { format!("{}/{}", scope.group, scope.version) };
    ObjectRecord { kind: kind.to_owned(), api_version, resource_version, at, ..ObjectRecord::default() }
}

impl Entry {
    /// The Event as it is once the cloud has it, shown at this version.
    fn created(&self, resource_version: &str) -> Result<Typed, ObjectError> {
        let namespace = self.info().namespace;
        Ok(self.read()?.created(&Created { namespace: &namespace, resource_version, at: self.at }))
    }

    /// The Event as its author sent it; an error if the cloud would not take it.
    pub fn read(&self) -> Result<Typed, ObjectError> {
        let info = self.info();
        let of = typed::of(&info.api_group, &info.resource).ok_or(ObjectError::Missing("known type"))?;
        let encoding = media::encoding_of(&self.content_type).ok_or(ObjectError::Missing("known encoding"))?;
        Ok(Typed::read(of, encoding, object::sent_item(encoding, &self.body)?)?)
    }
}

#[cfg(test)]
mod tests;
