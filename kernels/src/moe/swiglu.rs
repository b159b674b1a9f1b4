//! SwiGLU of the gate and up projections, with the FP8 quantisation behind it where asked.
//!
//! ```text
//! y = gate / (1 + exp(-gate)) * up                      in f32
//! codes, scales = quantise(y), one scale per 1x128      with `fp8`: y is not rounded before
//! out = bf16(y)                                         with `bf16`
//! ```
//!
//! With `clamp`, gate and up are bounded by `limit` first, as `activation.rs` says. A thread takes a run of 8 elements, 16
//! neighbouring lanes a block of 128. Rows from the row count on are not touched.
//!
//! Source: Shazeer, GLU Variants Improve Transformer (2020). Oracle: the reference's `swiglu`, from which the
//! exponential differs by 2^-21.

use crate::moe::activation::Activation;
use crate::quant::quantize_run;
use crate::rows::{self, RUN, target_name};
use crate::rule::{Rule, an_output, within};
use crate::{BLOCK, Family, ScaleFormat};
use rorqual_codegen::contract::{Extent, In, Out};
use rorqual_codegen::element::{Bf16, E4m3};
use rorqual_codegen::run::RunLayout;
use rorqual_codegen::{Builder, GenerateError, Header, Kernel, Value, generate};
use rorqual_ptx::target::Target;

/// What a SwiGLU is specialised to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct SwigluSpec {
    /// Elements of gate and of up.
    pub inter: u32,
    /// Whether the inputs are clamped to `limit`.
    pub clamp: bool,
    /// Whether the number of rows is read from the device.
    pub device_rows: bool,
    /// Whether the result is written in bf16.
    pub bf16: bool,
    /// Whether, and with which scales, the result is written in FP8.
    pub fp8: Option<ScaleFormat>,
}

rorqual_codegen::arguments! {
    /// Arguments of [`Swiglu`].
    pub struct SwigluArguments, SwigluParameters {
        /// `[rows, 2 * inter]`: gate, then up.
        gate_up: In<Bf16>,
        /// `[1]`: how many rows there are, if less than `rows`; e.g. `offsets[experts]` of `moe_layout`. Not touched
        /// without `device_rows`.
        row_count: In<u32>,
        /// `[rows, inter]`; not touched without `bf16`.
        out: Out<Bf16>,
        /// `[rows, inter]`; not touched without `fp8`.
        codes: Out<E4m3>,
        /// `[rows, ceil(inter / 128)]`; not touched without `fp8`.
        scales: Out<f32>,
        /// Rows, or the most there can be.
        rows: u32,
        /// The bound of the inputs; not used without `clamp`.
        limit: f32,
    }
}

/// SwiGLU; see the [module](self).
#[derive(Debug)]
pub struct Swiglu;

impl Family for Swiglu {
    const NAME: &'static str = "moe_swiglu";
    type Spec = SwigluSpec;
    type Arguments = SwigluArguments;

    const RULES: &[Rule<SwigluSpec>] = &[
        Rule::new("inter", |spec| within("inter", spec.inter, 1..=rows::LONGEST_ROW)),
        Rule::new("an output", |spec| an_output(spec.bf16, spec.fp8)),
    ];

    fn emit(spec: &SwigluSpec, target: Target) -> Result<Kernel, GenerateError> {
        let grid = rows::grid(Extent::argument("rows"), spec.inter);
        let header = Header::new(name(spec, target), spec, target, rows::THREADS).grid(grid, 1, 1);
        generate::<SwigluArguments>(header, |builder, arguments| body(builder, spec, arguments))
    }
}

fn name(spec: &SwigluSpec, target: Target) -> String {
    let SwigluSpec { inter, clamp, device_rows, bf16, fp8 } = *spec;
    let clamp = if clamp { "_clamp" } else { "" };
    let device_rows = if device_rows { "_device" } else { "" };
    let bf16 = if bf16 { "_bf16" } else { "" };
    let fp8 = fp8.map_or(String::new(), |format| format!("_fp8{}", format.name()));
    format!("moe_swiglu_i{inter}{clamp}{device_rows}{bf16}{fp8}_{}", target_name(target))
}

fn body<'k>(builder: &'k Builder, spec: &SwigluSpec, arguments: SwigluParameters<'k>) {
    let inter = spec.inter;
    let mut rows = arguments.rows;
    if spec.device_rows {
        rows = rows.min(arguments.row_count.load());
    }
    let run = rows::run(builder, rows, inter);
    let input = arguments.gate_up.at(run.row.multiply_wide(2 * inter)).at(run.first);
    let input_layout = RunLayout::of_rows::<Bf16>(RUN as usize, inter, inter);
    let gate = input_layout.load(input, run.remaining);
    let up = input_layout.load(input.at(inter), run.remaining);
    let activation = Activation { limit: spec.clamp.then_some(arguments.limit), shape: None };
    let values: Vec<Value<'k, f32>> =
        gate.into_iter().zip(up).map(|(gate, up)| activation.of(gate, up)).collect();
    let start = run.row.multiply_wide(inter);
    if spec.bf16 {
        let out = arguments.out.at(start).at(run.first);
        RunLayout::of_rows::<Bf16>(RUN as usize, inter, inter).store(out, run.remaining, &values);
    }
    if let Some(format) = spec.fp8 {
        let (quotients, scale) = quantize_run(&values, format);
        let codes = arguments.codes.at(start).at(run.first);
        RunLayout::of_rows::<E4m3>(RUN as usize, inter, inter).store(codes, run.remaining, &quotients);
        let scales = arguments.scales.at(run.row.multiply_wide(inter.div_ceil(BLOCK)));
        scales.at(run.block).store_when(run.leads, scale);
    }
}
