//! serviceenvupdater: a Pod whose own manifest names the API server's address gets the hub's.
//!
//! Receives a Pod. Promises to give the variables KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT, where a
//! container, init container or ephemeral container has them in its `env`, the hub's values, whatever they were made
//! from, and to change nothing else. Variables that are not there are not added: kubelet makes them, from what filter
//! masterservice shows it.

use super::item::Item;
use super::{FilterError, Hub};
use crate::kube::list::{Encoding, Reserve};
use crate::kube::message::{self, Edit, Field, Set};
use crate::kube::schema::pod;

/// By how much a protobuf list of Pods may grow, whatever is in it.
///
/// A variable that changes has at least 27 bytes: its name of 23, with the name's tag and length, and its own. It comes to
/// have a value of v bytes, the value's tag and length, and with them one more byte of its own length. So may each of the
/// four messages around it (container, ephemeral container, spec, Pod): none becomes more than three times as long, and
/// for two bytes more of length it would have to become 128 times as long. Together v + 7 bytes for every 27, where v is
/// at most 15 in IPv4 and 39 in IPv6: less than once and less than twice the list.
pub(super) fn reserve(hub: &Hub) -> Reserve {
    if hub.address.is_ipv4() { |length| length } else { |length| length.saturating_mul(2) }
}

pub(super) fn apply(hub: &Hub, item: &Item<'_>) -> Result<Edit, FilterError> {
    let encoding = item.encoding;
    let edited = message::edit(encoding, item.bytes, pod::SPEC, |spec| {
        let mut now: Option<Vec<u8>> = None;
        for containers in [pod::CONTAINERS, pod::INIT_CONTAINERS, pod::EPHEMERAL_CONTAINERS] {
            let edited = message::edit(encoding, now.as_deref().unwrap_or(spec), containers, |container| {
                // Protobuf keeps what an ephemeral container has in common with others in a message of its own.
                if containers == pod::EPHEMERAL_CONTAINERS && encoding == Encoding::Protobuf {
                    let common =
                        message::edit(encoding, container, pod::EPHEMERAL_COMMON, |common| container_env(hub, encoding, common))?;
                    return Ok::<_, FilterError>(common.map_or(Edit::Keep, Edit::Replace));
                }
                container_env(hub, encoding, container)
            })?;
            now = edited.or(now);
        }
        Ok::<_, FilterError>(now.map_or(Edit::Keep, Edit::Replace))
    })?;
    Ok(edited.map_or(Edit::Keep, Edit::Replace))
}

fn container_env(hub: &Hub, encoding: Encoding, container: &[u8]) -> Result<Edit, FilterError> {
    let edited = message::edit(encoding, container, pod::ENV, |variable| {
        let value = match &*message::text(encoding, variable, pod::ENV_NAME)? {
            "KUBERNETES_SERVICE_HOST" => hub.address.to_string(),
            "KUBERNETES_SERVICE_PORT" => hub.port.to_string(),
            _ => return Ok(Edit::Keep),
        };
        let made = |field: Field| message::parts(encoding, variable, field).map(|parts| !parts.is_empty());
        if !made(pod::ENV_VALUE_FROM)? && message::text(encoding, variable, pod::ENV_VALUE)? == value {
            return Ok(Edit::Keep);
        }
        let variable = message::remove(encoding, variable, pod::ENV_VALUE_FROM)?;
        Ok::<_, FilterError>(Edit::Replace(message::set(encoding, &variable, pod::ENV_VALUE, Set::Text(&value))?))
    })?;
    Ok(edited.map_or(Edit::Keep, Edit::Replace))
}

#[cfg(test)]
mod tests;
