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

pub(super) struct Sender(Arc<Mutex<Shared>>);

pub(super) struct Receiver {
    kind: Kind,
    shared: Arc<Mutex<Shared>>,
    /// What waits before everything else.
    packed: Option<Box<Packed>>,
    waiting: Arc<Waiting>,
}

struct Shared {
    kind: Kind,
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
        kind,
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
    (Sender(shared.clone()), Receiver { kind, shared, packed: None, waiting })
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sender {
    /// Hands on what there was room for ([`Waiting::take`]); the receiver gives it back. Never waits. Whether anybody
    /// receives it.
    pub(super) fn push(&self, data: Bytes) -> bool {
        let mut shared = lock(&self.0);
        if shared.closed {
            return false;
        }
        shared.put(data);
        if shared.kind == Kind::Parts {
            shared.set_at_work(true);
        }
        wake(shared);
        true
    }

    /// What was pushed is all there is, for this reason.
    pub(super) fn end(self, end: End) {
        set_end(&self.0, end);
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        set_end(&self.0, End::Early);
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
            self.until(|shared| !shared.is_empty() || shared.end.is_some(), false).await;
            if self.kind == Kind::Whole {
                // Boxed: nobody else has to hold the room of it.
                Box::pin(self.let_come()).await;
            }
        }
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
mod tests {
    use super::*;

    struct Rig {
        sender: Sender,
        receiver: Receiver,
        works: Works,
        waiting: Arc<Waiting>,
    }

    fn rig(kind: Kind, most: usize) -> Rig {
        let (works, waiting) = (Works::default(), Arc::new(Waiting::at_most(most)));
        let (sender, receiver) = queue(kind, works.clone(), waiting.clone());
        Rig { sender, receiver, works, waiting }
    }

    impl Rig {
        /// As [`super::super::Recording`] does.
        fn push(&self, data: impl Into<Bytes>) {
            let data = data.into();
            assert!(self.waiting.take(data.len()));
            assert!(self.sender.push(data));
        }
    }

    /// Everything up to the end, and in how many parts.
    async fn rest(mut receiver: Receiver) -> (Vec<u8>, usize, End) {
        let (mut all, mut parts) = (Vec::new(), 0);
        loop {
            match receiver.next().await {
                Next::Data(data) => all.extend_from_slice(&data),
                Next::End(end) => return (all, parts, end),
            }
            parts += 1;
        }
    }

    fn frame(index: usize) -> Vec<u8> {
        format!("{{\"name\":\"object-{index}\"}},").repeat(40).into_bytes()
    }

    #[tokio::test]
    async fn bytes_come_in_order_and_then_the_first_end() {
        let Rig { sender, receiver, waiting, .. } = rig(Kind::Parts, 100);
        let task = tokio::spawn(rest(receiver));
        for data in ["a", "b", "c", "d"] {
            assert!(waiting.take(1) && sender.push(Bytes::from(data)));
            tokio::task::yield_now().await;
        }
        sender.end(End::Whole);
        assert_eq!(task.await.unwrap(), (b"abcd".to_vec(), 4, End::Whole));
        assert_eq!(waiting.bytes(), 0);
    }

    #[tokio::test]
    async fn a_dropped_sender_is_an_early_end() {
        let rig = rig(Kind::Parts, 100);
        rig.push("a");
        drop(rig.sender);
        assert_eq!(rest(rig.receiver).await, (b"a".to_vec(), 1, End::Early));
    }

    #[tokio::test]
    async fn bytes_that_wait_long_come_in_few_pieces_and_in_order() {
        for kind in [Kind::Parts, Kind::Whole] {
            let rig = rig(kind, 4 << 20);
            let sent: Vec<u8> = (0..2000).flat_map(frame).collect();
            (0..2000).for_each(|index| rig.push(frame(index)));
            rig.push(vec![7; 600_000]);
            assert_eq!(rig.waiting.bytes(), sent.len() + 600_000);
            rig.sender.end(End::Whole);
            let (all, parts, end) = rest(rig.receiver).await;
            assert!(all == [sent, vec![7; 600_000]].concat() && end == End::Whole);
            assert!(parts < 60, "{parts} of 2001");
            assert_eq!(rig.waiting.bytes(), 0);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_whole_that_is_let_come_waits_in_little_room_and_comes_in_order() {
        let noise = testkit::noise(2_160_000);
        for is_noise in [false, true] {
            let Rig { sender, receiver, waiting, .. } = rig(Kind::Whole, 4 << 20);
            let task = tokio::spawn(rest(receiver));
            let (mut sent, mut most) = (Vec::new(), 0);
            // Four times what is packed at once.
            for index in 0..2400 {
                let frame = if is_noise { noise.as_bytes()[index * 900..][..900].to_vec() } else { frame(index) };
                sent.extend_from_slice(&frame);
                assert!(waiting.take(frame.len()) && sender.push(Bytes::from(frame)));
                tokio::task::yield_now().await;
                most = most.max(waiting.bytes());
            }
            assert!(is_noise || most < sent.len() / 2, "{most} of {}", sent.len());
            sender.end(End::Whole);
            let (all, parts, end) = task.await.unwrap();
            assert!(all == sent && end == End::Whole && parts < 100);
            assert_eq!(waiting.bytes(), 0);
        }
    }

    /// A list that comes fast is let come; one that comes slowly, or is large, is taken as it comes.
    #[tokio::test(start_paused = true)]
    async fn a_whole_waits_for_its_end_for_a_moment_or_until_much_waits() {
        let Rig { sender, mut receiver, waiting, .. } = rig(Kind::Whole, 1000);
        let begun = tokio::time::Instant::now();
        let push = |data: &[u8]| assert!(waiting.take(data.len()) && sender.push(Bytes::copy_from_slice(data)));
        {
            let mut next = std::pin::pin!(receiver.next());
            assert!(futures_util::poll!(&mut next).is_pending());
            push(b"a");
            assert!(futures_util::poll!(&mut next).is_pending());
            assert_eq!((next.await, begun.elapsed()), (Next::Data(Bytes::from("a")), PATIENCE));
        }
        let much = [b'b'; 749];
        {
            let mut next = std::pin::pin!(receiver.next());
            assert!(futures_util::poll!(&mut next).is_pending());
            push(&much);
            assert!(futures_util::poll!(&mut next).is_pending());
            push(b"c");
            assert_eq!(next.await, Next::Data(Bytes::copy_from_slice(&much)), "three quarters of what may wait");
        }
        assert_eq!(receiver.next().await, Next::Data(Bytes::from("c")));
        {
            let mut next = std::pin::pin!(receiver.next());
            assert!(futures_util::poll!(&mut next).is_pending());
            push(b"d");
            assert!(futures_util::poll!(&mut next).is_pending());
            sender.end(End::Whole);
            assert_eq!(next.await, Next::Data(Bytes::from("d")));
        }
        assert_eq!((receiver.next().await, begun.elapsed()), (Next::End(End::Whole), PATIENCE), "for the end nobody waits");
    }

    #[tokio::test]
    async fn what_comes_while_something_else_is_waited_for_is_packed() {
        let mut rig = rig(Kind::Whole, 4 << 20);
        let sent: Vec<u8> = (0..2400).flat_map(frame).collect();
        let (done, wait) = tokio::sync::oneshot::channel();
        {
            let mut waiting = std::pin::pin!(rig.receiver.pack_during(wait));
            for index in 0..2400 {
                assert!(rig.waiting.take(frame(index).len()) && rig.sender.push(Bytes::from(frame(index))));
                assert!(futures_util::poll!(&mut waiting).is_pending());
            }
            assert!(rig.waiting.bytes() < sent.len() / 2);
            done.send(7).unwrap();
            assert_eq!(waiting.await, Ok(7));
        }
        rig.sender.end(End::Whole);
        assert!(rest(rig.receiver).await.0 == sent);
    }

    #[tokio::test]
    async fn a_queue_is_at_work_until_its_receiver_asks_for_more() {
        let mut rig = rig(Kind::Parts, 100);
        let works = rig.works.clone();
        let at_work = || *works.0.borrow();
        works.rest().await;
        rig.push("a");
        rig.push("b");
        for _ in 0..2 {
            rig.receiver.next().await;
            assert_eq!(at_work(), 1, "the receiver has it in its hands");
        }
        assert!(futures_util::poll!(std::pin::pin!(rig.receiver.next())).is_pending());
        works.rest().await;
        rig.sender.end(End::Whole);
        assert_eq!((rig.receiver.next().await, at_work()), (Next::End(End::Whole), 1));
        drop(rig.receiver);
        works.rest().await;
    }

    #[tokio::test]
    async fn a_whole_is_at_work_from_its_end_on() {
        let rig = rig(Kind::Whole, 100);
        rig.push("a");
        assert_eq!(*rig.works.0.borrow(), 0, "it may come for minutes, and does not count before its end");
        rig.sender.end(End::Whole);
        assert_eq!(*rig.works.0.borrow(), 1);
        drop(rig.receiver);
        assert_eq!(*rig.works.0.borrow(), 0);
    }

    #[tokio::test]
    async fn a_closed_queue_gives_back_the_room_of_what_waited() {
        let rig = rig(Kind::Parts, 1 << 20);
        (0..200).for_each(|index| rig.push(frame(index)));
        assert!(rig.waiting.bytes() > 0);
        drop(rig.receiver);
        assert_eq!(rig.waiting.bytes(), 0);
        assert!(!rig.sender.push(Bytes::from("b")));
    }
}
