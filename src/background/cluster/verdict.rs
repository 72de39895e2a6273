//! Up or down? Pure: what was seen goes in, the verdict and the next probe come out.
//!
//! Down at once if a probe that somebody's broken connection asked for fails too, or
//! after `failures` probes in a row without any suspicion; up after `successes` good
//! probes in a row. While the verdict is in doubt probes follow quickly.

use std::time::Duration;

/// What a probe saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    Good,
    /// It answers, and says that it is not ready.
    Unready,
    /// No connection, or one that broke.
    Unreachable,
    /// No answer in time, but meanwhile parts of others.
    Busy,
    /// No answer in time.
    Silent,
}

/// yurthub's `--heartbeat-*` flags.
#[derive(Debug, Clone, Copy)]
pub struct Probing {
    pub interval: Duration,
    pub timeout: Duration,
    pub failures: u32,
    pub successes: u32,
}

/// Between probes while the verdict is in doubt, or while the server is down.
const QUICK: Duration = Duration::from_millis(500);
const DOWN: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub struct Verdict {
    up: bool,
    /// Probes in a row that speak against the verdict.
    against: u32,
    suspected: bool,
}

impl Verdict {
    /// Up until it is seen to be down: the first requests try.
    pub fn new() -> Self {
        Self { up: true, against: 0, suspected: true }
    }

    pub fn is_up(&self) -> bool {
        self.up
    }

    /// A connection of somebody's failed: the next probe decides.
    pub fn suspect(&mut self) {
        self.suspected = true;
    }

    /// Takes a probe's result in; true if the verdict changed.
    pub fn note(&mut self, seen: Seen, probing: Probing) -> bool {
        let suspected = std::mem::take(&mut self.suspected);
        let is_alive = seen == Seen::Good || seen == Seen::Busy && self.up;
        if is_alive == self.up {
            self.against = 0;
            return false;
        }
        self.against += 1;
        let enough = match (self.up, seen) {
            (false, _) => self.against >= probing.successes,
            // Two witnesses: the request's connection, and this probe.
            (true, Seen::Unreachable | Seen::Silent) if suspected => true,
            (true, _) => self.against >= probing.failures,
        };
        if enough {
            self.up = !self.up;
            self.against = 0;
        }
        enough
    }

    pub fn next_probe(&self, probing: Probing) -> Duration {
        match (self.up, self.against) {
            (_, 1..) => QUICK,
            (true, 0) => probing.interval,
            (false, 0) => DOWN,
        }
    }
}

impl Default for Verdict {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Seen::{Busy, Good, Silent, Unreachable, Unready};

    fn settled() -> Verdict {
        let mut verdict = Verdict::new();
        verdict.note(Good, Probing::default());
        verdict
    }

    fn after(verdict: &mut Verdict, seen: &[Seen]) -> Vec<bool> {
        seen.iter()
            .map(|seen| {
                verdict.note(*seen, Probing::default());
                verdict.is_up()
            })
            .collect()
    }

    #[test]
    fn without_suspicion_it_takes_three_failures() {
        assert_eq!(after(&mut settled(), &[Silent, Unreachable, Silent]), [true, true, false]);
        assert_eq!(
            after(&mut settled(), &[Unready, Unready, Good, Unready, Unready, Unready]),
            [true, true, true, true, true, false]
        );
    }

    #[test]
    fn a_suspicion_and_a_failed_probe_are_enough() {
        for (seen, up) in [(Silent, false), (Unreachable, false), (Unready, true), (Good, true)] {
            let mut verdict = settled();
            verdict.suspect();
            assert_eq!(after(&mut verdict, &[seen]), [up], "{seen:?}");
        }
    }

    #[test]
    fn a_server_that_is_answering_others_is_up_but_does_not_come_up_by_it() {
        assert_eq!(after(&mut settled(), &[Silent, Silent, Busy, Silent, Silent]), [true; 5]);
        let mut verdict = settled();
        verdict.suspect();
        assert_eq!(after(&mut verdict, &[Busy, Silent, Silent, Silent]), [true, true, true, false]);
        assert_eq!(after(&mut verdict, &[Good, Busy, Good, Good]), [false, false, false, true]);
    }

    #[test]
    fn a_suspicion_does_not_outlive_its_probe() {
        let mut verdict = settled();
        verdict.suspect();
        assert_eq!(after(&mut verdict, &[Good, Silent, Silent]), [true, true, true]);
    }

    #[test]
    fn up_again_after_two_good_probes_in_a_row() {
        let mut verdict = settled();
        assert_eq!(
            after(&mut verdict, &[Silent, Silent, Silent, Good, Silent, Good, Good]),
            [true, true, false, false, false, false, true]
        );
    }

    #[test]
    fn a_server_that_is_dead_from_the_start_is_down_after_the_first_probe() {
        assert_eq!(after(&mut Verdict::new(), &[Unreachable]), [false]);
    }

    #[test]
    fn doubt_is_cleared_quickly() {
        let mut verdict = settled();
        assert_eq!(verdict.next_probe(Probing::default()), Duration::from_secs(10));
        verdict.note(Silent, Probing::default());
        assert_eq!(verdict.next_probe(Probing::default()), QUICK);
        after(&mut verdict, &[Silent, Silent]);
        assert_eq!(verdict.next_probe(Probing::default()), DOWN);
        verdict.note(Good, Probing::default());
        assert_eq!(verdict.next_probe(Probing::default()), QUICK);
    }
}
