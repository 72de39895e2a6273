//! The composition root: binds first, then builds the path and the loops, drains at
//! the end.
//!
//! Two threads do the work: the path's runtime on the main thread, the loops' runtime
//! on a thread of its own; the store's writer has a third.

mod doors;
mod handover;
pub mod log;
mod loops;
mod open;
mod parts;
mod running;

use std::sync::Arc;

use tokio::runtime::{Builder, Handle};

use crate::background::{cert, network, told};
use crate::config::{Settings, WorkingMode};
use crate::ops::{Admin, Readiness};
use crate::request::accept::{self, Listener};
pub use crate::runtime::allocator::keep_little;
use crate::runtime::drain;
use crate::runtime::metrics::Metrics;
use crate::state::credentials::{Credentials, Serving};
use crate::store;
use doors::Doors;
use handover::Predecessor;
use loops::{AtWork, Loops};
use parts::Parts;
use running::{Running, Signals};

/// A file that the configuration names cannot be used: exit code 78.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct BadConfiguration(#[from] cert::files::BadFile);

/// Runs the hub until SIGTERM or SIGINT, of which a second one ends it at once; or, after SIGHUP, until another process
/// has taken over.
pub fn run(settings: Settings) -> anyhow::Result<()> {
    let path_runtime = Builder::new_current_thread().enable_all().max_blocking_threads(8).build()?;
    let loops = Loops::start()?;
    let result = path_runtime.block_on(hub(settings, &loops.handle));
    path_runtime.shutdown_background();
    loops.end();
    result
}

async fn hub(settings: Settings, loops: &Handle) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    let running = tokio::select! {
        running = begun(settings, loops) => running?,
        () = signals.end.next() => {
            tracing::info!("ended before it was ready");
            return Ok(());
        }
    };
    running.run(signals).await
}

/// A hub that serves.
async fn begun(settings: Settings, loops: &Handle) -> anyhow::Result<Running> {
    let mut predecessor = Predecessor::of_environment()?;
    let files = open::files(&settings)?;
    let marks = files.marks();
    let (node, anonymous) = files.client_configs().map_err(BadConfiguration)?;
    let serving = Arc::new(Serving::new(files.server_config().map_err(BadConfiguration)?));
    let address = network::LocalAddress { address: settings.secure.ip(), interface: settings.interface.clone() };
    if settings.manage_address {
        let carrier = address.ensure().await?;
        tracing::info!(address = %settings.secure.ip(), interface = carrier.interface, "local address is there");
    }
    let inherited = match &mut predecessor {
        Some(predecessor) => predecessor.gives_way().await?,
        None => Vec::new(),
    };
    let doors = Doors::bind(&settings, inherited).await?;
    let copies = doors.copies()?;
    let metrics = Arc::new(Metrics::default());
    count_panics(metrics.clone());
    let (drain, draining) = drain::channel();
    let readiness = Readiness::not_yet("the store is being opened");
    tokio::spawn(Admin::new(&metrics, readiness.clone(), draining.ending.clone()).serve(doors.admin));
    let opened = match settings.working_mode {
        WorkingMode::Cloud => None,
        WorkingMode::Edge => Some(knowledge(&settings, &metrics, loops, predecessor.is_some()).await?),
    };
    let credentials = Arc::new(Credentials::new(node, anonymous));
    let told_file = Arc::new(told::File::within(&settings.root_dir));
    let knowledge = opened.as_ref().map(|opened| opened.knowledge.clone());
    let parts = Parts { credentials, metrics, knowledge, told_file, draining };
    let path = parts.path(&settings);
    if let Some(predecessor) = predecessor {
        let socket = predecessor.takes_its_place().await?;
        tokio::spawn(accept::predecessor(socket, path.clone(), parts.draining.clone()));
    }
    let mut at_work = AtWork::on(loops);
    parts.spawn_loops(&settings, &path, &mut at_work);
    at_work.spawn(files.follow(marks, parts.credentials.clone(), serving.clone()));
    if settings.manage_address {
        at_work.spawn(address.keep());
    }
    tokio::spawn(Listener::plain(doors.loopback).serve(path.clone(), parts.draining.clone()));
    tokio::spawn(Listener::secure(doors.secure, serving).serve(path.clone(), parts.draining.clone()));
    readiness.ready();
    tracing::info!(node = settings.node_name, loopback = %settings.loopback, secure = %settings.secure, admin = %settings.admin, "ready");
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    Ok(Running { settings, drain, parts, path, opened, at_work, readiness, doors: copies })
}

/// What this node knows. A large store on a slow disk, or one that was left in disorder, takes its time: who asks for
/// `/v1/readyz` is answered meanwhile.
async fn knowledge(settings: &Settings, metrics: &Arc<Metrics>, loops: &Handle, succeeds: bool) -> anyhow::Result<open::Opened> {
    let (settings, metrics, loops) = (settings.clone(), metrics.clone(), loops.clone());
    tokio::task::spawn_blocking(move || open::knowledge(&settings, metrics, loops, succeeds)).await?
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
