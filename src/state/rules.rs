//! Which components are remembered and which filters serve them: what ConfigMap
//! yurt-hub-cfg changes while the hub runs.

use std::collections::BTreeSet;
use std::sync::Arc;

use arc_swap::ArcSwap;

/// Components that yurthub always remembers.
pub const ALWAYS: [&str; 7] = ["kubelet", "kube-proxy", "flanneld", "coredns", "raven-agent-ds", "yurttunnel-agent", "yurthub"];

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

    pub fn contains(&self, component: &str) -> bool {
        self.all || component == SELF || ALWAYS.contains(&component) || self.named.contains(component)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleSet {
    pub cache_agents: Agents,
    /// Components that `masterservice` serves.
    pub masterservice: BTreeSet<String>,
}

pub struct Rules {
    default: RuleSet,
    current: ArcSwap<RuleSet>,
}

impl Rules {
    pub fn new(default: RuleSet) -> Self {
        Self { current: ArcSwap::from_pointee(default.clone()), default }
    }

    pub fn current(&self) -> Arc<RuleSet> {
        self.current.load_full()
    }

    /// Applies the keys of yurt-hub-cfg over the defaults; `None`: it is gone.
    /// Returns whether anything changed.
    pub fn apply(&self, data: Option<&std::collections::BTreeMap<String, String>>) -> bool {
        let mut rules = self.default.clone();
        if let Some(data) = data {
            if let Some(agents) = data.get("cache_agents") {
                rules.cache_agents = Agents::parse(agents);
            }
            if let Some(components) = data.get("masterservice") {
                rules
                    .masterservice
                    .extend(components.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()));
            }
        }
        let changed = **self.current.load() != rules;
        self.current.store(Arc::new(rules));
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cache_agents_narrows_and_its_deletion_restores() {
        let rules = Rules::new(RuleSet { cache_agents: Agents::parse("*"), masterservice: BTreeSet::from(["kubelet".into()]) });
        assert!(rules.current().cache_agents.contains("anything"));
        let data = std::collections::BTreeMap::from([("cache_agents".to_owned(), "calico, ,vector".to_owned())]);
        assert!(rules.apply(Some(&data)));
        let current = rules.current();
        assert!(current.cache_agents.contains("calico") && current.cache_agents.contains("vector"));
        assert!(current.cache_agents.contains("kubelet"), "kubelet is always remembered");
        assert!(!current.cache_agents.contains("anything"));
        assert!(rules.apply(None));
        assert!(rules.current().cache_agents.contains("anything"));
        assert!(!rules.apply(None), "nothing changed");
    }
}
