//! Damage of the file itself, found while the hub runs: redb says so, or panics.
//!
//! What finds it fails alone, and everybody else goes on. It is told once, and marked beside the file for the next start,
//! which may come by none of the damaged pages. Whatever is written from then on is refused, so nothing is promised that
//! nobody will find again, until another file has taken the place of this one: at the next start, or when this life of the
//! hub goes on with it ([`Disk::go_on`]).

use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

use super::{Disk, Op, StoreError, failed, set_aside};
use crate::store::{Store as _, whole_file};

const PANICKED: &str = "the database panicked";

/// What this thread does with a database.
#[derive(Clone, Default)]
enum Access {
    #[default]
    None,
    /// It is opened, or looked at.
    Opening,
    Of(Arc<Damage>),
}

thread_local! {
    static ACCESS: RefCell<Access> = const { RefCell::new(Access::None) };
}

/// redb panics at some kinds of damage.
pub fn caught<T>(access: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    caught_within(Access::Opening, access)
}

fn caught_within<T>(access: Access, work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    let done = within(access, || catch_unwind(AssertUnwindSafe(work)));
    done.unwrap_or_else(|_| Err(StoreError::Unreadable(PANICKED.into())))
}

fn within<T>(access: Access, work: impl FnOnce() -> T) -> T {
    let before = ACCESS.replace(access);
    let done = work();
    ACCESS.set(before);
    done
}

/// Whether a panic of this thread is redb's, and is told as the damage that it is. Called before it unwinds: where redb
/// panics once more while it does, nothing but what is noted by then is left of this life of the hub.
pub fn takes_panic() -> bool {
    // A thread that ends has no access any more.
    match ACCESS.try_with(|access| access.borrow().clone()).unwrap_or_default() {
        Access::None => false,
        Access::Opening => true,
        Access::Of(damage) => {
            damage.note(PANICKED);
            true
        }
    }
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
    /// The medium has failed: redb answers nothing more until it is opened again.
    failed: AtomicBool,
    /// `None`: there is no file.
    path: Option<PathBuf>,
}

impl Damage {
    pub(super) fn of(path: Option<PathBuf>) -> Self {
        Self { found: watch::Sender::new(false), failed: AtomicBool::new(false), path }
    }

    /// Fails once some was found.
    pub(super) fn is_none_yet(&self) -> Result<(), StoreError> {
        if *self.found.borrow() {
            return Err(StoreError::Unreadable("the file is damaged: nothing is written to it any more".into()));
        }
        Ok(())
    }

    /// Accesses the file, and notes damage that shows by that.
    pub(super) fn look_out<T>(self: &Arc<Self>, access: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        caught_within(Access::Of(self.clone()), access).inspect_err(|error| match error {
            StoreError::Unreadable(why) => self.note(why),
            _ => self.failed.store(true, Ordering::Relaxed),
        })
    }

    /// Whether the medium has failed since this was asked last, and the file is worth another try.
    pub(super) fn has_failed(&self) -> bool {
        self.failed.swap(false, Ordering::Relaxed) && self.is_none_yet().is_ok()
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
        let aside = self.opened.go_on(|| Self::set_aside_if_marked(path))?;
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
        let visited = within(Access::None, || catch_unwind(AssertUnwindSafe(|| (self.visit)(key, value))));
        visited.map_err(|panic| self.panic = Some(panic)).unwrap_or(false)
    }

    pub(super) fn end(self) {
        if let Some(panic) = self.panic {
            resume_unwind(panic);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::Command;

    use super::*;

    /// Panics once more while a panic unwinds.
    struct Twice;

    impl Drop for Twice {
        fn drop(&mut self) {
            panic!("and again");
        }
    }

    /// In a process of its own, which ends by it.
    #[test]
    fn a_file_is_marked_before_a_panic_within_a_panic_ends_the_process() {
        const PATH: &str = "HOLDFAST_TEST_DAMAGED";
        if let Some(path) = std::env::var_os(PATH) {
            std::panic::set_hook(Box::new(|_| assert!(takes_panic())));
            let _ = Arc::new(Damage::of(Some(path.into()))).look_out(|| -> Result<(), StoreError> {
                let _twice = Twice;
                panic!("at damage")
            });
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.redb");
        let name = std::thread::current().name().unwrap().to_owned();
        let mut child = Command::new(std::env::current_exe().unwrap());
        let ended = child.args(["--exact", &name]).env(PATH, &path).output().unwrap();
        assert_eq!(ended.status.signal(), Some(6), "SIGABRT: {ended:?}");
        assert!(mark(&path).exists());
    }
}
