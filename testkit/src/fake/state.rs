//! The objects, and the log of changes that watches are served from.
//!
//! One version counter for everything, as with etcd. Every change takes the next version and is
//! logged with the object before it, so that any version since the last compaction can be told
//! again: by a watch going forwards, by a paged list going backwards.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use serde_json::{Map, Value};

use super::resource::Resource;
use super::stamp::{rfc3339, uid};
use super::{json, proto};

/// Events kept before the older half is compacted away.
const LOG_LIMIT: usize = 200_000;

/// One object at one version.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) value: Value,
    pub(crate) rv: u64,
    /// Its bytes in a list.
    pub(crate) item: Bytes,
    damage: Option<Damage>,
}

/// What becomes of an object's bytes, in item form and in whichever encoding.
pub type Damage = fn(&mut Vec<u8>);

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Added,
    Modified,
    Deleted,
}

/// One change. `object` of a deletion is the last state, with the deletion's version.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) rv: u64,
    pub(crate) change: Change,
    pub(crate) resource: Arc<Resource>,
    pub(crate) key: String,
    pub(crate) object: Arc<Object>,
    pub(crate) previous: Option<Arc<Object>>,
}

/// The objects of one resource, by `NAMESPACE/NAME` (`NAME` when cluster-scoped): etcd's order.
pub(crate) type Table = BTreeMap<String, Arc<Object>>;

/// Everything stored.
pub(crate) struct State {
    rv: u64,
    compacted: u64,
    tables: BTreeMap<Arc<Resource>, Table>,
    log: VecDeque<Event>,
}

/// `NAMESPACE/NAME`, or `NAME`.
pub(crate) fn key(namespace: &str, name: &str) -> String {
    if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") }
}

impl Object {
    pub(crate) fn kind(&self) -> &str {
        self.value["kind"].as_str().unwrap_or_default()
    }

    /// In protobuf, without envelope.
    pub(crate) fn proto(&self, resource: &Resource) -> Vec<u8> {
        damaged(proto::object(resource, &self.value), self.damage)
    }
}

fn damaged(mut bytes: Vec<u8>, damage: Option<Damage>) -> Vec<u8> {
    if let Some(damage) = damage {
        damage(&mut bytes);
    }
    bytes
}

impl State {
    pub(crate) fn new() -> Self {
        Self { rv: 100, compacted: 0, tables: BTreeMap::new(), log: VecDeque::new() }
    }

    /// The newest version given out.
    pub(crate) fn rv(&self) -> u64 {
        self.rv
    }

    /// Versions below this are gone.
    pub(crate) fn compacted(&self) -> u64 {
        self.compacted
    }

    /// Forgets all history.
    pub(crate) fn compact(&mut self) {
        self.log.clear();
        self.compacted = self.rv;
    }

    /// Goes back to what there was at an earlier version that is not compacted, as an etcd that is restored.
    pub(crate) fn rewind(&mut self, rv: u64) {
        while let Some(event) = self.log.pop_back_if(|event| event.rv > rv) {
            let table = self.tables.entry(event.resource).or_default();
            match event.previous {
                Some(object) => table.insert(event.key, object),
                None => table.remove(&event.key),
            };
        }
        self.rv = rv;
    }

    pub(crate) fn read(&self, resource: &Resource, namespace: &str, name: &str) -> Option<Arc<Object>> {
        self.tables.get(resource)?.get(&key(namespace, name)).cloned()
    }

    /// Resources that hold anything, or did.
    pub(crate) fn resources(&self) -> impl Iterator<Item = &Resource> {
        self.tables.keys().map(Arc::as_ref)
    }

    /// The objects whose key starts with `prefix`, in order.
    pub(crate) fn table(&self, resource: &Resource, prefix: &str) -> Table {
        let Some(table) = self.tables.get(resource) else { return Table::new() };
        table
            .range(prefix.to_owned()..)
            .take_while(|(key, _)| key.starts_with(prefix))
            .map(|(key, object)| (key.clone(), Arc::clone(object)))
            .collect()
    }

    /// [`State::table`] as it was at version `rv`; `None` when that was compacted.
    pub(crate) fn table_at(&self, resource: &Resource, prefix: &str, rv: u64) -> Option<Table> {
        if rv < self.compacted {
            return None;
        }
        let mut table = self.table(resource, prefix);
        for event in self.log.iter().rev().take_while(|event| event.rv > rv) {
            if *event.resource != *resource || !event.key.starts_with(prefix) {
                continue;
            }
            match &event.previous {
                Some(object) => table.insert(event.key.clone(), Arc::clone(object)),
                None => table.remove(&event.key),
            };
        }
        Some(table)
    }

    /// Events after `rv`, oldest first; `None` when that was compacted.
    pub(crate) fn since(&self, rv: u64) -> Option<impl Iterator<Item = &Event>> {
        if rv < self.compacted {
            return None;
        }
        let start = self.log.partition_point(|event| event.rv <= rv);
        Some(self.log.range(start..))
    }

    /// Stores an object, whatever was there; fills in what the server owns. A write that changes
    /// nothing takes no version, as in the real server.
    pub(crate) fn put(&mut self, resource: &Resource, namespace: &str, name: &str, value: Value) -> Arc<Object> {
        let previous = self.read(resource, namespace, name);
        let value = own(resource, namespace, name, value, previous.as_deref());
        if let Some(same) = previous.filter(|previous| previous.damage.is_none() && same_but_version(&previous.value, &value)) {
            return same;
        }
        self.store(resource, &key(namespace, name), value, None)
    }

    /// The same of an object whose bytes come damaged.
    pub(crate) fn put_damaged(
        &mut self,
        resource: &Resource,
        (namespace, name): (&str, &str),
        value: Value,
        damage: Damage,
    ) -> Arc<Object> {
        let previous = self.read(resource, namespace, name);
        let value = own(resource, namespace, name, value, previous.as_deref());
        self.store(resource, &key(namespace, name), value, Some(damage))
    }

    fn store(&mut self, resource: &Resource, key: &str, value: Value, damage: Option<Damage>) -> Arc<Object> {
        let object = self.object(resource, value, damage);
        let resource = self.share(resource);
        let previous = self.tables.entry(Arc::clone(&resource)).or_default().insert(key.to_owned(), Arc::clone(&object));
        let change = if previous.is_some() { Change::Modified } else { Change::Added };
        self.append(Event { rv: object.rv, change, resource, key: key.to_owned(), object: Arc::clone(&object), previous });
        object
    }

    /// Removes an object; returns its last state.
    pub(crate) fn remove(&mut self, resource: &Resource, namespace: &str, name: &str) -> Option<Arc<Object>> {
        let resource = self.share(resource);
        let key = key(namespace, name);
        let previous = self.tables.get_mut(&resource)?.remove(&key)?;
        let object = self.object(&resource, previous.value.clone(), previous.damage);
        let event = Event {
            rv: object.rv,
            change: Change::Deleted,
            resource,
            key,
            object: Arc::clone(&object),
            previous: Some(previous),
        };
        self.append(event);
        Some(object)
    }

    /// Takes the next version for a value.
    fn object(&mut self, resource: &Resource, mut value: Value, damage: Option<Damage>) -> Arc<Object> {
        self.rv += 1;
        value["metadata"]["resourceVersion"] = Value::from(self.rv.to_string());
        let item = damaged(json::item(resource, &value), damage).into();
        Arc::new(Object { value, rv: self.rv, item, damage })
    }

    fn share(&self, resource: &Resource) -> Arc<Resource> {
        let known = self.tables.get_key_value(resource);
        known.map_or_else(|| Arc::new(resource.clone()), |(known, _)| Arc::clone(known))
    }

    fn append(&mut self, event: Event) {
        self.log.push_back(event);
        if self.log.len() > LOG_LIMIT {
            self.log.drain(..LOG_LIMIT / 2);
            self.compacted = self.log.front().map_or(self.rv, |event| event.rv - 1);
        }
    }
}

/// Fills in the fields that are the server's: names, uid, creation time, kind.
fn own(resource: &Resource, namespace: &str, name: &str, value: Value, previous: Option<&Object>) -> Value {
    let mut map = match value {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    map.insert("apiVersion".to_owned(), Value::from(resource.api_version()));
    map.entry("kind").or_insert_with(|| Value::from(resource.kind()));
    let meta = map.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
    if !meta.is_object() {
        *meta = Value::Object(Map::new());
    }
    meta["name"] = Value::from(name);
    if !namespace.is_empty() {
        meta["namespace"] = Value::from(namespace);
    }
    let before = |field: &str| previous.and_then(|previous| previous.value["metadata"].get(field)).cloned();
    meta["uid"] = before("uid").unwrap_or_else(|| Value::from(uid()));
    meta["creationTimestamp"] = before("creationTimestamp").unwrap_or_else(|| Value::from(rfc3339(SystemTime::now())));
    Value::Object(map)
}

fn same_but_version(old: &Value, new: &Value) -> bool {
    let mut new = new.clone();
    new["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"].clone();
    *old == new
}
