//! Memory that is free goes back to the system.
//!
//! glibc raises by itself the size from which it asks the system for memory of its own, and how much free memory it
//! keeps: one document of some megabytes that has passed would be held for ever. Named by the environment, both stay
//! (mallopt(3), `M_MMAP_THRESHOLD`); it is read before `main`, so the program begins once more.

use std::env;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

const TUNABLES: &str = "GLIBC_TUNABLES";
/// What is freed goes back beyond these sizes; and each arena keeps holes of its own.
const KEEP_LITTLE: &str = "glibc.malloc.mmap_threshold=131072:glibc.malloc.trim_threshold=131072:glibc.malloc.arena_max=2";

/// Begins the program once more, unless somebody has named such things already. Where that cannot be, it goes on.
pub fn keep_little() {
    let mut arguments = env::args_os();
    let Some(name) = arguments.next() else { return };
    if !cfg!(target_env = "gnu") || env::var_os(TUNABLES).is_some() {
        be_called(Path::new(&name));
        return;
    }
    let error = Command::new("/proc/self/exe").arg0(name).args(arguments).env(TUNABLES, KEEP_LITTLE).exec();
    eprintln!("holdfast: memory that is free may be kept: the program cannot begin once more: {error}");
}

/// Begun through `/proc/self/exe`, ps(1) and pkill(1) would know the program as `exe`.
fn be_called(program: &Path) {
    if let Some(name) = program.file_name() {
        let _ = std::fs::write("/proc/self/comm", name.as_bytes());
    }
}
