//! Which server: in turn among those that are up. A request that nothing was sent
//! of, or that may be repeated, goes to the next one.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::{Request, Response};

use super::Remote;
use crate::request::context::{Caller, Context};
use crate::state::credentials::Identity;
use crate::upstream::{Body, Error, Fault, RequestBody};

/// A read that another server has not answered by then goes to the store instead.
const FAILOVER: Duration = Duration::from_millis(1000);

static TURN: AtomicUsize = AtomicUsize::new(0);

/// Whose connection carries the request.
pub(super) fn identity(caller: &Caller) -> Identity {
    match caller {
        Caller::Node => Identity::Node,
        Caller::Bearer { .. } | Caller::Other | Caller::Nobody => Identity::Caller,
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
    head: http::request::Parts,
    mut body: Option<RequestBody>,
) -> Result<Response<Body>, Error> {
    let identity = identity(&context.caller);
    let repeatable = body.is_none() && head.method.is_safe();
    let started = Instant::now();
    let mut last = Error::new(Fault::Link, false, "there is no server");
    for index in order(remote) {
        // Once for the stream refused by a connection that was just ending.
        for attempt in 0..2 {
            let request = Request::from_parts(head.clone(), body.take());
            last = match remote.servers[index].send(identity, request).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let again = match last.fault() {
                Fault::Refused => repeatable,
                Fault::Link => repeatable && last.was_sent() && attempt == 0 && started.elapsed() < Duration::from_millis(500),
                Fault::Server | Fault::Client => false,
            };
            if !again {
                break;
            }
        }
        if !repeatable || !matches!(last.fault(), Fault::Link | Fault::Refused) || started.elapsed() > FAILOVER {
            break;
        }
    }
    Err(last)
}
