//! From the path to the background: the bytes of one answer, in order, and how it ended.
//!
//! Most queues belong to watches at rest, so one that is empty holds nothing: a channel
//! of tokio would keep a block of slots for each. Those that are not at rest are counted, so
//! that a reader can wait for what was seen a moment ago.
//!
//! Where the receiver is behind, the frames are gathered into pieces of their own, so large that the allocator has each
//! straight from the system: megabytes of frames among everything else would leave the heap full of holes. A list's receiver
//! is behind for a moment on purpose, and packs what waits (record/packed.rs): a list counts only once it has ended, and while
//! it comes the processor is its client's.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::packed::Packed;
use super::waiting::Waiting;

/// Frames that wait as they came.
const NEAR: usize = 32;
/// Bytes that are packed at once: to wake the receiver takes from the client, too.
const SOME: usize = 512 * 1024;
/// Bytes of what they are gathered into; from 128 KiB on the system lends them (runtime::allocator).
const PIECE: usize = 256 * 1024;
/// How long a list that comes fast is let come: most have ended by then.
const PATIENCE: Duration = Duration::from_millis(100);

/// How the sender's end came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The body ended as it should.
    Whole,
    /// More waited than may.
    Behind,
    /// The body broke off.
    Early,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Data(Bytes),
    End(End),
}

/// What comes through a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Each part counts, as soon as it has come.
    Parts,
    /// It counts as a whole: it may wait for its end, or until much waits.
    Whole,
}

/// What a receiver waits for.
#[derive(Debug, Clone, Copy)]
enum Waits {
    /// The next part.
    Part,
    /// That enough has come to be worth its while, or the end, for a moment.
    Enough,
    /// The end, for a moment; meanwhile it packs what comes.
    End,
}

pub(super) struct Sender {
    kind: Kind,
    shared: Arc<Mutex<Shared>>,
}

pub(super) struct Receiver {
    waits: Waits,
    shared: Arc<Mutex<Shared>>,
    /// What waits before everything else.
    packed: Option<Box<Packed>>,
    waiting: Arc<Waiting>,
}

struct Shared {
    data: VecDeque<Bytes>,
    /// Gathered behind those.
    piece: Vec<u8>,
    waiting: Arc<Waiting>,
    end: Option<End>,
    receiver: Option<Waker>,
    /// The receiver is woken when it is due, or has something to pack; not for every frame.
    is_patient: bool,
    /// Nobody receives any more.
    closed: bool,
    /// Something was sent that counts and beyond which the receiver has not asked yet.
    at_work: bool,
    works: Works,
}

/// The queues that are not at rest: what came through them has not become rows on their way to the disk yet.
#[derive(Clone)]
pub struct Works(Arc<watch::Sender<usize>>);

impl Default for Works {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }
}

impl Works {
    /// Returns when all of them are at rest.
    pub async fn rest(&self) {
        let _ = self.0.subscribe().wait_for(|works| *works == 0).await;
    }
}

pub(super) fn queue(kind: Kind, works: Works, waiting: Arc<Waiting>) -> (Sender, Receiver) {
    let shared = Arc::new(Mutex::new(Shared {
        data: VecDeque::new(),
        piece: Vec::new(),
        waiting: waiting.clone(),
        end: None,
        receiver: None,
        is_patient: false,
        closed: false,
        at_work: false,
        works,
    }));
    let waits = if kind == Kind::Whole { Waits::End } else { Waits::Part };
    (Sender { kind, shared: shared.clone() }, Receiver { waits, shared, packed: None, waiting })
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sender {
    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// Hands on what there was room for ([`Waiting::take`]); the receiver gives it back. Never waits. Whether anybody
    /// receives it.
    pub(super) fn push(&self, data: Bytes) -> bool {
        let mut shared = lock(&self.shared);
        if shared.closed {
            return false;
        }
        shared.put(data);
        if self.kind == Kind::Parts {
            shared.set_at_work(true);
        }
        wake(shared);
        true
    }

    /// What was pushed is all there is, for this reason.
    pub(super) fn end(self, end: End) {
        set_end(&self.shared, end);
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        set_end(&self.shared, End::Early);
    }
}

/// The first end counts.
fn set_end(shared: &Mutex<Shared>, end: End) {
    let mut shared = lock(shared);
    shared.end.get_or_insert(end);
    if !shared.closed {
        shared.set_at_work(true);
    }
    wake(shared);
}

impl Shared {
    fn put(&mut self, data: Bytes) {
        if self.data.len() < NEAR && self.piece.is_empty() {
            self.data.push_back(data);
            return;
        }
        if self.piece.len() + data.len() > PIECE {
            self.seal();
        }
        if self.piece.is_empty() {
            self.piece.reserve_exact(PIECE.max(data.len()));
        }
        self.piece.extend_from_slice(&data);
    }

    /// What is gathered waits in its place.
    fn seal(&mut self) {
        if !self.piece.is_empty() {
            self.data.push_back(Bytes::from(std::mem::take(&mut self.piece)));
        }
    }

    /// The next bytes that wait.
    fn take(&mut self) -> Option<Bytes> {
        if self.data.is_empty() {
            self.seal();
        }
        let data = self.data.pop_front()?;
        if self.data.is_empty() {
            self.data = VecDeque::new();
        }
        Some(data)
    }

    fn is_empty(&self) -> bool {
        self.data.is_empty() && self.piece.is_empty()
    }

    /// Whether there is something to pack.
    fn has_some(&self) -> bool {
        self.data.iter().map(Bytes::len).sum::<usize>() + self.piece.len() >= SOME
    }

    fn set_at_work(&mut self, at_work: bool) {
        if std::mem::replace(&mut self.at_work, at_work) == at_work {
            return;
        }
        self.works.0.send_modify(|works| if at_work { *works += 1 } else { *works -= 1 });
    }

    /// Whether all has come, or so much waits that it should be taken apart.
    fn is_due(&self) -> bool {
        self.end.is_some() || self.waiting.is_much()
    }
}

fn wake(mut shared: MutexGuard<'_, Shared>) {
    if shared.is_patient && !shared.is_due() && !shared.has_some() {
        return;
    }
    let waker = shared.receiver.take();
    drop(shared);
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl Receiver {
    /// The next bytes; behind the last ones the end, again and again.
    pub(super) async fn next(&mut self) -> Next {
        loop {
            if let Some(next) = self.take() {
                return next;
            }
            let is_some = |shared: &Shared| !shared.is_empty() || shared.end.is_some();
            match self.waits {
                Waits::Part => self.until(is_some, false).await,
                Waits::Enough => {
                    self.until(is_some, false).await;
                    let enough = self.until(|shared| shared.is_due() || shared.has_some(), true);
                    let _ = timeout_at(Instant::now() + PATIENCE, enough).await;
                }
                Waits::End => {
                    self.until(is_some, false).await;
                    // Boxed: nobody else has to hold the room of it.
                    Box::pin(self.let_come()).await;
                }
            }
        }
    }

    /// Whether what comes is taken apart in passing: where that costs less than to pack it. Of a whole.
    pub(super) fn take_in_passing(&mut self, in_passing: bool) {
        self.waits = if in_passing { Waits::Enough } else { Waits::End };
    }

    fn take(&mut self) -> Option<Next> {
        if self.packed.is_some() {
            // While this one is taken apart the others come.
            self.pack_some();
        }
        if let Some(packed) = &mut self.packed {
            let before = packed.len();
            let data = packed.next();
            self.waiting.give_back(before - packed.len());
            if let Some(data) = data {
                return Some(Next::Data(data));
            }
            self.packed = None;
        }
        let mut shared = lock(&self.shared);
        let Some(data) = shared.take() else { return shared.end.map(Next::End) };
        self.waiting.give_back(data.len());
        Some(Next::Data(data))
    }

    /// Packs what comes, until it should be taken apart.
    async fn let_come(&mut self) {
        let end = Instant::now() + PATIENCE;
        while timeout_at(end, self.until(|shared| shared.is_due() || shared.has_some(), true)).await.is_ok() {
            if lock(&self.shared).is_due() {
                return;
            }
            self.pack_some();
        }
    }

    /// Returns what `wait` does, and packs what comes meanwhile: what is waited for may be a slow disk.
    pub(super) async fn pack_during<T>(&mut self, wait: impl Future<Output = T>) -> T {
        let mut wait = std::pin::pin!(wait);
        loop {
            tokio::select! {
                biased;
                result = &mut wait => return result,
                () = self.until(Shared::has_some, true) => self.pack_some(),
            }
        }
    }

    /// Packs what has come, if it is enough.
    fn pack_some(&mut self) {
        let some = {
            let mut shared = lock(&self.shared);
            if !shared.has_some() {
                return;
            }
            shared.seal();
            std::mem::take(&mut shared.data)
        };
        let packed = self.packed.get_or_insert_default();
        for data in some {
            let before = packed.len();
            packed.put(&data);
            self.waiting.exchange(before + data.len(), packed.len());
        }
    }

    /// Returns when it is so. `is_patient`: the sender does not say every frame.
    async fn until(&self, is_so: impl Fn(&Shared) -> bool, is_patient: bool) {
        poll_fn(|cx| {
            let mut shared = lock(&self.shared);
            if is_so(&shared) {
                return Poll::Ready(());
            }
            shared.is_patient = is_patient;
            if !is_patient {
                shared.set_at_work(false);
            }
            shared.receiver = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

impl Drop for Receiver {
    /// Takes no more.
    fn drop(&mut self) {
        let mut shared = lock(&self.shared);
        shared.closed = true;
        shared.seal();
        let left: usize = std::mem::take(&mut shared.data).iter().map(Bytes::len).sum();
        self.waiting.give_back(left + self.packed.as_ref().map_or(0, |packed| packed.len()));
        shared.set_at_work(false);
    }
}

#[cfg(test)]
mod tests;
