//! One object that is to be judged, in item form.

use super::FilterError;
use crate::kube::list::Encoding;
use crate::kube::object;
use crate::state::inputs::ServiceName;

pub(super) struct Item<'a> {
    pub encoding: Encoding,
    pub bytes: &'a [u8],
}

/// Namespace and name.
pub(super) fn name(item: &Item<'_>) -> Result<ServiceName, FilterError> {
    let meta = object::meta(item.encoding, item.bytes)?;
    Ok((meta.namespace, meta.name))
}
