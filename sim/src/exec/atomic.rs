//! Atomics and reductions in memory (PTX ISA 9.7.15.5 to 9.7.15.7): lane by lane, in ascending order.

use super::access::lane_fault;
use super::bulk_copy::memory_rule;
use super::cached::{self, Use};
use super::{link, observe};
use crate::bulk::{ReduceOp, ReduceType, reduce_element};
use crate::cluster::{Asynchronous, ClusterState, Progress};
use crate::context::Context;
use crate::counters::{Class, Counters, LinkUse, lane_count};
use crate::decode::{AddressSource, Decoded, Decoder, Unsupported};
use crate::grid::Grid;
use crate::liveness::slots_of;
use crate::memory::{LaneError, Loaded, MemoryError, Window, classify};
use crate::program::{Flow, Step};
use crate::race::Touch;
use crate::race::scope::{Scope, Semantics};
use crate::registers::{Destination, Source};
use crate::report::{Fault, Rule};
use rorqual_ptx::instruction::Instruction;
use rorqual_ptx::modifier::Modifier;
use rorqual_ptx::operand::Operand;
use rorqual_ptx::table::ExecAtomic;
use rorqual_ptx::types::{Space, Type};

/// What an atomic does with the old value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Replaces it.
    Exchange,
    /// Replaces it if it is equal to the operand.
    CompareAndSwap,
    /// Combines it with the operand, element by element.
    Reduce {
        /// What is done.
        op: ReduceOp,
        /// Element type in shared memory.
        ty: ReduceType,
        /// Element type in global memory: f32 addition flushes subnormals there.
        global: ReduceType,
        /// Bits of an element.
        element_bits: u32,
    },
}

impl Operation {
    /// The new value of `bits` bits.
    #[must_use]
    pub fn apply(self, old: u128, operand: u128, new: u128, bits: u32, is_global: bool) -> u128 {
        match self {
            Self::Exchange => operand,
            Self::CompareAndSwap => {
                if old == operand {
                    new
                } else {
                    old
                }
            }
            Self::Reduce { op, ty, global, element_bits } => {
                let ty = if is_global { global } else { ty };
                let keep = if element_bits >= 64 { u64::MAX } else { (1 << element_bits) - 1 };
                (0..bits / element_bits).fold(0, |result, element| {
                    let at = element * element_bits;
                    let (a, b) = ((old >> at) as u64 & keep, (operand >> at) as u64 & keep);
                    // The table's rows allow exactly the pairs that exist.
                    let value = reduce_element(op, ty, a, b).unwrap_or(a) & keep;
                    result | u128::from(value) << at
                })
            }
        }
    }
}

/// `atom` and `red`, decoded.
struct Atomic {
    address: AddressSource,
    space: Space,
    operation: Operation,
    /// Bits of one access.
    bits: u32,
    semantics: Semantics,
    /// Whether the value is returned: what is not cannot acquire.
    returns: bool,
    /// Result, operand and new value of each element of a vector.
    elements: Vec<(Option<Destination>, Source, Source)>,
}

impl Atomic {
    fn run(&self, context: &mut Context<'_>) -> Step {
        let addresses = self.address.read(context)?;
        let bytes = self.bits / 8;
        let whole = bytes * self.elements.len() as u32;
        crate::memory::check_alignment(&addresses, 0, context.mask, whole)
            .map_err(|error| lane_fault(&error))?;
        super::access::count(context, &addresses, self.space, whole);
        link::lanes(context, &addresses, self.space, whole, LinkUse::Atomic);
        cached::lanes(context, &addresses, self.space, whole, Use::Read);
        let swaps = self.operation == Operation::CompareAndSwap;
        let touch = Touch { strong: self.semantics.strong, swaps, scalar_bytes: bytes, ..Touch::WRITE };
        observe::lanes(context, &addresses, self.space, whole, touch)?;
        if self.returns {
            observe::strong_reads(context, &addresses, self.space, self.semantics);
        }
        observe::strong_writes(context, &addresses, self.space, self.semantics, true);
        super::older::before_write(context, &addresses, self.space, whole, true);
        context.counters.atomic_bytes += lane_count(context.mask) * u64::from(whole);
        for (index, (to, operand, new)) in self.elements.iter().enumerate() {
            let undefined = context.taint(*operand)? | context.taint(*new)?;
            let (operands, news) = (self.values(context, *operand), self.values(context, *new));
            let mut results = [[0u64; 32]; 2];
            let mut undefined_results = 0;
            let mut changed = false;
            for lane in context.active() {
                let address = addresses[lane].wrapping_add(u64::from(index as u32 * bytes));
                let (a, b) = (operands[lane], news[lane]);
                let defined = undefined >> lane & 1 == 0;
                let old =
                    self.update(context, address, bytes, a, b, defined).map_err(|error| match error {
                        Ok(error) => lane_fault(&LaneError { lane: lane as u32, error }),
                        Err(fault) => fault,
                    })?;
                changed |= self.operation.apply(old.bits, a, b, self.bits, false) != old.bits;
                results[0][lane] = old.bits as u64;
                results[1][lane] = (old.bits >> 64) as u64;
                undefined_results |= u32::from(!old.is_defined(bytes)) << lane;
            }
            if changed {
                context.cluster.changed();
            }
            if let Some(to) = to {
                match self.bits {
                    0..=32 => {
                        context.write_u32(*to, &results[0].map(|value| value as u32), undefined_results)?
                    }
                    33..=64 => context.write_u64(*to, &results[0], undefined_results)?,
                    _ => {
                        context.write_u64(*to, &results[0], undefined_results)?;
                        context.write_u64(Destination(to.0 + 2), &results[1], undefined_results)?;
                    }
                }
            }
        }
        super::older::after_write(context, &addresses, self.space, whole, true);
        Ok(Flow::Next)
    }

    fn values(&self, context: &Context<'_>, source: Source) -> [u128; 32] {
        match self.bits {
            0..=32 => {
                let keep = u32::MAX >> (32 - self.bits);
                context.u32(source).map(|value| u128::from(value & keep))
            }
            33..=64 => context.u64(source).map(u128::from),
            _ => {
                let [low, high] = context.u128(source);
                std::array::from_fn(|lane| u128::from(low[lane]) | u128::from(high[lane]) << 64)
            }
        }
    }

    /// One read-modify-write. The error is of memory, or a fault.
    fn update(
        &self,
        context: &mut Context<'_>,
        address: u64,
        bytes: u32,
        operand: u128,
        new: u128,
        defined: bool,
    ) -> Result<Loaded, Result<MemoryError, Box<Fault>>> {
        let (operation, bits) = (self.operation, self.bits);
        let still_defined = move |old: bool| match operation {
            Operation::Exchange => defined,
            _ => old && defined,
        };
        let shared = match (self.space, classify(address)) {
            (Space::Shared | Space::SharedCluster, _) => Some(address as u32),
            (Space::Generic, Window::Shared(address)) => Some(address),
            _ => None,
        };
        if let Some(address) = shared {
            let memory = &mut context.cluster.cta_of(address).map_err(Err)?.shared;
            let apply = |old| operation.apply(old, operand, new, bits, false);
            return memory.fetch_update(address, bytes, apply, still_defined).map_err(Ok);
        }
        if let (Space::Generic, Window::Local(_) | Window::Param(_)) = (self.space, classify(address)) {
            return Err(Err(Box::new(Fault::new(
                Rule::Bounds,
                format!("an atomic at {address:#x}, which is neither in global nor in shared memory"),
            ))));
        }
        let (memory, line) = (context.grid.global(), context.line);
        if bits > 64 {
            let apply = |old| operation.apply(old, operand, new, bits, true);
            return memory.fetch_update_wide(address, line, apply, still_defined).map_err(Ok);
        }
        let apply = |old| operation.apply(u128::from(old), operand, new, bits, true) as u64;
        memory.fetch_update(address, bytes, line, apply, still_defined).map_err(Ok)
    }
}

/// `red.async`: a reduction that an mbarrier counts.
#[derive(Debug)]
struct AsyncReduction {
    address: u32,
    bytes: u32,
    operation: Operation,
    operand: u64,
    defined: bool,
    mbarrier: u32,
}

impl Asynchronous for AsyncReduction {
    fn advance(
        &mut self,
        cluster: &mut ClusterState,
        _: &Grid<'_>,
        counters: &mut Counters,
    ) -> Result<Progress, Box<Fault>> {
        let Self { address, bytes, operation, operand, defined, .. } = *self;
        counters.atomic_bytes += u64::from(bytes);
        let apply = |old| operation.apply(old, u128::from(operand), 0, bytes * 8, false);
        cluster
            .cta_of(address)?
            .shared
            .fetch_update(address, bytes, apply, |old| old && defined)
            .map_err(|error| Fault::new(memory_rule(&error), error.to_string()))?;
        let barrier = cluster.mbarrier(self.mbarrier)?;
        barrier.in_flight -= 1;
        barrier.complete_transactions(bytes)?;
        Ok(Progress::Done)
    }
}

/// What an instruction does with the old value.
///
/// # Errors
///
/// If the simulator lacks it.
pub fn operation(instruction: &Instruction, ty: Type) -> Result<Operation, Unsupported> {
    if instruction.has(Modifier::Exch) {
        return Ok(Operation::Exchange);
    }
    if instruction.has(Modifier::Cas) {
        return Ok(Operation::CompareAndSwap);
    }
    let chosen = [
        (Modifier::Add, ReduceOp::Add),
        (Modifier::Min, ReduceOp::Min),
        (Modifier::Max, ReduceOp::Max),
        (Modifier::Inc, ReduceOp::Inc),
        (Modifier::Dec, ReduceOp::Dec),
        (Modifier::And, ReduceOp::And),
        (Modifier::Or, ReduceOp::Or),
        (Modifier::Xor, ReduceOp::Xor),
    ];
    let found = chosen.into_iter().find(|(modifier, _)| instruction.has(*modifier));
    let (_, op) = found.ok_or_else(|| Unsupported::new("an atomic without an operation"))?;
    let element = match ty {
        Type::U32 => ReduceType::U32,
        Type::S32 => ReduceType::S32,
        Type::U64 => ReduceType::U64,
        Type::S64 => ReduceType::S64,
        Type::B32 => ReduceType::B32,
        Type::B64 => ReduceType::B64,
        Type::F16 | Type::F16x2 => ReduceType::F16,
        Type::Bf16 | Type::Bf16x2 => ReduceType::Bf16,
        Type::F32 => ReduceType::F32,
        Type::F64 => ReduceType::F64,
        other => return Err(Unsupported::new(format!("an atomic on {other}"))),
    };
    // Addition of 64-bit integers is the same for both signs.
    let element = if op == ReduceOp::Add && element == ReduceType::S64 { ReduceType::U64 } else { element };
    let global = if element == ReduceType::F32 { ReduceType::F32Ftz } else { element };
    Ok(Operation::Reduce { op, ty: element, global, element_bits: ty.element_bits() })
}

/// The operands of a vector access; a plain operand is a vector of one.
#[must_use]
pub fn elements(operand: &Operand) -> &[Operand] {
    match operand {
        Operand::Vector(elements) => elements,
        single => std::slice::from_ref(single),
    }
}

impl Decoder<'_> {
    fn atomic(&mut self, instruction: &Instruction) -> Decoded {
        let ty = instruction.ty().ok_or_else(|| Unsupported::new("an atomic without a type"))?;
        let operation = operation(instruction, ty)?;
        let target = self.need(instruction, "a")?;
        let space = self.space(instruction, target);
        let address = self.address(target)?;
        let operands = elements(self.need(instruction, "b")?);
        let results = instruction.operand("d").map(elements).unwrap_or_default();
        let mut decoded = Vec::new();
        for (index, operand) in operands.iter().enumerate() {
            let to = match results.get(index) {
                None | Some(Operand::Sink) => None,
                Some(register) => Some(self.destination(register, ty)?),
            };
            let source = self.source(operand, ty)?;
            let new = instruction.operand("c").map_or(Ok(source), |operand| self.source(operand, ty))?;
            decoded.push((to, source, new));
        }
        let relaxed = Semantics { strong: Some(Scope::Gpu), ..Semantics::WEAK };
        let atomic = Atomic {
            address,
            space,
            operation,
            bits: ty.bits(),
            semantics: Semantics::of(instruction, relaxed),
            returns: instruction.operand("d").is_some(),
            elements: decoded,
        };
        self.emit_with(Class::Atomic, move |context| atomic.run(context));
        Ok(())
    }
}

impl ExecAtomic for Decoder<'_> {
    type Output = Decoded;

    fn atom(&mut self, instruction: &Instruction) -> Decoded {
        self.atomic(instruction)
    }

    fn red(&mut self, instruction: &Instruction) -> Decoded {
        self.atomic(instruction)
    }

    fn red_async(&mut self, instruction: &Instruction) -> Decoded {
        let Some(mbarrier) = instruction.operand("mbar") else { return self.atomic(instruction) };
        let ty = instruction.ty().ok_or_else(|| Unsupported::new("a reduction without a type"))?;
        let operation = operation(instruction, ty)?;
        let address = self.address(self.need(instruction, "a")?)?;
        let mbarrier = self.address(mbarrier)?;
        let operand = self.source(self.need(instruction, "b")?, ty)?;
        let wide = slots_of(ty, 1) == 2;
        self.emit_with(Class::AsyncCopy, move |context| {
            let (addresses, mbarriers) = (address.read_u32(context)?, mbarrier.read_u32(context)?);
            let undefined = context.taint(operand)?;
            for lane in context.active() {
                let value =
                    if wide { context.u64(operand)[lane] } else { u64::from(context.u32(operand)[lane]) };
                let span = (addresses[lane], ty.bytes());
                super::bulk_copy::announce_remote(context, span, mbarriers[lane])?;
                super::observe_copies::observe_remote(context, lane, span, mbarriers[lane], true)?;
                let work = AsyncReduction {
                    address: addresses[lane],
                    bytes: ty.bytes(),
                    operation,
                    operand: value,
                    defined: undefined >> lane & 1 == 0,
                    mbarrier: mbarriers[lane],
                };
                context.cluster.submit(context.warp_number, context.line, Box::new(work));
            }
            context.cluster.changed();
            Ok(Flow::Next)
        });
        Ok(())
    }

    fn multimem_ld_reduce(&mut self, instruction: &Instruction) -> Decoded {
        self.reducing_load(instruction)
    }

    fn multimem_st(&mut self, instruction: &Instruction) -> Decoded {
        self.multicast_store(instruction)
    }

    fn multimem_red(&mut self, instruction: &Instruction) -> Decoded {
        self.multicast_reduction(instruction)
    }
}
