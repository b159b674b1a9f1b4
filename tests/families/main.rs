//! Every kernel family on the simulator, with all of its checks, against the CPU reference.
//!
//! `RORQUAL_CASES` is how many cases a family gets, `RORQUAL_SEED` the seed of the first, `RORQUAL_FAMILY` the one
//! family to run.

mod batch_invariance;

use rorqual::verify::random::Random;
use rorqual::verify::simulated::Simulated;
use rorqual::verify::{FAMILIES, Family, Machine, Passed};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |value| value.parse().expect("a number"))
}

/// Runs the case of a seed: the seed draws target, precision, schedule, shapes and values.
fn run(family: &Family, seed: u64) -> Result<Passed, String> {
    let mut random = Random::new(seed);
    let mut machine = Simulated::draw(&mut random).map_err(|error| error.to_string())?;
    let target = machine.target();
    (family.run)(&mut random, &mut machine).map_err(|error| format!("{target}: {error}"))
}

fn check(family: &Family, first: u64, count: u64) -> Result<f64, String> {
    let next = AtomicU64::new(first);
    let worker = || -> Result<f64, String> {
        let mut worst = 0.0_f64;
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + count {
                return Ok(worst);
            }
            let passed = catch_unwind(AssertUnwindSafe(|| run(family, seed)))
                .unwrap_or_else(|_| Err("panicked".to_owned()))
                .map_err(|error| format!("{}, seed {seed}: {error}", family.name))?;
            worst = worst.max(passed.worst);
        }
    };
    std::thread::scope(|scope| {
        let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().try_fold(0.0_f64, |worst, worker| {
            let found = worker.join().map_err(|_| format!("{}: a worker panicked", family.name))?;
            Ok(worst.max(found?))
        })
    })
}

#[test]
fn families_agree_with_the_reference() {
    let (first, count) = (number("RORQUAL_SEED", 0), number("RORQUAL_CASES", 100));
    let only = std::env::var("RORQUAL_FAMILY").ok();
    let chosen = FAMILIES.iter().filter(|family| only.as_deref().is_none_or(|only| only == family.name));
    let mut failures = Vec::new();
    for family in chosen {
        let start = Instant::now();
        match check(family, first, count) {
            Ok(worst) => println!(
                "{:24} {count} cases, worst error {worst:.2} of the tolerance, {:.1} s",
                family.name,
                start.elapsed().as_secs_f64()
            ),
            Err(failure) => failures.push(failure),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
