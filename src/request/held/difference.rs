//! What a watch's client has to be told where nobody knows the events: the difference between what it was shown and a new
//! list, behind the events that it lacks of what the node was told itself.
//!
//! Both come in the order of the cloud's keys, so that a page of each is in memory at a time, and what has changed: the objects
//! within a bound, beyond that where they stand ([`telling`](super::telling)). It is told in the order of the versions. Of an
//! object that is gone nobody knows since when: its last state is told, with the version of the list, or of one that has its
//! name now with the version before that.

use std::cmp::Ordering;
use std::sync::Arc;

use bytes::Bytes;

use super::Again;
use super::listing::{Item, Listing, Stop};
use super::telling::{Many, Telling};
use crate::kube::list::Encoding;
use crate::kube::media::Media;
use crate::kube::message::{self, Edit, MessageError, Set};
use crate::kube::object;
use crate::kube::schema::{METADATA, meta::RESOURCE_VERSION};
use crate::kube::watch::{self, EventType};
use crate::request::Path;
use crate::request::filter::Taken;
use crate::request::offline::{Presented, Stand, Walk};
use crate::store::{Happened, version_number};

/// Bytes of changed objects that are held.
const AT_ONCE: usize = 1 << 20;
/// And of where they stand, if they are not: of a hundred thousand.
const PLACES: usize = 16 << 20;

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
    /// The cloud has not answered, or too many are told so much; where the client stands comes back.
    Later(Box<Stand>),
    Inexact(&'static str),
}

pub(super) struct Change {
    pub(super) kind: EventType,
    /// `None`: of the list.
    pub(super) version: Option<u64>,
    pub(super) place: String,
    /// Empty: it is not held.
    item: Vec<u8>,
}

/// What has changed so far.
struct Changes {
    encoding: Encoding,
    changes: Vec<Change>,
    /// Of the objects, held or not.
    bytes: usize,
    /// Of where they stand.
    places: usize,
    /// Those of which nothing has been said yet.
    taken: Taken,
}

/// `taken`: what the client has beside where it stands, as its node has written it, and the cloud has it as well.
pub(super) async fn tell(again: &Again, path: &Arc<Path>, stand: Stand, taken: Taken) -> Result<Told, Failed> {
    let media = Media { encoding: stand.shown.encoding(), form: stand.shown.media_form() };
    let types = stand.shown.types();
    let mut new = match stand.newer(&path.offline).await {
        Some(known) => New::Known(known.version(), Box::new(known.walk(&path.offline))),
        None => New::Clouds(Box::new(Listing::new(again, path, media.clone()))),
    };
    let compared = stand.head().filter(|_| matches!(new, New::Clouds(_)));
    let mut changes = Changes { encoding: media.encoding, changes: Vec::new(), bytes: 0, places: 0, taken };
    let Stand { shown, lacks, watched } = stand;
    for Happened { item, .. } in &lacks {
        let told = Item::read(media.encoding, item.clone());
        told.into_iter().for_each(|told| _ = changes.taken.remove(&told.place));
    }
    let mut walk = shown.walk(&path.offline);
    let compared_all = compare(&mut new, &mut walk, &mut changes).await;
    let Some(shown) = walk.again() else { return Err(Failed::Inexact("the store cannot be read")) };
    match compared_all {
        Ok(()) => {}
        Err(Stop::Inexact(why)) => return Err(Failed::Inexact(why)),
        Err(Stop::Cloud) => return Err(Failed::Later(Box::new(Stand::of(shown, lacks, watched)))),
    }
    let version = new.version();
    let full = |item: &[u8]| object::from_item(media.encoding, &types, item);
    let event = |Happened { kind, item }: &Happened| watch::encode(media.encoding, *kind, &full(item));
    let mut events: Vec<_> = lacks.iter().map(event).collect();
    if changes.are_held() {
        let happened = changes.happened(version).map_err(|_| Failed::Inexact("an object cannot be read"))?;
        events.extend(happened.iter().map(event));
        if let (Some(knowledge), Some(before)) = (&path.offline.knowledge, &compared) {
            knowledge.note_difference(before, version, &happened);
        }
        let stand = new.again().map(|shown| Box::new(Stand::of(shown, Vec::new(), watched)));
        return Ok(Told { events: Events::Few(events), version, stand });
    }
    let Ok(turn) = path.held.telling.clone().try_acquire_owned() else {
        return Err(Failed::Later(Box::new(Stand::of(shown, lacks, watched))));
    };
    let now = match new {
        New::Known(_, walk) => walk.again(),
        New::Clouds(_) => watched.at(&path.offline, &shown, version).await,
    };
    let (Some(now), Some(knowledge)) = (now, path.offline.knowledge.clone()) else {
        let stand = Stand::of(shown, lacks, watched);
        // Somebody else has been told more since: that is what it is led to then.
        return Err(match stand.newer(&path.offline).await {
            Some(_) => Failed::Later(Box::new(stand)),
            None => Failed::Inexact("more has changed than is held, and the node does not know the list"),
        });
    };
    let changes = changes.in_order(version).into_iter();
    let telling = Telling { knowledge, before: shown, now, encoding: media.encoding, types, version, changes };
    Ok(Told { events: Events::Many(telling.begin(events, turn)), version, stand: None })
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
            changes.gone(gone, None)?;
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
        changes.gone(gone, None)?;
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
            self.gone(before, Some(now.version().saturating_sub(1)))?;
            return self.there(EventType::Added, now);
        }
        match now.version().cmp(&before.version()) {
            Ordering::Equal => Ok(()),
            Ordering::Greater => self.there(EventType::Modified, now),
            Ordering::Less => Err(Stop::Inexact("the cluster's history has gone back")),
        }
    }

    fn there(&mut self, kind: EventType, item: Item) -> Result<(), Stop> {
        self.taken.remove(&item.place);
        self.push(Change { kind, version: Some(item.version()), place: item.place, item: item.bytes })
    }

    fn gone(&mut self, item: Item, version: Option<u64>) -> Result<(), Stop> {
        self.push(Change { kind: EventType::Deleted, version, place: item.place, item: item.bytes })
    }

    fn push(&mut self, mut change: Change) -> Result<(), Stop> {
        let were_held = self.are_held();
        self.bytes += change.item.len();
        self.places += size_of::<Change>() + change.place.len();
        if !self.are_held() {
            change.item = Vec::new();
        }
        if were_held && !self.are_held() {
            self.changes.iter_mut().for_each(|change| change.item = Vec::new());
        }
        self.changes.push(change);
        if self.places > PLACES { Err(Stop::Inexact("too much has changed")) } else { Ok(()) }
    }

    /// Whether the objects are in memory.
    fn are_held(&self) -> bool {
        self.bytes <= AT_ONCE
    }

    /// `version`: of the list.
    fn in_order(mut self, version: u64) -> Vec<Change> {
        self.changes.sort_by_key(|change| (change.version.unwrap_or(version), change.version.is_none()));
        self.changes
    }

    /// What is held, in order; `version`: of the list.
    fn happened(self, version: u64) -> Result<Vec<Happened>, MessageError> {
        let encoding = self.encoding;
        let happened = |change: Change| {
            let item = match change.kind {
                EventType::Deleted => of_version(encoding, &change.item, change.version.unwrap_or(version))?,
                _ => change.item,
            };
            Ok(Happened { kind: change.kind, item })
        };
        self.in_order(version).into_iter().map(happened).collect()
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
