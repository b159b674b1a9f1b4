//! Conversions between packed values: pairs and fours of 16-, 8-, 6- and 4-bit numbers, and `cvt.pack`
//! (PTX ISA 9.7.9.21, 9.7.9.22).
//!
//! The first operand always goes to the highest field. An 8- or 6-bit number fills a byte, a 4-bit one half a byte.
//! Conversion to one of these formats saturates; NaN becomes the format's NaN, or its largest number where it has none.

use super::Rounding;
use super::convert::{Conversion, IntegerType, f32_to_half};
use super::exact::Overflow;
use super::format::{BF16, Format, decode_ue8m0, encode_ue8m0, nearest_from_f32, nearest_from_f64, widen};

/// `cvt.{rn,rz}{.relu}{.satfinite}.{f16x2,bf16x2}.f32 d, a, b`.
#[must_use]
#[inline(always)]
pub fn f32_pair_to_halves(a: f32, b: f32, format: Format, conversion: Conversion) -> u32 {
    u32::from(f32_to_half(a, format, conversion)) << 16 | u32::from(f32_to_half(b, format, conversion))
}

/// `cvt.rs{.relu}{.satfinite}.{f16x2,bf16x2}.f32 d, a, b, rbits`: the low bits of each half of `random` are for the
/// number that goes to that half, 13 for binary16 and 16 for bfloat16.
#[must_use]
#[inline]
pub fn f32_pair_to_halves_stochastic(
    a: f32,
    b: f32,
    random: u32,
    format: Format,
    conversion: Conversion,
) -> u32 {
    let bits = 23 - format.mantissa_bits;
    let convert = |x, random: u32| {
        let random = (random & ((1 << bits) - 1)) as u16;
        let rounding = Rounding::Stochastic { bits: bits as u8, random };
        u32::from(f32_to_half(x, format, Conversion { rounding, ..conversion }))
    };
    convert(a, random >> 16) << 16 | convert(b, random)
}

/// Bits that a number of the format takes in a register.
#[inline(always)]
const fn field(format: Format) -> u32 {
    if format.width() == 4 { 4 } else { 8 }
}

/// `cvt.rn.satfinite{.relu}` of one number.
#[inline(always)]
fn narrow(x: f32, format: Format, relu: bool) -> u32 {
    let x = if relu && x <= 0.0 { 0.0 } else { x };
    nearest_from_f32(x, format, Overflow::Saturate)
}

/// `cvt.rn.satfinite{.relu}.{e4m3x2,e5m2x2,e3m2x2,e2m3x2,e2m1x2}.f32 d, a, b`; vectorisable.
#[must_use]
#[inline(always)]
pub fn f32_pair_to_narrow(a: f32, b: f32, format: Format, relu: bool) -> u16 {
    (narrow(a, format, relu) << field(format) | narrow(b, format, relu)) as u16
}

/// `cvt.rn.satfinite{.relu}.{e4m3x2,e5m2x2,e3m2x2,e2m3x2,e2m1x2}.{f16x2,bf16x2} d, a`.
#[must_use]
#[inline(always)]
pub fn halves_to_narrow(a: u32, from: Format, to: Format, relu: bool) -> u16 {
    f32_pair_to_narrow(widen(a >> 16, from), widen(a & 0xffff, from), to, relu)
}

/// `cvt.rs{.relu}.satfinite.{e4m3x4,e5m2x4,e3m2x4,e2m3x4,e2m1x4}.f32 d, {a, b, e, f}, rbits`.
///
/// Two 16-bit values are taken from `random`, its halves, or for `e2m1x4` its odd and its even bytes; the upper is for
/// `a` and `b`, the lower for `e` and `f`. As seen on devices, the first of each two numbers reads the value bit-reversed.
#[must_use]
#[inline]
pub fn f32_four_to_narrow_stochastic(values: [f32; 4], random: u32, format: Format, relu: bool) -> u32 {
    let [byte0, byte1, byte2, byte3] = random.to_le_bytes();
    let (upper, lower) = if field(format) == 4 {
        (u16::from_le_bytes([byte1, byte3]), u16::from_le_bytes([byte0, byte2]))
    } else {
        (u16::from_le_bytes([byte2, byte3]), u16::from_le_bytes([byte0, byte1]))
    };
    let randoms = [upper.reverse_bits(), upper, lower.reverse_bits(), lower];
    values.into_iter().zip(randoms).fold(0, |packed, (x, random)| {
        let x = if relu && x <= 0.0 { 0.0 } else { x };
        let code = format.encode(f64::from(x), Rounding::Stochastic { bits: 16, random }, Overflow::Saturate);
        packed << field(format) | code as u32
    })
}

/// `cvt.rn{.relu}{.satfinite}{.scaled::n2::ue8m0}.{f16x2,bf16x2}` from two numbers of an 8-, 6- or 4-bit format; each is
/// multiplied by the power of two in its byte of `scale` before it is rounded. NaN gives 0x7fff.
#[must_use]
#[inline(always)]
pub fn narrow_to_halves(a: u16, from: Format, to: Format, conversion: Conversion, scale: Option<u16>) -> u32 {
    let mask = ((1_u32 << field(from)) - 1) & ((1 << from.width()) - 1);
    let [low, high] = [a, a >> field(from)].map(|code| widen(u32::from(code) & mask, from));
    let Some(scale) = scale else {
        return f32_pair_to_halves(high, low, to, conversion);
    };
    let convert = |x: f32, scale: u8| {
        let scaled = f64::from(x) * decode_ue8m0(scale);
        let scaled = if conversion.relu && scaled <= 0.0 { 0.0 } else { scaled };
        nearest_from_f64(scaled, to, conversion.overflow()) as u32
    };
    let [low_scale, high_scale] = scale.to_le_bytes();
    convert(high, high_scale) << 16 | convert(low, low_scale)
}

/// `cvt.{rz,rp}{.satfinite}.ue8m0x2.f32 d, a, b`; `up` is `.rp`.
#[must_use]
#[inline]
pub fn f32_pair_to_ue8m0(a: f32, b: f32, up: bool, satfinite: bool) -> u16 {
    let overflow = if satfinite { Overflow::Saturate } else { Overflow::Ieee };
    u16::from_be_bytes([encode_ue8m0(a, up, overflow), encode_ue8m0(b, up, overflow)])
}

/// `cvt.{rz,rp}{.satfinite}.ue8m0x2.bf16x2 d, a`; `up` is `.rp`.
#[must_use]
#[inline]
pub fn bf16_pair_to_ue8m0(a: u32, up: bool, satfinite: bool) -> u16 {
    f32_pair_to_ue8m0(widen(a >> 16, BF16), widen(a & 0xffff, BF16), up, satfinite)
}

/// `cvt.rn.bf16x2.ue8m0x2 d, a`.
#[must_use]
#[inline]
pub fn ue8m0_pair_to_bf16(a: u16) -> u32 {
    let convert = |code| nearest_from_f64(decode_ue8m0(code), BF16, Overflow::Ieee) as u32;
    let [high, low] = a.to_be_bytes();
    convert(high) << 16 | convert(low)
}

/// `cvt.rn.satfinite{.relu}{.scaled::n2::ue8m0}.s2f6x2` of two numbers, each divided by the power of two in its byte of
/// `scale`: two's complement bytes in units of 1/64, clamped; NaN gives the largest.
#[must_use]
#[inline]
pub fn f32_pair_to_s2f6(a: f32, b: f32, relu: bool, scale: Option<u16>) -> u16 {
    let convert = |x: f32, scale: Option<u8>| {
        let units = f64::from(x) / scale.map_or(1.0, decode_ue8m0) * 64.0;
        let units = if relu && units <= 0.0 { 0.0 } else { units };
        if units.is_nan() { i8::MAX } else { units.round_ties_even() as i8 }
    };
    let [low, high] = scale.map_or([None, None], |scale| scale.to_le_bytes().map(Some));
    u16::from_be_bytes([convert(a, high) as u8, convert(b, low) as u8])
}

/// `cvt.rn{.satfinite}{.relu}{.scaled::n2::ue8m0}.bf16x2.s2f6x2`: each multiplied by its power of two.
#[must_use]
#[inline]
pub fn s2f6_pair_to_bf16(a: u16, conversion: Conversion, scale: Option<u16>) -> u32 {
    let convert = |code: u8, scale: Option<u8>| {
        let x = f64::from(code as i8) / 64.0 * scale.map_or(1.0, decode_ue8m0);
        let x = if conversion.relu && x <= 0.0 { 0.0 } else { x };
        nearest_from_f64(x, BF16, conversion.overflow()) as u32
    };
    let [low, high] = scale.map_or([None, None], |scale| scale.to_le_bytes().map(Some));
    let [high_code, low_code] = a.to_be_bytes();
    convert(high_code, high) << 16 | convert(low_code, low)
}

/// `cvt.pack.sat.TYPE.s32{.b32} d, a, b{, c}`: both clamped to a type of 2 to 16 bits, `a` above `b`; `c` above them,
/// shifted out altogether where the type has 16 bits.
#[must_use]
#[inline]
pub fn pack_integers(a: i32, b: i32, c: u32, ty: IntegerType) -> u32 {
    let mask = (1_u32 << ty.bits) - 1;
    let element = |value: i32| ty.saturate(i128::from(value)) as u32 & mask;
    c.checked_shl(2 * ty.bits).unwrap_or(0) | element(a) << ty.bits | element(b)
}

/// `add`, `sub`, `mul`, `fma` and so on `.f32x2`: applies a binary32 function to the low and to the high words.
#[must_use]
#[inline(always)]
pub fn both_f32<const N: usize>(operands: [u64; N], function: impl Fn([f32; N]) -> f32) -> u64 {
    let high = function(operands.map(|x| f32::from_bits((x >> 32) as u32)));
    let low = function(operands.map(|x| f32::from_bits(x as u32)));
    u64::from(high.to_bits()) << 32 | u64::from(low.to_bits())
}

/// Applies a function to the low and to the high halves of packed 16-bit operands.
#[must_use]
#[inline(always)]
pub fn both_halves<const N: usize>(operands: [u32; N], function: impl Fn([u16; N]) -> u16) -> u32 {
    let high = function(operands.map(|x| (x >> 16) as u16));
    u32::from(high) << 16 | u32::from(function(operands.map(|x| x as u16)))
}

#[cfg(test)]
mod tests;
