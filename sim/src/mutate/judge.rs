//! What becomes of mutants: they are run in place of the original, and the fates are counted.

use super::{Mutant, Mutator, Rule};
use crate::report;
use std::collections::BTreeMap;
use std::fmt;

/// What tells a mutant from its original.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caught {
    /// The simulator reports something.
    Report(report::Rule),
    /// Convergent lanes race, more than in the original.
    Warning,
    /// A result is wrong.
    WrongValue,
    /// A result is not there: bytes that should have been written were not.
    Unwritten,
    /// The text is no PTX that a device takes.
    Refused,
    /// It runs much longer than the original.
    NoEnd,
}

impl fmt::Display for Caught {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Report(rule) => rule.name(),
            Self::Warning => "warp-race",
            Self::WrongValue => "wrong-value",
            Self::Unwritten => "unwritten",
            Self::Refused => "refused",
            Self::NoEnd => "no-end",
        })
    }
}

/// What became of a mutant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// A run told it from its original.
    Caught(Caught),
    /// No run did, and by a rule none can.
    Equivalent(Rule),
    /// No run did.
    Alive {
        /// Whether any run came to the instruction.
        reached: bool,
    },
}

/// A kernel that can be run with other texts in its place.
pub trait Subject: Sync {
    /// How many inputs and schedules it can be run with.
    fn trials(&self) -> usize;

    /// Runs a text with the input and the schedule of a number; what is wrong about it, if anything is.
    ///
    /// # Errors
    /// What tells it from a right kernel.
    fn run(&self, text: &str, trial: usize) -> Result<(), Caught>;
}

/// Runs a mutant until it is caught. Whether a rule makes it equivalent is asked only of those that are not: a rule that
/// holds for one that was caught is [`wrong`](contradicts).
#[must_use]
pub fn judge(mutator: &Mutator, mutant: &Mutant, subject: &dyn Subject) -> Fate {
    let is_taken = |text: &String| {
        rorqual_ptx::parse(text).is_ok_and(|module| rorqual_ptx::verify::verify(module).is_ok())
    };
    let Some(text) = mutator.text(mutant).filter(is_taken) else { return Fate::Caught(Caught::Refused) };
    let run = |text: &str| (0..subject.trials()).find_map(|trial| subject.run(text, trial).err());
    if let Some(caught) = run(&text) {
        return Fate::Caught(caught);
    }
    match mutator.equivalent(mutant) {
        Some(rule) => Fate::Equivalent(rule),
        None => Fate::Alive { reached: mutator.probe(mutant).is_none_or(|probe| run(&probe).is_some()) },
    }
}

/// Whether a mutant was caught that a rule says is equivalent: then either the rule or what caught it is mistaken.
#[must_use]
pub fn contradicts(mutator: &Mutator, mutant: &Mutant, fate: Fate) -> Option<Rule> {
    mutator.equivalent(mutant).filter(|_| matches!(fate, Fate::Caught(_)))
}

/// Fates of many mutants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Score {
    /// How many were caught, by what caught them.
    pub caught: BTreeMap<String, usize>,
    /// How many are equivalent, by rule.
    pub equivalent: BTreeMap<Rule, usize>,
    /// The others, with whether any run came to the instruction.
    pub alive: Vec<(Mutant, bool)>,
    /// Mutants that were caught although a rule holds for them.
    pub contradictions: Vec<(Mutant, Rule)>,
}

impl Score {
    /// Adds a mutant.
    pub fn count(&mut self, mutator: &Mutator, mutant: &Mutant, fate: Fate) {
        self.contradictions.extend(contradicts(mutator, mutant, fate).map(|rule| (mutant.clone(), rule)));
        match fate {
            Fate::Caught(caught) => *self.caught.entry(caught.to_string()).or_default() += 1,
            Fate::Equivalent(rule) => *self.equivalent.entry(rule).or_default() += 1,
            Fate::Alive { reached } => self.alive.push((mutant.clone(), reached)),
        }
    }

    /// Adds the mutants of another.
    pub fn add(&mut self, other: Self) {
        for (caught, count) in other.caught {
            *self.caught.entry(caught).or_default() += count;
        }
        for (rule, count) in other.equivalent {
            *self.equivalent.entry(rule).or_default() += count;
        }
        self.alive.extend(other.alive);
        self.contradictions.extend(other.contradictions);
    }

    /// Mutants that were caught.
    #[must_use]
    pub fn caught(&self) -> usize {
        self.caught.values().sum()
    }

    /// Mutants that are equivalent.
    #[must_use]
    pub fn equivalent(&self) -> usize {
        self.equivalent.values().sum()
    }

    /// All mutants.
    #[must_use]
    pub fn mutants(&self) -> usize {
        self.caught() + self.equivalent() + self.alive.len()
    }

    /// Of the mutants that are not equivalent, the part that was caught; 1 if there are none.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        match self.mutants() - self.equivalent() {
            0 => 1.0,
            relevant => self.caught() as f64 / relevant as f64,
        }
    }
}
