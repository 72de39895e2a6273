//! The path and the loops, from what they share.

use std::sync::Arc;

use tokio::runtime::Handle;

use super::loops::AtWork;
use crate::background::{cluster, config_watch, discovery, gc, history, inputs, reconcile, told};
use crate::config::Settings;
use crate::request::accept::Peer;
use crate::request::filter::{self, Filters};
use crate::request::{self, Path, caller, offline, remote};
use crate::runtime::drain;
use crate::runtime::metrics::Metrics;
use crate::state::credentials::Credentials;
use crate::state::link::Link;
use crate::state::rules::{RuleSet, Rules};
use crate::store::Knowledge;
use crate::upstream::{Means, Server, Timing};

/// What path and loops share.
pub(super) struct Parts {
    pub credentials: Arc<Credentials>,
    pub metrics: Arc<Metrics>,
    pub knowledge: Option<Arc<Knowledge>>,
    pub told_file: Arc<told::File>,
    pub draining: drain::Draining,
}

impl Parts {
    pub(super) fn path(&self, settings: &Settings) -> Arc<Path> {
        let link = Arc::new(Link::new(settings.servers.len()));
        let means = Means {
            timing: Timing::default(),
            proxies: settings.proxies.clone(),
            credentials: self.credentials.clone(),
            link: link.clone(),
            runtime: Handle::current(),
        };
        let servers = settings.servers.iter().enumerate();
        let servers: Vec<_> =
            servers.map(|(index, address)| Arc::new(Server::new(index, address.clone(), means.clone()))).collect();
        let mut rules = RuleSet::new(settings.cache_agents.clone(), &settings.filters);
        rules.user.clone_from(&settings.rules);
        let rules = Arc::new(Rules::awaited(rules));
        if let Some(knowledge) = &self.knowledge {
            config_watch::remembered(knowledge, &settings.namespace, &rules);
        }
        let filters = Arc::new(Filters {
            hub: filter::Hub { address: settings.secure.ip(), port: settings.secure.port() },
            node_name: settings.node_name.clone(),
            inputs: Arc::default(),
            rules: rules.clone(),
            told: Arc::new(self.told_file.read()),
            hidden: Arc::default(),
            metrics: self.metrics.clone(),
        });
        let shared = |sharing| remote::Shared::new(&servers, &link, &self.metrics, sharing);
        let shared = settings.sharing.clone().map(shared);
        Arc::new(Path {
            callers: caller::Callers { node_name: settings.node_name.clone(), procfs: Arc::default() },
            remote: remote::Remote {
                servers,
                balancing: settings.balancing,
                link: link.clone(),
                rules: rules.clone(),
                filters: filters.clone(),
                knowledge: self.knowledge.clone(),
                metrics: self.metrics.clone(),
                shared,
            },
            offline: offline::Offline {
                knowledge: self.knowledge.clone(),
                filters,
                link: link.clone(),
                node_name: settings.node_name.clone(),
                ending: self.draining.ending.clone(),
                min_request_timeout: settings.min_request_timeout.as_secs(),
            },
            link,
            rules,
            metrics: self.metrics.clone(),
            ending: self.draining.ending.clone(),
            held: request::Turns::default(),
            succession: request::Succession::default(),
        })
    }

    /// The loops that go on as long as clients are served.
    pub(super) fn spawn_loops(&self, settings: &Settings, path: &Arc<Path>, loops: &mut AtWork) {
        let probing = cluster::Probing {
            interval: settings.probe_interval,
            timeout: settings.probe_timeout,
            failures: settings.probe_failures,
            successes: settings.probe_successes,
        };
        for server in &path.remote.servers {
            let prober =
                cluster::Prober { server: server.clone(), link: path.link.clone(), metrics: self.metrics.clone(), probing };
            loops.spawn(prober.run());
        }
        let (client, namespace) = (own_client(path), settings.namespace.clone());
        loops.spawn(config_watch::follow(client, namespace, path.rules.clone(), self.metrics.clone()));
        let sources = inputs::Sources {
            client: own_client(path),
            node_name: settings.node_name.clone(),
            nodepool_name: settings.nodepool_name.clone(),
            membership: settings.membership,
            inputs: path.remote.filters.inputs.clone(),
            metrics: self.metrics.clone(),
        };
        loops.spawn(sources.follow());
    }

    /// Those that write what the node remembers, or deliver it: only one process of a node does.
    pub(super) fn spawn_loops_of_store(&self, settings: &Settings, path: &Arc<Path>, loops: &mut AtWork) {
        loops.spawn_of_store(self.told_file.clone().keep(path.remote.filters.told.clone()));
        if let Some(knowledge) = &self.knowledge {
            let gc = gc::Gc {
                knowledge: knowledge.clone(),
                link: path.link.clone(),
                rules: path.rules.clone(),
                period: settings.gc_frequency,
                max_idle: settings.cache_max_idle,
            };
            loops.spawn_of_store(gc.run());
            let shared = || (knowledge.clone(), path.link.clone());
            let (client, node_name, (knowledge, link)) = (own_client(path), settings.node_name.clone(), shared());
            loops.spawn_of_store(history::History { client, node_name, link, knowledge }.watch());
            let (client, (knowledge, link)) = (own_client(path), shared());
            loops.spawn_of_store(discovery::Discovery { client, link, knowledge }.follow());
            let (servers, (knowledge, link)) = (path.remote.servers.clone(), shared());
            loops.spawn_of_store(reconcile::Delivery { knowledge, servers, link }.run());
        }
    }
}

/// A client for the hub's own loops whose requests take the hub's own path. It holds
/// the path weakly: a loop does not keep a drained hub alive.
fn own_client(path: &Arc<Path>) -> kube::Client {
    use http_body_util::BodyExt as _;
    let path = Arc::downgrade(path);
    let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
        let path = path.clone();
        async move {
            let path = path.upgrade().ok_or_else(|| std::io::Error::other("the hub is draining"))?;
            let (mut parts, body) = request.into_parts();
            let agent = concat!("holdfast/", env!("CARGO_PKG_VERSION"));
            parts.headers.insert(http::header::USER_AGENT, http::HeaderValue::from_static(agent));
            let body: crate::upstream::RequestBody = Box::pin(body.map_err(|error| crate::upstream::Error::client(&error)));
            let response =
                Box::pin(request::serve(path, Arc::new(Peer::internal()), http::Request::from_parts(parts, body))).await;
            Ok::<_, std::io::Error>(response)
        }
    });
    kube::Client::new(service, "default")
}
