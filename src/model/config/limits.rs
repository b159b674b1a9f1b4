//! The values every number in a configuration may take.
//!
//! The maxima are far above any published model. With them the size of every weight matrix (experts x rows x
//! columns: at most 2^56) and of a cache (positions x layers x width: about 2^63) fits 64 bits.

use super::json::{Integer, Real};

const fn integer(name: &'static str, least: usize, most: usize) -> Integer {
    Integer { name, least, most }
}

pub(super) const VOCAB_SIZE: Integer = integer("vocab_size", 1, 1 << 24);
pub(super) const HIDDEN_SIZE: Integer = integer("hidden_size", 1, 1 << 20);
pub(super) const INTERMEDIATE_SIZE: Integer = integer("intermediate_size", 1, 1 << 20);
pub(super) const MOE_INTERMEDIATE_SIZE: Integer = integer("moe_intermediate_size", 1, 1 << 20);
pub(super) const NUM_HIDDEN_LAYERS: Integer = integer("num_hidden_layers", 1, 1 << 12);
pub(super) const NUM_ATTENTION_HEADS: Integer = integer("num_attention_heads", 1, 1 << 16);
pub(super) const NUM_KEY_VALUE_HEADS: Integer = integer("num_key_value_heads", 1, 1 << 16);
pub(super) const Q_LORA_RANK: Integer = integer("q_lora_rank", 0, 1 << 20);
pub(super) const KV_LORA_RANK: Integer = integer("kv_lora_rank", 1, 1 << 20);
pub(super) const QK_NOPE_HEAD_DIM: Integer = integer("qk_nope_head_dim", 1, 1 << 16);
pub(super) const QK_ROPE_HEAD_DIM: Integer = integer("qk_rope_head_dim", 2, 1 << 16);
pub(super) const V_HEAD_DIM: Integer = integer("v_head_dim", 1, 1 << 16);
pub(super) const N_ROUTED_EXPERTS: Integer = integer("n_routed_experts", 1, 1 << 16);
pub(super) const N_SHARED_EXPERTS: Integer = integer("n_shared_experts", 0, 1 << 10);
pub(super) const NUM_EXPERTS_PER_TOK: Integer = integer("num_experts_per_tok", 1, 1 << 16);
pub(super) const N_GROUP: Integer = integer("n_group", 1, 1 << 16);
pub(super) const TOPK_GROUP: Integer = integer("topk_group", 1, 1 << 16);
pub(super) const FIRST_K_DENSE_REPLACE: Integer = integer("first_k_dense_replace", 0, 1 << 12);
pub(super) const MOE_LAYER_FREQ: Integer = integer("moe_layer_freq", 1, 1 << 12);
pub(super) const MAX_POSITION_EMBEDDINGS: Integer = integer("max_position_embeddings", 1, 1 << 31);
pub(super) const ORIGINAL_POSITIONS: Integer = integer("original_max_position_embeddings", 1, 1 << 31);
pub(super) const NUM_NEXTN_PREDICT_LAYERS: Integer = integer("num_nextn_predict_layers", 0, 1 << 12);
pub(super) const WEIGHT_BLOCK_SIZE: Integer = integer("weight_block_size", 1, 1 << 20);

// Some of the following are used in 32 bits and must not round to 0, 1 or infinity there.
pub(super) const RMS_NORM_EPS: Real = Real {
    name: "rms_norm_eps",
    accepts: |value| value as f32 > 0.0 && (value as f32) < 1.0,
    expected: "a 32-bit float above 0 and below 1",
};
pub(super) const ROUTED_SCALING_FACTOR: Real = Real {
    name: "routed_scaling_factor",
    accepts: |value| value as f32 > 0.0 && value <= 1e6,
    expected: "a 32-bit float above 0, at most 1e6",
};
pub(super) const ROPE_THETA: Real = Real {
    name: "rope_theta",
    accepts: |value| value > 1.0 && value <= 1e15,
    expected: "a number above 1, at most 1e15",
};
pub(super) const FACTOR: Real = Real {
    name: "factor",
    accepts: |value| (1.0..=1e6).contains(&value),
    expected: "a number from 1 to 1e6",
};
pub(super) const BETA_FAST: Real = rotations("beta_fast");
pub(super) const BETA_SLOW: Real = rotations("beta_slow");
pub(super) const MSCALE: Real = attention_weight("mscale");
pub(super) const MSCALE_ALL_DIM: Real = attention_weight("mscale_all_dim");

const fn rotations(name: &'static str) -> Real {
    Real { name, accepts: |value| value > 0.0 && value <= 1e6, expected: "a number above 0, at most 1e6" }
}

const fn attention_weight(name: &'static str) -> Real {
    Real { name, accepts: |value| (0.0..=1e3).contains(&value), expected: "a number from 0 to 1e3" }
}
