//! What the hub opens at its start: its own files, and the store.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use tokio::runtime::Handle;

use super::BadConfiguration;
use crate::background::cert::files::{Files, OwnServing};
use crate::config::Settings;
use crate::runtime::metrics::Metrics;
use crate::store::{Disk, Knowledge, Limits, Parts, Sealer, StoreError, caught};

/// The files of the hub's identity; the serving ones are made if none are given.
pub(super) fn files(settings: &Settings) -> Result<Files, BadConfiguration> {
    let folder = settings.root_dir.join("pki");
    let (tls_cert_file, tls_private_key_file) = match &settings.serving {
        Some(given) => given.clone(),
        None => {
            let addresses = vec![settings.secure.ip(), settings.loopback.ip()];
            OwnServing { folder: &folder, addresses, node_name: &settings.node_name }.make()?
        }
    };
    Ok(Files {
        client_certificate: settings.client.certificate.clone(),
        client_key: settings.client.key.clone(),
        certificate_authority: settings.client.authority.clone(),
        tls_cert_file,
        tls_private_key_file,
    })
}

/// What this node knows, and the disk that it is on.
pub(super) struct Opened {
    pub knowledge: Arc<Knowledge>,
    pub disk: Arc<Disk>,
}

/// What this node knows. A store that is not ours to read is kept beside an empty one.
pub(super) fn knowledge(settings: &Settings, metrics: Arc<Metrics>, tasks: Handle, succeeds: bool) -> anyhow::Result<Opened> {
    let path = settings.store_dir.join("holdfast.redb");
    if succeeds {
        // The process before has had it open a moment ago, and has it again if this one ends over it.
        return open(settings, &path, &metrics, &tasks, succeeds);
    }
    let starts = Starts::count(&path);
    if starts.are_too_many() && path.exists() {
        let aside = Disk::set_aside(&path)?;
        tracing::error!(kept = %aside.display(), "the hub has ended again and again while it opened the store: it is kept, and an empty one begun");
    }
    let opened = open(settings, &path, &metrics, &tasks, succeeds);
    // What is an error is told, and is no reason to give up the file.
    starts.are_over();
    opened
}

fn open(settings: &Settings, path: &Path, metrics: &Arc<Metrics>, tasks: &Handle, succeeds: bool) -> anyhow::Result<Opened> {
    let sealer = Sealer::open(&settings.root_dir.join("store.key")).context("the store's key")?;
    let marked = Disk::set_aside_if_marked(path)?;
    if let Some(aside) = &marked {
        let with_events = aside.is_replaced;
        tracing::error!(kept = %aside.kept.display(), with_events, "the store's file was found damaged while the hub ran: it is kept, and another one goes on, with the Events that wait for delivery if the hub had the time to copy them");
    }
    let is_begun = || Ok(Disk::look(path, |rows| Knowledge::is_begun(rows, &sealer)));
    let is_begun = caught(is_begun);
    if succeeds && !matches!(is_begun, Ok(Some(Ok(_)))) {
        bail!("the store of the process before cannot be read by this one: a restart would keep it, and begin an empty one");
    }
    if let Ok(Some(Err(StoreError::Damaged { key: row }))) = is_begun {
        let aside = Disk::set_aside(path)?;
        tracing::error!(row, kept = %aside.display(), "the store was sealed with another key or has a newer format: it is kept, and an empty one begun");
    }
    let begin = || {
        let (disk, aside) = Disk::open(path)?;
        if let Some(aside) = aside {
            tracing::error!(kept = %aside.display(), "the store's file could not be read: it is kept, and an empty one begun");
        }
        let limits = Limits {
            cache_max_bytes: settings.cache_max_bytes,
            cache_max_objects: settings.cache_max_objects,
            ..Limits::default()
        };
        let (disk, sealer, metrics, tasks) = (Arc::new(disk), sealer.clone(), metrics.clone(), tasks.clone());
        let knowledge = Knowledge::open(Parts { store: disk.clone(), sealer, metrics, limits, tasks })?;
        Ok(Opened { knowledge, disk })
    };
    let (opened, is_lost) = match caught(begin) {
        Err(StoreError::Unreadable(why)) => {
            let aside = Disk::set_aside(path)?;
            tracing::error!(why, kept = %aside.display(), "the store's file is damaged: it is kept, and an empty one begun; Events that waited for delivery are in it");
            (begin()?, true)
        }
        other => (other?, marked.is_some()),
    };
    if is_lost {
        opened.knowledge.begin_anew();
    }
    Ok(opened)
}

/// Starts in a row that have not come through the opening of the store: some damage makes redb end the whole process, for
/// a panic within a panic cannot be caught.
struct Starts {
    path: PathBuf,
    /// With this one.
    count: usize,
}

/// One or two may have been killed.
const STARTS: usize = 3;

impl Starts {
    fn count(store: &Path) -> Self {
        let path = store.with_extension("starts");
        let count = std::fs::read(&path).map_or(0, |marks| marks.len()) + 1;
        // Where nothing can be written, nothing is counted.
        let _ = std::fs::write(&path, "+".repeat(count));
        Self { path, count }
    }

    fn are_too_many(&self) -> bool {
        self.count > STARTS
    }

    fn are_over(self) {
        let _ = std::fs::remove_file(self.path);
    }
}
