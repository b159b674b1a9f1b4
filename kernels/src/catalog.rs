//! What ships: every specialisation that the networks of [`MODELS`] need, each with its reason, and the targets that it
//! ships for.
//!
//! The rows of a network are a function of its [`ModelShape`]: [`specs_of`], which is also what a network of another
//! shape asks for. An error names the row that is missing.

use crate::any::AnySpec;
use crate::attention::RecordFormat;
use crate::attention::append::CacheAppendSpec;
use crate::attention::combine::MlaCombineSpec;
use crate::attention::decode::MlaDecodeSpec;
use crate::attention::gather::CacheGatherSpec;
use crate::attention::prefill::MlaPrefillSpec;
use crate::copy::CopyRowsSpec;
use crate::embedding::EmbeddingSpec;
use crate::gemm::hopper::Format;
use crate::gemm::router::{RouterSpec, RouterWeight};
use crate::gemm::{GemmSpec, Grouping, Order, Output, Slices};
use crate::moe::combine::CombineSpec;
use crate::moe::gate::{GateSpec, GroupMethod, Scoring};
use crate::moe::layout::LayoutSpec;
use crate::moe::permute::{PermuteSpec, RowFormat};
use crate::moe::swiglu::SwigluSpec;
use crate::norm::RmsNormSpec;
use crate::quant::{Quantize1x128Spec, ScaleLayout};
use crate::residual::ResidualSpec;
use crate::rope::{Pairing, RopeSpec};
use crate::sample::SampleSpec;
use crate::tune::hopper::{HopperChoice, MOST_FEW_ROWS, fused_swiglu, weight_gradient};
use crate::{ScaleFormat, ValueFormat};
use rorqual_ptx::target::{Features, Target};

/// The sizes of a network on which its kernels depend; the names are those of `config.json`.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelShape {
    /// Elements of a hidden state.
    pub hidden: u32,
    /// Attention heads.
    pub heads: u32,
    /// Elements of the compressed query; `None` where queries are projected directly.
    pub q_lora_rank: Option<u32>,
    /// Elements of the latent.
    pub kv_lora_rank: u32,
    /// Elements of a head without a position.
    pub qk_nope_head_dim: u32,
    /// Elements of a head that are rotated.
    pub qk_rope_head_dim: u32,
    /// Elements of a value of a head.
    pub v_head_dim: u32,
    /// Inner elements of the dense feed-forward network; `None` where every layer has experts.
    pub intermediate: Option<u32>,
    /// The experts; `None` where no layer has any.
    pub experts: Option<ExpertShape>,
    /// Tokens that there are.
    pub vocab: u32,
    /// The scales of activations where weights are FP8; `None` for weights in bf16.
    pub fp8: Option<ScaleFormat>,
    /// Whether there is a module that predicts a second token.
    pub mtp: bool,
}

/// The sizes of the mixture of experts.
#[derive(Debug, Clone, PartialEq)]
pub struct ExpertShape {
    /// Routed experts.
    pub routed: u32,
    /// Experts that every token has.
    pub shared: u32,
    /// Routed experts of a token.
    pub per_token: u32,
    /// Inner elements of an expert.
    pub intermediate: u32,
    /// Groups of the routed experts.
    pub groups: u32,
    /// Groups that a token may choose from.
    pub groups_per_token: u32,
    /// How experts are scored and chosen.
    pub gate: GateMethod,
    /// Whether the weights of a token are normalised to a sum of 1.
    pub normalize: bool,
    /// Multiplies the weights at the end.
    pub scaling_factor: f32,
}

/// How experts are scored and chosen; the names are those of `topk_method`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GateMethod {
    /// Softmax, the best of all experts (V2-Lite).
    Greedy,
    /// Softmax, of the groups with the best experts (V2).
    GroupLimitedGreedy,
    /// Sigmoid, a bias for the choice, groups by their two best experts (V3).
    NoAuxTc,
}

/// DeepSeek-V3 and R1.
pub const DEEPSEEK_V3: ModelShape = ModelShape {
    hidden: 7168,
    heads: 128,
    q_lora_rank: Some(1536),
    kv_lora_rank: 512,
    qk_nope_head_dim: 128,
    qk_rope_head_dim: 64,
    v_head_dim: 128,
    intermediate: Some(18432),
    experts: Some(ExpertShape {
        routed: 256,
        shared: 1,
        per_token: 8,
        intermediate: 2048,
        groups: 8,
        groups_per_token: 4,
        gate: GateMethod::NoAuxTc,
        normalize: true,
        scaling_factor: 2.5,
    }),
    vocab: 129_280,
    fp8: Some(ScaleFormat::F32),
    mtp: true,
};

/// DeepSeek-V2 and V2.5.
pub const DEEPSEEK_V2: ModelShape = ModelShape {
    hidden: 5120,
    heads: 128,
    q_lora_rank: Some(1536),
    kv_lora_rank: 512,
    qk_nope_head_dim: 128,
    qk_rope_head_dim: 64,
    v_head_dim: 128,
    intermediate: Some(12288),
    experts: Some(ExpertShape {
        routed: 160,
        shared: 2,
        per_token: 6,
        intermediate: 1536,
        groups: 8,
        groups_per_token: 3,
        gate: GateMethod::GroupLimitedGreedy,
        normalize: false,
        scaling_factor: 16.0,
    }),
    vocab: 102_400,
    fp8: None,
    mtp: false,
};

/// DeepSeek-V2-Lite.
pub const DEEPSEEK_V2_LITE: ModelShape = ModelShape {
    hidden: 2048,
    heads: 16,
    q_lora_rank: None,
    kv_lora_rank: 512,
    qk_nope_head_dim: 128,
    qk_rope_head_dim: 64,
    v_head_dim: 128,
    intermediate: Some(10944),
    experts: Some(ExpertShape {
        routed: 64,
        shared: 2,
        per_token: 6,
        intermediate: 1408,
        groups: 1,
        groups_per_token: 1,
        gate: GateMethod::Greedy,
        normalize: false,
        scaling_factor: 1.0,
    }),
    vocab: 102_400,
    fp8: None,
    mtp: false,
};

/// The bundled checkpoint, `assets/tiny-r1-fp8`.
pub const TINY_R1: ModelShape = ModelShape {
    hidden: 128,
    heads: 2,
    q_lora_rank: Some(128),
    kv_lora_rank: 512,
    qk_nope_head_dim: 128,
    qk_rope_head_dim: 64,
    v_head_dim: 128,
    intermediate: Some(256),
    experts: Some(ExpertShape {
        routed: 8,
        shared: 1,
        per_token: 2,
        intermediate: 128,
        groups: 2,
        groups_per_token: 1,
        gate: GateMethod::NoAuxTc,
        normalize: true,
        scaling_factor: 2.5,
    }),
    vocab: 64,
    fp8: Some(ScaleFormat::F32),
    mtp: true,
};

/// The networks whose kernels ship, with their names.
pub const MODELS: &[(&str, &ModelShape)] = &[
    ("DeepSeek-V3", &DEEPSEEK_V3),
    ("DeepSeek-V2", &DEEPSEEK_V2),
    ("DeepSeek-V2-Lite", &DEEPSEEK_V2_LITE),
    ("tiny-r1-fp8", &TINY_R1),
];

/// The targets that kernels may ship for, each with the feature of `rorqual` that asks for it, oldest first. What
/// no feature asks for is served by the newest target before it.
pub const TARGETS: &[(&str, &str)] =
    &[("sm80", "sm_80"), ("sm89", "sm_89"), ("sm90", "sm_90a"), ("sm100", "sm_100"), ("sm120", "sm_120")];

/// The target of the families for Hopper.
const HOPPER: Target = Target { sm: 90, features: Features::Specific };

/// A specialisation that ships.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The specialisation.
    pub spec: AnySpec,
    /// What it is for.
    pub reason: String,
    /// The networks that need it.
    pub models: Vec<&'static str>,
}

/// Everything that ships, without repetition, in the order of [`MODELS`] and of a token's way through them. Not every row
/// is there for every target: [`rows_for`] has those of one.
#[must_use]
pub fn rows() -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for (model, shape) in MODELS {
        for (spec, reason) in specs_of(shape) {
            match rows.iter_mut().find(|row| row.spec == spec) {
                Some(row) if row.models.contains(model) => {}
                Some(row) => row.models.push(model),
                None => rows.push(Row { spec, reason, models: vec![model] }),
            }
        }
    }
    rows
}

/// The rows whose families have kernels for a target, in the order of [`rows`].
#[must_use]
pub fn rows_for(target: Target) -> Vec<Row> {
    rows().into_iter().filter(|row| row.spec.serves(target)).collect()
}

/// Records of a page of the latent cache, unless the caller says otherwise.
pub const PAGE_SIZE: u32 = 64;

/// Keys of a stretch of the decode: fixed, so that results do not depend on the batch.
pub const KEY_CHUNK: u32 = 1024;

/// The targets of [`TARGETS`].
pub fn targets() -> impl Iterator<Item = Target> {
    TARGETS.iter().filter_map(|(_, name)| Target::from_name(name))
}

/// The specialisations that a network of this shape needs, each with what it is for; behind each portable product those
/// that take its place on Hopper, at the end what exists on Hopper alone. A specialisation may come more than once; one of a size that 32 bits do not hold is there with the largest, which its rules refuse. The residual on its
/// own, `argmax` and `sample` are for networks of the caller's: that of this library adds in its norms and chooses tokens
/// on the host.
#[must_use]
pub fn specs_of(shape: &ModelShape) -> Vec<(AnySpec, String)> {
    let mut specs = norms(shape);
    specs.extend(products(shape));
    specs.extend(attention(shape));
    specs.extend(elementwise(shape));
    if let Some(experts) = &shape.experts {
        specs.extend(mixture(experts, shape.hidden, shape.fp8));
    }
    let with_hopper = |(spec, reason): (AnySpec, &str)| {
        let on_hopper = on_hopper(&spec);
        let on_hopper = on_hopper.into_iter().map(|(spec, rows)| (spec, format!("{reason}, Hopper, {rows}")));
        std::iter::once((spec, reason.to_owned())).chain(on_hopper.collect::<Vec<_>>())
    };
    let mut specs: Vec<_> = specs.into_iter().flat_map(with_hopper).collect();
    specs.extend(fused_swiglus(shape));
    specs.extend(weight_gradients(shape));
    specs
}

/// What serves a portable product on Hopper, each with the rows that it is for; nothing for all else.
fn on_hopper(spec: &AnySpec) -> Vec<(AnySpec, String)> {
    let (format, spec) = match spec {
        AnySpec::Fp8Gemm(spec) => (Format::Fp8, spec),
        AnySpec::Bf16Gemm(spec) => (Format::Bf16, spec),
        _ => return vec![],
    };
    match HopperChoice::new(format, spec, HOPPER) {
        Err(_) => vec![],
        Ok(choice) if choice.is_one() => vec![(choice.any(&choice.few), "any number of rows".to_owned())],
        Ok(choice) => vec![
            (choice.any(&choice.few), format!("up to {MOST_FEW_ROWS} rows")),
            (choice.any(&choice.many), "more rows".to_owned()),
        ],
    }
}

/// Gate, up and their activation in one kernel of Hopper, where the network has FP8 weights and there is one.
fn fused_swiglus(shape: &ModelShape) -> Vec<(AnySpec, String)> {
    let Some(format) = shape.fp8 else { return vec![] };
    let mut networks = Vec::new();
    networks.extend(shape.intermediate.map(|inter| (inter, Grouping::Dense, "dense network")));
    if let Some(ExpertShape { routed, shared, intermediate, .. }) = shape.experts {
        networks.push((intermediate, Grouping::Prefix { groups: routed }, "routed experts"));
        if shared > 0 {
            networks.push((shared.saturating_mul(intermediate), Grouping::Dense, "shared experts"));
        }
    }
    let fused = |(inter, grouping, name)| {
        let spec = fused_swiglu(inter, shape.hidden, grouping, format, HOPPER).ok()?;
        let reason =
            format!("gate, up and activation of the {name}, Hopper, more than {MOST_FEW_ROWS} rows of each");
        Some((AnySpec::HopperFp8Swiglu(spec), reason))
    };
    networks.into_iter().filter_map(fused).collect()
}

/// The gradients of the FP8 weights, on Hopper.
fn weight_gradients(shape: &ModelShape) -> Vec<(AnySpec, String)> {
    let gradient = |(spec, reason): (AnySpec, &str)| {
        let AnySpec::Fp8Gemm(GemmSpec { n, k, grouping, .. }) = spec else { return None };
        let groups = match grouping {
            Grouping::Prefix { groups } => Some(groups),
            _ => None,
        };
        let spec = weight_gradient(n, k, groups, HOPPER).ok()?;
        Some((AnySpec::HopperWeightGradient(spec), format!("gradient of the weight: {reason}, Hopper")))
    };
    products(shape).into_iter().filter_map(gradient).collect()
}

fn norms(shape: &ModelShape) -> Vec<(AnySpec, &'static str)> {
    let ModelShape { hidden, kv_lora_rank, qk_rope_head_dim, fp8, .. } = *shape;
    let norm = RmsNormSpec { hidden, x_pitch: hidden, residual: true, bf16: true, fp8 };
    let latent_pitch = kv_lora_rank + qk_rope_head_dim;
    let latent =
        RmsNormSpec { hidden: kv_lora_rank, x_pitch: latent_pitch, residual: false, bf16: true, fp8: None };
    let mut specs = vec![
        (RmsNormSpec { residual: false, ..norm }, "norm before the first attention"),
        (norm, "residual, and norm before attention or feed-forward network"),
    ];
    if let Some(rank) = shape.q_lora_rank {
        let query = RmsNormSpec { hidden: rank, x_pitch: rank, residual: false, ..norm };
        specs.push((query, "norm of the compressed query"));
    }
    specs.extend([
        (latent, "norm of the latent"),
        (RmsNormSpec { fp8: None, ..norm }, "residual, and norm before the head"),
    ]);
    if shape.mtp {
        let plain = RmsNormSpec { residual: false, fp8: None, ..norm };
        specs.push((plain, "norms of state and embedding before the prediction of a second token"));
    }
    specs.into_iter().map(|(spec, reason)| (AnySpec::RmsNorm(spec), reason)).collect()
}

fn attention(shape: &ModelShape) -> Vec<(AnySpec, &'static str)> {
    let ModelShape { heads, kv_lora_rank: latent, v_head_dim: value, .. } = *shape;
    let (nope, rope) = (shape.qk_nope_head_dim, shape.qk_rope_head_dim);
    let (query, record_width, head_rows) = (nope + rope, latent + rope, nope + value);
    let (record, page_size, chunk) = (RecordFormat::Bf16, PAGE_SIZE, KEY_CHUNK);
    let rotation = RopeSpec {
        width: rope,
        heads,
        head_pitch: query,
        token_pitch: heads.saturating_mul(query),
        offset: nope,
        pairing: Pairing::Interleaved,
    };
    let append = CacheAppendSpec { latent, rope, latent_pitch: latent, key_pitch: record_width, record };
    let slices = |first, stride| Slices { first, stride };
    let absorb = GemmSpec {
        grouping: Grouping::Batched {
            batches: heads,
            a: slices(0, query),
            b: slices(0, head_rows.saturating_mul(latent)),
            d: slices(0, record_width),
        },
        b_order: Order::InputMajor,
        a_pitch: heads.saturating_mul(query),
        b_pitch: latent,
        d_pitch: heads.saturating_mul(record_width),
        ..GemmSpec::new(latent, nope)
    };
    let expand = GemmSpec {
        grouping: Grouping::Batched {
            batches: heads,
            a: slices(0, latent),
            b: slices(nope.saturating_mul(latent), head_rows.saturating_mul(latent)),
            d: slices(0, value),
        },
        a_pitch: heads.saturating_mul(latent),
        d_pitch: heads.saturating_mul(value),
        ..GemmSpec::new(value, latent)
    };
    let rotated = CopyRowsSpec { width: rope, from_pitch: query, to_pitch: record_width };
    vec![
        (AnySpec::Rope(rotation), "rotation of the queries"),
        (AnySpec::CacheAppend(append), "records of new tokens"),
        (AnySpec::CacheGather(CacheGatherSpec { latent, rope, page_size, record }), "records of a prompt"),
        (
            AnySpec::MlaPrefill(MlaPrefillSpec { heads, nope, rope, value, lse: false }),
            "attention of a prompt",
        ),
        (AnySpec::Bf16Gemm(absorb), "queries in latent space"),
        (AnySpec::CopyRows(rotated), "rotated part of queries in latent space"),
        (
            AnySpec::MlaDecode(MlaDecodeSpec { heads, latent, rope, page_size, record, chunk }),
            "attention of generated tokens",
        ),
        (AnySpec::MlaCombine(MlaCombineSpec { heads, latent, chunk }), "its stretches merged"),
        (AnySpec::Bf16Gemm(expand), "values of latents"),
    ]
}

fn elementwise(shape: &ModelShape) -> Vec<(AnySpec, &'static str)> {
    let ModelShape { hidden, heads, kv_lora_rank, v_head_dim, vocab, fp8, .. } = *shape;
    let table = EmbeddingSpec { vocab, hidden, table: ValueFormat::Bf16 };
    let logits = SampleSpec { vocab, pitch: vocab };
    let mut specs = vec![(AnySpec::Embedding(table), "states of the tokens")];
    if let Some(inter) = shape.intermediate {
        let swiglu = SwigluSpec { inter, clamp: false, device_rows: false, bf16: fp8.is_none(), fp8 };
        specs.push((AnySpec::Swiglu(swiglu), "activation of the dense network"));
    }
    specs.extend([
        (
            AnySpec::Residual(ResidualSpec { hidden, x_pitch: hidden }),
            "residual on its own, for networks that do not add it in a norm",
        ),
        (AnySpec::Argmax(logits), "the likeliest token"),
        (AnySpec::Sample(logits), "a token drawn"),
    ]);
    if let Some(scale) = fp8 {
        let scale_layout = ScaleLayout::RowMajor;
        let rows = |k| Quantize1x128Spec { k, x_pitch: k, input: ValueFormat::Bf16, scale, scale_layout };
        specs.push((AnySpec::Quantize1x128(rows(kv_lora_rank)), "latents before keys and values"));
        specs.push((
            AnySpec::Quantize1x128(rows(heads.saturating_mul(v_head_dim))),
            "attention before its output",
        ));
    }
    specs
}

fn mixture(experts: &ExpertShape, hidden: u32, fp8: Option<ScaleFormat>) -> Vec<(AnySpec, &'static str)> {
    let ExpertShape { routed, shared, per_token: topk, intermediate, .. } = *experts;
    let (scoring, method) = match experts.gate {
        GateMethod::Greedy => (Scoring::Softmax, GroupMethod::Greedy),
        GateMethod::GroupLimitedGreedy => (Scoring::Softmax, GroupMethod::Best),
        GateMethod::NoAuxTc => (Scoring::Sigmoid, GroupMethod::SumOfTwo),
    };
    let gate = GateSpec {
        experts: routed,
        groups: experts.groups,
        topk_groups: experts.groups_per_token,
        topk,
        scoring,
        method,
        bias: experts.gate == GateMethod::NoAuxTc,
        normalize: experts.normalize,
        scaling_factor: experts.scaling_factor,
    };
    let format = if fp8.is_some() { RowFormat::Fp8 } else { RowFormat::Bf16 };
    let swiglu =
        SwigluSpec { inter: intermediate, clamp: false, device_rows: true, bf16: fp8.is_none(), fp8 };
    let of_shared = SwigluSpec { inter: shared * intermediate, device_rows: false, ..swiglu };
    let combine = CombineSpec { hidden, topk, shared: shared > 0, residual: false };
    let mut specs = vec![
        (AnySpec::Gate(gate), "the experts of a token"),
        (AnySpec::Layout(LayoutSpec { experts: routed, topk }), "rows in the order of their experts"),
        (AnySpec::Permute(PermuteSpec { hidden, topk, format }), "states to their experts"),
        (AnySpec::Swiglu(swiglu), "activation of the routed experts"),
    ];
    if shared > 0 {
        specs.push((AnySpec::Swiglu(of_shared), "activation of the shared experts"));
    }
    specs.push((AnySpec::Combine(combine), "the sum of a token's experts"));
    specs
}

fn products(shape: &ModelShape) -> Vec<(AnySpec, &'static str)> {
    let ModelShape { hidden, heads, q_lora_rank, kv_lora_rank, qk_nope_head_dim, v_head_dim, .. } = *shape;
    let ModelShape { qk_rope_head_dim, ref experts, .. } = *shape;
    let queries = heads.saturating_mul(qk_nope_head_dim + qk_rope_head_dim);
    let (head_rows, values) = (qk_nope_head_dim + v_head_dim, heads.saturating_mul(v_head_dim));
    let mut specs = match q_lora_rank {
        Some(rank) => vec![
            (GemmSpec::new(rank, hidden), "compressed query"),
            (GemmSpec::new(queries, rank), "queries of the compressed query"),
        ],
        None => vec![(GemmSpec::new(queries, hidden), "queries")],
    };
    specs.extend([
        (GemmSpec::new(kv_lora_rank + qk_rope_head_dim, hidden), "latent and shared key"),
        (GemmSpec::new(heads.saturating_mul(head_rows), kv_lora_rank), "keys and values of the latent"),
        (GemmSpec::new(hidden, values), "output of attention"),
    ]);
    if let Some(inter) = shape.intermediate {
        specs.extend([
            (GemmSpec::new(2 * inter, hidden), "gate and up of the dense network"),
            (GemmSpec::new(hidden, inter), "down of the dense network"),
        ]);
    }
    if let Some(ExpertShape { routed, shared, intermediate: inter, .. }) = *experts {
        let grouped =
            |n, k| GemmSpec { grouping: Grouping::Prefix { groups: routed }, ..GemmSpec::new(n, k) };
        specs.extend([
            (grouped(2 * inter, hidden), "gate and up of the routed experts"),
            (grouped(hidden, inter), "down of the routed experts"),
        ]);
        if shared > 0 {
            let inter = shared * inter;
            specs.extend([
                (GemmSpec::new(2 * inter, hidden), "gate and up of the shared experts"),
                (GemmSpec::new(hidden, inter), "down of the shared experts"),
            ]);
        }
    }
    // Weights that are block-scaled where any are; the others are in bf16 everywhere.
    let scaled = |spec| if shape.fp8.is_some() { AnySpec::Fp8Gemm(spec) } else { AnySpec::Bf16Gemm(spec) };
    let mut specs: Vec<_> = specs.into_iter().map(|(spec, reason)| (scaled(spec), reason)).collect();
    let head = GemmSpec { output: Output::F32, ..GemmSpec::new(shape.vocab, hidden) };
    if let Some(experts) = experts {
        let router = RouterSpec { experts: experts.routed, k: hidden, weight: RouterWeight::Bf16 };
        specs.push((AnySpec::Router(router), "logits of the gate"));
    }
    specs.push((AnySpec::Bf16Gemm(head), "logits of the tokens"));
    if shape.mtp {
        let join = GemmSpec::new(hidden, 2 * hidden);
        specs.push((scaled(join), "state and embedding joined for a second token"));
        let halves = CopyRowsSpec { width: hidden, from_pitch: hidden, to_pitch: 2 * hidden };
        specs.push((AnySpec::CopyRows(halves), "state and embedding side by side"));
    }
    specs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_verifies_for_every_target_that_it_serves() {
        for target in targets() {
            for row in rows_for(target) {
                let kernel = row.spec.generate(target).unwrap_or_else(|error| panic!("{error}"));
                assert_eq!(kernel.contract.target, target);
            }
        }
    }

    #[test]
    fn names_tell_rows_apart() {
        let mut names = std::collections::HashMap::new();
        for target in targets() {
            for row in rows_for(target) {
                let name = row.spec.generate(target).unwrap().contract.kernel;
                assert!(name.starts_with(row.spec.family()), "{name}");
                if let Some(other) = names.insert(name.clone(), row.spec.clone()) {
                    panic!("{name} is {other:?} and {:?}", row.spec);
                }
            }
        }
    }

    #[test]
    fn every_row_ships_for_a_target() {
        for row in rows() {
            assert!(targets().any(|target| row.spec.serves(target)), "{:?}", row.spec);
        }
        assert!(rows_for("sm_75".parse().unwrap()).is_empty());
    }

    #[test]
    fn the_targets_are_known_and_in_order() {
        let all: Vec<Target> = targets().collect();
        assert_eq!(all.len(), TARGETS.len());
        assert!(all.iter().all(|target| target.architecture().is_some()) && all.is_sorted());
    }
}
