//! How far a sum from a tensor core may be from the reference's.
//!
//! A tensor core adds `g` products to an accumulator in one step. It cuts each of the `g + 1` terms to `f` fraction bits
//! below the largest, and the sum to the fraction bits of its output: for bf16 and binary16 `f` is 24 and `g` 8 on Ampere
//! and Ada, 25 and 16 on Hopper and Blackwell, and the output is f32; for e4m3 on Ada `f` is 13, `g` 16, and the output
//! has 13 fraction bits (measured by arXiv 2511.10909 and arXiv 2512.07004). Blackwell adds 32 products of e4m3 in a step
//! with `f` 25, which is off by `33 * 2^-25 + 2^-23`: less than two steps of 16 by the bound for bf16. With `M` the largest
//! magnitude among terms and partial sums, 16 products of K are off by at most
//!
//! ```text
//! bf16, binary16   max(2 * (9 * 2^-24 + 2^-23), 17 * 2^-25 + 2^-23) * M = 22 * 2^-24 * M
//! e4m3                                             (17 + 1) * 2^-13 * M
//! f32, in a chain                                        16 * 2^-24 * M
//! ```
//!
//! and the reference's own f32 sum is one of the last kind. Products of warpgroups add 32 products of e4m3 in a step, with
//! `f` 13 and 13 fraction bits of the sum: they are off by `(33 + 1) * 2^-13 * M`. `M` is at most the partial sum before these 16 products plus
//! their magnitudes, whatever their order.

use rorqual_ptx::target::Target;

/// The unit in which errors of f32 are counted.
const HALF_ULP: f64 = 1.0 / (1 << 24) as f64;
/// Products that are added in an order that is not known here, and how far their sum may be off, in units of the largest
/// partial sum, the reference's error included.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    products: usize,
    pub(super) error: f64,
}

impl Step {
    const fn new(products: usize, error: f64) -> Self {
        Self { products, error: error + products as f64 * HALF_ULP }
    }
}

/// Factors of 16 bits.
pub const OF_16_BITS: Step = Step::new(16, 22.0 * HALF_ULP);

/// Factors of e4m3 in products of warpgroups.
pub const OF_E4M3_IN_WARPGROUPS: Step = Step::new(32, 34.0 / (1 << 13) as f64);

/// Factors of e4m3 in products of warps.
pub fn of_e4m3(target: Target) -> Step {
    match target.sm {
        89 => Step::new(16, 18.0 / f64::from(1 << 13)),
        _ => OF_16_BITS,
    }
}

/// The error bound of a sum of products, which are added to 0 in ascending order but for those of a step.
pub fn sum_error(a: &[f32], b: &[f32], step: Step) -> f64 {
    let (mut sum, mut error) = (0.0_f64, 0.0_f64);
    for (a, b) in a.chunks(step.products).zip(b.chunks(step.products)) {
        let products = a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b));
        let (run, magnitude) =
            products.fold((0.0, 0.0), |(run, magnitude), p| (run + p, magnitude + p.abs()));
        let largest = sum.abs() + error + magnitude;
        // A zero counts like the smallest normal number.
        error += step.error * largest.max(f64::from(f32::MIN_POSITIVE));
        sum += run;
    }
    error
}

/// The error bound of a sum that is promoted every 128: `acc = fma(scale, sum, acc)`.
pub fn promoted_error(a: &[f32], b: &[f32], scales: impl Iterator<Item = f32>, step: Step) -> f64 {
    let (mut acc, mut error) = (0.0_f64, 0.0_f64);
    for ((a, b), scale) in a.chunks(128).zip(b.chunks(128)).zip(scales) {
        let sum: f64 = a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
        error += f64::from(scale).abs() * sum_error(a, b, step);
        acc += f64::from(scale) * sum;
        // Both sides round the accumulator.
        error += 2.0 * HALF_ULP * (acc.abs() + error);
    }
    error
}

/// The error bound of a sum in f32 in any two orders, each with at most `chain` additions behind one another.
pub fn f32_error(a: &[f32], b: &[f32], chain: usize) -> f64 {
    let magnitude: f64 = a.iter().zip(b).map(|(a, b)| (f64::from(*a) * f64::from(*b)).abs()).sum();
    2.0 * HALF_ULP * chain as f64 * magnitude + f64::from(f32::MIN_POSITIVE)
}
