//! Discovery and other documents: the last good copy, compressed as it came for a client that takes it so.

use std::io::Read as _;

use bytes::{Buf as _, Bytes};
use flate2::bufread::GzDecoder;
use futures_util::stream;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, ETAG, LOCATION, VARY};
use http::{HeaderValue, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};

use super::{Asked, described};
use crate::kube::layout::Layout;
use crate::kube::list::Encoding;
use crate::kube::media;
use crate::kube::message::Edit;
use crate::kube::request::RequestInfo;
use crate::request::context::{Body, BodyError, Context, Refusal, Response, freshness, full};
use crate::request::filter::{self, Chain, Transform};
use crate::request::names;
use crate::store::{Document, Knowledge};

/// Bytes that are unpacked at a time.
const UNPACKED: usize = 16 * 1024;

/// A remembered form of a resource (a Table, metadata).
pub(super) fn remembered(knowledge: &Knowledge, context: &Context, chain: Option<&Chain>) -> Option<Document> {
    knowledge.document(&names::document(context, chain)).ok().flatten()
}

/// The same, filtered like anything else.
pub(super) fn serve_filtered(context: &Context, mut document: Document, chain: Option<Chain>) -> Result<Response, Refusal> {
    if let Some(chain) = chain.filter(|chain| !chain.is_empty()) {
        let failed =
            |error: &dyn std::fmt::Display| Refusal::unavailable(format!("the link to the cloud is down, and filter: {error}"));
        let reads = |encoding: &Encoding| !chain.wants_json() || *encoding == Encoding::Json;
        let Some(encoding) = media::encoding_of(&document.content_type).filter(reads) else {
            return Err(failed(&"it is in a representation that no filter reads"));
        };
        document.body = if context.info.verb == "list" {
            Transform::list(chain, encoding, false).all(document.body).map_err(|error| failed(&error))?
        } else {
            match filter::edit(&chain, encoding, &document.body).map_err(|error| failed(&error))? {
                Edit::Keep => document.body,
                Edit::Replace(object) => object,
                Edit::Remove => return Err(Refusal::no_such(&context.info).known_at(document.at)),
            }
        };
        document.etag.clear();
    }
    Ok(respond(context, document, ""))
}

const NOT_ACCEPTABLE: &str = "the link to the cloud is down: application/json, application/vnd.kubernetes.protobuf and those of OpenAPI are what the API is described in";

/// Discovery: the last good copy of what the client likes best.
pub(super) fn serve(knowledge: &Knowledge, context: &Context, asked: &Asked) -> Result<Response, Refusal> {
    let info = &context.info;
    let known = knowledge.documents(info.path.trim_end_matches('/'))?;
    let there: Vec<&str> = known.iter().map(String::as_str).collect();
    let accept = if context.layout == Layout::Yaml { "application/json" } else { asked.accept() };
    let Some(content_type) = media::negotiated(accept, &there) else {
        if context.accepts.is_empty() && !media::names_openapi(accept) {
            return Err(Refusal::not_acceptable(NOT_ACCEPTABLE));
        }
        if there.is_empty()
            && let Some(at) = described::absent(knowledge, &info.path)
        {
            return Err(Refusal::not_found("the server could not find the requested resource").known_at(at));
        }
        let what = if there.is_empty() { String::new() } else { format!(" in this representation, but as {}", there.join(", ")) };
        return Err(Refusal::unavailable(format!("the link to the cloud is down, and this document is not known{what}")));
    };
    let document = knowledge.document_as_kept(&names::discovery(info, content_type))?;
    let document = document.ok_or_else(|| Refusal::unavailable("the link to the cloud is down, and this document is gone"))?;
    Ok(match moved(info, &document) {
        Some(location) => redirect(location),
        None => respond(context, document, asked.if_none_match()),
    })
}

/// Where the document is, if it is not the one of the hash that was asked for: as the kube-apiserver has it, whose hash of
/// a document of /openapi/v3 is its ETag.
fn moved(info: &RequestInfo, document: &Document) -> Option<HeaderValue> {
    let etag = document.etag.trim_matches('"');
    let other = !info.query.hash.is_empty() && !etag.is_empty() && info.query.hash != etag;
    other.then(|| HeaderValue::try_from(format!("{}?hash={etag}", info.path)).ok()).flatten()
}

/// What a gzip body is made of, a part of it in memory at a time.
fn unpacked(packed: Bytes) -> Body {
    let parts = stream::try_unfold(GzDecoder::new(packed.reader()), |mut decoder| async move {
        let mut part = vec![0; UNPACKED];
        let some = decoder.read(&mut part).map_err(|error| BodyError::Store(format!("gzip: {error}")))?;
        part.truncate(some);
        Ok((some > 0).then(|| (Frame::data(Bytes::from(part)), decoder)))
    });
    StreamBody::new(parts).boxed_unsync()
}

fn redirect(location: HeaderValue) -> Response {
    let mut response = Response::new(full(Vec::new()));
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    response.headers_mut().insert(LOCATION, location);
    response
}

fn respond(context: &Context, document: Document, if_none_match: &str) -> Response {
    let unchanged = !document.etag.is_empty() && if_none_match.split(',').any(|tag| tag.trim() == document.etag);
    let packed = document.gzip && !unchanged;
    // What is laid out is text.
    let as_kept = packed && context.codings.gzip && context.layout == Layout::Compact;
    let mut response = Response::new(match document.body {
        _ if unchanged => full(Vec::new()),
        body if packed && !as_kept => unpacked(body.into()),
        body => full(body),
    });
    if as_kept {
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    if packed {
        response.headers_mut().insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    }
    if unchanged {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    } else if let Ok(value) = HeaderValue::try_from(document.content_type) {
        response.headers_mut().insert(CONTENT_TYPE, value);
    }
    if let Ok(value) = HeaderValue::try_from(document.etag)
        && !value.is_empty()
    {
        response.headers_mut().insert(ETAG, value);
    }
    freshness(&mut response, context, document.at);
    response
}
