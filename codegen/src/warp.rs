//! Exchange and reduction within a warp and a CTA.
//!
//! The order of every sum is fixed: partners by distance within a warp, warps in ascending order.

use crate::builder::Builder;
use crate::element::{Element, Held, Scalar};
use crate::pointer::{Pointer, Shared};
use crate::value::{Predicate, Value};
use rorqual_ptx::operand::Operand;

const ALL_LANES: i64 = 0xffff_ffff;

impl<'k, T: Held> Value<'k, T> {
    #[track_caller]
    fn shuffle(self, mode: &str, operand: Operand, clamp: i64) -> Self {
        let opcode = format!("shfl.sync.{mode}.b32");
        let bits = self.bits::<u32>();
        let operands =
            [Operand::Register(bits.in_register()), operand, Operand::int(clamp), Operand::int(ALL_LANES)];
        self.builder().compute::<u32>(&opcode, &operands).bits()
    }

    /// The value of the lane whose index differs in the bits of `mask`.
    #[must_use]
    #[track_caller]
    pub fn shuffle_xor(self, mask: u32) -> Self {
        self.shuffle("bfly", Operand::int(i64::from(mask)), 0x1f)
    }

    /// The value of the lane `distance` below; the lane's own where there is none.
    #[must_use]
    #[track_caller]
    pub fn shuffle_up(self, distance: u32) -> Self {
        self.shuffle("up", Operand::int(i64::from(distance)), 0)
    }

    /// The value of a lane.
    #[must_use]
    #[track_caller]
    pub fn shuffle_index(self, lane: Value<'k, u32>) -> Self {
        self.shuffle("idx", lane.operand(), 0x1f)
    }
}

impl Value<'_, u32> {
    /// The same value, which all lanes of the warp must hold alike: the assembler then knows that they do, and keeps
    /// what follows from it in uniform registers.
    #[must_use]
    #[track_caller]
    pub fn uniform(self) -> Self {
        self.builder().compute("redux.sync.min.u32", &[self.operand(), Operand::int(ALL_LANES)])
    }
}

impl<'k> Predicate<'k> {
    /// A bit for each lane of the warp: where it holds.
    #[must_use]
    #[track_caller]
    pub fn ballot(self) -> Value<'k, u32> {
        let builder = self.to_u32().builder();
        builder.compute("vote.sync.ballot.b32", &[self.operand(), Operand::int(ALL_LANES)])
    }

    /// Whether it holds in any lane of the warp.
    #[must_use]
    #[track_caller]
    pub fn any(self) -> Self {
        self.ballot().differs(0)
    }
}

/// Reduces over groups of `lanes` neighbouring lanes, a power of two; each lane gets the result of its group.
#[track_caller]
pub fn reduce_lanes<'k, T: Held>(
    value: Value<'k, T>,
    lanes: u32,
    combine: impl Fn(Value<'k, T>, Value<'k, T>) -> Value<'k, T>,
) -> Value<'k, T> {
    value.builder().require(lanes.is_power_of_two() && lanes <= 32, || {
        format!("a reduction over {lanes} lanes: a power of two up to 32")
    });
    let distances = (0..lanes.trailing_zeros()).rev().map(|exponent| 1 << exponent);
    distances.fold(value, |value, distance| combine(value, value.shuffle_xor(distance)))
}

/// Reduces over all threads of the CTA; each gets the result. `scratch` holds an element for each warp; the CTA meets
/// twice, so that it may be used again at once.
#[track_caller]
pub fn reduce_cta<'k, T: Scalar + Element<Loaded = T>>(
    builder: &'k Builder,
    value: Value<'k, T>,
    scratch: Pointer<'k, Shared, T>,
    combine: impl Fn(Value<'k, T>, Value<'k, T>) -> Value<'k, T>,
) -> Value<'k, T> {
    let result = reduce_cta_once(builder, value, scratch, combine);
    if builder.warps() > 1 {
        builder.sync_threads();
    }
    result
}

/// As [`reduce_cta`], but the CTA meets only once: `scratch` may be used again behind the next barrier.
#[track_caller]
pub fn reduce_cta_once<'k, T: Scalar + Element<Loaded = T>>(
    builder: &'k Builder,
    value: Value<'k, T>,
    scratch: Pointer<'k, Shared, T>,
    combine: impl Fn(Value<'k, T>, Value<'k, T>) -> Value<'k, T>,
) -> Value<'k, T> {
    let value = reduce_lanes(value, 32, &combine);
    if builder.warps() == 1 {
        return value;
    }
    scratch.at(builder.warp()).store_when(builder.lane().equals(0), value);
    builder.sync_threads();
    let partial = (0..builder.warps()).map(|warp| scratch.at(warp).load());
    partial.reduce(&combine).unwrap_or(value)
}

/// The sum of a value over the lanes before, the own included.
#[must_use]
#[track_caller]
pub fn inclusive_sum(value: Value<'_, u32>) -> Value<'_, u32> {
    let lane = value.builder().lane();
    (0..5).map(|exponent| 1 << exponent).fold(value, |sum, distance| {
        let before = sum.shuffle_up(distance);
        lane.at_least(distance).select(sum + before, sum)
    })
}
