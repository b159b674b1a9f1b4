//! Integer and single-bit matrix instructions: s32 accumulators.

use super::{Arithmetic, Panel, multiply_accumulate};

/// Products of bytes that fit an f32 sum exactly: `256 * 255 * 255 < 2^24`.
const EXACT_DEPTH: usize = 256;

/// Adds the product of two panels of an integer [`Format`](super::Format) to s32 `accumulators`, laid out as in
/// [`multiply_accumulate`]. The result wraps, or is clamped to s32 if `saturate` (`.satfinite`).
///
/// `sums` is scratch; it holds one f32 per accumulator.
///
/// # Panics
/// As [`multiply_accumulate`]; and beyond a k of 256, more than any integer instruction has.
pub fn multiply_accumulate_integer(
    a: &Panel,
    b: &Panel,
    accumulators: &mut [i32],
    saturate: bool,
    sums: &mut Vec<f32>,
) {
    assert!(a.depth() <= EXACT_DEPTH, "integer products stay exact in f32");
    sums.clear();
    sums.resize(accumulators.len(), 0.0);
    multiply_accumulate(a, b, sums, Arithmetic::Exact { half: false });
    for (accumulator, &sum) in accumulators.iter_mut().zip(&*sums) {
        let sum = sum as i32;
        *accumulator = if saturate { accumulator.saturating_add(sum) } else { accumulator.wrapping_add(sum) };
    }
}

/// What takes the place of multiplication in a single-bit `mma` (PTX ISA 9.7.14.5.14).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BitOperation {
    /// `.xor`
    Xor,
    /// `.and`
    And,
}

/// Adds to each s32 accumulator the number of ones in `row of a <operation> column of b`, wrapping. Both operands
/// hold `words` 32-bit words of k for each row or column, in that order.
pub fn multiply_accumulate_bits(
    a: &[u32],
    b: &[u32],
    words: usize,
    accumulators: &mut [i32],
    operation: BitOperation,
) {
    match operation {
        BitOperation::Xor => count_ones(a, b, words, accumulators, |a, b| a ^ b),
        BitOperation::And => count_ones(a, b, words, accumulators, |a, b| a & b),
    }
}

fn count_ones(
    a: &[u32],
    b: &[u32],
    words: usize,
    accumulators: &mut [i32],
    operation: impl Fn(u32, u32) -> u32,
) {
    let columns = b.len() / words;
    for (row, accumulators) in a.chunks_exact(words).zip(accumulators.chunks_exact_mut(columns)) {
        for (column, accumulator) in b.chunks_exact(words).zip(accumulators) {
            let ones: u32 = row.iter().zip(column).map(|(&a, &b)| operation(a, b).count_ones()).sum();
            *accumulator = accumulator.wrapping_add(ones as i32);
        }
    }
}
