//! Feed-forward layers: the dense SwiGLU network, and the mixture of routed and shared experts.

use multiversion::multiversion;
use rayon::prelude::*;

use super::Numerics;
use super::gate::{GateSpec, Routing, gate};
use super::linear::{Output, linear};
use super::ops::swiglu;
use crate::model::weights::Matrix;

/// One SwiGLU network: a dense layer, a routed expert or the shared experts taken together.
#[derive(Clone, Debug)]
pub struct Mlp {
    /// `[intermediate, hidden]`.
    pub gate_proj: Matrix,
    /// `[intermediate, hidden]`.
    pub up_proj: Matrix,
    /// `[hidden, intermediate]`.
    pub down_proj: Matrix,
}

impl Mlp {
    /// `down(silu(gate(x)) * up(x))`: `x` and result `[tokens, hidden]`.
    pub fn forward(&self, x: &[f32], numerics: Numerics) -> Vec<f32> {
        let gate = linear(x, &self.gate_proj, Output::Activation, numerics);
        let up = linear(x, &self.up_proj, Output::Activation, numerics);
        linear(&swiglu(&gate, &up), &self.down_proj, Output::Activation, numerics)
    }
}

/// A mixture-of-experts layer.
#[derive(Clone, Debug)]
pub struct Moe {
    /// The rules of the gate.
    pub spec: GateSpec,
    /// Router weight `[experts, hidden]`.
    pub router: Matrix,
    /// Correction bias `[experts]`, of gates that have one.
    pub bias: Option<Vec<f32>>,
    /// The routed experts.
    pub experts: Vec<Mlp>,
    /// The shared experts: one network as wide as all of them.
    pub shared: Option<Mlp>,
}

impl Moe {
    /// Router logits of `x` `[tokens, hidden]`: `[tokens, experts]`, f32 with the weight as it is stored in both
    /// precisions.
    pub fn router_logits(&self, x: &[f32]) -> Vec<f32> {
        linear(x, &self.router, Output::F32, Numerics::F32)
    }

    /// `shared(x) + sum of weight_j * expert_j(x)`: `x` and result `[tokens, hidden]`, and where the tokens went.
    pub fn forward(&self, x: &[f32], logits: &[f32], numerics: Numerics) -> (Vec<f32>, Routing) {
        let routing = gate(logits, self.bias.as_deref(), &self.spec);
        let hidden = self.router.columns();
        let slots = self.slots_by_expert(&routing);
        let (routed, shared) = rayon::join(
            || self.routed(x, &slots, hidden, numerics),
            || self.shared.as_ref().map(|shared| shared.forward(x, numerics)),
        );
        let shared = shared.unwrap_or_else(|| vec![0.0; x.len()]);
        (combine(&shared, &routed, &routing.topk_weight, hidden, numerics), routing)
    }

    /// For each expert the slots `token * topk + rank` that chose it, ascending.
    fn slots_by_expert(&self, routing: &Routing) -> Vec<Vec<usize>> {
        let mut slots = vec![Vec::new(); self.experts.len()];
        for (slot, &expert) in routing.topk_idx.iter().enumerate() {
            slots[expert as usize].push(slot);
        }
        slots
    }

    /// What the chosen experts make of each token, unweighted: `[tokens * topk, hidden]`.
    fn routed(&self, x: &[f32], slots: &[Vec<usize>], hidden: usize, numerics: Numerics) -> Vec<f32> {
        let outputs: Vec<(&[usize], Vec<f32>)> = self
            .experts
            .par_iter()
            .zip(slots)
            .filter(|(_, slots)| !slots.is_empty())
            .map(|(expert, slots)| {
                let rows = slots.iter().flat_map(|slot| &x[slot / self.spec.topk * hidden..][..hidden]);
                let rows: Vec<f32> = rows.copied().collect();
                (slots.as_slice(), expert.forward(&rows, numerics))
            })
            .collect();
        let mut routed = vec![0.0; x.len() * self.spec.topk];
        for (slots, rows) in outputs {
            for (slot, row) in slots.iter().zip(rows.chunks(hidden)) {
                routed[slot * hidden..][..hidden].copy_from_slice(row);
            }
        }
        routed
    }
}

/// The weighted combine: `shared` `[tokens, hidden]`, `routed` `[tokens * topk, hidden]`, `weights`
/// `[tokens * topk]`. Slots are added in ascending order by fused multiply-add, rounded once.
pub fn combine(
    shared: &[f32],
    routed: &[f32],
    weights: &[f32],
    hidden: usize,
    numerics: Numerics,
) -> Vec<f32> {
    let mut sum = shared.to_vec();
    let tokens = sum.len() / hidden;
    let topk = weights.len() / tokens.max(1);
    for (slot, (row, &weight)) in routed.chunks(hidden).zip(weights).enumerate() {
        add_scaled(&mut sum[slot / topk * hidden..][..hidden], weight, row);
    }
    numerics.round(&mut sum);
    sum
}

/// `sum = fma(weight, value, sum)`, element by element.
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2+fma", "aarch64+neon"))]
fn add_scaled(sum: &mut [f32], weight: f32, values: &[f32]) {
    for (sum, value) in sum.iter_mut().zip(values) {
        *sum = weight.mul_add(*value, *sum);
    }
}
