//! What clients of this node have written in the cloud: what was known of these objects is overtaken.
//!
//! Receives writes that the cloud has taken. Promises that an absence which is older than such a write proves nothing any
//! more, nor the presence of an object that was deleted since; what is known from later counts as ever. Lists are of one
//! state, and stay what they are: they say how old they are.
//!
//! A mark is one small row, and is written only where something that is known could say otherwise. It goes when nothing
//! does any more. That an object was deleted is no proof that it is gone: finalizers may hold it, and options in the
//! request's body that cannot be read here (`remote/deletion.rs`) may have asked for a trial.

use serde::{Deserialize, Serialize};

use super::collection::version_number;
use super::knowledge::now_ms;
use super::object::Found;
use super::{Knowledge, ObjectKey, Op, Scope, StoreError, keys};

/// The last write of one object that has passed, or of many that were deleted at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// Of its group: what it was written in.
    pub version: String,
    /// Whether the object is there since; else it was deleted.
    pub there: bool,
    /// Of the object since; empty: not known.
    pub resource_version: String,
    /// Unix milliseconds.
    pub at: u64,
}

impl Written {
    pub fn now(version: &str, there: bool, resource_version: &str) -> Self {
        Self { version: version.to_owned(), there, resource_version: resource_version.to_owned(), at: now_ms() }
    }

    /// Whether what was found is not so any more, or may not be.
    pub fn overtakes(&self, found: &Found) -> bool {
        match found {
            Found::Object { record, .. } => !self.there && self.is_later(&record.resource_version, record.at),
            Found::Lacking(view) => self.there && self.is_later(&view.header.resource_version, view.header.updated),
            Found::Absent { at } => self.there && self.at >= *at,
            Found::Unknown => false,
        }
    }

    /// By version, if both have one.
    fn is_later(&self, version: &str, at: u64) -> bool {
        match (version_number(&self.resource_version), version_number(version)) {
            (0, _) | (_, 0) => self.at >= at,
            (own, other) => own > other,
        }
    }
}

impl Scope {
    fn written_key(&self, name: &str) -> Vec<u8> {
        keys::key(keys::WRITTEN, &[&self.group, &self.resource, &self.namespace, name])
    }

    pub(super) fn in_version(&self, version: &str) -> Self {
        Self { version: version.to_owned(), ..self.clone() }
    }

    /// Of whole objects, in this encoding.
    fn whole(&self, protobuf: bool) -> Self {
        Self { protobuf, form: String::new(), label_selector: String::new(), field_selector: String::new(), ..self.clone() }
    }
}

impl ObjectKey {
    /// The object in both encodings.
    pub(super) fn in_both(&self) -> [Self; 2] {
        [false, true].map(|protobuf| Self { scope: self.scope.whole(protobuf), name: self.name.clone() })
    }
}

impl Knowledge {
    /// The cloud has taken a write of this object, or with an empty name of all that there are. Never waits.
    pub fn note_written(&self, key: &ObjectKey, written: &Written) {
        let is_news = if written.there { self.may_say_absent(key, written) } else { self.may_say_there(key) };
        if !is_news {
            return;
        }
        for row in key.in_both().map(|key| key.key()) {
            // What the cloud says next is news, whatever it said before.
            self.recent.forget(&row);
            self.repeats.forget(&row);
        }
        let row = serde_json::to_vec(written).expect("a plain struct");
        let key = key.scope.written_key(&key.name);
        if !self.put(key.clone(), &row) {
            self.send_later(vec![Op::Put(key.clone(), self.sealer().seal(&key, &row))]);
        }
    }

    /// Whether something is known, or about to be, by which the object would not be there.
    pub fn may_say_absent(&self, key: &ObjectKey, written: &Written) -> bool {
        let was_before = |version: &str| written.is_later(version, 0);
        let lacks = |header: &super::Header| header.scope.proves_absence_of(key) && was_before(&header.resource_version);
        let is_noted =
            |row: &[u8]| self.recent.last(row).is_some() || self.object_record(row).is_some_and(|record| record.absent);
        !self.lists.is_at_rest()
            || self.catalogue().headers.values().any(lacks)
            || key.in_both().iter().any(|key| is_noted(&key.key()))
    }

    /// Whether something is known, or about to be, by which the object would be there.
    fn may_say_there(&self, key: &ObjectKey) -> bool {
        let may_hold = |header: &super::Header| {
            let may_hold = |key: &ObjectKey| header.scope.in_version(&key.scope.version).may_hold_object(key);
            key.in_both().iter().any(may_hold)
        };
        key.name.is_empty()
            || !self.lists.is_at_rest()
            || self.catalogue().headers.values().any(may_hold)
            || key.in_both().iter().any(|key| self.is_known_alone(key))
    }

    /// Whether the object is known by itself.
    pub fn is_known_alone(&self, key: &ObjectKey) -> bool {
        let row = key.key();
        self.repeats.has(&row) || self.object_record(&row).is_some()
    }

    /// The last write that what was found of an object does not know of.
    pub fn written_since(&self, key: &ObjectKey, found: &Found) -> Result<Option<Written>, StoreError> {
        let snapshot = self.snapshot()?;
        for name in [key.name.as_str(), ""] {
            let row = key.scope.written_key(name);
            // One that cannot be read says nothing; what else is known of the object does.
            let Some(Ok(row_read)) = snapshot.read(&row)?.map(|sealed| self.sealer().open_row(&row, sealed)) else { continue };
            let written = serde_json::from_slice::<Written>(&row_read).ok();
            if let Some(written) = written.filter(|written| written.overtakes(found)) {
                return Ok(Some(written));
            }
        }
        Ok(None)
    }

    /// Something was created that complete collections of its kind do not have yet: as long as they do not come further
    /// they prove no absence. For what is created often and hardly ever asked for by its name.
    pub fn note_created(&self, key: &ObjectKey) {
        let lacks = |header: &super::Header| header.scope.proves_absence_of(key) && !header.is_behind();
        for header in self.headers(lacks) {
            self.note_missed(&header.scope, header.version_number() + 1);
        }
    }

    /// Marks that nothing contradicts any more.
    pub(super) fn idle_marks(&self) -> Result<Vec<Op>, StoreError> {
        let mut marks = Vec::new();
        self.snapshot()?.scan(&[keys::WRITTEN], &mut |key, row| {
            let row = self.sealer().open_row(key, row.to_vec());
            marks.push((key.to_vec(), row.ok().and_then(|row| serde_json::from_slice::<Written>(&row).ok())));
            true
        })?;
        let mut ops = Vec::new();
        for (key, written) in marks {
            let wanted = written.as_ref().and_then(|written| Some((written, object_of(&key, &written.version)?)));
            let counts = match wanted {
                // There is one of each kind at most.
                Some((_, object)) if object.name.is_empty() => true,
                Some((written, object)) => self.any_is_overtaken(&object, written)?,
                None => false,
            };
            if !counts {
                ops.push(Op::Delete(key));
            }
        }
        Ok(ops)
    }

    fn any_is_overtaken(&self, object: &ObjectKey, written: &Written) -> Result<bool, StoreError> {
        for key in object.in_both() {
            if written.overtakes(&self.object(&key)?) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Which object the mark of this key is about.
fn object_of(key: &[u8], version: &str) -> Option<ObjectKey> {
    let key = std::str::from_utf8(key.get(2..)?).ok()?;
    let [group, resource, namespace, name] = key.split('\0').collect::<Vec<_>>().try_into().ok()?;
    let scope = Scope {
        group: group.to_owned(),
        version: version.to_owned(),
        resource: resource.to_owned(),
        namespace: namespace.to_owned(),
        ..Scope::default()
    };
    Some(ObjectKey { scope, name: name.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::ObjectRecord;

    fn object(version: &str, at: u64) -> Found {
        let record = ObjectRecord { resource_version: version.to_owned(), at, ..ObjectRecord::default() };
        Found::Object { record, item: Vec::new() }
    }

    #[test]
    fn a_write_overtakes_what_says_otherwise_and_is_older() {
        let written = |there, version: &str| Written { version: "v1".into(), there, resource_version: version.into(), at: 100 };
        for (written, found, overtaken) in [
            (written(true, "7"), Found::Absent { at: 100 }, true),
            (written(true, "7"), Found::Absent { at: 101 }, false),
            (written(true, "7"), object("6", 1), false),
            (written(false, ""), Found::Absent { at: 1 }, false),
            (written(false, ""), object("6", 100), true),
            (written(false, ""), object("6", 101), false),
            (written(false, "7"), object("6", 101), true),
            (written(false, "7"), object("7", 1), false),
            (written(false, "7"), Found::Unknown, false),
        ] {
            assert_eq!(written.overtakes(&found), overtaken, "{written:?}");
        }
    }

    #[test]
    fn a_marks_key_says_which_object_it_is_about() {
        let scope = Scope { group: "apps".into(), version: "v1".into(), resource: "deployments".into(), ..Scope::default() };
        let key = ObjectKey { scope: Scope { namespace: "a".into(), ..scope }, name: "web".into() };
        assert_eq!(object_of(&key.scope.written_key(&key.name), "v1"), Some(key));
    }
}
