//! Embedding, norm, SwiGLU, residual, softmax, log-probability and rotation.

use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use rorqual::reference::Numerics;
use rorqual::reference::ops::{add_residual, embedding, log_probability, rms_norm, softmax, swiglu};
use rorqual::reference::rope::{MscaleConvention, Rope, rotate_halves, rotate_pairs};

use crate::bounded::{Bounded, ROUNDING, SUBNORMAL, exact, expect_within};
use crate::draw::{Draw, Kind, kind, size};
use crate::{cases, expect_same_bits, numerics};

/// Where `exp(-x)` overflows, `silu(x)` is -0 instead of something smaller than this.
const SILU_UNDERFLOW: f64 = 3e-37;

/// `x * rsqrt(mean(x²) + epsilon) * weight` of one row.
pub fn norm(row: &[f32], weight: &[f32], epsilon: f32, numerics: Numerics) -> Vec<Bounded> {
    let squares: f64 = row.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
    let inverse = 1.0 / (squares / row.len() as f64 + f64::from(epsilon)).sqrt();
    row.iter()
        .zip(weight)
        .map(|(&x, &weight)| {
            let (x, weight) = (f64::from(x), f64::from(weight));
            let value = x * inverse * weight;
            // Beside roundings: the inverse of a huge norm is subnormal, as is the product with a tiny `x`.
            let error = if value.is_finite() {
                SUBNORMAL * (x * weight).abs() + SUBNORMAL * weight.abs()
            } else {
                0.0
            };
            Bounded { value, error }.computed(4.0 * ROUNDING).stored(numerics)
        })
        .collect()
}

/// `gate / (1 + exp(-gate)) * up`.
pub fn silu_times(gate: Bounded, up: Bounded) -> Bounded {
    // The slope of silu is at most 1.1.
    let silu = Bounded { value: gate.value / (1.0 + (-gate.value).exp()), error: 1.1 * gate.error };
    let silu = if silu.value.is_finite() && gate.error.is_finite() {
        silu.computed(6.0 * ROUNDING) + Bounded { value: 0.0, error: SILU_UNDERFLOW }
    } else {
        silu
    };
    (silu * up).computed(ROUNDING)
}

/// `exp(x - max) / sum`, by rows.
pub fn softmax_of(row: &[f32]) -> Vec<Bounded> {
    let max = row.iter().fold(f64::NEG_INFINITY, |max, &x| max.max(f64::from(x)));
    let sum: f64 = row.iter().map(|&x| (f64::from(x) - max).exp()).sum();
    let part = |&x: &f32| {
        let below = f64::from(x) - max;
        // A rounded difference makes as large an error, relative, in its exponential; where that is large, zero.
        let relative = (below.abs().min(110.0) + row.len() as f64 + 8.0) * ROUNDING;
        Bounded { value: below.exp() / sum, error: 0.0 }.computed(2.0 * relative)
    };
    row.iter().map(part).collect()
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn embedding_is_the_row(
        vocab in 1_usize..9,
        hidden in size(16, 40),
        tokens in 0_usize..6,
        kind in kind(),
        numerics in numerics(),
        seed: u64,
    ) {
        let mut draw = Draw(seed);
        let table = draw.weight(vocab, hidden, kind);
        let tokens: Vec<u32> = (0..tokens).map(|_| draw.below(vocab) as u32).collect();
        let element = |at: usize| {
            Bounded::exact(table.dequantized(tokens[at / hidden] as usize, at % hidden)).stored(numerics)
        };
        let expected: Vec<Bounded> = (0..tokens.len() * hidden).map(element).collect();
        expect_within(&embedding(&table.matrix, &tokens, numerics), &expected)?;
    }

    #[test]
    fn norm_is_that_of_float64(
        rows in 0_usize..5, width in size(128, 300), kind in kind(), numerics in numerics(), seed: u64,
    ) {
        let mut draw = Draw(seed);
        let weight = draw.values(width, Kind::PLAIN);
        let x = draw.values(rows * width, kind);
        let epsilon = draw.pick(&[1e-6, 1e-5]);
        let expected: Vec<Bounded> =
            x.chunks(width).flat_map(|row| norm(row, &weight, epsilon, numerics)).collect();
        expect_within(&rms_norm(&x, &weight, epsilon, numerics), &expected)?;
    }

    #[test]
    fn swiglu_is_that_of_float64(count in 0_usize..100, kind in kind(), seed: u64) {
        let mut draw = Draw(seed);
        let (gate, up) = (draw.values(count, kind), draw.values(count, kind));
        let expected: Vec<Bounded> =
            exact(&gate).into_iter().zip(exact(&up)).map(|(gate, up)| silu_times(gate, up)).collect();
        expect_within(&swiglu(&gate, &up), &expected)?;
    }

    #[test]
    fn residual_is_the_sum(count in 0_usize..100, kind in kind(), numerics in numerics(), seed: u64) {
        let mut draw = Draw(seed);
        let (mut stream, addend) = (draw.values(count, kind), draw.values(count, kind));
        // The sum of two f32 is rounded once whether it is computed in f32 or in f64 first.
        let sum =
            |(a, b): (&f32, &f32)| Bounded::exact((f64::from(*a) + f64::from(*b)) as f32).stored(numerics);
        let expected: Vec<Bounded> = stream.iter().zip(&addend).map(sum).collect();
        add_residual(&mut stream, &addend, numerics);
        expect_within(&stream, &expected)?;
    }

    #[test]
    fn softmax_is_that_of_float64(count in 0_usize..300, kind in kind(), seed: u64) {
        let logits = Draw(seed).values(count, kind);
        let mut found = logits.clone();
        softmax(&mut found);
        expect_within(&found, &softmax_of(&logits))?;
        if count > 0 && logits.iter().all(|logit| logit.is_finite()) {
            let total: f64 = found.iter().map(|&p| f64::from(p)).sum();
            prop_assert!(
                (total - 1.0).abs() <= 2.0 * (count as f64 + 2.0) * ROUNDING,
                "probabilities sum to {total}"
            );
        }
    }

    #[test]
    fn log_probability_is_that_of_the_differences(
        count in 1_usize..300, scale in 0.0_f32..300.0, spoil: bool, seed: u64,
    ) {
        let mut draw = Draw(seed);
        let mut logits: Vec<f32> = draw.values(count, Kind::PLAIN).iter().map(|x| x * scale).collect();
        if spoil {
            logits[draw.below(count)] = f32::NAN;
        }
        let target = draw.below(count);
        let found = log_probability(&logits, target as u32);
        // `-ln(sum of exp(other - target))`: no maximum is taken out.
        let target = f64::from(logits[target]);
        let expected = -logits.iter().map(|&x| (f64::from(x) - target).exp()).sum::<f64>().ln();
        let same =
            if spoil { found.is_nan() } else { (found - expected).abs() <= 1e-12 * (1.0 + expected.abs()) };
        prop_assert!(same, "{found}, expected {expected}");
    }

    #[test]
    fn rotation_is_a_complex_product(
        pairs in 1_usize..40, position in 0_usize..164_000, kind in kind(), numerics in numerics(), seed: u64,
    ) {
        let mut draw = Draw(seed);
        let head = draw.values(2 * pairs, kind);
        let rope = Rope::new(2 * pairs, 10_000.0, None, MscaleConvention::default());
        let rotation = rope.rotation(position);
        let mut found = head.clone();
        rotate_pairs(&mut found, &rotation, numerics);
        let mut expected = Vec::new();
        for (pair, (&[a, b], &(cos, sin))) in head.as_chunks::<2>().0.iter().zip(&rotation).enumerate() {
            let angle = position as f64 / 10_000_f64.powf(pair as f64 / pairs as f64);
            prop_assert!(
                (angle.cos() - f64::from(cos)).abs() <= 1e-7 && (angle.sin() - f64::from(sin)).abs() <= 1e-7
            );
            let (real, imaginary) = complex_product((a, b), (cos, sin));
            expected.extend([real.stored(numerics), imaginary.stored(numerics)]);
        }
        expect_within(&found, &expected)?;
    }

    #[test]
    fn rotation_keeps_norms_and_can_be_undone(pairs in 1_usize..40, position in 0_usize..164_000, seed: u64) {
        let head = Draw(seed).values(2 * pairs, Kind::PLAIN);
        let rotation = Rope::new(2 * pairs, 10_000.0, None, MscaleConvention::default()).rotation(position);
        let inverse: Vec<(f32, f32)> = rotation.iter().map(|&(cos, sin)| (cos, -sin)).collect();
        let mut rotated = head.clone();
        rotate_pairs(&mut rotated, &rotation, Numerics::F32);
        let mut restored = rotated.clone();
        rotate_pairs(&mut restored, &inverse, Numerics::F32);
        for at in (0..2 * pairs).step_by(2) {
            let norm = |head: &[f32]| f64::from(head[at]).hypot(f64::from(head[at + 1]));
            // Cosine and sine are rounded once, products and sums once more each.
            let error = 6.0 * ROUNDING * norm(&head);
            prop_assert!((norm(&rotated) - norm(&head)).abs() <= error);
            for at in [at, at + 1] {
                prop_assert!(f64::from(restored[at] - head[at]).abs() <= 2.0 * error);
            }
        }
    }

    #[test]
    fn halves_are_pairs_in_another_order(
        pairs in 0_usize..40, position in 0_usize..164_000, kind in kind(), numerics in numerics(), seed: u64,
    ) {
        let mut halves = Draw(seed).values(2 * pairs, kind);
        let mut adjacent: Vec<f32> = (0..2 * pairs).map(|at| halves[at / 2 + at % 2 * pairs]).collect();
        let rotation = Rope::new(2 * pairs, 10_000.0, None, MscaleConvention::default()).rotation(position);
        rotate_halves(&mut halves, &rotation, numerics);
        rotate_pairs(&mut adjacent, &rotation, numerics);
        let halves: Vec<f32> = (0..2 * pairs).map(|at| halves[at / 2 + at % 2 * pairs]).collect();
        expect_same_bits(&halves, &adjacent)?;
    }
}

/// `(a + bi) (c + di)`: two products and a sum are rounded.
fn complex_product((a, b): (f32, f32), (c, d): (f32, f32)) -> (Bounded, Bounded) {
    let [a, b, c, d] = [a, b, c, d].map(Bounded::exact);
    let product = |a: Bounded, b: Bounded| (a * b).computed(ROUNDING);
    let real = product(a, c) - product(b, d);
    let imaginary = product(a, d) + product(b, c);
    (real.computed(ROUNDING), imaginary.computed(ROUNDING))
}

#[test]
fn nothing_has_no_softmax_and_no_rotation() -> TestCaseResult {
    softmax(&mut []);
    rotate_pairs(&mut [], &[], Numerics::KERNEL);
    prop_assert!(rms_norm(&[], &[1.0], 1e-6, Numerics::KERNEL).is_empty());
    prop_assert!(swiglu(&[], &[]).is_empty());
    Ok(())
}
