//! Mutants of the modules of a launch file: the oracle is what the original saves, byte by byte.

use super::run::run_with;
use super::{LaunchFile, LaunchFileError};
use crate::grid::Options;
use crate::mutate::judge::{Caught, Fate, Score, Subject, judge};
use crate::mutate::{Mutant, Mutator};
use crate::report::{Report, Verdict};
use std::collections::BTreeMap;
use std::path::Path;
use thiserror::Error;

/// How much longer than its original a mutant may run, at most.
const PATIENCE: u64 = 20;

/// Why mutants cannot be judged.
#[derive(Debug, Error)]
pub enum MutationError {
    /// The file is wrong.
    #[error(transparent)]
    File(#[from] LaunchFileError),
    /// The program is wrong, or cannot be run, as it is.
    #[error("before any mutation: {0}")]
    Original(Box<Report>),
    /// No launch names the module.
    #[error("no launch is of the module `{0}`")]
    Module(String),
    /// There is nothing to compare.
    #[error("no buffer is saved: nothing tells a right result from a wrong one")]
    NothingSaved,
}

/// One module of a launch file, run with other texts in its place under some schedules.
struct ModuleOfFile<'a> {
    file: &'a LaunchFile,
    folder: &'a Path,
    module: &'a str,
    /// How it is run, with what the original saves.
    trials: Vec<(Options, BTreeMap<String, Vec<u8>>)>,
}

impl Subject for ModuleOfFile<'_> {
    fn trials(&self) -> usize {
        self.trials.len()
    }

    fn run(&self, text: &str, trial: usize) -> Result<(), Caught> {
        let (options, expected) = &self.trials[trial];
        let ran = run_with(self.file, self.folder, options, Some((self.module, text)));
        // Only reading what was never written is left to fail: the original ran.
        let outcome = ran.map_err(|_| Caught::Unwritten)?;
        match outcome.reports.first() {
            Some(report) if report.rule.verdict() == Verdict::Limit => Err(Caught::NoEnd),
            Some(report) => Err(Caught::Report(report.rule)),
            None if outcome.saved != *expected => Err(Caught::WrongValue),
            None => Ok(()),
        }
    }
}

/// Judges every mutant of the kernels that a launch file launches from a module, as its launches name it, under schedules from the seed of `options`
/// on; `judged` hears of each.
///
/// # Errors
/// If the file or the program is wrong without a mutation.
pub fn mutate(
    (file, folder): (&LaunchFile, &Path),
    module: &str,
    options: &Options,
    schedules: u64,
    judged: &mut dyn FnMut(&Mutant, Fate),
) -> Result<Score, MutationError> {
    if !file.launches.iter().any(|launch| launch.module == module) {
        return Err(MutationError::Module(module.to_owned()));
    }
    let mut trials = Vec::new();
    for seed in options.seed..options.seed + schedules {
        let mut options = Options { seed, ..options.clone() };
        let outcome = run_with(file, folder, &options, None)?;
        if let Some(report) = outcome.reports.into_iter().next() {
            return Err(MutationError::Original(Box::new(report)));
        }
        if outcome.saved.is_empty() {
            return Err(MutationError::NothingSaved);
        }
        let instructions = outcome.counters.iter().flat_map(|(_, counters)| counters.issued).sum::<u64>();
        options.instruction_budget = options.instruction_budget.min(PATIENCE * instructions + 100_000);
        trials.push((options, outcome.saved));
    }
    let path = folder.join(module);
    let text = std::fs::read_to_string(&path).map_err(|error| LaunchFileError::read(&path, &error))?;
    let subject = ModuleOfFile { file, folder, module, trials };
    let mut score = Score::default();
    // It ran, so that it is PTX.
    let Ok(mutator) = Mutator::new(&text) else { return Ok(score) };
    let is_launched = |mutant: &Mutant| {
        file.launches.iter().any(|launch| launch.module == module && launch.kernel == mutant.kernel)
    };
    for mutant in mutator.mutants().into_iter().filter(is_launched) {
        let fate = judge(&mutator, &mutant, &subject);
        judged(&mutant, fate);
        score.count(&mutator, &mutant, fate);
    }
    Ok(score)
}
