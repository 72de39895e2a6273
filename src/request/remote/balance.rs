//! Which server: in turn among those that are up. A request that nothing was sent
//! of, or that may be repeated, goes to the next one.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::Response;
use http::header::TE;

use super::Remote;
use crate::request::context::{Caller, Context};
use crate::state::credentials::Identity;
use crate::upstream::{Body, Error, Fault, RequestBody};

/// A read that another server has not answered by then goes to the store instead.
const FAILOVER: Duration = Duration::from_millis(1000);

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
pub(super) fn order(remote: &Remote) -> Vec<usize> {
    let count = remote.servers.len();
    let turn = TURN.fetch_add(1, Ordering::Relaxed);
    let all = (0..count).map(|step| (turn + step) % count);
    let (mut up, down): (Vec<_>, Vec<_>) = all.partition(|index| remote.link.server_is_up(*index));
    up.extend(down);
    up
}

/// Sends to one server after the other until one answers.
pub(super) async fn send(
    remote: &Remote,
    context: &Context,
    head: &http::request::Parts,
    mut body: Option<RequestBody>,
) -> Result<Response<Body>, Error> {
    let identity = identity(&context.caller);
    let bodiless = body.is_none();
    let is_small = bodiless && head.method == http::Method::GET && asks_for_one_object(context, head);
    let started = Instant::now();
    let mut last = None;
    for index in order(remote) {
        // Once more for a connection that broke just now.
        for attempt in 0..2 {
            let server = &remote.servers[index];
            let sent = if is_small { server.get(identity, head).await } else { server.send(identity, head, &mut body).await };
            let error = match sent {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            // Nothing of it was seen, or it may be seen twice.
            let unseen = !error.was_sent() && (bodiless || body.is_some());
            let repeatable = unseen || bodiless && head.method.is_safe();
            if !repeatable || matches!(error.fault(), Fault::Server | Fault::Client) {
                return Err(error);
            }
            let broke = error.is_link() && error.was_sent() && started.elapsed() < RECONNECT;
            last = Some(error);
            if !broke || attempt == 1 {
                break;
            }
        }
        if started.elapsed() > FAILOVER && may_be_known(remote, context) {
            break;
        }
    }
    Err(last.unwrap_or_else(|| Error::new(Fault::Link, false, "there is no server")))
}

/// The store may answer it, so that no server more is worth the wait. Anything else has the
/// next server or nothing, however long a silent one has taken.
fn may_be_known(remote: &Remote, context: &Context) -> bool {
    remote.knowledge.is_some() && (context.info.is_read() || context.info.is_discovery())
}

/// An answer to it is small, comes at once and has no trailers.
fn asks_for_one_object(context: &Context, head: &http::request::Parts) -> bool {
    let info = &context.info;
    // The kube-apiserver asks somebody else for others: an API server behind it, or a conversion webhook.
    let group = info.api_group.as_str();
    let own = !group.contains('.') || group.ends_with(".k8s.io") && !group.contains("metrics");
    own && info.is_resource && info.verb == "get" && info.subresource.is_empty() && !head.headers.contains_key(TE)
}
