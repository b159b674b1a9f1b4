//! FP8 block scaling of activations, in registers: what every kernel does that ends in e4m3 codes.
//!
//! `scale = max(amax, 1e-4) / 448`, `code = e4m3(x / scale)` with a true division (DeepSeek-V3 report, section 3.3.2).
//! `amax` passes over NaN, which spoils its own code alone.

use crate::{BLOCK, ScaleFormat};
use rorqual_codegen::warp::reduce_lanes;
use rorqual_codegen::Value;

/// The smallest magnitude that a scale stands for.
const SMALLEST_AMAX: f32 = 1e-4;
/// The largest e4m3.
const LARGEST_CODE: f32 = 448.0;

/// The scale of a block with this largest magnitude.
#[track_caller]
pub fn block_scale(amax: Value<'_, f32>, format: ScaleFormat) -> Value<'_, f32> {
    let scale = amax.max(SMALLEST_AMAX) / LARGEST_CODE;
    match format {
        ScaleFormat::F32 => scale,
        ScaleFormat::PowerOfTwo => next_power_of_two(scale),
    }
}

/// The least power of two that is not less; infinity stays. The argument is positive and normal.
#[track_caller]
fn next_power_of_two(scale: Value<'_, f32>) -> Value<'_, f32> {
    let bits = scale.bits::<u32>();
    // A carry out of the mantissa raises the exponent.
    ((bits + 0x7f_ffff) & 0x7f80_0000).bits()
}

/// Quantises the run of a thread, whose block of 128 is held by `128 / run.len()` neighbouring lanes: the quotients to
/// be rounded to e4m3, and the scale of the block. All lanes of the warp take part.
#[track_caller]
pub fn quantize_run<'k>(
    run: &[Value<'k, f32>],
    format: ScaleFormat,
) -> (Vec<Value<'k, f32>>, Value<'k, f32>) {
    let own = run.iter().skip(1).fold(run[0].abs(), |amax, value| amax.max(value.abs()));
    let amax = reduce_lanes(own, BLOCK / run.len() as u32, |a, b| a.max(b));
    let scale = block_scale(amax, format);
    (run.iter().map(|value| *value / scale).collect(), scale)
}
