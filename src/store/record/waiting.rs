//! How many bytes of answers wait to be remembered, all together.

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

use super::queue::Kind;

pub struct Waiting {
    bytes: AtomicUsize,
    most: usize,
    /// It is not much any more.
    room: Notify,
}

impl Waiting {
    /// At most so many bytes may wait, and half as many more of what watches bring.
    pub fn at_most(most: usize) -> Self {
        Self { bytes: AtomicUsize::new(0), most, room: Notify::new() }
    }

    /// Whether there is room for so many more; they wait from now on.
    pub(super) fn take(&self, bytes: usize, kind: Kind) -> bool {
        let most = match kind {
            Kind::Whole => self.most,
            // What of a watch is lost is missed for as long as that lasts.
            Kind::Parts => self.most / 2 * 3,
        };
        let waited = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let fits = waited + bytes <= most;
        if !fits {
            self.give_back(bytes);
        }
        fits
    }

    /// So many bytes wait no more.
    pub(super) fn give_back(&self, bytes: usize) {
        let waited = self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        if waited >= self.much() && waited - bytes < self.much() {
            self.room.notify_waiters();
        }
    }

    fn much(&self) -> usize {
        self.most / 4 * 3
    }

    /// Returns when there is room again, if there is not.
    pub async fn has_room(&self) {
        let mut room = pin!(self.room.notified());
        loop {
            room.as_mut().enable();
            if !self.is_much() {
                return;
            }
            room.as_mut().await;
            room.set(self.room.notified());
        }
    }

    /// What took so many bytes takes so many now, and be it more.
    pub(super) fn exchange(&self, before: usize, after: usize) {
        self.bytes.fetch_add(after, Ordering::Relaxed);
        self.give_back(before);
    }

    /// Whether it is time to do something about it.
    pub(super) fn is_much(&self) -> bool {
        self.bytes() >= self.much()
    }

    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn whoever_can_wait_does_so_while_much_waits() {
        let waiting = Waiting::at_most(8);
        assert!(waiting.take(5, Kind::Whole) && waiting.has_room().now_or_never().is_some());
        assert!(waiting.take(3, Kind::Whole));
        let mut room = pin!(waiting.has_room());
        assert!(room.as_mut().now_or_never().is_none());
        waiting.give_back(1);
        assert!(room.as_mut().now_or_never().is_none(), "it is much all the same");
        waiting.exchange(4, 1);
        assert!(room.now_or_never().is_some());
    }
}
