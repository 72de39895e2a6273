//! What is known of the link to the cloud: a verdict for each server.
//!
//! Written by background::cluster alone; read by dispatch and balance. `suspect` is
//! the path's way of saying that a connection just failed: the server's prober looks at once.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};

/// Watches that wait for the link ask the cloud over this time, in milliseconds, not all at once.
const SPREAD: u64 = 1000;
/// The beginning of it is the node's own.
const OWN: u64 = 100;

/// When a watch that waits for the link asks again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// The number of its request.
    pub id: u64,
    /// It is kubelet's: what runs on the node goes by it.
    pub is_nodes: bool,
}

impl Turn {
    fn after(self) -> Duration {
        let mixed = self.id.wrapping_mul(7919);
        Duration::from_millis(if self.is_nodes { mixed % OWN } else { OWN + mixed % (SPREAD - OWN) })
    }
}

/// How the servers that are up share the requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Balancing {
    RoundRobin,
    /// The first that is named, as long as it is up.
    Priority,
    /// One server for each component and path.
    ConsistentHashing,
    /// The one that answers fastest.
    LowestLatency,
}

impl Balancing {
    pub const ALL: [Self; 4] = [Self::RoundRobin, Self::Priority, Self::ConsistentHashing, Self::LowestLatency];

    /// The name in `--lb-mode`; the first two are yurthub's.
    pub fn name(self) -> &'static str {
        match self {
            Self::RoundRobin => "rr",
            Self::Priority => "priority",
            Self::ConsistentHashing => "consistent-hashing",
            Self::LowestLatency => "lowest-latency",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.name() == name)
    }
}

pub struct Link {
    servers: Vec<AtomicBool>,
    /// How long the servers take to answer, in microseconds; 0: not known.
    latencies: Vec<AtomicU64>,
    up: watch::Sender<bool>,
    /// When it came back the last time.
    back_at: Mutex<Option<Instant>>,
    /// Whether a server was seen to be up, and none to be down since.
    proven: watch::Sender<bool>,
    /// One for each server.
    suspicions: Vec<Notify>,
}

impl Link {
    /// All servers count as up until they are seen to be down: the first requests try.
    pub fn new(servers: usize) -> Self {
        Self {
            servers: (0..servers).map(|_| AtomicBool::new(true)).collect(),
            latencies: (0..servers).map(|_| AtomicU64::new(0)).collect(),
            up: watch::Sender::new(true),
            back_at: Mutex::new(None),
            proven: watch::Sender::new(false),
            suspicions: (0..servers).map(|_| Notify::new()).collect(),
        }
    }

    /// Whether at least one server is up.
    pub fn is_up(&self) -> bool {
        *self.up.borrow()
    }

    pub fn server_is_up(&self, index: usize) -> bool {
        self.servers[index].load(Ordering::Relaxed)
    }

    /// A server has answered a probe after this long.
    pub fn took(&self, index: usize, time: Duration) {
        let (known, now) = (&self.latencies[index], u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1));
        let smooth = |before: u64| if before == 0 { now } else { before - before / 4 + now / 4 };
        known.store(smooth(known.load(Ordering::Relaxed)), Ordering::Relaxed);
    }

    /// How long a server takes to answer, of late.
    pub fn latency(&self, index: usize) -> Option<Duration> {
        Some(self.latencies[index].load(Ordering::Relaxed)).filter(|known| *known > 0).map(Duration::from_micros)
    }

    /// Follows the verdict over all servers.
    pub fn watch(&self) -> watch::Receiver<bool> {
        self.up.subscribe()
    }

    /// Returns when the link is up.
    pub async fn is_back(&self) {
        let _ = self.up.subscribe().wait_for(|up| *up).await.map(drop);
    }

    /// The same for one of many that wait for it.
    pub async fn is_back_in_turn(&self, turn: Turn) {
        self.is_back().await;
        tokio::time::sleep(turn.after()).await;
    }

    /// Returns when all that wait for the link have had their turn since it came back.
    pub async fn turns_are_over(&self) {
        let back_at = *self.back_at.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(back_at) = back_at {
            sleep_until(back_at + Duration::from_millis(SPREAD)).await;
        }
    }

    /// Returns when the link is seen to be up: until a server was asked, that is only hoped.
    pub async fn is_proven(&self) {
        let _ = self.proven.subscribe().wait_for(|proven| *proven).await.map(drop);
    }

    /// A server that counts as up has answered.
    pub fn prove(&self) {
        self.proven.send_if_modified(|proven| !std::mem::replace(proven, true));
    }

    /// Returns when the link is down.
    pub async fn falls(&self) {
        let _ = self.up.subscribe().wait_for(|up| !*up).await.map(drop);
    }

    /// Sets the verdict of one server; true if the verdict over all changed.
    pub fn set(&self, index: usize, up: bool) -> bool {
        self.servers[index].store(up, Ordering::Relaxed);
        self.proven.send_if_modified(|proven| !up && std::mem::take(proven));
        let any = self.servers.iter().any(|server| server.load(Ordering::Relaxed));
        self.up.send_if_modified(|current| {
            if any && !*current {
                *self.back_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
            }
            std::mem::replace(current, any) != any
        })
    }

    /// A request saw a connection to this server fail: whoever probes it should look now, or again if it is looking.
    pub fn suspect(&self, index: usize) {
        self.suspicions[index].notify_one();
    }

    /// Whether somebody has suspected it meanwhile.
    pub fn was_suspected(&self, index: usize) -> bool {
        self.suspicions[index].notified().now_or_never().is_some()
    }

    pub async fn suspected(&self, index: usize) {
        self.suspicions[index].notified().await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn many_that_wait_for_the_link_are_not_back_at_once_but_within_a_second() {
        let link = Link::new(1);
        link.set(0, false);
        let turn = |id, is_nodes| link.is_back_in_turn(Turn { id, is_nodes });
        assert!(turn(0, true).now_or_never().is_none());
        link.set(0, true);
        let began = tokio::time::Instant::now();
        for is_nodes in [false, true] {
            let took = async |id| {
                turn(id, is_nodes).await;
                began.elapsed()
            };
            let began = began.elapsed();
            let mut turns: Vec<_> = futures_util::future::join_all((0..100).map(took)).await;
            let own = |turn: &Duration| (*turn - began).as_millis() < u128::from(OWN);
            assert!(turns.iter().all(|turn| own(turn) == is_nodes), "kubelet's come before the others");
            assert!(turns.iter().all(|turn| *turn - began < Duration::from_secs(1)));
            turns.sort();
            turns.dedup();
            assert_eq!(turns.len(), 100, "each in a turn of its own");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_the_others_does_so_after_each_cut_and_no_longer_than_they_take() {
        let link = Link::new(2);
        assert!(link.turns_are_over().now_or_never().is_some(), "it was never away");
        link.set(0, false);
        link.set(0, true);
        assert!(link.turns_are_over().now_or_never().is_some(), "nor with the other server there");
        for _ in 0..2 {
            (0..2).for_each(|server| _ = link.set(server, false));
            (0..2).for_each(|server| _ = link.set(server, true));
            let began = Instant::now();
            link.turns_are_over().await;
            assert_eq!(began.elapsed().as_millis(), u128::from(SPREAD));
            assert!(link.turns_are_over().now_or_never().is_some());
        }
    }

    #[test]
    fn a_link_is_proven_by_an_answer_until_a_server_is_seen_to_be_down() {
        let link = Link::new(2);
        let is_proven = || link.is_proven().now_or_never().is_some();
        assert!(link.is_up() && !is_proven(), "nobody was asked");
        link.set(0, true);
        assert!(!is_proven(), "said at the start");
        link.prove();
        assert!(is_proven());
        link.set(1, false);
        assert!(link.is_up() && !is_proven());
        link.prove();
        assert!(is_proven());
    }

    #[test]
    fn a_servers_latency_follows_its_answers_smoothly() {
        let link = Link::new(2);
        assert_eq!(link.latency(0), None);
        for (took, known) in [(40, 40), (80, 50), (80, 57), (10, 45)] {
            link.took(0, Duration::from_millis(took));
            assert_eq!(link.latency(0).unwrap().as_millis(), known, "after {took} ms");
        }
        assert_eq!(link.latency(1), None);
    }

    #[test]
    fn a_suspicion_waits_for_the_prober_of_its_server() {
        let link = Link::new(2);
        link.suspect(1);
        assert!(link.suspected(0).now_or_never().is_none());
        assert!(link.suspected(1).now_or_never().is_some(), "although nobody waited when it came");
        assert!(link.suspected(1).now_or_never().is_none(), "one look for it");
    }
}
