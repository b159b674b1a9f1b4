//! binary16 and bfloat16 arithmetic on raw codes, single and in pairs (PTX ISA 9.7.4), and the mixed-precision
//! instructions that take them into binary32 (PTX ISA 9.7.5).
//!
//! The format is [`F16`](super::format::F16) or [`BF16`](super::format::BF16), a constant at every hot call. Sums and
//! products are formed in binary64: exactly, or with so many bits more than the result has that rounding twice is
//! rounding once; a fused multiply-add is rounded to odd in between. Every NaN that comes out is 0x7fff.

use super::exact::Overflow;
use super::float32;
use super::format::{Format, nearest_from_f64, power_of_two, widen};
use super::{FloatMode, IntegerRounding, MinMaxMode};

/// Modifiers of a half-precision instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct HalfMode {
    /// `.ftz`: subnormal inputs and results become zero of the same sign.
    pub ftz: bool,
    /// `.sat`: the result is clamped to [0, 1], NaN becomes +0.
    pub sat: bool,
    /// `.relu`: a negative result becomes +0, NaN stays NaN.
    pub relu: bool,
}

/// The NaN of an element outside the tensor, which `fma.oob` turns into zero.
pub const OUT_OF_BOUNDS_NAN: u16 = 0x7ff7;

/// The canonical NaN of both formats.
pub const NAN: u16 = 0x7fff;

#[inline(always)]
fn decode(code: u16, format: Format, ftz: bool) -> f64 {
    let code = if ftz { format.flush(u64::from(code)) as u32 } else { u32::from(code) };
    f64::from(widen(code, format))
}

/// Rounds a result that is exact, or rounded to odd with more than twice the format's bits.
#[inline(always)]
fn encode(x: f64, format: Format, mode: HalfMode) -> u16 {
    let x = if mode.ftz && x.abs() < tiny_below(format) { 0.0_f64.copysign(x) } else { x };
    let x = if mode.sat { super::float64::saturate(x) } else { x };
    let x = if mode.relu && x <= 0.0 { 0.0 } else { x };
    nearest_from_f64(x, format, Overflow::Ieee) as u16
}

/// What is below this rounds, with exponents unlimited, to less than the smallest normal number.
#[inline(always)]
const fn tiny_below(format: Format) -> f64 {
    let mantissa = format.mantissa_bits as i32;
    power_of_two(format.smallest_unit_exponent() + mantissa) * (1.0 - power_of_two(-mantissa - 2))
}

/// `add{.rn}{.ftz}{.sat}`.
#[must_use]
#[inline(always)]
pub fn add(a: u16, b: u16, format: Format, mode: HalfMode) -> u16 {
    encode(decode(a, format, mode.ftz) + decode(b, format, mode.ftz), format, mode)
}

/// `sub{.rn}{.ftz}{.sat}`.
#[must_use]
#[inline(always)]
pub fn sub(a: u16, b: u16, format: Format, mode: HalfMode) -> u16 {
    encode(decode(a, format, mode.ftz) - decode(b, format, mode.ftz), format, mode)
}

/// `mul{.rn}{.ftz}{.sat}`.
#[must_use]
#[inline(always)]
pub fn mul(a: u16, b: u16, format: Format, mode: HalfMode) -> u16 {
    encode(decode(a, format, mode.ftz) * decode(b, format, mode.ftz), format, mode)
}

/// `fma.rn{.ftz}{.sat|.relu}`.
#[must_use]
#[inline(always)]
pub fn fma(a: u16, b: u16, c: u16, format: Format, mode: HalfMode) -> u16 {
    let product = decode(a, format, mode.ftz) * decode(b, format, mode.ftz);
    encode(sum_to_odd(product, decode(c, format, mode.ftz)), format, mode)
}

/// `fma.rn.oob{.relu}`: +0 where a factor is [`OUT_OF_BOUNDS_NAN`].
#[must_use]
#[inline(always)]
pub fn fma_oob(a: u16, b: u16, c: u16, format: Format, mode: HalfMode) -> u16 {
    if a == OUT_OF_BOUNDS_NAN || b == OUT_OF_BOUNDS_NAN { 0 } else { fma(a, b, c, format, mode) }
}

/// `a + b`; if it is not exact, whichever neighbour has an odd significand, so that a later rounding is not misled.
#[inline(always)]
fn sum_to_odd(a: f64, b: f64) -> f64 {
    let sum = a + b;
    let b_part = sum - a;
    let error = (a - (sum - b_part)) + (b - b_part);
    let bits = sum.to_bits();
    // An infinite or NaN sum has a NaN for its error, which is neither above nor below zero.
    let inexact = (error > 0.0) | (error < 0.0);
    let even = bits & 1 ^ 1;
    let outward = (error.to_bits() ^ bits) >> 63 ^ 1;
    // One up or one down where the sum is inexact and even.
    let step = if inexact { even } else { 0 };
    f64::from_bits(bits.wrapping_add(step & outward).wrapping_sub(step & (outward ^ 1)))
}

/// A key that orders codes as integers, -0 below +0.
#[inline(always)]
const fn order(code: u16) -> i16 {
    let bits = code as i16;
    bits ^ ((bits >> 15) as u16 >> 1) as i16
}

#[inline(always)]
fn min_max(a: u16, b: u16, format: Format, mode: MinMaxMode, maximum: bool) -> u16 {
    let flush = |code: u16| if mode.ftz { format.flush(u64::from(code)) as u16 } else { code };
    let (a, b) = (flush(a), flush(b));
    let sign = (a ^ b) & 0x8000;
    let (a, b) = if mode.abs { (a & 0x7fff, b & 0x7fff) } else { (a, b) };
    let (a_nan, b_nan) = (format.is_nan(u64::from(a)), format.is_nan(u64::from(b)));
    let first = if maximum { order(a) > order(b) } else { order(a) < order(b) };
    let ordered = if first { a } else { b };
    let number = if a_nan {
        b
    } else if b_nan {
        a
    } else {
        ordered
    };
    if (a_nan && b_nan) || (mode.nan && (a_nan || b_nan)) {
        NAN
    } else if mode.xorsign {
        number & 0x7fff | sign
    } else {
        number
    }
}

/// `min{.ftz}{.NaN}{.xorsign.abs}`.
#[must_use]
#[inline(always)]
pub fn min(a: u16, b: u16, format: Format, mode: MinMaxMode) -> u16 {
    min_max(a, b, format, mode, false)
}

/// `max{.ftz}{.NaN}{.xorsign.abs}`.
#[must_use]
#[inline(always)]
pub fn max(a: u16, b: u16, format: Format, mode: MinMaxMode) -> u16 {
    min_max(a, b, format, mode, true)
}

#[inline(always)]
fn with_sign(a: u16, sign: u16, format: Format, ftz: bool) -> u16 {
    let code = if ftz { format.flush(u64::from(a)) as u16 } else { a };
    if format.is_nan(u64::from(a)) { NAN } else { code & 0x7fff | sign & 0x8000 }
}

/// `abs{.ftz}`.
#[must_use]
#[inline(always)]
pub fn abs(a: u16, format: Format, ftz: bool) -> u16 {
    with_sign(a, 0, format, ftz)
}

/// `neg{.ftz}`.
#[must_use]
#[inline(always)]
pub fn neg(a: u16, format: Format, ftz: bool) -> u16 {
    with_sign(a, !a, format, ftz)
}

/// `cvt.{rni,rzi,rmi,rpi}{.sat}.f16.f16` and `.bf16.bf16`.
#[must_use]
#[inline(always)]
pub fn round_to_integer(a: u16, format: Format, rounding: IntegerRounding, sat: bool) -> u16 {
    let integer = float32::round_to_integer(widen(u32::from(a), format), rounding, false, sat);
    super::format::nearest_from_f32(integer, format, Overflow::Ieee) as u16
}

/// `add{.rnd}{.sat}.f32.{f16,bf16} d, a, c`.
#[must_use]
#[inline]
pub fn add_mixed(a: u16, c: f32, format: Format, mode: FloatMode) -> f32 {
    float32::add_with(widen(u32::from(a), format), c, mode)
}

/// `sub{.rnd}{.sat}.f32.{f16,bf16} d, a, c`.
#[must_use]
#[inline]
pub fn sub_mixed(a: u16, c: f32, format: Format, mode: FloatMode) -> f32 {
    float32::sub_with(widen(u32::from(a), format), c, mode)
}

/// `fma.rnd{.sat}.f32.{f16,bf16} d, a, b, c`.
#[must_use]
#[inline]
pub fn fma_mixed(a: u16, b: u16, c: f32, format: Format, mode: FloatMode) -> f32 {
    float32::fma_with(widen(u32::from(a), format), widen(u32::from(b), format), c, mode)
}

#[cfg(test)]
mod tests;
