//! The configuration of a checkpoint: `config.json` of model types `deepseek_v2` and `deepseek_v3`.
//!
//! [`Config::from_json`] accepts what the network here computes and refuses the rest: an option that would
//! change the result is either in [`Config`] or an error, and fields that do not (`torch_dtype`, `auto_map`,
//! `ep_size`, ...) are ignored. Where published implementations disagree about a setting, it is refused too.
//! `null` means absent.
//!
//! Once [`Config::from_json`] has returned, these hold, and the code that reads the result may rely on them:
//! - every number is finite and within the table in `limits.rs`; sizes are at least 1, but `n_shared_experts`
//!   and `first_k_dense_replace` may be 0;
//! - `n_group` divides `n_routed_experts`, `topk_group <= n_group`, and the kept groups hold at least
//!   `num_experts_per_tok` experts; a group that is scored by its two best experts has two;
//! - `first_k_dense_replace <= num_hidden_layers`, `qk_rope_head_dim` is even, token ids are below
//!   `vocab_size`.
//!
//! Sources: the published configs of DeepSeek-V2, V2-Lite, V3, R1 and V3.1, DeepSeek's `modeling_deepseek.py`
//! and `inference/model.py`, and the `deepseek_v2` and `deepseek_v3` models of transformers 4 and 5.

mod error;
mod json;
mod limits;
#[cfg(test)]
mod tests;

pub use error::ConfigError;
use json::{Integer, Json, Section};

/// The architecture family, field `model_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelType {
    /// `deepseek_v2`: softmax router without a bias, weights not renormalised, no draft layer.
    DeepseekV2,
    /// `deepseek_v3`: sigmoid router with a selection bias; V3, R1 and V3.1.
    DeepseekV3,
}

/// How a router logit becomes the score that weighs an expert, field `scoring_func`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scoring {
    /// Each logit by itself: `1 / (1 + exp(-logit))`.
    Sigmoid,
    /// Softmax over all routed experts.
    Softmax,
}

/// How the experts of a token are chosen from their scores, field `topk_method`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopkMethod {
    /// The best `num_experts_per_tok` of all experts.
    Greedy,
    /// The best experts of the `topk_group` best groups; a group counts as its best expert.
    GroupLimitedGreedy,
    /// As above, with a learned bias added to the scores for the choice alone; a group counts as the sum of
    /// its two best experts.
    NoauxTc,
}

/// YaRN context extension of the rotary embedding, fields of `rope_scaling`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Yarn {
    /// How many times longer the context became; at least 1.
    pub factor: f64,
    /// Context length in tokens before the extension.
    pub original_max_position_embeddings: f64,
    /// Rotations over the original context above which a frequency is kept; 32 unless given.
    pub beta_fast: f64,
    /// Rotations over the original context below which a frequency is divided by `factor`; 1 unless given.
    pub beta_slow: f64,
    /// Weight of the logarithmic attention correction on sine and cosine. What its absence means depends on the
    /// convention; see [`MscaleConvention`](crate::reference::rope::MscaleConvention).
    pub mscale: Option<f64>,
    /// Weight of the logarithmic attention correction on the softmax scale; 0, which is none, unless given.
    pub mscale_all_dim: f64,
}

/// How the 1x128 scales of FP8 activations are rounded, field `quantization_config.scale_fmt`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ScaleFormat {
    /// Any 32-bit float; `scale_fmt` is absent or `"float"`.
    #[default]
    F32,
    /// A power of two, rounded up; `scale_fmt` is `"ue8m0"`, as in V3.1.
    Ue8m0,
}

/// FP8 weights, field `quantization_config`: e4m3 with one scale per 128x128 block, activations quantised on
/// the fly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantization {
    /// The format of the activation scales the model was trained with.
    pub activation_scale: ScaleFormat,
}

/// A checked `config.json`. Fields have the names of the file; the module says what holds between them.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The architecture family.
    pub model_type: ModelType,
    /// Rows of the embedding and of the output head; the tokenizer may know fewer tokens.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the MLP in dense layers.
    pub intermediate_size: usize,
    /// Width of one expert's MLP.
    pub moe_intermediate_size: usize,
    /// Transformer layers, without the draft layer.
    pub num_hidden_layers: usize,
    /// Attention heads; MLA has as many of keys and values.
    pub num_attention_heads: usize,
    /// Width of the query latent; `None`: queries are projected directly, as in V2-Lite.
    pub q_lora_rank: Option<usize>,
    /// Width of the key and value latent, which is what the cache holds.
    pub kv_lora_rank: usize,
    /// Width of the part of a query or key head without position.
    pub qk_nope_head_dim: usize,
    /// Width of the rotated part of a query or key head; even.
    pub qk_rope_head_dim: usize,
    /// Width of a value head.
    pub v_head_dim: usize,
    /// Experts a router chooses from.
    pub n_routed_experts: usize,
    /// Experts every token visits, stored as one MLP of this many times `moe_intermediate_size`; 0: none.
    pub n_shared_experts: usize,
    /// Routed experts a token visits.
    pub num_experts_per_tok: usize,
    /// Groups of neighbouring experts; 1: no groups.
    pub n_group: usize,
    /// Groups a token may choose from.
    pub topk_group: usize,
    /// Multiplies the routing weights.
    pub routed_scaling_factor: f32,
    /// Whether the weights of the chosen experts are divided by their sum; never for `deepseek_v2`.
    pub norm_topk_prob: bool,
    /// How logits become scores.
    pub scoring: Scoring,
    /// How experts are chosen by score.
    pub topk_method: TopkMethod,
    /// The first layers, this many, have a dense MLP instead of experts.
    pub first_k_dense_replace: usize,
    /// Added to the mean square in RMSNorm.
    pub rms_norm_eps: f32,
    /// Longest context in tokens.
    pub max_position_embeddings: usize,
    /// Draft layers for multi-token prediction: 0 or 1, stored as layer `num_hidden_layers`.
    pub num_nextn_predict_layers: usize,
    /// The tokens that end a sequence; `eos_token_id` is one number or a list.
    pub eos_token_ids: Vec<u32>,
    /// Whether the output head is the embedding matrix and has no tensor of its own.
    pub tie_word_embeddings: bool,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Context extension of the rotary embedding, from `rope_scaling` or `rope_parameters`.
    pub rope_scaling: Option<Yarn>,
    /// FP8 weights; `None`: the checkpoint holds floats.
    pub quantization: Option<Quantization>,
}

impl Config {
    /// Reads the text of a `config.json`.
    ///
    /// # Errors
    /// [`ConfigError`] for text that is not a JSON object, and for the first field found that is missing,
    /// malformed, out of range, in disagreement with another one, or asks for what is not implemented.
    pub fn from_json(text: &str) -> Result<Config, ConfigError> {
        let document = Json::parse(text)?;
        let root = Section::root(&document)?;
        let model_type = read_model_type(&root)?;
        refuse_other_architectures(&root)?;

        let router = read_router(&root, model_type)?;
        let (rope_theta, rope_scaling) = read_rope(&root)?;
        let vocab_size = root.required_integer(&limits::VOCAB_SIZE)?;
        let config = Config {
            model_type,
            vocab_size,
            hidden_size: root.required_integer(&limits::HIDDEN_SIZE)?,
            intermediate_size: root.required_integer(&limits::INTERMEDIATE_SIZE)?,
            moe_intermediate_size: root.required_integer(&limits::MOE_INTERMEDIATE_SIZE)?,
            num_hidden_layers: root.required_integer(&limits::NUM_HIDDEN_LAYERS)?,
            num_attention_heads: root.required_integer(&limits::NUM_ATTENTION_HEADS)?,
            q_lora_rank: root.integer(&limits::Q_LORA_RANK)?,
            kv_lora_rank: root.required_integer(&limits::KV_LORA_RANK)?,
            qk_nope_head_dim: root.required_integer(&limits::QK_NOPE_HEAD_DIM)?,
            qk_rope_head_dim: root.required_integer(&limits::QK_ROPE_HEAD_DIM)?,
            v_head_dim: root.required_integer(&limits::V_HEAD_DIM)?,
            n_routed_experts: root.required_integer(&limits::N_ROUTED_EXPERTS)?,
            n_shared_experts: root.integer(&limits::N_SHARED_EXPERTS)?.unwrap_or(0),
            num_experts_per_tok: root.required_integer(&limits::NUM_EXPERTS_PER_TOK)?,
            n_group: router.n_group,
            topk_group: router.topk_group,
            routed_scaling_factor: root.required_real(&limits::ROUTED_SCALING_FACTOR)? as f32,
            norm_topk_prob: router.norm_topk_prob,
            scoring: router.scoring,
            topk_method: router.topk_method,
            first_k_dense_replace: root.required_integer(&limits::FIRST_K_DENSE_REPLACE)?,
            rms_norm_eps: root.required_real(&limits::RMS_NORM_EPS)? as f32,
            max_position_embeddings: root.required_integer(&limits::MAX_POSITION_EMBEDDINGS)?,
            num_nextn_predict_layers: read_draft_layers(&root, model_type)?,
            eos_token_ids: read_stop_ids(&root, vocab_size)?,
            tie_word_embeddings: root.boolean("tie_word_embeddings")?.unwrap_or(false),
            rope_theta,
            rope_scaling,
            quantization: read_quantization(&root)?,
        };
        config.check(&root)?;
        Ok(config)
    }

    /// Width of a query or key head: the part without position, then the rotated part.
    pub fn qk_head_dim(&self) -> usize {
        self.qk_nope_head_dim + self.qk_rope_head_dim
    }

    /// Whether `layer`, counted from 0, has experts. The draft layer, number `num_hidden_layers`, always has.
    pub fn is_moe_layer(&self, layer: usize) -> bool {
        layer >= self.first_k_dense_replace
    }

    /// Whether the checkpoint has a draft layer for multi-token prediction.
    pub fn has_mtp(&self) -> bool {
        self.num_nextn_predict_layers > 0
    }

    /// Experts in one group.
    pub fn experts_per_group(&self) -> usize {
        self.n_routed_experts / self.n_group
    }

    /// The rules between two or more fields.
    fn check(&self, root: &Section<'_>) -> Result<(), ConfigError> {
        if self.q_lora_rank == Some(0) {
            let expected = "1 or more, or null for queries without a low-rank projection";
            return Err(root.out_of_range("q_lora_rank", "0", expected));
        }
        if !self.qk_rope_head_dim.is_multiple_of(2) {
            let value = self.qk_rope_head_dim.to_string();
            return Err(root.out_of_range(
                "qk_rope_head_dim",
                &value,
                "an even integer, as rotation turns pairs",
            ));
        }
        let heads = self.num_attention_heads;
        if root.integer(&limits::NUM_KEY_VALUE_HEADS)?.is_some_and(|key_value_heads| key_value_heads != heads)
        {
            let reason =
                format!("`num_attention_heads` is {heads}, and latent attention has as many of both");
            return Err(root.contradiction("num_key_value_heads", reason));
        }
        if self.first_k_dense_replace > self.num_hidden_layers {
            let reason = format!("`num_hidden_layers` is {}", self.num_hidden_layers);
            return Err(root.contradiction("first_k_dense_replace", reason));
        }
        self.check_groups(root)
    }

    /// The rules of expert groups.
    fn check_groups(&self, root: &Section<'_>) -> Result<(), ConfigError> {
        let (experts, groups, kept) = (self.n_routed_experts, self.n_group, self.topk_group);
        if self.topk_method == TopkMethod::Greedy && groups > 1 {
            let reason =
                "`topk_method` \"greedy\" knows no groups, and implementations disagree about the pair";
            return Err(root.contradiction("n_group", reason));
        }
        if !experts.is_multiple_of(groups) {
            let reason = format!("it must divide `n_routed_experts`, which is {experts}");
            return Err(root.contradiction("n_group", reason));
        }
        if kept > groups {
            return Err(root.contradiction("topk_group", format!("`n_group` is {groups}")));
        }
        let per_group = self.experts_per_group();
        if self.topk_method == TopkMethod::NoauxTc && groups > 1 && per_group < 2 {
            let reason = format!(
                "`n_routed_experts` is {experts}, and \"noaux_tc\" scores a group by its two best \
                 experts, so it needs two"
            );
            return Err(root.contradiction("n_group", reason));
        }
        if self.num_experts_per_tok > kept * per_group {
            let reason = format!(
                "only {} of the {experts} experts can be chosen: `topk_group` is {kept}, with \
                 {per_group} experts in a group",
                kept * per_group
            );
            return Err(root.contradiction("num_experts_per_tok", reason));
        }
        Ok(())
    }
}

/// Reads the stop tokens of a `generation_config.json`: `eos_token_id`, a number or a list; empty where it
/// is absent.
///
/// # Errors
/// [`ConfigError`] for text that is not a JSON object, and for an `eos_token_id` that holds no token ids.
pub fn stop_ids_from_generation_config(text: &str) -> Result<Vec<u32>, ConfigError> {
    let document = Json::parse(text)?;
    read_stop_ids(&Section::root(&document)?, limits::VOCAB_SIZE.most)
}

fn read_model_type(root: &Section<'_>) -> Result<ModelType, ConfigError> {
    let supported = match root.string("model_type")? {
        Some("deepseek_v32") => {
            "\"deepseek_v2\", \"deepseek_v3\" (the sparse attention of V3.2 is not supported yet)"
        }
        _ => "\"deepseek_v2\", \"deepseek_v3\"",
    };
    let choices = [("deepseek_v2", ModelType::DeepseekV2), ("deepseek_v3", ModelType::DeepseekV3)];
    let model_type = root.choice("model_type", &choices, supported)?;
    root.require("model_type", model_type)
}

/// Refuses options that both families define, that change the result, and that no published checkpoint uses.
fn refuse_other_architectures(root: &Section<'_>) -> Result<(), ConfigError> {
    for name in ["attention_bias", "mlp_bias"] {
        if root.boolean(name)? == Some(true) {
            return Err(root.unsupported(name, "false"));
        }
    }
    if root.boolean("rope_interleave")? == Some(false) {
        return Err(root.unsupported("rope_interleave", "true (rotated pairs are adjacent)"));
    }
    root.choice("hidden_act", &[("silu", ())], "\"silu\"")?;
    if root.integer(&limits::MOE_LAYER_FREQ)?.is_some_and(|frequency| frequency != 1) {
        return Err(root.unsupported("moe_layer_freq", "1"));
    }
    if root.get("index_topk").is_some() {
        return Err(
            root.unsupported("index_topk", "absent (the sparse attention of V3.2 is not supported yet)")
        );
    }
    Ok(())
}

/// The fields that decide how experts are chosen and weighed.
struct Router {
    scoring: Scoring,
    topk_method: TopkMethod,
    norm_topk_prob: bool,
    n_group: usize,
    topk_group: usize,
}

fn read_router(root: &Section<'_>, model_type: ModelType) -> Result<Router, ConfigError> {
    let scoring = root.choice(
        "scoring_func",
        &[("sigmoid", Scoring::Sigmoid), ("softmax", Scoring::Softmax)],
        "\"sigmoid\" (deepseek_v3), \"softmax\" (deepseek_v2)",
    )?;
    let topk_method = root.choice(
        "topk_method",
        &[
            ("greedy", TopkMethod::Greedy),
            ("group_limited_greedy", TopkMethod::GroupLimitedGreedy),
            ("noaux_tc", TopkMethod::NoauxTc),
        ],
        "\"noaux_tc\" (deepseek_v3), \"greedy\" and \"group_limited_greedy\" (deepseek_v2)",
    )?;
    let norm_topk_prob = root.boolean("norm_topk_prob")?;
    match model_type {
        ModelType::DeepseekV2 => {
            if scoring == Some(Scoring::Sigmoid) {
                return Err(
                    root.contradiction("scoring_func", "`model_type` \"deepseek_v2\" uses \"softmax\"")
                );
            }
            if topk_method == Some(TopkMethod::NoauxTc) {
                let reason = "`model_type` \"deepseek_v2\" uses \"greedy\" or \"group_limited_greedy\"";
                return Err(root.contradiction("topk_method", reason));
            }
            if norm_topk_prob == Some(true) {
                let supported = "false for deepseek_v2 (implementations disagree about true)";
                return Err(root.unsupported("norm_topk_prob", supported));
            }
            let topk_method = topk_method.unwrap_or(TopkMethod::Greedy);
            let (n_group, topk_group) = match topk_method {
                // Without groups the two fields may be null.
                TopkMethod::Greedy => (
                    root.integer(&limits::N_GROUP)?.unwrap_or(1),
                    root.integer(&limits::TOPK_GROUP)?.unwrap_or(1),
                ),
                _ => (root.required_integer(&limits::N_GROUP)?, root.required_integer(&limits::TOPK_GROUP)?),
            };
            Ok(Router { scoring: Scoring::Softmax, topk_method, norm_topk_prob: false, n_group, topk_group })
        }
        ModelType::DeepseekV3 => {
            if scoring == Some(Scoring::Softmax) {
                return Err(
                    root.contradiction("scoring_func", "`model_type` \"deepseek_v3\" uses \"sigmoid\"")
                );
            }
            if topk_method.is_some_and(|method| method != TopkMethod::NoauxTc) {
                return Err(
                    root.contradiction("topk_method", "`model_type` \"deepseek_v3\" uses \"noaux_tc\"")
                );
            }
            Ok(Router {
                scoring: Scoring::Sigmoid,
                topk_method: TopkMethod::NoauxTc,
                norm_topk_prob: root.require("norm_topk_prob", norm_topk_prob)?,
                n_group: root.required_integer(&limits::N_GROUP)?,
                topk_group: root.required_integer(&limits::TOPK_GROUP)?,
            })
        }
    }
}

fn read_draft_layers(root: &Section<'_>, model_type: ModelType) -> Result<usize, ConfigError> {
    let layers = root.integer(&limits::NUM_NEXTN_PREDICT_LAYERS)?.unwrap_or(0);
    match (model_type, layers) {
        (_, 0) | (ModelType::DeepseekV3, 1) => Ok(layers),
        (ModelType::DeepseekV2, _) => Err(root.unsupported("num_nextn_predict_layers", "0 for deepseek_v2")),
        (ModelType::DeepseekV3, _) => Err(root.unsupported("num_nextn_predict_layers", "0, 1")),
    }
}

fn read_stop_ids(root: &Section<'_>, vocab_size: usize) -> Result<Vec<u32>, ConfigError> {
    let ids = root.integers(&token_id("eos_token_id", vocab_size))?;
    Ok(ids.into_iter().map(|id| id as u32).collect())
}

/// A field that holds a row number of the embedding; the largest vocabulary keeps it within 32 bits.
fn token_id(name: &'static str, vocab_size: usize) -> Integer {
    Integer { name, least: 0, most: vocab_size - 1 }
}

/// Reads `rope_theta` and the scaling from the three places they may stand in: transformers 4 writes the
/// field `rope_theta` and the object `rope_scaling`, transformers 5 the object `rope_parameters` with both.
fn read_rope(root: &Section<'_>) -> Result<(f64, Option<Yarn>), ConfigError> {
    let mut theta = root.real(&limits::ROPE_THETA)?;
    let mut scalings = Vec::new();
    for name in ["rope_scaling", "rope_parameters"] {
        let Some(section) = root.section(name)? else {
            continue;
        };
        if let Some(inner) = section.real(&limits::ROPE_THETA)? {
            if let Some(outer) = theta
                && outer != inner
            {
                return Err(section.contradiction("rope_theta", format!("it is also given as {outer}")));
            }
            theta = Some(inner);
        }
        scalings.push(read_scaling(&section)?);
    }
    if let [first, second] = scalings[..]
        && first != second
    {
        return Err(root.contradiction("rope_parameters", "`rope_scaling` says otherwise"));
    }
    Ok((root.require("rope_theta", theta)?, scalings.first().copied().flatten()))
}

fn read_scaling(section: &Section<'_>) -> Result<Option<Yarn>, ConfigError> {
    let kinds = [("yarn", true), ("default", false)];
    let [old, new] = ["type", "rope_type"].map(|name| section.choice(name, &kinds, "\"yarn\", \"default\""));
    let (old, new) = (old?, new?);
    if let (Some(old), Some(new)) = (old, new)
        && old != new
    {
        return Err(section.contradiction("rope_type", "`type` beside it says otherwise"));
    }
    if !section.require("type", old.or(new))? {
        return Ok(None);
    }
    // Both replace part of the YaRN formula in transformers; no published DeepSeek config has them.
    if section.get("attention_factor").is_some() {
        return Err(section.unsupported("attention_factor", "absent (`mscale` and `mscale_all_dim` give it)"));
    }
    if section.boolean("truncate")? == Some(false) {
        return Err(section.unsupported("truncate", "true"));
    }
    let yarn = Yarn {
        factor: section.required_real(&limits::FACTOR)?,
        original_max_position_embeddings: section.required_integer(&limits::ORIGINAL_POSITIONS)? as f64,
        beta_fast: section.real(&limits::BETA_FAST)?.unwrap_or(32.0),
        beta_slow: section.real(&limits::BETA_SLOW)?.unwrap_or(1.0),
        mscale: section.real(&limits::MSCALE)?,
        mscale_all_dim: section.real(&limits::MSCALE_ALL_DIM)?.unwrap_or(0.0),
    };
    if yarn.beta_slow >= yarn.beta_fast {
        let (name, other, limit) = if section.get("beta_fast").is_some() {
            ("beta_fast", "must exceed `beta_slow`", yarn.beta_slow)
        } else {
            ("beta_slow", "must be below `beta_fast`", yarn.beta_fast)
        };
        return Err(section.contradiction(name, format!("it {other}, which is {limit}")));
    }
    Ok(Some(yarn))
}

fn read_quantization(root: &Section<'_>) -> Result<Option<Quantization>, ConfigError> {
    let Some(section) = root.section("quantization_config")? else {
        return Ok(None);
    };
    let method = section.choice("quant_method", &[("fp8", ())], "\"fp8\"")?;
    section.require("quant_method", method)?;
    section.choice("fmt", &[("e4m3", ())], "\"e4m3\"")?;
    section.choice("activation_scheme", &[("dynamic", ())], "\"dynamic\"")?;
    let block = section.integers(&limits::WEIGHT_BLOCK_SIZE)?;
    section.require("weight_block_size", section.get("weight_block_size"))?;
    if block != [128, 128] {
        return Err(section.unsupported("weight_block_size", "[128, 128]"));
    }
    let formats = [("float", ScaleFormat::F32), ("ue8m0", ScaleFormat::Ue8m0)];
    let activation_scale =
        section.choice("scale_fmt", &formats, "\"ue8m0\", \"float\", or absent for float")?;
    Ok(Some(Quantization { activation_scale: activation_scale.unwrap_or_default() }))
}
