//! Attention in latent space of few queries over the paged cache: the absorbed form, in stretches of a sequence.
//!
//! ```text
//! s_j = scale * q . [latent_j | key_j]                 j < length of the query token
//! m   = max s_j
//! sum = sum_j exp(s_j - m)                             f32, not rounded
//! out = sum_j bf16(exp(s_j - m)) * latent_j            f32
//! ```
//!
//! A CTA takes a query token, a group of its heads as the rows of mma.sync, and a stretch of `chunk` keys; it leaves
//! `m`, `sum` and `out` of the stretch, which [`combine`](super::combine) merges. The stretches are those of the `Spec`
//! and not of the batch.
//!
//! For each block of 64 keys:
//! 1. All threads fetch the records: a bf16 record by cp.async, of an FP8 record the latent by way of registers, where
//!    it becomes bf16. With room for two tiles the next block is fetched while this one is worked on.
//! 2. A warp scores 16 of the keys for its rows and notes their maxima; the CTA meets; each warp has the maximum of
//!    every row, rounds its weights and notes them; the CTA meets.
//! 3. A warp adds its columns of the weighted sum for all rows.
//!
//! Keys behind the end and keys without a page are rows of zeros in the tile, with no weight: what lies in memory there
//! cannot matter. A row's maximum is at least the least finite f32 once it has seen a key, and -inf before, which tells
//! "no key" from "scores of -inf": the latter divide by a sum of zero and give NaN, as the softmax does.
//!
//! Sources: DeepSeek-V2 report, section 2.1.2; Milakov and Gimelshein, Online normalizer calculation for softmax
//! (2018). Oracle: the reference's `latent_attention`, from which the maximum of a prefix differs by rounding only.

use super::combine::growth;
use super::gather::{dequantize, scale_of};
use super::record::{Located, Pages, RecordFormat};
use super::tile::{Tile, tile_bytes};
use super::{KEY_BLOCK, LOG2_E};
use crate::Family;
use crate::device_error::{PAGE, SEQUENCE};
use crate::rows::target_name;
use crate::rule::{Rule, multiple, positive, require, within};
use rorqual_codegen::contract::{Extent, In, InOut, Out};
use rorqual_codegen::element::Bf16;
use rorqual_codegen::format::Format;
use rorqual_codegen::mma::mma_sync::BF16;
use rorqual_codegen::warp::reduce_lanes;
use rorqual_codegen::{
    Builder, GenerateError, Header, Kernel, Pointer, Predicate, Shared, Value, Variable, generate,
};
use rorqual_ptx::target::Target;

/// Rows of a product.
const ROWS: u32 = 16;
/// Warps that share out the keys of a block, 16 each.
const KEY_WARPS: u32 = KEY_BLOCK / 16;

/// What a decode is specialised to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct MlaDecodeSpec {
    /// Heads.
    pub heads: u32,
    /// Elements of a latent; a multiple of 16.
    pub latent: u32,
    /// Elements of the shared key; a multiple of 16.
    pub rope: u32,
    /// Records of a page.
    pub page_size: u32,
    /// The format of the records.
    pub record: RecordFormat,
    /// Keys of a stretch; a multiple of 64.
    pub chunk: u32,
}

rorqual_codegen::arguments! {
    /// Arguments of [`MlaDecode`].
    pub struct MlaDecodeArguments, MlaDecodeParameters {
        /// Absorbed queries, rotated: `[tokens, heads, latent + rope]`.
        queries: In<Bf16>,
        /// The pool, `[pages, page_size]` records.
        pool: In<u8>,
        /// Page numbers, `[sequences, max_pages]`.
        block_table: In<u32>,
        /// How many keys each token sees, `[tokens]`.
        lengths: In<u32>,
        /// The sequence of each token, `[tokens]`.
        sequence_of: In<u32>,
        /// Weighted sums of latents, `[tokens, splits, heads, latent]`, of the stretches that a token has.
        partial_outputs: Out<f32>,
        /// Largest scores, `[tokens, splits, heads]`.
        partial_maxima: Out<f32>,
        /// Sums of the weights, `[tokens, splits, heads]`.
        partial_sums: Out<f32>,
        /// One word, to which [`PAGE`] and [`SEQUENCE`] are raised.
        error: InOut<u32>,
        /// Query tokens.
        tokens: u32,
        /// Stretches of the longest sequence, or more; at most 65535. What a token sees behind them is left out and
        /// raises [`SEQUENCE`].
        splits: u32,
        /// Pages of the pool.
        pages: u32,
        /// Rows of the block table.
        sequences: u32,
        /// Pages of a row of the block table.
        max_pages: u32,
        /// Multiplies the scores.
        softmax_scale: f32,
    }
}

/// Attention in latent space; see the [module](self).
#[derive(Debug)]
pub struct MlaDecode;

impl Family for MlaDecode {
    const NAME: &'static str = "mla_decode";
    type Spec = MlaDecodeSpec;
    type Arguments = MlaDecodeArguments;

    const RULES: &[Rule<MlaDecodeSpec>] = &[
        Rule::new("latent", |spec| multiple("latent", spec.latent, 16, 1024)),
        Rule::new("rope", |spec| multiple("rope", spec.rope, 16, 1024)),
        Rule::new("record", |spec| spec.record.check(spec.latent, spec.rope)),
        Rule::new("latent + rope", |spec| {
            let MlaDecodeSpec { latent, rope, .. } = *spec;
            require(latent + rope <= 608, || {
                format!("`latent + rope` is {latent} + {rope}, expected at most 608")
            })
        }),
        Rule::new("heads", |spec| within("heads", spec.heads, 1..=65535)),
        Rule::new("page_size", |spec| positive("page_size", spec.page_size)),
        Rule::new("chunk", |spec| multiple("chunk", spec.chunk, KEY_BLOCK, 1 << 16)),
    ];

    fn emit(spec: &MlaDecodeSpec, target: Target) -> Result<Kernel, GenerateError> {
        let plan = Plan::new(spec, target);
        let header = Header::new(name(spec, target), spec, target, plan.warps() * 32);
        let groups = spec.heads.div_ceil(plan.rows());
        let grid = header.grid(Extent::argument("tokens"), Extent::argument("splits"), groups);
        generate::<MlaDecodeArguments>(grid, |builder, arguments| {
            Attention::new(builder, *spec, plan, arguments).run();
        })
    }
}

fn name(spec: &MlaDecodeSpec, target: Target) -> String {
    let MlaDecodeSpec { heads, latent, rope, page_size, record, chunk } = *spec;
    let (record, target) = (record.name(), target_name(target));
    format!("mla_decode_{record}_h{heads}_l{latent}_r{rope}_page{page_size}_c{chunk}_{target}")
}

/// How much a CTA takes. No result depends on it.
#[derive(Clone, Copy)]
struct Plan {
    /// Groups of 16 heads: 1, 2 or 4.
    row_tiles: u32,
    /// Tiles of keys: one to work on, and one to fetch to.
    stages: u32,
}

impl Plan {
    /// As many heads as there are and fit, so that a tile of keys serves many; then two stages if they fit and there is
    /// a second tile to fetch.
    fn new(spec: &MlaDecodeSpec, target: Target) -> Self {
        let room = target.shared_bytes().unwrap_or(0);
        let plans =
            [4, 2, 1].into_iter().flat_map(|row_tiles| [2, 1].map(|stages| Self { row_tiles, stages }));
        let suits = |plan: &Self| {
            (plan.row_tiles == 1 || plan.rows() / 2 < spec.heads)
                && (plan.stages == 1 || spec.chunk > KEY_BLOCK)
                && plan.shared_bytes(spec) <= room
        };
        plans.into_iter().find(suits).unwrap_or(Self { row_tiles: 1, stages: 1 })
    }

    const fn rows(self) -> u32 {
        ROWS * self.row_tiles
    }

    /// Warps that share out the rows in scoring.
    const fn row_warps(self) -> u32 {
        if self.row_tiles == 1 { 1 } else { 2 }
    }

    const fn warps(self) -> u32 {
        KEY_WARPS * self.row_warps()
    }

    const fn shared_bytes(self, spec: &MlaDecodeSpec) -> u32 {
        let width = spec.latent + spec.rope;
        let tiles =
            tile_bytes(self.rows() + self.stages * KEY_BLOCK, width) + tile_bytes(self.rows(), KEY_BLOCK);
        tiles + 4 * self.stages * KEY_BLOCK + 4 * KEY_WARPS * self.rows()
    }
}

/// The state of a thread that attends.
struct Attention<'k> {
    builder: &'k Builder,
    spec: MlaDecodeSpec,
    plan: Plan,
    arguments: MlaDecodeParameters<'k>,
    /// `[rows, latent + rope]`
    queries: Tile<'k>,
    /// `[stages * 64, latent + rope]`
    keys: Tile<'k>,
    /// `[rows, 64]`
    weights: Tile<'k>,
    /// Which keys there are, `[stages, 64]`.
    present: Pointer<'k, Shared, u32>,
    /// Maxima, and at last sums, of a warp's keys: `[KEY_WARPS, rows]`.
    exchange: Pointer<'k, Shared, f32>,
    token: Value<'k, u32>,
    split: Value<'k, u32>,
    first_head: Value<'k, u32>,
    /// The warp's share of the keys and of the rows in scoring.
    key_warp: Value<'k, u32>,
    row_warp: Value<'k, u32>,
    /// The lane's row, and pair of columns, in a product.
    group: Value<'k, u32>,
    member: Value<'k, u32>,
}

/// What a thread carries from block to block.
struct Running<'k> {
    /// Of rows `group + 8 * half` of each row tile: `[row tile][half]`.
    maxima: Vec<[Variable<'k, f32>; 2]>,
    /// Of the row tiles and the keys that the thread scores.
    sums: Vec<[Variable<'k, f32>; 2]>,
    /// `[pair of column tiles][row tile][column tile]`
    outputs: Vec<Vec<[[Variable<'k, f32>; 4]; 2]>>,
}

impl<'k> Attention<'k> {
    fn new(
        builder: &'k Builder,
        spec: MlaDecodeSpec,
        plan: Plan,
        arguments: MlaDecodeParameters<'k>,
    ) -> Self {
        let width = spec.latent + spec.rope;
        let lane = builder.lane();
        Self {
            builder,
            spec,
            plan,
            arguments,
            queries: Tile::reserve(builder, plan.rows(), width),
            keys: Tile::reserve(builder, plan.stages * KEY_BLOCK, width),
            weights: Tile::reserve(builder, plan.rows(), KEY_BLOCK),
            present: builder.shared(plan.stages * KEY_BLOCK, 16),
            exchange: builder.shared(KEY_WARPS * plan.rows(), 16),
            token: builder.cta(0),
            split: builder.cta(1),
            first_head: builder.cta(2) * plan.rows(),
            key_warp: builder.warp() % KEY_WARPS,
            row_warp: builder.warp() / KEY_WARPS,
            group: lane / 4,
            member: lane % 4,
        }
    }

    fn run(&self) {
        let Self { builder, spec, plan, arguments, .. } = self;
        let length = arguments.lengths.at(self.token).load();
        let sequence = arguments.sequence_of.at(self.token).load();
        let known_sequence = sequence.less(arguments.sequences);
        let served = arguments.splits * spec.chunk;
        let first_thread = builder.thread().equals(0) & self.split.equals(0) & builder.cta(2).equals(0);
        let wrong = length.greater(served) | (length.greater(0) & !known_sequence);
        arguments.error.atomic_or_when(first_thread & wrong, SEQUENCE);
        let first = self.split * spec.chunk;
        // The whole CTA leaves: this stretch will not be asked for.
        builder.exit_when(first.at_least(length));
        let end = length.min(first + spec.chunk);

        let row = known_sequence.select(sequence, builder.constant(0));
        let pages = Pages {
            pool: arguments.pool,
            pages: arguments.pages,
            row: arguments.block_table.at(row.multiply_wide(arguments.max_pages)),
            max_pages: known_sequence.select(arguments.max_pages, builder.constant(0)),
            page_size: spec.page_size,
            record_bytes: spec.record.bytes(spec.latent, spec.rope),
        };

        let running = self.start();
        self.fetch_queries();
        let stage = builder.constant(0).variable();
        if plan.stages == 2 {
            self.fetch(&pages, first, end, stage.peek());
            builder.commit_copies();
        }
        builder.for_each(first, end, KEY_BLOCK, |block| {
            if plan.stages == 2 {
                self.fetch(&pages, block + KEY_BLOCK, end, stage.peek() ^ KEY_BLOCK);
            } else {
                self.fetch(&pages, block, end, stage.peek());
            }
            builder.commit_copies();
            builder.wait_copies(plan.stages - 1);
            builder.sync_threads();
            self.block(&running, stage.peek());
            if spec.chunk > KEY_BLOCK {
                // The next block takes the place of this one.
                builder.sync_threads();
            }
            if plan.stages == 2 {
                stage.set(stage.peek() ^ KEY_BLOCK);
            }
        });
        self.finish(&running);
    }

    fn start(&self) -> Running<'k> {
        let Self { builder, plan, .. } = self;
        let halves = |value: f32| [(); 2].map(|()| builder.constant(value).variable());
        let pairs = (self.spec.latent / 16).div_ceil(plan.warps());
        let outputs =
            |_| (0..plan.row_tiles).map(|_| [(); 2].map(|()| builder.zero_accumulators())).collect();
        Running {
            maxima: (0..plan.row_tiles).map(|_| halves(f32::NEG_INFINITY)).collect(),
            sums: (0..plan.row_tiles / plan.row_warps()).map(|_| halves(0.0)).collect(),
            outputs: (0..pairs).map(outputs).collect(),
        }
    }

    /// Fetches the queries of the CTA's heads; zeros behind the last one.
    fn fetch_queries(&self) {
        let Self { builder, spec, plan, .. } = self;
        let width = spec.latent + spec.rope;
        let threads_per_row = builder.threads() / plan.rows();
        let (row, member) = (builder.thread() / threads_per_row, builder.thread() % threads_per_row);
        let head = self.first_head + row;
        let here = head.less(spec.heads);
        let head = here.select(head, builder.constant(0));
        let from = self.arguments.queries.at(self.token.multiply_wide(spec.heads * width));
        let from = from.at(head * width);
        let to = self.queries.skip_rows(row);
        self.chunks(width / 8, member, threads_per_row, |chunk| {
            builder.copy_async_16_or_zero(here, to.at(0, 0).at(chunk * 8), from.at(chunk * 8));
        });
    }

    /// Runs `body` for a thread's share of the 16-byte chunks of a row.
    fn chunks(&self, count: u32, member: Value<'k, u32>, members: u32, body: impl Fn(Value<'k, u32>)) {
        for round in 0..count.div_ceil(members) {
            let chunk = member + round * members;
            let all = (round + 1) * members <= count;
            let inside = if all { self.builder.known(true) } else { chunk.less(count) };
            self.builder.when(inside, || body(chunk));
        }
    }

    /// Fetches the records of keys `block .. block + 64` below `end` to the rows from `stage` on.
    fn fetch(&self, pages: &Pages<'k>, block: Value<'k, u32>, end: Value<'k, u32>, stage: Value<'k, u32>) {
        let Self { builder, spec, .. } = self;
        let threads_per_key = builder.threads() / KEY_BLOCK;
        let (row, member) = (builder.thread() / threads_per_key, builder.thread() % threads_per_key);
        let key = block + row;
        let located = pages.locate(key, key.less(end));
        let leads = member.equals(0);
        self.arguments.error.atomic_or_when(located.lost & leads, PAGE);
        self.present.at(stage + row).store_when(leads, located.here.to_u32());
        let to = self.keys.skip_rows(stage + row).at(0, 0);
        let Located { here, record, .. } = located;
        match spec.record {
            RecordFormat::Bf16 => {
                self.chunks((spec.latent + spec.rope) / 8, member, threads_per_key, |chunk| {
                    builder.copy_async_16_or_zero(here, to.at(chunk * 8), record.bytes(chunk * 16));
                });
            }
            RecordFormat::Fp8(_) => {
                let keys = record.bytes(spec.record.key_offset_bytes(spec.latent));
                self.chunks(spec.rope / 8, member, threads_per_key, |chunk| {
                    let to = to.at(spec.latent).at(chunk * 8);
                    builder.copy_async_16_or_zero(here, to, keys.bytes(chunk * 16));
                });
                self.fetch_codes(record, here, to, member, threads_per_key);
            }
        }
    }

    /// Fetches codes, 16 of them at a time, and stores them as bf16; the loads of a few rounds are under way together.
    fn fetch_codes(
        &self,
        record: Pointer<'k, rorqual_codegen::Global, u8>,
        here: Predicate<'k>,
        to: Pointer<'k, Shared, Bf16>,
        member: Value<'k, u32>,
        members: u32,
    ) {
        const TOGETHER: u32 = 4;
        let latent = self.spec.latent;
        self.builder.for_each(member, latent / 16, members * TOGETHER, |first| {
            let chunks: Vec<Value<'k, u32>> = (0..TOGETHER).map(|round| first + round * members).collect();
            let loaded: Vec<_> = chunks
                .iter()
                .map(|chunk| {
                    let codes = record.bytes(*chunk * 16).load_words_or_zero(here, 4);
                    (codes, scale_of(record, latent, *chunk * 16, here))
                })
                .collect();
            for (chunk, (codes, scale)) in chunks.iter().zip(loaded) {
                let words = dequantize(&codes, scale);
                to.at(*chunk * 16).store_words(&words[..4]);
                to.at(*chunk * 16 + 8).store_words(&words[4..]);
            }
        });
    }

    /// Attends to the keys of a stage.
    fn block(&self, running: &Running<'k>, stage: Value<'k, u32>) {
        let Self { builder, plan, .. } = self;
        let (scores, here) = self.scores(stage);
        let own_tiles = plan.row_tiles / plan.row_warps();
        for (tile, scores) in scores.iter().enumerate() {
            for half in 0..2 {
                let least = builder.constant(f32::NEG_INFINITY);
                let seen = columns(half).map(|(column, register)| {
                    let score = scores[column][register].max(f32::MIN);
                    here[column][register % 2].select(score, least)
                });
                let largest = seen.into_iter().reduce(|a, b| a.max(b)).unwrap_or(least);
                let largest = reduce_lanes(largest, 4, |a, b| a.max(b));
                let row = self.own_row(tile as u32, half);
                self.exchange
                    .at(self.key_warp * plan.rows() + row)
                    .store_when(self.member.equals(0), largest);
            }
        }
        builder.sync_threads();

        let factors = self.raise_maxima(running);
        for (tile, scores) in scores.iter().enumerate() {
            for half in 0..2 {
                let own = |of: &[[Value<'k, f32>; 2]]| match plan.row_warps() {
                    1 => of[tile][half],
                    _ => self.row_warp.equals(0).select(of[tile][half], of[tile + own_tiles as usize][half]),
                };
                let maxima: Vec<[Value<'k, f32>; 2]> =
                    running.maxima.iter().map(|halves| halves.map(Variable::peek)).collect();
                let (largest, factor) = (own(&maxima), own(&factors));
                let weights = columns(half).map(|(column, register)| {
                    let weight = ((scores[column][register] - largest) * LOG2_E).exp2();
                    here[column][register % 2].select(weight, builder.constant(0.0))
                });
                let sum = running.sums[tile][half];
                let block_sum = (weights[0] + weights[1]) + (weights[2] + weights[3]);
                sum.set(sum.peek().fma(factor, block_sum));
                let row = self.weights.skip_rows(self.own_row(tile as u32, half)).at(0, 0);
                let row = row.at(self.key_warp * 16 + self.member * 2);
                row.store_words(&[Bf16::pack(&weights[..2])]);
                row.at(8).store_words(&[Bf16::pack(&weights[2..])]);
            }
        }
        for (tile, factors) in factors.iter().enumerate() {
            for outputs in running.outputs.iter().flat_map(|pair| &pair[tile]) {
                for (register, output) in outputs.iter().enumerate() {
                    output.set(output.peek() * factors[register / 2]);
                }
            }
        }
        builder.sync_threads();
        self.add_weighted(running, stage);
    }

    /// A row that the thread scores, counted from the CTA's first.
    fn own_row(&self, tile: u32, half: usize) -> Value<'k, u32> {
        let tiles = self.plan.row_tiles / self.plan.row_warps();
        (self.row_warp * tiles + tile) * ROWS + self.group + 8 * half as u32
    }

    /// The scaled scores of the warp's 16 keys for its row tiles, `[row tile][column tile][register]`, and which of the
    /// keys there are, `[column tile][column]`.
    #[expect(clippy::type_complexity, reason = "fragments of fragments")]
    fn scores(&self, stage: Value<'k, u32>) -> (Vec<[[Value<'k, f32>; 4]; 2]>, [[Predicate<'k>; 2]; 2]) {
        let Self { builder, spec, plan, .. } = self;
        let tiles = plan.row_tiles / plan.row_warps();
        let queries = self.queries.skip_rows(self.row_warp * (tiles * ROWS)).across();
        let key = stage + self.key_warp * 16;
        let keys = self.keys.skip_rows(key).along();
        let scores: Vec<_> = (0..tiles).map(|_| [(); 2].map(|()| builder.zero_accumulators())).collect();
        for column in (0..spec.latent + spec.rope).step_by(16) {
            let keys = keys.column_fragments(0, column);
            for (tile, scores) in scores.iter().enumerate() {
                let queries = queries.rows_fragment(tile as u32 * ROWS, column);
                for (scores, keys) in scores.iter().zip(&keys) {
                    BF16.multiply_add(scores, &queries, keys);
                }
            }
        }
        let scale = self.arguments.softmax_scale;
        let scaled =
            |scores: [[Variable<'k, f32>; 4]; 2]| scores.map(|tile| tile.map(|score| score.peek() * scale));
        let here = [0, 8].map(|column| {
            [0, 1].map(|next| self.present.at(key + self.member * 2).at(column + next).load().differs(0))
        });
        (scores.into_iter().map(scaled).collect(), here)
    }

    /// Takes the noted maxima into those of all rows; what older sums are to be multiplied with.
    fn raise_maxima(&self, running: &Running<'k>) -> Vec<[Value<'k, f32>; 2]> {
        let Self { plan, .. } = self;
        let raise = |tile: u32, half: u32, maximum: Variable<'k, f32>| {
            let row = self.exchange.at(self.group + (tile * ROWS + 8 * half));
            let old = maximum.get();
            let noted = (0..KEY_WARPS).map(|warp| row.at(warp * plan.rows()).load());
            let new = noted.fold(old, |a, b| a.max(b));
            maximum.set(new);
            growth(old, new)
        };
        let tiles = (0..).zip(&running.maxima);
        tiles.map(|(tile, halves)| [raise(tile, 0, halves[0]), raise(tile, 1, halves[1])]).collect()
    }

    /// Adds the weighted latents of a stage, the warp's columns of all rows.
    fn add_weighted(&self, running: &Running<'k>, stage: Value<'k, u32>) {
        let Self { builder, spec, plan, .. } = self;
        let weights = self.weights.across();
        let latents = self.keys.skip_rows(stage).across();
        let pairs = spec.latent / 16;
        let first_pair = self.builder.warp();
        let latents = latents.skip_columns(first_pair * 16);
        for step in (0..KEY_BLOCK).step_by(16) {
            let weights: Vec<_> =
                (0..plan.row_tiles).map(|tile| weights.rows_fragment(tile * ROWS, step)).collect();
            for (round, outputs) in (0..).zip(&running.outputs) {
                let all = (round + 1) * plan.warps() <= pairs;
                let first = round * plan.warps();
                let inside = if all { builder.known(true) } else { (first_pair + first).less(pairs) };
                builder.when(inside, || {
                    let latents = latents.transposed_fragments(step, first * 16);
                    for (weights, outputs) in weights.iter().zip(outputs) {
                        for (output, latents) in outputs.iter().zip(&latents) {
                            BF16.multiply_add(output, weights, latents);
                        }
                    }
                });
            }
        }
    }

    /// Stores what the stretch gave.
    fn finish(&self, running: &Running<'k>) {
        let Self { builder, spec, plan, arguments, .. } = self;
        for (tile, halves) in running.sums.iter().enumerate() {
            for (half, sum) in halves.iter().enumerate() {
                let sum = reduce_lanes(sum.peek(), 4, |a, b| a + b);
                let row = self.own_row(tile as u32, half);
                self.exchange.at(self.key_warp * plan.rows() + row).store_when(self.member.equals(0), sum);
            }
        }
        builder.sync_threads();
        let stretch = self.token.multiply_wide(arguments.splits) + self.split.to_u64();
        let first = stretch * u64::from(spec.heads);
        let pairs = spec.latent / 16;
        for tile in 0..plan.row_tiles {
            for half in 0..2 {
                let row = self.group + (tile * ROWS + 8 * half);
                let head = self.first_head + row;
                let inside = head.less(spec.heads);
                let place = first + head.to_u64();
                let (tile, half) = (tile as usize, half as usize);
                let leads = inside & builder.thread().less(32) & self.member.equals(0);
                let sums = (0..KEY_WARPS).map(|warp| self.exchange.at(row + warp * plan.rows()).load());
                let sum = sums.reduce(|a, b| a + b).unwrap_or_else(|| builder.constant(0.0));
                arguments.partial_sums.at(place).store_when(leads, sum);
                arguments.partial_maxima.at(place).store_when(leads, running.maxima[tile][half].peek());
                let outputs =
                    arguments.partial_outputs.at(place * u64::from(spec.latent)).at(self.member * 2);
                for (round, pair) in (0..).zip(&running.outputs) {
                    let pair_index = builder.warp() + round * plan.warps();
                    let inside = inside & pair_index.less(pairs);
                    for (column, output) in (0..).zip(&pair[tile]) {
                        let words = [0, 1].map(|next| output[2 * half + next].peek().bits());
                        outputs.at(pair_index * 16).at(column * 8_u32).store_words_when(inside, &words);
                    }
                }
            }
        }
    }
}

/// Column tile and register of the four elements of a row that a thread holds of two column tiles.
const fn columns(half: usize) -> [(usize, usize); 4] {
    [(0, 2 * half), (0, 2 * half + 1), (1, 2 * half), (1, 2 * half + 1)]
}
