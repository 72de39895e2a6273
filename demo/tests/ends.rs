//! How the demo ends: whatever happens, its exit code says so and nothing of it is left.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The hub's program beside the demo's, as `make path` has built it, in a folder of this test's own: by its name there it is
/// told from all others.
fn hub(folder: &Path) -> Option<PathBuf> {
    let built = Path::new(env!("CARGO_BIN_EXE_demo")).with_file_name("holdfast");
    let own = folder.join("holdfast");
    std::fs::copy(built, &own).ok().map(|_| own)
}

/// The logs of a story that did not hold stay beside its hub.
fn play(hub: &Path) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_demo"));
    command
        .args(["small", "--hub"])
        .arg(hub)
        .env("TMPDIR", hub.parent().unwrap())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Processes that run this program.
fn running(program: &Path) -> usize {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes.filter(|process| std::fs::read_link(process.path().join("exe")).is_ok_and(|exe| exe == program)).count()
}

#[test]
fn interrupted_it_says_so_and_leaves_no_process_behind() {
    let folder = tempfile::tempdir().unwrap();
    let Some(hub) = hub(folder.path()) else { return testkit::skipped("the hub beside the demo (cargo build)") };
    let mut demo = play(&hub);
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("list and write ConfigMaps")), "the hub is there, and the Pod");
    assert_eq!(running(&hub), 1);
    let ctrl_c = Command::new("kill").args(["-INT", &demo.id().to_string()]).status().unwrap();
    assert!(ctrl_c.success());
    assert_eq!(demo.wait().unwrap().code(), Some(130));
    let mut said = String::new();
    demo.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.contains("interrupted; everything is removed"), "{said}");
    assert_eq!(running(&hub), 0);
}

#[test]
fn a_step_that_does_not_hold_is_named_and_is_exit_code_1() {
    let folder = tempfile::tempdir().unwrap();
    let Some(hub) = hub(folder.path()) else { return testkit::skipped("the hub beside the demo (cargo build)") };
    // It does not tell Pods of itself.
    let crippled = folder.path().join("crippled");
    std::fs::write(&crippled, format!("#!/bin/sh\nexec {} \"$@\" --disabled-resource-filters=masterservice\n", hub.display()))
        .unwrap();
    std::fs::set_permissions(&crippled, std::fs::Permissions::from_mode(0o755)).unwrap();
    let output = play(&crippled).wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("step 2 did not hold: ask for the Service kubernetes"), "{said}");
    assert!(said.lines().any(|line| line.contains("cut the link") && line.contains("not played")), "{said}");
    assert_eq!(running(&hub), 0);
}
