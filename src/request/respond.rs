//! The only place where an error becomes an answer, and where a request is counted
//! and logged: when its body has ended, not before.

mod access;
mod gzip;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, AGE, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, USER_AGENT};
use http::response::Parts;
use http::{HeaderValue, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use tokio::sync::Notify;

use super::Path;
use super::accept::Peer;
use super::context::{Body, Caller, Context, Own, Refusal, Request, Response, SHARED, Watch, Whose, freshness, full};
use crate::kube::coding::Codings;
use crate::kube::layout::Layout;
use crate::kube::list::Encoding;
use crate::kube::media;
use crate::kube::media::Form;
use crate::kube::request::RequestInfo;
use crate::kube::status::Status;
use access::Observed;

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// A request that has no answer yet. Dropped, it has none: its client has left.
pub struct Begun<'a> {
    path: &'a Path,
    /// `None`: it is answered.
    context: Option<Context>,
}

impl<'a> Begun<'a> {
    pub fn new(path: &'a Path, peer: Arc<Peer>, request: &Request) -> Self {
        Self { path, context: Some(begin(peer, request)) }
    }

    pub fn context(&mut self) -> &mut Context {
        self.context.as_mut().expect("it is taken at the end alone")
    }

    /// Turns whatever came of it into the answer; the story ends when its body does.
    pub fn finish(mut self, result: Result<Response, Refusal>) -> Response {
        let context = self.context.take().expect("it is taken here alone");
        finish(self.path, context, result)
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        if let Some(context) = self.context.take() {
            access::abandoned(self.path, context);
        }
    }
}

/// A request's story, before anything is known of it.
pub fn begin(peer: Arc<Peer>, request: &Request) -> Context {
    let agent = request.headers().get(USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
    Context {
        id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
        started: Instant::now(),
        peer,
        method: request.method().clone(),
        target: request.uri().path_and_query().map_or_else(Arc::default, |target| target.as_str().into()),
        component: component(agent).to_owned(),
        info: RequestInfo::default(),
        accepts: media::accepted(request.headers().get(ACCEPT).and_then(|accept| accept.to_str().ok())),
        layout: Layout::Compact,
        codings: codings(request.headers()),
        impersonated: is_impersonated(request.headers()),
        caller: Caller::Nobody,
        stood: None,
        hides_bookmarks: false,
        in_doubt: Notify::new(),
        route: "refuse",
        why: "",
    }
}

/// `kubelet/v1.34.4 (linux/amd64)` -> `kubelet`; of a longer word its beginning.
fn component(agent: &str) -> &str {
    let name = agent.split(['/', ' ']).next().unwrap_or_default();
    let name = name.get(..63).unwrap_or(name);
    if name.is_empty() { "unknown" } else { name }
}

/// What the cloud answers to an impersonated request is nobody's of this node.
fn is_impersonated(headers: &http::HeaderMap) -> bool {
    headers.keys().any(|name| name.as_str().starts_with("impersonate-"))
}

fn finish(path: &Path, mut context: Context, result: Result<Response, Refusal>) -> Response {
    let (mut parts, mut body) = match result {
        Ok(response) => response.into_parts(),
        Err(refusal) => {
            if refusal.fault == Whose::Us {
                tracing::error!(id = context.id, error = refusal.message, "the hub is at fault");
            }
            if context.route != "remote" && context.why.is_empty() {
                context.why = refusal.reason;
            }
            status(&context, &refusal).into_parts()
        }
    };
    if context.method == http::Method::HEAD {
        body = without_bytes(&mut parts, &body);
    }
    if context.codings.must_be_gzip() && is_compressed(&context, &parts, &body) {
        body = gzip::gzipped(&mut parts, body);
    }
    if context.info.verb == "watch" {
        parts.extensions.insert(Watch);
    }
    let age = age_by_the_store(&context, &parts);
    let observed = Observed::new(path, context, parts.status, body, age);
    Response::from_parts(parts, observed.boxed_unsync())
}

/// The end of an answer to HEAD, which over HTTP/2 nobody else takes the bytes from; it says how many there would be.
fn without_bytes(parts: &mut Parts, body: &Body) -> Body {
    if let Some(length) = body.size_hint().exact().filter(|length| *length > 0) {
        parts.headers.insert(CONTENT_LENGTH, length.into());
    }
    full(Bytes::new())
}

/// In seconds, as the client is told it.
fn age_by_the_store(context: &Context, parts: &Parts) -> Option<u64> {
    let age = parts.headers.get(AGE).filter(|_| ["offline", SHARED].contains(&context.route))?;
    age.to_str().ok()?.parse().ok()
}

fn codings(headers: &http::HeaderMap) -> Codings {
    Codings::of(headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok()))
}

/// Whether an answer is compressed for a client that insists: what the hub says itself, but no watch, as the
/// kube-apiserver does not either. The cloud's own bytes are its own choice.
fn is_compressed(context: &Context, parts: &Parts, body: &Body) -> bool {
    let is_watch = context.info.verb == "watch" && parts.status.is_success();
    let has_bytes = context.method != http::Method::HEAD && !body.is_end_stream();
    parts.extensions.get::<Own>().is_some() && !is_watch && has_bytes && !parts.headers.contains_key(CONTENT_ENCODING)
}

/// A `metav1.Status` as the kube-apiserver writes it; one that the store knows to be says how old it is.
fn status(context: &Context, refusal: &Refusal) -> Response {
    let (body, content_type) = body(context, refusal);
    let mut response = Response::new(full(body));
    response.extensions_mut().insert(Own);
    *response.status_mut() = refusal.code;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Some(at) = refusal.known_at {
        freshness(&mut response, context, at);
    }
    if refusal.code == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(http::header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// A Status in the representation that the client likes best; JSON for people where it takes none without `as=`.
/// Source: `WriteObjectNegotiated` of k8s.io/apiserver/pkg/endpoints/handlers/responsewriters.
fn body(context: &Context, refusal: &Refusal) -> (Bytes, &'static str) {
    let status = Status {
        code: refusal.code.as_u16(),
        reason: refusal.reason,
        message: &refusal.message,
        details: refusal.details.as_deref(),
        continue_token: &refusal.continue_token,
    };
    match context.accepts.iter().find(|media| media.form == Form::Full).map(|media| media.encoding) {
        Some(Encoding::Protobuf) => (status.body(Encoding::Protobuf), "application/vnd.kubernetes.protobuf"),
        Some(Encoding::Json) => {
            let text = context.layout.lay_out(&status.body(Encoding::Json));
            (text.into(), context.layout.content_type())
        }
        None => (Layout::Indented.lay_out(&status.body(Encoding::Json)).into(), Layout::Indented.content_type()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_component_is_the_agents_first_word() {
        for (agent, name) in [
            ("kubelet/v1.34.4 (linux/amd64) kubernetes/abc", "kubelet"),
            ("kubectl", "kubectl"),
            ("Python-urllib 3", "Python-urllib"),
            ("", "unknown"),
            ("/x", "unknown"),
        ] {
            assert_eq!(component(agent), name, "{agent}");
        }
    }

    #[test]
    fn a_refusal_comes_in_what_the_client_reads_and_says_what_it_is_about() {
        let about = r#""reason":"NotFound","details":{"name":"p","kind":"pods"},"code":404}"#;
        let pretty = format!("{{\n  {}", r#""kind": "Status""#);
        for (accept, layout, content_type, begins, ends) in [
            ("application/json", Layout::Compact, "application/json", r#"{"kind":"Status""#, format!("{about}\n")),
            ("application/json;as=Table;v=v1;g=meta.k8s.io", Layout::Compact, "application/json", &*pretty, "404\n}".to_owned()),
            ("application/json", Layout::Indented, "application/json", &*pretty, "404\n}".to_owned()),
            ("application/yaml", Layout::Yaml, "application/yaml", "kind: Status\n", "code: 404\n".to_owned()),
        ] {
            let context =
                Context { accepts: media::accepted(Some(accept)), layout, ..Context::of_node("/api/v1/namespaces/a/pods/p") };
            let (body, of) = body(&context, &Refusal::no_such(&context.info));
            let text = String::from_utf8_lossy(&body);
            assert_eq!(of, content_type, "{accept}");
            assert!(text.starts_with(begins) && text.ends_with(&ends), "{accept}: {text}");
        }
        let accepts = media::accepted(Some("application/vnd.kubernetes.protobuf,application/json"));
        let context = Context { accepts, ..Context::of_node("/api/v1/namespaces/a/pods/p") };
        let (body, of) = body(&context, &Refusal::no_such(&context.info));
        assert_eq!((of, body.starts_with(b"k8s\0")), ("application/vnd.kubernetes.protobuf", true));
    }

    #[test]
    fn a_refusal_that_the_store_knows_says_how_old_it_is_and_one_for_want_of_knowledge_nothing() {
        let context = Context::of_node("/api/v1/namespaces/a/pods/p");
        let known = status(&context, &Refusal::no_such(&context.info).known_at(0));
        assert_eq!(
            (known.status().as_u16(), &known.headers()["cache-status"]),
            (404, &HeaderValue::from_static("holdfast; hit; detail=offline"))
        );
        assert!(known.headers().contains_key("age"));
        for refusal in [Refusal::no_such(&context.info), Refusal::unavailable("down").known_at(0)] {
            let unknown = status(&context, &refusal);
            assert!(!unknown.headers().contains_key("cache-status") && !unknown.headers().contains_key("age"));
        }
    }
}
