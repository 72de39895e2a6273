//! Lists: selectors, pages, versions.
//!
//! A page token pins the version of the first page; a later page is told from the log of changes,
//! or refused with 410 when that version was compacted.

use std::borrow::Cow;
use std::ops::Bound;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::Shared;
use super::body::{Reply, reply};
use super::json::{write, write_string};
use super::media::{Encoding, Media};
use super::proto;
use super::request::{Call, Target};
use super::resource::Resource;
use super::selector::Selector;
use super::state::{Object, State, Table};
use super::status::Failure;

/// One page of a collection.
struct Page {
    rv: u64,
    items: Vec<Arc<Object>>,
    resume: String,
    remaining: Option<usize>,
}

/// Where a list starts: which version, after which key.
struct Start {
    rv: Option<u64>,
    after: Option<String>,
}

/// Answers a LIST.
pub(crate) fn list(shared: &Shared, call: &Call, target: &Target) -> Result<Reply, Failure> {
    let media = Media::negotiate_read(&call.headers, proto::supports(&target.resource), true)?;
    let selector = call.query.selector()?;
    let limit = call.query.number("limit").filter(|limit| *limit > 0).map_or(usize::MAX, |limit| limit as usize);
    let prefix = target.prefix();
    let (table, rv, after) = {
        let state = shared.state();
        let start = start(&state, call)?;
        let (table, rv) = snapshot(&state, &target.resource, &prefix, &start)?;
        (table, rv, start.after)
    };
    let page = cut(table, rv, after, &selector, limit);
    let (api_version, kind) = media.types(&target.resource, &kind(&target.resource, &page));
    let types = (api_version, format!("{kind}List"));
    let items: Vec<_> = page.items.iter().map(|object| media.item(&target.resource, object)).collect();
    let bytes = match media.encoding {
        Encoding::Json if target.resource.custom() && !media.is_null_without_items() => custom_list(&types, &page, &items),
        Encoding::Json => json_list(&types, &page, &items, media.is_null_without_items()),
        Encoding::Proto => {
            let raw = proto::list(&page.rv.to_string(), &page.resume, items.iter());
            proto::envelope(&types.0, &types.1, &raw)
        }
    };
    Ok(reply(200, media.read_type(call.header("accept")), bytes))
}

/// Reads version and position from the query.
fn start(state: &State, call: &Call) -> Result<Start, Failure> {
    let version = call.query.version()?;
    let exact = call.query.text("resourceVersionMatch") == "Exact";
    let token = call.query.text("continue");
    if !token.is_empty() {
        if version.is_some_and(|version| version > 0) {
            return Err(Failure::bad_request("specifying resource version is not allowed when using continue"));
        }
        return resume(state, token);
    }
    match version.filter(|version| *version > state.rv()) {
        Some(asked) => Err(Failure::too_large(asked, state.rv())),
        None => Ok(Start { rv: version.filter(|_| exact), after: None }),
    }
}

fn resume(state: &State, token: &str) -> Result<Start, Failure> {
    let malformed = || Failure::bad_request("continue key is not valid: encoded start is malformed");
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(token).map_err(|_| malformed())?;
    let value: Value = serde_json::from_slice(&bytes).map_err(|_| malformed())?;
    let after = value["start"].as_str().ok_or_else(malformed)?.to_owned();
    let rv = value["rv"].as_i64().ok_or_else(malformed)?;
    match u64::try_from(rv) {
        Err(_) => Ok(Start { rv: None, after: Some(after) }),
        Ok(rv) if rv < state.compacted() => Err(Failure::expired_token(token_of(-1, &after))),
        Ok(rv) => Ok(Start { rv: Some(rv), after: Some(after) }),
    }
}

fn token_of(rv: i64, after: &str) -> String {
    let value = json!({"v": "meta.k8s.io/v1", "rv": rv, "start": after});
    BASE64_URL_SAFE_NO_PAD.encode(value.to_string())
}

fn snapshot(state: &State, resource: &Resource, prefix: &str, start: &Start) -> Result<(Table, u64), Failure> {
    match start.rv {
        None => Ok((state.table(resource, prefix), state.rv())),
        Some(rv) => {
            let expired = || Failure::expired("The resourceVersion for the provided list is too old.");
            let table = state.table_at(resource, prefix, rv).ok_or_else(expired)?;
            Ok((table, rv))
        }
    }
}

fn cut(table: Table, rv: u64, after: Option<String>, selector: &Selector, limit: usize) -> Page {
    let from = after.map_or(Bound::Unbounded, Bound::Excluded);
    let mut rest = table.range::<String, _>((from, Bound::Unbounded));
    let (mut items, mut last) = (Vec::new(), "");
    while items.len() < limit {
        let Some((key, object)) = rest.next() else { break };
        last = key;
        if selector.matches(&object.value) {
            items.push(Arc::clone(object));
        }
    }
    let left = rest.count();
    // The first key that may follow.
    let resume = if left > 0 { token_of(rv as i64, &format!("{last}\0")) } else { String::new() };
    let remaining = (left > 0 && selector.is_empty()).then_some(left);
    Page { rv, items, resume, remaining }
}

/// Of the objects in it.
fn kind(resource: &Resource, page: &Page) -> String {
    page.items.first().map_or_else(|| resource.kind(), |object| object.kind().to_owned())
}

fn write_items(out: &mut Vec<u8>, items: &[Cow<'_, [u8]>]) {
    out.push(b'[');
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(item);
    }
    out.push(b']');
}

/// `{"kind":..,"apiVersion":..,"metadata":{..},"items":[..]}`
fn json_list((api_version, kind): &(String, String), page: &Page, items: &[Cow<'_, [u8]>], or_null: bool) -> Vec<u8> {
    let size: usize = items.iter().map(|item| item.len() + 1).sum();
    let mut out = Vec::with_capacity(size + 200);
    out.extend_from_slice(b"{\"kind\":");
    write_string(&mut out, kind);
    out.extend_from_slice(b",\"apiVersion\":");
    write_string(&mut out, api_version);
    out.extend_from_slice(format!(",\"metadata\":{{\"resourceVersion\":\"{}\"", page.rv).as_bytes());
    if !page.resume.is_empty() {
        out.extend_from_slice(format!(",\"continue\":\"{}\"", page.resume).as_bytes());
    }
    if let Some(remaining) = page.remaining {
        out.extend_from_slice(format!(",\"remainingItemCount\":{remaining}").as_bytes());
    }
    out.extend_from_slice(b"},\"items\":");
    if items.is_empty() && or_null {
        out.extend_from_slice(b"null");
    } else {
        write_items(&mut out, items);
    }
    out.extend_from_slice(b"}\n");
    out
}

/// Sorted keys, and `continue` always there: an unstructured list.
fn custom_list((api_version, kind): &(String, String), page: &Page, items: &[Cow<'_, [u8]>]) -> Vec<u8> {
    let mut out = b"{\"apiVersion\":".to_vec();
    write_string(&mut out, api_version);
    out.extend_from_slice(b",\"items\":");
    write_items(&mut out, items);
    out.extend_from_slice(b",\"kind\":");
    write_string(&mut out, kind);
    out.extend_from_slice(b",\"metadata\":");
    let mut meta = json!({"continue": page.resume, "resourceVersion": page.rv.to_string()});
    if let Some(remaining) = page.remaining {
        meta["remainingItemCount"] = json!(remaining);
    }
    write(&mut out, &meta);
    out.extend_from_slice(b"}\n");
    out
}
