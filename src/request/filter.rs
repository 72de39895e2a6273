//! What must be different at the edge: filters on the way out to the client.
//!
//! Which filters serve a request is decided once for it ([`Filters::decide`]), by component, resource and verb, and the
//! decision is a value that can be printed. With what they go by ([`Inputs`]) they make a [`Chain`]; the same chain
//! edits the cloud's answers as they stream and the store's items one by one, so both read alike. The store itself keeps
//! the cloud's bytes.
//!
//! A filter that hides comes before one that rewrites, in the order of [`Filter::ALL`]. What a filter goes by and does
//! not know yet is waited for, briefly; then a filter for safety refuses and one for comfort passes the answer on.

mod body;
mod catchup;
mod chain;
mod discardcloudservice;
mod forwardkubesvctraffic;
mod handed;
mod inclusterconfig;
mod item;
mod masterservice;
mod nodeportisolation;
mod passing;
mod serviceenvupdater;
mod servicetopology;
mod shown;
mod stood;
#[cfg(test)]
mod testing;
mod told;
mod user;
mod whole;

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

pub(super) use body::OUTDATED;
pub use body::{Beginning, Filtered, Transform};
pub use catchup::Source;
pub use chain::Chain;
pub(super) use handed::{Handed, LONGEST};
pub(super) use passing::{Passing, Served};
pub use shown::Shown;
pub use stood::{Mark, Stands, Stood, Taken};
use told::Under;
pub(super) use told::{Basis, By, LEFT_BEHIND, Note, OVERTAKEN, overtaken, resumes};
pub(super) use whole::edit;

use crate::kube::media::{Form, Media};
use crate::kube::message::MessageError;
use crate::kube::object::ObjectError;
use crate::kube::table;
use crate::request::context::{Caller, Context, Refusal};
use crate::runtime::metrics::{FilterLabel, Metrics};
use crate::state::filters::Filter;
use crate::state::hidden::Hidden;
use crate::state::inputs::{Inputs, Part};
use crate::state::mark;
use crate::state::rules::{RuleSet, Rules};
use crate::state::told::Told;
use crate::state::user_rule::{self, OnError, UserRule};

/// How long a request waits for what all its filters go by, and before that for the ConfigMap that names them.
const PATIENCE: Duration = Duration::from_secs(2);

/// Raised whenever a filter or rule makes something else of an object than before: whoever was told by a process with
/// another one lists again. tests/filter_fixtures.rs notices it of the filters, nobody of the rules.
pub const EDITION: u32 = 1;

/// Where the hub listens for Pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hub {
    pub address: IpAddr,
    pub port: u16,
}

/// Why an item could not be filtered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    #[error(transparent)]
    Object(#[from] ObjectError),
    #[error("{0}")]
    Message(#[from] MessageError),
    #[error("not exactly one {0}")]
    Missing(&'static str),
    #[error("its Service cannot be read")]
    Service,
    #[error("an event of a type that is not known")]
    Event,
    #[error("{0}")]
    Body(String),
    /// A filter's or rule's last word; it is counted already.
    #[error("{0}")]
    Refused(String),
}

/// All filters of the hub, and what they share.
pub struct Filters {
    pub hub: Hub,
    pub node_name: String,
    pub inputs: Arc<Inputs>,
    pub rules: Arc<Rules>,
    pub told: Arc<Told>,
    pub hidden: Arc<Hidden>,
    pub metrics: Arc<Metrics>,
}

/// What decides which filters serve a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ask {
    pub component: String,
    /// As the kube-apiserver calls the caller; empty: unknown.
    pub user: String,
    pub group: String,
    pub resource: String,
    pub namespace: String,
    pub verb: String,
    /// Whole objects are asked for, not their metadata or a Table.
    pub whole: bool,
    /// The rows of a Table are to have no objects.
    pub bare_rows: bool,
    /// The users' rules leave it alone.
    pub unruled: bool,
    /// Whoever lists and then watches from there, as well as it can be told.
    pub client: u64,
}

/// What serves one request, in order: the hub's filters, then the users' rules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decision {
    filters: Vec<Filter>,
    rules: Vec<Arc<UserRule>>,
}

impl Ask {
    fn rule(&self) -> user_rule::Asked<'_> {
        user_rule::Asked {
            component: &self.component,
            user: &self.user,
            group: &self.group,
            resource: &self.resource,
            namespace: &self.namespace,
        }
    }
}

/// Subresources whose answers are the whole object.
const WHOLE: [&str; 4] = ["status", "ephemeralcontainers", "resize", "approval"];

/// Whether the answer shows objects, or that they are there (HEAD).
fn is_read(context: &Context) -> bool {
    let info = &context.info;
    let part = info.verb == "get" && WHOLE.contains(&info.subresource.as_str());
    info.is_read() || part
}

/// Whether the users' rules may look at the answer. The hub itself reads what is so: a rule that hides the ConfigMap it
/// stands in must not undo itself.
fn may_be_ruled(context: &Context) -> bool {
    is_read(context) && !context.peer.is_internal()
}

/// Whether whole objects are asked for, not their metadata or a Table.
fn wants_whole(context: &Context) -> bool {
    context.accepts.iter().all(|media| media.form == Form::Full)
}

/// Whether a Table with whole objects in its rows is what is asked for first.
fn wants_whole_rows(context: &Context) -> bool {
    let is_table = |media: &Media| matches!(&media.form, Form::As(form) if table::is_form(form));
    context.info.query.include_object == "Object" && context.accepts.first().is_some_and(is_table)
}

/// Whether one of the hub's filters ever looks at the answer to such a request.
fn is_concerned(context: &Context) -> bool {
    let info = &context.info;
    let whole = info.subresource.is_empty() || WHOLE.contains(&info.subresource.as_str());
    let written = matches!(info.verb.as_str(), "patch" | "update") && whole;
    // inclusterconfig's ConfigMap is in kube-system; the watches of all others pay for nothing.
    let elsewhere = info.resource == "configmaps" && !matches!(info.namespace.as_str(), "" | "kube-system");
    !elsewhere
        && (is_read(context) || written)
        && Filter::ALL.iter().any(|filter| concerns(*filter, &info.api_group, &info.resource, &info.verb))
}

/// Whether the filter looks at answers to such requests, whoever asks.
fn concerns(filter: Filter, group: &str, resource: &str, verb: &str) -> bool {
    let read = matches!(verb, "get" | "list" | "watch");
    match filter {
        Filter::DiscardCloudService | Filter::NodePortIsolation | Filter::MasterService => {
            read && (group, resource) == ("", "services")
        }
        Filter::ServiceTopology => {
            read && matches!((group, resource), ("", "endpoints") | ("discovery.k8s.io", "endpointslices"))
        }
        Filter::ForwardKubeSvcTraffic => read && (group, resource) == ("discovery.k8s.io", "endpointslices"),
        Filter::InClusterConfig => read && (group, resource) == ("", "configmaps"),
        Filter::ServiceEnvUpdater => (group, resource) == ("", "pods"),
    }
}

impl Decision {
    pub fn is_empty(&self) -> bool {
        self.filters.is_empty() && self.rules.is_empty()
    }

    pub fn filters(&self) -> &[Filter] {
        &self.filters
    }

    pub fn rules(&self) -> &[Arc<UserRule>] {
        &self.rules
    }
}

impl std::fmt::Display for Decision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let filters = self.filters.iter().map(|filter| filter.name().to_owned());
        let names: Vec<String> = filters.chain(self.rules.iter().map(|rule| rule.label())).collect();
        f.write_str(if names.is_empty() { "no filter" } else { "" })?;
        f.write_str(&names.join(", "))
    }
}

impl Filters {
    /// Decides for one request. Pure.
    pub fn decide(rules: &RuleSet, ask: &Ask) -> Decision {
        let serves =
            |filter: &Filter| concerns(*filter, &ask.group, &ask.resource, &ask.verb) && rules.serves(*filter, &ask.component);
        let filters = Filter::ALL.into_iter().filter(serves).collect();
        let ruled = !ask.unruled && matches!(ask.verb.as_str(), "get" | "list" | "watch");
        let rules = rules.user.iter().filter(|rule| ruled && rule.serves(&ask.rule())).cloned().collect();
        Decision { filters, rules }
    }

    /// The filters for a request, ready to work; `None`: none ever looks at its answer.
    pub(super) async fn chain(self: &Arc<Self>, context: &Context) -> Result<Option<Chain>, Refusal> {
        let concerned = is_concerned(context);
        // One for all that the request waits for: here, for the cloud, and for the store if the link fails meanwhile.
        let until = Instant::from_std(context.started) + PATIENCE;
        if may_be_ruled(context) {
            // Only at the hub's first start; later the ConfigMap is remembered.
            self.rules.settled(until).await;
        }
        if !concerned && (self.rules.current().user.is_empty() || !may_be_ruled(context)) {
            return Ok(None);
        }
        let ask = self.ask(context);
        if !concerned && Self::decide(&self.rules.current(), &ask).is_empty() {
            return Ok(None);
        }
        self.chain_by(until, ask).await.map(Some).map_err(|filter| {
            Refusal::unavailable(format!(
                "filter {filter} does not know yet what it goes by, and nothing is passed on without it"
            ))
        })
    }

    /// A Pod has an address of its own, and comes by it.
    fn client(&self, context: &Context) -> u64 {
        let (info, query) = (&context.info, &context.info.query);
        let address = context.peer.remote.ip().to_string();
        let whole = match (wants_whole(context), wants_whole_rows(context)) {
            (true, _) => "whole",
            (_, true) => "whole rows",
            _ => "",
        };
        let asker = [&*address, &context.component, &self.user(context)];
        let asked = [&*info.api_group, &info.resource, &info.namespace, &query.label_selector, &query.field_selector, whole];
        // Kept for other versions of the hub to read.
        mark::of_bytes([asker.join("\0"), asked.join("\0")].join("\0").as_bytes())
    }

    /// Returns once something serves a watch that nothing serves now; `None`: such a request is never looked at.
    pub(super) fn later(&self, context: &Context, chain: Option<Chain>) -> Option<Served> {
        if context.info.verb != "watch" {
            return None;
        }
        if let Some(chain) = chain {
            return Some(Box::pin(async move { chain.outdated().await }));
        }
        let asked = || passing::Asked::new(&self.ask(context));
        may_be_ruled(context).then(|| Box::pin(passing::served(self.rules.clone(), asked())) as Served)
    }

    fn ask(&self, context: &Context) -> Ask {
        let info = &context.info;
        Ask {
            component: context.component.clone(),
            user: self.user(context).into_owned(),
            group: info.api_group.clone(),
            resource: info.resource.clone(),
            namespace: info.namespace.clone(),
            verb: info.verb.clone(),
            whole: wants_whole(context),
            bare_rows: info.query.include_object == "None",
            unruled: !may_be_ruled(context),
            client: self.client(context),
        }
    }

    /// As the kube-apiserver calls the caller; empty: unknown.
    fn user<'a>(&self, context: &'a Context) -> Cow<'a, str> {
        match &context.caller {
            Caller::Node => format!("system:node:{}", self.node_name).into(),
            // Issuer and subject.
            _ => context.user().and_then(|user| user.split_whitespace().last()).unwrap_or_default().into(),
        }
    }

    /// The same for one that is asked for in these words. Fails with what does not know what it goes by and must not be
    /// passed by.
    pub async fn chain_for(self: &Arc<Self>, ask: Ask) -> Result<Chain, String> {
        self.chain_by(Instant::now() + PATIENCE, ask).await
    }

    async fn chain_by(self: &Arc<Self>, until: Instant, ask: Ask) -> Result<Chain, String> {
        let decision = Self::decide(&self.rules.current(), &ask);
        let mut ready = Decision::default();
        for filter in decision.filters() {
            if self.is_ready(needs(*filter, &ask), until, filter.name(), filter.is_for_safety()).await? {
                ready.filters.push(*filter);
            }
        }
        for rule in decision.rules() {
            if self.is_ready(user::needs(rule), until, &rule.label(), rule.on_error() != OnError::Keep).await? {
                ready.rules.push(rule.clone());
            }
        }
        Ok(Chain::new(self.clone(), ask, decision, ready))
    }

    /// Whether it is known what a filter or rule goes by; fails if nothing is to pass without it.
    async fn is_ready(&self, needs: &[Part], until: Instant, name: &str, for_safety: bool) -> Result<bool, String> {
        if self.inputs.known(needs, until).await {
            return Ok(true);
        }
        self.count(name);
        if for_safety {
            return Err(name.to_owned());
        }
        tracing::warn!(filter = name, "passed on unfiltered: what the filter goes by is not known yet");
        Ok(false)
    }

    fn count(&self, label: &str) {
        let figure = FilterLabel { filter: label.to_owned() };
        self.metrics.filter_errors.get_or_create(&figure).inc();
        // A rule that is gone may still serve an answer. Looked at last: background::config_watch, which takes the figures
        // of such rules away, does so after it has changed the rules.
        if !self.rules.current().counts(label) {
            self.metrics.filter_errors.remove(&figure);
        }
    }
}

/// What a filter goes by beside the object at hand. Whole Services say of themselves what hides them.
fn needs(filter: Filter, ask: &Ask) -> &'static [Part] {
    match (filter, ask.whole) {
        (Filter::DiscardCloudService, false) => &[Part::Services],
        (Filter::NodePortIsolation, true) => &[Part::Node],
        (Filter::NodePortIsolation, false) => &[Part::Node, Part::Services],
        // Slices name the zones of their endpoints.
        (Filter::ServiceTopology, _) if ask.resource == "endpoints" => &[Part::Node, Part::Pool, Part::Zone, Part::Topology],
        (Filter::ServiceTopology, _) => &[Part::Node, Part::Pool, Part::Topology],
        _ => &[],
    }
}

#[cfg(test)]
mod tests;
