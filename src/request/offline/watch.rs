//! WATCH from the store: open, quiet, honest.
//!
//! Initial events where they are asked for, what is written on this node meanwhile, bookmarks every minute where they are
//! allowed, an end when the link is back (the client then asks the cloud from where it
//! stands), at timeoutSeconds, or when the hub drains. A version older than what is
//! known is led up to it where the events between are known, and gets 410 in the stream else: the client lists again,
//! from the store.
//!
//! Where nobody has asked for more than a Table there are copies of the cloud's: who goes on from one of them, or from a
//! newer state, is held as any other, but nothing can be told, bookmarks neither.
//!
//! What was written on this node before a watch that goes on from a version comes first, whether the client has it from
//! its list or not, for the version does not tell. When the link is back, a watch that has shown any of it waits a little until
//! that is in the cloud, and leads its client back to what the cloud has ([`follow`](super::follow)); then the hub asks the
//! cloud. Where what was shown is not known any more, the watch ends with 410 in the stream, and so does a later one of that
//! client's from the same version ([`Filters::may_resume`](crate::request::filter::Filters)).

mod led;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::answer::{
    channel_body, content_type, is_kubelets_pods, is_selectable, offered, safe, selection, told_by, unknown, with_local,
};
use super::fields::fields;
use super::follow::{Follow, Subject};
use super::presented::{Cursor, Form, Patience, Presented};
use super::{Offline, copies, kinds, window};
use crate::kube::layout::Layout;
use crate::kube::list::Encoding;
use crate::kube::media::{self, Media};
use crate::kube::object::{self, TypeMeta};
use crate::kube::request::Query;
use crate::kube::selector::Fields;
use crate::kube::table;
use crate::kube::watch::{self, EventType};
use crate::request::context::{BodyError, Caller, Context, Refusal, Response, freshness};
use crate::request::filter::{Basis, By, Chain, Note, OUTDATED, OVERTAKEN, Stands, Stood};
use crate::request::names;
use crate::runtime::drain::Ending;
use crate::state::link::{Link, Turn};
use crate::store::{Happened, Knowledge, ListView, Scope};

/// Seconds that a watch may ask for: more than anybody waits, and what a clock can add.
const LONGEST: u64 = 365 * 24 * 3600;
const BOOKMARKS: Duration = Duration::from_secs(60);

/// One client's open watch.
struct Watcher {
    knowledge: Arc<Knowledge>,
    sender: mpsc::Sender<Result<Bytes, BodyError>>,
    encoding: Encoding,
    /// Of the whole objects, and of what is made of them.
    types: TypeMeta,
    form: Form,
    /// Whether something has come already.
    begun: bool,
    version: String,
    initial: Initial,
    bookmarks: bool,
    until: Instant,
    turn: Turn,
    link: Arc<Link>,
    chain: Option<Chain>,
    ending: Ending,
    follow: Option<Follow>,
    /// Where the client stands beside its version.
    stands: Stands,
    note: Note,
}

/// Where the client begins.
enum Start {
    /// With all there is, of this version at least; with `bookmark` it is told where that ends.
    All { at_least: u64, bookmark: bool },
    /// Behind this version; 0: wherever the node stands.
    Behind(u64),
}

/// What comes first.
enum Initial {
    Nothing,
    /// All items as ADDED; with `bookmark`, then the end of the initial events.
    Items {
        shown: Box<Presented>,
        bookmark: bool,
    },
    /// What has happened since the client's version.
    Events(Vec<Happened>),
    /// The client is behind what is known: 410.
    Expired,
}

/// What a watch begins with.
struct Opening {
    media: Media,
    form: Form,
    /// Of the whole objects.
    types: TypeMeta,
    initial: Initial,
    /// What its bookmarks are of, if it has any.
    version: String,
    bookmarks: bool,
    follow: Option<Follow>,
    /// The client has what was written here, of which so much was gone.
    local: Option<u64>,
    /// Unix milliseconds.
    known_at: u64,
}

pub(super) async fn serve(offline: &Offline, knowledge: &Arc<Knowledge>, context: &Context) -> Result<Response, Refusal> {
    let info = &context.info;
    let selection = selection(context)?;
    window::is_allowed(&info.query)?;
    if context.layout == Layout::Yaml {
        let message = "a watch is answered in application/json or application/vnd.kubernetes.protobuf";
        return Err(Refusal::not_acceptable(message));
    }
    let fields = fields(knowledge, info, &selection).await;
    let start = Start::of(&info.query).or_else(|refusal| is_selectable(&fields, &selection).and(Err(refusal)))?;
    let chain = offline.filters.chain(context).await?;
    let gone = knowledge.gone_here();
    let basis = offline.filters.may_resume(context, chain.as_ref(), By::Node { gone })?;
    let mut local = (basis == Basis::Local).then_some(gone);
    let Some((media, form, subject, view)) = found(knowledge, context, chain.as_ref(), (&fields, &start))? else {
        is_selectable(&fields, &selection)?;
        let opening = of_copies(knowledge, context, &start).await?;
        return Ok(open(offline, knowledge, context, chain, opening));
    };
    let view = safe(offline, knowledge, context, view).await?;
    if matches!(context.caller, Caller::Node) && view.header.scope == names::scope(info, &media) {
        // Its client may have been told of what the node does not have any more.
        knowledge.note_missed(&view.header.scope, start.version());
    }
    let mut follow = Follow::begin(knowledge, &subject, &view);
    let view = with_local(knowledge, view).await?;
    let header = view.header.clone();
    // A bookmark has to say it.
    let kind = kinds::item_kind(knowledge, info, &header).await.ok_or_else(|| unknown(knowledge, context))?;
    let types = TypeMeta { api_version: header.api_version.clone(), kind };
    let shown = Presented { view, chain: chain.clone(), form: form.clone() };
    let initial = match initial(knowledge, &start, &subject.scope, shown) {
        Initial::Items { shown, bookmark } => {
            let shown = shown.measure(knowledge, Cursor::ALL).await?.shown;
            offline.filters.told(context, chain.as_ref(), told_by(&shown.view, gone));
            if let Some(follow) = &mut follow {
                follow.showed(&shown.view);
                local = follow.has_shown().then_some(gone);
            }
            Initial::Items { shown: Box::new(shown), bookmark }
        }
        other => other,
    };
    let opening = Opening {
        bookmarks: info.query.allow_watch_bookmarks && start.version() <= header.version_number(),
        version: header.resource_version.clone(),
        known_at: header.updated,
        media,
        form,
        types,
        initial,
        follow,
        local,
    };
    Ok(open(offline, knowledge, context, chain, opening))
}

/// A watch of Tables of which copies are known.
async fn of_copies(knowledge: &Arc<Knowledge>, context: &Context, start: &Start) -> Result<Opening, Refusal> {
    let is_table = |media: &&Media| matches!(&media.form, media::Form::As(form) if table::is_form(form));
    let wanted = context.accepts.first().filter(is_table).filter(|media| media.encoding == Encoding::Json);
    let (Start::Behind(version), Some(media)) = (start, wanted) else { return Err(unknown(knowledge, context)) };
    let copies = copies::copies(knowledge, &context.info).await?;
    let newest = copies.iter().max_by_key(|copy| copy.version).ok_or_else(|| unknown(knowledge, context))?;
    // Who has listed from an older one of them is told no more by listing again.
    let own = copies.iter().find(|copy| copy.version == *version);
    let is_behind = own.is_none() && (1..newest.version).contains(version);
    Ok(Opening {
        media: media.clone(),
        form: Form::Whole,
        types: table::types(),
        initial: if is_behind { Initial::Expired } else { Initial::Nothing },
        version: version.to_string(),
        bookmarks: false,
        follow: None,
        local: None,
        known_at: own.unwrap_or(newest).at,
    })
}

fn open(offline: &Offline, knowledge: &Arc<Knowledge>, context: &Context, chain: Option<Chain>, opening: Opening) -> Response {
    let Opening { media, form, types, initial, version, bookmarks, follow, local, known_at } = opening;
    let (sender, receiver) = mpsc::channel(4);
    let mark = chain.as_ref().and_then(Chain::mark).into();
    let stands = Stands::at(Stood { mark, local, ..Stood::default() });
    let watcher = Watcher {
        knowledge: knowledge.clone(),
        sender,
        encoding: media.encoding,
        types,
        form,
        begun: false,
        initial,
        bookmarks,
        version,
        until: Instant::now() + lasts(offline, context),
        turn: Turn { id: context.id, is_nodes: matches!(context.caller, Caller::Node) },
        link: offline.link.clone(),
        note: offline.filters.note(context, chain.as_ref()),
        chain,
        ending: offline.ending.clone(),
        follow,
        stands: stands.clone(),
    };
    tokio::spawn(watcher.run());
    let mut response = Response::new(channel_body(receiver));
    response.extensions_mut().insert(stands);
    content_type(&mut response, &media, true);
    freshness(&mut response, context, known_at);
    response
}

/// How long the watch stays open at most.
fn lasts(offline: &Offline, context: &Context) -> Duration {
    let least = offline.min_request_timeout;
    let asked = context.info.query.seconds().map(|seconds| LONGEST.min(seconds));
    Duration::from_secs(asked.unwrap_or(least + context.id * 7919 % least.max(1)))
}

/// What is watched, in which representation, and what is known of it.
type Watched = (Media, Form, Subject, ListView);

fn found(
    knowledge: &Knowledge,
    context: &Context,
    chain: Option<&Chain>,
    (fields, start): (&Fields, &Start),
) -> Result<Option<Watched>, Refusal> {
    if context.info.query.other {
        return Ok(None);
    }
    let mut refused = None;
    for (media, form) in offered(knowledge, context, chain) {
        let scope = names::scope(&context.info, &media);
        let kubelets_pods = is_kubelets_pods(context);
        let subject = Subject { scope, fields: fields.clone(), version: start.version(), kubelets_pods };
        let Some(view) = subject.view(knowledge)? else { continue };
        match start.allows(view.header.version_number()) {
            Ok(()) => return Ok(Some((media, form, subject, view))),
            // Another representation may be newer.
            Err(refusal) => _ = refused.get_or_insert(refusal),
        }
    }
    refused.map_or(Ok(None), Err)
}

fn initial(knowledge: &Knowledge, start: &Start, watched: &Scope, shown: Presented) -> Initial {
    match *start {
        Start::All { bookmark, .. } => Initial::Items { shown: Box::new(shown), bookmark },
        Start::Behind(version) if (1..shown.view.header.version_number()).contains(&version) => {
            // Where it would stand then beside its version is not noted.
            let is_told = !shown.chain.as_ref().is_some_and(Chain::hides);
            let events = shown.since(knowledge, watched, version).filter(|events| is_told || events.is_empty());
            if let (Some(chain), true) = (&shown.chain, events.is_some()) {
                // Bookmarks will say that version.
                chain.hides_still(version, shown.view.header.version_number());
            }
            events.map_or(Initial::Expired, Initial::Events)
        }
        Start::Behind(_) => Initial::Nothing,
    }
}

impl Start {
    fn of(query: &Query) -> Result<Self, Refusal> {
        let version = window::version(query)?;
        Ok(match query.send_initial_events {
            Some(true) => Self::All { at_least: version, bookmark: query.allow_watch_bookmarks },
            // The kube-apiserver reads it as the same, since the gate WatchList is on (SetListOptionsDefaults of
            // k8s.io/apimachinery/pkg/apis/meta/internalversion).
            None if version == 0 => Self::All { at_least: 0, bookmark: query.allow_watch_bookmarks },
            _ => Self::Behind(version),
        })
    }

    /// What the client has; 0: nothing.
    fn version(&self) -> u64 {
        match self {
            Self::All { .. } => 0,
            Self::Behind(version) => *version,
        }
    }

    /// Whether it may begin with the state that is known. Who goes on from a newer one is held until the link is back.
    fn allows(&self, known: u64) -> Result<(), Refusal> {
        match self {
            Self::All { at_least, .. } => window::at_least(*at_least, known),
            Self::Behind(_) => Ok(()),
        }
    }
}

impl Watcher {
    async fn run(mut self) {
        match std::mem::replace(&mut self.initial, Initial::Nothing) {
            Initial::Nothing => {}
            Initial::Expired => {
                let _ = self.expired("The resourceVersion for the provided watch is too old.").await;
                return;
            }
            Initial::Events(events) => {
                let has_led = !events.is_empty();
                for Happened { kind, item } in events {
                    if self.event(kind, item).await.is_err() {
                        return;
                    }
                }
                if has_led {
                    self.is_led().await;
                }
            }
            Initial::Items { shown, bookmark } => {
                if self.items(*shown).await.is_err() || (bookmark && self.bookmark(true).await.is_err()) {
                    return;
                }
            }
        }
        let before = self.stands.now().local;
        if self.follow().await.is_err() {
            return;
        }
        if before.is_some_and(|gone| self.knowledge.gone_here() != gone) {
            // It may have had what was gone before it was told again.
            let _ = self.expired(OVERTAKEN).await;
            return;
        }
        self.hold().await;
    }

    /// Its client is where the node is, of whatever version the last event was.
    async fn is_led(&self) {
        // Once nothing is on its way.
        let taken = self.sender.reserve_many(self.sender.max_capacity()).await;
        if let (Ok(_), Ok(version)) = (taken, self.version.parse()) {
            self.stands.change(|stood| stood.seen = stood.seen.max(version));
        }
    }

    /// The last word of a watch.
    async fn expired(&mut self, why: &str) -> Result<(), ()> {
        let _ = self.send(watch::error_status(self.encoding, 410, "Expired", why)).await;
        Err(())
    }

    /// It ends as what has not come whole.
    async fn broken(&self, why: String) -> Result<(), ()> {
        let _ = self.sender.send(Err(BodyError::Store(why))).await;
        Err(())
    }

    async fn items(&mut self, shown: Presented) -> Result<(), ()> {
        let (mut shown, mut cursor) = (shown, Cursor::ALL);
        let patience = Patience::begin();
        loop {
            let page = match shown.page(&self.knowledge, cursor).await {
                Ok(page) => page,
                Err(error) => return self.broken(error.to_string()).await,
            };
            shown = page.shown;
            for item in page.items {
                let Some(taken) = patience.with(self.event(EventType::Added, item)).await else {
                    drop(shown);
                    return self.broken(Patience::TOO_SLOW.to_owned()).await;
                };
                taken?;
            }
            match page.next {
                Some(next) => cursor = next,
                None => return Ok(()),
            }
        }
    }

    /// Stays open until there is a reason to end.
    async fn hold(mut self) {
        let mut ending = self.ending.clone();
        let chain = self.chain.clone();
        let mut outdated = std::pin::pin!(async {
            match &chain {
                Some(chain) => chain.outdated().await,
                None => std::future::pending().await,
            }
        });
        let link = self.link.clone();
        // In the hub's first moments it is only hoped to be up.
        let back_again = async |turn| {
            link.is_proven().await;
            link.is_back_in_turn(turn).await;
        };
        let mut back = std::pin::pin!(back_again(self.turn));
        let mut bookmark_at = Instant::now() + BOOKMARKS;
        loop {
            tokio::select! {
                () = self.sender.closed() => return,
                () = sleep_until(self.until) => return,
                () = ending.begun() => return,
                () = &mut outdated => {
                    let _ = self.expired(OUTDATED).await;
                    return;
                }
                () = sleep_until(bookmark_at), if self.bookmarks => {
                    bookmark_at += BOOKMARKS;
                    if self.bookmark(false).await.is_err() {
                        return;
                    }
                }
                () = led::written(&mut self.follow) => {
                    if self.follow().await.is_err() {
                        return;
                    }
                }
                () = &mut back => {
                    if self.link.is_up() && self.lead_back().await != Ok(false) {
                        return;
                    }
                    back.set(back_again(self.turn));
                }
            }
        }
    }

    async fn event(&mut self, kind: EventType, item: Vec<u8>) -> Result<(), ()> {
        let item = if std::mem::replace(&mut self.begun, true) { item } else { self.form.first(item).map_err(drop)? };
        let full = object::from_item(self.encoding, &self.form.types(self.types.clone()), &item);
        self.send(watch::encode(self.encoding, kind, &full)).await
    }

    async fn bookmark(&mut self, initial_end: bool) -> Result<(), ()> {
        let types = self.form.types(self.types.clone());
        let Form::Tables(table) = &self.form else {
            return self.send(watch::bookmark(self.encoding, &types, &self.version, initial_end)).await;
        };
        // A row of an object that has a version and nothing else.
        let object = watch::bookmark_object(self.encoding, &self.types, &self.version, initial_end);
        let table = table.of_one(&self.types, &object).map_err(drop)?;
        self.event(EventType::Bookmark, table).await
    }

    async fn send(&self, frame: Bytes) -> Result<(), ()> {
        self.sender.send(Ok(frame)).await.map_err(drop)
    }
}
