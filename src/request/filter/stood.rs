//! Where the client of one watch stands, beside its version.
//!
//! Goes with the answer to a watch, as an extension, from whoever makes its events to whoever passes them on and asks for the
//! watch again (`held.rs`): what [`Told`](crate::state::told::Told) knows is of all clients that look alike.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Basis, By};

/// The places (`namespace/name`) of Events that a client was shown as they were written here, that the cloud has taken, and
/// that it has not told the client yet.
pub type Taken = BTreeSet<String>;

/// Of them at most so many.
const MOST: usize = 256;

/// Under what it was told all that it was told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mark {
    /// Nothing serves it.
    #[default]
    Nothing,
    One(u64),
    /// It has not been told all that has changed with the last change.
    Mixed,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stood {
    pub mark: Mark,
    /// It has what was written here; as it was last told of that, so much of it was gone. `None`: the cloud has all it has.
    pub local: Option<u64>,
    pub taken: Taken,
    /// Up to which version it was told everything, what is hidden from it included; 0: nothing is.
    pub seen: u64,
}

/// As it is by now.
#[derive(Clone, Default)]
pub struct Stands(Arc<Mutex<Stood>>);

impl From<Option<u64>> for Mark {
    fn from(mark: Option<u64>) -> Self {
        mark.map_or(Self::Nothing, Self::One)
    }
}

impl Stood {
    /// From what it may go on with somebody's events under this mark; `None`: not at all.
    pub(super) fn basis(&self, mark: Mark, by: By) -> Option<Basis> {
        let is_same = self.mark == mark && mark != Mark::Mixed && self.taken.len() <= MOST;
        let basis = match (self.local, by) {
            (None, _) => Some(Basis::Cloud),
            (Some(then), By::Node { gone }) if then == gone => Some(Basis::Local),
            _ => None,
        };
        basis.filter(|_| is_same)
    }
}

impl Stood {
    /// What the cloud has not told yet of what was taken before.
    pub(in crate::request) fn and(mut self, taken: Taken) -> Self {
        self.taken.extend(taken);
        self
    }
}

impl Stands {
    pub(in crate::request) fn at(stood: Stood) -> Self {
        Self(Arc::new(Mutex::new(stood)))
    }

    pub(in crate::request) fn now(&self) -> Stood {
        self.stood().clone()
    }

    pub(in crate::request) fn change(&self, change: impl FnOnce(&mut Stood)) {
        change(&mut self.stood());
    }

    fn stood(&self) -> MutexGuard<'_, Stood> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_on_under_the_same_and_with_what_is_not_gone() {
        let (cloud, node) = (By::Cloud, |gone| By::Node { gone });
        let stood = |mark, local| Stood { mark, local, ..Stood::default() };
        let one = Mark::One(1);
        for (stood, mark, by, basis) in [
            (stood(one, None), one, cloud, Some(Basis::Cloud)),
            (stood(one, None), one, node(7), Some(Basis::Cloud)),
            (stood(one, None), Mark::One(2), cloud, None),
            (stood(one, None), Mark::Nothing, cloud, None),
            (stood(Mark::Nothing, None), one, cloud, None),
            (stood(Mark::Nothing, None), Mark::Nothing, cloud, Some(Basis::Cloud)),
            (stood(Mark::Mixed, None), Mark::Mixed, cloud, None),
            (stood(one, Some(7)), one, cloud, None),
            (stood(one, Some(7)), one, node(7), Some(Basis::Local)),
            (stood(one, Some(7)), one, node(8), None),
        ] {
            assert_eq!(stood.basis(mark, by), basis, "{stood:?} {mark:?} {by:?}");
        }
        let taken = (0..=MOST).map(|index| index.to_string()).collect();
        assert_eq!(Stood { taken, ..stood(one, None) }.basis(one, cloud), None, "too much to tell");
    }
}
