//! Ending in order: who must stop is told once, who is being waited for holds a guard.
//!
//! `Drain` begins the end. `Ending` only says whether it has begun, and holds up
//! nobody. `Draining` is held by listeners and connections: dropping the last one lets
//! `Drain::drained` return. Nothing can fail.
//!
//! Before the end a hub may leave what comes next to another one: it accepts nothing more, but what it has begun goes on.

use tokio::sync::{mpsc, watch};

/// How far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    AtWork,
    /// Another one may take its place: nothing new is begun.
    Leaving,
    /// Another one has taken it.
    Left,
    Ending,
}

/// The side that begins the end.
pub struct Drain {
    stage: watch::Sender<Stage>,
    alive: mpsc::Receiver<()>,
}

/// Whether the end has begun; holds up nobody.
#[derive(Clone)]
pub struct Ending(watch::Receiver<Stage>);

/// Held by whatever wants to finish before the process ends.
#[derive(Clone)]
pub struct Draining {
    pub ending: Ending,
    _hold: mpsc::Sender<()>,
}

pub fn channel() -> (Drain, Draining) {
    let (stage, seen) = watch::channel(Stage::AtWork);
    let (hold, alive) = mpsc::channel(1);
    (Drain { stage, alive }, Draining { ending: Ending(seen), _hold: hold })
}

impl Drain {
    /// Nothing new is begun from now on, until it stays.
    pub fn leave(&self) {
        self.stage.send_replace(Stage::Leaving);
    }

    pub fn is_leaving(&self) -> bool {
        *self.stage.borrow() == Stage::Leaving
    }

    /// All goes on as before.
    pub fn stay(&self) {
        self.stage.send_replace(Stage::AtWork);
    }

    /// It does not come back; returns once all have finished by themselves.
    pub async fn left(&mut self) {
        self.stage.send_replace(Stage::Left);
        self.all_have_finished().await;
    }

    /// Tells everybody to finish, and returns once all have.
    pub async fn drained(mut self) {
        self.stage.send_replace(Stage::Ending);
        self.all_have_finished().await;
    }

    async fn all_have_finished(&mut self) {
        while self.alive.recv().await.is_some() {}
    }
}

impl Ending {
    /// Returns when the end has begun.
    pub async fn begun(&mut self) {
        // A dropped sender is an end as well.
        let _ = self.0.wait_for(|stage| *stage == Stage::Ending).await;
    }

    /// Returns when nothing new is to be begun.
    pub async fn leaving(&mut self) {
        let _ = self.0.wait_for(|stage| *stage >= Stage::Leaving).await;
    }

    /// Of a hub that is leaving: whether it stays after all, once that is known.
    pub async fn stays(&mut self) -> bool {
        self.0.wait_for(|stage| *stage != Stage::Leaving).await.is_ok_and(|stage| *stage == Stage::AtWork)
    }

    /// Returns when all goes on as before, or the end has begun.
    pub async fn stays_or_ends(&mut self) {
        let _ = self.0.wait_for(|stage| matches!(stage, Stage::AtWork | Stage::Ending)).await;
    }

    pub fn has_begun(&self) -> bool {
        *self.0.borrow() == Stage::Ending
    }

    pub fn is_leaving(&self) -> bool {
        *self.0.borrow() >= Stage::Leaving
    }

    /// Whether nobody is waited for any more: what is still at work is cut.
    pub fn is_over(&self) -> bool {
        self.0.has_changed().is_err()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn who_leaves_may_stay_and_what_has_begun_is_waited_for() {
        let (mut drain, draining) = channel();
        let mut ending = draining.ending.clone();
        drain.leave();
        assert!(ending.leaving().now_or_never().is_some() && ending.is_leaving());
        assert_eq!((ending.stays().now_or_never(), ending.begun().now_or_never()), (None, None));
        drain.stay();
        assert_eq!((ending.stays().now_or_never(), ending.leaving().now_or_never()), (Some(true), None));
        drain.leave();
        assert!(drain.left().now_or_never().is_none(), "somebody is at work");
        assert_eq!((ending.stays().now_or_never(), ending.begun().now_or_never()), (Some(false), None));
        drop(draining);
        assert!(drain.left().now_or_never().is_some());
        assert!(!ending.has_begun() && drain.drained().now_or_never().is_some());
    }
}
