//! Kernels compiled by nvcc and Triton, against results of independent mathematics.
//!
//! A case is a folder under `kernels/cases`: a launch file, and what its outputs must be. Every case runs in both
//! precisions, and under one of the stress schedules in turn, or all if `RORQUAL_STRESS` is set; how many seeds it gets is `RORQUAL_SEEDS` (2 if unset, 10 for the full sweep), which cases run can be
//! narrowed by `RORQUAL_CASES`, a part of their names.

#[path = "kernels/expectation.rs"]
mod expectation;

use expectation::Expectation;
use rorqual_sim::launch_file::{self, LaunchFile};
use rorqual_sim::{Options, Precision, Rule, Schedule};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kernels/cases");
    let mut cases: Vec<PathBuf> =
        std::fs::read_dir(folder).expect("the cases").map(|entry| entry.expect("a case").path()).collect();
    let wanted = std::env::var("RORQUAL_CASES").unwrap_or_default();
    cases.retain(|case| name(case).contains(&wanted));
    cases.sort();
    cases
}

fn name(case: &Path) -> String {
    case.file_name().expect("a folder").to_string_lossy().into_owned()
}

fn seeds() -> u64 {
    std::env::var("RORQUAL_SEEDS").map_or(2, |seeds| seeds.parse().expect("RORQUAL_SEEDS is a number"))
}

/// Cases whose kernel races, with the reason; what they compute is compared without looking for races.
///
/// Triton 3.9's warp specialisation repeats the epilogue: two partitions store the same tile, and nothing orders them.
const RACY: [&str; 1] = ["tri_persistent_ws"];
/// The stress that a case has to stand, by its number.
fn stress(number: usize) -> Vec<Schedule> {
    let all = Schedule::stress();
    if std::env::var("RORQUAL_STRESS").is_ok() { all } else { vec![all[number % all.len()]] }
}

/// Runs one case once; what is wrong with it, in words.
fn run(case: &Path, options: &Options) -> Result<(), String> {
    let file = LaunchFile::read(&case.join("launch.json")).map_err(|error| error.to_string())?;
    let mut outcome = launch_file::run(&file, case, options).map_err(|error| error.to_string())?;
    if RACY.contains(&name(case).as_str()) {
        if outcome.reports.first().is_none_or(|report| report.rule != Rule::Race) {
            return Err("no race was found in a kernel that has one".to_owned());
        }
        let options = Options { race: None, ..options.clone() };
        outcome = launch_file::run(&file, case, &options).map_err(|error| error.to_string())?;
    }
    if let Some(report) = outcome.reports.first() {
        return Err(report.to_string());
    }
    Expectation::read(case)?.compare(case, &file, &outcome, options.precision)
}

/// Runs every case of which `belongs` is true; the failures, by name.
fn failures(belongs: impl Fn(&str) -> bool + Sync) -> Vec<String> {
    let cases: Vec<PathBuf> = cases().into_iter().filter(|case| belongs(&name(case))).collect();
    assert!(!cases.is_empty() || std::env::var("RORQUAL_CASES").is_ok(), "no cases");
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(case) = cases.get(number) else { break };
                    let plain = (0..seeds()).flat_map(|seed| {
                        [Precision::Exact, Precision::Hardware]
                            .map(|precision| (seed, precision, Schedule::default()))
                    });
                    let stress = stress(number).into_iter().zip(0..);
                    let stress = stress.map(|(schedule, seed)| (seed, Precision::Exact, schedule));
                    for (seed, precision, schedule) in plain.chain(stress) {
                        let options = Options { seed, precision, schedule, threads: 1, ..Options::default() };
                        if let Err(message) = run(case, &options) {
                            let text = format!(
                                "{} ({precision:?}, seed {seed}, schedule {schedule}): {message}",
                                name(case)
                            );
                            failures.lock().expect("no worker panics").push(text);
                            break;
                        }
                    }
                }
            });
        }
    });
    let mut failures = failures.into_inner().expect("no worker panics");
    failures.sort();
    failures
}

#[test]
fn kernels_that_nvcc_compiled() {
    let failures = failures(|name| !name.starts_with("tri_"));
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn kernels_that_triton_compiled() {
    let failures = failures(|name| name.starts_with("tri_"));
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}
