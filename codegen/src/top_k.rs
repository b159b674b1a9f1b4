//! Selection of the best by integer keys: f32 as integers of the same order, and the best candidate of a warp.
//!
//! Ties go to the lowest index, NaN comes after every number. Key 0 is no candidate at all.

use crate::element::Held;
use crate::value::{Predicate, Value};
use rorqual_ptx::operand::Operand;

/// The key of NaN: below all numbers, above what is no candidate.
pub const NAN_KEY: u32 = 1;

/// An integer of the order of the number; zeros of either sign are the same.
#[must_use]
#[track_caller]
pub fn order_key(value: Value<'_, f32>) -> Value<'_, u32> {
    let nan = value.is_nan();
    // Adding zero makes a negative zero positive.
    let bits = (value + 0.0).bits::<u32>();
    let negative = bits.at_least(0x8000_0000);
    let key = negative.select(bits ^ 0xffff_ffff, bits ^ 0x8000_0000);
    nan.select(value.builder().constant(NAN_KEY), key)
}

/// The number of a key; a negative zero has become positive.
#[must_use]
#[track_caller]
pub fn of_order_key(key: Value<'_, u32>) -> Value<'_, f32> {
    let positive = key.at_least(0x8000_0000);
    let bits = positive.select(key ^ 0x8000_0000, key ^ 0xffff_ffff);
    key.equals(NAN_KEY).select(key.builder().constant(f32::NAN), bits.bits())
}

#[track_caller]
fn reduce<'k, T: Held>(opcode: &str, value: Value<'k, T>) -> Value<'k, u32> {
    value.builder().compute(opcode, &[value.operand(), Operand::int(0xffff_ffff)])
}

/// A candidate: its key, and an index that breaks ties.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'k> {
    /// Larger is better.
    pub key: Value<'k, u32>,
    /// Of equal keys the lowest index is better.
    pub index: Value<'k, u32>,
}

/// The best candidate of the warp, of which each lane holds some, in ascending order of index.
///
/// # Panics
///
/// If there is none.
#[must_use]
#[track_caller]
pub fn best_of_warp<'k>(own: &[Candidate<'k>]) -> Candidate<'k> {
    let better = |best: Candidate<'k>, next: &Candidate<'k>| {
        let wins: Predicate<'k> = next.key.greater(best.key);
        Candidate { key: wins.select(next.key, best.key), index: wins.select(next.index, best.index) }
    };
    let best = own[1..].iter().fold(own[0], better);
    let key = reduce("redux.sync.max.u32", best.key);
    let none = key.builder().constant(u32::MAX);
    let index = reduce("redux.sync.min.u32", best.key.equals(key).select(best.index, none));
    Candidate { key, index }
}
