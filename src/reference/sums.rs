//! How the factors of a matrix product are multiplied and added.
//!
//! A tensor core does not round to f32 after each product. A step takes the sum so far and some products, in ascending
//! order of K, and
//! 1. cuts each term towards zero, to some fraction bits behind the largest exponent of any;
//! 2. adds exactly, and cuts the sum towards zero, to some fraction bits of its own.
//!
//! The exponent of a product is the sum of its factors', where a subnormal factor has that of the smallest normal one.
//! This was measured bit by bit (arXiv 2511.10909, arXiv 2512.07004). Of sums of e4m3, Ada and Hopper keep 13 bits. That
//! is why kernels promote them every 128 of K (DeepSeek-V3 report, arXiv 2412.19437, section 3.3.2), and why a network
//! that adds in f32 is no oracle of one that runs there.

use multiversion::multiversion;

use super::matmul::{View, matmul};
use super::{Numerics, Precision};

/// Sums that are computed side by side.
const LANES: usize = 16;

/// Exponent of the smallest normal f32, with which a sum of zero counts too.
const SMALLEST_EXPONENT: i32 = -126;

/// What adds the products of matrix products in [`Precision::Kernel`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sums {
    /// f32.
    F32,
    /// Tensor cores of Ampere (sm_80).
    Ampere,
    /// Tensor cores of Ada (sm_89).
    Ada,
    /// Tensor cores of Hopper (sm_90a), which multiply e4m3 for warpgroups.
    Hopper,
}

/// The type of both factors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Factors {
    /// bf16.
    Bf16,
    /// Codes of e4m3.
    E4m3,
}

/// The constants of a step.
#[derive(Clone, Copy)]
struct Step {
    products: usize,
    /// Fraction bits of a term.
    term_bits: i32,
    /// Fraction bits of the sum.
    sum_bits: i32,
}

impl Step {
    fn new(sums: Sums, factors: Factors) -> Option<Self> {
        let (products, term_bits, sum_bits) = match (sums, factors) {
            // Kernels for Ampere multiply e4m3 as binary16, in an order of their own, and lose next to nothing.
            (Sums::F32, _) | (Sums::Ampere, Factors::E4m3) => return None,
            (Sums::Ampere | Sums::Ada, Factors::Bf16) => (8, 24, 23),
            (Sums::Ada, Factors::E4m3) => (16, 13, 13),
            (Sums::Hopper, Factors::Bf16) => (16, 25, 23),
            (Sums::Hopper, Factors::E4m3) => (32, 13, 13),
        };
        Some(Self { products, term_bits, sum_bits })
    }
}

/// `out = a · b`: `a` `[m, k]`, `b` `[k, n]` with contiguous columns, `out` `[m, n]` row-major.
///
/// # Panics
/// If the extents do not agree.
pub(super) fn multiply(factors: Factors, a: View<'_>, b: View<'_>, out: &mut [f32], numerics: Numerics) {
    let step = match numerics.precision {
        Precision::F32 => None,
        Precision::Kernel => Step::new(numerics.sums, factors),
    };
    match step {
        None => matmul(a, b, out, false),
        Some(step) => add_in_steps(step, &Terms::new(a, factors), &Terms::new(b, factors), out),
    }
}

/// A factor of a product, row-major, with the exponents of its elements.
struct Terms {
    rows: usize,
    columns: usize,
    values: Vec<f32>,
    exponents: Vec<i32>,
}

impl Terms {
    fn new(view: View<'_>, factors: Factors) -> Self {
        let smallest = if factors == Factors::E4m3 { -6 } else { SMALLEST_EXPONENT };
        let values = view.to_rows();
        let exponents = values.iter().map(|value| exponent(*value, smallest)).collect();
        Self { rows: view.row_count(), columns: view.column_count(), values, exponents }
    }
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx512dq", "x86_64+avx2+fma", "aarch64+neon"))]
fn add_in_steps(step: Step, a: &Terms, b: &Terms, out: &mut [f32]) {
    let (k, n) = (a.columns, b.columns);
    assert_eq!((b.rows, out.len()), (k, a.rows * n), "extents of a product");
    for (row, first) in (0..a.rows).flat_map(|row| (0..n).step_by(LANES).map(move |first| (row, first))) {
        let width = LANES.min(n - first);
        let mut sums = [0.0_f64; LANES];
        for start in (0..k).step_by(step.products) {
            let products = start..k.min(start + step.products);
            let mut largest = sums.map(|sum| exponent(sum as f32, SMALLEST_EXPONENT).max(SMALLEST_EXPONENT));
            for at in products.clone() {
                let a = a.exponents[row * k + at];
                for (largest, b) in largest.iter_mut().zip(&b.exponents[at * n + first..][..width]) {
                    *largest = (*largest).max(a + b);
                }
            }
            let per_unit = largest.map(|largest| power_of_two(step.term_bits - largest));
            let mut totals: [f64; LANES] = std::array::from_fn(|lane| (sums[lane] * per_unit[lane]).trunc());
            for at in products {
                let a = f64::from(a.values[row * k + at]);
                let b = &b.values[at * n + first..][..width];
                for ((total, per_unit), b) in totals.iter_mut().zip(&per_unit).zip(b) {
                    *total += (a * f64::from(*b) * per_unit).trunc();
                }
            }
            sums = std::array::from_fn(|lane| cut(totals[lane] / per_unit[lane], step.sum_bits));
        }
        for (out, sum) in out[row * n + first..][..width].iter_mut().zip(sums) {
            *out = sum as f32;
        }
    }
}

/// The exponent of a number, at least `smallest`; that of zero is below all others.
#[inline(always)]
fn exponent(value: f32, smallest: i32) -> i32 {
    if value == 0.0 { -1000 } else { ((value.to_bits() >> 23 & 0xff) as i32 - 127).max(smallest) }
}

/// 2 to a power of a normal f64.
#[inline(always)]
fn power_of_two(exponent: i32) -> f64 {
    f64::from_bits(((1023 + exponent) as u64) << 52)
}

/// A number cut towards zero to some fraction bits.
#[inline(always)]
fn cut(value: f64, fraction_bits: i32) -> f64 {
    f64::from_bits(value.to_bits() & u64::MAX << (f64::MANTISSA_DIGITS as i32 - 1 - fraction_bits))
}
