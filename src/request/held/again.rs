//! A watch's request, kept small, to be asked again.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Weak};

use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use http_body_util::{BodyExt as _, Empty};

use crate::kube;
use crate::kube::list::Encoding;
use crate::kube::media::{self, Form, Media};
use crate::kube::metadata;
use crate::kube::request::{BEGINNING_OF_WATCH, BOOKMARKS, with_query};
use crate::request::accept::Peer;
use crate::request::context::Context;
use crate::request::{Bearer, Path, Request};

/// What a list does not have.
const OF_WATCHES: [&str; 3] = ["watch", BOOKMARKS, "limit"];
/// Begins with all there is, and says where that ends.
const WITH_ALL: &str = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
/// Items of a page.
const PAGE: &str = "500";

pub(in crate::request) struct Again {
    /// The hub ends when it is to, whoever still watches.
    pub(super) path: Weak<Path>,
    pub(super) peer: Arc<Peer>,
    target: Arc<str>,
    headers: Box<[(HeaderName, HeaderValue)]>,
    /// `None`: a node's own.
    pub(super) bearer: Option<Arc<Bearer>>,
    /// Its client has not asked for bookmarks: they are for the hub.
    pub(super) hides_bookmarks: bool,
}

impl Again {
    /// `None`: it is no watch of a client's.
    pub(in crate::request) fn of(path: &Arc<Path>, context: &Context, asked: &HeaderMap) -> Option<Self> {
        let (peer, target) = (context.peer.clone(), context.target.clone());
        let is_watch = target.split_once('?').is_some_and(|(_, query)| query.contains("watch="));
        if !is_watch || peer.is_internal() {
            return None;
        }
        // A copy of its own: the value may be a slice of all that came with it.
        let copy = |name: HeaderName| {
            let value = HeaderValue::from_bytes(asked.get(&name)?.as_bytes()).ok()?;
            Some((name, value))
        };
        let headers = [ACCEPT, USER_AGENT].into_iter().filter_map(copy).collect();
        Some(Self { path: Arc::downgrade(path), peer, target, headers, bearer: None, hides_bookmarks: false })
    }

    /// The request, as the hub has it answered: of one that begins with all there is a bookmark says where that ends, for from
    /// there on it can go on.
    pub(in crate::request) fn marked(&mut self, mut request: Request, context: &mut Context) -> Request {
        if context.impersonated || !is_held_and_read(request.headers()) {
            return request;
        }
        let asked = kube::request::parse(request.method(), request.uri()).ok();
        let is_unmarked = asked.is_some_and(|info| {
            info.verb == "watch" && !info.query.other && !info.query.goes_on() && !info.query.allow_watch_bookmarks
        });
        if is_unmarked && let Ok(target) = with_query(&self.target, &[BOOKMARKS], &[&format!("{BOOKMARKS}=true")]).parse() {
            *request.uri_mut() = target;
            // What is compressed could not be read.
            request.headers_mut().remove(ACCEPT_ENCODING);
            (self.hides_bookmarks, context.hides_bookmarks) = (true, true);
        }
        request
    }

    /// The same from a version on, for so many seconds if that is said.
    pub(super) fn watch(&self, version: u64, seconds: Option<u64>) -> Option<Request> {
        let version = format!("resourceVersion={version}");
        let seconds = seconds.map(|seconds| format!("timeoutSeconds={seconds}"));
        let more: Vec<&str> = [Some(&*version), seconds.as_deref()].into_iter().flatten().collect();
        self.request(&with_query(&self.target, &BEGINNING_OF_WATCH, &more))
    }

    /// The same with all there is, at least as of a version if that is said.
    pub(super) fn begin(&self, version: Option<u64>, seconds: Option<u64>) -> Option<Request> {
        let version = version.map(|version| format!("resourceVersion={version}"));
        let seconds = seconds.map(|seconds| format!("timeoutSeconds={seconds}"));
        let more = [version.as_deref(), seconds.as_deref(), Some(WITH_ALL)];
        let without: Vec<&str> = BEGINNING_OF_WATCH.into_iter().chain([BOOKMARKS]).collect();
        self.request(&with_query(&self.target, &without, &more.into_iter().flatten().collect::<Vec<_>>()))
    }

    /// A page of the list of the same; `accept`: what one of its events would be.
    pub(super) fn list(&self, accept: &str, continue_token: Option<&str>) -> Option<Request> {
        let limit = format!("limit={PAGE}");
        let go_on = continue_token.map(|token| format!("continue={token}"));
        let more: Vec<&str> = [Some(&*limit), go_on.as_deref()].into_iter().flatten().collect();
        let without: Vec<&str> = BEGINNING_OF_WATCH.into_iter().chain(OF_WATCHES).collect();
        let mut request = self.request(&with_query(&self.target, &without, &more))?;
        request.headers_mut().insert(ACCEPT, HeaderValue::from_str(accept).ok()?);
        Some(request)
    }

    /// The same number below `kinds` for all that watch the same.
    pub(super) fn kind(&self, encoding: Encoding, kinds: usize) -> usize {
        let mut hasher = DefaultHasher::new();
        let list = self.list(&self.list_media(encoding).accept(), None);
        list.map(|request| (request.uri().clone(), request.headers().get(ACCEPT).cloned())).hash(&mut hasher);
        usize::try_from(hasher.finish() % kinds as u64).unwrap_or(0)
    }

    /// What a list of what it watches is asked for as.
    pub(super) fn list_media(&self, encoding: Encoding) -> Media {
        let accept = self.headers.iter().find(|(name, _)| name == ACCEPT).and_then(|(_, value)| value.to_str().ok());
        let asked = media::accepted(accept).into_iter().find(|media| media.encoding == encoding);
        let form = match asked.map(|media| media.form) {
            Some(Form::As(form)) if metadata::form_of_items(&form).is_some() => Form::As(metadata::list_form().to_owned()),
            _ => Form::Full,
        };
        Media { encoding, form }
    }

    fn request(&self, target: &str) -> Option<Request> {
        let mut request = Request::new(Box::pin(Empty::new().map_err(|never| match never {})));
        *request.uri_mut() = target.parse::<Uri>().ok()?;
        request.headers_mut().extend(self.headers.iter().cloned());
        if let Some(bearer) = &self.bearer {
            let value = HeaderValue::from_str(&format!("Bearer {}", bearer.token)).ok()?;
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        Some(request)
    }
}

/// Whether its client's watch may be the hub's, and its answer is one that is read here.
fn is_held_and_read(headers: &HeaderMap) -> bool {
    let is_bearers =
        |value: &HeaderValue| value.as_bytes().get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer "));
    let mut accepts = headers.get_all(ACCEPT).iter();
    headers.get(AUTHORIZATION).is_none_or(is_bearers) && accepts.all(|accept| accept.to_str().is_ok_and(media::are_read))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WATCH: &str = "/api/v1/pods?watch=1";

    fn again(target: &str) -> Again {
        let peer = Context::of_client(target).peer;
        Again { path: Weak::new(), peer, target: target.into(), headers: Box::default(), bearer: None, hides_bookmarks: false }
    }

    /// As what it is asked for.
    fn marked(target: &str, fields: &[(HeaderName, &'static str)], impersonated: bool) -> String {
        let mut context = Context { impersonated, ..Context::of_client(target) };
        let mut request = Request::new(Box::pin(Empty::new().map_err(|never| match never {})));
        *request.uri_mut() = target.parse().unwrap();
        fields.iter().for_each(|(name, value)| _ = request.headers_mut().append(name, HeaderValue::from_static(value)));
        let mut again = again(target);
        let request = again.marked(request, &mut context);
        assert_eq!(again.hides_bookmarks, context.hides_bookmarks);
        assert_eq!(again.hides_bookmarks, request.uri() != &*again.target);
        request.uri().to_string()
    }

    #[test]
    fn a_bookmark_is_asked_for_where_a_watch_begins_with_all_there_is_and_is_the_hubs() {
        let with = |target: &str| format!("{target}&allowWatchBookmarks=true");
        for (target, is_marked) in [
            (WATCH, true),
            ("/api/v1/pods?watch=1&resourceVersion=0", true),
            ("/api/v1/pods?watch=1&sendInitialEvents=true&resourceVersion=7&resourceVersionMatch=NotOlderThan", true),
            ("/api/v1/pods?watch=1&resourceVersion=7", false),
            ("/api/v1/pods?watch=1&allowWatchBookmarks=1", false),
            ("/api/v1/pods?watch=0", false),
            ("/api/v1/pods?watch=1&unheardOf=1", false),
        ] {
            let expected = if is_marked { with(target) } else { target.to_owned() };
            assert_eq!(marked(target, &[], false), expected);
        }
        assert_eq!(marked("/api/v1/pods?allowWatchBookmarks=0&watch=1", &[], false), with(WATCH));
        let (bearer, basic) = ((AUTHORIZATION, "bearer x"), (AUTHORIZATION, "Basic x"));
        let (protobuf, cbor) = ((ACCEPT, "application/vnd.kubernetes.protobuf, */*"), (ACCEPT, "application/cbor-seq"));
        for (fields, is_marked) in [(vec![bearer, protobuf.clone()], true), (vec![basic], false), (vec![protobuf, cbor], false)] {
            assert_eq!(marked(WATCH, &fields, false), if is_marked { with(WATCH) } else { WATCH.to_owned() }, "{fields:?}");
        }
        assert_eq!(marked(WATCH, &[], true), WATCH);
    }

    #[test]
    fn what_begins_anew_is_marked_and_of_the_version_that_it_is_to_be_of() {
        let target = "/api/v1/pods?watch=1&resourceVersion=0&timeoutSeconds=60&labelSelector=a%3Db";
        let again = again(target);
        let asked = |version, seconds| again.begin(version, seconds).unwrap().uri().to_string();
        let same = "/api/v1/pods?watch=1&labelSelector=a%3Db";
        assert_eq!(asked(None, None), format!("{same}&{WITH_ALL}"));
        assert_eq!(asked(Some(7), Some(5)), format!("{same}&resourceVersion=7&timeoutSeconds=5&{WITH_ALL}"));
    }
}
