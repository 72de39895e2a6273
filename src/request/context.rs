//! What every stage is handed: the request's story so far, and the words for refusing.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt as _, Full};
use tokio::sync::Notify;

use super::accept::Peer;
use crate::kube::coding::Codings;
use crate::kube::layout::Layout;
use crate::kube::list::Encoding;
use crate::kube::media::{self, Media};
use crate::kube::request::RequestInfo;
use crate::kube::status::{Cause, Details};
use crate::kube::token::{self, TokenDigest};
use crate::request::filter::Stood;
use crate::store::{Grant, NODE};
use crate::upstream::{Fault, RequestBody};
pub use freshness::freshness;

mod freshness;

/// A request as the stages see it.
pub type Request = http::Request<RequestBody>;

/// An answer as the stages make it.
pub type Response = http::Response<Body>;

/// A body on its way to the client. That of a 101 is the joined connections themselves (`remote/upgrade.rs`).
pub type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, BodyError>;

/// Why a body ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    #[error(transparent)]
    Upstream(#[from] crate::upstream::Error),
    #[error("filter: {0}")]
    Filter(String),
    #[error("store: {0}")]
    Store(String),
}

impl BodyError {
    /// The client left.
    pub fn is_clients(&self) -> bool {
        matches!(self, Self::Upstream(error) if error.fault() == Fault::Client)
    }
}

/// Stands among the extensions of an answer whose bytes are the hub's own: filtered, or from the store.
#[derive(Debug, Clone, Copy)]
pub struct Own;

/// Stands among the extensions of the answer to a watch.
#[derive(Debug, Clone, Copy)]
pub struct Watch;

/// Stands among the extensions of an answer that is what the cloud tells another one.
#[derive(Debug, Clone, Copy)]
pub struct Another;

/// Whose request it is. The User-Agent is no part of it.
#[derive(Debug, Clone, Default)]
pub enum Caller {
    /// Not identified yet, or without any credential.
    #[default]
    Nobody,
    /// A bearer token, passed on as it is.
    Bearer(Arc<Bearer>),
    /// Kubelet or another process of the node itself, or the hub's own loops: the
    /// node's certificate.
    Node,
    /// Another kind of Authorization header, passed on and never remembered.
    Other,
}

/// A bearer token, and what it says of itself.
pub struct Bearer {
    pub token: Box<str>,
    pub digest: TokenDigest,
    /// Issuer and subject, or of a token that names none its digest.
    pub user: String,
    /// Unix seconds, as the token claims.
    pub expires: Option<u64>,
}

/// The story of one request.
pub struct Context {
    pub id: u64,
    pub started: Instant,
    pub peer: Arc<Peer>,
    pub method: http::Method,
    pub target: Arc<str>,
    /// The User-Agent up to the first `/`: a hint for caching and filters, never for
    /// rights.
    pub component: String,
    pub info: RequestInfo,
    /// The representations the client accepts, best first.
    pub accepts: Vec<Media>,
    /// How it wants the text of JSON laid out.
    pub layout: Layout,
    /// Whether it takes gzip, and an answer without.
    pub codings: Codings,
    /// The client asks in somebody else's name: nothing of it is remembered.
    pub impersonated: bool,
    pub caller: Caller,
    /// Of a watch that the hub asks for again: where its client stands.
    pub stood: Option<Box<Stood>>,
    /// The hub asks for bookmarks that its client has not asked for.
    pub hides_bookmarks: bool,
    /// Told when a server has failed this read after a while: the store may answer it, while others are asked.
    pub in_doubt: Notify,
    /// Which way was taken, and why.
    pub route: &'static str,
    pub why: &'static str,
}

/// The route of what the store answers although the cloud could.
pub const SHARED: &str = "shared";

/// Of a watch that goes on from something that the node has missed.
pub const MISSED: &str = "this node has missed something before that resourceVersion: list again";

/// A refusal: whose fault it is, and what the client sees.
#[derive(Debug)]
pub struct Refusal {
    pub code: StatusCode,
    /// A `metav1.StatusReason`.
    pub reason: &'static str,
    pub message: String,
    pub fault: Whose,
    /// The store refuses by what the cloud has said, at this time in unix milliseconds.
    pub known_at: Option<u64>,
    /// With which the list goes on all the same; empty: with nothing.
    pub continue_token: String,
    /// What it is about, where the kube-apiserver says so.
    pub details: Option<Box<Details>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    Client,
    Cloud,
    Us,
}

impl Context {
    /// The grant this request needs, for `user`.
    pub fn grant(&self, user: &str) -> Grant {
        let info = &self.info;
        if !info.is_resource {
            return Grant { user: user.to_owned(), verb: info.verb.clone(), thing: info.path.clone() };
        }
        let (labels, fields) = info.selectors();
        // Each Event has a name of its own that never comes again: who may change one may change those that come.
        let name = if info.resource == "events" && info.verb == "patch" { "" } else { &info.name };
        self.grant_of(user, [&info.namespace, name, &labels, &fields])
    }

    /// The grants that allow this request: its own, and for a list or a watch those of all namespaces, and of more than
    /// its selectors select.
    pub fn grants(&self, user: &str) -> Vec<Grant> {
        let info = &self.info;
        if !info.is_read() || info.verb == "get" {
            return vec![self.grant(user)];
        }
        let (labels, fields) = info.selectors();
        let mut grants = Vec::new();
        for namespace in [info.namespace.as_str(), ""] {
            for labels in [labels.as_str(), ""] {
                // The name is the field selector's.
                for (name, fields) in [(info.name.as_str(), fields.as_str()), ("", "")] {
                    grants.push(self.grant_of(user, [namespace, name, labels, fields]));
                }
            }
        }
        grants.dedup();
        grants
    }

    fn grant_of(&self, user: &str, [namespace, name, labels, fields]: [&str; 4]) -> Grant {
        let info = &self.info;
        let thing = [&info.api_group, &*info.resource_path(), namespace, name, labels, fields].join("\0");
        Grant { user: user.to_owned(), verb: info.verb.clone(), thing }
    }

    /// A GET by the node itself, as tests hand it to a stage.
    #[cfg(test)]
    pub fn of_node(target: &str) -> Self {
        let uri = target.parse().expect("a test's own target");
        Self {
            id: 1,
            started: Instant::now(),
            peer: Arc::new(Peer::internal()),
            method: http::Method::GET,
            target: target.into(),
            component: "sample".into(),
            info: crate::kube::request::parse(&http::Method::GET, &uri).expect("a test's own target"),
            accepts: crate::kube::media::accepted(None),
            layout: Layout::Compact,
            codings: Codings::of(std::iter::empty()),
            impersonated: false,
            caller: Caller::Node,
            stood: None,
            hides_bookmarks: false,
            in_doubt: Notify::new(),
            route: "",
            why: "",
        }
    }

    /// The same by one of its clients, whom the users' rules serve.
    #[cfg(test)]
    pub fn of_client(target: &str) -> Self {
        let somewhere = ([127, 0, 0, 1], 1).into();
        let peer = Peer::new(somewhere, somewhere, super::accept::Port::Secure { client: None });
        Self { peer: Arc::new(peer), ..Self::of_node(target) }
    }

    /// The user as the node knows it, from a credential the cloud has accepted.
    pub fn user(&self) -> Option<&str> {
        match &self.caller {
            Caller::Node => Some(NODE),
            Caller::Bearer(bearer) => Some(&bearer.user),
            Caller::Nobody | Caller::Other => None,
        }
    }
}

impl Bearer {
    pub fn new(token: &str) -> Self {
        let digest = token::digest(token);
        let (user, expires) =
            token::claims(token).map_or_else(|| (digest.to_string(), None), |claims| (claims.user, claims.expires));
        Self { token: token.into(), digest, user, expires }
    }
}

/// Never the token itself.
impl std::fmt::Debug for Bearer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.digest.fmt(f)
    }
}

impl Refusal {
    pub fn new(code: StatusCode, reason: &'static str, fault: Whose, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), fault, known_at: None, continue_token: String::new(), details: None }
    }

    /// The same by what the cloud has said at `at_ms`; where the store does not know it says nothing of its age.
    pub fn known_at(mut self, at_ms: u64) -> Self {
        self.known_at = (self.code != StatusCode::SERVICE_UNAVAILABLE).then_some(at_ms);
        self
    }

    pub fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Unauthorized", Whose::Client, message)
    }

    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "Forbidden", Whose::Client, message)
    }

    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequest", Whose::Client, message)
    }

    /// An object that breaks its type's rules, in the kube-apiserver's words.
    pub fn invalid(group: &str, kind: &str, name: &str, causes: Vec<Cause>) -> Self {
        let faults = causes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let faults = if causes.len() == 1 { faults } else { format!("[{faults}]") };
        let message = format!("{} {name:?} is invalid: {faults}", of_group(kind, group));
        let details = Details { name: name.to_owned(), group: group.to_owned(), kind: kind.to_owned(), causes };
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", Whose::Client, message).with(details)
    }

    fn with(mut self, details: Details) -> Self {
        self.details = Some(Box::new(details));
        self
    }

    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NotFound", Whose::Cloud, message)
    }

    pub fn not_acceptable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_ACCEPTABLE, "NotAcceptable", Whose::Client, message)
    }

    /// The object that was asked for is not there, in the kube-apiserver's words.
    pub fn no_such(info: &RequestInfo) -> Self {
        let what = of_group(&info.resource, &info.api_group);
        Self::not_found(format!("{what} {:?} not found", info.name)).about(info, &info.name)
    }

    /// About one object of this request's resource.
    pub fn about(self, info: &RequestInfo, name: &str) -> Self {
        let (group, kind) = (info.api_group.clone(), info.resource.clone());
        self.with(Details { name: name.to_owned(), group, kind, causes: Vec::new() })
    }

    /// The link is down and the store does not know. Never with Retry-After: client-go
    /// would sleep and retry inside the caller.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", Whose::Cloud, message)
    }

    pub fn bad_gateway(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, "InternalError", Whose::Cloud, message)
    }

    pub fn timeout(message: impl Into<String>) -> Self {
        Self::new(StatusCode::GATEWAY_TIMEOUT, "Timeout", Whose::Cloud, message)
    }
}

/// `pods`, `deployments.apps`
fn of_group(what: &str, group: &str) -> String {
    if group.is_empty() { what.to_owned() } else { format!("{what}.{group}") }
}

impl From<crate::store::StoreError> for Refusal {
    fn from(error: crate::store::StoreError) -> Self {
        if matches!(error, crate::store::StoreError::Closed) {
            return Self::unavailable("another process of the hub has taken over: ask on a new connection");
        }
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", Whose::Us, error.to_string())
    }
}

/// The encoding of an answer that can be read as it comes.
pub fn readable(status: StatusCode, headers: &HeaderMap) -> Option<Encoding> {
    let content_type = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let is_readable = status == StatusCode::OK && !headers.contains_key(CONTENT_ENCODING);
    media::encoding_of(content_type).filter(|_| is_readable)
}

/// A body of known bytes.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}
