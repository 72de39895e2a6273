//! From the path to the background: the bytes of one answer, in order, and how it ended.
//!
//! Most queues belong to watches at rest, so one that is empty holds nothing: a channel
//! of tokio would keep a block of slots for each.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use bytes::Bytes;

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

#[derive(Default)]
struct Shared {
    data: VecDeque<Bytes>,
    end: Option<End>,
    receiver: Option<Waker>,
    /// Nobody receives any more.
    closed: bool,
}

/// A queue of at most so many frames.
pub(super) fn queue(frames: usize) -> (Sender, Receiver) {
    let shared = Arc::<Mutex<Shared>>::default();
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
        shared.data.push_back(data);
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
    wake(shared);
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
            if let Some(data) = shared.data.pop_front() {
                if shared.data.is_empty() {
                    shared.data = VecDeque::new();
                }
                return Poll::Ready(Next::Data(data));
            }
            if let Some(end) = shared.end {
                return Poll::Ready(Next::End(end));
            }
            shared.receiver = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// Takes no more; what waited is returned.
    pub(super) fn close(&mut self) -> VecDeque<Bytes> {
        let mut shared = lock(&self.0);
        shared.closed = true;
        std::mem::take(&mut shared.data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bytes_come_in_order_and_then_the_first_end() {
        let (sender, mut receiver) = queue(2);
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
        let (sender, mut receiver) = queue(1);
        assert!(sender.push(Bytes::from("a")));
        assert!(!sender.push(Bytes::from("b")));
        drop(sender);
        assert_eq!(receiver.next().await, Next::Data(Bytes::from("a")));
        assert_eq!(receiver.next().await, Next::End(End::Early));
    }

    #[tokio::test]
    async fn a_closed_queue_gives_back_what_waited() {
        let (sender, mut receiver) = queue(4);
        assert!(sender.push(Bytes::from("a")));
        assert_eq!(receiver.close().len(), 1);
        assert!(!sender.push(Bytes::from("b")));
    }
}
