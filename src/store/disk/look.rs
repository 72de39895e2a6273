//! A look into a store's file that leaves every byte of it as it is.
//!
//! redb mends and marks a file when it opens it. Here that happens in memory, so what this version does not know may be
//! set aside as its own version left it.

use std::collections::HashMap;
use std::fs::{File, TryLockError};
use std::io::Result;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::{ReadableDatabase as _, StorageBackend};

use super::readers::Readers;
use super::{Damage, Disk, DiskSnapshot, builder};
use crate::store::Snapshot;

const BLOCK: u64 = 4096;

impl Disk {
    /// What `look` finds in the file; `None`: there is no file, or it cannot be read, or is in use.
    pub fn look<T>(path: &Path, look: impl FnOnce(&dyn Snapshot) -> T) -> Option<T> {
        let file = File::open(path).ok()?;
        // Where there are no locks there is no telling; redb goes on without them as well.
        if matches!(file.try_lock(), Err(TryLockError::WouldBlock)) {
            return None;
        }
        let len = file.metadata().ok().map(|metadata| metadata.len()).filter(|len| *len > 0)?;
        let shadow = Shadow { file, changes: Mutex::new(Changes { len, blocks: HashMap::new() }) };
        let database = builder().create_with_backend(shadow).ok()?;
        let transaction = database.begin_read().ok()?;
        let reader = Arc::new(Readers::default()).begin(transaction);
        Some(look(&DiskSnapshot { reader, damage: Arc::new(Damage::of(None)) }))
    }
}

/// A file, and what would have been written to it.
#[derive(Debug)]
struct Shadow {
    file: File,
    changes: Mutex<Changes>,
}

#[derive(Debug)]
struct Changes {
    len: u64,
    blocks: HashMap<u64, Vec<u8>>,
}

impl Shadow {
    fn changes(&self) -> MutexGuard<'_, Changes> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file's own bytes of a block, with zeros behind its end.
    fn original(&self, block: u64) -> Result<Vec<u8>> {
        let (mut bytes, mut have) = (vec![0; BLOCK as usize], 0);
        loop {
            match self.file.read_at(&mut bytes[have..], block * BLOCK + have as u64)? {
                0 => return Ok(bytes),
                more => have += more,
            }
        }
    }
}

/// The blocks that `length` bytes from `offset` on lie in: each with where it begins among them, and which bytes of the
/// block it is.
fn blocks(offset: u64, length: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let end = offset + length as u64;
    (offset / BLOCK..end.div_ceil(BLOCK)).map(move |block| {
        let (from, to) = (offset.max(block * BLOCK), end.min((block + 1) * BLOCK));
        let within = |at: u64| (at - block * BLOCK) as usize;
        (block, (from - offset) as usize, within(from)..within(to))
    })
}

impl StorageBackend for Shadow {
    fn len(&self) -> Result<u64> {
        Ok(self.changes().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        let changes = self.changes();
        if offset + out.len() as u64 > changes.len {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        for (block, at, within) in blocks(offset, out.len()) {
            let out = &mut out[at..at + within.len()];
            match changes.blocks.get(&block) {
                Some(bytes) => out.copy_from_slice(&bytes[within]),
                None => out.copy_from_slice(&self.original(block)?[within]),
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.changes().len = len;
        Ok(())
    }

    fn sync_data(&self) -> Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        let mut changes = self.changes();
        for (block, at, within) in blocks(offset, data.len()) {
            let bytes = match changes.blocks.entry(block) {
                std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
                std::collections::hash_map::Entry::Vacant(place) => place.insert(self.original(block)?),
            };
            let part = &data[at..at + within.len()];
            bytes[within].copy_from_slice(part);
        }
        Ok(())
    }
}
