//! What a request's subject is called in the store: the same words when it is
//! remembered and when it is answered.

use std::borrow::Cow;

use http::Method;

use super::context::Context;
use super::filter::Chain;
use crate::kube::list::Encoding;
use crate::kube::media::{Form, Media};
use crate::kube::metadata;
use crate::kube::request::{self, RequestInfo};
use crate::store::{ObjectKey, Scope};

pub fn scope(info: &RequestInfo, media: &Media) -> Scope {
    let form = match &media.form {
        Form::Full => String::new(),
        Form::As(form) => metadata::form_of_items(form).unwrap_or(form).to_owned(),
    };
    // A Namespace's path names it twice; the object itself is in no namespace.
    let (label_selector, field_selector) = info.selectors();
    let is_namespace = info.api_group.is_empty() && info.resource == "namespaces";
    Scope {
        group: info.api_group.clone(),
        version: info.api_version.clone(),
        resource: info.resource.clone(),
        namespace: if is_namespace { String::new() } else { info.namespace.clone() },
        label_selector,
        field_selector,
        protobuf: media.encoding == Encoding::Protobuf,
        form,
    }
}

pub fn object(info: &RequestInfo, media: &Media) -> ObjectKey {
    ObjectKey { scope: scope(info, media), name: info.name.clone() }
}

/// The CustomResourceDefinition of the resource.
pub fn definition(info: &RequestInfo) -> ObjectKey {
    let scope = Scope {
        group: "apiextensions.k8s.io".to_owned(),
        version: "v1".to_owned(),
        resource: "customresourcedefinitions".to_owned(),
        ..Scope::default()
    };
    ObjectKey { scope, name: format!("{}.{}", info.resource, info.api_group) }
}

/// A document of discovery is known by its path and by what it is: parameters (`timeout`, `hash`) do not change it.
pub fn discovery(info: &RequestInfo, content_type: &str) -> String {
    format!("{}\0{content_type}", info.path.trim_end_matches('/'))
}

/// A document of discovery at this path, as JSON.
pub fn discovery_at(path: &str) -> String {
    format!("{path}\0application/json")
}

/// The document of `/openapi/v3` that describes the resource.
pub fn openapi(info: &RequestInfo) -> String {
    format!("/openapi/v3/apis/{}/{}\0application/json", info.api_group, info.api_version)
}

/// Any other document is known by its whole target, as the cloud is asked for it, and what the client accepts.
pub fn document(context: &Context, chain: Option<&Chain>) -> String {
    let accepts: Vec<String> = context.accepts.iter().map(|media| format!("{media:?}")).collect();
    let target = match chain {
        Some(chain) if chain.asks_for_objects() => Cow::Owned(request::with_metadata(&context.target)),
        _ => Cow::Borrowed(&*context.target),
    };
    format!("{target} {}", accepts.join(","))
}

/// What was asked for that got a document of this name.
pub fn asked_for(document: &str) -> Option<RequestInfo> {
    let target = document.split(' ').next()?.parse().ok()?;
    request::parse(&Method::GET, &target).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_of_one_object_by_its_path_is_no_watch_of_all() {
        let media = Media { encoding: Encoding::Json, form: Form::Full };
        let selector = |target: &str| {
            let info = crate::kube::request::parse(&http::Method::GET, &target.parse().unwrap()).unwrap();
            scope(&info, &media).field_selector
        };
        assert_eq!(selector("/api/v1/watch/namespaces/a/pods/p"), "metadata.name=p");
        assert_eq!(selector("/api/v1/watch/namespaces/a/pods/p?fieldSelector=a%3Db"), "a=b,metadata.name=p");
        assert_eq!(selector("/api/v1/watch/namespaces/a/pods"), "");
        assert_eq!(selector("/api/v1/namespaces/a/pods?watch=1&fieldSelector=metadata.name%3Dp,a%3Db"), "a=b,metadata.name=p");
        assert_eq!(selector("/api/v1/namespaces/a/pods/p"), "");
    }
}
