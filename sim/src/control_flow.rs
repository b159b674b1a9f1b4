//! Basic blocks of a function's body, and which may follow which.

use rorqual_ptx::instruction::Instruction;
use rorqual_ptx::module::{Function, Statement};
use rorqual_ptx::operand::Operand;
use rorqual_ptx::table::{Control, Opcode};

/// A run of statements without a jump into or out of its middle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Its first statement.
    pub start: usize,
    /// One past its last statement.
    pub end: usize,
    /// Numbers of the blocks that may run behind it.
    pub successors: Vec<usize>,
}

/// The basic blocks of the body of a function, in its order.
#[must_use]
pub fn blocks(function: &Function, body: &[Statement]) -> Vec<Block> {
    let mut label_at = vec![usize::MAX; function.labels.len()];
    let mut leaders = vec![false; body.len() + 1];
    leaders[0] = true;
    for (at, statement) in body.iter().enumerate() {
        match statement {
            Statement::Label(label) => {
                label_at[label.0 as usize] = at;
                leaders[at] = true;
            }
            Statement::Instruction(instruction) if ends_block(instruction) => leaders[at + 1] = true,
            _ => {}
        }
    }
    let starts: Vec<usize> = (0..body.len()).filter(|&at| leaders[at]).collect();
    let block_at = |statement: usize| starts.partition_point(|&start| start <= statement) - 1;
    starts
        .iter()
        .enumerate()
        .map(|(number, &start)| {
            let end = starts.get(number + 1).copied().unwrap_or(body.len());
            let mut successors = Vec::new();
            let mut falls_through = number + 1 < starts.len();
            if let Some(Statement::Instruction(last)) = body[start..end].last() {
                let always = last.guard.is_none();
                match last.opcode() {
                    Opcode::Control(Control::Bra | Control::BrxIdx) => {
                        for label in targets(last, body) {
                            successors
                                .extend((label_at[label] != usize::MAX).then(|| block_at(label_at[label])));
                        }
                        falls_through &= !always;
                    }
                    Opcode::Control(Control::Ret | Control::Exit | Control::Trap) => falls_through &= !always,
                    _ => {}
                }
            }
            if falls_through {
                successors.push(number + 1);
            }
            Block { start, end, successors }
        })
        .collect()
}

fn ends_block(instruction: &Instruction) -> bool {
    matches!(
        instruction.opcode(),
        Opcode::Control(Control::Bra | Control::BrxIdx | Control::Ret | Control::Exit | Control::Trap)
    )
}

/// Labels that a branch may go to; a label of a target table stands for its targets.
fn targets(branch: &Instruction, body: &[Statement]) -> Vec<usize> {
    let mut found = Vec::new();
    for operand in &branch.operands {
        if let Operand::Label(label) = operand {
            let indexed = branch.opcode() == Opcode::Control(Control::BrxIdx);
            let table = body.iter().filter(|_| indexed).find_map(|statement| match statement {
                Statement::BranchTargets(name, targets) if name == label => Some(targets),
                _ => None,
            });
            match table {
                Some(table) => found.extend(table.iter().map(|target| target.0 as usize)),
                None => found.push(label.0 as usize),
            }
        }
    }
    found
}
