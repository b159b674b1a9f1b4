//! What race detection is told of bulk and tensor copies when they are started.

use crate::context::Context;
use crate::race::Region;
use crate::race::scope::Scope;
use crate::report::Fault;

/// Tells race detection of an asynchronous store or reduction of a lane to another CTA's shared memory.
///
/// # Errors
///
/// A race.
pub fn observe_remote(
    context: &mut Context<'_>,
    lane: usize,
    (address, bytes): (u32, u32),
    mbarrier: u32,
    reduces: bool,
) -> Result<(), Box<Fault>> {
    if context.world.race.is_none() {
        return Ok(());
    }
    let (region, phase) = (context.shared_region(address), context.cluster.mbarrier(mbarrier)?.phase);
    let Some((race, actor)) = context.race(1 << lane) else { return Ok(()) };
    race.use_mbarrier(&actor, mbarrier)?;
    let mut ticket = race.counted_copy(&actor, mbarrier, phase, true);
    ticket.strong = reduces.then_some(Scope::Gpu);
    race.access_ranges(&ticket, true, region, std::iter::once((address.into(), bytes.into())))
}

/// What a copy into shared memory reads.
pub enum Reads {
    /// Ranges of global memory: start and bytes.
    Global(Vec<(u64, u64)>),
    /// A range of shared memory: address and bytes.
    Shared(u32, u32),
}

/// Tells race detection of a copy of a lane into shared memory that an mbarrier counts.
///
/// # Errors
///
/// A race, or no mbarrier at the address.
pub fn observe_load(
    context: &mut Context<'_>,
    lane: usize,
    reads: &Reads,
    (destination, bytes): (u32, u32),
    mbarrier: u32,
    reduces: bool,
) -> Result<(), Box<Fault>> {
    if context.world.race.is_none() || bytes == 0 {
        return Ok(());
    }
    let phase = context.cluster.mbarrier(mbarrier)?.phase;
    let to = context.shared_region(destination);
    let from = match reads {
        Reads::Global(_) => Region::Global,
        Reads::Shared(address, _) => context.shared_region(*address),
    };
    let Some((race, actor)) = context.race(1 << lane) else { return Ok(()) };
    race.use_mbarrier(&actor, mbarrier)?;
    let mut ticket = race.counted_copy(&actor, mbarrier, phase, false);
    match reads {
        Reads::Global(ranges) => race.access_ranges(&ticket, false, from, ranges.iter().copied())?,
        Reads::Shared(address, bytes) => {
            let range = (u64::from(*address), u64::from(*bytes));
            race.access_ranges(&ticket, false, from, std::iter::once(range))?;
        }
    }
    ticket.strong = reduces.then_some(Scope::Gpu);
    race.access_ranges(&ticket, true, to, std::iter::once((destination.into(), bytes.into())))
}

/// Tells race detection of a copy from shared to global memory that these lanes start. Lanes that start the same copy
/// together are one party: kernels let a whole warp store a tile, which hardware does once.
///
/// # Errors
///
/// A race.
pub fn observe_store(
    context: &mut Context<'_>,
    lanes: u32,
    (source, bytes): (u32, u32),
    written: &[(u64, u64)],
    reduces: bool,
) -> Result<(), Box<Fault>> {
    let group = context.warp.flight.open_bulk_group[lanes.trailing_zeros() as usize];
    let from = context.shared_region(source);
    let Some((race, actor)) = context.race(lanes) else { return Ok(()) };
    let [read, mut write] = race.bulk_store(&actor, group);
    race.access_ranges(&read, false, from, std::iter::once((source.into(), bytes.into())))?;
    write.strong = reduces.then_some(Scope::Gpu);
    race.access_ranges(&write, true, Region::Global, written.iter().copied())
}

/// The active lanes whose operands are those of `lane`, if it is the first of them and races are looked for.
pub fn lanes_alike<T: PartialEq>(
    context: &Context<'_>,
    lane: usize,
    operands: impl Fn(usize) -> T,
) -> Option<u32> {
    context.world.race.as_ref()?;
    let own = operands(lane);
    let alike = context.active().filter(|&other| operands(other) == own);
    let alike = alike.fold(0_u32, |lanes, lane| lanes | 1 << lane);
    (alike.trailing_zeros() == lane as u32).then_some(alike)
}
