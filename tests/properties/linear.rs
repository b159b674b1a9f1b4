//! The linear layer: stored types, both precisions, rows alone, and the token that keeps its NaN to itself.

use proptest::prelude::*;
use rorqual::model::config::ScaleFormat;
use rorqual::num::E4m3;
use rorqual::reference::linear::{Output, linear, linear_quantized, linear_rows};
use rorqual::reference::quantize::Quantized;
use rorqual::reference::{Numerics, Precision};

use crate::bounded::{Bounded, ROUNDING, dot, exact, expect_within};
use crate::draw::{Draw, Kind, Weight, kind, size};
use crate::{cases, expect_same_bits, numerics};

/// `x · wᵀ` of one token with rounding points as in the table of `src/reference/mod.rs`.
pub fn product(x: &[Bounded], w: &Weight, output: Output, numerics: Numerics) -> Vec<Bounded> {
    let columns = 0..w.columns;
    let sums = match (numerics.precision, &w.scales) {
        (Precision::F32, _) => (0..w.rows)
            .map(|row| dot(columns.clone().map(|k| (x[k], Bounded::exact(w.dequantized(row, k))))))
            .collect(),
        (Precision::Kernel, None) => {
            let x: Vec<Bounded> = x.iter().map(|x| x.bf16()).collect();
            (0..w.rows)
                .map(|row| dot(columns.clone().map(|k| (x[k], Bounded::exact(w.code(row, k)).bf16()))))
                .collect()
        }
        (Precision::Kernel, Some(_)) => {
            let runs: Vec<_> = x.chunks(128).map(|run| quantized(run, numerics.activation_scale)).collect();
            (0..w.rows).map(|row| promoted(&runs, w, row)).collect::<Vec<Bounded>>()
        }
    };
    match output {
        Output::Activation => sums.into_iter().map(|sum| sum.stored(numerics)).collect(),
        Output::F32 => sums,
    }
}

/// The sum over each 128 of K, promoted by `fma(scale_a * scale_b, sum, acc)`.
fn promoted(runs: &[(Vec<Bounded>, Bounded)], w: &Weight, row: usize) -> Bounded {
    let mut sum = Bounded::ZERO;
    for (block, (codes, scale)) in runs.iter().enumerate() {
        let first = block * 128;
        let partial =
            dot(codes.iter().enumerate().map(|(k, &code)| (code, Bounded::exact(w.code(row, first + k)))));
        let both = (*scale * Bounded::exact(w.scale(row, first))).computed(ROUNDING);
        sum = (sum + both * partial).computed(ROUNDING);
    }
    sum
}

/// The e4m3 values of a run of 128, and their scale.
fn quantized(run: &[Bounded], format: ScaleFormat) -> (Vec<Bounded>, Bounded) {
    let amax = run.iter().filter(|value| !value.value.is_nan()).fold(Bounded::ZERO, |amax, value| {
        let magnitude = value.abs();
        Bounded { value: amax.value.max(magnitude.value), error: amax.error.max(magnitude.error) }
    });
    let scale = amax.rounded(|amax| scale_of(amax, format));
    let code = |value: &Bounded| {
        if value.error == 0.0 && scale.error == 0.0 {
            // The quotient itself is rounded to f32 first.
            let quotient = value.value as f32 / scale.value as f32;
            return Bounded::exact(E4m3::from_f32(quotient).to_f32());
        }
        (*value / scale).computed(ROUNDING).rounded(|quotient| E4m3::from_f32(quotient).to_f32())
    };
    (run.iter().map(code).collect(), scale)
}

/// `max(amax, 1e-4) / 448`, and the power of two from there on.
pub fn scale_of(amax: f32, format: ScaleFormat) -> f32 {
    let scale = if amax < 1e-4 { 1e-4 } else { amax } / 448.0;
    if format == ScaleFormat::F32 || scale == f32::INFINITY {
        return scale;
    }
    let mut power = 2_f32.powi(-100);
    while power < scale {
        power *= 2.0;
    }
    power
}

proptest! {
    #![proptest_config(cases(160))]

    #[test]
    fn product_is_that_of_float64(
        tokens in 0_usize..5,
        rows in size(16, 40),
        columns in size(128, 300),
        (x_kind, w_kind) in (kind(), kind()),
        to_f32: bool,
        numerics in numerics(),
        seed: u64,
    ) {
        let mut draw = Draw(seed);
        let w = draw.weight(rows, columns, w_kind);
        let x = draw.values(tokens * columns, x_kind);
        let output = if to_f32 { Output::F32 } else { Output::Activation };
        let found = linear(&x, &w.matrix, output, numerics);
        let expected: Vec<Bounded> =
            x.chunks(columns).flat_map(|x| product(&exact(x), &w, output, numerics)).collect();
        expect_within(&found, &expected)?;
    }

    #[test]
    fn product_over_many_row_blocks(
        rows in 120_usize..300, columns in size(128, 140), numerics in numerics(), seed: u64,
    ) {
        let mut draw = Draw(seed);
        let w = draw.weight(rows, columns, Kind::PLAIN);
        let x = draw.values(columns, Kind::PLAIN);
        let found = linear(&x, &w.matrix, Output::F32, numerics);
        expect_within(&found, &product(&exact(&x), &w, Output::F32, numerics))?;
    }

    #[test]
    fn rows_alone_have_the_bits_of_the_whole(
        tokens in 0_usize..4,
        rows in size(128, 300),
        columns in size(128, 200),
        kind in kind(),
        numerics in numerics(),
        seed: u64,
    ) {
        let mut draw = Draw(seed);
        let w = draw.weight(rows, columns, kind);
        let x = draw.values(tokens * columns, kind);
        let (a, b) = (draw.below(rows + 1), draw.below(rows + 1));
        let some = a.min(b)..a.max(b);
        let whole = linear(&x, &w.matrix, Output::Activation, numerics);
        let found = linear_rows(&x, &w.matrix, some.clone(), Output::Activation, numerics);
        let expected: Vec<f32> = whole.chunks(rows).flat_map(|y| &y[some.clone()]).copied().collect();
        expect_same_bits(&found, &expected)?;
    }

    #[test]
    fn token_has_the_bits_it_has_alone(
        tokens in 1_usize..20,
        rows in size(16, 150),
        columns in size(128, 400),
        kind in kind(),
        numerics in numerics(),
        seed: u64,
    ) {
        let mut draw = Draw(seed);
        let w = draw.weight(rows, columns, Kind::PLAIN);
        let x = draw.values(tokens * columns, kind);
        let together = linear(&x, &w.matrix, Output::Activation, numerics);
        for (x, together) in x.chunks(columns).zip(together.chunks(rows)) {
            expect_same_bits(together, &linear(x, &w.matrix, Output::Activation, numerics))?;
            let spoilt = x.iter().any(|value| !value.is_finite() || value.abs() > 1e20);
            prop_assert!(spoilt || together.iter().all(|value| value.is_finite()));
        }
    }

    #[test]
    fn quantised_product_is_that_of_its_codes(
        tokens in 0_usize..4, rows in size(16, 40), columns in size(128, 300), seed: u64,
    ) {
        let mut draw = Draw(seed);
        let w = draw.weight_stored(crate::draw::Stored::E4m3, rows, columns, Kind::PLAIN);
        let x = draw.weight_stored(crate::draw::Stored::E4m3, tokens, columns, Kind::PLAIN);
        let scales = draw.values(tokens * columns.div_ceil(128), Kind::PLAIN);
        let codes = x.values.iter().map(|&value| E4m3::from_f32(value).to_bits()).collect();
        let found = linear_quantized(&Quantized { codes, scales: scales.clone() }, &w.matrix);
        let expected: Vec<Bounded> = x
            .values
            .chunks(columns)
            .zip(scales.chunks(columns.div_ceil(128)))
            .flat_map(|(codes, scales)| {
                let runs: Vec<_> = codes.chunks(128).map(exact).zip(exact(scales)).collect();
                (0..rows).map(|row| promoted(&runs, &w, row)).collect::<Vec<_>>()
            })
            .collect();
        expect_within(&found, &expected)?;
    }
}
