//! FP8 block scaling: e4m3 codes with one scale per 1x128 (activations) or per 128x128 (weights).
//!
//! `scale = max(amax, 1e-4) / 448` in f32, `code = e4m3(x / scale)` (DeepSeek-V3 report, section 3.3.2). The largest
//! magnitude skips NaN, as the GPU's `max` does, so that one NaN spoils its own code and not its group's scale. The
//! quotient is a true division: the product with a reciprocal gives other codes.

use crate::model::config::ScaleFormat;
use crate::model::weights::BLOCK;
use crate::num::{E4m3, Ue8m0};

/// The smallest magnitude that a scale stands for, so that a group of zeros has a scale to divide by.
const SMALLEST_AMAX: f32 = 1e-4;

/// FP8 codes and their scales, both row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Quantized {
    /// e4m3 codes, of the shape of what was quantised.
    pub codes: Vec<u8>,
    /// One scale for each block; it multiplies.
    pub scales: Vec<f32>,
}

/// The scale of a block whose largest magnitude is `amax`.
pub fn block_scale(amax: f32, format: ScaleFormat) -> f32 {
    let scale = amax.max(SMALLEST_AMAX) / E4m3::MAX.to_f32();
    match format {
        ScaleFormat::F32 => scale,
        ScaleFormat::Ue8m0 if scale.is_finite() => Ue8m0::from_f32_ceil(scale).to_f32(),
        // No power of two stands for an infinite group; the infinity must survive.
        ScaleFormat::Ue8m0 => scale,
    }
}

/// Quantises activations `[rows, columns]`, one scale per run of 128 in a row: scales `[rows, ceil(columns/128)]`.
/// A short last run is quantised over what is there.
pub fn quantize_1x128(values: &[f32], columns: usize, format: ScaleFormat) -> Quantized {
    let mut codes = vec![0; values.len()];
    let mut scales = Vec::with_capacity(values.len().div_ceil(BLOCK));
    if columns == 0 {
        return Quantized { codes, scales };
    }
    for (row, codes) in values.chunks(columns).zip(codes.chunks_mut(columns)) {
        for (run, codes) in row.chunks(BLOCK).zip(codes.chunks_mut(BLOCK)) {
            let scale = block_scale(largest_magnitude(run), format);
            for (value, code) in run.iter().zip(codes) {
                *code = E4m3::from_f32(value / scale).to_bits();
            }
            scales.push(scale);
        }
    }
    Quantized { codes, scales }
}

/// Quantises a weight `[rows, columns]`, one scale per 128x128 block: scales
/// `[ceil(rows/128), ceil(columns/128)]`. Blocks at the edges are quantised over what is there.
///
/// # Panics
/// If `values` does not have `rows * columns` elements.
pub fn quantize_128x128(values: &[f32], rows: usize, columns: usize, format: ScaleFormat) -> Quantized {
    assert_eq!(values.len(), rows * columns, "values of a {rows}x{columns} weight");
    let grid_columns = columns.div_ceil(BLOCK);
    let mut amax = vec![0.0_f32; rows.div_ceil(BLOCK) * grid_columns];
    let block_of = |at: usize| at / columns / BLOCK * grid_columns + at % columns / BLOCK;
    for (at, value) in values.iter().enumerate() {
        let amax = &mut amax[block_of(at)];
        *amax = amax.max(value.abs());
    }
    let scales: Vec<f32> = amax.into_iter().map(|amax| block_scale(amax, format)).collect();
    let codes =
        values.iter().enumerate().map(|(at, v)| E4m3::from_f32(v / scales[block_of(at)]).to_bits()).collect();
    Quantized { codes, scales }
}

/// The largest magnitude of a run, NaN passed over (`f32::max` prefers the number).
fn largest_magnitude(run: &[f32]) -> f32 {
    run.iter().fold(0.0, |amax, value| amax.max(value.abs()))
}
