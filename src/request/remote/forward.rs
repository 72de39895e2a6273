//! Heads on their way through: hop-by-hop fields stay behind (RFC 9110, 7.6.1), and
//! nobody smuggles an identity in.

use http::header::{ACCEPT, AUTHORIZATION, CONNECTION, COOKIE, EXPECT, HOST, HeaderName, RANGE, TE, UPGRADE, USER_AGENT};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue};

use crate::kube::{media, request};
use crate::request::context::Refusal;

const END_TO_END: [HeaderName; 6] = [AUTHORIZATION, COOKIE, EXPECT, HOST, RANGE, USER_AGENT];

/// The head as it goes to the cloud.
pub(super) fn request_head(mut head: http::request::Parts) -> http::request::Parts {
    head.extensions.clear();
    let trailers = head.headers.get(TE).is_some_and(|te| te.as_bytes().eq_ignore_ascii_case(b"trailers"));
    strip(&mut head.headers);
    if trailers {
        head.headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    head.headers.remove(HOST);
    // Answered by the hub when it begins to read the body.
    head.headers.remove(EXPECT);
    strip_front_proxy(&mut head.headers);
    head
}

/// The kube-apiserver believes these from a front proxy's certificate; the node's is
/// none, and must never become one.
pub(super) fn strip_front_proxy(headers: &mut HeaderMap) {
    let names: Vec<HeaderName> = headers.keys().filter(|name| name.as_str().starts_with("x-remote-")).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

/// What serves the request reads JSON: nothing else is asked for.
pub(super) fn accept_json_alone(headers: &mut HeaderMap) -> Result<(), Refusal> {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    let json = media::json_alone(accept).and_then(|accept| HeaderValue::try_from(accept).ok());
    let refused = || Refusal::not_acceptable("a rule serves this and reads JSON: accept application/json");
    headers.insert(ACCEPT, json.ok_or_else(refused)?);
    Ok(())
}

/// What serves the request reads JSON and protobuf: where the client takes either, nothing else is asked for.
pub(super) fn accept_what_is_read(headers: &mut HeaderMap) {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    if let Some(read) = accept.and_then(media::read_alone).and_then(|accept| HeaderValue::try_from(accept).ok()) {
        headers.insert(ACCEPT, read);
    }
}

/// What serves the request judges a row by its object.
pub(super) fn ask_for_metadata(head: &mut http::request::Parts) -> Result<(), Refusal> {
    let target = head.uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let target = request::with_metadata(target);
    let invalid = |error: http::uri::InvalidUri| Refusal::bad_request(format!("{target}: {error}"));
    head.uri = target.parse().map_err(invalid)?;
    Ok(())
}

/// The head as it goes to the client.
pub(super) fn response_head(parts: &mut http::response::Parts) {
    strip(&mut parts.headers);
    parts.version = http::Version::HTTP_11;
    parts.extensions.clear();
}

/// Refuses a `Connection` field that names a field by which the hub or the cloud knows who asks and for what: gone on the
/// way, it would be another request than the one that the hub has looked at.
pub fn check_connection(headers: &HeaderMap) -> Result<(), Refusal> {
    match named(headers).find(is_end_to_end) {
        None => Ok(()),
        Some(name) => Err(Refusal::bad_request(format!("Connection names {name}, which is no matter of one connection"))),
    }
}

/// Whether the client asks to leave HTTP behind. `h2c` is HTTP/2 on the same connection, which a server may leave out
/// (RFC 9110, 7.8): curl asks for it beside the request itself.
pub fn leaves_http(headers: &HeaderMap) -> bool {
    let values = headers.get_all(UPGRADE).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).any(|name| !name.is_empty() && !name.eq_ignore_ascii_case("h2c"))
}

/// Intended for all recipients (RFC 9110, 7.6.1).
fn is_end_to_end(name: &HeaderName) -> bool {
    let text = name.as_str();
    END_TO_END.contains(name)
        || ["accept", "content-", "if-", "impersonate-", "sec-"].iter().any(|begins| text.starts_with(begins))
}

/// What the `Connection` fields name.
fn named(headers: &HeaderMap) -> impl Iterator<Item = HeaderName> {
    let values = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).filter_map(|name| name.trim().parse().ok())
}

fn is_hop_by_hop(name: &HeaderName) -> bool {
    let name = name.as_str();
    // `trailer` is none (RFC 9110, 7.6.1): over HTTP/1.1 only the trailers that it names are sent.
    matches!(name, "connection" | "keep-alive" | "proxy-connection" | "te" | "transfer-encoding" | "upgrade")
}

fn strip(headers: &mut HeaderMap) {
    // Next to no head has any.
    if !headers.keys().any(is_hop_by_hop) {
        return;
    }
    let own = headers.keys().filter(|name| is_hop_by_hop(name)).cloned();
    for name in named(headers).chain(own).collect::<Vec<_>>() {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_asks_for_http2_stays_within_http() {
        for (upgrade, leaves) in [("h2c", false), ("websocket", true), ("SPDY/3.1", true), ("h2c, websocket", true), ("", false)]
        {
            let headers = HeaderMap::from_iter([(UPGRADE, HeaderValue::from_static(upgrade))]);
            assert_eq!(leaves_http(&headers), leaves, "{upgrade}");
        }
        assert!(!leaves_http(&HeaderMap::new()));
    }

    #[test]
    fn hop_by_hop_and_front_proxy_fields_stay_behind() {
        let request = http::Request::get("/api")
            .header("connection", "close, x-mine")
            .header("x-mine", "1")
            .header("keep-alive", "5")
            .header("te", "trailers")
            .header("expect", "100-continue")
            .header("host", "169.254.2.1:10268")
            .header("x-remote-user", "system:admin")
            .header("x-remote-extra-scopes", "all")
            .header("authorization", "Bearer t")
            .header("accept", "application/json")
            .body(())
            .unwrap();
        let head = request_head(request.into_parts().0);
        let mut names: Vec<_> = head.headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["accept", "authorization", "te"]);
    }

    #[test]
    fn what_the_cloud_says_of_its_own_connection_stays_behind() {
        let answer = http::Response::builder()
            .header("connection", "keep-alive, x-its")
            .header("x-its", "1")
            .header("keep-alive", "timeout=5")
            .header("transfer-encoding", "chunked")
            .header("trailer", "x-digest")
            .header("audit-id", "1")
            .body(())
            .unwrap();
        let mut head = answer.into_parts().0;
        response_head(&mut head);
        let mut names: Vec<_> = head.headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["audit-id", "trailer"]);
    }
}
