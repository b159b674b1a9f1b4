//! Kernels of nvcc and Triton with changes that nobody would make: the simulator refuses or runs them, says what is
//! wrong, and does so soon and the same way each time.
//!
//! `RORQUAL_MUTANTS` is how many there are, `RORQUAL_FIRST_MUTANT` the seed of the first.

#[path = "../../fuzz/src/sim/mutation.rs"]
mod mutation;

use mutation::{Chance, mutate};
use rorqual_sim::launch_file::{self, LaunchFile};
use rorqual_sim::{Options, Precision};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Modules that are longer take too much time to read so often.
const LONGEST_MODULE: u64 = 120 << 10;
/// Warp instructions of a mutant.
const INSTRUCTIONS: u64 = 200_000;
/// What a mutant may take, in a build with all checks on a machine that is busy.
const LONGEST_RUN: Duration = Duration::from_secs(60);

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |value| value.parse().expect("a number"))
}

/// The cases whose modules are short enough.
fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kernels/cases");
    let entries = std::fs::read_dir(folder).expect("the cases").map(|entry| entry.expect("a case").path());
    let is_short = |case: &PathBuf| {
        LaunchFile::read(&case.join("launch.json")).is_ok_and(|file| {
            std::fs::metadata(case.join(&file.launches[0].module))
                .is_ok_and(|module| module.len() <= LONGEST_MODULE)
        })
    };
    let mut cases: Vec<PathBuf> = entries.filter(is_short).collect();
    cases.sort();
    assert!(cases.len() > 100, "{} cases", cases.len());
    cases
}

/// The text of a kernel, from its name to its closing brace.
fn kernel_of(text: &str, name: &str) -> Range<usize> {
    let start = text.find(&format!(".entry {name}(")).unwrap_or_else(|| panic!("no kernel {name}"));
    start..text[start..].find("\n}").map_or(text.len(), |end| start + end)
}

/// Runs a mutant of a case; whether it ran, and what came of it, in words.
fn run(case: &Path, seed: u64, module: &Path) -> (bool, String) {
    let mut file = LaunchFile::read(&case.join("launch.json")).expect("a launch file");
    let original = file.launches[0].module.clone();
    let text = std::fs::read_to_string(case.join(&original)).expect("a module");
    let kernel = kernel_of(&text, &file.launches[0].kernel);
    let mut chance = Chance::new(seed);
    let changes = 1 + chance.below(5);
    let mutant = mutate(&text[kernel.clone()], &mut chance, changes);
    std::fs::write(module, format!("{}{mutant}{}", &text[..kernel.start], &text[kernel.end..]))
        .expect("a written file");
    for launch in file.launches.iter_mut().filter(|launch| launch.module == original) {
        launch.module = module.to_str().expect("a UTF-8 path").to_owned();
    }
    let precision = if seed.is_multiple_of(2) { Precision::Exact } else { Precision::Hardware };
    let options = Options {
        seed,
        precision,
        threads: 1,
        instruction_budget: INSTRUCTIONS,
        memory_budget: 1 << 30,
        // What is undefined ends a run early where it is checked.
        check_initialized: seed.is_multiple_of(4),
        count_accesses: seed.is_multiple_of(3),
        ..Options::default()
    };
    match launch_file::run(&file, case, &options) {
        Ok(outcome) => (true, format!("{:?} {:?} {:?}", outcome.reports, outcome.saved, outcome.counters)),
        Err(error) => (false, error.to_string()),
    }
}

#[test]
fn mutants_are_refused_or_run_to_an_end() {
    let (first, count) = (number("RORQUAL_FIRST_MUTANT", 0), number("RORQUAL_MUTANTS", 300));
    let (cases, next, ran) = (cases(), AtomicU64::new(first), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for worker in 0..std::thread::available_parallelism().map_or(1, std::num::NonZero::get) {
            let (cases, next, ran) = (&cases, &next, &ran);
            scope.spawn(move || {
                let module = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("mutant{worker}.ptx"));
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count {
                        return;
                    }
                    let case = &cases[Chance::new(!seed).below(cases.len())];
                    // Shown only if the run panics.
                    println!("mutant {seed} of {}", case.display());
                    let start = Instant::now();
                    let left = run(case, seed, &module);
                    ran.fetch_add(left.0.into(), Ordering::Relaxed);
                    assert!(start.elapsed() < LONGEST_RUN, "mutant {seed}: {:?}", start.elapsed());
                    if seed.is_multiple_of(8) {
                        assert!(run(case, seed, &module) == left, "mutant {seed} differs from itself");
                    }
                }
            });
        }
    });
    let ran = ran.into_inner();
    assert!(ran * 3 >= count, "only {ran} of {count} mutants ran: the others were refused");
}
