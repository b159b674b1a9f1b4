//! The whole network on a device: embedding, blocks, norm, head. Read this file first; it follows
//! `reference::model` step by step.

use super::attention::{Attention, Surroundings};
use super::batch::{Batch, Member};
use super::cache::{DeviceCache, Pool};
use super::executor::Executor;
use super::feed_forward::{DeviceFeedForward, DeviceRouting};
use super::operations::{Activation, Destination, Operations};
use super::weights::{Linear, to_bf16};
use super::{Cache, DraftSegment, Network, Segment, sizes};
use crate::driver::{Buffer, Device, Stream};
use crate::error::{Error, Result};
use crate::model::config::Config;
use crate::model::weights::Matrix;
use crate::num::bf16;
use crate::reference::gate::Routing;
use crate::reference::mla::Form;
use crate::reference::model::{Block, FeedForward};
use crate::reference::{InputError, Model, Observer};
use rorqual_kernels::catalog::PAGE_SIZE;
use std::sync::{Mutex, PoisonError};

/// How much memory the cache gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadOptions {
    /// Tokens, of all sequences together, that the cache has room for, rounded up to pages: one at least. What comes
    /// out must be less than 2^32, the number of different slots that kernels can be told.
    pub cache_tokens: usize,
    /// Tokens of a page, at least 1.
    pub page_size: usize,
}

impl LoadOptions {
    /// Pages of the cache.
    ///
    /// # Errors
    /// [`Error::LoadOption`] if there is none of such pages, or slots of tokens cannot be numbered.
    fn pages(self) -> Result<usize> {
        let Self { cache_tokens, page_size } = self;
        let expect = |holds: bool, option, given, expected| {
            if holds { Ok(()) } else { Err(Error::LoadOption { option, given, expected }) }
        };
        let largest = u32::MAX as usize;
        expect((1..=largest).contains(&page_size), "page_size", page_size, (1, largest))?;
        let most = largest / page_size * page_size;
        expect(cache_tokens <= most, "cache_tokens", cache_tokens, (0, most))?;
        Ok(cache_tokens.div_ceil(page_size).max(1))
    }
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self { cache_tokens: 8192, page_size: PAGE_SIZE as usize }
    }
}

/// A network whose weights are in the memory of a device.
#[derive(Debug)]
pub struct DeviceNetwork {
    model: Model,
    operations: Operations,
    embedding: Buffer<bf16>,
    blocks: Vec<DeviceBlock>,
    norm: Buffer<f32>,
    head: Buffer<bf16>,
    mtp: Option<DeviceMtp>,
    rotations: Buffer<f32>,
    pool: Pool,
    draft_pool: Pool,
    /// One pass at a time.
    pass: Mutex<()>,
}

/// One layer.
#[derive(Debug)]
struct DeviceBlock {
    attention_norm: Buffer<f32>,
    attention: Attention,
    feed_forward_norm: Buffer<f32>,
    feed_forward: DeviceFeedForward,
}

/// The multi-token-prediction module.
#[derive(Debug)]
struct DeviceMtp {
    /// `None` where it is the trunk's.
    embedding: Option<Buffer<bf16>>,
    embedding_norm: Buffer<f32>,
    hidden_norm: Buffer<f32>,
    eh_proj: Linear,
    block: DeviceBlock,
    head_norm: Buffer<f32>,
    /// `None` where it is the trunk's.
    head: Option<Buffer<bf16>>,
}

impl DeviceNetwork {
    /// Brings a loaded network to a device: FP8 weights as they are, all others in bf16. `on_layer` is called before
    /// each layer with its number and the count of layers.
    ///
    /// # Errors
    /// Before anything is copied [`Error::LoadOption`], [`Error::Catalog`] with the rule of a kernel that prompts need and
    /// the network's sizes break, and [`Error::DeviceMemory`] if weights and cache do not fit; what the device says.
    pub fn load(
        model: &Model,
        device: &Device,
        options: LoadOptions,
        on_layer: &mut dyn FnMut(usize, usize),
    ) -> Result<Self> {
        let config = model.config();
        let (pages, page_size) = (options.pages()?, options.page_size);
        sizes::check(model, page_size)?;
        let record_bytes = 2 * (config.kv_lora_rank + config.qk_rope_head_dim);
        let layers = model.blocks.len();
        let drafts = usize::from(model.mtp.is_some());
        // What no `usize` holds does not fit on a device either.
        let cache_bytes = (pages * page_size).saturating_mul(record_bytes).saturating_mul(layers + drafts);
        check_memory(device, weight_bytes(model), cache_bytes)?;

        let operations = Operations::new(Executor::new(device)?, model.numerics.activation_scale)?;
        let stream = operations.executor.stream();
        let count = layers + drafts;
        let mut blocks = Vec::with_capacity(layers);
        for (layer, block) in model.blocks.iter().enumerate() {
            on_layer(layer, count);
            blocks.push(DeviceBlock::upload(stream, block)?);
        }
        let mut mtp = None;
        if let Some(module) = &model.mtp {
            on_layer(layers, count);
            mtp = Some(DeviceMtp {
                embedding: own_copy(stream, &module.embedding, &model.embedding)?,
                embedding_norm: upload_vector(stream, &module.embedding_norm)?,
                hidden_norm: upload_vector(stream, &module.hidden_norm)?,
                eh_proj: Linear::upload(stream, &module.eh_proj)?,
                block: DeviceBlock::upload(stream, &module.block)?,
                head_norm: upload_vector(stream, &module.head_norm)?,
                head: own_copy(stream, &module.head, &model.head)?,
            });
        }
        let positions = config.max_position_embeddings.min(pages * page_size + 1);
        let rotations: Vec<f32> = (0..positions)
            .flat_map(|position| model.rope.rotation(position))
            .flat_map(|(cos, sin)| [cos, sin])
            .collect();
        Ok(Self {
            embedding: upload_table(stream, &model.embedding)?,
            blocks,
            norm: upload_vector(stream, &model.norm)?,
            head: upload_table(stream, &model.head)?,
            mtp,
            rotations: stream.upload(rotations.len(), &rotations)?,
            pool: Pool::new(stream, layers, pages, page_size, record_bytes)?,
            draft_pool: Pool::new(stream, drafts, pages, page_size, record_bytes)?,
            pass: Mutex::default(),
            model: model.clone(),
            operations,
        })
    }

    /// The specialisations of the kernels that have run so far, in no order.
    pub fn specs(&self) -> Vec<crate::catalog::AnySpec> {
        self.operations.executor.specs()
    }

    /// Its device.
    pub fn device(&self) -> &Device {
        self.operations.executor.device()
    }

    /// What runs its kernels.
    pub fn executor(&self) -> &Executor {
        &self.operations.executor
    }

    /// Pages of the cache that no sequence has, of the trunk and of the draft module.
    pub fn free_pages(&self) -> (usize, usize) {
        (self.pool.free_pages(), self.draft_pool.free_pages())
    }

    fn stream(&self) -> &Stream {
        self.operations.executor.stream()
    }

    fn hidden(&self) -> usize {
        self.model.config().hidden_size
    }

    /// One block, in place on the residual stream `[rows, hidden]`. `addend` is what the layer before has to add to
    /// the stream; the result is what this one has.
    fn block(
        &self,
        block: &DeviceBlock,
        layer: usize,
        stream: &mut Buffer<bf16>,
        addend: Option<Buffer<bf16>>,
        around: Surroundings<'_>,
        observer: &mut dyn Observer,
    ) -> Result<Buffer<bf16>> {
        let fp8 = block.attention.takes_fp8();
        let mut x = self.norm(stream, addend, &block.attention_norm, fp8)?;
        if observer.is_interested() {
            observer.residual(layer, &around.batch.in_order(&self.host_rows(stream)?, self.hidden()));
        }
        let attended = block.attention.forward(&self.operations, &mut x, around)?;
        let fp8 = block.feed_forward.takes_fp8();
        let mut x = self.norm(stream, Some(attended), &block.feed_forward_norm, fp8)?;
        let (fed, routing) = block.feed_forward.forward(&self.operations, &mut x)?;
        if let Some(routing) = routing.filter(|_| observer.is_interested()) {
            let (logits, routing) = self.host_routing(&routing, x.rows, around.batch)?;
            observer.routing(layer, &logits, &routing);
        }
        Ok(fed)
    }

    /// Adds what there is to add to the stream, and normalises it.
    fn norm(
        &self,
        stream: &mut Buffer<bf16>,
        addend: Option<Buffer<bf16>>,
        weight: &Buffer<f32>,
        fp8: bool,
    ) -> Result<Activation> {
        let hidden = self.hidden();
        let shape = (stream.len() / hidden, self.model.config().rms_norm_eps, fp8);
        match addend {
            Some(addend) => self.operations.rms_norm(addend.view(), hidden, Some(stream), weight, shape),
            None => self.operations.rms_norm(stream.view(), hidden, None, weight, shape),
        }
    }

    fn host_rows(&self, rows: &Buffer<bf16>) -> Result<Vec<f32>> {
        let rows = self.stream().download(rows)?;
        Ok(rows.iter().map(|value| value.to_f32()).collect())
    }

    /// A routing as the reference has it. Scores are not kept on the device: they are what the gate makes of the logits.
    fn host_routing(
        &self,
        routing: &DeviceRouting,
        rows: usize,
        batch: &Batch,
    ) -> Result<(Vec<f32>, Routing)> {
        let stream = self.stream();
        let (experts, topk) = (routing.logits.len() / rows.max(1), routing.topk_idx.len() / rows.max(1));
        let logits = batch.in_order(&stream.download(&routing.logits)?, experts);
        let topk_idx = batch.in_order(&stream.download(&routing.topk_idx)?, topk);
        let topk_weight = batch.in_order(&stream.download(&routing.topk_weight)?, topk);
        let spec = crate::reference::gate::GateSpec::from_config(self.model.config());
        let scores = crate::reference::gate::gate(&logits, None, &spec).scores;
        Ok((logits, Routing { experts, scores, topk_idx, topk_weight }))
    }

    /// Final states in host memory, in the order of the segments.
    fn finish(&self, states: &Activation, batch: &Batch) -> Result<Vec<f32>> {
        let rows = self.host_rows(&states.bf16)?;
        self.operations.check()?;
        Ok(batch.in_order(&rows, self.hidden()))
    }

    fn logits_of(&self, hidden: &[f32], head: &Buffer<bf16>) -> Result<Vec<f32>> {
        self.model.check_whole_states(hidden)?;
        let rows: Vec<bf16> = hidden.iter().map(|value| bf16::from_f32(*value)).collect();
        let rows = self.stream().upload(rows.len(), &rows)?;
        let logits = self.operations.head(&rows, head, self.hidden())?;
        Ok(self.stream().download(&logits)?)
    }
}

impl Network for DeviceNetwork {
    type Cache = DeviceCache;

    fn config(&self) -> &Config {
        self.model.config()
    }

    fn has_mtp(&self) -> bool {
        self.mtp.is_some()
    }

    fn check_prompt(&self, prompt: &[u32]) -> Result<(), InputError> {
        self.model.check_prompt(prompt)
    }

    fn new_cache(&self) -> DeviceCache {
        self.pool.cache()
    }

    fn new_draft_cache(&self) -> DeviceCache {
        self.draft_pool.cache()
    }

    fn forward(
        &self,
        segments: &mut [Segment<'_, DeviceCache>],
        observer: &mut dyn Observer,
    ) -> Result<Vec<f32>> {
        let _pass = self.pass.lock().unwrap_or_else(PoisonError::into_inner);
        for segment in segments.iter() {
            self.pool.check(segment.cache, "new_cache")?;
            let known = segment.cache.tokens();
            self.model.check_tokens(segment.tokens, known)?;
            self.model.check_length(known + segment.tokens.len())?;
        }
        let states = self.trunk(segments, observer);
        for segment in segments {
            segment.cache.settle(segment.tokens.len(), &states);
        }
        states
    }

    fn logits(&self, hidden: &[f32]) -> Result<Vec<f32>> {
        self.logits_of(hidden, &self.head)
    }

    fn draft(
        &self,
        segments: &mut [DraftSegment<'_, DeviceCache>],
        observer: &mut dyn Observer,
    ) -> Result<Vec<f32>> {
        let _pass = self.pass.lock().unwrap_or_else(PoisonError::into_inner);
        let mtp = self.mtp.as_ref().ok_or(InputError::NoMtp)?;
        for segment in segments.iter() {
            self.draft_pool.check(segment.cache, "new_draft_cache")?;
            // Row 0 embeds the token at position 1.
            let position = segment.cache.tokens() + 1;
            self.model.check_tokens(segment.tokens, position)?;
            self.model.check_length(position + segment.tokens.len())?;
            self.model.check_states(segment.hidden, segment.tokens.len())?;
        }
        let states = self.module(mtp, segments, observer);
        for segment in segments {
            segment.cache.settle(segment.tokens.len(), &states);
        }
        states
    }

    fn draft_logits(&self, hidden: &[f32]) -> Result<Vec<f32>> {
        match &self.mtp {
            Some(mtp) => self.logits_of(hidden, mtp.head.as_ref().unwrap_or(&self.head)),
            None => Ok(Vec::new()),
        }
    }
}

impl DeviceNetwork {
    /// Tokens that were checked, through all blocks.
    fn trunk(
        &self,
        segments: &mut [Segment<'_, DeviceCache>],
        observer: &mut dyn Observer,
    ) -> Result<Vec<f32>> {
        for segment in segments.iter_mut() {
            segment.cache.reserve(segment.cache.tokens() + segment.tokens.len())?;
        }
        let members: Vec<Member<'_>> = segments
            .iter()
            .map(|segment| {
                let Segment { tokens, form, cache } = segment;
                Member { tokens, position: cache.tokens(), known: cache.tokens(), form: *form, cache }
            })
            .collect();
        let batch = Batch::new(self.stream(), &members)?;
        let mut stream = self.operations.embedding(&self.embedding, self.hidden(), &batch.tokens)?;
        let mut addend = None;
        for (layer, block) in self.blocks.iter().enumerate() {
            let around = Surroundings { batch: &batch, pool: &self.pool, layer, rotations: &self.rotations };
            addend = Some(self.block(block, layer, &mut stream, addend, around, observer)?);
        }
        let states = self.norm(&mut stream, addend, &self.norm, false)?;
        if observer.is_interested() {
            let rows = batch.in_order(&self.host_rows(&stream)?, self.hidden());
            observer.residual(self.blocks.len(), &rows);
        }
        self.finish(&states, &batch)
    }

    /// Rows that were checked, through the multi-token-prediction module.
    fn module(
        &self,
        mtp: &DeviceMtp,
        segments: &mut [DraftSegment<'_, DeviceCache>],
        observer: &mut dyn Observer,
    ) -> Result<Vec<f32>> {
        let hidden = self.hidden();
        for segment in segments.iter_mut() {
            segment.cache.reserve(segment.cache.tokens() + segment.tokens.len())?;
        }
        let members: Vec<Member<'_>> = segments
            .iter()
            .map(|segment| {
                let DraftSegment { tokens, form, cache, .. } = segment;
                Member { tokens, position: cache.tokens() + 1, known: cache.tokens(), form: *form, cache }
            })
            .collect();
        let batch = Batch::new(self.stream(), &members)?;
        // The batch has rows of the naive form first.
        let of_form = |form| segments.iter().filter(move |segment| segment.form == form);
        let ordered = of_form(Form::Naive).chain(of_form(Form::Absorbed));
        let states: Vec<bf16> =
            ordered.flat_map(|segment| segment.hidden).map(|value| bf16::from_f32(*value)).collect();
        let states = self.stream().upload(states.len(), &states)?;
        let table = mtp.embedding.as_ref().unwrap_or(&self.embedding);
        let embedded = self.operations.embedding(table, hidden, &batch.tokens)?;
        let mut stream = self.join(mtp, &embedded, &states, batch.rows)?;
        let around =
            Surroundings { batch: &batch, pool: &self.draft_pool, layer: 0, rotations: &self.rotations };
        let layer = self.blocks.len();
        let fed = self.block(&mtp.block, layer, &mut stream, None, around, observer)?;
        let states = self.norm(&mut stream, Some(fed), &mtp.head_norm, false)?;
        if observer.is_interested() {
            let rows = batch.in_order(&self.host_rows(&stream)?, hidden);
            observer.residual(layer + 1, &rows);
        }
        self.finish(&states, &batch)
    }

    /// `eh_proj * [enorm(embedded) ; hnorm(hidden)]`: all `[rows, hidden]`.
    fn join(
        &self,
        mtp: &DeviceMtp,
        embedded: &Buffer<bf16>,
        states: &Buffer<bf16>,
        rows: usize,
    ) -> Result<Buffer<bf16>> {
        let hidden = self.hidden();
        let shape = (rows, self.model.config().rms_norm_eps, false);
        let mut joined = self.operations.allocate(rows * 2 * hidden)?;
        let halves = [(embedded, &mtp.embedding_norm), (states, &mtp.hidden_norm)];
        for (half, (values, weight)) in halves.into_iter().enumerate() {
            let normed = self.operations.rms_norm(values.view(), hidden, None, weight, shape)?;
            let to = Destination { buffer: &mut joined, pitch: 2 * hidden, first: half * hidden };
            self.operations.copy_rows(normed.bf16.view(), hidden, to, (rows, hidden))?;
        }
        let mut joined = Activation { rows, width: 2 * hidden, bf16: joined, fp8: None };
        self.operations.linear(&mut joined, &mtp.eh_proj)
    }
}

impl DeviceBlock {
    fn upload(stream: &Stream, block: &Block) -> Result<Self> {
        Ok(Self {
            attention_norm: upload_vector(stream, &block.attention_norm)?,
            attention: Attention::upload(stream, &block.attention)?,
            feed_forward_norm: upload_vector(stream, &block.feed_forward_norm)?,
            feed_forward: DeviceFeedForward::upload(stream, &block.feed_forward)?,
        })
    }
}

fn upload_vector(stream: &Stream, values: &[f32]) -> Result<Buffer<f32>> {
    Ok(stream.upload(values.len(), values)?)
}

/// Embedding tables and heads.
fn upload_table(stream: &Stream, table: &Matrix) -> Result<Buffer<bf16>> {
    let values = to_bf16(table);
    Ok(stream.upload(values.len(), &values)?)
}

/// The table, unless it is the trunk's or a copy of it.
fn own_copy(stream: &Stream, table: &Matrix, trunk: &Matrix) -> Result<Option<Buffer<bf16>>> {
    let values = to_bf16(table);
    if values == to_bf16(trunk) {
        return Ok(None);
    }
    Ok(Some(stream.upload(values.len(), &values)?))
}

/// Bytes that the weights will take.
fn weight_bytes(model: &Model) -> usize {
    let table = |matrix: &Matrix| 2 * matrix.rows() * matrix.columns();
    let block = |block: &Block| -> usize {
        let mla = &block.attention;
        let query = match &mla.query {
            crate::reference::mla::QueryProjection::Direct(weight) => Linear::bytes(weight),
            crate::reference::mla::QueryProjection::LowRank { down, up, .. } => {
                Linear::bytes(down) + Linear::bytes(up)
            }
        };
        let mlp = |mlp: &crate::reference::moe::Mlp| {
            Linear::bytes(&mlp.gate_proj) + Linear::bytes(&mlp.up_proj) + Linear::bytes(&mlp.down_proj)
        };
        let fed = match &block.feed_forward {
            FeedForward::Dense(dense) => mlp(dense),
            FeedForward::Moe(moe) => {
                moe.experts.iter().map(mlp).sum::<usize>()
                    + moe.shared.as_ref().map_or(0, mlp)
                    + 4 * moe.router.rows() * moe.router.columns()
            }
        };
        query
            + Linear::bytes(&mla.kv_a_proj)
            + Linear::bytes(&mla.kv_b_proj)
            + table(&mla.kv_b_proj)
            + Linear::bytes(&mla.o_proj)
            + fed
    };
    let mtp = model.mtp.as_ref().map_or(0, |mtp| {
        block(&mtp.block) + Linear::bytes(&mtp.eh_proj) + table(&mtp.embedding) + table(&mtp.head)
    });
    table(&model.embedding) + table(&model.head) + model.blocks.iter().map(block).sum::<usize>() + mtp
}

/// # Errors
/// [`Error::DeviceMemory`] if weights and cache do not fit.
fn check_memory(device: &Device, weights: usize, cache: usize) -> Result<()> {
    let free = device.memory_info()?.free as usize;
    if weights.saturating_add(cache) > free {
        return Err(Error::DeviceMemory { weights, cache, free });
    }
    Ok(())
}
