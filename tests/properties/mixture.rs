//! SwiGLU networks, the weighted combine, and the mixture: its value, and that a token's batch does not matter.

use proptest::prelude::*;
use rorqual::model::config::{Scoring, TopkMethod};
use rorqual::num::round_to_bf16;
use rorqual::reference::gate::GateSpec;
use rorqual::reference::linear::Output;
use rorqual::reference::moe::{Mlp, Moe, combine};
use rorqual::reference::{Numerics, Precision};

use crate::bounded::{Bounded, dot, exact, expect_within};
use crate::draw::{Draw, Kind, Stored, Weight, kind, size};
use crate::elementwise::silu_times;
use crate::linear::product;
use crate::{cases, expect_same_bits, numerics};

/// A network and its weights.
struct Drawn {
    gate: Weight,
    up: Weight,
    down: Weight,
}

impl Drawn {
    fn new(draw: &mut Draw, hidden: usize, intermediate: usize) -> Self {
        let stored = draw.pick(&[Stored::F32, Stored::Bf16, Stored::E4m3]);
        let mut weight = |rows, columns| draw.weight_stored(stored, rows, columns, Kind::PLAIN);
        Self {
            gate: weight(intermediate, hidden),
            up: weight(intermediate, hidden),
            down: weight(hidden, intermediate),
        }
    }

    fn mlp(&self) -> Mlp {
        Mlp {
            gate_proj: self.gate.matrix.clone(),
            up_proj: self.up.matrix.clone(),
            down_proj: self.down.matrix.clone(),
        }
    }

    /// `down(silu(gate(x)) * up(x))` of one token.
    fn forward(&self, x: &[f32], numerics: Numerics) -> Vec<Bounded> {
        let x = exact(x);
        let gate = product(&x, &self.gate, Output::Activation, numerics);
        let up = product(&x, &self.up, Output::Activation, numerics);
        let between: Vec<Bounded> = gate.into_iter().zip(up).map(|(gate, up)| silu_times(gate, up)).collect();
        product(&between, &self.down, Output::Activation, numerics)
    }
}

/// A mixture of few experts of which two are chosen.
fn mixture(draw: &mut Draw, hidden: usize, intermediate: usize) -> (Moe, Weight, Vec<Drawn>, Option<Drawn>) {
    let experts: Vec<Drawn> = (0..4).map(|_| Drawn::new(draw, hidden, intermediate)).collect();
    let shared = (draw.below(3) > 0).then(|| Drawn::new(draw, hidden, 2 * intermediate));
    let router = draw.weight_stored(Stored::Bf16, experts.len(), hidden, Kind::PLAIN);
    let spec = GateSpec {
        experts: experts.len(),
        groups: 2,
        topk_groups: 2,
        topk: 1 + draw.below(3),
        scoring: Scoring::Sigmoid,
        method: TopkMethod::NoauxTc,
        normalize: true,
        scaling_factor: 2.5,
    };
    let moe = Moe {
        spec,
        router: router.matrix.clone(),
        bias: Some(draw.values(experts.len(), Kind::PLAIN)),
        experts: experts.iter().map(Drawn::mlp).collect(),
        shared: shared.as_ref().map(Drawn::mlp),
    };
    (moe, router, experts, shared)
}

proptest! {
    #![proptest_config(cases(96))]

    #[test]
    fn network_is_that_of_float64(
        tokens in 0_usize..4,
        hidden in size(128, 140),
        intermediate in size(16, 40),
        kind in kind(),
        numerics in numerics(),
        seed: u64,
    ) {
        let mut draw = Draw(seed);
        let network = Drawn::new(&mut draw, hidden, intermediate);
        let x = draw.values(tokens * hidden, kind);
        let expected: Vec<Bounded> = x.chunks(hidden).flat_map(|x| network.forward(x, numerics)).collect();
        expect_within(&network.mlp().forward(&x, numerics), &expected)?;
    }

    #[test]
    fn combine_adds_ascending_slots_and_rounds_once(
        tokens in 0_usize..5,
        topk in 1_usize..9,
        hidden in size(16, 40),
        kind in kind(),
        numerics in numerics(),
        seed: u64,
    ) {
        let mut draw = Draw(seed);
        let shared = draw.values(tokens * hidden, kind);
        let routed = draw.values(tokens * topk * hidden, kind);
        let weights = draw.values(tokens * topk, Kind::PLAIN);
        let found = combine(&shared, &routed, &weights, hidden, numerics);
        let mut expected = Vec::new();
        let mut bounds = Vec::new();
        for token in 0..tokens {
            for column in 0..hidden {
                let slots = token * topk..(token + 1) * topk;
                let terms = slots.map(|slot| (weights[slot], routed[slot * hidden + column]));
                let start = shared[token * hidden + column];
                let sum = terms.clone().fold(start, |sum, (weight, value)| weight.mul_add(value, sum));
                expected.push(if numerics.precision == Precision::Kernel { round_to_bf16(sum) } else { sum });
                let terms = std::iter::once((1.0, start)).chain(terms);
                bounds.push(dot(terms.map(|(a, b)| (Bounded::exact(a), Bounded::exact(b)))).stored(numerics));
            }
        }
        expect_same_bits(&found, &expected)?;
        expect_within(&found, &bounds)?;
    }

    #[test]
    fn mixture_is_the_weighted_sum_of_its_experts(
        tokens in 0_usize..4,
        hidden in size(16, 40),
        intermediate in 1_usize..10,
        kind in kind(),
        numerics in numerics(),
        seed: u64,
    ) {
        let mut draw = Draw(seed);
        let (moe, router, experts, shared) = mixture(&mut draw, hidden, intermediate);
        let x = draw.values(tokens * hidden, kind);
        let logits = moe.router_logits(&x);
        let expected_logits: Vec<Bounded> =
            x.chunks(hidden).flat_map(|x| product(&exact(x), &router, Output::F32, Numerics::F32)).collect();
        expect_within(&logits, &expected_logits)?;

        let (found, routing) = moe.forward(&x, &logits, numerics);
        let topk = moe.spec.topk;
        let mut expected = Vec::new();
        for (token, x) in x.chunks(hidden).enumerate() {
            let start =
                shared.as_ref().map_or(vec![Bounded::ZERO; hidden], |shared| shared.forward(x, numerics));
            let of_token = token * topk..(token + 1) * topk;
            let outputs: Vec<(Bounded, Vec<Bounded>)> = routing.topk_weight[of_token.clone()]
                .iter()
                .zip(&routing.topk_idx[of_token])
                .map(|(&weight, &expert)| {
                    (Bounded::exact(weight), experts[expert as usize].forward(x, numerics))
                })
                .collect();
            expected.extend((0..hidden).map(|column| {
                let terms = outputs.iter().map(|(weight, output)| (*weight, output[column]));
                dot(terms.chain([(Bounded::exact(1.0), start[column])])).stored(numerics)
            }));
        }
        expect_within(&found, &expected)?;
    }

    #[test]
    fn token_does_not_feel_its_batch(
        tokens in 1_usize..24,
        hidden in size(128, 140),
        intermediate in 1_usize..40,
        kind in kind(),
        numerics in numerics(),
        seed: u64,
    ) {
        let mut draw = Draw(seed);
        let (moe, ..) = mixture(&mut draw, hidden, intermediate);
        let x = draw.values(tokens * hidden, kind);
        let forward = |x: &[f32]| {
            let logits = moe.router_logits(x);
            let (y, routing) = moe.forward(x, &logits, numerics);
            (y, routing.topk_idx, routing.topk_weight)
        };
        let (together, ..) = forward(&x);
        let order = draw.order(tokens);
        let shuffled: Vec<f32> =
            order.iter().flat_map(|token| &x[token * hidden..][..hidden]).copied().collect();
        let cut = draw.below(tokens + 1);
        let (head, tail) = shuffled.split_at(cut * hidden);
        let parts = [forward(head).0, forward(tail).0].concat();
        for (&token, part) in order.iter().zip(parts.chunks(hidden)) {
            expect_same_bits(part, &together[token * hidden..][..hidden])?;
        }
    }
}
