//! Keeps in a file who was told by filters what there is, from one life of the hub to the next (state::told).
//!
//! The file is written whole under another name and then renamed, but not synced: it has to outlive the hub, not the node,
//! for its clients do not outlive that. One that cannot be read is none, and one that cannot be written is written with
//! the next change: clients go on untold then, which is what would happen without it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::state::told::Told;

/// Between writes.
const PAUSE: Duration = Duration::from_secs(1);

/// Where it is kept.
#[derive(Debug)]
pub struct File {
    path: PathBuf,
    /// Whoever holds it writes: each change, and all of it once more at the hub's end.
    writing: Mutex<()>,
}

impl File {
    pub fn within(root_dir: &Path) -> Self {
        Self { path: root_dir.join("told"), writing: Mutex::default() }
    }

    pub fn read(&self) -> Told {
        Told::earlier(&std::fs::read(&self.path).unwrap_or_default())
    }

    pub fn write(&self, told: &Told) {
        let _turn = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = self.try_write(&told.kept()) {
            tracing::warn!(%error, file = %self.path.display(), "who was told what cannot be kept");
        }
    }

    fn try_write(&self, kept: &[u8]) -> io::Result<()> {
        if let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let new = self.path.with_extension("new");
        std::fs::write(&new, kept)?;
        std::fs::rename(new, &self.path)
    }

    /// Writes each change, for ever.
    pub async fn keep(self: Arc<Self>, told: Arc<Told>) {
        loop {
            told.changed().await;
            let (file, now) = (self.clone(), told.clone());
            let _ = tokio::task::spawn_blocking(move || file.write(&now)).await;
            tokio::time::sleep(PAUSE).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_is_not_there_is_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let file = File::within(&folder.path().join("root"));
        assert!(file.read().was(1, None));
        let told = Told::default();
        told.note(1, Some(7));
        file.write(&told);
        assert!(!file.read().was(1, None) && file.read().was(2, None));
    }
}
