//! Counts of bits, choices of bytes, and the high halves of products.

use crate::builder::Builder;
use crate::value::{Input, Value};
use rorqual_ptx::operand::SpecialRegister;

impl<'k> Value<'k, u32> {
    /// How many of its bits are 1.
    #[must_use]
    #[track_caller]
    pub fn count_ones(self) -> Self {
        self.builder().compute("popc.b32", &[self.operand()])
    }

    /// Four of the bytes of this word, which are 0 to 3, and of `other`, which are 4 to 7: each hexadecimal digit of `order`,
    /// from the low end, names one.
    #[must_use]
    #[track_caller]
    pub fn select_bytes(self, other: Self, order: Self) -> Self {
        self.builder().compute("prmt.b32", &[self.operand(), other.operand(), order.operand()])
    }

    /// The high 32 bits of the product of 64.
    #[must_use]
    #[track_caller]
    pub fn multiply_high(self, factor: impl Into<Input<'k, u32>>) -> Self {
        let factor = factor.into().value(self.builder());
        self.builder().compute("mul.hi.u32", &[self.operand(), factor.operand()])
    }
}

impl<'k> Value<'k, u64> {
    /// The high 64 bits of the product of 128.
    #[must_use]
    #[track_caller]
    pub fn multiply_high(self, factor: impl Into<Input<'k, u64>>) -> Self {
        let factor = factor.into().value(self.builder());
        self.builder().compute("mul.hi.u64", &[self.operand(), factor.operand()])
    }
}

impl<'k> Value<'k, f32> {
    /// The nearest unsigned integer of 64 bits, ties to even; NaN becomes 0.
    #[must_use]
    #[track_caller]
    pub fn round_to_u64(self) -> Value<'k, u64> {
        self.builder().compute("cvt.rni.u64.f32", &[self.operand()])
    }
}

impl Builder {
    /// A bit for each lane of the warp below the thread's own.
    #[track_caller]
    pub fn lanes_below(&self) -> Value<'_, u32> {
        self.special(SpecialRegister::LanemaskLt)
    }
}
