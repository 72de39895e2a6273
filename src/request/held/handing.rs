//! A watch is left to the process that takes this one's place.
//!
//! That one is asked for it while what brings it here is kept: what it says no to, or what the cloud does not know for it
//! any more, goes on here as it was.

use std::pin::Pin;
use std::task::Context as Task;

use http::StatusCode;
use http_body_util::BodyExt as _;
use tokio::time::{Instant, timeout};

use super::away::{By, Joined};
use super::{Kept, State, Succession, TRIAL, encoding};
use crate::kube::watch::Framer;
use crate::request::context::{Body, BodyError, Response};
use crate::upstream::{Error, Successor};

/// The answer of another process.
pub(super) type Asked = Pin<Box<dyn Future<Output = (Box<Kept>, Option<Joined>)> + Send>>;

/// How far one watch has come with it.
pub(super) enum Handing {
    /// Nobody has taken this process's place.
    Waiting(Pin<Box<dyn Future<Output = ()> + Send>>),
    /// What goes on if the other one does not; and where it is in an event, once the other one has said that it does.
    Left(Box<(State, Option<Framer>)>),
    /// One way or the other.
    Over,
}

impl Handing {
    pub(super) fn of(succession: &Succession) -> Self {
        Self::Waiting(Box::pin(succession.comes()))
    }

    /// Whether it is time.
    pub(super) fn begins(&mut self, cx: &mut Task<'_>) -> bool {
        if let Self::Waiting(comes) = self { comes.as_mut().poll(cx).is_ready() } else { false }
    }

    pub(super) fn leaves(&mut self, before: State) {
        *self = Self::Left(Box::new((before, None)));
    }

    pub(super) fn keeps(&mut self, framer: Framer) {
        if let Self::Left(before) = self {
            before.1 = Some(framer);
        }
    }

    /// Goes back to what was before, if that is still there.
    pub(super) fn goes_back(&mut self, state: &mut State, framer: &mut Framer) -> bool {
        if !matches!(self, Self::Left(_)) {
            return false;
        }
        if let Self::Left(before) = std::mem::replace(self, Self::Over) {
            *state = before.0;
            if let Some(before) = before.1 {
                *framer = before;
            }
        }
        true
    }

    /// If the other one was asked, it goes on.
    pub(super) fn is_over(&mut self) {
        if matches!(self, Self::Left(_)) {
            self.is_done();
        }
    }

    pub(super) fn is_done(&mut self) {
        *self = Self::Over;
    }
}

/// Asks the successor for a watch; `None`: it does not go on with it.
pub(super) fn ask(mut kept: Box<Kept>) -> Asked {
    Box::pin(async move {
        let joined = timeout(TRIAL, joined(&mut kept)).await.ok().flatten();
        (kept, joined)
    })
}

async fn joined(kept: &mut Kept) -> Option<Joined> {
    let path = kept.again.path.upgrade()?;
    let successor = path.succession.now()?;
    let _turn = path.held.asking.acquire().await.ok()?;
    let response = response(kept, &successor).await.ok()??;
    let goes_on = encoding(&response) == Some(kept.encoding);
    if !goes_on {
        tracing::debug!(id = kept.id, status = %response.status(), "a watch stays with the process that it was begun with");
    }
    goes_on.then(|| Joined { body: response.into_body(), by: By::Successor })
}

/// What the successor answers to a watch from where its client stands; `None`: it cannot be asked for.
pub(super) async fn response(kept: &mut Kept, successor: &Successor) -> Result<Option<Response>, Error> {
    let left = kept.until.map(|until| until.saturating_duration_since(Instant::now()).as_secs().max(1));
    let Some(request) = kept.again.watch(kept.seen, left) else { return Ok(None) };
    kept.asked = Some(Instant::now());
    let response = successor.ask(request.map(drop)).await?;
    Ok(Some(response.map(|body| -> Body { body.map_err(BodyError::Upstream).boxed_unsync() })))
}

/// Whether it may go on with it later.
pub(super) fn is_for_later(status: StatusCode) -> bool {
    status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS
}
