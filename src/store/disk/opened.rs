//! The file while it is open, and what is lost when it has to be opened again.
//!
//! After an access has failed redb answers nothing more until the file is opened again, as the last durable commit left
//! it. Whoever writes believes in what it committed since, so the next write fails and nothing is read until it has.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::{Database, DatabaseError};

use super::damage::{Damage, caught};
use super::{StoreError, backend, is_foreign};

pub(super) struct Opened {
    /// At the start, and again after the medium has failed.
    opening: Box<dyn Fn() -> Result<Database, DatabaseError> + Send + Sync>,
    now: Mutex<Now>,
}

#[derive(Default)]
struct Now {
    database: Option<Arc<Database>>,
    /// Something may have been committed that is not durable yet.
    owes: bool,
    /// It was opened again while it owed something, and nobody has been told.
    has_lost: bool,
    /// It is another process's.
    is_closed: bool,
}

impl Opened {
    pub(super) fn new(database: Database, opening: impl Fn() -> Result<Database, DatabaseError> + Send + Sync + 'static) -> Self {
        let now = Now { database: Some(Arc::new(database)), ..Now::default() };
        Self { opening: Box::new(opening), now: Mutex::new(now) }
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For a read.
    pub(super) fn database(&self, damage: &Arc<Damage>) -> Result<Arc<Database>, StoreError> {
        let mut now = self.now();
        let database = self.opened(&mut now, damage)?;
        if now.has_lost { Err(lost()) } else { Ok(database) }
    }

    /// Writes, and tells what was lost before that by failing, once.
    pub(super) fn write(
        &self,
        damage: &Arc<Damage>,
        durable: bool,
        write: impl FnOnce(&Database) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let begin = || {
            let mut now = self.now();
            let database = self.opened(&mut now, damage)?;
            now.owes |= !durable;
            if now.has_lost { Err(lost()) } else { Ok(database) }
        };
        let written = begin().and_then(|database| write(&database));
        let mut now = self.now();
        if matches!(written, Err(StoreError::Closed)) {
            // What came before is there, and is still owed.
        } else if written.is_err() {
            (now.owes, now.has_lost) = (false, false);
        } else if durable {
            now.owes = false;
        }
        written
    }

    fn opened(&self, now: &mut Now, damage: &Arc<Damage>) -> Result<Arc<Database>, StoreError> {
        if now.is_closed {
            return Err(StoreError::Closed);
        }
        if damage.has_failed() {
            now.database = None;
        }
        if let Some(database) = &now.database {
            return Ok(database.clone());
        }
        damage.is_none_yet()?;
        let database = Arc::new(damage.look_out(|| self.open_again())?);
        now.has_lost |= std::mem::take(&mut now.owes);
        now.database = Some(database.clone());
        Ok(database)
    }

    /// Nothing is read or written any more but what has begun.
    pub(super) fn refuse(&self) {
        self.now().is_closed = true;
    }

    /// Closes the file, with all that was committed, if it is still refused.
    pub(super) fn close(&self) -> bool {
        let mut now = self.now();
        if !now.is_closed {
            return false;
        }
        now.owes = false;
        let database = now.database.take();
        // It is synced: others need not wait for that to be told no.
        drop(now);
        drop(database);
        true
    }

    /// It is opened again when it is needed.
    pub(super) fn allow(&self) {
        self.now().is_closed = false;
    }

    /// What cannot be read as ours any more is damaged: it is not tried again and again.
    fn open_again(&self) -> Result<Database, StoreError> {
        let unreadable = |error: DatabaseError| match is_foreign(&error) {
            true => StoreError::Unreadable(error.to_string()),
            false => backend(error),
        };
        (self.opening)().map_err(unreadable)
    }

    /// Goes on with another file, for which `change` makes place; nobody believes that anything else is in it.
    pub(super) fn go_on<T>(&self, change: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        let mut now = self.now();
        if now.is_closed {
            return Err(StoreError::Closed);
        }
        let old = std::mem::take(&mut *now);
        // It may panic once more when it is closed.
        let _ = caught(|| {
            drop(old);
            Ok(())
        });
        let changed = change()?;
        now.database = Some(Arc::new(self.open_again()?));
        Ok(changed)
    }
}

fn lost() -> StoreError {
    StoreError::Backend("the file was opened again after a failure: what was not on the disk yet is lost".into())
}
