//! What a process has used, from /proc, and processes that end with their owner.
//!
//! CPU time is the scheduler's own count in nanoseconds, over all threads of the process and its
//! children. Threads that have ended are not in it; the proxies measured here end none while they
//! work.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;

/// A process that is killed and reaped when this is dropped.
pub(crate) struct Running(Child);

impl Running {
    /// Starts it; what it says goes to the file.
    pub(crate) fn start(mut command: Command, log: &std::path::Path) -> anyhow::Result<Self> {
        let file = fs::File::create(log)?;
        let child = command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).spawn();
        Ok(Self(child.with_context(|| format!("cannot start {command:?}"))?))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// CPU time used so far.
pub(crate) fn cpu(pid: u32) -> anyhow::Result<Duration> {
    let mut total = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread that ends just now has nothing more to say.
        let Ok(text) = fs::read_to_string(thread?.path().join("schedstat")) else { continue };
        total += text.split_whitespace().next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0);
    }
    Ok(Duration::from_nanos(total))
}

/// Bytes resident now.
pub(crate) fn resident(pid: u32) -> anyhow::Result<u64> {
    status(pid, "VmRSS:")
}

/// The most bytes that were resident since [`reset_peak`].
pub(crate) fn peak(pid: u32) -> anyhow::Result<u64> {
    status(pid, "VmHWM:")
}

/// Of the resident bytes, those that are no file's: what the process itself has written to.
pub(crate) fn anonymous(pid: u32) -> anyhow::Result<u64> {
    status(pid, "RssAnon:")
}

/// Bytes sent to the storage layer, counted where a page is dirtied (proc(5), `io`).
pub(crate) fn written(pid: u32) -> anyhow::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/io"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("write_bytes:")).context("write_bytes")?;
    Ok(line.trim().parse()?)
}

pub(crate) fn reset_peak(pid: u32) -> anyhow::Result<()> {
    let path = PathBuf::from(format!("/proc/{pid}/clear_refs"));
    fs::write(&path, "5").with_context(|| path.display().to_string())
}

fn status(pid: u32, field: &str) -> anyhow::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(field)).with_context(|| field.to_owned())?;
    let kilobytes: u64 = line.split_whitespace().next().unwrap_or_default().parse()?;
    Ok(kilobytes * 1024)
}
