//! What filters go by beside the object at hand: this node's pool and zone, who else is in
//! the pool, what the Services' annotations say.
//!
//! Written by background::inputs once somebody asks, read by the filters. Each part is `None` until it is
//! known; once known, a part is never unknown again (but for the members of a pool that the node
//! has left): while the cloud is away the last state stands.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio::time::Instant;

use super::mark;

/// Annotations of Services.
pub const TOPOLOGY_KEYS: &str = "openyurt.io/topologyKeys";
/// The value of it that asks for no pool.
pub const HOSTNAME: &str = "kubernetes.io/hostname";
pub const LISTEN: &str = "nodeport.openyurt.io/listen";
pub const DISCARD: &str = "svc.openyurt.io/discard";

/// All that is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    pub node: Option<Arc<Node>>,
    /// Names of the nodes in this node's pool: at least its own, which is alone if it is in none. Empty where there are no
    /// pools: then the zone counts.
    pub pool: Option<Arc<BTreeSet<String>>>,
    /// Names of the nodes in this node's zone, as far as it may know them; empty if the zone does not count.
    pub zone: Option<Arc<BTreeSet<String>>>,
    /// Those that have annotation [`LISTEN`] or [`DISCARD`].
    pub services: Option<Arc<HashMap<ServiceName, Service>>>,
    /// Annotation [`TOPOLOGY_KEYS`] of the Services that have it.
    pub topology: Option<Arc<HashMap<ServiceName, String>>>,
    /// Those of which the hub cannot read what their topology is.
    pub unreadable: Arc<HashSet<ServiceName>>,
    /// The marks of the parts; 0: it was never known. Kept by [`Inputs::update`].
    pub marks: [u64; PARTS.len()],
}

/// This node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Node {
    /// Of label `apps.openyurt.io/nodepool`, or of `--nodepool-name`.
    pub pool: Option<String>,
    /// Of label `topology.kubernetes.io/zone`.
    pub zone: Option<String>,
}

/// Who names the members of the node's pool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Membership {
    /// Whoever does: the NodePool, its NodeBuckets, the Nodes by their label.
    #[default]
    Any,
    /// Not the NodePool.
    Buckets,
    /// Nobody: Services keep traffic on their node, or nowhere.
    Nobody,
}

/// Namespace and name.
pub type ServiceName = (String, String);

/// What filters want to know of a Service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Service {
    /// `spec.type`
    pub kind: String,
    /// Annotation [`LISTEN`].
    pub listen: Option<String>,
    /// Annotation [`DISCARD`].
    pub discard: Option<String>,
}

/// The parts, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Node,
    Pool,
    /// Followed only once somebody goes by it: a zone may have many nodes.
    Zone,
    Services,
    Topology,
}

const PARTS: [Part; 5] = [Part::Node, Part::Pool, Part::Zone, Part::Services, Part::Topology];

#[derive(Debug)]
pub struct Inputs {
    current: ArcSwap<Facts>,
    changed: watch::Sender<()>,
    wanted: watch::Sender<bool>,
    zone_wanted: watch::Sender<bool>,
}

impl Default for Inputs {
    fn default() -> Self {
        let wanted = || watch::Sender::new(false);
        Self { current: ArcSwap::default(), changed: watch::Sender::new(()), wanted: wanted(), zone_wanted: wanted() }
    }
}

impl Facts {
    /// Whether a part is the same in both.
    pub fn agrees(&self, other: &Self, part: Part) -> bool {
        match part {
            Part::Node => self.node == other.node,
            Part::Pool => self.pool == other.pool,
            Part::Zone => self.zone == other.zone,
            Part::Services => self.services == other.services,
            Part::Topology => (&self.topology, &self.unreadable) == (&other.topology, &other.unreadable),
        }
    }

    /// The mark of a part's state.
    pub fn mark(&self, part: Part) -> u64 {
        self.marks[part as usize]
    }

    fn mark_of(&self, part: Part) -> u64 {
        match part {
            Part::Node => mark::of(&self.node),
            Part::Pool => mark::of(&self.pool),
            Part::Zone => mark::of(&self.zone),
            Part::Services => mark::of(&self.services.as_deref().map(sorted)),
            Part::Topology => {
                let unreadable: BTreeSet<_> = self.unreadable.iter().collect();
                mark::of(&(self.topology.as_deref().map(sorted), unreadable))
            }
        }
    }

    pub fn knows(&self, part: Part) -> bool {
        match part {
            Part::Node => self.node.is_some(),
            Part::Pool => self.pool.is_some(),
            Part::Zone => self.zone.is_some(),
            Part::Services => self.services.is_some(),
            Part::Topology => self.topology.is_some(),
        }
    }
}

/// In an order that is the same each time.
fn sorted<K: Ord, V>(map: &HashMap<K, V>) -> BTreeMap<&K, &V> {
    map.iter().collect()
}

impl Inputs {
    pub fn current(&self) -> Arc<Facts> {
        self.current.load_full()
    }

    /// Told of each change.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Changes some parts; whoever follows is told if they are different now.
    pub fn update(&self, change: impl FnOnce(&mut Facts)) {
        let before = self.current();
        let mut facts = (*before).clone();
        change(&mut facts);
        for part in PARTS {
            if !before.agrees(&facts, part) {
                facts.marks[part as usize] = facts.mark_of(part);
            }
        }
        if facts != *before {
            self.current.store(Arc::new(facts));
            self.changed.send_replace(());
        }
    }

    /// Returns when a request goes by any of it for the first time: a node without such
    /// requests does not pay for it.
    pub async fn wanted(&self) {
        let _ = self.wanted.subscribe().wait_for(|wanted| *wanted).await.map(drop);
    }

    /// The same for [`Part::Zone`].
    pub async fn zone_wanted(&self) {
        let _ = self.zone_wanted.subscribe().wait_for(|wanted| *wanted).await.map(drop);
    }

    /// Waits for these parts until then at most; whether they are known.
    pub async fn known(&self, parts: &[Part], until: Instant) -> bool {
        let want = |of: &watch::Sender<bool>| of.send_if_modified(|wanted| !std::mem::replace(wanted, true));
        if !parts.is_empty() {
            want(&self.wanted);
        }
        if parts.contains(&Part::Zone) {
            want(&self.zone_wanted);
        }
        let mut changes = self.changes();
        let known = async {
            while !parts.iter().all(|part| self.current().knows(*part)) {
                if changes.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::time::timeout_at(until, known).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_the_same_has_the_same_mark_however_it_has_come_to_it() {
        let (one, other) = (Inputs::default(), Inputs::default());
        let names = || (0..100).map(|number| ("story".to_owned(), number.to_string()));
        let services = |names: &mut dyn Iterator<Item = ServiceName>| {
            Some(Arc::new(names.map(|name| (name, Service::default())).collect::<HashMap<_, _>>()))
        };
        one.update(|facts| facts.services = services(&mut names()));
        other.update(|facts| facts.services = services(&mut names().take(7)));
        let mark = |inputs: &Inputs| inputs.current().mark(Part::Services);
        assert_ne!(mark(&one), mark(&other));
        let all: Vec<_> = names().collect();
        other.update(|facts| facts.services = services(&mut all.into_iter().rev()));
        assert_eq!(mark(&one), mark(&other));
        other.update(|facts| facts.services = services(&mut std::iter::empty()));
        assert_ne!(mark(&Inputs::default()), mark(&other), "none is known, and it is not known whether there are any");
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_is_told_and_waits_no_longer_than_allowed() {
        let inputs = Arc::new(Inputs::default());
        let soon = || Instant::now() + Duration::from_secs(2);
        assert!(!inputs.known(&[Part::Node], soon()).await);
        let waiting = tokio::spawn({
            let inputs = inputs.clone();
            async move { inputs.known(&[Part::Node, Part::Services], soon()).await }
        });
        tokio::task::yield_now().await;
        inputs.update(|facts| facts.node = Some(Arc::default()));
        inputs.update(|facts| facts.services = Some(Arc::default()));
        assert!(waiting.await.unwrap());
        assert!(inputs.known(&[], Instant::now()).await, "nothing is always known");
    }
}
