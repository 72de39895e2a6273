//! masterservice: Pods on this node reach the API server through the hub.
//!
//! Receives a Service. Promises to leave every one but default/kubernetes alone, and to change in that one nothing but
//! `spec.clusterIP` and `spec.clusterIPs` (the hub's address) and the port of the port named `https` (the hub's secure
//! port); fields this code does not know stay, in their order. One that cannot be read is a [`FilterError`].

use super::item::{Item, name};
use super::{FilterError, Hub};
use crate::kube::list::Reserve;
use crate::kube::message::{self, Edit, Set};
use crate::kube::schema::service;

/// By how much a protobuf list of Services may grow: the one that changes comes to have an address of at most 39 bytes
/// twice and one port of at most 3, with their tags and lengths, and the messages around them a byte more of length
/// each. That is less than 100.
pub(super) const RESERVE: Reserve = |_| 512;

pub(super) fn apply(hub: &Hub, item: &Item<'_>) -> Result<Edit, FilterError> {
    let (namespace, name) = name(item)?;
    if (namespace.as_str(), name.as_str()) != ("default", "kubernetes") {
        return Ok(Edit::Keep);
    }
    let encoding = item.encoding;
    let address = hub.address.to_string();
    let mut specs = 0;
    let edited = message::edit(encoding, item.bytes, service::SPEC, |spec| {
        specs += 1;
        let mut found = false;
        let ports = message::edit(encoding, spec, service::PORTS, |port| {
            // No two ports of a Service have one name.
            if found || message::text(encoding, port, service::PORT_NAME)? != "https" {
                return Ok(Edit::Keep);
            }
            found = true;
            Ok::<_, FilterError>(Edit::Replace(message::set(encoding, port, service::PORT_NUMBER, Set::Number(hub.port.into()))?))
        })?;
        let spec = ports.unwrap_or_else(|| spec.to_vec());
        let spec = message::set(encoding, &spec, service::CLUSTER_IP, Set::Text(&address))?;
        let spec = message::set(encoding, &spec, service::CLUSTER_IPS, Set::Texts(&[&address]))?;
        Ok::<_, FilterError>(Edit::Replace(spec))
    })?;
    match edited {
        Some(service) if specs == 1 => Ok(Edit::Replace(service)),
        _ => Err(FilterError::Missing("spec")),
    }
}

#[cfg(test)]
mod tests;
