//! Checks a parsed module as ptxas does: what the grammar cannot say. Rules, in checking order:
//!
//! 1. References: indices of registers, labels, variables and functions lead somewhere; nothing else is checked if not.
//! 2. Module: `.version` is known, `.target` is known and in that version, its options are.
//! 3. Variables: the space takes linkage, size and initialiser; alignment is a power of two; vectors have at most 128
//!    bits; types are in the version; constants fit their bank.
//! 4. Functions: what `.extern` declares has no body, what is called has one; parameters fit their space and limits;
//!    directives exist since version and target, their values are in range, they do not exclude one another.
//! 5. Instructions, in source order. Of the forms that modifiers and operand shapes allow, one must pass all of:
//!    version and target have it; counts, types, spaces and literals of operands, in order; the guard is a predicate;
//!    the form's own rules. If the parser took another form, the module's instruction is changed to the one that passes.
//! 6. Control flow: branches go to labels, `brx.idx` to a table, calls agree with the signature.
//! 7. Kernels: the static shared memory fits.

mod call;
mod compatible;
mod declaration;
mod instruction;
mod operand;
mod reference;

use crate::instruction::Instruction;
use crate::module::{Function, Module, Position, Statement, Version};
use crate::target::Target;
use crate::types::Type;
use instruction::Opcodes;
use std::fmt;
use std::ops::Deref;
use thiserror::Error;

/// The oldest and the newest PTX version that is understood.
pub const VERSIONS: (Version, Version) = (Version { major: 7, minor: 0 }, Version { major: 9, minor: 5 });

/// A module that passed [`verify`].
#[derive(Debug, Clone, PartialEq)]
pub struct Verified(Module);

impl Verified {
    /// The module, to be changed and verified again.
    #[must_use]
    pub fn into_module(self) -> Module {
        self.0
    }
}

impl Deref for Verified {
    type Target = Module;

    fn deref(&self) -> &Module {
        &self.0
    }
}

/// A rule that a module breaks.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct VerifyError {
    /// The instruction or declaration; zeros if the module was built, or if it is about `.version` or `.target`.
    pub position: Position,
    /// The rule, what it expects and what was found.
    pub message: String,
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Position { line, column } = self.position;
        if line > 0 {
            write!(f, "line {line}, column {column}: ")?;
        }
        f.write_str(&self.message)
    }
}

/// Checks a module, and settles for every instruction which form of the table it is.
///
/// # Errors
///
/// The first rule that is broken.
pub fn verify(mut module: Module) -> Result<Verified, VerifyError> {
    let mut verifier = Verifier { module: &module, errors: Vec::new(), limit: 1, changes: Vec::new() };
    verifier.run();
    let Verifier { errors, changes, .. } = verifier;
    if let Some(error) = errors.into_iter().next() {
        return Err(error);
    }
    for Change { function, statement, instruction } in changes {
        if let Some(body) = &mut module.functions[function].body {
            body[statement] = Statement::Instruction(instruction);
        }
    }
    Ok(Verified(module))
}

/// Checks a module and gives every rule that is broken, of each statement the first; none if [`verify`] passes it.
#[must_use]
pub fn verify_all(module: &Module) -> Vec<VerifyError> {
    let mut verifier = Verifier { module, errors: Vec::new(), limit: usize::MAX, changes: Vec::new() };
    verifier.run();
    verifier.errors
}

/// An instruction that is of another form than the parser took.
struct Change {
    function: usize,
    statement: usize,
    instruction: Instruction,
}

struct Verifier<'m> {
    module: &'m Module,
    errors: Vec<VerifyError>,
    /// After so many errors it stops.
    limit: usize,
    changes: Vec<Change>,
}

/// What the rules of a function look at.
struct Scope<'m> {
    module: &'m Module,
    function: &'m Function,
    flow: call::Flow<'m>,
}

impl Verifier<'_> {
    fn run(&mut self) {
        let module = self.module;
        if let Err(message) = reference::exist(module) {
            return self.check(Position::default(), Err(message));
        }
        self.check(Position::default(), header(module));
        for variable in &module.variables {
            self.check(variable.position, declaration::module_variable(module, variable));
        }
        self.check(Position::default(), declaration::constant_bank(module));
        for function in &module.functions {
            self.check(function.position, declaration::function(module, function));
        }
        self.check(Position::default(), declaration::aliases(module));
        let mut opcodes = Opcodes::new(module);
        for index in 0..module.functions.len() {
            self.body(index, &mut opcodes);
        }
        for function in &module.functions {
            self.check(function.position, declaration::shared_memory(module, function));
        }
    }

    fn is_full(&self) -> bool {
        self.errors.len() >= self.limit
    }

    fn check(&mut self, position: Position, result: Result<(), String>) {
        if let Err(message) = result
            && !self.is_full()
        {
            self.errors.push(VerifyError { position, message });
        }
    }

    fn body(&mut self, index: usize, opcodes: &mut Opcodes) {
        let module = self.module;
        let function = &module.functions[index];
        let Some(body) = &function.body else { return };
        if function.registers.iter().any(|register| register.ty == Type::B128) {
            self.check(function.position, needs(module, "a register of .b128", (8, 3), 70));
        }
        for variable in &function.variables[(function.return_count + function.parameter_count) as usize..] {
            self.check(variable.position, declaration::local_variable(module, variable));
        }
        let scope = Scope { module, function, flow: call::Flow::of(body) };
        for (statement, kind) in body.iter().enumerate() {
            if self.is_full() {
                return;
            }
            match kind {
                Statement::Instruction(instruction) => match opcodes.check(&scope, instruction) {
                    Ok(None) => {}
                    Ok(Some(instruction)) => {
                        self.changes.push(Change { function: index, statement, instruction });
                    }
                    Err(message) => self.check(instruction.position, Err(message)),
                },
                Statement::BranchTargets(_, targets) => {
                    self.check(function.position, call::branch_targets(&scope, targets));
                }
                Statement::CallTargets(_, targets) => {
                    self.check(function.position, call::call_targets(&scope, targets));
                }
                Statement::CallPrototype(_, prototype) => {
                    self.check(function.position, declaration::prototype(module, prototype));
                }
                Statement::Label(_) | Statement::Location(_) | Statement::Pragma(_) => {}
            }
        }
    }
}

/// `.version`, `.target` and its options.
fn header(module: &Module) -> Result<(), String> {
    let (oldest, newest) = VERSIONS;
    let Module { version, target, .. } = module;
    // 7.8 and 8.8 were followed by 8.0 and 9.0.
    if *version < oldest || *version > newest || version.minor > 8 {
        return Err(format!(".version {version} is not one of {oldest} to 7.8, 8.0 to 8.8, 9.0 to {newest}"));
    }
    let Some(since) = target.architecture().and_then(|architecture| architecture.since(target.features))
    else {
        let known: Vec<_> = Target::known().map(|target| target.to_string()).collect();
        return Err(format!("unknown .target {target}; known are {}", known.join(", ")));
    };
    if *version < since {
        return Err(format!(".target {target} needs .version {since}, found {version}"));
    }
    let options = ["texmode_unified", "texmode_independent", "debug"];
    match module.target_options.iter().find(|option| !options.contains(&option.as_str())) {
        Some(option) => {
            Err(format!("unknown option `{option}` of .target; known are {}", options.join(", ")))
        }
        None => Ok(()),
    }
}

/// That a feature is there since a version, and for targets from an architecture on.
fn needs(module: &Module, feature: &str, version: (u8, u8), sm: u16) -> Result<(), String> {
    let since = Version { major: version.0, minor: version.1 };
    if module.version < since {
        return Err(format!("{feature} needs .version {since}, found {}", module.version));
    }
    if module.target.sm < sm {
        return Err(format!("{feature} needs .target sm_{sm} or later, found {}", module.target));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
