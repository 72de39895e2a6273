//! Who has read what the node knows, and when each of them was seen last: for the budget, never for rights.
//!
//! An agent is a component by its User-Agent. When it was seen is written once an hour, for it is asked in days.

use std::collections::{BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use super::grant::now;
use super::{Knowledge, Scope, StoreError, keys};

/// Seconds between two writes of when an agent was seen.
const REFRESH: u64 = 3600;
/// So many are told apart; what more have read is everybody's.
const READERS: usize = 16;
const EVERYBODY: &str = "*";

/// Who asks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reader {
    pub agent: String,
    /// Kubelet, or the hub itself: never given up for space.
    pub node: bool,
}

/// The agents that have read something; none: it was read before this was noted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Readers(BTreeSet<String>);

/// Unix seconds at which each agent was seen last.
#[derive(Debug, Default)]
pub(super) struct Seen(HashMap<String, u64>);

impl Readers {
    pub(super) fn of(reader: &Reader) -> Self {
        let mut readers = Self::default();
        readers.note(&reader.agent);
        readers
    }

    pub(super) fn note(&mut self, agent: &str) {
        if self.0.contains(agent) || agent.is_empty() {
            return;
        }
        let agent = if self.0.len() < READERS { agent } else { EVERYBODY };
        self.0.insert(agent.to_owned());
    }

    pub(super) fn note_all(&mut self, others: &Self) {
        others.0.iter().for_each(|agent| self.note(agent));
    }

    pub(super) fn any(&self, wanted: impl Fn(&str) -> bool) -> bool {
        self.0.iter().any(|agent| wanted(agent))
    }
}

impl Seen {
    /// Whether an agent was seen since then.
    pub(super) fn was_seen(&self, agent: &str, since: u64) -> bool {
        self.0.get(agent).is_some_and(|at| *at >= since)
    }

    /// Unix seconds at which the last of the readers was seen.
    pub(super) fn last(&self, readers: &Readers) -> u64 {
        if readers.0.is_empty() || readers.0.contains(EVERYBODY) {
            return u64::MAX;
        }
        readers.0.iter().filter_map(|agent| self.0.get(agent)).max().copied().unwrap_or_default()
    }
}

impl Knowledge {
    /// Notes that an agent asks for something, whatever it is. Cheap when it is known already.
    pub fn see(&self, agent: &str) {
        let now = now();
        if self.first_in(agent, REFRESH, now) && !self.put(keys::raw(keys::AGENT, agent.as_bytes()), &now.to_be_bytes()) {
            self.recent.forget(agent);
        }
    }

    /// Notes who reads a collection by what is remembered for somebody else.
    pub fn note_reader(&self, scope: &Scope, reader: &Reader) {
        let is_new = self.catalogue().headers.get_mut(&scope.key()).is_some_and(|header| {
            let before = (header.pinned, header.readers.clone());
            header.pinned |= reader.node;
            header.readers.note(&reader.agent);
            before != (header.pinned, header.readers.clone())
        });
        if is_new {
            self.write_head_later(scope);
        }
    }

    pub(super) fn seen(&self) -> Result<Seen, StoreError> {
        let mut seen = HashMap::new();
        self.snapshot()?.scan(&[keys::AGENT], &mut |key, row| {
            let at = self.sealer().open_row(key, row.to_vec()).ok().and_then(|row| seen_at(&row));
            // Nothing goes because a row is damaged.
            seen.insert(String::from_utf8_lossy(&key[1..]).into_owned(), at.unwrap_or(u64::MAX));
            true
        })?;
        Ok(Seen(seen))
    }
}

/// Unix seconds in the opened row of an agent.
pub(super) fn seen_at(row: &[u8]) -> Option<u64> {
    row.try_into().ok().map(u64::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_the_readers_counts_and_of_many_nobody_is_asked() {
        let seen = Seen((0..20).map(|number| (format!("a{number}"), number)).collect());
        let mut readers = Readers::default();
        assert_eq!(seen.last(&readers), u64::MAX, "nobody knows who has read it");
        readers.note("never seen");
        assert_eq!(seen.last(&readers), 0);
        (0..15).for_each(|number| readers.note(&format!("a{number}")));
        assert_eq!(seen.last(&readers), 14);
        readers.note("a3");
        assert_eq!(seen.last(&readers), 14, "known already");
        readers.note("a19");
        assert_eq!(seen.last(&readers), u64::MAX, "everybody's");
        assert!(readers.any(|agent| agent == "a3") && !readers.any(|agent| agent == "a19"));
    }
}
