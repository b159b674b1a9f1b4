//! Roundings of finished sums, written so that loops over them become vector code.

/// `value` rounded to nearest even f16, as an f32. Beyond the largest f16 it is infinite; NaN stays NaN, and a zero
/// keeps the sign.
#[inline(always)]
pub(super) fn to_f16(value: f64) -> f32 {
    /// 2^-14, the smallest normal f16.
    const SMALLEST: f64 = 1.0 / 16384.0;
    // Adding 1.5 * 2^(52 + p) and taking it away leaves a multiple of 2^p: the last place of an f16 of this size.
    let power = value.abs().max(SMALLEST).to_bits() & 0x7ff0_0000_0000_0000;
    let anchor = f64::from_bits(power + (42 << 52)) * 1.5;
    let rounded = (value + anchor) - anchor;
    let rounded = if value.abs() >= 65520.0 { f64::INFINITY } else { rounded };
    rounded.copysign(value) as f32
}

/// `value` truncated toward zero to the 52 - `dropped` leading fraction bits.
#[inline(always)]
pub(super) fn truncate(value: f64, dropped: u32) -> f64 {
    f64::from_bits(value.to_bits() & (u64::MAX << dropped))
}

/// The bits of an f16 of this value, which must be one, as f16 accumulators are; NaN is canonical.
#[inline(always)]
pub fn f16_bits(value: f32) -> u16 {
    let sign = (value.to_bits() >> 16 & 0x8000) as u16;
    let magnitude = f32::from_bits(value.to_bits() & 0x7fff_ffff);
    // Moving the bias by a multiplication turns small values into f32 subnormals with the fields of an f16.
    let finite = (magnitude * f32::from_bits(15 << 23)).to_bits() >> 13;
    if value.is_nan() {
        0x7fff
    } else if magnitude > 65504.0 {
        sign | 0x7c00
    } else {
        sign | finite as u16
    }
}
