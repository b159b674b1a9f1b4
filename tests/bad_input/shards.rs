//! The index of a sharded checkpoint and its shards.

use std::fs;

use serde_json::json;

use crate::copy::{Base, INDEX};
use crate::{Row, assert_refused};

const FIRST: &str = "model-00001-of-00003.safetensors";
const SECOND: &str = "model-00002-of-00003.safetensors";
const NORM: &str = "/weight_map/model.norm.weight";

#[test]
fn indices_that_are_no_index_are_refused() {
    assert_refused(
        Base::Sharded,
        &[
            Row {
                name: "no index",
                damage: |copy| copy.remove(INDEX),
                expected: "DIR: not a checkpoint: expected model.safetensors or model.safetensors.index.json in it",
            },
            Row {
                name: "empty",
                damage: |copy| copy.write(INDEX, ""),
                expected: "DIR/model.safetensors.index.json: index: EOF while parsing a value at line 1 column 0",
            },
            Row {
                name: "not UTF-8",
                damage: |copy| copy.write(INDEX, b"{\"\xfe\": 1}"),
                expected: "DIR/model.safetensors.index.json: invalid UTF-8 at byte 2",
            },
            Row {
                name: "not JSON",
                damage: |copy| copy.write(INDEX, "weight_map:"),
                expected: "DIR/model.safetensors.index.json: index: expected value at line 1 column 1",
            },
            Row {
                name: "cut off",
                damage: |copy| copy.set_length(INDEX, 5000),
                expected: "DIR/model.safetensors.index.json: index: EOF while parsing a string at line 63 column 14",
            },
            Row {
                name: "too large",
                damage: |copy| copy.set_length(INDEX, 1 << 40),
                expected: "DIR/model.safetensors.index.json: 1099511627776 bytes, expected at most 100000000",
            },
            Row {
                name: "an array",
                damage: |copy| copy.write(INDEX, r#"[{"a": "b"}]"#),
                expected: "DIR/model.safetensors.index.json: index: invalid type: sequence, expected a JSON object at line 1 column 0",
            },
            Row {
                name: "no map",
                damage: |copy| copy.write(INDEX, r#"{"metadata": {}}"#),
                expected: "DIR/model.safetensors.index.json: index: missing field `weight_map` at line 1 column 16",
            },
            Row {
                name: "the map is a list",
                damage: |copy| copy.write(INDEX, r#"{"weight_map": [["a", "b"]]}"#),
                expected: "DIR/model.safetensors.index.json: index: invalid type: sequence, expected a JSON object at line 1 column 15",
            },
            Row {
                name: "a shard is a number",
                damage: |copy| copy.set(INDEX, NORM, json!(3)),
                expected: "DIR/model.safetensors.index.json: index: tensor `model.norm.weight`: invalid type: integer `3`, expected a string at line 1 column 10474",
            },
            Row {
                name: "two maps",
                damage: |copy| copy.write(INDEX, r#"{"weight_map": {}, "weight_map": {}}"#),
                expected: "DIR/model.safetensors.index.json: index: duplicate field `weight_map` at line 1 column 31",
            },
            Row {
                name: "a tensor twice",
                damage: |copy| {
                    copy.write(INDEX, format!(r#"{{"weight_map": {{"a": "{FIRST}", "a": "{SECOND}"}}}}"#))
                },
                expected: "tensor `a` is in DIR/model.safetensors.index.json and again in DIR/model.safetensors.index.json",
            },
            Row {
                name: "an empty map",
                damage: |copy| copy.write(INDEX, r#"{"weight_map": {}}"#),
                expected: "DIR/model.safetensors.index.json: tensor `model.embed_tokens.weight` is missing, expected shape [512, 64]",
            },
            Row {
                name: "nested deeply",
                damage: |copy| {
                    copy.write(INDEX, format!(r#"{{"weight_map": {{}}, "a": {}"#, "[".repeat(100_000)))
                },
                expected: "DIR/model.safetensors.index.json: index: EOF while parsing a list at line 1 column 100024",
            },
        ],
    );
}

#[test]
fn shards_must_lie_beside_the_index() {
    assert_refused(
        Base::Sharded,
        &[
            Row {
                name: "a folder up",
                damage: |copy| copy.set(INDEX, NORM, json!("../model-00003-of-00003.safetensors")),
                expected: r#"DIR/model.safetensors.index.json: tensor `model.norm.weight`: shard "../model-00003-of-00003.safetensors", expected the name of a file beside the index"#,
            },
            Row {
                name: "from the root",
                damage: |copy| copy.set(INDEX, NORM, json!("/etc/passwd")),
                expected: r#"DIR/model.safetensors.index.json: tensor `model.norm.weight`: shard "/etc/passwd", expected the name of a file beside the index"#,
            },
            Row {
                name: "a folder down",
                damage: |copy| copy.set(INDEX, NORM, json!("shards/1.safetensors")),
                expected: r#"DIR/model.safetensors.index.json: tensor `model.norm.weight`: shard "shards/1.safetensors", expected the name of a file beside the index"#,
            },
            Row {
                name: "a folder down, as elsewhere",
                damage: |copy| copy.set(INDEX, NORM, json!("shards\\1.safetensors")),
                expected: r#"DIR/model.safetensors.index.json: tensor `model.norm.weight`: shard "shards\1.safetensors", expected the name of a file beside the index"#,
            },
            Row {
                name: "no name",
                damage: |copy| copy.set(INDEX, NORM, json!("")),
                expected: r#"DIR/model.safetensors.index.json: tensor `model.norm.weight`: shard "", expected the name of a file beside the index"#,
            },
            Row {
                name: "the folder itself",
                damage: |copy| copy.set(INDEX, NORM, json!(".")),
                expected: r#"DIR/model.safetensors.index.json: tensor `model.norm.weight`: shard ".", expected the name of a file beside the index"#,
            },
            Row {
                name: "the folder above",
                damage: |copy| copy.set(INDEX, NORM, json!("..")),
                expected: r#"DIR/model.safetensors.index.json: tensor `model.norm.weight`: shard "..", expected the name of a file beside the index"#,
            },
            Row {
                name: "a zero byte",
                damage: |copy| copy.set(INDEX, NORM, json!("a\0b")),
                expected: r#"DIR/model.safetensors.index.json: tensor `model.norm.weight`: shard "a\0b", expected the name of a file beside the index"#,
            },
            Row {
                name: "a name that would write over the screen",
                damage: |copy| copy.set(INDEX, NORM, json!("a\r\u{1b}[1Ab")),
                expected: r#"DIR/model.safetensors.index.json: tensor `model.norm.weight`: shard "a\r\u{1b}[1Ab", expected the name of a file beside the index"#,
            },
        ],
    );
}

#[test]
fn index_and_shards_must_agree() {
    assert_refused(
        Base::Sharded,
        &[
            Row {
                name: "a shard is missing",
                damage: |copy| copy.remove(SECOND),
                expected: "DIR/model.safetensors.index.json: shard DIR/model-00002-of-00003.safetensors is missing",
            },
            Row {
                name: "a shard that nobody has",
                damage: |copy| copy.set(INDEX, NORM, json!("model-00004-of-00003.safetensors")),
                expected: "DIR/model.safetensors.index.json: shard DIR/model-00004-of-00003.safetensors is missing",
            },
            Row {
                name: "a shard is a directory",
                damage: |copy| {
                    copy.remove(SECOND);
                    fs::create_dir(copy.path(SECOND)).expect("a directory");
                },
                expected: "DIR/model-00002-of-00003.safetensors: not a regular file",
            },
            Row {
                name: "a shard is empty",
                damage: |copy| copy.write(SECOND, ""),
                expected: "DIR/model-00002-of-00003.safetensors: the file is empty",
            },
            Row {
                name: "a shard is cut off",
                damage: |copy| copy.set_length(SECOND, 200_000),
                expected: "DIR/model-00002-of-00003.safetensors: 192976 bytes of tensor data, expected 213600: the file is truncated",
            },
            Row {
                name: "a shard is another file",
                damage: |copy| copy.set(INDEX, NORM, json!("config.json")),
                expected: "DIR/config.json: header length 7165896756295633531 bytes, expected at most 1251 (the rest of the file)",
            },
            Row {
                name: "a tensor that no shard has",
                damage: |copy| copy.set(INDEX, "/weight_map/model.extra.weight", json!(FIRST)),
                expected: "DIR/model.safetensors.index.json: tensor `model.extra.weight` should be in DIR/model-00001-of-00003.safetensors, which does not have it",
            },
            Row {
                name: "a tensor in another shard",
                damage: |copy| copy.set(INDEX, NORM, json!(FIRST)),
                expected: "DIR/model.safetensors.index.json: tensor `model.norm.weight` should be in DIR/model-00001-of-00003.safetensors, which does not have it",
            },
            Row {
                name: "a tensor in two shards",
                damage: |copy| {
                    let norm = |file: &mut crate::safetensors_file::SafetensorsFile| {
                        file.tensor("model.layers.0.input_layernorm.weight").clone()
                    };
                    let mut tensor = None;
                    copy.edit_tensors(FIRST, |file| tensor = Some(norm(file)));
                    copy.edit_tensors(SECOND, |file| file.tensors.extend(tensor));
                },
                expected: "tensor `model.layers.0.input_layernorm.weight` is in DIR/model-00001-of-00003.safetensors and again in DIR/model-00002-of-00003.safetensors",
            },
            Row {
                name: "a shard twice",
                damage: |copy| {
                    fs::copy(copy.path(FIRST), copy.path("model-00004.safetensors")).expect("a copied shard");
                    copy.set(
                        INDEX,
                        "/weight_map/model.embed_tokens.weight",
                        json!("model-00004.safetensors"),
                    );
                },
                expected: "tensor `model.embed_tokens.weight` is in DIR/model-00001-of-00003.safetensors and again in DIR/model-00004.safetensors",
            },
            Row {
                name: "a shard that the index leaves out",
                damage: |copy| {
                    let index: serde_json::Value =
                        serde_json::from_slice(&copy.read(INDEX)).expect("a good index");
                    let mut map = index["weight_map"].as_object().expect("a map").clone();
                    map.retain(|_, shard| shard != SECOND);
                    copy.write(INDEX, json!({"weight_map": map}).to_string());
                },
                expected: "DIR/model.safetensors.index.json: tensor `model.layers.1.mlp.gate.weight` is missing, expected shape [8, 64]",
            },
        ],
    );
}
