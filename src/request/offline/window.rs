//! Which part of which state a list is about: resourceVersion, resourceVersionMatch, limit, continue.
//!
//! Continue tokens are those of the kube-apiserver: a page that began there goes on here if the node knows the same
//! state, and one that began here goes on there.
//!
//! Source: `ValidateListOptions` and `storage/continue.go` of k8s.io/apimachinery and k8s.io/apiserver.

use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use base64::{DecodeError, Engine as _};
use http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::kube::request::{Query, RequestInfo};
use crate::kube::status::Cause;
use crate::request::context::{Refusal, Whose};

/// Instead of a version: of whatever is the newest state.
const OF_NEWEST: i64 = -1;
/// In the words of the kube-apiserver: it is what people read in kubectl.
const EXPIRED_PAGE: &str = "The provided continue parameter is too old to display a consistent list result. You can start a new \
    list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. \
    Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted \
    between the time the first chunk was returned and now may show up in the list.";

const TOKEN_VERSION: &str = "meta.k8s.io/v1";

/// What is wanted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Window {
    version: Version,
    /// Behind this place: `namespace/name`, or `name` within a namespace; `None`: at the beginning.
    pub after: Option<String>,
    /// So many items at most.
    pub limit: Option<u64>,
}

#[derive(Debug, PartialEq, Eq)]
enum Version {
    Any,
    AtLeast(u64),
    Exactly(u64),
    /// Of a list that was begun at this version.
    Continued(u64),
}

#[derive(Serialize, Deserialize)]
struct Token {
    v: String,
    #[serde(default)]
    rv: i64,
    #[serde(default)]
    start: String,
}

impl Window {
    /// Of a request that [`is_allowed`].
    pub(super) fn of(info: &RequestInfo) -> Result<Self, Refusal> {
        let query = &info.query;
        // Below zero there is none.
        let limit = query.limit.as_deref().and_then(|limit| limit.parse().ok()).filter(|limit| *limit > 0);
        if !query.continue_token.is_empty() {
            return Self::continued(query, limit);
        }
        let version = match query.resource_version.as_str() {
            // Of whatever is there at once, in one piece.
            "0" if is_in_memory(&info.resource) => return Ok(Self { version: Version::Any, after: None, limit: None }),
            "" | "0" => Version::Any,
            asked => {
                let version = number(asked)
                    .ok_or_else(|| Refusal::bad_request(format!("invalid resource version: {}", no_version(asked))))?;
                let exactly =
                    query.resource_version_match == "Exact" || (query.resource_version_match.is_empty() && limit.is_some());
                if exactly { Version::Exactly(version) } else { Version::AtLeast(version) }
            }
        };
        Ok(Self { version, after: None, limit })
    }

    fn continued(query: &Query, limit: Option<u64>) -> Result<Self, Refusal> {
        let invalid = |why: String| Refusal::bad_request(format!("invalid continue token: continue key is not valid{why}"));
        let token = decode(&query.continue_token).map_err(invalid)?;
        if !matches!(query.resource_version.as_str(), "" | "0") {
            return Err(Refusal::bad_request("specifying resource version is not allowed when using continue"));
        }
        // The least key behind the last one: that one and a NUL.
        let after = token.start.strip_suffix('\0').ok_or_else(|| invalid(format!(": {}", token.start)))?;
        let after = after.strip_prefix('/').unwrap_or(after).to_owned();
        // Below zero: of whatever is the newest state.
        let version = u64::try_from(token.rv).map_or(Version::Any, Version::Continued);
        Ok(Self { version, after: Some(after), limit })
    }

    /// Whether it is about the newest state, whatever that is.
    pub(super) fn is_of_newest(&self) -> bool {
        self.after.is_none() && matches!(self.version, Version::Any | Version::AtLeast(_))
    }

    /// Whether the state that is known is one that was asked for.
    pub(super) fn allows(&self, known: u64) -> Result<(), Refusal> {
        let expired = |message: String| Err(Refusal::new(StatusCode::GONE, "Expired", Whose::Cloud, message));
        match self.version {
            Version::Exactly(asked) if asked < known => expired(format!("too old resource version: {asked} ({known})")),
            Version::Continued(begun) if begun < known => expired(EXPIRED_PAGE.to_owned()).map_err(|refusal| {
                let start = format!("{}\0", self.after.as_deref().unwrap_or_default());
                Refusal { continue_token: encode(Token { v: TOKEN_VERSION.to_owned(), rv: OF_NEWEST, start }), ..refusal }
            }),
            Version::AtLeast(asked) | Version::Exactly(asked) | Version::Continued(asked) => at_least(asked, known),
            Version::Any => Ok(()),
        }
    }
}

/// Whether what is known is not older than what is asked for.
pub(super) fn at_least(asked: u64, known: u64) -> Result<(), Refusal> {
    if asked <= known {
        return Ok(());
    }
    let message = format!("the link to the cloud is down: resourceVersion {asked} is newer than what this node knows, {known}");
    Err(Refusal::unavailable(message))
}

/// The version that a GET or a WATCH names, 0 for any. What is none gets 500 from a kube-apiserver, not 400 as in a LIST:
/// the fault comes out of its storage, and nobody there makes an answer of it.
pub(super) fn version(query: &Query) -> Result<u64, Refusal> {
    let asked = query.resource_version.as_str();
    if asked.is_empty() {
        return Ok(0);
    }
    let refusal = || Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "", Whose::Client, no_version(asked));
    number(asked).ok_or_else(refusal)
}

/// As Go reads it: without a sign.
fn number(text: &str) -> Option<u64> {
    text.parse().ok().filter(|_| !text.starts_with('+'))
}

/// Whether the kube-apiserver answers from memory, not from etcd.
fn is_in_memory(resource: &str) -> bool {
    resource != "events"
}

/// The token with which a list of the state `version` goes on behind the place `last`. From etcd the place comes without
/// the slash; both are taken.
pub(super) fn token(resource: &str, version: u64, last: &[u8]) -> String {
    let slash = if is_in_memory(resource) { "/" } else { "" };
    let start = format!("{slash}{}\0", String::from_utf8_lossy(last));
    encode(Token { v: TOKEN_VERSION.to_owned(), rv: i64::try_from(version).unwrap_or(i64::MAX), start })
}

/// What is wrong is told as `DecodeContinue` does, but for JSON that is none, of which Go has more to say.
fn decode(text: &str) -> Result<Token, String> {
    let json = BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|error| match error {
        DecodeError::InvalidByte(at, _) | DecodeError::InvalidLastSymbol(at, _) => no_base64(at),
        DecodeError::InvalidLength(length) => no_base64(length - length % 4),
        DecodeError::InvalidPadding => no_base64(text.len()),
    })?;
    let token: Token = serde_json::from_slice(&json).map_err(|_| String::new())?;
    match &token {
        Token { v, .. } if v != TOKEN_VERSION => Err(format!(": server does not recognize this encoded version {v}")),
        Token { rv: 0, .. } => Err(format!(": incorrect encoded start resourceVersion (version {TOKEN_VERSION})")),
        Token { start, .. } if start.is_empty() => Err(format!(": encoded start key empty (version {TOKEN_VERSION})")),
        _ => Ok(token),
    }
}

fn no_base64(at: usize) -> String {
    format!(": illegal base64 data at input byte {at}")
}

fn encode(token: Token) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).expect("a plain struct"))
}

fn no_version(text: &str) -> String {
    format!("resourceVersion: Invalid value: {text:?}: {}", unreadable("ParseUint", text))
}

/// What Go says of what is no number, or none that it can hold.
fn unreadable(function: &str, text: &str) -> String {
    let digits = if function == "ParseInt" { text.strip_prefix(['+', '-']).unwrap_or(text) } else { text };
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    format!("strconv.{function}: parsing {text:?}: {}", if is_number { "value out of range" } else { "invalid syntax" })
}

/// Refuses options that cannot be read, and combinations of them, as the kube-apiserver does: of combinations all that is
/// wrong at once.
pub(super) fn is_allowed(query: &Query) -> Result<(), Refusal> {
    for text in [&query.limit, &query.timeout_seconds].into_iter().flatten() {
        if text.parse::<i64>().is_err() {
            return Err(Refusal::bad_request(unreadable("ParseInt", text)));
        }
    }
    let wrong = if query.watch { wrong_for_watch(query) } else { wrong_for_list(query) };
    let wrong: Vec<Cause> = wrong.into_iter().filter_map(|(is_so, what)| is_so.then_some(what)).collect();
    if wrong.is_empty() { Ok(()) } else { Err(Refusal::invalid("meta.k8s.io", "ListOptions", "", wrong)) }
}

/// Whether each of the faults is there.
type Faults = Vec<(bool, Cause)>;

fn wrong_for_list(query: &Query) -> Faults {
    let wanted = query.resource_version_match.as_str();
    let (given, exact) = (!wanted.is_empty(), wanted == "Exact");
    vec![
        (given && query.resource_version.is_empty(), of_match("is forbidden unless resourceVersion is provided")),
        (given && !query.continue_token.is_empty(), of_match("is forbidden when continue is provided")),
        (given && !exact && wanted != "NotOlderThan", unsupported(wanted, r#""Exact", "NotOlderThan", """#)),
        (exact && query.resource_version == "0", of_match(r#""exact" is forbidden for resourceVersion "0""#)),
        (query.send_initial_events.is_some(), Cause::forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list")),
    ]
}

fn wrong_for_watch(query: &Query) -> Faults {
    let wanted = query.resource_version_match.as_str();
    let (given, initial) = (!wanted.is_empty(), query.send_initial_events.is_some());
    let requires = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
    vec![
        (initial && wanted != "NotOlderThan", Cause::forbidden("resourceVersionMatch", requires)),
        (given && !initial, of_match("is forbidden for watch unless sendInitialEvents is provided")),
        (given && wanted != "NotOlderThan", unsupported(wanted, r#""NotOlderThan""#)),
        (given && !query.continue_token.is_empty(), of_match("is forbidden when continue is provided")),
    ]
}

fn of_match(what: &str) -> Cause {
    Cause::forbidden("resourceVersionMatch", &format!("resourceVersionMatch {what}"))
}

fn unsupported(wanted: &str, supported: &str) -> Cause {
    Cause::not_supported("resourceVersionMatch", wanted, supported)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(query: &str) -> Result<Window, u16> {
        let target = format!("/api/v1/pods?{query}").parse().unwrap();
        let info = crate::kube::request::parse(&http::Method::GET, &target).unwrap();
        is_allowed(&info.query).and_then(|()| Window::of(&info)).map_err(|refusal| refusal.code.as_u16())
    }

    #[test]
    fn versions_are_what_the_api_says_they_are() {
        for (query, known, code) in [
            ("", 7, Ok(())),
            ("resourceVersion=0", 7, Ok(())),
            ("resourceVersion=7", 7, Ok(())),
            ("resourceVersion=6", 7, Ok(())),
            ("resourceVersion=8", 7, Err(503)),
            ("resourceVersion=6&resourceVersionMatch=Exact", 7, Err(410)),
            ("resourceVersion=7&resourceVersionMatch=Exact", 7, Ok(())),
            ("resourceVersion=6&limit=1", 7, Err(410)),
            ("resourceVersion=6&limit=1&resourceVersionMatch=NotOlderThan", 7, Ok(())),
        ] {
            let allowed = window(query).unwrap().allows(known);
            assert_eq!(allowed.map_err(|refusal| refusal.code.as_u16()), code, "{query}");
        }
        for (query, code) in [
            ("resourceVersionMatch=Exact", 422),
            ("resourceVersion=0&resourceVersionMatch=Exact", 422),
            ("resourceVersion=1&resourceVersionMatch=Newer", 422),
            ("resourceVersion=x", 400),
            ("limit=x", 400),
            ("timeoutSeconds=x", 400),
            ("timeoutSeconds=x&resourceVersionMatch=Exact", 400),
            ("watch=1&limit=x", 400),
            ("watch=1&timeoutSeconds=1.5", 400),
            ("continue=x", 400),
            ("continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6Nywic3RhcnQiOiJhIn0&resourceVersion=7", 400),
        ] {
            assert_eq!(window(query), Err(code), "{query}");
        }
    }

    #[test]
    fn a_page_goes_on_in_the_same_state_alone() {
        let page = window(&format!("limit=2&continue={}", token("pods", 7, b"a/p"))).unwrap();
        assert_eq!((page.after.as_deref(), page.limit), (Some("a/p"), Some(2)));
        for (known, code) in [(7, Ok(())), (8, Err(410)), (6, Err(503))] {
            assert_eq!(page.allows(known).map_err(|refusal| refusal.code.as_u16()), code);
        }
    }

    #[test]
    fn who_needs_no_one_state_goes_on_behind_a_page_that_has_expired() {
        let page = window(&format!("limit=2&continue={}", token("pods", 7, b"a/p"))).unwrap();
        let refusal = page.allows(8).unwrap_err();
        assert_eq!((refusal.code.as_u16(), refusal.reason), (410, "Expired"));
        let rest = window(&format!("limit=2&continue={}", refusal.continue_token)).unwrap();
        assert_eq!((rest.after.as_deref(), rest.allows(8).is_ok(), rest.allows(9).is_ok()), (Some("a/p"), true, true));
        assert_eq!(page.allows(6).unwrap_err().continue_token, "", "the cloud may have the state");
    }

    #[test]
    fn what_is_there_at_once_comes_in_one_piece() {
        assert_eq!(window("resourceVersion=0&limit=5").unwrap().limit, None);
        assert_eq!(window("limit=5").unwrap().limit, Some(5));
        assert_eq!(window("limit=-1").unwrap().limit, None);
    }
}
