//! The fuzz targets on their checked-in corpus, and on what is next to it: every input, beginnings of it, and the input
//! with one byte changed or left out. Needs no fuzzer; see fuzz/README.md for that.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

#[path = "../fuzz/src/lib.rs"]
mod fuzz;

/// In how many places at most an input is cut off and changed.
const PLACES: usize = 24;

fn entries(folder: impl AsRef<Path>) -> Vec<PathBuf> {
    let folder = folder.as_ref();
    let read = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut found: Vec<_> = read.map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

fn stems(folder: &str) -> BTreeSet<String> {
    entries(folder).iter().map(|path| path.file_stem().unwrap().to_string_lossy().into_owned()).collect()
}

/// The input and its neighbours.
fn around(input: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let places = (0..input.len()).step_by(input.len().div_ceil(PLACES).max(1));
    let neighbours = places.flat_map(|at| {
        let (before, after) = (&input[..at], &input[at + 1..]);
        // Another bit in each place: another letter, another wire type, another length, no text at all.
        let changed = input[at] ^ 1 << (at % 8);
        [before.to_vec(), [before, after].concat(), [before, &[changed], after].concat()]
    });
    std::iter::once(input.to_vec()).chain(neighbours)
}

fn replay((name, check): &fuzz::Target) {
    let inputs = entries(format!("fuzz/corpus/{name}"));
    assert!(!inputs.is_empty(), "{name} has no corpus");
    for path in inputs {
        for input in around(&std::fs::read(&path).unwrap()) {
            let held = catch_unwind(|| check(&input));
            assert!(held.is_ok(), "{}: does not hold for {}", path.display(), input.escape_ascii());
        }
    }
}

#[test]
fn every_target_holds_on_its_corpus_and_around_it() {
    std::thread::scope(|scope| {
        let running: Vec<_> = fuzz::TARGETS.iter().map(|target| scope.spawn(|| replay(target))).collect();
        running.into_iter().for_each(|target| target.join().unwrap());
    });
}

#[test]
fn every_target_can_be_run_and_has_a_corpus() {
    let targets: BTreeSet<String> = fuzz::TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(stems("fuzz/fuzz_targets"), targets);
    assert_eq!(stems("fuzz/corpus"), targets);
}
