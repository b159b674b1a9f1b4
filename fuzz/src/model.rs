//! The readers of checkpoints. Replayed by the test `bad_input`.

use std::fmt::Display;
use std::path::Path;

use rorqual::model::config::{Config, stop_ids_from_generation_config};
use rorqual::model::weights::{Checkpoint, Dtype, TensorInfo, WeightsError, header, index};
use rorqual::reference::rope::{MscaleConvention, Rope};

/// The longest message that an error may have, in bytes: some hundred characters from the file, each up to ten bytes
/// long when escaped.
const LONGEST_MESSAGE: usize = 10_000;

/// Bytes as `config.json` and as `generation_config.json`. Bytes that are no text stop before these readers.
pub fn config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match stop_ids_from_generation_config(text) {
        Ok(ids) => assert!(ids.iter().all(|&id| id < 1 << 24)),
        Err(error) => assert_presentable(&error),
    }
    match Config::from_json(text) {
        Ok(config) => assert_promises(&config),
        Err(error) => assert_presentable(&error),
    }
}

/// What the module documentation of the configuration promises about one that was accepted.
fn assert_promises(config: &Config) {
    for size in [
        config.vocab_size,
        config.hidden_size,
        config.intermediate_size,
        config.moe_intermediate_size,
        config.num_hidden_layers,
        config.num_attention_heads,
        config.q_lora_rank.unwrap_or(1),
        config.kv_lora_rank,
        config.qk_nope_head_dim,
        config.qk_rope_head_dim,
        config.v_head_dim,
        config.n_routed_experts,
        config.num_experts_per_tok,
        config.n_group,
        config.topk_group,
        config.max_position_embeddings,
    ] {
        assert!((1..=1 << 31).contains(&size));
    }
    assert!(config.qk_rope_head_dim.is_multiple_of(2));
    assert!(config.first_k_dense_replace <= config.num_hidden_layers);
    assert!(config.n_routed_experts.is_multiple_of(config.n_group));
    assert!(config.topk_group <= config.n_group);
    assert!(config.num_experts_per_tok <= config.topk_group * config.experts_per_group());
    assert!(config.num_nextn_predict_layers <= 1);
    let ids = config.eos_token_ids.iter();
    assert!(ids.into_iter().all(|&id| (id as usize) < config.vocab_size));
    assert!(config.rms_norm_eps > 0.0 && config.rms_norm_eps < 1.0);
    assert!(config.routed_scaling_factor > 0.0 && config.routed_scaling_factor.is_finite());

    for convention in [MscaleConvention::HuggingFace, MscaleConvention::DeepSeek] {
        let rope = Rope::from_config(config, convention);
        let scale = rope.softmax_scale(config.qk_head_dim());
        assert!(scale.is_finite() && scale > 0.0);
        let turned = rope.rotation(config.max_position_embeddings - 1);
        assert_eq!(turned.len(), config.qk_rope_head_dim / 2);
        assert!(turned.iter().all(|(cos, sin)| cos.is_finite() && sin.is_finite()));
    }
}

/// Bytes as a whole safetensors file.
pub fn safetensors_header(bytes: &[u8]) {
    match header::parse(bytes, Path::new("file")) {
        Ok(tensors) => {
            let start = 8 + u64::from_le_bytes(*bytes.first_chunk().expect("a length")) as usize;
            assert_layout(tensors.values(), start, bytes.len());
        }
        Err(error) => assert_presentable(&error),
    }
}

/// Tensors lie end to end from `start` to `end`, each as long as its shape and type say.
fn assert_layout<'a>(tensors: impl Iterator<Item = &'a TensorInfo>, start: usize, end: usize) {
    let mut ranges = Vec::new();
    for TensorInfo { dtype, shape, bytes } in tensors {
        let elements = shape.iter().try_fold(1_usize, |product, &extent| product.checked_mul(extent));
        let bits = elements.and_then(|elements| elements.checked_mul(dtype.bits() as usize));
        assert_eq!(bits, Some(bytes.len() * 8));
        ranges.push(bytes);
    }
    ranges.sort_by_key(|range| (range.start, range.end));
    let reached = ranges.iter().fold(start, |reached, range| {
        assert_eq!(range.start, reached);
        range.end
    });
    assert_eq!(reached, end);
}

/// Bytes as `model.safetensors.index.json`.
pub fn shard_index(bytes: &[u8]) {
    match index::parse(bytes, Path::new("index")) {
        Ok(shards) => {
            for shard in shards.values() {
                let path = Path::new("directory").join(shard);
                assert_eq!(path.parent(), Some(Path::new("directory")), "{shard:?}");
                assert_eq!(path.file_name().and_then(|name| name.to_str()), Some(shard.as_str()));
                assert!(!shard.contains(char::is_control));
            }
        }
        Err(error) => assert_presentable(&error),
    }
}

/// Two bytes of data length and a header, written as a checkpoint, opened, and every tensor read in every way.
///
/// The length of the header is right, so that the fuzzer gets past it.
pub fn checkpoint(bytes: &[u8]) {
    let Some((data_bytes, header)) = bytes.split_first_chunk::<2>() else { return };
    let data_bytes = usize::from(u16::from_le_bytes(*data_bytes));
    let data = (0..data_bytes).map(|at| (at * 37) as u8);
    let file: Vec<u8> =
        (header.len() as u64).to_le_bytes().into_iter().chain(header.iter().copied()).chain(data).collect();

    let parsed = header::parse(&file, Path::new("file"));
    let Ok(tensors) = parsed else {
        // The other targets are faster at what does not even parse.
        return safetensors_header(&file);
    };
    let directory = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(directory.path().join("model.safetensors"), &file).expect("a written file");
    let checkpoint = Checkpoint::open(directory.path(), &mut |_, _| {}).expect("its header is valid");
    for (name, info) in &tensors {
        assert!(checkpoint.contains(name) && checkpoint.tensors().any(|(listed, _)| listed == name));
        read(&checkpoint, name, info);
    }
}

/// Reads a tensor as what it is, and as what it is not.
fn read(checkpoint: &Checkpoint, name: &str, info: &TensorInfo) {
    let is_float = matches!(info.dtype, Dtype::F32 | Dtype::F16 | Dtype::Bf16);
    match info.shape[..] {
        [length] => match checkpoint.vector(name, length) {
            Ok(values) => assert!(is_float && values.len() == length),
            Err(error) => {
                assert!(!is_float);
                assert_presentable(&error);
            }
        },
        [rows, columns] => match checkpoint.matrix(name, rows, columns) {
            Ok(matrix) => {
                assert!(is_float || info.dtype == Dtype::F8E4M3);
                assert_eq!((matrix.rows(), matrix.columns()), (rows, columns));
                if let Some(last) = rows.checked_sub(1) {
                    matrix.read_row(last, &mut vec![0.0; columns]);
                }
            }
            Err(error) => {
                assert!(!is_float);
                assert_presentable(&error);
            }
        },
        _ => {
            assert!(matches!(checkpoint.vector(name, 1), Err(WeightsError::Shape { .. })));
            assert!(matches!(checkpoint.matrix(name, 1, 1), Err(WeightsError::Shape { .. })));
        }
    }
    let absent = checkpoint.matrix(&format!("{name}?"), 1, 1);
    assert!(absent.is_ok() || absent.is_err_and(|error| !error.to_string().is_empty()));
}

/// A message is one line of a length that a person reads, and cannot move the cursor of a terminal.
fn assert_presentable(error: &dyn Display) {
    let message = error.to_string();
    assert!(!message.is_empty() && message.len() <= LONGEST_MESSAGE, "{} bytes", message.len());
    assert!(!message.contains(char::is_control), "{message:?}");
}
