//! What race detection and traces are told of a warp: which memory each lane's address leads to.

use crate::context::Context;
use crate::memory::{Loaded, SHARED_RANK_SHIFT, Window, classify, classify_lanes};
use crate::race::scope::{Place, Semantics};
use crate::race::{Actor, CHANGES, RaceDetector, Region, Touch};
use crate::report::{Fault, Rule};
use crate::trace::Traced;
use rorqual_ptx::types::Space;

impl Context<'_> {
    /// Race detection with these lanes as actors, if races are looked for.
    #[inline]
    pub fn race(&mut self, lanes: u32) -> Option<(&mut RaceDetector, Actor)> {
        self.world.race.as_ref()?;
        let actor = self.actor(lanes);
        self.world.race.as_deref_mut().map(|race| (race, actor))
    }

    /// The warp at its line, to record what it does, if its cluster is traced.
    #[inline]
    pub fn trace(&mut self) -> Option<Traced<'_>> {
        let recorder = self.cluster.trace.as_deref_mut()?;
        Some(recorder.at(self.warp_number, self.line))
    }

    /// These lanes as race detection sees them.
    #[must_use]
    pub fn actor(&self, lanes: u32) -> Actor {
        Actor {
            place: Place {
                device: self.grid.device,
                cluster: self.cluster.number,
                cta: self.warp.cta as u32,
            },
            warp: self.warp_number as u32,
            warp_of_cta: self.warp.index as u32,
            lanes,
            convergent: self.fragment.lanes | lanes,
            line: self.line,
        }
    }

    /// The shared memory that an address is of.
    #[must_use]
    pub fn shared_region(&self, address: u32) -> Region {
        let rank = address >> SHARED_RANK_SHIFT;
        let base = self.cluster.ctas.get(rank as usize).map_or(0, |cta| cta.shared.base());
        Region::Shared { cta: rank, base }
    }
}

/// Tells of an access of the active lanes, `bytes` bytes each.
///
/// # Errors
///
/// A race.
#[inline]
pub fn lanes(
    context: &mut Context<'_>,
    addresses: &[u64; 32],
    space: Space,
    bytes: u32,
    touch: Touch,
) -> Result<(), Box<Fault>> {
    if context.world.race.is_none() {
        return Ok(());
    }
    let mask = context.mask;
    let (global, shared) = spaces(addresses, space, mask);
    if global != 0
        && let Some((race, actor)) = context.race(global)
    {
        race.access_lanes(&actor, Region::Global, addresses, bytes, touch, &CHANGES)?;
    }
    if shared != 0 {
        let low = addresses.map(|address| u64::from(address as u32));
        shared_lanes(context, &low, shared, bytes, touch)?;
    }
    Ok(())
}

/// Tells of a store of the active lanes before it is made; `value` is byte k of what a lane stores.
///
/// # Errors
///
/// A race, or lanes that store different values in the same place.
pub fn store(
    context: &mut Context<'_>,
    addresses: &[u64; 32],
    space: Space,
    bytes: u32,
    touch: Touch,
    value: &dyn Fn(&Context<'_>, usize, u32) -> u8,
) -> Result<(), Box<Fault>> {
    let Some(mut race) = context.world.race.take() else { return Ok(()) };
    let result = observe_store(&mut race, context, addresses, space, (bytes, touch), value);
    context.world.race = Some(race);
    result
}

fn observe_store(
    race: &mut RaceDetector,
    context: &Context<'_>,
    addresses: &[u64; 32],
    space: Space,
    (bytes, touch): (u32, Touch),
    value: &dyn Fn(&Context<'_>, usize, u32) -> u8,
) -> Result<(), Box<Fault>> {
    let (global, mut shared) = spaces(addresses, space, context.mask);
    if global != 0 {
        check_agreement(context, addresses, global, bytes, value)?;
        let memory = context.grid.global();
        let holds = |address: u64| memory.load(address, 1).ok();
        let keeps = |address: u64| keeps(context, addresses, global, bytes, address, value, &holds);
        race.access_lanes(&context.actor(global), Region::Global, addresses, bytes, touch, &keeps)?;
    }
    let low = addresses.map(|address| u64::from(address as u32));
    if shared != 0 {
        check_agreement(context, &low, shared, bytes, value)?;
    }
    while shared != 0 {
        let region = context.shared_region(low[shared.trailing_zeros() as usize] as u32);
        let Region::Shared { cta, .. } = region else { break };
        let lanes = (0..32)
            .filter(|&lane| shared >> lane & 1 == 1 && low[lane] as u32 >> SHARED_RANK_SHIFT == cta)
            .fold(0, |set, lane| set | 1 << lane);
        shared &= !lanes;
        let Some(memory) = context.cluster.ctas.get(cta as usize).map(|cta| &cta.shared) else { continue };
        let holds = |address: u64| memory.load(address as u32, 1).ok();
        let keeps = |address: u64| keeps(context, &low, lanes, bytes, address, value, &holds);
        race.access_lanes(&context.actor(lanes), region, &low, bytes, touch, &keeps)?;
    }
    Ok(())
}

/// Whether a byte holds what lanes are about to store in it.
fn keeps(
    context: &Context<'_>,
    addresses: &[u64; 32],
    lanes: u32,
    bytes: u32,
    address: u64,
    value: &dyn Fn(&Context<'_>, usize, u32) -> u8,
    holds: &dyn Fn(u64) -> Option<Loaded>,
) -> bool {
    let Some(held) = holds(address).filter(|held| held.is_defined(1)) else { return false };
    (0..32).filter(|lane| lanes >> lane & 1 == 1).all(|lane| {
        let place = address.wrapping_sub(addresses[lane]);
        place >= u64::from(bytes) || value(context, lane, place as u32) == held.bits as u8
    })
}

/// Demands that lanes that store in the same place store the same.
fn check_agreement(
    context: &Context<'_>,
    addresses: &[u64; 32],
    lanes: u32,
    bytes: u32,
    value: &dyn Fn(&Context<'_>, usize, u32) -> u8,
) -> Result<(), Box<Fault>> {
    // Addresses that ascend, or descend, name a place once: the usual case.
    let ascend = (1..32).all(|lane| addresses[lane] > addresses[lane - 1]);
    if ascend || lanes.is_power_of_two() {
        return Ok(());
    }
    let mut order: Vec<usize> = (0..32).filter(|lane| lanes >> lane & 1 == 1).collect();
    order.sort_unstable_by_key(|lane| addresses[*lane]);
    for pair in order.windows(2) {
        let [a, b] = [pair[0], pair[1]];
        let same = addresses[a] == addresses[b];
        if same && (0..bytes).any(|byte| value(context, a, byte) != value(context, b, byte)) {
            return Err(Box::new(Fault::new(
                Rule::Race,
                format!(
                    "lanes {} and {} store different values at {:#x}: which of them stays is not defined",
                    a.min(b),
                    a.max(b),
                    addresses[a]
                ),
            )));
        }
    }
    Ok(())
}

/// Tells of an access of lanes to the cluster's shared memory.
fn shared_lanes(
    context: &mut Context<'_>,
    addresses: &[u64; 32],
    mask: u32,
    bytes: u32,
    touch: Touch,
) -> Result<(), Box<Fault>> {
    let mut left = mask;
    while left != 0 {
        let region = context.shared_region(addresses[left.trailing_zeros() as usize] as u32);
        let Region::Shared { cta, .. } = region else { return Ok(()) };
        let together = (0..32)
            .filter(|&lane| left >> lane & 1 == 1 && addresses[lane] as u32 >> SHARED_RANK_SHIFT == cta);
        let together = together.fold(0, |set, lane| set | 1 << lane);
        left &= !together;
        if (cta as usize) < context.cluster.ctas.len()
            && let Some((race, actor)) = context.race(together)
        {
            race.access_lanes(&actor, region, addresses, bytes, touch, &CHANGES)?;
        }
    }
    Ok(())
}

/// The lanes whose addresses are of global and of shared memory; the rest is private or constant.
pub(super) fn spaces(addresses: &[u64; 32], space: Space, mask: u32) -> (u32, u32) {
    match space {
        Space::Global => (mask, 0),
        Space::Shared | Space::SharedCluster => (0, mask),
        Space::Generic => {
            let [global, shared, ..] = classify_lanes(addresses, 0, mask);
            (global, shared)
        }
        _ => (0, 0),
    }
}

/// Where a strong access of a lane leads, and its address there.
pub(super) fn strong_target(context: &Context<'_>, address: u64, space: Space) -> Option<(Region, u64)> {
    match (space, classify(address)) {
        (Space::Global, _) | (Space::Generic, Window::Global) => Some((Region::Global, address)),
        (Space::Shared | Space::SharedCluster, _) => {
            Some((context.shared_region(address as u32), u64::from(address as u32)))
        }
        (Space::Generic, Window::Shared(shared)) => Some((context.shared_region(shared), shared.into())),
        _ => None,
    }
}

/// Tells of what the active lanes have read by strong accesses.
pub fn strong_reads(context: &mut Context<'_>, addresses: &[u64; 32], space: Space, semantics: Semantics) {
    if semantics.strong.is_none() || context.world.race.is_none() {
        return;
    }
    for lane in context.active() {
        if let Some((region, address)) = strong_target(context, addresses[lane], space)
            && let Some((race, actor)) = context.race(1 << lane)
        {
            race.strong_read(&actor, region, address, semantics);
        }
    }
}

/// Tells of what the active lanes write by strong accesses, or by read-modify-writes.
pub fn strong_writes(
    context: &mut Context<'_>,
    addresses: &[u64; 32],
    space: Space,
    semantics: Semantics,
    is_update: bool,
) {
    if semantics.strong.is_none() || context.world.race.is_none() {
        return;
    }
    for lane in context.active() {
        if let Some((region, address)) = strong_target(context, addresses[lane], space)
            && let Some((race, actor)) = context.race(1 << lane)
        {
            race.strong_write(&actor, region, address, semantics, is_update);
        }
    }
}
