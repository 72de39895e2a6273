//! One watch of the cloud's, and all who read it.
//!
//! Nobody drives it: whoever of its readers has read all there is asks the cloud for more, and what comes is there for all
//! of them. It is remembered once, as it comes. Events that somebody has still to read wait up to [`WAITING`] bytes; then
//! the others wait for who is slow, for [`PATIENCE`], and go on without.
//!
//! When what brings it is gone its readers end, and whoever asks again goes on with it, from the version that it has come
//! to: until then it keeps what was read last.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context as Task, Poll, Wake, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use tokio::time::Instant;

use super::brought::{Brought, Event};
use crate::kube::list::Encoding;
use crate::kube::watch::EventType;
use crate::store::Scope;
use crate::upstream::{Error, Fault};

/// Bytes of events that wait for somebody.
const WAITING: usize = 256 * 1024;
/// How long the others wait for who does not read.
const PATIENCE: Duration = Duration::from_secs(2);
/// Bytes of events that are kept, when all have read them, for who comes a moment later.
const KEPT: usize = 32 * 1024;
/// Bytes of them in all feeds.
const KEPT_IN_ALL: usize = 256 * 1024;

/// Bytes that all feeds hold.
static HELD: AtomicUsize = AtomicUsize::new(0);

pub(super) struct Feed {
    now: Mutex<Now>,
    readers: Mutex<HashMap<u64, Waker>>,
    /// The cloud has been asked for more, and whoever is among `readers` is woken when it has come.
    is_awaited: AtomicBool,
    key: Arc<str>,
    /// Held by who asks the cloud for it.
    pub(super) turn: Arc<tokio::sync::Mutex<()>>,
}

struct Now {
    coming: Option<Brought>,
    encoding: Encoding,
    answer: Answer,
    events: VecDeque<Waiting>,
    /// How many have read them all.
    done: usize,
    /// The number of the first of them.
    first: u64,
    bytes: usize,
    /// All that came after this version is among `events`.
    floor: u64,
    /// The version that it has come to.
    last: u64,
    /// How many read it, and how many have ever.
    reading: usize,
    readers: u64,
    /// Who has asked the cloud for it, and what it reads next, until it has left.
    leader: u64,
    leader_next: Option<u64>,
    end: Option<Box<End>>,
    full_since: Option<Instant>,
}

struct Waiting {
    event: Event,
    /// How many read it next.
    next_of: usize,
}

/// Why what brought it is gone.
enum End {
    Failed(Error),
    /// What it has said of that, to who has asked.
    Said(Event),
}

/// What is the same of all answers.
#[derive(Clone)]
pub(super) struct Answer {
    /// Fields of its head: few, and each watch has them.
    pub(super) fields: Box<[(HeaderName, HeaderValue)]>,
    /// As what it is remembered; `None`: it is not.
    pub(super) scope: Option<Scope>,
}

/// Somebody's place in it.
pub(super) struct Reader {
    number: u64,
    /// The number of the event that it reads next.
    next: u64,
    /// It asks the cloud.
    leads: bool,
}

/// What a reader finds.
pub(super) enum Found {
    Event(Event),
    /// The others could not wait any longer.
    LeftBehind,
    /// What brought it is gone, and why if that was no end of its own.
    Lost(Option<Error>),
}

/// Whether somebody can read it from a version on.
pub(super) enum Place {
    Reader(Reader),
    /// Nobody brings it.
    Lost,
    /// What came after that version is not there any more.
    Beyond,
}

impl Feed {
    /// One that begins behind a version.
    pub(super) fn new(key: Arc<str>, version: u64) -> Arc<Self> {
        let now = Mutex::new(Now::behind(version));
        Arc::new(Self { now, readers: Mutex::default(), is_awaited: AtomicBool::new(false), key, turn: Arc::default() })
    }

    pub(super) fn key(&self) -> &Arc<str> {
        &self.key
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody reads it, or asks for it.
    pub(super) fn is_idle(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) == 1
    }

    /// A place for one who has been told everything up to `version`.
    pub(super) fn place(&self, version: u64) -> Place {
        let mut now = self.now();
        match now.coming {
            Some(_) if version >= now.floor => Place::Reader(now.admit(false)),
            Some(_) => Place::Beyond,
            None => Place::Lost,
        }
    }

    /// Whether the cloud goes on with it.
    pub(super) fn is_led(&self) -> bool {
        self.now().coming.is_some()
    }

    /// Whether it leads on from a version, once the cloud goes on with it.
    pub(super) fn leads_on(&self, version: u64) -> bool {
        self.now().leads_on(version)
    }

    /// A place for who asks the cloud to go on with it, and from which version that is; `None`: it does not lead on from
    /// where its client is.
    pub(super) fn reserve(&self, version: u64) -> Option<(Reader, u64)> {
        let mut now = self.now();
        now.leads_on(version).then(|| (now.admit(true), now.last))
    }

    /// The cloud goes on with it, for who has a place.
    pub(super) fn begin(&self, reader: &Reader, brought: Brought, answer: Answer) {
        self.changed(|now| {
            // One that has not noticed its end was let in for that alone.
            if let Some(next) = now.leader_next.replace(reader.next) {
                now.forget(next);
            }
            (now.encoding, now.answer, now.leader) = (brought.encoding(), answer, reader.number);
            (now.coming, now.end) = (Some(brought), None);
        });
    }

    pub(super) fn encoding(&self) -> Encoding {
        self.now().encoding
    }

    pub(super) fn answer(&self) -> Answer {
        self.now().answer.clone()
    }

    /// The version of the last event that has come, if the cloud goes on with it and it is remembered as this.
    pub(super) fn told_of(&self, scope: &Scope) -> Option<u64> {
        let now = self.now();
        let is_it = now.coming.is_some() && now.answer.scope.as_ref() == Some(scope);
        let last = now
            .events
            .iter()
            .rev()
            .map(|waiting| &waiting.event)
            .find(|event| event.kind != EventType::Bookmark)
            .and_then(|event| event.version);
        is_it.then(|| last.unwrap_or(now.floor))
    }

    /// The next event of a reader, or until when it has to wait for another one at most.
    pub(super) fn poll(self: &Arc<Self>, reader: &mut Reader, cx: &mut Task<'_>) -> Poll<Result<Found, Instant>> {
        // Who has some left to read does not wait.
        if let Some(found) = self.changed(|now| now.found(reader)) {
            return Poll::Ready(Ok(found));
        }
        self.readers.lock().unwrap_or_else(PoisonError::into_inner).insert(reader.number, cx.waker().clone());
        self.changed(|now| self.more(now, reader))
    }

    fn more(self: &Arc<Self>, now: &mut Now, reader: &mut Reader) -> Poll<Result<Found, Instant>> {
        loop {
            if let Some(found) = now.found(reader) {
                return Poll::Ready(Ok(found));
            }
            if let Some(since) = now.full_since.filter(|since| since.elapsed() < PATIENCE) {
                return Poll::Ready(Err(since + PATIENCE));
            }
            now.make_room();
            if self.is_awaited.swap(true, Ordering::AcqRel) {
                return Poll::Pending;
            }
            let waker = Waker::from(self.clone());
            ready!(now.pull(&mut Task::from_waker(&waker)));
            self.is_awaited.store(false, Ordering::Release);
        }
    }

    /// Changes it, and wakes those that waited for room or for an end.
    fn changed<T>(&self, change: impl FnOnce(&mut Now) -> T) -> T {
        let mut now = self.now();
        let (was_full, was_coming) = (now.full_since.is_some(), now.coming.is_some());
        let changed = change(&mut now);
        let is_news = was_full && now.full_since.is_none() || was_coming && now.coming.is_none();
        drop(now);
        if is_news {
            self.wake_all();
        }
        changed
    }

    fn wake_all(&self) {
        self.is_awaited.store(false, Ordering::Release);
        let readers = std::mem::take(&mut *self.readers.lock().unwrap_or_else(PoisonError::into_inner));
        readers.into_values().for_each(Waker::wake);
    }

    /// Whether there is nobody left although the cloud goes on with it.
    pub(super) fn leave(&self, reader: &Reader) -> bool {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner).remove(&reader.number);
        self.changed(|now| {
            now.leave(reader);
            now.reading == 0 && now.coming.take().is_some()
        })
    }
}

/// What comes wakes all that wait for it.
impl Wake for Feed {
    fn wake(self: Arc<Self>) {
        self.wake_all();
    }
}

impl Now {
    fn behind(version: u64) -> Self {
        Self {
            coming: None,
            encoding: Encoding::Json,
            answer: Answer { fields: Box::default(), scope: None },
            events: VecDeque::new(),
            done: 0,
            first: 0,
            bytes: 0,
            floor: version,
            last: version,
            reading: 0,
            readers: 0,
            leader: 0,
            leader_next: None,
            end: None,
            full_since: None,
        }
    }

    fn admit(&mut self, leads: bool) -> Reader {
        (self.reading, self.readers) = (self.reading + 1, self.readers + 1);
        *self.who_reads(0) += 1;
        Reader { number: self.readers, next: self.first, leads }
    }

    fn leave(&mut self, reader: &Reader) {
        if self.is_displaced(reader) {
            return;
        }
        if reader.number == self.leader {
            self.leader_next = None;
        }
        self.forget(reader.next);
        self.trim();
    }

    /// Another one has asked the cloud since: it does not count any more.
    fn is_displaced(&self, reader: &Reader) -> bool {
        reader.leads && reader.number < self.leader
    }

    /// One that would read this next does not.
    fn forget(&mut self, next: u64) {
        self.reading -= 1;
        if let Some(index) = self.index(next) {
            *self.who_reads(index) -= 1;
        }
    }

    /// How many read that event next.
    fn who_reads(&mut self, index: usize) -> &mut usize {
        match self.events.get_mut(index) {
            Some(waiting) => &mut waiting.next_of,
            None => &mut self.done,
        }
    }

    fn leads_on(&self, version: u64) -> bool {
        (self.floor..=self.last).contains(&version)
    }

    /// `None`: it is not there any more.
    fn index(&self, number: u64) -> Option<usize> {
        usize::try_from(number.checked_sub(self.first)?).ok()
    }

    fn found(&mut self, reader: &mut Reader) -> Option<Found> {
        let is_leader = reader.number == self.leader;
        if self.is_displaced(reader) {
            return Some(Found::Lost(Some(lost())));
        }
        let Some(index) = self.index(reader.next) else { return Some(Found::LeftBehind) };
        if let Some(event) = self.events.get(index).map(|waiting| waiting.event.clone()) {
            reader.next += 1;
            if is_leader {
                self.leader_next = Some(reader.next);
            }
            *self.who_reads(index) -= 1;
            *self.who_reads(index + 1) += 1;
            self.trim();
            return Some(Found::Event(event));
        }
        if self.coming.is_some() {
            return None;
        }
        // Whether others may go on from there is theirs to ask, and the leader's time is not theirs.
        Some(match self.end.as_deref() {
            Some(End::Failed(why)) => Found::Lost(Some(why.clone())),
            _ if !is_leader => Found::Lost(Some(lost())),
            _ => match self.end.take().map(|end| *end) {
                Some(End::Said(event)) => Found::Event(event),
                _ => Found::Lost(None),
            },
        })
    }

    /// Takes in what has come. Nothing comes any more once `coming` is gone.
    fn pull(&mut self, cx: &mut Task<'_>) -> Poll<()> {
        let Some(coming) = &mut self.coming else { return Poll::Ready(()) };
        match ready!(coming.poll(cx)) {
            Ok(events) => events.into_iter().for_each(|event| self.push(event)),
            Err(why) => (self.coming, self.end) = (None, why.map(|why| Box::new(End::Failed(why)))),
        }
        Poll::Ready(())
    }

    fn push(&mut self, mut event: Event) {
        // A copy, for what came with it is not to wait as well.
        event.raw = Bytes::copy_from_slice(&event.raw);
        match event.version {
            _ if event.kind == EventType::Error => {
                (self.coming, self.end) = (None, Some(Box::new(End::Said(event))));
                return;
            }
            Some(version) => self.last = self.last.max(version),
            // Nobody is led on from here.
            None => (self.floor, self.last) = (u64::MAX, u64::MAX),
        }
        self.bytes += event.raw.len();
        HELD.fetch_add(event.raw.len(), Ordering::Relaxed);
        let next_of = std::mem::take(&mut self.done);
        self.events.push_back(Waiting { event, next_of });
        self.trim();
    }

    fn drop_first(&mut self) {
        let Some(Waiting { event, .. }) = self.events.pop_front() else { return };
        self.first += 1;
        self.bytes -= event.raw.len();
        HELD.fetch_sub(event.raw.len(), Ordering::Relaxed);
        if event.kind != EventType::Bookmark {
            self.floor = self.floor.max(event.version.unwrap_or(0));
        }
    }

    /// Drops what all have read and nobody is expected to want, and notes whether it is full of what somebody has not.
    fn trim(&mut self) {
        let is_over = self.reading == 0 && self.coming.is_none();
        while self.events.front().is_some_and(|first| first.next_of == 0)
            && (is_over || self.bytes > KEPT || HELD.load(Ordering::Relaxed) > KEPT_IN_ALL)
        {
            self.drop_first();
        }
        if self.events.is_empty() {
            // Most are idle most of the time.
            self.events = VecDeque::new();
        }
        self.full_since = (self.bytes > WAITING).then(|| self.full_since.unwrap_or_else(Instant::now));
    }

    /// Drops what some have not read although they had their time.
    fn make_room(&mut self) {
        while self.full_since.is_some() && self.bytes > WAITING / 2 {
            self.drop_first();
        }
        self.full_since = None;
    }
}

impl Drop for Now {
    fn drop(&mut self) {
        HELD.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Of those who read it when what brought it was gone.
pub(super) fn lost() -> Error {
    Error::new(Fault::Link, true, "the watch that several share has ended")
}
