//! What the model of the L2 cache is told of accesses to global memory, where a launch asks for it.

use super::{link, observe};
use crate::context::Context;
use rorqual_ptx::types::Space;

/// What an access does with what is in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// Reads it, to change it or not.
    Read,
    /// Replaces it.
    Write,
}

/// Tells of an access of the active lanes, `bytes` bytes each.
#[inline]
pub fn lanes(context: &mut Context<'_>, addresses: &[u64; 32], space: Space, bytes: u32, what: Use) {
    if !context.world.caches.is_empty() {
        let (global, _) = observe::spaces(addresses, space, context.mask);
        let lanes = (0..32).filter(|lane| global >> lane & 1 == 1);
        ranges(context, lanes.map(|lane| (addresses[lane], bytes.into())), what);
    }
}

/// Tells of accesses to ranges of global memory: start and bytes.
pub fn ranges(context: &mut Context<'_>, ranges: impl IntoIterator<Item = (u64, u64)>, what: Use) {
    if context.world.caches.is_empty() {
        return;
    }
    for (start, bytes) in ranges {
        let owner = if context.grid.devices > 1 { link::owner(context.grid, start) } else { Some(0) };
        let Some(cache) = owner.and_then(|owner| context.world.caches.get_mut(owner as usize)) else {
            continue;
        };
        match what {
            Use::Read => context.counters.fetched_bytes += cache.read(start, bytes),
            Use::Write => cache.write(start, bytes),
        }
    }
}
