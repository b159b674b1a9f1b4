//! Published configs and their variations, and random damage. What is said about bad ones is in `refused`.

mod refused;

use proptest::prelude::*;
use serde_json::{Map, Value};

use super::*;

const V3: &str = r#"{
  "architectures": ["DeepseekV3ForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
  "auto_map": {"AutoConfig": "configuration_deepseek.DeepseekV3Config"},
  "bos_token_id": 0, "eos_token_id": 1, "ep_size": 1, "first_k_dense_replace": 3, "hidden_act": "silu",
  "hidden_size": 7168, "initializer_range": 0.02, "intermediate_size": 18432, "kv_lora_rank": 512,
  "max_position_embeddings": 163840, "model_type": "deepseek_v3", "moe_intermediate_size": 2048, "moe_layer_freq": 1,
  "n_group": 8, "n_routed_experts": 256, "n_shared_experts": 1, "norm_topk_prob": true, "num_attention_heads": 128,
  "num_experts_per_tok": 8, "num_hidden_layers": 61, "num_key_value_heads": 128, "num_nextn_predict_layers": 1,
  "q_lora_rank": 1536, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64,
  "quantization_config": {"activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8",
                          "weight_block_size": [128, 128]},
  "rms_norm_eps": 1e-06,
  "rope_scaling": {"beta_fast": 32, "beta_slow": 1, "factor": 40, "mscale": 1.0, "mscale_all_dim": 1.0,
                   "original_max_position_embeddings": 4096, "type": "yarn"},
  "rope_theta": 10000, "routed_scaling_factor": 2.5, "scoring_func": "sigmoid", "tie_word_embeddings": false,
  "topk_group": 4, "topk_method": "noaux_tc", "torch_dtype": "bfloat16", "transformers_version": "4.33.1",
  "use_cache": true, "v_head_dim": 128, "vocab_size": 129280
}"#;

const V2_LITE: &str = r#"{
  "architectures": ["DeepseekV2ForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
  "auto_map": {"AutoConfig": "configuration_deepseek.DeepseekV2Config"}, "aux_loss_alpha": 0.001,
  "bos_token_id": 100000, "eos_token_id": 100001, "first_k_dense_replace": 1, "hidden_act": "silu",
  "hidden_size": 2048, "initializer_range": 0.02, "intermediate_size": 10944, "kv_lora_rank": 512,
  "max_position_embeddings": 163840, "model_type": "deepseek_v2", "moe_intermediate_size": 1408, "moe_layer_freq": 1,
  "n_group": 1, "n_routed_experts": 64, "n_shared_experts": 2, "norm_topk_prob": false, "num_attention_heads": 16,
  "num_experts_per_tok": 6, "num_hidden_layers": 27, "num_key_value_heads": 16, "pretraining_tp": 1,
  "q_lora_rank": null, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "rms_norm_eps": 1e-06,
  "rope_scaling": {"beta_fast": 32, "beta_slow": 1, "factor": 40, "mscale": 0.707, "mscale_all_dim": 0.707,
                   "original_max_position_embeddings": 4096, "type": "yarn"},
  "rope_theta": 10000, "routed_scaling_factor": 1.0, "scoring_func": "softmax", "seq_aux": true,
  "tie_word_embeddings": false, "topk_group": 1, "topk_method": "greedy", "torch_dtype": "bfloat16",
  "transformers_version": "4.33.1", "use_cache": true, "v_head_dim": 128, "vocab_size": 102400
}"#;

/// What V2 has different from V2-Lite.
const V2: &str = r#"{"hidden_size": 5120, "intermediate_size": 12288, "moe_intermediate_size": 1536, "n_group": 8,
  "n_routed_experts": 160, "num_attention_heads": 128, "num_hidden_layers": 60, "num_key_value_heads": 128,
  "q_lora_rank": 1536, "routed_scaling_factor": 16.0, "topk_group": 3, "topk_method": "group_limited_greedy",
  "ep_size": 1}"#;

/// `rope_scaling` and `rope_theta` of V3 as transformers 5 writes them.
const PARAMETERS: &str = r#"{"rope_scaling": "absent", "rope_theta": "absent", "rope_parameters": {
  "rope_theta": 10000.0, "rope_type": "yarn", "type": "yarn", "factor": 40.0, "beta_fast": 32.0, "beta_slow": 1.0,
  "mscale": 1.0, "mscale_all_dim": 1.0, "original_max_position_embeddings": 4096}}"#;

/// Overwrites fields of `base` by those of `patch`, objects field by field; the string "absent" removes one.
fn merge(base: &mut Map<String, Value>, patch: Map<String, Value>) {
    for (key, value) in patch {
        match value {
            Value::String(word) if word == "absent" => drop(base.remove(&key)),
            Value::Object(inner) => match base.get_mut(&key) {
                Some(Value::Object(target)) => merge(target, inner),
                _ => drop(base.insert(key, Value::Object(inner))),
            },
            other => drop(base.insert(key, other)),
        }
    }
}

fn patched(base: &str, patch: &str) -> String {
    let mut fields = serde_json::from_str(base).unwrap();
    merge(&mut fields, serde_json::from_str(patch).unwrap_or_else(|error| panic!("{error} in {patch}")));
    Value::Object(fields).to_string()
}

fn config(base: &str, patch: &str) -> Config {
    Config::from_json(&patched(base, patch)).unwrap_or_else(|error| panic!("{patch}: {error}"))
}

#[test]
fn published_v3_is_read_in_full() {
    let expected = Config {
        model_type: ModelType::DeepseekV3,
        vocab_size: 129_280,
        hidden_size: 7168,
        intermediate_size: 18432,
        moe_intermediate_size: 2048,
        num_hidden_layers: 61,
        num_attention_heads: 128,
        q_lora_rank: Some(1536),
        kv_lora_rank: 512,
        qk_nope_head_dim: 128,
        qk_rope_head_dim: 64,
        v_head_dim: 128,
        n_routed_experts: 256,
        n_shared_experts: 1,
        num_experts_per_tok: 8,
        n_group: 8,
        topk_group: 4,
        routed_scaling_factor: 2.5,
        norm_topk_prob: true,
        scoring: Scoring::Sigmoid,
        topk_method: TopkMethod::NoauxTc,
        first_k_dense_replace: 3,
        rms_norm_eps: 1e-6,
        max_position_embeddings: 163_840,
        num_nextn_predict_layers: 1,
        eos_token_ids: vec![1],
        tie_word_embeddings: false,
        rope_theta: 10_000.0,
        rope_scaling: Some(Yarn {
            factor: 40.0,
            original_max_position_embeddings: 4096.0,
            beta_fast: 32.0,
            beta_slow: 1.0,
            mscale: Some(1.0),
            mscale_all_dim: 1.0,
        }),
        quantization: Some(Quantization { activation_scale: ScaleFormat::F32 }),
    };
    assert_eq!(config(V3, "{}"), expected);
    assert_eq!(config(V3, PARAMETERS), expected);

    assert_eq!(expected.qk_head_dim(), 192);
    assert_eq!(expected.experts_per_group(), 32);
    assert!(expected.has_mtp());
    assert_eq!([2, 3, 61].map(|layer| expected.is_moe_layer(layer)), [false, true, true]);
}

#[test]
fn published_v2_lite_and_v2_are_read() {
    let lite = config(V2_LITE, "{}");
    assert_eq!(lite.model_type, ModelType::DeepseekV2);
    assert_eq!((lite.scoring, lite.topk_method), (Scoring::Softmax, TopkMethod::Greedy));
    assert_eq!((lite.q_lora_rank, lite.quantization), (None, None));
    assert_eq!(lite.eos_token_ids, [100_001]);
    assert_eq!(lite.rope_scaling.map(|yarn| (yarn.mscale, yarn.mscale_all_dim)), Some((Some(0.707), 0.707)));
    assert!(!lite.has_mtp() && !lite.norm_topk_prob);

    let v2 = config(V2_LITE, V2);
    assert_eq!((v2.topk_method, v2.n_group, v2.topk_group), (TopkMethod::GroupLimitedGreedy, 8, 3));
    assert_eq!((v2.q_lora_rank, v2.routed_scaling_factor, v2.experts_per_group()), (Some(1536), 16.0, 20));
}

#[test]
fn small_shapes_are_read() {
    let shapes = [
        // Hidden size 64, value heads narrower than key heads.
        (
            V3,
            r#"{"hidden_size": 64, "n_routed_experts": 8, "n_group": 2, "topk_group": 1, "num_experts_per_tok": 2,
          "num_hidden_layers": 4, "first_k_dense_replace": 1, "v_head_dim": 24, "qk_nope_head_dim": 32,
          "qk_rope_head_dim": 16, "kv_lora_rank": 32, "num_attention_heads": 4, "num_key_value_heads": 4,
          "vocab_size": 512, "num_nextn_predict_layers": 0, "quantization_config": "absent"}"#,
        ),
        // A latent that does not fill its FP8 blocks.
        (
            V3,
            r#"{"hidden_size": 256, "intermediate_size": 384, "kv_lora_rank": 128, "qk_rope_head_dim": 32,
          "num_attention_heads": 4, "num_key_value_heads": 4, "n_routed_experts": 8, "n_group": 2, "topk_group": 1,
          "num_experts_per_tok": 2, "num_hidden_layers": 3, "vocab_size": 512}"#,
        ),
        // 32 experts in 8 groups; every expert of the kept groups may be chosen.
        (
            V3,
            r#"{"n_routed_experts": 32, "num_experts_per_tok": 16, "num_hidden_layers": 6, "first_k_dense_replace": 2,
          "rope_scaling": {"factor": 16, "original_max_position_embeddings": 256}}"#,
        ),
        // Two heads, a padded vocabulary.
        (
            V3,
            r#"{"hidden_size": 128, "num_attention_heads": 2, "num_key_value_heads": 2, "vocab_size": 64,
          "num_hidden_layers": 3, "pad_token_id": 2, "max_position_embeddings": 2560,
          "rope_scaling": {"factor": 40.0, "original_max_position_embeddings": 64}}"#,
        ),
        // 12 experts in 4 groups, heads that do not divide by 2.
        (
            V2_LITE,
            r#"{"hidden_size": 80, "num_attention_heads": 5, "num_key_value_heads": 5, "n_routed_experts": 12,
          "n_group": 4, "topk_group": 2, "num_experts_per_tok": 4, "topk_method": "group_limited_greedy",
          "q_lora_rank": 56, "routed_scaling_factor": 4.0, "num_hidden_layers": 4}"#,
        ),
        (
            V2_LITE,
            r#"{"hidden_size": 64, "kv_lora_rank": 40, "n_routed_experts": 8, "num_experts_per_tok": 3}"#,
        ),
    ];
    for (base, patch) in shapes {
        config(base, patch);
    }
}

#[test]
fn variations_without_meaning_change_nothing() {
    let v3 = config(V3, "{}");
    for patch in [
        r#"{"attention_bias": "absent", "hidden_act": null, "moe_layer_freq": "absent", "num_key_value_heads": null}"#,
        r#"{"scoring_func": "absent", "topk_method": null, "tie_word_embeddings": "absent"}"#,
        r#"{"rope_theta": 1e4, "rms_norm_eps": 0.000001, "attention_dropout": "anything", "new_field": [{}]}"#,
        r#"{"rope_scaling": {"beta_fast": null, "beta_slow": "absent"}}"#,
        r#"{"rope_scaling": {"type": "absent", "rope_type": "yarn"}}"#,
        r#"{"rope_scaling": {"rope_type": "yarn", "factor": 40.0, "rope_theta": 10000}}"#,
        r#"{"quantization_config": {"fmt": "absent", "activation_scheme": null, "scale_fmt": null}}"#,
        r#"{"quantization_config": {"scale_fmt": "float", "modules_to_not_convert": null}}"#,
        r#"{"rope_interleave": true, "mlp_bias": false, "eos_token_id": [1]}"#,
    ] {
        assert_eq!(config(V3, patch), v3, "{patch}");
    }
    let lite = config(V2_LITE, "{}");
    for patch in [
        r#"{"scoring_func": null, "topk_method": "absent", "norm_topk_prob": "absent"}"#,
        r#"{"n_group": null, "topk_group": null, "q_lora_rank": "absent", "num_nextn_predict_layers": 0}"#,
        r#"{"quantization_config": null}"#,
    ] {
        assert_eq!(config(V2_LITE, patch), lite, "{patch}");
    }
}

#[test]
fn variations_with_meaning_are_kept() {
    let ue8m0 = Some(Quantization { activation_scale: ScaleFormat::Ue8m0 });
    assert_eq!(config(V3, r#"{"quantization_config": {"scale_fmt": "ue8m0"}}"#).quantization, ue8m0);
    assert!(!config(V3, r#"{"norm_topk_prob": false}"#).norm_topk_prob);
    assert!(config(V3, r#"{"tie_word_embeddings": true}"#).tie_word_embeddings);
    assert_eq!(config(V3, r#"{"q_lora_rank": null}"#).q_lora_rank, None);
    assert_eq!(config(V3, r#"{"n_shared_experts": null}"#).n_shared_experts, 0);
    assert_eq!(config(V3, r#"{"n_shared_experts": 0}"#).n_shared_experts, 0);
    assert_eq!(config(V3, r#"{"eos_token_id": [1, 129279]}"#).eos_token_ids, [1, 129_279]);
    assert_eq!(config(V3, r#"{"eos_token_id": null}"#).eos_token_ids, [0; 0]);
    assert_eq!(config(V3, r#"{"rope_scaling": null}"#).rope_scaling, None);
    assert_eq!(config(V3, r#"{"rope_scaling": {"type": "default"}}"#).rope_scaling, None);
    let yarn =
        config(V3, r#"{"rope_scaling": {"mscale": "absent", "mscale_all_dim": "absent"}}"#).rope_scaling;
    assert_eq!(yarn.map(|yarn| (yarn.mscale, yarn.mscale_all_dim)), Some((None, 0.0)));
    let dense = config(V3, r#"{"first_k_dense_replace": 61}"#);
    assert!(!dense.is_moe_layer(60) && dense.is_moe_layer(61));
}

/// A value that may or may not suit a field.
fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (0_u64..300).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
        prop::collection::vec(0_u64..200, 0..3).prop_map(Value::from),
        Just(Value::Object(Map::new())),
    ]
}

proptest! {
    /// Bytes replaced, inserted and cut out at random.
    #[test]
    fn damaged_text_never_panics(
        v3 in any::<bool>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0_u8..3), 1..8),
    ) {
        let mut bytes = if v3 { V3 } else { V2_LITE }.as_bytes().to_vec();
        for (place, byte, edit) in edits {
            let place = place.index(bytes.len());
            match edit {
                0 => bytes[place] = byte,
                1 => bytes.insert(place, byte),
                _ => drop(bytes.remove(place)),
            }
        }
        if let Err(error) = Config::from_json(&String::from_utf8_lossy(&bytes)) {
            prop_assert!(!error.to_string().contains('\n'));
        }
    }

    /// Two fields of a good config set to anything: whatever is accepted keeps the promises of the module.
    #[test]
    fn accepted_configs_keep_the_rules(
        v3 in any::<bool>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any_value()), 1..3),
    ) {
        let mut fields: Map<String, Value> = serde_json::from_str(if v3 { V3 } else { V2_LITE }).unwrap();
        let names: Vec<String> = fields.keys().cloned().collect();
        for (place, value) in changes {
            fields.insert(place.get(&names).clone(), value);
        }
        if let Ok(config) = Config::from_json(&Value::Object(fields).to_string()) {
            prop_assert!(config.hidden_size > 0 && config.kv_lora_rank > 0 && config.q_lora_rank != Some(0));
            prop_assert_eq!(config.experts_per_group() * config.n_group, config.n_routed_experts);
            prop_assert!(config.topk_group <= config.n_group);
            prop_assert!(config.num_experts_per_tok <= config.topk_group * config.experts_per_group());
            prop_assert!(config.first_k_dense_replace <= config.num_hidden_layers);
            prop_assert!(config.qk_head_dim() > config.qk_nope_head_dim && config.qk_rope_head_dim % 2 == 0);
            prop_assert!(config.rms_norm_eps > 0.0 && config.routed_scaling_factor.is_finite());
            prop_assert!(config.eos_token_ids.iter().all(|id| (*id as usize) < config.vocab_size));
        }
    }
}
