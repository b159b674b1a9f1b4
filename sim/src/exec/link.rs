//! What kernels of one device do to the memory of another, counted where there are several.

use crate::context::Context;
use crate::counters::{Counters, LinkUse};
use crate::grid::Grid;
use crate::memory::{Window, classify};
use rorqual_ptx::types::Space;

/// The bytes of a line, which is what a warp's accesses are gathered to.
const LINE: u64 = 128;

/// Counts an access of the active lanes, `bytes` bytes each.
#[inline]
pub fn lanes(context: &mut Context<'_>, addresses: &[u64; 32], space: Space, bytes: u32, link_use: LinkUse) {
    if context.grid.devices > 1 {
        let mask = context.mask;
        count_lanes(context, addresses, (space, mask), bytes, link_use);
    }
}

/// Counts an access of some lanes.
#[cold]
pub fn count_lanes(
    context: &mut Context<'_>,
    addresses: &[u64; 32],
    (space, mask): (Space, u32),
    bytes: u32,
    link_use: LinkUse,
) {
    let own = context.grid.device;
    let mut lines = Vec::new();
    for lane in (0..32).filter(|lane| mask >> lane & 1 == 1) {
        let address = addresses[lane];
        let global = space == Space::Global || space == Space::Generic && classify(address) == Window::Global;
        let Some(owner) = owner(context.grid, address).filter(|owner| global && *owner != own) else {
            continue;
        };
        let traffic = &mut context.counters.link(own, owner).uses[link_use as usize];
        traffic.bytes += u64::from(bytes);
        if link_use == LinkUse::Atomic {
            traffic.messages += 1;
        } else {
            // An access is aligned to its size, which divides that of a line.
            lines.push((owner, address / LINE));
        }
    }
    lines.sort_unstable();
    lines.dedup();
    for (owner, _) in lines {
        context.counters.link(own, owner).uses[link_use as usize].messages += 1;
    }
}

/// Counts a bulk or tensor copy of `bytes` bytes that begins at an address.
pub fn copy(grid: &Grid<'_>, counters: &mut Counters, address: u64, bytes: u64, link_use: LinkUse) {
    if grid.devices > 1
        && let Some(owner) = owner(grid, address).filter(|owner| *owner != grid.device)
    {
        let traffic = &mut counters.link(grid.device, owner).uses[link_use as usize];
        traffic.messages += 1;
        traffic.bytes += bytes;
    }
}

/// The device whose memory an address is of.
pub(super) fn owner(grid: &Grid<'_>, address: u64) -> Option<u32> {
    grid.memory.locate(address).ok().map(crate::memory::Allocation::device)
}
