//! The states of the file that are read: each keeps the file open.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use redb::ReadTransaction;

use super::StoreError;

#[derive(Default)]
pub(super) struct Readers(Mutex<All>);

#[derive(Default)]
struct All {
    last: u64,
    states: HashMap<u64, Arc<State>>,
}

struct State {
    /// `None`: it cannot be read any more.
    transaction: RwLock<Option<ReadTransaction>>,
    is_kept: AtomicBool,
}

/// One of them; it ends when this is dropped.
pub(super) struct Reader {
    number: u64,
    state: Arc<State>,
    all: Arc<Readers>,
}

impl Readers {
    fn all(&self) -> MutexGuard<'_, All> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn begin(self: &Arc<Self>, transaction: ReadTransaction) -> Reader {
        let state = Arc::new(State { transaction: RwLock::new(Some(transaction)), is_kept: AtomicBool::new(false) });
        let mut all = self.all();
        all.last += 1;
        let number = all.last;
        all.states.insert(number, state.clone());
        Reader { number, state, all: self.clone() }
    }

    /// Whether nobody is waited for.
    pub(super) fn are_done(&self) -> bool {
        self.all().states.values().all(|state| state.is_kept.load(Ordering::Relaxed))
    }

    /// Nothing is read any more.
    pub(super) fn end(&self) {
        let states: Vec<_> = self.all().states.values().cloned().collect();
        for state in states {
            *state.transaction.write().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }
}

impl Reader {
    /// Reads, if it still can be.
    pub(super) fn with<T>(&self, read: impl FnOnce(&ReadTransaction) -> T) -> Result<T, StoreError> {
        let transaction = self.state.transaction.read().unwrap_or_else(PoisonError::into_inner);
        transaction.as_ref().map(read).ok_or(StoreError::Closed)
    }

    /// Nobody waits for it.
    pub(super) fn is_kept(&self) {
        self.state.is_kept.store(true, Ordering::Relaxed);
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.all.all().states.remove(&self.number);
    }
}
