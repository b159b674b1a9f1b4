//! FP8 quantisation: scales, nearest codes, the error that is left, and values that are codes already.

use proptest::prelude::*;
use rorqual::model::config::ScaleFormat;
use rorqual::num::E4m3;
use rorqual::reference::quantize::{Quantized, block_scale, quantize_1x128, quantize_128x128};

use crate::draw::{Draw, Kind, kind, size};
use crate::linear::scale_of;
use crate::{cases, expect_same_bits, scale_format};

/// The code of the value nearest to `quotient` among all that are finite; of two as near, the even one.
fn nearest_code(quotient: f32) -> u8 {
    if quotient.is_nan() {
        return 0x7f;
    }
    let distance =
        |code: u8| (f64::from(E4m3::from_bits(code).to_f32()) - f64::from(quotient.abs().min(448.0))).abs();
    let mut nearest = 0;
    for code in 1..0x7f_u8 {
        let (new, old) = (distance(code), distance(nearest));
        if new < old || (new == old && code % 2 == 0) {
            nearest = code;
        }
    }
    nearest | if quotient.is_sign_negative() { 0x80 } else { 0 }
}

/// The largest magnitude of what is a number.
fn amax(values: impl IntoIterator<Item = f32>) -> f32 {
    let mut amax = 0.0;
    for value in values {
        if value.abs() > amax {
            amax = value.abs();
        }
    }
    amax
}

/// In float64, as the largest f32 may be rounded up to 2^128.
fn decode(quantized: &Quantized, columns: usize) -> Vec<f64> {
    let runs = columns.div_ceil(128);
    let value = |(at, &code): (usize, &u8)| {
        let scale = quantized.scales[at / columns * runs + at % columns / 128];
        f64::from(E4m3::from_bits(code).to_f32()) * f64::from(scale)
    };
    quantized.codes.iter().enumerate().map(value).collect()
}

proptest! {
    #![proptest_config(cases(128))]

    #[test]
    fn activations_have_nearest_codes(
        rows in 0_usize..4, columns in size(128, 300), kind in kind(), format in scale_format(), seed: u64,
    ) {
        let values = Draw(seed).values(rows * columns, kind);
        let found = quantize_1x128(&values, columns, format);
        let mut scales = Vec::new();
        let mut codes = Vec::new();
        for row in values.chunks(columns) {
            for run in row.chunks(128) {
                let scale = scale_of(amax(run.iter().copied()), format);
                scales.push(scale);
                codes.extend(run.iter().map(|value| nearest_code(value / scale)));
            }
        }
        expect_same_bits(&found.scales, &scales)?;
        prop_assert_eq!(found.codes, codes);
    }

    /// Quotients on a midpoint of two codes, and next to it: the product with a reciprocal falls on the other side.
    #[test]
    fn midpoints_go_to_the_even_code(format in scale_format(), seed: u64) {
        let mut draw = Draw(seed);
        let amax = draw.values(1, Kind::PLAIN)[0].abs() + 0.01;
        let scale = scale_of(amax, format);
        let midpoint = |code: u8| (E4m3::from_bits(code).to_f32() + E4m3::from_bits(code + 1).to_f32()) / 2.0;
        let close = (0..0x70).map(|code| midpoint(code) * scale).filter(|&value| value < amax);
        let mut values: Vec<f32> =
            close.flat_map(|value| [value.next_down(), value, -value, value.next_up()]).collect();
        for run in values.chunks_mut(128) {
            run[0] = amax;
        }
        let columns = values.len();
        let codes: Vec<u8> = values.iter().map(|value| nearest_code(value / scale)).collect();
        prop_assert_eq!(&quantize_1x128(&values, columns, format).codes, &codes);
        let of_weight = quantize_128x128(&values, 1, columns, format);
        prop_assert_eq!(of_weight.codes, codes);
    }

    #[test]
    fn weights_have_nearest_codes(
        rows in size(128, 150),
        columns in size(128, 150),
        kind in kind(),
        format in scale_format(),
        seed: u64,
    ) {
        let values = Draw(seed).values(rows * columns, kind);
        let found = quantize_128x128(&values, rows, columns, format);
        let mut scales = Vec::new();
        for top in (0..rows).step_by(128) {
            for left in (0..columns).step_by(128) {
                let block = (top..rows.min(top + 128))
                    .flat_map(|row| &values[row * columns..][left..columns.min(left + 128)]);
                scales.push(scale_of(amax(block.copied()), format));
            }
        }
        expect_same_bits(&found.scales, &scales)?;
        // Some of the elements: the search for the nearest code is slow on purpose.
        for at in (0..values.len()).step_by(37) {
            let (row, column) = (at / columns, at % columns);
            let scale = scales[row / 128 * columns.div_ceil(128) + column / 128];
            prop_assert_eq!(found.codes[at], nearest_code(values[at] / scale), "({}, {})", row, column);
        }
    }

    /// Half a step of four significant bits, or of the smallest codes; an infinity spoils its run.
    #[test]
    fn values_survive_within_half_a_step(
        rows in 0_usize..4, columns in size(128, 300), kind in kind(), format in scale_format(), seed: u64,
    ) {
        let values = Draw(seed).values(rows * columns, kind);
        let quantized = quantize_1x128(&values, columns, format);
        let decoded = decode(&quantized, columns);
        let runs = values.chunks(columns).flat_map(|row| row.chunks(128));
        let decoded = decoded.chunks(columns).flat_map(|row| row.chunks(128));
        for ((run, decoded), &scale) in runs.zip(decoded).zip(&quantized.scales) {
            for (&value, &decoded) in run.iter().zip(decoded) {
                if scale.is_infinite() || value.is_nan() {
                    prop_assert!(decoded.is_nan(), "{value:e} has become {decoded:e}");
                    continue;
                }
                let half_step = (f64::from(value.abs()) / 16.0).max(f64::from(scale) / 1024.0);
                let error = (decoded - f64::from(value)).abs();
                prop_assert!(error <= half_step * 1.000_001, "{value:e} has become {decoded:e}");
            }
        }
    }

    #[test]
    fn codes_and_a_short_scale_survive_exactly(
        rows in 0_usize..3, columns in size(128, 300), format in scale_format(), seed: u64,
    ) {
        let mut draw = Draw(seed);
        // Scales of so few bits that neither `code * scale` nor `448 * scale / 448` is rounded.
        let mut scale = || {
            let fraction = if format == ScaleFormat::F32 { draw.below(1 << 12) } else { 0 };
            (1.0 + fraction as f32 / (1 << 12) as f32) * 2_f32.powi(draw.below(40) as i32 - 20)
        };
        let scales: Vec<f32> = (0..rows * columns.div_ceil(128)).map(|_| scale()).collect();
        let mut codes: Vec<u8> = (0..rows * columns)
            .map(|_| {
                loop {
                    let code = draw.below(256) as u8;
                    if code & 0x7f != 0x7f {
                        break code;
                    }
                }
            })
            .collect();
        for run in codes.chunks_mut(columns).flat_map(|row| row.chunks_mut(128)) {
            run[0] = draw.pick(&[0x7e, 0xfe]);
        }
        let exact = Quantized { codes, scales };
        let values: Vec<f32> = decode(&exact, columns).into_iter().map(|value| value as f32).collect();
        prop_assert_eq!(quantize_1x128(&values, columns, format), exact);
    }

    #[test]
    fn scales_cover_their_group(bits: u32, format in scale_format()) {
        let amax = f32::from_bits(bits & 0x7fff_ffff);
        prop_assume!(!amax.is_nan());
        let scale = block_scale(amax, format);
        expect_same_bits(&[scale], &[scale_of(amax, format)])?;
        prop_assert!(scale * 448.0 >= amax * (1.0 - f32::EPSILON), "{scale:e} for {amax:e}");
    }
}
