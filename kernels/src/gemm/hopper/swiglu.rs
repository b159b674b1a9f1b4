//! The family `hopper_gemm_fp8_swiglu`: the first product of gated experts, its activation, and the quantisation that the
//! second product wants, in one kernel.
//!
//! ```text
//! gate, up = bf16(x W^T)                       W is gate over up; sums as of hopper_gemm_fp8
//! h = activation(gate, up)                     in f32, as of moe_swiglu; times the row's weight if asked
//! codes, scales = quantise(h)                  one scale per 1x128
//! ```
//!
//! Codes and scales are those of `hopper_gemm_fp8` and `moe_swiglu` behind each other, bit for bit, and gate and up, which
//! are four times the bytes of the codes, never go to memory.
//!
//! # The tile
//! A CTA has 128 rows, and 128 columns of gate with the 128 of up that go with them. Each consumer warpgroup has 64 rows and
//! all 256 columns: a product of 64x128 with gate, then one with up, whose partial sums use the same registers. 64 sums of
//! each and 64 partial sums are 192 registers, as in the 256x128 tile of `hopper_gemm_fp8`. In clocks of the port of shared
//! memory for 128 of K, 16 for the A of each product of 64xN and 32 of K, N / 4 for its B, and 1 for 128 bytes of a copy:
//!
//! | tile, and what a warpgroup has of it | products | reads | copies | tensor cores | busy at most |
//! |---|---|---|---|---|---|
//! | 64 rows; both warpgroups all, 64 gate and 64 up | 16 of 64x64 | 512 | 320 | 512 | 61.5 % |
//! | the same, gate and up staged as one B of 128 | 8 of 64x128 | 384 | 320 | 512 | 72.7 % |
//! | 128 rows; both warpgroups all, 64 gate and 64 up as one B | 16 of 64x128 | 768 | 384 | 1024 | 88.9 % |
//! | 128 rows; 64 rows each, 128 gate and 128 up | 16 of 64x128 | 768 | 384 | 1024 | 88.9 % |
//!
//! The last one is as good as any that fits the registers, and the only one in which a row, and with it a scale, is all in
//! one warp: warpgroups exchange nothing.
//!
//! One tensor copy brings gate and up of a stage: its box has rows of both, which are `inter` rows apart.
//!
//! # What it saves
//! With 8 experts of 4096 rows, 7168 wide and 2048 inside, the two kernels read and write 1083 MB, this one 546 MB: gate and
//! up, 268 MB, are neither written nor read. A tile has 56 blocks of K and then its activation, 64 elements a thread, during
//! which the tensor cores rest unless the other warpgroup is behind; that is why it has no division and no branch.
//!
//! # What it is not for
//! With `inter` that is no multiple of 128, blocks of scales of up start within those of 128 columns: these widths, and
//! groups of few rows, for which a tile is mostly empty, are served by the two kernels behind each other.
//!
//! Sources: as of the [products](super) and of [`moe_swiglu`](crate::moe::swiglu). Oracle: likewise.

use super::emit;
use super::gated::{Activated, Gated};
use super::grouping::Groups;
use super::plan::{Arguments, Plan, Results, Scales};
use super::spec::{HopperGemmSpec, pitch};
use super::tile::{Format, Multicast, Tile};
use crate::gemm::{LARGEST, pitch_name};
use crate::quant::ScaleLayout;
use crate::rows::target_name;
use crate::rule::{Rule, multiple, require, within};
use crate::targets::Targets;
use crate::{BLOCK, Family, ScaleFormat};
use rorqual_codegen::contract::{In, InOut, Out, TensorMap};
use rorqual_codegen::element::E4m3;
use rorqual_codegen::tma::TensorMapParameter;
use rorqual_codegen::{GenerateError, Kernel, generate};
use rorqual_ptx::target::Target;

/// Rows of a tile.
const ROWS: u32 = 128;

/// Stages, at most: as many as fit shared memory.
const MOST_STAGES: u32 = 4;

/// What a product with activation is specialised to. The number of rows is an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct HopperSwigluSpec {
    /// Columns of gate and of up, and of the codes; a multiple of 128.
    pub inter: u32,
    /// Length of the sums.
    pub k: u32,
    /// Which weight a row meets; not batched.
    pub grouping: Groups,
    /// Elements from a row of A to the next, at least `k`; whole chunks of 16 bytes.
    pub a_pitch: u32,
    /// Elements from a row of the weight to the next, at least `k`; whole chunks of 16 bytes.
    pub b_pitch: u32,
    /// Elements from a row of codes to the next, at least `inter`; whole chunks of 16 bytes.
    pub codes_pitch: u32,
    /// How the scales of A lie.
    pub a_scales: ScaleLayout,
    /// How the scales of the codes lie.
    pub scales: ScaleLayout,
    /// What the scales of the codes are.
    pub scale_format: ScaleFormat,
    /// Whether gate and up are clamped to `limit`.
    pub clamp: bool,
    /// Whether the activation has the shape that `alpha` and `beta` say, `gate / (1 + exp(-(alpha * gate))) * (up + beta)`,
    /// instead of SwiGLU's.
    pub shape: bool,
    /// Whether the activation is multiplied with the weight of its row, before it is quantised.
    pub row_weights: bool,
    /// Blocks of K that are under way or being multiplied at once.
    pub stages: u32,
}

impl HopperSwigluSpec {
    /// A dense product with SwiGLU, row-major scales in f32 and no gaps between rows.
    #[must_use]
    pub const fn new(inter: u32, k: u32) -> Self {
        Self {
            inter,
            k,
            grouping: Groups::Dense,
            a_pitch: k,
            b_pitch: k,
            codes_pitch: inter,
            a_scales: ScaleLayout::RowMajor,
            scales: ScaleLayout::RowMajor,
            scale_format: ScaleFormat::F32,
            clamp: false,
            shape: false,
            row_weights: false,
            stages: MOST_STAGES,
        }
    }

    /// The tensor map of A at an address, for `rows` as the kernel gets it.
    #[must_use]
    pub fn a_map(&self, address: u64, rows: u32) -> TensorMap {
        let [map, _] = self.plan().a_maps(address, rows);
        map
    }

    /// The tensor map of the weights at an address.
    #[must_use]
    pub fn b_map(&self, address: u64) -> TensorMap {
        self.plan().gate_up_map(address)
    }

    fn gated(&self) -> Gated {
        let Self { clamp, shape, row_weights, scale_format, scales, .. } = *self;
        Gated { clamp, shape, row_weights, format: scale_format, layout: scales }
    }

    fn plan(&self) -> Plan {
        let Self { grouping, a_pitch, b_pitch, codes_pitch, a_scales, stages, .. } = *self;
        let tile = Tile { m: ROWS, n: 2 * BLOCK, stages, multicast: Multicast::None };
        let product = HopperGemmSpec {
            grouping,
            a_pitch,
            b_pitch,
            d_pitch: codes_pitch,
            a_scales: Some(a_scales),
            ..HopperGemmSpec::new(Format::Fp8, 2 * self.inter, self.k, tile)
        };
        Plan { spec: product, gated: Some(self.gated()) }
    }

    /// The name of its kernel, of which no other specialisation has the like.
    fn name(&self, target: Target) -> String {
        let Self { inter, k, grouping, a_pitch, b_pitch, codes_pitch, stages, .. } = *self;
        let option = |is_so: bool, name: &'static str| if is_so { name } else { "" };
        let columns = option(self.a_scales == ScaleLayout::ColumnMajor, "_acol");
        let code_columns = option(self.scales == ScaleLayout::ColumnMajor, "_col");
        let (clamp, shape) = (option(self.clamp, "_clamp"), option(self.shape, "_shape"));
        let weights = option(self.row_weights, "_weights");
        let pitch = pitch_name([a_pitch, b_pitch, codes_pitch], [k, k, inter]);
        let (format, grouping) = (self.scale_format.name(), grouping.name());
        let (family, target) = (HopperFp8Swiglu::NAME, target_name(target));
        format!(
            "{family}_i{inter}_k{k}_{format}{columns}{code_columns}{clamp}{shape}{weights}{grouping}{pitch}_s{stages}_{target}"
        )
    }
}

rorqual_codegen::arguments! {
    /// Arguments of [`HopperFp8Swiglu`]. Addresses are multiples of 16. Rows of A of all groups together are less than 2^31.
    pub struct HopperFp8SwigluArguments, HopperFp8SwigluParameters {
        /// `[rows, k]`, `[groups, rows, k]` if masked: [`HopperSwigluSpec::a_map`].
        a: TensorMapParameter,
        /// `[2 * inter, k]`, one for each group, gate first: [`HopperSwigluSpec::b_map`].
        b: TensorMapParameter,
        /// `[rows, ceil(k / 128)]`, or column-major: `[ceil(k / 128), a_scale_pitch]`; rows as of A, all groups together.
        a_scales: In<f32>,
        /// Column-major scales of A from a block to the next. Not used with row-major scales.
        a_scale_pitch: u32,
        /// `[2 * inter / 128, ceil(k / 128)]`; one for each group.
        b_scales: In<f32>,
        /// `[rows]`, rows as of A; read where the specialisation asks for it.
        row_weights: In<f32>,
        /// `[rows, inter]`, rows `codes_pitch` apart; `[groups, rows, inter]` if masked.
        codes: Out<E4m3>,
        /// `[rows, inter / 128]`, or column-major: `[inter / 128, scale_pitch]`; rows as of the codes, all groups together.
        scales: Out<f32>,
        /// Column-major scales of the codes from a block to the next. Not used with row-major scales.
        scale_pitch: u32,
        /// As of [`HopperFp8Gemm`](super::HopperFp8Gemm).
        groups: In<u32>,
        /// As of [`HopperFp8Gemm`](super::HopperFp8Gemm).
        error: InOut<u32>,
        /// As of [`HopperFp8Gemm`](super::HopperFp8Gemm).
        rows: u32,
        /// The bound of gate and up; not used without `clamp`.
        limit: f32,
        /// What gate is multiplied with in the exponential; not used without `shape`.
        alpha: f32,
        /// What is added to up; not used without `shape`.
        beta: f32,
    }
}

/// Block-scaled products of e4m3 with the activation of gated experts; see the [module](self).
#[derive(Debug)]
pub struct HopperFp8Swiglu;

impl Family for HopperFp8Swiglu {
    const NAME: &'static str = "hopper_gemm_fp8_swiglu";
    const TARGETS: Targets = Targets::Hopper;
    type Spec = HopperSwigluSpec;
    type Arguments = HopperFp8SwigluArguments;

    const RULES: &[Rule<HopperSwigluSpec>] = &[
        Rule::new("inter", |spec| {
            multiple("inter", spec.inter, BLOCK, LARGEST / 2)
                .map_err(|wrong| format!("{wrong}; hopper_gemm_fp8 and moe_swiglu serve other widths"))
        }),
        Rule::new("k", |spec| within("k", spec.k, 1..=LARGEST)),
        Rule::new("grouping", |spec| {
            require(!matches!(spec.grouping, Groups::Batched { .. }), || {
                "`grouping` is Batched, expected Dense, Prefix, Indexed or Masked".to_owned()
            })
        }),
        Rule::new("groups", |spec| {
            let groups = spec.grouping.weights();
            within("groups", groups, 1..=65535)?;
            // Coordinates of scales and tensor copies have 31 bits.
            require(2 * u64::from(spec.inter) * u64::from(groups) < 1 << 31, || {
                format!("`inter` is {} and `groups` {groups}, expected a product below 2^30", spec.inter)
            })
        }),
        Rule::new("a_pitch", |spec| pitch("a_pitch", spec.a_pitch, ("k", spec.k), 1)),
        Rule::new("b_pitch", |spec| pitch("b_pitch", spec.b_pitch, ("k", spec.k), 1)),
        Rule::new("codes_pitch", |spec| pitch("codes_pitch", spec.codes_pitch, ("inter", spec.inter), 1)),
        Rule::new("stages", |spec| within("stages", spec.stages, 2..=MOST_STAGES)),
    ];

    fn emit(spec: &HopperSwigluSpec, target: Target) -> Result<Kernel, GenerateError> {
        let plan = spec.plan();
        let header = plan.header(spec.name(target), spec, target);
        generate::<HopperFp8SwigluArguments>(header, |builder, arguments| {
            let HopperFp8SwigluParameters { a, b, row_weights, codes, scales, scale_pitch, .. } = arguments;
            let HopperFp8SwigluParameters { groups, error, rows, limit, alpha, beta, .. } = arguments;
            let results = Results::Activated(Activated {
                gated: spec.gated(),
                codes,
                scales,
                scale_pitch,
                row_weights,
                limit,
                alpha,
                beta,
            });
            let scales = Some(Scales {
                a: arguments.a_scales,
                a_pitch: arguments.a_scale_pitch,
                b: arguments.b_scales,
            });
            // There are no tiles of few rows, which the second maps are for.
            let arguments = Arguments { a, a_few: a, b, b_few: b, scales, results, groups, error, rows };
            emit(builder, &plan, &arguments);
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_has_rows_of_gate_and_up() {
        let grouping = Groups::Prefix { groups: 3 };
        let map = HopperSwigluSpec { grouping, ..HopperSwigluSpec::new(256, 512) }.b_map(1024);
        assert_eq!(map.extents, [512, 256, 6]);
        assert_eq!(map.strides_bytes, [512, 256 * 512]);
        assert_eq!(map.box_extents, [128, 128, 2]);
    }

    #[test]
    fn what_is_not_served_is_refused_in_words() {
        let wrong = |spec| HopperFp8Swiglu::check(&spec).expect_err("no kernel");
        let spec = HopperSwigluSpec::new(256, 512);
        assert_eq!(HopperFp8Swiglu::check(&spec), Ok(()));
        assert_eq!(
            wrong(HopperSwigluSpec { inter: 192, ..spec }),
            "`inter` is 192, expected a multiple of 128 from 128 to 8388608; hopper_gemm_fp8 and moe_swiglu serve other widths"
        );
        assert_eq!(wrong(HopperSwigluSpec { stages: 5, ..spec }), "`stages` is 5, expected 2 to 4");
    }
}
