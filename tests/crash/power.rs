//! The power is lost at any moment.

use std::sync::Arc;

use holdfast::store::{Disk, Knowledge};

use crate::medium::{Change, Left, Medium, apply};
use crate::random::Random;
use crate::world::{Step, World, come_to_rest, open};

const STEPS: usize = 60;
/// Images that are looked at, unless it is all of them.
const IMAGES: usize = 1000;

/// A state of the store: known when the disk had seen so many changes.
struct Moment {
    changes: usize,
    world: World,
    /// From then on nothing of it may be lost.
    promised: bool,
}

struct Story {
    seed: u64,
    begin: Vec<u8>,
    trace: Vec<Change>,
    moments: Vec<Moment>,
}

impl Story {
    async fn play(seed: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("begin.redb");
        drop(Disk::open(&path).unwrap());
        let begin = std::fs::read(path).unwrap();
        let medium = Medium::with(begin.clone());
        let disk = medium.clone();
        let knowledge = open(Arc::new(Disk::on(move || disk.clone()).unwrap())).unwrap();
        let mut random = Random::new(seed);
        let mut moments = vec![Moment { changes: medium.changes(), world: World::default(), promised: false }];
        for number in 0..STEPS {
            let before = &moments.last().unwrap().world;
            let step = Step::any(before, 10 + number as u64, &mut random);
            let world = before.after(&step);
            step.take(&knowledge).await.unwrap();
            becomes(&knowledge, &world, &step).await;
            moments.push(Moment { changes: medium.changes(), world, promised: step.is_promise() });
        }
        // Its last commit is no part of the story.
        let trace = medium.trace();
        drop(knowledge);
        Self { seed, begin, trace, moments }
    }

    /// What may be found after a loss at this change.
    fn allowed(&self, cut: usize) -> &[Moment] {
        let promised = self.moments.iter().rposition(|moment| moment.promised && moment.changes <= cut).unwrap_or(0);
        let begun = self.moments.iter().position(|moment| moment.changes >= cut).unwrap_or(self.moments.len() - 1);
        &self.moments[promised..=begun.max(promised)]
    }
}

async fn becomes(knowledge: &Knowledge, world: &World, step: &Step) {
    for _ in 0..1000 {
        come_to_rest(knowledge).await;
        if World::of(knowledge).unwrap() == *world {
            return;
        }
    }
    panic!("after {step:?} the store says {:?}, not {world:?}", World::of(knowledge));
}

#[tokio::test]
async fn a_power_loss_leaves_a_state_that_was_and_all_that_was_promised() {
    let seed = crate::seed();
    let story = Story::play(seed).await;
    let all = std::env::var_os("HOLDFAST_SOAK").is_some();
    let mut random = Random::new(seed ^ 1);
    let (mut synced, mut since, mut images) = (story.begin.clone(), 0, 0);
    let one_in = (story.trace.len() / IMAGES).max(1);
    let each = IMAGES.div_ceil(story.trace.len());
    for cut in 0..=story.trace.len() {
        if cut > 0 && matches!(story.trace[cut - 1], Change::Sync) {
            story.trace[since..cut].iter().for_each(|change| apply(&mut synced, change));
            since = cut;
        }
        let pending = &story.trace[since..cut];
        let left = if all {
            Left::all(pending.len(), &mut random)
        } else if random.one_in(one_in) {
            (0..each).map(|_| Left::one(pending.len(), &mut random)).collect()
        } else {
            Vec::new()
        };
        for left in left {
            images += 1;
            look(&story, cut, &left, left.image(&synced, pending)).await;
        }
    }
    let (changes, states) = (story.trace.len(), story.moments.len());
    println!("{changes} changes, {states} states, {images} images");
}

/// The image opens as what was known, and goes on from there.
async fn look(story: &Story, cut: usize, left: &Left, image: Vec<u8>) {
    let place = || format!("HOLDFAST_SEED={}, power lost at change {cut} of {}, left: {left:?}", story.seed, story.trace.len());
    let folder = tempfile::tempdir_in(shared_memory()).unwrap();
    let path = folder.path().join("holdfast.redb");
    std::fs::write(&path, image).unwrap();
    let (disk, aside) = Disk::open(&path).unwrap_or_else(|error| panic!("{}: {error}", place()));
    assert_eq!(aside, None, "{}: a crash alone made the file unreadable", place());
    let knowledge = open(Arc::new(disk)).unwrap_or_else(|error| panic!("{}: {error}", place()));
    let world = World::of(&knowledge).unwrap_or_else(|error| panic!("{}: {error}", place()));
    let allowed = story.allowed(cut);
    assert!(
        allowed.iter().any(|moment| moment.world == world),
        "{}: found {world:?}\nnone of {:?}",
        place(),
        allowed.iter().map(|moment| &moment.world).collect::<Vec<_>>()
    );
    let step = Step::Accept { name: "after".into(), body: "{}".into() };
    step.take(&knowledge).await.unwrap_or_else(|error| panic!("{}: {error}", place()));
    assert_eq!(World::of(&knowledge).unwrap(), world.after(&step), "{}", place());
}

/// A file system without a disk, if there is one: its syncs cost nothing.
fn shared_memory() -> std::path::PathBuf {
    let memory = std::path::PathBuf::from("/dev/shm");
    if memory.is_dir() { memory } else { std::env::temp_dir() }
}
