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
        assert!(self.waiting.take(data.len(), Kind::Whole));
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
        assert!(waiting.take(1, Kind::Parts) && sender.push(Bytes::from(data)));
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
            assert!(waiting.take(frame.len(), Kind::Whole) && sender.push(Bytes::from(frame)));
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
    let push = |data: &[u8]| assert!(waiting.take(data.len(), Kind::Whole) && sender.push(Bytes::copy_from_slice(data)));
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
            assert!(rig.waiting.take(frame(index).len(), Kind::Whole) && rig.sender.push(Bytes::from(frame(index))));
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
