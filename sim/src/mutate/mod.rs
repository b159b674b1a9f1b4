//! Mutation of PTX: what orders threads and asynchronous operations is deleted, moved or weakened, one instruction at a
//! time. A kernel whose checks are any good is told from each of its mutants.
//!
//! [`table::TABLE`] says which instructions there are, what is done to them, and past what they are moved. A [`Mutant`]
//! is named by kernel, line and mutation. It is *caught* if a run of it reports something, gives another result than it
//! should, or does not end; *equivalent* only by a [`Rule`] that is checked on the text; *alive* otherwise.

pub mod equivalent;
pub mod flow;
pub mod judge;
pub mod memory;
pub mod table;

mod edit;

pub use equivalent::Rule;
pub use table::Mutation;

use flow::instruction;
use memory::Memory;
use rorqual_ptx::error::ParseError;
use rorqual_ptx::module::{Module, Statement};
use rustc_hash::{FxHashSet, FxHasher};
use std::collections::BTreeSet;
use std::fmt;
use std::hash::{Hash, Hasher};

/// One change of a module.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Mutant {
    /// The kernel or function that is changed.
    pub kernel: String,
    /// The line of the instruction in the text of the original.
    pub line: u32,
    /// The instruction with its modifiers.
    pub instruction: String,
    /// What is done to it.
    pub mutation: Mutation,
    /// The function, by index.
    function: usize,
    /// The instruction, by its place in the body.
    statement: usize,
}

/// Its name, which is the same whenever the text is.
impl fmt::Display for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} {} {}", self.kernel, self.line, self.instruction, self.mutation)
    }
}

/// Mutates a module.
#[derive(Debug)]
pub struct Mutator {
    module: Module,
    /// What each function does to memory.
    memory: Vec<Memory>,
}

impl Mutator {
    /// A mutator of the module in a text.
    ///
    /// # Errors
    /// If it is not PTX.
    pub fn new(text: &str) -> Result<Self, ParseError> {
        let module = rorqual_ptx::parse(text)?;
        let memory = module.functions.iter().map(Memory::new).collect();
        Ok(Self { module, memory })
    }

    /// Every mutant, in the order of the text; of those with the same text, the first.
    #[must_use]
    pub fn mutants(&self) -> Vec<Mutant> {
        let mut mutants = Vec::new();
        let mut seen = FxHashSet::default();
        seen.insert(hash(&rorqual_ptx::print(&self.module)));
        for (function, definition) in self.module.functions.iter().enumerate() {
            for (statement, here) in definition.body.iter().flatten().enumerate() {
                let Statement::Instruction(here) = here else { continue };
                let Some(kind) = table::kind(here) else { continue };
                let moves = [Mutation::Earlier, Mutation::Later];
                for &mutation in kind.mutations.iter().chain(&moves) {
                    let mutant = Mutant {
                        kernel: definition.name.clone(),
                        line: here.position.line,
                        instruction: here.spelling(),
                        mutation,
                        function,
                        statement,
                    };
                    if self.text(&mutant).is_some_and(|text| seen.insert(hash(&text))) {
                        mutants.push(mutant);
                    }
                }
            }
        }
        mutants
    }

    /// The text of a mutant of this module; `None` if it has no such mutant.
    #[must_use]
    pub fn text(&self, mutant: &Mutant) -> Option<String> {
        let Mutant { function, statement, mutation, .. } = *mutant;
        let memory = self.memory.get(function)?;
        Some(rorqual_ptx::print(&edit::mutate(&self.module, memory, function, statement, mutation)?))
    }

    /// The rule by which a mutant of this module is equivalent to it.
    #[must_use]
    pub fn equivalent(&self, mutant: &Mutant) -> Option<Rule> {
        let function = self.module.functions.get(mutant.function)?;
        equivalent::rule(function, mutant.statement, mutant.mutation, &self.memory[mutant.function])
    }

    /// The text with a load before each instruction that has mutants, and the lines of these loads: counters of accesses
    /// then tell which of the instructions a run comes to. `None` if the table has no row for any.
    #[must_use]
    pub fn marked(&self) -> Option<(String, BTreeSet<u32>)> {
        let text = rorqual_ptx::print(&edit::mark(&self.module)?);
        let printed = rorqual_ptx::parse(&text).ok()?;
        let bodies = printed.functions.iter().filter_map(|function| function.body.as_deref());
        let loads = bodies.flat_map(memory::instructions).filter(|load| edit::is_mark(load));
        let lines = loads.map(|load| load.position.line).collect();
        Some((text, lines))
    }

    /// The text with a trap where the mutated instruction is: a run of it that does not trap never came there, and tells
    /// nothing about the mutant.
    #[must_use]
    pub fn probe(&self, mutant: &Mutant) -> Option<String> {
        let body = self.module.functions.get(mutant.function)?.body.as_deref()?;
        instruction(body, mutant.statement)?;
        Some(rorqual_ptx::print(&edit::trap(&self.module, mutant.function, mutant.statement)?))
    }
}

fn hash(text: &str) -> u64 {
    let mut hasher = FxHasher::default();
    text.hash(&mut hasher);
    hasher.finish()
}
