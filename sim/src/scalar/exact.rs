//! Real numbers before rounding: a sign, a 128-bit significand and an exponent, with one rounding to any format.
//!
//! Products, sums, quotients and square roots of binary64 operands are formed here without error that matters: a
//! result that does not fit keeps at least 70 leading bits, and its lowest bit is set when anything beyond it was cut
//! off ("jammed"). Rounding to 53 bits or fewer then sees on which side of a boundary the number lies.

use super::format::Format;
use super::{Discarded, Rounding};

/// A finite real number, (-1)^`negative` * `significand` * 2^`exponent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exact {
    /// The sign, also of zero.
    pub negative: bool,
    /// Power of two of the lowest bit.
    pub exponent: i32,
    /// The magnitude; its lowest bit may stand for everything that was cut off below it.
    pub significand: u128,
}

/// What happens to a magnitude beyond the largest finite one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// Infinity or the largest finite number, as IEEE 754 says for the rounding.
    Ieee,
    /// `.satfinite`: the largest finite number.
    Saturate,
}

/// The position of the highest bit of a normalised significand: one bit is left for the carry of a sum.
const TOP: u32 = 125;

impl Exact {
    /// The value of a finite binary64 number.
    #[must_use]
    pub const fn from_f64(x: f64) -> Self {
        let bits = x.to_bits();
        let field = (bits >> 52 & 0x7ff) as i32;
        let fraction = (bits & ((1 << 52) - 1)) as u128;
        let negative = bits >> 63 == 1;
        if field == 0 {
            Self { negative, exponent: -1074, significand: fraction }
        } else {
            Self { negative, exponent: field - 1075, significand: fraction | 1 << 52 }
        }
    }

    /// The value of an integer.
    #[must_use]
    pub const fn from_integer(value: i128) -> Self {
        Self { negative: value < 0, exponent: 0, significand: value.unsigned_abs() }
    }

    /// `self * other`, for significands of at most 64 bits.
    #[must_use]
    pub const fn product(self, other: Self) -> Self {
        Self {
            negative: self.negative != other.negative,
            exponent: self.exponent + other.exponent,
            significand: self.significand * other.significand,
        }
    }

    /// `self + other`, for significands of at most 124 bits. The rounding decides the sign of an exact zero.
    #[must_use]
    pub fn sum(self, other: Self, rounding: Rounding) -> Self {
        match (self.significand, other.significand) {
            (0, 0) => return Self { negative: Self::zero_sign(self, other, rounding), ..self },
            (0, _) => return other,
            (_, 0) => return self,
            _ => {}
        }
        let (a, b) = (self.normalised(), other.normalised());
        let (large, small) = if a.exponent >= b.exponent { (a, b) } else { (b, a) };
        let aligned = shift_right_jamming(small.significand, large.exponent.abs_diff(small.exponent));
        if a.negative == b.negative {
            return Self { significand: large.significand + aligned, ..large };
        }
        if large.significand == aligned {
            return Self { negative: Self::zero_sign(self, other, rounding), exponent: 0, significand: 0 };
        }
        Self {
            negative: if large.significand > aligned { large.negative } else { small.negative },
            exponent: large.exponent,
            significand: large.significand.abs_diff(aligned),
        }
    }

    fn zero_sign(a: Self, b: Self, rounding: Rounding) -> bool {
        if a.negative == b.negative { a.negative } else { rounding == Rounding::Down }
    }

    /// `self / other`, for significands of at most 56 bits and a divisor that is not zero.
    #[must_use]
    pub const fn quotient(self, other: Self) -> Self {
        let negative = self.negative != other.negative;
        if self.significand == 0 {
            return Self { negative, ..self };
        }
        let shift = self.significand.leading_zeros();
        let dividend = self.significand << shift;
        let quotient = dividend / other.significand;
        let jam = !dividend.is_multiple_of(other.significand) as u128;
        Self {
            negative,
            exponent: self.exponent - shift as i32 - other.exponent,
            significand: quotient | jam,
        }
    }

    /// The square root of a number that is not negative.
    #[must_use]
    pub const fn square_root(self) -> Self {
        if self.significand == 0 {
            return self;
        }
        let room = self.significand.leading_zeros() as i32;
        let shift = room - (self.exponent - room).rem_euclid(2);
        let radicand = self.significand << shift;
        let root = radicand.isqrt();
        let jam = (root * root != radicand) as u128;
        Self { negative: false, exponent: (self.exponent - shift) / 2, significand: root | jam }
    }

    /// The same number with its highest bit at [`TOP`]; not for zero.
    fn normalised(self) -> Self {
        let shift = self.significand.leading_zeros() as i32 - (127 - TOP as i32);
        let significand = if shift >= 0 {
            self.significand << shift
        } else {
            shift_right_jamming(self.significand, shift.unsigned_abs())
        };
        Self { exponent: self.exponent - shift, significand, ..self }
    }

    /// Rounds to the format and encodes.
    #[must_use]
    pub fn encode(self, format: Format, rounding: Rounding, overflow: Overflow) -> u64 {
        let sign = format.sign(self.negative);
        if self.significand == 0 {
            return sign;
        }
        let smallest_unit = format.smallest_unit_exponent();
        let unit = (self.top_exponent() - format.mantissa_bits as i32).max(smallest_unit);
        let kept = self.rounded_to_unit(unit, rounding);
        // Adding the exponent field to a significand with its hidden bit counts that bit into the field, so a
        // significand that rounding carried over, or a subnormal that became normal, needs no case of its own.
        let code = (u128::from((unit - smallest_unit).unsigned_abs()) << format.mantissa_bits) + kept;
        if code <= u128::from(format.largest()) {
            return sign | code as u64;
        }
        match format.infinity() {
            Some(infinity) if overflow == Overflow::Ieee && rounding.overflows_to_infinity(self.negative) => {
                sign | infinity
            }
            _ => sign | format.largest(),
        }
    }

    /// As [`encode`](Self::encode), but zero where the magnitude, rounded to the format's precision as if exponents
    /// had no lower limit, is below the smallest normal number: `.ftz` on results detects tininess after rounding.
    #[must_use]
    pub fn encode_flushed(self, format: Format, rounding: Rounding, overflow: Overflow) -> u64 {
        if self.is_tiny(format, rounding) {
            return format.sign(self.negative);
        }
        self.encode(format, rounding, overflow)
    }

    fn is_tiny(self, format: Format, rounding: Rounding) -> bool {
        if self.significand == 0 {
            return true;
        }
        let smallest_normal = format.smallest_unit_exponent() + format.mantissa_bits as i32;
        let unit = self.top_exponent() - format.mantissa_bits as i32;
        match smallest_normal - self.top_exponent() {
            ..=0 => false,
            1 => self.rounded_to_unit(unit, rounding) >> (format.mantissa_bits + 1) == 0,
            _ => true,
        }
    }

    /// Exponent of the highest bit; not for zero.
    const fn top_exponent(self) -> i32 {
        self.exponent + 127 - self.significand.leading_zeros() as i32
    }

    /// The magnitude in units of 2^`unit`, rounded to an integer. The unit is at least 2^-70 of the magnitude.
    fn rounded_to_unit(self, unit: i32, rounding: Rounding) -> u128 {
        let shift = unit - self.exponent;
        if shift <= 0 {
            return self.significand << shift.unsigned_abs();
        }
        let shift = shift.unsigned_abs();
        let kept = self.significand.checked_shr(shift).unwrap_or(0);
        let cut = if shift >= 128 { self.significand } else { self.significand & ((1 << shift) - 1) };
        if let Rounding::Stochastic { bits, random } = rounding {
            let bits = u32::from(bits);
            let fraction =
                if shift > bits { cut.checked_shr(shift - bits).unwrap_or(0) } else { cut << (bits - shift) };
            return kept + ((fraction + u128::from(random)) >> bits);
        }
        let discarded = match 1_u128.checked_shl(shift - 1) {
            _ if cut == 0 => Discarded::Nothing,
            None => Discarded::BelowHalf,
            Some(half) if cut < half => Discarded::BelowHalf,
            Some(half) if cut == half => Discarded::Half,
            Some(_) => Discarded::AboveHalf,
        };
        kept + u128::from(rounding.away_from_zero(self.negative, kept & 1 == 1, discarded))
    }
}

/// `value >> shift`, with the lowest bit set if any bit was shifted out.
fn shift_right_jamming(value: u128, shift: u32) -> u128 {
    match value.checked_shr(shift) {
        Some(kept) => kept | u128::from(kept << shift != value),
        None => u128::from(value != 0),
    }
}

#[cfg(test)]
mod tests;
