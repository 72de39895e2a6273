//! The access line and the figures, written when a body ends, however it ends.
//!
//! Never a token, never a body; of a query only what says which objects are read.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Task, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use http::{Method, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::kube::request::RequestInfo;
use crate::request::Path;
use crate::request::accept::Peer;
use crate::request::context::{Body, BodyError, Caller, Context};
use crate::runtime::drain::Ending;
use crate::runtime::metrics::{Answer, Kind, Metrics};

/// A body that tells how it went.
pub(super) struct Observed {
    body: Body,
    story: Story,
    /// Ends long-running answers when the hub drains.
    drain: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

struct Story {
    asked: Asked,
    /// `None`: none was sent.
    status: Option<StatusCode>,
    bytes: u64,
    head: std::time::Duration,
    /// Of what the store has answered, in seconds.
    age: Option<u64>,
    outcome: &'static str,
    kind: Arc<Kind>,
    metrics: Arc<Metrics>,
    ending: Ending,
}

impl Observed {
    pub(super) fn new(path: &Path, context: Context, status: StatusCode, body: Body, age: Option<u64>) -> Self {
        if let Some(age) = age {
            path.metrics.offline_ages.observe(age);
        }
        let drain = ends_with_the_hub(&context.info, status).then(|| drained(path.ending.clone()));
        let mut story = Story::new(path, context);
        (story.status, story.age) = (Some(status), age);
        if body.is_end_stream() {
            story.outcome = "ok";
        }
        Self { body, story, drain }
    }
}

/// Tells of a request whose client left before there was an answer.
pub(super) fn abandoned(path: &Path, context: Context) {
    drop(Story::new(path, context));
}

impl Story {
    fn new(path: &Path, context: Context) -> Self {
        let (metrics, info) = (path.metrics.clone(), &context.info);
        let kind = metrics.kind([&context.component, &info.verb, &info.resource, &info.subresource]);
        kind.in_flight.inc();
        metrics.in_flight_total.inc();
        let (head, ending) = (context.started.elapsed(), path.ending.clone());
        Self { asked: Asked::of(context), status: None, bytes: 0, head, age: None, outcome: "aborted", kind, metrics, ending }
    }
}

/// What is told of a request in the end. A watch lasts: it keeps no more of its context than that.
struct Asked {
    id: u64,
    started: Instant,
    peer: Arc<Peer>,
    method: Method,
    target: Arc<str>,
    component: String,
    caller: Caller,
    verb: String,
    /// It renews a lease.
    is_heartbeat: bool,
    is_proxied: bool,
    route: &'static str,
    why: &'static str,
}

impl Asked {
    fn of(context: Context) -> Self {
        let is_proxied = is_proxied(&context.info);
        let Context { id, started, peer, method, target, component, caller, info, route, why, .. } = context;
        let is_heartbeat = info.resource == "leases";
        Self { id, started, peer, method, target, component, caller, verb: info.verb, is_heartbeat, is_proxied, route, why }
    }
}

/// Whether the answer is ended when the hub begins to end: a watch or a log is asked for anew. A session that left HTTP
/// behind is waited for, for it cannot be.
fn ends_with_the_hub(info: &RequestInfo, status: StatusCode) -> bool {
    if status == StatusCode::SWITCHING_PROTOCOLS { info.verb == "watch" } else { info.is_long_running() && status.is_success() }
}

fn drained(mut ending: Ending) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(async move { ending.begun().await })
}

impl HttpBody for Observed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Task<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(drain) = &mut self.drain
            && drain.as_mut().poll(cx).is_ready()
        {
            self.story.outcome = "drained";
            return Poll::Ready(None);
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            None => self.story.outcome = "ok",
            Some(Ok(frame)) => {
                self.story.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
                if self.body.is_end_stream() {
                    self.story.outcome = "ok";
                }
            }
            Some(Err(error)) => {
                self.story.outcome = if error.is_clients() { "aborted" } else { "broken" };
                tracing::debug!(id = self.story.asked.id, %error, "an answer broke off");
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Story {
    fn drop(&mut self) {
        let asked = &self.asked;
        if self.outcome == "aborted" && self.ending.is_over() {
            self.outcome = "drained";
        }
        let code = self.status.map_or(0, |status| status.as_u16());
        self.kind.in_flight.dec();
        self.metrics.in_flight_total.dec();
        self.kind.traffic.inc_by(self.bytes);
        self.metrics.answers.get_or_create(&Answer { route: asked.route, code }).inc();
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    target: "access",
                    id = asked.id,
                    from = %asked.peer.remote,
                    agent = asked.component,
                    caller = %Who(&asked.caller),
                    method = %asked.method,
                    target = %Target { text: &asked.target, proxied: asked.is_proxied },
                    verb = asked.verb,
                    route = asked.route,
                    why = asked.why,
                    status = code,
                    age_s = self.age,
                    bytes = self.bytes,
                    head_ms = millis(self.head),
                    total_ms = millis(asked.started.elapsed()),
                    outcome = self.outcome,
                )
            };
        }
        // A heartbeat that went well is not worth a line every ten seconds, nor is what the hub reads for itself.
        let well = |status: StatusCode| status.is_success() || status == StatusCode::NOT_MODIFIED;
        let heartbeat = asked.is_heartbeat && self.status.is_some_and(well);
        let own = asked.peer.is_internal() && self.status.is_none_or(well);
        if heartbeat || own { line!(debug) } else { line!(info) }
    }
}

/// The parameters that the access line shows. What a command or a proxied request says
/// (exec's `command`) is its sender's own business.
const SHOWN: [&str; 13] = [
    "watch",
    "labelSelector",
    "fieldSelector",
    "resourceVersion",
    "resourceVersionMatch",
    "limit",
    "continue",
    "allowWatchBookmarks",
    "sendInitialEvents",
    "timeoutSeconds",
    "timeout",
    "follow",
    "container",
];

/// A path and query as the access line shows it; `...` stands for what it does not.
struct Target<'a> {
    text: &'a str,
    /// Its query is for somebody else, whatever its names.
    proxied: bool,
}

fn is_proxied(info: &RequestInfo) -> bool {
    info.verb == "proxy" || info.subresource == "proxy"
}

impl std::fmt::Display for Target<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Some((path, query)) = self.text.split_once('?') else { return f.write_str(self.text) };
        f.write_str(path)?;
        let mut separator = '?';
        let mut left_out = false;
        for pair in query.split('&') {
            let name = pair.split_once('=').map_or(pair, |(name, _)| name);
            if !self.proxied && SHOWN.contains(&name) {
                write!(f, "{separator}{pair}")?;
                separator = '&';
            } else {
                left_out = true;
            }
        }
        if left_out { write!(f, "{separator}...") } else { Ok(()) }
    }
}

/// A caller as the access line names it.
struct Who<'a>(&'a Caller);

impl std::fmt::Display for Who<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Caller::Nobody => f.write_str("nobody"),
            Caller::Node => f.write_str("node"),
            Caller::Other => f.write_str("other"),
            Caller::Bearer(bearer) => write!(f, "{bearer:?}"),
        }
    }
}

fn millis(duration: std::time::Duration) -> f64 {
    (duration.as_secs_f64() * 1e5).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::{Target, is_proxied};

    #[test]
    fn a_line_shows_which_objects_and_no_secrets() {
        for (target, shown) in [
            ("/api/v1/pods", "/api/v1/pods"),
            ("/api/v1/pods?watch=1&fieldSelector=a%3Db", "/api/v1/pods?watch=1&fieldSelector=a%3Db"),
            (
                "/api/v1/namespaces/a/pods/p/exec?command=mysql&command=-psecret&container=c",
                "/api/v1/namespaces/a/pods/p/exec?container=c&...",
            ),
            (
                "/api/v1/namespaces/a/services/s/proxy/login?password=x&continue=y",
                "/api/v1/namespaces/a/services/s/proxy/login?...",
            ),
        ] {
            let info = crate::kube::request::parse(&http::Method::GET, &target.parse().unwrap()).unwrap();
            assert_eq!(Target { text: target, proxied: is_proxied(&info) }.to_string(), shown);
        }
    }
}
