//! What all watches that have lost what brought them share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;

/// How long others are waited for that look where their clients stand, and begin to.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many are told a difference from the disk at a time.
const TELLING: u32 = 4;
/// How long they are waited for when another process is to have the store.
const TOLD: Duration = Duration::from_secs(5);

/// Not all of them ask at once when the link is back.
pub struct Turns {
    pub(super) asking: Semaphore,
    pub(super) listing: Semaphore,
    /// Of differences that are not in memory.
    pub(super) telling: Arc<Semaphore>,
    /// None more begins: another process is to have the store.
    is_closing: AtomicBool,
    /// Those of the same are told one after the other: what one of them has listed is there for the next.
    pub(super) alike: [Mutex<()>; 16],
    pub(super) looks: Looks,
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            asking: Semaphore::new(32),
            listing: Semaphore::new(2),
            telling: Arc::new(Semaphore::new(TELLING as usize)),
            is_closing: AtomicBool::new(false),
            alike: Default::default(),
            looks: Looks::default(),
        }
    }
}

/// No difference is told until it is dropped.
pub struct Closing<'a>(&'a Turns, Option<OwnedSemaphorePermit>);

impl Turns {
    /// Returns when all have been told who were being told a difference from the disk, or some are slow.
    pub async fn close(&self) -> Closing<'_> {
        self.is_closing.store(true, Ordering::Relaxed);
        let mut closing = Closing(self, None);
        let all = timeout(TOLD, self.telling.clone().acquire_many_owned(TELLING)).await;
        closing.1 = all.ok().and_then(Result::ok);
        closing
    }

    /// Whether who has no turn may have one later.
    pub(super) fn are_closing(&self) -> bool {
        self.is_closing.load(Ordering::Relaxed)
    }
}

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.is_closing.store(false, Ordering::Relaxed);
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
    async fn who_is_told_is_waited_for_but_not_for_ever() {
        let turns = Turns::default();
        let turn = turns.telling.clone().try_acquire_owned().unwrap();
        let began = tokio::time::Instant::now();
        let closing = turns.close().await;
        assert_eq!(began.elapsed(), TOLD);
        assert!(turns.are_closing());
        drop(closing);
        assert!(!turns.are_closing() && turns.telling.clone().try_acquire_owned().is_ok(), "others may begin again");
        drop(turn);
        let closing = turns.close().await;
        assert!(turns.telling.try_acquire().is_err());
        drop(closing);
        assert!(turns.telling.try_acquire().is_ok());
    }

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
