//! A difference that is too much for memory: its objects are read again from the two states that the node knows, a few at a
//! time, as its client takes them.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::difference::{Change, event};
use crate::kube::list::Encoding;
use crate::kube::object::TypeMeta;
use crate::kube::watch::EventType;
use crate::request::offline::{Patience, Presented};
use crate::store::{Knowledge, StoreError};

/// Bytes of events that are read at a time.
const PAGE: usize = 128 * 1024;

/// What a client is told of a large difference, event by event.
pub(super) type Many = mpsc::Receiver<Part>;

pub(super) enum Part {
    Event(Bytes),
    /// All has been told.
    End,
    /// The rest will not be, for this reason.
    Broken(String),
}

/// Both states, and what is to be told of them.
pub(super) struct Telling {
    pub(super) knowledge: Arc<Knowledge>,
    pub(super) before: Presented,
    pub(super) now: Presented,
    pub(super) encoding: Encoding,
    pub(super) types: TypeMeta,
    /// In order.
    pub(super) changes: std::vec::IntoIter<Change>,
}

impl Telling {
    /// `first`: events that come before. `turn`: only so many clients are told so much at a time.
    pub(super) fn begin(self, first: Vec<Bytes>, turn: OwnedSemaphorePermit) -> Many {
        let (sender, receiver) = mpsc::channel(4);
        tokio::spawn(async move {
            // As long as it lasts the disk can free nothing of either state.
            let patience = Patience::begin();
            let told = self.tell(first, &patience, &sender).await;
            drop(turn);
            let _ = patience.with(sender.send(told.map_or_else(Part::Broken, |()| Part::End))).await;
        });
        receiver
    }

    async fn tell(mut self, first: Vec<Bytes>, patience: &Patience, sender: &mpsc::Sender<Part>) -> Result<(), String> {
        let mut events = first;
        loop {
            for event in events {
                let taken = patience.with(sender.send(Part::Event(event))).await;
                taken.ok_or(Patience::TOO_SLOW)?.map_err(|_| "its client is gone")?;
            }
            let read = tokio::task::spawn_blocking(move || self.page()).await;
            (self, events) = read.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
            if events.is_empty() {
                return Ok(());
            }
        }
    }

    /// The next events; runs where it may block.
    fn page(mut self) -> Result<(Self, Vec<Bytes>), StoreError> {
        let (mut events, mut bytes) = (Vec::new(), 0);
        while bytes < PAGE
            && let Some(change) = self.changes.next()
        {
            let event = self.event(&change)?;
            bytes += event.len();
            events.push(event);
        }
        Ok((self, events))
    }

    fn event(&self, change: &Change) -> Result<Bytes, StoreError> {
        let unreadable = |why: &dyn std::fmt::Display| StoreError::Backend(format!("{}: {why}", change.place));
        let state = if change.kind == EventType::Deleted { &self.before } else { &self.now };
        let item = state.at(&self.knowledge, &change.place)?.ok_or_else(|| unreadable(&"not there any more"))?;
        let happened = change.of(self.encoding, item).map_err(|error| unreadable(&error))?;
        Ok(event(self.encoding, &self.types, &happened))
    }
}
