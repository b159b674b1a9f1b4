//! Element formats of matrix operands and their exact values.
//!
//! Every format here has at most 11 significant bits and the exponent range of f32, so decoding to f32 is exact.
//! 64-bit floats and single bits never become f32 and have their own kernels: [`double`](super::double),
//! [`integer`](super::integer).

use multiversion::multiversion;

/// The element format of a multiplicand of a matrix instruction (PTX ISA 5.2.3, 9.7.14.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// IEEE half precision: 5 exponent bits, 10 fraction bits.
    F16,
    /// bfloat16: the upper half of an f32.
    Bf16,
    /// The upper 19 bits of an f32; the hardware ignores the lower 13.
    Tf32,
    /// 8 bits, 4 of exponent (bias 7), no infinity, NaN is all ones.
    E4m3,
    /// 8 bits, 5 of exponent (bias 15), with infinities.
    E5m2,
    /// 6 bits, 3 of exponent (bias 3), finite only.
    E3m2,
    /// 6 bits, 2 of exponent (bias 1), finite only.
    E2m3,
    /// 4 bits, 2 of exponent (bias 1), finite only.
    E2m1,
    /// Signed byte.
    S8,
    /// Unsigned byte.
    U8,
    /// Signed 4-bit integer.
    S4,
    /// Unsigned 4-bit integer.
    U4,
}

impl Format {
    /// Width of one packed element in bits.
    pub const fn bits(self) -> u32 {
        match self {
            Format::Tf32 => 32,
            Format::F16 | Format::Bf16 => 16,
            Format::E4m3 | Format::E5m2 | Format::S8 | Format::U8 => 8,
            Format::E3m2 | Format::E2m3 => 6,
            Format::E2m1 | Format::S4 | Format::U4 => 4,
        }
    }

    /// Exponent of the smallest normal number. A subnormal keeps it, with a significand below 1, when tensor cores
    /// align terms. Integers are exact everywhere and are given the widest range.
    pub const fn minimum_exponent(self) -> i16 {
        match self {
            Format::F16 | Format::E5m2 => -14,
            Format::E4m3 => -6,
            Format::E3m2 => -2,
            Format::E2m3 | Format::E2m1 => 0,
            Format::Bf16 | Format::Tf32 | Format::S8 | Format::U8 | Format::S4 | Format::U4 => -126,
        }
    }

    /// Whether elements are integers, which accumulate in s32.
    pub const fn is_integer(self) -> bool {
        matches!(self, Format::S8 | Format::U8 | Format::S4 | Format::U4)
    }

    /// The value of the element in the low [`bits`](Self::bits) of `raw`; higher bits are ignored.
    #[inline(always)]
    pub fn decode(self, raw: u32) -> f32 {
        match self {
            Format::F16 => f16(raw),
            Format::Bf16 => bf16(raw),
            Format::Tf32 => tf32(raw),
            Format::E4m3 => e4m3(raw),
            Format::E5m2 => e5m2(raw),
            Format::E3m2 => finite::<3, 2>(raw),
            Format::E2m3 => finite::<2, 3>(raw),
            Format::E2m1 => finite::<2, 1>(raw),
            Format::S8 => s8(raw),
            Format::U8 => u8(raw),
            Format::S4 => (((raw << 28) as i32) >> 28) as f32,
            Format::U4 => (raw & 15) as f32,
        }
    }
}

/// Decodes a row of packed little-endian elements. Formats narrower than a byte lie one to a byte.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl+avx512dq+fma", "x86_64+avx2+fma"))]
pub(super) fn decode_row(format: Format, raw: &[u8], values: &mut [f32]) {
    match format {
        Format::F16 => halves(raw, values, f16),
        Format::Bf16 => halves(raw, values, bf16),
        Format::Tf32 => {
            for (value, raw) in values.iter_mut().zip(raw.as_chunks::<4>().0) {
                *value = tf32(u32::from_le_bytes(*raw));
            }
        }
        Format::E4m3 => bytes(raw, values, e4m3),
        Format::E5m2 => bytes(raw, values, e5m2),
        Format::S8 => bytes(raw, values, s8),
        Format::U8 => bytes(raw, values, u8),
        Format::E3m2 | Format::E2m3 | Format::E2m1 | Format::S4 | Format::U4 => {
            bytes(raw, values, |raw| format.decode(raw));
        }
    }
}

#[inline(always)]
fn bytes(raw: &[u8], values: &mut [f32], decode: impl Fn(u32) -> f32) {
    for (value, &raw) in values.iter_mut().zip(raw) {
        *value = decode(u32::from(raw));
    }
}

#[inline(always)]
fn halves(raw: &[u8], values: &mut [f32], decode: impl Fn(u32) -> f32) {
    for (value, raw) in values.iter_mut().zip(raw.as_chunks::<2>().0) {
        *value = decode(u32::from(u16::from_le_bytes(*raw)));
    }
}

/// `2^exponent` for a normal f32 exponent.
#[inline(always)]
const fn power_of_two(exponent: i32) -> f32 {
    f32::from_bits(((127 + exponent) as u32) << 23)
}

/// A float whose `exponent` and fraction fields, sign removed, stand at the f32 positions in `magnitude`. Multiplying
/// by a power of two moves the bias and is exact for subnormals too.
#[inline(always)]
fn rebias(magnitude: u32, bias: i32, sign: u32) -> f32 {
    f32::from_bits((f32::from_bits(magnitude) * power_of_two(127 - bias)).to_bits() | sign)
}

#[inline(always)]
fn f16(raw: u32) -> f32 {
    let (magnitude, sign) = ((raw & 0x7fff) << 13, (raw & 0x8000) << 16);
    let special = f32::from_bits(0x7f80_0000 | magnitude | sign);
    if raw & 0x7c00 == 0x7c00 { special } else { rebias(magnitude, 15, sign) }
}

#[inline(always)]
fn bf16(raw: u32) -> f32 {
    f32::from_bits(raw << 16)
}

#[inline(always)]
fn tf32(raw: u32) -> f32 {
    f32::from_bits(raw & !0x1fff)
}

#[inline(always)]
fn e4m3(raw: u32) -> f32 {
    let value = rebias((raw & 0x7f) << 20, 7, (raw & 0x80) << 24);
    if raw & 0x7f == 0x7f { f32::from_bits(0x7fff_ffff) } else { value }
}

#[inline(always)]
fn e5m2(raw: u32) -> f32 {
    f16((raw & 0xff) << 8)
}

/// A float without infinities or NaN, of `E` exponent and `M` fraction bits and the usual bias.
#[inline(always)]
fn finite<const E: u32, const M: u32>(raw: u32) -> f32 {
    let magnitude = (raw & ((1 << (E + M)) - 1)) << (23 - M);
    rebias(magnitude, (1 << (E - 1)) - 1, (raw >> (E + M) & 1) << 31)
}

#[inline(always)]
fn s8(raw: u32) -> f32 {
    f32::from(raw as i8)
}

#[inline(always)]
fn u8(raw: u32) -> f32 {
    f32::from(raw as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The textbook value of a float with the given fields.
    fn textbook(raw: u32, exponent_bits: u32, fraction_bits: u32) -> f64 {
        let bias = (1 << (exponent_bits - 1)) - 1;
        let sign = if raw >> (exponent_bits + fraction_bits) & 1 == 1 { -1.0 } else { 1.0 };
        let exponent = (raw >> fraction_bits & ((1 << exponent_bits) - 1)) as i32;
        let fraction = f64::from(raw & ((1 << fraction_bits) - 1)) / f64::from(1 << fraction_bits);
        let significand = if exponent == 0 { fraction } else { 1.0 + fraction };
        sign * significand * f64::powi(2.0, exponent.max(1) - bias)
    }

    fn check(format: Format, raw: u32, expected: f64) {
        let value = format.decode(raw);
        let same = value.to_bits() == (expected as f32).to_bits() || (value.is_nan() && expected.is_nan());
        assert!(
            same && (expected.is_nan() || f64::from(value) == expected),
            "{format:?} {raw:#x}: {value} {expected}"
        );
    }

    #[test]
    fn every_code_has_its_value() {
        for raw in 0..=0xffff {
            let special = if raw & 0x3ff == 0 { f64::INFINITY } else { f64::NAN };
            let f16 = if raw & 0x7c00 == 0x7c00 { special } else { textbook(raw & 0x7fff, 5, 10) };
            check(Format::F16, raw, if raw & 0x8000 == 0 { f16 } else { -f16 });
            check(Format::Bf16, raw, f64::from(f32::from_bits(raw << 16)));
        }
        for raw in 0..=0xff {
            check(Format::E4m3, raw, if raw & 0x7f == 0x7f { f64::NAN } else { textbook(raw, 4, 3) });
            let special = if raw & 3 == 0 { f64::INFINITY } else { f64::NAN };
            let e5m2 = if raw & 0x7c == 0x7c { special } else { textbook(raw & 0x7f, 5, 2) };
            check(Format::E5m2, raw, if raw & 0x80 == 0 { e5m2 } else { -e5m2 });
            check(Format::S8, raw, f64::from(raw as i8));
            check(Format::U8, raw, f64::from(raw));
        }
        for raw in 0..64 {
            check(Format::E3m2, raw, textbook(raw, 3, 2));
            check(Format::E2m3, raw, textbook(raw, 2, 3));
        }
        for raw in 0..16 {
            check(Format::E2m1, raw, textbook(raw, 2, 1));
            check(Format::U4, raw, f64::from(raw));
            check(Format::S4, raw, f64::from(raw) - if raw >= 8 { 16.0 } else { 0.0 });
        }
        check(Format::Tf32, 0x3f80_1fff, 1.0);
        check(Format::Tf32, 0x3f80_2000, 1.0 + f64::powi(2.0, -10));
        check(Format::Tf32, 0x7f80_0001, f64::INFINITY);
    }

    #[test]
    fn known_values() {
        check(Format::E4m3, 0x7e, 448.0);
        check(Format::E4m3, 0x01, f64::powi(2.0, -9));
        check(Format::E5m2, 0x7b, 57344.0);
        check(Format::E3m2, 0x1f, 28.0);
        check(Format::E2m3, 0x1f, 7.5);
        check(Format::E2m1, 0x7, 6.0);
        check(Format::F16, 0x7bff, 65504.0);
        check(Format::F16, 0x8001, -f64::powi(2.0, -24));
    }

    #[test]
    fn a_row_decodes_like_its_elements() {
        let formats = [Format::F16, Format::Bf16, Format::Tf32, Format::E4m3, Format::E5m2, Format::E3m2];
        for format in
            formats.into_iter().chain([Format::E2m3, Format::E2m1, Format::S8, Format::U8, Format::S4])
        {
            let size = (format.bits() as usize).div_ceil(8);
            let raw: Vec<u8> = (0..size * 777).map(|i| (i * 151 + i / 256) as u8).collect();
            let mut values = vec![0.0; 777];
            decode_row(format, &raw, &mut values);
            for (value, raw) in values.iter().zip(raw.chunks(size)) {
                let word = raw.iter().rev().fold(0, |word, &byte| word << 8 | u32::from(byte));
                assert_eq!(value.to_bits(), format.decode(word).to_bits(), "{format:?} {word:#x}");
            }
        }
    }
}
