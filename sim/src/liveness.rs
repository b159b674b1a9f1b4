//! Which registers of a function are alive where, and the slots that they share.
//!
//! Compilers write thousands of virtual registers of which few are alive at once. Liveness is the usual backward
//! analysis over basic blocks; each register then takes one interval of positions, and intervals share slots by linear
//! scan. A register that some path reads before any write is alive from the entry, so its slot starts undefined.
//! Registers of a `wgmma` stay alive until a wait retires it: the wait counts as a reader of all that may be in flight.

use crate::control_flow::{Block, blocks};
use rorqual_ptx::instruction::Instruction;
use rorqual_ptx::module::{Function, Statement};
use rorqual_ptx::operand::{Operand, Register};
use rorqual_ptx::table::{Access, Mma, Opcode};
use rorqual_ptx::types::Type;
use rorqual_ptx::visit::for_each_register;

/// Where each register of a function lives.
#[derive(Debug, Clone)]
pub struct Allocation {
    /// First slot of each register, by register number; a predicate slot for predicates.
    pub slot_of: Vec<u16>,
    /// Register slots in use.
    pub slots: usize,
    /// Predicate slots in use.
    pub predicates: usize,
    /// Most 32-bit registers alive at once.
    pub max_live: usize,
}

/// More registers are alive at once than the simulator has slots for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooManyRegisters;

/// Slots that a register of a type takes: 0 for predicates.
#[must_use]
pub fn slots_of(ty: Type, vector: u8) -> usize {
    let each = match ty.bits() {
        1 => 0,
        0..=32 => 1,
        33..=64 => 2,
        _ => 4,
    };
    each * usize::from(vector)
}

const MOST_SLOTS: usize = 0x7fff;

/// Gives every register of the function its slot.
///
/// # Errors
///
/// If more than 32767 slots are needed at once.
pub fn allocate(function: &Function) -> Result<Allocation, TooManyRegisters> {
    let body = function.body.as_deref().unwrap_or(&[]);
    let intervals = Analysis::new(function, body).intervals();
    let mut slot_of = vec![0; function.registers.len()];
    let mut order: Vec<usize> =
        (0..intervals.len()).filter(|&register| intervals[register].is_some()).collect();
    order.sort_by_key(|&register| intervals[register].map(|(start, _)| start));
    // One pool for each number of slots: predicates, then 1, 2, 4 and vectors of them.
    let mut pools: Vec<Pool> = Vec::new();
    let mut live = Vec::new();
    let (mut live_slots, mut max_live) = (0, 0);
    for &register in &order {
        let (start, end) = intervals[register].expect("only registers that occur are in order");
        let info = &function.registers[register];
        let width = slots_of(info.ty, info.vector);
        live.retain(|&(until, slots): &(usize, usize)| {
            // A result may take the register of an operand that is read for the last time.
            let alive = until > start;
            live_slots -= if alive { 0 } else { slots };
            alive
        });
        live.push((end, width));
        live_slots += width;
        max_live = max_live.max(live_slots);
        let at = pools.iter().position(|pool| pool.width == width).unwrap_or_else(|| {
            pools.push(Pool { width, free_from: Vec::new() });
            pools.len() - 1
        });
        slot_of[register] = pools[at].take(start, end);
    }
    // Pools lie one after the other, widest first so that pairs start at even slots.
    pools.sort_by_key(|pool| std::cmp::Reverse(pool.width));
    let mut first = 0;
    let mut predicates = 0;
    let mut bases = Vec::new();
    for pool in &pools {
        if pool.width == 0 {
            predicates = pool.free_from.len();
            bases.push((0, 0));
        } else {
            bases.push((pool.width, first));
            first += pool.width * pool.free_from.len();
        }
    }
    if first > MOST_SLOTS || predicates > MOST_SLOTS {
        return Err(TooManyRegisters);
    }
    for &register in &order {
        let info = &function.registers[register];
        let width = slots_of(info.ty, info.vector);
        let base = bases.iter().find(|(pool, _)| *pool == width).map_or(0, |(_, base)| *base);
        let index = usize::from(slot_of[register]);
        slot_of[register] = u16::try_from(base + index * width.max(1)).map_err(|_| TooManyRegisters)?;
    }
    Ok(Allocation { slot_of, slots: first, predicates, max_live })
}

/// Places of one width; each remembers the position from which it is free.
struct Pool {
    width: usize,
    free_from: Vec<usize>,
}

impl Pool {
    /// The lowest place that is free at `start`, taken until `end`. Its number, not yet its slot.
    fn take(&mut self, start: usize, end: usize) -> u16 {
        let at = self.free_from.iter().position(|&free| free <= start).unwrap_or_else(|| {
            self.free_from.push(0);
            self.free_from.len() - 1
        });
        self.free_from[at] = end + 1;
        u16::try_from(at).unwrap_or(u16::MAX)
    }
}

struct Analysis<'a> {
    function: &'a Function,
    body: &'a [Statement],
    blocks: Vec<Block>,
    /// Registers read by a wait because a matrix product that may be in flight holds them: statement, registers.
    awaited: Vec<(usize, Vec<Register>)>,
}

impl<'a> Analysis<'a> {
    fn new(function: &'a Function, body: &'a [Statement]) -> Self {
        let blocks = blocks(function, body);
        let mut analysis = Self { function, body, blocks, awaited: Vec::new() };
        analysis.awaited = analysis.find_awaited();
        analysis
    }

    /// Calls `visit` for every register access of a statement, reads before writes.
    fn accesses(&self, at: usize, mut visit: impl FnMut(usize, Access)) {
        if let Statement::Instruction(instruction) = &self.body[at] {
            for wanted in [Access::Read, Access::Write] {
                for_each_register(instruction, |register, access| {
                    // A guarded write keeps the value of the lanes that do not take part: it reads it.
                    let reads = access != Access::Write || instruction.guard.is_some();
                    let writes = access != Access::Read;
                    if wanted == Access::Read && reads || wanted == Access::Write && writes {
                        visit(register.0 as usize, wanted);
                    }
                });
            }
        }
        if let Ok(found) = self.awaited.binary_search_by_key(&at, |(statement, _)| *statement) {
            for register in &self.awaited[found].1 {
                visit(register.0 as usize, Access::Read);
            }
        }
    }

    /// First and last position of each register that occurs.
    fn intervals(&self) -> Vec<Option<(usize, usize)>> {
        let count = self.function.registers.len();
        let mut intervals: Vec<Option<(usize, usize)>> = vec![None; count];
        let mut extend = |register: usize, position: usize| {
            let interval = intervals[register].get_or_insert((position, position));
            *interval = (interval.0.min(position), interval.1.max(position));
        };
        // Registers that only live inside one block need no data flow.
        let mut home = vec![usize::MAX; count];
        let mut crosses = vec![false; count];
        for (number, block) in self.blocks.iter().enumerate() {
            for at in block.start..block.end {
                self.accesses(at, |register, access| {
                    extend(register, at);
                    if home[register] == usize::MAX {
                        home[register] = number;
                        crosses[register] |= access == Access::Read;
                    }
                    crosses[register] |= home[register] != number;
                });
            }
        }
        let index: Vec<usize> = crosses
            .iter()
            .scan(0, |next, crosses| {
                *next += usize::from(*crosses);
                Some(*next)
            })
            .collect();
        let crossing: Vec<usize> = (0..count).filter(|&register| crosses[register]).collect();
        let words = crossing.len().div_ceil(64);
        let bit = |register: usize| (index[register] - 1) / 64 * 64 + (index[register] - 1) % 64;
        let mut reads = vec![0u64; words * self.blocks.len()];
        let mut writes = vec![0u64; words * self.blocks.len()];
        for (number, block) in self.blocks.iter().enumerate() {
            let (read, written) =
                (&mut reads[number * words..][..words], &mut writes[number * words..][..words]);
            for at in block.start..block.end {
                self.accesses(at, |register, access| {
                    if !crosses[register] {
                        return;
                    }
                    let (word, mask) = (bit(register) / 64, 1 << (bit(register) % 64));
                    if access == Access::Read && written[word] & mask == 0 {
                        read[word] |= mask;
                    } else if access == Access::Write {
                        written[word] |= mask;
                    }
                });
            }
        }
        let mut live_in = reads;
        let mut live_out = vec![0u64; words * self.blocks.len()];
        let mut changed = true;
        while changed {
            changed = false;
            for (number, block) in self.blocks.iter().enumerate().rev() {
                for word in 0..words {
                    let out = block.successors.iter().fold(0, |out, next| out | live_in[next * words + word]);
                    live_out[number * words + word] = out;
                    let at = number * words + word;
                    let new = live_in[at] | out & !writes[at];
                    changed |= new != live_in[at];
                    live_in[at] = new;
                }
            }
        }
        for (number, block) in self.blocks.iter().enumerate() {
            for (place, &register) in crossing.iter().enumerate() {
                let (word, mask) = (number * words + place / 64, 1 << (place % 64));
                if live_in[word] & mask != 0 {
                    extend(register, block.start);
                }
                if live_out[word] & mask != 0 {
                    extend(register, block.end);
                }
            }
        }
        intervals
    }

    /// For each `wgmma.wait_group`, the registers of products that may be in flight there.
    fn find_awaited(&self) -> Vec<(usize, Vec<Register>)> {
        let products: Vec<usize> = (0..self.body.len())
            .filter(|&at| opcode(&self.body[at]).is_some_and(is_asynchronous_product))
            .collect();
        if products.is_empty() {
            return Vec::new();
        }
        let words = products.len().div_ceil(64);
        let step = |flying: &mut [u64], at: usize| {
            if let Statement::Instruction(instruction) = &self.body[at] {
                match instruction.opcode() {
                    opcode if is_asynchronous_product(opcode) => {
                        let product = products.binary_search(&at).expect("collected above");
                        flying[product / 64] |= 1 << (product % 64);
                    }
                    Opcode::Mma(Mma::WgmmaWaitGroup) if waits_for_all(instruction) => flying.fill(0),
                    _ => {}
                }
            }
        };
        let mut entry = vec![0u64; words * self.blocks.len()];
        let mut work: Vec<usize> = (0..self.blocks.len()).rev().collect();
        while let Some(number) = work.pop() {
            let mut flying = entry[number * words..][..words].to_vec();
            (self.blocks[number].start..self.blocks[number].end).for_each(|at| step(&mut flying, at));
            for &next in &self.blocks[number].successors {
                let target = &mut entry[next * words..][..words];
                if flying.iter().zip(&*target).any(|(mine, theirs)| mine & !theirs != 0) {
                    flying.iter().zip(target).for_each(|(mine, theirs)| *theirs |= mine);
                    work.push(next);
                }
            }
        }
        let mut awaited = Vec::new();
        for (number, block) in self.blocks.iter().enumerate() {
            let mut flying = entry[number * words..][..words].to_vec();
            for at in block.start..block.end {
                if opcode(&self.body[at]) == Some(Opcode::Mma(Mma::WgmmaWaitGroup)) {
                    let mut registers = Vec::new();
                    for (product, &statement) in products.iter().enumerate() {
                        if flying[product / 64] >> (product % 64) & 1 == 1 {
                            matrix_registers(&self.body[statement], &mut registers);
                        }
                    }
                    registers.sort_unstable();
                    registers.dedup();
                    awaited.push((at, registers));
                }
                step(&mut flying, at);
            }
        }
        awaited
    }
}

fn opcode(statement: &Statement) -> Option<Opcode> {
    match statement {
        Statement::Instruction(instruction) => Some(instruction.opcode()),
        _ => None,
    }
}

/// Whether an instruction is a matrix product of a warpgroup, which is in flight when the next one runs.
#[must_use]
pub fn is_asynchronous_product(opcode: Opcode) -> bool {
    matches!(opcode, Opcode::Mma(Mma::WgmmaMmaAsync | Mma::WgmmaMmaAsyncSp))
}

fn waits_for_all(instruction: &Instruction) -> bool {
    use rorqual_ptx::operand::Immediate;
    matches!(instruction.operands.first(), Some(Operand::Immediate(Immediate::Integer { value: 0, .. })))
}

/// Accumulators and operand fragments: the registers in braces.
fn matrix_registers(statement: &Statement, registers: &mut Vec<Register>) {
    let Statement::Instruction(instruction) = statement else { return };
    for operand in &instruction.operands {
        if let Operand::Vector(elements) = operand {
            registers.extend(elements.iter().filter_map(|element| match element {
                Operand::Register(register) => Some(*register),
                _ => None,
            }));
        }
    }
}
