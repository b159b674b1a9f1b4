//! Racy programs, one mistake each, which must be caught whatever the schedule, and their corrected twins, which must
//! run clean.
//!
//! A program is a file `races/<kernel>.ptx`; [`race_corpus`] says what its comments mean. `BLESS=1` rewrites the reports.
#![cfg(feature = "ptxsim")]

#[path = "marked_programs/mod.rs"]
mod marked_programs;
#[path = "race_corpus/mod.rs"]
mod race_corpus;

use marked_programs::{Program, corpus, failures};
use race_corpus::check;
use std::path::{Path, PathBuf};

/// Programs that the corpus has at least.
const LEAST_PROGRAMS: usize = 60;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/races")
}

fn scratch() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("races")
}

#[test]
fn every_race_is_caught_and_its_twin_runs_clean() {
    let folder = folder();
    let bless = std::env::var("BLESS").is_ok_and(|value| value == "1").then_some(folder.as_path());
    let failures = failures(&corpus(&folder), |program| check(program, &scratch(), bless));
    assert!(failures.is_empty(), "{} programs:\n\n{}", failures.len(), failures.join("\n\n"));
}

#[test]
fn every_program_says_what_is_wrong_and_how_it_is_corrected() {
    let programs = corpus(&folder());
    assert!(programs.len() >= LEAST_PROGRAMS, "{} programs", programs.len());
    for program in &programs {
        let sentence = program.text.lines().next().unwrap_or("");
        assert!(sentence.starts_with("// ") && sentence.ends_with('.'), "{}: no sentence", program.kernel);
        assert!(program.has_twin(), "{} has no corrected twin", program.kernel);
    }
}

#[test]
fn a_program_that_is_not_what_it_says_is_noticed() {
    let programs = corpus(&folder());
    let program = programs.iter().find(|program| program.kernel == "barrier_missing").expect("the program");
    let message_of = |text: String| {
        let changed = Program { text, ..program.clone() };
        check(&changed, &scratch().join("changed"), None).expect_err("the program is not what it says")
    };
    let replaced = |from: &str, to: &str| message_of(program.text.replace(from, to));
    assert!(message_of(program.twin().text).contains("must be `race`, is `clean`"));
    assert!(
        replaced("// fix: bar.sync 0;", "// fix:").contains("corrected, default, seed 0) must be `clean`")
    );
    assert!(replaced("  // <- race", "").contains("not marked"));
    assert!(replaced("ret;", "ret;  // <- race").contains("which no report names"));
    assert!(replaced("report: undefined", "report: Undefined").starts_with("has the report"));
    assert!(replaced("block 64", "threads 64").starts_with("launch option `threads`"));
}
