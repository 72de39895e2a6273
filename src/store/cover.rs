//! Which collection answers for a scope: its own, or one that holds more.
//!
//! A collection covers a scope if it is complete for the same namespace or for all of them, and was selected by no more
//! than some of the scope's own terms; the rest is asked of each item. Several narrower ones never pass for a whole. Of
//! metadata there are collections of its own, and those of whole objects.

use super::collection::{Header, ListView, Scope};
use super::{Knowledge, ObjectKey, StoreError};
use crate::kube::metadata;
use crate::kube::selector::{Fields, Selection};

impl Scope {
    pub(super) fn selection(&self) -> Option<Selection> {
        Selection::parse(&self.label_selector, &self.field_selector).ok()
    }

    /// Whether it is about the same kind of objects, in the same representation or whole where metadata is wanted, and in
    /// no other namespace.
    fn may_hold(&self, other: &Self) -> bool {
        (&self.group, &self.version, &self.resource) == (&other.group, &other.version, &other.resource)
            && self.protobuf == other.protobuf
            && (self.form == other.form || self.form.is_empty() && other.is_of_metadata())
            && (self.namespace.is_empty() || self.namespace == other.namespace)
    }

    pub fn is_of_metadata(&self) -> bool {
        metadata::form_of_items(&self.form).is_some()
    }

    /// What has to be asked of this collection's items for `wanted`; `None`: it does not cover it, or it cannot be told
    /// here which of them are wanted.
    fn left_for(&self, wanted: &Self, fields: &Fields) -> Option<Selection> {
        if !self.may_hold(wanted) {
            return None;
        }
        if (&self.label_selector, &self.field_selector) == (&wanted.label_selector, &wanted.field_selector) {
            return Some(Selection::default());
        }
        let left = wanted.selection()?.beyond(&self.selection()?)?;
        let has = |field: &str| !self.is_of_metadata() || field.starts_with("metadata.");
        let known = left.fields.fields().all(|field| fields.knows(field) && has(field));
        known.then_some(left)
    }

    /// Whether it would answer for `wanted`, be it in another encoding.
    pub(super) fn answers_for(&self, wanted: &Self, fields: &Fields) -> bool {
        self.left_for(&Self { protobuf: self.protobuf, ..wanted.clone() }, fields).is_some()
    }

    pub(super) fn may_hold_object(&self, key: &ObjectKey) -> bool {
        self.may_hold(&key.scope) && self.must_hold(&key.scope.namespace, &key.name).is_some()
    }

    /// Whether the object would be in this collection if it were there, in whatever version and encoding.
    pub(super) fn proves_absence_of(&self, key: &ObjectKey) -> bool {
        let same = Self { protobuf: key.scope.protobuf, ..self.in_version(&key.scope.version) };
        same.may_hold(&key.scope) && same.must_hold(&key.scope.namespace, &key.name) == Some(true)
    }

    /// Whether the collection may have this object; `true` if it must, were it there.
    fn must_hold(&self, namespace: &str, name: &str) -> Option<bool> {
        let selection = self.selection()?;
        let differs = |field, value| selection.fields.exactly(field).is_some_and(|exactly| exactly != value);
        if differs("metadata.name", name) || differs("metadata.namespace", namespace) {
            return None;
        }
        Some(Selection::of_field("metadata.name", name).beyond(&selection).is_some())
    }
}

impl Knowledge {
    /// A consistent state of the newest complete collection that has all of `wanted`, of one that is `allowed` if there is
    /// any. Of several of one version the smallest, or with `in_whole` one that has what is not wanted as
    /// well: only there it shows what lies between the wanted ones, and behind them.
    /// `fields`: by which such objects are selected.
    pub fn covering(
        &self,
        wanted: &Scope,
        fields: &Fields,
        allowed: impl Fn(&Header) -> bool,
        in_whole: bool,
    ) -> Result<Option<ListView>, StoreError> {
        let mut found = self.headers(|header| header.scope.left_for(wanted, fields).is_some());
        found.sort_by_key(|header| {
            let version = header.version_number();
            let whole = header.scope.label_selector.is_empty() && header.scope.field_selector.is_empty();
            (allowed(header), version, in_whole && whole, std::cmp::Reverse(header.items))
        });
        let snapshot = self.snapshot()?;
        // What is visible counts, not what is on its way.
        for known in found.into_iter().rev() {
            let left = known.scope.left_for(wanted, fields).unwrap_or_default();
            if let Some(mut header) = self.header_in(&*snapshot, &known.scope)? {
                self.touch(known.scope.key());
                header.missed = header.missed.max(known.missed);
                return Ok(Some(ListView::of(header, snapshot).narrowed(&wanted.namespace, left, fields.clone())));
            }
        }
        Ok(None)
    }

    /// Complete collections that may have an object, and whether each would have it if it were there.
    pub(super) fn holding(&self, wanted: &Scope, name: &str) -> Vec<(Header, bool)> {
        let must_hold = |header: &Header| header.scope.must_hold(&wanted.namespace, name);
        let found = self.headers(|header| header.scope.may_hold(wanted));
        found.into_iter().filter_map(|header| must_hold(&header).map(|must| (header, must))).collect()
    }

    pub(super) fn headers(&self, wanted: impl Fn(&Header) -> bool) -> Vec<Header> {
        self.catalogue().headers.values().filter(|header| wanted(header)).cloned().collect()
    }
}

#[cfg(test)]
mod tests;
