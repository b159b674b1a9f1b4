//! The gate: which experts a token goes to, and with what weight.
//!
//! DeepSeek-V2 report, section 2.2; DeepSeek-V3 report, section 2.1.2. Everything is f32 in both precisions.
//!
//! 1. Scores: sigmoid (V3) or softmax over all experts (V2) of the router logits.
//! 2. Choice: by score, plus a correction bias where there is one. With groups, each group is judged by its best
//!    expert (V2) or the sum of its two best (V3), and only the experts of the best groups are candidates.
//! 3. Weights: the scores of the chosen, without the bias; optionally normalised to sum to one; times a constant.
//!
//! Ties go to the lowest index, of groups as of experts; a NaN loses against every number. Experts of other groups
//! are no candidates at all, rather than candidates with a low score, so that negative biases cannot let them in.

use std::cmp::Ordering;

use super::ops::softmax;
use crate::model::config::{Config, Scoring, TopkMethod};

/// Keeps the division defined when all chosen scores are zero; too small to show otherwise.
const SMALLEST_SUM: f32 = 1e-20;

/// The rules of a gate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GateSpec {
    /// Number of routed experts.
    pub experts: usize,
    /// Number of groups that the experts are divided into, in order.
    pub groups: usize,
    /// Groups whose experts are candidates.
    pub topk_groups: usize,
    /// Experts chosen for each token.
    pub topk: usize,
    /// How logits become scores.
    pub scoring: Scoring,
    /// How groups are judged.
    pub method: TopkMethod,
    /// Whether the weights of a token's experts are normalised to sum to one.
    pub normalize: bool,
    /// Multiplies the weights at the end.
    pub scaling_factor: f32,
}

impl GateSpec {
    /// The gate that a configuration describes.
    pub fn from_config(config: &Config) -> Self {
        Self {
            experts: config.n_routed_experts,
            groups: config.n_group,
            topk_groups: config.topk_group,
            topk: config.num_experts_per_tok,
            scoring: config.scoring,
            method: config.topk_method,
            normalize: config.norm_topk_prob,
            scaling_factor: config.routed_scaling_factor,
        }
    }
}

/// Where a batch of tokens goes.
#[derive(Clone, Debug, PartialEq)]
pub struct Routing {
    /// Number of routed experts.
    pub experts: usize,
    /// Scores of all experts, without bias: `[tokens, experts]`.
    pub scores: Vec<f32>,
    /// The chosen experts, best first: `[tokens, topk]`.
    pub topk_idx: Vec<u32>,
    /// Their weights in the combine: `[tokens, topk]`.
    pub topk_weight: Vec<f32>,
}

/// Routes tokens by their router logits `[tokens, experts]`, with an optional correction bias `[experts]`.
///
/// # Panics
/// If the lengths do not agree with `spec`, or `spec` leaves fewer candidates than it chooses.
pub fn gate(logits: &[f32], bias: Option<&[f32]>, spec: &GateSpec) -> Routing {
    assert!(logits.len().is_multiple_of(spec.experts), "whole rows of {} logits", spec.experts);
    let mut routing = Routing {
        experts: spec.experts,
        scores: logits.to_vec(),
        topk_idx: Vec::new(),
        topk_weight: Vec::new(),
    };
    for scores in routing.scores.chunks_mut(spec.experts) {
        match spec.scoring {
            Scoring::Sigmoid => scores.iter_mut().for_each(|score| *score = 1.0 / (1.0 + (-*score).exp())),
            Scoring::Softmax => softmax(scores),
        }
        let biased: Vec<f32> = match bias {
            Some(bias) => scores.iter().zip(bias).map(|(score, bias)| score + bias).collect(),
            None => scores.to_vec(),
        };
        let chosen = choose(&biased, spec);
        let mut weights: Vec<f32> = chosen.iter().map(|&expert| scores[expert]).collect();
        if spec.normalize {
            let sum = weights.iter().sum::<f32>() + SMALLEST_SUM;
            weights.iter_mut().for_each(|weight| *weight /= sum);
        }
        routing.topk_idx.extend(chosen.iter().map(|&expert| expert as u32));
        routing.topk_weight.extend(weights.iter().map(|weight| weight * spec.scaling_factor));
    }
    routing
}

/// The groups whose experts are candidates, in ascending order, by one token's scores `[experts]`, bias included.
///
/// # Panics
/// If `biased` does not have `spec.experts` elements.
pub fn kept_groups(biased: &[f32], spec: &GateSpec) -> Vec<usize> {
    assert_eq!(biased.len(), spec.experts, "scores of one token");
    if spec.method == TopkMethod::Greedy {
        return (0..spec.groups).collect();
    }
    let group_size = spec.experts / spec.groups;
    let group_scores: Vec<f32> = biased
        .chunks(group_size)
        .map(|group| {
            let best = best_first(group, 0..group_size);
            match spec.method {
                TopkMethod::NoauxTc => best.iter().take(2).map(|&expert| group[expert]).sum(),
                TopkMethod::Greedy | TopkMethod::GroupLimitedGreedy => group[best[0]],
            }
        })
        .collect();
    let mut groups = best_first(&group_scores, 0..spec.groups);
    groups.truncate(spec.topk_groups);
    groups.sort_unstable();
    groups
}

/// The chosen experts of one token, best first.
fn choose(biased: &[f32], spec: &GateSpec) -> Vec<usize> {
    let group_size = spec.experts / spec.groups;
    let groups = kept_groups(biased, spec);
    let candidates = groups.iter().flat_map(|group| group * group_size..(group + 1) * group_size);
    let mut experts = best_first(biased, candidates);
    assert!(experts.len() >= spec.topk, "{} candidates for {} experts", experts.len(), spec.topk);
    experts.truncate(spec.topk);
    experts
}

/// `candidates`, given in ascending order, by descending score; equal scores keep their order, NaN comes last.
fn best_first(scores: &[f32], candidates: impl IntoIterator<Item = usize>) -> Vec<usize> {
    let mut order: Vec<usize> = candidates.into_iter().collect();
    order.sort_by(|&a, &b| {
        let (a, b) = (scores[a], scores[b]);
        b.partial_cmp(&a).unwrap_or_else(|| match (a.is_nan(), b.is_nan()) {
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            _ => Ordering::Equal,
        })
    });
    order
}
