//! Who has the file in use: accesses, and the states of it that are read.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use redb::ReadTransaction;

use super::StoreError;

#[derive(Default)]
pub(super) struct Readers {
    all: Mutex<All>,
    /// Somebody is done.
    done: Condvar,
}

#[derive(Default)]
struct All {
    /// Accesses at work.
    accesses: usize,
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

/// An access, until it is dropped.
pub(super) struct Access<'a>(&'a Readers);

impl Drop for Access<'_> {
    fn drop(&mut self) {
        self.0.all().accesses -= 1;
        self.0.done.notify_all();
    }
}

impl Readers {
    fn all(&self) -> MutexGuard<'_, All> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn begin(self: &Arc<Self>, transaction: ReadTransaction) -> Reader {
        let state = Arc::new(State { transaction: RwLock::new(Some(transaction)), is_kept: AtomicBool::new(false) });
        let mut all = self.all();
        all.last += 1;
        let number = all.last;
        all.states.insert(number, state.clone());
        Reader { number, state, all: self.clone() }
    }

    /// To be begun before the file is asked for.
    pub(super) fn access(&self) -> Access<'_> {
        self.all().accesses += 1;
        Access(self)
    }

    /// Waits that long for accesses, and for states but those that are only kept; whether all are done.
    pub(super) fn are_done(&self, within: Duration) -> bool {
        let is_read = |state: &Arc<State>| !state.is_kept.load(Ordering::Relaxed);
        let at_work = |all: &mut All| all.accesses > 0 || all.states.values().any(is_read);
        let waited = self.done.wait_timeout_while(self.all(), within, at_work);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
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
        // Under the lock: whoever waits looks either before or after it.
        let _all = self.all.all();
        self.state.is_kept.store(true, Ordering::Relaxed);
        self.all.done.notify_all();
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.all.all().states.remove(&self.number);
        self.all.done.notify_all();
    }
}
