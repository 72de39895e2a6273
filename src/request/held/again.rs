//! A watch's request, kept small, to be asked again.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Weak};

use http::header::{ACCEPT, AUTHORIZATION, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use http_body_util::{BodyExt as _, Empty};

use crate::kube;
use crate::kube::list::Encoding;
use crate::kube::media::{self, Form, Media};
use crate::kube::metadata;
use crate::kube::request::{BEGINNING_OF_WATCH, with_query};
use crate::request::accept::Peer;
use crate::request::context::Context;
use crate::request::{Bearer, Path, Request, remote};

const BOOKMARKS: &str = "allowWatchBookmarks";
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
    pub(in crate::request) fn marked(&mut self, mut request: Request) -> Request {
        let accept = request.headers().get(ACCEPT).and_then(|accept| accept.to_str().ok());
        let asked = kube::request::parse(request.method(), request.uri()).ok();
        let is_unmarked = asked.is_some_and(|info| {
            info.verb == "watch" && !info.query.other && !info.query.goes_on() && !info.query.allow_watch_bookmarks
        });
        // What leaves HTTP is not read here.
        if is_unmarked
            && media::are_read(accept)
            && !remote::leaves_http(request.headers())
            && let Ok(target) = with_query(&self.target, &[BOOKMARKS], &[&format!("{BOOKMARKS}=true")]).parse()
        {
            *request.uri_mut() = target;
            self.hides_bookmarks = true;
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

    /// The same with all there is, at least as of a version, 0: as its client has asked.
    pub(super) fn begin(&self, version: u64, seconds: Option<u64>) -> Option<Request> {
        let version = (version > 0).then(|| format!("resourceVersion={version}"));
        let without = BEGINNING_OF_WATCH.into_iter().filter(|name| version.is_some() || *name != "resourceVersion");
        let without: Vec<&str> = without.chain([BOOKMARKS]).collect();
        let seconds = seconds.map(|seconds| format!("timeoutSeconds={seconds}"));
        let more = [version.as_deref(), seconds.as_deref(), Some(WITH_ALL)];
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
