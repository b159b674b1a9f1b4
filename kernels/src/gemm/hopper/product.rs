//! The families `hopper_gemm_fp8`, e4m3 with a scale for 1x128 of A and 128x128 of B, and `hopper_gemm_bf16`.

use super::epilogue::Product;
use super::plan::{Arguments, Results, Scales};
use super::spec::{A_PITCH, B_PITCH, CLUSTER, D_PITCH, HopperGemmSpec, K, N, SLICES, SPANS, TILE, WEIGHTS};
use super::{Groups, emit};
use crate::Family;
use crate::gemm::Order;
use crate::rule::{Rule, require};
use crate::targets::Targets;
use rorqual_codegen::contract::{In, InOut};
use rorqual_codegen::element::Bf16;
use rorqual_codegen::tma::TensorMapParameter;
use rorqual_codegen::{GenerateError, Kernel, generate};
use rorqual_ptx::target::Target;

/// States the arguments of a family: those that both have, with what is said of B, and what stands between operands and
/// results.
macro_rules! arguments {
    ($host:ident of $family:ident, $device:ident, $(#[doc = $b:literal])* b, $($scales:tt)*) => {
        rorqual_codegen::arguments! {
            #[doc = concat!("Arguments of [`", stringify!($family), "`]. Addresses are multiples of 16. Rows of A of all \
                groups together are less than 2^31.")]
            pub struct $host, $device {
                /// `[rows, k]`, `[groups, rows, k]` if masked: the first of [`HopperGemmSpec::a_maps`].
                a: TensorMapParameter,
                /// The second of them.
                a_few: TensorMapParameter,
                $(#[doc = $b])*
                b: TensorMapParameter,
                /// The second of them.
                b_few: TensorMapParameter,
                $($scales)*
                /// `[n]`; read where the specialisation asks for it.
                bias: In<f32>,
                /// `[rows, n]`, rows `d_pitch` apart; `[groups, rows, n]` if masked. Not touched with f32 output.
                d: InOut<Bf16>,
                /// As `d`; not touched with bf16 output.
                d_f32: InOut<f32>,
                /// Offsets `[groups + 1]` of prefix groups, counts `[groups]` of masked ones, the group of each row
                /// `[rows]`; else not touched.
                groups: In<u32>,
                /// Gains [`GROUPS`](crate::device_error::GROUPS) if `groups` does not suit: prefix groups from the first
                /// bad offset on are left out, a count is cut to `rows`, rows of a group that does not exist are left
                /// out. `[1]`
                error: InOut<u32>,
                /// Rows of A, all of which are there: bounds the offsets of prefix groups, and is the rows of each masked
                /// group.
                rows: u32,
            }
        }

        impl<'k> $device<'k> {
            /// As those of any family.
            fn with_scales(self, scales: Option<Scales<'k>>) -> Arguments<'k> {
                let Self { a, a_few, b, b_few, bias, d, d_f32, groups, error, rows, .. } = self;
                let results = Results::Product(Product { bias, d, d_f32 });
                Arguments { a, a_few, b, b_few, scales, results, groups, error, rows }
            }
        }
    };
}

arguments! {
    HopperFp8GemmArguments of HopperFp8Gemm, HopperFp8GemmParameters,
    /// `[n, k]`, one for each group: the first of [`HopperGemmSpec::b_maps`].
    b,
    /// `[rows, ceil(k / 128)]`, or column-major: `[ceil(k / 128), a_scale_pitch]`; rows as of A, all groups together.
    a_scales: In<f32>,
    /// Column-major scales of A from a block to the next. Not used with row-major scales.
    a_scale_pitch: u32,
    /// `[ceil(n / 128), ceil(k / 128)]`; one for each group.
    b_scales: In<f32>,
}

arguments! {
    HopperBf16GemmArguments of HopperBf16Gemm, HopperBf16GemmParameters,
    /// `[n, k]` or `[k, n]`, one for each group: the first of [`HopperGemmSpec::b_maps`].
    b,
}

/// Block-scaled products of e4m3 on Hopper; see the [module](super).
#[derive(Debug)]
pub struct HopperFp8Gemm;

impl Family for HopperFp8Gemm {
    const NAME: &'static str = "hopper_gemm_fp8";
    const TARGETS: Targets = Targets::Hopper;
    type Spec = HopperGemmSpec;
    type Arguments = HopperFp8GemmArguments;

    const RULES: &[Rule<HopperGemmSpec>] = &[
        Rule::new("a_scales", |spec| {
            require(spec.a_scales.is_some(), || {
                "`a_scales` is none, expected the layout of the scales in fp8".to_owned()
            })
        }),
        Rule::new("b_order", |spec| {
            require(spec.b_order == Order::OutputMajor, || {
                format!("`b_order` is {:?}, expected OutputMajor for fp8", spec.b_order)
            })
        }),
        Rule::new("grouping", |spec| {
            require(!matches!(spec.grouping, Groups::Batched { .. }), || {
                "`grouping` is Batched, expected Dense, Prefix, Indexed or Masked for fp8".to_owned()
            })
        }),
        N,
        K,
        TILE,
        CLUSTER,
        A_PITCH,
        B_PITCH,
        D_PITCH,
        WEIGHTS,
    ];

    fn emit(spec: &HopperGemmSpec, target: Target) -> Result<Kernel, GenerateError> {
        let plan = spec.plan();
        let header = plan.header(spec.name(Self::NAME, target), spec, target);
        generate::<HopperFp8GemmArguments>(header, |builder, arguments| {
            let HopperFp8GemmParameters { a_scales, a_scale_pitch, b_scales, .. } = arguments;
            let scales = Scales { a: a_scales, a_pitch: a_scale_pitch, b: b_scales };
            emit(builder, &plan, &arguments.with_scales(Some(scales)));
        })
    }
}

/// Products of bf16 on Hopper; see the [module](super).
#[derive(Debug)]
pub struct HopperBf16Gemm;

impl Family for HopperBf16Gemm {
    const NAME: &'static str = "hopper_gemm_bf16";
    const TARGETS: Targets = Targets::Hopper;
    type Spec = HopperGemmSpec;
    type Arguments = HopperBf16GemmArguments;

    const RULES: &[Rule<HopperGemmSpec>] = &[
        Rule::new("a_scales", |spec| {
            require(spec.a_scales.is_none(), || {
                format!("`a_scales` is {:?}, expected none in bf16", spec.a_scales)
            })
        }),
        N,
        K,
        TILE,
        CLUSTER,
        SPANS,
        A_PITCH,
        B_PITCH,
        D_PITCH,
        WEIGHTS,
        SLICES,
    ];

    fn emit(spec: &HopperGemmSpec, target: Target) -> Result<Kernel, GenerateError> {
        let plan = spec.plan();
        let header = plan.header(spec.name(Self::NAME, target), spec, target);
        generate::<HopperBf16GemmArguments>(header, |builder, arguments| {
            emit(builder, &plan, &arguments.with_scales(None));
        })
    }
}
