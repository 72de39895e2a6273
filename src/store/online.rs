//! For how long, since some time, the link was up and kubelet at work: only then does it say anything that something was
//! not asked for.
//!
//! Seconds are counted by day. What is not counted (the last hour before a crash, the day on which something was used)
//! makes things stay longer.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::grant::now;
use super::{Knowledge, keys};

const DAY: u64 = 24 * 3600;
/// Seconds between two writes.
const REFRESH: u64 = 3600;
/// More days are not looked back.
const DAYS: usize = 400;
const KUBELET: &str = "kubelet";

/// Seconds, by the day since 1970.
#[derive(Default)]
pub(super) struct Online(Mutex<BTreeMap<u64, u64>>);

impl Online {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, at: u64, seconds: u64) -> BTreeMap<u64, u64> {
        let mut days = self.lock();
        let day = days.entry(at / DAY).or_default();
        *day = (*day + seconds).min(DAY);
        while days.len() > DAYS {
            days.pop_first();
        }
        days.clone()
    }

    /// Seconds after the day of this time.
    pub(super) fn since(&self, at: u64) -> u64 {
        self.lock().range(at / DAY + 1..).map(|(_, seconds)| seconds).sum()
    }
}

impl Knowledge {
    /// The link was up for so many seconds; they count if kubelet was seen lately.
    pub fn note_online(&self, seconds: u64) {
        let now = now();
        if self.seen().is_ok_and(|seen| seen.was_seen(KUBELET, now.saturating_sub(2 * REFRESH))) {
            self.note_online_at(now, seconds);
        }
    }

    pub(super) fn note_online_at(&self, now: u64, seconds: u64) {
        let days = self.online.add(now, seconds);
        if self.first_in(keys::ONLINE, REFRESH, now) {
            let row = serde_json::to_vec(&days).expect("numbers");
            if !self.put(keys::ONLINE.to_vec(), &row) {
                self.recent.forget(keys::ONLINE);
            }
        }
    }

    /// Reads what was counted in earlier lives of the hub; what is damaged is counted anew.
    pub(super) fn load_online(&self) {
        let row = self.snapshot().and_then(|snapshot| snapshot.read(keys::ONLINE)).ok().flatten();
        let row = row.and_then(|row| self.sealer().open_row(keys::ONLINE, row).ok());
        if let Some(days) = row.and_then(|row| serde_json::from_slice(&row).ok()) {
            *self.online.lock() = days;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_days_behind_it_count_and_no_more_than_a_day_has() {
        let online = Online::default();
        online.add(10 * DAY + 100, 50);
        online.add(11 * DAY, 70);
        online.add(13 * DAY, 2 * DAY);
        assert_eq!(online.since(10 * DAY), 70 + DAY);
        assert_eq!(online.since(9 * DAY), 50 + 70 + DAY);
        assert_eq!(online.since(13 * DAY), 0);
        (100..600).for_each(|day| drop(online.add(day * DAY, 1)));
        assert_eq!(online.lock().len(), DAYS);
    }
}
