//! forwardkubesvctraffic: what goes to the Service kubernetes by its cluster IP reaches the hub.
//!
//! Receives an EndpointSlice. Promises to leave every one but those of default/kubernetes in the hub's own family of
//! addresses alone, and to change in these nothing but the port named `https` (the hub's secure port) and the endpoints
//! (the hub's address alone, ready).

use super::item::{Item, name};
use super::{FilterError, Hub};
use crate::kube::list::{Encoding, Reserve};
use crate::kube::message::{self, Edit, Set};
use crate::kube::schema::{METADATA, endpoint_slice as slice, meta};

/// By how much a protobuf list of slices may grow, of which anybody may have written any number.
///
/// One that changes comes to have an endpoint of at most 47 bytes (an address of 39 in IPv6, and eight of tags, lengths
/// and readiness), and one more of its own length. As the kube-apiserver writes it, it has at least 100 with its label,
/// namespace, uid and time of creation, and only one can be called kubernetes and have no label. A port that changes has
/// at least 9 and grows by 4, or has more than 120 and grows by 5. All in all less than half the list, and once 512.
pub(super) const RESERVE: Reserve = |length| 512 + length / 2;

pub(super) fn apply(hub: &Hub, item: &Item<'_>) -> Result<Edit, FilterError> {
    if !is_masters(item)? {
        return Ok(Edit::Keep);
    }
    message::change_behind_metadata(item.encoding, item.bytes, |slice| pointed_at(hub, item.encoding, slice))
}

/// A slice, without its metadata or with it.
fn pointed_at(hub: &Hub, encoding: Encoding, slice: &[u8]) -> Result<Edit, FilterError> {
    if message::text(encoding, slice, slice::ADDRESS_TYPE)? != family(hub) {
        return Ok(Edit::Keep);
    }
    // The endpoints first: behind them the ports are found without another walk over all that there were.
    let slice = message::set(encoding, slice, slice::ENDPOINTS, Set::Messages(&[endpoint(hub, encoding)?]))?;
    let ports = message::edit(encoding, &slice, slice::PORTS, |port| {
        if message::text(encoding, port, slice::PORT_NAME)? != "https" {
            return Ok(Edit::Keep);
        }
        Ok::<_, FilterError>(Edit::Replace(message::set(encoding, port, slice::PORT_NUMBER, Set::Number(hub.port.into()))?))
    })?;
    Ok(Edit::Replace(ports.unwrap_or(slice)))
}

/// The kube-apiserver's own slices are called like the Service and carry its label.
fn is_masters(item: &Item<'_>) -> Result<bool, FilterError> {
    let (namespace, name) = name(item)?;
    if namespace != "default" {
        return Ok(false);
    }
    let label = message::inner_entry(item.encoding, item.bytes, METADATA, meta::LABELS, slice::SERVICE_NAME)?;
    Ok(label.map_or(name == "kubernetes", |label| label == "kubernetes"))
}

fn family(hub: &Hub) -> &'static str {
    if hub.address.is_ipv4() { "IPv4" } else { "IPv6" }
}

/// The hub as an endpoint that is ready.
fn endpoint(hub: &Hub, encoding: Encoding) -> Result<Vec<u8>, FilterError> {
    let empty: &[u8] = if encoding == Encoding::Json { b"{}" } else { b"" };
    let ready = message::set(encoding, empty, slice::READY, Set::True)?;
    let address = hub.address.to_string();
    let endpoint = message::set(encoding, empty, slice::ADDRESSES, Set::Texts(&[&address]))?;
    Ok(message::set(encoding, &endpoint, slice::CONDITIONS, Set::Message(&ready))?)
}

#[cfg(test)]
mod tests;
