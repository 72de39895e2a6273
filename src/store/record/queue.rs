//! From the path to the background: the bytes of one answer, in order, and how it ended.
//!
//! Most queues belong to watches at rest, so one that is empty holds nothing: a channel
//! of tokio would keep a block of slots for each. Those that are not at rest are counted, so
//! that a reader can wait for what was seen a moment ago.
//!
//! Where the receiver is behind, the frames are gathered into pieces of their own, so large that the allocator has each
//! straight from the system: megabytes of frames among everything else would leave the heap full of holes.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use bytes::Bytes;
use tokio::sync::watch;

/// Frames that wait as they came.
const NEAR: usize = 16;
/// Bytes of what they are gathered into; from 128 KiB on the system lends them (runtime::allocator).
const PIECE: usize = 256 * 1024;

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

pub(super) struct Sender {
    shared: Arc<Mutex<Shared>>,
    frames: usize,
}

pub(super) struct Receiver(Arc<Mutex<Shared>>);

struct Shared {
    data: VecDeque<Bytes>,
    /// Gathered behind those.
    piece: Vec<u8>,
    end: Option<End>,
    receiver: Option<Waker>,
    /// Nobody receives any more.
    closed: bool,
    /// Something was sent beyond which the receiver has not asked yet.
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

/// A queue of at most so many frames.
pub(super) fn queue(frames: usize, works: Works) -> (Sender, Receiver) {
    let (data, piece, end, receiver, closed, at_work) = (VecDeque::new(), Vec::new(), None, None, false, false);
    let shared = Arc::new(Mutex::new(Shared { data, piece, end, receiver, closed, at_work, works }));
    (Sender { shared: shared.clone(), frames }, Receiver(shared))
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sender {
    /// Whether there was room. Never waits.
    pub(super) fn push(&self, data: Bytes) -> bool {
        let mut shared = lock(&self.shared);
        if shared.closed || shared.data.len() >= self.frames {
            return false;
        }
        shared.put(data);
        shared.set_at_work(true);
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

    fn set_at_work(&mut self, at_work: bool) {
        if std::mem::replace(&mut self.at_work, at_work) == at_work {
            return;
        }
        self.works.0.send_modify(|works| if at_work { *works += 1 } else { *works -= 1 });
    }
}

fn wake(mut shared: MutexGuard<'_, Shared>) {
    let waker = shared.receiver.take();
    drop(shared);
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl Receiver {
    /// The next bytes; behind the last ones the end, again and again.
    pub(super) async fn next(&mut self) -> Next {
        poll_fn(|cx| {
            let mut shared = lock(&self.0);
            if let Some(data) = shared.take() {
                return Poll::Ready(Next::Data(data));
            }
            if let Some(end) = shared.end {
                return Poll::Ready(Next::End(end));
            }
            shared.set_at_work(false);
            shared.receiver = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// Takes no more; what waited is returned.
    pub(super) fn close(&mut self) -> VecDeque<Bytes> {
        let mut shared = lock(&self.0);
        shared.closed = true;
        shared.seal();
        std::mem::take(&mut shared.data)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.close();
        lock(&self.0).set_at_work(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bytes_come_in_order_and_then_the_first_end() {
        let (sender, mut receiver) = queue(2, Works::default());
        let task = tokio::spawn(async move {
            let mut all = Vec::new();
            loop {
                match receiver.next().await {
                    Next::Data(data) => all.extend_from_slice(&data),
                    Next::End(end) => return (all, end),
                }
            }
        });
        for data in ["a", "b", "c", "d"] {
            assert!(sender.push(Bytes::from(data)));
            tokio::task::yield_now().await;
        }
        sender.end(End::Whole);
        assert_eq!(task.await.unwrap(), (b"abcd".to_vec(), End::Whole));
    }

    #[tokio::test]
    async fn a_full_queue_takes_no_more_and_a_dropped_sender_is_an_early_end() {
        let (sender, mut receiver) = queue(1, Works::default());
        assert!(sender.push(Bytes::from("a")));
        assert!(!sender.push(Bytes::from("b")));
        drop(sender);
        assert_eq!(receiver.next().await, Next::Data(Bytes::from("a")));
        assert_eq!(receiver.next().await, Next::End(End::Early));
    }

    #[tokio::test]
    async fn bytes_that_wait_long_come_in_few_pieces_and_in_order() {
        let (sender, mut receiver) = queue(64, Works::default());
        let frame = |index: usize| vec![index as u8; 1000 + index];
        let sent: Vec<u8> = (0..800).flat_map(frame).collect();
        (0..800).for_each(|index| assert!(sender.push(Bytes::from(frame(index)))));
        assert!(sender.push(Bytes::from(vec![7; 2 * PIECE])), "one that is larger than a piece");
        sender.end(End::Whole);
        let (mut all, mut count) = (Vec::new(), 0);
        while let Next::Data(data) = receiver.next().await {
            all.extend_from_slice(&data);
            count += 1;
        }
        assert!(all == [sent, vec![7; 2 * PIECE]].concat());
        assert!(count < NEAR + 10, "{count}");
    }

    #[tokio::test]
    async fn a_queue_is_at_work_until_its_receiver_asks_for_more() {
        let works = Works::default();
        let (sender, mut receiver) = queue(4, works.clone());
        let at_work = || *works.0.borrow();
        works.rest().await;
        assert!(sender.push(Bytes::from("a")) && sender.push(Bytes::from("b")));
        for _ in 0..2 {
            receiver.next().await;
            assert_eq!(at_work(), 1, "the receiver has it in its hands");
        }
        assert!(futures_util::poll!(std::pin::pin!(receiver.next())).is_pending());
        works.rest().await;
        sender.end(End::Whole);
        assert_eq!((receiver.next().await, at_work()), (Next::End(End::Whole), 1));
        drop(receiver);
        works.rest().await;
    }

    #[tokio::test]
    async fn a_closed_queue_gives_back_what_waited() {
        let (sender, mut receiver) = queue(4, Works::default());
        assert!(sender.push(Bytes::from("a")));
        assert_eq!(receiver.close().len(), 1);
        assert!(!sender.push(Bytes::from("b")));
    }
}
