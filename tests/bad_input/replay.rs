//! The inputs kept beside the fuzz targets: those they start from, and those that were handled wrongly once.

use std::fs;
use std::path::{Path, PathBuf};

#[path = "../../fuzz/src/model.rs"]
mod fuzz_targets;

type Target = (&'static str, fn(&[u8]));

const TARGETS: [Target; 4] = [
    ("config", fuzz_targets::config),
    ("safetensors_header", fuzz_targets::safetensors_header),
    ("shard_index", fuzz_targets::shard_index),
    ("checkpoint", fuzz_targets::checkpoint),
];

/// What is in a folder below `fuzz`, which must exist and hold something.
fn entries(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(folder);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let entries: Vec<PathBuf> = entries.map(|entry| entry.expect("a readable entry").path()).collect();
    assert!(!entries.is_empty(), "{}: nothing in it", folder.display());
    entries
}

fn replay(inputs: Vec<PathBuf>, run: fn(&[u8])) {
    for input in inputs {
        // Shown only if the run panics.
        println!("{}", input.display());
        run(&fs::read(&input).expect("a readable input"));
    }
}

#[test]
fn seeds() {
    for (target, run) in TARGETS {
        replay(entries(&format!("seeds/{target}")), run);
    }
}

/// Not every target has gone wrong; every folder is a target's.
#[test]
fn regressions() {
    for folder in entries("regressions") {
        let name = folder.file_name().and_then(|name| name.to_str()).expect("a UTF-8 name");
        let target = TARGETS.into_iter().find(|(target, _)| *target == name);
        let (target, run) = target.unwrap_or_else(|| panic!("{}: no such target", folder.display()));
        replay(entries(&format!("regressions/{target}")), run);
    }
}
