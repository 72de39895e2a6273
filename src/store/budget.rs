//! What goes: garbage first, then what is over the budget. Pure.

/// Seconds after which one object of kubelet's that is not used makes room for others.
const RESTING: u64 = 2 * 24 * 3600;

/// What the plan looks at: a collection, or a row that stands for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate<K> {
    pub key: K,
    pub bytes: u64,
    pub objects: u64,
    /// Unix seconds of the last use.
    pub used: u64,
    /// Unix seconds at which the last of those who have read it was seen.
    pub seen: u64,
    /// Kubelet's, or a pinned agent's.
    pub pinned: bool,
    /// Of what is pinned: one object that is nobody's but kubelet's, of a kind of which it has as many as its Pods name. It
    /// stays as long as it is used. Seconds in which that could have been since it was.
    pub idle: Option<u64>,
    /// An object that was read by its name: no list renews it.
    pub single: bool,
    /// It is known not to be there any more.
    pub gone: bool,
}

/// What may stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    pub bytes: u64,
    pub objects: u64,
    /// Unix seconds.
    pub now: u64,
    /// Seconds after which what only agents have read that were not seen since is garbage.
    pub unseen: u64,
    /// Seconds after which a single object that nobody has asked for is garbage.
    pub unlisted: u64,
}

/// Why something goes; a label of the metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    Gone,
    Unseen,
    Unlisted,
    Unused,
    Space,
}

impl Why {
    pub fn label(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Unseen => "agent not seen",
            Self::Unlisted => "not listed",
            Self::Unused => "not used",
            Self::Space => "space",
        }
    }
}

impl Bounds {
    /// Nothing goes by these.
    pub const NONE: Self = Self { bytes: u64::MAX, objects: u64::MAX, now: 0, unseen: u64::MAX, unlisted: u64::MAX };

    /// Why a candidate is garbage, if it is. Of what is pinned only what is not there any more, or not used, is.
    pub fn garbage<K>(&self, candidate: &Candidate<K>) -> Option<Why> {
        let is_older = |at: u64, age: u64| at.saturating_add(age) < self.now;
        match candidate {
            Candidate { gone: true, .. } => Some(Why::Gone),
            Candidate { pinned: true, idle: Some(idle), single, .. } => {
                let bound = if *single { self.unlisted } else { self.unseen };
                (*idle > bound).then_some(Why::Unused)
            }
            Candidate { pinned: true, .. } => None,
            Candidate { seen, .. } if is_older(*seen, self.unseen) => Some(Why::Unseen),
            Candidate { single: true, used, .. } if is_older(*used, self.unlisted) => Some(Why::Unlisted),
            _ => None,
        }
    }

    fn hold(&self, bytes: u64, objects: u64) -> bool {
        bytes <= self.bytes && objects <= self.objects
    }
}

impl<K> Candidate<K> {
    /// Whether it never goes for space. Kubelet's Pods say so anew each day.
    fn stays(&self) -> bool {
        self.pinned && self.idle.is_none_or(|idle| idle <= RESTING)
    }
}

/// What to give up, in this order: garbage, and then the least recently used until the rest fits. Pinned ones that are in
/// use never go for space, even if they alone are over.
pub fn plan<K: Clone>(candidates: &[Candidate<K>], bounds: &Bounds) -> Vec<(K, Why)> {
    let mut order: Vec<&Candidate<K>> = candidates.iter().collect();
    order.sort_by_key(|candidate| (candidate.used, std::cmp::Reverse(candidate.bytes)));
    let (mut gone, mut rest) = (Vec::new(), Vec::new());
    for candidate in order {
        match bounds.garbage(candidate) {
            Some(why) => gone.push((candidate.key.clone(), why)),
            None => rest.push(candidate),
        }
    }
    let mut bytes: u64 = rest.iter().map(|candidate| candidate.bytes).sum();
    let mut objects: u64 = rest.iter().map(|candidate| candidate.objects).sum();
    for candidate in rest.into_iter().filter(|candidate| !candidate.stays()) {
        if bounds.hold(bytes, objects) {
            break;
        }
        (bytes, objects) = (bytes - candidate.bytes, objects - candidate.objects);
        gone.push((candidate.key.clone(), Why::Space));
    }
    gone
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn candidate(key: &str, used: u64) -> Candidate<&str> {
        let (bytes, objects) = (100, 10);
        Candidate { key, bytes, objects, used, seen: u64::MAX, pinned: false, idle: None, single: false, gone: false }
    }

    #[test]
    fn what_goes_and_in_which_order() {
        let pinned = |candidate| Candidate { pinned: true, ..candidate };
        let seen = |candidate, seen| Candidate { seen, ..candidate };
        let single = |candidate| Candidate { single: true, ..candidate };
        let idle = |candidate, idle| Candidate { idle: Some(idle), ..pinned(candidate) };
        let gone = |candidate| Candidate { gone: true, ..candidate };
        let all = [
            pinned(candidate("kubelet's", 1)),
            candidate("old", 2),
            candidate("new", 9),
            seen(candidate("of one who left", 8), 50),
            pinned(seen(candidate("pinned, of one who left", 0), 50)),
            single(candidate("single, lately", 90)),
            single(candidate("single, long ago", 5)),
            pinned(single(candidate("kubelet's, long ago", 5))),
            pinned(gone(candidate("a Pod that is gone", 99))),
            idle(candidate("kubelet's, used", 1), 900),
            idle(candidate("kubelet's, of a Pod that is gone", 3), 901),
            single(idle(candidate("kubelet's, got lately", 4), 901)),
        ];
        let garbage = Bounds { now: 1000, unseen: 900, unlisted: 920, ..Bounds::NONE };
        let by_garbage = [
            ("kubelet's, of a Pod that is gone", Why::Unused),
            ("single, long ago", Why::Unlisted),
            ("of one who left", Why::Unseen),
            ("a Pod that is gone", Why::Gone),
        ];
        for (bounds, expected) in [
            (Bounds::NONE, vec![("a Pod that is gone", Why::Gone)]),
            (garbage, by_garbage.to_vec()),
            // Eight are left, of which five are pinned.
            (Bounds { bytes: 700, ..garbage }, [&by_garbage[..], &[("old", Why::Space)]].concat()),
            (Bounds { objects: 69, ..garbage }, [&by_garbage[..], &[("old", Why::Space), ("new", Why::Space)]].concat()),
            (
                Bounds { objects: 0, ..garbage },
                [&by_garbage[..], &[("old", Why::Space), ("new", Why::Space), ("single, lately", Why::Space)]].concat(),
            ),
        ] {
            assert_eq!(plan(&all, &bounds), expected, "{bounds:?}");
        }
    }

    prop_compose! {
        fn any_candidate()(
            (bytes, objects, used, seen) in (0_u64..100, 0_u64..100, 0_u64..50, 0_u64..50),
            (pinned, single, gone) in (any::<bool>(), any::<bool>(), proptest::bool::weighted(0.1)),
            idle in proptest::option::of(prop_oneof![0_u64..100, Just(RESTING + 1)]),
        ) -> Candidate<usize> {
            Candidate { key: 0, bytes, objects, used, seen, pinned, idle: idle.filter(|_| pinned), single, gone }
        }
    }

    fn sums<'a>(candidates: impl Iterator<Item = &'a Candidate<usize>>) -> (u64, u64) {
        candidates.fold((0, 0), |(bytes, objects), candidate| (bytes + candidate.bytes, objects + candidate.objects))
    }

    proptest! {
        #[test]
        fn the_rest_fits_and_nothing_goes_that_could_stay(
            mut candidates in proptest::collection::vec(any_candidate(), 0..40),
            (bytes, objects, now) in (0_u64..2000, 0_u64..2000, 0_u64..100),
            (unseen, unlisted) in (0_u64..100, 0_u64..100),
        ) {
            candidates.iter_mut().enumerate().for_each(|(key, candidate)| candidate.key = key);
            let bounds = Bounds { bytes, objects, now, unseen, unlisted };
            let plan = plan(&candidates, &bounds);
            let goes = |key: usize| plan.iter().any(|(gone, _)| *gone == key);
            let keys: std::collections::HashSet<usize> = plan.iter().map(|(key, _)| *key).collect();
            prop_assert_eq!(keys.len(), plan.len(), "each goes once");
            for candidate in &candidates {
                let is_in_use = candidate.idle.is_none_or(|idle| idle <= bounds.unseen.min(bounds.unlisted).min(RESTING));
                let must_stay = candidate.pinned && is_in_use && !candidate.gone;
                prop_assert!(!must_stay || !goes(candidate.key), "pinned: {:?}", candidate);
                prop_assert!(bounds.garbage(candidate).is_none() || goes(candidate.key), "garbage: {:?}", candidate);
            }
            let kept = || candidates.iter().filter(|candidate| !goes(candidate.key));
            let (left, left_objects) = sums(kept());
            prop_assert!(bounds.hold(left, left_objects) || kept().all(Candidate::stays));
            let for_space: Vec<_> = plan.iter().filter(|(_, why)| *why == Why::Space).map(|(key, _)| &candidates[*key]).collect();
            prop_assert!(plan.iter().skip_while(|(_, why)| *why != Why::Space).all(|(_, why)| *why == Why::Space));
            prop_assert!(for_space.is_sorted_by_key(|candidate| candidate.used));
            if let Some(last) = for_space.last() {
                prop_assert!(!bounds.hold(left + last.bytes, left_objects + last.objects), "one too many went");
                let oldest_kept = kept().filter(|candidate| !candidate.stays()).map(|candidate| candidate.used).min();
                prop_assert!(oldest_kept.is_none_or(|kept| last.used <= kept));
            }
        }
    }
}
