//! By which fields objects are selected: built-in resources by those of Kubernetes, custom ones by what the remembered
//! document of `/openapi/v3` says of them.

use std::sync::Arc;

use crate::kube::openapi;
use crate::kube::request::RequestInfo;
use crate::kube::selector::{Fields, Selection};
use crate::request::names;
use crate::store::Knowledge;

/// As far as a selection depends on it.
pub(super) async fn fields(knowledge: &Arc<Knowledge>, info: &RequestInfo, selection: &Selection) -> Fields {
    let fields = Fields::of(&info.api_group, &info.api_version, &info.resource);
    let told = |field: &str| field == "metadata.name";
    if !fields.may_be_more() || selection.fields.fields().all(told) {
        return fields;
    }
    let name = names::openapi(info);
    let Ok(Some(document)) = knowledge.document(&name) else { return fields };
    let (group, version, resource) = (info.api_group.clone(), info.api_version.clone(), info.resource.clone());
    // It may be large.
    let read = move || openapi::selectable(&document.body, &group, &version, &resource);
    let selectable = tokio::task::spawn_blocking(read).await.ok().flatten();
    selectable.map_or(fields, Fields::custom)
}
