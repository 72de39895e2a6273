//! The composition root: binds first, then builds the path and the loops, drains at
//! the end.
//!
//! Two threads do the work: the path's runtime on the main thread, the loops' runtime
//! on a thread of its own; the store's writer has a third.

pub mod log;
mod open;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::background::{cert, cluster, config_watch, discovery, gc, history, inputs, mend, network, reconcile, told};
use crate::config::{Settings, WorkingMode};
use crate::ops::{Admin, Readiness};
use crate::request::accept::{Listener, Peer};
use crate::request::filter::{self, Filters};
use crate::request::{self, Path, caller, offline, remote};
pub use crate::runtime::allocator::keep_little;
use crate::runtime::drain;
use crate::runtime::metrics::Metrics;
use crate::state::credentials::{Credentials, Serving};
use crate::state::link::Link;
use crate::state::rules::{RuleSet, Rules};
use crate::store::{self, Knowledge};
use crate::upstream::{Means, Server, Timing};

/// How long a drain may take before what is left is cut.
const DRAIN: Duration = Duration::from_secs(25);

/// A file that the configuration names cannot be used: exit code 78.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct BadConfiguration(#[from] cert::files::BadFile);

/// Runs the hub until SIGTERM or SIGINT; a second one ends it at once.
pub fn run(settings: Settings) -> anyhow::Result<()> {
    let path_runtime = Builder::new_current_thread().enable_all().max_blocking_threads(8).build()?;
    let loops = Loops::start()?;
    let result = path_runtime.block_on(hub(settings, &loops.handle));
    path_runtime.shutdown_background();
    loops.end();
    result
}

async fn hub(settings: Settings, loops: &Handle) -> anyhow::Result<()> {
    let files = open::files(&settings)?;
    let marks = files.marks();
    let (node, anonymous) = files.client_configs().map_err(BadConfiguration)?;
    let serving = Arc::new(Serving::new(files.server_config().map_err(BadConfiguration)?));
    let address = network::LocalAddress { address: settings.secure.ip(), interface: settings.interface.clone() };
    if settings.manage_address {
        let carrier = address.ensure().await?;
        tracing::info!(address = %settings.secure.ip(), interface = carrier.interface, "local address is there");
    }
    let doors = Doors::bind(&settings).await?;
    let metrics = Arc::new(Metrics::default());
    count_panics(metrics.clone());
    let (drain, draining) = drain::channel();
    let readiness = Readiness::not_yet("the store is being opened");
    tokio::spawn(Admin::new(&metrics, readiness.clone(), draining.ending.clone()).serve(doors.admin));
    let opened = match settings.working_mode {
        WorkingMode::Cloud => None,
        WorkingMode::Edge => Some(knowledge(settings.clone(), metrics.clone(), loops.clone()).await?),
    };
    let credentials = Arc::new(Credentials::new(node, anonymous));
    let told_file = Arc::new(told::File::within(&settings.root_dir));
    let knowledge = opened.as_ref().map(|opened| opened.knowledge.clone());
    let parts = Parts { credentials, metrics, knowledge, told_file: told_file.clone(), draining };
    let path = parts.path(&settings);
    parts.spawn_loops(&settings, &path, loops);
    loops.spawn(files.follow(marks, parts.credentials.clone(), serving.clone()));
    if settings.manage_address {
        loops.spawn(address.keep());
    }
    tokio::spawn(Listener::plain(doors.loopback).serve(path.clone(), parts.draining.clone()));
    tokio::spawn(Listener::secure(doors.secure, serving).serve(path.clone(), parts.draining.clone()));
    readiness.ready();
    if let Some(open::Opened { knowledge, disk }) = opened {
        loops.spawn(tell_damage(disk.damage(), readiness, parts.metrics.clone()));
        loops.spawn(mend::Mending { disk, knowledge, link: path.link.clone() }.run());
    }
    tracing::info!(node = settings.node_name, loopback = %settings.loopback, secure = %settings.secure, admin = %settings.admin, "ready");
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    let mut signals = Signals::new()?;
    signals.next().await;
    tracing::info!("draining: a second signal ends at once");
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    let (knowledge, told) = (parts.knowledge.clone(), path.remote.filters.told.clone());
    drop((path, parts));
    tokio::select! {
        () = drain.drained() => {}
        () = tokio::time::sleep(DRAIN) => tracing::warn!("connections are still open: cut"),
        () = signals.next() => return Ok(()),
    }
    told_file.write(&told);
    if let Some(knowledge) = knowledge {
        tokio::select! {
            () = knowledge.settle_disk() => {}
            () = signals.next() => {}
        }
    }
    Ok(())
}

/// What this node knows. A large store on a slow disk, or one that was left in disorder, takes its time: who asks for
/// `/v1/readyz` is answered meanwhile.
async fn knowledge(settings: Settings, metrics: Arc<Metrics>, loops: Handle) -> anyhow::Result<open::Opened> {
    tokio::task::spawn_blocking(move || open::knowledge(&settings, metrics, loops)).await?
}

/// A hub that remembers nothing is as good as none once the link is down: its operator is told.
async fn tell_damage(mut damage: watch::Receiver<bool>, readiness: Readiness, metrics: Arc<Metrics>) {
    loop {
        let damaged = *damage.borrow_and_update();
        metrics.store_damaged.set(i64::from(damaged));
        if damaged {
            readiness.not_any_more("the store's file is damaged, and nothing is written to it: docs/store-format.md");
        } else {
            readiness.ready();
        }
        if damage.changed().await.is_err() {
            return;
        }
    }
}

/// A panic ends the task it happens in, and is told and counted.
fn count_panics(metrics: Arc<Metrics>) {
    std::panic::set_hook(Box::new(move |panic| {
        if store::takes_panic() {
            tracing::debug!(%panic, "redb, at damage");
            return;
        }
        metrics.panics.inc();
        tracing::error!(%panic, "a fault of the hub's own: please report it");
    }));
}

/// The loops' runtime, on its own thread.
struct Loops {
    handle: Handle,
    end: tokio::sync::oneshot::Sender<()>,
    thread: std::thread::JoinHandle<()>,
}

impl Loops {
    fn start() -> anyhow::Result<Self> {
        let runtime: Runtime = Builder::new_current_thread().enable_all().max_blocking_threads(4).build()?;
        let handle = runtime.handle().clone();
        let (end, ended) = tokio::sync::oneshot::channel();
        let thread = std::thread::Builder::new().name("loops".into()).spawn(move || {
            let _ = runtime.block_on(ended);
            runtime.shutdown_background();
        })?;
        Ok(Self { handle, end, thread })
    }

    fn end(self) {
        let _ = self.end.send(());
        let _ = self.thread.join();
    }
}

struct Doors {
    admin: TcpListener,
    loopback: TcpListener,
    secure: TcpListener,
}

impl Doors {
    async fn bind(settings: &Settings) -> anyhow::Result<Self> {
        let bind = async |what: &str, flag: &str, address: std::net::SocketAddr| {
            TcpListener::bind(address)
                .await
                .with_context(|| format!("{what} listener {address}: another address or port can be set with --{flag}"))
        };
        Ok(Self {
            admin: bind("admin", "serve-port", settings.admin).await?,
            loopback: bind("plain HTTP", "proxy-port", settings.loopback).await?,
            secure: bind("HTTPS", "proxy-secure-port", settings.secure).await?,
        })
    }
}

/// What path and loops share.
struct Parts {
    credentials: Arc<Credentials>,
    metrics: Arc<Metrics>,
    knowledge: Option<Arc<Knowledge>>,
    told_file: Arc<told::File>,
    draining: drain::Draining,
}

impl Parts {
    fn path(&self, settings: &Settings) -> Arc<Path> {
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
        })
    }

    fn spawn_loops(&self, settings: &Settings, path: &Arc<Path>, loops: &Handle) {
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
        loops.spawn(self.told_file.clone().keep(path.remote.filters.told.clone()));
        if let Some(knowledge) = &self.knowledge {
            let gc = gc::Gc {
                knowledge: knowledge.clone(),
                link: path.link.clone(),
                rules: path.rules.clone(),
                period: settings.gc_frequency,
                max_idle: settings.cache_max_idle,
            };
            loops.spawn(gc.run());
            let shared = || (knowledge.clone(), path.link.clone());
            let (client, node_name, (knowledge, link)) = (own_client(path), settings.node_name.clone(), shared());
            loops.spawn(history::History { client, node_name, link, knowledge }.watch());
            let (client, (knowledge, link)) = (own_client(path), shared());
            loops.spawn(discovery::Discovery { client, link, knowledge }.follow());
            let (servers, (knowledge, link)) = (path.remote.servers.clone(), shared());
            loops.spawn(reconcile::Delivery { knowledge, servers, link }.run());
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

struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
