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
use tokio::sync::SemaphorePermit;
use tokio::time::timeout;

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

/// Bytes of changed objects that are held, if they have to be, and if they can be had from the disk as well.
const MOST: usize = 8 << 20;
const FEW: usize = 1 << 20;
/// Bytes of where they stand: of some eighty thousand.
const PLACES: usize = 8 << 20;
/// So long others are waited for that are told as much.
const TURN: Duration = Duration::from_secs(10);

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

/// `listing`: the turn to list.
pub(super) async fn tell(again: &Again, path: &Arc<Path>, client: Client, listing: SemaphorePermit<'_>) -> Result<Told, Failed> {
    let Client { stand, seen, taken } = client;
    let media = Media { encoding: stand.shown.encoding(), form: stand.shown.media_form() };
    let types = stand.shown.types();
    let mut new = match stand.newer(&path.offline).await {
        Some(known) => New::Known(known.version(), Box::new(known.walk(&path.offline))),
        None => New::Clouds(Box::new(Listing::new(again, path, media.clone()))),
    };
    let compared = stand.head().filter(|_| matches!(new, New::Clouds(_)));
    let mut changes = Changes {
        encoding: media.encoding,
        before: seen.max(stand.shown.version()),
        changes: Vec::new(),
        bytes: 0,
        places: 0,
        taken,
    };
    let Stand { shown, lacks, watched } = stand;
    for Happened { item, .. } in &lacks {
        let told = Item::read(media.encoding, item.clone());
        told.into_iter().for_each(|told| _ = changes.taken.remove(&told.place));
    }
    let mut walk = shown.walk(&path.offline);
    let result = compare(&mut new, &mut walk, &mut changes).await;
    let Some(shown) = walk.again() else { return Err(Failed::Inexact("the store cannot be read")) };
    match result {
        Ok(()) => {}
        Err(Stop::Inexact(why)) => return Err(Failed::Inexact(why)),
        Err(Stop::Cloud) => return Err(Failed::Cloud(Box::new(Stand::of(shown, lacks, watched)))),
    }
    let version = new.version();
    if version < changes.before {
        return Err(Failed::Inexact("the cluster's history has gone back"));
    }
    let full = |item: &[u8]| object::from_item(media.encoding, &types, item);
    let event = |Happened { kind, item }: &Happened| watch::encode(media.encoding, *kind, &full(item));
    let mut events: Vec<_> = lacks.iter().map(event).collect();
    let mut now = new.again();
    drop(listing);
    if !changes.are_few() {
        if now.is_none() {
            now = watched.at(&path.offline, &shown, version).await;
        }
        let mut turn = None;
        if let Some(now) = &now {
            // Whoever takes the store over is not to wait for a client.
            now.is_kept();
            turn = timeout(TURN, path.held.telling.clone().acquire_owned()).await.ok().and_then(Result::ok);
        }
        match (now.take(), turn, &path.offline.knowledge) {
            (Some(now), Some(turn), Some(knowledge)) => {
                let (knowledge, changes) = (knowledge.clone(), changes.in_order_without_items());
                let telling = Telling { knowledge, before: shown, now, encoding: media.encoding, types, changes };
                return Ok(Told { events: Events::Many(telling.begin(events, turn)), version, stand: None });
            }
            (known, ..) if changes.are_held() => now = known,
            (known, ..) => {
                let stand = Stand::of(shown, lacks, watched);
                // Somebody else has been told more since: that is what it is led to then.
                let is_behind = known.is_none() && stand.newer(&path.offline).await.is_some();
                let why = "more has changed than is held, and cannot be told from the disk";
                return Err(if is_behind { Failed::Cloud(Box::new(stand)) } else { Failed::Inexact(why) });
            }
        }
    }
    let happened = changes.happened().map_err(|_| Failed::Inexact("an object cannot be read"))?;
    events.extend(happened.iter().map(event));
    if let (Some(knowledge), Some(before)) = (&path.offline.knowledge, &compared) {
        knowledge.note_difference(before, version, &happened);
    }
    let stand = now.map(|shown| Box::new(Stand::of(shown, Vec::new(), watched)));
    Ok(Told { events: Events::Few(events), version, stand })
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
        }
        if were_held && !self.are_held() {
            self.changes.iter_mut().for_each(|change| change.item = Vec::new());
        }
        self.changes.push(change);
        if self.places > PLACES { Err(Stop::Inexact("too much has changed")) } else { Ok(()) }
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

    fn in_order_without_items(self) -> std::vec::IntoIter<Change> {
        let mut changes = self.in_order();
        changes.iter_mut().for_each(|change| change.item = Vec::new());
        changes.into_iter()
    }

    /// What is held, in order.
    fn happened(self) -> Result<Vec<Happened>, MessageError> {
        let encoding = self.encoding;
        let happened = |change: Change| {
            let item = match change.kind {
                EventType::Deleted => of_version(encoding, &change.item, change.version)?,
                _ => change.item,
            };
            Ok(Happened { kind: change.kind, item })
        };
        self.in_order().into_iter().map(happened).collect()
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
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const BEFORE: u64 = 100;

    /// The uid and the version of what stands at each place.
    type Objects = BTreeMap<u8, (u64, u64)>;

    /// The version, the kind, and the place, the uid and the version of its object.
    type Event = (u64, EventType, u8, (u64, u64));

    fn item(place: u8, (uid, version): (u64, u64)) -> Item {
        let metadata = format!(r#""name":"{place:03}","uid":"{uid}","resourceVersion":"{version}""#);
        Item::read(Encoding::Json, format!(r#"{{"metadata":{{{metadata}}}}}"#).into_bytes()).ok().unwrap()
    }

    /// What a cloud does in which something happens at these places, one version after the other: what is there changes or
    /// goes, what is not comes.
    fn history(objects: &mut Objects, from: u64, steps: &[(u8, bool)]) -> Vec<Event> {
        let mut events = Vec::new();
        for (version, (place, goes)) in (from + 1..).zip(steps) {
            let (kind, object) = match objects.get(place) {
                Some((uid, _)) if *goes => (EventType::Deleted, (*uid, version)),
                Some((uid, _)) => (EventType::Modified, (*uid, version)),
                None => (EventType::Added, (version, version)),
            };
            apply(objects, (version, kind, *place, object));
            events.push((version, kind, *place, object));
        }
        events
    }

    fn apply(objects: &mut Objects, (_, kind, place, object): Event) {
        match kind {
            EventType::Deleted => _ = objects.remove(&place),
            _ => _ = objects.insert(place, object),
        }
    }

    /// `None`: it is not known.
    fn difference(old: &Objects, new: &Objects) -> Option<Vec<Event>> {
        let taken = Taken::default();
        let mut changes = Changes { encoding: Encoding::Json, before: BEFORE, changes: Vec::new(), bytes: 0, places: 0, taken };
        let places: std::collections::BTreeSet<_> = old.keys().chain(new.keys()).collect();
        for place in places {
            let [before, now] = [old, new].map(|objects| objects.get(place).map(|object| item(*place, *object)));
            let result = match (before, now) {
                (Some(before), Some(now)) => changes.both(before, now),
                (Some(gone), None) => changes.gone(gone),
                (None, Some(now)) => changes.there(EventType::Added, now),
                (None, None) => Ok(()),
            };
            result.ok()?;
        }
        let told = |happened: Happened| {
            let told = Item::read(Encoding::Json, happened.item).ok().unwrap();
            let version = told.version();
            (version, happened.kind, told.place.parse().unwrap(), (told.meta.uid.parse().unwrap(), version))
        };
        Some(changes.happened().unwrap().into_iter().map(told).collect())
    }

    #[test]
    fn of_another_history_nothing_is_told() {
        let old = Objects::from([(1, (1, 80))]);
        // A cluster that was made anew, and has come further since.
        assert_eq!(difference(&old, &Objects::from([(1, (2, 30))])), None);
        assert_eq!(difference(&old, &Objects::from([(1, (1, 80)), (2, (2, BEFORE))])), None);
        assert_eq!(difference(&old, &Objects::from([(1, (1, 79))])), None);
        assert_eq!(difference(&old, &Objects::from([(1, (2, BEFORE + 2))])).unwrap().len(), 2);
    }

    proptest! {
        /// Whoever is told only a part goes on from the version of its last event, and the cloud may know that by then: it has
        /// all there is in the end, and no version has gone back.
        #[test]
        fn wherever_a_client_breaks_off_it_lacks_nothing_of_before(
            first in proptest::collection::vec((0_u8..12, any::<bool>()), 0..40),
            then in proptest::collection::vec((0_u8..12, any::<bool>()), 0..40),
            at in any::<prop::sample::Index>(),
        ) {
            let mut cloud = Objects::new();
            history(&mut cloud, BEFORE - first.len() as u64, &first);
            let old = cloud.clone();
            let events = history(&mut cloud, BEFORE, &then);
            let told = difference(&old, &cloud).unwrap();
            let (mut client, mut version, part) = (old, BEFORE, at.index(told.len() + 1));
            for event in &told[..part] {
                let (at, kind, place, object) = *event;
                let is_right = match (client.get(&place), kind) {
                    (None, EventType::Added) => true,
                    (Some((uid, before)), EventType::Modified | EventType::Deleted) => *uid == object.0 && *before < at,
                    _ => false,
                };
                prop_assert!(is_right && at >= version, "{event:?} after {version}");
                apply(&mut client, *event);
                version = event.0;
            }
            events.into_iter().filter(|event| event.0 > version).for_each(|event| apply(&mut client, event));
            prop_assert_eq!(client, cloud);
        }
    }
}
