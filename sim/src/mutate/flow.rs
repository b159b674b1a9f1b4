//! Where a body is cut into pieces: basic blocks, loops that wait for an mbarrier, and what may come after what.

use super::memory::instructions;
use rorqual_ptx::instruction::{Guard, Instruction};
use rorqual_ptx::module::Statement;
use rorqual_ptx::operand::{Label, Operand, Register};
use rorqual_ptx::table::Access;
use rorqual_ptx::visit::for_each_register;
use std::ops::Range;

/// The instruction at a place, if one is there.
#[must_use]
pub fn instruction(body: &[Statement], at: usize) -> Option<&Instruction> {
    match body.get(at) {
        Some(Statement::Instruction(instruction)) => Some(instruction),
        _ => None,
    }
}

fn is_label(body: &[Statement], at: usize, label: Label) -> bool {
    matches!(body.get(at), Some(Statement::Label(here)) if *here == label)
}

/// The target and the guard of a branch.
fn branch(body: &[Statement], at: usize) -> Option<(Label, Option<Guard>)> {
    let instruction = instruction(body, at).filter(|instruction| instruction.form.name == "bra")?;
    match instruction.operands[..] {
        [Operand::Label(label)] => Some((label, instruction.guard)),
        _ => None,
    }
}

/// The statements that belong together with the one at a place: itself, or the loop around a wait on an mbarrier, from
/// its label on, in one of the ways in which such loops are written:
///
/// ```text
/// again: try_wait p; @!p bra again;         again: try_wait p; @p bra done; bra again; done:
/// ```
#[must_use]
pub fn unit(body: &[Statement], at: usize) -> Range<usize> {
    let alone = at..at + 1;
    let Some(wait) = instruction(body, at) else { return alone };
    if !matches!(wait.form.name, "mbarrier.try_wait" | "mbarrier.test_wait") || at == 0 {
        return alone;
    }
    let (Statement::Label(again), Some(Operand::Register(done))) = (&body[at - 1], wait.operands.first())
    else {
        return alone;
    };
    let guarded = |at: usize, negated: bool| {
        branch(body, at).filter(|(_, guard)| *guard == Some(Guard { register: *done, negated }))
    };
    if guarded(at + 1, true).is_some_and(|(label, _)| label == *again) {
        return at - 1..at + 2;
    }
    match (guarded(at + 1, false), branch(body, at + 2)) {
        (Some((end, _)), Some((back, None))) if back == *again && is_label(body, at + 3, end) => {
            at - 1..at + 4
        }
        _ => alone,
    }
}

/// Whether a basic block ends at a statement, in either direction.
#[must_use]
pub fn ends_block(statement: &Statement) -> bool {
    match statement {
        Statement::Label(_) => true,
        Statement::Instruction(instruction) => {
            matches!(instruction.form.name, "bra" | "brx.idx" | "call" | "ret" | "exit" | "trap")
        }
        _ => false,
    }
}

/// Registers that statements read and write.
fn registers(body: &[Statement]) -> (Vec<Register>, Vec<Register>) {
    let (mut read, mut written) = (Vec::new(), Vec::new());
    for instruction in instructions(body) {
        for_each_register(instruction, |register, access| {
            if access != Access::Write {
                read.push(register);
            }
            if access != Access::Read {
                written.push(register);
            }
        });
    }
    (read, written)
}

/// Whether two runs of statements do the same to registers in either order.
#[must_use]
pub fn commute(first: &[Statement], second: &[Statement]) -> bool {
    let ((first_read, first_written), (second_read, second_written)) = (registers(first), registers(second));
    let apart = |a: &[Register], b: &[Register]| !a.iter().any(|register| b.contains(register));
    apart(&first_written, &second_read)
        && apart(&first_written, &second_written)
        && apart(&first_read, &second_written)
}

/// Places that may be executed after a statement; `None` if that cannot be told. A place behind the body is its end.
#[must_use]
pub fn successors(body: &[Statement], at: usize) -> Option<Vec<usize>> {
    let Some(here) = instruction(body, at) else { return Some(vec![at + 1]) };
    let mut next = match here.form.name {
        "bra" => {
            let (label, _) = branch(body, at)?;
            vec![
                body.iter()
                    .position(|statement| matches!(statement, Statement::Label(here) if *here == label))?,
            ]
        }
        "ret" | "exit" | "trap" => vec![body.len()],
        "brx.idx" => return None,
        _ => return Some(vec![at + 1]),
    };
    if here.guard.is_some() {
        next.push(at + 1);
    }
    Some(next)
}
