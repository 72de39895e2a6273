//! The one writer: batches in, commits out.
//!
//! Receives batches through a bounded queue: few large ones wait at a time, and as many
//! small changes as a busy start brings while the disk is slow. Each group of waiting batches becomes
//! one commit, visible to readers at once; small ones that nobody waits for are gathered a little, for
//! each commit writes the pages above its rows anew. A commit is made durable for a batch that
//! asks for it, and otherwise every second or 4 MiB, so flash is written sparingly. A commit
//! that fails takes back what was not durable yet and begins a new epoch: what was
//! queued for an older one is dropped, so that nothing half-applied is ever completed by
//! its second half. So rows that stand for themselves never share a commit with a list, and what counts is made
//! durable before a list adds much to it.
//!
//! A head changes in the catalogue after there is room for its batch, and with nothing to wait for in between ([`Room`]):
//! the order of the queue is that of the catalogue.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::coming::OnItsWay;
use super::{Op, Store, StoreError};

/// Large batches that may wait.
const BATCHES: usize = 4;
/// Bytes of small batches that may wait.
const SINGLES: usize = 8 << 20;
/// Bytes of the largest of them.
const SMALL: usize = 32 * 1024;
/// How long they are gathered.
const LINGER: Duration = Duration::from_millis(250);
/// All that may wait.
const QUEUE: usize = 4096;
const DURABLE_EVERY: Duration = Duration::from_secs(1);
/// Bytes of rows after which a commit is made durable sooner: until then the file cannot use again what they replace.
const DURABLE_AFTER: usize = 4 << 20;
/// Bytes that count as much for one commit.
const LARGE: usize = 64 * 1024;
/// Operations in one commit; more wait for the next.
const GROUP: usize = 256;

/// Changes that belong together.
#[derive(Default)]
pub struct Batch {
    pub ops: Vec<Op>,
    /// The epoch that the batch is made for; `None`: it stands for itself.
    pub epoch: Option<u64>,
    pub durable: bool,
    /// It counts for nothing without what comes behind it: losing it loses nothing.
    pub is_part: bool,
    pub done: Option<oneshot::Sender<Result<(), StoreError>>>,
    /// Until it is written, or will not be.
    pub on_its_way: Option<OnItsWay>,
}

/// A batch and the room it takes until it is written.
struct Queued {
    batch: Batch,
    room: OwnedSemaphorePermit,
}

/// Room for one batch in the queue.
pub struct Room<'a> {
    slot: mpsc::Permit<'a, Queued>,
    room: OwnedSemaphorePermit,
}

#[derive(Clone)]
pub struct Writer {
    queue: mpsc::Sender<Queued>,
    batches: Arc<Semaphore>,
    /// A permit for each byte.
    singles: Arc<Semaphore>,
    epoch: Arc<AtomicU64>,
}

impl Writer {
    /// Starts the writer's thread; it ends when every handle is gone, after a last
    /// durable commit.
    pub fn start(store: Arc<dyn Store>) -> Self {
        let (queue, batches) = mpsc::channel(QUEUE);
        let epoch = Arc::new(AtomicU64::new(0));
        let thread =
            Thread { store, epoch: epoch.clone(), last_durable: Instant::now(), pending: false, written: 0, counts: false };
        std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || thread.run(batches))
            .expect("a thread can be started");
        Self { queue, batches: Arc::new(Semaphore::new(BATCHES)), singles: Arc::new(Semaphore::new(SINGLES)), epoch }
    }

    /// Begins a new epoch: what is queued is of a store that is gone.
    pub fn turn(&self) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
    }

    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Waits while too many wait. `bytes`: of the batch's rows; a head may come on top.
    pub async fn room(&self, bytes: usize) -> Result<Room<'_>, StoreError> {
        let room = match u32::try_from(bytes) {
            Ok(permits) if bytes <= SMALL => self.singles.clone().acquire_many_owned(permits).await,
            _ => self.batches.clone().acquire_owned().await,
        };
        let room = room.map_err(|_| StoreError::Ended)?;
        let slot = self.queue.reserve().await.map_err(|_| StoreError::Ended)?;
        Ok(Room { slot, room })
    }

    /// Queues a batch; waits while too many wait.
    pub async fn send(&self, batch: Batch) -> Result<(), StoreError> {
        self.room(size(&batch.ops)).await?.send(batch);
        Ok(())
    }

    /// Queues the change of one row, if there is room now.
    pub fn try_send(&self, op: Op) -> bool {
        let bytes = size(std::slice::from_ref(&op)).clamp(1, SINGLES);
        let permits = u32::try_from(bytes).expect("at most SINGLES");
        let Ok(room) = self.singles.clone().try_acquire_many_owned(permits) else { return false };
        self.queue.try_send(Queued { batch: Batch { ops: vec![op], ..Batch::default() }, room }).is_ok()
    }

    /// Applies a batch and waits for its fate.
    pub async fn apply(&self, batch: Batch) -> Result<(), StoreError> {
        self.room(size(&batch.ops)).await?.apply(batch).await
    }

    /// Waits until everything queued before is visible to readers.
    pub async fn flush(&self) -> Result<(), StoreError> {
        self.apply(Batch::default()).await
    }
}

impl Room<'_> {
    /// Queues a batch at once.
    pub fn send(self, batch: Batch) {
        self.slot.send(Queued { batch, room: self.room });
    }

    /// Queues a batch at once, and waits for its fate.
    pub async fn apply(self, mut batch: Batch) -> Result<(), StoreError> {
        let (done, fate) = oneshot::channel();
        batch.done = Some(done);
        self.send(batch);
        fate.await.map_err(|_| StoreError::Ended)?
    }
}

struct Thread {
    store: Arc<dyn Store>,
    epoch: Arc<AtomicU64>,
    last_durable: Instant,
    /// Whether commits wait to be made durable.
    pending: bool,
    /// Bytes of the rows that they wrote.
    written: usize,
    /// Whether anything counts of that.
    counts: bool,
}

impl Thread {
    fn run(mut self, mut batches: mpsc::Receiver<Queued>) {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_time().build() else { return };
        let mut next = None;
        loop {
            let first = match next.take() {
                Some(batch) => Ok(Some(batch)),
                None if self.pending => runtime.block_on(async {
                    let wait = DURABLE_EVERY.saturating_sub(self.last_durable.elapsed());
                    tokio::time::timeout(wait, batches.recv()).await
                }),
                None => Ok(batches.blocking_recv()),
            };
            match first {
                Err(_) => self.commit(Vec::new(), true),
                Ok(None) => break,
                Ok(Some(first)) => {
                    let group;
                    (group, next) = runtime.block_on(gather(first, &mut batches, self.patience()));
                    let is_time = self.last_durable.elapsed() >= DURABLE_EVERY || self.written >= DURABLE_AFTER;
                    let due = self.pending && is_time;
                    let durable = due || group.iter().any(|queued| queued.batch.durable);
                    self.commit(group, durable);
                }
            }
        }
        self.commit(Vec::new(), true);
    }

    /// How long a group may be gathered: what waits to be made durable does not wait for it.
    fn patience(&self) -> Duration {
        let left = DURABLE_EVERY.saturating_sub(self.last_durable.elapsed());
        if self.pending { LINGER.min(left) } else { LINGER }
    }

    fn commit(&mut self, group: Vec<Queued>, durable: bool) {
        let epoch = self.epoch.load(Ordering::Acquire);
        let (group, _room): (Vec<Batch>, Vec<_>) = group.into_iter().map(|queued| (queued.batch, queued.room)).unzip();
        let _on_their_way: Vec<OnItsWay> = group.iter().filter_map(|batch| batch.on_its_way.clone()).collect();
        let (current, stale): (Vec<_>, Vec<_>) = group.into_iter().partition(|batch| batch.epoch.is_none_or(|own| own == epoch));
        let too_late = || Err(StoreError::Backend("an earlier write failed".into()));
        for batch in stale {
            answer(batch.done, too_late());
        }
        let counts = current.iter().any(|batch| !batch.is_part);
        let (ops, waiting): (Vec<_>, Vec<_>) = current.into_iter().map(|batch| (batch.ops, batch.done)).unzip();
        let ops: Vec<Op> = coalesce(ops.into_iter().flatten().collect());
        if self.counts && !durable && size(&ops) > LARGE {
            self.commit(Vec::new(), true);
            if self.epoch.load(Ordering::Acquire) != epoch {
                return waiting.into_iter().for_each(|done| answer(done, too_late()));
            }
        }
        if ops.is_empty() && !(durable && self.pending) {
            waiting.into_iter().for_each(|done| answer(done, Ok(())));
            return;
        }
        match self.store.apply(&ops, durable) {
            Ok(()) => {
                self.pending = !durable;
                self.written = if durable { 0 } else { self.written + size(&ops) };
                self.counts = !durable && (self.counts || counts);
                if durable {
                    self.last_durable = Instant::now();
                }
                waiting.into_iter().for_each(|done| answer(done, Ok(())));
            }
            Err(error) => {
                self.epoch.fetch_add(1, Ordering::AcqRel);
                if !matches!(error, StoreError::Closed) {
                    (self.pending, self.written, self.counts) = (false, 0, false);
                }
                // Damage has been told, once, and so has the other hub.
                if !matches!(error, StoreError::Unreadable(_) | StoreError::Closed) {
                    tracing::error!(%error, "a write to the store failed: nothing of it is kept, answers are not affected");
                }
                waiting.into_iter().for_each(|done| answer(done, Err(error.clone())));
            }
        }
    }
}

/// `first` and what comes behind it within `patience` and may share its commit; and the batch that may not.
async fn gather(first: Queued, batches: &mut mpsc::Receiver<Queued>, patience: Duration) -> (Vec<Queued>, Option<Queued>) {
    let until = tokio::time::Instant::now() + patience;
    let (mut ops, mut bytes, mut urgent) = (0, 0, false);
    let mut group: Vec<Queued> = Vec::new();
    let mut next = Some(first);
    while let Some(queued) = next.take() {
        if group.first().is_some_and(|first| first.batch.epoch != queued.batch.epoch) {
            return (group, Some(queued));
        }
        (ops, bytes) = (ops + queued.batch.ops.len(), bytes + size(&queued.batch.ops));
        // What is large is so by itself: a list waits for its next part.
        urgent |= queued.batch.done.is_some() || queued.batch.durable || size(&queued.batch.ops) > SMALL;
        group.push(queued);
        if ops >= GROUP {
            break;
        }
        next = if urgent || bytes > SINGLES / 2 {
            batches.try_recv().ok()
        } else {
            tokio::time::timeout_at(until, batches.recv()).await.ok().flatten()
        };
    }
    (group, None)
}

/// Bytes of rows.
pub(super) fn size(ops: &[Op]) -> usize {
    ops.iter().map(|op| if let Op::Put(_, row) = op { row.len() } else { 0 }).sum()
}

/// Drops puts that a later put of the same key makes pointless.
fn coalesce(mut ops: Vec<Op>) -> Vec<Op> {
    if ops.iter().any(|op| matches!(op, Op::DeletePrefix(_))) {
        return ops;
    }
    let mut seen: HashSet<Vec<u8>> = HashSet::new();
    let mut keep: Vec<bool> = ops
        .iter()
        .rev()
        .map(|op| match op {
            Op::Put(key, _) | Op::Delete(key) => seen.insert(key.clone()),
            Op::DeletePrefix(_) => true,
        })
        .collect();
    keep.reverse();
    let mut keep = keep.into_iter();
    ops.retain(|_| keep.next().unwrap_or(true));
    ops
}

fn answer(done: Option<oneshot::Sender<Result<(), StoreError>>>, result: Result<(), StoreError>) {
    if let Some(done) = done {
        let _ = done.send(result);
    }
}
