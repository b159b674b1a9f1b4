//! The family `hopper_gemm_bf16`.

use super::emit;
use super::epilogue::Product;
use super::plan::{Arguments, Results};
use super::spec::{A_PITCH, B_PITCH, CLUSTER, D_PITCH, HopperGemmSpec, K, N, SLICES, SPANS, TILE, WEIGHTS};
use crate::Family;
use crate::rule::{Rule, require};
use crate::targets::Targets;
use rorqual_codegen::contract::{In, InOut};
use rorqual_codegen::element::Bf16;
use rorqual_codegen::tma::TensorMapParameter;
use rorqual_codegen::{GenerateError, Kernel, generate};
use rorqual_ptx::target::Target;

rorqual_codegen::arguments! {
    /// Arguments of [`HopperBf16Gemm`]. Addresses are multiples of 16. Rows of A of all groups together are less than 2^31.
    pub struct HopperBf16GemmArguments, HopperBf16GemmParameters {
        /// `[rows, k]`, `[groups, rows, k]` if masked: the first of [`HopperGemmSpec::a_maps`].
        a: TensorMapParameter,
        /// The second of them.
        a_few: TensorMapParameter,
        /// `[n, k]` or `[k, n]`, one for each group: the first of [`HopperGemmSpec::b_maps`].
        b: TensorMapParameter,
        /// The second of them.
        b_few: TensorMapParameter,
        /// `[n]`; read where the specialisation asks for it.
        bias: In<f32>,
        /// `[rows, n]`, rows `d_pitch` apart; `[groups, rows, n]` if masked. Not touched with f32 output.
        d: InOut<Bf16>,
        /// As `d`; not touched with bf16 output.
        d_f32: InOut<f32>,
        /// Offsets `[groups + 1]` of prefix groups, counts `[groups]` of masked ones, the group of each row `[rows]`; else
        /// not touched.
        groups: In<u32>,
        /// Gains [`GROUPS`](crate::device_error::GROUPS) if `groups` does not suit: prefix groups from the first bad offset
        /// on are left out, a count is cut to `rows`, rows of a group that does not exist are left out. `[1]`
        error: InOut<u32>,
        /// Rows of A, all of which are there: bounds the offsets of prefix groups, and is the rows of each masked group.
        rows: u32,
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
            let HopperBf16GemmParameters { a, a_few, b, b_few, bias, d, d_f32, groups, error, rows } =
                arguments;
            let scales = None;
            let results = Results::Product(Product { bias, d, d_f32 });
            let arguments = Arguments { a, a_few, b, b_few, scales, results, groups, error, rows };
            emit(builder, &plan, &arguments);
        })
    }
}
