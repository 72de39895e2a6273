//! What a watch's client has to be told where nobody knows the events: the difference between what it was shown and a new
//! list, behind the events that it lacks of what the node was told itself.
//!
//! Both come in the order of the cloud's keys, so that a page of each is in memory at a time, and what has changed: the objects
//! within a bound, beyond that where they stand ([`telling`](super::telling)).
//!
//! What is gone is told first, for nobody knows since when: its last state, as of the version at which it was shown. What else
//! has changed follows in the order of the versions. So wherever a client breaks off, its last version says what it has been
//! told: it lacks no deletion from before.

use std::cmp::Ordering;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

use super::Again;
use super::listing::{Item, Listing, Stop};
use super::telling::{Many, Telling};
use crate::kube::list::Encoding;
use crate::kube::media::Media;
use crate::kube::message::{self, Edit, MessageError, Set};
use crate::kube::object::{self, TypeMeta};
use crate::kube::schema::{METADATA, meta::RESOURCE_VERSION};
use crate::kube::watch::{self, EventType};
use crate::request::Path;
use crate::request::filter::Taken;
use crate::request::offline::{Presented, Stand, Walk, Watched};
use crate::store::{Happened, Header, version_number};

/// Bytes of changed objects that are held.
const MOST: usize = 8 << 20;
/// So many are, if they can be had from the disk as well.
const FEW: usize = 1 << 20;
/// Bytes of where they stand: of some eighty thousand.
const PLACES: usize = 8 << 20;
/// So long others are waited for that are told as much.
const TURN: Duration = Duration::from_secs(2);

/// The events, and the version that they lead to.
pub(super) struct Told {
    pub(super) events: Events,
    pub(super) version: u64,
    /// Where the client stands then, if the node has known that before.
    pub(super) stand: Option<Box<Stand>>,
}

pub(super) enum Events {
    Few(Vec<Bytes>),
    Many(Many),
}

/// Why there are none.
pub(super) enum Failed {
    /// The cloud has not answered; where the client stands comes back.
    Cloud(Box<Stand>),
    Inexact(&'static str),
}

pub(super) struct Change {
    pub(super) kind: EventType,
    /// As of which it is told.
    pub(super) version: u64,
    pub(super) place: String,
    /// Empty: it is not held.
    item: Vec<u8>,
}

/// What has changed so far.
struct Changes {
    encoding: Encoding,
    /// Of what the client was shown.
    before: u64,
    changes: Vec<Change>,
    /// Of the objects, held or not.
    bytes: usize,
    /// Of where they stand.
    places: usize,
    /// Those of which nothing has been said yet.
    taken: Taken,
}

/// What the client has been told.
pub(super) struct Client {
    pub(super) stand: Stand,
    /// Up to this version everything.
    pub(super) seen: u64,
    /// What it has beside where it stands, as its node has written it, and the cloud has it as well.
    pub(super) taken: Taken,
}

/// What is told, and between what.
struct Difference {
    encoding: Encoding,
    types: TypeMeta,
    changes: Changes,
    shown: Presented,
    lacks: Vec<Happened>,
    watched: Watched,
    /// The head of what was shown, if what has come of it is news to others as well.
    head: Option<Header>,
    /// Of the new list.
    version: u64,
    /// `None`: the cloud has just said it.
    now: Option<Presented>,
}

pub(super) async fn tell(again: &Again, path: &Arc<Path>, client: Client) -> Result<Told, Failed> {
    let difference = difference(again, path, client).await?;
    match difference.changes.are_few() {
        true => difference.held(path),
        false => difference.stored(path).await,
    }
}

async fn difference(again: &Again, path: &Arc<Path>, client: Client) -> Result<Difference, Failed> {
    let Client { stand, seen, taken } = client;
    let media = Media { encoding: stand.shown.encoding(), form: stand.shown.media_form() };
    let (encoding, types) = (media.encoding, stand.shown.types());
    let mut new = match stand.newer(&path.offline).await.filter(|known| known.version() >= seen) {
        Some(known) => New::Known(known.version(), Box::new(known.walk(&path.offline))),
        None => New::Clouds(Box::new(Listing::new(again, path, media))),
    };
    let head = stand.head().filter(|_| matches!(new, New::Clouds(_)));
    let before = seen.max(stand.shown.version());
    let mut changes = Changes { encoding, before, changes: Vec::new(), bytes: 0, places: 0, taken };
    let Stand { shown, lacks, watched } = stand;
    for Happened { item, .. } in &lacks {
        let told = Item::read(encoding, item.clone());
        told.into_iter().for_each(|told| _ = changes.taken.remove(&told.place));
    }
    let mut walk = shown.walk(&path.offline);
    let compared = compare(&mut new, &mut walk, &mut changes).await;
    let shown = walk.again().ok_or(Failed::Inexact("the store cannot be read"))?;
    match compared {
        Ok(()) if new.version() < before => Err(Failed::Inexact("the cluster's history has gone back")),
        Ok(()) => {
            let version = new.version();
            Ok(Difference { encoding, types, changes, shown, lacks, watched, head, version, now: new.again() })
        }
        Err(Stop::Inexact(why)) => Err(Failed::Inexact(why)),
        Err(Stop::Cloud) => Err(Failed::Cloud(Box::new(Stand::of(shown, lacks, watched)))),
    }
}

impl Difference {
    /// Its objects are in memory.
    fn held(self, path: &Path) -> Result<Told, Failed> {
        let mut events = self.lacking();
        let Self { encoding, types, changes, watched, head, version, now, .. } = self;
        let happened = changes.happened().map_err(|_| Failed::Inexact("an object cannot be read"))?;
        events.extend(happened.iter().map(|happened| event(encoding, &types, happened)));
        if let (Some(knowledge), Some(head)) = (&path.offline.knowledge, &head) {
            knowledge.note_difference(head, version, &happened);
        }
        let stand = now.map(|shown| Box::new(Stand::of(shown, Vec::new(), watched)));
        Ok(Told { events: Events::Few(events), version, stand })
    }

    /// Its objects are read from the disk, if that has them, and only where they have to be are in memory.
    async fn stored(mut self, path: &Path) -> Result<Told, Failed> {
        if self.now.is_none() {
            self.now = self.watched.at(&path.offline, &self.shown, self.version).await;
        }
        // Whoever has the store then tells it.
        let gives_way = || path.held.are_closing() || path.ending.is_leaving();
        let mut turn = None;
        if let Some(now) = &self.now {
            // Whoever takes the store over is not to wait for a client.
            now.is_kept();
            turn = timeout(TURN, path.held.telling.clone().acquire_owned()).await.ok().and_then(Result::ok);
            turn.take_if(|_| gives_way());
        }
        let events = self.lacking();
        match (self.now, turn, &path.offline.knowledge) {
            (Some(now), Some(turn), Some(knowledge)) => {
                let Self { encoding, types, mut changes, shown: before, version, .. } = self;
                changes.let_go();
                let (knowledge, changes) = (knowledge.clone(), changes.in_order().into_iter());
                let telling = Telling { knowledge, before, now, encoding, types, changes };
                Ok(Told { events: Events::Many(telling.begin(events, turn)), version, stand: None })
            }
            (now, ..) if self.changes.are_held() => Self { now, ..self }.held(path),
            (now, ..) => {
                let stand = Stand::of(self.shown, self.lacks, self.watched);
                // Somebody else has been told more since: that is what it is led to then.
                let is_behind = now.is_none() && stand.newer(&path.offline).await.is_some();
                let is_later = is_behind || gives_way();
                let why = "more has changed than is held, and cannot be told from the disk";
                Err(if is_later { Failed::Cloud(Box::new(stand)) } else { Failed::Inexact(why) })
            }
        }
    }

    /// What leads the client to what was shown.
    fn lacking(&self) -> Vec<Bytes> {
        self.lacks.iter().map(|happened| event(self.encoding, &self.types, happened)).collect()
    }
}

pub(super) fn event(encoding: Encoding, types: &TypeMeta, Happened { kind, item }: &Happened) -> Bytes {
    watch::encode(encoding, *kind, &object::from_item(encoding, types, item))
}

/// The state to which the client is led.
enum New<'a> {
    /// Somebody else has listed the same, and the node knows it.
    Known(u64, Box<Walk>),
    Clouds(Box<Listing<'a>>),
}

impl New<'_> {
    async fn next(&mut self, encoding: Encoding) -> Result<Option<Item>, Stop> {
        match self {
            Self::Known(_, walk) => next(walk, encoding).await,
            Self::Clouds(listing) => listing.next().await,
        }
    }

    /// What was known.
    fn again(self) -> Option<Presented> {
        match self {
            Self::Known(_, walk) => walk.again(),
            Self::Clouds(_) => None,
        }
    }

    /// To be asked behind the last object.
    fn version(&self) -> u64 {
        match self {
            Self::Known(version, _) => *version,
            Self::Clouds(listing) => version_number(&listing.envelope().resource_version),
        }
    }
}

/// Reads the new list beside the old one.
async fn compare(list: &mut New<'_>, walk: &mut Walk, changes: &mut Changes) -> Result<(), Stop> {
    let mut old = next(walk, changes.encoding).await?;
    while let Some(new) = list.next(changes.encoding).await? {
        while let Some(gone) = old.take_if(|old| old.place < new.place) {
            changes.gone(gone)?;
            old = next(walk, changes.encoding).await?;
        }
        match old.take_if(|old| old.place == new.place) {
            Some(before) => {
                changes.both(before, new)?;
                old = next(walk, changes.encoding).await?;
            }
            None => changes.there(EventType::Added, new)?,
        }
    }
    while let Some(gone) = old {
        changes.gone(gone)?;
        old = next(walk, changes.encoding).await?;
    }
    if changes.taken.is_empty() { Ok(()) } else { Err(Stop::Inexact("what was written here is gone from the cloud again")) }
}

async fn next(walk: &mut Walk, encoding: Encoding) -> Result<Option<Item>, Stop> {
    let item = walk.next().await.map_err(|_| Stop::Inexact("the store cannot be read"))?;
    item.map(|bytes| Item::read(encoding, bytes)).transpose()
}

impl Changes {
    /// An object was there and is.
    fn both(&mut self, before: Item, now: Item) -> Result<(), Stop> {
        if before.meta.uid != now.meta.uid {
            // It was gone in between.
            self.gone(before)?;
            return self.there(EventType::Added, now);
        }
        match now.version().cmp(&before.version()) {
            Ordering::Equal => Ok(()),
            Ordering::Greater => self.there(EventType::Modified, now),
            Ordering::Less => Err(Stop::Inexact("the cluster's history has gone back")),
        }
    }

    fn there(&mut self, kind: EventType, item: Item) -> Result<(), Stop> {
        if item.version() <= self.before {
            // The client would have been told of it, if it were of the same history.
            return Err(Stop::Inexact("something new is as old as what was shown"));
        }
        self.taken.remove(&item.place);
        self.push(Change { kind, version: item.version(), place: item.place, item: item.bytes })
    }

    fn gone(&mut self, item: Item) -> Result<(), Stop> {
        // It was gone later than it changed: of that version there may be another change, behind which it is told.
        let version = self.before.max(item.version() + 1);
        self.push(Change { kind: EventType::Deleted, version, place: item.place, item: item.bytes })
    }

    fn push(&mut self, mut change: Change) -> Result<(), Stop> {
        let were_held = self.are_held();
        self.bytes += change.item.len();
        self.places += size_of::<Change>() + change.place.len();
        if !self.are_held() {
            change.item = Vec::new();
            if were_held {
                self.let_go();
            }
        }
        self.changes.push(change);
        if self.places > PLACES { Err(Stop::Inexact("too much has changed")) } else { Ok(()) }
    }

    /// The objects are not held any more.
    fn let_go(&mut self) {
        self.changes.iter_mut().for_each(|change| change.item = Vec::new());
    }

    /// Whether the objects are in memory.
    fn are_held(&self) -> bool {
        self.bytes <= MOST
    }

    /// Whether they may stay there.
    fn are_few(&self) -> bool {
        self.bytes <= FEW
    }

    fn in_order(mut self) -> Vec<Change> {
        self.changes.sort_by_key(|change| (change.version, change.kind == EventType::Deleted));
        self.changes
    }

    /// What is held, in order.
    fn happened(self) -> Result<Vec<Happened>, MessageError> {
        let encoding = self.encoding;
        let happened = |mut change: Change| {
            let item = std::mem::take(&mut change.item);
            change.of(encoding, item)
        };
        self.in_order().into_iter().map(happened).collect()
    }
}

impl Change {
    /// What is told of the object.
    pub(super) fn of(&self, encoding: Encoding, item: Vec<u8>) -> Result<Happened, MessageError> {
        let item = if self.kind == EventType::Deleted { of_version(encoding, &item, self.version)? } else { item };
        Ok(Happened { kind: self.kind, item })
    }
}

/// An object as of another version.
pub(super) fn of_version(encoding: Encoding, item: &[u8], version: u64) -> Result<Vec<u8>, MessageError> {
    let version = version.to_string();
    let edited = message::edit(encoding, item, METADATA, |metadata| {
        message::set(encoding, metadata, RESOURCE_VERSION, Set::Text(&version)).map(Edit::Replace)
    });
    edited.map(|edited| edited.unwrap_or_else(|| item.to_vec()))
}

#[cfg(test)]
mod tests;
