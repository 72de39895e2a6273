//! Single objects and remembered absences.

use serde::{Deserialize, Serialize};

use super::collection::{Scope, version_number};
use super::{Knowledge, ListView, Readers, StoreError, keys};

/// Which object, in which representation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectKey {
    pub scope: Scope,
    pub name: String,
}

impl ObjectKey {
    /// By itself an object is only known whole.
    pub(super) fn key(&self) -> Vec<u8> {
        let scope = &self.scope;
        let encoding = if scope.protobuf { "protobuf" } else { "json" };
        keys::key(keys::OBJECT, &[&scope.group, &scope.version, &scope.resource, &scope.namespace, &self.name, encoding, ""])
    }
}

/// A GET's answer as it was.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ObjectRecord {
    pub kind: String,
    pub api_version: String,
    pub resource_version: String,
    /// Unix milliseconds of the answer.
    pub at: u64,
    /// The cloud said 404.
    pub absent: bool,
    /// Kubelet's: never given up for space.
    #[serde(default)]
    pub pinned: bool,
    #[serde(default)]
    pub readers: Readers,
}

/// What is known of one object.
pub enum Found {
    Object {
        record: ObjectRecord,
        item: Vec<u8>,
    },
    /// The cloud said so itself.
    Absent {
        at: u64,
    },
    /// A complete collection is without it, if it is [`ListView::whole`].
    Lacking(Box<ListView>),
    Unknown,
}

/// Rows with a JSON head and raw bytes behind it.
pub(super) fn join<H: Serialize>(head: &H, body: &[u8]) -> Vec<u8> {
    let head = serde_json::to_vec(head).expect("heads are plain structs");
    let mut row = u32::try_from(head.len()).expect("heads are small").to_be_bytes().to_vec();
    row.extend_from_slice(&head);
    row.extend_from_slice(body);
    row
}

/// The head of such a row; `row` is left with the body.
pub(super) fn split<H: for<'de> Deserialize<'de>>(key: &[u8], row: &mut Vec<u8>) -> Result<H, StoreError> {
    let damaged = || StoreError::Damaged { key: keys::printable(key) };
    let length = row.first_chunk::<4>().map(|length| u32::from_be_bytes(*length) as usize).ok_or_else(damaged)?;
    let head = row.get(4..4 + length).ok_or_else(damaged)?;
    let head = serde_json::from_slice(head).map_err(|_| damaged())?;
    row.drain(..4 + length);
    Ok(head)
}

impl Knowledge {
    /// What is known of an object, from its own record and from complete collections.
    pub fn object(&self, wanted: &ObjectKey) -> Result<Found, StoreError> {
        Ok(self.find_object(wanted)?.0)
    }

    /// The same, and the row of what it is known from.
    pub(super) fn find_object(&self, wanted: &ObjectKey) -> Result<(Found, Vec<u8>), StoreError> {
        let snapshot = self.snapshot()?;
        let mut best = Found::Unknown;
        let key = wanted.key();
        let mut from = key.clone();
        if let Some(row) = snapshot.read(&key)? {
            best = self.open_object(&key, row).unwrap_or_else(|error| {
                tracing::error!(%error, "a damaged object is taken out of the store");
                self.metrics().damaged_records.inc();
                self.repeats.forget(&key);
                self.remove(key);
                Found::Unknown
            });
        }
        for (known, must_hold) in self.holding(&wanted.scope, &wanted.name) {
            let snapshot = self.snapshot()?;
            let Some(mut header) = self.header_in(&*snapshot, &known.scope)? else { continue };
            header.missed = header.missed.max(known.missed);
            let key = keys::item(header.id, &wanted.scope.namespace, &wanted.name);
            let row = snapshot.read(&key)?;
            let proves_absence = must_hold && !header.is_behind();
            if !newer(&best, &header) || (row.is_none() && !proves_absence) {
                continue;
            }
            from = known.scope.key();
            best = match row {
                None => Found::Lacking(Box::new(ListView::of(header, snapshot))),
                Some(row) => {
                    let Ok(item) = self.sealer().open_row(&key, row) else {
                        self.discard_later(&header);
                        continue;
                    };
                    let record = ObjectRecord {
                        kind: header.item_kind().unwrap_or_default().to_owned(),
                        api_version: header.api_version.clone(),
                        resource_version: header.resource_version.clone(),
                        at: header.updated,
                        absent: false,
                        pinned: header.pinned,
                        readers: header.readers,
                    };
                    Found::Object { record, item }
                }
            };
        }
        Ok((best, from))
    }

    fn open_object(&self, key: &[u8], row: Vec<u8>) -> Result<Found, StoreError> {
        let mut row = self.sealer().open_row(key, row)?;
        let record: ObjectRecord = split(key, &mut row)?;
        Ok(if record.absent { Found::Absent { at: record.at } } else { Found::Object { record, item: row } })
    }

    /// What is known of an object by itself, without the object.
    pub(super) fn object_record(&self, key: &[u8]) -> Option<ObjectRecord> {
        let row = self.snapshot().ok()?.read(key).ok()??;
        split(key, &mut self.sealer().open_row(key, row).ok()?).ok()
    }
}

/// Whether a collection knows more recent things than what was found so far.
fn newer(best: &Found, header: &super::Header) -> bool {
    match best {
        Found::Unknown => true,
        Found::Object { record, .. } => header.version_number() >= version_number(&record.resource_version),
        Found::Absent { at } => header.updated > *at,
        Found::Lacking(view) => header.version_number() > view.header.version_number(),
    }
}
