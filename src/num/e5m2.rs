//! The 8-bit float with 5 exponent and 2 mantissa bits: a binary16 without its low byte.
//!
//! The format has infinities and NaNs like an IEEE 754 one. Decoding honours them; encoding
//! saturates instead, and so never produces an infinity.

use super::{f16, round_magnitude};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// An 8-bit float: 1 sign bit, 5 exponent bits with bias 15, 2 mantissa bits.
///
/// The format is E5M2 of the OCP 8-bit Floating Point Specification 1.0, `float8_e5m2` in PyTorch
/// and safetensors and `e5m2` in PTX. Equality and hashing are of the code, so a NaN equals itself
/// and the two zeros differ.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, Immutable, IntoBytes)]
pub struct E5m2(u8);

code_type!(E5m2);

impl E5m2 {
    /// Positive zero.
    pub const ZERO: Self = Self(0x00);
    /// The smallest positive value, 2^-16, which is subnormal.
    pub const MIN_POSITIVE_SUBNORMAL: Self = Self(0x01);
    /// The largest finite value, 57344.
    pub const MAX: Self = Self(0x7b);
    /// Positive infinity.
    pub const INFINITY: Self = Self(0x7c);
    /// The NaN that encoding produces; `0x7d`, `0x7e` and their negatives are NaN as well.
    pub const NAN: Self = Self(0x7f);

    /// Rounds an f32 to the nearest finite value, ties to the even code, saturating to ±57344.
    ///
    /// Infinities saturate too, zeros keep their sign, and every NaN gives [`E5m2::NAN`]: the
    /// conversion that PTX calls `cvt.rn.satfinite.e5m2x2.f32`.
    #[inline]
    pub const fn from_f32(x: f32) -> Self {
        if x.is_nan() {
            return Self::NAN;
        }
        let sign = (x.to_bits() >> 24) as u8 & 0x80;
        Self(sign | round_magnitude::<2, 15>(x.abs().min(Self::MAX.to_f32())))
    }

    /// The exact value as an f32; infinities stay infinite and NaNs stay NaN.
    #[inline]
    pub const fn to_f32(self) -> f32 {
        f16::from_bits((self.0 as u16) << 8).to_f32_const()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_decodes_to_its_formula() {
        for code in 0..=u8::MAX {
            let decoded = E5m2::from_bits(code).to_f32();
            let exponent = i32::from(code >> 2 & 0x1f);
            let mantissa = code & 3;
            let fraction = f64::from(mantissa) / 4.0;
            let magnitude = match (exponent, mantissa) {
                (31, 0) => f64::INFINITY,
                (31, _) => {
                    assert!(decoded.is_nan(), "{code:#x}");
                    continue;
                }
                (0, _) => fraction * 2f64.powi(-14),
                _ => (1.0 + fraction) * 2f64.powi(exponent - 15),
            };
            assert_eq!(f64::from(decoded), magnitude.copysign(f64::from(decoded)), "{code:#x}");
            assert_eq!(decoded.is_sign_negative(), code >= 0x80, "{code:#x}");
        }
    }

    #[test]
    fn constants_and_display() {
        assert_eq!(E5m2::ZERO, E5m2::default());
        assert_eq!(f32::from(E5m2::MAX), 57_344.0);
        assert_eq!(f32::from(E5m2::MIN_POSITIVE_SUBNORMAL), 2f32.powi(-16));
        assert_eq!(f32::from(E5m2::INFINITY), f32::INFINITY);
        assert!(f32::from(E5m2::NAN).is_nan());
        assert_eq!(E5m2::from_f32(-1.25).to_string(), "-1.25");
        assert_eq!(E5m2::INFINITY.to_string(), "inf");
    }
}
