//! Ids whose items are there before a collection stands behind them, or still after: a list that is arriving or waits for
//! its next page, the items that a list replaces until the disk says so too. However long that takes, a sweep leaves them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Clone, Default)]
pub struct Claims(Arc<Mutex<HashMap<u64, usize>>>);

/// One of them, until it is dropped; who lists and who replaces that list may both claim its id.
pub struct Claim {
    claims: Claims,
    id: u64,
}

impl Claims {
    pub fn claim(&self, id: u64) -> Claim {
        *self.lock().entry(id).or_default() += 1;
        Claim { claims: self.clone(), id }
    }

    pub(super) fn has(&self, id: u64) -> bool {
        self.lock().contains_key(&id)
    }

    /// Every id that is claimed now.
    pub fn all(&self) -> Vec<u64> {
        self.lock().keys().copied().collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Claim {
    pub fn id(&self) -> u64 {
        self.id
    }
}

impl std::fmt::Debug for Claim {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Claim({})", self.id)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut claims = self.claims.lock();
        let left = claims.remove(&self.id).unwrap_or(1) - 1;
        if left > 0 {
            claims.insert(self.id, left);
        }
    }
}
