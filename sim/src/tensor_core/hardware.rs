//! The hardware-like kernel: the rule of [`accumulation`](super::accumulation), a vector of elements at a time.
//!
//! Aligning a product to F fraction bits below the largest exponent is scaling it by `2^(F - top)` and dropping the
//! fraction. The scaled terms are integers held in f32, so the steps of the rule become
//! 1. `top = max(exponent(c), max over k of exponent(a) + exponent(b))`, in 16-bit integers;
//! 2. `sum += trunc(a * b * 2^(F - top))`, exact in f32 while the sum stays below 2^24. Beyond F = 13 the terms are
//!    split at bit 13 into two such sums;
//! 3. C, the joining of the two sums and the rounding, in f64, once an element.
//!
//! `a * b` is exact in f32 wherever it survives truncation, if `top` is neither tiny nor huge. Elements where that
//! fails, subnormal results and non-finite values take the integer path of [`fused_dot_add`].

use std::iter::Take;
use std::slice::ChunksExact;

use multiversion::multiversion;

use super::Panel;
use super::accumulation::{Accumulation, Output, ZERO_EXPONENT, fused_dot_add};
use super::format::Format;
use super::panel::ABSENT;
use super::round::{to_f16, truncate};

/// Rows of a register tile.
const ROWS: usize = 2;

/// Bits of the lower of the two sums.
const LOW_BITS: i32 = 13;

/// Largest exponents for which products and scales are exact in f32.
const SAFE_TOPS: std::ops::RangeInclusive<i32> = -98..=120;

/// Adds `a * b` to the accumulators (see [`multiply_accumulate`](super::multiply_accumulate)).
pub(super) fn multiply_accumulate(
    a: &Panel,
    b: &Panel,
    accumulators: &mut [f32],
    accumulation: Accumulation,
) {
    if !a.is_prepared() || !b.is_prepared() {
        slow(a, b, accumulators, accumulation);
    } else if accumulation.fraction_bits > LOW_BITS {
        split(a, b, accumulators, accumulation);
    } else {
        whole(a, b, accumulators, accumulation);
    }
}

/// Every element by the integer path.
fn slow(a: &Panel, b: &Panel, accumulators: &mut [f32], accumulation: Accumulation) {
    for (row, accumulators) in accumulators.chunks_exact_mut(b.lanes()).enumerate() {
        for (column, accumulator) in accumulators.iter_mut().enumerate() {
            for first in (0..a.depth()).step_by(accumulation.group) {
                *accumulator = element(a, b, row, column, first, *accumulator, accumulation);
            }
        }
    }
}

/// One step of one element by the integer path.
fn element(a: &Panel, b: &Panel, row: usize, column: usize, first: usize, c: f32, rule: Accumulation) -> f32 {
    let last = (first + rule.group).min(a.depth());
    let terms = (first..last).map(|k| (a.values()[k * a.lanes() + row], b.values()[k * b.lanes() + column]));
    fused_dot_add(terms, (a.minimum_exponent(), b.minimum_exponent()), c, rule)
}

/// Terms that fit one sum.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl+avx512dq+fma", "x86_64+avx2+fma", "aarch64+neon"))]
fn whole(a: &Panel, b: &Panel, accumulators: &mut [f32], rule: Accumulation) {
    strips::<false>(a, b, accumulators, rule);
}

/// Terms split into two sums.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl+avx512dq+fma", "x86_64+avx2+fma", "aarch64+neon"))]
fn split(a: &Panel, b: &Panel, accumulators: &mut [f32], rule: Accumulation) {
    strips::<true>(a, b, accumulators, rule);
}

#[inline(always)]
fn strips<const SPLIT: bool>(a: &Panel, b: &Panel, accumulators: &mut [f32], rule: Accumulation) {
    // Warp-level shapes have at most 16 columns; a smaller strip is cheaper to set up.
    if b.lanes() <= 16 {
        strips_of::<SPLIT, 16>(a, b, accumulators, rule);
    } else {
        strips_of::<SPLIT, 256>(a, b, accumulators, rule);
    }
}

#[inline(always)]
fn strips_of<const SPLIT: bool, const WIDTH: usize>(
    a: &Panel,
    b: &Panel,
    accumulators: &mut [f32],
    rule: Accumulation,
) {
    let mut strip = [const { Row::<WIDTH>::ZERO }; ROWS];
    for (number, accumulators) in accumulators.chunks_exact_mut(ROWS * b.lanes()).enumerate() {
        for column in (0..b.lanes()).step_by(WIDTH) {
            for k in (0..a.depth()).step_by(rule.group) {
                step::<SPLIT, WIDTH>(
                    &mut strip,
                    a,
                    b,
                    accumulators,
                    Place { row: number * ROWS, column, k },
                    rule,
                );
            }
        }
    }
}

/// The first row, column and k of a step.
#[derive(Clone, Copy)]
struct Place {
    row: usize,
    column: usize,
    k: usize,
}

/// What a step keeps for the elements of a row.
struct Row<const WIDTH: usize> {
    c: [f32; WIDTH],
    /// Largest exponent of a product.
    products: [i16; WIDTH],
    /// Largest exponent of a term.
    tops: [i32; WIDTH],
    /// Factor that makes terms integers.
    scales: [f32; WIDTH],
    /// Sum of the terms, or of their parts from bit [`LOW_BITS`] on.
    high: [f32; WIDTH],
    /// Sum of the parts of the terms below bit [`LOW_BITS`].
    low: [f32; WIDTH],
}

impl<const WIDTH: usize> Row<WIDTH> {
    const ZERO: Self = Self {
        c: [0.0; WIDTH],
        products: [0; WIDTH],
        tops: [0; WIDTH],
        scales: [0.0; WIDTH],
        high: [0.0; WIDTH],
        low: [0.0; WIDTH],
    };
}

/// One step of [`ROWS`] rows of up to `WIDTH` columns.
#[inline(always)]
fn step<const SPLIT: bool, const WIDTH: usize>(
    strip: &mut [Row<WIDTH>; ROWS],
    a: &Panel,
    b: &Panel,
    accumulators: &mut [f32],
    place: Place,
    rule: Accumulation,
) {
    let width = (b.lanes() - place.column).min(WIDTH);

    let mut column = 0;
    while column < width {
        column += match width - column {
            32.. => largest_exponents::<32, WIDTH>(strip, column, a, b, place, rule.group),
            16.. => largest_exponents::<16, WIDTH>(strip, column, a, b, place, rule.group),
            _ => largest_exponents::<8, WIDTH>(strip, column, a, b, place, rule.group),
        };
    }

    for (row, accumulators) in strip.iter_mut().zip(accumulators.chunks_exact(b.lanes())) {
        row.c[..width].copy_from_slice(&accumulators[place.column..place.column + width]);
        row.align::<SPLIT>(width, rule);
    }

    let mut column = 0;
    while column < width {
        column += match width - column {
            32.. => sum::<SPLIT, 32, WIDTH>(strip, column, a, b, place, rule.group),
            16.. => sum::<SPLIT, 16, WIDTH>(strip, column, a, b, place, rule.group),
            _ => sum::<SPLIT, 8, WIDTH>(strip, column, a, b, place, rule.group),
        };
    }

    for (offset, (row, accumulators)) in
        strip.iter().zip(accumulators.chunks_exact_mut(b.lanes())).enumerate()
    {
        let results = &mut accumulators[place.column..place.column + width];
        let regular = match rule.output {
            Output::F32 => row.finish::<SPLIT>(results, rule, |sum| truncate(sum, 52 - 23) as f32),
            Output::E8m13 => row.finish::<SPLIT>(results, rule, |sum| truncate(sum, 52 - 13) as f32),
            // Adding zero drops the sign of a zero.
            Output::F16 => row.finish::<SPLIT>(results, rule, |sum| to_f16(sum) + 0.0),
        };
        if !regular {
            for (column, (result, &c)) in results.iter_mut().zip(&row.c).enumerate() {
                *result = element(a, b, place.row + offset, place.column + column, place.k, c, rule);
            }
        }
    }
}

/// The rows of k of a step.
#[inline(always)]
fn rows<T>(panel: &[T], lanes: usize, k: usize, group: usize) -> Take<ChunksExact<'_, T>> {
    panel[k * lanes..].chunks_exact(lanes).take(group)
}

/// Works out [`Row::products`] of a tile from `column` on; returns its width.
#[inline(always)]
fn largest_exponents<const COLUMNS: usize, const WIDTH: usize>(
    strip: &mut [Row<WIDTH>; ROWS],
    column: usize,
    a: &Panel,
    b: &Panel,
    place: Place,
    group: usize,
) -> usize {
    let mut largest = [[i16::MIN; COLUMNS]; ROWS];
    for (a, b) in
        rows(a.exponents(), a.lanes(), place.k, group).zip(rows(b.exponents(), b.lanes(), place.k, group))
    {
        let a: [i16; ROWS] = *a[place.row..].first_chunk().expect("the strip lies in A");
        let b: [i16; COLUMNS] = *b[place.column + column..].first_chunk().expect("the tile lies in B");
        for (largest, a) in largest.iter_mut().zip(a) {
            for (largest, b) in largest.iter_mut().zip(b) {
                *largest = a.wrapping_add(b).max(*largest);
            }
        }
    }
    for (row, largest) in strip.iter_mut().zip(largest) {
        row.products[column..column + COLUMNS].copy_from_slice(&largest);
    }
    COLUMNS
}

/// Works out [`Row::high`] and [`Row::low`] of a tile from `column` on; returns its width.
#[inline(always)]
fn sum<const SPLIT: bool, const COLUMNS: usize, const WIDTH: usize>(
    strip: &mut [Row<WIDTH>; ROWS],
    column: usize,
    a: &Panel,
    b: &Panel,
    place: Place,
    group: usize,
) -> usize {
    let mut scales = [[0.0; COLUMNS]; ROWS];
    for (scales, row) in scales.iter_mut().zip(&*strip) {
        scales.copy_from_slice(&row.scales[column..column + COLUMNS]);
    }
    let mut high = [[0.0; COLUMNS]; ROWS];
    let mut low = [[0.0; COLUMNS]; ROWS];
    for (a, b) in rows(a.values(), a.lanes(), place.k, group).zip(rows(b.values(), b.lanes(), place.k, group))
    {
        let a: [f32; ROWS] = *a[place.row..].first_chunk().expect("the strip lies in A");
        let b: [f32; COLUMNS] = *b[place.column + column..].first_chunk().expect("the tile lies in B");
        for (((high, low), scales), a) in high.iter_mut().zip(&mut low).zip(&scales).zip(a) {
            for (((high, low), scale), b) in high.iter_mut().zip(low).zip(scales).zip(b) {
                let term = a * b * scale;
                let whole = term.trunc();
                *high += whole;
                if SPLIT {
                    *low += ((term - whole) * (1 << LOW_BITS) as f32).trunc();
                }
            }
        }
    }
    for ((row, high), low) in strip.iter_mut().zip(high).zip(low) {
        row.high[column..column + COLUMNS].copy_from_slice(&high);
        row.low[column..column + COLUMNS].copy_from_slice(&low);
    }
    COLUMNS
}

impl<const WIDTH: usize> Row<WIDTH> {
    /// Works out [`tops`](Self::tops) and [`scales`](Self::scales).
    #[inline(always)]
    fn align<const SPLIT: bool>(&mut self, width: usize, rule: Accumulation) {
        let bias = 127 + rule.fraction_bits - if SPLIT { LOW_BITS } else { 0 };
        let half = rule.output == Output::F16;
        let terms = self.products[..width].iter().zip(&self.c[..width]);
        for ((top, scale), (&product, &c)) in
            self.tops[..width].iter_mut().zip(&mut self.scales[..width]).zip(terms)
        {
            *top = c_exponent(c, half).max(i32::from(product));
            *scale = f32::from_bits(((bias - *top).clamp(1, 254) as u32) << 23);
        }
    }

    /// Adds C and rounds. False if the vector arithmetic does not hold for some element.
    #[inline(always)]
    fn finish<const SPLIT: bool>(
        &self,
        results: &mut [f32],
        rule: Accumulation,
        round: impl Fn(f64) -> f32,
    ) -> bool {
        let width = results.len();
        let (tops, products, c) = (&self.tops[..width], &self.products[..width], &self.c[..width]);
        let (high, low) = (&self.high[..width], &self.low[..width]);
        let half = rule.output == Output::F16;
        let mut irregular = 0;
        for index in 0..width {
            let unit = (1023 + rule.fraction_bits - tops[index]) as u64;
            let sum = if SPLIT {
                f64::from(high[index]) * f64::from(1 << LOW_BITS) + f64::from(low[index])
            } else {
                f64::from(high[index])
            };
            let sum = sum + (f64::from(c[index]) * f64::from_bits(unit << 52)).trunc();
            let value = sum * f64::from_bits((2046 - unit) << 52);
            results[index] = round(value);
            // Subnormals are rounded elsewhere; a zero may keep a sign.
            let subnormal = !half & (value.abs() < f64::from(f32::MIN_POSITIVE)) & (value != 0.0);
            irregular |= u32::from(subnormal | !is_safe(tops[index], products[index]));
        }
        irregular == 0
    }
}

/// The exponent with which C takes part; f16 has subnormals from 2^-14 down.
#[inline(always)]
fn c_exponent(c: f32, half: bool) -> i32 {
    let exponent = ((c.to_bits() >> 23 & 0xff) as i32).max(1) - 127;
    let floor = if half && c != 0.0 { Format::F16.minimum_exponent().into() } else { ZERO_EXPONENT };
    exponent.max(floor)
}

/// Whether the vector arithmetic holds for an element.
#[inline(always)]
fn is_safe(top: i32, product: i16) -> bool {
    (top <= *SAFE_TOPS.end()) & ((top >= *SAFE_TOPS.start()) | (product <= ABSENT))
}
