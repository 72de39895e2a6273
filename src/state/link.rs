//! What is known of the link to the cloud: a verdict for each server.
//!
//! Written by background::cluster alone; read by dispatch and balance. `suspect` is
//! the path's way of saying that a connection just failed: the prober looks at once.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{Notify, watch};

pub struct Link {
    servers: Vec<AtomicBool>,
    up: watch::Sender<bool>,
    suspicion: Notify,
}

impl Link {
    /// All servers count as up until they are seen to be down: the first requests try.
    pub fn new(servers: usize) -> Self {
        Self {
            servers: (0..servers).map(|_| AtomicBool::new(true)).collect(),
            up: watch::Sender::new(true),
            suspicion: Notify::new(),
        }
    }

    /// Whether at least one server is up.
    pub fn is_up(&self) -> bool {
        *self.up.borrow()
    }

    pub fn server_is_up(&self, index: usize) -> bool {
        self.servers[index].load(Ordering::Relaxed)
    }

    /// Follows the verdict over all servers.
    pub fn watch(&self) -> watch::Receiver<bool> {
        self.up.subscribe()
    }

    /// Returns when the link is up.
    pub async fn is_back(&self) {
        let _ = self.up.subscribe().wait_for(|up| *up).await.map(drop);
    }

    /// Returns when the link is down.
    pub async fn falls(&self) {
        let _ = self.up.subscribe().wait_for(|up| !*up).await.map(drop);
    }

    /// Sets the verdict of one server; true if the verdict over all changed.
    pub fn set(&self, index: usize, up: bool) -> bool {
        self.servers[index].store(up, Ordering::Relaxed);
        let any = self.servers.iter().any(|server| server.load(Ordering::Relaxed));
        self.up.send_if_modified(|current| std::mem::replace(current, any) != any)
    }

    /// A request saw a connection fail: whoever probes should look now.
    pub fn suspect(&self) {
        self.suspicion.notify_waiters();
    }

    pub async fn suspected(&self) {
        self.suspicion.notified().await;
    }
}
