//! What has become of those that have left the journal lately, for whoever has shown one to a client.
//!
//! Bounded: the oldest are forgotten, and then it is not known.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Entry;

/// Entries.
const MOST: usize = 4096;
/// Bytes of those that were given up.
const BYTES: usize = 256 * 1024;

#[derive(Clone)]
pub(in crate::store) enum Fate {
    /// The cloud has it.
    Delivered,
    /// The cloud has one of that name already.
    WasThere,
    /// The cloud has refused it.
    Refused(Arc<Entry>),
}

/// By the number of the entry, the latest last.
#[derive(Default)]
pub(super) struct Fates {
    known: VecDeque<(u64, Fate)>,
    bytes: usize,
}

impl Fate {
    fn bytes(&self) -> usize {
        match self {
            Self::Delivered | Self::WasThere => 0,
            Self::Refused(entry) => entry.bytes(),
        }
    }
}

impl Fates {
    pub(super) fn note(&mut self, sequence: u64, fate: Fate) {
        // It was not settled the last time.
        if let Some(index) = self.known.iter().position(|(known, _)| *known == sequence)
            && let Some((_, before)) = self.known.remove(index)
        {
            self.bytes -= before.bytes();
        }
        self.bytes += fate.bytes();
        self.known.push_back((sequence, fate));
        while (self.known.len() > MOST || self.bytes > BYTES)
            && let Some((_, oldest)) = self.known.pop_front()
        {
            self.bytes -= oldest.bytes();
        }
    }

    pub(super) fn of(&self, sequence: u64) -> Option<Fate> {
        self.known.iter().rev().find(|(known, _)| *known == sequence).map(|(_, fate)| fate.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Credential;

    #[test]
    fn the_latest_are_known_and_all_are_bounded() {
        let entry = |length| {
            let target = "/api/v1/namespaces/n/events".to_owned();
            Arc::new(Entry::new(target, "e".into(), "application/json".into(), Credential::Node, vec![b' '; length]))
        };
        let mut fates = Fates::default();
        for sequence in 0..10_000 {
            fates.note(sequence, if sequence % 2 == 0 { Fate::Delivered } else { Fate::Refused(entry(10_000)) });
        }
        assert!(fates.bytes <= BYTES && fates.known.len() <= MOST);
        assert!(matches!(fates.of(9_998), Some(Fate::Delivered)) && matches!(fates.of(9_999), Some(Fate::Refused(_))));
        assert!(fates.of(5_000).is_none());
        (0..10_000).for_each(|sequence| fates.note(sequence, Fate::Delivered));
        assert_eq!((fates.bytes, fates.known.len()), (0, MOST));
    }
}
