//! The exponential function with a relative error of at most 2^-21, however large the argument.
//!
//! `exp(x) = 2^n * 2^(r * log2(e))` with `n = rint(x * log2(e))` and `r = x - n * ln(2)`, of which `ln(2)` has two parts
//! so that `r` is exact to 2^-24 (Cody and Waite, Software Manual for the Elementary Functions, 1980). `ex2.approx` adds
//! 2 units in the last place (PTX ISA 9.7.3.21), the argument and the product at most 1 more.

use crate::value::Value;

/// The high bits of ln(2): the product with any `n` is exact.
const LN_2_HIGH: f32 = 0.693_359_4;
/// What is missing of ln(2).
const LN_2_LOW: f32 = -2.121_944_4e-4;
/// Above, the result is infinite; below the other one, it is zero.
const LARGEST: f32 = 89.0;
const SMALLEST: f32 = -104.0;

impl<'k> Value<'k, f32> {
    /// e to its power; NaN stays NaN. See the [module](crate::exponential).
    #[must_use]
    #[track_caller]
    pub fn exp(self) -> Self {
        let builder = self.builder();
        let bounded = self.max_nan(SMALLEST).min_nan(LARGEST);
        let scaled = bounded * std::f32::consts::LOG2_E;
        let whole: Self = builder.compute("cvt.rni.f32.f32", &[scaled.operand()]);
        let rest = whole.fma(-LN_2_HIGH, bounded);
        let rest = whole.fma(-LN_2_LOW, rest);
        let mantissa = (rest * std::f32::consts::LOG2_E).exp2();
        // 2^n in two factors, of which neither overflows nor is denormal.
        let exponent: Value<'k, i32> = builder.compute("cvt.rzi.s32.f32", &[whole.operand()]);
        let half = exponent >> 1;
        mantissa * power_of_two(half) * power_of_two(exponent - half)
    }
}

/// 2 to a power from -126 to 127.
#[track_caller]
fn power_of_two(exponent: Value<'_, i32>) -> Value<'_, f32> {
    ((exponent + 127) << 23).bits()
}
