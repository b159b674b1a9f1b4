//! The gate of V3 on 256 experts in 8 groups, of which 4 are kept and 8 experts chosen.
//!
//! The kinds of logits: plain; a bias of zeros; all biased scores negative, where a gate that fills masked groups with
//! zeros picks other experts; extreme; a grid of ties; all equal. Ties go to the lowest index here, which is the
//! oracle's rule too; `torch.topk` has another one, so that transformers chooses the same experts without ties only.

use rorqual::model::config::{Scoring, TopkMethod};
use rorqual::reference::gate::{GateSpec, gate as route, kept_groups};

use crate::oracle::{Tensors, assert_close, assert_close_by, assert_same};

const KINDS: [&str; 6] = ["plain", "zero_bias", "negative", "extreme", "ties", "all_equal"];

/// Of a routing weight; those of a token sum to 2.5.
const WEIGHT: f64 = 3e-7;

/// Of a score, relative: an exponential, a sum, a quotient.
const SCORE: f64 = 1e-6;

/// Below this f32 loses bits, and `1 / (1 + exp(-x))` is zero where the exponential is infinite.
const UNDERFLOW: f64 = f32::MIN_POSITIVE as f64;

pub fn gate(units: &Tensors) {
    let parameters = &crate::parameters()["gate"];
    let number = |key: &str| parameters["params"][key].as_u64().expect("a number") as usize;
    let spec = GateSpec {
        experts: 256,
        groups: number("n_group"),
        topk_groups: number("topk_group"),
        topk: number("top_k"),
        scoring: Scoring::Sigmoid,
        method: TopkMethod::NoauxTc,
        normalize: parameters["params"]["norm_topk_prob"].as_bool().expect("a flag"),
        scaling_factor: parameters["params"]["scale"].as_f64().expect("a number") as f32,
    };
    for kind in KINDS {
        let same_experts = parameters[kind]["hf_same_expert_set"].as_u64().expect("a count") as usize;
        check(units, kind, &spec, same_experts);
    }
}

/// One kind of logits; transformers has the same experts for `same_experts` tokens.
fn check(units: &Tensors, kind: &str, spec: &GateSpec, same_experts: usize) {
    let tensor = |part: &str| units.get(&format!("gate.{kind}.{part}"));
    let what = |part: &str| format!("gate.{kind}.{part}");
    let (logits, bias) = (tensor("logits"), tensor("bias").f32s());
    let routing = route(&logits.f32s(), Some(&bias), spec);

    let expected = tensor("scores_f64").floats();
    let worst = assert_close_by(&what("scores_f64"), &logits.shape, &routing.scores, &expected, |at| {
        SCORE * expected[at].abs() + UNDERFLOW
    });

    let groups = routing.scores.chunks(spec.experts).flat_map(|scores| {
        let biased: Vec<f32> = scores.iter().zip(&bias).map(|(score, bias)| score + bias).collect();
        kept_groups(&biased, spec)
    });
    let groups: Vec<u32> = groups.map(|group| group as u32).collect();
    // Which groups are kept counts, not in what order the oracle lists them.
    let mut expected = tensor("group_idx").integers();
    expected.chunks_mut(spec.topk_groups).for_each(<[u32]>::sort_unstable);
    assert_same(&what("group_idx"), &tensor("group_idx").shape, &groups, &expected);

    let chosen = tensor("topk_idx");
    assert_same(&what("topk_idx"), &chosen.shape, &routing.topk_idx, &chosen.integers());
    let expected = tensor("topk_weight_f64").floats();
    let weight =
        assert_close(&what("topk_weight_f64"), &chosen.shape, &routing.topk_weight, &expected, WEIGHT);
    println!("gate.{kind}: scores at {worst:.3}, weights at {weight:.3} of their tolerance");

    // transformers' experts, in ascending order, and their weights.
    let theirs = tensor("hf_topk_idx_sorted").integers();
    let their_weights = tensor("hf_topk_weight_sorted").floats();
    let mut same = 0;
    for (token, theirs) in theirs.chunks(spec.topk).enumerate() {
        let slots = token * spec.topk..(token + 1) * spec.topk;
        let mut ours: Vec<(u32, f32)> = routing.topk_idx[slots.clone()]
            .iter()
            .zip(&routing.topk_weight[slots.clone()])
            .map(|(&expert, &weight)| (expert, weight))
            .collect();
        ours.sort_by_key(|&(expert, _)| expert);
        let (experts, weights): (Vec<u32>, Vec<f32>) = ours.into_iter().unzip();
        if experts == theirs {
            same += 1;
            let expected = &their_weights[slots];
            assert_close(&what("hf_topk_weight_sorted"), &[spec.topk], &weights, expected, WEIGHT);
        }
    }
    assert_eq!(same, same_experts, "gate.{kind}: tokens that go to the same experts in transformers");
}
