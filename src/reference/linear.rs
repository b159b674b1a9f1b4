//! The linear layer `y = x · wᵀ`: weights expanded a tile of outputs at a time, tiles spread over threads.
//!
//! The oracle of the dense and grouped matrix products. See [the rounding points](super#precision).

use std::ops::Range;

use multiversion::multiversion;
use rayon::prelude::*;

use super::matmul::View;
use super::quantize::{Quantized, quantize_1x128};
use super::sums::{Factors, multiply};
use super::{Numerics, Precision};
use crate::model::weights::{BLOCK, Matrix};
use crate::num::E4m3;

/// Outputs are computed for a multiple of this many weight rows at once; the rest is padding that nobody reads.
const LANES: usize = 16;

/// Elements of an expanded tile: small enough to stay in a core's second-level cache.
const TILE_ELEMENTS: usize = 1 << 16;

/// What is done with the f32 sums of a linear layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// An activation: bf16 in [`Precision::Kernel`].
    Activation,
    /// f32 in both precisions: router logits, head.
    F32,
}

/// `y = x · wᵀ`: `x` `[tokens, w.columns()]`, `y` `[tokens, w.rows()]`.
///
/// # Panics
/// If `x` is no whole number of rows.
pub fn linear(x: &[f32], w: &Matrix, output: Output, numerics: Numerics) -> Vec<f32> {
    linear_rows(x, w, 0..w.rows(), output, numerics)
}

/// [`linear`] with the weight rows `rows` alone: `y` `[tokens, rows.len()]`.
///
/// # Panics
/// If `x` is no whole number of rows or `rows` is out of range.
pub fn linear_rows(
    x: &[f32],
    w: &Matrix,
    rows: Range<usize>,
    output: Output,
    numerics: Numerics,
) -> Vec<f32> {
    product(&Input::new(x, w, numerics), w, rows, output, numerics)
}

/// [`linear`] on activations that are quantised already, against an FP8 weight: f32 sums within 128 of K, promoted
/// with both scales. `codes` `[tokens, w.columns()]`, `scales` `[tokens, ceil(w.columns()/128)]`, `y`
/// `[tokens, w.rows()]`. What a block-scaled GEMM kernel computes, before its output is rounded.
///
/// # Panics
/// If `w` has no block scales, or the codes and scales are not whole rows of as many tokens.
pub fn linear_quantized(x: &Quantized, w: &Matrix) -> Vec<f32> {
    assert!(w.is_block_scaled(), "quantised activations meet a weight with block scales");
    let columns = w.columns();
    assert!(columns > 0 && x.codes.len().is_multiple_of(columns), "whole rows of {columns} codes");
    let tokens = x.codes.len() / columns;
    assert_eq!(x.scales.len(), tokens * columns.div_ceil(BLOCK), "scales of {tokens} rows");
    let mut values = vec![0.0; x.codes.len()];
    E4m3::decode_slice(&x.codes, &mut values);
    let input = Input { tokens, columns, values, scales: Some(x.scales.clone()) };
    product(&input, w, 0..w.rows(), Output::F32, Numerics::KERNEL)
}

/// The product of a prepared input with some rows of a weight: `[tokens, rows.len()]`.
fn product(input: &Input, w: &Matrix, rows: Range<usize>, output: Output, numerics: Numerics) -> Vec<f32> {
    let width = rows.len();
    let tile_rows = (TILE_ELEMENTS / w.columns().max(1)).clamp(LANES, 8 * LANES) / LANES * LANES;
    let starts: Vec<usize> = rows.clone().step_by(tile_rows).collect();
    let tiles: Vec<(usize, Vec<f32>)> = starts
        .into_par_iter()
        .map(|start| {
            let tile = WeightTile::expand(w, start..rows.end.min(start + tile_rows), numerics);
            (start - rows.start, tile.apply(input, output, numerics))
        })
        .collect();

    let mut y = vec![0.0; input.tokens * width];
    for (start, tile) in tiles {
        let tile_width = tile_rows.min(width - start);
        for (y, tile) in y.chunks_mut(width).zip(tile.chunks(tile_width)) {
            y[start..start + tile_width].copy_from_slice(tile);
        }
    }
    y
}

/// The rows that a linear layer reads, as the product with a certain weight reads them.
struct Input {
    tokens: usize,
    columns: usize,
    /// f32, bf16, or the values of e4m3 codes: `[tokens, columns]`.
    values: Vec<f32>,
    /// Scales of the codes, `[tokens, ceil(columns/128)]`, where the product is an FP8 one.
    scales: Option<Vec<f32>>,
}

impl Input {
    fn new(x: &[f32], w: &Matrix, numerics: Numerics) -> Self {
        let columns = w.columns();
        assert_eq!(x.len() % columns.max(1), 0, "whole rows of {columns}");
        let tokens = x.len() / columns.max(1);
        let mut values = x.to_vec();
        let mut scales = None;
        if numerics.precision == Precision::Kernel {
            if w.is_block_scaled() {
                let quantized = quantize_1x128(x, columns, numerics.activation_scale);
                E4m3::decode_slice(&quantized.codes, &mut values);
                scales = Some(quantized.scales);
            } else {
                numerics.round(&mut values);
            }
        }
        Self { tokens, columns, values, scales }
    }

    fn view(&self) -> View<'_> {
        View::new(&self.values, self.tokens, self.columns, self.columns)
    }
}

/// Some rows of a weight, expanded and transposed so that the outputs lie side by side.
struct WeightTile<'a> {
    weight: &'a Matrix,
    rows: Range<usize>,
    /// `[columns, padded rows]`.
    transposed: Vec<f32>,
    padded_rows: usize,
}

impl<'a> WeightTile<'a> {
    fn expand(weight: &'a Matrix, rows: Range<usize>, numerics: Numerics) -> Self {
        let columns = weight.columns();
        let padded_rows = rows.len().next_multiple_of(LANES);
        let mut transposed = vec![0.0; columns * padded_rows];
        // A few rows and columns at a time, which stay in the first-level cache between reading and transposing.
        let mut strip = [0.0; LANES * BLOCK];
        for first in (0..rows.len()).step_by(LANES) {
            let present = LANES.min(rows.len() - first);
            strip[present * BLOCK..].fill(0.0);
            for (column_block, out) in transposed.chunks_mut(BLOCK * padded_rows).enumerate() {
                let run = out.len() / padded_rows;
                for (lane, row) in strip.chunks_mut(BLOCK).take(present).enumerate() {
                    let (at, row) = (rows.start + first + lane, &mut row[..run]);
                    match numerics.precision {
                        Precision::F32 => weight.read_block(at, column_block, row),
                        Precision::Kernel => {
                            weight.read_block_unscaled(at, column_block, row);
                            if !weight.is_block_scaled() {
                                numerics.round(row);
                            }
                        }
                    }
                }
                transpose_strip(&strip, run, &mut out[first..], padded_rows);
            }
        }
        Self { weight, rows, transposed, padded_rows }
    }

    /// The outputs of this tile's rows, `[tokens, rows]`.
    fn apply(&self, input: &Input, output: Output, numerics: Numerics) -> Vec<f32> {
        let weights = View::new(&self.transposed, input.columns, self.padded_rows, self.padded_rows);
        let mut sums = vec![0.0; input.tokens * self.padded_rows];
        match &input.scales {
            None => multiply(Factors::Bf16, input.view(), weights, &mut sums, numerics),
            Some(scales) => self.block_scaled_sums(input, scales, weights, &mut sums, numerics),
        }
        if output == Output::Activation {
            numerics.round(&mut sums);
        }
        if self.padded_rows == self.rows.len() {
            return sums;
        }
        sums.chunks(self.padded_rows).flat_map(|row| &row[..self.rows.len()]).copied().collect()
    }

    /// FP8: the sum over each 128 of K is promoted with both scales.
    fn block_scaled_sums(
        &self,
        input: &Input,
        scales: &[f32],
        weights: View<'_>,
        sums: &mut [f32],
        numerics: Numerics,
    ) {
        let blocks = input.columns.div_ceil(BLOCK);
        let mut partial = vec![0.0; sums.len()];
        let mut weight_scales = vec![1.0; self.padded_rows];
        for block in 0..blocks {
            let (start, run) = (block * BLOCK, BLOCK.min(input.columns - block * BLOCK));
            multiply(
                Factors::E4m3,
                input.view().columns(start, run),
                weights.rows(start, run),
                &mut partial,
                numerics,
            );
            for (scale, row) in weight_scales.iter_mut().zip(self.rows.clone()) {
                *scale = self.weight.scale(row, block);
            }
            let rows = sums.chunks_mut(self.padded_rows).zip(partial.chunks(self.padded_rows));
            for (token, (sums, partial)) in rows.enumerate() {
                promote(sums, partial, scales[token * blocks + block], &weight_scales);
            }
        }
    }
}

/// Writes the first `columns` columns of a strip `[16, 128]` as `[columns, 16]`, rows `stride` apart.
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2"))]
fn transpose_strip(strip: &[f32; LANES * BLOCK], columns: usize, out: &mut [f32], stride: usize) {
    for (column, out) in out.chunks_mut(stride).enumerate().take(columns) {
        let out: &mut [f32; LANES] = out.first_chunk_mut().expect("a padded row holds every lane");
        *out = std::array::from_fn(|lane| strip[lane * BLOCK + column]);
    }
}

/// `sum = fma(scale_a * scale_b, partial, sum)`, element by element.
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2+fma", "aarch64+neon"))]
fn promote(sums: &mut [f32], partial: &[f32], scale_a: f32, scales_b: &[f32]) {
    for ((sum, partial), scale_b) in sums.iter_mut().zip(partial).zip(scales_b) {
        *sum = (scale_a * scale_b).mul_add(*partial, *sum);
    }
}
