//! A list in the name of a watch's client. It takes the way of any list, page by page, and is remembered like one, but it is
//! read no faster than that: nobody waits for it who could not wait for the disk, too.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use http_body_util::BodyExt as _;
use tokio::time::timeout;

use super::{Again, encoding};
use crate::kube::list::{Encoding, Envelope, Limits, Piece, Splitter};
use crate::kube::media::Media;
use crate::kube::object::{self, Meta};
use crate::request::context::{Body, Context};
use crate::request::{Path, answer, names, respond};
use crate::store::{Knowledge, Scope, version_number};

/// So long a busy store is waited for, once.
const BUSY: Duration = Duration::from_secs(5);

/// Why it goes no further.
pub(super) enum Stop {
    /// The cloud has not answered.
    Cloud,
    Inexact(&'static str),
}

/// An object in item form, and where it stands among others.
pub(super) struct Item {
    pub(super) place: String,
    pub(super) meta: Meta,
    pub(super) bytes: Vec<u8>,
}

pub(super) struct Listing<'a> {
    again: &'a Again,
    path: &'a Arc<Path>,
    media: Media,
    page: Option<Page>,
    /// What the last page has said of the list, once that has come.
    envelope: Envelope,
    is_whole: bool,
    last: String,
    /// The store that remembers it, as long as that keeps up.
    knowledge: Option<&'a Knowledge>,
}

struct Page {
    body: Body,
    splitter: Splitter,
    items: VecDeque<Piece>,
    /// As which it is remembered.
    scope: Scope,
}

impl<'a> Listing<'a> {
    /// `media`: of the watch.
    pub(super) fn new(again: &'a Again, path: &'a Arc<Path>, media: Media) -> Self {
        let knowledge = path.offline.knowledge.as_deref();
        Self { again, path, media, page: None, envelope: Envelope::default(), is_whole: false, last: String::new(), knowledge }
    }

    /// The next object, in the order of the cloud's keys; `None`: there is none after the last.
    pub(super) async fn next(&mut self) -> Result<Option<Item>, Stop> {
        while !self.is_whole {
            let Some(page) = &mut self.page else {
                self.page = Some(self.ask().await?);
                continue;
            };
            match page.next(&mut self.knowledge).await? {
                Some(bytes) => return self.in_order(Item::read(self.media.encoding, bytes)?).map(Some),
                None => self.turn().await?,
            }
        }
        Ok(None)
    }

    /// What the list says of itself. To be asked behind its last object.
    pub(super) fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    fn in_order(&mut self, item: Item) -> Result<Item, Stop> {
        if item.place <= self.last && !self.last.is_empty() {
            return Err(Stop::Inexact("a list in no order"));
        }
        self.last.clone_from(&item.place);
        Ok(item)
    }

    /// The page is read.
    async fn turn(&mut self) -> Result<(), Stop> {
        let Some(Page { splitter, scope, .. }) = self.page.take() else { return Ok(()) };
        self.envelope = splitter.finish().map_err(|_| Stop::Cloud)?;
        self.is_whole = self.envelope.continue_token.as_deref().unwrap_or_default().is_empty();
        // The next one is remembered behind it.
        if !self.is_whole
            && let Some(store) = self.knowledge
            && timeout(BUSY, store.has_lists(&scope)).await.is_err()
        {
            self.knowledge = None;
        }
        Ok(())
    }

    /// The cloud's next page, or none.
    async fn ask(&mut self) -> Result<Page, Stop> {
        let token = self.envelope.continue_token.as_deref();
        let request = self.again.list(&self.media.accept(), token).ok_or(Stop::Inexact("its request cannot be asked again"))?;
        let mut context: Context = respond::begin(self.again.peer.clone(), &request);
        let answer = Box::pin(answer(self.path, &mut context, request)).await.map_err(|_| Stop::Cloud)?;
        if answer.status() == StatusCode::FORBIDDEN {
            return Err(Stop::Inexact("its client may not list"));
        }
        if context.route == "offline" || answer.status() != StatusCode::OK {
            return Err(Stop::Cloud);
        }
        if encoding(&answer) != Some(self.media.encoding) {
            return Err(Stop::Inexact("the list is in another encoding"));
        }
        let splitter = Splitter::new(self.media.encoding, Limits::ANSWER);
        let scope = names::scope(&context.info, &self.media);
        Ok(Page { body: answer.into_body(), splitter, items: VecDeque::new(), scope })
    }
}

impl Page {
    async fn next(&mut self, knowledge: &mut Option<&Knowledge>) -> Result<Option<Vec<u8>>, Stop> {
        loop {
            while let Some(piece) = self.items.pop_front() {
                if let Piece::Item(bytes) = piece {
                    return Ok(Some(bytes.to_vec()));
                }
            }
            let Some(frame) = self.body.frame().await else { return Ok(None) };
            let Ok(data) = frame.map_err(|_| Stop::Cloud)?.into_data() else { continue };
            if let Some(store) = knowledge
                && timeout(BUSY, store.has_room()).await.is_err()
            {
                *knowledge = None;
            }
            let mut pieces = Vec::new();
            self.splitter.feed(data, &mut pieces).map_err(|_| Stop::Cloud)?;
            self.items.extend(pieces);
        }
    }
}

impl Item {
    pub(super) fn read(encoding: Encoding, bytes: Vec<u8>) -> Result<Self, Stop> {
        let meta = object::meta(encoding, &bytes).map_err(|_| Stop::Inexact("an object cannot be read"))?;
        let place = if meta.namespace.is_empty() { meta.name.clone() } else { format!("{}/{}", meta.namespace, meta.name) };
        Ok(Self { place, meta, bytes })
    }

    /// Of an event's object, in full form; `None`: it does not say what it is of.
    pub(super) fn of_event(encoding: Encoding, object: &[u8]) -> Option<Self> {
        let (_, item) = object::whole_into_item(encoding, object).ok()?;
        let item = Self::read(encoding, item.into()).ok()?;
        (!item.meta.name.is_empty() && item.version() > 0).then_some(item)
    }

    pub(super) fn version(&self) -> u64 {
        version_number(&self.meta.resource_version)
    }
}
