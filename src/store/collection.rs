//! Collections: what a list or watch of one scope would answer.

use serde::{Deserialize, Serialize};

use super::{Knowledge, Local, Readers, Snapshot, StoreError, keys};
use crate::kube::list::{Encoding, Envelope};
use crate::kube::selector::{Fields, Selection};

/// What a LIST or WATCH asks for, and in which form.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Scope {
    pub group: String,
    pub version: String,
    pub resource: String,
    /// Empty: all namespaces, or a cluster-scoped resource.
    pub namespace: String,
    pub label_selector: String,
    pub field_selector: String,
    pub protobuf: bool,
    /// `as=...` of the representation, empty for whole objects.
    pub form: String,
}

impl Scope {
    pub fn encoding(&self) -> Encoding {
        if self.protobuf { Encoding::Protobuf } else { Encoding::Json }
    }

    pub(super) fn key(&self) -> Vec<u8> {
        let encoding = if self.protobuf { "protobuf" } else { "json" };
        let parts = [
            self.group.as_str(),
            &self.version,
            &self.resource,
            &self.namespace,
            &self.label_selector,
            &self.field_selector,
            encoding,
            &self.form,
        ];
        keys::key(keys::COLLECTION, &parts)
    }
}

/// What is known of a collection beside its items.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Header {
    /// Names the items: a list that is written whole has one of its own.
    pub id: u64,
    pub scope: Scope,
    pub kind: String,
    /// The list has not said its kind itself: it was made of a watch.
    #[serde(default)]
    pub kind_is_guess: bool,
    /// The kind that an item has called itself by; empty: none has.
    #[serde(default)]
    pub item_kind: String,
    pub api_version: String,
    /// Keys of the envelope are sorted (custom resources) or in struct order.
    pub sorted_keys: bool,
    pub resource_version: String,
    /// Unix milliseconds at which the cloud last said something of it.
    pub updated: u64,
    /// Unix seconds of the last use, for the budget.
    pub used: u64,
    /// Kubelet's, or the hub's own: never given up for space.
    pub pinned: bool,
    #[serde(default)]
    pub readers: Readers,
    pub items: u64,
    pub bytes: u64,
    /// The version of something that the collection does not have; see [`Header::is_behind`].
    #[serde(default)]
    pub missed: u64,
    /// The version since which nothing of it has changed, but been confirmed; 0: that of the collection.
    #[serde(default)]
    pub changed: u64,
}

impl Header {
    /// Whether it is what there was at this version: later there has been no news but bookmarks.
    pub fn is_as_of(&self, version: u64) -> bool {
        (self.changed_at()..=self.version_number()).contains(&version)
    }

    /// The version since which it is as it is.
    pub(super) fn changed_at(&self) -> u64 {
        if self.changed == 0 { self.version_number() } else { self.changed }
    }

    pub fn envelope(&self) -> Envelope {
        Envelope {
            kind: self.kind.clone(),
            api_version: self.api_version.clone(),
            resource_version: self.resource_version.clone(),
            continue_token: None,
            remaining_item_count: None,
            sorted_keys: self.sorted_keys,
        }
    }

    /// The kind of an item: what one has said, else the list's without `List`. `None`: a definition has given the list a
    /// name of its own.
    pub fn item_kind(&self) -> Option<&str> {
        if self.item_kind.is_empty() { self.kind.strip_suffix("List") } else { Some(&self.item_kind) }
    }

    pub fn version_number(&self) -> u64 {
        version_number(&self.resource_version)
    }

    /// Whether there are as many rows as there should be. A seal guards a row, not its being there:
    /// damage in the file's own tree can hide rows without a trace.
    pub(super) fn is_whole_in(&self, snapshot: &dyn Snapshot) -> Result<bool, StoreError> {
        let mut rows = 0;
        snapshot.scan(&keys::items(self.id), &mut |_, _| {
            rows += 1;
            true
        })?;
        Ok(rows == self.items)
    }
}

/// A resourceVersion as a number to compare; what is none counts as 0.
pub fn version_number(version: &str) -> u64 {
    version.parse().unwrap_or(0)
}

/// One consistent state of a collection, or of the part of it that is wanted.
pub struct ListView {
    pub header: Header,
    pub(super) snapshot: Box<dyn Snapshot>,
    /// Keys of wanted items begin with it.
    pub(super) prefix: Vec<u8>,
    /// What a wanted item has to be beside.
    selection: Selection,
    fields: Fields,
    /// What was written on this node, by its key; each in the place of what the cloud has said.
    pub(super) local: Vec<(Vec<u8>, Local)>,
}

/// What stands at one place.
pub(super) enum Row<'a> {
    Stored(&'a [u8]),
    Local(&'a Local),
}

impl ListView {
    pub(super) fn of(header: Header, snapshot: Box<dyn Snapshot>) -> Self {
        let Scope { group, version, resource, .. } = &header.scope;
        let fields = Fields::of(group, version, resource);
        Self { prefix: keys::items(header.id), header, snapshot, selection: Selection::default(), fields, local: Vec::new() }
    }

    /// It is kept for what may come ([`Snapshot::is_kept`]).
    pub fn is_kept(&self) {
        self.snapshot.is_kept();
    }

    /// The items of one namespace, or of all if it is empty, that are selected, by these fields among others.
    pub(super) fn narrowed(self, namespace: &str, selection: Selection, fields: Fields) -> Self {
        let prefix = if namespace.is_empty() { self.prefix } else { keys::item(self.header.id, namespace, "") };
        Self { prefix, selection, fields, ..self }
    }

    /// Where an item stands in the order of all, as the kube-apiserver writes it in a continue token: relative to the
    /// namespace that was asked for.
    pub fn place<'a>(&self, key: &'a [u8]) -> &'a [u8] {
        key.strip_prefix(&*self.prefix).unwrap_or_default()
    }

    /// Namespace and name of the item with this key.
    pub fn name(&self, key: &[u8]) -> (String, String) {
        let place = String::from_utf8_lossy(key.strip_prefix(&*keys::items(self.header.id)).unwrap_or_default());
        let (namespace, name) = place.split_once('/').unwrap_or(("", &place));
        (namespace.to_owned(), name.to_owned())
    }

    /// The key of such a place.
    pub fn key(&self, place: &[u8]) -> Vec<u8> {
        [&*self.prefix, place].concat()
    }

    /// How many items there are behind a key, of those that are `among`, wanted or not.
    pub fn count_after(&self, knowledge: &Knowledge, key: &[u8], among: &Selection) -> Result<u64, StoreError> {
        let (mut count, mut failed) = (0, None);
        self.merged(Some(key), &mut |key, row| {
            match row {
                Row::Stored(_) if among.is_empty() => count += 1,
                row => match self.selected(among, knowledge, key, &row) {
                    Ok(item) => count += u64::from(item.is_some()),
                    Err(error) => failed = Some(error),
                },
            }
            failed.is_none()
        })?;
        failed.map_or(Ok(count), Err)
    }

    /// Whether it is all there is in its namespace, or in all.
    pub fn is_unselected(&self) -> bool {
        self.selection.is_empty() && self.header.scope.label_selector.is_empty() && self.header.scope.field_selector.is_empty()
    }

    /// Fails if rows are missing or too many.
    pub fn whole(&self) -> Result<(), StoreError> {
        if self.header.is_whole_in(&*self.snapshot)? {
            return Ok(());
        }
        Err(StoreError::Damaged { key: keys::printable(&self.header.scope.key()) })
    }

    /// Visits items in the cloud's order, behind the key `after` if given, until
    /// `visit` says false. A damaged item ends the visit with an error.
    pub fn visit(
        &self,
        knowledge: &Knowledge,
        after: Option<&[u8]>,
        visit: &mut dyn FnMut(&[u8], Vec<u8>) -> bool,
    ) -> Result<(), StoreError> {
        let mut result = Ok(());
        self.merged(after, &mut |key, row| match self.wanted(knowledge, key, &row) {
            Ok(None) => true,
            Ok(Some(item)) => visit(key, item),
            Err(error) => {
                result = Err(error);
                false
            }
        })?;
        result
    }

    /// What the cloud has at a place, `namespace/name`, if it is wanted.
    pub fn at(&self, knowledge: &Knowledge, place: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let key = [&*keys::items(self.header.id), place.as_bytes()].concat();
        let Some(row) = self.snapshot.read(&key)? else { return Ok(None) };
        self.wanted(knowledge, &key, &Row::Stored(&row))
    }

    /// One of those that were written on this node, if it is wanted.
    pub fn written(&self, knowledge: &Knowledge, local: &Local) -> Result<Option<Vec<u8>>, StoreError> {
        self.wanted(knowledge, &[], &Row::Local(local))
    }

    /// What the cloud has said and what was written here, in one order.
    fn merged(&self, after: Option<&[u8]>, each: &mut dyn FnMut(&[u8], Row<'_>) -> bool) -> Result<(), StoreError> {
        let behind = after.map_or(0, |after| self.local.partition_point(|(key, _)| key.as_slice() <= after));
        let mut local = self.local[behind..].iter().peekable();
        let mut goes_on = true;
        let mut stored = |key: &[u8], value: &[u8]| {
            while let Some((place, written)) = local.next_if(|(place, _)| place.as_slice() <= key) {
                goes_on = each(place, Row::Local(written));
                if !goes_on || place == key {
                    return goes_on;
                }
            }
            goes_on = each(key, Row::Stored(value));
            goes_on
        };
        match after {
            None => self.snapshot.scan(&self.prefix, &mut stored)?,
            Some(after) => self.snapshot.scan_after(&self.prefix, after, &mut stored)?,
        }
        while goes_on && let Some((place, written)) = local.next() {
            goes_on = each(place, Row::Local(written));
        }
        Ok(())
    }

    /// What stands there, if it is wanted.
    pub(super) fn wanted(&self, knowledge: &Knowledge, key: &[u8], row: &Row<'_>) -> Result<Option<Vec<u8>>, StoreError> {
        self.selected(&self.selection, knowledge, key, row)
    }

    /// The same, if it is selected.
    fn selected(
        &self,
        selection: &Selection,
        knowledge: &Knowledge,
        key: &[u8],
        row: &Row<'_>,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let item = match row {
            Row::Stored(value) => Some(knowledge.sealer().open_row(key, value.to_vec())?),
            Row::Local(local) => match self.local_item(knowledge, local)? {
                Some(item) => self.is_of_collection(&item)?.then_some(item),
                None => None,
            },
        };
        let Some(item) = item else { return Ok(None) };
        Ok(self.matches(selection, key, &item)?.then_some(item))
    }

    fn local_item(&self, knowledge: &Knowledge, local: &Local) -> Result<Option<Vec<u8>>, StoreError> {
        let Header { scope, resource_version, .. } = &self.header;
        if let Local::Event(event) = local
            && event.is_clouds()
        {
            let key = [&*keys::items(self.header.id), event.place().as_bytes()].concat();
            let Some(row) = self.snapshot.read(&key)? else { return Ok(None) };
            return Ok(Some(event.changed_item(scope, knowledge.sealer().open_row(&key, row)?)));
        }
        knowledge.local_item(&*self.snapshot, scope, resource_version, local)
    }

    /// What is in a collection has been selected by its own selectors, and so has to be what was written here.
    fn is_of_collection(&self, item: &[u8]) -> Result<bool, StoreError> {
        self.matches(&self.header.scope.selection().unwrap_or_default(), &[], item)
    }

    fn matches(&self, selection: &Selection, key: &[u8], item: &[u8]) -> Result<bool, StoreError> {
        let matches = selection.matches(&self.fields, self.header.scope.encoding(), item);
        matches.map_err(|error| StoreError::Backend(format!("{}: {error}", keys::printable(key))))
    }
}
