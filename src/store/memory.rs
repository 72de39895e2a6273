//! The store in memory: for tests, and for a node that may not write.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Op, Snapshot, Store, StoreError};

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// Snapshots are cheap until the next change copies the map.
#[derive(Default)]
pub struct Memory {
    rows: Mutex<Arc<Rows>>,
}

impl Store for Memory {
    fn apply(&self, ops: &[Op], _durable: bool) -> Result<(), StoreError> {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let rows = Arc::make_mut(&mut rows);
        for op in ops {
            match op {
                Op::Put(key, value) => drop(rows.insert(key.clone(), value.clone())),
                Op::Delete(key) => drop(rows.remove(key)),
                Op::DeletePrefix(prefix) => rows.retain(|key, _| !key.starts_with(prefix)),
            }
        }
        Ok(())
    }

    fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        Ok(Box::new(MemorySnapshot(self.rows.lock().unwrap_or_else(PoisonError::into_inner).clone())))
    }
}

struct MemorySnapshot(Arc<Rows>);

impl MemorySnapshot {
    fn visit(&self, prefix: &[u8], from: Bound<&[u8]>, visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) {
        for (key, value) in self.0.range::<[u8], _>((from, Bound::Unbounded)) {
            if !key.starts_with(prefix) || !visit(key, value) {
                break;
            }
        }
    }
}

impl Snapshot for MemorySnapshot {
    fn read(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.0.get(key).cloned())
    }

    fn scan(&self, prefix: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), StoreError> {
        self.visit(prefix, Bound::Included(prefix), visit);
        Ok(())
    }

    fn scan_after(&self, prefix: &[u8], after: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), StoreError> {
        self.visit(prefix, Bound::Excluded(after), visit);
        Ok(())
    }
}
