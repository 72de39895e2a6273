//! What lists of custom resources and the objects in them are called where none has said it to the node: a definition
//! may give its lists any name (`listKind`), so it is not to be guessed while the remembered document of `/openapi/v3`
//! says it.

use std::sync::Arc;

use crate::kube::openapi::{self, Kinds};
use crate::kube::request::RequestInfo;
use crate::request::names;
use crate::store::{Header, Knowledge};

/// What a list calls itself.
pub(super) async fn list_kind(knowledge: &Arc<Knowledge>, info: &RequestInfo, header: &Header) -> String {
    let told = if header.kind_is_guess { read(knowledge, info).await } else { None };
    told.map_or_else(|| header.kind.clone(), |kinds| kinds.list)
}

/// What the objects in it call themselves; `None`: nobody knows.
pub(super) async fn item_kind(knowledge: &Arc<Knowledge>, info: &RequestInfo, header: &Header) -> Option<String> {
    let is_open = header.sorted_keys && header.item_kind.is_empty();
    let told = if is_open { read(knowledge, info).await } else { None };
    told.map(|kinds| kinds.item).or_else(|| header.item_kind().map(str::to_owned))
}

async fn read(knowledge: &Knowledge, info: &RequestInfo) -> Option<Kinds> {
    let document = knowledge.document(&names::openapi(info)).ok()??;
    let (group, version, resource) = (info.api_group.clone(), info.api_version.clone(), info.resource.clone());
    // It may be large.
    let read = move || openapi::kinds(&document.body, &group, &version, &resource);
    tokio::task::spawn_blocking(read).await.ok()?
}
