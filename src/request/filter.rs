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
mod inclusterconfig;
mod item;
mod masterservice;
mod nodeportisolation;
mod serviceenvupdater;
mod servicetopology;
mod shown;
#[cfg(test)]
mod testing;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

pub(super) use body::{Beginning, Filtered, OUTDATED, Transform, edit};
pub(super) use catchup::Source;
pub use chain::Chain;
pub(super) use shown::Shown;

use crate::kube::media::Form;
use crate::kube::message::MessageError;
use crate::kube::object::ObjectError;
use crate::request::context::{Context, Refusal};
use crate::runtime::metrics::{FilterLabel, Metrics};
use crate::state::filters::Filter;
use crate::state::inputs::{Inputs, Part};
use crate::state::rules::{RuleSet, Rules};

/// How long a request waits for what its filters go by.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where the hub listens for Pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hub {
    pub address: IpAddr,
    pub port: u16,
}

/// Why an item could not be filtered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    #[error(transparent)]
    Object(#[from] ObjectError),
    #[error("{0}")]
    Message(#[from] MessageError),
    #[error("not exactly one {0}")]
    Missing(&'static str),
}

/// All filters of the hub, and what they share.
pub struct Filters {
    pub hub: Hub,
    pub node_name: String,
    pub inputs: Arc<Inputs>,
    pub rules: Arc<Rules>,
    pub metrics: Arc<Metrics>,
}

/// What decides which filters serve a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    pub component: String,
    pub group: String,
    pub resource: String,
    pub verb: String,
    /// Whole objects are asked for, not their metadata or a Table.
    pub whole: bool,
}

/// The filters that serve one request, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decision(Vec<Filter>);

impl Ask {
    /// `None`: no filter ever looks at the answer to such a request.
    fn of(context: &Context) -> Option<Self> {
        let info = &context.info;
        let read = info.is_read() && context.method == http::Method::GET;
        let written = matches!(info.verb.as_str(), "patch" | "update") && matches!(info.subresource.as_str(), "" | "status");
        // inclusterconfig's ConfigMap is in kube-system; the watches of all others pay for nothing.
        let elsewhere = info.resource == "configmaps" && !matches!(info.namespace.as_str(), "" | "kube-system");
        if elsewhere
            || !(read || written)
            || !Filter::ALL.iter().any(|filter| concerns(*filter, &info.api_group, &info.resource, &info.verb))
        {
            return None;
        }
        Some(Self {
            component: context.component.clone(),
            group: info.api_group.clone(),
            resource: info.resource.clone(),
            verb: info.verb.clone(),
            whole: context.accepts.iter().all(|media| media.form == Form::Full),
        })
    }
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
        self.0.is_empty()
    }

    pub fn filters(&self) -> &[Filter] {
        &self.0
    }
}

impl std::fmt::Display for Decision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.0.iter().map(|filter| filter.name()).collect();
        f.write_str(if names.is_empty() { "no filter" } else { "" })?;
        f.write_str(&names.join(", "))
    }
}

impl Filters {
    /// Decides for one request. Pure.
    pub fn decide(rules: &RuleSet, ask: &Ask) -> Decision {
        let serves =
            |filter: &Filter| concerns(*filter, &ask.group, &ask.resource, &ask.verb) && rules.serves(*filter, &ask.component);
        Decision(Filter::ALL.into_iter().filter(serves).collect())
    }

    /// The filters for a request, ready to work; `None`: none ever looks at its answer.
    pub(super) async fn chain(self: &Arc<Self>, context: &Context) -> Result<Option<Chain>, Refusal> {
        match Ask::of(context) {
            Some(ask) => self.chain_for(ask).await.map(Some).map_err(|filter| {
                Refusal::unavailable(format!(
                    "filter {} does not know yet what it goes by, and nothing is passed on without it",
                    filter.name()
                ))
            }),
            None => Ok(None),
        }
    }

    /// The same for one that is asked for in these words. Fails with the filter for safety that does not know what
    /// it goes by.
    pub async fn chain_for(self: &Arc<Self>, ask: Ask) -> Result<Chain, Filter> {
        let decision = Self::decide(&self.rules.current(), &ask);
        let mut ready = Vec::new();
        for filter in decision.filters() {
            if self.inputs.known(needs(*filter, ask.whole), PATIENCE).await {
                ready.push(*filter);
                continue;
            }
            self.count(*filter);
            if filter.is_for_safety() {
                return Err(*filter);
            }
            tracing::warn!(filter = filter.name(), "passed on unfiltered: what the filter goes by is not known yet");
        }
        Ok(Chain::new(self.clone(), ask, decision, Decision(ready)))
    }

    fn count(&self, filter: Filter) {
        self.metrics.filter_errors.get_or_create(&FilterLabel { filter: filter.name() }).inc();
    }
}

/// What a filter goes by beside the object at hand. Whole Services say of themselves what hides them.
fn needs(filter: Filter, whole: bool) -> &'static [Part] {
    match (filter, whole) {
        (Filter::DiscardCloudService, false) => &[Part::Services],
        (Filter::NodePortIsolation, true) => &[Part::Node],
        (Filter::NodePortIsolation, false) => &[Part::Node, Part::Services],
        (Filter::ServiceTopology, _) => &[Part::Node, Part::Pool, Part::Topology],
        _ => &[],
    }
}
