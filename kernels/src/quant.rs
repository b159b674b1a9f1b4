//! FP8 block scaling: activations by 1x128, weights by 128x128, and weights back to bf16.
//!
//! `scale = max(amax, 1e-4) / 448`, `code = e4m3(x / scale)` with the codes of a true division (DeepSeek-V3 report, section
//! 3.3.2). `amax` passes over NaN, which spoils its own code alone. [`quantize_run`] is what every kernel does that ends in
//! e4m3 codes.
//!
//! A thread holds runs of 8 elements, 16 neighbouring lanes a row of a block. Sources: as above. Oracle: the
//! reference's `quantize`, of which every bit is met.

use crate::rows::{self, RUN, ValueFormat, pitch_name, target_name};
use crate::rule::{Rule, at_least, within};
use crate::{BLOCK, Family, ScaleFormat};
use rorqual_codegen::contract::{Extent, In, Out};
use rorqual_codegen::element::{Bf16, E4m3};
use rorqual_codegen::run::RunLayout;
use rorqual_codegen::warp::{reduce_cta_once, reduce_lanes};
use rorqual_codegen::{Builder, GenerateError, Header, Kernel, Value, generate};
use rorqual_ptx::target::Target;

/// The smallest magnitude that a scale stands for.
const SMALLEST_AMAX: f32 = 1e-4;
/// The largest e4m3.
const LARGEST_CODE: f32 = 448.0;

/// The scale of a block with this largest magnitude.
#[track_caller]
pub fn block_scale(amax: Value<'_, f32>, format: ScaleFormat) -> Value<'_, f32> {
    let scale = amax.max(SMALLEST_AMAX) / LARGEST_CODE;
    match format {
        ScaleFormat::F32 => scale,
        ScaleFormat::PowerOfTwo => next_power_of_two(scale),
    }
}

/// The least power of two that is not less; infinity stays. The argument is positive and normal.
#[track_caller]
pub(crate) fn next_power_of_two(scale: Value<'_, f32>) -> Value<'_, f32> {
    let bits = scale.bits::<u32>();
    // A carry out of the mantissa raises the exponent.
    ((bits + 0x7f_ffff) & 0x7f80_0000).bits()
}

/// Quantises the run of a thread, whose block of 128 is held by `128 / run.len()` neighbouring lanes: the quotients to
/// be rounded to e4m3, and the scale of the block. All lanes of the warp take part.
#[track_caller]
pub fn quantize_run<'k>(
    run: &[Value<'k, f32>],
    format: ScaleFormat,
) -> (Vec<Value<'k, f32>>, Value<'k, f32>) {
    let own = run.iter().skip(1).fold(run[0].abs(), |amax, value| amax.max(value.abs()));
    let amax = reduce_lanes(own, BLOCK / run.len() as u32, |a, b| a.max(b));
    let scale = block_scale(amax, format);
    (quotients(run, scale, format), scale)
}

/// Values divided by the scale of the block that they are in: as if each were divided, without a division each.
///
/// Products with the reciprocal of a power of two are quotients. Of another scale, `q = v * r` with the rounded reciprocal
/// `r` is off by less than 2 units in the last place. `q - (q * scale - v) * r` with fused operations is off by less than
/// one, and done again it is the nearest f32 (Markstein, Computation of elementary functions on the IBM RISC System/6000
/// processor, 1990). Residuals are exact but for quotients below 2^-79, which are zero as e4m3. Signs of zeros are right
/// because the residual of a zero is subtracted from it.
#[track_caller]
fn quotients<'k>(
    values: &[Value<'k, f32>],
    scale: Value<'k, f32>,
    format: ScaleFormat,
) -> Vec<Value<'k, f32>> {
    let builder = scale.builder();
    let reciprocal = builder.constant(1.0_f32) / scale;
    let products = values.iter().map(|value| *value * reciprocal);
    if format == ScaleFormat::PowerOfTwo {
        return products.collect();
    }
    // With an infinite scale products are right already: zero and NaN, to which the residual adds nothing.
    let finite = scale.less(f32::INFINITY).select(scale, builder.constant(0.0));
    let better = |quotient: Value<'k, f32>, value: Value<'k, f32>| {
        let residual = quotient.fma(finite, -value);
        (-residual).fma(reciprocal, quotient)
    };
    let divided = products.zip(values).map(|(product, value)| better(better(product, *value), *value));
    divided.collect()
}

/// How the scales of activations lie in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum ScaleLayout {
    /// `[tokens, ceil(k / 128)]`.
    RowMajor,
    /// `[ceil(k / 128), scale_pitch]`, of which each row has the scales of all tokens: what TMA loads.
    ColumnMajor,
}

/// What a 1x128 quantisation is specialised to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct Quantize1x128Spec {
    /// Elements of a row.
    pub k: u32,
    /// Elements from one row of the input to the next, at least `k`.
    pub x_pitch: u32,
    /// The format of the input.
    pub input: ValueFormat,
    /// The format of the scales.
    pub scale: ScaleFormat,
    /// How the scales lie.
    pub scale_layout: ScaleLayout,
}

rorqual_codegen::arguments! {
    /// Arguments of [`Quantize1x128`].
    pub struct Quantize1x128Arguments, Quantize1x128Parameters {
        /// `[tokens, k]`, rows `x_pitch` apart; read where the input is bf16.
        x: In<Bf16>,
        /// `[tokens, k]`, rows `x_pitch` apart; read where the input is f32.
        x_f32: In<f32>,
        /// `[tokens, k]`
        codes: Out<E4m3>,
        /// `[tokens, ceil(k / 128)]`, or column-major: `[ceil(k / 128), scale_pitch]`.
        scales: Out<f32>,
        /// Rows.
        tokens: u32,
        /// Column-major scales of a block, at least `tokens`; for TMA a multiple of 4. What is behind `tokens` is not
        /// touched. Not used with row-major scales.
        scale_pitch: u32,
    }
}

/// Quantisation of activations; see the [module](self).
#[derive(Debug)]
pub struct Quantize1x128;

impl Family for Quantize1x128 {
    const NAME: &'static str = "quantize_1x128";
    type Spec = Quantize1x128Spec;
    type Arguments = Quantize1x128Arguments;

    const RULES: &[Rule<Quantize1x128Spec>] = &[
        Rule::new("k", |spec| within("k", spec.k, 1..=rows::LONGEST_ROW)),
        Rule::new("x_pitch", |spec| at_least("x_pitch", spec.x_pitch, "k", spec.k)),
    ];

    fn emit(spec: &Quantize1x128Spec, target: Target) -> Result<Kernel, GenerateError> {
        let Quantize1x128Spec { k, x_pitch, input, scale, scale_layout } = *spec;
        let layout = if scale_layout == ScaleLayout::ColumnMajor { "_col" } else { "" };
        let (input, pitch) = (input.name(), pitch_name(k, x_pitch));
        let name =
            format!("quantize_1x128_{input}_k{k}{pitch}_{}{layout}_{}", scale.name(), target_name(target));
        let grid = rows::grid(Extent::argument("tokens"), k);
        let header = Header::new(name, spec, target, rows::THREADS).grid(grid, 1, 1);
        generate::<Quantize1x128Arguments>(header, |builder, arguments| activations(builder, spec, arguments))
    }
}

fn activations<'k>(builder: &'k Builder, spec: &Quantize1x128Spec, arguments: Quantize1x128Parameters<'k>) {
    let Quantize1x128Spec { k, x_pitch, .. } = *spec;
    let run = rows::run(builder, arguments.tokens, k);
    let start = run.row.multiply_wide(x_pitch);
    let (x, x_f32) = (arguments.x.at(start).at(run.first), arguments.x_f32.at(start).at(run.first));
    let values = rows::load(spec.input, x, x_f32, (k, x_pitch), run.remaining);
    let (quotients, scale) = quantize_run(&values, spec.scale);
    let codes = arguments.codes.at(run.row.multiply_wide(k)).at(run.first);
    RunLayout::of_rows::<E4m3>(RUN as usize, k, k).store(codes, run.remaining, &quotients);
    let at = match spec.scale_layout {
        ScaleLayout::RowMajor => run.row.multiply_wide(k.div_ceil(BLOCK)) + run.block.to_u64(),
        ScaleLayout::ColumnMajor => run.block.multiply_wide(arguments.scale_pitch) + run.row.to_u64(),
    };
    arguments.scales.at(at).store_when(run.leads, scale);
}

/// What a 128x128 quantisation is specialised to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct Quantize128x128Spec {
    /// Rows of the weight.
    pub n: u32,
    /// Columns of the weight.
    pub k: u32,
    /// The format of the input.
    pub input: ValueFormat,
    /// The format of the scales.
    pub scale: ScaleFormat,
}

rorqual_codegen::arguments! {
    /// Arguments of [`Quantize128x128`].
    pub struct Quantize128x128Arguments, Quantize128x128Parameters {
        /// `[n, k]`; read where the input is bf16.
        weight: In<Bf16>,
        /// `[n, k]`; read where the input is f32.
        weight_f32: In<f32>,
        /// `[n, k]`
        codes: Out<E4m3>,
        /// `[ceil(n / 128), ceil(k / 128)]`
        scales: Out<f32>,
    }
}

/// Quantisation of weights; see the [module](self). A CTA takes a block.
#[derive(Debug)]
pub struct Quantize128x128;

impl Family for Quantize128x128 {
    const NAME: &'static str = "quantize_128x128";
    type Spec = Quantize128x128Spec;
    type Arguments = Quantize128x128Arguments;

    const RULES: &[Rule<Quantize128x128Spec>] = &[
        Rule::new("k", |spec| within("k", spec.k, 1..=rows::LONGEST_ROW)),
        Rule::new("n", |spec| within("n", spec.n, 1..=rows::LONGEST_ROW)),
    ];

    fn emit(spec: &Quantize128x128Spec, target: Target) -> Result<Kernel, GenerateError> {
        let Quantize128x128Spec { n, k, input, scale } = *spec;
        let (input, scale) = (input.name(), scale.name());
        let name = format!("quantize_128x128_{input}_n{n}_k{k}_{scale}_{}", target_name(target));
        let header =
            Header::new(name, spec, target, rows::THREADS).grid(k.div_ceil(BLOCK), n.div_ceil(BLOCK), 1);
        generate::<Quantize128x128Arguments>(header, |builder, arguments| weight(builder, spec, arguments))
    }
}

/// A run of the block of the CTA: where it starts in the weight, and how many elements of the row are left.
struct BlockRun<'k> {
    start: Value<'k, u64>,
    remaining: Value<'k, u32>,
}

/// The runs of a thread in the block of the CTA, of a weight `[n, k]`.
fn block_runs(builder: &Builder, n: u32, k: u32) -> Vec<BlockRun<'_>> {
    let lanes = BLOCK / RUN;
    let rows_at_once = builder.threads() / lanes;
    let column = builder.cta(0) * BLOCK + (builder.thread() & (lanes - 1)) * RUN;
    let run = |round: u32| {
        let row = builder.cta(1) * BLOCK + builder.thread() / lanes + round * rows_at_once;
        let present = row.less(n) & column.less(k);
        let remaining = present.select(builder.constant(k) - column, builder.constant(0));
        BlockRun { start: row.multiply_wide(k) + column.to_u64(), remaining }
    };
    (0..BLOCK / rows_at_once).map(run).collect()
}

fn weight<'k>(builder: &'k Builder, spec: &Quantize128x128Spec, arguments: Quantize128x128Parameters<'k>) {
    let Quantize128x128Spec { n, k, .. } = *spec;
    let scratch = builder.shared::<f32>(builder.warps(), 4);
    let runs = block_runs(builder, n, k);
    let load = |run: &BlockRun<'k>| {
        let (bf16, f32) = (arguments.weight.at(run.start), arguments.weight_f32.at(run.start));
        rows::load(spec.input, bf16, f32, (k, k), run.remaining)
    };
    let values: Vec<Vec<Value<'k, f32>>> = runs.iter().map(load).collect();
    let zero = builder.constant(0.0_f32);
    let own = values.iter().flatten().fold(zero, |amax, value| value.abs().max(amax));
    let scale = block_scale(reduce_cta_once(builder, own, scratch, |a, b| a.max(b)), spec.scale);
    let layout = RunLayout::of_rows::<E4m3>(RUN as usize, k, k);
    for (run, values) in runs.iter().zip(values) {
        let quotients: Vec<Value<'k, f32>> = values.into_iter().map(|value| value / scale).collect();
        layout.store(arguments.codes.at(run.start), run.remaining, &quotients);
    }
    let at = builder.cta(1) * k.div_ceil(BLOCK) + builder.cta(0);
    arguments.scales.at(at).store_when(builder.thread().equals(0), scale);
}

/// What an expansion of FP8 weights is specialised to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct Dequantize128x128Spec {
    /// Rows of the weight.
    pub n: u32,
    /// Columns of the weight.
    pub k: u32,
}

rorqual_codegen::arguments! {
    /// Arguments of [`Dequantize128x128`].
    pub struct Dequantize128x128Arguments, Dequantize128x128Parameters {
        /// `[n, k]`
        codes: In<E4m3>,
        /// `[ceil(n / 128), ceil(k / 128)]`
        scales: In<f32>,
        /// `[n, k]`: `code * scale`, rounded once.
        weight: Out<Bf16>,
    }
}

/// FP8 weights as bf16; see the [module](self). A CTA takes a block.
#[derive(Debug)]
pub struct Dequantize128x128;

impl Family for Dequantize128x128 {
    const NAME: &'static str = "dequantize_128x128";
    type Spec = Dequantize128x128Spec;
    type Arguments = Dequantize128x128Arguments;

    const RULES: &[Rule<Dequantize128x128Spec>] = &[
        Rule::new("k", |spec| within("k", spec.k, 1..=rows::LONGEST_ROW)),
        Rule::new("n", |spec| within("n", spec.n, 1..=rows::LONGEST_ROW)),
    ];

    fn emit(spec: &Dequantize128x128Spec, target: Target) -> Result<Kernel, GenerateError> {
        let Dequantize128x128Spec { n, k } = *spec;
        let name = format!("dequantize_128x128_n{n}_k{k}_{}", target_name(target));
        let header =
            Header::new(name, spec, target, rows::THREADS).grid(k.div_ceil(BLOCK), n.div_ceil(BLOCK), 1);
        generate::<Dequantize128x128Arguments>(header, |builder, arguments| {
            let scale = arguments.scales.at(builder.cta(1) * k.div_ceil(BLOCK) + builder.cta(0)).load();
            let codes = RunLayout::of_rows::<E4m3>(RUN as usize, k, k);
            let weight = RunLayout::of_rows::<Bf16>(RUN as usize, k, k);
            for run in block_runs(builder, n, k) {
                let values = codes.load(arguments.codes.at(run.start), run.remaining);
                let products: Vec<Value<'_, f32>> = values.into_iter().map(|value| value * scale).collect();
                weight.store(arguments.weight.at(run.start), run.remaining, &products);
            }
        })
    }
}
