//! A GET becomes an object; discovery and tables become documents.

use super::{OLDER, ObjectAsk, Parts, Reason};
use crate::kube::object;
use crate::store::document::{Document, unpack};
use crate::store::knowledge::now_ms;
use crate::store::object::{ObjectRecord, join};
use crate::store::{Knowledge, ObjectKey, Readers, keys};

/// Milliseconds.
const ABSENT_AGAIN: u64 = 60_000;

pub(super) async fn object(knowledge: &Knowledge, ask: ObjectAsk, mut parts: Parts) -> Result<(), Reason> {
    let full = parts.whole(knowledge.limits.max_item).await?;
    keep_object(knowledge, ask, &full, parts.at)
}

/// Remembers an object as the cloud has said it, at `at`.
pub(super) fn keep_object(knowledge: &Knowledge, ask: ObjectAsk, full: &[u8], at: u64) -> Result<(), Reason> {
    let ObjectAsk { key, reader } = ask;
    let encoding = key.scope.encoding();
    let (types, item) = object::into_item(encoding, full).map_err(|_| "unreadable item")?;
    let meta = object::meta(encoding, &item).map_err(|_| "unreadable item")?;
    if meta.name != key.name {
        return Err("another object than asked for");
    }
    let mut record = ObjectRecord {
        kind: types.kind,
        api_version: types.api_version,
        resource_version: meta.resource_version,
        at,
        absent: false,
        pinned: reader.node,
        readers: Readers::of(&reader),
    };
    let row = key.key();
    // Whose it was it stays.
    if let Some(old) = knowledge.object_record(&row) {
        let version = |record: &ObjectRecord| record.resource_version.parse::<u64>().ok();
        // A kube-apiserver that lags behind may say what another one has overtaken.
        if version(&record).zip(version(&old)).is_some_and(|(new, old)| new < old) {
            return Err(OLDER);
        }
        record.pinned |= old.pinned;
        record.readers.note_all(&old.readers);
    }
    knowledge.forget_absence(&key);
    knowledge.put(row, &join(&record, &item)).then_some(()).ok_or("store behind")
}

pub(super) async fn document(knowledge: &Knowledge, name: &str, mut head: Document, mut parts: Parts) -> Result<(), Reason> {
    head.gzip = parts.keep_packed();
    let limit = knowledge.limits.max_document;
    let body = parts.whole(limit).await?;
    if head.gzip {
        unpack(&body, limit, |_| {}).map_err(|_| "bad gzip")?;
    }
    head.at = parts.at;
    let (row, epoch) = (keys::key(keys::DOCUMENT, &[name]), knowledge.writer().epoch());
    if !knowledge.put(row.clone(), &join(&head, &body)) {
        return Err("store behind");
    }
    knowledge.note_etag(row, epoch, &head.etag);
    Ok(())
}

impl Knowledge {
    /// The cloud said 404 for this object.
    pub fn note_absent(&self, key: &ObjectKey) {
        let record = ObjectRecord {
            kind: String::new(),
            api_version: String::new(),
            resource_version: String::new(),
            at: now_ms(),
            absent: true,
            pinned: false,
            readers: Readers::default(),
        };
        // The same absence again within a minute is not written again, unless the object may have been there meanwhile.
        let row = key.key();
        self.repeats.forget(&row);
        if self.recent.last(&row).is_some_and(|last| self.has_heard_since(key, last)) {
            self.recent.forget(&row);
        }
        if self.first_in(&row, ABSENT_AGAIN, record.at) && !self.put(row.clone(), &join(&record, &[])) {
            self.recent.forget(&row);
        }
    }

    /// The object was there since: an absence that is said again is news, in whatever encoding.
    fn forget_absence(&self, key: &ObjectKey) {
        for key in key.in_both() {
            self.recent.forget(&key.key());
        }
    }

    /// Whether a collection that may have the object may have changed since then, in Unix milliseconds.
    fn has_heard_since(&self, key: &ObjectKey, at: u64) -> bool {
        self.catalogue()
            .headers
            .values()
            .any(|header| header.updated >= at && key.in_both().iter().any(|key| header.scope.may_hold_object(key)))
    }
}
