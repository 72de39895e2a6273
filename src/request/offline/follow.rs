//! What is written on this node while a watch is open comes as its events.
//!
//! Once something that the client was shown is no more so (the cloud has it, or has refused it), the watch has nothing
//! exact to say of it, and its client is to list again.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

use super::presented::{Form, PAGE};
use crate::kube::list::Encoding;
use crate::kube::object::TypeMeta;
use crate::kube::selector::Fields;
use crate::kube::watch::EventType;
use crate::request::filter::Chain;
use crate::store::{Header, Knowledge, ListView, Local, Scope, StoreError};

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
    seen: Seen,
}

/// By its key each of those that there are, and whether the client was shown it.
type Seen = BTreeMap<Vec<u8>, (Local, bool)>;

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
    /// `None`: nothing of it is ever written on this node.
    pub(super) fn begin(knowledge: &Arc<Knowledge>, subject: &Subject) -> Option<Self> {
        let follow = || Self {
            knowledge: knowledge.clone(),
            writes: knowledge.writes_here(),
            subject: subject.clone(),
            seen: Seen::new(),
        };
        subject.scope.may_be_written_here().then(follow)
    }

    /// All that a view has comes to the client another way.
    pub(super) fn showed(&mut self, view: &ListView) {
        self.seen = view.written_here().iter().map(|(key, local)| (key.clone(), (local.clone(), true))).collect();
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
        let (knowledge, subject, way, seen) =
            (self.knowledge.clone(), self.subject.clone(), way.clone(), std::mem::take(&mut self.seen));
        let step = move || step(&knowledge, &subject, &way, seen);
        let failed = |error: String| {
            tracing::warn!(error, "a watch cannot go on with what is written on this node");
            Overtaken
        };
        let result = tokio::task::spawn_blocking(step).await.map_err(|error| failed(error.to_string()))?;
        let (step, seen) = result.map_err(|error| failed(error.to_string()))?.ok_or(Overtaken)?;
        self.seen = seen;
        Ok(step)
    }
}

/// `None`: the client is to list again.
fn step(knowledge: &Knowledge, subject: &Subject, way: &Way, mut seen: Seen) -> Result<Option<(Step, Seen)>, StoreError> {
    let Some(view) = subject.view(knowledge)? else { return Ok(None) };
    let mut view = view.with_local(knowledge)?;
    // No event leads the client back behind where it is.
    if view.header.version_number() < subject.version {
        view.header.resource_version = subject.version.to_string();
    }
    let there: BTreeMap<&[u8], &Local> = view.written_here().iter().map(|(key, local)| (key.as_slice(), local)).collect();
    if seen.iter().any(|(key, (_, shown))| *shown && !there.contains_key(key.as_slice())) {
        return Ok(None);
    }
    seen.retain(|key, _| there.contains_key(key.as_slice()));
    let (mut events, mut bytes) = (Vec::new(), 0);
    for (key, local) in there {
        let before = seen.get(key);
        if before.is_some_and(|(known, _)| known == local) {
            continue;
        }
        if bytes >= PAGE {
            return Ok(Some((Step { events, more: true }, seen)));
        }
        let was_shown = before.is_some_and(|(_, shown)| *shown);
        let item = way.item(view.written(knowledge, local)?)?;
        if was_shown && item.is_none() {
            return Ok(None);
        }
        seen.insert(key.to_vec(), (local.clone(), item.is_some()));
        if let Some(item) = item {
            bytes += item.len();
            let kind = if was_shown || view.has(key)? { EventType::Modified } else { EventType::Added };
            events.push((kind, item));
        }
    }
    Ok(Some((Step { events, more: false }, seen)))
}

impl Way {
    /// As the client is to see it; `None`: it is not.
    fn item(&self, item: Option<Vec<u8>>) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(item) = item else { return Ok(None) };
        let shown = self.form.of(self.chain.as_ref(), self.encoding, &self.types, item);
        shown.map_err(|error| StoreError::Backend(format!("filter: {error}")))
    }
}
