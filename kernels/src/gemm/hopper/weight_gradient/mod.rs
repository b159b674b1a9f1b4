//! Gradients of weights on Hopper: products of e4m3 whose sums are over tokens, with scales for 1x128 of both operands.
//!
//! ```text
//! D[g][i, j] = sum over the blocks b of group g, in ascending order, of
//!              a_scales[i, b] * b_scales[j, b] * (sum over the 128 tokens of b of A[i, token] * B[j, token])
//! ```
//!
//! With A the gradients of a layer's outputs and B its inputs, both transposed and quantised as
//! [`quantize_transpose`](crate::transpose) does, D is the gradient of its weight. The factor of a block is the rounded
//! product of two scales; `acc = fma(factor, sum of the block, acc)`. What D held is added at the end.
//!
//! The number of tokens is an argument, and with groups, experts, each has its own, which only the device knows: tokens
//! lie group after group, those of each filled up with zeros to whole blocks. A group of no tokens has a gradient of
//! zeros. The order of a sum depends on the blocks of its group alone, not on the tile and what surrounds the group.
//!
//! Roles and rings are those of the [products](super). What differs is said in `schedule.rs`: which tile, and which
//! blocks of tokens; `producer.rs`: scales of rows for both operands; `consumer.rs`: a factor for each element, and
//! results in f32.
//!
//! Sources: DeepSeek-V3 report (arXiv 2412.19437), section 3.3.2. Oracle: the formula, a block at a time in f32.

mod consumer;
mod producer;
mod schedule;
pub mod spec;

pub use spec::HopperWeightGradientSpec;

use super::shared_memory::SharedMemory;
use super::{Roles, Tile};
use crate::Family;
use crate::rule::Rule;
use crate::targets::Targets;
use rorqual_codegen::contract::{In, InOut};
use rorqual_codegen::tma::TensorMapParameter;
use rorqual_codegen::{GenerateError, Kernel, generate};
use rorqual_ptx::target::Target;

rorqual_codegen::arguments! {
    /// Arguments of [`HopperWeightGradient`]. Addresses are multiples of 16.
    pub struct HopperWeightGradientArguments, HopperWeightGradientParameters {
        /// `[m, tokens]` e4m3: [`HopperWeightGradientSpec::a_map`].
        a: TensorMapParameter,
        /// `[n, tokens]` e4m3: [`HopperWeightGradientSpec::b_map`].
        b: TensorMapParameter,
        /// `[m, k_blocks]`, or column-major: `[k_blocks, m]`.
        a_scales: In<f32>,
        /// `[n, k_blocks]`, or column-major: `[k_blocks, n]`.
        b_scales: In<f32>,
        /// `[groups, m, n]`, rows `d_pitch` apart, groups `m * d_pitch`.
        d: InOut<f32>,
        /// `[groups + 1]`: group `g` has the blocks `offsets[g]..offsets[g + 1]`; what `quantize_transpose` writes to
        /// `block_offsets`. Not touched without groups.
        offsets: In<u32>,
        /// Gains [`GROUPS`](crate::device_error::GROUPS) if an offset is below the one before or above `k_blocks`: groups
        /// from the first bad offset on are left out. `[1]`
        error: InOut<u32>,
        /// Blocks of 128 tokens; less than 2^24.
        k_blocks: u32,
    }
}

/// Block-scaled gradients of weights on Hopper; see the [module](self).
#[derive(Debug)]
pub struct HopperWeightGradient;

impl Family for HopperWeightGradient {
    const NAME: &'static str = "hopper_gemm_fp8_1d1d";
    const TARGETS: Targets = Targets::Hopper;
    type Spec = HopperWeightGradientSpec;
    type Arguments = HopperWeightGradientArguments;

    const RULES: &[Rule<HopperWeightGradientSpec>] =
        &[spec::M, spec::N, spec::D_PITCH, spec::TILE, spec::GROUPS];

    fn emit(spec: &HopperWeightGradientSpec, target: Target) -> Result<Kernel, GenerateError> {
        let header = spec.header(Self::NAME, target);
        generate::<HopperWeightGradientArguments>(header, |builder, arguments| {
            let memory = SharedMemory::reserve(builder, spec.contents());
            let roles = Roles {
                produce: || producer::produce(spec, &memory, &arguments),
                schedule: || schedule::schedule(spec, &memory, &arguments),
                consume: || consumer::consume(spec, &memory, &arguments),
            };
            roles.emit(&memory);
        })
    }
}
