//! (request info, caller, verdict) -> route with a reason.

use crate::kube::request::RequestInfo;
use crate::request::context::Caller;

/// The ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// The cloud, and nothing else can answer.
    Remote,
    /// The store, without asking the cloud.
    Offline,
    /// The cloud; the store if the link fails under the request.
    Either,
    /// Nobody: 503.
    Refuse,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    pub route: Route,
    pub why: &'static str,
}

/// What is decided upon.
pub struct Facts<'a> {
    pub info: &'a RequestInfo,
    pub caller: &'a Caller,
    pub upgrade: bool,
    pub impersonated: bool,
    pub link_up: bool,
}

impl Route {
    pub fn label(self) -> &'static str {
        match self {
            Self::Remote | Self::Either => "remote",
            Self::Offline => "offline",
            Self::Refuse => "refuse",
        }
    }
}

/// Decides. Docs/request.md has the same table.
pub fn route(facts: &Facts<'_>) -> Decision {
    let decide = |route, why| Decision { route, why };
    if !answerable(facts) {
        return match facts.link_up {
            true => decide(Route::Remote, "only the cloud can answer this"),
            false => decide(Route::Refuse, "only the cloud can answer this"),
        };
    }
    if facts.link_up { decide(Route::Either, "the link is up") } else { decide(Route::Offline, "the link is down") }
}

/// Whether the offline stages have an answer of their own, be it a refusal in their
/// words.
fn answerable(facts: &Facts<'_>) -> bool {
    let info = facts.info;
    let plain = !facts.upgrade && !facts.impersonated && !matches!(facts.caller, Caller::Other);
    plain && (info.is_read() || info.is_discovery() || is_small_write(info))
}

/// Writes that can be honoured without the cloud: their bodies are small and kept
/// until it is known who answers.
fn is_small_write(info: &RequestInfo) -> bool {
    let resource = (info.api_group.as_str(), info.resource.as_str(), info.subresource.as_str());
    match info.verb.as_str() {
        "create" => matches!(resource, ("" | "events.k8s.io", "events", "") | ("", "serviceaccounts", "token")),
        "patch" => matches!(resource, ("" | "events.k8s.io", "events", "")),
        "update" => matches!(resource, ("coordination.k8s.io", "leases", "")) && info.namespace == "kube-node-lease",
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(method: &str, target: &str, link_up: bool) -> Route {
        let info = crate::kube::request::parse(&method.parse().unwrap(), &target.parse().unwrap()).unwrap();
        route(&Facts { info: &info, caller: &Caller::Node, upgrade: false, impersonated: false, link_up }).route
    }

    #[test]
    fn the_table() {
        for (method, target, up, down) in [
            ("GET", "/api/v1/pods", Route::Either, Route::Offline),
            ("GET", "/api/v1/pods?watch=1", Route::Either, Route::Offline),
            ("GET", "/api/v1/namespaces/a/configmaps/b", Route::Either, Route::Offline),
            ("GET", "/apis", Route::Either, Route::Offline),
            ("GET", "/version", Route::Either, Route::Offline),
            ("GET", "/api/v1/namespaces/a/pods/p/log", Route::Remote, Route::Refuse),
            ("POST", "/api/v1/namespaces/a/pods/p/exec", Route::Remote, Route::Refuse),
            ("POST", "/api/v1/namespaces/a/events", Route::Either, Route::Offline),
            ("POST", "/apis/events.k8s.io/v1/namespaces/a/events", Route::Either, Route::Offline),
            ("PATCH", "/api/v1/namespaces/a/events/e", Route::Either, Route::Offline),
            ("PATCH", "/api/v1/namespaces/a/pods/p", Route::Remote, Route::Refuse),
            ("DELETE", "/api/v1/namespaces/a/events/e", Route::Remote, Route::Refuse),
            ("PUT", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n", Route::Either, Route::Offline),
            ("PUT", "/apis/coordination.k8s.io/v1/namespaces/other/leases/n", Route::Remote, Route::Refuse),
            ("POST", "/api/v1/namespaces/a/serviceaccounts/s/token", Route::Either, Route::Offline),
            ("POST", "/api/v1/namespaces/a/configmaps", Route::Remote, Route::Refuse),
            ("DELETE", "/api/v1/namespaces/a/pods/p", Route::Remote, Route::Refuse),
            ("GET", "/healthz", Route::Remote, Route::Refuse),
        ] {
            assert_eq!(decide(method, target, true), up, "{method} {target}, up");
            assert_eq!(decide(method, target, false), down, "{method} {target}, down");
        }
    }

    #[test]
    fn impersonation_and_upgrades_are_for_the_cloud_alone() {
        let info = crate::kube::request::parse(&http::Method::GET, &"/api/v1/pods".parse().unwrap()).unwrap();
        for (caller, upgrade, impersonated) in
            [(Caller::Node, true, false), (Caller::Node, false, true), (Caller::Other, false, false)]
        {
            for (link_up, expected) in [(true, Route::Remote), (false, Route::Refuse)] {
                let facts = Facts { info: &info, caller: &caller, upgrade, impersonated, link_up };
                assert_eq!(route(&facts).route, expected);
            }
        }
    }
}
