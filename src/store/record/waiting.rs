//! How many bytes of answers wait to be remembered, all together.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::queue::Kind;

pub struct Waiting {
    bytes: AtomicUsize,
    most: usize,
}

impl Waiting {
    /// At most so many bytes may wait, and half as many more of what watches bring.
    pub fn at_most(most: usize) -> Self {
        Self { bytes: AtomicUsize::new(0), most }
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
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// What took so many bytes takes so many now, and be it more.
    pub(super) fn exchange(&self, before: usize, after: usize) {
        self.bytes.fetch_add(after, Ordering::Relaxed);
        self.give_back(before);
    }

    /// Whether it is time to do something about it.
    pub(super) fn is_much(&self) -> bool {
        self.bytes() >= self.most / 4 * 3
    }

    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}
