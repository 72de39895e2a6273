//! servicetopology: traffic of a Service stays on the node or in the pool.
//!
//! Receives an EndpointSlice (discovery.k8s.io/v1) or an Endpoints (core/v1) and what is known of its Service. By the
//! Service's annotation `openyurt.io/topologyKeys` it promises to leave
//!
//! * `kubernetes.io/hostname`: the endpoints of this node;
//! * `openyurt.io/nodepool`, `kubernetes.io/zone`: the endpoints whose node is in this node's pool. In a cluster without
//!   NodePools the pool is the zone: the endpoint's own (slices name it), or that of its node, against this node's label
//!   `topology.kubernetes.io/zone`.
//!
//! Endpoints without a node are left out then. A Service that is unknown or has no annotation, or another value: nothing
//! changes. One that the hub itself cannot read is an error for each of its slices.

use super::FilterError;
use super::item::{Item, name};
use crate::kube::list::Encoding;
use crate::kube::message::{self, Edit, Field};
use crate::kube::schema::{METADATA, endpoint_slice, endpoints, meta};
use crate::state::inputs::{Facts, HOSTNAME};

/// Which endpoints stay.
enum Near<'a> {
    Node(&'a str),
    Pool { facts: &'a Facts, node_name: &'a str },
}

pub(super) fn apply(facts: &Facts, node_name: &str, slices: bool, item: &Item<'_>) -> Result<Edit, FilterError> {
    let near = match topology_keys(facts, slices, item)? {
        Some(HOSTNAME) => Near::Node(node_name),
        Some("openyurt.io/nodepool" | "kubernetes.io/zone") => Near::Pool { facts, node_name },
        _ => return Ok(Edit::Keep),
    };
    let (encoding, bytes) = (item.encoding, item.bytes);
    let edited = if slices {
        let zone = Some(endpoint_slice::ZONE);
        near.only(encoding, bytes, endpoint_slice::ENDPOINTS, endpoint_slice::NODE_NAME, zone)?
    } else {
        message::edit(encoding, bytes, endpoints::SUBSETS, |subset| {
            let ready = near.only(encoding, subset, endpoints::ADDRESSES, endpoints::NODE_NAME, None)?;
            let now = ready.as_deref().unwrap_or(subset);
            let not_ready = near.only(encoding, now, endpoints::NOT_READY_ADDRESSES, endpoints::NODE_NAME, None)?;
            Ok::<_, FilterError>(not_ready.or(ready).map_or(Edit::Keep, Edit::Replace))
        })?
    };
    Ok(edited.map_or(Edit::Keep, Edit::Replace))
}

/// The annotation of the Service whose endpoints these are; an Endpoints has its name, a slice names it in a label.
fn topology_keys<'a>(facts: &'a Facts, slices: bool, item: &Item<'_>) -> Result<Option<&'a str>, FilterError> {
    let (namespace, mut service) = name(item)?;
    if slices {
        match message::inner_entry(item.encoding, item.bytes, METADATA, meta::LABELS, endpoint_slice::SERVICE_NAME)? {
            Some(label) => service = label.into_owned(),
            None => return Ok(None),
        }
    }
    let service = (namespace, service);
    if facts.unreadable.contains(&service) {
        return Err(FilterError::Service);
    }
    Ok(facts.topology.as_ref().and_then(|topology| topology.get(&service)).map(String::as_str))
}

impl Near<'_> {
    /// `message` with only the near ones of its endpoints; `None`: all are.
    fn only(
        &self,
        encoding: Encoding,
        message: &[u8],
        list: Field,
        node: Field,
        zone: Option<Field>,
    ) -> Result<Option<Vec<u8>>, FilterError> {
        message::edit(encoding, message, list, |endpoint| {
            let node = message::text(encoding, endpoint, node)?;
            let zone = zone.map(|zone| message::text(encoding, endpoint, zone)).transpose()?;
            Ok(if self.has(&node, zone.as_deref()) { Edit::Keep } else { Edit::Remove })
        })
    }

    fn has(&self, node: &str, zone: Option<&str>) -> bool {
        if node.is_empty() {
            return false;
        }
        match self {
            Self::Node(name) => node == *name,
            Self::Pool { node_name, .. } if node == *node_name => true,
            Self::Pool { facts, .. } => {
                let members = facts.pool.as_deref().filter(|members| !members.is_empty());
                match (members, zone) {
                    (Some(members), _) => members.contains(node),
                    (None, Some(zone)) => {
                        let own = facts.node.as_ref().and_then(|node| node.zone.as_deref());
                        own.is_some_and(|own| !own.is_empty() && own == zone)
                    }
                    (None, None) => facts.zone.as_ref().is_some_and(|members| members.contains(node)),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
