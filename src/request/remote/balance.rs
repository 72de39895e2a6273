//! Which server: the best of those that are up ([`order`]). A request that nothing was sent of, or that may be repeated, goes
//! to the next one.

mod order;

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use http::Response;
use http::header::TE;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use self::order::{Asked, Candidate};
use super::Remote;
use crate::request::context::{Caller, Context};
use crate::state::credentials::Identity;
use crate::upstream::{Beginning, Body, Error, Fault, RequestBody};

/// A read that a server has failed later than this may be answered by the store.
const FAILOVER: Duration = Duration::from_millis(1000);

/// A server from which nothing has come for this long is not waited for alone: a ping has been sent by then
/// (`upstream/connection.rs`), and two servers that are silent are known to be within two seconds.
const SILENCE: Duration = Duration::from_millis(600);

/// A read for which a connection to the only server had to be made may be answered by the store, if nothing comes from that
/// server for a while after so long: the connection and its silence together would take longer than the two seconds of a read.
const ANEW: Duration = Duration::from_millis(1350);

/// An answer to a read is passed on once this much of its body has come, or all of it: one that breaks off before is asked for
/// again, or it is the store's. Of one that comes slowly more is held, for a cut is likely to meet it: that costs a millisecond
/// for each MB (measured at 1 Gbit/s), which is a twentieth at most of what a MB takes that comes so slowly. Not for long: who
/// waits for the next byte is not to give up.
static BEGINNING: Beginning = Beginning { most: 256 * 1024, slow: 32 << 20, room: &ROOM, within: Duration::from_secs(4) };

/// Of all answers at a time, in bytes: memory is not for lists.
static ROOM: Semaphore = Semaphore::const_new(4 << 20);

/// A connection that broke later than this is not made anew for the same request.
const RECONNECT: Duration = Duration::from_millis(500);

static TURN: AtomicUsize = AtomicUsize::new(0);

/// Whose connection carries the request.
pub(super) fn identity(caller: &Caller) -> Identity {
    match caller {
        Caller::Node => Identity::Node,
        Caller::Bearer(_) | Caller::Other | Caller::Nobody => Identity::Caller,
    }
}

/// Server indices to try, the best first.
pub(super) fn order(remote: &Remote, context: &Context, head: &http::request::Parts) -> Vec<usize> {
    if remote.servers.len() == 1 {
        return vec![0];
    }
    let candidates = remote.servers.iter().map(|server| Candidate {
        name: server.address().authority.as_str(),
        is_up: remote.link.server_is_up(server.index),
        latency: remote.link.latency(server.index),
    });
    let candidates: Vec<_> = candidates.collect();
    let turn = TURN.fetch_add(1, Ordering::Relaxed);
    let asked = Asked { turn, component: &context.component, path: head.uri.path() };
    order::order(remote.balancing, &candidates, &asked)
}

/// Sends to one server after the other until one answers; a read does not wait for one that is silent: the next is asked, and
/// the store may answer.
pub(super) async fn send(
    remote: &Remote,
    context: &Context,
    head: &http::request::Parts,
    body: Option<RequestBody>,
) -> Result<Response<Body>, Error> {
    let order = order(remote, context, head);
    let sending = Sending::new(remote, context, head, body.is_none());
    match order[..] {
        [index] if sending.may_be_known() => sending.alone(index).await,
        [_, _, ..] if sending.may_be_known() => sending.side_by_side(order).await,
        _ => sending.in_turn(order, body).await,
    }
}

/// One request on its way to the servers.
struct Sending<'a> {
    remote: &'a Remote,
    context: &'a Context,
    head: &'a http::request::Parts,
    identity: Identity,
    bodiless: bool,
    is_small: bool,
    started: Instant,
    /// Servers whose answers have begun.
    beginning: AtomicUsize,
}

impl<'a> Sending<'a> {
    fn new(remote: &'a Remote, context: &'a Context, head: &'a http::request::Parts, bodiless: bool) -> Self {
        let identity = identity(&context.caller);
        let is_small = bodiless && head.method == http::Method::GET && asks_for_one_object(context, head);
        Self { remote, context, head, identity, bodiless, is_small, started: Instant::now(), beginning: AtomicUsize::new(0) }
    }

    /// A read that the store may answer too. Anything else has the next server or nothing, however long a silent one has
    /// taken.
    fn may_be_known(&self) -> bool {
        let info = &self.context.info;
        let is_read = self.bodiless && self.head.method.is_safe() && (info.is_read() || info.is_discovery());
        self.remote.knowledge.is_some() && is_read
    }

    async fn in_turn(&self, order: Vec<usize>, mut body: Option<RequestBody>) -> Result<Response<Body>, Error> {
        let mut last = no_server();
        for index in order {
            match self.ask(index, &mut body).await {
                Err(error) if self.may_repeat(&error, body.is_some()) => last = error,
                result => return result,
            }
        }
        Err(last)
    }

    /// There is no other one: if it falls silent on a connection that is new the store is told that it may answer.
    async fn alone(&self, index: usize) -> Result<Response<Body>, Error> {
        let (doubt, in_doubt) = (self.doubt(index), &self.context.in_doubt);
        if !self.remote.servers[index].is_connected(self.identity) {
            return with_doubt(doubt, in_doubt, self.ask_for_read(index)).await;
        }
        match self.ask_once(index, &mut None).await {
            Err(error) if self.broke_just_now(&error) && self.may_repeat(&error, false) => {
                with_doubt(doubt, in_doubt, self.ask_once(index, &mut None)).await
            }
            result => result,
        }
    }

    /// Returns when it is silent for a read that has waited for a while. Over HTTP/1.1 nobody knows that of a slow one.
    async fn doubt(&self, index: usize) {
        tokio::time::sleep_until(self.started + ANEW).await;
        self.silence_of(index).await;
        if !self.remote.servers[index].is_connected(self.identity) {
            std::future::pending().await
        }
    }

    /// The next server that is up is asked beside one that is silent. Once one has failed after a while the store is told
    /// that it may answer, and a server that is down is not worth the wait.
    async fn side_by_side(&self, order: Vec<usize>) -> Result<Response<Body>, Error> {
        let is_up = |index: &usize| self.remote.link.server_is_up(*index);
        let mut next = order.into_iter().peekable();
        let Some(first) = next.next() else { return Err(no_server()) };
        let mut asked = FuturesUnordered::from_iter([self.ask_for_read(first)]);
        let mut silence = pin!(self.silence_of(first).fuse());
        let mut failed = None;
        loop {
            tokio::select! {
                Some(answer) = asked.next() => match answer {
                    Err(error) if self.may_repeat(&error, false) => failed = Some(error),
                    result => return result,
                },
                () = &mut silence, if next.peek().is_some_and(is_up) => {}
            }
            let is_late = failed.is_some() && self.started.elapsed() > FAILOVER;
            if is_late && self.beginning.load(Ordering::Relaxed) == 0 {
                self.context.in_doubt.notify_one();
            }
            if let Some(index) = next.next_if(|index| !is_late || is_up(index)) {
                asked.push(self.ask_for_read(index));
                silence.set(self.silence_of(index).fuse());
            } else if asked.is_empty() {
                return Err(failed.unwrap_or_else(no_server));
            }
        }
    }

    async fn ask_for_read(&self, index: usize) -> Result<Response<Body>, Error> {
        self.ask(index, &mut None).await
    }

    /// Asks one server, and once more for a connection that broke just now.
    async fn ask(&self, index: usize, body: &mut Option<RequestBody>) -> Result<Response<Body>, Error> {
        match self.ask_once(index, body).await {
            Err(error) if self.broke_just_now(&error) && self.may_repeat(&error, body.is_some()) => {
                self.ask_once(index, body).await
            }
            result => result,
        }
    }

    fn broke_just_now(&self, error: &Error) -> bool {
        error.is_link() && error.was_sent() && self.started.elapsed() < RECONNECT
    }

    /// The answer; one that the store may have as well comes with the beginning of its body.
    async fn ask_once(&self, index: usize, body: &mut Option<RequestBody>) -> Result<Response<Body>, Error> {
        let server = &self.remote.servers[index];
        let mut answer = match self.is_small {
            true => server.get(self.identity, self.head).await?,
            false => server.send(self.identity, self.head, body).await?,
        };
        if self.context.info.is_long_running() {
            return Ok(answer);
        }
        answer.body_mut().has_an_end();
        // What the cloud refuses is nobody else's to answer.
        if !self.may_be_known() || !answer.status().is_success() {
            return Ok(answer);
        }
        self.beginning.fetch_add(1, Ordering::Relaxed);
        let begun = server.begun(self.identity, answer, BEGINNING).await;
        self.beginning.fetch_sub(1, Ordering::Relaxed);
        begun
    }

    /// Whether nothing of it was seen, or it may be seen twice.
    fn may_repeat(&self, error: &Error, has_body: bool) -> bool {
        let unseen = !error.was_sent() && (self.bodiless || has_body);
        let is_ours = matches!(error.fault(), Fault::Link | Fault::Refused);
        is_ours && (unseen || self.bodiless && self.head.method.is_safe())
    }

    /// Returns when nothing at all has come from a server for a while. One that is slow replies to pings.
    async fn silence_of(&self, index: usize) {
        let server = &self.remote.servers[index];
        loop {
            let heard = server.heard(self.identity);
            tokio::time::sleep(SILENCE).await;
            if server.heard(self.identity) == heard {
                return;
            }
        }
    }
}

/// Waits for the answer, however long, and says once that it is in doubt.
async fn with_doubt<T>(doubt: impl Future<Output = ()>, in_doubt: &Notify, answer: impl Future<Output = T>) -> T {
    let mut answer = pin!(answer);
    tokio::select! {
        biased;
        answer = &mut answer => return answer,
        () = doubt => in_doubt.notify_one(),
    }
    answer.await
}

fn no_server() -> Error {
    Error::new(Fault::Link, false, "there is no server")
}

/// An answer to it is small, comes at once and has no trailers.
fn asks_for_one_object(context: &Context, head: &http::request::Parts) -> bool {
    let info = &context.info;
    // The kube-apiserver asks somebody else for others: an API server behind it, or a conversion webhook.
    let group = info.api_group.as_str();
    let own = !group.contains('.') || group.ends_with(".k8s.io") && !group.contains("metrics");
    own && info.is_resource && info.verb == "get" && info.subresource.is_empty() && !head.headers.contains_key(TE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_answer_in_doubt_is_waited_for_all_the_same() {
        let second = Duration::from_secs(1);
        for (takes, is_doubtful) in [(1, false), (5, true)] {
            let in_doubt = Notify::new();
            let answer = async {
                tokio::time::sleep(second * takes).await;
                takes
            };
            assert_eq!(with_doubt(tokio::time::sleep(second * 2), &in_doubt, answer).await, takes);
            assert_eq!(in_doubt.notified().now_or_never().is_some(), is_doubtful);
        }
    }
}
