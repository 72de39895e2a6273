//! What a watch's client has to be told where nobody knows the events: the difference between what it was shown and a new
//! list, which takes the way of any list and is remembered like one.
//!
//! Both come in the order of the cloud's keys, so that a page of each is in memory at a time, and the events of the difference,
//! within a bound. They are told in the order of their versions. Of an object that is gone nobody knows since when: its last
//! state is told, with the version of the list, or of one that has its name now with the version before that.

use std::cmp::Ordering;
use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use http_body_util::BodyExt as _;

use super::{Again, encoding};
use crate::kube::list::{Encoding, Envelope, Limits, Piece, Splitter};
use crate::kube::media::Media;
use crate::kube::message::{self, Edit, MessageError, Set};
use crate::kube::object::{self, Meta, TypeMeta};
use crate::kube::schema::{METADATA, meta::RESOURCE_VERSION};
use crate::kube::watch::{self, EventType};
use crate::request::context::Context;
use crate::request::offline::{Presented, Walk};
use crate::request::{Path, answer, respond};
use crate::store::version_number;

/// Bytes of changed objects.
const AT_ONCE: usize = 8 << 20;
const LIMITS: Limits = Limits { max_item: 8 << 20, max_head: 64 * 1024 };

/// The events, and the version that they lead to.
pub(super) struct Told {
    pub(super) events: Vec<Bytes>,
    pub(super) version: u64,
}

/// Why there are none.
pub(super) enum Failed {
    /// The cloud has not answered; what was shown comes back.
    Cloud(Box<Presented>),
    Inexact(&'static str),
}

/// Why it goes no further.
enum Stop {
    Cloud,
    Inexact(&'static str),
}

/// An object in item form, and where it stands among others.
struct Item {
    place: String,
    meta: Meta,
    bytes: Vec<u8>,
}

struct Change {
    kind: EventType,
    /// `None`: of the list.
    version: Option<u64>,
    item: Vec<u8>,
}

/// What has changed so far.
struct Changes {
    encoding: Encoding,
    changes: Vec<Change>,
    bytes: usize,
}

pub(super) async fn tell(again: &Again, path: &Arc<Path>, shown: Presented) -> Result<Told, Failed> {
    let media = Media { encoding: shown.encoding(), form: shown.media_form() };
    let types = shown.types();
    let mut changes = Changes { encoding: media.encoding, changes: Vec::new(), bytes: 0 };
    let mut walk = shown.walk(&path.offline);
    match compare(again, path, &media, &mut walk, &mut changes).await {
        Ok(list) => changes.told(&types, &list).map_err(|_| Failed::Inexact("an object cannot be read")),
        Err(Stop::Inexact(why)) => Err(Failed::Inexact(why)),
        Err(Stop::Cloud) => Err(walk.again().map_or(Failed::Inexact("the store cannot be read"), Failed::Cloud)),
    }
}

/// Reads the new list beside the old one.
async fn compare(
    again: &Again,
    path: &Arc<Path>,
    media: &Media,
    walk: &mut Walk,
    changes: &mut Changes,
) -> Result<Envelope, Stop> {
    let (mut old, mut last, mut token) = (next(walk, media.encoding).await?, String::new(), None::<String>);
    loop {
        let mut splitter = Splitter::new(media.encoding, LIMITS);
        let mut pieces = Vec::new();
        let mut body = page(again, path, media, token.as_deref()).await?;
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|_| Stop::Cloud)?.into_data() else { continue };
            splitter.feed(data, &mut pieces).map_err(|_| Stop::Cloud)?;
            for piece in pieces.drain(..) {
                let Piece::Item(bytes) = piece else { continue };
                let new = Item::read(media.encoding, bytes.to_vec())?;
                if new.place <= last && !last.is_empty() {
                    return Err(Stop::Inexact("a list in no order"));
                }
                last.clone_from(&new.place);
                while let Some(gone) = old.take_if(|old| old.place < new.place) {
                    changes.gone(gone, None)?;
                    old = next(walk, media.encoding).await?;
                }
                match old.take_if(|old| old.place == new.place) {
                    Some(before) => {
                        changes.both(before, new)?;
                        old = next(walk, media.encoding).await?;
                    }
                    None => changes.there(EventType::Added, new)?,
                }
            }
        }
        let envelope = splitter.finish().map_err(|_| Stop::Cloud)?;
        token = envelope.continue_token.clone().filter(|token| !token.is_empty());
        if token.is_none() {
            while let Some(gone) = old {
                changes.gone(gone, None)?;
                old = next(walk, media.encoding).await?;
            }
            return Ok(envelope);
        }
    }
}

/// The cloud's, or none.
async fn page(
    again: &Again,
    path: &Arc<Path>,
    media: &Media,
    token: Option<&str>,
) -> Result<crate::request::context::Body, Stop> {
    let request = again.list(&media.accept(), token).ok_or(Stop::Inexact("its request cannot be asked again"))?;
    let mut context: Context = respond::begin(again.peer.clone(), &request);
    let answer = Box::pin(answer(path, &mut context, request)).await.map_err(|_| Stop::Cloud)?;
    if answer.status() == StatusCode::FORBIDDEN {
        return Err(Stop::Inexact("its client may not list"));
    }
    if context.route == "offline" || answer.status() != StatusCode::OK {
        return Err(Stop::Cloud);
    }
    if encoding(&answer) != Some(media.encoding) {
        return Err(Stop::Inexact("the list is in another encoding"));
    }
    Ok(answer.into_body())
}

async fn next(walk: &mut Walk, encoding: Encoding) -> Result<Option<Item>, Stop> {
    let item = walk.next().await.map_err(|_| Stop::Inexact("the store cannot be read"))?;
    item.map(|bytes| Item::read(encoding, bytes)).transpose()
}

impl Item {
    fn read(encoding: Encoding, bytes: Vec<u8>) -> Result<Self, Stop> {
        let meta = object::meta(encoding, &bytes).map_err(|_| Stop::Inexact("an object cannot be read"))?;
        let place = if meta.namespace.is_empty() { meta.name.clone() } else { format!("{}/{}", meta.namespace, meta.name) };
        Ok(Self { place, meta, bytes })
    }

    fn version(&self) -> u64 {
        version_number(&self.meta.resource_version)
    }
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
        self.push(Change { kind, version: Some(item.version()), item: item.bytes })
    }

    fn gone(&mut self, item: Item, version: Option<u64>) -> Result<(), Stop> {
        self.push(Change { kind: EventType::Deleted, version, item: item.bytes })
    }

    fn push(&mut self, change: Change) -> Result<(), Stop> {
        self.bytes += change.item.len();
        self.changes.push(change);
        if self.bytes > AT_ONCE { Err(Stop::Inexact("too much has changed")) } else { Ok(()) }
    }

    fn told(mut self, types: &TypeMeta, list: &Envelope) -> Result<Told, MessageError> {
        let version = version_number(&list.resource_version);
        self.changes.sort_by_key(|change| (change.version.unwrap_or(version), change.version.is_none()));
        let frame = |change: Change| {
            let item = match change.kind {
                EventType::Deleted => of_version(self.encoding, &change.item, change.version.unwrap_or(version))?,
                _ => change.item,
            };
            Ok(watch::encode(self.encoding, change.kind, &object::from_item(self.encoding, types, &item)))
        };
        let events = self.changes.into_iter().map(frame).collect::<Result<_, MessageError>>()?;
        Ok(Told { events, version })
    }
}

/// An object as of another version.
fn of_version(encoding: Encoding, item: &[u8], version: u64) -> Result<Vec<u8>, MessageError> {
    let version = version.to_string();
    let edited = message::edit(encoding, item, METADATA, |metadata| {
        message::set(encoding, metadata, RESOURCE_VERSION, Set::Text(&version)).map(Edit::Replace)
    });
    edited.map(|edited| edited.unwrap_or_else(|| item.to_vec()))
}
