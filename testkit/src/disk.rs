//! A disk so small that it can be filled.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, ensure};

/// A tmpfs, unmounted with the value. Mounting needs root.
pub struct SmallDisk {
    folder: tempfile::TempDir,
    bytes: usize,
}

impl SmallDisk {
    /// `None`: this process may not mount.
    pub fn mount(bytes: usize) -> Option<Self> {
        let folder = tempfile::tempdir().ok()?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"]).arg(folder.path());
        let is_mounted = mount.output().is_ok_and(|output| output.status.success());
        is_mounted.then_some(Self { folder, bytes })
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Leaves no room.
    pub fn fill(&self) -> anyhow::Result<()> {
        let filled = std::fs::write(self.path().join("filler"), vec![0; self.bytes]);
        ensure!(filled.is_err_and(|error| error.kind() == std::io::ErrorKind::StorageFull), "the disk is not full");
        Ok(())
    }

    /// There is room again.
    pub fn free(&self) -> anyhow::Result<()> {
        std::fs::remove_file(self.path().join("filler")).context("the disk was not filled")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["--lazy"]).arg(self.path()).output();
    }
}
