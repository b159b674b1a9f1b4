//! Router logits: f32 fused multiply-adds throughout, no tensor cores, so that scores keep all bits that the choice of
//! experts hangs on.
//!
//! ```text
//! logits[t, e] = sum over k of x[t, k] * weight[e, k]
//! ```
//!
//! | tensor | layout |
//! |---|---|
//! | x | `[tokens, k]`, bf16 |
//! | weight | `[experts, k]`, f32 or bf16 |
//! | logits | `[tokens, experts]`, f32 |
//!
//! A warp computes 8 tokens by 4 experts. Its lanes share K in runs of 4, and add their sums by distance in the end: the
//! order depends on `k` alone. The four warps of a CTA have the same tokens, which their multiprocessor keeps at hand.
//!
//! Source: DeepSeek-V3 report (arXiv 2412.19437), section 2.1.2. Oracle: the reference's `linear` with f32 output on the
//! weight as stored.

use crate::Family;
use crate::rows::target_name;
use crate::rule::{Rule, within};
use rorqual_codegen::contract::{Extent, In, Out};
use rorqual_codegen::element::Bf16;
use rorqual_codegen::format::Format;
use rorqual_codegen::pointer::{Global, Pointer};
use rorqual_codegen::run::RunLayout;
use rorqual_codegen::warp::reduce_lanes;
use rorqual_codegen::{Builder, GenerateError, Header, Kernel, Predicate, Value, Variable, generate};
use rorqual_ptx::target::Target;

/// Elements that a lane reads at once.
const RUN: u32 = 4;
/// Tokens of a warp.
const TOKENS: u32 = 8;
/// Experts of a warp.
const EXPERTS: u32 = 4;
/// Warps of a CTA, each with its own experts.
const WARPS: u32 = 4;
/// The largest `k`, and number of experts.
const LARGEST: u32 = 1 << 20;

/// What router logits are specialised to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct RouterSpec {
    /// Outputs.
    pub experts: u32,
    /// Elements of a token.
    pub k: u32,
    /// The type of the weight.
    pub weight: RouterWeight,
}

/// The type of a router's weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum RouterWeight {
    /// binary32.
    F32,
    /// bfloat16.
    Bf16,
}

rorqual_codegen::arguments! {
    /// Arguments of [`Router`]. Addresses are multiples of 16.
    pub struct RouterArguments, RouterParameters {
        /// `[tokens, k]`
        x: In<Bf16>,
        /// `[experts, k]`; not touched with a bf16 weight.
        weight: In<f32>,
        /// `[experts, k]`; not touched with an f32 weight.
        weight_bf16: In<Bf16>,
        /// `[tokens, experts]`
        logits: Out<f32>,
        /// Rows.
        tokens: u32,
    }
}

/// Router logits; see the [module](self).
#[derive(Debug)]
pub struct Router;

impl Family for Router {
    const NAME: &'static str = "router";
    type Spec = RouterSpec;
    type Arguments = RouterArguments;

    const RULES: &[Rule<RouterSpec>] = &[
        Rule::new("experts", |spec| within("experts", spec.experts, 1..=LARGEST)),
        Rule::new("k", |spec| within("k", spec.k, 1..=LARGEST)),
    ];

    fn emit(spec: &RouterSpec, target: Target) -> Result<Kernel, GenerateError> {
        let weight = if spec.weight == RouterWeight::Bf16 { "_bf16" } else { "" };
        let name = format!("router_e{}_k{}{weight}_{}", spec.experts, spec.k, target_name(target));
        let tokens = Extent::argument("tokens").ceil_divide(TOKENS);
        let header = Header::new(name, spec, target, 32 * WARPS);
        let header = header.grid(tokens, spec.experts.div_ceil(EXPERTS * WARPS), 1);
        generate::<RouterArguments>(header, |builder, arguments| match spec.weight {
            RouterWeight::F32 => logits(builder, spec, &arguments, arguments.weight),
            RouterWeight::Bf16 => logits(builder, spec, &arguments, arguments.weight_bf16),
        })
    }
}

fn logits<'k, W: Format>(
    builder: &'k Builder,
    spec: &RouterSpec,
    arguments: &RouterParameters<'k>,
    weight: Pointer<'k, Global, W>,
) {
    let RouterSpec { experts, k, .. } = *spec;
    let lane = builder.lane();
    let token = builder.cta(0) * TOKENS;
    let expert = (builder.cta(1) * WARPS + builder.warp()) * EXPERTS;
    builder.exit_when(expert.at_least(experts));
    let sums: Vec<Vec<Variable<'k, f32>>> =
        (0..TOKENS).map(|_| (0..EXPERTS).map(|_| builder.constant(0.0_f32).variable()).collect()).collect();
    let (x_layout, weight_layout) =
        (RunLayout::of_rows::<Bf16>(RUN as usize, k, k), RunLayout::of_rows::<W>(RUN as usize, k, k));
    let x = arguments.x.at(token.multiply_wide(k));
    let weight = weight.at(expert.multiply_wide(k));
    let (tokens_left, zero) = (arguments.tokens - token, builder.constant(0));
    builder.for_each(0, k.next_multiple_of(32 * RUN), 32 * RUN, |round| {
        let first = round + lane * RUN;
        let remaining = builder.constant(k) - first.min(k);
        let there = |exists: Predicate<'k>| exists.select(remaining, zero);
        let weights: Vec<Vec<Value<'k, f32>>> = (0..EXPERTS)
            .map(|row| {
                let remaining = there((expert + row).less(experts));
                weight_layout.load(weight.at(first).at((row * k) as usize), remaining)
            })
            .collect();
        for (row, sums) in sums.iter().enumerate() {
            let remaining = there(tokens_left.greater(row as u32));
            let x = x_layout.load(x.at(first).at(row * k as usize), remaining);
            for (sum, weights) in sums.iter().zip(&weights) {
                x.iter().zip(weights).for_each(|(x, weight)| sum.add_product(*x, *weight));
            }
        }
    });
    // Lane `EXPERTS * t + e` stores the logit of token `t` and expert `e`.
    let own = builder.constant(0.0_f32).variable();
    for (index, sum) in sums.iter().flatten().enumerate() {
        let total = reduce_lanes(sum.peek(), 32, |a, b| a + b);
        own.set_when(lane.equals(index as u32), total);
    }
    let (row, column) = (lane / EXPERTS, expert + lane % EXPERTS);
    let there = tokens_left.greater(row) & column.less(experts);
    let logits = arguments.logits.at((token + row).multiply_wide(experts)).at(column);
    logits.store_when(there, own.get());
}
