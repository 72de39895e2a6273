//! Answers that are no stored object: health, version, discovery, reviews, tokens.

use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::Shared;
use super::access::{Question, User};
use super::body::{Reply, reply};
use super::request::{Call, Target};
use super::resource::{KNOWN, Resource, short_names};
use super::stamp;
use super::status::Failure;
use super::write::parse;

const JSON: &str = "application/json";

/// Answers a path that is no resource; `None` when there is nothing at it.
pub(crate) fn path(shared: &Shared, path: &str) -> Option<Reply> {
    match path.trim_end_matches('/') {
        "/healthz" | "/livez" | "/readyz" => Some(reply(200, "text/plain; charset=utf-8", "ok")),
        "/version" => Some(reply(200, JSON, serde_json::to_vec_pretty(&version()).unwrap_or_default())),
        "/api" => Some(answer(
            200,
            &json!({"kind": "APIVersions", "versions": ["v1"],
            "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": shared.authority()}]}),
        )),
        "/apis" => Some(answer(200, &group_list(shared))),
        "/api/v1" => Some(answer(200, &resource_list(shared, "", "v1"))),
        other => match other.strip_prefix("/apis/")?.split('/').collect::<Vec<_>>().as_slice() {
            [group] => groups(shared).into_iter().find(|known| known["name"] == **group).map(|mut group| {
                group["kind"] = json!("APIGroup");
                group["apiVersion"] = json!("v1");
                answer(200, &group)
            }),
            [group, version] => Some(answer(200, &resource_list(shared, group, version))),
            _ => None,
        },
    }
}

/// Answers reviews and token requests; `None` when the target is neither.
pub(crate) fn create(shared: &Shared, call: &Call, target: &Target) -> Option<Result<Reply, Failure>> {
    if target.resource.plural == "serviceaccounts" && target.subresource == "token" {
        return Some(token_request(shared, call, target));
    }
    let review = match target.resource.plural.as_str() {
        "selfsubjectrulesreviews" => rules_review,
        "selfsubjectaccessreviews" => self_access_review,
        "subjectaccessreviews" => access_review,
        "localsubjectaccessreviews" => access_review,
        "selfsubjectreviews" => subject_review,
        "tokenreviews" => token_review,
        _ => return None,
    };
    Some(parse(call).map(|mut value| {
        value["kind"] = json!(match target.resource.plural.as_str() {
            "selfsubjectrulesreviews" => "SelfSubjectRulesReview",
            "selfsubjectaccessreviews" => "SelfSubjectAccessReview",
            "subjectaccessreviews" => "SubjectAccessReview",
            "localsubjectaccessreviews" => "LocalSubjectAccessReview",
            "selfsubjectreviews" => "SelfSubjectReview",
            _ => "TokenReview",
        });
        value["apiVersion"] = json!(target.resource.api_version());
        value["metadata"] = json!({});
        value["status"] = review(shared, &call.user, &value["spec"]);
        answer(201, &value)
    }))
}

fn answer(code: u16, value: &Value) -> Reply {
    let mut bytes = super::json::object(value);
    bytes.push(b'\n');
    reply(code, JSON, bytes)
}

fn version() -> Value {
    json!({"major": "1", "minor": "34", "gitVersion": "v1.34.0", "gitCommit": "0", "gitTreeState": "clean",
        "buildDate": "2025-08-27T10:09:16Z", "goVersion": "go1.24.6", "compiler": "gc", "platform": "linux/amd64"})
}

/// Groups known or stored, each with its versions.
fn groups(shared: &Shared) -> Vec<Value> {
    let known = KNOWN.iter().map(|known| (known.group.to_owned(), known.version.to_owned()));
    let mut pairs: Vec<(String, String)> = known.collect();
    pairs.extend(shared.state().resources().map(|resource| (resource.group.clone(), resource.version.clone())));
    pairs.retain(|(group, _)| !group.is_empty());
    pairs.sort();
    pairs.dedup();
    let mut groups: Vec<Value> = Vec::new();
    for (group, version) in pairs {
        let entry = json!({"groupVersion": format!("{group}/{version}"), "version": version});
        match groups.last_mut().filter(|last| last["name"] == group) {
            Some(last) => last["versions"].as_array_mut().into_iter().for_each(|list| list.push(entry.clone())),
            None => groups.push(json!({"name": group, "versions": [entry], "preferredVersion": entry})),
        }
    }
    groups
}

fn group_list(shared: &Shared) -> Value {
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups(shared)})
}

fn resource_list(shared: &Shared, group: &str, version: &str) -> Value {
    let verbs = json!(["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]);
    let entry = |name: &str, kind: &str, namespaced: bool| {
        json!({"name": name, "singularName": kind.to_lowercase(), "namespaced": namespaced, "kind": kind, "verbs": verbs,
            "shortNames": short_names(name)})
    };
    let known = KNOWN.iter().filter(|known| known.group == group && known.version == version);
    let mut resources: Vec<Value> = known.map(|known| entry(known.plural, known.kind, known.namespaced)).collect();
    let stored: Vec<Resource> = shared.state().resources().cloned().collect();
    for resource in stored {
        if resource.group == group && resource.version == version && resource.known().is_none() {
            let namespaced = shared.state().table(&resource, "").keys().any(|key| key.contains('/'));
            resources.push(entry(&resource.plural, &shared.kind_of(&resource), namespaced));
        }
    }
    let group_version = Resource::new(group, version, "").api_version();
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources})
}

fn rules_review(shared: &Shared, user: &User, spec: &Value) -> Value {
    let namespace = spec["namespace"].as_str().unwrap_or_default();
    let rules = shared.access().listed(user, namespace);
    json!({"resourceRules": rules, "nonResourceRules": [{"verbs": ["get"],
        "nonResourceURLs": ["/api", "/api/*", "/apis", "/apis/*", "/healthz", "/livez", "/readyz", "/version"]}],
        "incomplete": false})
}

fn self_access_review(shared: &Shared, user: &User, spec: &Value) -> Value {
    let resource = &spec["resourceAttributes"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let sub = text(&resource["subresource"]);
    let question = if resource.is_object() {
        let plural = text(&resource["resource"]);
        Question {
            verb: text(&resource["verb"]),
            resource: if sub.is_empty() { plural } else { format!("{plural}/{sub}") },
            namespace: text(&resource["namespace"]),
            name: text(&resource["name"]),
        }
    } else {
        let path = &spec["nonResourceAttributes"];
        Question { verb: text(&path["verb"]), resource: text(&path["path"]), ..Question::default() }
    };
    json!({"allowed": shared.access().allows(user, &question)})
}

fn access_review(shared: &Shared, _: &User, spec: &Value) -> Value {
    let groups = spec["groups"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
    let user = User::new(spec["user"].as_str().unwrap_or_default(), groups);
    self_access_review(shared, &user, spec)
}

fn subject_review(_: &Shared, user: &User, _: &Value) -> Value {
    json!({"userInfo": user.info()})
}

fn token_review(shared: &Shared, _: &User, spec: &Value) -> Value {
    match shared.access().token(spec["token"].as_str().unwrap_or_default()) {
        Some(user) => json!({"authenticated": true, "user": user.info()}),
        None => json!({"user": {}, "error": "[invalid bearer token]"}),
    }
}

/// Issues a token the server accepts until it expires.
fn token_request(shared: &Shared, call: &Call, target: &Target) -> Result<Reply, Failure> {
    let mut value = parse(call)?;
    let account = shared.state().read(&target.resource, &target.namespace, &target.name);
    let account = account.ok_or_else(|| Failure::not_found(&target.resource, &target.name))?;
    let spec = value["spec"].clone();
    let seconds = spec["expirationSeconds"].as_u64().unwrap_or(3600);
    let issued = SystemTime::now();
    let expires = issued + Duration::from_secs(seconds);
    let mut identity = json!({"namespace": target.namespace,
        "serviceaccount": {"name": target.name, "uid": account.value["metadata"]["uid"]}});
    let bound = &spec["boundObjectRef"];
    if bound["kind"] == "Pod" {
        identity["pod"] = json!({"name": bound["name"], "uid": bound["uid"]});
    }
    let user = User::service_account(&target.namespace, &target.name);
    let audiences = if spec["audiences"].is_array() { spec["audiences"].clone() } else { json!([ISSUER]) };
    let claims = json!({"aud": audiences, "exp": stamp::unix(expires), "iat": stamp::unix(issued), "iss": ISSUER,
        "jti": stamp::uid(), "kubernetes.io": identity, "nbf": stamp::unix(issued), "sub": user.name});
    let token = jwt(&claims);
    shared.access().add_token(&token, user, Some(expires));
    value["kind"] = json!("TokenRequest");
    value["apiVersion"] = json!("authentication.k8s.io/v1");
    value["metadata"] = json!({"name": target.name, "namespace": target.namespace,
        "creationTimestamp": stamp::rfc3339(issued)});
    value["spec"]["audiences"] = audiences;
    value["spec"]["expirationSeconds"] = json!(seconds);
    value["status"] = json!({"token": token, "expirationTimestamp": stamp::rfc3339(expires)});
    Ok(answer(201, &value))
}

const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// The shape of a token; the signature is nobody's.
fn jwt(claims: &Value) -> String {
    let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let header = json!({"alg": "RS256", "kid": "fake"});
    format!("{}.{}.{}", part(&header), part(claims), BASE64_URL_SAFE_NO_PAD.encode(b"no signature"))
}
