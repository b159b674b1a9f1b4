//! Conversion of one value: `cvt` between integers and floating-point numbers (PTX ISA 9.7.9.21).

use super::exact::{Exact, Overflow};
use super::float32;
use super::format::{BF16, F16, F32, F64, Format, TF32, nearest_from_f32};
use super::{IntegerRounding, Rounding, float64};

/// An integer type of 2 to 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IntegerType {
    /// Width.
    pub bits: u32,
    /// Whether it is two's complement.
    pub signed: bool,
}

impl IntegerType {
    /// An unsigned type.
    #[must_use]
    pub const fn unsigned(bits: u32) -> Self {
        Self { bits, signed: false }
    }

    /// A two's complement type.
    #[must_use]
    pub const fn signed(bits: u32) -> Self {
        Self { bits, signed: true }
    }

    /// The low bits of a register as a number of this type, extended to 64 bits.
    #[must_use]
    #[inline(always)]
    pub const fn extend(self, raw: u64) -> u64 {
        let unused = 64 - self.bits;
        if self.signed { ((raw << unused) as i64 >> unused) as u64 } else { raw << unused >> unused }
    }

    /// The number that a register holds.
    #[must_use]
    #[inline(always)]
    pub const fn value(self, raw: u64) -> i128 {
        let extended = self.extend(raw);
        if self.signed { extended as i64 as i128 } else { extended as i128 }
    }

    const fn smallest(self) -> i128 {
        if self.signed { -(1 << (self.bits - 1)) } else { 0 }
    }

    const fn largest(self) -> i128 {
        (1 << (self.bits - self.signed as u32)) - 1
    }

    /// The nearest number of this type, extended to 64 bits.
    #[must_use]
    pub fn saturate(self, value: i128) -> u64 {
        value.clamp(self.smallest(), self.largest()) as u64
    }
}

/// Modifiers of a conversion to floating point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Conversion {
    /// `.rn` and so on; irrelevant where the conversion is exact.
    pub rounding: Rounding,
    /// `.ftz`: a subnormal binary32 input or result becomes zero of the same sign.
    pub ftz: bool,
    /// `.sat`: the result is clamped to [0, 1], NaN becomes +0.
    pub sat: bool,
    /// `.relu`: a negative result, -0 included, becomes +0; NaN becomes the canonical NaN.
    pub relu: bool,
    /// `.satfinite`: a magnitude beyond the largest finite number becomes that; NaN stays.
    pub satfinite: bool,
}

impl Conversion {
    #[inline(always)]
    pub(super) const fn overflow(self) -> Overflow {
        if self.satfinite { Overflow::Saturate } else { Overflow::Ieee }
    }
}

/// `cvt{.sat}` from integer to integer. Takes a register, returns the result extended to 64 bits.
#[must_use]
#[inline(always)]
pub fn integer_to_integer(raw: u64, from: IntegerType, to: IntegerType, sat: bool) -> u64 {
    if sat { to.saturate(from.value(raw)) } else { to.extend(from.extend(raw)) }
}

/// `cvt{.rnd}{.sat}` from integer to floating point. Takes a register, returns a code of `to`.
#[must_use]
#[inline(always)]
pub fn integer_to_float(raw: u64, from: IntegerType, to: Format, conversion: Conversion) -> u64 {
    let code = match (conversion.rounding, from.signed, to) {
        (Rounding::Nearest, true, F32) => u64::from((from.extend(raw) as i64 as f32).to_bits()),
        (Rounding::Nearest, false, F32) => u64::from((from.extend(raw) as f32).to_bits()),
        (Rounding::Nearest, true, F64) => (from.extend(raw) as i64 as f64).to_bits(),
        (Rounding::Nearest, false, F64) => (from.extend(raw) as f64).to_bits(),
        _ => Exact::from_integer(from.value(raw)).encode(to, conversion.rounding, conversion.overflow()),
    };
    if conversion.sat { saturate_code(code, to) } else { code }
}

/// `cvt.{rni,rzi,rmi,rpi}` from floating point to integer, clamped to the type; the result is extended to 64 bits.
///
/// Every narrower format is exact in binary64. NaN gives 0, or for a source that `is_f64` and for 64-bit results the
/// number with only the highest bit set.
#[must_use]
#[inline(always)]
pub fn float_to_integer(x: f64, is_f64: bool, rounding: IntegerRounding, to: IntegerType) -> u64 {
    if x.is_nan() {
        return if is_f64 || to.bits == 64 { to.extend(1 << (to.bits - 1)) } else { 0 };
    }
    let integer = match rounding {
        IntegerRounding::Nearest => x.round_ties_even(),
        IntegerRounding::Zero => x.trunc(),
        IntegerRounding::Down => x.floor(),
        IntegerRounding::Up => x.ceil(),
    };
    if to.signed {
        let limit = i64::MAX >> (64 - to.bits);
        (integer as i64).clamp(!limit, limit) as u64
    } else {
        (integer as u64).min(u64::MAX >> (64 - to.bits))
    }
}

/// `cvt.{rni,rzi,rmi,rpi}{.ftz}.s32.f32`, vectorisable.
#[must_use]
#[inline(always)]
pub fn f32_to_s32(x: f32, rounding: IntegerRounding, ftz: bool) -> i32 {
    float32::round_to_integer(x, rounding, ftz, false) as i32
}

/// `cvt.{rni,rzi,rmi,rpi}{.ftz}.u32.f32`, vectorisable.
#[must_use]
#[inline(always)]
pub fn f32_to_u32(x: f32, rounding: IntegerRounding, ftz: bool) -> u32 {
    float32::round_to_integer(x, rounding, ftz, false) as u32
}

/// `cvt` between two of binary16, bfloat16, binary32 and binary64, as codes.
#[must_use]
#[inline]
pub fn float_to_float(code: u64, from: Format, to: Format, conversion: Conversion) -> u64 {
    let code = if conversion.ftz && from == F32 { F32.flush(code) } else { code };
    if from.is_nan(code) {
        return if conversion.sat { 0 } else { nan_to_nan(code, from, to, conversion) };
    }
    let converted = if from == to {
        code
    } else {
        let x = from.decode(code);
        if conversion.ftz && to == F32 && x.is_finite() {
            Exact::from_f64(x).encode_flushed(to, conversion.rounding, conversion.overflow())
        } else {
            to.encode(x, conversion.rounding, conversion.overflow())
        }
    };
    let negative = converted & to.sign(true) != 0;
    if conversion.relu && negative {
        0
    } else if conversion.sat {
        saturate_code(converted, to)
    } else {
        converted
    }
}

/// binary64 sources and destinations pass a NaN on, made quiet; so does bfloat16 to binary32, which only shifts, and
/// binary32 to itself, which only copies. Everything else, and `.ftz`, gives the canonical NaN.
fn nan_to_nan(code: u64, from: Format, to: Format, conversion: Conversion) -> u64 {
    let copies = (from == F32 || from == BF16) && to == F32;
    if copies && !conversion.ftz {
        return code << (to.mantissa_bits - from.mantissa_bits);
    }
    let code = if conversion.ftz && from == F32 { F32.nan } else { code };
    if from != F64 && to != F64 {
        return to.nan;
    }
    let payload = code & ((1 << from.mantissa_bits) - 1);
    let payload = if to.mantissa_bits >= from.mantissa_bits {
        payload << (to.mantissa_bits - from.mantissa_bits)
    } else {
        payload >> (from.mantissa_bits - to.mantissa_bits)
    };
    let exponent = ((1 << to.exponent_bits) - 1) << to.mantissa_bits;
    to.sign(code & from.sign(true) != 0) | exponent | 1 << (to.mantissa_bits - 1) | payload
}

/// `.sat` on a code: clamped to [0, 1], NaN and -0 become +0.
fn saturate_code(code: u64, format: Format) -> u64 {
    let one = (format.bias as u64) << format.mantissa_bits;
    if format.is_nan(code) || code & format.sign(true) != 0 { 0 } else { code.min(one) }
}

/// `cvt.{rn,rz}{.relu}{.satfinite}.{f16,bf16}.f32`; vectorisable to nearest. NaN gives 0x7fff.
#[must_use]
#[inline(always)]
pub fn f32_to_half(x: f32, format: Format, conversion: Conversion) -> u16 {
    let x = if conversion.relu && x <= 0.0 { 0.0 } else { x };
    if conversion.rounding == Rounding::Nearest {
        nearest_from_f32(x, format, conversion.overflow()) as u16
    } else {
        format.encode(f64::from(x), conversion.rounding, conversion.overflow()) as u16
    }
}

/// `cvt.f32.f16`; vectorisable. NaN is canonical.
#[must_use]
#[inline(always)]
pub fn f16_to_f32(code: u16) -> f32 {
    super::format::widen(u32::from(code), F16)
}

/// `cvt.f32.bf16`; vectorisable. NaN keeps its payload.
#[must_use]
#[inline(always)]
pub fn bf16_to_f32(code: u16) -> f32 {
    f32::from_bits(u32::from(code) << 16)
}

/// `cvt{.ftz}.f64.f32`.
#[must_use]
#[inline(always)]
pub fn f32_to_f64(x: f32, ftz: bool) -> f64 {
    let x = if ftz { float32::canonical(float32::flush(x)) } else { x };
    if x.is_nan() {
        // By its bits: the compiler may replace one NaN by another.
        let bits = u64::from(x.to_bits());
        return float64::quiet(f64::from_bits(bits >> 31 << 63 | 0x7ff << 52 | (bits & 0x007f_ffff) << 29));
    }
    f64::from(x)
}

/// `cvt.{rna,rn,rz}{.relu}{.satfinite}.tf32.f32`: the binary32 number with the low 13 bits of its significand cleared.
///
/// As seen on devices, NaN gives 0x7fffe000 except under `.rna`, which rounds its bits like a number's, short of the
/// sign, and there `.satfinite` takes the result of all-ones exponent one unit down.
#[must_use]
#[inline]
pub fn f32_to_tf32(x: f32, conversion: Conversion) -> u32 {
    const DROPPED: u32 = F32.mantissa_bits - TF32.mantissa_bits;
    const UNIT: u32 = 1 << DROPPED;
    if conversion.rounding == Rounding::NearestAway && x.is_nan() {
        let magnitude = (((x.to_bits() & 0x7fff_ffff) + UNIT / 2) & !(UNIT - 1)).min(0x7fff_e000);
        let finite = if conversion.satfinite { magnitude - UNIT } else { magnitude };
        return x.to_bits() & 0x8000_0000 | finite;
    }
    let x = if conversion.relu && x <= 0.0 { 0.0 } else { x };
    (TF32.encode(f64::from(x), conversion.rounding, conversion.overflow()) as u32) << DROPPED
}

#[cfg(test)]
mod tests;
