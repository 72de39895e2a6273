//! What all watches that have lost what brought them share.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, Semaphore, watch};
use tokio::time::timeout;

/// How long others are waited for that look where their clients stand, and begin to.
const PATIENCE: Duration = Duration::from_secs(10);

/// Not all of them ask at once when the link is back.
pub struct Turns {
    pub(super) asking: Semaphore,
    pub(super) listing: Semaphore,
    /// Of differences that are not in memory.
    pub(super) telling: Arc<Semaphore>,
    /// Those of the same are told one after the other: what one of them has listed is there for the next.
    pub(super) alike: [Mutex<()>; 16],
    pub(super) looks: Looks,
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            asking: Semaphore::new(32),
            listing: Semaphore::new(2),
            telling: Arc::new(Semaphore::new(4)),
            alike: Default::default(),
            looks: Looks::default(),
        }
    }
}

/// How many look where their clients stand.
#[derive(Default)]
pub(super) struct Looks(watch::Sender<usize>);

/// One of them, until it is dropped.
pub(super) struct Look<'a>(&'a Looks);

impl Looks {
    pub(super) fn begin(&self) -> Look<'_> {
        self.0.send_modify(|looks| *looks += 1);
        Look(self)
    }

    /// Returns when none looks, or some have done so for long.
    pub(super) async fn are_over(&self) {
        let mut looks = self.0.subscribe();
        let _ = timeout(PATIENCE, looks.wait_for(|looks| *looks == 0)).await;
    }
}

impl Drop for Look<'_> {
    fn drop(&mut self) {
        self.0.0.send_modify(|looks| *looks -= 1);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_looks_is_waited_for_but_not_for_ever() {
        let looks = Looks::default();
        assert!(looks.are_over().now_or_never().is_some());
        let (first, second) = (looks.begin(), looks.begin());
        let mut over = std::pin::pin!(looks.are_over());
        drop(second);
        assert!(futures_util::poll!(&mut over).is_pending());
        drop(first);
        assert!(futures_util::poll!(&mut over).is_ready());
        let _hangs = looks.begin();
        let began = tokio::time::Instant::now();
        looks.are_over().await;
        assert_eq!(began.elapsed(), PATIENCE);
    }
}
