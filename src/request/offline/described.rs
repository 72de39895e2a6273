//! What the API's description says by not having it: the lists of all groups and versions are whole.

use serde::Deserialize;

use crate::kube::discovery::{Group, Groups, Versions};
use crate::request::names;
use crate::store::Knowledge;

/// Whether there is no such group or version: as of when, in unix milliseconds. `None`: there is, or nobody knows.
pub(super) fn absent(knowledge: &Knowledge, path: &str) -> Option<u64> {
    match path.trim_matches('/').split('/').collect::<Vec<_>>().as_slice() {
        ["api", version] => {
            let (at, Versions { versions }) = read(knowledge, "/api")?;
            (!versions.iter().any(|there| there == version)).then_some(at)
        }
        ["apis", group, version @ ..] if version.len() <= 1 => {
            let (at, Groups { groups }) = read(knowledge, "/apis")?;
            let has_version =
                |group: &Group| version.iter().all(|version| group.versions.iter().any(|there| there.version() == *version));
            (!groups.iter().any(|there| there.name == *group && has_version(there))).then_some(at)
        }
        _ => None,
    }
}

fn read<T: for<'de> Deserialize<'de>>(knowledge: &Knowledge, path: &str) -> Option<(u64, T)> {
    let document = knowledge.document(&names::discovery_at(path)).ok()??;
    Some((document.at, serde_json::from_slice(&document.body).ok()?))
}
