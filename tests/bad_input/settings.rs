//! `config.json`, `generation_config.json` and `tokenizer.json`.

use serde_json::{Value, json};

use crate::copy::Base;
use crate::{Row, assert_messages, assert_refused};

const CONFIG: &str = "config.json";
const GENERATION: &str = "generation_config.json";
const TOKENIZER: &str = "tokenizer.json";

#[test]
fn broken_configurations_are_refused() {
    assert_refused(
        Base::Mtp,
        &[
            Row {
                name: "empty",
                damage: |copy| copy.write(CONFIG, ""),
                expected: "DIR/config.json: config is not valid JSON, line 1 column 0: EOF while parsing a value",
            },
            Row {
                name: "not UTF-8",
                damage: |copy| copy.write(CONFIG, b"{\"model_type\": \"\xff\"}"),
                expected: "DIR/config.json: invalid UTF-8 at byte 16",
            },
            Row {
                name: "UTF-16",
                damage: |copy| copy.write(CONFIG, b"\xff\xfe{\0}\0"),
                expected: "DIR/config.json: invalid UTF-8 at byte 0",
            },
            Row {
                name: "a byte order mark",
                damage: |copy| copy.write(CONFIG, "\u{feff}{}"),
                expected: "DIR/config.json: config is not valid JSON, line 1 column 1: expected value",
            },
            Row {
                name: "cut off",
                damage: |copy| copy.set_length(CONFIG, 400),
                expected: "DIR/config.json: config is not valid JSON, line 18 column 12: EOF while parsing a string",
            },
            Row {
                name: "nested deeply",
                damage: |copy| copy.write(CONFIG, "[".repeat(1_000_000)),
                expected: "DIR/config.json: config is not valid JSON, line 1 column 128: recursion limit exceeded",
            },
            Row {
                name: "of another architecture",
                damage: |copy| copy.set(CONFIG, "/model_type", json!("llama")),
                expected: r#"DIR/config.json: config field `model_type` is "llama"; supported: "deepseek_v2", "deepseek_v3""#,
            },
        ],
    );
}

/// A network with fewer or other parts than the checkpoint would run, and be wrong.
#[test]
fn weights_that_the_configuration_does_not_use_are_refused() {
    assert_refused(
        Base::Mtp,
        &[
            Row {
                name: "a layer too few",
                damage: |copy| {
                    copy.set(CONFIG, "/num_hidden_layers", json!(2));
                    copy.set(CONFIG, "/num_nextn_predict_layers", json!(0));
                },
                expected: "DIR/model.safetensors: tensor `model.layers.2.input_layernorm.weight` has no place in the network of 2 layers that config.json describes",
            },
            Row {
                name: "the draft module as a layer",
                damage: |copy| copy.set(CONFIG, "/num_hidden_layers", json!(4)),
                expected: "DIR/model.safetensors: tensor `model.layers.3.eh_proj.weight` has no place in the network of 4 layers that config.json describes",
            },
            Row {
                name: "no shared experts",
                damage: |copy| copy.set(CONFIG, "/n_shared_experts", json!(0)),
                expected: "DIR/model.safetensors: tensor `model.layers.1.mlp.shared_experts.down_proj.weight` has no place in the network of 3 layers that config.json describes",
            },
        ],
    );
}

#[test]
fn sizes_that_the_tensors_do_not_have_are_refused() {
    assert_refused(
        Base::Mtp,
        &[
            Row {
                name: "a larger vocabulary",
                damage: |copy| copy.set(CONFIG, "/vocab_size", json!(513)),
                expected: "DIR/model.safetensors: tensor `model.embed_tokens.weight`: shape [512, 64], expected [513, 64]",
            },
            Row {
                name: "a wider stream",
                damage: |copy| copy.set(CONFIG, "/hidden_size", json!(128)),
                expected: "DIR/model.safetensors: tensor `model.embed_tokens.weight`: shape [512, 64], expected [512, 128]",
            },
            Row {
                name: "more experts",
                damage: |copy| copy.set(CONFIG, "/n_routed_experts", json!(16)),
                expected: "DIR/model.safetensors: tensor `model.layers.1.mlp.gate.weight`: shape [8, 64], expected [16, 64]",
            },
            Row {
                name: "more shared experts",
                damage: |copy| copy.set(CONFIG, "/n_shared_experts", json!(2)),
                expected: "DIR/model.safetensors: tensor `model.layers.1.mlp.shared_experts.gate_proj.weight`: shape [24, 64], expected [48, 64]",
            },
            Row {
                name: "a layer fewer",
                damage: |copy| copy.set(CONFIG, "/num_hidden_layers", json!(2)),
                expected: "DIR/model.safetensors: tensor `model.layers.2.enorm.weight` is missing, expected shape [64]",
            },
            Row {
                name: "two dense layers",
                damage: |copy| copy.set(CONFIG, "/first_k_dense_replace", json!(2)),
                expected: "DIR/model.safetensors: tensor `model.layers.1.mlp.gate_proj.weight` is missing, expected shape [128, 64]",
            },
            Row {
                name: "queries without a latent",
                damage: |copy| copy.set(CONFIG, "/q_lora_rank", Value::Null),
                expected: "DIR/model.safetensors: tensor `model.layers.0.self_attn.q_proj.weight` is missing, expected shape [192, 64]",
            },
            Row {
                name: "a wider rotation",
                damage: |copy| copy.set(CONFIG, "/qk_rope_head_dim", json!(32)),
                expected: "DIR/model.safetensors: tensor `model.layers.0.self_attn.q_b_proj.weight`: shape [192, 48], expected [256, 48]",
            },
        ],
    );
}

/// Sizes without bounds must be refused by their numbers: taking memory for them would end the process.
#[test]
fn zero_and_absurd_sizes_are_refused() {
    assert_refused(
        Base::Mtp,
        &[
            Row {
                name: "no layers",
                damage: |copy| copy.set(CONFIG, "/num_hidden_layers", json!(0)),
                expected: "DIR/config.json: config field `num_hidden_layers` is 0; expected an integer from 1 to 4096",
            },
            Row {
                name: "no vocabulary",
                damage: |copy| copy.set(CONFIG, "/vocab_size", json!(0)),
                expected: "DIR/config.json: config field `vocab_size` is 0; expected an integer from 1 to 16777216",
            },
            Row {
                name: "no positions",
                damage: |copy| copy.set(CONFIG, "/max_position_embeddings", json!(0)),
                expected: "DIR/config.json: config field `max_position_embeddings` is 0; expected an integer from 1 to 2147483648",
            },
            Row {
                name: "a stream of a trillion",
                damage: |copy| copy.set(CONFIG, "/hidden_size", json!(1_000_000_000_000_u64)),
                expected: "DIR/config.json: config field `hidden_size` is 1000000000000; expected an integer from 1 to 1048576",
            },
            Row {
                name: "four billion layers",
                damage: |copy| copy.set(CONFIG, "/num_hidden_layers", json!(4_294_967_296_u64)),
                expected: "DIR/config.json: config field `num_hidden_layers` is 4294967296; expected an integer from 1 to 4096",
            },
            Row {
                name: "as many layers as allowed",
                damage: |copy| copy.set(CONFIG, "/num_hidden_layers", json!(4096)),
                expected: "DIR/model.safetensors: tensor `model.layers.4.mlp.gate.weight` is missing, expected shape [8, 64]",
            },
            Row {
                name: "as many experts as allowed",
                damage: |copy| copy.set(CONFIG, "/n_routed_experts", json!(65536)),
                expected: "DIR/model.safetensors: tensor `model.layers.1.mlp.gate.weight`: shape [8, 64], expected [65536, 64]",
            },
            Row {
                name: "everything as large as allowed",
                damage: |copy| {
                    for (field, most) in [
                        ("/vocab_size", 1 << 24),
                        ("/hidden_size", 1 << 20),
                        ("/kv_lora_rank", 1 << 20),
                        ("/qk_rope_head_dim", 1 << 16),
                        ("/max_position_embeddings", 1_u64 << 31),
                    ] {
                        copy.set(CONFIG, field, json!(most));
                    }
                },
                expected: "DIR/model.safetensors: tensor `model.embed_tokens.weight`: shape [512, 64], expected [16777216, 1048576]",
            },
        ],
    );
}

#[test]
fn broken_generation_settings_are_refused() {
    assert_refused(
        Base::Mtp,
        &[
            Row {
                name: "not JSON",
                damage: |copy| copy.write(GENERATION, "{"),
                expected: "DIR/generation_config.json: config is not valid JSON, line 1 column 1: EOF while parsing an object",
            },
            Row {
                name: "not UTF-8",
                damage: |copy| copy.write(GENERATION, b"\x80"),
                expected: "DIR/generation_config.json: invalid UTF-8 at byte 0",
            },
            Row {
                name: "an array",
                damage: |copy| copy.write(GENERATION, "[1]"),
                expected: "DIR/generation_config.json: config is the array [1]; expected an object",
            },
            Row {
                name: "a stop token in words",
                damage: |copy| copy.set(GENERATION, "/eos_token_id", json!("</s>")),
                expected: r#"DIR/generation_config.json: config field `eos_token_id` is the string "</s>"; expected an integer or a list of integers"#,
            },
            Row {
                name: "a stop token below zero",
                damage: |copy| copy.set(GENERATION, "/eos_token_id", json!(-1)),
                expected: "DIR/generation_config.json: config field `eos_token_id` is -1; expected an integer from 0 to 16777215",
            },
            Row {
                name: "a stop token beyond the vocabulary",
                damage: |copy| copy.set(GENERATION, "/eos_token_id", json!([1, 512])),
                expected: "DIR/generation_config.json: config field `eos_token_id` is 512; expected less than the vocabulary of 512",
            },
            Row {
                name: "a stop token of the configuration beyond the vocabulary",
                damage: |copy| copy.set(CONFIG, "/eos_token_id", json!(512)),
                expected: "DIR/config.json: config field `eos_token_id` is 512; expected an integer from 0 to 511",
            },
        ],
    );
}

#[test]
fn broken_tokenizers_are_refused() {
    let rows = [
        Row {
            name: "missing",
            damage: |copy| copy.remove(TOKENIZER),
            expected: "DIR/tokenizer.json: No such file or directory (os error 2)",
        },
        Row {
            name: "empty",
            damage: |copy| copy.write(TOKENIZER, ""),
            expected: "DIR/tokenizer.json: EOF while parsing a value at line 1 column 0",
        },
        Row {
            name: "not UTF-8",
            damage: |copy| copy.write(TOKENIZER, b"{\"\xff\"}"),
            expected: "DIR/tokenizer.json: invalid UTF-8 at byte 2",
        },
        Row {
            name: "cut off",
            damage: |copy| copy.set_length(TOKENIZER, 1000),
            expected: "DIR/tokenizer.json: EOF while parsing an object at line 52 column 21",
        },
        Row {
            name: "too large",
            damage: |copy| copy.set_length(TOKENIZER, 1 << 40),
            expected: "DIR/tokenizer.json: 1099511627776 bytes, expected at most 100000000",
        },
        Row {
            name: "nested deeply",
            damage: |copy| copy.write(TOKENIZER, "[".repeat(1_000_000)),
            expected: "DIR/tokenizer.json: EOF while parsing a list at line 1 column 1000000",
        },
        Row {
            name: "a decoder that is no list",
            damage: |copy| copy.set(TOKENIZER, "/decoder", json!({"type": "Sequence", "decoders": 3})),
            expected: "DIR/tokenizer.json: invalid type: integer `3`, expected a sequence at line 1 column 622",
        },
        Row {
            name: "a decoder so deep that the crate panics",
            damage: |copy| {
                let [open, close] = ["[", "]"].map(|bracket| bracket.repeat(200));
                copy.write(TOKENIZER, format!(r#"{{"version": "1.0", "decoder": {open}{close}}}"#));
            },
            expected: "DIR/tokenizer.json: the tokenizers crate panicked on it",
        },
        Row {
            name: "no model",
            damage: |copy| copy.set(TOKENIZER, "/model", Value::Null),
            expected: "DIR/tokenizer.json: Model missing. at line 1 column 1028",
        },
        Row {
            name: "a model that does not exist",
            damage: |copy| copy.set(TOKENIZER, "/model/type", json!("Runes")),
            expected: "DIR/tokenizer.json: data did not match any variant of untagged enum ModelUntagged at line 1 column 967",
        },
        Row {
            name: "another version",
            damage: |copy| copy.set(TOKENIZER, "/version", json!("2.0")),
            expected: "DIR/tokenizer.json: Unknown tokenizer version '2.0' at line 1 column 1388",
        },
    ];
    assert_messages(rows.map(|Row { name, damage, expected }| {
        let copy = Base::TrainedFp8.copy();
        damage(&copy);
        let before = copy.listing();
        // The weights are good and need no tokeniser.
        let pretrained = copy.open().unwrap_or_else(|error| panic!("{name}: {error}"));
        let error = pretrained.tokenizer().expect_err(name);
        assert_eq!(copy.listing(), before, "{name}: the directory has changed");
        (name, expected, copy.anonymous(&error))
    }));
}

/// Settings for training data must not shorten a prompt, nor fill memory with padding.
#[test]
fn truncation_and_padding_are_left_out() {
    let copy = Base::TrainedFp8.copy();
    let truncation = json!({"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0});
    let padding = json!({
        "strategy": {"Fixed": 1_000_000_000_000_u64}, "direction": "Right", "pad_to_multiple_of": null,
        "pad_id": 2, "pad_type_id": 0, "pad_token": "<pad>"
    });
    copy.set(TOKENIZER, "/truncation", truncation);
    copy.set(TOKENIZER, "/padding", padding);
    let tokenizer = copy.open().and_then(|pretrained| pretrained.tokenizer()).expect("a good tokeniser");
    assert_eq!(tokenizer.encode("3+4=", true).expect("known characters"), [0, 9, 16, 10, 18]);
}
