//! What a request asks for, parsed as Kubernetes parses it.
//!
//! Receives a method and a request target; promises the same verb, resource,
//! namespace, name and subresource that the kube-apiserver's own
//! `RequestInfoFactory` (k8s.io/apiserver/pkg/endpoints/request) would use for
//! authorization. Pure: no IO. Fails only for `/watch` and `/proxy` prefixes with
//! nothing behind them, as there.

use std::borrow::Cow;
use std::collections::HashSet;

use http::{Method, Uri};

use super::selector::{FieldSelector, Selection};

/// A request's meaning. Empty strings mean "not given", as in Kubernetes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestInfo {
    /// False for `/healthz`, `/api`, `/apis/apps/v1` and the like.
    pub is_resource: bool,
    /// Kubernetes verb (`get`, `list`, `watch`, `create`, ...), or the lower-case
    /// method of a non-resource request.
    pub verb: String,
    /// `/api` or `/apis` without the slash.
    pub api_prefix: String,
    pub api_group: String,
    pub api_version: String,
    pub namespace: String,
    pub resource: String,
    pub subresource: String,
    pub name: String,
    /// Percent-decoded path.
    pub path: String,
    pub query: Query,
}

/// The options of a request that Holdfast acts on; everything else is passed on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    pub watch: bool,
    pub label_selector: String,
    pub field_selector: String,
    pub resource_version: String,
    pub resource_version_match: String,
    /// Empty is said, too: it is no number.
    pub limit: Option<String>,
    pub continue_token: String,
    pub allow_watch_bookmarks: bool,
    /// `None`: the client has not said it.
    pub send_initial_events: Option<bool>,
    pub timeout_seconds: Option<String>,
    pub follow: bool,
    /// Whether the answer is to be indented; `None`: that is not said.
    pub pretty: Option<bool>,
    /// Of a Table: what its rows have of their objects.
    pub include_object: String,
    /// Of a document of /openapi/v3: which one is wanted.
    pub hash: String,
    /// Nothing is to happen.
    pub dry_run: bool,
    /// Any parameter that changes an answer to something else than what is remembered of objects.
    pub other: bool,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("unable to determine kind and namespace from url, {path}")]
pub struct BadRequestPath {
    pub path: String,
}

const NAMESPACE_SUBRESOURCES: [&str; 2] = ["status", "finalize"];

/// Parses a request as the kube-apiserver does.
pub fn parse(method: &Method, uri: &Uri) -> Result<RequestInfo, BadRequestPath> {
    let path = percent_decode(uri.path());
    let query = Query::parse(uri.query().unwrap_or_default());
    let mut info = RequestInfo { query, ..RequestInfo::default() };
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    match resource_parts(&mut info, &parts) {
        Some(rest) => resource_request(&mut info, method, rest).map_err(|_| BadRequestPath { path: path.to_string() })?,
        None => info.verb = method.as_str().to_ascii_lowercase(),
    }
    info.path = path.into_owned();
    Ok(info)
}

/// A path ends where it must go on.
struct Short;

fn resource_request(info: &mut RequestInfo, method: &Method, parts: &[&str]) -> Result<(), Short> {
    info.is_resource = true;
    parts[0].clone_into(&mut info.api_version);
    let rest = verb_of(info, method, &parts[1..])?;
    name_parts(info, rest);
    refine_verb(info);
    Ok(())
}

/// Strips prefix and group; `None` if this is no resource request.
fn resource_parts<'a>(info: &mut RequestInfo, parts: &'a [&'a str]) -> Option<&'a [&'a str]> {
    if parts.len() < 3 {
        return None;
    }
    match parts[0] {
        "api" => {
            parts[0].clone_into(&mut info.api_prefix);
            Some(&parts[1..])
        }
        "apis" if parts.len() >= 4 => {
            parts[0].clone_into(&mut info.api_prefix);
            parts[1].clone_into(&mut info.api_group);
            Some(&parts[2..])
        }
        _ => None,
    }
}

fn verb_of<'a>(info: &mut RequestInfo, method: &Method, parts: &'a [&'a str]) -> Result<&'a [&'a str], Short> {
    if matches!(parts[0], "proxy" | "watch") {
        if parts.len() < 2 {
            return Err(Short);
        }
        parts[0].clone_into(&mut info.verb);
        return Ok(&parts[1..]);
    }
    info.verb = match method.as_str() {
        "POST" => "create",
        "GET" | "HEAD" => "get",
        "PUT" => "update",
        "PATCH" => "patch",
        "DELETE" => "delete",
        _ => "",
    }
    .to_owned();
    Ok(parts)
}

fn name_parts(info: &mut RequestInfo, mut parts: &[&str]) {
    if parts[0] == "namespaces" && parts.len() > 1 {
        parts[1].clone_into(&mut info.namespace);
        if parts.len() > 2 && !NAMESPACE_SUBRESOURCES.contains(&parts[2]) {
            parts = &parts[2..];
        }
    }
    parts[0].clone_into(&mut info.resource);
    if let Some(name) = parts.get(1) {
        (*name).clone_into(&mut info.name);
    }
    if let Some(subresource) = parts.get(2).filter(|_| info.verb != "proxy") {
        (*subresource).clone_into(&mut info.subresource);
    }
}

fn refine_verb(info: &mut RequestInfo) {
    if !info.name.is_empty() {
        return;
    }
    if info.verb == "get" {
        info.verb = if info.query.watch { "watch" } else { "list" }.to_owned();
        if let Some(name) = exact_name(&info.query.field_selector) {
            info.name = name;
        }
    } else if info.verb == "delete" {
        "deletecollection".clone_into(&mut info.verb);
    }
}

/// The name that a field selector pins with `metadata.name=`, if it is a valid
/// path segment.
pub fn exact_name(selector: &str) -> Option<String> {
    let selector = FieldSelector::parse(selector).ok()?;
    let name = selector.exactly("metadata.name")?;
    let valid = !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '%']);
    valid.then(|| name.to_owned())
}

impl Query {
    fn parse(query: &str) -> Self {
        let mut parsed = Self::default();
        let mut seen = HashSet::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = percent_decode_plus(value);
            let key = percent_decode_plus(key);
            // The kube-apiserver takes the first of several.
            if seen.contains(&key) {
                parsed.other = true;
            } else {
                parsed.set(&key, value.into_owned());
                seen.insert(key);
            }
        }
        parsed
    }

    fn set(&mut self, key: &str, value: String) {
        match key {
            "watch" => self.watch = truthy(&value),
            "labelSelector" => self.label_selector = value,
            "fieldSelector" => self.field_selector = value,
            "resourceVersion" => self.resource_version = value,
            "resourceVersionMatch" => self.resource_version_match = value,
            "limit" => self.limit = Some(value),
            "continue" => self.continue_token = value,
            BOOKMARKS => self.allow_watch_bookmarks = truthy(&value),
            "sendInitialEvents" => self.send_initial_events = Some(truthy(&value)),
            "timeoutSeconds" => self.timeout_seconds = Some(value),
            "follow" => self.follow = truthy(&value),
            // As Go reads it (strconv.ParseBool).
            "pretty" => self.pretty = Some(matches!(&*value, "1" | "t" | "T" | "TRUE" | "true" | "True")),
            "includeObject" => self.include_object = value,
            "hash" => (self.hash, self.other) = (value, true),
            "dryRun" => (self.dry_run, self.other) = (!value.is_empty(), true),
            // `timeout` bounds the request, it does not change the answer.
            "timeout" => {}
            _ => self.other = true,
        }
    }

    /// For how many seconds a watch is wanted, if that is said and more than none.
    pub fn seconds(&self) -> Option<u64> {
        self.timeout_seconds.as_deref()?.parse().ok().filter(|seconds| *seconds > 0)
    }

    /// Whether a watch begins with all there is and says where that ends.
    pub fn wants_initial_events(&self) -> bool {
        self.send_initial_events == Some(true)
    }

    /// Whether a watch begins with all there is, be it said or not.
    pub fn begins_with_all(&self) -> bool {
        !self.goes_on() && self.send_initial_events != Some(false)
    }

    /// Whether a watch goes on from a version that the client has.
    pub fn goes_on(&self) -> bool {
        !self.wants_initial_events() && !matches!(self.resource_version.as_str(), "" | "0")
    }
}

/// The parameters that say where a watch begins and how long it lasts.
pub const BEGINNING_OF_WATCH: [&str; 4] = ["resourceVersion", "resourceVersionMatch", "sendInitialEvents", "timeoutSeconds"];

/// The parameter by which a watch asks for bookmarks.
pub const BOOKMARKS: &str = "allowWatchBookmarks";

/// A request target that asks for a Table's rows with the metadata of their objects, whatever it asked for.
pub fn with_metadata(target: &str) -> String {
    with_query(target, &["includeObject"], &["includeObject=Metadata"])
}

/// A request target without these parameters, and with those, which are encoded.
pub fn with_query(target: &str, without: &[&str], with: &[&str]) -> String {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let name = |pair: &str| percent_decode_plus(pair.split_once('=').unwrap_or((pair, "")).0).into_owned();
    let stays = |pair: &&str| !pair.is_empty() && !without.contains(&&*name(pair));
    let pairs: Vec<&str> = query.split('&').filter(stays).chain(with.iter().copied()).collect();
    format!("{path}?{}", pairs.join("&"))
}

/// Booleans in queries: only `false` and `0` are false
/// (k8s.io/apimachinery/pkg/runtime, `Convert_Slice_string_To_bool`).
fn truthy(value: &str) -> bool {
    !(value.eq_ignore_ascii_case("false") || value == "0")
}

impl RequestInfo {
    /// `v1`, `apps/v1`: what its objects call their `apiVersion`.
    pub fn group_version(&self) -> String {
        let (group, version) = (&self.api_group, &self.api_version);
        if group.is_empty() { version.clone() } else { format!("{group}/{version}") }
    }

    /// GET, LIST or WATCH of a resource itself, not of a subresource.
    pub fn is_read(&self) -> bool {
        self.is_resource && self.subresource.is_empty() && matches!(self.verb.as_str(), "get" | "list" | "watch")
    }

    /// Whether the answer may go on for as long as the client likes: watches, logs,
    /// exec, attach, port-forward, proxy. No deadline ever cuts these.
    pub fn is_long_running(&self) -> bool {
        self.is_resource
            && (matches!(self.verb.as_str(), "watch" | "proxy")
                || matches!(self.subresource.as_str(), "log" | "exec" | "attach" | "portforward" | "proxy"))
    }

    /// Discovery, OpenAPI, version: documents that describe the API itself.
    pub fn is_discovery(&self) -> bool {
        if self.is_resource || self.verb != "get" {
            return false;
        }
        let path = self.path.trim_end_matches('/');
        path == "/version"
            || ["/api", "/apis", "/openapi"]
                .iter()
                .any(|root| path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
    }

    /// Label and field selector as they are compared; what cannot be read stays as it is, and the cloud says so.
    pub fn selectors(&self) -> (String, String) {
        let (labels, fields) = (self.query.label_selector.clone(), self.field_selector());
        if labels.is_empty() && fields.is_empty() {
            return (labels, fields);
        }
        match Selection::parse(&labels, &fields) {
            Ok(selection) => (selection.labels.to_string(), selection.fields.to_string()),
            Err(_) => (labels, fields),
        }
    }

    /// The field selector; for `/api/v1/watch/.../NAME` with the name that stands in the path.
    fn field_selector(&self) -> String {
        let selector = &self.query.field_selector;
        let by_path = self.verb == "watch" && !self.name.is_empty() && exact_name(selector).as_ref() != Some(&self.name);
        let by_name = || FieldSelector::one("metadata.name", &self.name);
        match (by_path, selector.is_empty()) {
            (false, _) => selector.clone(),
            (true, true) => by_name().to_string(),
            (true, false) => format!("{},{selector}", by_name()),
        }
    }

    /// `resource` or `resource/subresource`, as RBAC spells it.
    pub fn resource_path(&self) -> Cow<'_, str> {
        if self.subresource.is_empty() {
            Cow::Borrowed(&self.resource)
        } else {
            Cow::Owned(format!("{}/{}", self.resource, self.subresource))
        }
    }
}

fn percent_decode_plus(text: &str) -> Cow<'_, str> {
    if text.contains('+') { Cow::Owned(percent_decode(&text.replace('+', " ")).into_owned()) } else { percent_decode(text) }
}

/// Decodes `%XX`; a malformed escape stays as it is.
pub fn percent_decode(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = |i: usize| bytes.get(i).and_then(|b| char::from(*b).to_digit(16));
        match (bytes[at], hex(at + 1), hex(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push(u8::try_from(high * 16 + low).expect("two hex digits fit a byte"));
                at += 3;
            }
            (byte, ..) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

#[cfg(test)]
mod tests;
