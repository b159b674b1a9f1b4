//! The exact kernel: every element is a chain of f32 fused multiply-adds.

use multiversion::multiversion;

use super::Panel;
use super::accumulation::CANONICAL_NAN;
use super::round::to_f16;

/// Rows of a register tile.
const ROWS: usize = 4;

/// Adds `a * b` to the accumulators (see [`multiply_accumulate`](super::multiply_accumulate)): ascending k, one
/// rounding a product, then once to f16 if `half`. A NaN is canonical, whatever the host makes of it.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl+avx512dq+fma", "x86_64+avx2+fma", "aarch64+neon"))]
pub(super) fn multiply_accumulate(a: &Panel, b: &Panel, accumulators: &mut [f32], half: bool) {
    let columns = b.lanes();
    for (strip, accumulators) in accumulators.chunks_exact_mut(ROWS * columns).enumerate() {
        let row = strip * ROWS;
        let mut column = 0;
        while column < columns {
            column += match columns - column {
                32.. => tile::<32>(a, b, accumulators, row, column, half),
                16.. => tile::<16>(a, b, accumulators, row, column, half),
                _ => tile::<8>(a, b, accumulators, row, column, half),
            };
        }
    }
}

/// One register tile; returns its width.
#[inline(always)]
fn tile<const COLUMNS: usize>(
    a: &Panel,
    b: &Panel,
    accumulators: &mut [f32],
    row: usize,
    column: usize,
    half: bool,
) -> usize {
    let columns = b.lanes();
    let mut sums = [[0.0; COLUMNS]; ROWS];
    for (sums, accumulators) in sums.iter_mut().zip(accumulators.chunks_exact(columns)) {
        sums.copy_from_slice(&accumulators[column..column + COLUMNS]);
    }
    for (a, b) in a.values().chunks_exact(a.lanes()).zip(b.values().chunks_exact(columns)) {
        let a: [f32; ROWS] = *a[row..].first_chunk().expect("the strip lies in A");
        let b: [f32; COLUMNS] = *b[column..].first_chunk().expect("the tile lies in B");
        for (sums, a) in sums.iter_mut().zip(a) {
            for (sum, b) in sums.iter_mut().zip(b) {
                *sum = a.mul_add(b, *sum);
            }
        }
    }
    for (sums, accumulators) in sums.iter_mut().zip(accumulators.chunks_exact_mut(columns)) {
        if half {
            for sum in sums.iter_mut() {
                *sum = to_f16(f64::from(*sum));
            }
        }
        for (accumulator, &sum) in accumulators[column..column + COLUMNS].iter_mut().zip(&*sums) {
            *accumulator = if sum.is_nan() { CANONICAL_NAN } else { sum };
        }
    }
    COLUMNS
}
