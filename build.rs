//! Lays the functions that a hub at work runs side by side in the release binary. The kernel maps sixteen pages where one
//! is touched: scattered, those few functions make nearly the whole binary resident.

use std::env::var;

/// Made by `scripts/hot-functions`.
const AT_WORK: &str = "packaging/hot-functions.ld";

fn main() {
    println!("cargo::rerun-if-changed={AT_WORK}");
    let is = |name: &str, value: &str| var(name).as_deref() == Ok(value);
    // Where it has been tried.
    if is("PROFILE", "release") && is("TARGET", "x86_64-unknown-linux-gnu") {
        let root = var("CARGO_MANIFEST_DIR").expect("cargo sets it");
        println!("cargo::rustc-link-arg-bin=holdfast=-Wl,-T,{root}/{AT_WORK}");
    }
}
