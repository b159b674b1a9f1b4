//! Makes the body of a mutant.

use super::flow::{commute, ends_block, instruction, unit};
use super::memory::Memory;
use super::table::{Kind, Mutation, Past, kind};
use rorqual_ptx::instruction::Instruction;
use rorqual_ptx::modifier::Modifier;
use rorqual_ptx::module::{Function, Item, Module, RegisterInfo, Statement, Variable, Version};
use rorqual_ptx::operand::{Base, Immediate, Operand, Register, Symbol};
use rorqual_ptx::types::{Space, Type};
use std::ops::Range;

/// The newest version that anything a mutation writes needs.
const NEWEST: Version = Version { major: 8, minor: 8 };

/// The module with one instruction of one function mutated; `None` if the mutation does not apply to it.
pub fn mutate(
    module: &Module,
    memory: &Memory,
    function: usize,
    at: usize,
    mutation: Mutation,
) -> Option<Module> {
    let mut mutant = module.clone();
    let edited = &mut mutant.functions[function];
    let body = edited.body.take()?;
    let here = instruction(&body, at)?.clone();
    let around = unit(&body, at);
    kind(&here)?;
    let replaced = |with: Vec<Statement>| Some([&body[..at], &with, &body[at + 1..]].concat());
    edited.body = match mutation {
        Mutation::Deleted => Some(delete(&body, at, &around)),
        Mutation::Earlier => moved_past(&body, memory, at, mutation)
            .and_then(|previous| swap(&body, previous.clone(), previous.end..around.start, around)),
        Mutation::Later => moved_past(&body, memory, at, mutation)
            .and_then(|next| swap(&body, around.clone(), around.end..next.start, next)),
        Mutation::Deeper => replaced(change(edited, &here, "count", 1)?),
        Mutation::OtherParity => replaced(flip(edited, &here)?),
        Mutation::Bytes(by) => replaced(change(edited, &here, "bytes", by)?),
        Mutation::Count(by) => {
            let name = if here.operand("b").is_some() { "b" } else { "count" };
            replaced(change(edited, &here, name, by)?)
        }
        Mutation::Relaxed => replaced(vec![Statement::Instruction(relax(&here)?)]),
        Mutation::Narrowed => replaced(vec![Statement::Instruction(narrow(&here)?)]),
        Mutation::ReadOnly => replaced(vec![Statement::Instruction(with_modifiers(&here, |modifiers| {
            (!modifiers.contains(&Modifier::Read)).then(|| modifiers.push(Modifier::Read))
        })?)]),
        Mutation::Unguarded => {
            here.guard?;
            replaced(vec![Statement::Instruction(Instruction { guard: None, ..here })])
        }
    };
    edited.body.as_ref()?;
    if mutation == Mutation::Relaxed {
        mutant.version = mutant.version.max(NEWEST);
    }
    Some(mutant)
}

/// The module with a load of a variable of its own before every instruction of the table.
pub fn mark(module: &Module) -> Option<Module> {
    let mut marked = module.clone();
    let variable = marked.variables.len() as u32;
    let mut marks = 0;
    for function in &mut marked.functions {
        let Some(body) = function.body.take() else { continue };
        let target = register(function);
        let mut edited = Vec::new();
        for (at, statement) in body.iter().enumerate() {
            // A loop that waits is marked before its label, so that it stays one.
            let wait = if matches!(statement, Statement::Label(_)) { at + 1 } else { at };
            let around = unit(&body, wait);
            let is_marked =
                instruction(&body, wait).filter(|here| around.start == at && kind(here).is_some());
            if let Some(here) = is_marked {
                let address = Operand::at_symbol(Symbol::Module(variable), 4 * marks);
                let modifiers = [Modifier::Global, Modifier::Type(Type::U32)];
                let load =
                    Instruction::build("ld", &modifiers, vec![Operand::Register(target), address]).ok()?;
                edited.push(Statement::Instruction(Instruction { guard: here.guard, ..load }));
                marks += 1;
            }
            edited.push(statement.clone());
        }
        function.body = Some(edited);
    }
    if marks == 0 {
        return None;
    }
    let counted = Variable::new("mutation_marks", Space::Global, Type::U32).array(Some(marks as u64));
    marked.variables.push(counted);
    marked.items.insert(0, Item::Variable(variable));
    Some(marked)
}

/// Whether an instruction of a marked module that was parsed again is a load that [`mark`] put there: the variable is
/// printed first.
pub fn is_mark(instruction: &Instruction) -> bool {
    instruction.operands.iter().any(|operand| {
        matches!(operand, Operand::Address(address) if address.base == Base::Symbol(Symbol::Module(0)))
    })
}

/// The module with a trap in place of an instruction: a run that does not end there never comes to it.
pub fn trap(module: &Module, function: usize, at: usize) -> Option<Module> {
    let mut probe = module.clone();
    let body = probe.functions[function].body.as_mut()?;
    let trap = Instruction::build("trap", &[], vec![]).ok()?;
    let guard = instruction(body, at)?.guard;
    body[at] = Statement::Instruction(Instruction { guard, ..trap });
    Some(probe)
}

fn delete(body: &[Statement], at: usize, around: &Range<usize>) -> Vec<Statement> {
    let mut left = body[..around.start].to_vec();
    if around.len() > 1 {
        // The labels of a loop stay, others may branch to them.
        let labels = body[around.clone()].iter().filter(|statement| matches!(statement, Statement::Label(_)));
        left.extend(labels.cloned());
    } else {
        left.extend(answer(&body[at]));
    }
    left.extend_from_slice(&body[around.end..]);
    left
}

/// What stands for a wait that was not seen to be in a loop: the answer that it is over.
fn answer(statement: &Statement) -> Option<Statement> {
    let Statement::Instruction(wait) = statement else { return None };
    let is_wait = matches!(wait.form.name, "mbarrier.try_wait" | "mbarrier.test_wait");
    let done = wait.operands.first().filter(|operand| is_wait && matches!(operand, Operand::Register(_)))?;
    let operands = vec![done.clone(), Operand::int(0), Operand::int(0)];
    let equal = Instruction::build("setp", &[Modifier::Eq, Modifier::Type(Type::U32)], operands).ok()?;
    Some(Statement::Instruction(Instruction { guard: wait.guard, ..equal }))
}

fn is_past(body: &[Statement], unit: &Range<usize>, past: Past, memory: &Memory) -> bool {
    body[unit.clone()].iter().any(|statement| {
        let Statement::Instruction(instruction) = statement else { return false };
        let synchronises = kind(instruction).is_some_and(Kind::orders_memory);
        let accesses = memory.is_shared_access(instruction);
        match past {
            Past::Nothing => false,
            Past::Synchronisation => synchronises,
            Past::Memory => synchronises || accesses,
            Past::Names(names) => names.contains(&instruction.form.name),
            Past::ProductRegisters => memory.touches_product(instruction),
            Past::MemoryOrProductRegisters => synchronises || accesses || memory.touches_product(instruction),
        }
    })
}

/// What a mutation moves an instruction past: the nearest statements of the basic block that it orders.
pub fn moved_past(
    body: &[Statement],
    memory: &Memory,
    at: usize,
    mutation: Mutation,
) -> Option<Range<usize>> {
    let (around, kind) = (unit(body, at), kind(instruction(body, at)?)?);
    let (mut edge, past) = match mutation {
        Mutation::Earlier => (around.start, kind.up),
        Mutation::Later => (around.end, kind.down),
        _ => return None,
    };
    loop {
        let beside = if mutation == Mutation::Later { whole(body, edge)? } else { whole_before(body, edge)? };
        if is_past(body, &beside, past, memory) {
            return Some(beside);
        }
        edge = if mutation == Mutation::Later { beside.end } else { beside.start };
    }
}

/// Exchanges two runs of statements: the first goes behind the second, or else the second before the first.
fn swap(
    body: &[Statement],
    first: Range<usize>,
    between: Range<usize>,
    second: Range<usize>,
) -> Option<Vec<Statement>> {
    let slice = |range: &Range<usize>| &body[range.clone()];
    let behind = [slice(&between), slice(&second)].concat();
    let before = [slice(&first), slice(&between)].concat();
    let swapped = if commute(slice(&first), &behind) {
        [&behind, slice(&first)].concat()
    } else if commute(&before, slice(&second)) {
        [slice(&second), &before].concat()
    } else {
        return None;
    };
    Some([&body[..first.start], &swapped, &body[second.end..]].concat())
}

/// The unit that begins at a place; `None` where the basic block ends.
fn whole(body: &[Statement], at: usize) -> Option<Range<usize>> {
    let label = matches!(body.get(at)?, Statement::Label(_));
    let range = unit(body, at + usize::from(label));
    if label { (range.start == at).then_some(range) } else { (!ends_block(&body[at])).then_some(range) }
}

/// The unit that ends at a place; `None` where the basic block begins.
fn whole_before(body: &[Statement], at: usize) -> Option<Range<usize>> {
    let last = at.checked_sub(1)?;
    // Behind a wait come at most two branches and a label.
    let waits = (last.saturating_sub(3)..last).map(|wait| unit(body, wait));
    let around = waits.into_iter().find(|range| range.len() > 1 && range.end == at);
    around.or_else(|| (!ends_block(&body[last])).then_some(last..at))
}

fn operand_index(here: &Instruction, name: &str) -> Option<usize> {
    here.operands_with_specs().position(|(spec, _)| spec.name == name)
}

fn register(function: &mut Function) -> Register {
    let register = Register(function.registers.len() as u32);
    function.registers.push(RegisterInfo {
        name: format!("%mutant{}", register.0),
        ty: Type::B32,
        vector: 1,
    });
    register
}

/// The instruction with an operand made larger.
fn change(function: &mut Function, here: &Instruction, name: &str, by: i64) -> Option<Vec<Statement>> {
    let index = operand_index(here, name)?;
    edit(function, here, index, |value| (value + by > 0).then_some(value + by), ("add", Type::S32, by))
}

/// The instruction with the other parity.
fn flip(function: &mut Function, here: &Instruction) -> Option<Vec<Statement>> {
    let index = operand_index(here, "parity")?;
    edit(function, here, index, |value| Some(value ^ 1), ("xor", Type::B32, 1))
}

/// The instruction with another operand: another literal, or a register that is computed before it.
fn edit(
    function: &mut Function,
    here: &Instruction,
    index: usize,
    literal: impl Fn(i64) -> Option<i64>,
    (name, ty, by): (&str, Type, i64),
) -> Option<Vec<Statement>> {
    let mut edited = here.clone();
    let mut before = None;
    edited.operands[index] = match here.operands[index] {
        Operand::Immediate(Immediate::Integer { value, .. }) => Operand::int(literal(value)?),
        Operand::Register(old) => {
            let new = Operand::Register(register(function));
            let operands = vec![new.clone(), Operand::Register(old), Operand::int(by)];
            before = Some(Instruction::build(name, &[Modifier::Type(ty)], operands).ok()?);
            new
        }
        _ => return None,
    };
    Some(before.into_iter().chain([edited]).map(Statement::Instruction).collect())
}

/// The instruction with other modifiers; `None` if `change` says so, or no form has them.
fn with_modifiers(
    here: &Instruction,
    change: impl FnOnce(&mut Vec<Modifier>) -> Option<()>,
) -> Option<Instruction> {
    let mut modifiers = here.modifiers.to_vec();
    change(&mut modifiers)?;
    let built = Instruction::build(here.form.name, &modifiers, here.operands.clone()).ok()?;
    Some(Instruction { guard: here.guard, position: here.position, ..built })
}

fn relax(here: &Instruction) -> Option<Instruction> {
    with_modifiers(here, |modifiers| {
        let is_ordered = |modifier: &Modifier| {
            matches!(modifier, Modifier::Acquire | Modifier::Release | Modifier::AcqRel)
        };
        match modifiers.iter().position(is_ordered) {
            Some(at) => modifiers[at] = Modifier::Relaxed,
            None if modifiers.contains(&Modifier::Relaxed) => return None,
            // What is not written is to acquire or release at the scope of the CTA.
            None if here.form.name.starts_with("mbarrier.") => {
                modifiers.extend([Modifier::Relaxed, Modifier::Cta]);
            }
            None => modifiers.push(Modifier::Relaxed),
        }
        Some(())
    })
}

fn narrow(here: &Instruction) -> Option<Instruction> {
    with_modifiers(here, |modifiers| {
        let wide = |modifier: &&mut Modifier| {
            matches!(modifier, Modifier::Sys | Modifier::Gpu | Modifier::Cluster | Modifier::Gl)
        };
        *modifiers.iter_mut().find(wide)? = Modifier::Cta;
        Some(())
    })
}
