//! Selectors: which objects a list or a watch is about.
//!
//! Receives the text of a `labelSelector` or `fieldSelector`; promises to understand it as the kube-apiserver does and
//! to be printed in one way only, whatever way it was written. A selector is a set of terms that all must hold, so that
//! whatever holds the objects of some of its terms has all of its own.
//!
//! Source: `labels/selector.go` and `fields/selector.go` of k8s.io/apimachinery.

mod field;
mod label;

pub use field::{FieldSelector, Fields};
pub use label::LabelSelector;

use super::list::Encoding;
use super::message::MessageError;

/// Why a text is no selector; in the kube-apiserver's words as far as a client could act on them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadSelector(pub String);

/// Both selectors of a request, or of what is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    pub labels: LabelSelector,
    pub fields: FieldSelector,
}

impl Selection {
    /// Reads both.
    pub fn parse(labels: &str, fields: &str) -> Result<Self, BadSelector> {
        Ok(Self { labels: LabelSelector::parse(labels)?, fields: FieldSelector::parse(fields)? })
    }

    /// What has this value in this field.
    pub fn of_field(field: &str, value: &str) -> Self {
        Self { fields: FieldSelector::one(field, value), ..Self::default() }
    }

    pub fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// What is left to be asked of objects that `wider` has selected already; `None`: it may lack some of this one's.
    pub fn beyond(&self, wider: &Self) -> Option<Self> {
        Some(Self { labels: self.labels.beyond(&wider.labels)?, fields: self.fields.beyond(&wider.fields)? })
    }

    /// Whether an object in item form is selected.
    pub fn matches(&self, kind: &Fields, encoding: Encoding, item: &[u8]) -> Result<bool, MessageError> {
        Ok(self.labels.matches(encoding, item)? && self.fields.matches(kind, encoding, item)?)
    }
}

/// Those of `own` that are not among `wider`; `None` if `wider` has others.
fn beyond<T: PartialEq + Clone>(own: &[T], wider: &[T]) -> Option<Vec<T>> {
    let all = wider.iter().all(|term| own.contains(term));
    all.then(|| own.iter().filter(|term| !wider.contains(term)).cloned().collect())
}

#[cfg(test)]
mod tests;
