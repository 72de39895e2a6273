//! A disk that writes down what is done to it, and what of that a power loss may leave.
//!
//! What was written before a sync that ended is there. Of what was written after it each piece may be there or not, whole
//! or in part, in any order.

use std::io::{Error, ErrorKind, Result};
use std::sync::{Arc, Mutex};

use redb::StorageBackend;

use crate::random::Random;

/// What a disk writes at once.
const SECTOR: usize = 512;

#[derive(Debug, Clone)]
pub enum Change {
    Write(u64, Vec<u8>),
    Length(u64),
    Sync,
}

/// Clones are the same disk.
#[derive(Debug, Clone, Default)]
pub struct Medium(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    bytes: Vec<u8>,
    trace: Vec<Change>,
    /// So many changes fit yet; `None`: any number.
    room: Option<usize>,
}

impl Medium {
    /// A disk with a file on it.
    pub fn with(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new(State { bytes, ..State::default() })))
    }

    /// How many changes there were.
    pub fn changes(&self) -> usize {
        self.0.lock().unwrap().trace.len()
    }

    pub fn trace(&self) -> Vec<Change> {
        self.0.lock().unwrap().trace.clone()
    }

    /// The disk is full after so many changes more; `None`: there is room again.
    pub fn set_room(&self, room: Option<usize>) {
        self.0.lock().unwrap().room = room;
    }

    fn change(&self, change: Change) -> Result<()> {
        let mut state = self.0.lock().unwrap();
        match &mut state.room {
            Some(0) => return Err(Error::from(ErrorKind::StorageFull)),
            Some(left) => *left -= 1,
            None => {}
        }
        apply(&mut state.bytes, &change);
        state.trace.push(change);
        Ok(())
    }
}

pub fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write(at, data) => {
            let at = usize::try_from(*at).unwrap();
            bytes.resize(bytes.len().max(at + data.len()), 0);
            bytes[at..at + data.len()].copy_from_slice(data);
        }
        Change::Length(length) => bytes.resize(usize::try_from(*length).unwrap(), 0),
        Change::Sync => {}
    }
}

impl StorageBackend for Medium {
    fn len(&self) -> Result<u64> {
        Ok(self.0.lock().unwrap().bytes.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        let at = usize::try_from(offset).unwrap();
        let state = self.0.lock().unwrap();
        out.copy_from_slice(state.bytes.get(at..at + out.len()).ok_or(ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.change(Change::Length(len))
    }

    fn sync_data(&self) -> Result<()> {
        self.change(Change::Sync)
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        self.change(Change::Write(offset, data.to_vec()))
    }
}

/// Which of the changes since the last sync a power loss leaves.
#[derive(Debug, Clone)]
pub enum Left {
    None,
    All,
    /// All but this one.
    Without(usize),
    /// This one alone.
    Only(usize),
    /// Of this one some sectors: the first of them, or the last.
    Torn(usize, Half),
    /// These, in this order.
    Some(Vec<usize>),
}

#[derive(Debug, Clone, Copy)]
pub enum Half {
    First,
    Last,
}

impl Left {
    /// All that can be listed of `pending` changes, and some of the many more.
    pub fn all(pending: usize, random: &mut Random) -> Vec<Self> {
        let each = (0..pending)
            .flat_map(|at| [Self::Without(at), Self::Only(at), Self::Torn(at, Half::First), Self::Torn(at, Half::Last)]);
        let mut left: Vec<_> = [Self::None, Self::All].into_iter().chain(each).collect();
        left.extend((0..8).map(|_| Self::some(pending, random)));
        left
    }

    /// One of them.
    pub fn one(pending: usize, random: &mut Random) -> Self {
        match random.below(6) {
            _ if pending == 0 => Self::None,
            0 => Self::All,
            1 => Self::Without(random.below(pending)),
            2 => Self::Only(random.below(pending)),
            3 => Self::Torn(random.below(pending), if random.one_in(2) { Half::First } else { Half::Last }),
            _ => Self::some(pending, random),
        }
    }

    fn some(pending: usize, random: &mut Random) -> Self {
        let mut left: Vec<usize> = (0..pending).filter(|_| random.one_in(2)).collect();
        (1..left.len()).for_each(|at| left.swap(at, random.below(at + 1)));
        Self::Some(left)
    }

    /// What the file is then.
    pub fn image(&self, synced: &[u8], pending: &[Change]) -> Vec<u8> {
        let mut bytes = synced.to_vec();
        let mut all = |skipped: Option<usize>| {
            pending.iter().enumerate().filter(|(at, _)| Some(*at) != skipped).for_each(|(_, change)| apply(&mut bytes, change));
        };
        match self {
            Self::None => {}
            Self::All => all(None),
            Self::Without(at) => all(Some(*at)),
            Self::Only(at) => apply(&mut bytes, &pending[*at]),
            Self::Some(left) => left.iter().for_each(|at| apply(&mut bytes, &pending[*at])),
            Self::Torn(at, half) => {
                all(Some(*at));
                match &pending[*at] {
                    Change::Write(offset, data) => {
                        let middle = (data.len() / SECTOR / 2 * SECTOR).max(data.len().min(SECTOR / 2));
                        let (from, part) = match half {
                            Half::First => (*offset, &data[..middle]),
                            Half::Last => (*offset + middle as u64, &data[middle..]),
                        };
                        apply(&mut bytes, &Change::Write(from, part.to_vec()));
                    }
                    whole => apply(&mut bytes, whole),
                }
            }
        }
        bytes
    }
}
