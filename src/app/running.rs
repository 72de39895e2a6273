//! A hub at work: until it is asked to end, or another process takes its place.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use sd_notify::NotifyState;
use tokio::net::UnixStream;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::timeout;

use super::handover::Heir;
use super::loops::AtWork;
use super::open::Opened;
use super::parts::Parts;
use crate::background::mend;
use crate::config::Settings;
use crate::ops::Readiness;
use crate::request::Path;
use crate::runtime::drain::Drain;
use crate::runtime::metrics::Metrics;
use crate::upstream::Successor;

/// How long a drain may take before what is left is cut.
const DRAIN: Duration = Duration::from_secs(25);
/// How long an answer from the store may still be read before that is another process's.
const READ: Duration = Duration::from_secs(5);
/// How long all that is known may take to be on the disk.
const WRITTEN: Duration = Duration::from_secs(10);
/// How long what is left is waited for where nobody is at the door.
const NOBODY: Duration = Duration::from_secs(2);

/// What starts the first process of a container: containerd's and Docker's, CRI-O's and Podman's.
const SHIMS: [&str; 2] = ["containerd-shim", "conmon"];

pub(super) struct Running {
    pub settings: Settings,
    pub drain: Drain,
    pub parts: Parts,
    pub path: Arc<Path>,
    pub opened: Option<Opened>,
    pub at_work: AtWork,
    pub readiness: Readiness,
    /// The sockets that clients come to.
    pub doors: Vec<OwnedFd>,
}

impl Running {
    pub(super) async fn run(mut self, mut signals: Signals) -> anyhow::Result<()> {
        self.look_after_store();
        self.take_store();
        loop {
            let ends = tokio::select! {
                () = signals.end.next() => true,
                _ = signals.upgrade.recv() => false,
            };
            if ends {
                return self.end(signals.end).await;
            }
            let now = NotifyState::monotonic_usec_now();
            notify(&[Some(NotifyState::Reloading), now.ok()].into_iter().flatten().collect::<Vec<_>>());
            let handed = tokio::select! {
                biased;
                handed = self.hand_over() => Some(handed),
                () = signals.end.next() => None,
            };
            match handed {
                Some(Ok((pid, socket))) => return self.retire(pid, socket, signals.end).await,
                Some(Err(why)) => {
                    tracing::error!(why = format!("{why:#}"), "no other process takes over: this one goes on");
                    self.stay();
                }
                None => {
                    self.stay();
                    return self.end(signals.end).await;
                }
            }
        }
    }

    /// What only one process of a node may do is this one's.
    fn take_store(&mut self) {
        self.parts.spawn_loops_of_store(&self.settings, &self.path, &mut self.at_work);
    }

    /// A store that is found damaged is told of, and mended once.
    fn look_after_store(&mut self) {
        let Some(Opened { knowledge, disk }) = &self.opened else { return };
        self.at_work.spawn(tell_damage(disk.damage(), self.readiness.clone(), self.parts.metrics.clone()));
        let mending = mend::Mending { disk: disk.clone(), knowledge: knowledge.clone(), link: self.path.link.clone() };
        self.at_work.spawn(mending.run());
    }

    /// Starts a process that takes this one's place; its number, and the way to ask it. Where this fails or is given up that
    /// one is ended, and this one is to stay.
    async fn hand_over(&mut self) -> anyhow::Result<(u32, UnixStream)> {
        ensure!(!is_a_containers(), "this is the first process of a container, which ends with it: replace that");
        let is_damaged = self.opened.as_ref().is_some_and(|opened| *opened.disk.damage().borrow());
        ensure!(!is_damaged, "the store is damaged, and what is left of it is read in this process: restart the hub");
        let mut heir = Heir::prepared().await?;
        let _closing = self.path.held.close().await;
        if let Some(opened) = &self.opened {
            // While clients are still let in: a busy disk takes its time.
            settled(opened, false).await?;
        }
        self.drain.leave();
        self.at_work.leave_store();
        if let Some(opened) = &self.opened {
            give_up(opened).await?;
        }
        self.parts.told_file.write(&self.path.remote.filters.told);
        heir.takes(&self.doors).await?;
        heir.has_taken_over()
    }

    /// All goes on as before.
    fn stay(&mut self) {
        if self.drain.is_leaving() {
            if let Some(opened) = &self.opened {
                opened.disk.take_back();
                opened.knowledge.forget_trail_row();
            }
            self.take_store();
            self.drain.stay();
        }
        notify(&[NotifyState::Ready]);
    }

    /// Another process serves. What has been begun here is ended here, and what is watched asked of that one.
    async fn retire(self, pid: u32, socket: UnixStream, mut end: End) -> anyhow::Result<()> {
        notify(&[NotifyState::MainPid(pid), NotifyState::Ready]);
        tracing::info!(pid, "another process has taken over: this one ends when its clients' requests have");
        let Self { mut drain, parts, path, doors, at_work: _at_work, .. } = self;
        drop((parts, doors));
        let is_gone = async {
            match Successor::over(socket).await {
                Ok(successor) => {
                    let successor = Arc::new(successor);
                    path.succession.is(successor.clone());
                    successor.ended().await;
                }
                Err(error) => tracing::error!(%error, "the process that has taken over does not answer"),
            }
        };
        let patience = tokio::select! {
            () = drain.left() => None,
            () = end.next() => Some(DRAIN),
            () = is_gone => Some(NOBODY),
        };
        // Until here it was there for watches that are asked for anew.
        drop(path);
        if let Some(patience) = patience {
            drained(drain, patience, &mut end).await;
        }
        ensure!(patience != Some(NOBODY), "the process that has taken over has ended: so does this one");
        tracing::info!("ended");
        Ok(())
    }

    async fn end(self, mut end: End) -> anyhow::Result<()> {
        tracing::info!("draining: a second signal ends at once");
        notify(&[NotifyState::Stopping]);
        let Self { drain, parts, path, at_work: _at_work, doors, .. } = self;
        // Nobody waits at a door that does not open.
        drop(doors);
        let (knowledge, told_file, told) = (parts.knowledge.clone(), parts.told_file.clone(), path.remote.filters.told.clone());
        drop((path, parts));
        if !drained(drain, DRAIN, &mut end).await {
            return Ok(());
        }
        told_file.write(&told);
        if let Some(knowledge) = knowledge {
            let settle = async {
                let _ = knowledge.settle_disk().await;
                knowledge.leave_trail().await;
            };
            tokio::select! {
                () = settle => {}
                () = end.next() => {}
            }
        }
        Ok(())
    }
}

/// Whether it has come to its end before it was told to end at once.
async fn drained(drain: Drain, within: Duration, end: &mut End) -> bool {
    tokio::select! {
        () = drain.drained() => true,
        () = tokio::time::sleep(within) => {
            tracing::warn!("connections are still open: cut");
            true
        }
        () = end.next() => false,
    }
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

async fn settled(opened: &Opened, for_another: bool) -> anyhow::Result<()> {
    let settle = async {
        opened.knowledge.settle_disk().await.context("what is known could not be written")?;
        if for_another {
            opened.knowledge.leave_trail().await;
        }
        Ok(())
    };
    timeout(WRITTEN, settle).await.context("the disk is too slow now")?
}

/// Whether a container ends with this process, in whichever namespaces that is.
fn is_a_containers() -> bool {
    let parent = std::os::unix::process::parent_id();
    let parent = std::fs::read_to_string(format!("/proc/{parent}/comm")).unwrap_or_default();
    std::process::id() == 1 || SHIMS.contains(&parent.trim_end())
}

/// The store, to another process.
async fn give_up(opened: &Opened) -> anyhow::Result<()> {
    settled(opened, true).await?;
    let disk = opened.disk.clone();
    let given = tokio::task::spawn_blocking(move || disk.give_up(READ));
    let given = timeout(READ + WRITTEN, given).await.context("the disk is too slow now")??;
    ensure!(given, "a client reads so slowly what the store answers that it cannot be closed: try again later");
    Ok(())
}

fn notify(states: &[NotifyState<'_>]) {
    let _ = sd_notify::notify(states);
}

/// What the hub is asked from outside.
pub(super) struct Signals {
    pub end: End,
    /// SIGHUP.
    upgrade: Signal,
}

/// SIGTERM and SIGINT.
pub(super) struct End {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(super) fn new() -> anyhow::Result<Self> {
        let of = |kind| signal(kind).context("signals");
        let end = End { terminate: of(SignalKind::terminate())?, interrupt: of(SignalKind::interrupt())? };
        Ok(Self { end, upgrade: of(SignalKind::hangup())? })
    }
}

impl End {
    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
