//! Lists that come in pages: a collection is replaced when the last page has ended.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::claim::Claim;
use super::{Header, Scope};

/// Lists that wait for their next page; more push out the oldest.
const WAITING: usize = 32;
const PATIENCE: Duration = Duration::from_secs(300);

/// A list of which some pages are written.
#[derive(Debug)]
pub struct Partial {
    pub scope: Scope,
    /// As in the collection's header.
    pub item_kind: String,
    pub claim: Claim,
    pub epoch: u64,
    pub items: u64,
    pub bytes: u64,
    /// The newest version of an item; that of one that says none is beyond all.
    pub newest: u64,
    /// resourceVersion of the first page: all pages of one list have the same.
    pub resource_version: String,
    /// How the first page was asked for: that is the state which the others go on with.
    pub quorum: bool,
    pub started: u64,
}

impl Partial {
    /// Under which its items are written.
    pub fn id(&self) -> u64 {
        self.claim.id()
    }

    pub fn note_version(&mut self, version: u64) {
        self.newest = self.newest.max(if version == 0 { u64::MAX } else { version });
    }

    /// Whether it has what the collection before it has: all of that was there then, and it is as much. In between there may
    /// have been something else.
    pub fn is_as_it_was(&self, before: &Header) -> bool {
        self.items == before.items && self.newest <= before.version_number()
    }
}

#[derive(Default)]
pub struct Pages(Mutex<HashMap<String, (Instant, Partial)>>);

impl Pages {
    /// Keeps a list until the page behind `token` is asked for; returns ids whose
    /// lists were given up.
    pub fn wait(&self, token: String, partial: Partial) -> Vec<u64> {
        let now = Instant::now();
        let mut gone = self.give_up(now);
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= WAITING {
            let oldest = waiting.iter().min_by_key(|(_, (since, _))| *since).map(|(token, _)| token.clone());
            gone.extend(oldest.and_then(|token| waiting.remove(&token)).map(|(_, partial)| partial.id()));
        }
        gone.extend(waiting.insert(token, (now, partial)).map(|(_, replaced)| replaced.id()));
        gone
    }

    /// Gives up lists whose next page was not asked for in time; returns their ids.
    pub fn give_up(&self, now: Instant) -> Vec<u64> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.extract_if(|_, (since, _)| now.duration_since(*since) >= PATIENCE).map(|(_, (_, partial))| partial.id()).collect()
    }

    pub fn resume(&self, token: &str, scope: &Scope) -> Option<Partial> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.get(token).is_some_and(|(_, partial)| partial.scope == *scope) {
            return waiting.remove(token).map(|(_, partial)| partial);
        }
        None
    }
}
