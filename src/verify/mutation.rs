//! Mutants of the kernels of every family, judged by the cases and oracles of the family.
//!
//! A case gives a kernel. Cases that differ from it in shapes and values alone have the same one, and its mutants are
//! run in all of them, with every check of the simulator on: a mutant is caught by a report, a wrong result, or a run
//! without end.

use super::random::Random;
use super::simulated::{RACES, Simulated};
use super::{Failure, Family, Machine, MachineError};
use rorqual_kernels::Kernel;
use rorqual_kernels::contract::Argument;
use rorqual_ptx::target::Target;
use rorqual_sim::mutate::Mutator;
use rorqual_sim::mutate::judge::{Caught, Subject, judge};
use rorqual_sim::race::{RacePolicy, WarpPolicy};
use rorqual_sim::{Report, Verdict};
use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

pub use rorqual_sim::mutate::Mutant;
pub use rorqual_sim::mutate::judge::Score;

/// Seeds that are tried for kernels with mutants.
const SEEDS: u64 = 40;
/// Streams that must all leave a kernel as it is, for a point of a case to lie behind its specialisation.
const STREAMS: u64 = 4;
/// Random numbers that machines and specialisations are drawn from, at most.
const MOST_DRAWS: u32 = 512;
/// Cases that are tried, of those that have a kernel, for every instruction to be executed in one.
const TRIES: u64 = 64;
/// How much longer than its original a mutant may run, at most.
const PATIENCE: u64 = 20;

/// Which kernels are mutated, and how often each mutant is run.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Kernels of each family.
    pub kernels: usize,
    /// Cases of each kernel.
    pub cases: u64,
    /// Seed of the first case.
    pub seed: u64,
}

impl Default for Plan {
    fn default() -> Self {
        Self { kernels: 2, cases: 8, seed: 0 }
    }
}

/// A case of a family: a seed, and where its shapes and values begin, with what they are drawn from instead.
#[derive(Debug, Clone, Copy)]
struct Case {
    seed: u64,
    fork: Option<(u32, u64)>,
    /// Warp instructions that the original issues; 0 before it has run.
    instructions: u64,
    /// How convergent lanes are seen.
    warp: WarpPolicy,
    /// Warnings of the original.
    warnings: usize,
}

impl Case {
    const fn new(seed: u64, fork: Option<(u32, u64)>) -> Self {
        Self { seed, fork, instructions: 0, warp: WarpPolicy::Report, warnings: 0 }
    }

    /// Runs it, with another text in place of that of one kernel.
    fn run(&self, family: &Family, replaced: Option<(&str, &str)>, mode: Mode) -> Ran {
        let mut random = match self.fork {
            None => Random::new(self.seed),
            Some((draws, stream)) => Random::forked(self.seed, draws, stream),
        };
        let mut ran = Ran::new();
        let mut simulated = match Simulated::draw(&mut random, family.targets) {
            Ok(simulated) => simulated,
            Err(error) => return Ran { result: Err(error.into()), ..ran },
        };
        if let Some((_, stream)) = self.fork {
            simulated.vary(stream);
        }
        let options = simulated.options_mut();
        options.count_accesses = mode == Mode::Mark;
        options.race = Some(RacePolicy { warp: self.warp, ..RACES });
        if self.instructions > 0 {
            options.instruction_budget = PATIENCE * self.instructions + 100_000;
        }
        let mut machine = Substitute { simulated, replaced, mode, ran: &mut ran };
        let run = AssertUnwindSafe(|| (family.run)(&mut random, &mut machine).map(|_| ()));
        let result = catch_unwind(run).unwrap_or_else(|_| {
            // An oracle that indexes by what a kernel wrote.
            Err(MachineError::Wrong("the results make no sense".to_owned()).into())
        });
        ran.result = result;
        ran
    }
}

/// What is done with the kernels of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// They are run.
    Run,
    /// They are run, and lines with accesses are noted.
    Mark,
    /// The first is recorded, and the case ends.
    Record,
}

/// What a case did.
struct Ran {
    /// Kernels that it launched.
    kernels: Vec<Kernel>,
    /// Whether the kernel that is replaced was among them.
    met: bool,
    /// The first report.
    report: Option<Report>,
    /// Warp instructions.
    instructions: u64,
    /// Races of convergent lanes, where they are not reported.
    warnings: usize,
    /// Lines with accesses, of the kernel that is replaced.
    lines: BTreeSet<u32>,
    result: Result<(), Failure>,
}

impl Ran {
    const fn new() -> Self {
        Self {
            kernels: vec![],
            met: false,
            report: None,
            instructions: 0,
            warnings: 0,
            lines: BTreeSet::new(),
            result: Ok(()),
        }
    }

    /// What is wrong, if anything is.
    fn caught(&self) -> Option<Caught> {
        let failure = self.result.as_ref().err()?;
        Some(match (&self.report, failure) {
            (Some(report), _) if report.rule.verdict() == Verdict::Limit => Caught::NoEnd,
            (Some(report), _) => Caught::Report(report.rule),
            (None, Failure::Mismatch(_)) => Caught::WrongValue,
            (None, Failure::Machine(_)) => Caught::Unwritten,
            (None, Failure::Kernel(_)) => Caught::Refused,
        })
    }
}

/// A simulated GPU that runs another text in place of that of one kernel.
struct Substitute<'a> {
    simulated: Simulated,
    replaced: Option<(&'a str, &'a str)>,
    mode: Mode,
    ran: &'a mut Ran,
}

impl Machine for Substitute<'_> {
    fn target(&self) -> Target {
        self.simulated.target()
    }

    fn upload(&mut self, bytes: &[u8]) -> Result<u64, MachineError> {
        self.simulated.upload(bytes)
    }

    fn download(&mut self, address: u64, bytes: usize) -> Result<Vec<u8>, MachineError> {
        self.simulated.download(address, bytes)
    }

    fn run(&mut self, kernel: &Kernel, arguments: &[Argument]) -> Result<(), MachineError> {
        let original = kernel.text();
        let (text, met) = match self.replaced {
            Some((replaced, text)) if replaced == original => (text, true),
            _ => (&original[..], false),
        };
        self.ran.met |= met;
        self.ran.kernels.push(kernel.clone());
        if self.mode == Mode::Record {
            return Err(MachineError::Inconclusive("the kernel is recorded".to_owned()));
        }
        let Some(outcome) = self.simulated.launch(text, &kernel.contract, arguments)? else { return Ok(()) };
        self.ran.instructions += outcome.counters.issued.iter().sum::<u64>();
        self.ran.warnings += outcome.warnings.len();
        if met {
            let accesses = (0..).zip(&outcome.counters.accesses);
            self.ran.lines.extend(accesses.filter(|(_, counted)| counted.requests > 0).map(|(line, _)| line));
        }
        match outcome.reports.into_iter().next() {
            None => Ok(()),
            Some(report) => {
                let message = report.to_string();
                self.ran.report = Some(report);
                Err(MachineError::Wrong(message))
            }
        }
    }
}

/// A kernel of a family whose mutants are judged.
pub struct MutatedKernel {
    family: &'static Family,
    /// Its entry.
    pub name: String,
    text: String,
    mutator: Mutator,
    /// Its mutants, or those that were chosen.
    pub mutants: Vec<Mutant>,
    cases: Vec<Case>,
}

impl Subject for MutatedKernel {
    fn trials(&self) -> usize {
        self.cases.len()
    }

    fn run(&self, text: &str, trial: usize) -> Result<(), Caught> {
        let case = &self.cases[trial];
        let ran = case.run(self.family, Some((&self.text, text)), Mode::Run);
        let caught = ran.caught().or((ran.warnings > case.warnings).then_some(Caught::Warning));
        caught.map_or(Ok(()), Err)
    }
}

/// Kernels of a family that have mutants; none if there is nothing in it to mutate. Of twice as many those that run longest
/// for their length: the synchronisation of loops that are not gone round orders nothing.
///
/// # Errors
/// If a case does not pass without a mutant.
pub fn kernels(family: &'static Family, plan: &Plan) -> Result<Vec<MutatedKernel>, Failure> {
    let mut found: Vec<(MutatedKernel, u64)> = Vec::new();
    for seed in plan.seed..plan.seed + SEEDS {
        if found.len() >= 2 * plan.kernels {
            break;
        }
        let case = Case::new(seed, None);
        let ran = case.run(family, None, Mode::Run);
        for kernel in &ran.kernels {
            let text = kernel.text();
            let Ok(mutator) = Mutator::new(&text) else { continue };
            let mutants = mutator.mutants();
            let is_known = found.iter().any(|(known, _)| known.text == text);
            let is_own = kernel.contract.kernel.starts_with(family.name);
            if mutants.is_empty() || is_known || !is_own {
                continue;
            }
            let name = kernel.contract.kernel.clone();
            let mut kernel = MutatedKernel { family, name, text, mutator, mutants, cases: vec![] };
            kernel.cases = cases(family, &kernel.text, &kernel.mutator, seed, plan)?;
            if !kernel.cases.is_empty() {
                let rounds = ran.instructions / kernel.text.lines().count() as u64;
                found.push((kernel, rounds));
            }
        }
    }
    found.sort_by_key(|(_, rounds)| Reverse(*rounds));
    found.truncate(plan.kernels);
    Ok(found.into_iter().map(|(kernel, _)| kernel).collect())
}

/// Cases of a seed that launch a kernel, the cheapest first: so many as are asked for, and more where these leave out an
/// instruction that has mutants.
fn cases(
    family: &Family,
    text: &str,
    mutator: &Mutator,
    seed: u64,
    plan: &Plan,
) -> Result<Vec<Case>, Failure> {
    let Some((marked, mut missing)) = mutator.marked() else { return Ok(vec![]) };
    let draws = specialised_after(family, seed);
    let streams = draws.into_iter().flat_map(|draws| (0..TRIES).map(move |stream| Some((draws, stream))));
    let mut cases = Vec::new();
    for fork in [None].into_iter().chain(streams) {
        let is_enough = cases.len() as u64 >= plan.cases;
        if is_enough && missing.is_empty() {
            break;
        }
        let mut case = Case::new(seed, fork);
        let mut ran = case.run(family, Some((text, text)), Mode::Run);
        let is_race =
            |ran: &Ran| ran.report.as_ref().is_some_and(|report| report.rule == rorqual_sim::Rule::Race);
        if is_race(&ran) {
            case.warp = WarpPolicy::Warn;
            ran = case.run(family, Some((text, text)), Mode::Run);
        }
        case.instructions = ran.instructions;
        case.warnings = ran.warnings;
        let launched = ran.met && ran.instructions > 0;
        ran.result?;
        if !launched {
            continue;
        }
        let before = missing.len();
        let unlimited = Case { instructions: 0, ..case };
        for line in unlimited.run(family, Some((text, &marked)), Mode::Mark).lines {
            missing.remove(&line);
        }
        if !is_enough || missing.len() < before {
            cases.push(case);
        }
    }
    cases.sort_by_key(|case| case.instructions);
    Ok(cases)
}

/// The fewest random numbers of a seed that settle its kernels; `None` if too many do.
fn specialised_after(family: &Family, seed: u64) -> Option<u32> {
    let kernels = |fork| -> Vec<String> {
        Case::new(seed, fork).run(family, None, Mode::Record).kernels.iter().map(Kernel::text).collect()
    };
    let original = kernels(None);
    let settles = |draws: u32| {
        (0..STREAMS).all(|stream| {
            let forked = kernels(Some((draws, stream)));
            forked.is_empty() || forked == original
        })
    };
    let (mut too_few, mut enough) = (0, MOST_DRAWS);
    if !settles(enough) {
        return None;
    }
    while too_few + 1 < enough {
        let middle = u32::midpoint(too_few, enough);
        if settles(middle) { enough = middle } else { too_few = middle }
    }
    Some(enough)
}

/// Leaves `count` mutants of all those of some kernels, drawn by a seed.
pub fn sample(kernels: &mut [MutatedKernel], count: usize, seed: u64) {
    let mut random = Random::new(seed);
    let mut all: Vec<(usize, usize)> = (0..kernels.len())
        .flat_map(|kernel| (0..kernels[kernel].mutants.len()).map(move |mutant| (kernel, mutant)))
        .collect();
    let mut kept = vec![vec![]; kernels.len()];
    for _ in 0..count.min(all.len()) {
        let (kernel, mutant) = all.swap_remove(random.below(all.len()));
        kept[kernel].push(mutant);
    }
    for (kernel, mut kept) in kernels.iter_mut().zip(kept) {
        kept.sort_unstable();
        kernel.mutants = kept.into_iter().map(|mutant| kernel.mutants[mutant].clone()).collect();
    }
}

/// Judges the mutants of a kernel on all cores; `judged` hears of each.
pub fn judge_all(kernel: &MutatedKernel, judged: &(dyn Fn() + Sync)) -> Score {
    let next = AtomicUsize::new(0);
    let fates = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, std::num::NonZero::get) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(mutant) = kernel.mutants.get(at) else { return };
                    let fate = judge(&kernel.mutator, mutant, kernel);
                    fates.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((at, fate));
                    judged();
                }
            });
        }
    });
    let mut fates = fates.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    fates.sort_by_key(|(at, _)| *at);
    let mut score = Score::default();
    for (at, fate) in fates {
        score.count(&kernel.mutator, &kernel.mutants[at], fate);
    }
    score
}
