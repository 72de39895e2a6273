//! One watch of the cloud's for all who watch the same.
//!
//! What is the same is what the cloud is asked for ([`Wish::key`]): filters come after, each client's own. Who comes first
//! asks the cloud, with its own credential, and what comes is there for those who come later ([`feed`]), if they have been
//! told everything up to a version from which it leads on, and the cloud says that they may watch it themselves
//! ([`review`]). Everybody else asks the cloud. So does the next one once what brings it has ended: with it whoever of its
//! readers asks first (`held.rs`).

mod beginning;
mod brought;
mod feed;
mod review;
mod share;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use http::response::Parts;
use http::{HeaderValue, Method, StatusCode};
use tokio::sync::OwnedMutexGuard;
use tokio::time::{Instant, timeout};

pub(super) use beginning::Beginning;
use brought::Brought;
use feed::{Answer, Feed, Place, Reader};
use review::{Asking, Question, Reviews};
pub(super) use share::Share;
use share::Terms;

use super::learn;
use super::tee::Tee;
use super::{Asked, Failure, Remote, ask};
use crate::kube::list::Encoding;
use crate::kube::request::{BEGINNING_OF_WATCH, BOOKMARKS, with_query};
use crate::request::context::{Another, Context, readable};
use crate::request::filter::Chain;
use crate::request::names;
use crate::runtime::metrics::Metrics;
use crate::state::link::Link;
use crate::state::sharing::Sharing;
use crate::upstream::Server;

/// How long one waits for another to be answered.
const TURN: Duration = Duration::from_secs(1);
/// Feeds that nobody reads are looked for when there are so many, and twice as many as were read then.
const MANY: usize = 64;

/// The watches that are shared.
pub struct Shared {
    feeds: Mutex<Feeds>,
    reviews: Arc<Reviews>,
    sharing: Sharing,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct Feeds {
    known: HashMap<Arc<str>, Arc<Feed>>,
    /// How many there may be before those that nobody reads go.
    enough: usize,
}

/// A watch that may be shared, as one client wants it.
#[derive(Clone)]
struct Wish {
    shared: Arc<Shared>,
    /// The same for all who ask the cloud for the same.
    key: Arc<str>,
    /// Whether it asks for bookmarks.
    bookmarks: bool,
    /// Its client's time.
    until: Option<Instant>,
    question: Question,
}

/// How a wish is granted.
enum Granted {
    /// By what another one is told.
    Share(Share),
    /// By the cloud, for those who come later as well.
    Lead(Lead),
    /// By the cloud, alone.
    Alone,
}

/// The right to ask the cloud for a feed, and a place in it.
struct Lead {
    feed: Arc<Feed>,
    /// `None`: it has begun.
    reader: Option<Reader>,
    /// From which it is to go on.
    version: u64,
    _turn: OwnedMutexGuard<()>,
}

impl Lead {
    /// `None`: the feed does not lead on from there.
    fn of(feed: Arc<Feed>, turn: OwnedMutexGuard<()>, version: u64) -> Option<Self> {
        let (reader, version) = feed.reserve(version)?;
        Some(Self { feed, reader: Some(reader), version, _turn: turn })
    }

    /// The cloud goes on with it.
    fn begin(mut self, brought: Brought, answer: Answer) -> (Arc<Feed>, Reader) {
        let reader = self.reader.take().expect("it begins once");
        self.feed.begin(&reader, brought, answer);
        (self.feed.clone(), reader)
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        if let Some(reader) = &self.reader {
            self.feed.leave(reader);
        }
    }
}

/// A request on its way to the cloud.
pub(super) struct Going<'a> {
    pub(super) remote: &'a Remote,
    pub(super) context: &'a Context,
    pub(super) chain: Option<&'a Chain>,
    pub(super) head: &'a http::request::Parts,
}

impl Going<'_> {
    /// What counts for whoever is told the same.
    fn answer(&self, parts: &Parts, encoding: Encoding) -> Answer {
        let fields = [CONTENT_TYPE, CACHE_CONTROL].into_iter();
        let fields = fields.filter_map(|name| parts.headers.get(&name).cloned().map(|value| (name, value))).collect();
        let is_remembered = self.remote.knowledge.is_some() && learn::is_remembered(&self.remote.rules, self.context);
        let media = learn::known_as(self.context, encoding).filter(|_| is_remembered);
        Answer { fields, scope: media.map(|media| names::scope(&self.context.info, &media)) }
    }
}

/// Whether the hub goes on with a watch when what brings it has ended.
fn is_held(context: &Context) -> bool {
    let is_asked = context.target.split_once('?').is_some_and(|(_, query)| query.contains("watch="));
    is_asked && !context.peer.is_internal()
}

/// Whether the store is told all that changes of what is listed, or of what a watch begins with, and the client may be told
/// what it knows. The newest state is the cloud's to tell: that a watch has said nothing does not mean that nothing has
/// happened.
pub(super) async fn may_be_told(remote: &Remote, context: &Context) -> Option<()> {
    let (shared, knowledge) = (remote.shared.as_ref()?, remote.knowledge.as_ref()?);
    let query = &context.info.query;
    let is_of_any =
        !query.resource_version.is_empty() && query.resource_version_match != "Exact" && query.continue_token.is_empty();
    let is_told = match context.info.verb.as_str() {
        "list" => true,
        // Of another one it is not known where its client stands when the store has told it all.
        "watch" => query.begins_with_all() && query.allow_watch_bookmarks && is_held(context),
        _ => false,
    };
    let is_asked = is_told && context.method == Method::GET && !query.other;
    if !is_of_any
        || !is_asked
        || context.impersonated
        || !shared.sharing.is_shared(&context.info)
        || shared.feeds().known.is_empty()
    {
        return None;
    }
    let question = Question::of(context)?;
    let chain = remote.filters.chain(context).await.ok()?;
    let scope = names::scope(&context.info, learn::asked_for(context, chain.as_ref())?);
    let feeds: Vec<Arc<Feed>> = shared.feeds().known.values().cloned().collect();
    let last = feeds.iter().find_map(|feed| feed.told_of(&scope))?;
    // What is written on this node is shown by the store alone.
    if scope.may_be_written_here() || knowledge.version(&scope)? < last {
        return None;
    }
    shared.reviews.granted(&question).await?;
    learn::from_review(knowledge, context, Some(&scope));
    shared.metrics.lists_shared.inc();
    Some(())
}

/// Answers a watch by what another one is told, or asks the cloud for all who come later. `None`: it is not to be shared.
pub(super) async fn answer(going: Going<'_>) -> Option<Result<(Parts, Tee), Failure>> {
    let Going { remote, context, .. } = going;
    let wish = remote.shared.as_ref()?.wish(&going)?;
    let query = &context.info.query;
    if !query.goes_on() {
        let is_marked = query.begins_with_all() && wish.bookmarks;
        return if is_marked { Some(wish.begin(going).await) } else { None };
    }
    // With a match the cloud refuses it.
    let version = query.resource_version.parse().ok().filter(|_| query.resource_version_match.is_empty())?;
    match wish.grant(version).await {
        Granted::Alone => None,
        Granted::Share(share) => {
            let answer = share.feed.answer();
            if let Some(knowledge) = &remote.knowledge {
                learn::from_review(knowledge, context, answer.scope.as_ref());
            }
            let mut parts = http::Response::new(()).into_parts().0;
            parts.headers.extend(answer.fields);
            parts.extensions.insert(Another);
            Some(Ok((parts, Tee::of(share))))
        }
        Granted::Lead(lead) => wish.lead(going, version, lead).await,
    }
}

impl Shared {
    pub fn new(servers: &[Arc<Server>], link: &Arc<Link>, metrics: &Arc<Metrics>, sharing: Sharing) -> Arc<Self> {
        let reviews = Reviews::new(servers.to_vec(), link.clone(), metrics.clone(), sharing.review_period);
        Arc::new(Self { feeds: Mutex::default(), reviews: Arc::new(reviews), sharing, metrics: metrics.clone() })
    }

    fn feeds(&self) -> MutexGuard<'_, Feeds> {
        self.feeds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wish(self: &Arc<Self>, going: &Going<'_>) -> Option<Wish> {
        let Going { remote, context, head, .. } = going;
        let info = &context.info;
        // Only what is held goes on when what brings it has ended, and it is read for that.
        let is_watch = info.verb == "watch" && !info.query.other;
        if !is_watch
            || !is_held(context)
            || context.method != Method::GET
            || context.impersonated
            || !self.sharing.is_shared(info)
        {
            return None;
        }
        let target = with_query(head.uri.path_and_query()?.as_str(), &[&BEGINNING_OF_WATCH[..], &[BOOKMARKS]].concat(), &[]);
        let accept = head.headers.get(ACCEPT).map(HeaderValue::as_bytes).unwrap_or_default();
        let is_remembered = remote.knowledge.is_some() && learn::is_remembered(&remote.rules, context);
        let key = format!("{target} {is_remembered} {}", String::from_utf8_lossy(accept));
        let until = |seconds| Instant::from_std(context.started).checked_add(Duration::from_secs(seconds));
        Some(Wish {
            shared: self.clone(),
            key: key.into(),
            bookmarks: info.query.allow_watch_bookmarks,
            until: info.query.seconds().and_then(until),
            question: Question::of(context)?,
        })
    }

    fn feed(&self, key: &Arc<str>, version: u64) -> Arc<Feed> {
        let mut feeds = self.feeds();
        if let Some(feed) = feeds.known.get(key) {
            return feed.clone();
        }
        if feeds.known.len() >= feeds.enough.max(MANY) {
            feeds.known.retain(|_, feed| !feed.is_idle());
            feeds.enough = feeds.known.len() * 2;
        }
        let feed = Feed::new(key.clone(), version);
        feeds.known.insert(key.clone(), feed.clone());
        feed
    }

    /// Another one in the place of one that does not lead on from where the client is; `None`: somebody was faster.
    fn anew(&self, old: &Arc<Feed>, version: u64) -> Option<Arc<Feed>> {
        let mut feeds = self.feeds();
        let place = feeds.known.get_mut(old.key()).filter(|known| Arc::ptr_eq(known, old))?;
        *place = Feed::new(old.key().clone(), version);
        Some(place.clone())
    }

    /// A reader is gone. Where it was the last one, and not because what brings it is gone, nobody goes on with it.
    fn leave(&self, feed: &Arc<Feed>, reader: &Reader) {
        if feed.leave(reader) {
            let mut feeds = self.feeds();
            if feeds.known.get(feed.key()).is_some_and(|known| Arc::ptr_eq(known, feed)) {
                feeds.known.remove(feed.key());
            }
        }
    }
}

impl Wish {
    async fn grant(&self, version: u64) -> Granted {
        let feed = self.shared.feed(&self.key, version);
        // Only what another one is told is worth a question.
        if feed.is_led()
            && let Some(granted) = self.share(&feed, version).await
        {
            return granted;
        }
        let Ok(turn) = timeout(TURN, feed.turn.clone().lock_owned()).await else { return Granted::Alone };
        if feed.is_led() {
            drop(turn);
            return self.share(&feed, version).await.unwrap_or(Granted::Alone);
        }
        self.may_lead(feed, turn, version).map_or(Granted::Alone, Granted::Lead)
    }

    /// With the turn of a feed that nobody brings; `None`: somebody else begins another one in its place.
    fn may_lead(&self, feed: Arc<Feed>, turn: OwnedMutexGuard<()>, version: u64) -> Option<Lead> {
        if feed.leads_on(version) {
            return Lead::of(feed, turn, version);
        }
        let feed = self.shared.anew(&feed, version)?;
        let turn = feed.turn.clone().try_lock_owned().ok()?;
        Lead::of(feed, turn, version)
    }

    /// `None`: nobody brings it any more.
    async fn share(&self, feed: &Arc<Feed>, version: u64) -> Option<Granted> {
        let Some(granted) = self.shared.reviews.granted(&self.question).await else { return Some(Granted::Alone) };
        match feed.place(version) {
            Place::Reader(reader) => Some(Granted::Share(self.reads(feed.clone(), reader, version, Some(granted)))),
            Place::Beyond => Some(Granted::Alone),
            Place::Lost => None,
        }
    }

    /// Asks the cloud, with the client's own credential and from where the feed goes on. `None`: it answers in a way that
    /// nobody reads here, and is to be asked as the client has.
    async fn lead(&self, going: Going<'_>, version: u64, lead: Lead) -> Option<Result<(Parts, Tee), Failure>> {
        let from = lead.version.to_string();
        let mut head = going.head.clone();
        let is_changed = lead.version != version || !self.bookmarks;
        if let Some(target) = head.uri.path_and_query().filter(|_| is_changed) {
            let more = [format!("resourceVersion={from}"), format!("{BOOKMARKS}=true")];
            let target = with_query(target.as_str(), &["resourceVersion", BOOKMARKS], &[&more[0], &more[1]]);
            head.uri = target.parse().ok()?;
        }
        let asked = Asked { head: &head, body: None, version: &from, options: None };
        let (parts, body) = match ask(going.remote, going.context, going.chain, asked).await {
            Ok(answer) => answer,
            Err(failure) => return Some(Err(failure)),
        };
        let Some(encoding) = readable(parts.status, &parts.headers) else {
            let is_refusal = parts.status != StatusCode::OK;
            return (is_refusal || !is_changed).then_some(Ok((parts, body)));
        };
        let (feed, reader) = lead.begin(Brought::new(Box::pin(body), encoding), going.answer(&parts, encoding));
        Some(Ok((parts, Tee::of(self.reads(feed, reader, version, None)))))
    }

    /// Asks the cloud for all there is, by itself. What comes behind that may be another one's, or for those who come later.
    async fn begin(self, going: Going<'_>) -> Result<(Parts, Tee), Failure> {
        let version = &going.context.info.query.resource_version;
        let asked = Asked { head: going.head, body: None, version, options: None };
        let (parts, body) = ask(going.remote, going.context, going.chain, asked).await?;
        let Some(encoding) = readable(parts.status, &parts.headers) else { return Ok((parts, body)) };
        let brought = Brought::new(Box::pin(body), encoding);
        let beginning = Beginning::new(self, brought, going.answer(&parts, encoding));
        Ok((parts, Tee::beginning(beginning)))
    }

    /// The cloud itself has let its client in.
    fn is_let_in(&self) -> Instant {
        self.shared.reviews.keep(self.question.known())
    }

    /// `granted`: until when it need not be asked again whether it may; `None`: the cloud itself ends it.
    fn reads(&self, feed: Arc<Feed>, reader: Reader, from: u64, granted: Option<Instant>) -> Share {
        let asking = || Asking::new(self.shared.reviews.clone(), self.question.clone());
        let terms = granted.map(|granted| {
            self.shared.metrics.watches_shared.inc();
            Terms::new(self.until, granted, asking())
        });
        Share::new(self.shared.clone(), feed, reader, from, self.bookmarks, terms)
    }
}

#[cfg(test)]
mod tests;
