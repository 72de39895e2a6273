//! How many bytes of answers wait to be remembered, all together.

use std::sync::atomic::{AtomicUsize, Ordering};

pub struct Waiting {
    bytes: AtomicUsize,
    most: usize,
}

impl Waiting {
    /// At most so many bytes may wait.
    pub fn at_most(most: usize) -> Self {
        Self { bytes: AtomicUsize::new(0), most }
    }

    /// Whether there is room for so many more; they wait from now on.
    pub(super) fn take(&self, bytes: usize) -> bool {
        let waited = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let fits = waited + bytes <= self.most;
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
