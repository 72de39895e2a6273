//! Up or down? Pure: what was seen goes in, the verdict and the next probe come out.
//!
//! Down at once if a probe that somebody's broken connection asked for fails too, or
//! after `failures` probes in a row without any suspicion; up after `successes` good
//! probes in a row. While the verdict is in doubt probes follow quickly.
//!
//! A link that has fallen again soon after it came back is unsteady for some minutes: silence then takes one probe more to
//! bring it down, and it takes two good ones more to come up. That it is refused or reset counts at once all the same.

use std::time::Duration;

use tokio::time::Instant;

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
    /// No answer in time, but it shakes hands or replies to pings: its answer was lost, or it is about something else.
    Slow,
    /// No answer in time.
    Silent,
}

impl Seen {
    /// Whether a connection that broke meanwhile says the same. Where the server answers, be it somebody else or that it is
    /// not ready, such a suspicion calls for a probe of its own.
    pub fn is_of_the_link(self) -> bool {
        matches!(self, Self::Unreachable | Self::Silent)
    }
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
/// A fall so soon after the one before makes the link unsteady, and it is so for as long after its last fall.
const SOON: Duration = Duration::from_secs(60);
const UNSTEADY: Duration = Duration::from_secs(300);
/// How many probes more an unsteady link takes to fall silent, and to come up.
const MORE_TO_FALL: u32 = 1;
const MORE_TO_RISE: u32 = 2;

#[derive(Debug)]
pub struct Verdict {
    up: bool,
    /// Probes in a row that speak against the verdict.
    against: u32,
    suspected: bool,
    fell: Option<Instant>,
    unsteady_until: Option<Instant>,
}

impl Verdict {
    /// Up until it is seen to be down: the first requests try.
    pub fn new() -> Self {
        Self { up: true, against: 0, suspected: true, fell: None, unsteady_until: None }
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
        let (to_fall, to_rise) = if self.is_unsteady() { (MORE_TO_FALL, MORE_TO_RISE) } else { (0, 0) };
        let enough = match (self.up, seen) {
            (false, _) => self.against >= probing.successes + to_rise,
            // Two witnesses: the request's connection, and this probe.
            (true, Seen::Unreachable) if suspected => true,
            (true, Seen::Silent) if suspected && self.against > to_fall => true,
            (true, _) => self.against >= probing.failures,
        };
        if enough {
            self.turn();
        } else if self.up {
            // It has said all it knows: the next probe is asked for by the same suspicion.
            self.suspected = suspected && seen == Seen::Silent;
        }
        enough
    }

    fn turn(&mut self) {
        (self.up, self.against) = (!self.up, 0);
        if !self.up {
            let now = Instant::now();
            if self.fell.replace(now).is_some_and(|before| now - before < SOON) || self.is_unsteady() {
                self.unsteady_until = Some(now + UNSTEADY);
            }
        }
    }

    fn is_unsteady(&self) -> bool {
        self.unsteady_until.is_some_and(|until| Instant::now() < until)
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
    use Seen::{Busy, Good, Silent, Slow, Unreachable, Unready};

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
        assert_eq!(after(&mut settled(), &[Slow, Slow, Slow]), [true, true, false]);
        assert_eq!(
            after(&mut settled(), &[Unready, Unready, Good, Unready, Unready, Unready]),
            [true, true, true, true, true, false]
        );
    }

    #[test]
    fn a_suspicion_and_a_failed_probe_are_enough() {
        for (seen, up) in [(Silent, false), (Unreachable, false), (Unready, true), (Slow, true), (Good, true)] {
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

    /// Each time somebody's connection breaks first; says how often it has fallen.
    async fn falls(verdict: &mut Verdict, seconds: u64, seen: impl Fn(u64) -> Seen) -> usize {
        let (mut falls, begun) = (0, Instant::now());
        while begun.elapsed().as_secs() < seconds {
            let was_up = verdict.is_up();
            let seen = seen(begun.elapsed().as_secs());
            if was_up && seen != Good {
                verdict.suspect();
            }
            verdict.note(seen, Probing::default());
            falls += usize::from(was_up && !verdict.is_up());
            let took = if seen == Silent { Probing::default().timeout } else { Duration::ZERO };
            tokio::time::advance(took + verdict.next_probe(Probing::default()).min(Duration::from_secs(1))).await;
        }
        falls
    }

    #[tokio::test(start_paused = true)]
    async fn an_unsteady_link_falls_less_often() {
        let mut verdict = settled();
        // Two seconds of silence in each ten.
        let flaps = |second: u64| if second % 10 < 2 { Silent } else { Good };
        let (first, later) = (falls(&mut verdict, 30, flaps).await, falls(&mut verdict, 240, flaps).await);
        assert!(first >= 2, "{first}");
        assert_eq!(later, 0, "one probe falls into each silence, the next one is answered");
        assert_eq!(falls(&mut verdict, 30, |_| Silent).await, 1, "a real cut");
        assert_eq!(after(&mut verdict, &[Good, Good, Good, Good]), [false, false, false, true]);
        verdict.suspect();
        assert_eq!(after(&mut verdict, &[Unreachable]), [false], "that is no silence");
        tokio::time::advance(UNSTEADY).await;
        assert_eq!(after(&mut verdict, &[Good, Good]), [false, true], "long ago");
        verdict.suspect();
        assert_eq!(after(&mut verdict, &[Silent]), [false]);
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
