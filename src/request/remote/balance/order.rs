//! In which order servers are asked: those that are up, as `--lb-mode` has it, and then the others. Pure.

use std::cmp::Reverse;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use crate::state::link::Balancing;

/// Servers whose answers take no longer than the fastest one's by so much are as good as that.
const ALIKE: Duration = Duration::from_millis(1);

/// What is known of a server.
pub(super) struct Candidate<'a> {
    pub name: &'a str,
    pub is_up: bool,
    /// How long its answers take; `None`: it was not asked yet.
    pub latency: Option<Duration>,
}

/// What a request says of itself.
pub(super) struct Asked<'a> {
    /// Grows with each request.
    pub turn: usize,
    /// Who asks, and for what.
    pub component: &'a str,
    pub path: &'a str,
}

/// Indices of servers, the best first.
pub(super) fn order(mode: Balancing, candidates: &[Candidate<'_>], asked: &Asked<'_>) -> Vec<usize> {
    let count = candidates.len();
    let mut order: Vec<usize> = match mode {
        Balancing::RoundRobin => (0..count).map(|step| (asked.turn % count + step) % count).collect(),
        _ => (0..count).collect(),
    };
    match mode {
        Balancing::RoundRobin | Balancing::Priority => {}
        Balancing::ConsistentHashing => order.sort_by_key(|index| Reverse(weight(candidates[*index].name, asked))),
        Balancing::LowestLatency => {
            let up = candidates.iter().filter(|candidate| candidate.is_up);
            let fastest = up.filter_map(|candidate| candidate.latency).min().unwrap_or_default();
            // Of those alike the first that is named: requests do not move from one to the other with every probe.
            let enough = fastest + fastest / 4 + ALIKE;
            order.sort_by_key(|index| candidates[*index].latency.filter(|latency| *latency > enough));
        }
    }
    order.sort_by_key(|index| !candidates[*index].is_up);
    order
}

/// Of a server for a request: the heaviest is asked, and where it falls its requests alone go elsewhere (rendezvous hashing).
fn weight(server: &str, asked: &Asked<'_>) -> u64 {
    // With the same keys in every process.
    let mut hasher = DefaultHasher::new();
    (server, asked.component, asked.path).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 3] = ["a:6443", "b:6443", "c:6443"];

    /// `latencies` in milliseconds; 0: not known.
    fn servers(up: [bool; 3], latencies: [u64; 3]) -> Vec<Candidate<'static>> {
        let latency = |index: usize| Some(latencies[index]).filter(|known| *known > 0).map(Duration::from_millis);
        (0..3).map(|index| Candidate { name: NAMES[index], is_up: up[index], latency: latency(index) }).collect()
    }

    fn asked(turn: usize, path: &str) -> Asked<'_> {
        Asked { turn, component: "kubelet", path }
    }

    #[test]
    fn in_turn_or_as_they_are_named_and_the_others_last() {
        let order = |mode, up, turn| order(mode, &servers(up, [0; 3]), &asked(turn, "/api"));
        for (turn, expected) in [(0, [0, 1, 2]), (1, [1, 2, 0]), (5, [2, 0, 1]), (usize::MAX, [0, 1, 2])] {
            assert_eq!(order(Balancing::RoundRobin, [true; 3], turn), expected, "{turn}");
        }
        assert_eq!(order(Balancing::RoundRobin, [true, false, true], 1), [2, 0, 1]);
        for turn in 0..4 {
            assert_eq!(order(Balancing::Priority, [true; 3], turn), [0, 1, 2]);
            assert_eq!(order(Balancing::Priority, [false, true, true], turn), [1, 2, 0]);
        }
    }

    #[test]
    fn one_server_is_asked_for_the_same_and_where_it_falls_nothing_else_moves() {
        let paths: Vec<String> = (0..300).map(|number| format!("/api/v1/namespaces/n-{number}/pods")).collect();
        let first = |up, path: &str, turn| order(Balancing::ConsistentHashing, &servers(up, [0; 3]), &asked(turn, path))[0];
        let all: Vec<usize> = paths.iter().map(|path| first([true; 3], path, 0)).collect();
        for server in 0..3 {
            let share = all.iter().filter(|index| **index == server).count();
            assert!((60..140).contains(&share), "server {server} has {share} of 300");
        }
        for (path, before) in paths.iter().zip(all) {
            assert_eq!(first([true; 3], path, 7), before);
            let now = first([true, false, true], path, 9);
            assert!(now == before || before == 1 && now != 1, "{path}: {before} -> {now}");
        }
    }

    #[test]
    fn the_fastest_is_asked_and_those_alike_keep_their_order() {
        let order = |up, latencies| order(Balancing::LowestLatency, &servers(up, latencies), &asked(0, "/api"));
        assert_eq!(order([true; 3], [40, 10, 20]), [1, 2, 0]);
        assert_eq!(order([true; 3], [13, 10, 11]), [0, 1, 2], "alike");
        assert_eq!(order([true; 3], [80, 0, 20]), [1, 2, 0], "one that was not asked yet is tried");
        assert_eq!(order([true, false, true], [40, 10, 80]), [0, 2, 1], "one that is down is no measure");
    }
}
