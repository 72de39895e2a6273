//! Discovery and other documents: the last good copy, for the same representation.

use http::header::{CONTENT_TYPE, ETAG};
use http::{HeaderValue, StatusCode};

use super::freshness::freshness;
use crate::request::context::{Context, Refusal, Response, full};
use crate::request::names;
use crate::store::Knowledge;

pub(super) fn serve(knowledge: &Knowledge, context: &Context, if_none_match: &str) -> Result<Response, Refusal> {
    let Some(document) = knowledge.document(&names::document(context))? else {
        return Err(Refusal::unavailable(
            "the link to the cloud is down, and this document has not been asked for in this representation before",
        ));
    };
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
    Ok(response)
}
