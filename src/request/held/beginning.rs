//! What the client of a watch that begins with all there is has been told of it, until it has been told all of it.
//!
//! Initial events come in no order of versions: where such a watch is broken off no version says where its client stands. So
//! until a bookmark says that everything has been told, which objects it has and as of which version is known. What brings it
//! next begins with all there is as well, and the client is told what it does not have.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use bytes::Bytes;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::listing::Item;
use crate::kube::list::Encoding;
use crate::kube::object;
use crate::kube::watch::{EventType, Frame, encode};

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
    /// `namespace/name`
    objects: HashMap<Box<str>, Shown>,
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
    /// What brings it now has said nothing of it yet.
    is_unsaid: bool,
}

/// What comes of an event.
pub(super) enum Told {
    /// Its client is told this.
    Event(Bytes),
    /// Its client knows.
    Nothing,
    /// And with this it has been told everything.
    All(Bytes),
    /// Its client has something that is there no more, and nobody knows what it was last.
    Gone,
}

impl Begun {
    /// `is_nothing`: its client has nothing yet; else it is not known what that has.
    pub(super) fn new(is_nothing: bool) -> Self {
        Self::within(&ROOM_LEFT, is_nothing)
    }

    fn within(room: &'static Semaphore, is_whole: bool) -> Self {
        Self { room, taken: None, used: 0, objects: HashMap::new(), unsaid: 0, version: 0, is_whole }
    }

    /// Something else begins to bring all there is; the version that it is to have, 0: any. `None`: it would be of no use.
    pub(super) fn anew(&mut self) -> Option<u64> {
        self.objects.values_mut().for_each(|shown| shown.is_unsaid = true);
        self.unsaid = self.objects.len();
        self.is_whole.then_some(self.version)
    }

    /// An event that is no error.
    pub(super) fn tell(&mut self, encoding: Encoding, Frame { raw, event }: Frame) -> Told {
        match event.kind {
            EventType::Bookmark if self.unsaid > 0 => return Told::Gone,
            EventType::Bookmark => return Told::All(raw),
            _ => {}
        }
        let Some(item) = item(encoding, &event.object) else {
            self.is_whole = false;
            return Told::Event(raw);
        };
        let now = Shown { version: item.version(), uid: hashed(&item.meta.uid), is_unsaid: false };
        self.version = self.version.max(now.version);
        let before = self.objects.remove(&*item.place);
        let unsaid = before.as_ref().filter(|before| before.is_unsaid);
        self.unsaid -= usize::from(unsaid.is_some());
        let told = match (event.kind, unsaid) {
            (EventType::Deleted, _) | (_, None) => Told::Event(raw),
            // It was gone in between, or what brings this is of another history.
            (_, Some(before)) if before.uid != now.uid || before.version > now.version => Told::Gone,
            (_, Some(before)) if before.version == now.version => Told::Nothing,
            (EventType::Added, _) => Told::Event(encode(encoding, EventType::Modified, &event.object)),
            _ => Told::Event(raw),
        };
        self.used -= before.map_or(0, |_| cost(&item.place));
        if event.kind != EventType::Deleted {
            self.keep(item.place, now);
        }
        told
    }

    fn keep(&mut self, place: String, shown: Shown) {
        if self.is_whole && self.has_room(cost(&place)) {
            self.objects.insert(place.into(), shown);
        } else {
            self.is_whole = false;
        }
    }

    fn has_room(&mut self, more: usize) -> bool {
        let taken = self.taken.as_ref().map_or(0, SemaphorePermit::num_permits);
        if self.used + more > taken {
            let Ok(portion) = self.room.try_acquire_many(more.max(PORTION) as u32) else { return false };
            match &mut self.taken {
                Some(taken) => taken.merge(portion),
                None => self.taken = Some(portion),
            }
        }
        self.used += more;
        true
    }
}

/// `None`: it says not what it is of.
fn item(encoding: Encoding, object: &[u8]) -> Option<Item> {
    let (_, item) = object::whole_into_item(encoding, object).ok()?;
    let item = Item::read(encoding, item.into()).ok()?;
    (!item.meta.name.is_empty() && item.version() > 0).then_some(item)
}

/// Bytes, about, of what is known of an object.
fn cost(place: &str) -> usize {
    place.len() + 2 * size_of::<(Box<str>, Shown)>()
}

fn hashed(uid: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    uid.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests;
