//! The whole network: embedding, blocks of attention and feed-forward, norm, head. Read this file first.
//!
//! ```text
//! x = embedding(tokens)
//! for each block:  x += attention(norm(x));  x += feed_forward(norm(x))
//! logits = head · norm(x)
//! ```
//!
//! Everything runs on the rayon thread pool that the caller is in; results do not depend on its size.

use std::cell::RefCell;
use std::collections::HashSet;

use super::gate::{GateSpec, Routing};
use super::linear::{Output, linear};
use super::mla::{Form, HeadSpec, Mla, QueryProjection, Rows};
use super::moe::{Mlp, Moe};
use super::mtp::Mtp;
use super::ops::{add_residual, embedding, rms_norm};
use super::rope::{MscaleConvention, Rope};
use super::{InputError, Numerics, Precision, Sums};
use crate::model::cache::LatentCache;
use crate::model::config::{Config, ScaleFormat, TopkMethod};
use crate::model::weights::{Checkpoint, Matrix, TensorInfo, WeightsError, scales_of};

/// A network ready to run: configuration and views of a mapped checkpoint.
#[derive(Clone, Debug)]
pub struct Model {
    pub(crate) config: Config,
    pub(crate) numerics: Numerics,
    pub(crate) rope: Rope,
    pub(crate) embedding: Matrix,
    pub(crate) blocks: Vec<Block>,
    pub(crate) norm: Vec<f32>,
    pub(crate) head: Matrix,
    pub(crate) mtp: Option<Mtp>,
}

/// One layer: attention and feed-forward, each behind a norm and added to the residual stream.
#[derive(Clone, Debug)]
pub struct Block {
    /// `input_layernorm` `[hidden]`.
    pub attention_norm: Vec<f32>,
    /// Attention.
    pub attention: Mla,
    /// `post_attention_layernorm` `[hidden]`.
    pub feed_forward_norm: Vec<f32>,
    /// Dense network or mixture of experts.
    pub feed_forward: FeedForward,
}

/// The second half of a block.
#[derive(Clone, Debug)]
pub enum FeedForward {
    /// One SwiGLU network.
    Dense(Mlp),
    /// Routed and shared experts.
    Moe(Moe),
}

/// New tokens of one sequence, and what the sequence remembers.
#[derive(Debug)]
pub struct Segment<'a> {
    /// The tokens that follow those in the cache.
    pub tokens: &'a [u32],
    /// [`Form::Naive`] for tokens of the prompt, [`Form::Absorbed`] for generated and speculated ones.
    pub form: Form,
    /// The sequence's cache, from [`Model::new_cache`].
    pub cache: &'a mut LatentCache,
}

/// New rows of one sequence for the multi-token-prediction module.
#[derive(Debug)]
pub struct DraftSegment<'a> {
    /// For each row the token that it embeds: the one after the token whose state it joins.
    pub tokens: &'a [u32],
    /// For each row the trunk's state, as [`Model::forward`] returns it: `[tokens, hidden]`.
    pub hidden: &'a [f32],
    /// [`Form::Naive`] where the embedded token is of the prompt, else [`Form::Absorbed`].
    pub form: Form,
    /// The sequence's own cache for the module, from [`Model::new_draft_cache`].
    pub cache: &'a mut LatentCache,
}

/// Sees the values between the layers as a batch passes. Rows are those of the batch, segment after segment. It is
/// called on a thread of the pool.
pub trait Observer: Send {
    /// Whether it wants to see anything: values of a device cost a copy.
    fn is_interested(&self) -> bool {
        true
    }

    /// The residual stream before layer `layer`, or behind the last: `[tokens, hidden]`.
    fn residual(&mut self, layer: usize, stream: &[f32]) {
        let _ = (layer, stream);
    }

    /// Router logits `[tokens, experts]` of a mixture-of-experts layer, and what its gate made of them.
    fn routing(&mut self, layer: usize, logits: &[f32], routing: &Routing) {
        let _ = (layer, logits, routing);
    }
}

/// Sees nothing.
impl Observer for () {
    fn is_interested(&self) -> bool {
        false
    }
}

impl Model {
    /// Takes every weight that `config` describes from `checkpoint`, checking shapes, types and scales. `on_layer` is
    /// called before each layer with its number and the count of layers.
    ///
    /// The multi-token-prediction module is taken where the configuration has one and the checkpoint any part of it.
    ///
    /// # Errors
    /// What [`Checkpoint::matrix`] and [`Checkpoint::vector`] say about the first tensor that does not fit, and
    /// [`WeightsError::UnexpectedTensor`] for one that is left over.
    pub fn load(
        config: Config,
        checkpoint: &Checkpoint,
        precision: Precision,
        mscale: MscaleConvention,
        on_layer: &mut dyn FnMut(usize, usize),
    ) -> Result<Self, WeightsError> {
        let activation_scale = config.quantization.as_ref().map_or(ScaleFormat::F32, |q| q.activation_scale);
        let rope = Rope::from_config(&config, mscale);
        let softmax_scale = rope.softmax_scale(config.qk_head_dim());
        let loader = Loader { checkpoint, config: &config, softmax_scale, used: RefCell::default() };
        let (vocab, hidden, layers) = (config.vocab_size, config.hidden_size, config.num_hidden_layers);
        let embedding = loader.matrix("model.embed_tokens", vocab, hidden)?;
        let head = if config.tie_word_embeddings {
            embedding.clone()
        } else {
            loader.matrix("lm_head", vocab, hidden)?
        };
        let norm = loader.vector("model.norm.weight", hidden)?;
        let draft_layer = format!("model.layers.{layers}.");
        let has_mtp =
            config.has_mtp() && checkpoint.tensors().any(|(name, _)| name.starts_with(&draft_layer));
        let count = layers + usize::from(has_mtp);
        let mut blocks = Vec::with_capacity(layers);
        for layer in 0..layers {
            on_layer(layer, count);
            blocks.push(loader.block(layer)?);
        }
        let mut mtp = None;
        if has_mtp {
            on_layer(layers, count);
            mtp = Some(loader.mtp(&embedding, &head)?);
        }
        loader.check_nothing_left()?;
        let numerics = Numerics { precision, activation_scale, sums: Sums::F32 };
        Ok(Self { config, numerics, rope, embedding, blocks, norm, head, mtp })
    }

    /// The same network with other sums in its matrix products, in [`Precision::Kernel`].
    #[must_use]
    pub fn with_sums(mut self, sums: Sums) -> Self {
        self.numerics.sums = sums;
        self
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Whether the checkpoint has a multi-token-prediction module.
    pub fn has_mtp(&self) -> bool {
        self.mtp.is_some()
    }

    /// An empty cache for a new sequence.
    pub fn new_cache(&self) -> LatentCache {
        LatentCache::new(self.blocks.len(), self.cache_row())
    }

    /// An empty cache for a new sequence in the multi-token-prediction module.
    pub fn new_draft_cache(&self) -> LatentCache {
        LatentCache::new(1, self.cache_row())
    }

    fn cache_row(&self) -> usize {
        self.config.kv_lora_rank + self.config.qk_rope_head_dim
    }

    /// Runs new tokens of some sequences through the network and returns the final state of each, after the last
    /// norm: `[tokens, hidden]`, segment after segment. Pass those rows to [`Self::logits`] whose logits are wanted.
    ///
    /// # Errors
    /// [`InputError::TokenOutOfRange`] and [`InputError::TooLong`], before any cache has changed.
    pub fn forward(
        &self,
        segments: &mut [Segment<'_>],
        observer: &mut dyn Observer,
    ) -> Result<Vec<f32>, InputError> {
        let mut tokens = Vec::new();
        let mut batch = Batch::default();
        for segment in segments.iter_mut() {
            let known = segment.cache.tokens();
            self.check_tokens(segment.tokens, known)?;
            self.check_length(known + segment.tokens.len())?;
            batch.push(segment.tokens.len(), known, segment.form, segment.cache);
            tokens.extend_from_slice(segment.tokens);
        }
        let rotations = batch.rotations(&self.rope);
        let rows = &mut batch.rows;
        let states = on_pool(|| {
            let mut stream = embedding(&self.embedding, &tokens, self.numerics);
            for (layer, block) in self.blocks.iter().enumerate() {
                observer.residual(layer, &stream);
                self.block(block, layer, layer, &mut stream, &rotations, rows, observer);
            }
            observer.residual(self.blocks.len(), &stream);
            rms_norm(&stream, &self.norm, self.config.rms_norm_eps, self.numerics)
        });
        batch.finish();
        Ok(states)
    }

    /// Logits of final states `[tokens, hidden]`: f32 `[tokens, vocab]`.
    ///
    /// # Panics
    /// If `hidden` is no whole number of states.
    pub fn logits(&self, hidden: &[f32]) -> Vec<f32> {
        linear(hidden, &self.head, Output::F32, self.numerics)
    }

    /// Runs new rows of some sequences through the multi-token-prediction module and returns the state of each, after
    /// its head's norm: `[tokens, hidden]`. Their logits are [`Self::draft_logits`].
    ///
    /// # Errors
    /// [`InputError::NoMtp`], [`InputError::TokenOutOfRange`], [`InputError::TooLong`] and
    /// [`InputError::HiddenStates`], before any cache has changed.
    pub fn draft(
        &self,
        segments: &mut [DraftSegment<'_>],
        observer: &mut dyn Observer,
    ) -> Result<Vec<f32>, InputError> {
        let mtp = self.mtp.as_ref().ok_or(InputError::NoMtp)?;
        let (mut tokens, mut hidden) = (Vec::new(), Vec::new());
        let mut batch = Batch::default();
        for segment in segments.iter_mut() {
            // Row 0 embeds the token at position 1.
            let position = segment.cache.tokens() + 1;
            self.check_tokens(segment.tokens, position)?;
            self.check_length(position + segment.tokens.len())?;
            self.check_states(segment.hidden, segment.tokens.len())?;
            batch.push(segment.tokens.len(), position, segment.form, segment.cache);
            tokens.extend_from_slice(segment.tokens);
            hidden.extend_from_slice(segment.hidden);
        }
        let rotations = batch.rotations(&self.rope);
        let rows = &mut batch.rows;
        let states = on_pool(|| {
            let epsilon = self.config.rms_norm_eps;
            let embedded = embedding(&mtp.embedding, &tokens, self.numerics);
            let mut stream = mtp.join(&embedded, &hidden, epsilon, self.numerics);
            let layer = self.blocks.len();
            observer.residual(layer, &stream);
            self.block(&mtp.block, layer, 0, &mut stream, &rotations, rows, observer);
            observer.residual(layer + 1, &stream);
            rms_norm(&stream, &mtp.head_norm, epsilon, self.numerics)
        });
        batch.finish();
        Ok(states)
    }

    /// Logits of states from [`Self::draft`]: f32 `[tokens, vocab]`; empty without a module.
    ///
    /// # Panics
    /// If `hidden` is no whole number of states.
    pub fn draft_logits(&self, hidden: &[f32]) -> Vec<f32> {
        let Some(mtp) = &self.mtp else { return Vec::new() };
        linear(hidden, &mtp.head, Output::F32, self.numerics)
    }

    /// One block, in place on the residual stream `[tokens, hidden]`; its keys are in the caches' layer
    /// `cache_layer`.
    #[expect(
        clippy::too_many_arguments,
        reason = "what a block reads: its weights, the batch and where to record it"
    )]
    fn block(
        &self,
        block: &Block,
        layer: usize,
        cache_layer: usize,
        stream: &mut [f32],
        rotations: &[Vec<(f32, f32)>],
        rows: &mut [Rows<'_>],
        observer: &mut dyn Observer,
    ) {
        let epsilon = self.config.rms_norm_eps;
        let x = rms_norm(stream, &block.attention_norm, epsilon, self.numerics);
        let attended = block.attention.forward(&x, rotations, cache_layer, rows, self.numerics);
        add_residual(stream, &attended, self.numerics);

        let x = rms_norm(stream, &block.feed_forward_norm, epsilon, self.numerics);
        let fed = match &block.feed_forward {
            FeedForward::Dense(mlp) => mlp.forward(&x, self.numerics),
            FeedForward::Moe(moe) => {
                let logits = moe.router_logits(&x);
                let (fed, routing) = moe.forward(&x, &logits, self.numerics);
                observer.routing(layer, &logits, &routing);
                fed
            }
        };
        add_residual(stream, &fed, self.numerics);
    }

    /// Whether the network can run on `prompt` as the start of a sequence.
    ///
    /// # Errors
    /// [`InputError::EmptyPrompt`], [`InputError::TokenOutOfRange`], [`InputError::TooLong`].
    pub fn check_prompt(&self, prompt: &[u32]) -> Result<(), InputError> {
        if prompt.is_empty() {
            return Err(InputError::EmptyPrompt);
        }
        self.check_tokens(prompt, 0)?;
        self.check_length(prompt.len())
    }

    /// That there is a state for each of some tokens.
    pub(crate) fn check_states(&self, hidden: &[f32], tokens: usize) -> Result<(), InputError> {
        let (expected, given) = (tokens * self.config.hidden_size, hidden.len());
        if given == expected { Ok(()) } else { Err(InputError::HiddenStates { tokens, expected, given }) }
    }

    /// That states are whole.
    pub(crate) fn check_whole_states(&self, hidden: &[f32]) -> Result<(), InputError> {
        let (hidden_size, given) = (self.config.hidden_size, hidden.len());
        if given.is_multiple_of(hidden_size) {
            Ok(())
        } else {
            Err(InputError::PartialState { hidden_size, given })
        }
    }

    pub(crate) fn check_tokens(&self, tokens: &[u32], first_position: usize) -> Result<(), InputError> {
        let vocab_size = self.config.vocab_size;
        match tokens.iter().position(|&token| token as usize >= vocab_size) {
            Some(at) => Err(InputError::TokenOutOfRange {
                token: tokens[at],
                position: first_position + at,
                vocab_size,
            }),
            None => Ok(()),
        }
    }

    pub(crate) fn check_length(&self, tokens: usize) -> Result<(), InputError> {
        let max_position_embeddings = self.config.max_position_embeddings;
        if tokens > max_position_embeddings {
            return Err(InputError::TooLong { tokens, max_position_embeddings });
        }
        Ok(())
    }
}

/// Runs a whole pass on one thread of the pool, which shares out each product from there. Called from outside, every
/// product would have to be handed to the pool and waited for.
fn on_pool<R: Send>(pass: impl FnOnce() -> R + Send) -> R {
    rayon::scope(|_| pass())
}

/// The rows of a batch and their positions.
#[derive(Default)]
struct Batch<'a> {
    rows: Vec<Rows<'a>>,
    positions: Vec<usize>,
}

impl<'a> Batch<'a> {
    fn push(&mut self, count: usize, first_position: usize, form: Form, cache: &'a mut LatentCache) {
        self.rows.push(Rows { first: self.positions.len(), count, form, cache });
        self.positions.extend(first_position..first_position + count);
    }

    fn rotations(&self, rope: &Rope) -> Vec<Vec<(f32, f32)>> {
        self.positions.iter().map(|&position| rope.rotation(position)).collect()
    }

    fn finish(self) {
        for rows in self.rows {
            rows.cache.advance(rows.count);
        }
    }
}

/// Takes the parts of the network from a checkpoint by their published names.
struct Loader<'a> {
    checkpoint: &'a Checkpoint,
    config: &'a Config,
    softmax_scale: f32,
    used: RefCell<HashSet<String>>,
}

impl Loader<'_> {
    /// The weight `{name}.weight` `[rows, columns]`.
    fn matrix(&self, name: &str, rows: usize, columns: usize) -> Result<Matrix, WeightsError> {
        let tensor = format!("{name}.weight");
        let matrix = self.checkpoint.matrix(&tensor, rows, columns)?;
        let mut used = self.used.borrow_mut();
        if matrix.is_block_scaled() {
            used.insert(scales_of(&tensor));
        }
        used.insert(tensor);
        Ok(matrix)
    }

    /// The vector `tensor` `[length]`.
    fn vector(&self, tensor: &str, length: usize) -> Result<Vec<f32>, WeightsError> {
        let vector = self.checkpoint.vector(tensor, length)?;
        self.used.borrow_mut().insert(tensor.to_owned());
        Ok(vector)
    }

    /// Every tensor has been taken, but for what changes nothing: tensors without elements, stored rotation
    /// frequencies, a head that the configuration ties to the embedding, and draft modules that it leaves out.
    fn check_nothing_left(&self) -> Result<(), WeightsError> {
        let used = self.used.borrow();
        let layers = self.config.num_hidden_layers;
        let is_of_draft_module = |name: &str| {
            let layer = name.strip_prefix("model.layers.").and_then(|rest| rest.split_once('.'));
            layer.is_some_and(|(layer, _)| {
                layer.parse::<usize>().is_ok_and(|layer| layer >= layers)
                    && self.checkpoint.contains(&format!("model.layers.{layer}.eh_proj.weight"))
            })
        };
        let is_left = |(name, info): &(&str, &TensorInfo)| {
            let is_tied_head = self.config.tie_word_embeddings && *name == "lm_head.weight";
            let changes_nothing = info.bytes.is_empty()
                || name.ends_with(".rotary_emb.inv_freq")
                || is_tied_head
                || is_of_draft_module(name);
            !used.contains(*name) && !changes_nothing
        };
        match self.checkpoint.tensors().filter(is_left).map(|(name, _)| name).min() {
            None => Ok(()),
            Some(tensor) => Err(WeightsError::UnexpectedTensor {
                checkpoint: self.checkpoint.root().to_owned(),
                tensor: tensor.to_owned(),
                layers,
            }),
        }
    }

    fn block(&self, layer: usize) -> Result<Block, WeightsError> {
        let prefix = format!("model.layers.{layer}");
        let hidden = self.config.hidden_size;
        let feed_forward = if self.config.is_moe_layer(layer) {
            FeedForward::Moe(self.moe(&format!("{prefix}.mlp"))?)
        } else {
            FeedForward::Dense(self.mlp(&format!("{prefix}.mlp"), self.config.intermediate_size)?)
        };
        Ok(Block {
            attention_norm: self.vector(&format!("{prefix}.input_layernorm.weight"), hidden)?,
            attention: self.attention(&format!("{prefix}.self_attn"))?,
            feed_forward_norm: self.vector(&format!("{prefix}.post_attention_layernorm.weight"), hidden)?,
            feed_forward,
        })
    }

    fn attention(&self, prefix: &str) -> Result<Mla, WeightsError> {
        let hidden = self.config.hidden_size;
        let spec = HeadSpec::from_config(self.config, self.softmax_scale);
        let matrix = |name: &str, rows, columns| self.matrix(&format!("{prefix}.{name}"), rows, columns);
        let vector = |name: &str, length| self.vector(&format!("{prefix}.{name}.weight"), length);
        let queries = spec.heads * spec.query();
        let query = match self.config.q_lora_rank {
            None => QueryProjection::Direct(matrix("q_proj", queries, hidden)?),
            Some(rank) => QueryProjection::LowRank {
                down: matrix("q_a_proj", rank, hidden)?,
                norm: vector("q_a_layernorm", rank)?,
                up: matrix("q_b_proj", queries, rank)?,
            },
        };
        Ok(Mla {
            spec,
            query,
            kv_a_proj: matrix("kv_a_proj_with_mqa", spec.cache_row(), hidden)?,
            kv_a_norm: vector("kv_a_layernorm", spec.latent)?,
            kv_b_proj: matrix("kv_b_proj", spec.heads * (spec.nope + spec.value), spec.latent)?,
            o_proj: matrix("o_proj", hidden, spec.heads * spec.value)?,
        })
    }

    fn mlp(&self, prefix: &str, intermediate: usize) -> Result<Mlp, WeightsError> {
        let hidden = self.config.hidden_size;
        let matrix = |name: &str, rows, columns| self.matrix(&format!("{prefix}.{name}"), rows, columns);
        Ok(Mlp {
            gate_proj: matrix("gate_proj", intermediate, hidden)?,
            up_proj: matrix("up_proj", intermediate, hidden)?,
            down_proj: matrix("down_proj", hidden, intermediate)?,
        })
    }

    fn moe(&self, prefix: &str) -> Result<Moe, WeightsError> {
        let Config { n_routed_experts, n_shared_experts, moe_intermediate_size, hidden_size, .. } =
            *self.config;
        let router = self.matrix(&format!("{prefix}.gate"), n_routed_experts, hidden_size)?;
        let bias = if self.config.topk_method == TopkMethod::NoauxTc {
            Some(self.vector(&format!("{prefix}.gate.e_score_correction_bias"), n_routed_experts)?)
        } else {
            None
        };
        let expert = |index| self.mlp(&format!("{prefix}.experts.{index}"), moe_intermediate_size);
        let experts = (0..n_routed_experts).map(expert).collect::<Result<_, _>>()?;
        let shared = match n_shared_experts {
            0 => None,
            count => Some(self.mlp(&format!("{prefix}.shared_experts"), count * moe_intermediate_size)?),
        };
        Ok(Moe { spec: GateSpec::from_config(self.config), router, bias, experts, shared })
    }

    /// The multi-token-prediction module; without copies of `embedding` and `head` of its own it takes the trunk's.
    fn mtp(&self, embedding: &Matrix, head: &Matrix) -> Result<Mtp, WeightsError> {
        let prefix = format!("model.layers.{}", self.config.num_hidden_layers);
        let (vocab, hidden) = (self.config.vocab_size, self.config.hidden_size);
        let vector = |name: &str| self.vector(&format!("{prefix}.{name}.weight"), hidden);
        let matrix = |name: &str, rows, columns| self.matrix(&format!("{prefix}.{name}"), rows, columns);
        let copy_of = |of: &Matrix, name: &str| {
            if self.checkpoint.contains(&format!("{prefix}.{name}.weight")) {
                matrix(name, vocab, hidden)
            } else {
                Ok(of.clone())
            }
        };
        Ok(Mtp {
            embedding: copy_of(embedding, "embed_tokens")?,
            embedding_norm: vector("enorm")?,
            hidden_norm: vector("hnorm")?,
            eh_proj: matrix("eh_proj", hidden, 2 * hidden)?,
            block: self.block(self.config.num_hidden_layers)?,
            head_norm: vector("shared_head.norm")?,
            head: copy_of(head, "shared_head.head")?,
        })
    }
}
