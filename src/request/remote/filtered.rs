//! The cloud's answer as its client is to see it.
//!
//! Lists and watches stream; a single object is looked at whole, for a filter may say that it is not there. An answer
//! in a representation that no filter reads is refused if one of them is for safety.

use std::io::Read as _;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::response::Parts;
use http_body_util::{BodyExt as _, Limited};

use super::Remote;
use super::tee::Tee;
use crate::kube::list::Encoding;
use crate::kube::media::{self, Form, Media};
use crate::kube::message::Edit;
use crate::request::context::{BodyError, Context, Refusal, Response, Whose, full};
use crate::request::filter::{self, Beginning, Chain, Filtered, Shown, Source, Transform};
use crate::request::names;
use crate::store::Knowledge;

/// The largest single object.
const MAX_OBJECT: usize = 8 << 20;

pub(super) async fn answer(
    remote: &Remote,
    context: &Context,
    chain: Chain,
    mut parts: Parts,
    body: Tee,
) -> Result<Response, Refusal> {
    let content_type = parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let verb = context.info.verb.as_str();
    let pass = chain.is_empty() && verb != "watch";
    let Some(encoding) = media::encoding_of(content_type).filter(|_| !pass) else {
        if !pass && let Some(filter) = chain.unreadable() {
            return Err(Refusal::new(
                http::StatusCode::NOT_ACCEPTABLE,
                "NotAcceptable",
                Whose::Client,
                format!("filter {filter} serves this and cannot read {content_type:?}: ask for application/json"),
            ));
        }
        return Ok(Response::from_parts(parts, body.map_err(BodyError::from).boxed_unsync()));
    };
    let gzip = parts.headers.get(CONTENT_ENCODING).is_some_and(|encoding| encoding == "gzip");
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.remove(CONTENT_ENCODING);
    let transform = match verb {
        "list" => Transform::list(chain, encoding, gzip),
        "watch" => {
            let beginning = beginning(remote, context, &chain, encoding).await;
            Transform::watch(chain, encoding, gzip, beginning)
        }
        _ => return object(context, &chain, encoding, gzip, parts, body).await,
    };
    Ok(Response::from_parts(parts, Filtered::new(body, transform, remote.metrics.clone()).boxed_unsync()))
}

async fn object(
    context: &Context,
    chain: &Chain,
    encoding: Encoding,
    gzip: bool,
    parts: Parts,
    body: Tee,
) -> Result<Response, Refusal> {
    let body = Limited::new(body, MAX_OBJECT).collect().await;
    let mut body = body.map_err(|error| Refusal::bad_gateway(format!("the object broke off: {error}")))?.to_bytes();
    if gzip {
        let mut plain = Vec::new();
        let unpacked = flate2::read::GzDecoder::new(&*body).take(MAX_OBJECT as u64 + 1).read_to_end(&mut plain);
        if unpacked.is_err() || plain.len() > MAX_OBJECT {
            return Err(Refusal::bad_gateway("the object is no gzip, or too large"));
        }
        body = Bytes::from(plain);
    }
    match chain.or_keep(filter::edit(chain, encoding, &body)) {
        Ok(Edit::Keep) => Ok(Response::from_parts(parts, full(body))),
        Ok(Edit::Replace(object)) => Ok(Response::from_parts(parts, full(object))),
        Ok(Edit::Remove) => Err(Refusal::no_such(&context.info)),
        Err(error) => Err(Refusal::bad_gateway(format!("a filter cannot read the kube-apiserver's answer: {error}"))),
    }
}

async fn beginning(remote: &Remote, context: &Context, chain: &Chain, encoding: Encoding) -> Beginning {
    let info = &context.info;
    let whole = context.accepts.iter().all(|media| media.form == Form::Full) && !info.query.other;
    // Where all there is comes first without a sign of its end, it is never known what the client has been told.
    let from_somewhere = info.query.send_initial_events || !matches!(info.query.resource_version.as_str(), "" | "0");
    let remembers = whole && from_somewhere;
    let source = remote.knowledge.clone().filter(|_| remembers).map(|knowledge| Source {
        knowledge,
        scope: names::scope(info, &Media { encoding, form: Form::Full }),
        bookmarks: info.query.allow_watch_bookmarks,
    });
    let shown = shown(remote, context, chain, encoding).await;
    let (resource_version, initial_events) = (info.query.resource_version.clone(), info.query.send_initial_events);
    Beginning { shown, source, resource_version, initial_events }
}

/// What the client of a watch has been shown: nothing if it begins anew, else what its list had, as far as the store
/// remembers that.
async fn shown(remote: &Remote, context: &Context, chain: &Chain, encoding: Encoding) -> Option<Shown> {
    if !chain.hides() {
        return None;
    }
    let query = &context.info.query;
    let anew = query.send_initial_events || matches!(query.resource_version.as_str(), "" | "0");
    let knowledge = remote.knowledge.clone().filter(|_| !anew);
    let (chain, scope) = (chain.clone(), names::scope(&context.info, &Media { encoding, form: Form::Full }));
    let known = move || knowledge.map(|knowledge| from_store(&knowledge, &chain, &scope)).unwrap_or_default();
    Some(tokio::task::spawn_blocking(known).await.unwrap_or_default())
}

fn from_store(knowledge: &Arc<Knowledge>, chain: &Chain, scope: &crate::store::Scope) -> Shown {
    let mut shown = Shown::default();
    if let Ok(Some(view)) = knowledge.list(scope) {
        let kind = view.header.kind.clone();
        let _ = view.visit(knowledge, None, &mut |_, item| {
            chain.note(&mut shown, scope.encoding(), &kind, &item);
            true
        });
    }
    shown
}
