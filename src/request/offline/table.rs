//! Whether a Table can be made of what is known of a resource.

use std::sync::Arc;

use crate::kube::request::RequestInfo;
use crate::kube::table::{Include, Printer, Table};
use crate::request::names;
use crate::store::{Found, Knowledge};

/// For resources of Kubernetes its own columns, for custom ones those of their definition, if that is known.
pub(super) fn table(knowledge: &Knowledge, info: &RequestInfo) -> Option<Arc<Table>> {
    let include = Include::parse(&info.query.include_object)?;
    let printer = Printer::built_in(&info.api_group, &info.api_version, &info.resource).or_else(|| custom(knowledge, info))?;
    Some(Arc::new(Table::new(printer, include)))
}

fn custom(knowledge: &Knowledge, info: &RequestInfo) -> Option<Printer> {
    match knowledge.object(&names::definition(info)) {
        Ok(Found::Object { item, .. }) => Printer::custom(&item, &info.api_version),
        _ => None,
    }
}
