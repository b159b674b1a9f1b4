//! Tensors that do not fit the configuration, and scales.

use rorqual::model::generate::GenerateOptions;
use rorqual::model::{Pretrained, generate};

use crate::assert_messages;
use crate::copy::Base;
use crate::safetensors_file::{SafetensorsFile, Tensor};

/// A name, an edit and the message that answers it.
type Row = (&'static str, fn(&mut SafetensorsFile), &'static str);

/// Edits the tensors of a copy of `base` for each row and compares all messages.
#[track_caller]
fn assert_tensors_refused(base: Base, rows: &[Row]) {
    assert_messages(rows.iter().map(|(name, edit, expected)| {
        let copy = base.copy();
        copy.edit_weights(edit);
        let before = copy.listing();
        let found = copy.open().map_or_else(|error| copy.anonymous(&error), |_| "accepted".to_owned());
        assert_eq!(copy.listing(), before, "{name}: the directory has changed");
        (*name, *expected, found)
    }));
}

#[test]
fn missing_tensors_are_named() {
    assert_tensors_refused(
        Base::Mtp,
        &[
            (
                "embedding",
                |file| file.remove("model.embed_tokens.weight"),
                "DIR/model.safetensors: tensor `model.embed_tokens.weight` is missing, expected shape [512, 64]",
            ),
            (
                "head",
                |file| file.remove("lm_head.weight"),
                "DIR/model.safetensors: tensor `lm_head.weight` is missing, expected shape [512, 64]",
            ),
            (
                "last norm",
                |file| file.remove("model.norm.weight"),
                "DIR/model.safetensors: tensor `model.norm.weight` is missing, expected shape [64]",
            ),
            (
                "norm of a layer",
                |file| file.remove("model.layers.0.input_layernorm.weight"),
                "DIR/model.safetensors: tensor `model.layers.0.input_layernorm.weight` is missing, expected shape [64]",
            ),
            (
                "second norm of a layer",
                |file| file.remove("model.layers.2.post_attention_layernorm.weight"),
                "DIR/model.safetensors: tensor `model.layers.2.post_attention_layernorm.weight` is missing, expected shape [64]",
            ),
            (
                "query projection",
                |file| file.remove("model.layers.0.self_attn.q_b_proj.weight"),
                "DIR/model.safetensors: tensor `model.layers.0.self_attn.q_b_proj.weight` is missing, expected shape [192, 48]",
            ),
            (
                "norm of a latent",
                |file| file.remove("model.layers.1.self_attn.kv_a_layernorm.weight"),
                "DIR/model.safetensors: tensor `model.layers.1.self_attn.kv_a_layernorm.weight` is missing, expected shape [32]",
            ),
            (
                "dense network",
                |file| file.remove("model.layers.0.mlp.up_proj.weight"),
                "DIR/model.safetensors: tensor `model.layers.0.mlp.up_proj.weight` is missing, expected shape [128, 64]",
            ),
            (
                "router",
                |file| file.remove("model.layers.1.mlp.gate.weight"),
                "DIR/model.safetensors: tensor `model.layers.1.mlp.gate.weight` is missing, expected shape [8, 64]",
            ),
            (
                "correction bias",
                |file| file.remove("model.layers.1.mlp.gate.e_score_correction_bias"),
                "DIR/model.safetensors: tensor `model.layers.1.mlp.gate.e_score_correction_bias` is missing, expected shape [8]",
            ),
            (
                "expert",
                |file| file.remove("model.layers.2.mlp.experts.5.down_proj.weight"),
                "DIR/model.safetensors: tensor `model.layers.2.mlp.experts.5.down_proj.weight` is missing, expected shape [64, 24]",
            ),
            (
                "shared expert",
                |file| file.remove("model.layers.1.mlp.shared_experts.gate_proj.weight"),
                "DIR/model.safetensors: tensor `model.layers.1.mlp.shared_experts.gate_proj.weight` is missing, expected shape [24, 64]",
            ),
            (
                "draft module's projection",
                |file| file.remove("model.layers.3.eh_proj.weight"),
                "DIR/model.safetensors: tensor `model.layers.3.eh_proj.weight` is missing, expected shape [64, 128]",
            ),
            (
                "draft module's norm",
                |file| file.remove("model.layers.3.hnorm.weight"),
                "DIR/model.safetensors: tensor `model.layers.3.hnorm.weight` is missing, expected shape [64]",
            ),
            (
                "another name",
                |file| file.tensor("model.norm.weight").name = "transformer.norm.weight".to_owned(),
                "DIR/model.safetensors: tensor `model.norm.weight` is missing, expected shape [64]",
            ),
            (
                "all but one",
                |file| file.tensors.retain(|tensor| tensor.name == "model.norm.weight"),
                "DIR/model.safetensors: tensor `model.embed_tokens.weight` is missing, expected shape [512, 64]",
            ),
        ],
    );
}

#[test]
fn shapes_must_fit_the_configuration() {
    assert_tensors_refused(
        Base::Mtp,
        &[
            (
                "transposed",
                |file| file.tensor("model.embed_tokens.weight").shape.reverse(),
                "DIR/model.safetensors: tensor `model.embed_tokens.weight`: shape [64, 512], expected [512, 64]",
            ),
            (
                "a row too few",
                |file| file.replace("lm_head.weight", "F32", &[511, 64]),
                "DIR/model.safetensors: tensor `lm_head.weight`: shape [511, 64], expected [512, 64]",
            ),
            (
                "a column too many",
                |file| file.replace("model.layers.0.self_attn.o_proj.weight", "F32", &[64, 97]),
                "DIR/model.safetensors: tensor `model.layers.0.self_attn.o_proj.weight`: shape [64, 97], expected [64, 96]",
            ),
            (
                "flat",
                |file| file.tensor("model.layers.0.mlp.gate_proj.weight").shape = vec![128 * 64],
                "DIR/model.safetensors: tensor `model.layers.0.mlp.gate_proj.weight`: shape [8192], expected [128, 64]",
            ),
            (
                "experts in one tensor",
                |file| file.replace("model.layers.1.mlp.experts.0.gate_proj.weight", "F32", &[8, 24, 64]),
                "DIR/model.safetensors: tensor `model.layers.1.mlp.experts.0.gate_proj.weight`: shape [8, 24, 64], expected [24, 64]",
            ),
            (
                "a norm with two extents",
                |file| file.tensor("model.norm.weight").shape = vec![1, 64],
                "DIR/model.safetensors: tensor `model.norm.weight`: shape [1, 64], expected [64]",
            ),
            (
                "a scalar",
                |file| file.replace("model.norm.weight", "F32", &[]),
                "DIR/model.safetensors: tensor `model.norm.weight`: shape [], expected [64]",
            ),
            (
                "nothing in it",
                |file| file.replace("model.norm.weight", "F32", &[0]),
                "DIR/model.safetensors: tensor `model.norm.weight`: shape [0], expected [64]",
            ),
            (
                "nothing in its rows",
                |file| file.replace("lm_head.weight", "F32", &[512, 0]),
                "DIR/model.safetensors: tensor `lm_head.weight`: shape [512, 0], expected [512, 64]",
            ),
            (
                "a bias for fewer experts",
                |file| file.replace("model.layers.1.mlp.gate.e_score_correction_bias", "F32", &[7]),
                "DIR/model.safetensors: tensor `model.layers.1.mlp.gate.e_score_correction_bias`: shape [7], expected [8]",
            ),
            (
                "extents without end",
                |file| file.tensor("model.norm.weight").shape.extend([1; 100_000]),
                "DIR/model.safetensors: tensor `model.norm.weight`: shape [64, 1, 1, 1, 1, 1, 1, 1] (the first of 100001 extents), expected [64]",
            ),
        ],
    );
}

#[test]
fn element_types_must_fit() {
    assert_tensors_refused(
        Base::Mtp,
        &[
            (
                "integers",
                |file| file.replace("model.embed_tokens.weight", "I32", &[512, 64]),
                "DIR/model.safetensors: tensor `model.embed_tokens.weight`: dtype I32, expected F32, F16, BF16 or F8_E4M3",
            ),
            (
                "doubles",
                |file| file.replace("model.norm.weight", "F64", &[64]),
                "DIR/model.safetensors: tensor `model.norm.weight`: dtype F64, expected F32, F16 or BF16",
            ),
            (
                "FP8 norm",
                |file| file.replace("model.norm.weight", "F8_E4M3", &[64]),
                "DIR/model.safetensors: tensor `model.norm.weight`: dtype F8_E4M3, expected F32, F16 or BF16",
            ),
            (
                "FP8 bias",
                |file| file.replace("model.layers.1.mlp.gate.e_score_correction_bias", "F8_E4M3", &[8]),
                "DIR/model.safetensors: tensor `model.layers.1.mlp.gate.e_score_correction_bias`: dtype F8_E4M3, expected F32, F16 or BF16",
            ),
            (
                "e5m2 weight",
                |file| file.replace("model.layers.0.mlp.up_proj.weight", "F8_E5M2", &[128, 64]),
                "DIR/model.safetensors: tensor `model.layers.0.mlp.up_proj.weight`: dtype F8_E5M2, expected F32, F16, BF16 or F8_E4M3",
            ),
            (
                "e4m3 of another kind",
                |file| file.replace("model.layers.0.mlp.up_proj.weight", "F8_E4M3FNUZ", &[128, 64]),
                "DIR/model.safetensors: tensor `model.layers.0.mlp.up_proj.weight`: dtype F8_E4M3FNUZ, expected F32, F16, BF16 or F8_E4M3",
            ),
            (
                "truth values",
                |file| file.replace("lm_head.weight", "BOOL", &[512, 64]),
                "DIR/model.safetensors: tensor `lm_head.weight`: dtype BOOL, expected F32, F16, BF16 or F8_E4M3",
            ),
            (
                "FP8 weight without scales",
                |file| file.replace("model.layers.0.mlp.up_proj.weight", "F8_E4M3", &[128, 64]),
                "DIR/model.safetensors: tensor `model.layers.0.mlp.up_proj.weight_scale_inv` is missing, expected shape [1, 1]",
            ),
        ],
    );
}

#[test]
fn scales_must_scale() {
    const EXPERT: &str = "model.layers.1.mlp.experts.3.up_proj.weight_scale_inv";
    const KV_B: &str = "model.layers.2.self_attn.kv_b_proj.weight_scale_inv";
    const DRAFT: &str = "model.layers.3.eh_proj.weight_scale_inv";
    assert_tensors_refused(
        Base::TrainedFp8,
        &[
            (
                "missing",
                |file| file.remove(EXPERT),
                "DIR/model.safetensors: tensor `model.layers.1.mlp.experts.3.up_proj.weight_scale_inv` is missing, expected shape [1, 1]",
            ),
            (
                "missing in the draft module",
                |file| file.remove(DRAFT),
                "DIR/model.safetensors: tensor `model.layers.3.eh_proj.weight_scale_inv` is missing, expected shape [1, 2]",
            ),
            (
                "NaN",
                |file| file.set_f32(EXPERT, 0, f32::NAN),
                "DIR/model.safetensors: tensor `model.layers.1.mlp.experts.3.up_proj.weight_scale_inv`: scale [0, 0] is NaN, expected a finite number not below zero",
            ),
            (
                "infinite",
                |file| file.set_f32(KV_B, 6, f32::INFINITY),
                "DIR/model.safetensors: tensor `model.layers.2.self_attn.kv_b_proj.weight_scale_inv`: scale [1, 2] is inf, expected a finite number not below zero",
            ),
            (
                "infinite and negative",
                |file| file.set_f32(KV_B, 15, f32::NEG_INFINITY),
                "DIR/model.safetensors: tensor `model.layers.2.self_attn.kv_b_proj.weight_scale_inv`: scale [3, 3] is -inf, expected a finite number not below zero",
            ),
            (
                "negative",
                |file| file.set_f32(DRAFT, 1, -0.25),
                "DIR/model.safetensors: tensor `model.layers.3.eh_proj.weight_scale_inv`: scale [0, 1] is -0.25, expected a finite number not below zero",
            ),
            (
                "bf16",
                |file| file.replace(EXPERT, "BF16", &[1, 1]),
                "DIR/model.safetensors: tensor `model.layers.1.mlp.experts.3.up_proj.weight_scale_inv`: dtype BF16, expected F32",
            ),
            (
                "powers of two in a byte",
                |file| file.replace(EXPERT, "F8_E8M0", &[1, 1]),
                "DIR/model.safetensors: tensor `model.layers.1.mlp.experts.3.up_proj.weight_scale_inv`: dtype F8_E8M0, expected F32",
            ),
            (
                "a row too many",
                |file| file.replace(KV_B, "F32", &[5, 4]),
                "DIR/model.safetensors: tensor `model.layers.2.self_attn.kv_b_proj.weight_scale_inv`: shape [5, 4], expected [4, 4]",
            ),
            (
                "flat",
                |file| file.tensor(KV_B).shape = vec![16],
                "DIR/model.safetensors: tensor `model.layers.2.self_attn.kv_b_proj.weight_scale_inv`: shape [16], expected [4, 4]",
            ),
            (
                "one for each row",
                |file| file.replace(DRAFT, "F32", &[128, 1]),
                "DIR/model.safetensors: tensor `model.layers.3.eh_proj.weight_scale_inv`: shape [128, 1], expected [1, 2]",
            ),
            (
                "one for all",
                |file| file.replace(KV_B, "F32", &[]),
                "DIR/model.safetensors: tensor `model.layers.2.self_attn.kv_b_proj.weight_scale_inv`: shape [], expected [4, 4]",
            ),
        ],
    );
    assert_tensors_refused(
        Base::Fp8,
        &[(
            "a ragged grid rounded down",
            |file| {
                file.replace("model.layers.0.self_attn.kv_a_proj_with_mqa.weight_scale_inv", "F32", &[1, 2])
            },
            "DIR/model.safetensors: tensor `model.layers.0.self_attn.kv_a_proj_with_mqa.weight_scale_inv`: shape [1, 2], expected [2, 2]",
        )],
    );
}

/// A tensor that the network has no place for may mean that another network was meant.
#[test]
fn tensors_without_a_place_are_refused() {
    fn add(file: &mut SafetensorsFile, name: &str) {
        let tensor =
            Tensor { name: name.to_owned(), dtype: "F32".to_owned(), shape: vec![1], bytes: vec![0; 4] };
        file.tensors.push(tensor);
    }
    assert_tensors_refused(
        Base::Mtp,
        &[
            (
                "a bias of the head",
                |file| add(file, "lm_head.bias"),
                "DIR/model.safetensors: tensor `lm_head.bias` has no place in the network of 3 layers that config.json describes",
            ),
            (
                "a bias of the last norm",
                |file| add(file, "model.norm.bias"),
                "DIR/model.safetensors: tensor `model.norm.bias` has no place in the network of 3 layers that config.json describes",
            ),
            (
                "scales of a weight that is not quantised",
                |file| add(file, "lm_head.weight_scale_inv"),
                "DIR/model.safetensors: tensor `lm_head.weight_scale_inv` has no place in the network of 3 layers that config.json describes",
            ),
            (
                "a part of sparse attention",
                |file| add(file, "model.layers.0.self_attn.indexer.wk.weight"),
                "DIR/model.safetensors: tensor `model.layers.0.self_attn.indexer.wk.weight` has no place in the network of 3 layers that config.json describes",
            ),
        ],
    );
}

/// The draft module's embedding and head are copies of the trunk's.
#[test]
fn the_draft_module_needs_no_copies() {
    let options = GenerateOptions { max_new_tokens: 12, speculate: true, ..GenerateOptions::default() };
    let prompt = vec![0, 9, 7, 17, 12, 18];
    let generated = |pretrained: &Pretrained| {
        let prompts = std::slice::from_ref(&prompt);
        generate(&pretrained.network, prompts, &options, &mut (), &mut ()).expect("tokens").sequences
    };
    let copy = Base::TrainedFp8.copy();
    let with_copies = generated(&copy.open().expect("a good checkpoint"));
    copy.edit_weights(|file| {
        file.remove("model.layers.3.embed_tokens.weight");
        file.remove("model.layers.3.shared_head.head.weight");
    });
    assert_eq!(generated(&copy.open().expect("the trunk's stand in")), with_copies);
}

/// What is strange but harmless stays allowed.
#[test]
fn harmless_tensors_are_accepted() {
    let copy = Base::TrainedFp8.copy();
    copy.edit_weights(|file| {
        let unknown = Tensor {
            name: "model.layers.0.self_attn.rotary_emb.inv_freq".to_owned(),
            dtype: "I64".to_owned(),
            shape: vec![2, 0, 1 << 40],
            bytes: Vec::new(),
        };
        file.tensors.push(unknown);
        // So transformers writes the shared experts of a network that has none.
        let empty = Tensor {
            name: "model.layers.1.mlp.shared_experts.extra.weight".to_owned(),
            dtype: "BF16".to_owned(),
            shape: vec![128, 0],
            bytes: Vec::new(),
        };
        file.tensors.push(empty);
        file.set_f32("model.layers.3.eh_proj.weight_scale_inv", 0, 0.0);
        file.set_f32("model.layers.3.eh_proj.weight_scale_inv", 1, -0.0);
    });
    copy.open().expect("an unknown tensor and scales of zero");
}
