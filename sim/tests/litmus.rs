//! Litmus tests of race detection: who is ordered after whom, in every scope and proxy and under every policy.
//!
//! A program is a file `litmus/<kernel>.ptx`; [`race_corpus`] says what its comments mean. `BLESS=1` rewrites the reports.
#![cfg(feature = "ptxsim")]

#[path = "marked_programs/mod.rs"]
mod marked_programs;
#[path = "race_corpus/mod.rs"]
mod race_corpus;

use marked_programs::{corpus, failures};
use race_corpus::check;
use std::path::Path;

#[test]
fn every_litmus_test_is_classified_as_expected() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/litmus");
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR")).join("litmus");
    let bless = std::env::var("BLESS").is_ok_and(|value| value == "1").then_some(folder.as_path());
    let failures = failures(&corpus(&folder), |program| check(program, &scratch, bless));
    assert!(failures.is_empty(), "{} programs:\n\n{}", failures.len(), failures.join("\n\n"));
}
