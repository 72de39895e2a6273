//! What a request's subject is called in the store: the same words when it is
//! remembered and when it is answered.

use super::context::Context;
use crate::kube::list::Encoding;
use crate::kube::media::{Form, Media};
use crate::kube::request::RequestInfo;
use crate::store::{ObjectKey, Scope};

pub fn scope(info: &RequestInfo, media: &Media) -> Scope {
    let form = match &media.form {
        Form::Full => String::new(),
        Form::As(form) => form.clone(),
    };
    // A Namespace's path names it twice; the object itself is in no namespace.
    let is_namespace = info.api_group.is_empty() && info.resource == "namespaces";
    Scope {
        group: info.api_group.clone(),
        version: info.api_version.clone(),
        resource: info.resource.clone(),
        namespace: if is_namespace { String::new() } else { info.namespace.clone() },
        label_selector: info.query.label_selector.clone(),
        field_selector: info.query.field_selector.clone(),
        protobuf: media.encoding == Encoding::Protobuf,
        form,
    }
}

pub fn object(info: &RequestInfo, media: &Media) -> ObjectKey {
    ObjectKey { scope: scope(info, media), name: info.name.clone() }
}

/// A document is known by its whole target and what the client accepts.
pub fn document(context: &Context) -> String {
    let accepts: Vec<String> = context.accepts.iter().map(|media| format!("{media:?}")).collect();
    format!("{} {}", context.target, accepts.join(","))
}
