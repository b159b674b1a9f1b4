//! Multi-head latent attention (DeepSeek-V2 report, section 2.1), in its two forms.
//!
//! A token's cache row is its latent `c` (after the norm) and one rotated key `k_pe`, shared by all heads. A head's
//! rows of `kv_b_proj` are `W_UK` (keys) over `W_UV` (values).
//!
//! - *Naive*: every cached latent is expanded, `k = [W_UK c | k_pe]`, `v = W_UV c`, and attention is the usual one.
//!   Cheap for many queries.
//! - *Absorbed*: the query is taken into latent space instead, `q_c = q_nope W_UK`; scores are `q_c · c + q_pe · k_pe`,
//!   the weighted sum of latents is expanded once, `o = W_UV o_c`. Cheap for few queries.
//!
//! The two are equal in exact arithmetic and differ in rounding. Which one a token takes is therefore fixed by its
//! role ([`Form`]), never by how tokens were grouped.

use std::ops::Range;

use rayon::prelude::*;

use super::Numerics;
use super::linear::{Output, linear, linear_rows};
use super::matmul::{View, matmul};
use super::ops::rms_norm;
use super::rope::rotate_pairs;
use super::sums::{Factors, multiply};
use crate::model::cache::LatentCache;
use crate::model::config::Config;
use crate::model::weights::Matrix;

/// Keys are scored and summed in blocks of this many, counted from the start of the sequence.
const KEY_BLOCK: usize = 64;

/// At most this many query rows are scored at once: of one head in the naive form, of several in the absorbed.
const QUERY_TILE: usize = 64;

/// Vector lanes that a row of scores is padded to.
const LANES: usize = 16;

/// Transformers and DeepSeek's code ignore `rms_norm_eps` here.
const LATENT_NORM_EPSILON: f32 = 1e-6;

/// The form of attention that a token takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Expanded keys and values: prompt tokens.
    Naive,
    /// Absorbed projections: generated and speculated tokens.
    Absorbed,
}

/// Widths of the parts of a head, and the scale of its scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HeadSpec {
    /// Number of heads.
    pub heads: usize,
    /// Elements of a query that are not rotated.
    pub nope: usize,
    /// Elements of a query, and of the shared key, that are rotated.
    pub rope: usize,
    /// Elements of a value.
    pub value: usize,
    /// Elements of a latent.
    pub latent: usize,
    /// Multiplies the scores.
    pub softmax_scale: f32,
}

impl HeadSpec {
    /// The heads that a configuration describes.
    pub fn from_config(config: &Config, softmax_scale: f32) -> Self {
        Self {
            heads: config.num_attention_heads,
            nope: config.qk_nope_head_dim,
            rope: config.qk_rope_head_dim,
            value: config.v_head_dim,
            latent: config.kv_lora_rank,
            softmax_scale,
        }
    }

    /// Elements of a query of one head.
    pub fn query(&self) -> usize {
        self.nope + self.rope
    }

    /// Elements of a cache row.
    pub fn cache_row(&self) -> usize {
        self.latent + self.rope
    }

    /// Rows of `kv_b_proj` that belong to one head.
    fn kv_b_rows(&self) -> usize {
        self.nope + self.value
    }
}

/// The query projection: direct (V2-Lite), or through a low rank.
#[derive(Clone, Debug)]
pub enum QueryProjection {
    /// `q_proj` `[heads * query, hidden]`.
    Direct(Matrix),
    /// `q_b_proj · norm(q_a_proj · x)`.
    LowRank {
        /// `q_a_proj` `[q_lora_rank, hidden]`.
        down: Matrix,
        /// `q_a_layernorm` `[q_lora_rank]`.
        norm: Vec<f32>,
        /// `q_b_proj` `[heads * query, q_lora_rank]`.
        up: Matrix,
    },
}

/// One attention layer.
#[derive(Clone, Debug)]
pub struct Mla {
    /// Widths and scale.
    pub spec: HeadSpec,
    /// The query projection.
    pub query: QueryProjection,
    /// `kv_a_proj_with_mqa` `[latent + rope, hidden]`.
    pub kv_a_proj: Matrix,
    /// `kv_a_layernorm` `[latent]`.
    pub kv_a_norm: Vec<f32>,
    /// `kv_b_proj` `[heads * (nope + value), latent]`.
    pub kv_b_proj: Matrix,
    /// `o_proj` `[hidden, heads * value]`.
    pub o_proj: Matrix,
}

/// The tokens of one sequence in a batch: rows `first..first + count` of the batch's activations.
pub struct Rows<'a> {
    /// First row.
    pub first: usize,
    /// Number of rows.
    pub count: usize,
    /// The form of attention of all of them.
    pub form: Form,
    /// The sequence's cache; the rows' own entries are appended first.
    pub cache: &'a mut LatentCache,
}

impl Rows<'_> {
    /// These rows of `values` `[tokens, width]`.
    fn of<'v>(&self, values: &'v [f32], width: usize) -> &'v [f32] {
        &values[self.first * width..][..self.count * width]
    }
}

impl Mla {
    /// Attention of a batch `x` `[tokens, hidden]`, rotated by `rotations` (one for each token); each sequence sees
    /// its own cache `layer`, which gains the new tokens' rows. Result `[tokens, hidden]`.
    pub fn forward(
        &self,
        x: &[f32],
        rotations: &[Vec<(f32, f32)>],
        layer: usize,
        batch: &mut [Rows<'_>],
        numerics: Numerics,
    ) -> Vec<f32> {
        let spec = &self.spec;
        let queries = self.queries(x, rotations, numerics);
        let new_rows = self.cache_rows(x, rotations, numerics);
        for rows in &mut *batch {
            let width = spec.cache_row();
            rows.cache.append(layer, rows.of(&new_rows, width));
        }
        let width = spec.heads * spec.value;
        let mut heads_out = vec![0.0; rotations.len() * width];
        let naive = self.attend_naive(&queries, layer, batch, numerics);
        let absorbed = self.attend_absorbed(&queries, layer, batch, numerics);
        for (first, output) in naive.into_iter().chain(absorbed) {
            heads_out[first * width..][..output.len()].copy_from_slice(&output);
        }
        linear(&heads_out, &self.o_proj, Output::Activation, numerics)
    }

    /// For each sequence in the naive form its first row and what its heads give, `[count, heads, value]`.
    fn attend_naive(
        &self,
        queries: &[f32],
        layer: usize,
        batch: &[Rows<'_>],
        numerics: Numerics,
    ) -> Vec<(usize, Vec<f32>)> {
        let attend = |rows: &Rows<'_>| {
            let queries = rows.of(queries, self.spec.heads * self.spec.query());
            let attended = naive(queries, rows.cache.rows(layer), &self.kv_b_proj, &self.spec, numerics);
            (rows.first, attended.output)
        };
        batch.par_iter().filter(|rows| rows.form == Form::Naive).map(attend).collect()
    }

    /// The same in the absorbed form. All sequences share one expansion of the weights on either side.
    fn attend_absorbed(
        &self,
        queries: &[f32],
        layer: usize,
        batch: &[Rows<'_>],
        numerics: Numerics,
    ) -> Vec<(usize, Vec<f32>)> {
        let spec = &self.spec;
        let members: Vec<&Rows<'_>> = batch.iter().filter(|rows| rows.form == Form::Absorbed).collect();
        let queries: Vec<f32> =
            members.iter().flat_map(|rows| rows.of(queries, spec.heads * spec.query())).copied().collect();
        let absorbed = absorb(&queries, &self.kv_b_proj, spec, numerics);

        let ends: Vec<usize> = members
            .iter()
            .scan(0, |end, rows| {
                *end += rows.count;
                Some(*end)
            })
            .collect();
        let latents: Vec<Vec<f32>> = members
            .par_iter()
            .zip(&ends)
            .map(|(rows, end)| {
                let width = spec.heads * spec.cache_row();
                let queries = &absorbed[(end - rows.count) * width..end * width];
                latent_attention(queries, rows.cache.rows(layer), spec, numerics).0
            })
            .collect();

        let values = expand_values(&latents.concat(), &self.kv_b_proj, spec, numerics);
        let width = spec.heads * spec.value;
        let own = |(rows, end): (&&Rows<'_>, &usize)| {
            (rows.first, values[(end - rows.count) * width..end * width].to_vec())
        };
        members.iter().zip(&ends).map(own).collect()
    }

    /// Queries `[tokens, heads, nope + rope]`, rotated.
    fn queries(&self, x: &[f32], rotations: &[Vec<(f32, f32)>], numerics: Numerics) -> Vec<f32> {
        let mut queries = match &self.query {
            QueryProjection::Direct(weight) => linear(x, weight, Output::Activation, numerics),
            QueryProjection::LowRank { down, norm, up } => {
                let low = linear(x, down, Output::Activation, numerics);
                let low = rms_norm(&low, norm, LATENT_NORM_EPSILON, numerics);
                linear(&low, up, Output::Activation, numerics)
            }
        };
        let token_width = self.spec.heads * self.spec.query();
        for (token, rotation) in queries.chunks_mut(token_width).zip(rotations) {
            for head in token.chunks_mut(self.spec.query()) {
                rotate_pairs(&mut head[self.spec.nope..], rotation, numerics);
            }
        }
        queries
    }

    /// Cache rows `[tokens, latent + rope]`: the latent, normalised, and the shared key, rotated but not normalised.
    fn cache_rows(&self, x: &[f32], rotations: &[Vec<(f32, f32)>], numerics: Numerics) -> Vec<f32> {
        let mut rows = linear(x, &self.kv_a_proj, Output::Activation, numerics);
        for (row, rotation) in rows.chunks_mut(self.spec.cache_row()).zip(rotations) {
            let (latent, key) = row.split_at_mut(self.spec.latent);
            latent.copy_from_slice(&rms_norm(latent, &self.kv_a_norm, LATENT_NORM_EPSILON, numerics));
            rotate_pairs(key, rotation, numerics);
        }
        rows
    }
}

/// What attention gives for each query.
#[derive(Clone, Debug, PartialEq)]
pub struct Attended {
    /// `[tokens, heads, value]`; a query that sees no key gives zeros.
    pub output: Vec<f32>,
    /// Natural logarithm of the sum of `exp(score)`: `[tokens, heads]`; -inf for a query that sees no key.
    pub lse: Vec<f32>,
}

/// Attention in the naive form: `queries` `[tokens, heads, nope + rope]`, rotated; `cache` `[keys, latent + rope]`.
/// The tokens are the last of the sequence: token `i` sees the first `keys - tokens + i + 1` keys.
///
/// # Panics
/// If there are fewer keys than tokens.
pub fn naive(queries: &[f32], cache: &[f32], kv_b: &Matrix, spec: &HeadSpec, numerics: Numerics) -> Attended {
    let tokens = queries.len() / (spec.heads * spec.query());
    let keys = cache.len() / spec.cache_row();
    let visible = causal(tokens, keys);
    let latents: Vec<f32> =
        cache.chunks(spec.cache_row()).flat_map(|row| &row[..spec.latent]).copied().collect();

    let (outputs, sums): (Vec<_>, Vec<_>) = (0..spec.heads)
        .into_par_iter()
        .map(|head| {
            let rows = head * spec.kv_b_rows()..(head + 1) * spec.kv_b_rows();
            let expanded = linear_rows(&latents, kv_b, rows, Output::Activation, numerics);
            let mut key_rows = Vec::with_capacity(keys * spec.query());
            for (expanded, row) in expanded.chunks(spec.kv_b_rows()).zip(cache.chunks(spec.cache_row())) {
                key_rows.extend_from_slice(&expanded[..spec.nope]);
                key_rows.extend_from_slice(&row[spec.latent..]);
            }
            let key_rows = View::new(&key_rows, keys, spec.query(), spec.query());
            let values =
                View::new(&expanded, keys, spec.kv_b_rows(), spec.kv_b_rows()).columns(spec.nope, spec.value);
            let of_head = queries.chunks(spec.query()).skip(head).step_by(spec.heads);
            let of_head: Vec<f32> = of_head.flatten().copied().collect();
            attend(&of_head, &visible, key_rows, values, spec.softmax_scale, numerics)
        })
        .unzip();
    Attended { output: by_token(&outputs, tokens, spec.value), lse: by_token(&sums, tokens, 1) }
}

/// Attention in the absorbed form; arguments and result as of [`naive`].
///
/// # Panics
/// If there are fewer keys than tokens.
pub fn absorbed(
    queries: &[f32],
    cache: &[f32],
    kv_b: &Matrix,
    spec: &HeadSpec,
    numerics: Numerics,
) -> Attended {
    let queries = absorb(queries, kv_b, spec, numerics);
    let (latent_out, lse) = latent_attention(&queries, cache, spec, numerics);
    Attended { output: expand_values(&latent_out, kv_b, spec, numerics), lse }
}

/// The first step of [`absorbed`]: each head's query as it meets a cache row, `[q_nope W_UK | q_pe]`. `queries` as of
/// [`naive`]; result `[tokens, heads, latent + rope]`.
pub fn absorb(queries: &[f32], kv_b: &Matrix, spec: &HeadSpec, numerics: Numerics) -> Vec<f32> {
    let tokens = queries.len() / (spec.heads * spec.query());
    let stride = spec.heads * spec.query();
    let heads: Vec<Vec<f32>> = (0..spec.heads)
        .into_par_iter()
        .map(|head| {
            let first = head * spec.kv_b_rows();
            let nope = View::new(queries, tokens, stride, stride).columns(head * spec.query(), spec.nope);
            times_rows(nope, kv_b, first..first + spec.nope, numerics)
        })
        .collect();
    let mut absorbed = Vec::with_capacity(tokens * spec.heads * spec.cache_row());
    for (at, query) in queries.chunks(spec.query()).enumerate() {
        let (token, head) = (at / spec.heads, at % spec.heads);
        absorbed.extend_from_slice(&heads[head][token * spec.latent..][..spec.latent]);
        absorbed.extend_from_slice(&query[spec.nope..]);
    }
    absorbed
}

/// The middle step of [`absorbed`], which is all that a latent attention kernel does: `queries` from [`absorb`],
/// `cache` as of [`naive`]. Returns the weighted sums of latents, `[tokens, heads, latent]`, and the natural
/// logarithms of the sums of `exp(score)`, `[tokens, heads]`.
///
/// # Panics
/// If there are fewer keys than tokens.
pub fn latent_attention(
    queries: &[f32],
    cache: &[f32],
    spec: &HeadSpec,
    numerics: Numerics,
) -> (Vec<f32>, Vec<f32>) {
    let tokens = queries.len() / (spec.heads * spec.cache_row());
    let keys = cache.len() / spec.cache_row();
    // All heads share the keys: a row for each (token, head).
    let key_rows = View::new(cache, keys, spec.cache_row(), spec.cache_row());
    let latents = key_rows.columns(0, spec.latent);
    let of_heads = |visible| std::iter::repeat_n(visible, spec.heads);
    let visible: Vec<usize> = causal(tokens, keys).into_iter().flat_map(of_heads).collect();
    attend(queries, &visible, key_rows, latents, spec.softmax_scale, numerics)
}

/// The last step of [`absorbed`]: weighted sums of latents `[tokens, heads, latent]` to values
/// `[tokens, heads, value]`.
pub fn expand_values(latents: &[f32], kv_b: &Matrix, spec: &HeadSpec, numerics: Numerics) -> Vec<f32> {
    let tokens = latents.len() / (spec.heads * spec.latent);
    let heads: Vec<Vec<f32>> = (0..spec.heads)
        .into_par_iter()
        .map(|head| {
            let end = (head + 1) * spec.kv_b_rows();
            let of_head: Vec<f32> =
                latents.chunks(spec.latent).skip(head).step_by(spec.heads).flatten().copied().collect();
            times_rows_transposed(&of_head, kv_b, end - spec.value..end, numerics)
        })
        .collect();
    by_token(&heads, tokens, spec.value)
}

/// How many keys each of the last `tokens` tokens sees.
fn causal(tokens: usize, keys: usize) -> Vec<usize> {
    assert!(keys >= tokens, "{keys} keys for {tokens} tokens");
    (keys - tokens + 1..=keys).collect()
}

/// `[tokens, heads, width]` from what each head has made, `[tokens, width]`.
fn by_token(heads: &[Vec<f32>], tokens: usize, width: usize) -> Vec<f32> {
    let mut rows = Vec::with_capacity(tokens * heads.len() * width);
    for token in 0..tokens {
        for head in heads {
            rows.extend_from_slice(&head[token * width..][..width]);
        }
    }
    rows
}

/// Softmax attention of independent query rows over shared keys: `queries` `[rows, key width]`, of which row `i` sees
/// the first `visible[i]` of `keys` `[keys, key width]` and `values` `[keys, value width]`. Returns `[rows, value
/// width]` and the logarithms of the sums, `[rows]`.
fn attend(
    queries: &[f32],
    visible: &[usize],
    keys: View<'_>,
    values: View<'_>,
    softmax_scale: f32,
    numerics: Numerics,
) -> (Vec<f32>, Vec<f32>) {
    let tiles: Vec<(Vec<f32>, Vec<f32>)> = queries
        .par_chunks(QUERY_TILE * keys.column_count())
        .zip(visible.par_chunks(QUERY_TILE))
        .map(|(queries, visible)| attend_tile(queries, visible, keys, values, softmax_scale, numerics))
        .collect();
    let (outputs, sums): (Vec<_>, Vec<_>) = tiles.into_iter().unzip();
    (outputs.concat(), sums.concat())
}

/// [`attend`] for a few rows. Scores lie transposed, `[keys, rows]`, so that one key meets all rows at once.
fn attend_tile(
    queries: &[f32],
    visible: &[usize],
    keys: View<'_>,
    values: View<'_>,
    softmax_scale: f32,
    numerics: Numerics,
) -> (Vec<f32>, Vec<f32>) {
    let rows = visible.len();
    let lanes = rows.next_multiple_of(LANES);
    let seen = visible.iter().copied().max().unwrap_or(0);
    let blocks = seen.div_ceil(KEY_BLOCK);

    let queries = transpose_padded(queries, rows, keys.column_count(), lanes);
    let queries = View::new(&queries, keys.column_count(), lanes, lanes);
    let mut scores = vec![0.0; blocks * KEY_BLOCK * lanes];
    for (block, scores) in scores.chunks_mut(KEY_BLOCK * lanes).enumerate() {
        let first = block * KEY_BLOCK;
        let count = KEY_BLOCK.min(keys.row_count() - first);
        multiply(Factors::Bf16, keys.rows(first, count), queries, &mut scores[..count * lanes], numerics);
    }

    let (max, sum) = exponentials(&mut scores, visible, lanes, softmax_scale);
    numerics.round(&mut scores);

    let mut output = vec![0.0; rows * values.column_count()];
    let seen_by_all = visible.iter().copied().min().unwrap_or(0);
    for (block, weights) in scores.chunks(KEY_BLOCK * lanes).enumerate() {
        let weights = View::new(weights, KEY_BLOCK, lanes, lanes).transposed().rows(0, rows);
        let first = block * KEY_BLOCK;
        let present = KEY_BLOCK.min(values.row_count() - first);
        let common = seen_by_all.saturating_sub(first).min(present);
        let others = values.rows(first + common, present - common).to_rows();
        if others.iter().all(|value| value.is_finite()) {
            add_weighted(weights, values.rows(first, present), &mut output);
            continue;
        }
        // A weight of zero does not silence an infinity or a NaN: each row must meet the keys that it sees alone.
        for (row, output) in output.chunks_mut(values.column_count()).enumerate() {
            let seen = visible[row].saturating_sub(first).min(present);
            add_weighted(weights.rows(row, 1), values.rows(first, seen), output);
        }
    }
    for (row, sum) in output.chunks_mut(values.column_count()).zip(&sum) {
        for value in row {
            *value = if *sum == 0.0 { 0.0 } else { *value / sum };
        }
    }
    numerics.round(&mut output);
    let lse = max.iter().zip(&sum).take(rows).map(|(max, sum)| max + sum.ln()).collect();
    (output, lse)
}

/// `output += weights · values`, `values` of one block of keys. Sums run over the whole block, of zeros behind the last
/// key, so that their order does not depend on how many keys there are.
fn add_weighted(weights: View<'_>, values: View<'_>, output: &mut [f32]) {
    let width = values.column_count();
    if values.row_count() == KEY_BLOCK {
        return matmul(weights, values, output, true);
    }
    let mut padded = values.to_rows();
    padded.resize(KEY_BLOCK * width, 0.0);
    matmul(weights, View::new(&padded, KEY_BLOCK, width, width), output, true);
}

/// Replaces scores `[keys, lanes]` by `exp(score * scale - max)`, zero where a row does not see the key, and returns
/// the largest scaled score and the sum of each row, `[lanes]`. A row that sees nothing has -inf and 0.
fn exponentials(scores: &mut [f32], visible: &[usize], lanes: usize, scale: f32) -> (Vec<f32>, Vec<f32>) {
    let mut max = vec![f32::NEG_INFINITY; lanes];
    let mut sum = vec![0.0; lanes];
    for (key, scores) in scores.chunks_mut(lanes).enumerate() {
        for ((score, max), &visible) in scores.iter_mut().zip(&mut max).zip(visible) {
            *score *= scale;
            if key < visible {
                *max = max.max(*score);
            }
        }
    }
    for (key, scores) in scores.chunks_mut(lanes).enumerate() {
        for (lane, score) in scores.iter_mut().enumerate() {
            let sees = visible.get(lane).is_some_and(|&visible| key < visible);
            *score = if sees { (*score - max[lane]).exp() } else { 0.0 };
            sum[lane] += *score;
        }
    }
    (max, sum)
}

/// `[columns, lanes]` from `[rows, columns]`, zeros behind the last row.
fn transpose_padded(values: &[f32], rows: usize, columns: usize, lanes: usize) -> Vec<f32> {
    let mut transposed = vec![0.0; columns * lanes];
    for row in 0..rows {
        for column in 0..columns {
            transposed[column * lanes + row] = values[row * columns + column];
        }
    }
    transposed
}

/// `x` `[tokens, rows]` times rows `rows` of `kv_b` as they lie: `[tokens, latent]`. The absorbed query.
fn times_rows(x: View<'_>, kv_b: &Matrix, rows: Range<usize>, numerics: Numerics) -> Vec<f32> {
    let count = rows.len();
    let weight = dequantized_rows(kv_b, rows, numerics);
    let mut y = vec![0.0; x.row_count() * kv_b.columns()];
    multiply(Factors::Bf16, x, View::new(&weight, count, kv_b.columns(), kv_b.columns()), &mut y, numerics);
    numerics.round(&mut y);
    y
}

/// `x` `[tokens, latent]` times the transpose of rows `rows` of `kv_b`: `[tokens, rows]`. The expanded values.
fn times_rows_transposed(x: &[f32], kv_b: &Matrix, rows: Range<usize>, numerics: Numerics) -> Vec<f32> {
    let count = rows.len();
    let weight = dequantized_rows(kv_b, rows, numerics);
    let tokens = x.len() / kv_b.columns();
    let lanes = tokens.next_multiple_of(LANES);
    let x = transpose_padded(x, tokens, kv_b.columns(), lanes);
    let mut y = vec![0.0; count * lanes];
    let weight = View::new(&weight, count, kv_b.columns(), kv_b.columns());
    multiply(Factors::Bf16, weight, View::new(&x, kv_b.columns(), lanes, lanes), &mut y, numerics);
    let mut y = View::new(&y, count, lanes, lanes).transposed().rows(0, tokens).to_rows();
    numerics.round(&mut y);
    y
}

/// Rows of a weight with their scales applied, `[rows, columns]`; bf16 in [`super::Precision::Kernel`], as a decoding
/// kernel keeps them.
fn dequantized_rows(weight: &Matrix, rows: Range<usize>, numerics: Numerics) -> Vec<f32> {
    let mut values = vec![0.0; rows.len() * weight.columns()];
    for (row, values) in rows.zip(values.chunks_mut(weight.columns())) {
        weight.read_row(row, values);
    }
    numerics.round(&mut values);
    values
}
