//! One object, and several representations in which the node may know it.
//!
//! Receives those that a client takes. Promises what was said last of the object: of two states with a version the later
//! one, else what the cloud said later. What the client does not take says only that there is no 404: the node knows the
//! object, and from later.

use super::presented::Form;
use crate::kube::list::Encoding;
use crate::kube::media::{self, Media};
use crate::kube::request::RequestInfo;
use crate::request::names;
use crate::store::{Found, Knowledge, ObjectKey, StoreError, Written};

/// A representation that the client takes, and of what is made of the object for it.
pub(super) type Shown = (Media, Form);

/// As of when something is known.
struct AsOf {
    /// `None`: the cloud has not said it, as with its own 404.
    version: Option<u64>,
    /// Unix milliseconds.
    at: u64,
}

impl AsOf {
    /// `None`: nothing is known.
    fn of(found: &Found) -> Option<Self> {
        let number = |version: &str| version.parse().ok();
        match found {
            Found::Object { record, .. } => Some(Self { version: number(&record.resource_version), at: record.at }),
            Found::Lacking(view) => Some(Self { version: number(&view.header.resource_version), at: view.header.updated }),
            Found::Absent { at } => Some(Self { version: None, at: *at }),
            Found::Unknown => None,
        }
    }

    fn is_after(&self, other: &Self) -> bool {
        match (self.version, other.version) {
            (Some(own), Some(other)) => own > other,
            _ => self.at > other.at,
        }
    }
}

/// As of which version it is known, if anything is and the cloud has said it.
pub(super) fn version(found: &Found) -> Option<u64> {
    AsOf::of(found)?.version
}

/// Unix milliseconds at which it was said; 0: nothing was.
pub(super) fn at(found: &Found) -> u64 {
    AsOf::of(found).map_or(0, |as_of| as_of.at)
}

fn is_newer(found: &Found, than: &Found) -> bool {
    AsOf::of(found).is_some_and(|own| AsOf::of(than).is_none_or(|other| own.is_after(&other)))
}

/// What was said last of the object in the representations that the client takes, if they are equal in the first of them;
/// or in another one, if that it is not there: then it is there in none.
pub(super) fn newest<'a>(
    knowledge: &Knowledge,
    info: &RequestInfo,
    offered: &'a [Shown],
) -> Result<(Option<&'a Shown>, Found), StoreError> {
    let mut newest = (None, Found::Unknown);
    for shown in offered {
        let found = knowledge.object_here(&names::object(info, &shown.0))?;
        if is_newer(&found, &newest.1) {
            newest = (Some(shown), found);
        }
    }
    for encoding in [Encoding::Json, Encoding::Protobuf] {
        let found = knowledge.object(&whole(info, encoding))?;
        if matches!(found, Found::Absent { .. } | Found::Lacking(_)) && is_newer(&found, &newest.1) {
            newest = (None, found);
        }
    }
    Ok(newest)
}

fn whole(info: &RequestInfo, encoding: Encoding) -> ObjectKey {
    names::object(info, &Media { encoding, form: media::Form::Full })
}

/// Whether a client of this node has written the object since that was found, so that it is not known any more.
pub(super) fn is_overtaken(knowledge: &Knowledge, info: &RequestInfo, found: &Found) -> Result<Option<Written>, StoreError> {
    knowledge.written_since(&whole(info, Encoding::Json), found)
}

/// An encoding in which the object is known, and from later than it was `absent`.
pub(super) fn elsewhere(knowledge: &Knowledge, info: &RequestInfo, absent: &Found) -> Result<Option<Encoding>, StoreError> {
    for encoding in [Encoding::Json, Encoding::Protobuf] {
        let found = knowledge.object(&whole(info, encoding))?;
        if matches!(found, Found::Object { .. }) && is_newer(&found, absent) {
            return Ok(Some(encoding));
        }
    }
    Ok(None)
}
