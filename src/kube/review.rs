//! SelfSubjectAccessReview: may whoever sends it do this?
//!
//! Source: `k8s.io/api/authorization/v1/types.go`.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::request::RequestInfo;

/// Where it is created.
pub const PATH: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";

/// The review, in JSON, of a request for a resource. Selectors stand in it as `rawSelector`, which servers before 1.31 leave
/// out: what they grant is more.
pub fn of(info: &RequestInfo) -> Vec<u8> {
    let fields = [
        ("namespace", &info.namespace),
        ("verb", &info.verb),
        ("group", &info.api_group),
        ("version", &info.api_version),
        ("resource", &info.resource),
        ("subresource", &info.subresource),
        ("name", &info.name),
    ];
    let (labels, selected) = info.selectors();
    let mut attributes: Map<String, Value> =
        fields.into_iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| (name.into(), json!(value))).collect();
    for (name, selector) in [("fieldSelector", selected), ("labelSelector", labels)] {
        if !selector.is_empty() {
            attributes.insert(name.into(), json!({"rawSelector": selector}));
        }
    }
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    });
    review.to_string().into_bytes()
}

/// Whether the answer is a yes.
pub fn is_allowed(answer: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Review {
        kind: String,
        #[serde(default)]
        status: Status,
    }
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Status {
        allowed: bool,
        denied: bool,
    }
    let review: Result<Review, _> = serde_json::from_slice(answer);
    review.is_ok_and(|review| review.kind == "SelfSubjectAccessReview" && review.status.allowed && !review.status.denied)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(target: &str) -> Value {
        let info = crate::kube::request::parse(&http::Method::GET, &target.parse().unwrap()).unwrap();
        serde_json::from_slice::<Value>(&of(&info)).unwrap()["spec"]["resourceAttributes"].take()
    }

    #[test]
    fn all_that_an_authorizer_goes_by_is_asked_for() {
        let of_one = "/api/v1/namespaces/a/pods?watch=1&fieldSelector=metadata.name%3Dp&labelSelector=x+in+(b,a)";
        let attributes = json!({
            "namespace": "a", "verb": "watch", "version": "v1", "resource": "pods", "name": "p",
            "fieldSelector": {"rawSelector": "metadata.name=p"}, "labelSelector": {"rawSelector": "x in (a,b)"},
        });
        assert_eq!(asked(of_one), attributes);
        let of_all = json!({"verb": "list", "group": "discovery.k8s.io", "version": "v1", "resource": "endpointslices"});
        assert_eq!(asked("/apis/discovery.k8s.io/v1/endpointslices?limit=5"), of_all);
    }

    #[test]
    fn anything_but_a_yes_is_none() {
        let review = |status: &str| is_allowed(format!(r#"{{"kind":"SelfSubjectAccessReview","status":{status}}}"#).as_bytes());
        assert!(review(r#"{"allowed":true}"#));
        assert!(!review(r#"{"allowed":true,"denied":true}"#) && !review(r#"{"allowed":false}"#) && !review("{}"));
        assert!(!is_allowed(b"") && !is_allowed(br#"{"kind":"Status","status":"Failure"}"#));
        assert!(!is_allowed(br#"{"kind":"Other","status":{"allowed":true}}"#));
    }
}
