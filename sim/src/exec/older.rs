//! Strong loads that return older values, and the writes that they may return: where memory and the
//! [history](crate::race::older) of its locations meet.

use super::observe::strong_target;
use crate::context::Context;
use crate::memory::Loaded;
use crate::race::Region;
use crate::race::older::{History, Older, Target};
use crate::race::scope::Semantics;
use rorqual_ptx::types::Space;

/// What lanes of a load return instead of the last write.
#[derive(Debug)]
pub struct OlderValues {
    values: Box<[Option<Older>; 32]>,
}

impl OlderValues {
    /// The lanes that return something older.
    #[must_use]
    pub fn lanes(&self) -> u32 {
        (0..32).filter(|&lane| self.values[lane].is_some()).fold(0, |set, lane| set | 1 << lane)
    }

    /// Replaces what these lanes have loaded; `convert` cuts bits to a register.
    pub fn replace<R>(&self, loaded: &mut [R; 32], convert: impl Fn(u128) -> R) {
        for (to, older) in loaded.iter_mut().zip(&*self.values) {
            if let Some(older) = older {
                *to = convert(older.bits);
            }
        }
    }

    /// Tells race detection of what these lanes have read.
    pub fn observe(&self, context: &mut Context<'_>, semantics: Semantics) {
        for (lane, older) in self.values.iter().enumerate() {
            if let Some(older) = older
                && let Some((race, actor)) = context.race(1 << lane)
            {
                race.strong_read_older(&actor, older, semantics);
            }
        }
    }
}

/// The location of a lane's access, if it can be followed.
fn target(context: &Context<'_>, address: u64, space: Space, bytes: u32) -> Option<Target> {
    let (region, address) = strong_target(context, address, space)?;
    let loaded: Option<Loaded> = match region {
        Region::Global => context.grid.global().load(address, bytes).ok(),
        Region::Shared { cta, .. } => {
            context.cluster.ctas.get(cta as usize).and_then(|cta| cta.shared.load(address as u32, bytes).ok())
        }
    };
    let loaded = loaded?;
    Some(Target { region, address, bytes, bits: loaded.is_defined(bytes).then_some(loaded.bits) })
}

/// The active lanes are about to load `bytes` bytes each by a strong access: what they return that is older.
pub fn values(
    context: &mut Context<'_>,
    addresses: &[u64; 32],
    space: Space,
    bytes: u32,
) -> Option<OlderValues> {
    let mut history = context.world.history.take()?;
    let mut values: Box<[Option<Older>; 32]> = Box::default();
    for lane in context.active() {
        let actor = context.actor(1 << lane);
        let target = target(context, addresses[lane], space, bytes);
        let world = &mut *context.world;
        if let (Some(target), Some(race)) = (target, world.race.as_deref_mut()) {
            values[lane] = history.read(race, &mut world.scheduler, &actor, &target);
        }
    }
    context.world.history = Some(history);
    values.iter().any(Option::is_some).then_some(OlderValues { values })
}

/// The active lanes are about to write `bytes` bytes each, by a strong access or not.
pub fn before_write(
    context: &mut Context<'_>,
    addresses: &[u64; 32],
    space: Space,
    bytes: u32,
    is_strong: bool,
) {
    for_each(context, addresses, space, bytes, |history, context, lane, target| {
        history.before_write(&context.actor(1 << lane), target, is_strong);
    });
}

/// They have.
pub fn after_write(
    context: &mut Context<'_>,
    addresses: &[u64; 32],
    space: Space,
    bytes: u32,
    is_strong: bool,
) {
    for_each(context, addresses, space, bytes, |history, context, lane, target| {
        if let Some((race, actor)) = context.race(1 << lane) {
            history.after_write(race, &actor, target, is_strong);
        }
    });
}

fn for_each(
    context: &mut Context<'_>,
    addresses: &[u64; 32],
    space: Space,
    bytes: u32,
    mut tell: impl FnMut(&mut History, &mut Context<'_>, usize, &Target),
) {
    let Some(mut history) = context.world.history.take() else { return };
    for lane in context.active() {
        if let Some(target) = target(context, addresses[lane], space, bytes) {
            tell(&mut history, context, lane, &target);
        }
    }
    context.world.history = Some(history);
}
