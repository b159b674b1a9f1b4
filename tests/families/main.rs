//! Every kernel family on the simulator, with all of its checks, against the CPU reference.
//!
//! `RORQUAL_CASES` is how many cases a family gets, `RORQUAL_SEED` the seed of the first, `RORQUAL_FAMILY` the one
//! family to run. A case draws the target, the precision and the schedule of its machine; with `RORQUAL_ALL=1` it runs
//! on every target of the family, in both precisions, under three schedules each, or `RORQUAL_SCHEDULES`.
//!
//! The specialisations of the cases are then changed at random: each rule of the family must refuse some of what comes
//! of it, and what no rule refuses must have a kernel.

mod access;
mod batch_invariance;
mod dense_bf16;
mod elementwise;
mod hopper_rows;
mod l2_order;
mod latency;
mod mutants;

use rorqual::catalog::AnySpec;
use rorqual::verify::random::Random;
use rorqual::verify::rules::Rules;
use rorqual::verify::simulated::{Simulated, targets};
use rorqual::verify::{FAMILIES, Family, Passed};
use rorqual_kernels::Targets;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Schedules of each target and precision with `RORQUAL_ALL`.
const SCHEDULES: u64 = 3;

/// Cases of a family that has kernels for every target, and of one for Hopper, whose roles have more to get wrong.
const CASES: [u64; 2] = [100, 200];

/// Specialisations that obey the rules, for each family, whose kernels are generated.
const KERNELS: usize = 100;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |value| value.parse().expect("a number"))
}

/// What came of a family.
struct Checked {
    /// The worst error of an element, in tolerances.
    worst: f64,
    rules: Rules,
    specs: Vec<AnySpec>,
}

fn every_machine(family: &Family) -> Vec<Simulated> {
    Simulated::every(number("RORQUAL_SCHEDULES", SCHEDULES), family.targets).expect("simulated targets")
}

/// Runs the case of a seed, which draws the machine, shapes and values, on that machine or on every one.
fn run(family: &Family, seed: u64) -> Result<Passed, String> {
    let mut random = Random::new(seed);
    let drawn = Simulated::draw(&mut random, family.targets).map_err(|error| error.to_string())?;
    let machines = match std::env::var_os("RORQUAL_ALL") {
        None => vec![drawn],
        Some(_) => every_machine(family),
    };
    let run = |mut machine: Simulated| {
        (family.run)(&mut random.clone(), &mut machine).map_err(|error| format!("{machine}: {error}"))
    };
    let passed: Vec<Passed> = machines.into_iter().map(run).collect::<Result<_, _>>()?;
    passed.into_iter().max_by(|a, b| a.worst.total_cmp(&b.worst)).ok_or_else(|| "no machine".to_owned())
}

/// Runs the cases of a family, then exercises its rules on their specialisations.
fn check(family: &Family, first: u64, count: u64) -> Result<Checked, String> {
    let passed = run_all(family, first, count)?;
    let worst = passed.iter().map(|passed| passed.worst).fold(0.0, f64::max);
    let specs: Vec<AnySpec> = passed.into_iter().flat_map(|passed| passed.specs).collect();
    let exercise = || Rules::exercise(&specs, &targets(family.targets), KERNELS, &mut Random::new(first));
    let rules = catch_unwind(exercise)
        .map_err(|_| format!("{}: a changed specialisation panicked", family.name))?
        .map_err(|error| format!("a changed specialisation: {error}"))?;
    if rules.kernels < KERNELS {
        return Err(format!("{} of {KERNELS} changed specialisations obey the rules", rules.kernels));
    }
    match &rules.idle()[..] {
        [] => Ok(Checked { worst, rules, specs }),
        idle => Err(format!("rules that refused nothing: {}", idle.join(", "))),
    }
}

/// What came of the cases of a family, in their order; or, if some fail, how many, and the first of them.
fn run_all(family: &Family, first: u64, count: u64) -> Result<Vec<Passed>, String> {
    let next = AtomicU64::new(first);
    let worker = || {
        let mut done = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + count {
                return done;
            }
            let outcome = catch_unwind(AssertUnwindSafe(|| run(family, seed)))
                .unwrap_or_else(|_| Err("panicked".to_owned()))
                .map_err(|error| format!("seed {seed}: {error}"));
            done.push((seed, outcome));
        }
    };
    let mut done: Vec<_> = std::thread::scope(|scope| {
        let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("panics of cases are caught")).collect()
    });
    done.sort_by_key(|(seed, _)| *seed);
    let failed = done.iter().filter(|(_, outcome)| outcome.is_err()).count();
    let passed: Result<Vec<Passed>, String> = done.into_iter().map(|(_, outcome)| outcome).collect();
    passed.map_err(|error| format!("{}, {failed} of {count} cases fail, the first: {error}", family.name))
}

#[test]
fn families_agree_with_the_reference() {
    let first = number("RORQUAL_SEED", 0);
    let only = std::env::var("RORQUAL_FAMILY").ok();
    let everywhere = std::env::var_os("RORQUAL_ALL").is_some();
    let chosen = FAMILIES.iter().filter(|family| only.as_deref().is_none_or(|only| only == family.name));
    let mut failures = Vec::new();
    let mut seen = BTreeSet::new();
    for family in chosen {
        let start = Instant::now();
        let count = number("RORQUAL_CASES", CASES[usize::from(family.targets == Targets::Hopper)]);
        let machines =
            if everywhere { format!(" on {} machines", every_machine(family).len()) } else { String::new() };
        match check(family, first, count) {
            Ok(Checked { worst, rules, specs }) => {
                println!(
                    "{:20} {count} cases{machines}, {:.1} s, worst error {worst:.2} of the tolerance, rules {rules}, {} more kernels",
                    family.name,
                    start.elapsed().as_secs_f64(),
                    rules.kernels,
                );
                seen.extend(specs.iter().map(AnySpec::family));
            }
            Err(failure) => {
                println!("{failure}");
                failures.push(failure);
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    if only.is_none() {
        assert_eq!(seen, AnySpec::FAMILIES.iter().copied().collect(), "families of the register that ran");
    }
}

#[test]
fn every_family_has_cases() {
    let mut names: Vec<&str> = FAMILIES.iter().map(|family| family.name).collect();
    let mut registered = AnySpec::FAMILIES.to_vec();
    names.sort_unstable();
    registered.sort_unstable();
    assert_eq!(names, registered, "`FAMILIES` of src/verify/mod.rs, and the register");
}
