//! Binary floating-point formats of 4 to 64 bits: their layout, decoding, and the fast rounding to nearest.

use super::Rounding;
use super::exact::{Exact, Overflow};

/// What the largest exponent field means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Specials {
    /// Infinities and NaNs, as IEEE 754.
    Ieee,
    /// One NaN, the code of all ones; every other code is finite.
    NanOnly,
    /// Every code is finite.
    None,
}

/// A format: one sign bit, then the exponent field, then the mantissa.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// Width of the exponent field.
    pub exponent_bits: u32,
    /// Width of the stored mantissa, without the hidden bit.
    pub mantissa_bits: u32,
    /// What is subtracted from the exponent field.
    pub bias: i32,
    /// What the largest exponent field means.
    pub specials: Specials,
    /// What a NaN becomes: the canonical NaN, or the largest finite number where there is none.
    pub nan: u64,
}

/// IEEE binary64. The NaN is what an invalid operation gives.
pub const F64: Format =
    Format { exponent_bits: 11, mantissa_bits: 52, bias: 1023, specials: Specials::Ieee, nan: 0xfff8 << 48 };
/// IEEE binary32.
pub const F32: Format =
    Format { exponent_bits: 8, mantissa_bits: 23, bias: 127, specials: Specials::Ieee, nan: 0x7fff_ffff };
/// TensorFloat-32, the upper 19 bits of a binary32 register.
pub const TF32: Format =
    Format { exponent_bits: 8, mantissa_bits: 10, bias: 127, specials: Specials::Ieee, nan: 0x3ffff };
/// IEEE binary16.
pub const F16: Format =
    Format { exponent_bits: 5, mantissa_bits: 10, bias: 15, specials: Specials::Ieee, nan: 0x7fff };
/// bfloat16, the upper half of binary32.
pub const BF16: Format =
    Format { exponent_bits: 8, mantissa_bits: 7, bias: 127, specials: Specials::Ieee, nan: 0x7fff };
/// FP8 with 4 exponent bits: no infinity, largest 448.
pub const E4M3: Format =
    Format { exponent_bits: 4, mantissa_bits: 3, bias: 7, specials: Specials::NanOnly, nan: 0x7f };
/// FP8 with 5 exponent bits, largest 57344.
pub const E5M2: Format =
    Format { exponent_bits: 5, mantissa_bits: 2, bias: 15, specials: Specials::Ieee, nan: 0x7f };
/// FP6 with 3 exponent bits, largest 28.
pub const E3M2: Format =
    Format { exponent_bits: 3, mantissa_bits: 2, bias: 3, specials: Specials::None, nan: 0x1f };
/// FP6 with 2 exponent bits, largest 7.5.
pub const E2M3: Format =
    Format { exponent_bits: 2, mantissa_bits: 3, bias: 1, specials: Specials::None, nan: 0x1f };
/// FP4, largest 6.
pub const E2M1: Format =
    Format { exponent_bits: 2, mantissa_bits: 1, bias: 1, specials: Specials::None, nan: 0x7 };

impl Format {
    /// Bits of a code.
    #[must_use]
    #[inline(always)]
    pub const fn width(self) -> u32 {
        1 + self.exponent_bits + self.mantissa_bits
    }

    /// Every bit of a code below the sign.
    #[must_use]
    #[inline(always)]
    pub const fn magnitude_mask(self) -> u64 {
        (1 << (self.width() - 1)) - 1
    }

    /// The sign bit in place.
    #[must_use]
    #[inline(always)]
    pub const fn sign(self, negative: bool) -> u64 {
        (negative as u64) << (self.width() - 1)
    }

    /// The code of the largest finite number.
    #[must_use]
    #[inline(always)]
    pub const fn largest(self) -> u64 {
        match self.specials {
            Specials::Ieee => (((1 << self.exponent_bits) - 1) << self.mantissa_bits) - 1,
            Specials::NanOnly => self.magnitude_mask() - 1,
            Specials::None => self.magnitude_mask(),
        }
    }

    /// The code of infinity, if there is one.
    #[must_use]
    #[inline(always)]
    pub const fn infinity(self) -> Option<u64> {
        match self.specials {
            Specials::Ieee => Some(self.largest() + 1),
            Specials::NanOnly | Specials::None => None,
        }
    }

    /// The code of the smallest normal number.
    #[must_use]
    #[inline(always)]
    pub const fn smallest_normal(self) -> u64 {
        1 << self.mantissa_bits
    }

    /// Power of two of the smallest subnormal number.
    #[must_use]
    #[inline(always)]
    pub const fn smallest_unit_exponent(self) -> i32 {
        1 - self.bias - self.mantissa_bits as i32
    }

    /// Whether a code is a NaN.
    #[must_use]
    #[inline(always)]
    pub const fn is_nan(self, code: u64) -> bool {
        let magnitude = code & self.magnitude_mask();
        match self.specials {
            Specials::Ieee => magnitude > self.largest() + 1,
            Specials::NanOnly => magnitude > self.largest(),
            Specials::None => false,
        }
    }

    /// The code with a subnormal replaced by zero of the same sign.
    #[must_use]
    #[inline(always)]
    pub const fn flush(self, code: u64) -> u64 {
        if code & self.magnitude_mask() < self.smallest_normal() { code & self.sign(true) } else { code }
    }

    /// The value of a code, exactly; [`f64::NAN`] for every NaN.
    #[must_use]
    pub fn decode(self, code: u64) -> f64 {
        if self == F64 {
            return f64::from_bits(code);
        }
        let magnitude = code & self.magnitude_mask();
        let field = (magnitude >> self.mantissa_bits) as i32;
        let mantissa = magnitude & ((1 << self.mantissa_bits) - 1);
        let value = if self.is_nan(code) {
            return f64::NAN;
        } else if Some(magnitude) == self.infinity() {
            f64::INFINITY
        } else if field == 0 {
            mantissa as f64 * power_of_two(self.smallest_unit_exponent())
        } else {
            (mantissa | 1 << self.mantissa_bits) as f64
                * power_of_two(self.smallest_unit_exponent() + field - 1)
        };
        if code & self.sign(true) == 0 { value } else { -value }
    }

    /// Rounds a number to the format, NaN to [`nan`](Self::nan).
    #[must_use]
    pub fn encode(self, value: f64, rounding: Rounding, overflow: Overflow) -> u64 {
        if value.is_nan() {
            return self.nan;
        }
        if value.is_infinite() {
            let magnitude = match self.infinity() {
                Some(infinity) if overflow == Overflow::Ieee => infinity,
                _ => self.largest(),
            };
            return self.sign(value < 0.0) | magnitude;
        }
        Exact::from_f64(value).encode(self, rounding, overflow)
    }
}

/// 2^`exponent`, for the exponents of normal binary64 numbers.
#[must_use]
#[inline(always)]
pub const fn power_of_two(exponent: i32) -> f64 {
    f64::from_bits(((exponent + 1023) as u64) << 52)
}

macro_rules! nearest {
    ($(#[$doc:meta])* $name:ident, $float:ty, $bits:ty, $mantissa:literal, $bias:literal) => {
        $(#[$doc])*
        ///
        /// Branch-free where the format is a constant. The format is narrower than the operand.
        #[must_use]
        #[inline(always)]
        pub fn $name(value: $float, format: Format, overflow: Overflow) -> $bits {
            const INFINITY: $bits = <$float>::INFINITY.to_bits();
            let bits = value.to_bits();
            let sign = bits >> (<$bits>::BITS - 1) << (format.width() - 1);
            let magnitude = bits & (<$bits>::MAX >> 1);
            let shift = $mantissa - format.mantissa_bits;
            let rounded = magnitude + ((1 << (shift - 1)) - 1) + (magnitude >> shift & 1);
            let rebias = (($bias - format.bias) as $bits) << format.mantissa_bits;
            let normal = (rounded >> shift).wrapping_sub(rebias);
            // A number whose unit is the format's smallest: the hardware rounds the sum to that unit.
            let unit = format.smallest_unit_exponent() + $mantissa + $bias;
            let anchor = <$float>::from_bits((unit as $bits) << $mantissa);
            let subnormal = (<$float>::from_bits(magnitude) + anchor).to_bits().wrapping_sub(anchor.to_bits());
            let smallest_normal = (($bias + 1 - format.bias) as $bits) << $mantissa;
            let code = if magnitude < smallest_normal { subnormal } else { normal };
            let limit = match (format.infinity(), overflow) {
                (Some(infinity), Overflow::Ieee) => infinity,
                _ => format.largest(),
            };
            let code = if code > format.largest() as $bits { limit as $bits } else { code };
            if magnitude > INFINITY { format.nan as $bits } else { sign | code }
        }
    };
}

nearest! {
    /// Rounds a binary32 number to the nearest of a narrower format, ties to even; NaN to [`Format::nan`].
    nearest_from_f32, f32, u32, 23, 127
}
nearest! {
    /// Rounds a binary64 number to the nearest of a narrower format, ties to even; NaN to [`Format::nan`].
    nearest_from_f64, f64, u64, 52, 1023
}

/// The value of a code of a format of at most 19 bits, exactly, with every NaN [`super::float32::NAN`].
///
/// Branch-free where the format is a constant.
#[must_use]
#[inline(always)]
pub fn widen(code: u32, format: Format) -> f32 {
    let magnitude = code & format.magnitude_mask() as u32;
    let sign = (code & format.sign(true) as u32) << (32 - format.width());
    let shifted = magnitude << (23 - format.mantissa_bits);
    let finite = if format.bias == F32.bias {
        f32::from_bits(shifted)
    } else if magnitude < format.smallest_normal() as u32 {
        magnitude as f32 * power_of_two(format.smallest_unit_exponent()) as f32
    } else {
        f32::from_bits(shifted + (((F32.bias - format.bias) as u32) << 23))
    };
    let largest = format.largest() as u32;
    let special = match format.specials {
        Specials::Ieee if magnitude == largest + 1 => f32::INFINITY,
        _ => f32::from_bits(F32.nan as u32),
    };
    let value = if magnitude > largest { special } else { finite };
    let sign = if value.is_nan() { 0 } else { sign };
    f32::from_bits(value.to_bits() | sign)
}

/// The value of a `ue8m0` code, a power of two; NaN for 0xff.
#[must_use]
#[inline]
pub fn decode_ue8m0(code: u8) -> f64 {
    if code == 0xff { f64::NAN } else { power_of_two(i32::from(code) - 127) }
}

/// Rounds a magnitude to a power of two, down (`.rz`) or up (`.rp`): the sign is dropped, zero gives the smallest
/// code, infinity 0xff or under `.satfinite` the largest finite code, NaN 0xff.
#[must_use]
#[inline]
pub fn encode_ue8m0(value: f32, up: bool, overflow: Overflow) -> u8 {
    if value.is_nan() {
        return 0xff;
    }
    let bits = value.to_bits() & 0x7fff_ffff;
    // Below the normal numbers there is one power of two left, 2^-127.
    let smallest = 0x0040_0000;
    let (field, above) =
        if bits < 0x0080_0000 { (0, bits > smallest) } else { (bits >> 23, bits & 0x7f_ffff != 0) };
    let code = field + u32::from(up && above);
    if code >= 0xff && overflow == Overflow::Saturate { 0xfe } else { code as u8 }
}

#[cfg(test)]
mod tests;
