//! Causal attention of many queries over expanded keys and values: the naive form.
//!
//! ```text
//! s_ij = scale * q_i . [k_j | shared_j]                j < keys - queries + i + 1
//! out_i = sum_j bf16(exp(s_ij - m_i)) * v_j / sum_j exp(s_ij - m_i)
//! lse_i = m_i + ln(sum_j exp(s_ij - m_i))
//! ```
//!
//! Sequences of any lengths lie one after another; the queries of a sequence are its last tokens, so that a prompt may
//! come in chunks. A CTA takes 64 queries of a head, a warp 16 of them, and walks over blocks of 64 keys; with room for
//! two blocks the next one is fetched by cp.async meanwhile. The maximum `m_i` is that of the keys so far, and what was
//! summed is multiplied when it grows (Dao, FlashAttention-2, 2023, section 3.1). The last queries, which see most, come
//! first in the grid.
//!
//! A query's weight for a key that it does not see is zero, and zero times NaN is NaN: where some queries of a warp see
//! a key and others do not, the values that are not finite are taken out of the product and then added, key by key, for
//! the queries that see them. The finite sums are those of the usual way, bit for bit.
//!
//! A sequence whose rows are not within the tensors, or with more queries than keys, raises [`SEQUENCE`]; its
//! results are not written.
//!
//! Oracle: a plain loop beside the cases that rounds as the reference's `naive` does.

use super::combine::{growth, logarithm};
use super::tile::{Tile, tile_bytes};
use super::{KEY_BLOCK, LOG2_E};
use crate::Family;
use crate::device_error::SEQUENCE;
use crate::rows::target_name;
use crate::rule::{Rule, multiple, require, within};
use rorqual_codegen::contract::{Extent, In, InOut, Out};
use rorqual_codegen::element::{B32, Bf16};
use rorqual_codegen::format::Format;
use rorqual_codegen::mma::mma_sync::BF16;
use rorqual_codegen::warp::reduce_lanes;
use rorqual_codegen::{
    Builder, GenerateError, Global, Header, Kernel, Pointer, Predicate, Value, Variable, generate,
};
use rorqual_ptx::target::Target;

/// Queries of a CTA.
const QUERIES: u32 = 64;
const THREADS: u32 = 128;
/// Threads that fetch a row.
const MEMBERS: u32 = THREADS / KEY_BLOCK;
/// Products along the keys of a block.
const STEPS: u32 = KEY_BLOCK / 16;

/// What a prefill is specialised to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct MlaPrefillSpec {
    /// Heads.
    pub heads: u32,
    /// Elements of a query that are not rotated; a multiple of 8.
    pub nope: u32,
    /// Elements of a query that are rotated; a multiple of 8.
    pub rope: u32,
    /// Elements of a value; a multiple of 8.
    pub value: u32,
    /// Whether `lse` is written.
    pub lse: bool,
}

rorqual_codegen::arguments! {
    /// Arguments of [`MlaPrefill`].
    pub struct MlaPrefillArguments, MlaPrefillParameters {
        /// `[tokens, heads, nope + rope]`, rotated.
        queries: In<Bf16>,
        /// Expanded latents, `[keys, heads, nope + value]`.
        expanded: In<Bf16>,
        /// `[keys, rope]`, rotated.
        shared_keys: In<Bf16>,
        /// The first query of each sequence, and the end of the last one: `[sequences + 1]`.
        query_offsets: In<u32>,
        /// The first key of each sequence, and the end of the last one: `[sequences + 1]`.
        key_offsets: In<u32>,
        /// `[tokens, heads, value]`
        output: Out<Bf16>,
        /// Natural logarithms of the sums of `exp(score)`, `[tokens, heads]`; not touched without `lse`.
        lse: Out<f32>,
        /// One word, to which [`SEQUENCE`] is raised.
        error: InOut<u32>,
        /// Rows of `queries`.
        tokens: u32,
        /// Rows of `expanded`.
        keys: u32,
        /// Sequences, at most 65535.
        sequences: u32,
        /// Queries of the longest sequence, or more; a sequence with more of them raises [`SEQUENCE`].
        longest: u32,
        /// Multiplies the scores.
        softmax_scale: f32,
    }
}

/// Causal attention over expanded keys and values; see the [module](self).
#[derive(Debug)]
pub struct MlaPrefill;

impl Family for MlaPrefill {
    const NAME: &'static str = "mla_prefill";
    type Spec = MlaPrefillSpec;
    type Arguments = MlaPrefillArguments;

    const RULES: &[Rule<MlaPrefillSpec>] = &[
        Rule::new("heads", |spec| within("heads", spec.heads, 1..=65535)),
        Rule::new("nope", |spec| multiple("nope", spec.nope, 8, 192)),
        Rule::new("rope", |spec| multiple("rope", spec.rope, 8, 192)),
        Rule::new("value", |spec| multiple("value", spec.value, 8, 192)),
        Rule::new("nope + rope", |spec| {
            let MlaPrefillSpec { nope, rope, .. } = *spec;
            require(nope + rope <= 256, || format!("`nope + rope` is {nope} + {rope}, expected at most 256"))
        }),
    ];

    fn emit(spec: &MlaPrefillSpec, target: Target) -> Result<Kernel, GenerateError> {
        let MlaPrefillSpec { heads, nope, rope, value, lse } = *spec;
        let (lse, short) = (if lse { "_lse" } else { "" }, target_name(target));
        let name = format!("mla_prefill_h{heads}_n{nope}_r{rope}_v{value}{lse}_{short}");
        let room = target.shared_bytes().unwrap_or(0);
        let stages = if shared_bytes(spec, 2) <= room { 2 } else { 1 };
        let tiles = Extent::argument("longest").ceil_divide(QUERIES);
        let header = Header::new(name, spec, target, THREADS);
        generate::<MlaPrefillArguments>(
            header.grid(tiles, heads, Extent::argument("sequences")),
            |builder, arguments| {
                Attention::new(builder, *spec, stages, arguments).run();
            },
        )
    }
}

const fn shared_bytes(spec: &MlaPrefillSpec, stages: u32) -> u32 {
    tile_bytes(QUERIES + stages * KEY_BLOCK, spec.nope + spec.rope)
        + tile_bytes(stages * KEY_BLOCK, spec.value)
}

/// The state of a thread that attends.
struct Attention<'k> {
    builder: &'k Builder,
    spec: MlaPrefillSpec,
    /// Blocks of keys in shared memory: one to work on, and one to fetch to.
    stages: u32,
    arguments: MlaPrefillParameters<'k>,
    /// `[64, nope + rope]`
    queries: Tile<'k>,
    /// `[stages * 64, nope + rope]`
    keys: Tile<'k>,
    /// `[stages * 64, value]`
    values: Tile<'k>,
    head: Value<'k, u32>,
    /// The lane's row, and pair of columns, in a product.
    group: Value<'k, u32>,
    member: Value<'k, u32>,
}

/// The queries of a CTA in their sequence.
#[derive(Clone, Copy)]
struct Place<'k> {
    /// The first query of the sequence in `queries`.
    query_start: Value<'k, u32>,
    /// Queries of the sequence.
    query_count: Value<'k, u32>,
    /// The first key of the sequence.
    key_start: Value<'k, u32>,
    /// The CTA's first query.
    first: Value<'k, u32>,
    /// Keys that any query of the CTA sees.
    end: Value<'k, u32>,
    /// Keys that the first query of the warp sees.
    seen_by_first: Value<'k, u32>,
    /// Keys that the last query of the warp sees.
    seen_by_last: Value<'k, u32>,
    /// Keys that the thread's two queries see.
    seen: [Value<'k, u32>; 2],
}

/// What a thread carries from block to block, of queries `group + 8 * half` of its warp.
struct Running<'k> {
    maxima: [Variable<'k, f32>; 2],
    sums: [Variable<'k, f32>; 2],
    /// `[column tile]`
    outputs: Vec<[Variable<'k, f32>; 4]>,
}

impl<'k> Attention<'k> {
    fn new(
        builder: &'k Builder,
        spec: MlaPrefillSpec,
        stages: u32,
        arguments: MlaPrefillParameters<'k>,
    ) -> Self {
        let width = spec.nope + spec.rope;
        let lane = builder.lane();
        Self {
            builder,
            spec,
            stages,
            arguments,
            queries: Tile::reserve(builder, QUERIES, width),
            keys: Tile::reserve(builder, stages * KEY_BLOCK, width),
            values: Tile::reserve(builder, stages * KEY_BLOCK, spec.value),
            head: builder.cta(1),
            group: lane / 4,
            member: lane % 4,
        }
    }

    fn run(&self) {
        let Self { builder, stages, .. } = *self;
        let warp = builder.warp();
        let place = self.place();
        let running = Running {
            maxima: [(); 2].map(|()| builder.constant(f32::NEG_INFINITY).variable()),
            sums: [(); 2].map(|()| builder.constant(0.0).variable()),
            outputs: (0..self.spec.value.div_ceil(16) * 2).map(|_| builder.zero_accumulators()).collect(),
        };
        self.clear_padding();
        self.fetch_queries(&place);
        let stage = builder.constant(0).variable();
        if stages == 2 {
            self.fetch(&place, builder.constant(0), stage.peek());
            builder.commit_copies();
        }
        let queries = self.queries.skip_rows(warp * 16).across();
        builder.for_each(0, place.end, KEY_BLOCK, |block| {
            if stages == 2 {
                self.fetch(&place, block + KEY_BLOCK, stage.peek() ^ KEY_BLOCK);
            } else {
                self.fetch(&place, block, stage.peek());
            }
            builder.commit_copies();
            builder.wait_copies(stages - 1);
            builder.sync_threads();
            // The same for all lanes of a warp.
            builder.when(block.less(place.seen_by_last), || {
                self.block(&place, &running, queries, block, stage.peek());
            });
            builder.sync_threads();
            if stages == 2 {
                stage.set(stage.peek() ^ KEY_BLOCK);
            }
        });
        self.finish(&place, &running);
    }

    /// Finds the CTA's queries; a CTA without any leaves.
    fn place(&self) -> Place<'k> {
        let Self { builder, arguments, .. } = self;
        let sequence = builder.cta(2);
        let range = |offsets: Pointer<'k, Global, u32>| {
            (offsets.at(sequence).load(), offsets.at(sequence).at(1).load())
        };
        let (query_start, query_end) = range(arguments.query_offsets);
        let (key_start, key_end) = range(arguments.key_offsets);
        let (query_count, key_count) = (query_end - query_start, key_end - key_start);
        let outside = query_start.greater(query_end)
            | key_start.greater(key_end)
            | query_end.greater(arguments.tokens)
            | key_end.greater(arguments.keys);
        let wrong = outside | query_count.greater(key_count) | query_count.greater(arguments.longest);
        let lead = builder.thread().equals(0) & builder.cta(0).equals(0) & self.head.equals(0);
        arguments.error.atomic_or_when(wrong & lead, SEQUENCE);
        let first = (builder.ctas(0) - 1 - builder.cta(0)) * QUERIES;
        builder.exit_when(wrong | first.at_least(query_count));

        let before = key_count - query_count + first;
        let seen_by_first = before + builder.warp() * 16 + 1;
        let seen = |row: Value<'k, u32>| (seen_by_first + row).min(key_count);
        Place {
            query_start,
            query_count,
            key_start,
            first,
            end: key_count.min(before + QUERIES),
            seen_by_first,
            seen_by_last: seen(builder.constant(15)),
            seen: [seen(self.group), seen(self.group + 8)],
        }
    }

    /// Writes zeros behind rows whose width is not a multiple of 16.
    fn clear_padding(&self) {
        let Self { builder, spec, stages, .. } = *self;
        let zeros = [(); 4].map(|()| builder.constant(0_u32).bits::<B32>());
        let width = spec.nope + spec.rope;
        let tiles = [
            (self.queries, QUERIES, width),
            (self.keys, stages * KEY_BLOCK, width),
            (self.values, stages * KEY_BLOCK, spec.value),
        ];
        for (tile, rows, width) in tiles.into_iter().filter(|(_, _, width)| width % 16 != 0) {
            builder.for_each(builder.thread(), rows, THREADS, |row| {
                tile.skip_rows(row).at(0, width).store_words(&zeros);
            });
        }
    }

    /// Copies `width` elements of a row where a predicate holds, else zeros; each of the row's threads some of them.
    fn copy_row(
        &self,
        here: Predicate<'k>,
        to: Tile<'k>,
        column: u32,
        from: Pointer<'k, Global, Bf16>,
        width: u32,
    ) {
        let builder = self.builder;
        let member = builder.thread() % MEMBERS;
        for round in 0..(width / 8).div_ceil(MEMBERS) {
            let chunk = member + round * MEMBERS;
            let all = (round + 1) * MEMBERS <= width / 8;
            let inside = if all { builder.known(true) } else { chunk.less(width / 8) };
            builder.when(inside, || {
                builder.copy_async_16_or_zero(here, to.at(0, column).at(chunk * 8), from.at(chunk * 8));
            });
        }
    }

    fn fetch_queries(&self, place: &Place<'k>) {
        let Self { builder, spec, .. } = self;
        let width = spec.nope + spec.rope;
        let row = builder.thread() / MEMBERS;
        let query = place.first + row;
        let here = query.less(place.query_count);
        let query = here.select(query, builder.constant(0)) + place.query_start;
        let at = query.multiply_wide(spec.heads) + self.head.to_u64();
        let from = self.arguments.queries.at(at * u64::from(width));
        self.copy_row(here, self.queries.skip_rows(row), 0, from, width);
    }

    /// Fetches keys `block .. block + 64` below the end to the rows from `stage` on.
    fn fetch(&self, place: &Place<'k>, block: Value<'k, u32>, stage: Value<'k, u32>) {
        let Self { builder, spec, arguments, .. } = self;
        let MlaPrefillSpec { heads, nope, rope, value, .. } = *spec;
        let row = builder.thread() / MEMBERS;
        let key = block + row;
        let here = key.less(place.end);
        let key = here.select(key, builder.constant(0)) + place.key_start;
        let at = key.multiply_wide(heads) + self.head.to_u64();
        let expanded = arguments.expanded.at(at * u64::from(nope + value));
        let (keys, values) = (self.keys.skip_rows(stage + row), self.values.skip_rows(stage + row));
        self.copy_row(here, keys, 0, expanded, nope);
        self.copy_row(here, keys, nope, arguments.shared_keys.at(key.multiply_wide(rope)), rope);
        self.copy_row(here, values, 0, expanded.at(nope), value);
    }

    /// Attends to the keys of a stage; the warp together.
    fn block(
        &self,
        place: &Place<'k>,
        running: &Running<'k>,
        queries: Tile<'k>,
        block: Value<'k, u32>,
        stage: Value<'k, u32>,
    ) {
        let Self { builder, spec, arguments, .. } = self;
        let keys = self.keys.skip_rows(stage).along();
        let scores: Vec<_> = (0..KEY_BLOCK / 8).map(|_| builder.zero_accumulators()).collect();
        for column in (0..spec.nope + spec.rope).step_by(16) {
            let queries = queries.rows_fragment(0, column);
            for (step, scores) in (0..).zip(scores.chunks(2)) {
                for (scores, keys) in scores.iter().zip(&keys.column_fragments(step * 16, column)) {
                    BF16.multiply_add(scores, &queries, keys);
                }
            }
        }

        // Weights as fragments of A: `[step][column tile of 8 keys][half]`.
        let mut weights: Vec<[[Option<Value<'k, B32>>; 2]; 2]> = vec![[[None; 2]; 2]; STEPS as usize];
        let mut factors = [None; 2];
        for half in 0..2 {
            let first_column = block + self.member * 2;
            let least = builder.constant(f32::NEG_INFINITY);
            let row: Vec<(Value<'k, f32>, Predicate<'k>)> = (0..KEY_BLOCK)
                .step_by(8)
                .zip(&scores)
                .flat_map(|(column, tile)| [0, 1].map(|next| (column + next, tile[2 * half + next as usize])))
                .map(|(column, score)| {
                    let sees = (first_column + column).less(place.seen[half]);
                    (score.peek() * arguments.softmax_scale, sees)
                })
                .collect();
            let seen = row.iter().map(|(score, sees)| sees.select(score.max(f32::MIN), least));
            let largest = reduce_lanes(seen.fold(least, |a, b| a.max(b)), 4, |a, b| a.max(b));
            let maximum = running.maxima[half];
            let (old, new) = (maximum.get(), largest.max(maximum.peek()));
            maximum.set(new);
            let factor = growth(old, new);
            let zero = builder.constant(0.0);
            let row: Vec<Value<'k, f32>> =
                row.iter().map(|(score, sees)| sees.select(((*score - new) * LOG2_E).exp2(), zero)).collect();
            let block_sum = row.iter().copied().reduce(|a, b| a + b).unwrap_or(zero);
            let sum = running.sums[half];
            sum.set(sum.peek().fma(factor, block_sum));
            for (tile, pair) in row.chunks(2).enumerate() {
                weights[tile / 2][tile % 2][half] = Some(Bf16::pack(pair));
            }
            factors[half] = Some(factor);
        }
        for output in &running.outputs {
            for (register, output) in output.iter().enumerate() {
                if let Some(factor) = factors[register / 2] {
                    output.set(output.peek() * factor);
                }
            }
        }

        let values = self.values.skip_rows(stage).across();
        for (step, weights) in (0..).zip(weights) {
            let [[Some(a), Some(b)], [Some(c), Some(d)]] = weights else { continue };
            let first_key = block + step * 16;
            builder.when(first_key.less(place.seen_by_last), || {
                let step = Step { weights: [a, b, c, d], values, row: step * 16, first_key };
                builder.when_else(
                    (first_key + 16).at_most(place.seen_by_first),
                    || self.add_seen(running, &step),
                    || self.add_partly_seen(place, running, &step),
                );
            });
        }
    }

    /// Adds the weighted values of 16 keys that all queries of the warp see.
    fn add_seen(&self, running: &Running<'k>, step: &Step<'k>) {
        for (outputs, values) in running.outputs.chunks(2).zip(step.fragments()) {
            for (output, values) in outputs.iter().zip(&values) {
                BF16.multiply_add(output, &step.weights, values);
            }
        }
    }

    /// Adds the weighted values of 16 keys that some queries do not see.
    fn add_partly_seen(&self, place: &Place<'k>, running: &Running<'k>, step: &Step<'k>) {
        for (outputs, values) in running.outputs.chunks(2).zip(step.fragments()) {
            for (output, values) in outputs.iter().zip(values) {
                let masks = values.map(not_finite);
                let [first, second] = [0, 1].map(|at| values[at].bits::<u32>() & (masks[at] ^ u32::MAX));
                BF16.multiply_add(output, &step.weights, &[first.bits(), second.bits()]);
                self.builder.when((masks[0] | masks[1]).differs(0).any(), || {
                    let infinite = [0, 1].map(|at| values[at].bits::<u32>() & masks[at]);
                    self.add_key_by_key(place, output, step, infinite);
                });
            }
        }
    }

    /// Adds what is not finite of the weighted values of 16 keys: each key alone, for the queries that see it.
    fn add_key_by_key(
        &self,
        place: &Place<'k>,
        output: &[Variable<'k, f32>; 4],
        step: &Step<'k>,
        infinite: [Value<'k, u32>; 2],
    ) {
        let builder = self.builder;
        let nothing = builder.constant(0_u32);
        builder.for_each(0, 16, 1, |key| {
            // The lane holds keys 2 * member and the next, and those 8 further.
            let own = ((key & 7) >> 1).equals(self.member);
            let half = (key & 1).equals(0).select(builder.constant(0xffff), builder.constant(0xffff_0000));
            let of_key = [key.less(8), key.at_least(8)];
            let values =
                [0, 1].map(|at| (own & of_key[at]).select(infinite[at] & half, nothing).bits::<B32>());
            let sum = output.map(|register| register.get().variable());
            BF16.multiply_add(&sum, &step.weights, &values);
            for (register, output) in output.iter().enumerate() {
                let sees = (step.first_key + key).less(place.seen[register / 2]);
                output.set_when(sees, sum[register].peek());
            }
        });
    }

    fn finish(&self, place: &Place<'k>, running: &Running<'k>) {
        let Self { builder, spec, arguments, .. } = self;
        for half in 0..2 {
            let sum = reduce_lanes(running.sums[half].peek(), 4, |a, b| a + b);
            let query = place.first + builder.warp() * 16 + self.group + 8 * half as u32;
            let here = query.less(place.query_count);
            let at = (place.query_start + query).multiply_wide(spec.heads) + self.head.to_u64();
            if spec.lse {
                let lse = logarithm(running.maxima[half].peek(), sum);
                arguments.lse.at(at).store_when(here & self.member.equals(0), lse);
            }
            let output = arguments.output.at(at * u64::from(spec.value)).at(self.member * 2);
            for (column, registers) in (0..spec.value).step_by(8).zip(&running.outputs) {
                let pair = [0, 1].map(|next| registers[2 * half + next].peek() / sum);
                output.at(column).store_words_when(here, &[Bf16::pack(&pair)]);
            }
        }
    }
}

/// 16 keys of a block.
struct Step<'k> {
    /// A fragment of A, `[16 queries, 16 keys]`.
    weights: [Value<'k, B32>; 4],
    /// The stage's values.
    values: Tile<'k>,
    /// The first key's row in it.
    row: u32,
    /// The first key.
    first_key: Value<'k, u32>,
}

impl<'k> Step<'k> {
    /// The values as pairs of fragments of B, by 16 columns.
    fn fragments(&self) -> impl Iterator<Item = [[Value<'k, B32>; 2]; 2]> {
        (0..).step_by(16).map(|column| self.values.transposed_fragments(self.row, column))
    }
}

/// Ones in the halves of a word that hold an infinity or NaN.
#[track_caller]
fn not_finite(word: Value<'_, B32>) -> Value<'_, u32> {
    let builder = word.builder();
    let exponents = word.bits::<u32>() & 0x7f80_7f80;
    let low = (exponents & 0xffff).equals(0x7f80).select(builder.constant(0xffff), builder.constant(0));
    let high = exponents.at_least(0x7f80_0000).select(builder.constant(0xffff_0000), builder.constant(0));
    low | high
}
