//! Remembering an answer while it passes.
//!
//! The path pushes the bytes it forwards into a [`Recording`] and never waits: if what
//! waits in memory exceeds its bound, this answer is not remembered, and that is
//! counted. A task of the background takes the bytes apart and queues rows. Only
//! [`Recording::finish`] makes an answer count; one that is dropped never happened.

mod gather;
mod in_place;
mod items;
mod list;
mod packed;
mod queue;
mod single;
mod waiting;
pub(in crate::store) mod watch;
mod written;

use std::io::Write as _;
use std::sync::Arc;

use bytes::Bytes;

use super::at_work::AtWork;
use super::knowledge::now_ms;
use super::{Document, Knowledge, ObjectKey, Reader, Scope, keys};
use crate::runtime::metrics::Why;
use gather::Gathered;
pub(super) use queue::Works;
use queue::{End, Kind, Next};
pub(super) use waiting::Waiting;

/// Compressed bytes that are unpacked at once: the most that gzip can make of them is
/// a thousand times as much.
const UNPACK: usize = 1024;

/// What an answer is about.
#[derive(Debug, Clone)]
pub enum Subject {
    List(ListAsk),
    Watch(WatchAsk),
    Object(ObjectAsk),
    Document { name: String, head: Document },
    Write(WriteAsk),
}

/// A GET as it was asked.
#[derive(Debug, Clone)]
pub struct ObjectAsk {
    pub key: ObjectKey,
    pub reader: Reader,
}

/// A write of one object that the cloud has taken.
#[derive(Debug, Clone)]
pub struct WriteAsk {
    /// Without a name: that stands in the answer alone.
    pub key: ObjectKey,
    pub deletes: bool,
    /// The answer is the object as it would be read, and is worth remembering.
    pub keeps: bool,
    pub reader: Reader,
}

/// A LIST as it was asked.
#[derive(Debug, Clone)]
pub struct ListAsk {
    pub scope: Scope,
    pub continue_token: String,
    /// No resourceVersion was asked for: the answer is the newest there is.
    pub quorum: bool,
    pub reader: Reader,
    /// Unix milliseconds at which it was asked.
    pub started: u64,
}

/// A WATCH as it was asked.
#[derive(Debug, Clone)]
pub struct WatchAsk {
    pub scope: Scope,
    pub resource_version: String,
    pub send_initial_events: bool,
    pub reader: Reader,
}

/// The path's end of remembering one answer.
pub struct Recording {
    way: Way,
    knowledge: Arc<Knowledge>,
}

enum Way {
    /// Taken apart in the background as it comes.
    Streamed(queue::Sender),
    Gathered(Box<Gathered>),
    /// The store is behind: not remembered.
    GivenUp,
}

/// The background's end.
struct Parts {
    queue: queue::Receiver,
    gzip: Option<Box<flate2::write::GzDecoder<Vec<u8>>>>,
    /// Bytes that the decoder has not seen yet.
    compressed: Bytes,
    ended: bool,
    /// Unix milliseconds at which it came: not later than its client has all of it, however late it is taken apart.
    at: u64,
    /// Of a list: until it is known what became of it.
    _at_work: Option<Box<AtWork>>,
}

/// Why an answer is not remembered; a label of the metric.
type Reason = &'static str;
const ENDED_EARLY: Reason = "ended early";
const OLDER: Reason = "older than what is known";
const OVER: Reason = "over the budget";
const FAILED: Reason = "a write failed";
const OTHERWISE: Reason = "in another form than asked for";

impl Knowledge {
    /// Begins to remember an answer; `gzip`: its body is compressed.
    pub fn record(self: &Arc<Self>, subject: Subject, gzip: bool) -> Recording {
        let way = match subject {
            Subject::List(_) | Subject::Watch(_) => Way::Streamed(self.begin(subject, gzip)),
            Subject::Object(_) | Subject::Document { .. } | Subject::Write(_) => {
                Way::Gathered(Box::new(Gathered::new(subject, gzip, self.clone())))
            }
        };
        Recording { way, knowledge: self.clone() }
    }

    /// Starts the background's end.
    fn begin(self: &Arc<Self>, subject: Subject, gzip: bool) -> queue::Sender {
        let kind = if matches!(subject, Subject::List(_)) { Kind::Whole } else { Kind::Parts };
        let (sender, queue) = queue::queue(kind, self.works.clone(), self.queued.clone());
        let gzip = gzip.then(|| Box::new(flate2::write::GzDecoder::new(Vec::new())));
        let at_work = if let Subject::List(ask) = &subject { Some(Box::new(self.lists.begin(&ask.scope, 0))) } else { None };
        let parts = Parts { queue, gzip, compressed: Bytes::new(), ended: false, at: now_ms(), _at_work: at_work };
        self.tasks.spawn(run(Box::new(subject), parts, self.clone()));
        sender
    }

    fn not_remembered(&self, reason: Reason) {
        self.metrics().lists_not_remembered.get_or_create(&Why { reason }).inc();
    }
}

impl Subject {
    /// The one row that the answer becomes, if it is one.
    fn row(&self) -> Option<Vec<u8>> {
        match self {
            Self::List(_) | Self::Watch(_) | Self::Write(_) => None,
            Self::Object(ask) => Some(ask.key.key()),
            Self::Document { name, .. } => Some(keys::key(keys::DOCUMENT, &[name])),
        }
    }
}

/// What is not a watch is boxed: a watch holds the room of all this as long as it lasts.
async fn run(subject: Box<Subject>, parts: Parts, knowledge: Arc<Knowledge>) {
    let row = subject.row();
    let result = match *subject {
        Subject::List(ask) => Box::pin(list::record(&knowledge, ask, parts)).await,
        Subject::Watch(ask) => watch::record(&knowledge, ask, parts).await,
        Subject::Object(ask) => Box::pin(single::object(&knowledge, ask, parts)).await,
        Subject::Write(ask) => Box::pin(written::record(&knowledge, ask, parts)).await,
        Subject::Document { name, head } => Box::pin(single::document(&knowledge, &name, head, parts)).await,
    };
    if let Err(reason) = result {
        row.inspect(|row| knowledge.repeats.forget(row));
        knowledge.not_remembered(reason);
    }
}

impl Recording {
    /// Hands over the next bytes of the body, as they came. Never waits.
    pub fn push(&mut self, data: &Bytes) {
        if data.is_empty() || matches!(self.way, Way::GivenUp) {
            return;
        }
        let waiting = &self.knowledge.queued;
        let has_room = waiting.take(data.len(), self.way.kind());
        if has_room && self.way.push(data.clone()) {
            return;
        }
        if has_room {
            waiting.give_back(data.len());
        }
        self.way.give_up();
    }

    /// The body ended as it should: what was pushed is the whole answer.
    pub fn finish(self) {
        match self.way {
            Way::Gathered(gathered) => gathered.finish(),
            Way::Streamed(sender) => sender.end(End::Whole),
            Way::GivenUp => {}
        }
    }
}

impl Way {
    fn kind(&self) -> Kind {
        match self {
            Self::Streamed(sender) => sender.kind(),
            Self::Gathered(_) | Self::GivenUp => Kind::Whole,
        }
    }

    /// Whether there was room.
    fn push(&mut self, data: Bytes) -> bool {
        match self {
            Self::GivenUp => false,
            Self::Streamed(sender) => sender.push(data),
            Self::Gathered(gathered) => {
                gathered.push(data);
                if gathered.is_large()
                    && let Self::Gathered(gathered) = std::mem::replace(self, Self::GivenUp)
                {
                    *self = Self::Streamed(gathered.stream());
                }
                true
            }
        }
    }

    fn give_up(&mut self) {
        match std::mem::replace(self, Self::GivenUp) {
            Self::Streamed(sender) => sender.end(End::Behind),
            Self::Gathered(gathered) => gathered.give_up(),
            Self::GivenUp => {}
        }
    }
}

impl Parts {
    /// The next bytes, decompressed; `None` at the clean end, an error at any other.
    async fn next(&mut self) -> Result<Option<Bytes>, Reason> {
        loop {
            if let Some(plain) = self.unpack()? {
                return Ok(Some(plain));
            }
            if self.ended {
                return Ok(None);
            }
            match self.queue.next().await {
                Next::End(End::Behind) => return Err("store behind"),
                Next::End(End::Early) => return Err(ENDED_EARLY),
                Next::End(End::Whole) => return self.end(),
                Next::Data(data) => {
                    if self.gzip.is_none() {
                        return Ok(Some(data));
                    }
                    self.compressed = data;
                }
            }
        }
    }

    /// Takes the body as it comes, compressed or not; says which.
    fn keep_packed(&mut self) -> bool {
        self.gzip.take().is_some()
    }

    /// Some plain bytes of what was received so far.
    fn unpack(&mut self) -> Result<Option<Bytes>, Reason> {
        let Some(gzip) = &mut self.gzip else { return Ok(None) };
        while !self.compressed.is_empty() {
            let some = self.compressed.split_to(UNPACK.min(self.compressed.len()));
            gzip.write_all(&some).map_err(|_| "bad gzip")?;
            let plain = std::mem::take(gzip.get_mut());
            if !plain.is_empty() {
                return Ok(Some(Bytes::from(plain)));
            }
        }
        Ok(None)
    }

    /// A compressed body must have ended where its own format says so.
    fn end(&mut self) -> Result<Option<Bytes>, Reason> {
        self.ended = true;
        let Some(gzip) = self.gzip.take() else { return Ok(None) };
        let rest = gzip.finish().map_err(|_| "bad gzip")?;
        Ok((!rest.is_empty()).then(|| Bytes::from(rest)))
    }

    /// The whole rest, if it is at most `limit` bytes.
    async fn whole(&mut self, limit: usize) -> Result<Vec<u8>, Reason> {
        let mut body = Vec::new();
        while let Some(data) = self.next().await? {
            if body.len() + data.len() > limit {
                return Err("too large");
            }
            body.extend_from_slice(&data);
        }
        Ok(body)
    }
}
