//! binary64 arithmetic (PTX ISA 9.7.3).
//!
//! NaN is not canonical here: a NaN operand is passed on with its payload, made quiet, the last operand's first, and an
//! invalid operation gives [`NAN`]. The PTX manual leaves the payload open; this is what devices were seen to do for
//! sums and what the instruction sequences for minimum and maximum amount to.

use super::exact::{Exact, Overflow};
use super::format::F64;
use super::{IntegerRounding, Rounding};

/// What an invalid operation gives.
pub const NAN: f64 = f64::from_bits(0xfff8 << 48);

/// The NaN that the operands give.
#[inline(always)]
fn nan_of<const N: usize>(operands: [f64; N]) -> f64 {
    operands.into_iter().rev().find(|x| x.is_nan()).map_or(NAN, quiet)
}

/// A NaN with its quiet bit set.
#[must_use]
#[inline(always)]
pub const fn quiet(nan: f64) -> f64 {
    f64::from_bits(nan.to_bits() | 1 << 51)
}

#[inline(always)]
fn with_nan<const N: usize>(result: f64, operands: [f64; N]) -> f64 {
    // Of the bits, because the compiler may replace one NaN by another when it sees floating-point operations only.
    let bits = result.to_bits();
    f64::from_bits(if bits & i64::MAX as u64 > 0x7ff0 << 48 { nan_of(operands).to_bits() } else { bits })
}

/// `.sat`: clamps to [0, 1]; NaN and -0 become +0.
#[must_use]
#[inline(always)]
pub fn saturate(x: f64) -> f64 {
    let positive = if x > 0.0 { x } else { 0.0 };
    if positive < 1.0 { positive } else { 1.0 }
}

fn round(value: Exact, rounding: Rounding) -> f64 {
    f64::from_bits(value.encode(F64, rounding, Overflow::Ieee))
}

/// `add{.rnd}.f64`.
#[must_use]
#[inline]
pub fn add(a: f64, b: f64, rounding: Rounding) -> f64 {
    if rounding == Rounding::Nearest || !a.is_finite() || !b.is_finite() {
        return with_nan(a + b, [a, b]);
    }
    round(Exact::from_f64(a).sum(Exact::from_f64(b), rounding), rounding)
}

/// `sub{.rnd}.f64`.
#[must_use]
#[inline]
pub fn sub(a: f64, b: f64, rounding: Rounding) -> f64 {
    if b.is_nan() { quiet(b) } else { add(a, -b, rounding) }
}

/// `mul{.rnd}.f64`.
#[must_use]
#[inline]
pub fn mul(a: f64, b: f64, rounding: Rounding) -> f64 {
    if rounding == Rounding::Nearest || !a.is_finite() || !b.is_finite() {
        return with_nan(a * b, [a, b]);
    }
    round(Exact::from_f64(a).product(Exact::from_f64(b)), rounding)
}

/// `fma.rnd.f64`, also `mad.rnd.f64`.
#[must_use]
#[inline]
pub fn fma(a: f64, b: f64, c: f64, rounding: Rounding) -> f64 {
    if rounding == Rounding::Nearest || !a.is_finite() || !b.is_finite() || !c.is_finite() {
        return with_nan(a.mul_add(b, c), [a, b, c]);
    }
    round(Exact::from_f64(a).product(Exact::from_f64(b)).sum(Exact::from_f64(c), rounding), rounding)
}

/// `div.rnd.f64`.
#[must_use]
#[inline]
pub fn div(a: f64, b: f64, rounding: Rounding) -> f64 {
    if rounding == Rounding::Nearest || !a.is_finite() || !b.is_finite() || b == 0.0 {
        return with_nan(a / b, [a, b]);
    }
    round(Exact::from_f64(a).quotient(Exact::from_f64(b)), rounding)
}

/// `rcp.rnd.f64`.
#[must_use]
#[inline]
pub fn rcp(a: f64, rounding: Rounding) -> f64 {
    div(1.0, a, rounding)
}

/// `sqrt.rnd.f64`.
#[must_use]
#[inline]
pub fn sqrt(a: f64, rounding: Rounding) -> f64 {
    if rounding == Rounding::Nearest || !a.is_finite() || a <= 0.0 {
        return with_nan(a.sqrt(), [a]);
    }
    round(Exact::from_f64(a).square_root(), rounding)
}

/// A key that orders numbers as integers, -0 below +0.
#[inline(always)]
const fn order(x: f64) -> i64 {
    let bits = x.to_bits() as i64;
    bits ^ ((bits >> 63) as u64 >> 1) as i64
}

#[inline(always)]
fn choose(ordered: f64, a: f64, b: f64) -> f64 {
    match (a.is_nan(), b.is_nan()) {
        (true, true) => quiet(b),
        (true, false) => b,
        (false, true) => a,
        (false, false) => ordered,
    }
}

/// `min.f64`: the number if one operand is NaN, -0 below +0.
#[must_use]
#[inline(always)]
pub fn min(a: f64, b: f64) -> f64 {
    choose(if order(a) < order(b) { a } else { b }, a, b)
}

/// `max.f64`: the number if one operand is NaN, -0 below +0.
#[must_use]
#[inline(always)]
pub fn max(a: f64, b: f64) -> f64 {
    choose(if order(a) > order(b) { a } else { b }, a, b)
}

/// `abs.f64`: clears the sign bit, of NaN too.
#[must_use]
#[inline(always)]
pub fn abs(a: f64) -> f64 {
    a.abs()
}

/// `neg.f64`: flips the sign bit, of NaN too.
#[must_use]
#[inline(always)]
pub fn neg(a: f64) -> f64 {
    -a
}

/// `copysign.f64 d, a, b`: the sign of `a` on the magnitude of `b`.
#[must_use]
#[inline(always)]
pub fn copysign(a: f64, b: f64) -> f64 {
    b.copysign(a)
}

/// `cvt.{rni,rzi,rmi,rpi}{.sat}.f64.f64`; NaN keeps its payload and is made quiet.
#[must_use]
#[inline(always)]
pub fn round_to_integer(a: f64, rounding: IntegerRounding, sat: bool) -> f64 {
    let integer = match rounding {
        IntegerRounding::Nearest => a.round_ties_even(),
        IntegerRounding::Zero => a.trunc(),
        IntegerRounding::Down => a.floor(),
        IntegerRounding::Up => a.ceil(),
    };
    if sat { saturate(integer) } else { with_nan(integer, [a]) }
}

#[cfg(test)]
mod tests;
