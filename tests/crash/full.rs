//! The disk is full, at any moment and for a while.

use std::sync::Arc;

use holdfast::store::Disk;

use crate::medium::Medium;
use crate::random::Random;
use crate::world::{Step, World, come_to_rest, open};

const STEPS: usize = 300;

#[tokio::test]
async fn a_full_disk_leaves_a_state_that_was_and_all_that_was_promised() {
    let seed = crate::seed();
    let mut random = Random::new(seed);
    let medium = Medium::default();
    let disk = medium.clone();
    let knowledge = open(Arc::new(Disk::on(move || disk.clone()).unwrap())).unwrap();
    // States since the last promise, the newest last.
    let mut states = vec![World::default()];
    let mut refused = 0;
    for number in 0..STEPS {
        let before = states.last().unwrap();
        let step = Step::any(before, 10 + number as u64, &mut random);
        let after = before.after(&step);
        let full = random.one_in(3);
        medium.set_room(full.then(|| random.below(12)));
        let taken = step.take(&knowledge).await;
        come_to_rest(&knowledge).await;
        medium.set_room(None);
        come_to_rest(&knowledge).await;
        let found = World::of(&knowledge).unwrap_or_else(|error| panic!("HOLDFAST_SEED={seed}, {number}, {step:?}: {error}"));
        if taken.is_ok() && matches!(step, Step::Accept { .. } | Step::Deliver) {
            states.clear();
        }
        states.push(after);
        let state = states.iter().rposition(|state| *state == found);
        let state = state.unwrap_or_else(|| panic!("HOLDFAST_SEED={seed}, {number}, {step:?}: {found:?}\nnone of {states:?}"));
        assert!(full || taken.is_ok(), "HOLDFAST_SEED={seed}, {number}, {step:?}: there was room");
        refused += usize::from(taken.is_err());
        states.truncate(state + 1);
    }
    println!("{STEPS} steps, {refused} refused");
    assert!(refused > 0, "the disk was never full at the wrong moment");
}
