//! The gate: which experts a token goes to, and with what weight.
//!
//! ```text
//! score  = 1 / (1 + exp(-logit))  or  softmax(logits)
//! choice = the topk best by score + bias, of the experts of the topk_groups best groups
//! weight = score / (sum of the chosen + 1e-20) * scaling_factor     (divided where `normalize`)
//! ```
//!
//! A group counts as its best expert, or as the sum of its two best. Ties go to the lowest index, of groups as of
//! experts; NaN comes after every number. A warp takes a token: a lane holds experts `lane`, `lane + 32`, .. in
//! registers, as integer keys of the order of their scores, and the best are found one after another by `redux`.
//!
//! Sources: DeepSeek-V2 report, section 2.2; DeepSeek-V3 report, section 2.1.2. Oracle: the reference's `gate`, whose
//! scores differ by the error of the exponential and the order of the softmax's sum.

use super::layout::MOST_EXPERTS;
use crate::Family;
use crate::rows::target_name;
use crate::rule::{Rule, require, within};
use rorqual_codegen::contract::{Extent, In, Out};
use rorqual_codegen::top_k::{Candidate, best_of_warp, of_order_key, order_key};
use rorqual_codegen::warp::reduce_lanes;
use rorqual_codegen::{Builder, GenerateError, Header, Kernel, Value, generate};
use rorqual_ptx::target::Target;

const THREADS: u32 = 128;
const LANES: u32 = 32;
/// A lane holds the score of a group.
const MOST_GROUPS: u32 = LANES;
/// Keeps the division defined when all chosen scores are zero.
const SMALLEST_SUM: f32 = 1e-20;

/// How logits become scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Scoring {
    /// `1 / (1 + exp(-logit))`
    Sigmoid,
    /// Softmax over all experts.
    Softmax,
}

/// How groups of experts are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum GroupMethod {
    /// Not at all: all experts are candidates.
    Greedy,
    /// By their best expert.
    Best,
    /// By the sum of their two best experts (noaux_tc).
    SumOfTwo,
}

/// What a gate is specialised to.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct GateSpec {
    /// Routed experts.
    pub experts: u32,
    /// Groups that they are divided into, in order.
    pub groups: u32,
    /// Groups whose experts are candidates.
    pub topk_groups: u32,
    /// Experts of a token.
    pub topk: u32,
    /// How logits become scores.
    pub scoring: Scoring,
    /// How groups are judged.
    pub method: GroupMethod,
    /// Whether `bias` is added for the choice.
    pub bias: bool,
    /// Whether the weights of a token are normalised to sum to one.
    pub normalize: bool,
    /// Multiplies the weights at the end.
    pub scaling_factor: f32,
}

impl GateSpec {
    /// The gate of DeepSeek-V3 and R1 (`config.json` of either).
    #[must_use]
    pub const fn deepseek_v3() -> Self {
        Self {
            experts: 256,
            groups: 8,
            topk_groups: 4,
            topk: 8,
            scoring: Scoring::Sigmoid,
            method: GroupMethod::SumOfTwo,
            bias: true,
            normalize: true,
            scaling_factor: 2.5,
        }
    }
}

rorqual_codegen::arguments! {
    /// Arguments of [`Gate`].
    pub struct GateArguments, GateParameters {
        /// Router logits, `[tokens, experts]`.
        logits: In<f32>,
        /// `[experts]`; not touched without `bias`.
        bias: In<f32>,
        /// The chosen experts, best first, `[tokens, topk]`.
        topk_idx: Out<u32>,
        /// Their weights, `[tokens, topk]`.
        topk_weight: Out<f32>,
        /// Rows.
        tokens: u32,
    }
}

/// Gate; see the [module](self).
#[derive(Debug)]
pub struct Gate;

impl Family for Gate {
    const NAME: &'static str = "moe_gate";
    type Spec = GateSpec;
    type Arguments = GateArguments;

    const RULES: &[Rule<GateSpec>] = &[
        Rule::new("experts", |spec| within("experts", spec.experts, 1..=MOST_EXPERTS)),
        Rule::new("groups", |spec| {
            let GateSpec { experts, groups, .. } = *spec;
            require((1..=MOST_GROUPS).contains(&groups) && experts.is_multiple_of(groups), || {
                format!(
                    "`groups` is {groups}, expected a divisor of `experts`, {experts}, up to {MOST_GROUPS}"
                )
            })
        }),
        Rule::new("topk_groups", |spec| {
            let GateSpec { groups, topk_groups, .. } = *spec;
            require((1..=groups).contains(&topk_groups), || {
                format!("`topk_groups` is {topk_groups}, expected 1 to `groups`, {groups}")
            })
        }),
        Rule::new("topk", |spec| {
            let GateSpec { experts, groups, topk_groups, topk, method, .. } = *spec;
            let candidates =
                if method == GroupMethod::Greedy { experts } else { experts / groups * topk_groups };
            let most = candidates.min(LANES);
            require((1..=most).contains(&topk), || {
                format!("`topk` is {topk}, expected 1 to {most}: {candidates} candidates, {LANES} lanes")
            })
        }),
    ];

    fn emit(spec: &GateSpec, target: Target) -> Result<Kernel, GenerateError> {
        let grid = Extent::argument("tokens").ceil_divide(THREADS / LANES);
        let header = Header::new(name(spec, target), spec, target, THREADS).grid(grid, 1, 1);
        generate::<GateArguments>(header, |builder, arguments| {
            let token = builder.cta(0) * builder.warps() + builder.warp();
            builder.when(token.less(arguments.tokens), || route(builder, spec, arguments, token));
        })
    }
}

fn name(spec: &GateSpec, target: Target) -> String {
    let GateSpec { experts, groups, topk_groups, topk, scoring, method, bias, normalize, scaling_factor } =
        *spec;
    let scoring = match scoring {
        Scoring::Sigmoid => "sigmoid",
        Scoring::Softmax => "softmax",
    };
    let method = match method {
        GroupMethod::Greedy => String::new(),
        GroupMethod::Best => format!("_best{topk_groups}of{groups}"),
        GroupMethod::SumOfTwo => format!("_two{topk_groups}of{groups}"),
    };
    let bias = if bias { "_bias" } else { "" };
    let normalize = if normalize { "_norm" } else { "" };
    let factor = scaling_factor.to_bits();
    format!(
        "moe_gate_e{experts}_k{topk}_{scoring}{method}{bias}{normalize}_f{factor:08x}_{}",
        target_name(target)
    )
}

fn route<'k>(builder: &'k Builder, spec: &GateSpec, arguments: GateParameters<'k>, token: Value<'k, u32>) {
    let GateSpec { experts, groups, .. } = *spec;
    let lane = builder.lane();
    let scores = scores(builder, spec, arguments, token);
    let nothing = builder.constant(0_u32);
    let mut candidates: Vec<Candidate<'k>> = (0..)
        .zip(&scores)
        .map(|(part, score)| {
            let index = lane + part * LANES;
            let exists = index.less(experts);
            let bias = || arguments.bias.at(index).load_or(exists, builder.constant(0.0));
            let biased = if spec.bias { *score + bias() } else { *score };
            Candidate { key: exists.select(order_key(biased), nothing), index }
        })
        .collect();

    if spec.method != GroupMethod::Greedy && groups > 1 {
        let kept = kept_groups(builder, spec, &candidates);
        for candidate in &mut candidates {
            let bit = kept.shift_right(candidate.index / (experts / groups)) & 1;
            candidate.key = bit.differs(0).select(candidate.key, nothing);
        }
    }

    let (chosen, weight) = (builder.constant(0_u32).variable(), builder.constant(0.0_f32).variable());
    let sum = builder.constant(0.0_f32).variable();
    for rank in 0..spec.topk {
        let best = best_of_warp(&candidates);
        remove(&mut candidates, best.index);
        let own = scores
            .iter()
            .zip(&candidates)
            .fold(builder.constant(0.0), |own: Value<'k, f32>, (score, held)| {
                held.index.equals(best.index).select(*score, own)
            });
        let score = own.shuffle_index(best.index & (LANES - 1));
        sum.add(score);
        let mine = lane.equals(rank);
        chosen.set_when(mine, best.index);
        weight.set_when(mine, score);
    }
    let mut weight = weight.get();
    if spec.normalize {
        weight = weight / (sum.get() + SMALLEST_SUM);
    }
    let at = token.multiply_wide(spec.topk) + lane.to_u64();
    let has_rank = lane.less(spec.topk);
    arguments.topk_idx.at(at).store_when(has_rank, chosen.get());
    arguments.topk_weight.at(at).store_when(has_rank, weight * spec.scaling_factor);
}

/// The scores of the lane's experts.
fn scores<'k>(
    builder: &'k Builder,
    spec: &GateSpec,
    arguments: GateParameters<'k>,
    token: Value<'k, u32>,
) -> Vec<Value<'k, f32>> {
    let row = arguments.logits.at(token.multiply_wide(spec.experts));
    let nothing = builder.constant(f32::NEG_INFINITY);
    let index = |part: u32| builder.lane() + part * LANES;
    let parts = spec.experts.div_ceil(LANES);
    let logits: Vec<Value<'k, f32>> =
        (0..parts).map(|part| row.at(index(part)).load_or(index(part).less(spec.experts), nothing)).collect();
    if spec.scoring == Scoring::Sigmoid {
        let one = builder.constant(1.0_f32);
        return logits.into_iter().map(|logit| one / ((-logit).exp() + 1.0)).collect();
    }
    let largest = logits.iter().fold(nothing, |largest, logit| largest.max(*logit));
    let largest = reduce_lanes(largest, LANES, |a, b| a.max(b));
    let zero = builder.constant(0.0_f32);
    // Experts that do not exist must not count, even where `largest` makes NaN of them.
    let exponentials: Vec<Value<'k, f32>> = (0..)
        .zip(logits)
        .map(|(part, logit)| index(part).less(spec.experts).select((logit - largest).exp(), zero))
        .collect();
    let own = exponentials.iter().fold(zero, |sum, value| sum + *value);
    let sum = reduce_lanes(own, LANES, |a, b| a + b);
    exponentials.into_iter().map(|value| value / sum).collect()
}

/// A bit for each group whose experts are candidates.
fn kept_groups<'k>(builder: &'k Builder, spec: &GateSpec, candidates: &[Candidate<'k>]) -> Value<'k, u32> {
    let size = spec.experts / spec.groups;
    let nothing = builder.constant(0_u32);
    let lane = builder.lane();
    let own = nothing.variable();
    for group in 0..spec.groups {
        let (first, end) = (group * size, (group + 1) * size);
        let parts = first / LANES..end.div_ceil(LANES);
        let mut members: Vec<Candidate<'k>> = candidates[parts.start as usize..parts.end as usize]
            .iter()
            .map(|candidate| {
                let inside = candidate.index.at_least(first) & candidate.index.less(end);
                Candidate { key: inside.select(candidate.key, nothing), ..*candidate }
            })
            .collect();
        let best = best_of_warp(&members);
        let mut key = best.key;
        if spec.method == GroupMethod::SumOfTwo && size > 1 {
            remove(&mut members, best.index);
            let second = best_of_warp(&members);
            key = order_key(of_order_key(best.key) + of_order_key(second.key));
        }
        own.set_when(lane.equals(group), key);
    }
    let mut rest = vec![Candidate { key: own.get(), index: lane }];
    (0..spec.topk_groups).fold(nothing, |kept, _| {
        let best = best_of_warp(&rest);
        remove(&mut rest, best.index);
        kept | builder.constant(1_u32).shift_left(best.index)
    })
}

/// Takes an index out of the candidates.
fn remove<'k>(candidates: &mut [Candidate<'k>], index: Value<'k, u32>) {
    for candidate in candidates {
        let nothing = candidate.key.builder().constant(0_u32);
        candidate.key = candidate.index.equals(index).select(nothing, candidate.key);
    }
}
