//! Matrix products of warpgroups (PTX ISA 9.7.17): issued by four warps, executed when the scheduler says so.
//!
//! A warp that issues a product goes on; the accumulators count as undefined until a `wgmma.wait_group` retires it, and
//! whoever touches them before is told. Once all four warps have issued it, [`advance`] executes it, with what shared
//! memory then holds.

mod panel_cache;
mod product;
mod sparse;

use super::matrix_operand::{Lines, format_of, literal};
use crate::context::Context;
use crate::counters::Class;
use crate::decode::{Decoded, Decoder, PredicateSource, Unsupported};
use crate::flight::{MatrixFlight, MatrixRegisters, SlotSet};
use crate::program::{Flow, Step};
use crate::race::Region;
use crate::race::clock::Knowledge;
use crate::registers::Source;
use crate::report::{Fault, Rule};
use crate::tensor_core::Format;
use crate::tensor_core::descriptor::Major;
use crate::tensor_core::fragment::Fragment;
use crate::unfenced::{Unfenced, Watched};
use crate::warp::Wait;
use product::Operands;
use rorqual_ptx::instruction::Instruction;
use rorqual_ptx::modifier::Modifier;
use rorqual_ptx::table::{Mma, Opcode};
use rorqual_ptx::types::Type;
use sparse::Sparsity;
use std::sync::Arc;

pub use panel_cache::PanelCache;
pub use product::{Product, advance};

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

impl Element {
    /// Bits of an element.
    const fn bits(self) -> u64 {
        match self {
            Self::Number(format) => format.bits() as u64,
            Self::Bits => 1,
        }
    }
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
    /// The metadata of sparse A, and where it lies.
    sparse: Option<(Source, Sparsity)>,
}

/// Undefined lanes of each accumulator register.
type UndefinedLanes = Box<[u32]>;

impl Multiplication {
    /// Elements of k that A holds, words of single bits.
    const fn a_depth(&self) -> usize {
        match self.a.format {
            Element::Bits => self.depth / 32,
            Element::Number(_) if self.sparse.is_some() => self.depth / 2,
            Element::Number(_) => self.depth,
        }
    }

    fn a_fragment(&self) -> Fragment {
        let bits = match self.a.format {
            Element::Number(format) => format.bits(),
            Element::Bits => 32,
        };
        Fragment::operand(WARP_ROWS, self.a_depth(), bits)
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
        let metadata = self.sparse.map(|(source, _)| Box::new(*context.u32(source)));
        let (line, base) = (context.line, context.fragment.frame.base);
        let flight = &mut context.warp.flight;
        flight.matrices.push_back(MatrixFlight {
            group: flight.open_matrix_group,
            registers: Arc::clone(&self.registers),
            base,
            undefined,
            undefined_rows,
            metadata,
            executed: false,
            line,
        });
        let (macs, tensor_cycles, operand_bytes) = self.work();
        if let Some(mut trace) = context.trace() {
            trace.product(macs, tensor_cycles, operand_bytes);
        }
        Ok(Flow::Next)
    }

    /// Multiply-adds, the cycles that they take the four tensor cores at their peak, and the bytes of shared memory that
    /// they read. Dense products go through k in steps of 32 bytes of A, N/2 cycles each; sparse ones in half of that.
    fn work(&self) -> (u64, u64, u64) {
        let (columns, depth) = (self.columns as u64, self.depth as u64);
        let (a_bits, b_bits) = (self.a.format.bits(), self.b.format.bits());
        let sparse = if self.sparse.is_some() { 2 } else { 1 };
        let cycles = (depth * a_bits / sparse).div_ceil(256) * columns.div_ceil(2);
        let a_bytes = if self.a_descriptor.is_some() { ROWS as u64 * depth * a_bits / sparse / 8 } else { 0 };
        (ROWS as u64 * columns * depth, cycles, a_bytes + columns * depth * b_bits / 8)
    }

    /// Joins the product that the other warps have issued, or starts it.
    fn queue(self: &Arc<Self>, context: &mut Context<'_>, operands: Operands) -> Result<(), Box<Fault>> {
        let (pc, line) = (context.fragment.pc, context.line);
        let warpgroup = &mut context.cluster.ctas[context.warp.cta].warpgroups[context.warp.index / 4];
        let issued = &mut warpgroup.issued[context.warp.index % 4];
        let place = (*issued - warpgroup.executed) as usize;
        *issued += 1;
        if place == warpgroup.queue.len() {
            let known = Knowledge::default();
            warpgroup.queue.push_back(Product { code: Arc::clone(self), pc, line, operands, known });
        }
        let product = &warpgroup.queue[place];
        if product.pc == pc && product.operands == operands {
            return observe_product(context, place);
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
        if let Some((metadata, sparsity)) = self.sparse {
            // The threads of a row hold the metadata of the row 8 below too.
            let undefined = context.taint(metadata)? & sparsity.lanes();
            (0..8).filter(|g| undefined >> (4 * g) & 0xf != 0).for_each(|g| {
                rows.insert(g);
                rows.insert(g + 8);
            });
        }
        Ok(rows.first_sixteen())
    }

    /// Whether the product continues one in flight, with the undefined lanes that that one leaves if it is known.
    fn chain(&self, context: &Context<'_>) -> Result<(bool, Option<UndefinedLanes>), Box<Fault>> {
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

/// Whether the warp has executed a `wgmma.fence` behind each of these accesses of registers of a product.
fn check_fenced(context: &Context<'_>, accesses: &[Unfenced]) -> Step {
    let executed = &context.warp.flight.unfenced;
    let Some(access) = accesses.iter().find(|access| executed.contains(&access.statement)) else {
        return Ok(Flow::Next);
    };
    let fault = Fault::new(
        Rule::InFlight,
        format!(
            "no wgmma.fence between wgmma.mma_async and the {} of its register `{}`",
            if access.is_write { "write" } else { "read" },
            access.register
        ),
    );
    Err(Box::new(fault.with_other(access.line)))
}

/// Tells race detection what the warp knows, and, when all four warps have issued it, what the product reads.
fn observe_product(context: &mut Context<'_>, place: usize) -> Result<(), Box<Fault>> {
    let Some((race, actor)) = context.race(u32::MAX) else { return Ok(()) };
    let knows = race.matrix_knowledge(&actor);
    let cta = context.warp.cta;
    let block = &mut context.cluster.ctas[cta];
    let warpgroup = &mut block.warpgroups[context.warp.index / 4];
    let number = warpgroup.executed + place as u64;
    let product = &mut warpgroup.queue[place];
    product.known.join(&knows);
    if warpgroup.issued.iter().any(|issued| *issued <= number) {
        return Ok(());
    }
    let known = Arc::new(std::mem::take(&mut product.known));
    // A descriptor that is wrong is found when the product is executed.
    let ranges = product.ranges(block.shared.base());
    let region = Region::Shared { cta: cta as u32, base: block.shared.base() };
    let (group, first) =
        (context.warp.flight.open_matrix_group, (context.warp_number - context.warp.index % 4) as u32);
    let Some((race, actor)) = context.race(u32::MAX) else { return Ok(()) };
    let ticket = race.matrix_product(&actor, first, group, known);
    race.access_ranges(&ticket, false, region, ranges.into_iter())
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
        flight.matrices.pop_front_if(|matrix| matrix.group.saturating_add(left) < flight.open_matrix_group)
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
    let below = context.warp.flight.open_matrix_group.saturating_sub(left);
    let first = (context.warp_number - context.warp.index % 4) as u32;
    if let Some((race, actor)) = context.race(u32::MAX) {
        race.wait_matrices(&actor, first, below);
    }
    if let Some(mut trace) = context.trace() {
        trace.wait_for_products(left);
    }
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
            context.warp.flight.unfenced.clear();
            Ok(Flow::Next)
        });
    }

    /// Watches an instruction that accesses a register of a product, or is that product, with no `wgmma.fence` on some
    /// way from the one to the other.
    pub fn watch(&mut self, statement: usize, instruction: &Instruction, watched: &Watched) {
        self.begin(instruction);
        if !watched.unfenced.is_empty() {
            let accesses = watched.unfenced.clone();
            self.emit_with(Class::Matrix, move |context| check_fenced(context, &accesses));
        }
        if watched.is_access {
            self.emit_with(Class::Matrix, move |context| {
                let unfenced = &mut context.warp.flight.unfenced;
                if !unfenced.contains(&statement) {
                    unfenced.push(statement);
                }
                Ok(Flow::Next)
            });
        }
    }

    /// `wgmma.commit_group`
    pub(super) fn decode_wgmma_commit_group(&mut self) {
        self.emit_with(Class::Matrix, |context| {
            if let Some(flow) = context.whole_warp("wgmma.commit_group")? {
                return Ok(flow);
            }
            context.warp.flight.open_matrix_group += 1;
            if let Some(mut trace) = context.trace() {
                trace.commit_products();
            }
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

    /// `wgmma.mma_async` and `wgmma.mma_async.sp`
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
        let sparse = if instruction.opcode() == Opcode::Mma(Mma::WgmmaMmaAsyncSp) {
            let Element::Number(format) = a.format else { return Err(lacking()) };
            let metadata = self.source(self.need(instruction, "meta")?, Type::B32)?;
            let selector = literal(instruction, "select").ok_or_else(lacking)?;
            Some((metadata, Sparsity::new(format, selector == 1)))
        } else {
            None
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
            sparse,
        };
        if code.d_fragment().registers() != code.registers.accumulators.slots().len() {
            return Err(lacking());
        }
        let code = Arc::new(code);
        self.emit_with(Class::Matrix, move |context| code.issue(context));
        Ok(())
    }
}
