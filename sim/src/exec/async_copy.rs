//! Asynchronous copies and tensor maps (PTX ISA 9.7.10.28, 9.7.10.29): decoding and `cp.async`.
//! Bulk and tensor copies are agents of their own, in `bulk_copy`.

use super::bulk_copy::{BulkCopy, Direction, TensorCopy};
use super::cached::{self, Use};
use super::mbarrier;
use super::{access, link, map_edit};
use crate::bulk::{ReduceOp, ReduceType};
use crate::cluster::ClusterState;
use crate::context::Context;
use crate::counters::{Class, Counters, LinkUse};
use crate::decode::{AddressSource, Decoded, Decoder, Unsupported};
use crate::flight::{CopyArrival, CopyAsync};
use crate::grid::Grid;
use crate::memory::{Window, classify};
use crate::program::{Flow, Step};
use crate::race::Region;
use crate::registers::Source;
use crate::report::{Fault, Rule};
use crate::tensor_map::Field;
use crate::warp::{Wait, Warp};
use rorqual_ptx::instruction::Instruction;
use rorqual_ptx::modifier::Modifier;
use rorqual_ptx::operand::{Immediate, Operand};
use rorqual_ptx::table::ExecAsyncCopy;
use rorqual_ptx::types::{Space, Type};

/// The bytes that a `cp.async` reads.
#[derive(Debug, Clone, Copy)]
enum SourceBytes {
    /// All of them.
    All,
    /// As many as the register says.
    Count(Source),
    /// None where the predicate is true.
    Ignored(crate::decode::PredicateSource),
}

/// An address in global memory, or a generic one that leads there.
fn global_address(address: u64, what: &str) -> Result<u64, Box<Fault>> {
    match classify(address) {
        Window::Global => Ok(address),
        _ => Err(Box::new(Fault::new(Rule::Bounds, format!("{what} {address:#x} is not in global memory")))),
    }
}

/// A shared address from a shared window or generic address.
fn shared_address(address: u64) -> u32 {
    match classify(address) {
        Window::Shared(address) => address,
        _ => address as u32,
    }
}

fn issue_copy(
    context: &mut Context<'_>,
    [destination, source]: [AddressSource; 2],
    bytes: u32,
    source_bytes: SourceBytes,
) -> Step {
    let to = destination.read(context)?.map(shared_address);
    let from = source.read(context)?;
    let read = match source_bytes {
        SourceBytes::All => [bytes; 32],
        SourceBytes::Count(count) => {
            context.require_defined(count, "the source size of cp.async")?;
            *context.u32(count)
        }
        SourceBytes::Ignored(predicate) => {
            let (ignored, undefined) = predicate.read(context);
            if undefined != 0 {
                return Err(context.undefined_fault(undefined, "the predicate of cp.async"));
            }
            std::array::from_fn(|lane| if ignored >> lane & 1 == 1 { 0 } else { bytes })
        }
    };
    let undefined = [0u8; 16];
    for lane in context.active() {
        if read[lane] > bytes {
            return Err(Box::new(Fault::new(
                Rule::AsyncCopy,
                format!(
                    "cp.async of {bytes} bytes with a source size of {} in lane {lane}: it must not be larger",
                    read[lane]
                ),
            )));
        }
        for (address, name) in [(u64::from(to[lane]), "shared"), (from[lane], "global")] {
            if address % u64::from(bytes) != 0 {
                return Err(Box::new(Fault::new(
                    Rule::Alignment,
                    format!(
                        "cp.async of {bytes} bytes at {name} address {address:#x} in lane {lane}, expected a multiple of {bytes}"
                    ),
                )));
            }
        }
        // What is about to be overwritten holds nothing until the copy is done.
        let data = [0u8; 16];
        let shared = &mut context.cluster.cta_of(to[lane])?.shared;
        shared
            .write_range(to[lane], &data[..bytes as usize], &undefined[..bytes as usize])
            .map_err(|error| Fault::new(Rule::Bounds, format!("cp.async in lane {lane}: {error}")))?;
    }
    access::count_copy(context, &from, &read, &to, bytes);
    if context.grid.devices > 1 {
        let reading = context.active().filter(|lane| read[*lane] > 0);
        let reading = reading.fold(0, |lanes, lane| lanes | 1 << lane);
        link::count_lanes(context, &from, (Space::Global, reading), bytes, LinkUse::Read);
    }
    let sources = context.active().map(|lane| (from[lane], read[lane].into()));
    cached::ranges(context, sources, Use::Read);
    let total = context.active().map(|lane| u64::from(read[lane])).sum();
    if let Some(mut trace) = context.trace() {
        trace.copy_by_lanes(total);
    }
    observe_copy(context, &to, &from, &read, bytes)?;
    let flight = &mut context.warp.flight;
    flight.copies.push_back(CopyAsync {
        lanes: context.mask,
        bytes,
        source_bytes: read,
        sources: from,
        destinations: to,
        groups: flight.open_copy_group,
        line: context.line,
    });
    flight.copies_issued += 1;
    Ok(Flow::Next)
}

/// Tells race detection of the `cp.async` of the active lanes.
fn observe_copy(
    context: &mut Context<'_>,
    to: &[u32; 32],
    from: &[u64; 32],
    read: &[u32; 32],
    bytes: u32,
) -> Result<(), Box<Fault>> {
    if context.world.race.is_none() {
        return Ok(());
    }
    let (mask, number) = (context.mask, context.warp.flight.copies_issued as u32 + 1);
    let first = mask.trailing_zeros() as usize;
    // All lanes copy to the shared memory of their own CTA, or the program is odd enough to go lane by lane.
    let region = context.shared_region(to[first]);
    let alike = (0..32).filter(|&lane| mask >> lane & 1 == 1 && context.shared_region(to[lane]) == region);
    let alike = alike.fold(0, |set, lane| set | 1 << lane);
    let others: Vec<_> = (0..32)
        .filter(|&lane| (mask & !alike) >> lane & 1 == 1)
        .map(|lane| context.shared_region(to[lane]))
        .collect();
    let Some((race, actor)) = context.race(mask) else { return Ok(()) };
    let ticket = race.copy(&actor, number);
    let mut left = mask;
    while left != 0 {
        let count = read[left.trailing_zeros() as usize];
        let lanes = (0..32).filter(|&lane| left >> lane & 1 == 1 && read[lane] == count);
        let lanes = lanes.fold(0, |set, lane| set | 1 << lane);
        race.copy_lanes(&ticket, false, Region::Global, from, (lanes, count))?;
        left &= !lanes;
    }
    let shared = to.map(u64::from);
    race.copy_lanes(&ticket, true, region, &shared, (alike, bytes))?;
    for (lane, region) in (0..32).filter(|&lane| (mask & !alike) >> lane & 1 == 1).zip(others) {
        race.copy_lanes(&ticket, true, region, &shared, (1 << lane, bytes))?;
    }
    Ok(())
}

/// Performs the oldest `cp.async` of a warp and the arrivals that waited for it. True if there was one.
///
/// # Errors
///
/// The fault, with the PTX line that issued the copy.
pub fn advance_copies(
    warp: &mut Warp,
    cluster: &mut ClusterState,
    grid: &Grid<'_>,
    counters: &mut Counters,
) -> Result<bool, (Box<Fault>, u32)> {
    let Some(copy) = warp.flight.copies.pop_front() else {
        return release_arrivals(warp, cluster);
    };
    perform(&copy, cluster, grid, counters).map_err(|fault| (fault, copy.line))?;
    release_arrivals(warp, cluster)?;
    Ok(true)
}

fn perform(
    copy: &CopyAsync,
    cluster: &mut ClusterState,
    grid: &Grid<'_>,
    counters: &mut Counters,
) -> Result<(), Box<Fault>> {
    for lane in (0..32).filter(|lane| copy.lanes >> lane & 1 == 1) {
        let (mut data, mut flags) = ([0; 16], [0xff; 16]);
        let read = copy.source_bytes[lane] as usize;
        if read > 0 {
            let from = global_address(copy.sources[lane], "the source of cp.async")?;
            grid.global()
                .read_range(from, &mut data[..read], &mut flags[..read])
                .map_err(|error| Fault::new(Rule::Bounds, format!("cp.async in lane {lane}: {error}")))?;
        }
        let bytes = copy.bytes as usize;
        let to = copy.destinations[lane];
        let shared = &mut cluster.cta_of(to)?.shared;
        shared
            .write_range(to, &data[..bytes], &flags[..bytes])
            .map_err(|error| Fault::new(Rule::Bounds, format!("cp.async in lane {lane}: {error}")))?;
        counters.global_read_bytes += read as u64;
        counters.shared_written_bytes += bytes as u64;
    }
    Ok(())
}

/// Arrivals whose copies are done.
fn release_arrivals(warp: &mut Warp, cluster: &mut ClusterState) -> Result<bool, (Box<Fault>, u32)> {
    let done = warp.flight.copies_issued - warp.flight.copies.len() as u64;
    let mut any = false;
    while let Some(arrival) = warp.flight.arrivals.front().copied().filter(|arrival| arrival.after <= done) {
        warp.flight.arrivals.pop_front();
        let arrive = cluster.mbarrier(arrival.mbarrier).and_then(|barrier| {
            barrier.in_flight -= 1;
            barrier.arrive(1, arrival.line)
        });
        arrive.map_err(|fault| (fault, arrival.line))?;
        any = true;
    }
    Ok(any)
}

/// `cp.async.mbarrier.arrive`; `counts_itself` without `.noinc`.
///
/// # Errors
///
/// If there is no mbarrier.
pub fn arrive_after_copies(
    context: &mut Context<'_>,
    operand: mbarrier::Operand,
    counts_itself: bool,
) -> Step {
    let addresses = operand.read(context)?;
    for lane in context.active() {
        let barrier = context.cluster.mbarrier(addresses[lane])?;
        if counts_itself {
            barrier.add_pending()?;
        }
        barrier.in_flight += 1;
        let after = context.warp.flight.copies_issued;
        context.warp.flight.arrivals.push_back(CopyArrival {
            lane: lane as u8,
            after,
            mbarrier: addresses[lane],
            line: context.line,
        });
        let phase = context.cluster.mbarrier(addresses[lane])?.phase;
        if let Some((race, actor)) = context.race(1 << lane) {
            race.use_mbarrier(&actor, addresses[lane])?;
            race.arrive_after_copies(&actor, addresses[lane], phase, after as u32);
        }
        if let Some(mut trace) = context.trace() {
            trace.arrive_after_lane_copies(addresses[lane], phase);
        }
    }
    Ok(Flow::Next)
}

/// Commits the `cp.async` of the active lanes so far as a group.
fn commit_copies(context: &mut Context<'_>) {
    let (groups, issued) = (context.warp.flight.open_copy_group, context.warp.flight.copies_issued as u32);
    if let Some((race, actor)) = context.race(context.mask) {
        race.commit_copies(&actor, &groups, issued);
    }
    if let Some(mut trace) = context.trace() {
        trace.commit_lane_copies();
    }
    context.active().for_each(|lane| context.warp.flight.open_copy_group[lane] += 1);
}

/// Waits for all but the last `left` groups of the active lanes, by performing what they still need.
fn wait_copies(context: &mut Context<'_>, left: u32, open_too: bool) -> Step {
    if open_too {
        commit_copies(context);
    }
    while !context.warp.flight.copies_done(context.mask, left) {
        advance_copy(context)?;
    }
    if let Some(mut trace) = context.trace() {
        trace.wait_for_lane_copies(left);
    }
    let open = context.warp.flight.open_copy_group;
    if let Some((race, actor)) = context.race(context.mask) {
        race.wait_copies(&actor, &open, left);
    }
    Ok(Flow::Next)
}

/// Performs the copies that a warp leaves under way when it exits.
///
/// # Errors
///
/// If one of them is wrong.
pub fn finish_copies(context: &mut Context<'_>) -> Result<(), Box<Fault>> {
    while !(context.warp.flight.copies.is_empty() && context.warp.flight.arrivals.is_empty()) {
        advance_copy(context)?;
    }
    Ok(())
}

/// Performs the oldest copy of the warp; a fault is about the line that issued it.
fn advance_copy(context: &mut Context<'_>) -> Result<(), Box<Fault>> {
    advance_copies(context.warp, context.cluster, context.grid, context.counters).map_err(
        |(fault, line)| {
            context.line = line;
            fault
        },
    )?;
    context.cluster.changed();
    Ok(())
}

fn literal(operand: Option<&Operand>) -> Result<i64, Unsupported> {
    match operand {
        Some(Operand::Immediate(Immediate::Integer { value, .. })) => Ok(*value),
        other => Err(Unsupported::new(format!("operand {other:?} where a literal is expected"))),
    }
}

impl Decoder<'_> {
    pub(super) fn named_address(
        &mut self,
        instruction: &Instruction,
        name: &str,
    ) -> Result<AddressSource, Unsupported> {
        let operand = instruction.operand(name);
        self.address(operand.ok_or_else(|| Unsupported::new(format!("operand `{name}` is missing")))?)
    }

    fn named_word(
        &mut self,
        instruction: &Instruction,
        name: &str,
        ty: Type,
    ) -> Result<Option<Source>, Unsupported> {
        instruction.operand(name).map(|operand| self.source(operand, ty)).transpose()
    }

    fn bulk(
        &mut self,
        instruction: &Instruction,
        reduce: Option<(ReduceOp, ReduceType)>,
        multimem: bool,
    ) -> Decoded {
        if [Modifier::CpMask, Modifier::IgnoreOob].iter().any(|modifier| instruction.has(*modifier)) {
            return Err(Unsupported::new("byte masks of bulk copies"));
        }
        let direction = if instruction.has(Modifier::BulkGroup) {
            Direction::Store
        } else if instruction.has(Modifier::Global) {
            Direction::Load
        } else {
            Direction::Exchange
        };
        let size = self.named_word(instruction, "size", Type::U32)?;
        let barrier = instruction.operand("mbar").map(|operand| self.address(operand)).transpose()?;
        let copy = BulkCopy {
            direction,
            destination: self.named_address(instruction, "dst")?,
            source: self.named_address(instruction, "src")?,
            bytes: size.ok_or_else(|| Unsupported::new("a bulk copy without a size"))?,
            mbarrier: barrier,
            multicast: self.named_word(instruction, "mask", Type::U16)?,
            reduce,
            multimem,
        };
        self.emit_with(Class::AsyncCopy, move |context| copy.issue(context));
        Ok(())
    }

    fn tensor(
        &mut self,
        instruction: &Instruction,
        direction: Direction,
        reduce: Option<ReduceOp>,
    ) -> Decoded {
        let lacking = [
            Modifier::Im2col,
            Modifier::Im2colW,
            Modifier::Im2colW128,
            Modifier::Im2colNoOffs,
            Modifier::TileGather4,
            Modifier::TileScatter4,
            Modifier::CtaGroup1,
            Modifier::CtaGroup2,
        ];
        if let Some(modifier) = lacking.iter().find(|modifier| instruction.has(**modifier)) {
            return Err(Unsupported::new(format!("tensor copies with {modifier}")));
        }
        let Some(Operand::Address(map)) = instruction.operand("map") else {
            return Err(Unsupported::new("a tensor copy without a map"));
        };
        let coordinates = map
            .coordinates
            .iter()
            .map(|operand| self.source(operand, Type::S32))
            .collect::<Result<Vec<_>, _>>()?;
        let plain = Operand::Address(Box::new(rorqual_ptx::operand::Address {
            coordinates: Vec::new(),
            ..(**map).clone()
        }));
        let shared = if direction == Direction::Load { "dst" } else { "src" };
        let copy = TensorCopy {
            direction,
            map: self.address(&plain)?,
            map_is_parameter: matches!(self.base_place(&plain), Some(crate::decode::Place::Parameter(_))),
            coordinates,
            shared: self.named_address(instruction, shared)?,
            mbarrier: instruction.operand("mbar").map(|operand| self.address(operand)).transpose()?,
            multicast: self.named_word(instruction, "mask", Type::U16)?,
            reduce,
        };
        self.emit_with(Class::AsyncCopy, move |context| copy.issue(context));
        Ok(())
    }

    fn no_effect(&mut self) -> Decoded {
        self.emit_with(Class::AsyncCopy, |_| Ok(Flow::Next));
        Ok(())
    }
}

fn reduce_op(instruction: &Instruction) -> Result<ReduceOp, Unsupported> {
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
    found.map(|(_, op)| op).ok_or_else(|| Unsupported::new("a reduction without an operation"))
}

fn reduce_type(instruction: &Instruction) -> Result<ReduceType, Unsupported> {
    Ok(match instruction.ty() {
        Some(Type::U32) => ReduceType::U32,
        Some(Type::S32) => ReduceType::S32,
        Some(Type::U64) => ReduceType::U64,
        Some(Type::S64) => ReduceType::S64,
        Some(Type::B32) => ReduceType::B32,
        Some(Type::B64) => ReduceType::B64,
        Some(Type::F16) => ReduceType::F16,
        Some(Type::Bf16) => ReduceType::Bf16,
        Some(Type::F32) => ReduceType::F32Ftz,
        Some(Type::F64) => ReduceType::F64,
        other => return Err(Unsupported::new(format!("a bulk reduction of {other:?}"))),
    })
}

impl ExecAsyncCopy for Decoder<'_> {
    type Output = Decoded;

    fn cp_async(&mut self, instruction: &Instruction) -> Decoded {
        let addresses = [self.named_address(instruction, "dst")?, self.named_address(instruction, "src")?];
        let bytes = literal(instruction.operand("size"))? as u32;
        let source_bytes = match instruction.operand("bytes") {
            None => SourceBytes::All,
            Some(operand @ (Operand::Register(_) | Operand::Not(_))) if self.predicate(operand).is_ok() => {
                SourceBytes::Ignored(self.predicate(operand)?)
            }
            Some(operand) => SourceBytes::Count(self.source(operand, Type::U32)?),
        };
        self.emit_with(Class::AsyncCopy, move |context| issue_copy(context, addresses, bytes, source_bytes));
        Ok(())
    }

    fn cp_async_commit_group(&mut self, _: &Instruction) -> Decoded {
        self.emit_with(Class::AsyncCopy, |context| {
            commit_copies(context);
            Ok(Flow::Next)
        });
        Ok(())
    }

    fn cp_async_wait_group(&mut self, instruction: &Instruction) -> Decoded {
        let left = literal(instruction.operand("count"))? as u32;
        self.emit_with(Class::AsyncCopy, move |context| wait_copies(context, left, false));
        Ok(())
    }

    fn cp_async_wait_all(&mut self, _: &Instruction) -> Decoded {
        self.emit_with(Class::AsyncCopy, |context| wait_copies(context, 0, true));
        Ok(())
    }

    fn cp_async_bulk(&mut self, instruction: &Instruction) -> Decoded {
        self.bulk(instruction, None, false)
    }

    fn cp_reduce_async_bulk(&mut self, instruction: &Instruction) -> Decoded {
        let reduce = (reduce_op(instruction)?, reduce_type(instruction)?);
        self.bulk(instruction, Some(reduce), false)
    }

    fn cp_async_bulk_prefetch(&mut self, _: &Instruction) -> Decoded {
        self.no_effect()
    }

    fn multimem_cp_async_bulk(&mut self, instruction: &Instruction) -> Decoded {
        self.bulk(instruction, None, true)
    }

    fn multimem_cp_reduce_async_bulk(&mut self, instruction: &Instruction) -> Decoded {
        let reduce = (reduce_op(instruction)?, reduce_type(instruction)?);
        self.bulk(instruction, Some(reduce), true)
    }

    fn cp_async_bulk_tensor(&mut self, instruction: &Instruction) -> Decoded {
        let store = instruction.has(Modifier::BulkGroup);
        self.tensor(instruction, if store { Direction::Store } else { Direction::Load }, None)
    }

    fn cp_reduce_async_bulk_tensor(&mut self, instruction: &Instruction) -> Decoded {
        let op = reduce_op(instruction)?;
        self.tensor(instruction, Direction::Store, Some(op))
    }

    fn cp_async_bulk_prefetch_tensor(&mut self, _: &Instruction) -> Decoded {
        self.no_effect()
    }

    fn cp_async_bulk_commit_group(&mut self, _: &Instruction) -> Decoded {
        self.emit_with(Class::AsyncCopy, |context| {
            context.active().for_each(|lane| context.warp.flight.open_bulk_group[lane] += 1);
            Ok(Flow::Next)
        });
        Ok(())
    }

    fn cp_async_bulk_wait_group(&mut self, instruction: &Instruction) -> Decoded {
        let left = literal(instruction.operand("count"))? as u32;
        let read = instruction.has(Modifier::Read);
        self.emit_with(Class::AsyncCopy, move |context| {
            // The lanes make no access before their wait is over: they may know of its end now.
            let below = context.warp.flight.open_bulk_group.map(|open| open.saturating_sub(left));
            if let Some((race, actor)) = context.race(context.mask) {
                race.wait_bulk(&actor, &below, read);
            }
            let lanes = context.mask;
            if let Some(mut trace) = context.trace() {
                trace.wait_for_stores(lanes, &below, read);
            }
            if context.warp.flight.bulk_done(context.mask, left, read) {
                return Ok(Flow::Next);
            }
            Ok(context.wait_then_next(Wait::BulkGroups { left, read }))
        });
        Ok(())
    }

    fn tensormap_replace(&mut self, instruction: &Instruction) -> Decoded {
        let fields = [
            (Modifier::GlobalAddress, Field::GlobalAddress),
            (Modifier::Rank, Field::Rank),
            (Modifier::BoxDim, Field::BoxDim),
            (Modifier::GlobalDim, Field::GlobalDim),
            (Modifier::GlobalStride, Field::GlobalStride),
            (Modifier::ElementStride, Field::ElementStride),
            (Modifier::Elemtype, Field::ElementType),
            (Modifier::InterleaveLayout, Field::InterleaveLayout),
            (Modifier::SwizzleMode, Field::SwizzleMode),
            (Modifier::SwizzleAtomicity, Field::SwizzleAtomicity),
            (Modifier::FillMode, Field::FillMode),
        ];
        let found = fields.into_iter().find(|(modifier, _)| instruction.has(*modifier));
        let (_, field) = found.ok_or_else(|| Unsupported::new("a field of a tensor map"))?;
        let ordinal = instruction.operand("ordinal").map_or(Ok(0), |operand| literal(Some(operand)))? as u32;
        let wide = instruction.types().any(|ty| ty == Type::B64);
        let ty = if wide { Type::B64 } else { Type::B32 };
        let value = self.named_word(instruction, "value", ty)?;
        let value = value.ok_or_else(|| Unsupported::new("a replacement without a value"))?;
        let address = self.named_address(instruction, "addr")?;
        let space = instruction.space();
        self.emit_with(Class::AsyncCopy, move |context| {
            map_edit::replace_field(context, address, space, field, ordinal, (value, wide))
        });
        Ok(())
    }

    fn tensormap_cp_fenceproxy(&mut self, instruction: &Instruction) -> Decoded {
        let to = self.named_address(instruction, "dst")?;
        let from = self.named_address(instruction, "src")?;
        self.emit_with(Class::AsyncCopy, move |context| map_edit::copy_map(context, to, from));
        Ok(())
    }
}
