//! Which collections go when there are more bytes than allowed. Pure.

/// What the plan looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate<K> {
    pub key: K,
    pub bytes: u64,
    /// Unix seconds of the last use.
    pub used: u64,
    pub pinned: bool,
}

/// The keys to give up, least recently used first, so that the rest fits into
/// `budget`. Pinned ones never go, even if they alone are over.
pub fn plan<K: Clone>(candidates: &[Candidate<K>], budget: u64) -> Vec<K> {
    let mut total: u64 = candidates.iter().map(|candidate| candidate.bytes).sum();
    let mut order: Vec<&Candidate<K>> = candidates.iter().filter(|candidate| !candidate.pinned).collect();
    order.sort_by_key(|candidate| (candidate.used, std::cmp::Reverse(candidate.bytes)));
    let mut gone = Vec::new();
    for candidate in order {
        if total <= budget {
            break;
        }
        total -= candidate.bytes;
        gone.push(candidate.key.clone());
    }
    gone
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_rest_fits_and_nothing_goes_that_could_stay(
            rows in proptest::collection::vec((0_u64..100, 0_u64..50, any::<bool>()), 0..40),
            budget in 0_u64..2000,
        ) {
            let candidates: Vec<_> = rows.iter().enumerate()
                .map(|(key, &(bytes, used, pinned))| Candidate { key, bytes, used, pinned }).collect();
            let gone = plan(&candidates, budget);
            let total: u64 = candidates.iter().map(|c| c.bytes).sum();
            let freed: u64 = gone.iter().map(|key| candidates[*key].bytes).sum();
            prop_assert!(gone.iter().all(|key| !candidates[*key].pinned));
            let all_gone = gone.len() == candidates.iter().filter(|c| !c.pinned).count();
            prop_assert!(total - freed <= budget || all_gone);
            if let Some(last) = gone.last() {
                prop_assert!(total - freed + candidates[*last].bytes > budget, "one too many went");
            }
            let newest_gone = gone.iter().map(|key| candidates[*key].used).max();
            let oldest_kept = candidates.iter().filter(|c| !c.pinned && !gone.contains(&c.key)).map(|c| c.used).min();
            if let (Some(gone), Some(kept)) = (newest_gone, oldest_kept) {
                prop_assert!(gone <= kept);
            }
        }
    }
}
