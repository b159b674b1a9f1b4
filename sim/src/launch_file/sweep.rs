//! Runs a launch file under many seeds and schedules, and makes the first failure as simple as it can be.

use super::{FileOutcome, LaunchFile, LaunchFileError, run};
use crate::grid::Options;
use crate::schedule::{Schedule, shrink};
use std::path::Path;

/// What a sweep found.
#[derive(Debug)]
pub struct Swept {
    /// The run that failed, shrunk; the first one if none did.
    pub outcome: FileOutcome,
    /// Its seed.
    pub seed: u64,
    /// Its schedule.
    pub schedule: Schedule,
    /// Runs before the failure was found, that one included.
    pub runs: u64,
}

/// Runs a launch file under `seeds` seeds, from that of the options on, and all of [`Schedule::stress`], to the first run
/// that reports something. That run is [shrunk](shrink) to the simplest schedule under which the first report is about
/// the same rule.
///
/// # Errors
///
/// If the file is wrong.
pub fn sweep(
    file: &LaunchFile,
    folder: &Path,
    options: &Options,
    seeds: u64,
) -> Result<Swept, LaunchFileError> {
    let run_with = |seed, schedule| run(file, folder, &Options { seed, schedule, ..options.clone() });
    let mut first = None;
    let mut runs = 0;
    for seed in (0..seeds.max(1)).map(|number| options.seed.wrapping_add(number)) {
        for schedule in Schedule::stress() {
            let schedule = Schedule { stale: schedule.stale || options.schedule.stale, ..schedule };
            runs += 1;
            let outcome = run_with(seed, schedule)?;
            let Some(rule) = outcome.reports.first().map(|report| report.rule) else {
                first.get_or_insert(Swept { outcome, seed, schedule, runs });
                continue;
            };
            let simplest = shrink(schedule, |other| {
                let outcome = run_with(seed, *other);
                outcome.is_ok_and(|outcome| outcome.reports.first().is_some_and(|found| found.rule == rule))
            });
            let outcome = if simplest == schedule { outcome } else { run_with(seed, simplest)? };
            return Ok(Swept { outcome, seed, schedule: simplest, runs });
        }
    }
    let first = first.expect("a sweep runs at least once");
    Ok(Swept { runs, ..first })
}
