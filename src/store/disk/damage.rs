//! Damage of the file itself, found while the hub runs: redb says so, or panics.
//!
//! What finds it fails alone, and everybody else goes on. It is told once, and marked beside the file for the next start,
//! which may come by none of the damaged pages. Whatever is written from then on is refused, so nothing is promised that
//! nobody will find again, until another file has taken the place of this one: at the next start, or when this life of the
//! hub goes on with it ([`Disk::go_on`]).

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use tokio::sync::watch;

use super::{Disk, Op, StoreError, failed, set_aside};
use crate::store::{Store as _, whole_file};

thread_local! {
    static EXPECTED: Cell<bool> = const { Cell::new(false) };
}

/// redb panics at some kinds of damage.
pub fn caught<T>(access: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    let accessed = while_expected(true, || catch_unwind(AssertUnwindSafe(access)));
    accessed.unwrap_or_else(|_| Err(StoreError::Unreadable("the database panicked".into())))
}

/// Whether a panic of this thread would be redb's, and be told as the damage that it is.
pub fn expects_panic() -> bool {
    EXPECTED.get()
}

fn while_expected<T>(expected: bool, work: impl FnOnce() -> T) -> T {
    let before = EXPECTED.replace(expected);
    let done = work();
    EXPECTED.set(before);
    done
}

/// What says that the file is to be set aside.
fn mark(path: &Path) -> PathBuf {
    path.with_extension("damaged")
}

/// What takes the file's place is another one.
pub(super) fn unmark(path: &Path) {
    let _ = std::fs::remove_file(mark(path));
}

/// What is to take its place then, whole.
fn next(path: &Path) -> PathBuf {
    path.with_extension("next")
}

pub(super) struct Damage {
    found: watch::Sender<bool>,
    /// `None`: there is no file.
    path: Option<PathBuf>,
}

impl Damage {
    pub(super) fn of(path: Option<PathBuf>) -> Self {
        Self { found: watch::Sender::new(false), path }
    }

    /// Fails once some was found.
    pub(super) fn is_none_yet(&self) -> Result<(), StoreError> {
        if *self.found.borrow() {
            return Err(StoreError::Unreadable("the file is damaged: nothing is written to it any more".into()));
        }
        Ok(())
    }

    /// Accesses the file, and notes damage that shows by that.
    pub(super) fn look_out<T>(&self, access: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        caught(access).inspect_err(|error| {
            if let StoreError::Unreadable(why) = error {
                self.note(why);
            }
        })
    }

    fn note(&self, why: &str) {
        if self.found.send_replace(true) {
            return;
        }
        tracing::error!(why, "the store's file is damaged: nothing is written to it any more, and what can be read of it is");
        // Where nothing can be written, the next start looks for itself.
        let _ = self.path.as_ref().map(|path| std::fs::write(mark(path), why));
    }
}

/// What has become of a damaged file.
pub struct Aside {
    pub kept: PathBuf,
    /// The one that was prepared is in its place.
    pub is_replaced: bool,
}

impl Disk {
    /// Sets the file aside if it was found damaged before, and puts the one that was prepared, if one was, in its place.
    pub fn set_aside_if_marked(path: &Path) -> Result<Option<Aside>, StoreError> {
        let (mark, next) = (mark(path), next(path));
        let (is_marked, is_prepared) = (mark.exists(), next.exists());
        let change = || {
            // Whatever ends in between is taken up again by what is left of it.
            if is_prepared && is_marked {
                std::fs::remove_file(&mark)?;
            }
            let kept = path.exists().then(|| set_aside(path)).transpose()?;
            if is_prepared {
                std::fs::rename(&next, path)?;
            } else {
                std::fs::remove_file(&mark)?;
            }
            Ok(kept.map(|kept| Aside { kept, is_replaced: is_prepared }))
        };
        if is_marked || is_prepared { change().map_err(|error: std::io::Error| failed(path, &error)) } else { Ok(None) }
    }

    /// Whether the file was found damaged.
    pub fn damage(&self) -> watch::Receiver<bool> {
        self.damage.found.subscribe()
    }

    /// Makes the file with these rows that is to take the place of this one.
    pub fn prepare(&self, rows: &[Op]) -> Result<(), StoreError> {
        let Some(path) = &self.damage.path else { return Ok(()) };
        let make = |new: &Path| Self::open(new)?.0.apply(rows, true);
        let next = next(path);
        whole_file(&next, |new| make(new).map_err(std::io::Error::other)).map_err(|error| failed(&next, &error))
    }

    /// Goes on with the file that was prepared. `begin`: called before anything else is written to it.
    pub fn go_on(&self, begin: impl FnOnce()) -> Result<Option<Aside>, StoreError> {
        let Some(path) = &self.damage.path else { return Ok(None) };
        let mut slot = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        let old = slot.take();
        // It may panic once more when it is closed.
        let _ = caught(|| {
            drop(old);
            Ok(())
        });
        let aside = Self::set_aside_if_marked(path)?;
        *slot = Some(Arc::new(self.open_again()?));
        drop(slot);
        begin();
        self.damage.found.send_replace(false);
        Ok(aside)
    }
}

/// A visitor of rows whose own panics are not the database's.
pub(super) struct Careful<'a> {
    visit: &'a mut dyn FnMut(&[u8], &[u8]) -> bool,
    panic: Option<Box<dyn Any + Send>>,
}

impl<'a> Careful<'a> {
    pub(super) fn of(visit: &'a mut dyn FnMut(&[u8], &[u8]) -> bool) -> Self {
        Self { visit, panic: None }
    }

    pub(super) fn row(&mut self, key: &[u8], value: &[u8]) -> bool {
        let visited = while_expected(false, || catch_unwind(AssertUnwindSafe(|| (self.visit)(key, value))));
        visited.map_err(|panic| self.panic = Some(panic)).unwrap_or(false)
    }

    pub(super) fn end(self) {
        if let Some(panic) = self.panic {
            resume_unwind(panic);
        }
    }
}
