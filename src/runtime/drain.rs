//! Ending in order: who must stop is told once, who is being waited for holds a guard.
//!
//! `Drain` begins the end; `Draining` is held by listeners and connections. Dropping
//! the last `Draining` lets `Drain::drained` return. Nothing can fail.

use tokio::sync::{mpsc, watch};

/// The side that begins the end.
pub struct Drain {
    begun: watch::Sender<bool>,
    alive: mpsc::Receiver<()>,
    hold: Option<mpsc::Sender<()>>,
}

/// Held by whatever wants to finish before the process ends.
#[derive(Clone)]
pub struct Draining {
    begun: watch::Receiver<bool>,
    _hold: mpsc::Sender<()>,
}

pub fn channel() -> (Drain, Draining) {
    let (begun, seen) = watch::channel(false);
    let (hold, alive) = mpsc::channel(1);
    (Drain { begun, alive, hold: Some(hold.clone()) }, Draining { begun: seen, _hold: hold })
}

impl Drain {
    /// Tells everybody to finish, and returns once all have.
    pub async fn drained(mut self) {
        self.begun.send_replace(true);
        self.hold = None;
        while self.alive.recv().await.is_some() {}
    }
}

impl Draining {
    /// Returns when the end has begun.
    pub async fn begun(&mut self) {
        // A dropped sender is an end as well.
        let _ = self.begun.wait_for(|begun| *begun).await;
    }

    pub fn has_begun(&self) -> bool {
        *self.begun.borrow()
    }
}
