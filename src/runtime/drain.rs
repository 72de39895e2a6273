//! Ending in order: who must stop is told once, who is being waited for holds a guard.
//!
//! `Drain` begins the end. `Ending` only says whether it has begun, and holds up
//! nobody. `Draining` is held by listeners and connections: dropping the last one lets
//! `Drain::drained` return. Nothing can fail.

use tokio::sync::{mpsc, watch};

/// The side that begins the end.
pub struct Drain {
    begun: watch::Sender<bool>,
    alive: mpsc::Receiver<()>,
}

/// Whether the end has begun; holds up nobody.
#[derive(Clone)]
pub struct Ending(watch::Receiver<bool>);

/// Held by whatever wants to finish before the process ends.
#[derive(Clone)]
pub struct Draining {
    pub ending: Ending,
    _hold: mpsc::Sender<()>,
}

pub fn channel() -> (Drain, Draining) {
    let (begun, seen) = watch::channel(false);
    let (hold, alive) = mpsc::channel(1);
    (Drain { begun, alive }, Draining { ending: Ending(seen), _hold: hold })
}

impl Drain {
    /// Tells everybody to finish, and returns once all have.
    pub async fn drained(mut self) {
        self.begun.send_replace(true);
        while self.alive.recv().await.is_some() {}
    }
}

impl Ending {
    /// Returns when the end has begun.
    pub async fn begun(&mut self) {
        // A dropped sender is an end as well.
        let _ = self.0.wait_for(|begun| *begun).await;
    }

    pub fn has_begun(&self) -> bool {
        *self.0.borrow()
    }

    /// Whether nobody is waited for any more: what is still at work is cut.
    pub fn is_over(&self) -> bool {
        self.0.has_changed().is_err()
    }
}
