//! The CPU reference path: the DeepSeek-style network in plain loops, and the oracle of every kernel.
//!
//! Read [`model`] first, then the operations in the order in which a token meets them: [`ops`] (embedding, norm,
//! SwiGLU), [`rope`], [`mla`], [`gate`], [`moe`], [`mtp`]. Each operation is a public function of slices, row-major,
//! so that a kernel can be held against it alone.
//!
//! # Precision
//! Every operation takes [`Numerics`]. [`Precision::F32`] is the mathematics, in f32. [`Precision::Kernel`] rounds
//! where the GPU kernels round, and nowhere else:
//!
//! | where | rounding |
//! |---|---|
//! | embedding, norm, rotation, residual | computed in f32, result bf16 |
//! | matrix product with an FP8 weight | input to e4m3 with one scale per 1x128; f32 sum within 128 of K, promoted by `fma(scale_a * scale_b, sum, acc)`; result bf16 |
//! | matrix product with any other weight | input and weight bf16, f32 sum, result bf16 |
//! | router logits and scores | f32 throughout, the weight as stored |
//! | softmax | f32; `exp(score - max)` is rounded to bf16 before it weighs the values, the sum that divides the result is not |
//! | attention output, absorbed query | bf16 |
//! | SwiGLU | f32 from bf16 gate and up; quantised, or rounded to bf16, by the product that reads it, with no stop between |
//! | combine | f32: the shared expert's output, then `fma(weight, expert output, acc)` in ascending slot; result bf16 |
//! | head | bf16 inputs, f32 logits |
//!
//! Instead of f32, the tensor core of a target can add the products: [`Sums`]. The weighted sum of values in attention,
//! whose order is the kernels' own, stays in f32.
//!
//! # Batch invariance
//! What a token computes depends on its own sequence alone, bit for bit: not on the batch around it, the length of
//! a prefill chunk or the number of threads. Sums have a fixed order ([`matmul`] says how), and prompt tokens
//! always attend in the naive form, generated and speculated tokens in the absorbed form ([`mla::Form`]).

pub mod gate;
pub mod linear;
pub mod matmul;
pub mod mla;
pub mod model;
pub mod moe;
pub mod mtp;
pub mod ops;
pub mod quantize;
pub mod rope;
pub mod sums;

pub use model::{Model, Observer, Segment};
pub use sums::Sums;

use crate::model::config::ScaleFormat;
use crate::num::round_to_bf16;

/// How exactly an operation follows the kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// The mathematics: f32 throughout, weights expanded to f32.
    F32,
    /// The rounding points of the kernels; see the [module documentation](self).
    Kernel,
}

/// Precision, and the format of the scales that FP8 activations get in [`Precision::Kernel`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numerics {
    /// Where values are rounded.
    pub precision: Precision,
    /// Scales of FP8 activations: any f32, or powers of two (`scale_fmt: ue8m0`).
    pub activation_scale: ScaleFormat,
    /// What adds the products of matrix products in [`Precision::Kernel`]; in [`Precision::F32`] always f32.
    pub sums: Sums,
}

impl Numerics {
    /// The mathematics in f32.
    pub const F32: Self =
        Self { precision: Precision::F32, activation_scale: ScaleFormat::F32, sums: Sums::F32 };
    /// The kernels' rounding points with f32 activation scales.
    pub const KERNEL: Self =
        Self { precision: Precision::Kernel, activation_scale: ScaleFormat::F32, sums: Sums::F32 };

    /// Rounds an activation that a kernel would store: to bf16 in [`Precision::Kernel`], not at all in
    /// [`Precision::F32`].
    pub fn round(self, values: &mut [f32]) {
        if self.precision == Precision::Kernel {
            for value in values {
                *value = round_to_bf16(*value);
            }
        }
    }
}

/// An input that the network cannot run on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InputError {
    /// A token outside the vocabulary.
    #[error("token id {token} at position {position} is outside the vocabulary of {vocab_size}")]
    TokenOutOfRange {
        /// The token.
        token: u32,
        /// Its position in the sequence.
        position: usize,
        /// Number of tokens that the network knows.
        vocab_size: usize,
    },
    /// Nothing to run on.
    #[error("the prompt is empty, expected at least one token")]
    EmptyPrompt,
    /// More tokens than the network has positions for.
    #[error("{tokens} tokens, expected at most {max_position_embeddings} (`max_position_embeddings`)")]
    TooLong {
        /// Tokens of the sequence.
        tokens: usize,
        /// Positions that the configuration allows.
        max_position_embeddings: usize,
    },
    /// Not a hidden state for each token.
    #[error(
        "{given} elements of hidden states, expected {expected} for {tokens} tokens (tokens * `hidden_size`)"
    )]
    HiddenStates {
        /// Tokens that states are needed for.
        tokens: usize,
        /// Elements of so many states.
        expected: usize,
        /// Elements that were given.
        given: usize,
    },
    /// Part of a hidden state.
    #[error("{given} elements of hidden states, expected a multiple of {hidden_size} (`hidden_size`)")]
    PartialState {
        /// Elements of a state.
        hidden_size: usize,
        /// Elements that were given.
        given: usize,
    },
    /// Speculation was asked of a checkpoint without the module for it.
    #[error("the checkpoint has no multi-token-prediction module, which speculation needs")]
    NoMtp,
}
