//! The store on disk: one redb file.
//!
//! An I/O error (a full disk) fails the access at hand and leaves the file as the last
//! durable commit left it; the file is opened again for the next one. A file that is not
//! ours is kept beside a fresh one. A crash alone never makes one unreadable, at its
//! beginning neither.
//!
//! Once a read or a write finds the file itself damaged it is written no more, for what redb takes for free may be in
//! use: what can still be read is, until another one takes its place (`disk/damage.rs`).
//!
//! It may be given up for another process, and taken back (`disk/given.rs`).

mod damage;
mod given;
mod look;
mod opened;
mod readers;

use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{Builder, Database, DatabaseError, Durability, ReadTransaction, ReadableDatabase, StorageBackend, TableDefinition};

use super::{Op, Snapshot, Store, StoreError, whole_file};
pub use damage::{Aside, caught, takes_panic};
use damage::{Careful, Damage};
use opened::Opened;
use readers::{Reader, Readers};

const ROWS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("rows");
/// Bytes of pages that redb keeps in memory. The documents of OpenAPI, some hundred KB each, fill whatever it is.
const PAGE_CACHE: usize = 512 * 1024;
/// Files that are kept of those that were set aside.
const KEPT: usize = 2;

pub struct Disk {
    opened: Opened,
    damage: Arc<Damage>,
    /// The states of the file that are read.
    readers: Arc<Readers>,
}

fn backend(error: impl Into<redb::Error>) -> StoreError {
    let error = error.into();
    match error {
        redb::Error::Corrupted(_) => StoreError::Unreadable(error.to_string()),
        _ => StoreError::Backend(error.to_string()),
    }
}

impl Disk {
    /// Opens or creates the file. One that cannot be read as ours is set aside under a
    /// name that is returned too, so that it can be said.
    pub fn open(path: &Path) -> Result<(Self, Option<PathBuf>), StoreError> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| failed(path, &error))?;
        }
        let file = path.to_owned();
        let opening = move || open(&file);
        let (database, aside) = match opening() {
            Ok(database) => (database, None),
            Err(error) if is_foreign(&error) => {
                let aside = Self::set_aside(path)?;
                (opening().map_err(|error| failed(path, &error))?, Some(aside))
            }
            Err(error) => return Err(failed(path, &error)),
        };
        let damage = Arc::new(Damage::of(Some(path.to_owned())));
        Ok((Self { opened: Opened::new(database, opening), damage, readers: Arc::default() }, aside))
    }

    /// A store on another medium than a file, which is asked for at the start and after it has failed: for tests of
    /// what a crash leaves.
    pub fn on<B: StorageBackend>(medium: impl Fn() -> B + Send + Sync + 'static) -> Result<Self, StoreError> {
        let opening = move || builder().create_with_backend(medium());
        let database = opening().map_err(backend)?;
        let damage = Arc::new(Damage::of(None));
        Ok(Self { opened: Opened::new(database, opening), damage, readers: Arc::default() })
    }

    /// Keeps a file under another name, which is returned. Of those that were kept before the oldest may go.
    pub fn set_aside(path: &Path) -> Result<PathBuf, StoreError> {
        let kept = set_aside(path).map_err(|error| failed(path, &error))?;
        damage::unmark(path);
        Ok(kept)
    }
}

fn failed(path: &Path, why: &dyn std::fmt::Display) -> StoreError {
    StoreError::File { path: path.display().to_string(), why: why.to_string() }
}

fn builder() -> Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(PAGE_CACHE);
    builder
}

/// redb takes a file of some length without its mark, as a power loss in its first moment leaves one, for somebody else's.
fn open(path: &Path) -> Result<Database, DatabaseError> {
    if !path.exists() {
        let begin = |new: &Path| builder().create(new).map(|_| restrict(new)).map_err(std::io::Error::other);
        whole_file(path, begin).map_err(redb::StorageError::Io)?;
    }
    let database = builder().create(path)?;
    restrict(path);
    Ok(database)
}

/// Rows are sealed, keys are not: nobody but root needs them.
fn restrict(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    let _ = std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600));
}

fn is_foreign(error: &DatabaseError) -> bool {
    use redb::StorageError;
    match error {
        DatabaseError::UpgradeRequired(_) | DatabaseError::RepairAborted => true,
        DatabaseError::Storage(StorageError::Corrupted(_)) => true,
        DatabaseError::Storage(StorageError::Io(error)) => {
            matches!(error.kind(), std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof)
        }
        _ => false,
    }
}

/// Of several the last ones are kept: a disk that damages each file would fill up with them.
fn set_aside(path: &Path) -> std::io::Result<PathBuf> {
    let name = |number: u32| path.with_extension(format!("unreadable-{number}"));
    let mut kept = set_aside_before(path)?;
    kept.push(kept.last().map_or(1, |last| last + 1));
    let aside = name(kept[kept.len() - 1]);
    std::fs::rename(path, &aside)?;
    for number in &kept[..kept.len().saturating_sub(KEPT)] {
        let file = name(*number);
        let deleted = std::fs::remove_file(&file);
        tracing::warn!(file = %file.display(), ?deleted, "of the stores that were set aside the oldest goes");
    }
    Ok(aside)
}

/// The numbers of the files that are kept, in their order.
fn set_aside_before(path: &Path) -> std::io::Result<Vec<u32>> {
    let number = |entry: std::io::Result<std::fs::DirEntry>| {
        let file = entry.ok()?.path();
        let number = file.extension()?.to_str()?.strip_prefix("unreadable-")?.parse().ok()?;
        (file.file_stem() == path.file_stem()).then_some(number)
    };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut numbers: Vec<u32> = std::fs::read_dir(folder)?.filter_map(number).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

impl Store for Disk {
    fn apply(&self, ops: &[Op], durable: bool) -> Result<(), StoreError> {
        let _access = self.readers.access();
        self.damage.is_none_yet()?;
        let write = |database: &Database| self.damage.look_out(|| apply(database, ops, durable));
        self.opened.write(&self.damage, durable, write)
    }

    fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        let _access = self.readers.access();
        let database = self.opened.database(&self.damage)?;
        let transaction = self.damage.look_out(|| database.begin_read().map_err(backend))?;
        Ok(Box::new(DiskSnapshot { reader: self.readers.begin(transaction), damage: self.damage.clone() }))
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
    reader: Reader,
    damage: Arc<Damage>,
}

fn rows(transaction: &ReadTransaction) -> Result<Option<Rows>, StoreError> {
    match transaction.open_table(ROWS) {
        Ok(table) => Ok(Some(table)),
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(backend(error)),
    }
}

impl DiskSnapshot {
    fn look<T>(&self, look: impl FnOnce(Rows) -> Result<T, StoreError>) -> Result<Option<T>, StoreError> {
        self.reader.with(|transaction| self.damage.look_out(|| rows(transaction)?.map(look).transpose()))?
    }

    fn visit(
        &self,
        prefix: &[u8],
        range: (Bound<&[u8]>, Bound<&[u8]>),
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), StoreError> {
        let mut visit = Careful::of(visit);
        let visited = self.look(|table| {
            for row in table.range::<&[u8]>(range).map_err(backend)? {
                let (key, value) = row.map_err(backend)?;
                if !key.value().starts_with(prefix) || !visit.row(key.value(), value.value()) {
                    break;
                }
            }
            Ok(())
        });
        visit.end();
        visited.map(Option::unwrap_or_default)
    }
}

impl Snapshot for DiskSnapshot {
    fn read(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let read = self.look(|table| Ok(table.get(key).map_err(backend)?.map(|value| value.value().to_vec())));
        Ok(read?.flatten())
    }

    fn is_kept(&self) {
        self.reader.is_kept();
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
    use std::sync::atomic::{AtomicBool, Ordering};

    use redb::backends::InMemoryBackend;

    use super::*;

    /// redb takes a file with a length and without its mark for somebody else's: so a power loss leaves one that has just
    /// been begun.
    #[test]
    fn a_file_that_was_not_begun_to_the_end_is_begun_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.redb");
        std::fs::write(path.with_added_extension("new"), vec![0; 1 << 20]).unwrap();
        let (disk, aside) = Disk::open(&path).unwrap();
        assert_eq!(aside, None);
        disk.apply(&[Op::Put(b"k".to_vec(), b"v".to_vec())], true).unwrap();
        let names = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        assert_eq!(names.collect::<Vec<_>>(), ["s.redb"]);
    }

    #[test]
    fn a_look_changes_nothing_and_sees_what_an_open_would() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.redb");
        let (disk, _) = Disk::open(&path).unwrap();
        disk.apply(&[Op::Put(b"k".to_vec(), b"v".to_vec())], true).unwrap();
        disk.apply(&[Op::Put(b"k".to_vec(), b"lost".to_vec())], false).unwrap();
        let read = |rows: &dyn Snapshot| rows.read(b"k").unwrap().unwrap();
        assert_eq!(Disk::look(&path, read), None, "in use");
        let killed = folder.path().join("killed.redb");
        std::fs::copy(&path, &killed).unwrap();
        drop(disk);
        for (path, value) in [(path, b"lost".to_vec()), (killed, b"v".to_vec())] {
            let before = std::fs::read(&path).unwrap();
            assert_eq!(Disk::look(&path, read), Some(value));
            assert!(std::fs::read(&path).unwrap() == before);
        }
    }

    #[test]
    fn of_the_files_that_were_set_aside_the_last_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.redb");
        let there = || {
            let names = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
            names.collect::<std::collections::BTreeSet<_>>()
        };
        let before = ["other.unreadable-1", "s.unreadable-x"];
        before.iter().for_each(|name| std::fs::write(folder.path().join(name), "").unwrap());
        for number in 1..=12 {
            std::fs::write(&path, number.to_string()).unwrap();
            let kept = Disk::set_aside(&path).unwrap();
            assert_eq!(std::fs::read_to_string(&kept).unwrap(), number.to_string());
        }
        assert!(there().into_iter().eq(["other.unreadable-1", "s.unreadable-11", "s.unreadable-12", "s.unreadable-x"]));
    }

    fn put(name: u8, size: usize) -> Vec<Op> {
        vec![Op::Put(vec![name], vec![name; size])]
    }

    /// A file that was found damaged while it was open.
    fn damaged(path: &Path) -> Disk {
        let (disk, _) = Disk::open(path).unwrap();
        (0..40).for_each(|name| disk.apply(&put(name, 100_000), true).unwrap());
        let length = std::fs::metadata(path).unwrap().len() as usize;
        let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &vec![0x5a; length - 4096], 4096).unwrap();
        let read = disk.snapshot().and_then(|rows| rows.scan(b"", &mut |_, _| true));
        assert!(matches!(read, Err(StoreError::Unreadable(_))) && *disk.damage().borrow());
        disk
    }

    #[test]
    fn a_file_that_is_set_aside_otherwise_is_not_marked_any_more() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.redb");
        drop(damaged(&path));
        Disk::set_aside(&path).unwrap();
        drop(Disk::open(&path).unwrap());
        assert!(Disk::set_aside_if_marked(&path).unwrap().is_none(), "it is another one");
    }

    #[test]
    fn a_file_that_is_damaged_is_written_no_more_and_gives_way_to_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.redb");
        let disk = damaged(&path);
        assert!(matches!(disk.apply(&put(50, 1), true), Err(StoreError::Unreadable(_))));
        disk.prepare(&put(60, 10)).unwrap();
        let aside = disk.go_on(|| {}).unwrap().unwrap();
        assert!(aside.is_replaced && aside.kept.exists() && !*disk.damage().borrow());
        disk.apply(&put(61, 10), true).unwrap();
        drop(disk);
        assert!(Disk::set_aside_if_marked(&path).unwrap().is_none(), "once");
        let (disk, _) = Disk::open(&path).unwrap();
        let rows = disk.snapshot().unwrap();
        assert_eq!([0, 60, 61].map(|name| rows.read(&[name]).unwrap().is_some()), [false, true, true]);
    }

    /// Memory that cannot be read now and then.
    #[derive(Debug, Clone, Default)]
    struct Failing(Arc<InMemoryBackend>, Arc<AtomicBool>);

    impl StorageBackend for Failing {
        fn len(&self) -> std::io::Result<u64> {
            self.0.len()
        }

        fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
            if self.1.load(Ordering::Relaxed) {
                return Err(std::io::Error::from_raw_os_error(5));
            }
            self.0.read(offset, out)
        }

        fn set_len(&self, length: u64) -> std::io::Result<()> {
            self.0.set_len(length)
        }

        fn sync_data(&self) -> std::io::Result<()> {
            self.0.sync_data()
        }

        fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
            self.0.write(offset, data)
        }
    }

    /// A store on a medium that can be told not to answer, and how many rows can be read of it.
    fn on_failing_medium() -> (Failing, Disk, impl Fn(&Disk) -> Result<usize, StoreError>) {
        let medium = Failing::default();
        let same = medium.clone();
        let disk = Disk::on(move || same.clone()).unwrap();
        let rows = |disk: &Disk| {
            let mut count = 0;
            disk.snapshot()?.scan(b"", &mut |_, _| {
                count += 1;
                true
            })?;
            Ok(count)
        };
        (0..40).for_each(|name| disk.apply(&put(name, 100_000), true).unwrap());
        assert_eq!(rows(&disk).unwrap(), 40);
        (medium, disk, rows)
    }

    #[test]
    fn what_could_not_be_read_once_is_read_when_the_medium_answers_again() {
        let (medium, disk, rows) = on_failing_medium();
        medium.1.store(true, Ordering::Relaxed);
        (0..3).for_each(|_| assert!(matches!(rows(&disk), Err(StoreError::Backend(_)))));
        medium.1.store(false, Ordering::Relaxed);
        assert_eq!(rows(&disk).unwrap(), 40, "without a write in between");
        disk.apply(&put(41, 1), true).unwrap();
    }

    /// Else who writes goes on as if it were there.
    #[test]
    fn who_writes_is_told_what_was_lost_because_a_read_failed_and_nobody_reads_before_that() {
        let (medium, disk, rows) = on_failing_medium();
        disk.apply(&put(41, 1), false).unwrap();
        disk.apply(&put(42, 1), true).unwrap();
        disk.apply(&put(43, 1), false).unwrap();
        medium.1.store(true, Ordering::Relaxed);
        rows(&disk).unwrap_err();
        medium.1.store(false, Ordering::Relaxed);
        (0..2).for_each(|_| assert!(matches!(rows(&disk), Err(StoreError::Backend(_)))));
        assert!(matches!(disk.apply(&put(44, 1), false), Err(StoreError::Backend(_))));
        assert_eq!(rows(&disk).unwrap(), 42, "what was durable, and nothing of what failed");
        disk.apply(&put(44, 1), false).unwrap();
        assert_eq!(rows(&disk).unwrap(), 43, "it is told once");
    }

    #[test]
    fn a_visitors_own_panic_is_no_damage() {
        let folder = tempfile::tempdir().unwrap();
        let (disk, _) = Disk::open(&folder.path().join("s.redb")).unwrap();
        disk.apply(&[Op::Put(b"k".to_vec(), b"v".to_vec())], true).unwrap();
        let snapshot = disk.snapshot().unwrap();
        let visit = std::panic::AssertUnwindSafe(|| snapshot.scan(b"", &mut |_, _| panic!("of its own")));
        assert_eq!(std::panic::catch_unwind(visit).unwrap_err().downcast_ref(), Some(&"of its own"));
        assert!(!*disk.damage().borrow());
        disk.apply(&[Op::Delete(b"k".to_vec())], true).unwrap();
    }

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
