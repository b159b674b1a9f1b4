//! Bulk and tensor copies as agents of their own (PTX ISA 9.7.10.28.4 to 9.7.10.28.6).
//!
//! Issuing checks operands and marks what will be overwritten as undefined; the copy itself happens when the scheduler
//! lets the agent go on. A load or exchange signals its mbarrier when done; a store first has read its source (which
//! `wait_group.read` waits for), then has written.

use super::cached::{self, Use};
use super::link;
use super::observe_copies::{Reads, lanes_alike, observe_load, observe_store};
use crate::bulk::{self, BulkError, ReduceOp, ReduceType};
use crate::cluster::{Asynchronous, ClusterState, Progress, rank_of};
use crate::context::Context;
use crate::counters::{Counters, LinkUse};
use crate::decode::AddressSource;
use crate::exec::landing::{Landing, Target};
use crate::flight::BulkFlight;
use crate::grid::Grid;
use crate::memory::{MemoryError, SHARED_RANK_SHIFT, SharedMemory, Window, classify};
use crate::program::{Flow, Step};
use crate::race::Touch;
use crate::registers::Source;
use crate::report::{Fault, Rule};
use crate::tensor_map::{TENSOR_MAP_BYTES, TensorMap, TileSpec};
use crate::trace::CopyKind;
use rorqual_ptx::types::Space;

/// Which way a copy goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Global to shared.
    Load,
    /// Shared to global.
    Store,
    /// Shared to the shared memory of another CTA.
    Exchange,
}

/// A fault of a copy.
#[must_use]
pub fn fault(error: &BulkError) -> Box<Fault> {
    let rule = match error {
        BulkError::Memory(error) => memory_rule(error),
        BulkError::TensorMap(error) if error.is_unsupported() => Rule::Unsupported,
        BulkError::TensorMap(_) => Rule::TensorMap,
        BulkError::Unsupported { .. } => Rule::Unsupported,
        BulkError::Misaligned { .. } => Rule::Alignment,
        _ => Rule::AsyncCopy,
    };
    Box::new(Fault::new(rule, error.to_string()))
}

/// The rule that an error of memory is about.
#[must_use]
pub fn memory_rule(error: &MemoryError) -> Rule {
    if error.is_alignment() {
        Rule::Alignment
    } else if error.is_limit() {
        Rule::MemoryBudget
    } else {
        Rule::Bounds
    }
}

/// A fault of memory.
#[must_use]
pub fn memory_fault(error: &MemoryError) -> Box<Fault> {
    Box::new(Fault::new(memory_rule(error), error.to_string()))
}

/// The shared address that a generic address stands for, or the address itself.
#[must_use]
pub fn to_shared(address: u64) -> u32 {
    match classify(address) {
        Window::Shared(address) => address,
        _ => address as u32,
    }
}

/// Same offset in the window of another CTA.
const fn in_window(address: u32, rank: usize) -> u32 {
    address & ((1 << SHARED_RANK_SHIFT) - 1) | (rank as u32) << SHARED_RANK_SHIFT
}

/// CTAs that a copy goes to: those of the multicast mask, or the one of the address.
fn targets(
    context: &Context<'_>,
    destination: u32,
    multicast: Option<u64>,
) -> Result<Vec<usize>, Box<Fault>> {
    let Some(mask) = multicast else { return Ok(vec![rank_of(destination)]) };
    let count = context.cluster.ctas.len();
    if mask == 0 || mask >> count != 0 {
        return Err(Box::new(Fault::new(
            Rule::AsyncCopy,
            format!(
                "multicast mask {mask:#x} in a cluster of {count} CTAs: it must name some of them and no others"
            ),
        )));
    }
    Ok((0..count).filter(|rank| mask >> rank & 1 == 1).collect())
}

/// Marks shared memory that a copy will fill as undefined until it has.
fn undefine(cluster: &mut ClusterState, address: u32, bytes: u32) -> Result<(), Box<Fault>> {
    let (_, flags) =
        cluster.cta_of(address)?.shared.range_mut(address, bytes).map_err(|error| memory_fault(&error))?;
    flags.fill(0);
    Ok(())
}

/// Tells the mbarriers of the target CTAs that a copy is under way.
fn announce(cluster: &mut ClusterState, mbarrier: u32, ranks: &[usize]) -> Result<(), Box<Fault>> {
    for &rank in ranks {
        cluster.mbarrier(in_window(mbarrier, rank))?.in_flight += 1;
    }
    Ok(())
}

/// Tells the mbarrier of an `st.async` or `red.async` that it is under way.
///
/// # Errors
///
/// If the destination and the mbarrier are not in one other CTA of the cluster, or there is no mbarrier.
pub fn announce_remote(
    context: &mut Context<'_>,
    (destination, bytes): (u32, u32),
    mbarrier: u32,
) -> Result<(), Box<Fault>> {
    context.cluster.cta_of(destination)?;
    let (to, signals, own) = (rank_of(destination), rank_of(mbarrier), context.warp.cta);
    if to != signals || to == own {
        return Err(Box::new(Fault::new(
            Rule::AsyncCopy,
            format!(
                "an asynchronous store of CTA rank {own} writes to rank {to} and signals an mbarrier of rank {signals}: \
                 both must be in the same CTA, and not in its own"
            ),
        )));
    }
    context.cluster.mbarrier(mbarrier)?.in_flight += 1;
    trace_load(context, CopyKind::Exchange, destination, bytes, mbarrier)
}

/// Tells the trace of a copy into shared memory that an mbarrier counts.
fn trace_load(
    context: &mut Context<'_>,
    kind: CopyKind,
    destination: u32,
    bytes: u32,
    mbarrier: u32,
) -> Result<(), Box<Fault>> {
    if context.cluster.trace.is_none() {
        return Ok(());
    }
    let phase = context.cluster.mbarrier(mbarrier)?.phase;
    if let Some(mut trace) = context.trace() {
        trace.load(kind, bytes.into(), rank_of(destination), (mbarrier, phase));
    }
    Ok(())
}

/// Two CTAs' shared memories: the source's to read, the destination's to write.
fn with_two<R>(
    cluster: &mut ClusterState,
    source: u32,
    destination: u32,
    act: impl FnOnce(&SharedMemory, &mut SharedMemory) -> Result<R, BulkError>,
) -> Result<R, Box<Fault>> {
    cluster.cta_of(source)?;
    cluster.cta_of(destination)?;
    let (from, to) = (rank_of(source), rank_of(destination));
    if from == to {
        return Err(Box::new(Fault::new(
            Rule::AsyncCopy,
            "a bulk copy from shared::cta to shared::cluster must go to another CTA",
        )));
    }
    let (low, high) = cluster.ctas.split_at_mut(from.max(to));
    let result = if from < to {
        act(&low[from].shared, &mut high[0].shared)
    } else {
        act(&high[0].shared, &mut low[to].shared)
    };
    result.map_err(|error| fault(&error))
}

fn submit_store(context: &mut Context<'_>, lane: usize, bytes: u32, work: Box<dyn Asynchronous>) {
    let id = context.cluster.submit(context.warp_number, context.line, work);
    let group = context.warp.flight.open_bulk_group[lane];
    context.warp.flight.bulk.push(BulkFlight { id, lane: lane as u8, group, reading: true });
    if let Some(mut trace) = context.trace() {
        trace.store(bytes.into(), lane, group);
    }
}

/// `cp.async.bulk` and `cp.reduce.async.bulk`, decoded.
#[derive(Debug, Clone, Copy)]
pub struct BulkCopy {
    /// Which way.
    pub direction: Direction,
    /// Destination address.
    pub destination: AddressSource,
    /// Source address.
    pub source: AddressSource,
    /// Size.
    pub bytes: Source,
    /// What a load or exchange signals.
    pub mbarrier: Option<AddressSource>,
    /// The multicast mask.
    pub multicast: Option<Source>,
    /// What a reduction does.
    pub reduce: Option<(ReduceOp, ReduceType)>,
    /// Whether the destination is a multicast object.
    pub multimem: bool,
}

impl BulkCopy {
    /// Starts a copy for each active lane.
    ///
    /// # Errors
    ///
    /// If its operands are wrong.
    pub fn issue(&self, context: &mut Context<'_>) -> Step {
        context.require_defined(self.bytes, "the size of a bulk copy")?;
        if let Some(mask) = self.multicast {
            context.require_defined(mask, "a multicast mask")?;
        }
        let (destinations, sources) = (self.destination.read(context)?, self.source.read(context)?);
        let mbarriers = self.mbarrier.map(|mbarrier| mbarrier.read(context)).transpose()?;
        let sizes = *context.u32(self.bytes);
        for lane in context.active() {
            let (destination, source, bytes) = (destinations[lane], sources[lane], sizes[lane]);
            bulk::check_bulk(source, destination, u64::from(bytes)).map_err(|error| fault(&error))?;
            if self.direction == Direction::Store {
                let destinations_of_lane = self.destinations(context, destination, bytes)?;
                let written = destinations_of_lane.iter().map(|(_, start)| (*start, u64::from(bytes)));
                cached::ranges(context, written, use_of_store(self.reduce.is_some()));
                let alike =
                    lanes_alike(context, lane, |lane| (destinations[lane], sources[lane], sizes[lane]));
                if let Some(lanes) = alike {
                    let written = destinations_of_lane.iter().map(|(_, start)| (*start, bytes.into()));
                    let written: Vec<(u64, u64)> = written.collect();
                    observe_store(
                        context,
                        lanes,
                        (to_shared(source), bytes),
                        &written,
                        self.reduce.is_some(),
                    )?;
                }
                for (device, destination) in destinations_of_lane {
                    let work = BulkStore {
                        source: to_shared(source),
                        device,
                        destination,
                        bytes,
                        reduce: self.reduce,
                        data: None,
                        line: context.line,
                    };
                    submit_store(context, lane, bytes, Box::new(work));
                }
                continue;
            }
            let multicast = self.multicast.map(|mask| u64::from(context.u32(mask)[lane]));
            let shared = to_shared(destination);
            let ranks = targets(context, shared, multicast)?;
            let mbarrier = to_shared(mbarriers.expect("a load names an mbarrier")[lane]);
            let barrier_ranks = if multicast.is_some() { ranks.clone() } else { vec![rank_of(mbarrier)] };
            announce(context.cluster, mbarrier, &barrier_ranks)?;
            if self.direction == Direction::Load {
                cached::ranges(context, [(source, bytes.into())], Use::Read);
            }
            for &rank in &ranks {
                if self.reduce.is_none() && bytes > 0 {
                    undefine(context.cluster, in_window(shared, rank), bytes)?;
                }
                let signal = if multicast.is_some() { in_window(mbarrier, rank) } else { mbarrier };
                let reads = match self.direction {
                    Direction::Load => Reads::Global(vec![(source, bytes.into())]),
                    _ => Reads::Shared(to_shared(source), bytes),
                };
                let filled = (in_window(shared, rank), bytes);
                observe_load(context, lane, &reads, filled, signal, self.reduce.is_some())?;
                let work = BulkLoad {
                    direction: self.direction,
                    source,
                    destination: in_window(shared, rank),
                    bytes,
                    mbarrier: signal,
                    reduce: self.reduce,
                    // Reductions are atomic element by element; they land at once.
                    landing: Landing::new(if self.reduce.is_none() {
                        context.world.scheduler.shreds()
                    } else {
                        None
                    }),
                };
                let kind =
                    if self.direction == Direction::Load { CopyKind::Load } else { CopyKind::Exchange };
                trace_load(context, kind, work.destination, bytes, signal)?;
                context.cluster.submit(context.warp_number, context.line, Box::new(work));
            }
        }
        context.cluster.changed();
        Ok(Flow::Next)
    }

    /// Where a store goes: as which device, to what address. Every replica of a multicast object is one.
    fn destinations(
        &self,
        context: &Context<'_>,
        destination: u64,
        bytes: u32,
    ) -> Result<Vec<(u32, u64)>, Box<Fault>> {
        if !self.multimem {
            return Ok(vec![(context.grid.device, destination)]);
        }
        let replicas = context.grid.global().replicas(destination, bytes.into());
        Ok(replicas.map_err(|error| memory_fault(&error))?.iter().collect())
    }
}

/// A bulk copy into shared memory under way.
#[derive(Debug)]
struct BulkLoad {
    direction: Direction,
    source: u64,
    destination: u32,
    bytes: u32,
    mbarrier: u32,
    reduce: Option<(ReduceOp, ReduceType)>,
    landing: Landing,
}

impl Asynchronous for BulkLoad {
    fn advance(
        &mut self,
        cluster: &mut ClusterState,
        grid: &Grid<'_>,
        counters: &mut Counters,
    ) -> Result<Progress, Box<Fault>> {
        let Self { direction, source, destination, bytes, mbarrier, reduce, .. } = *self;
        let target = Target { address: destination, bytes, mbarrier };
        self.landing.advance(cluster, target, |cluster| {
            match (direction, reduce) {
                (Direction::Load, _) => {
                    let shared = &mut cluster.cta_of(destination)?.shared;
                    bulk::load_bulk(grid.global(), source, shared, destination, bytes)
                        .map_err(|error| fault(&error))?;
                    link::copy(grid, counters, source, bytes.into(), LinkUse::BulkRead);
                    counters.global_read_bytes += u64::from(bytes);
                    counters.bulk_loads += 1;
                    counters.bulk_loaded_bytes += u64::from(bytes);
                }
                (_, None) => {
                    counters.bulk_exchanges += 1;
                    counters.bulk_exchanged_bytes += u64::from(bytes);
                    let source = to_shared(source);
                    with_two(cluster, source, destination, |from, to| {
                        bulk::copy_bulk(from, source, to, destination, bytes)
                    })?;
                }
                (_, Some((op, ty))) => {
                    counters.bulk_exchanges += 1;
                    counters.bulk_exchanged_bytes += u64::from(bytes);
                    let source = to_shared(source);
                    with_two(cluster, source, destination, |from, to| {
                        bulk::reduce_bulk_shared(from, source, to, destination, bytes, op, ty)
                    })?;
                }
            }
            Ok(bytes)
        })
    }
}

/// A bulk copy or reduction into global memory under way.
#[derive(Debug)]
struct BulkStore {
    source: u32,
    /// The device that sees the destination.
    device: u32,
    destination: u64,
    bytes: u32,
    reduce: Option<(ReduceOp, ReduceType)>,
    /// The source, once read.
    data: Option<(Vec<u8>, Vec<u8>)>,
    line: u32,
}

impl Asynchronous for BulkStore {
    fn advance(
        &mut self,
        cluster: &mut ClusterState,
        grid: &Grid<'_>,
        counters: &mut Counters,
    ) -> Result<Progress, Box<Fault>> {
        let Self { source, destination, bytes, line, .. } = *self;
        let global = grid.memory.device(self.device);
        if let Some((op, ty)) = self.reduce {
            let shared = &cluster.cta_of(source)?.shared;
            bulk::reduce_bulk_global(shared, source, global, destination, bytes, op, ty, line)
                .map_err(|error| fault(&error))?;
        } else if let Some((data, flags)) = &self.data {
            global.write_range(destination, data, flags, line).map_err(|error| memory_fault(&error))?;
        } else {
            let shared = &cluster.cta_of(source)?.shared;
            let (data, flags) = shared.range(source, bytes).map_err(|error| memory_fault(&error))?;
            self.data = Some((data.to_vec(), flags.to_vec()));
            return Ok(Progress::Read);
        }
        link::copy(grid, counters, destination, bytes.into(), LinkUse::BulkWrite);
        counters.global_written_bytes += u64::from(bytes);
        counters.bulk_stores += 1;
        counters.bulk_stored_bytes += u64::from(bytes);
        Ok(Progress::Done)
    }
}

/// `cp.async.bulk.tensor` and `cp.reduce.async.bulk.tensor`, decoded.
#[derive(Debug, Clone)]
pub struct TensorCopy {
    /// Which way.
    pub direction: Direction,
    /// Address of the tensor map.
    pub map: AddressSource,
    /// Whether that is an offset in the kernel's parameters.
    pub map_is_parameter: bool,
    /// Coordinates, innermost first.
    pub coordinates: Vec<Source>,
    /// Shared address.
    pub shared: AddressSource,
    /// What a load signals.
    pub mbarrier: Option<AddressSource>,
    /// The multicast mask.
    pub multicast: Option<Source>,
    /// What a reduction does.
    pub reduce: Option<ReduceOp>,
}

impl TensorCopy {
    /// Starts a copy for each active lane.
    ///
    /// # Errors
    ///
    /// If its operands are wrong.
    pub fn issue(&self, context: &mut Context<'_>) -> Step {
        for source in self.coordinates.iter().chain(&self.multicast) {
            context.require_defined(*source, "a coordinate or mask of a tensor copy")?;
        }
        let (maps, shared) = (self.map.read(context)?, self.shared.read(context)?);
        let mbarriers = self.mbarrier.map(|mbarrier| mbarrier.read(context)).transpose()?;
        if !self.map_is_parameter {
            super::observe::lanes(context, &maps, Space::Generic, TENSOR_MAP_BYTES as u32, Touch::READ)?;
        }
        for lane in context.active() {
            let spec = read_map(context, maps[lane], self.map_is_parameter)?;
            let mut coordinates = [0; 5];
            for (coordinate, source) in coordinates.iter_mut().zip(&self.coordinates) {
                *coordinate = context.u32(*source)[lane].cast_signed();
            }
            let address = to_shared(shared[lane]);
            let used = &coordinates[..self.coordinates.len()];
            let store = self.direction == Direction::Store;
            bulk::check_tile(&spec, used, address, store).map_err(|error| fault(&error))?;
            if store {
                if context.grid.options.strict_store_start {
                    bulk::check_store_start(used).map_err(|error| fault(&error))?;
                }
                let rows = rows_if_watched(context, &spec, used);
                cached::ranges(context, rows.iter().copied(), use_of_store(self.reduce.is_some()));
                let work = TensorStore {
                    spec,
                    coordinates,
                    rank: used.len(),
                    shared: address,
                    reduce: self.reduce,
                    done: false,
                    line: context.line,
                };
                let operands = |lane: usize| {
                    let at = self.coordinates.iter().map(|source| context.u32(*source)[lane]);
                    (maps[lane], shared[lane], at.collect::<Vec<_>>())
                };
                if let Some(lanes) = lanes_alike(context, lane, operands) {
                    let from = (address, spec.shared_bytes());
                    observe_store(context, lanes, from, &rows, self.reduce.is_some())?;
                }
                let written = bulk::inside_bytes(&spec, used);
                submit_store(context, lane, written, Box::new(work));
                continue;
            }
            let multicast = self.multicast.map(|mask| u64::from(context.u32(mask)[lane]));
            let ranks = targets(context, address, multicast)?;
            let mbarrier = to_shared(mbarriers.expect("a load names an mbarrier")[lane]);
            let barrier_ranks = if multicast.is_some() { ranks.clone() } else { vec![rank_of(mbarrier)] };
            announce(context.cluster, mbarrier, &barrier_ranks)?;
            let rows = rows_if_watched(context, &spec, used);
            cached::ranges(context, rows.iter().copied(), Use::Read);
            let reads = Reads::Global(rows);
            for &rank in &ranks {
                undefine(context.cluster, in_window(address, rank), spec.shared_bytes())?;
                let signal = if multicast.is_some() { in_window(mbarrier, rank) } else { mbarrier };
                let filled = (in_window(address, rank), spec.shared_bytes());
                observe_load(context, lane, &reads, filled, signal, false)?;
                let work = TensorLoad {
                    spec,
                    coordinates,
                    rank: used.len(),
                    shared: in_window(address, rank),
                    mbarrier: signal,
                    landing: Landing::new(context.world.scheduler.shreds()),
                };
                trace_load(context, CopyKind::Load, work.shared, spec.shared_bytes(), signal)?;
                context.cluster.submit(context.warp_number, context.line, Box::new(work));
            }
        }
        context.cluster.changed();
        Ok(Flow::Next)
    }
}

/// A tensor copy into shared memory under way.
#[derive(Debug)]
struct TensorLoad {
    spec: TileSpec,
    coordinates: [i32; 5],
    rank: usize,
    shared: u32,
    mbarrier: u32,
    landing: Landing,
}

impl Asynchronous for TensorLoad {
    fn advance(
        &mut self,
        cluster: &mut ClusterState,
        grid: &Grid<'_>,
        counters: &mut Counters,
    ) -> Result<Progress, Box<Fault>> {
        let Self { spec, coordinates, shared: address, mbarrier, .. } = self;
        let (coordinates, address) = (&coordinates[..self.rank], *address);
        let target = Target { address, bytes: spec.shared_bytes(), mbarrier: *mbarrier };
        self.landing.advance(cluster, target, |cluster| {
            let shared = &mut cluster.cta_of(address)?.shared;
            let bytes = bulk::load_tile(spec, coordinates, grid.global(), shared, address)
                .map_err(|error| fault(&error))?;
            let inside = bulk::inside_bytes(spec, coordinates);
            counters.out_of_bounds_bytes += u64::from(bytes - inside);
            link::copy(grid, counters, spec.address, inside.into(), LinkUse::BulkRead);
            counters.global_read_bytes += u64::from(inside);
            counters.bulk_loads += 1;
            counters.bulk_loaded_bytes += u64::from(bytes);
            Ok(bytes)
        })
    }
}

/// A tensor copy or reduction into global memory under way.
#[derive(Debug)]
struct TensorStore {
    spec: TileSpec,
    coordinates: [i32; 5],
    rank: usize,
    shared: u32,
    reduce: Option<ReduceOp>,
    /// Whether the copy has been made; until the next turn only `wait_group.read` sees it.
    done: bool,
    line: u32,
}

impl Asynchronous for TensorStore {
    fn advance(
        &mut self,
        cluster: &mut ClusterState,
        grid: &Grid<'_>,
        counters: &mut Counters,
    ) -> Result<Progress, Box<Fault>> {
        if self.done {
            return Ok(Progress::Done);
        }
        let coordinates = &self.coordinates[..self.rank];
        let shared = &cluster.cta_of(self.shared)?.shared;
        let written = match self.reduce {
            None => bulk::store_tile(&self.spec, coordinates, shared, self.shared, grid.global(), self.line),
            Some(op) => {
                bulk::reduce_tile(&self.spec, coordinates, op, shared, self.shared, grid.global(), self.line)
            }
        };
        let written = written.map_err(|error| fault(&error))?;
        link::copy(grid, counters, self.spec.address, written.into(), LinkUse::BulkWrite);
        counters.global_written_bytes += u64::from(written);
        counters.bulk_stores += 1;
        counters.bulk_stored_bytes += u64::from(written);
        self.done = true;
        Ok(Progress::Read)
    }
}

/// What a store or reduction into global memory does with what is there.
const fn use_of_store(reduces: bool) -> Use {
    if reduces { Use::Read } else { Use::Write }
}

/// The bytes of a box in global memory, if races are looked for or caches modelled.
fn rows_if_watched(context: &Context<'_>, spec: &TileSpec, coordinates: &[i32]) -> Vec<(u64, u64)> {
    let mut rows = Vec::new();
    if context.world.race.is_some() || !context.world.caches.is_empty() {
        bulk::global_rows(spec, coordinates, |start, bytes| rows.push((start, bytes)));
    }
    rows
}

/// The tensor map at an address: in the parameters, or in global memory.
fn read_map(context: &Context<'_>, address: u64, is_parameter: bool) -> Result<TileSpec, Box<Fault>> {
    let mut bytes = [0; TENSOR_MAP_BYTES];
    let window = if is_parameter { Window::Param(address as u32) } else { classify(address) };
    if !address.is_multiple_of(64) {
        return Err(Box::new(Fault::new(
            Rule::TensorMap,
            format!("the tensor map at {address:#x} is not 64-byte aligned"),
        )));
    }
    match window {
        Window::Param(offset) => {
            let range = offset as usize..offset as usize + TENSOR_MAP_BYTES;
            let found = context.grid.parameters.get(range).ok_or_else(|| {
                Fault::new(Rule::Bounds, format!("a tensor map at byte {offset} of the kernel's parameters"))
            })?;
            bytes.copy_from_slice(found);
        }
        Window::Global => {
            if let Some(line) = context.grid.edited_maps.not_acquired(address) {
                let message = format!(
                    "the tensor map at {address:#x} was edited, and no fence.proxy.tensormap::generic.acquire has \
                     followed: the copy may use the map as it was"
                );
                return Err(Box::new(Fault::new(Rule::TensorMap, message).with_other(line)));
            }
            let mut flags = [0; TENSOR_MAP_BYTES];
            context
                .grid
                .global()
                .read_range(address, &mut bytes, &mut flags)
                .map_err(|error| memory_fault(&error))?;
            if flags.contains(&0) && context.grid.options.check_initialized {
                return Err(Box::new(Fault::new(
                    Rule::Uninitialized,
                    format!("the tensor map at {address:#x} has bytes that were never written"),
                )));
            }
        }
        _ => {
            return Err(Box::new(Fault::new(
                Rule::TensorMap,
                format!("the tensor map at {address:#x} is neither in global memory nor a parameter"),
            )));
        }
    }
    let map = TensorMap::from_bytes(&bytes).and_then(|map| map.decode());
    map.map_err(|error| fault(&BulkError::TensorMap(error)))
}
