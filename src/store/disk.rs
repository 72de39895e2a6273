//! The store on disk: one redb file.
//!
//! An I/O error (a full disk) fails the batch at hand and leaves the file as the last
//! commit left it; the file is opened again for the next batch. A file that is not
//! ours, or of a format this version does not know, is kept beside a fresh one.

use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use redb::{Database, Durability, ReadTransaction, ReadableDatabase, TableDefinition};

use super::{Op, Snapshot, Store, StoreError};

const ROWS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("rows");
/// Pages that redb keeps in memory.
const PAGE_CACHE: usize = 2 << 20;

pub struct Disk {
    path: PathBuf,
    database: Mutex<Option<std::sync::Arc<Database>>>,
}

fn backend(error: impl std::fmt::Display) -> StoreError {
    StoreError::Backend(error.to_string())
}

impl Disk {
    /// Opens or creates the file. One that cannot be read as ours is set aside under a
    /// name that is returned too, so that it can be said.
    pub fn open(path: &Path) -> Result<(Self, Option<PathBuf>), StoreError> {
        let file = |why: &dyn std::fmt::Display| StoreError::File { path: path.display().to_string(), why: why.to_string() };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| file(&error))?;
        }
        match open(path) {
            Ok(database) => Ok((Self::over(path, database), None)),
            Err(error) if is_foreign(&error) => {
                let aside = set_aside(path).map_err(|error| file(&error))?;
                let database = open(path).map_err(|error| file(&error))?;
                Ok((Self::over(path, database), Some(aside)))
            }
            Err(error) => Err(file(&error)),
        }
    }

    /// Begins an empty file, the present one is set aside.
    pub fn replace(self) -> Result<(Self, PathBuf), StoreError> {
        drop(self.database);
        let failed =
            |error: &dyn std::fmt::Display| StoreError::File { path: self.path.display().to_string(), why: error.to_string() };
        let aside = set_aside(&self.path).map_err(|error| failed(&error))?;
        let database = open(&self.path).map_err(|error| failed(&error))?;
        Ok((Self::over(&self.path, database), aside))
    }

    fn over(path: &Path, database: Database) -> Self {
        Self { path: path.to_owned(), database: Mutex::new(Some(std::sync::Arc::new(database))) }
    }

    fn database(&self) -> Result<std::sync::Arc<Database>, StoreError> {
        let mut slot = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(database) = &*slot {
            return Ok(database.clone());
        }
        let database = std::sync::Arc::new(open(&self.path).map_err(backend)?);
        *slot = Some(database.clone());
        Ok(database)
    }

    fn forget(&self) {
        *self.database.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

fn open(path: &Path) -> Result<Database, redb::DatabaseError> {
    let database = Database::builder().set_cache_size(PAGE_CACHE).create(path)?;
    restrict(path);
    Ok(database)
}

/// Rows are sealed, keys are not: nobody but root needs them.
fn restrict(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    let _ = std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600));
}

fn is_foreign(error: &redb::DatabaseError) -> bool {
    use redb::{DatabaseError, StorageError};
    match error {
        DatabaseError::UpgradeRequired(_) | DatabaseError::RepairAborted => true,
        DatabaseError::Storage(StorageError::Corrupted(_)) => true,
        DatabaseError::Storage(StorageError::Io(error)) => {
            matches!(error.kind(), std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof)
        }
        _ => false,
    }
}

fn set_aside(path: &Path) -> std::io::Result<PathBuf> {
    for number in 1_u32.. {
        let aside = path.with_extension(format!("unreadable-{number}"));
        if !aside.exists() {
            std::fs::rename(path, &aside)?;
            return Ok(aside);
        }
    }
    unreachable!("there are fewer files than numbers")
}

impl Store for Disk {
    fn apply(&self, ops: &[Op], durable: bool) -> Result<(), StoreError> {
        let database = self.database()?;
        let result = apply(&database, ops, durable);
        if result.is_err() {
            drop(database);
            self.forget();
        }
        result
    }

    fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        let transaction = self.database()?.begin_read().map_err(backend)?;
        Ok(Box::new(DiskSnapshot { transaction }))
    }
}

fn apply(database: &Database, ops: &[Op], durable: bool) -> Result<(), StoreError> {
    let mut transaction = database.begin_write().map_err(backend)?;
    transaction.set_durability(if durable { Durability::Immediate } else { Durability::None }).map_err(backend)?;
    // After kill -9 the file opens at once: else every page is read first.
    transaction.set_quick_repair(durable);
    {
        let mut table = transaction.open_table(ROWS).map_err(backend)?;
        for op in ops {
            match op {
                Op::Put(key, value) => drop(table.insert(key.as_slice(), value.as_slice()).map_err(backend)?),
                Op::Delete(key) => drop(table.remove(key.as_slice()).map_err(backend)?),
                Op::DeletePrefix(prefix) => {
                    let end = end_of(prefix);
                    let range = (Bound::Included(prefix.as_slice()), end.as_deref().map_or(Bound::Unbounded, Bound::Excluded));
                    table.retain_in::<&[u8], _>(range, |_, _| false).map_err(backend)?;
                }
            }
        }
    }
    transaction.commit().map_err(backend)
}

/// The first key behind all that begin with `prefix`; `None`: there is none.
fn end_of(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut end = prefix.to_vec();
    while end.pop_if(|byte| *byte == u8::MAX).is_some() {}
    *end.last_mut()? += 1;
    Some(end)
}

type Rows = redb::ReadOnlyTable<&'static [u8], &'static [u8]>;

struct DiskSnapshot {
    transaction: ReadTransaction,
}

impl DiskSnapshot {
    fn rows(&self) -> Result<Option<Rows>, StoreError> {
        match self.transaction.open_table(ROWS) {
            Ok(table) => Ok(Some(table)),
            Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(backend(error)),
        }
    }

    fn visit(
        &self,
        prefix: &[u8],
        range: (Bound<&[u8]>, Bound<&[u8]>),
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), StoreError> {
        let Some(table) = self.rows()? else { return Ok(()) };
        for row in table.range::<&[u8]>(range).map_err(backend)? {
            let (key, value) = row.map_err(backend)?;
            if !key.value().starts_with(prefix) || !visit(key.value(), value.value()) {
                break;
            }
        }
        Ok(())
    }
}

impl Snapshot for DiskSnapshot {
    fn read(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(table) = self.rows()? else { return Ok(None) };
        Ok(table.get(key).map_err(backend)?.map(|value| value.value().to_vec()))
    }

    fn scan(&self, prefix: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), StoreError> {
        self.visit(prefix, (Bound::Included(prefix), Bound::Unbounded), visit)
    }

    fn scan_after(&self, prefix: &[u8], after: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), StoreError> {
        self.visit(prefix, (Bound::Excluded(after), Bound::Unbounded), visit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_deleted_and_its_neighbours_stay() {
        let folder = tempfile::tempdir().unwrap();
        let (disk, _) = Disk::open(&folder.path().join("s.redb")).unwrap();
        let keys: [&[u8]; 7] = [b"i\x00", b"i\x00\xff", b"i\x01", b"i\x01a", b"i\x02", b"\xff", b"\xff\xff"];
        let put: Vec<_> = keys.iter().map(|key| Op::Put(key.to_vec(), b"v".to_vec())).collect();
        let left = |gone: &[u8]| {
            disk.apply(&put, false).unwrap();
            disk.apply(&[Op::DeletePrefix(gone.to_vec())], false).unwrap();
            let mut left = Vec::new();
            let mut note = |key: &[u8], _: &[u8]| {
                left.push(key.to_vec());
                true
            };
            disk.snapshot().unwrap().scan(b"", &mut note).unwrap();
            left
        };
        for gone in [&b"i\x00"[..], b"i\x01", b"i", b"\xff", b"\xff\xff", b"", b"x"] {
            let expected: Vec<_> = keys.iter().filter(|key| !key.starts_with(gone)).map(|key| key.to_vec()).collect();
            assert_eq!(left(gone), expected, "{gone:?}");
        }
    }
}
