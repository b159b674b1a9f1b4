//! Products under way, and their execution.

use super::panel_cache::{Operand, PanelCache};
use super::{Accumulator, Element, Factor, Multiplication, ROWS, WARP_ROWS};
use crate::cluster::Cluster;
use crate::counters::Counters;
use crate::exec::matrix_operand::{Lines, padded_macs, undefined_results};
use crate::grid::Grid;
use crate::memory::SharedMemory;
use crate::race::clock::Knowledge;
use crate::report::{Fault, Rule};
use crate::tensor_core::descriptor::CHUNK;
use crate::tensor_core::fragment::Strides;
use crate::tensor_core::{
    Arithmetic, BitOperation, Format, Instruction as Unit, Precision, f16_bits, multiply_accumulate,
    multiply_accumulate_bits, multiply_accumulate_integer,
};
use crate::warp::Warp;
use std::sync::Arc;

/// A product that some warps of the warpgroup have issued.
#[derive(Debug)]
pub struct Product {
    pub(super) code: Arc<Multiplication>,
    pub(super) pc: u32,
    pub(super) line: u32,
    pub(super) operands: Operands,
    /// What the warps that have issued it know, if races are looked for.
    pub(super) known: Knowledge,
}

/// What all warps of the warpgroup must agree on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Operands {
    pub a_descriptor: u64,
    pub b_descriptor: u64,
    pub scale_d: bool,
}

impl Product {
    /// What is wrong where a warp, `who`, issues something else than the warps before it.
    pub(super) fn disagreement(&self, pc: u32, operands: &Operands, who: &str) -> Fault {
        if self.pc != pc {
            let message = format!("{who} issues another wgmma.mma_async than the rest of its warpgroup");
            return Fault::new(Rule::Convergence, message).with_other(self.line);
        }
        let (name, own, other) = if self.operands.a_descriptor != operands.a_descriptor {
            ("the matrix descriptor of A", operands.a_descriptor, self.operands.a_descriptor)
        } else if self.operands.b_descriptor != operands.b_descriptor {
            ("the matrix descriptor of B", operands.b_descriptor, self.operands.b_descriptor)
        } else {
            ("scale-d", operands.scale_d.into(), self.operands.scale_d.into())
        };
        Fault::new(
            Rule::Convergence,
            format!(
                "{name} differs between the warps of the warpgroup: {own:#x} in {who}, {other:#x} in another warp"
            ),
        )
    }

    fn execute(
        &self,
        warps: &mut [Warp; 4],
        shared: &SharedMemory,
        panels: &mut PanelCache,
        grid: &Grid<'_>,
        counters: &mut Counters,
    ) -> Result<(), Box<Fault>> {
        // The product is the first of each warp that has not been executed.
        let places: [usize; 4] = std::array::from_fn(|warp| {
            let mut matrices = warps[warp].flight.matrices.iter();
            matrices.position(|matrix| !matrix.executed).expect("all warps have issued the product")
        });
        let mut rows = Lines::default();
        for (number, (warp, &place)) in warps.iter_mut().zip(&places).enumerate() {
            let matrix = &warp.flight.matrices[place];
            rows.insert_sixteen(number, matrix.undefined_rows);
            warp.registers.select(matrix.base as usize, 0);
        }
        let columns = match self.code.a.format {
            Element::Number(format) => {
                let (columns, padded) = self.multiply(format, warps, shared, panels, grid, &mut rows)?;
                counters.padded_macs += padded;
                columns
            }
            Element::Bits => self.multiply_bits(warps, shared, panels, &mut rows)?,
        };
        counters.matrix_macs += (ROWS * self.code.columns * self.code.depth) as u64;
        for (number, (warp, &place)) in warps.iter_mut().zip(&places).enumerate() {
            self.finish(warp, place, &rows.warp(number), &columns);
        }
        Ok(())
    }

    /// The matrix that a factor in shared memory is.
    fn operand(&self, factor: Factor, descriptor: u64, lines: usize, name: &'static str) -> Operand {
        let (format, negated) = match factor.format {
            Element::Number(format) => (format, factor.negated),
            // Words of 32 bits lie as tf32 elements do.
            Element::Bits => (Format::Tf32, false),
        };
        // Sparse A is half as long as B.
        let steps = if name == "B" && self.code.sparse.is_some() { 2 } else { 1 };
        Operand { descriptor, major: factor.major, format, lines, steps, negated, name }
    }

    /// The bytes that it reads of the shared memory whose first byte has this address: start and count.
    pub(super) fn ranges(&self, base: u32) -> Vec<(u64, u64)> {
        let mut chunks = Vec::new();
        if self.code.a_descriptor.is_some() {
            self.operand_a().chunks(&mut chunks);
        }
        self.operand_b().chunks(&mut chunks);
        chunks.sort_unstable();
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for chunk in chunks {
            let start = u64::from(base) + u64::from(chunk);
            match ranges.last_mut() {
                Some((first, bytes)) if *first + *bytes == start => *bytes += CHUNK as u64,
                Some((first, bytes)) if *first + *bytes > start => {}
                _ => ranges.push((start, CHUNK as u64)),
            }
        }
        ranges
    }

    fn operand_a(&self) -> Operand {
        self.operand(self.code.a, self.operands.a_descriptor, ROWS, "A")
    }

    fn operand_b(&self) -> Operand {
        self.operand(self.code.b, self.operands.b_descriptor, self.code.columns, "B")
    }

    /// Multiplies and adds. Adds to the undefined rows of A, and gives the undefined columns of B, and the multiply-adds
    /// of padding if they are counted.
    fn multiply(
        &self,
        format: Format,
        warps: &mut [Warp; 4],
        shared: &SharedMemory,
        panels: &mut PanelCache,
        grid: &Grid<'_>,
        rows: &mut Lines,
    ) -> Result<(Lines, u64), Box<Fault>> {
        let code = &*self.code;
        let precision = if format.is_integer() { Precision::Exact } else { grid.options.precision };
        let b = panels.find(&self.operand_b(), shared, precision)?;
        let a = match &code.sparse {
            None if code.a_descriptor.is_some() => {
                let a = panels.find(&self.operand_a(), shared, precision)?;
                rows.insert_all(&panels.undefined(a));
                Some(a)
            }
            None => {
                let slots = code.registers.operands.slots();
                panels.fragment.fill_fragment(format, code.a_fragment(), 4, precision, |warp, number| {
                    warps[warp].registers.slot(usize::from(slots[number]))
                });
                None
            }
            Some((_, sparsity)) => {
                let packed = self.elements_of_a(warps, shared, rows)?;
                let metadata = [0, 1, 2, 3].map(|warp: usize| {
                    let matrix = warps[warp].flight.matrices.iter().find(|matrix| !matrix.executed);
                    &**matrix.and_then(|matrix| matrix.metadata.as_ref()).expect("issuing keeps the metadata")
                });
                panels.fragment.fill(format, ROWS, code.depth, precision, |row, k| {
                    sparsity.place(row, k, metadata).map_or(0, |place| packed[row * code.a_depth() + place])
                });
                None
            }
        };
        // A panel that comes from shared memory is kept with its sign.
        if a.is_none() && code.a.negated {
            panels.fragment.negate();
        }
        let columns = panels.undefined(b);
        let (a, b, scratch) = panels.operands(a, b);
        let padded = if grid.options.count_accesses { padded_macs(a, b) } else { 0 };
        match code.accumulator {
            Accumulator::S32 { saturate } => {
                self.load(warps, &mut scratch.integers, u32::cast_signed);
                multiply_accumulate_integer(a, b, &mut scratch.integers, saturate, &mut scratch.sums);
                self.store(warps, &scratch.integers, i32::cast_unsigned);
            }
            Accumulator::F32 => {
                self.load(warps, &mut scratch.floats, f32::from_bits);
                multiply_accumulate(a, b, &mut scratch.floats, self.arithmetic(format, grid, false));
                self.store(warps, &scratch.floats, f32::to_bits);
            }
            Accumulator::F16 => {
                self.load(warps, &mut scratch.floats, |bits| Format::F16.decode(bits));
                multiply_accumulate(a, b, &mut scratch.floats, self.arithmetic(format, grid, true));
                self.store(warps, &scratch.floats, |value| f16_bits(value).into());
            }
        }
        Ok((columns, padded))
    }

    fn arithmetic(&self, format: Format, grid: &Grid<'_>, half: bool) -> Arithmetic {
        Arithmetic::new(grid.options.precision, grid.generation, Unit::Wgmma, format, self.code.depth, half)
    }

    /// The same for single bits.
    fn multiply_bits(
        &self,
        warps: &mut [Warp; 4],
        shared: &SharedMemory,
        panels: &mut PanelCache,
        rows: &mut Lines,
    ) -> Result<Lines, Box<Fault>> {
        let (b, columns) = self.operand_b().elements(shared)?;
        let a = self.elements_of_a(warps, shared, rows)?;
        let integers = &mut panels.scratch.integers;
        self.load(warps, integers, u32::cast_signed);
        multiply_accumulate_bits(&a, &b, self.code.a_depth(), integers, BitOperation::And);
        self.store(warps, integers, i32::cast_unsigned);
        Ok(columns)
    }

    /// The elements' bits of A as it is held, row by row. Adds to the undefined rows.
    fn elements_of_a(
        &self,
        warps: &[Warp; 4],
        shared: &SharedMemory,
        rows: &mut Lines,
    ) -> Result<Vec<u32>, Box<Fault>> {
        let code = &*self.code;
        if code.a_descriptor.is_some() {
            let (elements, undefined) = self.operand_a().elements(shared)?;
            rows.insert_all(&undefined);
            return Ok(elements);
        }
        let (fragment, depth) = (code.a_fragment(), code.a_depth());
        let mut elements = vec![0; ROWS * depth];
        let slots = code.registers.operands.slots();
        for (warp, part) in warps.iter().zip(elements.chunks_exact_mut(WARP_ROWS * depth)) {
            let register = |number: usize| warp.registers.slot(usize::from(slots[number]));
            // What lies above an element in its register is cut off where the element is decoded.
            fragment.load(part, Strides { line: depth, place: 1 }, register, |bits| bits);
        }
        Ok(elements)
    }

    /// Brings the accumulators of the warps, or zeros, into one matrix.
    fn load<T: Default + Copy>(&self, warps: &[Warp; 4], matrix: &mut Vec<T>, decode: impl Fn(u32) -> T) {
        let code = &*self.code;
        matrix.resize(ROWS * code.columns, T::default());
        if !self.operands.scale_d {
            matrix.fill(T::default());
            return;
        }
        let (fragment, slots) = (code.d_fragment(), code.registers.accumulators.slots());
        for (warp, part) in warps.iter().zip(matrix.chunks_exact_mut(WARP_ROWS * code.columns)) {
            let register = |number: usize| warp.registers.slot(usize::from(slots[number]));
            fragment.load(part, Strides { line: code.columns, place: 1 }, register, &decode);
        }
    }

    /// Brings the accumulators back.
    fn store<T: Copy>(&self, warps: &mut [Warp; 4], matrix: &[T], encode: impl Fn(T) -> u32) {
        let code = &*self.code;
        let (fragment, slots) = (code.d_fragment(), code.registers.accumulators.slots());
        for (warp, part) in warps.iter_mut().zip(matrix.chunks_exact(WARP_ROWS * code.columns)) {
            let registers = &mut warp.registers;
            let write = |number: usize, values: &_| *registers.slot_mut(usize::from(slots[number])) = *values;
            fragment.store(part, Strides { line: code.columns, place: 1 }, write, &encode);
        }
    }

    /// Notes that the warp's product is executed, and which of its results are undefined.
    fn finish(&self, warp: &mut Warp, place: usize, rows: &Lines, columns: &Lines) {
        let matrices = &mut warp.flight.matrices;
        matrices[place].executed = true;
        if !self.operands.scale_d {
            matrices[place].undefined = None;
        }
        if !rows.is_empty() || !columns.is_empty() {
            let fragment = self.code.d_fragment();
            let count = fragment.registers();
            let undefined =
                matrices[place].undefined.get_or_insert_with(|| vec![0; count].into_boxed_slice());
            for (number, lanes) in undefined.iter_mut().enumerate() {
                *lanes |= undefined_results(&fragment, number, rows, columns);
            }
        }
        // A product that continues this one starts from what it leaves.
        if let Some(undefined) = matrices[place].undefined.clone() {
            let base = matrices[place].base;
            let next = matrices.iter_mut().skip(place + 1).find(|next| {
                next.base == base && next.registers.accumulators == self.code.registers.accumulators
            });
            if let Some(next) = next {
                next.undefined = Some(undefined);
            }
        }
    }
}

/// Executes the oldest product that all warps of a warpgroup have issued; false if there is none.
///
/// # Errors
///
/// Names the rule that its operands break, and the PTX line.
pub fn advance(
    cluster: &mut Cluster,
    cta: usize,
    group: usize,
    grid: &Grid<'_>,
    counters: &mut Counters,
) -> Result<bool, (Box<Fault>, u32)> {
    let Cluster { state, warps, warps_per_cta } = cluster;
    let block = &mut state.ctas[cta];
    let warpgroup = &mut block.warpgroups[group];
    if warpgroup.issued.iter().any(|issued| *issued <= warpgroup.executed) {
        return Ok(false);
    }
    let Some(product) = warpgroup.queue.pop_front() else { return Ok(false) };
    warpgroup.executed += 1;
    let first = cta * *warps_per_cta + group * 4;
    let warps = warps[first..].first_chunk_mut().expect("issuing checks that there are four warps");
    let executed = product.execute(warps, &block.shared, &mut state.panels, grid, counters);
    executed.map_err(|fault| (fault, product.line))?;
    Ok(true)
}
