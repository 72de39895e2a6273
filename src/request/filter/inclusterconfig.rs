//! inclusterconfig: kube-proxy talks to the hub.
//!
//! Receives a ConfigMap. Promises to comment out the line `kubeconfig:` of key `config.conf` in kube-system/kube-proxy,
//! so that kube-proxy uses InClusterConfig and thereby the address that kubelet gave its Pod, and to change nothing
//! else.

use super::FilterError;
use super::item::{Item, name};
use crate::kube::list::Reserve;
use crate::kube::message::{self, Edit};
use crate::kube::schema::config_map;

/// By how much a protobuf list of ConfigMaps may grow: by one byte for a line of at least twelve, and four bytes of length.
pub(super) const RESERVE: Reserve = |length| 64 + length / 11;

const KEY: &str = "config.conf";

pub(super) fn apply(item: &Item<'_>) -> Result<Edit, FilterError> {
    let (namespace, name) = name(item)?;
    if (namespace.as_str(), name.as_str()) != ("kube-system", "kube-proxy") {
        return Ok(Edit::Keep);
    }
    let changed = message::change_entry(item.encoding, item.bytes, config_map::DATA, KEY, commented)?;
    Ok(changed.map_or(Edit::Keep, Edit::Replace))
}

/// The text with its `kubeconfig:` lines commented out; `None`: there are none.
fn commented(config: &str) -> Option<String> {
    let mut out = String::with_capacity(config.len() + 1);
    let mut found = false;
    for line in config.split_inclusive('\n') {
        let text = line.trim_start_matches([' ', '\t']);
        let (indent, rest) = line.split_at(line.len() - text.len());
        out.push_str(indent);
        if rest.starts_with("kubeconfig:") {
            found = true;
            out.push('#');
        }
        out.push_str(rest);
    }
    found.then_some(out)
}

#[cfg(test)]
mod tests;
