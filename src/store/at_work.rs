//! What is being taken apart and has not become rows on their way to the disk, by scope: what comes behind it waits for it.

use std::collections::HashMap;

use tokio::sync::watch;

use super::Scope;

/// From which versions on something is at work, for each scope.
#[derive(Clone)]
pub(super) struct Scopes(watch::Sender<HashMap<Vec<u8>, Vec<u64>>>);

impl Default for Scopes {
    fn default() -> Self {
        Self(watch::Sender::new(HashMap::new()))
    }
}

/// One of them, until it is dropped.
pub(super) struct AtWork {
    scopes: Scopes,
    key: Vec<u8>,
    version: u64,
}

impl Scopes {
    /// `version`: which it goes on from; 0: it is a state of its own.
    pub(super) fn begin(&self, scope: &Scope, version: u64) -> AtWork {
        let key = scope.key();
        self.0.send_modify(|works| works.entry(key.clone()).or_default().push(version));
        AtWork { scopes: self.clone(), key, version }
    }

    /// Returns when none of this scope is at work that goes on from an earlier version.
    pub(super) async fn are_beyond(&self, scope: &Scope, version: u64) {
        let key = scope.key();
        let are_beyond =
            |works: &HashMap<Vec<u8>, Vec<u64>>| works.get(&key).is_none_or(|from| from.iter().all(|from| *from >= version));
        let _ = self.0.subscribe().wait_for(are_beyond).await;
    }

    /// Returns when none of this scope is at work.
    pub(super) async fn rest(&self, scope: &Scope) {
        self.are_beyond(scope, u64::MAX).await;
    }

    /// Whether there is none.
    pub(super) fn is_at_rest(&self) -> bool {
        self.0.borrow().is_empty()
    }

    pub(super) fn has(&self, scope: &Scope) -> bool {
        self.0.borrow().contains_key(&scope.key())
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.scopes.0.send_modify(|works| {
            let Some(from) = works.get_mut(&self.key) else { return };
            if let Some(own) = from.iter().position(|from| *from == self.version) {
                from.swap_remove(own);
            }
            if from.is_empty() {
                works.remove(&self.key);
            }
        });
    }
}
