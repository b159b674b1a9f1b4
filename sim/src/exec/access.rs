//! Loads and stores of a warp: every lane's address to the memory that it names, with bounds, alignment and counters.

use super::bulk_copy::memory_rule;
use crate::cluster::rank_of;
use crate::context::Context;
use crate::counters::{AccessCounters, lane_count};
use crate::decode::AddressSource;
use crate::memory::{Lane, LaneError, classify_lanes, lanes_of_rank, shared_rank};
use crate::race::{CHANGES, Region, Touch};
use crate::report::{Fault, Rule};
use rorqual_ptx::types::Space;

/// A fault of one lane.
#[cold]
pub fn lane_fault(error: &LaneError) -> Box<Fault> {
    Box::new(Fault::new(memory_rule(&error.error), format!("lane {}: {error}", error.lane)))
}

/// The constant part of an access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// The space; generic addresses are resolved lane by lane.
    pub space: Space,
    /// Bytes of a component: 1, 2, 4 or 8.
    pub bytes: u32,
    /// Bytes between the address and the component.
    pub offset: u32,
}

macro_rules! by_width {
    ($bytes:expr, $width:ident => $call:expr) => {
        match $bytes {
            1 => {
                const $width: usize = 1;
                $call
            }
            2 => {
                const $width: usize = 2;
                $call
            }
            4 => {
                const $width: usize = 4;
                $call
            }
            _ => {
                const $width: usize = 8;
                $call
            }
        }
    };
}

/// Loads a component for the active lanes, zero-extended. Gives the lanes that found something defined.
///
/// # Errors
///
/// Names the first lane whose access is wrong.
#[inline]
pub fn load<R: Lane>(
    context: &mut Context<'_>,
    addresses: &[u64; 32],
    access: Access,
    out: &mut [R; 32],
) -> Result<u32, Box<Fault>> {
    let mask = context.mask;
    match access.space {
        Space::Global | Space::Const => load_global(context, addresses, access, mask, out),
        Space::Shared | Space::SharedCluster => load_shared(context, addresses, access, mask, out),
        Space::Local => {
            let local = addresses.map(|address| address as u32);
            load_local(context, &local, access, mask, out)
        }
        Space::Param => load_parameter(context, addresses, access, mask, out),
        Space::Generic | Space::Reg => {
            let windows = classify_lanes(addresses, u64::from(access.offset), mask);
            let [global, shared, local, parameter, none] = windows;
            let mut defined = 0;
            let low = |context: &mut Context<'_>, lanes, out: &mut [R; 32]| {
                let local = addresses.map(|address| address as u32);
                load_local(context, &local, access, lanes, out)
            };
            if global | none != 0 {
                defined |= load_global(context, addresses, access, global | none, out)?;
            }
            if shared != 0 {
                defined |= load_shared(context, addresses, access, shared, out)?;
            }
            if local != 0 {
                defined |= low(context, local, out)?;
            }
            if parameter != 0 {
                let offsets = addresses.map(|address| address & 0xffff_ffff);
                defined |= load_parameter(context, &offsets, access, parameter, out)?;
            }
            Ok(defined)
        }
    }
}

fn load_global<R: Lane>(
    context: &mut Context<'_>,
    addresses: &[u64; 32],
    access: Access,
    mask: u32,
    out: &mut [R; 32],
) -> Result<u32, Box<Fault>> {
    let (memory, offset) = (context.grid.global(), u64::from(access.offset));
    let loaded = by_width!(access.bytes, W => memory.load_lanes::<W, R>(addresses, offset, mask, out));
    context.counters.global_read_bytes += lane_count(mask) * u64::from(access.bytes);
    loaded.map_err(|error| lane_fault(&error))
}

fn load_shared<R: Lane>(
    context: &mut Context<'_>,
    addresses: &[u64; 32],
    access: Access,
    mask: u32,
    out: &mut [R; 32],
) -> Result<u32, Box<Fault>> {
    let shared = addresses.map(|address| address as u32);
    context.counters.shared_read_bytes += lane_count(mask) * u64::from(access.bytes);
    let mut left = mask;
    let mut defined = 0;
    while left != 0 {
        let first = shared[left.trailing_zeros() as usize].wrapping_add(access.offset);
        let rank = rank_of(first);
        let lanes = lanes_of_rank(&shared, access.offset, left, rank as u32);
        let memory = &context.cluster.cta_of(first)?.shared;
        let loaded =
            by_width!(access.bytes, W => memory.load_lanes::<W, R>(&shared, access.offset, lanes, out));
        defined |= loaded.map_err(|error| lane_fault(&error))?;
        left &= !lanes;
    }
    Ok(defined)
}

/// Whether an access is of shared memory, with 32-bit addresses, and need not be counted by line.
#[inline]
pub fn is_plain_shared(context: &Context<'_>, space: Space, address: &AddressSource) -> bool {
    matches!(space, Space::Shared | Space::SharedCluster)
        && !address.wide
        && !context.grid.options.count_accesses
}

/// Loads a component for the active lanes from the executing CTA's shared memory, at defined 32-bit addresses. Gives
/// the lanes that found something defined, or `None` if a lane's address is not there or not aligned.
#[inline]
pub fn load_own_shared<R: Lane>(
    context: &mut Context<'_>,
    address: &AddressSource,
    bytes: u32,
    out: &mut [R; 32],
) -> Option<u32> {
    let mask = context.mask;
    let (base, start) = (context.u32(address.base), address.start(context) as u32);
    let memory = &context.cluster.ctas[context.warp.cta].shared;
    if shared_rank(base[mask.trailing_zeros() as usize].wrapping_add(start)) != memory.rank() {
        return None;
    }
    let defined = by_width!(bytes, W => memory.load_lanes::<W, R>(base, start, mask, out)).ok()?;
    context.counters.shared_read_bytes += lane_count(mask) * u64::from(bytes);
    Some(defined)
}

/// Tells race detection of a load of [`load_own_shared`].
///
/// # Errors
///
/// A race.
#[inline]
pub fn observe_own_shared(
    context: &mut Context<'_>,
    address: &AddressSource,
    bytes: u32,
) -> Result<(), Box<Fault>> {
    if context.world.race.is_none() {
        return Ok(());
    }
    let start = address.start(context) as u32;
    let addresses = context.u32(address.base).map(|base| u64::from(base.wrapping_add(start)));
    let (mask, cta) = (context.mask, context.warp.cta);
    let region = Region::Shared { cta: cta as u32, base: context.cluster.ctas[cta].shared.base() };
    match context.race(mask) {
        Some((race, actor)) => race.access_lanes(&actor, region, &addresses, bytes, Touch::READ, &CHANGES),
        None => Ok(()),
    }
}

fn load_local<R: Lane>(
    context: &mut Context<'_>,
    addresses: &[u32; 32],
    access: Access,
    mask: u32,
    out: &mut [R; 32],
) -> Result<u32, Box<Fault>> {
    context.counters.local_read_bytes += lane_count(mask) * u64::from(access.bytes);
    let memory = &context.warp.local;
    let loaded = by_width!(access.bytes, W => memory.load_lanes::<W, R>(addresses, access.offset, mask, out));
    loaded.map_err(|error| lane_fault(&error))
}

fn load_parameter<R: Lane>(
    context: &mut Context<'_>,
    addresses: &[u64; 32],
    access: Access,
    mask: u32,
    out: &mut [R; 32],
) -> Result<u32, Box<Fault>> {
    let bytes = access.bytes as usize;
    context.counters.parameter_read_bytes += lane_count(mask) * u64::from(access.bytes);
    for lane in (0..32).filter(|lane| mask >> lane & 1 == 1) {
        let start = addresses[lane].wrapping_add(u64::from(access.offset));
        let found = usize::try_from(start)
            .ok()
            .and_then(|start| context.grid.parameters.get(start..start.checked_add(bytes)?));
        let found = found.ok_or_else(|| {
            Fault::new(
                Rule::Bounds,
                format!(
                    "lane {lane} reads {bytes} bytes at byte {start} of the kernel's {} parameter bytes",
                    context.grid.parameters.len()
                ),
            )
        })?;
        let mut word = [0; 8];
        word[..bytes].copy_from_slice(found);
        out[lane] = R::from_bits(u64::from_le_bytes(word));
    }
    Ok(mask)
}

/// Stores a component of the active lanes.
///
/// # Errors
///
/// Names the first lane whose access is wrong.
#[inline]
pub fn store<R: Lane>(
    context: &mut Context<'_>,
    addresses: &[u64; 32],
    access: Access,
    values: &[R; 32],
    defined: u32,
) -> Result<(), Box<Fault>> {
    let mask = context.mask;
    match access.space {
        Space::Global | Space::Const => store_global(context, addresses, access, mask, values, defined),
        Space::Shared | Space::SharedCluster => {
            store_shared(context, addresses, access, mask, values, defined)
        }
        Space::Local => {
            let local = addresses.map(|address| address as u32);
            store_local(context, &local, access, mask, values, defined)
        }
        Space::Param => Err(Box::new(Fault::new(Rule::Bounds, "a store to the parameters of the kernel"))),
        Space::Generic | Space::Reg => {
            let [global, shared, local, parameter, none] =
                classify_lanes(addresses, u64::from(access.offset), mask);
            if parameter != 0 {
                return Err(Box::new(Fault::new(Rule::Bounds, "a store to the parameters of the kernel")));
            }
            if global | none != 0 {
                store_global(context, addresses, access, global | none, values, defined)?;
            }
            if shared != 0 {
                store_shared(context, addresses, access, shared, values, defined)?;
            }
            if local != 0 {
                let low = addresses.map(|address| address as u32);
                store_local(context, &low, access, local, values, defined)?;
            }
            Ok(())
        }
    }
}

fn store_global<R: Lane>(
    context: &mut Context<'_>,
    addresses: &[u64; 32],
    access: Access,
    mask: u32,
    values: &[R; 32],
    defined: u32,
) -> Result<(), Box<Fault>> {
    let (memory, offset, line) = (context.grid.global(), u64::from(access.offset), context.line);
    let stored = by_width!(access.bytes, W => memory.store_lanes::<W, R>(addresses, offset, mask, values, defined, line));
    context.counters.global_written_bytes += lane_count(mask) * u64::from(access.bytes);
    context.cluster.changed();
    stored.map_err(|error| lane_fault(&error))
}

fn store_shared<R: Lane>(
    context: &mut Context<'_>,
    addresses: &[u64; 32],
    access: Access,
    mask: u32,
    values: &[R; 32],
    defined: u32,
) -> Result<(), Box<Fault>> {
    let shared = addresses.map(|address| address as u32);
    context.counters.shared_written_bytes += lane_count(mask) * u64::from(access.bytes);
    context.cluster.changed();
    let mut left = mask;
    while left != 0 {
        let first = shared[left.trailing_zeros() as usize].wrapping_add(access.offset);
        let lanes = lanes_of_rank(&shared, access.offset, left, rank_of(first) as u32);
        let memory = &mut context.cluster.cta_of(first)?.shared;
        let stored = by_width!(access.bytes, W => memory.store_lanes::<W, R>(&shared, access.offset, lanes, values, defined));
        stored.map_err(|error| lane_fault(&error))?;
        left &= !lanes;
    }
    Ok(())
}

fn store_local<R: Lane>(
    context: &mut Context<'_>,
    addresses: &[u32; 32],
    access: Access,
    mask: u32,
    values: &[R; 32],
    defined: u32,
) -> Result<(), Box<Fault>> {
    context.counters.local_written_bytes += lane_count(mask) * u64::from(access.bytes);
    let memory = &mut context.warp.local;
    let stored = by_width!(access.bytes, W => memory.store_lanes::<W, R>(addresses, access.offset, mask, values, defined));
    stored.map_err(|error| lane_fault(&error))
}

/// Counts a request of the active lanes, if the launch asks for counts per line.
#[inline]
pub fn count(context: &mut Context<'_>, addresses: &[u64; 32], space: Space, bytes: u32) {
    if context.grid.options.count_accesses {
        count_request(context, addresses, space, bytes);
    }
}

/// Counts a `cp.async` of the active lanes: the sectors that it reads, nothing where `read` is 0, and the passes in
/// which it writes.
#[inline]
pub fn count_copy(
    context: &mut Context<'_>,
    sources: &[u64; 32],
    read: &[u32; 32],
    destinations: &[u32; 32],
    bytes: u32,
) {
    if context.grid.options.count_accesses {
        let reads = context.active().filter(|lane| read[*lane] > 0).fold(0, |lanes, lane| lanes | 1 << lane);
        let destinations = destinations.map(u64::from);
        count_request(context, &destinations, Space::Shared, bytes);
        let line = context.line as usize;
        context.counters.accesses[line].sectors += sectors(sources, bytes, reads);
    }
}

#[cold]
fn count_request(context: &mut Context<'_>, addresses: &[u64; 32], space: Space, bytes: u32) {
    let line = context.line as usize;
    let accesses = &mut context.counters.accesses;
    if accesses.len() <= line {
        accesses.resize(line + 1, AccessCounters::default());
    }
    let mask = context.mask;
    let entry = &mut accesses[line];
    entry.requests += 1;
    entry.bytes += lane_count(mask) * u64::from(bytes);
    let (global, shared) = match space {
        Space::Global | Space::Const => (mask, 0),
        Space::Shared | Space::SharedCluster => (0, mask),
        Space::Generic => {
            let windows = classify_lanes(addresses, 0, mask);
            (windows[0], windows[1])
        }
        _ => (0, 0),
    };
    let (wavefronts, least) = bank_wavefronts(addresses, bytes, shared);
    entry.wavefronts += wavefronts;
    entry.conflicts += wavefronts - least;
    entry.sectors += sectors(addresses, bytes, global);
}

/// Passes through the 32 four-byte banks that a request takes, and the fewest that one of its size could: 64-bit
/// accesses go in two halves of the warp, 128-bit ones in four quarters.
#[must_use]
pub fn bank_wavefronts(addresses: &[u64; 32], bytes: u32, mask: u32) -> (u64, u64) {
    let parts = (bytes / 4).clamp(1, 4) as usize;
    let (mut wavefronts, mut least) = (0, 0);
    for part in 0..parts {
        let lanes = (part * 32 / parts..(part + 1) * 32 / parts).filter(|lane| mask >> lane & 1 == 1);
        // Distinct words of each bank; the same word is broadcast.
        let mut words: Vec<u64> = lanes
            .flat_map(|lane| {
                let first = addresses[lane] / 4;
                first..=addresses[lane].saturating_add(u64::from(bytes) - 1) / 4
            })
            .collect();
        words.sort_unstable();
        words.dedup();
        let mut depth = [0u64; 32];
        words.iter().for_each(|word| depth[(word % 32) as usize] += 1);
        let deepest = depth.into_iter().max().unwrap_or(0);
        wavefronts += deepest;
        least += u64::from(deepest > 0);
    }
    (wavefronts, least)
}

/// 32-byte sectors that a request touches.
#[must_use]
pub fn sectors(addresses: &[u64; 32], bytes: u32, mask: u32) -> u64 {
    let lanes = (0..32).filter(|lane| mask >> lane & 1 == 1);
    let mut sectors: Vec<u64> = lanes
        .flat_map(|lane: usize| {
            addresses[lane] / 32..=addresses[lane].saturating_add(u64::from(bytes) - 1) / 32
        })
        .collect();
    sectors.sort_unstable();
    sectors.dedup();
    sectors.len() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strided(stride: u64) -> [u64; 32] {
        std::array::from_fn(|lane| lane as u64 * stride)
    }

    #[test]
    fn banks_conflict_where_words_of_one_bank_differ() {
        assert_eq!(bank_wavefronts(&strided(4), 4, u32::MAX), (1, 1));
        assert_eq!(bank_wavefronts(&strided(0), 4, u32::MAX), (1, 1), "broadcast");
        assert_eq!(bank_wavefronts(&strided(128), 4, u32::MAX), (32, 1));
        assert_eq!(bank_wavefronts(&strided(8), 4, u32::MAX), (2, 1));
        assert_eq!(bank_wavefronts(&strided(8), 8, u32::MAX), (2, 2));
        assert_eq!(bank_wavefronts(&strided(16), 16, u32::MAX), (4, 4));
        assert_eq!(bank_wavefronts(&strided(128), 16, u32::MAX), (32, 4));
        assert_eq!(bank_wavefronts(&strided(4), 4, 0xff), (1, 1));
    }

    #[test]
    fn sectors_are_32_bytes() {
        assert_eq!(sectors(&strided(4), 4, u32::MAX), 4);
        assert_eq!(sectors(&strided(32), 4, u32::MAX), 32);
        assert_eq!(sectors(&strided(0), 4, u32::MAX), 1);
        assert_eq!(sectors(&strided(16), 16, 0xf), 2);
    }
}
