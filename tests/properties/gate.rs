//! The gate against a count of who beats whom.

use proptest::prelude::*;
use rorqual::model::config::{Scoring, TopkMethod};
use rorqual::reference::gate::{GateSpec, gate, kept_groups};

use crate::bounded::{Bounded, ROUNDING, expect_within};
use crate::cases;
use crate::draw::Draw;
use crate::elementwise::softmax_of;

/// Where `exp(-x)` overflows, the sigmoid is 0 instead of something smaller than this.
const SIGMOID_UNDERFLOW: f64 = 3e-39;

fn spec() -> impl Strategy<Value = GateSpec> {
    let shape = (1_usize..5, 1_usize..7).prop_flat_map(|(groups, group_size)| {
        (Just((groups, group_size)), 1..=groups).prop_flat_map(|((groups, group_size), topk_groups)| {
            (Just((groups, group_size, topk_groups)), 1..=topk_groups * group_size)
        })
    });
    let scoring = prop_oneof![Just(Scoring::Sigmoid), Just(Scoring::Softmax)];
    let method = prop_oneof![
        Just(TopkMethod::Greedy),
        Just(TopkMethod::GroupLimitedGreedy),
        Just(TopkMethod::NoauxTc)
    ];
    (shape, scoring, method, any::<bool>(), prop_oneof![Just(1.0_f32), Just(2.5), Just(16.0)]).prop_map(
        |(((groups, group_size, topk_groups), topk), scoring, method, normalize, scaling_factor)| GateSpec {
            experts: groups * group_size,
            groups,
            topk_groups,
            topk,
            scoring,
            method,
            normalize,
            scaling_factor,
        },
    )
}

/// A larger score wins, a number wins over NaN, the lower index wins otherwise.
fn beats(scores: &[f32], a: usize, b: usize) -> bool {
    let (x, y) = (scores[a], scores[b]);
    match (x.is_nan(), y.is_nan()) {
        (false, true) => true,
        (true, false) => false,
        (false, false) if x != y => x > y,
        _ => a < b,
    }
}

/// The candidate whom `rank` other candidates beat.
fn ranked(scores: &[f32], candidates: &[usize], rank: usize) -> usize {
    let winners = |&&one: &&usize| candidates.iter().filter(|&&other| beats(scores, other, one)).count();
    *candidates.iter().find(|one| winners(one) == rank).expect("a candidate of each rank")
}

fn groups_by_count(biased: &[f32], spec: &GateSpec) -> Vec<usize> {
    if spec.method == TopkMethod::Greedy {
        return (0..spec.groups).collect();
    }
    let size = spec.experts / spec.groups;
    let scores: Vec<f32> = (0..spec.groups)
        .map(|group| {
            let members: Vec<usize> = (group * size..(group + 1) * size).collect();
            let best = biased[ranked(biased, &members, 0)];
            match spec.method {
                TopkMethod::NoauxTc if size > 1 => best + biased[ranked(biased, &members, 1)],
                _ => best,
            }
        })
        .collect();
    let all: Vec<usize> = (0..spec.groups).collect();
    let kept: Vec<usize> = (0..spec.topk_groups).map(|rank| ranked(&scores, &all, rank)).collect();
    all.into_iter().filter(|group| kept.contains(group)).collect()
}

/// From a grid, so that ties are common; seldom something else.
fn grid(draw: &mut Draw, count: usize, step: f32, odd: &[f32]) -> Vec<f32> {
    (0..count)
        .map(|_| if draw.below(24) == 0 { draw.pick(odd) } else { (draw.below(9) as f32 - 4.0) * step })
        .collect()
}

proptest! {
    #![proptest_config(cases(512))]

    #[test]
    fn gate_is_that_of_all_candidates(
        spec in spec(), tokens in 0_usize..5, biased: bool, tame: bool, seed: u64,
    ) {
        let mut draw = Draw(seed);
        let odd: &[f32] =
            if tame { &[-0.0] } else { &[f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 200.0, -200.0, 1e-40] };
        let logits = grid(&mut draw, tokens * spec.experts, 0.5, odd);
        let bias = biased.then(|| grid(&mut draw, spec.experts, 0.25, &[-10.0, 10.0]));
        let found = gate(&logits, bias.as_deref(), &spec);
        prop_assert_eq!(found.experts, spec.experts);

        let mut expected_scores = Vec::new();
        let mut expected_experts = Vec::new();
        let mut expected_weights = Vec::new();
        for (logits, scores) in logits.chunks(spec.experts).zip(found.scores.chunks(spec.experts)) {
            expected_scores.extend(match spec.scoring {
                Scoring::Sigmoid => logits.iter().map(|&logit| sigmoid(logit)).collect(),
                Scoring::Softmax => softmax_of(logits),
            });
            let biased: Vec<f32> = (0..spec.experts)
                .map(|expert| scores[expert] + bias.as_ref().map_or(0.0, |bias| bias[expert]))
                .collect();
            let groups = groups_by_count(&biased, &spec);
            prop_assert_eq!(&kept_groups(&biased, &spec), &groups);
            let size = spec.experts / spec.groups;
            let candidates: Vec<usize> =
                (0..spec.experts).filter(|expert| groups.contains(&(expert / size))).collect();
            let chosen: Vec<usize> = (0..spec.topk).map(|rank| ranked(&biased, &candidates, rank)).collect();
            let sum: f64 = chosen.iter().map(|&expert| f64::from(scores[expert])).sum();
            expected_weights.extend(chosen.iter().map(|&expert| {
                let score = f64::from(scores[expert]);
                let weight = if spec.normalize { score / (sum + 1e-20) } else { score };
                Bounded { value: weight * f64::from(spec.scaling_factor), error: 0.0 }
                    .computed((spec.topk as f64 + 4.0) * ROUNDING)
            }));
            expected_experts.extend(chosen.iter().map(|&expert| expert as u32));
        }
        expect_within(&found.scores, &expected_scores)?;
        prop_assert_eq!(found.topk_idx, expected_experts);
        expect_within(&found.topk_weight, &expected_weights)?;
    }
}

fn sigmoid(logit: f32) -> Bounded {
    let value = 1.0 / (1.0 + (-f64::from(logit)).exp());
    let error = if value.is_finite() { SIGMOID_UNDERFLOW } else { 0.0 };
    Bounded { value, error }.computed(6.0 * ROUNDING)
}
