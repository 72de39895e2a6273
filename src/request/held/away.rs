//! A watch that has lost what brought it asks again, until somebody goes on with it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use tokio::time::{Instant, sleep, timeout_at};

use super::difference::{self, Client, Events};
use super::listing::{Listing, Stop};
use super::{Kept, encoding, succession};
use crate::kube::watch;
use crate::request::context::{Body, Context, MISSED, Refusal, Response};
use crate::request::filter::{OUTDATED, OVERTAKEN, Stands};
use crate::request::offline::Stand;
use crate::request::{Path, answer, offline, read, respond};
use crate::runtime::metrics::Why;
use crate::state::link::Turn;

/// Between two tries, at first and at most.
const SOON: Duration = Duration::from_millis(100);
const LATE: Duration = Duration::from_secs(5);
/// Between two times that somebody goes on.
const HASTY: Duration = Duration::from_millis(250);
/// In the kube-apiserver's words.
pub(super) const EXPIRED: &str = "too old resource version: what has changed since is not known";

/// Somebody goes on.
pub(super) struct Joined {
    pub(super) body: Body,
    pub(super) by: By,
    pub(super) stands: Option<Stands>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    Cloud,
    Store,
    /// The process that has taken this one's place.
    Successor,
}

/// How it goes on.
pub(super) enum Next {
    Joined(Joined),
    /// With these events, and then from another version.
    Told(Events),
    /// Not at all, after this if there is anything to say.
    Over(Option<Bytes>),
}

/// What one try has come to.
enum Outcome {
    Next(Next),
    Step(Step),
    Later,
}

/// What is to be done.
#[derive(Clone, Copy)]
pub(super) enum Step {
    /// Ask whoever can go on.
    Ask,
    /// The store can, but is to begin with no less than its client has. The cloud's newest state is always enough.
    AskForAsMuch,
    /// The store does not have the version: the cloud may.
    AskCloud,
    /// The node has missed something that the client has seen.
    FillGap,
    /// The cloud does not have the version any more.
    TellDifference,
}

/// Tries until somebody goes on, or nobody will.
pub(super) async fn go_on(mut kept: Box<Kept>, mut step: Step) -> (Box<Kept>, Next) {
    let mut pause = SOON;
    look_back(&mut kept).await;
    if kept.asked.is_some_and(|asked| asked.elapsed() < HASTY) {
        // A server that ends each watch at once is not asked without end.
        sleep(HASTY).await;
    }
    loop {
        let Some(path) = kept.again.path.upgrade() else { return (kept, Next::Over(None)) };
        if kept.is_over() {
            return (kept, Next::Over(None));
        }
        match kept.until {
            Some(until) => _ = timeout_at(until, succession::is_decided(&path)).await,
            None => succession::is_decided(&path).await,
        }
        let outcome = match step {
            _ if path.succession.now().is_some() => ask_successor(&mut kept, &path).await,
            Step::Ask => ask(&mut kept, &path, None).await,
            Step::AskForAsMuch => {
                let as_much = Some(kept.seen);
                ask(&mut kept, &path, as_much).await
            }
            _ if !path.link.is_up() => Outcome::Later,
            Step::AskCloud => ask(&mut kept, &path, None).await,
            Step::FillGap => fill_gap(&mut kept, &path).await,
            Step::TellDifference => tell_difference(&mut kept, &path).await,
        };
        match outcome {
            Outcome::Next(next) => return (kept, next),
            Outcome::Step(next) => step = next,
            Outcome::Later => {
                wait(&mut kept, &path, pause).await;
                if let Step::AskForAsMuch = step {
                    // It may be the cloud by now.
                    step = Step::Ask;
                }
                pause = (pause * 2).min(LATE);
            }
        }
    }
}

/// Where its client stands, before anybody else's list takes its place.
async fn look_back(kept: &mut Kept) {
    let (Some(path), None) = (kept.again.path.upgrade(), &kept.stand) else { return };
    if kept.begun.is_some() || path.ending.is_leaving() {
        return;
    }
    let look = look(kept, &path);
    kept.stand = match kept.until {
        Some(until) => timeout_at(until, look).await.ok().flatten(),
        None => look.await,
    };
}

async fn look(kept: &Kept, path: &Path) -> Option<Box<Stand>> {
    let _look = path.held.looks.begin();
    let context = context(kept, path).await?;
    let stand = offline::stand(&path.offline, &path.link, &context, kept.encoding, kept.seen).await;
    stand.map(Box::new)
}

/// The same request, from where its client stands.
pub(super) async fn context(kept: &Kept, path: &Path) -> Option<Context> {
    let request = kept.again.watch(kept.seen, None)?;
    let mut context = respond::begin(kept.again.peer.clone(), &request);
    let (head, _) = request.into_parts();
    read(path, &mut context, &head.uri, &head.headers).await.ok()?;
    context.stood = kept.stood.clone().map(Box::new);
    Some(context)
}

/// Until it is worth another try. Without the link nobody knows more than a moment ago.
async fn wait(kept: &mut Kept, path: &Path, pause: Duration) {
    if path.link.is_up() || path.ending.is_leaving() {
        return sleep(pause).await;
    }
    // The disk may have been busy before.
    look_back(kept).await;
    let turn = Turn { id: kept.id, is_nodes: kept.again.bearer.is_none() };
    let mut leaving = path.ending.clone();
    let back = async {
        tokio::select! {
            () = path.link.is_back_in_turn(turn) => {}
            () = leaving.leaving() => {}
        }
    };
    match kept.until {
        Some(until) => _ = timeout_at(until, back).await,
        None => back.await,
    }
}

/// Asks for the watch again, from where its client stands.
async fn ask(kept: &mut Kept, path: &Arc<Path>, as_much: Option<u64>) -> Outcome {
    let Ok(_turn) = path.held.asking.acquire().await else { return Outcome::Next(Next::Over(None)) };
    let left = kept.until.map(|until| until.saturating_duration_since(Instant::now()).as_secs().max(1));
    let request = match &kept.begun {
        Some(_) => kept.again.begin(as_much, left),
        None => kept.again.watch(kept.seen, left),
    };
    let Some(request) = request else { return Outcome::Next(Next::Over(None)) };
    kept.asked = Some(Instant::now());
    let mut context = respond::begin(kept.again.peer.clone(), &request);
    context.stood = kept.stood.clone().map(Box::new);
    context.hides_bookmarks = kept.begun.is_some() && kept.again.hides_bookmarks;
    let answer = Box::pin(answer(path, &mut context, request)).await;
    let outcome = match answer {
        Ok(_) if kept.begun.is_some() && !is_clouds(&context) && as_much.is_none() => Outcome::Step(Step::AskForAsMuch),
        Ok(response) => judge(kept, if is_clouds(&context) { By::Cloud } else { By::Store }, response),
        Err(refusal) => refused(kept, path, &context, &refusal),
    };
    let reason = match &outcome {
        Outcome::Next(Next::Joined(joined)) if joined.by == By::Cloud => "the cloud goes on",
        Outcome::Next(Next::Joined(_)) => "the store goes on",
        Outcome::Next(_) => "ended",
        Outcome::Step(_) | Outcome::Later => return outcome,
    };
    told(kept, path, reason);
    outcome
}

/// Asks the process that has taken this one's place, which knows whatever is known here.
async fn ask_successor(kept: &mut Kept, path: &Path) -> Outcome {
    let over = Outcome::Next(Next::Over(None));
    if kept.begun.is_some() {
        // What its client has been told is known here alone.
        return over;
    }
    let (Some(successor), Ok(_turn)) = (path.succession.now(), path.held.asking.acquire().await) else { return over };
    let Ok(Some(response)) = succession::ask(path, &successor, kept).await else { return over };
    judge(kept, By::Successor, response)
}

fn is_clouds(context: &Context) -> bool {
    context.route != "offline"
}

fn told(kept: &Kept, path: &Path, reason: &'static str) {
    path.metrics.watches_held.get_or_create(&Why { reason }).inc();
    tracing::debug!(id = kept.id, version = kept.seen, reason, "a watch had lost what brought it");
}

fn judge(kept: &Kept, by: By, response: Response) -> Outcome {
    let status = response.status();
    if encoding(&response) == Some(kept.encoding) {
        let stands: Option<Stands> = response.extensions().get().cloned();
        if kept.begun.is_some() && stands.as_ref().is_some_and(|stands| stands.now().local.is_some()) {
            // What was written here may be of the version that its client has.
            return Outcome::Later;
        }
        return Outcome::Next(Next::Joined(Joined { body: response.into_body(), by, stands }));
    }
    match status {
        // The store knows what the client does not read in this stream.
        _ if by == By::Store => Outcome::Later,
        StatusCode::GONE if by == By::Cloud => Outcome::Step(Step::TellDifference),
        StatusCode::UNAUTHORIZED => denied(kept, 401, "Unauthorized", "the cloud does not accept the credential any more"),
        StatusCode::FORBIDDEN => denied(kept, 403, "Forbidden", "the cloud does not allow this watch any more"),
        // The client will see for itself.
        _ if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS => Outcome::Next(Next::Over(None)),
        _ if status.is_success() => Outcome::Next(Next::Over(None)),
        _ => Outcome::Later,
    }
}

fn refused(kept: &Kept, path: &Path, context: &Context, refusal: &Refusal) -> Outcome {
    match refusal.code {
        StatusCode::GONE if [OUTDATED, OVERTAKEN].contains(&&*refusal.message) => denied(kept, 410, "Expired", &refusal.message),
        StatusCode::GONE if refusal.message == MISSED => Outcome::Step(Step::FillGap),
        StatusCode::GONE if is_clouds(context) => Outcome::Step(Step::TellDifference),
        // The store does not have the version: the cloud may.
        StatusCode::GONE => Outcome::Later,
        StatusCode::UNAUTHORIZED => denied(kept, 401, "Unauthorized", &refusal.message),
        // What the node does not know to be granted, the cloud may grant.
        _ if refusal.code.is_server_error() || !path.link.is_up() => Outcome::Later,
        _ => Outcome::Next(Next::Over(None)),
    }
}

/// The stream's last word.
fn denied(kept: &Kept, code: u16, reason: &str, message: &str) -> Outcome {
    Outcome::Next(Next::Over(Some(watch::error_status(kept.encoding, code, reason, message))))
}

/// Returns when nobody's place is lost by a list, which takes the place of what others have been shown.
async fn all_have_looked(path: &Path) {
    path.link.turns_are_over().await;
    path.held.looks.are_over().await;
}

/// Lists, so that the node has what the client has; if that cannot be, the watch goes on all the same.
async fn fill_gap(kept: &mut Kept, path: &Arc<Path>) -> Outcome {
    if kept.stand.is_some() {
        // Once it is told what a list has, its client stands where the node does.
        return lead_on(kept, path).await.unwrap_or(Outcome::Step(Step::FillGap));
    }
    let Ok(_turn) = path.held.listing.acquire().await else { return Outcome::Next(Next::Over(None)) };
    all_have_looked(path).await;
    let mut listing = Listing::new(&kept.again, path, kept.again.list_media(kept.encoding));
    loop {
        match listing.next().await {
            Ok(Some(_)) => {}
            Ok(None) | Err(Stop::Inexact(_)) => return Outcome::Step(Step::Ask),
            Err(Stop::Cloud) => return Outcome::Later,
        }
    }
}

/// The cloud does not know what has happened since, but a list says what has come of it.
async fn tell_difference(kept: &mut Kept, path: &Arc<Path>) -> Outcome {
    if kept.begun.is_some() {
        // No list says what it has been told.
        return Outcome::Next(Next::Over(None));
    }
    // What it was told last may not have come to the store before.
    look_back(kept).await;
    let outcome = lead_on(kept, path).await;
    outcome.unwrap_or_else(|| {
        if path.ending.is_leaving() {
            // Whoever has the store knows.
            return Outcome::Later;
        }
        told(kept, path, "ended: not known what its client was shown");
        denied(kept, 410, "Expired", EXPIRED)
    })
}

/// `None`: it is not known what its client was shown, or not what has changed since.
async fn lead_on(kept: &mut Kept, path: &Arc<Path>) -> Option<Outcome> {
    kept.stand.as_ref()?;
    if path.held.are_closing() {
        return Some(Outcome::Later);
    }
    let alike = &path.held.alike;
    let _alone = alike[kept.again.kind(kept.encoding, alike.len())].lock().await;
    let Ok(_turn) = path.held.listing.acquire().await else { return Some(Outcome::Next(Next::Over(None))) };
    all_have_looked(path).await;
    let stand = *kept.stand.take()?;
    let taken = kept.stood.iter().flat_map(|stood| stood.taken.clone()).collect();
    let client = Client { stand, seen: kept.seen, taken };
    match difference::tell(&kept.again, path, client).await {
        Ok(told_now) => {
            kept.stood.iter_mut().for_each(|stood| stood.taken.clear());
            (kept.seen, kept.stand) = (told_now.version, told_now.stand);
            told(kept, path, "the difference was told");
            Some(Outcome::Next(Next::Told(told_now.events)))
        }
        Err(difference::Failed::Cloud(stand)) => {
            kept.stand = Some(stand);
            Some(Outcome::Later)
        }
        Err(difference::Failed::Inexact(why)) => {
            tracing::debug!(id = kept.id, why, "a watch cannot be told what has changed");
            None
        }
    }
}
