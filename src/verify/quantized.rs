//! Comparison of FP8 codes and their scales with what the reference quantises.

use super::compare::{Comparison, Mismatch};
use crate::model::config::ScaleFormat as Reference;
use crate::num::E4m3;
use crate::reference::quantize::{Quantized, quantize_1x128};
use rorqual_kernels::ScaleFormat;

/// The format as the reference names it.
pub fn reference_format(format: ScaleFormat) -> Reference {
    match format {
        ScaleFormat::F32 => Reference::F32,
        ScaleFormat::PowerOfTwo => Reference::Ue8m0,
    }
}

/// What the reference makes of rows of `columns`, one scale per 1x128.
pub fn expected(values: &[f32], columns: usize, format: ScaleFormat) -> Quantized {
    quantize_1x128(values, columns, reference_format(format))
}

/// Compares codes and scales of `values` `[rows, columns]`, of which each may have been off by `error` before it was
/// quantised. With an error of 0 both must be equal. Otherwise what the codes stand for must be within the error, a
/// unit of the code and what the error of the scale makes of them.
///
/// # Errors
/// The worst scale or value.
pub fn compare<'a>(
    comparison: &dyn Fn(&'static str, &'a [usize]) -> Comparison<'a>,
    shapes: (&'a [usize], &'a [usize]),
    expected: &Quantized,
    got: &Quantized,
    values: &[f32],
    error: impl Fn(f32) -> f32,
) -> Result<f64, Mismatch> {
    let (codes_shape, scales_shape) = shapes;
    let (columns, blocks) = (codes_shape[1], scales_shape[1]);
    let exact = values.iter().all(|value| error(*value) == 0.0);
    let mut block_errors = vec![0.0_f32; expected.scales.len()];
    for (at, value) in values.iter().enumerate().filter(|(_, value)| value.is_finite()) {
        let block = &mut block_errors[at / columns * blocks + at % columns / 128];
        *block = block.max(error(*value));
    }
    let is_power_of_two = |scale: f32| scale.to_bits() & 0x7f_ffff == 0;
    // A power of two may be the neighbouring one where the largest magnitude is near one; a scale of f32 is off as the
    // largest magnitude is, and by its own rounding.
    let scale_tolerance = |at: usize| {
        let scale = expected.scales[at];
        match exact {
            true => 0.0,
            false if is_power_of_two(scale) && is_power_of_two(got.scales[at]) => scale,
            false => block_errors[at] / E4m3::MAX.to_f32() + scale * 2.0_f32.powi(-22),
        }
    };
    let worst = comparison("scales", scales_shape).within(&got.scales, &expected.scales, scale_tolerance)?;
    let dequantized = |quantized: &Quantized| -> Vec<f32> {
        let value = |(at, code): (usize, &u8)| {
            let block = at / columns * blocks + at % columns / 128;
            E4m3::from_bits(*code).to_f32() * quantized.scales[block]
        };
        quantized.codes.iter().enumerate().map(value).collect()
    };
    let tolerance = |at: usize| {
        let block = at / columns * blocks + at % columns / 128;
        let scale = expected.scales[block].max(got.scales[block]);
        // A unit of the code: an eighth of the value's power of two, at least 2^-9.
        let unit = (values[at].abs() / 8.0).max(scale * 2.0_f32.powi(-9));
        if exact { 0.0 } else { unit + 2.0 * error(values[at]) }
    };
    let (got, expected) = (dequantized(got), dequantized(expected));
    Ok(comparison("codes * scales", codes_shape).within(&got, &expected, tolerance)?.max(worst))
}
