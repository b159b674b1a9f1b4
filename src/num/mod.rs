//! The number formats of a DeepSeek-style checkpoint, with exact decoding and one rounding rule.
//!
//! Decoding to f32 is exact for every code of every format. Encoding from f32 rounds once, to the
//! nearest value with ties to the even code, and saturates: nothing finite or infinite ever becomes
//! an infinity or a NaN.
//!
//! | type | layout | role |
//! |---|---|---|
//! | [`bf16`] | 1 sign, 8 exponent, 7 mantissa bits | activations and unquantised weights |
//! | [`struct@f16`] | 1 sign, 5 exponent, 10 mantissa bits | IEEE 754 binary16 |
//! | [`E4m3`] | 1 sign, 4 exponent, 3 mantissa bits | quantised weights and activations |
//! | [`E5m2`] | 1 sign, 5 exponent, 2 mantissa bits | values that need range over precision |
//! | [`Ue8m0`] | 8 exponent bits | power-of-two block scales |

/// What a type that wraps an 8-bit code has beside its conversions.
macro_rules! code_type {
    ($name:ident) => {
        impl $name {
            /// The value whose code is `bits`; every byte is a code.
            #[inline]
            pub const fn from_bits(bits: u8) -> Self {
                Self(bits)
            }

            /// The code of this value.
            #[inline]
            pub const fn to_bits(self) -> u8 {
                self.0
            }
        }

        impl From<$name> for f32 {
            fn from(x: $name) -> Self {
                x.to_f32()
            }
        }

        impl std::fmt::Display for $name {
            /// Writes the value as the equal f32 would be written.
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.to_f32().fmt(formatter)
            }
        }
    };
}

mod e4m3;
mod e5m2;
mod ue8m0;

pub use e4m3::E4m3;
pub use e5m2::E5m2;
pub use half::{bf16, f16};
pub use ue8m0::Ue8m0;

/// Rounds an f32 to the nearest bf16, ties to even, and returns that bf16 as an f32.
///
/// Magnitudes that round past the largest finite bf16 become infinite, as in IEEE 754; NaN stays
/// NaN.
#[inline]
pub fn round_to_bf16(x: f32) -> f32 {
    bf16::from_f32(x).to_f32()
}

/// Rounds a magnitude to the nearest code of an 8-bit format, ties to the even code.
///
/// The format has `MANTISSA_BITS` below an exponent field of the given `BIAS`, and subnormals
/// where that field is 0. `magnitude` must be non-negative and at most the format's largest finite
/// value, so that the answer fits in the 7 bits below the sign.
#[inline]
const fn round_magnitude<const MANTISSA_BITS: u32, const BIAS: u32>(magnitude: f32) -> u8 {
    const F32_MANTISSA_BITS: u32 = f32::MANTISSA_DIGITS - 1;
    const F32_BIAS: u32 = 127;

    let bits = magnitude.to_bits();
    let smallest_normal = (F32_BIAS + 1 - BIAS) << F32_MANTISSA_BITS;
    let code = if bits < smallest_normal {
        // One unit in the last place of the offset is one subnormal step, so the addition itself
        // rounds to a whole number of steps and leaves that number in the low bits.
        let offset = (F32_BIAS + 1 - BIAS - MANTISSA_BITS + F32_MANTISSA_BITS) << F32_MANTISSA_BITS;
        (magnitude + f32::from_bits(offset)).to_bits() - offset
    } else {
        // Adding just under half of the kept last place, or exactly half when that place is odd,
        // carries into the kept bits precisely when the nearest even code is the one above.
        let dropped = F32_MANTISSA_BITS - MANTISSA_BITS;
        let odd = (bits >> dropped) & 1;
        let rounded = (bits + (1 << (dropped - 1)) - 1 + odd) >> dropped;
        rounded - ((F32_BIAS - BIAS) << MANTISSA_BITS)
    };
    code as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SIGN: u8 = 0x80;

    /// One 8-bit float format under test.
    struct Format {
        name: &'static str,
        encode: fn(f32) -> u8,
        decode: fn(u8) -> f32,
        /// Code of the largest finite value; the finite magnitudes are the codes up to it.
        largest: u8,
    }

    const FORMATS: [Format; 2] = [
        Format {
            name: "e4m3",
            encode: |x| E4m3::from_f32(x).to_bits(),
            decode: |code| E4m3::from_bits(code).to_f32(),
            largest: 0x7e,
        },
        Format {
            name: "e5m2",
            encode: |x| E5m2::from_f32(x).to_bits(),
            decode: |code| E5m2::from_bits(code).to_f32(),
            largest: 0x7b,
        },
    ];

    #[test]
    fn every_code_round_trips() {
        for format in &FORMATS {
            for code in 0..=u8::MAX {
                let magnitude = code & !SIGN;
                let value = (format.decode)(code);
                let expected =
                    if value.is_nan() { 0x7f } else { code & SIGN | magnitude.min(format.largest) };
                assert_eq!((format.encode)(value), expected, "{} {code:#x}", format.name);
            }
        }
    }

    #[test]
    fn neighbours_split_at_their_midpoint() {
        for format in &FORMATS {
            for (below, sign) in (0..format.largest).flat_map(|code| [(code, 0), (code, SIGN)]) {
                let above = below + 1;
                let low = (format.decode)(below);
                let high = (format.decode)(above);
                let middle = (low + high) / 2.0;
                assert_eq!(
                    f64::from(middle),
                    (f64::from(low) + f64::from(high)) / 2.0,
                    "the midpoint is an f32"
                );
                let even = below + (below & 1);
                let cases = [(middle.next_down(), below), (middle, even), (middle.next_up(), above)];
                for (magnitude, expected) in cases {
                    let x = if sign == 0 { magnitude } else { -magnitude };
                    assert_eq!((format.encode)(x), sign | expected, "{} {x:e}", format.name);
                }
            }
        }
    }

    #[test]
    fn magnitudes_past_the_largest_saturate() {
        for format in &FORMATS {
            let largest = (format.decode)(format.largest);
            for x in [largest.next_up(), largest * 1.5, largest * 4.0, f32::MAX, f32::INFINITY] {
                assert_eq!((format.encode)(x), format.largest, "{} {x:e}", format.name);
                assert_eq!((format.encode)(-x), SIGN | format.largest, "{} -{x:e}", format.name);
            }
        }
    }

    #[test]
    fn every_nan_becomes_the_canonical_nan() {
        for format in &FORMATS {
            for payload in [1, 0x1234, 0x3f_ffff, 0x40_0000, 0x7f_ffff] {
                for sign in [0, 1 << 31] {
                    let nan = f32::from_bits(sign | 0x7f80_0000 | payload);
                    assert_eq!((format.encode)(nan), 0x7f, "{} {payload:#x}", format.name);
                }
            }
        }
    }

    #[test]
    fn f32_subnormals_become_signed_zero() {
        for format in &FORMATS {
            for bits in [0, 1, 2, 0x40_0000, 0x7f_ffff, 0x80_0000] {
                let x = f32::from_bits(bits);
                assert_eq!((format.encode)(x), 0, "{} {x:e}", format.name);
                assert_eq!((format.encode)(-x), SIGN, "{} -{x:e}", format.name);
            }
        }
    }

    /// Every f32 that is not NaN, weighted towards the range of the 8-bit formats.
    fn any_number() -> impl Strategy<Value = f32> {
        prop_oneof![
            any::<u32>().prop_map(f32::from_bits).prop_filter("a number", |x| !x.is_nan()),
            -70_000.0f32..70_000.0,
            -500.0f32..500.0,
            -0.02f32..0.02,
            -1e-4f32..1e-4,
        ]
    }

    proptest! {
        #[test]
        fn encoding_is_nearest_by_brute_force(x in any_number()) {
            for format in &FORMATS {
                // Past the largest value every f64 distance is the same, so compare from there.
                let magnitude = f64::from(x.abs().min((format.decode)(format.largest)));
                let distance = |code: u8| (f64::from((format.decode)(code)) - magnitude).abs();
                // An odd code is worse than an even one at the same distance.
                let nearest = (0..=format.largest)
                    .min_by(|&a, &b| {
                        distance(a).total_cmp(&distance(b)).then((a & 1).cmp(&(b & 1)))
                    })
                    .expect("the range is not empty");
                let sign = if x.is_sign_negative() { SIGN } else { 0 };
                prop_assert_eq!((format.encode)(x), sign | nearest, "{} {:e}", format.name, x);
            }
        }

        #[test]
        fn bf16_rounding_is_nearest_even(bits in any::<u32>()) {
            let x = f32::from_bits(bits);
            let rounded = round_to_bf16(x);
            if x.is_nan() {
                prop_assert!(rounded.is_nan());
            } else {
                let low = bits >> 16;
                let up = match (bits & 0xffff).cmp(&0x8000) {
                    std::cmp::Ordering::Less => 0,
                    std::cmp::Ordering::Equal => low & 1,
                    std::cmp::Ordering::Greater => 1,
                };
                prop_assert_eq!(rounded.to_bits(), (low + up) << 16);
            }
        }
    }

    #[test]
    fn bf16_ties_and_specials() {
        assert_eq!(round_to_bf16(1.0 + 1.0 / 256.0), 1.0);
        assert_eq!(round_to_bf16(1.0 + 3.0 / 256.0), 1.0 + 4.0 / 256.0);
        assert_eq!(round_to_bf16(f32::MAX), f32::INFINITY);
        assert_eq!(round_to_bf16(-0.0).to_bits(), (-0.0f32).to_bits());
        assert!(round_to_bf16(f32::from_bits(0x7f80_0001)).is_nan());
    }
}
