//! How old an answer or a refusal of the store is, for whoever wants to know.

use std::time::{SystemTime, UNIX_EPOCH};

use http::HeaderValue;
use http::header::{AGE, HeaderName, WARNING};

use super::{Context, Response, SHARED};

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// Says how old the answer is, in fields that any client may ignore: `Age` (RFC 9111),
/// `Cache-Status` (RFC 9211), and a `Warning` for kubectl, which prints it.
pub fn freshness(response: &mut Response, context: &Context, at_ms: u64) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let age = now.saturating_sub(at_ms / 1000);
    let headers = response.headers_mut();
    headers.insert(AGE, HeaderValue::from(age));
    let is_shared = context.route == SHARED;
    let status = if is_shared { "holdfast; hit; detail=shared" } else { "holdfast; hit; detail=offline" };
    headers.insert(CACHE_STATUS, HeaderValue::from_static(status));
    if context.component == "kubectl" && !is_shared {
        let text = format!("299 holdfast \"the link to the cloud is down: this is what the node knew {age} s ago\"");
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.insert(WARNING, value);
        }
    }
}
