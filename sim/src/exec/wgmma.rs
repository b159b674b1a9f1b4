//! Matrix products of warpgroups (PTX ISA 9.7.17): issued by four warps, executed when the scheduler says so.
//!
//! A warp that issues a product goes on; the accumulators count as undefined until a `wgmma.wait_group` retires it, and
//! whoever touches them before is told. Once all four warps have issued it, [`advance`] executes it, with what shared
//! memory then holds.

use super::matrix_operand::{Lines, format_of, literal, undefined_results};
use super::panel_cache::Operand as SharedMatrix;
use crate::cluster::Cluster;
use crate::context::Context;
use crate::counters::{Class, Counters};
use crate::decode::{Decoded, Decoder, PredicateSource, Unsupported};
use crate::flight::{MatrixFlight, MatrixRegisters, SlotSet};
use crate::grid::Grid;
use crate::memory::SharedMemory;
use crate::program::{Flow, Step};
use crate::registers::Source;
use crate::report::{Fault, Rule};
use crate::tensor_core::descriptor::Major;
use crate::tensor_core::fragment::{Fragment, Strides};
use crate::tensor_core::{
    Arithmetic, BitOperation, Format, Instruction as Unit, f16_bits, multiply_accumulate,
    multiply_accumulate_bits, multiply_accumulate_integer,
};
use crate::warp::{Wait, Warp};
use rorqual_ptx::instruction::Instruction;
use rorqual_ptx::modifier::Modifier;
use rorqual_ptx::types::Type;
use std::sync::Arc;

pub use super::panel_cache::PanelCache;

/// Rows of the product; a warp holds a quarter of them.
const ROWS: usize = 64;
/// Rows that a warp holds.
const WARP_ROWS: usize = ROWS / 4;

/// A factor of a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Factor {
    format: Element,
    major: Major,
    negated: bool,
}

/// The elements of the factors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Element {
    Number(Format),
    /// Single bits, in words of 32.
    Bits,
}

/// The elements of the accumulators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Accumulator {
    F32,
    F16,
    S32 { saturate: bool },
}

/// `wgmma.mma_async`, decoded.
#[derive(Debug)]
struct Multiplication {
    columns: usize,
    depth: usize,
    a: Factor,
    b: Factor,
    accumulator: Accumulator,
    /// The descriptor of A; `None` if A is in registers.
    a_descriptor: Option<Source>,
    b_descriptor: Source,
    scale_d: PredicateSource,
    registers: Arc<MatrixRegisters>,
}

/// A product that some warps of the warpgroup have issued.
#[derive(Debug)]
pub struct Product {
    code: Arc<Multiplication>,
    pc: u32,
    line: u32,
    operands: Operands,
}

/// What all warps of the warpgroup must agree on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Operands {
    a_descriptor: u64,
    b_descriptor: u64,
    scale_d: bool,
}

impl Multiplication {
    fn a_fragment(&self) -> Fragment {
        let depth = if self.a.format == Element::Bits { self.depth / 32 } else { self.depth };
        let bits = match self.a.format {
            Element::Number(format) => format.bits(),
            Element::Bits => 32,
        };
        Fragment::operand(WARP_ROWS, depth, bits)
    }

    fn d_fragment(&self) -> Fragment {
        let bits = if self.accumulator == Accumulator::F16 { 16 } else { 32 };
        Fragment::accumulator(WARP_ROWS, self.columns, bits)
    }

    /// What the warp gives to the product.
    fn operands(&self, context: &Context<'_>) -> Result<Operands, Box<Fault>> {
        let descriptor = |source, what| context.uniform_u64(source, true, what);
        let a_descriptor =
            self.a_descriptor.map_or(Ok(0), |source| descriptor(source, "the matrix descriptor of A"))?;
        let b_descriptor = descriptor(self.b_descriptor, "the matrix descriptor of B")?;
        let (scale_d, undefined) = self.scale_d.read(context);
        if undefined != 0 && context.grid.options.check_initialized {
            return Err(context.undefined_fault(undefined, "scale-d of wgmma.mma_async"));
        }
        if scale_d != 0 && scale_d != context.mask {
            return Err(Box::new(Fault::new(
                Rule::Convergence,
                format!(
                    "scale-d of wgmma.mma_async differs between the lanes: it is true in {}",
                    crate::report::lanes(scale_d)
                ),
            )));
        }
        Ok(Operands { a_descriptor, b_descriptor, scale_d: scale_d != 0 })
    }

    fn issue(self: &Arc<Self>, context: &mut Context<'_>) -> Step {
        if let Some(flow) = context.whole_warp("wgmma.mma_async")? {
            return Ok(flow);
        }
        check_warpgroup(context)?;
        if !context.warp.flight.matrix_fenced {
            return Err(Box::new(Fault::new(
                Rule::InFlight,
                "wgmma.mma_async before any wgmma.fence: the warp's writes of its registers are not ordered before it",
            )));
        }
        let operands = self.operands(context)?;
        self.queue(context, operands)?;
        let undefined_rows = self.undefined_rows(context)?;
        let (chained, mut undefined) = self.chain(context)?;
        if !chained {
            undefined = self.undefined_accumulators(context);
        }
        for slot in self.registers.accumulators.slots() {
            *context.warp.registers.undefined_mut(usize::from(*slot)) = u32::MAX;
        }
        let (line, base) = (context.line, context.fragment.frame.base);
        let flight = &mut context.warp.flight;
        flight.matrices.push_back(MatrixFlight {
            group: flight.open_matrix_group,
            registers: Arc::clone(&self.registers),
            base,
            undefined,
            undefined_rows,
            executed: false,
            line,
        });
        Ok(Flow::Next)
    }

    /// Joins the product that the other warps have issued, or starts it.
    fn queue(self: &Arc<Self>, context: &mut Context<'_>, operands: Operands) -> Result<(), Box<Fault>> {
        let (pc, line) = (context.fragment.pc, context.line);
        let warpgroup = &mut context.cluster.ctas[context.warp.cta].warpgroups[context.warp.index / 4];
        let issued = &mut warpgroup.issued[context.warp.index % 4];
        let place = (*issued - warpgroup.executed) as usize;
        *issued += 1;
        if place == warpgroup.queue.len() {
            warpgroup.queue.push_back(Product { code: Arc::clone(self), pc, line, operands });
        }
        let product = &warpgroup.queue[place];
        if product.pc == pc && product.operands == operands {
            return Ok(());
        }
        let (warp, rank) = (context.warp.index, context.warp.cta);
        Err(Box::new(product.disagreement(pc, &operands, &format!("warp {warp} of CTA rank {rank}"))))
    }

    /// Rows of the warp's fragment of A with an undefined element.
    fn undefined_rows(&self, context: &Context<'_>) -> Result<u16, Box<Fault>> {
        let mut rows = Lines::default();
        for (number, slot) in self.registers.operands.slots().iter().enumerate() {
            let undefined = context.taint(Source(*slot))?;
            if undefined != 0 {
                rows.insert_held(&self.a_fragment(), number, undefined);
            }
        }
        Ok(rows.first_sixteen())
    }

    /// Whether the product continues one in flight, with the undefined lanes that that one leaves if it is known.
    fn chain(&self, context: &Context<'_>) -> Result<(bool, Option<Box<[u32]>>), Box<Fault>> {
        let base = context.fragment.frame.base;
        let mut last = None;
        for matrix in &context.warp.flight.matrices {
            if matrix.base == base && matrix.registers.accumulators == self.registers.accumulators {
                last = Some(matrix);
            } else if matrix.base == base
                && (matrix.registers.accumulators.meets(&self.registers.accumulators)
                    || matrix.registers.operands.meets(&self.registers.accumulators))
            {
                return Err(Box::new(
                    Fault::new(
                        Rule::InFlight,
                        "accumulators that another wgmma in flight holds as other registers: only products with the \
                         same accumulators may follow each other without wgmma.wait_group",
                    )
                    .with_other(matrix.line),
                ));
            }
        }
        Ok((
            last.is_some(),
            last.and_then(|matrix| if matrix.executed { matrix.undefined.clone() } else { None }),
        ))
    }

    fn undefined_accumulators(&self, context: &Context<'_>) -> Option<Box<[u32]>> {
        let slots = self.registers.accumulators.slots();
        let undefined = |slot: &u16| context.warp.registers.undefined(usize::from(*slot));
        slots.iter().any(|slot| undefined(slot) != 0).then(|| slots.iter().map(undefined).collect())
    }
}

fn check_warpgroup(context: &Context<'_>) -> Result<(), Box<Fault>> {
    let warps = context.grid.thread_count().div_ceil(32) as usize;
    let group = context.warp.index / 4;
    if group * 4 + 4 <= warps {
        return Ok(());
    }
    Err(Box::new(Fault::new(
        Rule::Convergence,
        format!(
            "a wgmma instruction in warp {}: the CTA's {warps} warps leave no warpgroup of four there",
            context.warp.index
        ),
    )))
}

impl Product {
    fn disagreement(&self, pc: u32, operands: &Operands, who: &str) -> Fault {
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
    ) -> Result<(), Box<Fault>> {
        let code = &*self.code;
        // The product is the first of each warp that has not been executed.
        let places: [usize; 4] = std::array::from_fn(|warp| {
            let mut matrices = warps[warp].flight.matrices.iter();
            matrices.position(|matrix| !matrix.executed).expect("all warps have issued the product")
        });
        for (warp, &place) in warps.iter_mut().zip(&places) {
            let base = warp.flight.matrices[place].base;
            warp.registers.select(base as usize, 0);
        }
        let (rows, columns) = match code.a.format {
            Element::Number(_) => self.multiply(warps, shared, panels, grid)?,
            Element::Bits => self.multiply_bits(warps, shared, panels)?,
        };
        for (number, (warp, &place)) in warps.iter_mut().zip(&places).enumerate() {
            self.finish(warp, place, &rows.warp(number), &columns);
        }
        Ok(())
    }

    /// The matrix that a factor in shared memory is.
    fn shared_matrix(
        &self,
        factor: Factor,
        descriptor: u64,
        lines: usize,
        name: &'static str,
    ) -> SharedMatrix {
        let (format, negated) = match factor.format {
            Element::Number(format) => (format, factor.negated),
            // Words of 32 bits lie as tf32 elements do.
            Element::Bits => (Format::Tf32, false),
        };
        SharedMatrix { descriptor, major: factor.major, format, lines, negated, name }
    }

    /// Multiplies and adds; gives the undefined rows of A and columns of B.
    fn multiply(
        &self,
        warps: &mut [Warp; 4],
        shared: &SharedMemory,
        panels: &mut PanelCache,
        grid: &Grid<'_>,
    ) -> Result<(Lines, Lines), Box<Fault>> {
        let code = &*self.code;
        let Element::Number(format) = code.a.format else { unreachable!("bits are multiplied elsewhere") };
        let precision =
            if format.is_integer() { crate::tensor_core::Precision::Exact } else { grid.options.precision };
        let b = self.shared_matrix(code.b, self.operands.b_descriptor, code.columns, "B");
        let b = panels.find(&b, shared, precision)?;
        let mut rows = Lines::default();
        let a = if code.a_descriptor.is_some() {
            let a = self.shared_matrix(code.a, self.operands.a_descriptor, ROWS, "A");
            let a = panels.find(&a, shared, precision)?;
            rows = panels.undefined(a);
            Some(a)
        } else {
            let slots = code.registers.operands.slots();
            panels.fragment.fill_fragment(format, code.a_fragment(), 4, precision, |warp, number| {
                warps[warp].registers.slot(usize::from(slots[number]))
            });
            if code.a.negated {
                panels.fragment.negate();
            }
            for (warp, number) in warps.iter().zip(0..) {
                let flight = warp.flight.matrices.iter().find(|matrix| !matrix.executed);
                rows.insert_sixteen(number, flight.map_or(0, |flight| flight.undefined_rows));
            }
            None
        };
        let columns = panels.undefined(b);
        let slots = code.registers.accumulators.slots();
        let fragment = code.d_fragment();
        let strides = Strides { line: code.columns, place: 1 };
        let size = ROWS * code.columns;
        let part = WARP_ROWS * code.columns;
        let (a, b, scratch) = panels.operands(a, b);
        match code.accumulator {
            Accumulator::S32 { saturate } => {
                scratch.integers.resize(size, 0);
                let integers = &mut scratch.integers[..];
                load(warps, integers, part, self.operands.scale_d, |registers, part| {
                    fragment.load(
                        part,
                        strides,
                        |number| registers.slot(usize::from(slots[number])),
                        u32::cast_signed,
                    );
                });
                multiply_accumulate_integer(a, b, integers, saturate, &mut scratch.sums);
                for (warp, part) in warps.iter_mut().zip(integers.chunks_exact(part)) {
                    let registers = &mut warp.registers;
                    let write =
                        |number: usize, values: &_| *registers.slot_mut(usize::from(slots[number])) = *values;
                    fragment.store(part, strides, write, i32::cast_unsigned);
                }
            }
            Accumulator::F32 | Accumulator::F16 => {
                let half = code.accumulator == Accumulator::F16;
                let arithmetic = Arithmetic::new(
                    grid.options.precision,
                    grid.generation,
                    Unit::Wgmma,
                    format,
                    code.depth,
                    half,
                );
                scratch.floats.resize(size, 0.0);
                let floats = &mut scratch.floats[..];
                load(warps, floats, part, self.operands.scale_d, |registers, part| {
                    let register = |number: usize| registers.slot(usize::from(slots[number]));
                    if half {
                        fragment.load(part, strides, register, |bits| Format::F16.decode(bits));
                    } else {
                        fragment.load(part, strides, register, f32::from_bits);
                    }
                });
                multiply_accumulate(a, b, floats, arithmetic);
                for (warp, part) in warps.iter_mut().zip(floats.chunks_exact(part)) {
                    let registers = &mut warp.registers;
                    let write =
                        |number: usize, values: &_| *registers.slot_mut(usize::from(slots[number])) = *values;
                    if half {
                        fragment.store(part, strides, write, |value| u32::from(f16_bits(value)));
                    } else {
                        fragment.store(part, strides, write, f32::to_bits);
                    }
                }
            }
        }
        Ok((rows, columns))
    }

    /// The same for single bits.
    fn multiply_bits(
        &self,
        warps: &mut [Warp; 4],
        shared: &SharedMemory,
        panels: &mut PanelCache,
    ) -> Result<(Lines, Lines), Box<Fault>> {
        let code = &*self.code;
        let words = code.depth / 32;
        let b = self.shared_matrix(code.b, self.operands.b_descriptor, code.columns, "B");
        let (b, columns) = b.words(shared)?;
        let (a, rows) = if code.a_descriptor.is_some() {
            self.shared_matrix(code.a, self.operands.a_descriptor, ROWS, "A").words(shared)?
        } else {
            let (mut a, mut rows) = (vec![0; ROWS * words], Lines::default());
            let strides = Strides { line: words, place: 1 };
            let slots = code.registers.operands.slots();
            for (number, (warp, part)) in warps.iter().zip(a.chunks_exact_mut(WARP_ROWS * words)).enumerate()
            {
                let register = |number: usize| warp.registers.slot(usize::from(slots[number]));
                code.a_fragment().load(part, strides, register, |word| word);
                let flight = warp.flight.matrices.iter().find(|matrix| !matrix.executed);
                rows.insert_sixteen(number, flight.map_or(0, |flight| flight.undefined_rows));
            }
            (a, rows)
        };
        let (fragment, slots) = (code.d_fragment(), code.registers.accumulators.slots());
        let strides = Strides { line: code.columns, place: 1 };
        let part = WARP_ROWS * code.columns;
        let integers = &mut panels.scratch.integers;
        integers.resize(ROWS * code.columns, 0);
        load(warps, integers, part, self.operands.scale_d, |registers, part| {
            fragment.load(
                part,
                strides,
                |number| registers.slot(usize::from(slots[number])),
                u32::cast_signed,
            );
        });
        multiply_accumulate_bits(&a, &b, words, integers, BitOperation::And);
        for (warp, part) in warps.iter_mut().zip(integers.chunks_exact(part)) {
            let registers = &mut warp.registers;
            let write = |number: usize, values: &_| *registers.slot_mut(usize::from(slots[number])) = *values;
            fragment.store(part, strides, write, i32::cast_unsigned);
        }
        Ok((rows, columns))
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

/// Brings the accumulators of the warps, or zeros, into one matrix.
fn load<T: Default + Copy>(
    warps: &[Warp; 4],
    matrix: &mut [T],
    part: usize,
    scale_d: bool,
    load: impl Fn(&crate::registers::RegisterFile, &mut [T]),
) {
    if !scale_d {
        matrix.fill(T::default());
        return;
    }
    for (warp, part) in warps.iter().zip(matrix.chunks_exact_mut(part)) {
        load(&warp.registers, part);
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
    product.execute(warps, &block.shared, &mut state.panels, grid).map_err(|fault| (fault, product.line))?;
    counters.matrix_macs += (ROWS * product.code.columns * product.code.depth) as u64;
    Ok(true)
}

/// `wgmma.wait_group`: waits, then hands the registers of the groups that are done back to the warp.
fn wait_group(context: &mut Context<'_>, left: u32) -> Step {
    if let Some(flow) = context.whole_warp("wgmma.wait_group")? {
        return Ok(flow);
    }
    if !context.warp.flight.matrices_done(left) {
        return Ok(context.wait(Wait::MatrixGroups { left }));
    }
    let warp = &mut *context.warp;
    let flight = &mut warp.flight;
    while let Some(matrix) =
        flight.matrices.pop_front_if(|matrix| matrix.group + left < flight.open_matrix_group)
    {
        let goes_on = flight.matrices.iter().any(|later| {
            later.base == matrix.base && later.registers.accumulators == matrix.registers.accumulators
        });
        if goes_on {
            continue;
        }
        warp.registers.select(matrix.base as usize, context.fragment.frame.predicate_base as usize);
        for (number, slot) in matrix.registers.accumulators.slots().iter().enumerate() {
            let undefined = matrix.undefined.as_ref().map_or(0, |undefined| undefined[number]);
            *warp.registers.undefined_mut(usize::from(*slot)) = undefined;
        }
    }
    let frame = context.fragment.frame;
    warp.registers.select(frame.base as usize, frame.predicate_base as usize);
    Ok(Flow::Next)
}

impl Decoder<'_> {
    /// `wgmma.fence`
    pub(super) fn decode_wgmma_fence(&mut self) {
        self.emit_with(Class::Matrix, |context| {
            if let Some(flow) = context.whole_warp("wgmma.fence")? {
                return Ok(flow);
            }
            check_warpgroup(context)?;
            context.warp.flight.matrix_fenced = true;
            Ok(Flow::Next)
        });
    }

    /// `wgmma.commit_group`
    pub(super) fn decode_wgmma_commit_group(&mut self) {
        self.emit_with(Class::Matrix, |context| {
            if let Some(flow) = context.whole_warp("wgmma.commit_group")? {
                return Ok(flow);
            }
            context.warp.flight.open_matrix_group += 1;
            Ok(Flow::Next)
        });
    }

    /// `wgmma.wait_group`
    pub(super) fn decode_wgmma_wait_group(&mut self, instruction: &Instruction) -> Decoded {
        let count = literal(instruction, "count")
            .ok_or_else(|| Unsupported::new("wgmma.wait_group without a count"))?;
        let left = u32::try_from(count).unwrap_or(u32::MAX);
        self.emit_with(Class::Matrix, move |context| wait_group(context, left));
        Ok(())
    }

    /// `wgmma.mma_async`
    pub(super) fn decode_wgmma(&mut self, instruction: &Instruction) -> Decoded {
        let lacking = || Unsupported::new("a wgmma.mma_async of an unknown shape or type");
        let shape = instruction.shape().ok_or_else(lacking)?;
        let mut types = instruction.types();
        let (Some(d), Some(a), Some(b)) = (types.next(), types.next(), types.next()) else {
            return Err(lacking());
        };
        let element = |ty| match ty {
            Type::B1 => Ok(Element::Bits),
            ty => format_of(ty).map(Element::Number).ok_or_else(lacking),
        };
        let factor = |ty, transposed, scale| -> Result<Factor, Unsupported> {
            let major = if literal(instruction, transposed) == Some(1) { Major::Mn } else { Major::K };
            Ok(Factor { format: element(ty)?, major, negated: literal(instruction, scale) == Some(-1) })
        };
        let (a, b) = (factor(a, "trans_a", "scale_a")?, factor(b, "trans_b", "scale_b")?);
        let accumulator = match d {
            Type::F32 => Accumulator::F32,
            Type::F16 => Accumulator::F16,
            Type::S32 => Accumulator::S32 { saturate: instruction.has(Modifier::Satfinite) },
            _ => return Err(lacking()),
        };
        let slots = |registers: Vec<Source>| registers.iter().map(|source| source.0).collect();
        let accumulators = self.fragment_sources(instruction, "d", Type::B32)?;
        let (a_descriptor, operands) = match instruction.operand("a_desc") {
            Some(descriptor) => (Some(self.source(descriptor, Type::B64)?), Vec::new()),
            None => (None, self.fragment_sources(instruction, "a", Type::B32)?),
        };
        if accumulators.iter().chain(&operands).any(|source| source.is_constant()) {
            return Err(Unsupported::new("a literal in a fragment of wgmma.mma_async"));
        }
        let registers = MatrixRegisters {
            accumulators: SlotSet::new(slots(accumulators)),
            operands: SlotSet::new(slots(operands)),
        };
        let code = Multiplication {
            columns: shape.n.into(),
            depth: shape.k.into(),
            a,
            b,
            accumulator,
            a_descriptor,
            b_descriptor: self.source(self.need(instruction, "b_desc")?, Type::B64)?,
            scale_d: self.predicate(self.need(instruction, "scale_d")?)?,
            registers: Arc::new(registers),
        };
        if code.d_fragment().registers() != code.registers.accumulators.slots().len() {
            return Err(lacking());
        }
        let code = Arc::new(code);
        self.emit_with(Class::Matrix, move |context| code.issue(context));
        Ok(())
    }
}
