//! A body that is filtered as it streams: one item in memory, never a list.
//!
//! A watch whose filters would decide otherwise now (their rules or what they go by have changed) is told the difference
//! between two events ([`catchup`](super::catchup)); where that cannot be said exactly it ends with 410, and the client
//! lists again.

mod list;

use std::collections::VecDeque;
use std::io::Write as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame};

use self::list::List;
use super::catchup::{CaughtUp, Source, catch_up};
use super::chain::{Chain, Shape as Presentation};
use super::shown::Shown;
use super::whole::{edit_whole, identity, without_objects};
use super::{FilterError, Mark, Stands};
use crate::kube::list::{Encoding, Limits};
use crate::kube::message::{self, Edit, Set};
use crate::kube::object::{self, TypeMeta};
use crate::kube::schema::table;
use crate::kube::watch::{self, EventType, Framer};
use crate::request::context::BodyError;
use crate::runtime::metrics::{FilterLabel, Metrics};

/// Compressed bytes that are unpacked at once.
const UNPACK: usize = 1024;

/// Why a watch ends early; client-go and every other reflector lists again then.
pub(in crate::request) const OUTDATED: &str = "The hub's filters have changed: list again.";

/// How the bytes of one answer change.
pub struct Transform {
    gzip: Option<Packed>,
    shape: Shape,
}

/// Compressed bytes, unpacked little by little: gzip can make a thousand times as much of them.
struct Packed {
    decoder: flate2::write::GzDecoder<Vec<u8>>,
    left: Bytes,
}

impl Packed {
    /// What the next of them are; `None`: none are left.
    fn next(&mut self) -> Option<std::io::Result<Bytes>> {
        let some = self.left.split_to(UNPACK.min(self.left.len()));
        if some.is_empty() {
            return None;
        }
        let written = self.decoder.write_all(&some);
        Some(written.map(|()| Bytes::from(std::mem::take(self.decoder.get_mut()))))
    }
}

enum Shape {
    List(Option<List>),
    Watch(Box<Watch>),
}

struct Watch {
    chain: Arc<Chain>,
    encoding: Encoding,
    framer: Framer,
    /// What the client has been shown, if a filter may hide anything.
    shown: Option<Shown>,
    source: Option<Source>,
    /// The version up to which the client has been told, what is hidden included.
    seen: u64,
    /// That of the last event that it was shown, from which it would go on by itself.
    stands: u64,
    /// That from which it is known to go on where the hub asks for it.
    passed: u64,
    /// It is still being told what there is.
    initial: bool,
    /// It is not shown the bookmarks.
    hides_bookmarks: bool,
    /// It is still being told what has changed with the chain.
    catching_up: bool,
    /// Where it stands beside the version.
    footing: Stands,
    /// Of a Table whose first event was hidden: no other brings them.
    columns: Option<Vec<u8>>,
}

/// How a watch begins.
pub struct Beginning {
    /// What the client has been shown before; `None`: nothing, or nothing was hidden from it.
    pub shown: Option<Shown>,
    pub source: Option<Source>,
    /// For whoever passes the events on.
    pub stands: Stands,
    pub resource_version: String,
    /// Something else comes first than what has happened since that version, up to a bookmark.
    pub initial_events: bool,
    /// The client is not shown the bookmarks.
    pub hides_bookmarks: bool,
}

impl Transform {
    pub(in crate::request) fn list(chain: Chain, encoding: Encoding, gzip: bool) -> Self {
        Self::new(Shape::List(Some(List::new(chain, encoding))), gzip)
    }

    /// Of a watch's events, from its beginning on; `gzip`: they come compressed.
    pub fn watch(chain: Chain, encoding: Encoding, gzip: bool, beginning: Beginning) -> Self {
        let Beginning { shown, source, stands: footing, resource_version, initial_events: initial, hides_bookmarks } = beginning;
        let shown = shown.or_else(|| chain.hides().then(Shown::default));
        let (chain, framer) = (Arc::new(chain), Framer::new(encoding, Limits::ANSWER.max_item));
        let seen = resource_version.parse().unwrap_or(0);
        let watch = Watch {
            chain,
            encoding,
            framer,
            shown,
            source,
            seen,
            stands: seen,
            passed: 0,
            initial,
            hides_bookmarks,
            catching_up: false,
            footing,
            columns: None,
        };
        Self::new(Shape::Watch(Box::new(watch)), gzip)
    }

    fn new(shape: Shape, gzip: bool) -> Self {
        let packed = || Packed { decoder: flate2::write::GzDecoder::new(Vec::new()), left: Bytes::new() };
        Self { gzip: gzip.then(packed), shape }
    }

    /// A whole body at once.
    pub(in crate::request) fn all(mut self, body: Vec<u8>) -> Result<Vec<u8>, FilterError> {
        let mut out = Vec::new();
        self.feed(Bytes::from(body), &mut out)?;
        while let Some(result) = self.go_on(&mut out) {
            result?;
        }
        self.finish(&mut out)?;
        Ok(out.concat())
    }

    fn feed(&mut self, data: Bytes, out: &mut Vec<Bytes>) -> Result<(), FilterError> {
        match &mut self.gzip {
            None => self.shape.feed(data, out),
            Some(packed) => {
                packed.left = data;
                Ok(())
            }
        }
    }

    /// Goes on with what was fed; `None`: all of it has been looked at.
    fn go_on(&mut self, out: &mut Vec<Bytes>) -> Option<Result<(), FilterError>> {
        let unpacked = self.gzip.as_mut()?.next()?;
        Some(unpacked.map_err(|error| broken(&error)).and_then(|data| self.shape.feed(data, out)))
    }

    fn finish(&mut self, out: &mut Vec<Bytes>) -> Result<(), FilterError> {
        if let Some(gzip) = self.gzip.take() {
            let rest = gzip.decoder.finish().map_err(|error| broken(&error))?;
            self.shape.feed(Bytes::from(rest), out)?;
        }
        match &mut self.shape {
            Shape::List(list) => match list.take() {
                Some(list) => list.finish(),
                None => Ok(()),
            },
            // What a cut left of an event is not passed on.
            Shape::Watch(_) => Ok(()),
        }
    }

    /// Returns when the answer would be another one now; only a watch ever asks.
    fn outdated(&self) -> Option<Outdated> {
        match &self.shape {
            Shape::List(_) => None,
            Shape::Watch(watch) => {
                let chain = watch.chain.clone();
                Some(Box::pin(async move { chain.outdated().await }))
            }
        }
    }

    /// What is to be done about it, if the watch stands between two events.
    fn catch_up(&mut self) -> Option<CatchingUp> {
        match &mut self.shape {
            Shape::Watch(watch) if watch.framer.is_between() => Some(match watch.source.clone() {
                Some(source) if !watch.initial => Box::pin(catch_up(watch.chain.clone(), source, watch.shown.take(), watch.seen)),
                _ => Box::pin(std::future::ready(None)),
            }),
            _ => None,
        }
    }

    /// Goes on with the new chain; returns what the client has to be told.
    fn go_on_with(&mut self, caught_up: CaughtUp) -> Vec<Bytes> {
        if let Shape::Watch(watch) = &mut self.shape {
            (watch.chain, watch.shown, watch.catching_up) = (Arc::new(caught_up.chain), caught_up.shown, true);
            watch.footing.change(|stood| stood.mark = Mark::Mixed);
            watch.chain.is_being_told();
            watch.is_shown(caught_up.stands);
        }
        caught_up.frames
    }

    /// All that has come of what was fed is on its way to the client.
    fn is_drained(&mut self) {
        let Shape::Watch(watch) = &mut self.shape else { return };
        if watch.shown.is_some() && watch.seen > watch.stands && watch.seen > watch.passed {
            watch.passed = watch.seen;
            watch.footing.change(|stood| stood.seen = watch.seen);
        }
        if std::mem::take(&mut watch.catching_up) {
            watch.footing.change(|stood| stood.mark = watch.chain.mark().into());
            watch.chain.is_told();
        }
    }

    /// The last frame of a watch that ends early.
    fn farewell(&self) -> Option<Bytes> {
        match &self.shape {
            Shape::List(_) => None,
            Shape::Watch(watch) => Some(watch::error_status(watch.encoding, 410, "Expired", OUTDATED)),
        }
    }
}

type CatchingUp = Pin<Box<dyn Future<Output = Option<CaughtUp>> + Send>>;
type Outdated = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Shape {
    fn feed(&mut self, data: Bytes, out: &mut Vec<Bytes>) -> Result<(), FilterError> {
        if data.is_empty() {
            return Ok(());
        }
        match self {
            Self::List(Some(list)) => list.feed(data, out),
            Self::List(None) => Ok(()),
            Self::Watch(watch) => watch.feed(data, out),
        }
    }
}

impl Watch {
    fn feed(&mut self, data: Bytes, out: &mut Vec<Bytes>) -> Result<(), FilterError> {
        let mut frames = Vec::new();
        self.framer.feed(data, &mut frames).map_err(|error| broken(&error))?;
        for frame in frames {
            out.extend(self.event(frame)?);
        }
        Ok(())
    }

    /// The frame for the client, if there is anything for it to see.
    fn event(&mut self, frame: watch::Frame) -> Result<Option<Bytes>, FilterError> {
        let (kind, version) = (frame.event.kind, self.version(&frame.event));
        self.seen = self.seen.max(version);
        // What is initial is ADDED, and comes first.
        self.initial &= kind == EventType::Added;
        let shown = self.shown_of(frame)?;
        let is_hidden = kind == EventType::Bookmark && self.hides_bookmarks;
        if shown.is_some() && kind != EventType::Error && !is_hidden {
            self.is_shown(version);
        }
        Ok(shown)
    }

    /// The version of an event's object; 0 where nobody asks for it.
    fn version(&self, event: &watch::Event) -> u64 {
        let wanted = (self.source.is_some() || self.shown.is_some()) && event.kind != EventType::Error;
        if wanted { object::version(self.encoding, &event.object).unwrap_or(0) } else { 0 }
    }

    /// The client has been shown an event of this version.
    fn is_shown(&mut self, version: u64) {
        if version > self.stands {
            self.stands = version;
            self.shown.iter_mut().for_each(Shown::stands);
        }
    }

    fn shown_of(&mut self, frame: watch::Frame) -> Result<Option<Bytes>, FilterError> {
        let (kind, object) = (frame.event.kind, &frame.event.object);
        match kind {
            EventType::Bookmark | EventType::Error => return Ok(Some(frame.raw)),
            // Nobody knows what it would do to its client.
            EventType::Other => return self.chain.or_keep(Err(FilterError::Event)).map(|_| Some(frame.raw)),
            EventType::Added | EventType::Modified | EventType::Deleted => {}
        }
        // A chain that has become empty still leads out of the dark what the one before it has hidden.
        if self.chain.is_empty() && self.shown.is_none() {
            return Ok(Some(frame.raw));
        }
        let edit = edit_whole(&self.chain, self.encoding, object)?;
        let seen = match &mut self.shown {
            None => Some(kind),
            Some(shown) => shown.event(kind, self.chain.key(&identity(self.encoding, object)?), edit == Edit::Remove),
        };
        let Some(seen) = seen else {
            self.keep_columns(object)?;
            return Ok(None);
        };
        let edited = match edit {
            Edit::Replace(object) => Some(object),
            // Its client has asked for rows without objects, and the hub has not.
            Edit::Remove if self.chain.asks_for_objects() => Some(without_objects(self.encoding, object)?),
            _ => None,
        };
        let edited = self.with_columns(edited.as_deref().unwrap_or(object))?.or(edited);
        Ok(Some(match edited {
            Some(object) => watch::encode(self.encoding, seen, &object),
            None if seen == kind => frame.raw,
            None => watch::encode(self.encoding, seen, object),
        }))
    }

    fn keep_columns(&mut self, hidden: &[u8]) -> Result<(), FilterError> {
        let is_table = |types: &TypeMeta| Presentation::of_object(types) == Presentation::Row;
        if self.encoding == Encoding::Json && is_table(&object::type_of(self.encoding, hidden)?) {
            let columns = message::parts(self.encoding, hidden, table::COLUMNS)?;
            let columns: Vec<&[u8]> = columns.into_iter().map(|place| &hidden[place]).collect();
            if !columns.is_empty() {
                self.columns = Some([b"[", columns.join(&b","[..]).as_slice(), b"]"].concat());
            }
        }
        Ok(())
    }

    /// The first Table that is shown, with the columns that its client still lacks.
    fn with_columns(&mut self, shown: &[u8]) -> Result<Option<Vec<u8>>, FilterError> {
        let Some(columns) = self.columns.take() else { return Ok(None) };
        Ok(Some(message::set(self.encoding, shown, table::COLUMNS, Set::Message(&columns))?))
    }
}

/// Its client may go on from where it stands.
impl Drop for Watch {
    fn drop(&mut self) {
        if !self.initial
            && !self.catching_up
            && let Some(hidden) = self.shown.as_ref().and_then(Shown::hidden)
        {
            let hidden: Vec<u64> = hidden.collect();
            self.chain.hides_at(self.stands, hidden.iter().copied());
            if self.passed > self.stands {
                self.chain.hides_at(self.passed, hidden);
            }
        }
    }
}

fn broken(error: &dyn std::fmt::Display) -> FilterError {
    FilterError::Body(error.to_string())
}

/// A teed body with its transformation.
pub struct Filtered<B> {
    body: B,
    /// `None` once the end has been written.
    transform: Option<Transform>,
    ready: VecDeque<Bytes>,
    outdated: Option<Outdated>,
    is_outdated: bool,
    catching_up: Option<CatchingUp>,
    metrics: Arc<Metrics>,
}

impl<B> Filtered<B> {
    /// What becomes of the cloud's `body`.
    pub fn new(body: B, transform: Transform, metrics: Arc<Metrics>) -> Self {
        let outdated = transform.outdated();
        Self {
            body,
            transform: Some(transform),
            ready: VecDeque::new(),
            outdated,
            is_outdated: false,
            catching_up: None,
            metrics,
        }
    }

    fn failed(&mut self, error: &FilterError) -> BodyError {
        if !matches!(error, FilterError::Refused(_)) {
            self.metrics.filter_errors.get_or_create(&FilterLabel { filter: "body".to_owned() }).inc();
        }
        self.transform = None;
        BodyError::Filter(error.to_string())
    }
}

impl<B> HttpBody for Filtered<B>
where
    B: HttpBody<Data = Bytes, Error = crate::upstream::Error> + Unpin,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            let this = &mut *self;
            let Some(transform) = &mut this.transform else { return Poll::Ready(None) };
            transform.is_drained();
            if this.outdated.as_mut().is_some_and(|outdated| outdated.as_mut().poll(cx).is_ready()) {
                (this.outdated, this.is_outdated) = (None, true);
            }
            if this.is_outdated && this.catching_up.is_none() {
                this.catching_up = transform.catch_up();
            }
            if let Some(catching_up) = &mut this.catching_up {
                // Nothing else is read meanwhile: the store comes to stand where the client does.
                let caught_up = ready!(catching_up.as_mut().poll(cx));
                (this.catching_up, this.is_outdated) = (None, false);
                match caught_up {
                    Some(caught_up) => {
                        this.ready.extend(transform.go_on_with(caught_up));
                        this.outdated = transform.outdated();
                    }
                    None => {
                        this.ready.extend(transform.farewell());
                        this.transform = None;
                    }
                }
                continue;
            }
            let mut out = Vec::new();
            let result = match transform.go_on(&mut out) {
                Some(result) => result,
                None => match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                    Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                    Some(Ok(frame)) => match frame.into_data() {
                        Ok(data) => transform.feed(data, &mut out),
                        Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                    },
                    None => {
                        let result = transform.finish(&mut out);
                        this.transform = None;
                        result
                    }
                },
            };
            if let Err(error) = result {
                return Poll::Ready(Some(Err(this.failed(&error))));
            }
            this.ready.extend(out.into_iter().filter(|bytes| !bytes.is_empty()));
        }
    }
}

#[cfg(test)]
mod tests;
