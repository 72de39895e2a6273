//! What a request asks for, read from its method, path and query.
//!
//! Follows `k8s.io/apiserver/pkg/endpoints/request.RequestInfoFactory`.

use bytes::Bytes;
use http::{HeaderMap, Method};

use super::access::User;
use super::resource::Resource;
use super::selector::Selector;
use super::status::Failure;

/// Query parameters, decoded, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

/// A request for a resource.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) verb: &'static str,
    pub(crate) resource: Resource,
    pub(crate) subresource: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// A request as the verbs see it: identified, body read.
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: Query,
    pub(crate) headers: HeaderMap,
    pub(crate) user: User,
    pub(crate) body: Bytes,
}

impl Query {
    pub(crate) fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(key, true), decode(value, true))
        });
        Self(pairs.collect())
    }

    /// The first value, or nothing.
    pub(crate) fn text(&self, key: &str) -> &str {
        self.0.iter().find(|(known, _)| known == key).map_or("", |(_, value)| value)
    }

    /// `true` and `1`; a bare key counts too.
    pub(crate) fn flag(&self, key: &str) -> bool {
        self.0.iter().any(|(known, value)| known == key && matches!(value.as_str(), "" | "true" | "1"))
    }

    pub(crate) fn number(&self, key: &str) -> Option<u64> {
        self.text(key).parse().ok()
    }

    pub(crate) fn selector(&self) -> Result<Selector, Failure> {
        Selector::parse(self.text("fieldSelector"), self.text("labelSelector"))
    }

    /// A resource version: `None` when absent or empty.
    pub(crate) fn version(&self) -> Result<Option<u64>, Failure> {
        match self.text("resourceVersion") {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| {
                Failure::bad_request(format!(
                    "invalid resource version \"{text}\": strconv.ParseUint: parsing \"{text}\": invalid syntax"
                ))
            }),
        }
    }
}

impl Target {
    /// `None` for anything that is not a resource.
    pub(crate) fn parse(method: &Method, path: &str, query: &Query) -> Option<Self> {
        let parts: Vec<String> = path.trim_matches('/').split('/').map(|part| decode(part, false)).collect();
        let mut parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let (group, version) = match parts.as_slice() {
            ["api", version, _, ..] => ("", *version),
            ["apis", group, version, _, ..] => (*group, *version),
            _ => return None,
        };
        parts.drain(..if group.is_empty() { 2 } else { 3 });
        let legacy_watch = parts.first() == Some(&"watch") && parts.len() > 1;
        if legacy_watch {
            parts.remove(0);
        }
        let mut namespace = "";
        if parts[0] == "namespaces" && parts.len() > 1 {
            namespace = parts[1];
            if parts.len() > 2 && !matches!(parts[2], "status" | "finalize") {
                parts.drain(..2);
            }
        }
        let field = |index: usize| parts.get(index).copied().unwrap_or_default();
        let mut target = Self {
            verb: "",
            resource: Resource::new(group, version, parts[0]),
            subresource: parts.get(2..).unwrap_or_default().join("/"),
            namespace: namespace.to_owned(),
            name: field(1).to_owned(),
        };
        target.verb = verb(method, &target.name, legacy_watch || query.flag("watch"))?;
        if matches!(target.verb, "list" | "watch" | "deletecollection") && target.name.is_empty() {
            let selector = query.selector().ok();
            target.name = selector.as_ref().and_then(Selector::name).unwrap_or_default().to_owned();
        }
        Some(target)
    }

    /// The namespace objects are stored under: a Namespace is in none.
    pub(crate) fn home(&self) -> &str {
        let cluster = self.resource.known().is_some_and(|known| !known.namespaced);
        if cluster { "" } else { &self.namespace }
    }

    /// What the keys of the collection begin with.
    pub(crate) fn prefix(&self) -> String {
        match self.home() {
            "" => String::new(),
            namespace => format!("{namespace}/"),
        }
    }
}

fn verb(method: &Method, name: &str, watch: bool) -> Option<&'static str> {
    let named = !name.is_empty();
    Some(match *method {
        Method::GET | Method::HEAD if watch => "watch",
        Method::GET | Method::HEAD if named => "get",
        Method::GET | Method::HEAD => "list",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE if named => "delete",
        Method::DELETE => "deletecollection",
        _ => return None,
    })
}

impl Call {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// Percent-decoding; `plus` turns `+` into a space.
fn decode(text: &str, plus: bool) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while index < bytes.len() {
        let code = text.get(index + 1..index + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (bytes[index], code) {
            (b'%', Some(code)) => {
                out.push(code);
                index += 2;
            }
            (b'+', _) if plus => out.push(b' '),
            (byte, _) => out.push(byte),
        }
        index += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}
