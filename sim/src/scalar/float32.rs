//! binary32 arithmetic (PTX ISA 9.7.3).
//!
//! Every NaN that an operation gives is [`NAN`], whatever NaN went in. `.ftz` detects tininess after rounding: a result
//! is flushed if, rounded to 24 bits as if exponents had no lower limit, it is below the smallest normal number. That is
//! what the assembler's constant folding does for `mul.ftz`, and what devices were seen to do for `cvt.ftz.f32.f64`.

use super::exact::{Exact, Overflow};
use super::format::F32;
use super::{FloatMode, IntegerRounding, MinMaxMode, Rounding};

/// The canonical NaN.
pub const NAN: f32 = f32::from_bits(0x7fff_ffff);

/// The number itself, or [`NAN`].
#[must_use]
#[inline(always)]
pub fn canonical(x: f32) -> f32 {
    // Of the bits, because the compiler may replace one NaN by another when it sees floating-point operations only
    // (it drops `if x.is_nan() { NAN } else { x }` after a square root).
    let bits = x.to_bits();
    f32::from_bits(if bits & 0x7fff_ffff > 0x7f80_0000 { NAN.to_bits() } else { bits })
}

/// `.ftz`: a subnormal number becomes zero of the same sign.
#[must_use]
#[inline(always)]
pub fn flush(x: f32) -> f32 {
    let bits = x.to_bits();
    f32::from_bits(if bits & 0x7f80_0000 == 0 { bits & 0x8000_0000 } else { bits })
}

#[inline(always)]
fn flush_if(ftz: bool, x: f32) -> f32 {
    if ftz { flush(x) } else { x }
}

/// `.sat`: clamps to [0, 1]; NaN and -0 become +0.
#[must_use]
#[inline(always)]
pub fn saturate(x: f32) -> f32 {
    let positive = if x > 0.0 { x } else { 0.0 };
    if positive < 1.0 { positive } else { 1.0 }
}

/// `add{.rn}{.ftz}.f32`.
#[must_use]
#[inline(always)]
pub fn add<const FTZ: bool>(a: f32, b: f32) -> f32 {
    // A sum in the subnormal range is exact, so flushing the result is all there is to tininess.
    canonical(flush_if(FTZ, flush_if(FTZ, a) + flush_if(FTZ, b)))
}

/// `sub{.rn}{.ftz}.f32`.
#[must_use]
#[inline(always)]
pub fn sub<const FTZ: bool>(a: f32, b: f32) -> f32 {
    add::<FTZ>(a, -b)
}

/// Far above the subnormal numbers a result keeps all 24 bits: scaled by this, it shows whether it was tiny.
const SCALE: f32 = f32::from_bits((127 + 64) << 23);
const SCALED_SMALLEST_NORMAL: f32 = f32::MIN_POSITIVE * SCALE;

#[inline(always)]
fn flush_tiny(result: f32, scaled: f32) -> f32 {
    // Overflow of the scaled value, or a NaN in it, needs operands whose result is not tiny or is zero already.
    if scaled.abs() < SCALED_SMALLEST_NORMAL { 0.0_f32.copysign(result) } else { result }
}

/// `mul{.rn}{.ftz}.f32`.
#[must_use]
#[inline(always)]
pub fn mul<const FTZ: bool>(a: f32, b: f32) -> f32 {
    if !FTZ {
        return canonical(a * b);
    }
    let (a, b) = (flush(a), flush(b));
    canonical(flush_tiny(a * b, a * SCALE * b))
}

/// `fma.rn{.ftz}.f32`.
#[must_use]
#[inline(always)]
pub fn fma<const FTZ: bool>(a: f32, b: f32, c: f32) -> f32 {
    if !FTZ {
        return canonical(a.mul_add(b, c));
    }
    let (a, b, c) = (flush(a), flush(b), flush(c));
    canonical(flush_tiny(a.mul_add(b, c), (a * SCALE).mul_add(b, c * SCALE)))
}

/// The exact value of a finite number.
fn exact(x: f32) -> Exact {
    Exact::from_f64(f64::from(x))
}

/// Rounds an exact result as the modifiers say.
fn round(value: Exact, mode: FloatMode) -> f32 {
    let bits = if mode.ftz {
        value.encode_flushed(F32, mode.rounding, Overflow::Ieee)
    } else {
        value.encode(F32, mode.rounding, Overflow::Ieee)
    };
    f32::from_bits(bits as u32)
}

#[inline(always)]
fn finish(x: f32, mode: FloatMode) -> f32 {
    if mode.sat { saturate(x) } else { x }
}

/// `add{.rnd}{.ftz}{.sat}.f32`.
#[must_use]
#[inline]
pub fn add_with(a: f32, b: f32, mode: FloatMode) -> f32 {
    let result = match (mode.rounding, mode.ftz) {
        (Rounding::Nearest, false) => add::<false>(a, b),
        (Rounding::Nearest, true) => add::<true>(a, b),
        _ => {
            let (a, b) = (flush_if(mode.ftz, a), flush_if(mode.ftz, b));
            if a.is_finite() && b.is_finite() {
                round(exact(a).sum(exact(b), mode.rounding), mode)
            } else {
                canonical(a + b)
            }
        }
    };
    finish(result, mode)
}

/// `sub{.rnd}{.ftz}{.sat}.f32`.
#[must_use]
#[inline]
pub fn sub_with(a: f32, b: f32, mode: FloatMode) -> f32 {
    add_with(a, -b, mode)
}

/// `mul{.rnd}{.ftz}{.sat}.f32`.
#[must_use]
#[inline]
pub fn mul_with(a: f32, b: f32, mode: FloatMode) -> f32 {
    let result = match (mode.rounding, mode.ftz) {
        (Rounding::Nearest, false) => mul::<false>(a, b),
        (Rounding::Nearest, true) => mul::<true>(a, b),
        _ => {
            let (a, b) = (flush_if(mode.ftz, a), flush_if(mode.ftz, b));
            if a.is_finite() && b.is_finite() {
                round(exact(a).product(exact(b)), mode)
            } else {
                canonical(a * b)
            }
        }
    };
    finish(result, mode)
}

/// `fma.rnd{.ftz}{.sat}.f32`, also `mad.rnd.f32`.
#[must_use]
#[inline]
pub fn fma_with(a: f32, b: f32, c: f32, mode: FloatMode) -> f32 {
    let result = match (mode.rounding, mode.ftz) {
        (Rounding::Nearest, false) => fma::<false>(a, b, c),
        (Rounding::Nearest, true) => fma::<true>(a, b, c),
        _ => {
            let (a, b, c) = (flush_if(mode.ftz, a), flush_if(mode.ftz, b), flush_if(mode.ftz, c));
            if a.is_finite() && b.is_finite() && c.is_finite() {
                round(exact(a).product(exact(b)).sum(exact(c), mode.rounding), mode)
            } else {
                canonical(a.mul_add(b, c))
            }
        }
    };
    finish(result, mode)
}

/// `div.rnd{.ftz}.f32`.
#[must_use]
#[inline]
pub fn div_with(a: f32, b: f32, mode: FloatMode) -> f32 {
    let (a, b) = (flush_if(mode.ftz, a), flush_if(mode.ftz, b));
    let nearest = a / b;
    if !a.is_finite() || !b.is_finite() || b == 0.0 {
        return canonical(nearest);
    }
    // Far from the subnormal range, the quotient of the hardware is what rounding to nearest asks for.
    if mode.rounding == Rounding::Nearest && (!mode.ftz || nearest.abs() > f32::MIN_POSITIVE) {
        return nearest;
    }
    round(exact(a).quotient(exact(b)), mode)
}

/// `rcp.rnd{.ftz}.f32`.
#[must_use]
#[inline]
pub fn rcp_with(a: f32, mode: FloatMode) -> f32 {
    div_with(1.0, a, mode)
}

/// `sqrt.rnd{.ftz}.f32`.
#[must_use]
#[inline]
pub fn sqrt_with(a: f32, mode: FloatMode) -> f32 {
    let a = flush_if(mode.ftz, a);
    if mode.rounding == Rounding::Nearest || !a.is_finite() || a <= 0.0 {
        return canonical(a.sqrt());
    }
    round(exact(a).square_root(), mode)
}

/// A key that orders numbers as integers, -0 below +0.
#[inline(always)]
const fn order(x: f32) -> i32 {
    let bits = x.to_bits() as i32;
    bits ^ ((bits >> 31) as u32 >> 1) as i32
}

/// `min{.ftz}{.NaN}.f32`.
#[must_use]
#[inline(always)]
pub fn min<const FTZ: bool, const PROPAGATE: bool>(a: f32, b: f32) -> f32 {
    let (a, b) = (flush_if(FTZ, a), flush_if(FTZ, b));
    let less = if order(a) < order(b) { a } else { b };
    choose::<PROPAGATE>(less, a, b)
}

/// `max{.ftz}{.NaN}.f32`.
#[must_use]
#[inline(always)]
pub fn max<const FTZ: bool, const PROPAGATE: bool>(a: f32, b: f32) -> f32 {
    let (a, b) = (flush_if(FTZ, a), flush_if(FTZ, b));
    let greater = if order(a) > order(b) { a } else { b };
    choose::<PROPAGATE>(greater, a, b)
}

#[inline(always)]
fn choose<const PROPAGATE: bool>(ordered: f32, a: f32, b: f32) -> f32 {
    if PROPAGATE {
        return if a.is_nan() | b.is_nan() { NAN } else { ordered };
    }
    let without_a = if a.is_nan() { b } else { ordered };
    canonical(if b.is_nan() { a } else { without_a })
}

#[inline(always)]
fn min_max_with(
    a: f32,
    b: f32,
    mode: MinMaxMode,
    number: fn(f32, f32) -> f32,
    propagate: fn(f32, f32) -> f32,
) -> f32 {
    let (a, b) = (flush_if(mode.ftz, a), flush_if(mode.ftz, b));
    let sign = (a.to_bits() ^ b.to_bits()) & 0x8000_0000;
    let (a, b) = if mode.abs { (a.abs(), b.abs()) } else { (a, b) };
    let result = if mode.nan { propagate(a, b) } else { number(a, b) };
    if mode.xorsign && !result.is_nan() {
        return f32::from_bits(result.to_bits() & 0x7fff_ffff | sign);
    }
    result
}

/// `min{.ftz}{.NaN}{.xorsign.abs}.f32`.
#[must_use]
#[inline]
pub fn min_with(a: f32, b: f32, mode: MinMaxMode) -> f32 {
    min_max_with(a, b, mode, min::<false, false>, min::<false, true>)
}

/// `max{.ftz}{.NaN}{.xorsign.abs}.f32`.
#[must_use]
#[inline]
pub fn max_with(a: f32, b: f32, mode: MinMaxMode) -> f32 {
    min_max_with(a, b, mode, max::<false, false>, max::<false, true>)
}

/// `min{.ftz}{.NaN}{.abs}.f32` of three numbers.
#[must_use]
#[inline]
pub fn min3_with(a: f32, b: f32, c: f32, mode: MinMaxMode) -> f32 {
    min_with(min_with(a, b, mode), c, mode)
}

/// `max{.ftz}{.NaN}{.abs}.f32` of three numbers.
#[must_use]
#[inline]
pub fn max3_with(a: f32, b: f32, c: f32, mode: MinMaxMode) -> f32 {
    max_with(max_with(a, b, mode), c, mode)
}

/// `abs{.ftz}.f32`. The device adds a zero to do it, so NaN is canonical.
#[must_use]
#[inline(always)]
pub fn abs(a: f32, ftz: bool) -> f32 {
    canonical(flush_if(ftz, a).abs())
}

/// `neg{.ftz}.f32`. The device adds a zero to do it, so NaN is canonical.
#[must_use]
#[inline(always)]
pub fn neg(a: f32, ftz: bool) -> f32 {
    canonical(-flush_if(ftz, a))
}

/// `copysign.f32 d, a, b`: the sign of `a` on the magnitude of `b`.
#[must_use]
#[inline(always)]
pub fn copysign(a: f32, b: f32) -> f32 {
    b.copysign(a)
}

/// `cvt.{rni,rzi,rmi,rpi}{.ftz}{.sat}.f32.f32`.
#[must_use]
#[inline(always)]
pub fn round_to_integer(a: f32, rounding: IntegerRounding, ftz: bool, sat: bool) -> f32 {
    let a = flush_if(ftz, a);
    let integer = match rounding {
        IntegerRounding::Nearest => a.round_ties_even(),
        IntegerRounding::Zero => a.trunc(),
        IntegerRounding::Down => a.floor(),
        IntegerRounding::Up => a.ceil(),
    };
    if sat { saturate(integer) } else { canonical(integer) }
}

#[cfg(test)]
mod tests;
