//! What the client of a watch that begins with all there is has been told of it, until it has been told all of it.
//!
//! Initial events come in no order of versions: where such a watch is broken off no version says where its client stands. So
//! until something says that everything has been told (a bookmark, or the first event that is no ADDED, for the initial ones are
//! that), what it has is known. What brings it next begins with all there is as well, and the client is told what it does not
//! have.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use bytes::Bytes;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::difference::{event, of_version};
use super::listing::Item;
use crate::kube::list::Encoding;
use crate::kube::object;
use crate::kube::watch::{EventType, Frame, encode};
use crate::store::Happened;

/// Bytes of what is known of the clients of all watches.
const ROOM: usize = 4 << 20;
static ROOM_LEFT: Semaphore = Semaphore::const_new(ROOM);

/// So many bytes are taken of that at a time.
const PORTION: usize = 4096;

pub(super) struct Begun {
    room: &'static Semaphore,
    taken: Option<SemaphorePermit<'static>>,
    /// Bytes that are used of what is taken.
    used: usize,
    /// By `namespace/name`.
    objects: BTreeMap<Box<str>, Shown>,
    /// Of how many of them what brings it now has said nothing yet.
    unsaid: usize,
    /// Of all events.
    version: u64,
    /// Whether it is all that its client has been told.
    is_whole: bool,
}

/// An object as the client has it.
struct Shown {
    version: u64,
    uid: u64,
    /// In full form, as long as there is room for it.
    object: Option<Box<[u8]>>,
    /// What brings it now has said nothing of it yet.
    is_unsaid: bool,
}

/// How its client stands behind an event.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Beginning {
    /// There is more to come.
    GoesOn,
    /// It has been told everything.
    IsOver,
    /// It has something that is not there any more, and nobody knows what that was last.
    Unknown,
}

impl Begun {
    /// `is_nothing`: its client has nothing yet; else it is not known what that has.
    pub(super) fn new(is_nothing: bool) -> Self {
        Self::within(&ROOM_LEFT, is_nothing)
    }

    fn within(room: &'static Semaphore, is_whole: bool) -> Self {
        Self { room, taken: None, used: 0, objects: BTreeMap::new(), unsaid: 0, version: 0, is_whole }
    }

    /// Something else begins to bring all there is; the version that it is to have, 0: any. `None`: it would be of no use.
    pub(super) fn anew(&mut self) -> Option<u64> {
        self.objects.values_mut().for_each(|shown| shown.is_unsaid = true);
        self.unsaid = self.objects.len();
        self.is_whole.then_some(self.version)
    }

    /// Whether it has something of which what brings it now has said nothing yet.
    pub(super) fn lacks(&self) -> bool {
        self.unsaid > 0
    }

    /// What its client is told of an event that is no error; of one with which the beginning is over, what comes before it.
    pub(super) fn tell(&mut self, encoding: Encoding, Frame { raw, event }: Frame, out: &mut VecDeque<Bytes>) -> Beginning {
        let item = match event.kind {
            EventType::Added if self.is_whole || self.lacks() => Item::of_event(encoding, &event.object),
            EventType::Added => None,
            // Nobody knows what it says.
            EventType::Other if self.lacks() => return Beginning::Unknown,
            EventType::Other => None,
            _ => return self.tell_gone(encoding, out),
        };
        let Some(item) = item else {
            self.is_whole = false;
            out.push_back(raw);
            return Beginning::GoesOn;
        };
        let (version, uid) = (item.version(), hashed(&item.meta.uid));
        self.version = self.version.max(version);
        match self.take(&item.place).filter(|before| before.is_unsaid) {
            // What brings this is of another history.
            Some(before) if before.version > version => return Beginning::Unknown,
            Some(before) if before.version == version => {}
            Some(before) if before.uid == uid => out.push_back(encode(encoding, EventType::Modified, &event.object)),
            Some(before) => {
                let Some(gone) = before.gone(encoding) else { return Beginning::Unknown };
                out.extend([gone, raw]);
            }
            None => out.push_back(raw),
        }
        self.keep(item.place, Shown { version, uid, object: Some((*event.object).into()), is_unsaid: false });
        Beginning::GoesOn
    }

    /// All there is has been said.
    fn tell_gone(&mut self, encoding: Encoding, out: &mut VecDeque<Bytes>) -> Beginning {
        for shown in self.objects.values().filter(|shown| shown.is_unsaid) {
            let Some(gone) = shown.gone(encoding) else { return Beginning::Unknown };
            out.push_back(gone);
        }
        Beginning::IsOver
    }

    fn take(&mut self, place: &str) -> Option<Shown> {
        let shown = self.objects.remove(place)?;
        self.used -= shown.cost(place);
        self.unsaid -= usize::from(shown.is_unsaid);
        Some(shown)
    }

    fn keep(&mut self, place: String, mut shown: Shown) {
        if self.is_whole && !self.has_room(shown.cost(&place)) {
            shown.object = None;
            self.is_whole = self.has_room(shown.cost(&place));
        }
        if self.is_whole {
            self.used += shown.cost(&place);
            self.objects.insert(place.into(), shown);
        } else if !self.lacks() {
            // Nothing comes of it any more, and others have use for the room.
            self.objects.clear();
            (self.taken, self.used) = (None, 0);
        }
    }

    fn has_room(&mut self, more: usize) -> bool {
        let taken = self.taken.as_ref().map_or(0, SemaphorePermit::num_permits);
        let Some(lacking) = (self.used + more).checked_sub(taken).filter(|lacking| *lacking > 0) else { return true };
        let portion = u32::try_from(lacking.max(PORTION)).unwrap_or(u32::MAX);
        let Ok(portion) = self.room.try_acquire_many(portion) else { return false };
        match &mut self.taken {
            Some(taken) => taken.merge(portion),
            None => self.taken = Some(portion),
        }
        true
    }
}

impl Shown {
    /// That it is there no more. Nobody knows since when: as of the version behind that which the client has.
    fn gone(&self, encoding: Encoding) -> Option<Bytes> {
        let (types, item) = object::whole_into_item(encoding, self.object.as_ref()?).ok()?;
        let item = of_version(encoding, &item, self.version + 1).ok()?;
        Some(event(encoding, &types, &Happened { kind: EventType::Deleted, item }))
    }

    /// Bytes, about.
    fn cost(&self, place: &str) -> usize {
        place.len() + 2 * size_of::<(Box<str>, Self)>() + self.object.as_ref().map_or(0, |object| object.len())
    }
}

fn hashed(uid: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    uid.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests;
