//! Bad configs. The messages are given in full, so these tables are also the snapshots of what a user reads.

use super::super::{Config, stop_ids_from_generation_config};
use super::{V2_LITE, V3, patched};

#[track_caller]
fn assert_refused(base: &str, table: &[(&str, &str)]) {
    let mut wrong = String::new();
    for (patch, expected) in table {
        let found = match Config::from_json(&patched(base, patch)) {
            Ok(_) => "accepted".to_owned(),
            Err(error) => error.to_string(),
        };
        if found != *expected {
            wrong.push_str(&format!("\n{patch}\n  expected: {expected}\n  found:    {found}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn other_architectures_are_refused() {
    assert_refused(
        V3,
        &[
            (
                r#"{"model_type": "deepseek_v32"}"#,
                r#"config field `model_type` is "deepseek_v32"; supported: "deepseek_v2", "deepseek_v3" (the sparse attention of V3.2 is not supported yet)"#,
            ),
            (
                r#"{"model_type": "llama"}"#,
                r#"config field `model_type` is "llama"; supported: "deepseek_v2", "deepseek_v3""#,
            ),
            (r#"{"model_type": null}"#, "config field `model_type` is required, but missing or null"),
            (r#"{"model_type": 3}"#, "config field `model_type` is the number 3; expected a string"),
            (r#"{"attention_bias": true}"#, "config field `attention_bias` is true; supported: false"),
            (r#"{"mlp_bias": true}"#, "config field `mlp_bias` is true; supported: false"),
            (
                r#"{"attention_bias": "false"}"#,
                r#"config field `attention_bias` is the string "false"; expected a boolean"#,
            ),
            (r#"{"hidden_act": "gelu"}"#, r#"config field `hidden_act` is "gelu"; supported: "silu""#),
            (r#"{"moe_layer_freq": 2}"#, "config field `moe_layer_freq` is 2; supported: 1"),
            (
                r#"{"num_key_value_heads": 8}"#,
                "config field `num_key_value_heads` is 8, but `num_attention_heads` is 128, and latent attention has as many of both",
            ),
            (
                r#"{"rope_interleave": false}"#,
                "config field `rope_interleave` is false; supported: true (rotated pairs are adjacent)",
            ),
            (
                r#"{"index_topk": 2048}"#,
                "config field `index_topk` is 2048; supported: absent (the sparse attention of V3.2 is not supported yet)",
            ),
            (
                r#"{"num_nextn_predict_layers": 2}"#,
                "config field `num_nextn_predict_layers` is 2; supported: 0, 1",
            ),
            (r#"{"hidden_act": "a\nb"}"#, r#"config field `hidden_act` is "a\nb"; supported: "silu""#),
        ],
    );
    assert_refused(
        V2_LITE,
        &[(
            r#"{"num_nextn_predict_layers": 1}"#,
            "config field `num_nextn_predict_layers` is 1; supported: 0 for deepseek_v2",
        )],
    );
}

#[test]
fn sizes_are_checked() {
    assert_refused(
        V3,
        &[
            (r#"{"hidden_size": "absent"}"#, "config field `hidden_size` is required, but missing or null"),
            (r#"{"vocab_size": null}"#, "config field `vocab_size` is required, but missing or null"),
            (
                r#"{"hidden_size": 0}"#,
                "config field `hidden_size` is 0; expected an integer from 1 to 1048576",
            ),
            (
                r#"{"hidden_size": -64}"#,
                "config field `hidden_size` is -64; expected an integer from 1 to 1048576",
            ),
            (
                r#"{"hidden_size": "64"}"#,
                r#"config field `hidden_size` is the string "64"; expected an integer"#,
            ),
            (
                r#"{"hidden_size": 64.0}"#,
                "config field `hidden_size` is the number 64.0; expected an integer",
            ),
            (
                r#"{"hidden_size": 64.5}"#,
                "config field `hidden_size` is the number 64.5; expected an integer",
            ),
            (
                r#"{"hidden_size": true}"#,
                "config field `hidden_size` is the boolean true; expected an integer",
            ),
            (r#"{"hidden_size": [64]}"#, "config field `hidden_size` is the array [64]; expected an integer"),
            (
                r#"{"vocab_size": 18446744073709551615}"#,
                "config field `vocab_size` is 18446744073709551615; expected an integer from 1 to 16777216",
            ),
            (
                r#"{"vocab_size": 99999999999999999999}"#,
                "config field `vocab_size` is 1e+20; expected an integer from 1 to 16777216",
            ),
            (
                r#"{"vocab_size": -99999999999999999999}"#,
                "config field `vocab_size` is -1e+20; expected an integer from 1 to 16777216",
            ),
            (
                r#"{"num_hidden_layers": 4097}"#,
                "config field `num_hidden_layers` is 4097; expected an integer from 1 to 4096",
            ),
            (
                r#"{"max_position_embeddings": 4294967296}"#,
                "config field `max_position_embeddings` is 4294967296; expected an integer from 1 to 2147483648",
            ),
            (
                r#"{"n_shared_experts": -1}"#,
                "config field `n_shared_experts` is -1; expected an integer from 0 to 1024",
            ),
            (
                r#"{"q_lora_rank": 0}"#,
                "config field `q_lora_rank` is 0; expected 1 or more, or null for queries without a low-rank projection",
            ),
            (
                r#"{"qk_rope_head_dim": 63}"#,
                "config field `qk_rope_head_dim` is 63; expected an even integer, as rotation turns pairs",
            ),
            (
                r#"{"qk_rope_head_dim": 0}"#,
                "config field `qk_rope_head_dim` is 0; expected an integer from 2 to 65536",
            ),
            (
                r#"{"first_k_dense_replace": 62}"#,
                "config field `first_k_dense_replace` is 62, but `num_hidden_layers` is 61",
            ),
            (
                r#"{"rms_norm_eps": 0}"#,
                "config field `rms_norm_eps` is 0; expected a 32-bit float above 0 and below 1",
            ),
            (
                r#"{"rms_norm_eps": 1e-60}"#,
                "config field `rms_norm_eps` is 1e-60; expected a 32-bit float above 0 and below 1",
            ),
            (
                r#"{"rms_norm_eps": 1}"#,
                "config field `rms_norm_eps` is 1; expected a 32-bit float above 0 and below 1",
            ),
            (
                r#"{"rms_norm_eps": "1e-6"}"#,
                r#"config field `rms_norm_eps` is the string "1e-6"; expected a number"#,
            ),
            (
                r#"{"tie_word_embeddings": 0}"#,
                "config field `tie_word_embeddings` is the number 0; expected a boolean",
            ),
        ],
    );
}

#[test]
fn token_ids_are_checked() {
    assert_refused(
        V3,
        &[
            (
                r#"{"eos_token_id": -1}"#,
                "config field `eos_token_id` is -1; expected an integer from 0 to 129279",
            ),
            (
                r#"{"eos_token_id": [1, 129280]}"#,
                "config field `eos_token_id` is 129280; expected an integer from 0 to 129279",
            ),
            (
                r#"{"eos_token_id": [1, null]}"#,
                "config field `eos_token_id` is null; expected an integer or a list of integers",
            ),
            (
                r#"{"eos_token_id": "1"}"#,
                r#"config field `eos_token_id` is the string "1"; expected an integer or a list of integers"#,
            ),
        ],
    );
}

#[test]
fn routers_are_checked() {
    assert_refused(
        V3,
        &[
            (
                r#"{"scoring_func": "tanh"}"#,
                r#"config field `scoring_func` is "tanh"; supported: "sigmoid" (deepseek_v3), "softmax" (deepseek_v2)"#,
            ),
            (
                r#"{"scoring_func": "softmax"}"#,
                r#"config field `scoring_func` is "softmax", but `model_type` "deepseek_v3" uses "sigmoid""#,
            ),
            (
                r#"{"topk_method": "gready"}"#,
                r#"config field `topk_method` is "gready"; supported: "noaux_tc" (deepseek_v3), "greedy" and "group_limited_greedy" (deepseek_v2)"#,
            ),
            (
                r#"{"topk_method": "greedy"}"#,
                r#"config field `topk_method` is "greedy", but `model_type` "deepseek_v3" uses "noaux_tc""#,
            ),
            (
                r#"{"norm_topk_prob": "absent"}"#,
                "config field `norm_topk_prob` is required, but missing or null",
            ),
            (r#"{"norm_topk_prob": 1}"#, "config field `norm_topk_prob` is the number 1; expected a boolean"),
            (r#"{"n_group": null}"#, "config field `n_group` is required, but missing or null"),
            (r#"{"n_group": 0}"#, "config field `n_group` is 0; expected an integer from 1 to 65536"),
            (
                r#"{"n_group": 7}"#,
                "config field `n_group` is 7, but it must divide `n_routed_experts`, which is 256",
            ),
            (r#"{"topk_group": 9}"#, "config field `topk_group` is 9, but `n_group` is 8"),
            (
                r#"{"num_experts_per_tok": 129}"#,
                "config field `num_experts_per_tok` is 129, but only 128 of the 256 experts can be chosen: `topk_group` is 4, with 32 experts in a group",
            ),
            (
                r#"{"n_group": 256, "topk_group": 8}"#,
                r#"config field `n_group` is 256, but `n_routed_experts` is 256, and "noaux_tc" scores a group by its two best experts, so it needs two"#,
            ),
            (
                r#"{"routed_scaling_factor": 0}"#,
                "config field `routed_scaling_factor` is 0; expected a 32-bit float above 0, at most 1e6",
            ),
            (
                r#"{"routed_scaling_factor": 1e39}"#,
                "config field `routed_scaling_factor` is 1e+39; expected a 32-bit float above 0, at most 1e6",
            ),
            (
                r#"{"routed_scaling_factor": "absent"}"#,
                "config field `routed_scaling_factor` is required, but missing or null",
            ),
        ],
    );
    assert_refused(
        V2_LITE,
        &[
            (
                r#"{"scoring_func": "sigmoid"}"#,
                r#"config field `scoring_func` is "sigmoid", but `model_type` "deepseek_v2" uses "softmax""#,
            ),
            (
                r#"{"topk_method": "noaux_tc"}"#,
                r#"config field `topk_method` is "noaux_tc", but `model_type` "deepseek_v2" uses "greedy" or "group_limited_greedy""#,
            ),
            (
                r#"{"norm_topk_prob": true}"#,
                "config field `norm_topk_prob` is true; supported: false for deepseek_v2 (implementations disagree about true)",
            ),
            (
                r#"{"n_group": 4}"#,
                r#"config field `n_group` is 4, but `topk_method` "greedy" knows no groups, and implementations disagree about the pair"#,
            ),
            (r#"{"topk_group": 2}"#, "config field `topk_group` is 2, but `n_group` is 1"),
            (
                r#"{"num_experts_per_tok": 65}"#,
                "config field `num_experts_per_tok` is 65, but only 64 of the 64 experts can be chosen: `topk_group` is 1, with 64 experts in a group",
            ),
            (
                r#"{"topk_method": "group_limited_greedy", "n_group": null}"#,
                "config field `n_group` is required, but missing or null",
            ),
        ],
    );
}

#[test]
fn rotary_settings_are_checked() {
    assert_refused(
        V3,
        &[
            (r#"{"rope_theta": "absent"}"#, "config field `rope_theta` is required, but missing or null"),
            (
                r#"{"rope_theta": 1}"#,
                "config field `rope_theta` is 1; expected a number above 1, at most 1e15",
            ),
            (
                r#"{"rope_theta": 1e300}"#,
                "config field `rope_theta` is 1e+300; expected a number above 1, at most 1e15",
            ),
            (
                r#"{"rope_scaling": "yarn"}"#,
                r#"config field `rope_scaling` is the string "yarn"; expected an object"#,
            ),
            (
                r#"{"rope_scaling": {"type": "linear"}}"#,
                r#"config field `rope_scaling.type` is "linear"; supported: "yarn", "default""#,
            ),
            (
                r#"{"rope_scaling": {"type": "absent", "rope_type": "dynamic"}}"#,
                r#"config field `rope_scaling.rope_type` is "dynamic"; supported: "yarn", "default""#,
            ),
            (
                r#"{"rope_scaling": {"type": "absent"}}"#,
                "config field `rope_scaling.type` is required, but missing or null",
            ),
            (
                r#"{"rope_scaling": {"rope_type": "default"}}"#,
                r#"config field `rope_scaling.rope_type` is "default", but `type` beside it says otherwise"#,
            ),
            (
                r#"{"rope_scaling": {"factor": "absent"}}"#,
                "config field `rope_scaling.factor` is required, but missing or null",
            ),
            (
                r#"{"rope_scaling": {"factor": 0.5}}"#,
                "config field `rope_scaling.factor` is 0.5; expected a number from 1 to 1e6",
            ),
            (
                r#"{"rope_scaling": {"factor": "40"}}"#,
                r#"config field `rope_scaling.factor` is the string "40"; expected a number"#,
            ),
            (
                r#"{"rope_scaling": {"original_max_position_embeddings": null}}"#,
                "config field `rope_scaling.original_max_position_embeddings` is required, but missing or null",
            ),
            (
                r#"{"rope_scaling": {"original_max_position_embeddings": 0}}"#,
                "config field `rope_scaling.original_max_position_embeddings` is 0; expected an integer from 1 to 2147483648",
            ),
            (
                r#"{"rope_scaling": {"beta_slow": 0}}"#,
                "config field `rope_scaling.beta_slow` is 0; expected a number above 0, at most 1e6",
            ),
            (
                r#"{"rope_scaling": {"beta_fast": 0.5}}"#,
                "config field `rope_scaling.beta_fast` is 0.5, but it must exceed `beta_slow`, which is 1",
            ),
            (
                r#"{"rope_scaling": {"beta_fast": null, "beta_slow": 32}}"#,
                "config field `rope_scaling.beta_slow` is 32, but it must be below `beta_fast`, which is 32",
            ),
            (
                r#"{"rope_scaling": {"mscale": -1}}"#,
                "config field `rope_scaling.mscale` is -1; expected a number from 0 to 1e3",
            ),
            (
                r#"{"rope_scaling": {"attention_factor": 1.0}}"#,
                "config field `rope_scaling.attention_factor` is 1.0; supported: absent (`mscale` and `mscale_all_dim` give it)",
            ),
            (
                r#"{"rope_scaling": {"truncate": false}}"#,
                "config field `rope_scaling.truncate` is false; supported: true",
            ),
            (
                r#"{"rope_parameters": {"rope_theta": 500000}}"#,
                "config field `rope_parameters.rope_theta` is 500000, but it is also given as 10000",
            ),
            (
                r#"{"rope_parameters": {"rope_type": "default"}}"#,
                r#"config field `rope_parameters` is {"rope_type": "default"}, but `rope_scaling` says otherwise"#,
            ),
        ],
    );
}

#[test]
fn quantization_is_checked() {
    assert_refused(
        V3,
        &[
            (
                r#"{"quantization_config": []}"#,
                "config field `quantization_config` is the array []; expected an object",
            ),
            (
                r#"{"quantization_config": {"quant_method": "awq"}}"#,
                r#"config field `quantization_config.quant_method` is "awq"; supported: "fp8""#,
            ),
            (
                r#"{"quantization_config": {"quant_method": "absent"}}"#,
                "config field `quantization_config.quant_method` is required, but missing or null",
            ),
            (
                r#"{"quantization_config": {"fmt": "e5m2"}}"#,
                r#"config field `quantization_config.fmt` is "e5m2"; supported: "e4m3""#,
            ),
            (
                r#"{"quantization_config": {"activation_scheme": "static"}}"#,
                r#"config field `quantization_config.activation_scheme` is "static"; supported: "dynamic""#,
            ),
            (
                r#"{"quantization_config": {"scale_fmt": "e8m0"}}"#,
                r#"config field `quantization_config.scale_fmt` is "e8m0"; supported: "ue8m0", "float", or absent for float"#,
            ),
            (
                r#"{"quantization_config": {"weight_block_size": "absent"}}"#,
                "config field `quantization_config.weight_block_size` is required, but missing or null",
            ),
            (
                r#"{"quantization_config": {"weight_block_size": [64, 128]}}"#,
                "config field `quantization_config.weight_block_size` is [64, 128]; supported: [128, 128]",
            ),
            (
                r#"{"quantization_config": {"weight_block_size": []}}"#,
                "config field `quantization_config.weight_block_size` is []; supported: [128, 128]",
            ),
            (
                r#"{"quantization_config": {"weight_block_size": 128}}"#,
                "config field `quantization_config.weight_block_size` is 128; supported: [128, 128]",
            ),
            (
                r#"{"quantization_config": {"weight_block_size": "128x128"}}"#,
                r#"config field `quantization_config.weight_block_size` is the string "128x128"; expected an integer or a list of integers"#,
            ),
        ],
    );
}

#[test]
fn documents_are_checked() {
    let text = |replaced: &str, by: &str| {
        assert!(V3.contains(replaced), "{replaced}");
        V3.replacen(replaced, by, 1)
    };
    let table = [
        (String::new(), "config is not valid JSON, line 1 column 0: EOF while parsing a value"),
        ("{\"a\": 1,\n }".to_owned(), "config is not valid JSON, line 2 column 2: trailing comma"),
        ("{} {}".to_owned(), "config is not valid JSON, line 1 column 4: trailing characters"),
        ("[1, 2]".to_owned(), "config is the array [1, 2]; expected an object"),
        ("null".to_owned(), "config is null; expected an object"),
        ("{}".to_owned(), "config field `model_type` is required, but missing or null"),
        ("[".repeat(100_000), "config is not valid JSON, line 1 column 128: recursion limit exceeded"),
        (
            r#"{"rope_theta": 1e999}"#.to_owned(),
            "config is not valid JSON, line 1 column 20: number out of range",
        ),
        (r#"{"rope_theta": NaN}"#.to_owned(), "config is not valid JSON, line 1 column 16: expected value"),
        (text("{", r#"{"vocab_size": 1, "#), "config field `vocab_size` appears more than once"),
        (
            text("\"factor\": 40", "\"factor\": 40, \"factor\": 40"),
            "config field `rope_scaling.factor` appears more than once",
        ),
        (
            text("\"fmt\": \"e4m3\"", "\"fmt\": 1, \"fmt\": 2"),
            "config field `quantization_config.fmt` appears more than once",
        ),
        ("{\"a\\nb\": 1, \"a\\nb\": 2}".to_owned(), "config field `a\\nb` appears more than once"),
        (
            text("\"silu\"", &format!("\"{}\"", "x".repeat(1000))),
            &format!("config field `hidden_act` is \"{}...; supported: \"silu\"", "x".repeat(79)),
        ),
    ];
    for (text, expected) in table {
        let shown = &text[..text.len().min(200)];
        assert_eq!(Config::from_json(&text).unwrap_err().to_string(), expected, "{shown}");
    }
}

#[test]
fn stop_ids_come_from_the_generation_config() {
    let read = |text| stop_ids_from_generation_config(text).map_err(|error| error.to_string());
    assert_eq!(read(r#"{"_from_model_config": true, "eos_token_id": 1, "temperature": 0.6}"#), Ok(vec![1]));
    assert_eq!(read(r#"{"eos_token_id": [100001, 7]}"#), Ok(vec![100_001, 7]));
    assert_eq!(read(r#"{"eos_token_id": null}"#), Ok(vec![]));
    assert_eq!(read("{}"), Ok(vec![]));
    let error = "config field `eos_token_id` is 16777216; expected an integer from 0 to 16777215";
    assert_eq!(read(r#"{"eos_token_id": 16777216}"#), Err(error.to_owned()));
    assert_eq!(read("7"), Err("config is the number 7; expected an object".to_owned()));
}
