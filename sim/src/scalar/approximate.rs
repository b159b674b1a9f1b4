//! The approximate functions: `.approx` and `.full` (PTX ISA 9.7.3, 9.7.4).
//!
//! PTX bounds their errors and leaves the bits open. Here each gives the correctly rounded result (but for arguments
//! whose exact result lies within 2^-50 of a rounding boundary), and [`perturb`] moves a result anywhere within its
//! documented bound, so that a kernel can be tested for not depending on the bits.
//!
//! What is documented exactly is exact: results for zeros, infinities and NaN, `.ftz`, and the range in which
//! `div.approx` gives zero.

use super::exact::Overflow;
use super::float32::{NAN, canonical, flush};
use super::format::{BF16, F16, F32, F64, Format, nearest_from_f64, power_of_two, widen};
use super::{Rounding, float64};
use std::f64::consts::{LN_2, LOG2_E};

#[inline(always)]
fn with_ftz(x: f32, ftz: bool, function: impl Fn(f32) -> f32) -> f32 {
    let result = canonical(function(if ftz { flush(x) } else { x }));
    if ftz { flush(result) } else { result }
}

/// `ex2.approx{.ftz}.f32`; vectorisable.
#[must_use]
#[inline(always)]
pub fn ex2(x: f32, ftz: bool) -> f32 {
    with_ftz(x, ftz, |x| exp2(f64::from(x)) as f32)
}

/// `lg2.approx{.ftz}.f32`; vectorisable.
#[must_use]
#[inline(always)]
pub fn lg2(x: f32, ftz: bool) -> f32 {
    with_ftz(x, ftz, |x| log2(f64::from(x)) as f32)
}

/// `rcp.approx{.ftz}.f32`.
#[must_use]
#[inline(always)]
pub fn rcp(x: f32, ftz: bool) -> f32 {
    with_ftz(x, ftz, |x| 1.0 / x)
}

/// `rsqrt.approx{.ftz}.f32`.
#[must_use]
#[inline(always)]
pub fn rsqrt(x: f32, ftz: bool) -> f32 {
    with_ftz(x, ftz, |x| if x == 0.0 { 1.0 / x } else { (1.0 / f64::from(x).sqrt()) as f32 })
}

/// `sqrt.approx{.ftz}.f32`.
#[must_use]
#[inline(always)]
pub fn sqrt(x: f32, ftz: bool) -> f32 {
    with_ftz(x, ftz, f32::sqrt)
}

/// `sin.approx{.ftz}.f32`. Devices are this good only for moderate arguments.
#[must_use]
#[inline]
pub fn sin(x: f32, ftz: bool) -> f32 {
    with_ftz(x, ftz, |x| f64::from(x).sin() as f32)
}

/// `cos.approx{.ftz}.f32`. Devices are this good only for moderate arguments.
#[must_use]
#[inline]
pub fn cos(x: f32, ftz: bool) -> f32 {
    with_ftz(x, ftz, |x| f64::from(x).cos() as f32)
}

/// `tanh.approx.f32`.
#[must_use]
#[inline]
pub fn tanh(x: f32) -> f32 {
    with_ftz(x, false, |x| f64::from(x).tanh() as f32)
}

/// `div.approx{.ftz}.f32`: for divisors beyond 2^126 the reciprocal underflows and the result is `a` times zero.
#[must_use]
#[inline(always)]
pub fn div(a: f32, b: f32, ftz: bool) -> f32 {
    const LARGEST_DIVISOR: f32 = f32::from_bits((127 + 126) << 23);
    let a = if ftz { flush(a) } else { a };
    with_ftz(b, ftz, |b| if b.abs() > LARGEST_DIVISOR { a * 0.0_f32.copysign(b) } else { a / b })
}

/// `div.full{.ftz}.f32`.
#[must_use]
#[inline(always)]
pub fn div_full(a: f32, b: f32, ftz: bool) -> f32 {
    let a = if ftz { flush(a) } else { a };
    with_ftz(b, ftz, |b| a / b)
}

/// `ex2.approx.f16` and `ex2.approx.ftz.bf16`.
#[must_use]
#[inline(always)]
pub fn ex2_half(x: u16, format: Format) -> u16 {
    let ftz = format == BF16;
    let flush = |code: u64| if ftz { format.flush(code) } else { code };
    let x = widen(flush(u64::from(x)) as u32, format);
    flush(nearest_from_f64(exp2(f64::from(x)), format, Overflow::Ieee)) as u16
}

/// `tanh.approx.{f16,bf16}`.
#[must_use]
#[inline]
pub fn tanh_half(x: u16, format: Format) -> u16 {
    nearest_from_f64(f64::from(widen(u32::from(x), format)).tanh(), format, Overflow::Ieee) as u16
}

/// `rcp.approx.ftz.f64`: of the upper words only.
#[must_use]
#[inline]
pub fn rcp_f64(x: f64) -> f64 {
    upper_word(x, |x| 1.0 / x)
}

/// `rsqrt.approx.ftz.f64`: of the upper words only.
#[must_use]
#[inline]
pub fn rsqrt_ftz_f64(x: f64) -> f64 {
    upper_word(x, |x| if x == 0.0 { 1.0 / x } else { 1.0 / x.sqrt() })
}

/// `rsqrt.approx.f64`.
#[must_use]
#[inline]
pub fn rsqrt_f64(x: f64) -> f64 {
    let result = if x == 0.0 { 1.0 / x } else { 1.0 / x.sqrt() };
    match (x.is_nan(), result.is_nan()) {
        (true, _) => float64::quiet(x),
        (false, true) => float64::NAN,
        (false, false) => result,
    }
}

/// Reads the upper word of the argument and gives an upper word, rounded to nearest, subnormal numbers flushed.
fn upper_word(x: f64, function: impl Fn(f64) -> f64) -> f64 {
    const UPPER: u64 = 0xffff_ffff << 32;
    let result = function(f64::from_bits(F64.flush(x.to_bits() & UPPER)));
    if result.is_nan() {
        return f64::from_bits(0x7fff_ffff << 32);
    }
    let bits = result.to_bits();
    f64::from_bits(F64.flush((bits + 0x7fff_ffff + (bits >> 32 & 1)) & UPPER))
}

/// 2^x to about 2^-51, for every f64 whose result matters to binary32: beyond that range it saturates to a number that
/// rounds to zero or infinity. Exact for integers.
#[inline(always)]
fn exp2(x: f64) -> f64 {
    /// ln(2)^k / k!
    const COEFFICIENTS: [f64; 14] = {
        let mut coefficients = [1.0; 14];
        let mut k = 1;
        while k < 14 {
            coefficients[k] = coefficients[k - 1] * LN_2 / k as f64;
            k += 1;
        }
        coefficients
    };
    // Adding and subtracting this rounds to an integer, and leaves the integer in the low bits of the sum.
    const ROUND: f64 = 1.5 * power_of_two(52);
    let clamped = if x > 300.0 { 300.0 } else { x };
    let clamped = if clamped < -300.0 { -300.0 } else { clamped };
    let shifted = clamped + ROUND;
    let fraction = clamped - (shifted - ROUND);
    let mantissa = COEFFICIENTS.iter().rev().fold(0.0, |sum, coefficient| sum * fraction + coefficient);
    let integer = shifted.to_bits().wrapping_sub(ROUND.to_bits());
    // The integer is added to the exponent field.
    let result = f64::from_bits(mantissa.to_bits().wrapping_add(integer << 52));
    if x.is_nan() { x } else { result }
}

/// log2(x) to about 2^-51 of itself, for every binary32 number.
#[inline(always)]
fn log2(x: f64) -> f64 {
    const SQRT_HALF: u64 = std::f64::consts::FRAC_1_SQRT_2.to_bits();
    // x = 2^exponent * mantissa, with the mantissa from sqrt(1/2) to sqrt(2), and
    // ln(mantissa) = 2 atanh(t) = 2 (t + t^3/3 + t^5/5 + ...).
    let bits = x.to_bits();
    let exponent = (bits.wrapping_sub(SQRT_HALF) as i64) >> 52;
    let mantissa = f64::from_bits(bits.wrapping_sub((exponent as u64) << 52));
    let t = (mantissa - 1.0) / (mantissa + 1.0);
    let square = t * t;
    let series = (0..12).rev().fold(0.0, |sum, k| sum * square + 1.0 / f64::from(2 * k + 1));
    let result = exponent as i32 as f64 + 2.0 * LOG2_E * t * series;
    let result = if x == f64::INFINITY { x } else { result };
    let result = if x == 0.0 { f64::NEG_INFINITY } else { result };
    if x < 0.0 || x.is_nan() { f64::from(NAN) } else { result }
}

/// A function whose error PTX bounds; those of binary64 give upper words and have no such bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Function {
    /// `ex2.approx.f32`
    Ex2,
    /// `lg2.approx.f32`
    Lg2,
    /// `rcp.approx.f32`
    Rcp,
    /// `rsqrt.approx.f32`
    Rsqrt,
    /// `sqrt.approx.f32`
    Sqrt,
    /// `div.approx.f32`
    Div,
    /// `div.full.f32`
    DivFull,
    /// `sin.approx.f32`
    Sin,
    /// `cos.approx.f32`
    Cos,
    /// `tanh.approx.f32`
    Tanh,
    /// `ex2.approx.f16`
    Ex2F16,
    /// `ex2.approx.ftz.bf16`
    Ex2Bf16,
    /// `tanh.approx.f16`
    TanhF16,
    /// `tanh.approx.bf16`
    TanhBf16,
}

/// The largest error of a function (PTX ISA 9.7.3, 9.7.4).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ErrorBound {
    /// Units in the last place of the result.
    Units(f64),
    /// A fraction of the result.
    Relative(f64),
    /// A distance.
    Absolute(f64),
    /// A distance for results between -1 and 1, the same fraction of all others.
    AbsoluteOrRelative(f64),
}

impl Function {
    /// The bound of its error.
    #[must_use]
    pub fn bound(self) -> ErrorBound {
        match self {
            Self::Ex2 | Self::Div | Self::DivFull => ErrorBound::Units(2.0),
            Self::Rcp => ErrorBound::Units(1.0),
            Self::Lg2 => ErrorBound::AbsoluteOrRelative((-22.0_f64).exp2()),
            Self::Rsqrt => ErrorBound::Relative((-22.9_f64).exp2()),
            Self::Sqrt => ErrorBound::Relative((-23.0_f64).exp2()),
            Self::Sin | Self::Cos => ErrorBound::Absolute((-20.5_f64).exp2()),
            Self::Tanh => ErrorBound::Relative((-11.0_f64).exp2()),
            Self::Ex2F16 => ErrorBound::Relative((-9.9_f64).exp2()),
            Self::Ex2Bf16 => ErrorBound::Relative((-7.0_f64).exp2()),
            Self::TanhF16 => ErrorBound::Absolute((-10.987_f64).exp2()),
            Self::TanhBf16 => ErrorBound::Absolute((-8.0_f64).exp2()),
        }
    }

    /// The format of its results.
    #[must_use]
    pub const fn format(self) -> Format {
        match self {
            Self::Ex2F16 | Self::TanhF16 => F16,
            Self::Ex2Bf16 | Self::TanhBf16 => BF16,
            _ => F32,
        }
    }

    /// The range that results never leave.
    const fn range(self) -> (f64, f64) {
        match self {
            Self::Sin | Self::Cos | Self::Tanh | Self::TanhF16 | Self::TanhBf16 => (-1.0, 1.0),
            _ => (f64::NEG_INFINITY, f64::INFINITY),
        }
    }

    /// The result before rounding, to about 2^-50.
    fn unrounded(self, [a, b]: [f64; 2]) -> f64 {
        match self {
            Self::Ex2 | Self::Ex2F16 | Self::Ex2Bf16 => exp2(a),
            Self::Lg2 => log2(a),
            Self::Rcp => 1.0 / a,
            Self::Rsqrt => 1.0 / a.sqrt(),
            Self::Sqrt => a.sqrt(),
            Self::Div | Self::DivFull => a / b,
            Self::Sin => a.sin(),
            Self::Cos => a.cos(),
            Self::Tanh | Self::TanhF16 | Self::TanhBf16 => a.tanh(),
        }
    }
}

/// Moves a result within the bound of the function's error: where, is drawn from the seed and the operands, codes of the
/// function's format, so that the same operands always give the same result. Zeros, infinities and NaN stay.
#[must_use]
pub fn perturb(function: Function, result: u64, seed: u64, operands: [u64; 2]) -> u64 {
    let format = function.format();
    let x = format.decode(result);
    if !x.is_finite() || x == 0.0 {
        return result;
    }
    let exact = function.unrounded(operands.map(|code| format.decode(code)));
    let bound = match function.bound() {
        ErrorBound::Units(units) => units * unit_of(exact, format),
        ErrorBound::Relative(fraction) => fraction * exact.abs(),
        ErrorBound::Absolute(distance) => distance,
        ErrorBound::AbsoluteOrRelative(distance) => distance * exact.abs().max(1.0),
    };
    let hash =
        [seed, function as u64, operands[0], operands[1]].into_iter().fold(0, |hash, word| mix(hash ^ word));
    let direction = (hash >> 11) as f64 * power_of_two(-52) - 1.0;
    let (least, most) = function.range();
    let target = (exact + direction * bound).clamp(least, most);
    let inward = if target > exact { Rounding::Down } else { Rounding::Up };
    let moved = format.encode(target, inward, Overflow::Saturate);
    // Where no code lies between, rounding inward goes past the exact value, perhaps too far; and results do not move
    // into the subnormal numbers, which `.ftz` would not leave.
    let beyond = (format.decode(moved) - exact).abs() > bound;
    if beyond || format.flush(moved) != moved { result } else { moved }
}

/// The distance of neighbouring numbers of the format around a finite number.
fn unit_of(x: f64, format: Format) -> f64 {
    let exponent = (x.to_bits() >> 52 & 0x7ff) as i32 - 1023;
    power_of_two((exponent - format.mantissa_bits as i32).max(format.smallest_unit_exponent()))
}

/// A bijection of 64-bit words that leaves no bit of the argument recognisable.
const fn mix(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ word >> 31
}

#[cfg(test)]
mod tests;
