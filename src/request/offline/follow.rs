//! What is written on this node while a watch is open comes as its events.
//!
//! Once something that the client was shown is no more so its client is led back to what the cloud has: of what the cloud has
//! taken its own watch tells, what it has refused is DELETED, and what it has in another way MODIFIED. Where that is not known,
//! the client is to list again.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

use super::presented::{Form, PAGE};
use crate::kube::list::Encoding;
use crate::kube::object::TypeMeta;
use crate::kube::selector::Fields;
use crate::kube::watch::EventType;
use crate::request::filter::{Chain, Taken};
use crate::store::{Header, Knowledge, ListView, Local, Scope, StoreError, TakenBack};

/// What a watch is about.
#[derive(Clone)]
pub(super) struct Subject {
    pub scope: Scope,
    pub fields: Fields,
    /// From which version the client goes on; 0: from none.
    pub version: u64,
    /// See [`is_kubelets_pods`](super::answer::is_kubelets_pods).
    pub kubelets_pods: bool,
}

pub(super) struct Follow {
    knowledge: Arc<Knowledge>,
    writes: watch::Receiver<u64>,
    subject: Subject,
    /// The version that what is written here is shown with.
    at: u64,
    seen: Seen,
    taken: Taken,
}

/// By its place each of those that there are, and whether the client was shown it.
type Seen = BTreeMap<String, (Local, bool)>;

/// What an item has to go through on its way to the client.
#[derive(Clone)]
pub(super) struct Way {
    pub chain: Option<Chain>,
    pub form: Form,
    pub types: TypeMeta,
    pub encoding: Encoding,
}

/// Some of what has changed.
pub(super) struct Step {
    pub events: Vec<(EventType, Vec<u8>)>,
    /// There is more.
    pub more: bool,
}

/// The client is to list again.
pub(super) struct Overtaken;

impl Subject {
    /// What is known of it from before the client's version.
    pub(super) fn view(&self, knowledge: &Knowledge) -> Result<Option<ListView>, StoreError> {
        let is_before = |known: &Header| self.version == 0 || known.version_number() <= self.version;
        let allowed = |known: &Header| is_before(known) && !(self.kubelets_pods && known.is_behind());
        knowledge.covering(&self.scope, &self.fields, allowed, false)
    }
}

impl Follow {
    /// Of a client that is at this version, or at the view's if it begins; `None`: nothing of it is ever written on this node.
    pub(super) fn begin(knowledge: &Arc<Knowledge>, subject: &Subject, view: &ListView) -> Option<Self> {
        let follow = || Self {
            knowledge: knowledge.clone(),
            writes: knowledge.writes_here(),
            subject: subject.clone(),
            at: subject.version.max(view.header.version_number()),
            seen: Seen::new(),
            taken: Taken::new(),
        };
        subject.scope.may_be_written_here().then(follow)
    }

    /// All that a view has comes to the client another way.
    pub(super) fn showed(&mut self, view: &ListView) {
        self.seen = view.written_here().iter().map(|(_, local)| (local.place(), (local.clone(), true))).collect();
    }

    /// Whether the client has been shown something that the cloud may not have.
    pub(super) fn has_shown(&self) -> bool {
        self.seen.values().any(|(_, shown)| *shown)
    }

    /// Returns when something may have changed.
    pub(super) async fn changed(&mut self) {
        if self.writes.changed().await.is_err() {
            std::future::pending().await
        }
    }

    /// What has changed, as far as it fits into a page.
    pub(super) async fn step(&mut self, way: &Way) -> Result<Step, Overtaken> {
        self.work(way, step).await
    }

    /// What leads the client back from all that it has been shown, be it written here still or not.
    pub(super) async fn take_back(&mut self, way: &Way, until: Until) -> Result<Step, Overtaken> {
        self.work(way, move |work| work.take_back(until)).await
    }

    /// What the cloud is to tell.
    pub(super) fn taken(&self) -> &Taken {
        &self.taken
    }

    async fn work(
        &mut self,
        way: &Way,
        what: impl FnOnce(&mut Work) -> Result<Option<bool>, StoreError> + Send + 'static,
    ) -> Result<Step, Overtaken> {
        let mut work = Work {
            knowledge: self.knowledge.clone(),
            subject: self.subject.clone(),
            at: self.at,
            way: way.clone(),
            seen: std::mem::take(&mut self.seen),
            taken: std::mem::take(&mut self.taken),
            events: Vec::new(),
            bytes: 0,
        };
        let failed = |error: String| {
            tracing::warn!(error, "a watch cannot go on with what is written on this node");
            Overtaken
        };
        let worked = tokio::task::spawn_blocking(move || what(&mut work).map(|more| (more, work))).await;
        let (more, work) = worked.map_err(|error| failed(error.to_string()))?.map_err(|error| failed(error.to_string()))?;
        (self.seen, self.taken) = (work.seen, work.taken);
        more.map(|more| Step { events: work.events, more }).ok_or(Overtaken)
    }
}

/// What a step begins with, and comes to.
struct Work {
    knowledge: Arc<Knowledge>,
    subject: Subject,
    at: u64,
    way: Way,
    seen: Seen,
    taken: Taken,
    events: Vec<(EventType, Vec<u8>)>,
    /// Of the events.
    bytes: usize,
}

/// From when on something is taken back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    /// It is written here no more.
    Gone,
    Now,
}

/// Whether there is more; `None`: the client is to list again.
fn step(work: &mut Work) -> Result<Option<bool>, StoreError> {
    let Some(view) = work.subject.view(&work.knowledge)? else { return Ok(None) };
    if view.header.version_number() > work.at {
        // Somebody else has been told more: the link is back, and this client is told the same in its turn.
        return Ok(Some(false));
    }
    let mut view = view.with_local(&work.knowledge)?;
    // No event leads the client back behind where it is.
    if view.header.version_number() < work.subject.version {
        view.header.resource_version = work.subject.version.to_string();
    }
    let there: BTreeMap<String, &(Vec<u8>, Local)> = view.written_here().iter().map(|local| (local.1.place(), local)).collect();
    match work.take_back_those(|place, _| !there.contains_key(place))? {
        Some(false) => {}
        other => return Ok(other),
    }
    for (place, (key, local)) in there {
        let before = work.seen.get(&place);
        if before.is_some_and(|(known, _)| known == local) {
            continue;
        }
        if work.bytes >= PAGE {
            return Ok(Some(true));
        }
        let was_shown = before.is_some_and(|(_, shown)| *shown);
        let item = work.way.item(view.written(&work.knowledge, local)?)?;
        if was_shown && item.is_none() {
            return Ok(None);
        }
        work.seen.insert(place, (local.clone(), item.is_some()));
        if let Some(item) = item {
            let kind = if was_shown || view.has(key)? { EventType::Modified } else { EventType::Added };
            work.tell(kind, item);
        }
    }
    Ok(Some(false))
}

impl Work {
    fn tell(&mut self, kind: EventType, item: Vec<u8>) {
        self.bytes += item.len();
        self.events.push((kind, item));
    }

    /// As [`step`].
    fn take_back(&mut self, until: Until) -> Result<Option<bool>, StoreError> {
        let knowledge = self.knowledge.clone();
        self.take_back_those(|_, local| until == Until::Now || !knowledge.is_written_here(local))
    }

    fn take_back_those(&mut self, which: impl Fn(&str, &Local) -> bool) -> Result<Option<bool>, StoreError> {
        let back = self.seen.iter().filter(|(place, (local, _))| which(place, local));
        let back: Vec<String> = back.map(|(place, _)| place.clone()).collect();
        for place in back {
            if self.bytes >= PAGE {
                return Ok(Some(true));
            }
            let Some((local, true)) = self.seen.remove(&place) else { continue };
            let (kind, item) = match self.knowledge.taken_back(&self.subject.scope, self.at, &local)? {
                TakenBack::Unknown => return Ok(None),
                TakenBack::Clouds => {
                    self.taken.extend(local.new_place().map(str::to_owned));
                    continue;
                }
                TakenBack::Modified(item) => (EventType::Modified, item),
                TakenBack::Deleted(item) => (EventType::Deleted, item),
            };
            match self.way.item(Some(item))? {
                Some(item) => self.tell(kind, item),
                None => return Ok(None),
            }
        }
        Ok(Some(false))
    }
}

impl Way {
    /// As the client is to see it; `None`: it is not.
    fn item(&self, item: Option<Vec<u8>>) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(item) = item else { return Ok(None) };
        let shown = self.form.of(self.chain.as_ref(), self.encoding, &self.types, item);
        shown.map_err(|error| StoreError::Backend(format!("filter: {error}")))
    }
}
