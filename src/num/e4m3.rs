//! The 8-bit float with 4 exponent and 3 mantissa bits, one value at a time and in bulk.
//!
//! This is the `e4m3fn` variant: it has no infinities, and the two codes `0x7f` and `0xff` are its
//! only NaNs, which leaves ±448 as the largest values.

use super::round_magnitude;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// An 8-bit float: 1 sign bit, 4 exponent bits with bias 7, 3 mantissa bits.
///
/// The format is E4M3 of the OCP 8-bit Floating Point Specification 1.0, `float8_e4m3fn` in
/// PyTorch and safetensors and `e4m3` in PTX. Equality and hashing are of the code, so a NaN equals
/// itself and the two zeros differ.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, Immutable, IntoBytes)]
pub struct E4m3(u8);

code_type!(E4m3);

impl E4m3 {
    /// Positive zero.
    pub const ZERO: Self = Self(0x00);
    /// The smallest positive value, 2^-9, which is subnormal.
    pub const MIN_POSITIVE_SUBNORMAL: Self = Self(0x01);
    /// The largest value, 448.
    pub const MAX: Self = Self(0x7e);
    /// The NaN that encoding produces; `0xff` is the only other one.
    pub const NAN: Self = Self(0x7f);

    /// Rounds an f32 to the nearest value, ties to the even code, saturating to ±448.
    ///
    /// Infinities saturate too, zeros keep their sign, and every NaN gives [`E4m3::NAN`]: the
    /// conversion that PTX calls `cvt.rn.satfinite.e4m3x2.f32`.
    #[inline]
    pub const fn from_f32(x: f32) -> Self {
        if x.is_nan() {
            return Self::NAN;
        }
        let sign = (x.to_bits() >> 24) as u8 & 0x80;
        Self(sign | round_magnitude::<3, 7>(x.abs().min(Self::MAX.to_f32())))
    }

    /// The exact value as an f32; NaN gives [`f32::NAN`].
    #[inline]
    pub const fn to_f32(self) -> f32 {
        // With the code's exponent field in place of an f32's, the f32 is too small by the
        // difference of the biases, 2^(127 - 7). Multiplying by that is exact, and it also turns
        // the f32 subnormals that E4M3 subnormals land on into the right values.
        const BIAS_CORRECTION: f32 = f32::from_bits((127 + 120) << 23);

        let sign = (self.0 as u32 & 0x80) << 24;
        let magnitude = self.0 as u32 & 0x7f;
        if magnitude == Self::NAN.0 as u32 {
            f32::NAN
        } else {
            f32::from_bits(sign | magnitude << 20) * BIAS_CORRECTION
        }
    }

    /// Decodes E4M3 codes into f32, each as [`E4m3::to_f32`] does.
    ///
    /// # Panics
    ///
    /// When the two slices differ in length.
    // The first target that the processor supports is the one used, so the widest comes first.
    #[multiversion::multiversion(targets("x86_64+avx512f+avx512bw", "x86_64+avx2"))]
    pub fn decode_slice(codes: &[u8], out: &mut [f32]) {
        assert_eq!(codes.len(), out.len(), "one output per code");
        for (value, &code) in out.iter_mut().zip(codes) {
            *value = E4m3(code).to_f32();
        }
    }

    /// Encodes f32 values as E4M3 codes, each as [`E4m3::from_f32`] does.
    ///
    /// # Panics
    ///
    /// When the two slices differ in length.
    #[multiversion::multiversion(targets("x86_64+avx512f+avx512bw", "x86_64+avx2"))]
    pub fn encode_slice(values: &[f32], out: &mut [u8]) {
        assert_eq!(values.len(), out.len(), "one code per value");
        for (code, &value) in out.iter_mut().zip(values) {
            *code = E4m3::from_f32(value).0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_decodes_to_its_formula() {
        for code in 0..=u8::MAX {
            let decoded = E4m3::from_bits(code).to_f32();
            if code & 0x7f == 0x7f {
                assert!(decoded.is_nan(), "{code:#x}");
                continue;
            }
            let exponent = i32::from(code >> 3 & 0xf);
            let fraction = f64::from(code & 7) / 8.0;
            let magnitude = match exponent {
                0 => fraction * 2f64.powi(-6),
                _ => (1.0 + fraction) * 2f64.powi(exponent - 7),
            };
            assert_eq!(f64::from(decoded), magnitude.copysign(f64::from(decoded)), "{code:#x}");
            assert_eq!(decoded.is_sign_negative(), code >= 0x80, "{code:#x}");
        }
    }

    #[test]
    fn constants_and_display() {
        assert_eq!(E4m3::ZERO, E4m3::default());
        assert_eq!(f32::from(E4m3::MAX), 448.0);
        assert_eq!(f32::from(E4m3::MIN_POSITIVE_SUBNORMAL), 2f32.powi(-9));
        assert!(f32::from(E4m3::NAN).is_nan());
        assert_eq!(E4m3::from_f32(-1.5).to_string(), "-1.5");
        assert_eq!(format!("{:.2}", E4m3::MAX), "448.00");
        assert_eq!(E4m3::NAN.to_string(), "NaN");
    }

    /// Inputs whose count is no multiple of any vector width, to cover the remainder loops too.
    fn awkward_values() -> Vec<f32> {
        let neighbours = |x: f32| [x.next_down(), x, x.next_up(), -x];
        let midpoints = (0..0x7eu8)
            .map(|code| (E4m3::from_bits(code).to_f32() + E4m3::from_bits(code + 1).to_f32()) / 2.0);
        let extremes = [0.0, 448.0, 464.0, f32::MAX, f32::INFINITY, f32::NAN, 1e-40];
        midpoints.chain(extremes).flat_map(neighbours).chain([0.3]).collect()
    }

    #[test]
    fn bulk_decode_equals_scalar() {
        let codes: Vec<u8> = (0..=u8::MAX).chain(0..=u8::MAX).collect();
        for start in 0..67 {
            let codes = &codes[start..start + 256 + start];
            let mut decoded = vec![0.0; codes.len()];
            E4m3::decode_slice(codes, &mut decoded);
            for (&code, value) in codes.iter().zip(&decoded) {
                let expected = E4m3::from_bits(code).to_f32();
                assert_eq!(value.to_bits(), expected.to_bits(), "{code:#x}");
            }
        }
    }

    #[test]
    fn bulk_encode_equals_scalar() {
        let decoded = (0..=u8::MAX).map(|code| E4m3::from_bits(code).to_f32());
        let values: Vec<f32> = decoded.chain(awkward_values()).collect();
        for start in 0..67 {
            let values = &values[start..];
            let mut codes = vec![0; values.len()];
            E4m3::encode_slice(values, &mut codes);
            for (&value, &code) in values.iter().zip(&codes) {
                assert_eq!(code, E4m3::from_f32(value).to_bits(), "{value:e}");
            }
        }
    }

    #[test]
    #[should_panic(expected = "one output per code")]
    fn bulk_decode_rejects_unequal_lengths() {
        E4m3::decode_slice(&[0; 3], &mut [0.0; 2]);
    }

    #[test]
    #[should_panic(expected = "one code per value")]
    fn bulk_encode_rejects_unequal_lengths() {
        E4m3::encode_slice(&[0.0; 3], &mut [0; 2]);
    }
}
