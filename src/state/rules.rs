//! Which components are remembered and which filters serve them: what ConfigMap
//! yurt-hub-cfg changes while the hub runs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio::time::Instant;

use super::filters::Filter;
use super::user_rule::{self, BadRule, UserRule};

/// Components that yurthub always remembers; CoreDNS by both its names.
pub const ALWAYS: [&str; 8] =
    ["kubelet", "kube-proxy", "flanneld", "coredns", "CoreDNS", "raven-agent-ds", "yurttunnel-agent", "yurthub"];

/// The hub's own name as a component.
pub const SELF: &str = "holdfast";

/// A set of components; `*` is all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Agents {
    all: bool,
    named: BTreeSet<String>,
}

impl Agents {
    /// Reads a comma list, as `cache_agents` has it.
    pub fn parse(list: &str) -> Self {
        let mut agents = Self::default();
        for name in list.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            if name == "*" {
                agents.all = true
            } else {
                agents.named.insert(name.to_owned());
            }
        }
        agents
    }

    /// Whether it is named, not only one of all: what it has read is never given up for space.
    pub fn names(&self, component: &str) -> bool {
        self.named.contains(component)
    }

    pub fn contains(&self, component: &str) -> bool {
        self.all || component == SELF || ALWAYS.contains(&component) || self.named.contains(component)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleSet {
    pub cache_agents: Agents,
    /// The filters that are switched on, and the components that each serves.
    pub filters: BTreeMap<Filter, BTreeSet<String>>,
    /// The users' own, in order.
    pub user: Vec<Arc<UserRule>>,
}

impl RuleSet {
    /// The defaults, with these filters.
    pub fn new(cache_agents: Agents, filters: &[Filter]) -> Self {
        let components = |filter: &Filter| filter.components().iter().map(|name| (*name).to_owned()).collect();
        let filters = filters.iter().map(|filter| (*filter, components(filter))).collect();
        Self { cache_agents, filters, user: Vec::new() }
    }

    /// Whether errors are counted under this label: a filter's, or that of a rule that is there.
    pub fn counts(&self, label: &str) -> bool {
        user_rule::labelled(label).is_none_or(|name| self.user.iter().any(|rule| rule.name() == name))
    }

    /// Whether a filter is on and serves a component.
    pub fn serves(&self, filter: Filter, component: &str) -> bool {
        self.filters.get(&filter).is_some_and(|components| components.contains(component))
    }
}

pub struct Rules {
    default: RuleSet,
    current: ArcSwap<RuleSet>,
    changed: watch::Sender<()>,
    /// Whether it is known what the ConfigMap says, or that it cannot be read now.
    settled: watch::Sender<bool>,
}

impl Rules {
    pub fn new(default: RuleSet) -> Self {
        Self {
            current: ArcSwap::from_pointee(default.clone()),
            default,
            changed: watch::Sender::new(()),
            settled: watch::Sender::new(true),
        }
    }

    /// Rules that a ConfigMap is still to be read for.
    pub fn awaited(default: RuleSet) -> Self {
        Self { settled: watch::Sender::new(false), ..Self::new(default) }
    }

    /// The ConfigMap was read, or cannot be.
    pub fn settle(&self) {
        self.settled.send_if_modified(|settled| !std::mem::replace(settled, true));
    }

    /// Waits for that, but not for ever.
    pub async fn settled(&self, until: Instant) {
        if !*self.settled.borrow() {
            let mut settled = self.settled.subscribe();
            let _ = tokio::time::timeout_at(until, settled.wait_for(|settled| *settled)).await;
        }
    }

    pub fn current(&self) -> Arc<RuleSet> {
        self.current.load_full()
    }

    /// Told of each change.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Applies the keys of yurt-hub-cfg over the defaults; `None`: it is gone. Returns whether anything changed, and what
    /// is wrong with the users' rules: then those of before stay, all of them.
    pub fn apply(&self, data: Option<&BTreeMap<String, String>>) -> (bool, Option<BadRule>) {
        let mut rules = self.default.clone();
        let mut bad = None;
        if let Some(data) = data {
            if let Some(agents) = data.get("cache_agents") {
                rules.cache_agents = Agents::parse(agents);
            }
            for (filter, components) in &mut rules.filters {
                let more = data.get(filter.name()).map(String::as_str).unwrap_or_default();
                components.extend(more.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned));
            }
            let written = data.get("rules").map(String::as_str).unwrap_or_default();
            match user_rule::parse(written, &rules.user) {
                Ok(more) => rules.user.extend(more),
                Err(error) => {
                    rules.user.clone_from(&self.current.load().user);
                    bad = Some(error);
                }
            }
        }
        let before = self.current.load_full();
        let changed = *before != rules;
        self.current.store(Arc::new(rules));
        if changed {
            self.changed.send_replace(());
        }
        (changed, bad)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cache_agents_narrows_and_its_deletion_restores() {
        let rules = Rules::new(RuleSet::new(Agents::parse("*"), &[]));
        assert!(rules.current().cache_agents.contains("anything"));
        let data = std::collections::BTreeMap::from([("cache_agents".to_owned(), "calico, ,vector".to_owned())]);
        assert!(rules.apply(Some(&data)).0);
        let current = rules.current();
        assert!(current.cache_agents.contains("calico") && current.cache_agents.contains("vector"));
        assert!(current.cache_agents.contains("kubelet"), "kubelet is always remembered");
        assert!(current.cache_agents.names("calico") && !current.cache_agents.names("kubelet"));
        assert!(!current.cache_agents.contains("anything"));
        assert!(rules.apply(None).0);
        assert!(rules.current().cache_agents.contains("anything"));
        assert!(!rules.apply(None).0, "nothing changed");
    }

    #[test]
    fn a_filters_key_adds_components_and_switches_nothing_on() {
        let rules = Rules::new(RuleSet::new(Agents::parse("*"), &[Filter::MasterService]));
        let data =
            BTreeMap::from([("masterservice".to_owned(), "a, b,,".to_owned()), ("servicetopology".to_owned(), "a".to_owned())]);
        assert!(rules.apply(Some(&data)).0);
        let current = rules.current();
        let served = ["kubelet", "a", "b", "c"].map(|component| current.serves(Filter::MasterService, component));
        assert_eq!(served, [true, true, true, false]);
        assert!(!current.serves(Filter::ServiceTopology, "a") && !current.serves(Filter::ServiceTopology, "kube-proxy"));
    }
}
