//! A watch belongs to the hub, not to the connection that brings it.
//!
//! Receives the answer to a watch, from the cloud or from the store, and passes its events on whole. When what brings them is
//! gone before the client's time is up, the client's stream stays open, and the same request is asked again by the way that
//! any request takes, from the version up to which its client has been told: of the cloud, or meanwhile of the store. Where
//! the cloud does not have that version any more, the client is told the difference between what it was shown and a new list
//! ([`difference`]), and the watch goes on from there.
//!
//! Where all there is was still being told, all there is is asked for again, and the client is told what it lacks of that
//! ([`beginning`]).
//!
//! Where another process takes this one's place, the same request is asked of that one ([`succession`]).
//!
//! A stream ends where only its client can help: the credential is not accepted any more, what it was shown is not known
//! exactly, or the filters have changed. Then it lists again, as it would have without.

mod again;
mod away;
mod beginning;
mod difference;
mod listing;
mod succession;
mod telling;
mod turns;

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Task, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use http_body::{Body as HttpBody, Frame};
use http_body_util::BodyExt as _;
use tokio::time::{Instant, Sleep};

pub(super) use again::Again;
use away::{By, Joined, Next, Step};
use beginning::{Beginning, Begun};
use difference::Events;
use listing::Item;
use succession::Leaving;
pub use succession::Succession;
use telling::{Many, Part};
pub use turns::Turns;

use super::Path;
use super::context::{Body, BodyError, Caller, Context, Response, readable};
use super::filter::{LEFT_BEHIND, OUTDATED, OVERTAKEN, Stands, Stood};
use super::offline::Stand;
use crate::kube::list::{Encoding, Limits};
use crate::kube::media::{Form, Media};
use crate::kube::message;
use crate::kube::object;
use crate::kube::schema::status::{CODE, MESSAGE};
use crate::kube::watch::{self, EventType, Framer};
use crate::upstream::{Error, Fault};

/// How long a cloud that goes on with a watch may take to say that it cannot: it says so at once.
const TRIAL: Duration = Duration::from_secs(10);
/// Before this the server's own end of a client's time may have come.
const EARLY: Duration = Duration::from_secs(1);

/// What a watch goes on with.
struct Kept {
    again: Again,
    encoding: Encoding,
    /// The version up to which the client has been told everything.
    seen: u64,
    /// `None`: it has been told all there was when it began.
    begun: Option<Box<Begun>>,
    /// The number of the request, in the log.
    id: u64,
    began: Instant,
    /// Until when the client wants it, if it has said that.
    until: Option<Instant>,
    /// How long a watch lasts at least for which no time was said.
    least: Duration,
    /// When it was last asked for again.
    asked: Option<Instant>,
    /// Where the client stood when it was lost, if that is known, and it has been told nothing since.
    stand: Option<Box<Stand>>,
    /// Where it stood beside its version; `None`: not known, for an earlier version of the hub has begun it.
    stood: Option<Stood>,
}

/// One client's watch.
struct Held {
    state: State,
    framer: Framer,
    /// Whole events on their way to the client.
    out: VecDeque<Bytes>,
    /// `None`: it is away with those who ask again, or there is nothing to go on from.
    kept: Option<Box<Kept>>,
    /// Its client has not asked for bookmarks.
    hides_bookmarks: bool,
    /// Something has come since that was last looked at.
    has_come: bool,
    /// Where its client stands beside its version; `None`: as it stood before.
    stands: Option<Stands>,
    /// `None`: it has left what brought it, and is to be asked for by whoever is there then.
    leaving: Option<Leaving>,
}

enum State {
    /// The client's own request is answered.
    First(Body),
    /// It was asked again.
    Joined(Joined, Option<Pin<Box<Sleep>>>),
    Away(Pin<Box<dyn Future<Output = (Box<Kept>, Next)> + Send>>),
    /// It is told a large difference, and goes on behind it.
    Told(Many, Box<Kept>),
    Over(Option<BodyError>),
}

/// The answer to a watch as its client gets it.
pub(super) fn hold(path: &Arc<Path>, context: &Context, again: Again, response: Response) -> Response {
    let may_go_on = may_go_on(context);
    let Some(encoding) = encoding(&response).filter(|_| may_go_on || again.hides_bookmarks) else { return response };
    let hides_bookmarks = again.hides_bookmarks;
    let kept = may_go_on.then(|| {
        let mut kept = kept(path, context, again, encoding);
        let query = &context.info.query;
        kept.begun = (!query.goes_on()).then(|| Box::new(Begun::new(query.begins_with_all())));
        kept.stood = Some(Stood::default());
        kept
    });
    let stands = response.extensions().get().cloned();
    response.map(|body| Held { kept, hides_bookmarks, stands, ..Held::of(path, State::First(body), encoding) }.boxed_unsync())
}

/// The answer to a watch that another process's client has had so far; `None`: it does not go on.
pub(super) fn take_over(path: &Arc<Path>, context: &Context, again: Again, headers: &HeaderMap) -> Option<Response> {
    let encoding = succession::encoding(headers).filter(|_| may_go_on(context) && context.info.query.goes_on())?;
    let going_on = away::go_on(kept(path, context, again, encoding), Step::Ask);
    let media = HeaderValue::from_str(&Media { encoding, form: Form::Full }.content_type(true)).ok()?;
    let held = Held::of(path, State::Away(Box::pin(going_on)), encoding);
    let mut response = Response::new(held.boxed_unsync());
    response.headers_mut().insert(CONTENT_TYPE, media);
    Some(response)
}

fn kept(path: &Arc<Path>, context: &Context, mut again: Again, encoding: Encoding) -> Box<Kept> {
    if let Caller::Bearer(bearer) = &context.caller {
        again.bearer = Some(bearer.clone());
    }
    let query = &context.info.query;
    let seconds = query.seconds().filter(|seconds| *seconds <= u64::from(u32::MAX));
    let began = Instant::from_std(context.started);
    Box::new(Kept {
        again,
        encoding,
        seen: query.resource_version.parse().unwrap_or(0),
        begun: None,
        id: context.id,
        began,
        until: seconds.map(|seconds| began + Duration::from_secs(seconds)),
        least: Duration::from_secs(path.offline.min_request_timeout),
        asked: None,
        stand: None,
        stood: context.stood.as_deref().cloned(),
    })
}

fn may_go_on(context: &Context) -> bool {
    let known = matches!(context.caller, Caller::Bearer(_) | Caller::Node) && !context.impersonated;
    known && context.info.verb == "watch" && !context.info.query.other
}

/// Of a watch that can be read.
fn encoding(response: &Response) -> Option<Encoding> {
    readable(response.status(), response.headers())
}

impl Kept {
    /// The client has been told an event.
    fn told(&mut self, kind: EventType, version: u64) {
        self.seen = self.seen.max(version);
        if kind != EventType::Bookmark {
            self.stand = None;
        }
    }

    /// What it was shown of this has given way to what the cloud says of it.
    fn is_told_of(&mut self, object: &[u8]) {
        if let Some(stood) = self.stood.as_mut().filter(|stood| !stood.taken.is_empty())
            && let Some(item) = Item::of_event(self.encoding, object)
        {
            stood.taken.remove(&item.place);
        }
    }

    /// Whether what begins anew is shown as what its client has been told. Of what goes on that is looked at before.
    fn stands_under(&self, joined: &Joined) -> bool {
        let mark = |stood: Stood| stood.mark;
        let now = joined.stands.as_ref().map(|stands| mark(stands.now())).unwrap_or_default();
        self.begun.is_none() || self.stood.clone().map(mark) == Some(now)
    }

    /// Whether its client can be told what it lacks of all there is.
    fn begins_anew(&mut self) -> bool {
        let has_written_here = self.stood.as_ref().is_none_or(|stood| stood.local.is_some() || !stood.taken.is_empty());
        let version = self.begun.as_mut().and_then(|begun| begun.anew()).filter(|_| !has_written_here);
        self.seen = self.seen.max(version.unwrap_or(0));
        version.is_some()
    }

    /// Whether the client's time is up.
    fn is_over(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() + EARLY >= until)
    }

    /// Whether an end without a fault may be that of the time for which the server has let it last.
    fn has_lasted(&self) -> bool {
        self.until.is_none() && self.began.elapsed() >= self.least
    }
}

impl Held {
    fn of(path: &Path, state: State, encoding: Encoding) -> Self {
        let framer = Framer::new(encoding, Limits::ANSWER.max_item);
        let leaving = Some(succession::leaving(path));
        Self { state, framer, out: VecDeque::new(), kept: None, hides_bookmarks: false, has_come: false, stands: None, leaving }
    }

    fn take(&mut self, data: Bytes) {
        self.has_come = true;
        let mut frames = Vec::new();
        let read = self.framer.feed(data, &mut frames);
        for frame in frames {
            if frame.event.kind == EventType::Error {
                return self.error(frame.raw, &frame.event.object);
            }
            if !self.event(frame) {
                return self.breaks_off("an object is gone of which nobody knows what it was last");
            }
        }
        if let Err(error) = read {
            tracing::warn!(%error, "a watch cannot be read");
            let message = format!("the cloud's answer is no watch: {error}");
            self.end(Some(watch::error_status(self.framer.encoding(), 500, "InternalError", &message)));
        }
    }

    /// Whether it goes on behind it.
    fn event(&mut self, frame: watch::Frame) -> bool {
        let (kind, object, raw) = (frame.event.kind, frame.event.object.clone(), frame.raw.clone());
        let encoding = self.framer.encoding();
        let stands = self.kept.as_mut().and_then(|kept| Some(kept.begun.as_mut()?.tell(encoding, frame, &mut self.out)));
        match stands {
            Some(Beginning::GoesOn) => return true,
            Some(Beginning::Unknown) => return false,
            Some(Beginning::IsOver) => self.kept.iter_mut().for_each(|kept| kept.begun = None),
            None => {}
        }
        self.note(kind, &object);
        if !self.hides_bookmarks || kind != EventType::Bookmark {
            self.out.push_back(raw);
        }
        true
    }

    /// Up to which version the client will have been told.
    fn note(&mut self, kind: EventType, object: &[u8]) {
        let Some(kept) = &mut self.kept else { return };
        if kind != EventType::Bookmark {
            kept.is_told_of(object);
        }
        match object::version(kept.encoding, object) {
            Some(version) => kept.told(kind, version),
            None => self.kept = None,
        }
    }

    /// The stream's last word, unless it is for the hub itself.
    fn error(&mut self, raw: Bytes, status: &[u8]) {
        let has_local = self.stands.as_ref().is_some_and(|stands| stands.now().local.is_some());
        let step = match &self.state {
            State::Joined(Joined { by: By::Cloud, .. }, _) => Some(Step::TellDifference),
            // What was written here the store alone leads back from.
            State::Joined(Joined { by: By::Store, .. }, _) if has_local => None,
            State::Joined(Joined { by: By::Store, .. }, _) => Some(Step::AskCloud),
            _ => None,
        };
        match (self.kept.take(), step) {
            (Some(kept), _) if kept.begun.is_some() && code(kept.encoding, status) == Some(410) => {
                self.breaks_off("what brings it tells it to list");
            }
            (Some(kept), Some(step)) if kept.begun.is_none() && is_expired(kept.encoding, status) => self.leave(kept, step),
            _ => self.end(Some(raw)),
        }
    }

    fn end(&mut self, last: Option<Bytes>) {
        self.out.extend(last);
        self.state = State::Over(None);
    }

    /// What brought the events is gone; `error`: without having ended as it should. What filters or the store end is over.
    fn lost(&mut self, error: Option<BodyError>) {
        let may_go_on = match (&error, &self.state) {
            // It has gone on for as long as it can.
            (None, State::Joined(joined, _)) => joined.by != By::Successor,
            (error, _) => matches!(error, None | Some(BodyError::Upstream(_))),
        };
        match self.kept.take().filter(|_| may_go_on) {
            Some(kept) if kept.begun.is_some() => self.lost_in_the_beginning(kept, error),
            Some(kept) if kept.is_over() || error.is_none() && kept.has_lasted() => self.state = State::Over(None),
            Some(kept) => self.leave(kept, Step::Ask),
            None => self.state = State::Over(error),
        }
    }

    fn lost_in_the_beginning(&mut self, mut kept: Box<Kept>, error: Option<BodyError>) {
        self.note_stands(&mut kept);
        let is_cut = error.is_some() || kept.asked.is_some();
        let is_over = kept.is_over() || !is_cut && kept.has_lasted();
        match error {
            _ if !is_over && kept.begins_anew() => self.go_away(kept, Step::Ask),
            None if is_cut => self.breaks_off("its time is up"),
            // As the server has ended it.
            error => self.state = State::Over(error),
        }
    }

    /// Whoever has not been told all there is begins anew, and an end would tell it that it need not.
    fn breaks_off(&mut self, why: &str) {
        tracing::debug!(why, "a watch that was still being told all there is cannot go on");
        self.kept = None;
        self.state = State::Over(Some(BodyError::Upstream(Error::new(Fault::Link, true, why))));
    }

    fn leave(&mut self, mut kept: Box<Kept>, step: Step) {
        self.note_stands(&mut kept);
        self.go_away(kept, step);
    }

    fn note_stands(&mut self, kept: &mut Kept) {
        let Some(stands) = self.stands.take() else { return };
        let before = kept.stood.take().unwrap_or_default();
        let stood = stands.now().and(before.taken);
        // What has come since is hidden from its client.
        kept.seen = kept.seen.max(stood.seen);
        kept.stood = Some(stood);
    }

    fn go_away(&mut self, kept: Box<Kept>, step: Step) {
        self.framer = Framer::new(kept.encoding, Limits::ANSWER.max_item);
        self.state = State::Away(Box::pin(away::go_on(kept, step)));
    }

    fn go_on(&mut self, kept: Box<Kept>, next: Next) {
        match next {
            Next::Joined(joined) if !kept.stands_under(&joined) => self.breaks_off(OUTDATED),
            Next::Joined(joined) => {
                self.leaving = match joined.by {
                    By::Successor => None,
                    By::Cloud | By::Store => kept.again.path.upgrade().map(|path| succession::leaving(&path)),
                };
                // The store says by itself when the cloud is to be asked, and that may not know the version.
                self.stands.clone_from(&joined.stands);
                let trial = (joined.by == By::Cloud).then(|| Box::pin(tokio::time::sleep(TRIAL)));
                self.has_come = false;
                self.state = State::Joined(joined, trial);
                self.kept = Some(kept);
            }
            Next::Told(Events::Few(events)) => {
                self.out.extend(events);
                self.leave(kept, Step::Ask);
            }
            Next::Told(Events::Many(events)) => self.state = State::Told(events, kept),
            Next::Over(None) if kept.begun.is_some() => self.breaks_off("nobody tells it the rest"),
            Next::Over(last) => self.end(last),
        }
    }

    /// Nothing more comes of a large difference.
    fn is_told(&mut self, last: Option<Part>) {
        let State::Told(_, kept) = std::mem::replace(&mut self.state, State::Over(None)) else { return };
        let why = match &last {
            Some(Part::End) => return self.leave(kept, Step::Ask),
            Some(Part::Broken(why)) => why,
            _ => "nobody tells it any more",
        };
        tracing::warn!(id = kept.id, why, "a watch was not told all that has changed");
        self.end(Some(watch::error_status(kept.encoding, 410, "Expired", away::EXPIRED)));
    }

    /// What the client was shown is not needed any more: the cloud goes on from there. One that says no more of what it has,
    /// and not that this is all, does not know what it was asked.
    fn is_well(&mut self, cx: &mut Task<'_>) {
        let State::Joined(_, Some(trial)) = &mut self.state else { return };
        while trial.as_mut().poll(cx).is_ready() {
            let Some(kept) = &mut self.kept else { return };
            if !kept.begun.as_ref().is_some_and(|begun| begun.lacks()) {
                kept.stand = None;
                let State::Joined(_, trial) = &mut self.state else { return };
                *trial = None;
                return;
            }
            if !std::mem::take(&mut self.has_come) {
                return self.breaks_off("nobody says that all there is has been told");
            }
            trial.as_mut().reset(Instant::now() + TRIAL);
        }
    }

    /// Whether this process may leave, and it has therefore left what brought it, as soon as it may go on from somewhere.
    fn is_left(&mut self, cx: &mut Task<'_>) -> bool {
        let (State::First(_) | State::Joined(..), Some(kept), Some(leaving)) = (&self.state, &self.kept, &mut self.leaving)
        else {
            return false;
        };
        if kept.begun.is_some() || leaving.as_mut().poll(cx).is_pending() {
            return false;
        }
        self.leaving = None;
        if let Some(kept) = self.kept.take() {
            self.leave(kept, Step::Ask);
        }
        true
    }
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Task<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        loop {
            if let Some(event) = this.out.pop_front() {
                if this.out.is_empty() {
                    // Most watches are idle most of the time.
                    this.out = VecDeque::new();
                }
                return Poll::Ready(Some(Ok(Frame::data(event))));
            }
            this.is_well(cx);
            if this.is_left(cx) {
                continue;
            }
            let frame = match &mut this.state {
                State::First(body) | State::Joined(Joined { body, .. }, _) => ready!(Pin::new(body).poll_frame(cx)),
                State::Away(going_on) => {
                    let (kept, next) = ready!(going_on.as_mut().poll(cx));
                    this.go_on(kept, next);
                    continue;
                }
                State::Told(events, _) => match ready!(events.poll_recv(cx)) {
                    Some(Part::Event(event)) => return Poll::Ready(Some(Ok(Frame::data(event)))),
                    last => {
                        this.is_told(last);
                        continue;
                    }
                },
                State::Over(error) => return Poll::Ready(error.take().map(Err)),
            };
            match frame {
                Some(Ok(frame)) => frame.into_data().into_iter().for_each(|data| this.take(data)),
                Some(Err(error)) => this.lost(Some(error)),
                None => this.lost(None),
            }
        }
    }
}

/// Whether a Status says that the version is too old, and not that the client has to list for another reason.
fn is_expired(encoding: Encoding, status: &[u8]) -> bool {
    let Ok((_, item)) = object::whole_into_item(encoding, status) else { return false };
    let is_it = |why: &str| ![OUTDATED, OVERTAKEN, LEFT_BEHIND].contains(&why);
    code(encoding, status) == Some(410) && message::text(encoding, &item, MESSAGE).is_ok_and(|why| is_it(&why))
}

/// Of a Status.
fn code(encoding: Encoding, status: &[u8]) -> Option<i64> {
    let (_, item) = object::whole_into_item(encoding, status).ok()?;
    message::number(encoding, &item, CODE).ok()
}

#[cfg(test)]
mod tests;
