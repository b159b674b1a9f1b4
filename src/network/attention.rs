//! Multi-head latent attention of a batch, in its two forms; reads like `reference::mla`.

use super::batch::{Absorbed, Batch, Naive};
use super::cache::Pool;
use super::operations::{Activation, Destination, Operations, plain};
use super::weights::{Linear, to_bf16};
use crate::driver::{Buffer, Stream};
use crate::error::Result;
use crate::num::bf16;
use crate::ops::product::{Addresses, Operands};
use crate::reference::mla::{HeadSpec, Mla, QueryProjection};
use rorqual_kernels::attention::RecordFormat;
use rorqual_kernels::attention::append::{CacheAppend, CacheAppendArguments, CacheAppendSpec};
use rorqual_kernels::attention::combine::{MlaCombine, MlaCombineArguments, MlaCombineSpec};
use rorqual_kernels::attention::decode::{MlaDecode, MlaDecodeArguments, MlaDecodeSpec};
use rorqual_kernels::attention::gather::{CacheGather, CacheGatherArguments, CacheGatherSpec};
use rorqual_kernels::attention::prefill::{MlaPrefill, MlaPrefillArguments, MlaPrefillSpec};
use rorqual_kernels::catalog::KEY_CHUNK;
use rorqual_kernels::gemm::{GemmSpec, Grouping, Order, Slices};
use rorqual_kernels::rope::{Pairing, Rope, RopeArguments, RopeSpec};

/// Transformers and DeepSeek's code ignore `rms_norm_eps` here.
const LATENT_NORM_EPSILON: f32 = 1e-6;

/// The query projection.
#[derive(Debug)]
enum Query {
    Direct(Linear),
    LowRank(Box<LowRank>),
}

/// `up * norm(down * x)`.
#[derive(Debug)]
struct LowRank {
    down: Linear,
    norm: Buffer<f32>,
    up: Linear,
}

/// One attention layer on the device.
#[derive(Debug)]
pub(super) struct Attention {
    spec: HeadSpec,
    query: Query,
    kv_a_proj: Linear,
    kv_a_norm: Buffer<f32>,
    kv_b_proj: Linear,
    /// `kv_b_proj` in bf16, for the absorbed form: `[heads, nope + value, latent]`.
    kv_b_bf16: Option<Buffer<bf16>>,
    o_proj: Linear,
}

/// What attention needs beside weights and rows.
#[derive(Clone, Copy)]
pub(super) struct Surroundings<'a> {
    /// The rows.
    pub batch: &'a Batch,
    /// The cache.
    pub pool: &'a Pool,
    /// The layer of the cache.
    pub layer: usize,
    /// Cosine and sine, `[positions, rope / 2, 2]`.
    pub rotations: &'a Buffer<f32>,
}

impl Attention {
    /// Brings a layer to the device.
    pub fn upload(stream: &Stream, mla: &Mla) -> Result<Self> {
        let vector = |values: &[f32]| stream.upload(values.len(), values);
        let query = match &mla.query {
            QueryProjection::Direct(weight) => Query::Direct(Linear::upload(stream, weight)?),
            QueryProjection::LowRank { down, norm, up } => Query::LowRank(Box::new(LowRank {
                down: Linear::upload(stream, down)?,
                norm: vector(norm)?,
                up: Linear::upload(stream, up)?,
            })),
        };
        let kv_b_proj = Linear::upload(stream, &mla.kv_b_proj)?;
        let kv_b_bf16 = if kv_b_proj.is_fp8() {
            let values = to_bf16(&mla.kv_b_proj);
            Some(stream.upload(values.len(), &values)?)
        } else {
            None
        };
        Ok(Self {
            spec: mla.spec,
            query,
            kv_a_proj: Linear::upload(stream, &mla.kv_a_proj)?,
            kv_a_norm: vector(&mla.kv_a_norm)?,
            kv_b_proj,
            kv_b_bf16,
            o_proj: Linear::upload(stream, &mla.o_proj)?,
        })
    }

    /// Whether a product of its input is an FP8 one.
    pub fn takes_fp8(&self) -> bool {
        let query = match &self.query {
            Query::Direct(weight) => weight,
            Query::LowRank(low) => &low.down,
        };
        query.is_fp8() || self.kv_a_proj.is_fp8()
    }

    /// Attention of a batch of normalised rows `x` `[rows, hidden]`, whose records go to the cache: `[rows, hidden]`.
    pub fn forward(
        &self,
        operations: &Operations,
        x: &mut Activation,
        around: Surroundings<'_>,
    ) -> Result<Buffer<bf16>> {
        let queries = self.queries(operations, x, around)?;
        self.append(operations, x, around)?;
        let spec = &self.spec;
        let width = spec.heads * spec.value;
        let mut heads_out = operations.allocate(x.rows * width)?;
        if let Some(naive) = &around.batch.naive {
            self.attend_naive(operations, &queries, naive, around, &mut heads_out)?;
        }
        if let Some(absorbed) = &around.batch.absorbed {
            self.attend_absorbed(operations, &queries, absorbed, around, &mut heads_out)?;
        }
        let mut heads_out = Activation { rows: x.rows, width, bf16: heads_out, fp8: None };
        operations.linear(&mut heads_out, &self.o_proj)
    }

    /// Queries `[rows, heads, nope + rope]`, rotated.
    fn queries(
        &self,
        operations: &Operations,
        x: &mut Activation,
        around: Surroundings<'_>,
    ) -> Result<Buffer<bf16>> {
        let mut queries = match &self.query {
            Query::Direct(weight) => operations.linear(x, weight)?,
            Query::LowRank(low_rank) => {
                let LowRank { down, norm, up } = &**low_rank;
                let low = operations.linear(x, down)?;
                let shape = (x.rows, LATENT_NORM_EPSILON, up.is_fp8());
                let mut low = operations.rms_norm(low.view(), down.n, None, norm, shape)?;
                operations.linear(&mut low, up)?
            }
        };
        let spec = &self.spec;
        let rope = RopeSpec {
            width: spec.rope as u32,
            heads: spec.heads as u32,
            head_pitch: spec.query() as u32,
            token_pitch: (spec.heads * spec.query()) as u32,
            offset: spec.nope as u32,
            pairing: Pairing::Interleaved,
        };
        let mut error = operations.error();
        let arguments = RopeArguments {
            x: queries.address(),
            table: around.rotations.address(),
            positions: around.batch.positions.address(),
            error: error.address(),
            tokens: x.rows as u32,
            position_count: self.positions(around),
        };
        let uses =
            [queries.writes(), around.rotations.reads(), around.batch.positions.reads(), error.writes()];
        operations.executor.launch::<Rope>(&rope, &arguments, &uses)?;
        Ok(queries)
    }

    /// Positions of the rotation table.
    fn positions(&self, around: Surroundings<'_>) -> u32 {
        (around.rotations.len() / self.spec.rope.max(1)) as u32
    }

    /// Writes the records of the rows: the latent, normalised, and the shared key, rotated.
    fn append(&self, operations: &Operations, x: &mut Activation, around: Surroundings<'_>) -> Result<()> {
        let (latent, rope) = (self.spec.latent, self.spec.rope);
        let projected = operations.linear(x, &self.kv_a_proj)?;
        let shape = (x.rows, LATENT_NORM_EPSILON, false);
        let latents = operations.rms_norm(projected.view(), latent + rope, None, &self.kv_a_norm, shape)?;
        let spec = CacheAppendSpec {
            latent: latent as u32,
            rope: rope as u32,
            latent_pitch: latent as u32,
            key_pitch: (latent + rope) as u32,
            record: RecordFormat::Bf16,
        };
        let mut pool = around.pool.layer(around.layer);
        let mut error = operations.error();
        let batch = around.batch;
        let arguments = CacheAppendArguments {
            latents: latents.bf16.address(),
            keys: projected.address() + 2 * latent as u64,
            table: around.rotations.address(),
            positions: batch.positions.address(),
            slots: batch.slots.address(),
            pool: pool.address(),
            error: error.address(),
            tokens: x.rows as u32,
            position_count: self.positions(around),
            slot_count: (around.pool.pages() * around.pool.page_size()) as u32,
        };
        let uses = [
            latents.bf16.reads(),
            projected.reads(),
            around.rotations.reads(),
            batch.positions.reads(),
            batch.slots.reads(),
            pool.writes(),
            error.writes(),
        ];
        operations.executor.launch::<CacheAppend>(&spec, &arguments, &uses)
    }

    /// The first rows of `queries` over expanded keys and values, into the first rows of `out` `[rows, heads, value]`.
    fn attend_naive(
        &self,
        operations: &Operations,
        queries: &Buffer<bf16>,
        naive: &Naive,
        around: Surroundings<'_>,
        out: &mut Buffer<bf16>,
    ) -> Result<()> {
        let spec = &self.spec;
        let mut latents = operations.allocate(naive.keys * spec.latent)?;
        let mut shared_keys = operations.allocate(naive.keys * spec.rope)?;
        self.gather(operations, naive, around, &mut latents, &mut shared_keys)?;
        let mut latents = Activation { rows: naive.keys, width: spec.latent, bf16: latents, fp8: None };
        let expanded = operations.linear(&mut latents, &self.kv_b_proj)?;
        let prefill = MlaPrefillSpec {
            heads: spec.heads as u32,
            nope: spec.nope as u32,
            rope: spec.rope as u32,
            value: spec.value as u32,
            lse: false,
        };
        let mut error = operations.error();
        let arguments = MlaPrefillArguments {
            queries: queries.address(),
            expanded: expanded.address(),
            shared_keys: shared_keys.address(),
            query_offsets: naive.query_offsets.address(),
            key_offsets: naive.key_offsets.address(),
            output: out.address(),
            lse: 0,
            error: error.address(),
            tokens: naive.rows as u32,
            keys: naive.keys as u32,
            sequences: naive.sequences as u32,
            longest: naive.longest_query as u32,
            softmax_scale: spec.softmax_scale,
        };
        let uses = [
            queries.reads(),
            expanded.reads(),
            shared_keys.reads(),
            naive.query_offsets.reads(),
            naive.key_offsets.reads(),
            out.writes(),
            error.writes(),
        ];
        operations.executor.launch::<MlaPrefill>(&prefill, &arguments, &uses)
    }

    /// The records of the sequences in the naive form, as rows.
    fn gather(
        &self,
        operations: &Operations,
        naive: &Naive,
        around: Surroundings<'_>,
        latents: &mut Buffer<bf16>,
        shared_keys: &mut Buffer<bf16>,
    ) -> Result<()> {
        let pool = around.pool.layer(around.layer);
        let spec = CacheGatherSpec {
            latent: self.spec.latent as u32,
            rope: self.spec.rope as u32,
            page_size: around.pool.page_size() as u32,
            record: RecordFormat::Bf16,
        };
        let mut error = operations.error();
        let arguments = CacheGatherArguments {
            pool: pool.address(),
            block_table: naive.block_table.address(),
            key_offsets: naive.key_offsets.address(),
            latents: latents.address(),
            shared_keys: shared_keys.address(),
            error: error.address(),
            pages: around.pool.pages() as u32,
            sequences: naive.sequences as u32,
            max_pages: naive.max_pages as u32,
            keys: naive.keys as u32,
            longest: naive.longest_key as u32,
        };
        let uses = [
            pool.reads(),
            naive.block_table.reads(),
            naive.key_offsets.reads(),
            latents.writes(),
            shared_keys.writes(),
            error.writes(),
        ];
        operations.executor.launch::<CacheGather>(&spec, &arguments, &uses)
    }

    /// The last rows of `queries` in latent space, into the last rows of `out` `[rows, heads, value]`.
    fn attend_absorbed(
        &self,
        operations: &Operations,
        queries: &Buffer<bf16>,
        absorbed: &Absorbed,
        around: Surroundings<'_>,
        out: &mut Buffer<bf16>,
    ) -> Result<()> {
        let spec = &self.spec;
        let first = around.batch.rows - absorbed.rows;
        let latent_queries = self.absorb(operations, queries, first, absorbed.rows)?;
        let latent_out = self.decode(operations, &latent_queries, absorbed, around)?;
        let rows_of_a_head = spec.nope + spec.value;
        let expand = GemmSpec {
            grouping: Grouping::Batched {
                batches: spec.heads as u32,
                a: slices(0, spec.latent),
                b: slices(spec.nope * spec.latent, rows_of_a_head * spec.latent),
                d: slices(0, spec.value),
            },
            a_pitch: (spec.heads * spec.latent) as u32,
            d_pitch: (spec.heads * spec.value) as u32,
            ..GemmSpec::new(spec.value as u32, spec.latent as u32)
        };
        let to = Destination { buffer: out, pitch: 0, first: first * spec.heads * spec.value };
        self.per_head(operations, &expand, &latent_out, 0, to, absorbed.rows)
    }

    /// Each head's query as it meets a record, `[q_nope W_UK | q_pe]`: `[rows, heads, latent + rope]`.
    fn absorb(
        &self,
        operations: &Operations,
        queries: &Buffer<bf16>,
        first: usize,
        rows: usize,
    ) -> Result<Buffer<bf16>> {
        let spec = &self.spec;
        let (query, record) = (spec.query(), spec.cache_row());
        let mut absorbed = operations.allocate(rows * spec.heads * record)?;
        let gemm = GemmSpec {
            grouping: Grouping::Batched {
                batches: spec.heads as u32,
                a: slices(0, query),
                b: slices(0, (spec.nope + spec.value) * spec.latent),
                d: slices(0, record),
            },
            b_order: Order::InputMajor,
            a_pitch: (spec.heads * query) as u32,
            b_pitch: spec.latent as u32,
            d_pitch: (spec.heads * record) as u32,
            ..GemmSpec::new(spec.latent as u32, spec.nope as u32)
        };
        let first = first * spec.heads * query;
        let to = Destination { buffer: &mut absorbed, pitch: 0, first: 0 };
        self.per_head(operations, &gemm, queries, first, to, rows)?;
        let rotated = queries.slice(first + spec.nope, queries.len() - first - spec.nope)?;
        let to = Destination { buffer: &mut absorbed, pitch: record, first: spec.latent };
        operations.copy_rows(rotated, query, to, (rows * spec.heads, spec.rope))?;
        Ok(absorbed)
    }

    /// A product of every head with its part of `kv_b_proj`, from element `first` of `a` on.
    fn per_head(
        &self,
        operations: &Operations,
        gemm: &GemmSpec,
        a: &Buffer<bf16>,
        first: usize,
        to: Destination<'_>,
        rows: usize,
    ) -> Result<()> {
        let weight = match (&self.kv_b_bf16, &self.kv_b_proj.stored) {
            (Some(weight), _) | (None, super::weights::Stored::Bf16(weight)) => weight,
            (None, super::weights::Stored::Fp8 { .. }) => return Err(crate::error::Error::MixedWeights),
        };
        let mut error = operations.error();
        let operands = Operands {
            a: Addresses { elements: a.address() + 2 * first as u64, scales: 0 },
            b: plain(weight),
            d: to.buffer.address() + 2 * to.first as u64,
            groups: 0,
            error: error.address(),
            rows: rows as u32,
        };
        let uses = [a.reads(), weight.reads(), to.buffer.writes(), error.writes()];
        operations.multiply::<bf16>(gemm, &operands, &uses)
    }

    /// Weighted sums of latents, `[rows, heads, latent]`.
    fn decode(
        &self,
        operations: &Operations,
        queries: &Buffer<bf16>,
        absorbed: &Absorbed,
        around: Surroundings<'_>,
    ) -> Result<Buffer<bf16>> {
        let (heads, latent) = (self.spec.heads, self.spec.latent);
        let splits = absorbed.longest_key.div_ceil(KEY_CHUNK as usize);
        let stretches = absorbed.rows * splits * heads;
        let mut outputs: Buffer<f32> = operations.allocate(stretches * latent)?;
        let mut maxima: Buffer<f32> = operations.allocate(stretches)?;
        let mut sums: Buffer<f32> = operations.allocate(stretches)?;
        {
            let pool = around.pool.layer(around.layer);
            let spec = MlaDecodeSpec {
                heads: heads as u32,
                latent: latent as u32,
                rope: self.spec.rope as u32,
                page_size: around.pool.page_size() as u32,
                record: RecordFormat::Bf16,
                chunk: KEY_CHUNK,
            };
            let mut error = operations.error();
            let arguments = MlaDecodeArguments {
                queries: queries.address(),
                pool: pool.address(),
                block_table: absorbed.block_table.address(),
                lengths: absorbed.lengths.address(),
                sequence_of: absorbed.sequence_of.address(),
                partial_outputs: outputs.address(),
                partial_maxima: maxima.address(),
                partial_sums: sums.address(),
                error: error.address(),
                tokens: absorbed.rows as u32,
                splits: splits as u32,
                pages: around.pool.pages() as u32,
                sequences: absorbed.sequences as u32,
                max_pages: absorbed.max_pages as u32,
                softmax_scale: self.spec.softmax_scale,
            };
            let uses = [
                queries.reads(),
                pool.reads(),
                absorbed.block_table.reads(),
                absorbed.lengths.reads(),
                absorbed.sequence_of.reads(),
                outputs.writes(),
                maxima.writes(),
                sums.writes(),
                error.writes(),
            ];
            operations.executor.launch::<MlaDecode>(&spec, &arguments, &uses)?;
        }
        let mut out = operations.allocate(absorbed.rows * heads * latent)?;
        let mut lse: Buffer<f32> = operations.allocate(absorbed.rows * heads)?;
        let spec = MlaCombineSpec { heads: heads as u32, latent: latent as u32, chunk: KEY_CHUNK };
        let arguments = MlaCombineArguments {
            partial_outputs: outputs.address(),
            partial_maxima: maxima.address(),
            partial_sums: sums.address(),
            lengths: absorbed.lengths.address(),
            output: out.address(),
            lse: lse.address(),
            tokens: absorbed.rows as u32,
            splits: splits as u32,
        };
        let uses = [
            outputs.reads(),
            maxima.reads(),
            sums.reads(),
            absorbed.lengths.reads(),
            out.writes(),
            lse.writes(),
        ];
        operations.executor.launch::<MlaCombine>(&spec, &arguments, &uses)?;
        Ok(out)
    }
}

fn slices(first: usize, stride: usize) -> Slices {
    Slices { first: first as u32, stride: stride as u32 }
}
