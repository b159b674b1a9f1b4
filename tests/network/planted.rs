//! Mistakes planted on purpose: the measures that the network passes must fail on each of them.
//!
//! A mistake is planted from outside, by a configuration that says something else than the checkpoint was made for, or
//! by a copy of the checkpoint whose weights undo a step (rows permuted, a bias of zeros). Each is measured as the
//! network itself is: on the trained checkpoint by the root mean square of the logit differences, which must exceed
//! the 0.3 that [`Precision::Kernel`] is allowed, in both precisions (one is smaller and shows in f32 alone, where 1e-3
//! is allowed); on the others by the largest logit error, which must exceed 0.5, more than a thousand times what
//! [`super::checkpoints`] allows.
//!
//! Mistakes that the oracle's makers tried and that cannot be planted from outside: weights taken from the biased
//! scores; the V3 group score as the best instead of the two best; softmax over the kept groups; latents that are not
//! normalised at all. The units of the gate, and every routing weight and cache row in [`super::checkpoints`], hold
//! those. An epsilon of 1e-5 in the latent norms moves logits by about the tolerance and is not visible in any fixture.

use rorqual::model::config::{Config, Scoring, TopkMethod};
use rorqual::reference::Precision;
use rorqual::reference::mla::Form;
use rorqual::reference::model::{Model, Segment};
use rorqual::reference::rope::MscaleConvention;
use safetensors::Dtype;
use safetensors::tensor::{TensorView, serialize_to_file};
use tempfile::TempDir;

use crate::oracle::{Tensor, Tensors, fixture};
use crate::run::{config, directory, largest_error, load_as};
use crate::trained::{F32_LIMIT, KERNEL_LIMIT, distances};

/// The largest logit error that an untrained checkpoint must show.
const VISIBLE: f64 = 0.5;

/// A mistake: how to plant it and which checkpoints show it.
struct Mistake {
    name: &'static str,
    config: fn(&mut Config),
    weights: fn(&Config, &mut Vec<Tensor>),
    mscale: MscaleConvention,
    /// Whether it is the drafts that show it rather than the logits; of the trained checkpoint only.
    in_drafts: bool,
    /// Whether the trained checkpoint shows it in f32 only: it is smaller than what rounding does to the logits.
    in_f32_only: bool,
    shown_by: &'static [&'static str],
}

const NONE: Mistake = Mistake {
    name: "",
    config: |_| (),
    weights: |_, _| (),
    mscale: MscaleConvention::HuggingFace,
    in_drafts: false,
    in_f32_only: false,
    shown_by: &[],
};

const R1: &str = "tiny-r1-fp8";

const MISTAKES: &[Mistake] = &[
    // Rotation and the scale of the scores.
    Mistake {
        name: "no square of mscale on the scores",
        config: |config| yarn(config, |yarn| yarn.mscale = Some(0.0)),
        mscale: MscaleConvention::DeepSeek,
        shown_by: &[R1, "tiny-v3", "tiny-v2", "tiny-v2lite"],
        ..NONE
    },
    Mistake {
        name: "mscale on the scores once, not squared",
        config: |config| {
            yarn(config, |yarn| {
                let logarithm = 0.1 * yarn.factor.ln();
                yarn.mscale = yarn.mscale.map(|mscale| ((logarithm * mscale + 1.0).sqrt() - 1.0) / logarithm);
            });
        },
        mscale: MscaleConvention::DeepSeek,
        in_f32_only: true,
        shown_by: &[R1, "tiny-v3", "tiny-v2", "tiny-v2lite"],
        ..NONE
    },
    Mistake {
        name: "mscale on cosine and sine instead of the scores",
        config: |config| yarn(config, |yarn| yarn.mscale_all_dim = 0.0),
        shown_by: &[R1, "tiny-v3", "tiny-v2", "tiny-v2lite"],
        ..NONE
    },
    Mistake {
        name: "no YaRN",
        config: |config| config.rope_scaling = None,
        shown_by: &[R1, "tiny-v3", "tiny-v2", "tiny-v2lite"],
        ..NONE
    },
    Mistake {
        name: "YaRN's frequencies left as they are",
        // So long an original context that no frequency is slow in it.
        config: |config| yarn(config, |yarn| yarn.original_max_position_embeddings = 2e7),
        shown_by: &[R1, "tiny-v3", "tiny-v2", "tiny-v2lite"],
        ..NONE
    },
    Mistake {
        name: "rotated pairs half a head apart",
        weights: |config, tensors| {
            let (nope, rope) = (config.qk_nope_head_dim, config.qk_rope_head_dim);
            let source = |at: usize| at / 2 + at % 2 * (rope / 2);
            for tensor in tensors {
                if ends_with(tensor, &["q_b_proj.weight", "q_proj.weight"]) {
                    let head = nope + rope;
                    permute_rows(tensor, |row| match (row % head).checked_sub(nope) {
                        None => row,
                        Some(at) => row - at + source(at),
                    });
                } else if ends_with(tensor, &["kv_a_proj_with_mqa.weight"]) {
                    let latent = config.kv_lora_rank;
                    permute_rows(tensor, |row| match row.checked_sub(latent) {
                        None => row,
                        Some(at) => latent + source(at),
                    });
                }
            }
        },
        shown_by: &[R1, "tiny-v3", "tiny-v2", "tiny-v2lite"],
        ..NONE
    },
    // Attention.
    Mistake {
        name: "keys and values of kv_b exchanged",
        weights: |config, tensors| {
            let (nope, value) = (config.qk_nope_head_dim, config.v_head_dim);
            for tensor in tensors.iter_mut().filter(|tensor| ends_with(tensor, &["kv_b_proj.weight"])) {
                let head = nope + value;
                permute_rows(tensor, |row| row / head * head + (row % head + value) % head);
            }
        },
        shown_by: &[R1, "tiny-v3", "tiny-v2", "tiny-v2lite"],
        ..NONE
    },
    Mistake {
        name: "rotated key before the latent",
        weights: |config, tensors| {
            let rope = config.qk_rope_head_dim;
            for tensor in tensors.iter_mut().filter(|t| ends_with(t, &["kv_a_proj_with_mqa.weight"])) {
                let rows = tensor.shape[0];
                permute_rows(tensor, |row| (row + rope) % rows);
            }
        },
        shown_by: &[R1, "tiny-v3", "tiny-v2", "tiny-v2lite"],
        ..NONE
    },
    Mistake {
        name: "the latent norm's weight left out",
        weights: |_, tensors| fill(tensors, &["kv_a_layernorm.weight"], 1.0),
        shown_by: &["tiny-v3", "tiny-v2"],
        ..NONE
    },
    // The gate.
    Mistake {
        name: "no router bias",
        weights: |_, tensors| fill(tensors, &["e_score_correction_bias"], 0.0),
        shown_by: &[R1, "tiny-v3"],
        ..NONE
    },
    Mistake {
        name: "weights of the chosen experts not normalised",
        config: |config| config.norm_topk_prob = false,
        shown_by: &[R1, "tiny-v3"],
        ..NONE
    },
    Mistake {
        name: "weights of the chosen experts normalised",
        config: |config| config.norm_topk_prob = true,
        shown_by: &["tiny-v2", "tiny-v2lite"],
        ..NONE
    },
    Mistake {
        name: "routed scaling left out",
        config: |config| config.routed_scaling_factor = 1.0,
        shown_by: &[R1, "tiny-v3", "tiny-v2"],
        ..NONE
    },
    Mistake {
        name: "no group limit",
        config: |config| config.topk_group = config.n_group,
        shown_by: &[R1, "tiny-v3", "tiny-v2"],
        ..NONE
    },
    Mistake {
        name: "groups of V2 judged by their two best experts",
        config: |config| config.topk_method = TopkMethod::NoauxTc,
        weights: |config, tensors| {
            for layer in config.first_k_dense_replace..config.num_hidden_layers {
                let name = format!("model.layers.{layer}.mlp.gate.e_score_correction_bias");
                let bytes = vec![0; 4 * config.n_routed_experts];
                tensors.push(Tensor { name, dtype: Dtype::F32, shape: vec![config.n_routed_experts], bytes });
            }
        },
        shown_by: &["tiny-v2"],
        ..NONE
    },
    Mistake {
        name: "sigmoid for softmax",
        config: |config| config.scoring = Scoring::Sigmoid,
        shown_by: &["tiny-v2", "tiny-v2lite"],
        ..NONE
    },
    Mistake {
        name: "softmax for sigmoid",
        config: |config| config.scoring = Scoring::Softmax,
        shown_by: &[R1, "tiny-v3"],
        ..NONE
    },
    // Experts.
    Mistake {
        name: "no shared experts",
        weights: |_, tensors| {
            for tensor in tensors.iter_mut().filter(|t| ends_with(t, &["shared_experts.down_proj.weight"])) {
                // Zero in every type.
                tensor.bytes.fill(0);
            }
        },
        shown_by: &[R1, "tiny-v3", "tiny-v2", "tiny-v2lite"],
        ..NONE
    },
    Mistake {
        name: "shared experts scaled like routed ones",
        weights: |config, tensors| {
            for tensor in tensors.iter_mut().filter(|t| ends_with(t, &["shared_experts.down_proj.weight"])) {
                let scaled = tensor.f32s().into_iter().map(|value| value * config.routed_scaling_factor);
                tensor.bytes = scaled.flat_map(f32::to_le_bytes).collect();
            }
        },
        shown_by: &["tiny-v3", "tiny-v2"],
        ..NONE
    },
    // FP8.
    Mistake {
        name: "block scales ignored",
        weights: |_, tensors| fill(tensors, &["_scale_inv"], 1.0),
        shown_by: &[R1, "tiny-v3-fp8"],
        ..NONE
    },
    Mistake {
        name: "block scales transposed",
        weights: |_, tensors| {
            for tensor in tensors.iter_mut().filter(|tensor| ends_with(tensor, &["_scale_inv"])) {
                // As if the grid lay column after column: another order of the same scales.
                let (rows, columns) = (tensor.shape[0], tensor.shape[1]);
                let scales: Vec<[u8; 4]> = tensor.bytes.as_chunks().0.to_vec();
                let order = (0..rows * columns).map(|at| at % columns * rows + at / columns);
                tensor.bytes = order.flat_map(|at| scales[at]).collect();
            }
        },
        shown_by: &[R1, "tiny-v3-fp8"],
        ..NONE
    },
    // Multi-token prediction.
    Mistake {
        name: "state before the embedding in eh_proj, as in the paper",
        weights: |_, tensors| {
            for tensor in tensors.iter_mut() {
                if ends_with(tensor, &["eh_proj.weight", "eh_proj.weight_scale_inv"]) {
                    let row_bytes = tensor.bytes.len() / tensor.shape[0];
                    tensor.bytes.chunks_mut(row_bytes).for_each(|row| row.rotate_left(row_bytes / 2));
                }
            }
        },
        in_drafts: true,
        shown_by: &[R1],
        ..NONE
    },
];

#[test]
fn each_is_caught_by_the_trained_checkpoint() {
    let mut unseen = Vec::new();
    for mistake in MISTAKES.iter().filter(|mistake| mistake.shown_by.contains(&R1)) {
        for precision in [Precision::F32, Precision::Kernel] {
            let (logits, drafts) = distances(&plant(mistake, R1, precision));
            let rms = if mistake.in_drafts { drafts } else { logits };
            println!("{R1}, {precision:?}, {}: {rms:.3}", mistake.name);
            let seen = match precision {
                Precision::F32 if mistake.in_f32_only => rms > 100.0 * F32_LIMIT && rms <= KERNEL_LIMIT,
                Precision::Kernel if mistake.in_f32_only => true,
                _ => rms > KERNEL_LIMIT,
            };
            if !seen {
                unseen.push(format!("{}, {precision:?}: {rms}", mistake.name));
            }
        }
    }
    assert!(unseen.is_empty(), "mistakes that are not seen as they should be:\n{}", unseen.join("\n"));
}

#[test]
fn each_is_caught_by_the_other_checkpoints() {
    let mut unseen = Vec::new();
    for mistake in MISTAKES {
        for &name in mistake.shown_by.iter().filter(|&&name| name != R1) {
            let error = largest_logit_error(&plant(mistake, name, Precision::F32), name);
            println!("{name}, {}: {error:.3}", mistake.name);
            if error <= VISIBLE {
                unseen.push(format!("{name}, {}: {error}", mistake.name));
            }
        }
    }
    assert!(unseen.is_empty(), "mistakes within {VISIBLE}:\n{}", unseen.join("\n"));
}

/// The network with a mistake in it.
fn plant(mistake: &Mistake, name: &str, precision: Precision) -> Model {
    let sound = config(&directory(name));
    let tensors = Tensors::open(&directory(name).join("model.safetensors"));
    let mut tensors: Vec<Tensor> = tensors.names().map(|name| tensors.get(name).clone()).collect();
    (mistake.weights)(&sound, &mut tensors);
    let copy = TempDir::new().expect("a temporary folder");
    let views = tensors.iter().map(|tensor| {
        let view = TensorView::new(tensor.dtype, tensor.shape.clone(), &tensor.bytes);
        (&tensor.name, view.expect("bytes of the shape"))
    });
    serialize_to_file(views, None, &copy.path().join("model.safetensors")).expect("a copy of the checkpoint");
    let mut config = sound;
    (mistake.config)(&mut config);
    // The mapping outlives the folder.
    load_as(copy.path(), config, precision, mistake.mscale)
}

fn largest_logit_error(model: &Model, name: &str) -> f64 {
    let oracle = Tensors::open(&fixture(name).join("oracle.safetensors"));
    let errors = (0..4).map(|p| {
        let prompt = oracle.get(&format!("p{p}.input_ids")).integers();
        let expected = oracle.get(&format!("p{p}.logits"));
        let mut cache = model.new_cache();
        let mut segment = [Segment { tokens: &prompt, form: Form::Naive, cache: &mut cache }];
        let hidden = model.forward(&mut segment, &mut ()).expect("a prompt that fits");
        let first = prompt.len() - expected.shape[0];
        let logits = model.logits(&hidden[first * model.config().hidden_size..]);
        largest_error(&logits, &expected.floats())
    });
    errors.fold(0.0, f64::max)
}

fn yarn(config: &mut Config, change: impl FnOnce(&mut rorqual::model::config::Yarn)) {
    change(config.rope_scaling.as_mut().expect("a checkpoint with YaRN"));
}

fn ends_with(tensor: &Tensor, names: &[&str]) -> bool {
    names.iter().any(|name| tensor.name.ends_with(name))
}

/// Sets every element of some vectors or scale grids.
fn fill(tensors: &mut [Tensor], names: &[&str], value: f32) {
    for tensor in tensors.iter_mut().filter(|tensor| ends_with(tensor, names)) {
        let count = tensor.shape.iter().product();
        tensor.dtype = Dtype::F32;
        tensor.bytes = vec![value.to_le_bytes(); count].concat();
    }
}

/// Row `i` becomes what row `source(i)` was; block scales stay where they are.
fn permute_rows(tensor: &mut Tensor, source: impl Fn(usize) -> usize) {
    let row_bytes = tensor.bytes.len() / tensor.shape[0];
    let old = tensor.bytes.clone();
    for (row, bytes) in tensor.bytes.chunks_mut(row_bytes).enumerate() {
        bytes.copy_from_slice(&old[source(row) * row_bytes..][..row_bytes]);
    }
}
