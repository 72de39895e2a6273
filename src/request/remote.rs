//! The cloud answers: balance -> forward -> filter -> tee.

mod balance;
mod deletion;
mod filtered;
mod forward;
mod learn;
mod shared;
mod tee;
mod upgrade;
mod wrote;

use std::sync::Arc;

use http::Method;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::response::Parts;
use http_body_util::BodyExt as _;

use deletion::Options;
pub use forward::{check_connection, leaves_http};
pub use shared::Shared;

use super::context::{BodyError, Context, Refusal, Request, Response, Whose};
use super::filter::{By, Chain, Filters, Passing};
use crate::kube::media;
use crate::runtime::metrics::Metrics;
use crate::state::link::{Balancing, Link};
use crate::state::rules::Rules;
use crate::store::Knowledge;
use crate::upstream::{Error, Fault, RequestBody, Server};

/// What the cloud is reached and remembered with.
pub struct Remote {
    pub servers: Vec<Arc<Server>>,
    pub balancing: Balancing,
    pub link: Arc<Link>,
    pub rules: Arc<Rules>,
    pub filters: Arc<Filters>,
    /// `None`: nothing is remembered (working mode `cloud`).
    pub knowledge: Option<Arc<Knowledge>>,
    pub metrics: Arc<Metrics>,
    /// `None`: each watch is asked for by itself.
    pub shared: Option<Arc<Shared>>,
}

/// Why the cloud did not answer.
#[derive(Debug)]
pub enum Failure {
    Upstream(Error),
    Refusal(Refusal),
}

/// Sends the request to the cloud and answers with what comes back.
pub async fn serve(remote: &Remote, context: &Context, request: Request) -> Result<Response, Failure> {
    let chain = remote.filters.chain(context).await.map_err(Failure::Refusal)?;
    remote.filters.may_resume(context, chain.as_ref(), By::Cloud).map_err(Failure::Refusal)?;
    // What filters look at does not go round them: a server may leave out an upgrade, and a client goes on without.
    if leaves_http(request.headers()) && chain.as_ref().is_none_or(Chain::serves_nothing) {
        return Box::pin(upgrade::serve(remote, context, chain, request)).await;
    }
    if let Some(knowledge) = &remote.knowledge {
        learn::may_go_on(knowledge, &remote.rules, context, chain.as_ref()).await.map_err(Failure::Refusal)?;
    }
    let (parts, body) = request.into_parts();
    let body = (!body.is_end_stream()).then_some(body);
    let (options, body) = options(context, &parts.headers, body);
    let mut head = forward::request_head(parts);
    if let Some(chain) = &chain {
        ask_for_what_it_reads(context, chain, &mut head).map_err(Failure::Refusal)?;
    }
    let going = shared::Going { remote, context, chain: chain.as_ref(), head: &head };
    let (parts, body) = match shared::answer(going).await {
        Some(answer) => answer?,
        None => {
            let asked = Asked { head: &head, body, version: &context.info.query.resource_version, options: options.as_ref() };
            ask(remote, context, chain.as_ref(), asked).await?
        }
    };
    if !parts.status.is_success() {
        return Ok(passed_on(remote, context, parts, body));
    }
    let Some(chain) = chain else {
        remote.filters.told(context, None, By::Cloud);
        return Ok(passed_on(remote, context, parts, body));
    };
    Box::pin(filtered::answer(remote, context, chain, parts, body)).await
}

/// What the cloud is asked.
struct Asked<'a> {
    head: &'a http::request::Parts,
    body: Option<RequestBody>,
    /// Of a watch: from which it goes on.
    version: &'a str,
    /// Of a deletion; they are known once its body has gone by.
    options: Option<&'a Options>,
}

/// Asks the cloud, and begins to remember what it answers.
async fn ask(remote: &Remote, context: &Context, chain: Option<&Chain>, asked: Asked<'_>) -> Result<(Parts, tee::Tee), Failure> {
    let answer = balance::send(remote, context, asked.head, asked.body).await.map_err(Failure::Upstream)?;
    let (mut parts, body) = answer.into_parts();
    forward::response_head(&mut parts);
    let learn = |knowledge| {
        let read = learn::from_head(knowledge, &remote.rules, context, chain, &parts, asked.version);
        let dry_run = asked.options.and_then(Options::is_dry_run).unwrap_or(context.info.query.dry_run);
        if dry_run { read } else { read.or_else(|| wrote::from_head(knowledge, &remote.rules, context, &parts)) }
    };
    let recording = remote.knowledge.as_ref().and_then(learn);
    Ok((parts, tee::Tee::new(body, recording)))
}

/// Whether the store may tell all there is although the cloud can be asked: it is told what another one's watch is.
pub async fn leaves_to_store(remote: &Remote, context: &Context) -> bool {
    shared::may_be_told(remote, context).await.is_some()
}

/// The options of a deletion, and its body again.
fn options(context: &Context, headers: &http::HeaderMap, body: Option<RequestBody>) -> (Option<Options>, Option<RequestBody>) {
    match body {
        Some(body) if matches!(context.info.verb.as_str(), "delete" | "deletecollection") => {
            let (options, body) = Options::of(headers, body);
            (Some(options), Some(body))
        }
        other => (None, other),
    }
}

fn ask_for_what_it_reads(context: &Context, chain: &Chain, head: &mut http::request::Parts) -> Result<(), Refusal> {
    if chain.asks_for_objects() {
        forward::ask_for_metadata(head)?;
    }
    if chain.wants_json() {
        forward::accept_json_alone(&mut head.headers)?;
    } else if !chain.is_empty() {
        forward::accept_what_is_read(&mut head.headers);
    }
    // Whether an object is hidden is seen by itself alone; the client still gets no more than the head.
    if head.method == Method::HEAD && context.info.verb == "get" && !chain.is_empty() {
        head.method = Method::GET;
    }
    Ok(())
}

/// An answer that no filter looks at; a watch may come to be looked at while it is open.
fn passed_on(remote: &Remote, context: &Context, parts: Parts, body: tee::Tee) -> Response {
    let content_type = parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let encoding = media::encoding_of(content_type).filter(|_| !parts.headers.contains_key(CONTENT_ENCODING));
    let body = match remote.filters.later(context, None).filter(|_| parts.status.is_success()) {
        Some(served) => Passing::new(body, encoding, served).boxed_unsync(),
        None => body.map_err(BodyError::from).boxed_unsync(),
    };
    Response::from_parts(parts, body)
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Upstream(error) => error.fmt(f),
            Self::Refusal(refusal) => f.write_str(&refusal.message),
        }
    }
}

impl Failure {
    /// Of a read that was under way when the link was seen to be down.
    pub fn link_is_down() -> Self {
        Self::Upstream(Error::new(Fault::Link, true, "no server is up"))
    }

    /// Whether the link is to blame, so that the store may answer.
    pub fn is_link(&self) -> bool {
        matches!(self, Self::Upstream(error) if error.is_link())
    }

    /// Whether the cloud may have got some of the request.
    pub fn was_sent(&self) -> bool {
        matches!(self, Self::Upstream(error) if error.was_sent())
    }

    pub fn into_refusal(self) -> Refusal {
        let error = match self {
            Self::Refusal(refusal) => return refusal,
            Self::Upstream(error) => error,
        };
        match error.fault() {
            // Whether it happened is not known: only a 504 is honest.
            Fault::Link if error.was_sent() => Refusal::timeout(format!("the link broke while the cloud was answering: {error}")),
            Fault::Link | Fault::Refused => {
                Refusal::unavailable(format!("the cloud could not be reached, nothing was sent: {error}"))
            }
            Fault::Server => Refusal::bad_gateway(format!("the kube-apiserver's answer is not valid HTTP: {error}")),
            Fault::Client => Refusal::new(http::StatusCode::BAD_REQUEST, "BadRequest", Whose::Client, error.to_string()),
        }
    }
}
