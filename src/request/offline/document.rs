//! Discovery and other documents: the last good copy, for the same representation.

use http::header::{CONTENT_TYPE, ETAG};
use http::{HeaderValue, StatusCode};

use super::freshness::freshness;
use crate::kube::list::Encoding;
use crate::kube::media;
use crate::kube::message::Edit;
use crate::request::context::{Context, Refusal, Response, full};
use crate::request::filter::{self, Chain, Transform};
use crate::request::names;
use crate::store::{Document, Knowledge};

/// A remembered form of a resource (a Table, metadata), filtered like anything else. `Err(None)`: it is not known.
pub(super) fn serve_filtered(
    knowledge: &Knowledge,
    context: &Context,
    chain: Option<Chain>,
) -> Result<Response, Option<Refusal>> {
    let mut document = knowledge.document(&names::document(context, chain.as_ref())).ok().flatten().ok_or(None)?;
    if let Some(chain) = chain.filter(|chain| !chain.is_empty()) {
        let failed = |error: String| Some(Refusal::unavailable(format!("the link to the cloud is down, and filter: {error}")));
        let reads = |encoding: &Encoding| !chain.wants_json() || *encoding == Encoding::Json;
        let Some(encoding) = media::encoding_of(&document.content_type).filter(reads) else {
            return Err(failed("it is in a representation that no filter reads".to_owned()));
        };
        document.body = if context.info.verb == "list" {
            Transform::list(chain, encoding, false).all(document.body).map_err(failed)?
        } else {
            match filter::edit(&chain, encoding, &document.body).map_err(|error| failed(error.to_string()))? {
                Edit::Keep => document.body,
                Edit::Replace(object) => object,
                Edit::Remove => return Err(Some(Refusal::no_such(&context.info))),
            }
        };
        document.etag.clear();
    }
    Ok(respond(context, document, ""))
}

pub(super) fn serve(knowledge: &Knowledge, context: &Context, if_none_match: &str) -> Result<Response, Refusal> {
    let Some(document) = knowledge.document(&names::document(context, None))? else {
        return Err(Refusal::unavailable(
            "the link to the cloud is down, and this document has not been asked for in this representation before",
        ));
    };
    Ok(respond(context, document, if_none_match))
}

fn respond(context: &Context, document: Document, if_none_match: &str) -> Response {
    let unchanged = !document.etag.is_empty() && if_none_match.split(',').any(|tag| tag.trim() == document.etag);
    let mut response = Response::new(full(if unchanged { Vec::new() } else { document.body }));
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
