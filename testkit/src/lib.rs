//! What Holdfast is tested against: a small fake API server with faults, a real
//! cluster in network namespaces, the hub itself as a process, and clients.

pub mod apiserver;
pub mod client;
pub mod cluster;
pub mod disk;
pub mod fake;
pub mod hub;
pub mod network;
pub mod pki;
pub mod port;

use std::path::PathBuf;

/// The program with all of Kubernetes in it, if it is built; else the test that asks says that it is skipped.
pub fn lab() -> Option<PathBuf> {
    let lab = std::env::var_os("HOLDFAST_LAB").map(PathBuf::from);
    if lab.is_none() {
        skipped("HOLDFAST_LAB (make lab)");
    }
    lab
}

/// Text of so many letters and digits that cannot be packed; the same one each time.
pub fn noise(size: usize) -> String {
    let mut state = 0x9e37_79b9_7f4a_7c15 ^ size as u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from_digit((state % 36) as u32, 36).expect("below 36")
    };
    (0..size).map(|_| next()).collect()
}

/// What a test says that cannot run here. Where everything must run (`HOLDFAST_REQUIRE_ALL=1`) it panics instead.
#[expect(clippy::print_stdout, reason = "a test's own words")]
pub fn skipped(needs: &str) {
    assert_ne!(std::env::var("HOLDFAST_REQUIRE_ALL").as_deref(), Ok("1"), "needs {needs}");
    println!("skipped: needs {needs}");
}
