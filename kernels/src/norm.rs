//! RMSNorm of rows, with the residual addition before it and the FP8 quantisation behind it where asked.
//!
//! ```text
//! stream = bf16(x + residual)                          with `residual`
//! y      = bf16(stream * rsqrt(mean(stream^2) + epsilon) * weight)
//! codes, scales = quantise(y), one scale per 1x128      with `fp8`
//! ```
//!
//! A CTA takes a row. A thread holds runs of 8 neighbouring elements, so that 16 lanes hold a block of 128. The squares
//! are added in f32: a thread its own in ascending order, then lanes by distance, then warps in order.
//!
//! Source: Zhang and Sennrich, Root Mean Square Layer Normalization (2019); rounding points as in `quant.rs` and the
//! reference's `rms_norm`, from which the sum in f32 differs by at most one unit in the last place of bf16.

use crate::quant::quantize_run;
use crate::rows::{round_to_bf16, target_name};
use crate::rule::{Rule, an_output, at_least, within};
use crate::{BLOCK, Family, ScaleFormat};
use rorqual_codegen::contract::{Extent, In, InOut, Out};
use rorqual_codegen::element::{Bf16, E4m3};
use rorqual_codegen::run::RunLayout;
use rorqual_codegen::warp::reduce_cta_once;
use rorqual_codegen::{Builder, GenerateError, Header, Kernel, Value, generate};
use rorqual_ptx::target::Target;

/// Elements that a thread holds side by side.
const RUN: u32 = 8;
/// The longest row: 64 elements a thread in a CTA of 1024 threads.
const LONGEST_ROW: u32 = 64 * 1024;

/// What an RMSNorm is specialised to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct RmsNormSpec {
    /// Elements of a row.
    pub hidden: u32,
    /// Elements from one row of `x` to the next, at least `hidden`.
    pub x_pitch: u32,
    /// Whether `residual` is added first, and the sum written back to it.
    pub residual: bool,
    /// Whether `y` is written in bf16.
    pub bf16: bool,
    /// Whether, and with which scales, `y` is written in FP8.
    pub fp8: Option<ScaleFormat>,
}

rorqual_codegen::arguments! {
    /// Arguments of [`RmsNorm`].
    pub struct RmsNormArguments, RmsNormParameters {
        /// `[tokens, hidden]`, rows `x_pitch` apart.
        x: In<Bf16>,
        /// The residual stream, `[tokens, hidden]`: gains `x`. Not touched without `residual`.
        residual: InOut<Bf16>,
        /// `[hidden]`
        weight: In<f32>,
        /// `[tokens, hidden]`; not touched without `bf16`.
        y: Out<Bf16>,
        /// `[tokens, hidden]`; not touched without `fp8`.
        codes: Out<E4m3>,
        /// `[tokens, ceil(hidden / 128)]`; not touched without `fp8`.
        scales: Out<f32>,
        /// Rows.
        tokens: u32,
        /// Added to the mean of the squares.
        epsilon: f32,
    }
}

/// RMSNorm; see the [module](self).
#[derive(Debug)]
pub struct RmsNorm;

impl Family for RmsNorm {
    const NAME: &'static str = "rms_norm";
    type Spec = RmsNormSpec;
    type Arguments = RmsNormArguments;

    const RULES: &[Rule<RmsNormSpec>] = &[
        Rule::new("hidden", |spec| within("hidden", spec.hidden, 1..=LONGEST_ROW)),
        Rule::new("x_pitch", |spec| at_least("x_pitch", spec.x_pitch, "hidden", spec.hidden)),
        Rule::new("an output", |spec| an_output(spec.bf16, spec.fp8)),
    ];

    fn emit(spec: &RmsNormSpec, target: Target) -> Result<Kernel, GenerateError> {
        let threads = spec.hidden.div_ceil(RUN).next_multiple_of(32).min(256).max(spec.hidden / 64 / 32 * 32);
        let header = Header::new(name(spec, target), spec, target, threads);
        generate::<RmsNormArguments>(header.grid(Extent::argument("tokens"), 1, 1), |builder, arguments| {
            row(builder, spec, arguments);
        })
    }
}

fn name(spec: &RmsNormSpec, target: Target) -> String {
    let RmsNormSpec { hidden, x_pitch, residual, bf16, fp8 } = *spec;
    let pitch = if x_pitch == hidden { String::new() } else { format!("_p{x_pitch}") };
    let residual = if residual { "_residual" } else { "" };
    let bf16 = if bf16 { "_bf16" } else { "" };
    let fp8 = fp8.map_or(String::new(), |format| format!("_fp8{}", format.name()));
    let target = target_name(target);
    format!("rms_norm_h{hidden}{pitch}{residual}{bf16}{fp8}_{target}")
}

/// A run of the row in the registers of its thread.
struct Run<'k> {
    /// Its first element.
    first: Value<'k, u32>,
    /// Elements of the row from there on; 0 for a run behind the end.
    remaining: Value<'k, u32>,
    values: Vec<Value<'k, f32>>,
}

fn row<'k>(builder: &'k Builder, spec: &RmsNormSpec, arguments: RmsNormParameters<'k>) {
    let hidden = spec.hidden;
    let scratch = builder.shared::<f32>(builder.warps(), 4);
    let token = builder.cta(0);
    let x_layout = RunLayout::of_rows::<Bf16>(RUN as usize, hidden, spec.x_pitch);
    let layout = RunLayout::of_rows::<Bf16>(RUN as usize, hidden, hidden);
    let x = arguments.x.at(token.multiply_wide(spec.x_pitch));
    let start = token.multiply_wide(hidden);
    let residual = arguments.residual.at(start);

    let runs: Vec<Run<'k>> = (0..hidden.div_ceil(RUN * builder.threads()))
        .map(|round| {
            let first = (builder.thread() + round * builder.threads()) * RUN;
            let remaining = first.less(hidden).select(builder.constant(hidden) - first, builder.constant(0));
            let mut values = x_layout.load(x.at(first), remaining);
            if spec.residual {
                let stream = layout.load(residual.at(first), remaining);
                values = values.iter().zip(stream).map(|(x, stream)| round_to_bf16(*x + stream)).collect();
                layout.store(residual.at(first), remaining, &values);
            }
            Run { first, remaining, values }
        })
        .collect();

    let own = runs
        .iter()
        .flat_map(|run| &run.values)
        .fold(builder.constant(0.0), |sum: Value<'k, f32>, v| v.fma(*v, sum));
    let squares = reduce_cta_once(builder, own, scratch, |a, b| a + b);
    let mean = squares / hidden as f32;
    let inverse = builder.constant(1.0) / (mean + arguments.epsilon).sqrt();

    let weights = RunLayout::of_rows::<f32>(RUN as usize, hidden, hidden);
    let blocks = hidden.div_ceil(BLOCK);
    let codes_layout = RunLayout::of_rows::<E4m3>(RUN as usize, hidden, hidden);
    for run in &runs {
        let weight = weights.load(arguments.weight.at(run.first), run.remaining);
        let normed = run.values.iter().zip(weight).map(|(value, weight)| *value * inverse * weight);
        let normed: Vec<Value<'k, f32>> = normed.map(round_to_bf16).collect();
        if spec.bf16 {
            layout.store(arguments.y.at(start).at(run.first), run.remaining, &normed);
        }
        if let Some(format) = spec.fp8 {
            let (quotients, scale) = quantize_run(&normed, format);
            codes_layout.store(arguments.codes.at(start).at(run.first), run.remaining, &quotients);
            let leads = (run.first & (BLOCK - 1)).equals(0) & run.remaining.greater(0);
            let scales = arguments.scales.at(token.multiply_wide(blocks));
            scales.at(run.first / BLOCK).store_when(leads, scale);
        }
    }
}
