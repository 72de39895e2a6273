//! What the readers of one feed are told, and by when.

use std::task::{Context as Task, Poll};

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::poll_fn;
use futures_util::task::noop_waker;
use http_body::Frame;
use http_body_util::StreamBody;
use proptest::prelude::*;
use tokio::sync::mpsc;

use super::feed::Found;
use super::*;
use crate::kube::watch::EventType;

struct Cloud(mpsc::Sender<Bytes>);

impl Cloud {
    /// Begins to bring the feed; who has asked for it reads it first.
    fn bring(feed: &Arc<Feed>) -> (Self, Reader) {
        let (sender, receiver) = mpsc::channel(1000);
        let frames = futures_util::stream::unfold(receiver, async |mut receiver: mpsc::Receiver<Bytes>| {
            receiver.recv().await.map(|data| (Ok(Frame::data(data)), receiver))
        });
        let (leader, _) = feed.reserve(newest(feed)).unwrap();
        let brought = Brought::new(Box::pin(StreamBody::new(frames.boxed())), Encoding::Json);
        feed.begin(&leader, brought, Answer { fields: Box::default(), scope: None });
        (Self(sender), leader)
    }

    fn says(&self, text: impl Into<Bytes>) {
        self.0.try_send(text.into()).unwrap();
    }
}

fn event(kind: &str, version: u64, padding: usize) -> String {
    let padding = "x".repeat(padding);
    format!(r#"{{"type":"{kind}","object":{{"metadata":{{"resourceVersion":"{version}"}},"data":"{padding}"}}}}"#) + "\n"
}

fn feed() -> Arc<Feed> {
    Feed::new("k".into(), 10)
}

/// The newest version from which it leads on.
fn newest(feed: &Feed) -> u64 {
    (0..10_000).rev().find(|version| feed.leads_on(*version)).unwrap()
}

fn joined(feed: &Feed, version: u64) -> Reader {
    let Place::Reader(reader) = feed.place(version) else { panic!("no place for {version}") };
    reader
}

/// What a reader finds without waiting.
fn now(feed: &Arc<Feed>, reader: &mut Reader) -> Option<Found> {
    match feed.poll(reader, &mut Task::from_waker(&noop_waker())) {
        Poll::Ready(found) => found.ok(),
        Poll::Pending => None,
    }
}

fn versions(feed: &Arc<Feed>, reader: &mut Reader) -> Vec<u64> {
    let mut versions = Vec::new();
    while let Some(Found::Event(event)) = now(feed, reader) {
        versions.push(event.version.unwrap_or(0));
    }
    versions
}

#[test]
fn each_reader_is_told_all_and_who_comes_later_what_is_still_there() {
    let feed = feed();
    assert!(matches!(feed.place(10), Place::Lost));
    let (cloud, mut leader) = Cloud::bring(&feed);
    let mut second = joined(&feed, 12);
    let text = event("ADDED", 11, 0) + &event("MODIFIED", 13, 0);
    let (first, rest) = text.split_at(70);
    cloud.says(first.to_owned());
    assert_eq!(versions(&feed, &mut second), [] as [u64; 0], "an event is told once it is whole");
    cloud.says(rest.to_owned());
    assert_eq!(versions(&feed, &mut second), [11, 13]);
    let mut third = joined(&feed, 10);
    assert_eq!((versions(&feed, &mut leader), versions(&feed, &mut third)), (vec![11, 13], vec![11, 13]));
    assert!(matches!(feed.place(9), Place::Beyond));
}

#[test]
fn what_all_have_read_goes_and_with_it_the_place_of_who_comes_from_before() {
    let feed = feed();
    let (cloud, mut leader) = Cloud::bring(&feed);
    for version in 11..100 {
        cloud.says(event("MODIFIED", version, 1000));
        assert_eq!(versions(&feed, &mut leader), [version]);
    }
    assert!(matches!(feed.place(20), Place::Beyond));
    let mut late = joined(&feed, 90);
    let told = versions(&feed, &mut late);
    assert!(told.ends_with(&[91, 92, 93, 94, 95, 96, 97, 98, 99]), "{told:?}");
    assert!(feed.leads_on(90) && newest(&feed) == 99, "a client that knows more begins another one");
}

#[test]
fn a_bookmark_takes_nobodys_place() {
    let feed = feed();
    let (cloud, mut leader) = Cloud::bring(&feed);
    cloud.says(event("MODIFIED", 20, 0));
    (30..200).for_each(|version| cloud.says(event("BOOKMARK", version, 1000)));
    assert_eq!(versions(&feed, &mut leader).len(), 171);
    joined(&feed, 20);
}

#[test]
fn when_what_brings_it_is_gone_its_readers_end_and_the_next_goes_on_with_it() {
    let feed = feed();
    let (cloud, mut leader) = Cloud::bring(&feed);
    let mut second = joined(&feed, 10);
    cloud.says(event("MODIFIED", 15, 0));
    drop(cloud);
    assert_eq!(versions(&feed, &mut leader), [15]);
    assert!(matches!(now(&feed, &mut leader), Some(Found::Lost(_))));
    assert!(!feed.leave(&leader), "the cloud did not go on with it any more");
    assert!(feed.leads_on(10) && newest(&feed) == 15);
    let (cloud, mut again) = Cloud::bring(&feed);
    cloud.says(event("MODIFIED", 16, 0));
    assert_eq!(versions(&feed, &mut again), [15, 16]);
    assert_eq!(versions(&feed, &mut second), [15, 16], "whoever has not noticed has lost nothing");
    assert!(!feed.leave(&second) && feed.leave(&again), "nobody is left");
}

/// And nobody is let in any more, although somebody has not read that far.
#[test]
fn an_error_is_for_who_has_asked_the_cloud_and_for_nobody_later() {
    let feed = feed();
    let (cloud, mut leader) = Cloud::bring(&feed);
    let (mut second, mut unread) = (joined(&feed, 11), joined(&feed, 11));
    let status = r#"{"type":"ERROR","object":{"kind":"Status","code":410}}"#;
    cloud.says(event("MODIFIED", 12, 0) + status + "\n");
    assert!(matches!((now(&feed, &mut second), now(&feed, &mut second)), (Some(Found::Event(_)), Some(Found::Lost(Some(_))))));
    assert!(matches!(feed.place(12), Place::Lost));
    assert_eq!(versions(&feed, &mut leader), [12, 0]);
    assert!(matches!(now(&feed, &mut leader), Some(Found::Lost(None))));
    let (cloud, mut again) = Cloud::bring(&feed);
    cloud.says(event("MODIFIED", 13, 0));
    assert_eq!((versions(&feed, &mut again), versions(&feed, &mut unread)), (vec![12, 13], vec![12, 13]));
}

#[test]
fn the_one_who_asked_before_is_let_in_for_that_alone() {
    let feed = feed();
    let (cloud, mut first) = Cloud::bring(&feed);
    let mut second = joined(&feed, 10);
    drop(cloud);
    assert!(matches!(now(&feed, &mut second), Some(Found::Lost(_))));
    let (cloud, mut again) = Cloud::bring(&feed);
    cloud.says(event("MODIFIED", 11, 0));
    assert_eq!(versions(&feed, &mut again), [11]);
    assert!(!feed.leave(&second) && feed.leave(&again), "nobody is left who counts");
    assert!(matches!(now(&feed, &mut first), Some(Found::Lost(Some(_)))), "it has not noticed its end before");
    feed.leave(&first);
}

#[test]
fn what_somebody_is_to_go_on_from_stays_while_the_cloud_is_asked() {
    let feed = feed();
    let (cloud, mut leader) = Cloud::bring(&feed);
    (11..100).for_each(|version| cloud.says(event("MODIFIED", version, 1000)));
    drop(cloud);
    while let Some(Found::Event(_)) = now(&feed, &mut leader) {}
    let oldest = (0..100).find(|version| feed.leads_on(*version)).unwrap();
    assert!((50..99).contains(&oldest));
    let (mut reader, from) = feed.reserve(oldest).unwrap();
    feed.leave(&leader);
    assert!(from == 99 && feed.leads_on(oldest), "nobody else reads it");
    assert_eq!(versions(&feed, &mut reader), (oldest + 1..100).collect::<Vec<_>>());
    feed.leave(&reader);
    assert!(!feed.leads_on(98) && feed.leads_on(99), "nothing is kept for nobody");
}

#[test]
fn what_is_no_watch_is_said_to_who_has_asked_the_cloud() {
    let feed = feed();
    let (cloud, mut leader) = Cloud::bring(&feed);
    cloud.says(event("MODIFIED", 12, 0) + "garbage\n");
    assert_eq!(versions(&feed, &mut leader).len(), 2);
    assert!(matches!(now(&feed, &mut leader), Some(Found::Lost(_))));
}

#[test]
fn an_event_without_a_version_leads_nobody_on() {
    let feed = feed();
    let (cloud, mut leader) = Cloud::bring(&feed);
    cloud.says("{\"type\":\"ADDED\",\"object\":{}}\n");
    assert_eq!(versions(&feed, &mut leader), [0]);
    assert!(matches!(feed.place(50), Place::Beyond));
    drop(cloud);
    assert!(matches!(now(&feed, &mut leader), Some(Found::Lost(_))));
    assert!(!feed.leads_on(50) && !feed.leads_on(u64::MAX - 1));
}

#[tokio::test(start_paused = true)]
async fn the_others_wait_for_who_is_slow_and_then_go_on_without() {
    let feed = feed();
    let (cloud, mut quick) = Cloud::bring(&feed);
    let mut slow = joined(&feed, 10);
    let began = Instant::now();
    for version in 11..111 {
        cloud.says(event("MODIFIED", version, 10_000));
    }
    let mut told = 0;
    while told < 100 {
        match poll_fn(|cx| feed.poll(&mut quick, cx)).await {
            Ok(Found::Event(_)) => told += 1,
            Ok(_) => panic!("it ended after {told}"),
            Err(until) => {
                assert!(told > 20, "so much may wait");
                tokio::time::sleep_until(until).await;
            }
        }
    }
    assert!((2..3).contains(&began.elapsed().as_secs()), "once for one that does not read: {:?}", began.elapsed());
    assert!(matches!(now(&feed, &mut slow), Some(Found::LeftBehind)));
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_slow_one_goes_on_as_soon_as_it_reads_or_leaves() {
    for leaves in [false, true] {
        let feed = feed();
        let (cloud, mut quick) = Cloud::bring(&feed);
        let mut slow = joined(&feed, 10);
        (11..61).for_each(|version| cloud.says(event("MODIFIED", version, 10_000)));
        assert!(versions(&feed, &mut quick).len() > 20);
        let began = Instant::now();
        let next = async {
            let is_event = |found| matches!(found, Ok(Found::Event(_)));
            // Until when it would have to wait is no concern of this one.
            poll_fn(
                |cx| if feed.poll(&mut quick, cx).map(is_event) == Poll::Ready(true) { Poll::Ready(()) } else { Poll::Pending },
            )
            .await;
            began.elapsed()
        };
        let slow_one = async {
            if leaves {
                feed.leave(&slow);
            } else {
                assert!(versions(&feed, &mut slow).len() > 20);
            }
        };
        assert!(tokio::join!(next, slow_one).0 < Duration::from_secs(1));
    }
}

/// Nobody sleeps while there is something to read, on however many threads they are.
#[test]
fn what_comes_wakes_all_that_wait_for_it() {
    const EVENTS: u64 = 500;
    let feed = feed();
    let (cloud, leader) = Cloud::bring(&feed);
    let readers: Vec<Reader> = std::iter::once(leader).chain((0..7).map(|_| joined(&feed, 10))).collect();
    let read = |mut reader: Reader| {
        let feed = feed.clone();
        let reading = async move {
            for told in 0..EVENTS {
                let found = tokio::time::timeout(Duration::from_secs(60), poll_fn(|cx| feed.poll(&mut reader, cx))).await;
                assert!(matches!(found, Ok(Ok(Found::Event(_)))), "after {told}");
            }
        };
        std::thread::spawn(|| tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(reading))
    };
    let reading: Vec<_> = readers.into_iter().map(read).collect();
    for version in 0..EVENTS {
        cloud.says(event("MODIFIED", 11 + version, 0));
        std::thread::yield_now();
    }
    reading.into_iter().for_each(|reader| reader.join().unwrap());
}

#[derive(Debug, Clone)]
enum Step {
    Says(Vec<(bool, usize)>),
    Joins,
    Reads(usize, usize),
    Leaves(usize),
    Cut,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let says = prop::collection::vec((prop::bool::weighted(0.2), 0_usize..40_000), 1..6);
    let step = prop_oneof![
        6 => says.prop_map(Step::Says),
        2 => Just(Step::Joins),
        8 => (0_usize..6, 1_usize..8).prop_map(|(reader, count)| Step::Reads(reader, count)),
        1 => (0_usize..6).prop_map(Step::Leaves),
        1 => Just(Step::Cut),
    ];
    prop::collection::vec(step, 1..60)
}

proptest! {
    /// Whatever the others do, a reader is told each event behind the version from which it came, in order and once, until
    /// it is told that it is not.
    #[test]
    fn nobody_is_told_less_than_all_of_it(steps in steps()) {
        let feed = feed();
        let mut version = 10;
        let (mut cloud, leader) = Cloud::bring(&feed);
        // Each reader, the version it came from and has been told, the last one that it has read, and whether it has been
        // told of its end.
        let mut readers = vec![(leader, 10_u64, 0, false)];
        let mut all: Vec<u64> = Vec::new();
        for step in steps {
            match step {
                Step::Says(events) => for (is_bookmark, padding) in events {
                    version += 1;
                    if !is_bookmark {
                        all.push(version);
                    }
                    cloud.says(event(if is_bookmark { "BOOKMARK" } else { "MODIFIED" }, version, padding));
                },
                Step::Joins => if let Place::Reader(reader) = feed.place(version) {
                    readers.push((reader, version, 0, false));
                },
                Step::Reads(reader, count) => {
                    let index = reader % readers.len();
                    let (reader, told, read, is_over) = &mut readers[index];
                    for _ in 0..count {
                        match now(&feed, reader) {
                            Some(Found::Event(event)) => {
                                let this = event.version.unwrap();
                                prop_assert!(!*is_over && this > *read);
                                *read = this;
                                if event.kind != EventType::Bookmark && this > *told {
                                    let next = all.iter().find(|version| **version > *told).copied();
                                    prop_assert_eq!(Some(this), next);
                                    *told = this;
                                }
                            }
                            Some(Found::LeftBehind | Found::Lost(_)) => *is_over = true,
                            None => break,
                        }
                    }
                }
                Step::Leaves(reader) if readers.len() > 1 => {
                    let (reader, ..) = readers.remove(reader % readers.len());
                    feed.leave(&reader);
                }
                Step::Leaves(_) => {}
                Step::Cut => {
                    // What has been said and not been read is lost with the connection.
                    drop(cloud);
                    while let Some(Found::Event(_)) = now(&feed, &mut readers[0].0) {}
                    for (reader, ..) in readers.drain(..) {
                        feed.leave(&reader);
                    }
                    let (next, leader) = Cloud::bring(&feed);
                    cloud = next;
                    readers.push((leader, version, 0, false));
                }
            }
        }
    }
}
