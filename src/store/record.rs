//! Remembering an answer while it passes.
//!
//! The path pushes the bytes it forwards into a [`Recording`] and never waits: if what
//! waits in memory exceeds its bound, this answer is not remembered, and that is
//! counted. A task of the background takes the bytes apart and queues rows. Only
//! [`Recording::finish`] makes an answer count; one that is dropped never happened.

mod list;
mod single;
mod watch;

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::{Document, Knowledge, ObjectKey, Scope};
use crate::runtime::metrics::Why;

/// Frames of one answer that may wait; the bytes of all answers are bounded together.
const FRAMES: usize = 1024;
const WATCH_FRAMES: usize = 64;
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
}

/// A GET as it was asked.
#[derive(Debug, Clone)]
pub struct ObjectAsk {
    pub key: ObjectKey,
    pub pinned: bool,
}

/// A LIST as it was asked.
#[derive(Debug, Clone)]
pub struct ListAsk {
    pub scope: Scope,
    pub continue_token: String,
    /// No resourceVersion was asked for: the answer is the newest there is.
    pub quorum: bool,
    pub pinned: bool,
    /// Unix milliseconds at which it was asked.
    pub started: u64,
}

/// A WATCH as it was asked.
#[derive(Debug, Clone)]
pub struct WatchAsk {
    pub scope: Scope,
    pub resource_version: String,
    pub send_initial_events: bool,
    pub pinned: bool,
}

enum Part {
    Data(Bytes),
    End,
}

/// The path's end of remembering one answer.
pub struct Recording {
    queue: Option<mpsc::Sender<Part>>,
    knowledge: Arc<Knowledge>,
    behind: Arc<AtomicBool>,
}

/// The background's end.
struct Parts {
    queue: mpsc::Receiver<Part>,
    knowledge: Arc<Knowledge>,
    gzip: Option<flate2::write::GzDecoder<Vec<u8>>>,
    /// Bytes that the decoder has not seen yet.
    compressed: Bytes,
    ended: bool,
    /// The path gave up, because more waited than may.
    behind: Arc<AtomicBool>,
}

/// Why an answer is not remembered; a label of the metric.
type Reason = &'static str;

impl Knowledge {
    /// Begins to remember an answer; `gzip`: its body is compressed.
    pub fn record(self: &Arc<Self>, subject: Subject, gzip: bool) -> Recording {
        let frames = if matches!(subject, Subject::Watch(_)) { WATCH_FRAMES } else { FRAMES };
        let (sender, queue) = mpsc::channel(frames);
        let behind = Arc::<AtomicBool>::default();
        let gzip = gzip.then(|| flate2::write::GzDecoder::new(Vec::new()));
        let parts =
            Parts { queue, knowledge: self.clone(), gzip, compressed: Bytes::new(), ended: false, behind: behind.clone() };
        self.tasks.spawn(run(subject, parts, self.clone()));
        Recording { queue: Some(sender), knowledge: self.clone(), behind }
    }

    fn not_remembered(&self, reason: Reason) {
        self.metrics().lists_not_remembered.get_or_create(&Why { reason }).inc();
    }
}

async fn run(subject: Subject, parts: Parts, knowledge: Arc<Knowledge>) {
    let result = match subject {
        Subject::List(ask) => list::record(&knowledge, ask, parts).await,
        Subject::Watch(ask) => watch::record(&knowledge, ask, parts).await,
        Subject::Object(ask) => single::object(&knowledge, ask, parts).await,
        Subject::Document { name, head } => single::document(&knowledge, &name, head, parts).await,
    };
    if let Err(reason) = result {
        knowledge.not_remembered(reason);
    }
}

impl Recording {
    /// Hands over the next bytes of the body, as they came. Never waits.
    pub fn push(&mut self, data: &Bytes) {
        let Some(queue) = &self.queue else { return };
        if data.is_empty() {
            return;
        }
        let queued = self.knowledge.queued.fetch_add(data.len(), Ordering::Relaxed);
        let room = queued + data.len() <= self.knowledge.limits.queue_bytes;
        if !room || queue.try_send(Part::Data(data.clone())).is_err() {
            self.knowledge.queued.fetch_sub(data.len(), Ordering::Relaxed);
            self.give_up();
        }
    }

    /// The body ended as it should: what was pushed is the whole answer.
    pub fn finish(mut self) {
        if let Some(queue) = self.queue.take()
            && queue.try_send(Part::End).is_err()
        {
            self.give_up();
        }
    }

    fn give_up(&mut self) {
        self.behind.store(true, Ordering::Relaxed);
        self.queue = None;
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
            match self.queue.recv().await {
                None if self.behind.load(Ordering::Relaxed) => return Err("store behind"),
                None => return Err("ended early"),
                Some(Part::End) => return self.end(),
                Some(Part::Data(data)) => {
                    self.knowledge.queued.fetch_sub(data.len(), Ordering::Relaxed);
                    if self.gzip.is_none() {
                        return Ok(Some(data));
                    }
                    self.compressed = data;
                }
            }
        }
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

impl Drop for Parts {
    fn drop(&mut self) {
        self.queue.close();
        while let Ok(part) = self.queue.try_recv() {
            if let Part::Data(data) = part {
                self.knowledge.queued.fetch_sub(data.len(), Ordering::Relaxed);
            }
        }
    }
}
