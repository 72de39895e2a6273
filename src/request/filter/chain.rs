//! The filters of one request at work on one item.
//!
//! Receives an item and the kind of the answer it stands in. Promises what becomes of it, by the facts that were known
//! when the chain was made: one answer is never half by old facts and half by new ones. An item that a filter for
//! safety cannot read is an error; one for comfort leaves it as it is. Both are counted.
//!
//! In metadata form there is nothing to rewrite, and what hides goes by the hub's own knowledge of the Service. A row of
//! a Table is judged by its object; where a client wants none, the cloud is asked for it and it stays here.

use std::borrow::Cow;
use std::sync::Arc;

use super::item::{Item, name};
use super::shown::Shown;
use super::{Ask, By, Decision, EDITION, FilterError, Filters, Under, needs, user};
use super::{discardcloudservice, forwardkubesvctraffic, inclusterconfig, masterservice, nodeportisolation};
use super::{serviceenvupdater, servicetopology};
use crate::kube::list::{Encoding, Reserve};
use crate::kube::message::{self, Edit};
use crate::kube::object::TypeMeta;
use crate::kube::schema::{METADATA, meta, service, table};
use crate::state::filters::Filter;
use crate::state::hidden::{Hidden, Standing};
use crate::state::inputs::{DISCARD, Facts, LISTEN, Part, Service, ServiceName};
use crate::state::mark;
use crate::state::user_rule::{OnError, Term, UserRule};

/// How the object at hand is presented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Full,
    Metadata,
    /// One row of a Table.
    Row,
}

impl Shape {
    /// By what an object says of itself: a custom resource may be called `Table` too.
    pub(super) fn of_object(types: &TypeMeta) -> Self {
        if types.api_version.starts_with("meta.k8s.io/") { Self::of(&types.kind) } else { Self::Full }
    }

    /// By the kind of an object or of a list.
    pub(super) fn of(kind: &str) -> Self {
        match kind {
            "Table" => Self::Row,
            kind if kind.starts_with("PartialObjectMetadata") => Self::Metadata,
            _ => Self::Full,
        }
    }
}

/// The filters of one request.
#[derive(Clone)]
pub struct Chain {
    filters: Arc<Filters>,
    ask: Ask,
    decided: Decision,
    /// Those of them that know what they go by.
    decision: Decision,
    facts: Arc<Facts>,
    /// This node as the users' rules know it.
    node: Option<Term>,
}

/// Nobody knows what a client was shown.
#[derive(Debug)]
pub(in crate::request) struct Unknown;

impl Chain {
    pub(super) fn new(filters: Arc<Filters>, ask: Ask, decided: Decision, ready: Decision) -> Self {
        let facts = filters.inputs.current();
        let node = ready.rules().iter().any(|rule| rule.uses_node()).then(|| user::node(&filters.node_name, &facts));
        Self { filters, ask, decided, decision: ready, facts, node }
    }

    /// Whether every item stays as it is.
    pub fn is_empty(&self) -> bool {
        self.decision.is_empty()
    }

    /// Whether nothing serves the request, not even what does not know yet what it goes by.
    pub(in crate::request) fn serves_nothing(&self) -> bool {
        self.decided.is_empty()
    }

    pub fn decision(&self) -> &Decision {
        &self.decision
    }

    /// What a client is told under: the decision, what of it is ready, and the state of what that goes by. Two chains with the
    /// same mark tell the same, in whichever process of the hub, as far as [`EDITION`] is raised when it has to be. `None`:
    /// nothing serves the client.
    pub(in crate::request) fn mark(&self) -> Option<u64> {
        if self.decided.is_empty() {
            return None;
        }
        let of = |decision: &Decision| {
            let filters: Vec<&str> = decision.filters().iter().map(|filter| filter.name()).collect();
            let rules: Vec<u64> = decision.rules().iter().map(|rule| rule.mark()).collect();
            (filters, rules)
        };
        let (hub, node) = (&self.filters.hub, &self.filters.node_name);
        let facts: Vec<u64> = self.needed().map(|part| self.facts.mark(part)).collect();
        Some(mark::of(&(EDITION, hub, node, of(&self.decided), of(&self.decision), facts)))
    }

    /// The client has been told what there is under this chain.
    pub(super) fn is_told(&self) {
        self.filters.told.note(self.ask.client, self.told());
    }

    /// The client is being told what is different under this chain.
    pub(super) fn is_being_told(&self) {
        self.filters.told.went_on(self.ask.client, self.told());
    }

    fn told(&self) -> Option<u64> {
        Under::new(&self.ask.group, &self.ask.resource, self.mark()).by(By::Cloud)
    }

    /// What the filters go by, those that wait for it as well.
    fn needed(&self) -> impl Iterator<Item = Part> {
        let filters = self.decided.filters().iter().flat_map(|filter| needs(*filter, &self.ask));
        filters.chain(self.decided.rules().iter().flat_map(|rule| user::needs(rule))).copied()
    }

    /// Whether any of the filters may hide an item.
    pub(in crate::request) fn hides(&self) -> bool {
        self.decision.filters().iter().any(|filter| matches!(filter, Filter::DiscardCloudService | Filter::NodePortIsolation))
            || self.decision.rules().iter().any(|rule| rule.drops() || rule.on_error() == OnError::Drop)
    }

    /// Whether rows are to be asked for with what they are judged by, although the client wants them without.
    pub(in crate::request) fn asks_for_objects(&self) -> bool {
        self.ask.bare_rows && self.hides()
    }

    /// Whether it reads JSON alone: the users' rules know no other fields than what they name.
    pub(in crate::request) fn wants_json(&self) -> bool {
        !self.decision.rules().is_empty()
    }

    /// What an object is known by in what is shown and hidden.
    pub(in crate::request) fn key(&self, name: &ServiceName) -> u64 {
        Hidden::key(name)
    }

    /// Notes what is hidden from the client of what it was told up to a version.
    pub(in crate::request) fn hides_at(&self, version: u64, keys: impl IntoIterator<Item = u64>) {
        self.filters.hidden.note(self.standing(version), keys);
    }

    /// What is hidden from the client at a version still is at a later one: nothing has happened in between.
    pub(in crate::request) fn hides_still(&self, version: u64, later: u64) {
        if let Some(hidden) = self.filters.hidden.known(&self.standing(version)).filter(|_| self.hides()) {
            self.hides_at(later, hidden);
        }
    }

    /// What a client was shown that goes on from a version, if anything is hidden from it or may be; fails if that is not
    /// known.
    pub(in crate::request) fn shown_at(&self, version: u64) -> Result<Option<Shown>, Unknown> {
        match self.filters.hidden.known(&self.standing(version)) {
            None if self.hides() => Err(Unknown),
            Some(hidden) if self.hides() || !hidden.is_empty() => Ok(Some(Shown::all_but(hidden))),
            _ => Ok(None),
        }
    }

    fn standing(&self, version: u64) -> Standing {
        Standing { client: self.ask.client, version, under: self.mark() }
    }

    /// The filter for safety, if there is one, that stands in the way of an answer which no filter can read; it is
    /// counted for every filter.
    pub(in crate::request) fn unreadable(&self) -> Option<String> {
        let filters = self.decision.filters().iter().map(|filter| (filter.name().to_owned(), filter.is_for_safety()));
        let rules = self.decision.rules().iter().map(|rule| (rule.label(), rule.on_error() != OnError::Keep));
        let all: Vec<(String, bool)> = filters.chain(rules).collect();
        all.iter().for_each(|(name, _)| self.filters.count(name));
        all.into_iter().find(|(_, for_safety)| *for_safety).map(|(name, _)| name)
    }

    /// An item that cannot be read at all is refused by a filter for safety, and as it is for all others. Where one has
    /// refused already, that stands.
    pub(super) fn or_keep(&self, edit: Result<Edit, FilterError>) -> Result<Edit, FilterError> {
        edit.or_else(|error| match error {
            FilterError::Refused(_) => Err(error),
            error => match self.unreadable() {
                Some(name) => Err(FilterError::Refused(format!("{name}: {error}"))),
                None => Ok(Edit::Keep),
            },
        })
    }

    /// By how much the items of a protobuf list may grow. Of one resource's filters one at most makes anything longer.
    pub fn reserve(&self) -> Reserve {
        let hub = &self.filters.hub;
        let reserve = self.decision.filters().iter().find_map(|filter| match filter {
            Filter::MasterService => Some(masterservice::RESERVE),
            Filter::ForwardKubeSvcTraffic => Some(forwardkubesvctraffic::RESERVE),
            Filter::InClusterConfig => Some(inclusterconfig::RESERVE),
            Filter::ServiceEnvUpdater => Some(serviceenvupdater::reserve(hub)),
            Filter::DiscardCloudService | Filter::NodePortIsolation | Filter::ServiceTopology => None,
        });
        reserve.unwrap_or(|_| 0)
    }

    /// Returns once the chain would be another one: its rules or the facts that it goes by have changed.
    pub async fn outdated(&self) {
        let (mut rules, mut inputs) = (self.filters.rules.changes(), self.filters.inputs.changes());
        while !self.is_outdated() {
            let changed = tokio::select! {
                changed = rules.changed() => changed,
                changed = inputs.changed() => changed,
            };
            if changed.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// The chain as it would be made now; `None`: a filter for safety would refuse.
    pub(super) async fn renewed(&self) -> Option<Self> {
        self.filters.chain_for(self.ask.clone()).await.ok()
    }

    fn is_outdated(&self) -> bool {
        if Filters::decide(&self.filters.rules.current(), &self.ask) != self.decided {
            return true;
        }
        let now = self.filters.inputs.current();
        self.needed().any(|part| !now.agrees(&self.facts, part))
    }

    /// What becomes of an item that stands in a list of this kind, or of an object of this kind.
    pub fn item(&self, encoding: Encoding, kind: &str, item: &[u8]) -> Result<Edit, FilterError> {
        self.shaped(encoding, Shape::of(kind), item)
    }

    pub(super) fn shaped(&self, encoding: Encoding, shape: Shape, item: &[u8]) -> Result<Edit, FilterError> {
        if shape == Shape::Row {
            return self.or_keep(self.row(item));
        }
        let mut now = Cow::Borrowed(item);
        for filter in self.decision.filters() {
            let edit = match shape {
                Shape::Full => self.full(*filter, &Item { encoding, bytes: &now }),
                _ => self.metadata(*filter, &Item { encoding, bytes: &now }),
            };
            match edit {
                Ok(Edit::Keep) => {}
                Ok(Edit::Replace(new)) => now = Cow::Owned(new),
                Ok(Edit::Remove) => return Ok(Edit::Remove),
                Err(error) => {
                    self.filters.count(filter.name());
                    if filter.is_for_safety() {
                        return Err(FilterError::Refused(format!("{}: {error}", filter.name())));
                    }
                }
            }
        }
        for rule in self.decision.rules() {
            match self.by_rule(rule, shape, &Item { encoding, bytes: &now })? {
                Edit::Keep => {}
                Edit::Replace(new) => now = Cow::Owned(new),
                Edit::Remove => return Ok(Edit::Remove),
            }
        }
        Ok(match now {
            Cow::Borrowed(_) => Edit::Keep,
            Cow::Owned(new) => Edit::Replace(new),
        })
    }

    fn by_rule(&self, rule: &UserRule, shape: Shape, item: &Item<'_>) -> Result<Edit, FilterError> {
        if item.encoding != Encoding::Json {
            // That says nothing of the object: whatever the rule wants where it fails, it is not this.
            self.filters.count(&rule.label());
            return Err(FilterError::Refused(format!("{} reads JSON", rule.label())));
        }
        user::apply(rule, self.node.as_ref(), shape == Shape::Full, item).or_else(|why| {
            self.filters.count(&rule.label());
            match rule.on_error() {
                OnError::Keep => Ok(Edit::Keep),
                OnError::Drop => Ok(Edit::Remove),
                OnError::Refuse => Err(FilterError::Refused(format!("{}: {why}", rule.label()))),
            }
        })
    }

    fn row(&self, row: &[u8]) -> Result<Edit, FilterError> {
        let (mut removed, mut judged) = (false, false);
        let edited = message::edit(Encoding::Json, row, table::OBJECT, |object| {
            let kind = message::text(Encoding::Json, object, message::Field::new("kind", 0))?;
            // A Table within a row is read as any other object: tables in tables would take as much stack as they like.
            let shape = if Shape::of(&kind) == Shape::Metadata { Shape::Metadata } else { Shape::Full };
            let edit = self.shaped(Encoding::Json, shape, object)?;
            removed |= edit == Edit::Remove;
            judged = true;
            Ok::<_, FilterError>(if self.ask.bare_rows { Edit::Replace(b"null".to_vec()) } else { edit })
        })?;
        if self.hides() && !judged {
            return Err(FilterError::Missing("object in a row"));
        }
        Ok(match edited {
            _ if removed => Edit::Remove,
            Some(row) => Edit::Replace(row),
            None => Edit::Keep,
        })
    }

    fn full(&self, filter: Filter, item: &Item<'_>) -> Result<Edit, FilterError> {
        let (hub, facts) = (&self.filters.hub, &*self.facts);
        match filter {
            Filter::DiscardCloudService => Ok(hidden(discardcloudservice::hides(&name(item)?, &service_of(item)?))),
            Filter::NodePortIsolation => Ok(hidden(nodeportisolation::hides(own_pool(facts), &service_of(item)?))),
            Filter::MasterService => masterservice::apply(hub, item),
            Filter::ServiceTopology => {
                let slices = self.ask.resource == "endpointslices";
                servicetopology::apply(facts, &self.filters.node_name, slices, item)
            }
            Filter::ForwardKubeSvcTraffic => forwardkubesvctraffic::apply(hub, item),
            Filter::InClusterConfig => inclusterconfig::apply(item),
            Filter::ServiceEnvUpdater => serviceenvupdater::apply(hub, item),
        }
    }

    /// Only what hides has anything to do with metadata.
    fn metadata(&self, filter: Filter, item: &Item<'_>) -> Result<Edit, FilterError> {
        if !matches!(filter, Filter::DiscardCloudService | Filter::NodePortIsolation) {
            return Ok(Edit::Keep);
        }
        let name = name(item)?;
        let known = self.facts.services.as_ref().and_then(|services| services.get(&name)).cloned();
        let service = match known {
            Some(service) => service,
            // Younger than the hub's own knowledge: of the kind that is hidden, until it is known better.
            None => Service { kind: "LoadBalancer".to_owned(), ..service_of(item)? },
        };
        Ok(hidden(match filter {
            Filter::DiscardCloudService => discardcloudservice::hides(&name, &service),
            _ => nodeportisolation::hides(own_pool(&self.facts), &service),
        }))
    }
}

fn hidden(hides: bool) -> Edit {
    if hides { Edit::Remove } else { Edit::Keep }
}

fn own_pool(facts: &Facts) -> Option<&str> {
    facts.node.as_ref().and_then(|node| node.pool.as_deref())
}

/// What filters want to know of a Service, from itself. Its type matters only beside an annotation, and stands far behind.
fn service_of(item: &Item<'_>) -> Result<Service, FilterError> {
    let encoding = item.encoding;
    let annotation = |key| {
        let value = message::inner_entry(encoding, item.bytes, METADATA, meta::ANNOTATIONS, key);
        value.map(|value| value.map(Cow::into_owned))
    };
    let (listen, discard) = (annotation(LISTEN)?, annotation(DISCARD)?);
    let mut kind = String::new();
    if (listen.is_some() || discard.is_some())
        && let Some(spec) = message::part(encoding, item.bytes, service::SPEC)?
    {
        kind = message::text(encoding, spec, service::TYPE)?.into_owned();
    }
    Ok(Service { kind, listen, discard })
}

#[cfg(test)]
mod tests;
