//! Attention of one query in f64, with the rounding of its weights and what a kernel may be off by.

use super::compare::bf16_ulp;
use super::random::Random;
use super::tensor_core::{OF_16_BITS, sum_error};
use half::bf16;

/// What a query gets.
#[derive(Debug, Clone, PartialEq)]
pub struct Attended {
    /// `[value width]`, rounded to bf16; zeros without a key.
    pub output: Vec<f32>,
    /// Natural logarithm of the sum of `exp(score)`; -inf without a key.
    pub lse: f32,
    /// How far off each element of the output may be.
    pub output_tolerance: Vec<f32>,
    /// How far off the logarithm may be.
    pub lse_tolerance: f32,
}

/// Softmax attention of a query over keys and values of any widths.
///
/// The tolerance: a score is off by what a tensor core is off by; `exp` by 2^-22 and what its rounded argument makes of
/// it. Let `d` be the worst of these errors of a weight. Weights are rounded to bf16 here and, relative to the maximum of a prefix, in the kernel: 2^-8 each. So
/// an element may be off by `2^-7 + 2 (e^d - 1)` of its sum of magnitudes, the additions along the keys, and one unit
/// of bf16; the logarithm by `e^d - 1` and its own roundings.
pub fn attend(query: &[f32], keys: &[&[f32]], values: &[&[f32]], width: usize, scale: f32) -> Attended {
    let unit = 2.0_f64.powi(-23);
    let products = |key: &[f32]| -> Vec<f64> {
        query.iter().zip(key).map(|(query, key)| f64::from(*query) * f64::from(*key)).collect()
    };
    let scores: Vec<f32> = keys.iter().map(|key| products(key).iter().sum::<f64>() as f32 * scale).collect();
    let largest = scores.iter().fold(f32::NEG_INFINITY, |largest, score| largest.max(*score));
    let off = |(key, score): (&&[f32], &f32)| {
        let sum = sum_error(query, key, OF_16_BITS) * f64::from(scale.abs());
        // The score and the argument of `exp2` are rounded: 2^-24 of each, and 2^-24 of the largest score.
        let rounded = (f64::from(score - largest).abs() + f64::from(largest.abs())) * 2.0 * unit;
        let off = sum + rounded + 8.0 * unit;
        if score.is_finite() { off } else { 0.0 }
    };
    let off = keys.iter().zip(&scores).map(off).fold(0.0_f64, f64::max).exp_m1();

    let weights: Vec<f64> = scores.iter().map(|score| f64::from(score - largest).exp()).collect();
    let sum: f64 = weights.iter().sum();
    let rounded: Vec<f64> = weights.iter().map(|weight| bf16::from_f32(*weight as f32).to_f64()).collect();
    let (mut output, mut output_tolerance) = (vec![0.0; width], vec![0.0; width]);
    if keys.is_empty() {
        return Attended { output, lse: f32::NEG_INFINITY, output_tolerance, lse_tolerance: 0.0 };
    }
    for column in 0..width {
        let of_column =
            || rounded.iter().zip(values).map(|(weight, value)| weight * f64::from(value[column]));
        let element = bf16::from_f64(of_column().sum::<f64>() / sum).to_f32();
        let magnitudes = of_column().map(f64::abs).sum::<f64>() / sum;
        // As of products of 16 keys, and a multiplication for each block.
        let along_keys = (keys.len() as f64 / 16.0 + 4.0) * (OF_16_BITS.error + unit);
        let error = magnitudes * (2.0_f64.powi(-7) + 2.0 * off + along_keys);
        output[column] = element;
        output_tolerance[column] = error as f32 + bf16_ulp(element);
    }
    let lse = (f64::from(largest) + sum.ln()) as f32;
    let lse_tolerance = off + 4.0 * unit * (1.0 + f64::from(largest.abs()) + f64::from(lse.abs()));
    Attended { output, lse, output_tolerance, lse_tolerance: lse_tolerance as f32 }
}

/// A scale that makes the largest of the finite products of queries and keys a score of some size.
pub fn softmax_scale<'a>(random: &mut Random, pairs: impl Iterator<Item = (&'a [f32], &'a [f32])>) -> f32 {
    let product = |(query, key): (&[f32], &[f32])| -> f32 {
        query.iter().zip(key).map(|(query, key)| query * key).sum::<f32>().abs()
    };
    let largest = pairs.map(product).filter(|product| product.is_finite()).fold(0.0, f32::max);
    let size = random.pick(&[0.5, 4.0, 20.0]);
    if largest > 0.0 { size / largest } else { size }
}
