//! Branches and calls (PTX ISA 9.7.14): what a label names, and whether arguments agree with a signature.

use super::Scope;
use super::compatible::literal_fits;
use super::declaration::size;
use super::operand::describe;
use crate::instruction::Instruction;
use crate::module::{Prototype, Statement, Variable};
use crate::operand::{Label, Operand, Symbol};
use crate::types::{Kind, Type};
use rustc_hash::{FxHashMap, FxHashSet};

/// What a label stands before, where that is no instruction.
enum Named<'m> {
    Branches,
    Calls(&'m [Symbol]),
    Prototype(&'m Prototype),
}

/// What a body says of its labels and calls.
pub(super) struct Flow<'m> {
    named: FxHashMap<Label, Named<'m>>,
    /// Variables that some call returns a value in.
    pub returned: FxHashSet<u32>,
}

impl<'m> Flow<'m> {
    pub fn of(body: &'m [Statement]) -> Self {
        let mut flow = Self { named: FxHashMap::default(), returned: FxHashSet::default() };
        for statement in body {
            match statement {
                Statement::BranchTargets(label, _) => _ = flow.named.insert(*label, Named::Branches),
                Statement::CallTargets(label, targets) => {
                    _ = flow.named.insert(*label, Named::Calls(targets))
                }
                Statement::CallPrototype(label, prototype) => {
                    flow.named.insert(*label, Named::Prototype(prototype));
                }
                Statement::Instruction(instruction) => {
                    if let Some(Operand::Arguments(results)) = instruction.operands.first() {
                        flow.returned.extend(results.iter().filter_map(|result| match result {
                            Operand::Symbol(Symbol::Local(index), _) => Some(*index),
                            _ => None,
                        }));
                    }
                }
                Statement::Label(_) | Statement::Location(_) | Statement::Pragma(_) => {}
            }
        }
        flow
    }
}

fn label_name<'m>(scope: &Scope<'m>, label: Label) -> &'m str {
    &scope.function.labels[label.0 as usize].name
}

/// `bra` and `brx.idx`.
pub(super) fn branch(scope: &Scope<'_>, instruction: &Instruction) -> Result<(), String> {
    if let Some(Operand::Label(label)) = instruction.operand("target")
        && scope.flow.named.contains_key(label)
    {
        return Err(format!(
            "`{}` is a table or prototype, expected a label of the code",
            label_name(scope, *label)
        ));
    }
    if let Some(Operand::Label(label)) = instruction.operand("targets")
        && !matches!(scope.flow.named.get(label), Some(Named::Branches))
    {
        return Err(format!("expected the label of .branchtargets, found `{}`", label_name(scope, *label)));
    }
    Ok(())
}

/// The labels of `.branchtargets`.
pub(super) fn branch_targets(scope: &Scope<'_>, targets: &[Label]) -> Result<(), String> {
    match targets.iter().find(|label| scope.flow.named.contains_key(*label)) {
        Some(label) => Err(format!(
            ".branchtargets: `{}` is a table or prototype, expected a label of the code",
            label_name(scope, *label)
        )),
        None => Ok(()),
    }
}

/// The functions of `.calltargets`.
pub(super) fn call_targets(scope: &Scope<'_>, targets: &[Symbol]) -> Result<(), String> {
    targets.iter().try_for_each(|symbol| signature_of(scope, *symbol).map(|_| ()))
}

/// The return parameters and the parameters of a function that may be called.
fn signature_of<'m>(scope: &Scope<'m>, symbol: Symbol) -> Result<(&'m [Variable], &'m [Variable]), String> {
    let Symbol::Function(index) = symbol else { return Err("expected a function".to_owned()) };
    let function = &scope.module.functions[index as usize];
    if function.is_kernel {
        return Err(format!("`{}` is a kernel and cannot be called", function.name));
    }
    let (returns, rest) = function.variables.split_at(function.return_count as usize);
    Ok((returns, &rest[..function.parameter_count as usize]))
}

/// `call`, direct or through a register.
pub(super) fn call(scope: &Scope<'_>, instruction: &Instruction) -> Result<(), String> {
    let arguments = |name| match instruction.operand(name) {
        Some(Operand::Arguments(arguments)) => &arguments[..],
        _ => &[],
    };
    let (results, parameters) = (arguments("results"), arguments("parameters"));
    let targets = match instruction.operand("targets") {
        Some(Operand::Label(label)) => Some(*label),
        _ => None,
    };
    match (instruction.operand("f"), targets) {
        (Some(Operand::Symbol(symbol, 0)), None) => {
            let (returns, formals) = signature_of(scope, *symbol)?;
            agree(scope, results, parameters, returns, formals)
        }
        (Some(Operand::Register(register)), Some(label)) => {
            let info = &scope.function.registers[register.0 as usize];
            if matches!(info.ty.kind(), Kind::Float | Kind::Predicate) || !matches!(info.ty.bits(), 32 | 64) {
                return Err(format!(
                    "expected the address of a function, found {} of {}",
                    info.name, info.ty
                ));
            }
            match scope.flow.named.get(&label) {
                Some(Named::Prototype(prototype)) => {
                    agree(scope, results, parameters, &prototype.returns, &prototype.parameters)
                }
                Some(Named::Calls(targets)) => targets.iter().try_for_each(|symbol| {
                    let (returns, formals) = signature_of(scope, *symbol)?;
                    agree(scope, results, parameters, returns, formals)
                }),
                _ => Err(format!(
                    "expected the label of .callprototype or .calltargets, found `{}`",
                    label_name(scope, label)
                )),
            }
        }
        (Some(Operand::Register(_)), None) => {
            Err("an indirect call needs the label of .callprototype or .calltargets".to_owned())
        }
        (Some(operand), _) => Err(format!("expected a function, found {}", describe(scope, operand))),
        (None, _) => Ok(()),
    }
}

fn agree(
    scope: &Scope<'_>,
    results: &[Operand],
    arguments: &[Operand],
    returns: &[Variable],
    formals: &[Variable],
) -> Result<(), String> {
    for (what, found, expected) in
        [("return values", results.len(), returns.len()), ("arguments", arguments.len(), formals.len())]
    {
        if found != expected {
            return Err(format!("expected {expected} {what}, found {found}"));
        }
    }
    let pairs = results.iter().zip(returns).map(|pair| (true, pair));
    for (is_result, (argument, formal)) in
        pairs.chain(arguments.iter().zip(formals).map(|pair| (false, pair)))
    {
        passes(scope, argument, formal, is_result).map_err(|message| {
            let name = if formal.name.is_empty() { "_" } else { &formal.name };
            format!("argument for `{name}`: {message}")
        })?;
    }
    Ok(())
}

/// Whether an argument may be passed for a formal parameter: sizes agree, of arrays also the alignment.
fn passes(scope: &Scope<'_>, argument: &Operand, formal: &Variable, is_result: bool) -> Result<(), String> {
    let scalar = formal.dimensions.is_empty();
    let wrong =
        |found: String| Err(format!("expected {} bytes of {}, found {found}", size(formal), formal.ty));
    match argument {
        Operand::Sink if is_result => Ok(()),
        Operand::Symbol(Symbol::Local(index), 0) => {
            let variable = &scope.function.variables[*index as usize];
            let unsized_formal = formal.dimensions.contains(&None);
            if size(variable) != size(formal) && !unsized_formal {
                return wrong(format!("`{}` of {} bytes", variable.name, size(variable)));
            }
            if variable.alignment != formal.alignment {
                let (found, expected) = (variable.alignment, formal.alignment);
                return Err(format!(
                    "expected an alignment of {expected}, found {found} of `{}`",
                    variable.name
                ));
            }
            Ok(())
        }
        Operand::Register(register) if scalar => {
            let info = &scope.function.registers[register.0 as usize];
            let predicates = [info.ty, formal.ty].iter().filter(|ty| **ty == Type::Pred).count();
            if info.ty.bits() == formal.ty.bits() && predicates != 1 {
                return Ok(());
            }
            wrong(format!("{} of {}", info.name, info.ty))
        }
        Operand::Immediate(literal) if scalar && !is_result => {
            if literal_fits(formal.ty, *literal) && formal.ty != Type::Pred {
                return Ok(());
            }
            wrong(describe(scope, argument))
        }
        other => wrong(describe(scope, other)),
    }
}
