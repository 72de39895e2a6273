//! What the store promises when power or room is lost in the middle of anything.
//!
//! A random story (lists, events, objects, rights, Events of Pods) is played on a disk that writes down each change. Then
//! the power is lost at each point of it; what the disk may have been left with must open as one state that the store has
//! been in, with nothing missing that was promised by then. The seed is printed; `HOLDFAST_SEED` plays it again,
//! `HOLDFAST_SOAK=1` looks at everything that can be left at every point.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

#[path = "crash/full.rs"]
mod full;
#[path = "crash/medium.rs"]
mod medium;
#[path = "crash/power.rs"]
mod power;
#[path = "exact/random.rs"]
mod random;
#[path = "crash/world.rs"]
mod world;

/// The story's seed, said so that it can be told again.
fn seed() -> u64 {
    let given = std::env::var("HOLDFAST_SEED").ok().map(|text| text.parse().expect("HOLDFAST_SEED is a number"));
    let seed = given.unwrap_or_else(random::seed);
    println!("HOLDFAST_SEED={seed}");
    seed
}
