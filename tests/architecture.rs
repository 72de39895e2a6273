//! Who may import whom. A room that needs something from a room it may not import wants
//! the thing moved to a shared room, not the rule widened.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Each room of `src/` and the rooms it may import. `request` and `background` meet
/// only in what both may import: snapshots and the store.
const MAY_IMPORT: [(&str, &[&str]); 11] = [
    ("kube", &[]),
    ("runtime", &[]),
    ("state", &["kube"]),
    ("store", &["kube", "runtime"]),
    ("upstream", &["kube", "state", "runtime"]),
    // Checked values have the types of the rooms that take them.
    ("config", &["kube", "state", "upstream"]),
    ("request", &["kube", "state", "store", "upstream", "runtime"]),
    ("background", &["kube", "state", "store", "upstream", "runtime", "config"]),
    ("ops", &["state", "runtime"]),
    ("cli", &["app", "config", "state", "store"]),
    ("app", &["kube", "runtime", "state", "store", "upstream", "config", "request", "background", "ops"]),
];

/// The stages of the path, and what each may import of `request` beside `context` and
/// `names`; the order of the stages is made in `request.rs`.
const STAGES: [(&str, &[&str]); 8] = [
    // Sockets end in the path: `serve`, the caller's proof, its types.
    ("accept", &["serve", "Path", "Request", "caller"]),
    // What was accepted is what a caller is identified by.
    ("caller", &["accept"]),
    ("dispatch", &[]),
    ("filter", &[]),
    // A watch that was broken off is asked for again by the whole path, and led on by what the others know of it.
    ("held", &["Path", "Request", "Bearer", "accept", "answer", "read", "filter", "offline", "respond"]),
    // Both ways to an answer filter it.
    ("remote", &["filter"]),
    ("offline", &["filter"]),
    ("respond", &["Path", "accept"]),
];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// The files of a room: `room.rs` and all below `room/`.
fn room(parent: &Path, name: &str) -> Vec<PathBuf> {
    let folder = parent.join(name);
    let mut files = if folder.is_dir() { sources(&folder) } else { Vec::new() };
    files.extend([parent.join(format!("{name}.rs"))].into_iter().filter(|file| file.is_file()));
    assert!(!files.is_empty(), "no room {name} in {}", parent.display());
    files
}

/// The words that follow `prefix` in code: `crate::kube` gives `kube`, and a list in
/// braces all its first words.
fn words_after(text: &str, prefix: &str) -> BTreeSet<String> {
    let code: String = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let word = |text: &str| {
        text.trim_start().chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect::<String>()
    };
    let mut words = BTreeSet::new();
    for (at, _) in code.match_indices(prefix) {
        let rest = &code[at + prefix.len()..];
        match rest.strip_prefix('{') {
            None => drop(words.insert(word(rest))),
            Some(list) => words.extend(outer_words(list).into_iter().map(word)),
        }
    }
    words.remove("self");
    words
}

/// The elements of a list up to its closing brace, those within inner braces left out.
fn outer_words(list: &str) -> Vec<&str> {
    let (mut depth, mut start, mut found) = (0, 0, Vec::new());
    for (at, letter) in list.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => {
                found.push(&list[start..at]);
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                found.push(&list[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    found
}

#[test]
fn rooms_import_only_what_they_may() {
    let src = Path::new("src");
    for (name, may) in MAY_IMPORT {
        for file in room(src, name) {
            let imported = words_after(&std::fs::read_to_string(&file).unwrap(), "crate::");
            for other in imported {
                let known = MAY_IMPORT.iter().any(|(room, _)| *room == other);
                assert!(
                    !known || other == name || may.contains(&other.as_str()),
                    "{}: {name} may not import {other}",
                    file.display()
                );
            }
        }
    }
}

#[test]
fn every_room_has_its_rule() {
    let src = Path::new("src");
    for entry in std::fs::read_dir(src).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let shell = ["lib", "main"].contains(&name.as_str());
        assert!(shell || MAY_IMPORT.iter().any(|(room, _)| *room == name), "{}: a room without a rule", path.display());
    }
}

#[test]
fn a_stage_imports_no_other_stage() {
    let request = Path::new("src/request");
    for (name, may) in STAGES {
        for file in room(request, name) {
            let text = std::fs::read_to_string(&file).unwrap();
            let own = file == request.join(format!("{name}.rs"));
            let mut imported = words_after(&text, "crate::request::");
            if own {
                imported.extend(words_after(&format!("\n{text}"), "\nuse super::"));
            }
            for other in imported.iter().filter(|other| !["context", "names", name].contains(&other.as_str())) {
                assert!(may.contains(&other.as_str()), "{}: {name} may not import {other}", file.display());
            }
        }
    }
}
