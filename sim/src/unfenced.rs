//! Accesses of registers of matrix products from which a way leads to the product without a `wgmma.fence`.
//!
//! PTX ISA 9.7.17 asks for a fence between an access of a register and the next product that has it as an accumulator or
//! as a fragment of A; only accumulators of products of one shape need none. Whether such a way is ever taken is not in
//! the text: what is found here is watched when it runs. Correct kernels have nothing to watch.

use crate::control_flow::{Block, blocks};
use crate::liveness::is_asynchronous_product;
use rorqual_ptx::instruction::Instruction;
use rorqual_ptx::modifier::Shape;
use rorqual_ptx::module::{Function, Statement};
use rorqual_ptx::operand::{Operand, Register};
use rorqual_ptx::table::{Access, Mma, Opcode};
use rorqual_ptx::visit::for_each_register;
use std::collections::BTreeMap;

/// What is watched of a statement when it runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Watched {
    /// Whether it is one of the accesses.
    pub is_access: bool,
    /// If it is a product: the accesses that a fence must follow.
    pub unfenced: Vec<Unfenced>,
}

/// An access of a register of a product.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfenced {
    /// The statement.
    pub statement: usize,
    /// Its PTX line.
    pub line: u32,
    /// The name of the register.
    pub register: String,
    /// Whether it is written.
    pub is_write: bool,
}

/// The statements of a function to watch.
#[must_use]
pub fn watched(function: &Function) -> BTreeMap<usize, Watched> {
    let mut watched = BTreeMap::<usize, Watched>::new();
    let body = function.body.as_deref().unwrap_or(&[]);
    let products: BTreeMap<usize, Product> = (0..body.len())
        .filter_map(|at| {
            Some((at, Product::of(instruction(body, at).filter(|it| is_asynchronous_product(it.opcode()))?)))
        })
        .collect();
    if products.is_empty() {
        return watched;
    }
    let blocks = blocks(function, body);
    for (&at, product) in &products {
        for statement in unfenced_before(body, &blocks, at) {
            let Some(earlier) = instruction(body, statement) else { continue };
            let touched = match products.get(&statement) {
                Some(other) => product.touched_by_product(other),
                None => product.touched_by(earlier),
            };
            if let Some((register, is_write)) = touched {
                watched.entry(statement).or_default().is_access = true;
                watched.entry(at).or_default().unfenced.push(Unfenced {
                    statement,
                    line: earlier.position.line,
                    register: function.registers[register.0 as usize].name.clone(),
                    is_write,
                });
            }
        }
    }
    watched
}

/// The registers of a product that a fence is about, sorted, and its shape.
struct Product {
    accumulators: Vec<Register>,
    fragments: Vec<Register>,
    shape: Option<Shape>,
}

impl Product {
    fn of(instruction: &Instruction) -> Self {
        let registers = |name| {
            let Some(Operand::Vector(elements)) = instruction.operand(name) else { return Vec::new() };
            let mut registers: Vec<Register> = elements
                .iter()
                .filter_map(|element| match element {
                    Operand::Register(register) => Some(*register),
                    _ => None,
                })
                .collect();
            registers.sort_unstable();
            registers
        };
        Self { accumulators: registers("d"), fragments: registers("a"), shape: instruction.shape() }
    }

    /// A register of it that an instruction accesses, and whether it is written.
    fn touched_by(&self, instruction: &Instruction) -> Option<(Register, bool)> {
        let mut touched = None;
        for_each_register(instruction, |register, access| {
            let is_own = [&self.accumulators, &self.fragments]
                .iter()
                .any(|registers| registers.binary_search(&register).is_ok());
            if is_own {
                touched = Some((register, access != Access::Read));
            }
        });
        touched
    }

    /// A register of it that an earlier product has in another role or for another shape, and whether it is written.
    /// Fragments that both read are in nobody's way.
    fn touched_by_product(&self, earlier: &Self) -> Option<(Register, bool)> {
        let shared = |theirs: &[Register], own: &[Register]| {
            theirs.iter().copied().find(|register| own.binary_search(register).is_ok())
        };
        let reshaped = if earlier.shape == self.shape { &[] } else { &self.accumulators[..] };
        let written = [reshaped, &self.fragments[..]]
            .into_iter()
            .find_map(|own| shared(&earlier.accumulators, own).map(|register| (register, true)));
        written.or_else(|| shared(&earlier.fragments, &self.accumulators).map(|register| (register, false)))
    }
}

fn instruction(body: &[Statement], at: usize) -> Option<&Instruction> {
    match &body[at] {
        Statement::Instruction(instruction) => Some(instruction),
        _ => None,
    }
}

/// Whether a statement is a fence that is always executed.
fn is_fence(body: &[Statement], at: usize) -> bool {
    instruction(body, at).is_some_and(|it| it.opcode() == Opcode::Mma(Mma::WgmmaFence) && it.guard.is_none())
}

/// The statements from which a way leads to a product without a fence, backwards.
fn unfenced_before(body: &[Statement], blocks: &[Block], product: usize) -> Vec<usize> {
    let home = blocks.partition_point(|block| block.start <= product) - 1;
    let mut found = Vec::new();
    let mut entered = vec![false; blocks.len()];
    let mut ends = vec![(home, product)];
    while let Some((number, end)) = ends.pop() {
        let block = &blocks[number];
        let fence = (block.start..end).rev().find(|&at| is_fence(body, at));
        found.extend((fence.unwrap_or(block.start)..end).rev());
        if fence.is_some() {
            continue;
        }
        for (before, block) in blocks.iter().enumerate() {
            if block.successors.contains(&number) && !std::mem::replace(&mut entered[before], true) {
                ends.push((before, block.end));
            }
        }
    }
    found
}
