//! Cases follow the table of k8s.io/apiserver's own requestinfo tests in what
//! they cover; expectations were read off a real kube-apiserver's audit log words.
use super::*;

struct Case(&'static str, &'static str, &'static str, [&'static str; 5]);

/// method, target, verb, [group, namespace, resource, subresource, name]
const RESOURCE: &[Case] = &[
    Case("GET", "/api/v1/namespaces", "list", ["", "", "namespaces", "", ""]),
    Case("GET", "/api/v1/namespaces/other", "get", ["", "other", "namespaces", "", "other"]),
    Case("PUT", "/api/v1/namespaces/other/finalize", "update", ["", "other", "namespaces", "finalize", "other"]),
    Case("GET", "/api/v1/namespaces/other/status", "get", ["", "other", "namespaces", "status", "other"]),
    Case("GET", "/api/v1/namespaces/other/pods", "list", ["", "other", "pods", "", ""]),
    Case("GET", "/api/v1/namespaces/other/pods?watch=", "watch", ["", "other", "pods", "", ""]),
    Case("GET", "/api/v1/namespaces/other/pods?watch=0", "list", ["", "other", "pods", "", ""]),
    Case("GET", "/api/v1/namespaces/other/pods?watch=False", "list", ["", "other", "pods", "", ""]),
    Case("GET", "/api/v1/namespaces/other/pods?watch=yes", "watch", ["", "other", "pods", "", ""]),
    Case("HEAD", "/api/v1/namespaces/other/pods/foo", "get", ["", "other", "pods", "", "foo"]),
    Case("GET", "/api/v1/pods?fieldSelector=metadata.name%3Dfoo", "list", ["", "", "pods", "", "foo"]),
    Case("GET", "/api/v1/pods?watch=1&fieldSelector=metadata.name==foo,a=b", "watch", ["", "", "pods", "", "foo"]),
    Case("GET", "/api/v1/pods?fieldSelector=metadata.name%3Da/b", "list", ["", "", "pods", "", ""]),
    Case("GET", "/api/v1/pods?fieldSelector=metadata.name!=foo", "list", ["", "", "pods", "", ""]),
    Case("GET", "/api/v1/pods?fieldSelector=metadata.name%3Da%5C,b", "list", ["", "", "pods", "", "a,b"]),
    Case("GET", "/api/v1/pods?fieldSelector=a%3D%5C,metadata.name%3Df", "list", ["", "", "pods", "", ""]),
    Case("GET", "/api/v1/pods?fieldSelector=metadata.name%3Df%3Dg", "list", ["", "", "pods", "", ""]),
    Case("GET", "/api/v1/watch/namespaces/other/pods", "watch", ["", "other", "pods", "", ""]),
    Case("GET", "/api/v1/watch/namespaces/other/pods/foo", "watch", ["", "other", "pods", "", "foo"]),
    Case("GET", "/api/v1/proxy/namespaces/other/pods/foo/bar", "proxy", ["", "other", "pods", "", "foo"]),
    Case("GET", "/api/v1/namespaces/other/pods/foo/proxy/a/b", "get", ["", "other", "pods", "proxy", "foo"]),
    Case("POST", "/api/v1/namespaces/other/pods/foo/exec?command=ls", "create", ["", "other", "pods", "exec", "foo"]),
    Case("GET", "/api/v1/namespaces/other/pods/foo/log?follow=true", "get", ["", "other", "pods", "log", "foo"]),
    Case("DELETE", "/api/v1/namespaces/other/pods", "deletecollection", ["", "other", "pods", "", ""]),
    Case("DELETE", "/api/v1/namespaces/other/pods/foo", "delete", ["", "other", "pods", "", "foo"]),
    Case("PATCH", "/api/v1/nodes/n1/status", "patch", ["", "", "nodes", "status", "n1"]),
    Case("POST", "/api/v1/namespaces/a/serviceaccounts/s/token", "create", ["", "a", "serviceaccounts", "token", "s"]),
    Case("GET", "/apis/apps/v1/namespaces/a/deployments/d", "get", ["apps", "a", "deployments", "", "d"]),
    Case("GET", "/apis/apps/v1/deployments/", "list", ["apps", "", "deployments", "", ""]),
    Case("OPTIONS", "/api/v1/pods", "", ["", "", "pods", "", ""]),
    Case("GET", "/api/v1/namespaces/a%20b/pods", "list", ["", "a b", "pods", "", ""]),
];

#[test]
fn resource_requests_are_read_as_kubernetes_reads_them() {
    for Case(method, target, verb, [group, namespace, resource, subresource, name]) in RESOURCE {
        let info = parse(&method.parse().unwrap(), &target.parse().unwrap()).unwrap();
        assert!(info.is_resource, "{target}");
        assert_eq!(info.verb, *verb, "{method} {target}");
        let got = [&info.api_group, &info.namespace, &info.resource, &info.subresource, &info.name];
        assert_eq!(got, [group, namespace, resource, subresource, name], "{method} {target}");
    }
}

#[test]
fn other_requests_are_not_resources() {
    for target in [
        "/",
        "/api",
        "/api/v1",
        "/apis",
        "/apis/apps",
        "/apis/apps/v1",
        "/healthz",
        "/version",
        "/openapi/v3/api/v1",
        "/metrics/a/b",
    ] {
        let info = parse(&Method::GET, &target.parse().unwrap()).unwrap();
        assert!(!info.is_resource, "{target}");
        assert_eq!(info.verb, "get");
    }
}

#[test]
fn a_special_verb_with_nothing_behind_it_is_refused() {
    assert!(parse(&Method::GET, &"/api/v1/watch".parse().unwrap()).is_err());
    assert!(parse(&Method::GET, &"/apis/apps/v1/proxy/".parse().unwrap()).is_err());
}

#[test]
fn discovery_is_told_from_look_alikes() {
    let discovery = |target: &str| parse(&Method::GET, &target.parse().unwrap()).unwrap().is_discovery();
    for target in ["/api", "/api/", "/apis", "/apis/apps/v1", "/openapi/v2", "/openapi/v3/apis/apps/v1", "/version"] {
        assert!(discovery(target), "{target}");
    }
    for target in ["/apix", "/healthz", "/versions", "/api/v1/pods", "/logs/api"] {
        assert!(!discovery(target), "{target}");
    }
}

#[test]
fn selectors_are_decoded() {
    let info = parse(&Method::GET, &"/api/v1/pods?labelSelector=a%3Db%2Cc+in+%28d%29&limit=500".parse().unwrap()).unwrap();
    assert_eq!(info.query.label_selector, "a=b,c in (d)");
    assert_eq!(info.query.limit.as_deref(), Some("500"));
    assert!(!info.query.other);
}

#[test]
fn of_a_parameter_given_twice_the_first_counts_and_nothing_is_made_of_the_answer() {
    let info = parse(&Method::GET, &"/api/v1/pods?labelSelector=a%3Db&labelSelector=&watch=0&watch=1".parse().unwrap()).unwrap();
    assert_eq!((info.query.label_selector.as_str(), info.query.watch, info.query.other), ("a=b", false, true));
}

#[test]
fn a_table_without_objects_is_asked_for_with_their_metadata() {
    for (target, asked) in [
        ("/api/v1/pods?includeObject=None", "/api/v1/pods?includeObject=Metadata"),
        ("/api/v1/pods?limit=5&include%4fbject=None&watch=1", "/api/v1/pods?limit=5&watch=1&includeObject=Metadata"),
        ("/api/v1/pods", "/api/v1/pods?includeObject=Metadata"),
    ] {
        assert_eq!(with_metadata(target), asked);
    }
    let query = |target: &str| parse(&Method::GET, &target.parse().unwrap()).unwrap().query;
    assert_eq!(query("/api/v1/pods?includeObject=None").include_object, "None");
    assert_eq!(query("/api/v1/pods?includeObject=Object&includeObject=None").include_object, "Object", "the first counts");
}
