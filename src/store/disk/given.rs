//! The file is one process's: it is given up for another one, and taken back.

use std::time::Duration;

use super::Disk;

impl Disk {
    /// Gives up the file, with all that was committed: accesses fail from now on. Waits that long for those that have begun,
    /// but not for what is only kept; whether it was given up. If not, all is as before. Blocks.
    pub fn give_up(&self, within: Duration) -> bool {
        self.opened.refuse();
        if !self.readers.are_done(within) {
            self.opened.allow();
            return false;
        }
        self.readers.end();
        self.opened.close()
    }

    /// The file is nobody else's any more.
    pub fn take_back(&self) {
        self.opened.allow();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Op, Store as _, StoreError};

    #[test]
    fn a_file_that_is_given_up_is_anothers_with_all_that_was_committed_until_it_is_taken_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.redb");
        let put = |name: u8| [Op::Put(vec![name], vec![name])];
        let there = |disk: &Disk| [1, 2, 3].map(|name| disk.snapshot().unwrap().read(&[name]).unwrap().is_some());
        let (disk, _) = Disk::open(&path).unwrap();
        disk.apply(&put(1), false).unwrap();
        let (rows, kept) = (disk.snapshot().unwrap(), disk.snapshot().unwrap());
        kept.is_kept();
        assert!(!disk.give_up(Duration::ZERO), "somebody reads");
        assert!(kept.read(&[1]).unwrap().is_some(), "nor is this in anybody's way");
        disk.apply(&put(2), false).unwrap();
        assert!(Disk::open(&path).is_err());
        drop(rows);
        assert!(disk.give_up(Duration::ZERO));
        assert!(matches!(kept.read(&[1]), Err(StoreError::Closed)));
        let (other, aside) = Disk::open(&path).unwrap();
        assert_eq!((there(&other), aside), ([true, true, false], None));
        assert!(matches!(disk.apply(&put(3), true), Err(StoreError::Closed)));
        assert!(matches!(disk.snapshot(), Err(StoreError::Closed)));
        drop(other);
        disk.take_back();
        disk.apply(&put(3), true).unwrap();
        assert_eq!(there(&disk), [true; 3]);
    }
}
