//! Latent attention in both forms against the formula, with causal masks of any offset.

use proptest::prelude::*;
use rorqual::reference::linear::Output;
use rorqual::reference::mla::{Attended, HeadSpec, absorb, absorbed, expand_values, latent_attention, naive};
use rorqual::reference::{Numerics, Precision};

use crate::bounded::{Bounded, ROUNDING, dot, exact, expect_within};
use crate::draw::{Draw, Kind, Weight, kind, size};
use crate::linear::product;
use crate::{cases, numerics};

/// A small attention and its inputs.
#[derive(Debug)]
pub struct Case {
    pub spec: HeadSpec,
    pub kv_b: Weight,
    /// `[tokens, heads, nope + rope]`.
    pub queries: Vec<f32>,
    /// `[keys, latent + rope]`.
    pub cache: Vec<f32>,
    pub tokens: usize,
    pub keys: usize,
}

pub fn head_spec() -> impl Strategy<Value = HeadSpec> {
    (1_usize..4, 1_usize..8, 1_usize..6, 1_usize..8, size(16, 20)).prop_map(
        |(heads, nope, rope, value, latent)| HeadSpec {
            heads,
            nope,
            rope,
            value,
            latent,
            softmax_scale: 1.0 / ((nope + rope) as f32).sqrt(),
        },
    )
}

impl Case {
    pub fn new(spec: HeadSpec, tokens: usize, earlier: usize, kind: Kind, seed: u64) -> Self {
        let mut draw = Draw(seed);
        let keys = tokens + earlier;
        Self {
            spec,
            kv_b: draw.weight(spec.heads * (spec.nope + spec.value), spec.latent, Kind::PLAIN),
            queries: draw.values(tokens * spec.heads * spec.query(), Kind::PLAIN),
            cache: draw.values(keys * spec.cache_row(), kind),
            tokens,
            keys,
        }
    }

    fn query(&self, token: usize, head: usize) -> Vec<Bounded> {
        exact(&self.queries[(token * self.spec.heads + head) * self.spec.query()..][..self.spec.query()])
    }

    fn row(&self, key: usize) -> Vec<Bounded> {
        exact(&self.cache[key * self.spec.cache_row()..][..self.spec.cache_row()])
    }

    fn seen_by(&self, token: usize) -> usize {
        self.keys - self.tokens + token + 1
    }

    /// `softmax(q · [W_UK c | k_pe]) · W_UV c`: outputs and sums.
    fn naive(&self, numerics: Numerics) -> (Vec<Bounded>, Vec<Bounded>) {
        let HeadSpec { heads, nope, value, latent, .. } = self.spec;
        let rows: Vec<Vec<Bounded>> = (0..self.keys).map(|key| self.row(key)).collect();
        let expanded: Vec<Vec<Bounded>> = rows
            .iter()
            .map(|row| product(&row[..latent], &self.kv_b, Output::Activation, numerics))
            .collect();
        let (mut outputs, mut sums) = (Vec::new(), Vec::new());
        for (token, head) in (0..self.tokens).flat_map(|token| (0..heads).map(move |head| (token, head))) {
            let first = head * (nope + value);
            let pairs = |key: usize| {
                let key_row = [&expanded[key][first..first + nope], &rows[key][latent..]].concat();
                (key_row, expanded[key][first + nope..][..value].to_vec())
            };
            let pairs: Vec<_> = (0..self.seen_by(token)).map(pairs).collect();
            let (output, sum) = attend(&self.query(token, head), &pairs, self.spec.softmax_scale, numerics);
            outputs.extend(output);
            sums.push(sum);
        }
        (outputs, sums)
    }

    /// Element `[row, latent]` of `kv_b_proj` as the absorbed form has it.
    fn dequantized(&self, row: usize, column: usize, numerics: Numerics) -> Bounded {
        Bounded::exact(self.kv_b.dequantized(row, column)).stored(numerics)
    }

    /// `[q_nope W_UK | q_pe]` for each token and head.
    fn absorbed_queries(&self, numerics: Numerics) -> Vec<Bounded> {
        let HeadSpec { heads, nope, value, latent, .. } = self.spec;
        let mut absorbed = Vec::new();
        for (token, head) in (0..self.tokens).flat_map(|token| (0..heads).map(move |head| (token, head))) {
            let query = self.query(token, head);
            let first = head * (nope + value);
            absorbed.extend((0..latent).map(|column| {
                let weight = |row: usize| self.dequantized(first + row, column, numerics);
                dot((0..nope).map(|row| (query[row], weight(row)))).stored(numerics)
            }));
            absorbed.extend_from_slice(&query[nope..]);
        }
        absorbed
    }

    /// `softmax(q · row) · c` for queries `[tokens, heads, latent + rope]`: weighted latents and sums.
    fn latent_attention(&self, queries: &[Bounded], numerics: Numerics) -> (Vec<Bounded>, Vec<Bounded>) {
        let pair = |key: usize| {
            let row = self.row(key);
            (row.clone(), row[..self.spec.latent].to_vec())
        };
        let pairs: Vec<_> = (0..self.keys).map(pair).collect();
        let (mut outputs, mut sums) = (Vec::new(), Vec::new());
        for (at, query) in queries.chunks(self.spec.cache_row()).enumerate() {
            let pairs = &pairs[..self.seen_by(at / self.spec.heads)];
            let (output, sum) = attend(query, pairs, self.spec.softmax_scale, numerics);
            outputs.extend(output);
            sums.push(sum);
        }
        (outputs, sums)
    }

    /// `W_UV o` for each token and head.
    fn expanded_values(&self, latents: &[Bounded], numerics: Numerics) -> Vec<Bounded> {
        let HeadSpec { heads, nope, value, latent, .. } = self.spec;
        let mut values = Vec::new();
        for (at, latents) in latents.chunks(latent).enumerate() {
            let first = at % heads * (nope + value) + nope;
            values.extend((first..first + value).map(|row| {
                let weights = (0..latent).map(|column| self.dequantized(row, column, numerics));
                dot(latents.iter().copied().zip(weights)).stored(numerics)
            }));
        }
        values
    }
}

/// Softmax attention of one query over `(key, value)` pairs: the output and the logarithm of the sum.
fn attend(
    query: &[Bounded],
    pairs: &[(Vec<Bounded>, Vec<Bounded>)],
    scale: f32,
    numerics: Numerics,
) -> (Vec<Bounded>, Bounded) {
    let scores: Vec<Bounded> = pairs
        .iter()
        .map(|(key, _)| dot(query.iter().copied().zip(key.iter().copied())) * Bounded::exact(scale))
        .map(|score| score.computed(ROUNDING))
        .collect();
    let least = Bounded { value: f64::NEG_INFINITY, error: 0.0 };
    // The largest of values that are each off by something is off by the largest of those.
    let max = scores.iter().fold(least, |max, score| Bounded {
        value: max.value.max(score.value),
        error: max.error.max(score.error),
    });
    let weights: Vec<Bounded> = scores.iter().map(|&score| (score - max).computed(ROUNDING).exp()).collect();
    let one = Bounded::exact(1.0);
    let sum = dot(weights.iter().map(|&weight| (weight, one)));
    let width = pairs[0].1.len();
    let output = (0..width).map(|column| {
        let terms =
            weights.iter().zip(pairs).map(|(weight, (_, value))| (weight.stored(numerics), value[column]));
        (dot(terms) / sum).computed(ROUNDING).stored(numerics)
    });
    (output.collect(), (max + logarithm(sum)).computed(ROUNDING))
}

fn logarithm(sum: Bounded) -> Bounded {
    if sum.error.is_infinite() || sum.error >= sum.value {
        return Bounded { value: 0.0, error: f64::INFINITY };
    }
    let value = sum.value.ln();
    let error = if value.is_finite() { sum.error / (sum.value - sum.error) } else { 0.0 };
    Bounded { value, error }.computed(4.0 * ROUNDING)
}

proptest! {
    #![proptest_config(cases(128))]

    #[test]
    fn both_forms_are_the_formula(
        spec in head_spec(),
        tokens in 0_usize..6,
        earlier in size(63, 12),
        kind in kind(),
        numerics in numerics(),
        seed: u64,
    ) {
        let case = Case::new(spec, tokens, earlier - 1, kind, seed);
        let (naive_bounds, naive_sums) = case.naive(numerics);
        let found = naive(&case.queries, &case.cache, &case.kv_b.matrix, &spec, numerics);
        expect_within(&found.output, &naive_bounds)?;
        expect_within(&found.lse, &naive_sums)?;

        let queries = case.absorbed_queries(numerics);
        let (latents, absorbed_sums) = case.latent_attention(&queries, numerics);
        let absorbed_bounds = case.expanded_values(&latents, numerics);
        let found = absorbed(&case.queries, &case.cache, &case.kv_b.matrix, &spec, numerics);
        expect_within(&found.output, &absorbed_bounds)?;
        expect_within(&found.lse, &absorbed_sums)?;

        // In float64 the two formulas give one number.
        if numerics.precision == Precision::F32 {
            for (a, b) in naive_bounds.iter().zip(&absorbed_bounds) {
                let comparable =
                    a.value.is_finite() && b.value.is_finite() && !(a.error + b.error).is_infinite();
                prop_assert!(!comparable || (a.value - b.value).abs() <= a.error + b.error, "{a:?} {b:?}");
            }
        }
    }

    /// Each step from what the step before it has made, so that no doubt about a rounding is carried on.
    #[test]
    fn steps_of_the_absorbed_form_are_the_formula(
        spec in head_spec(),
        tokens in 0_usize..6,
        earlier in size(63, 12),
        kind in kind(),
        numerics in numerics(),
        seed: u64,
    ) {
        let case = Case::new(spec, tokens, earlier - 1, kind, seed);
        let queries = absorb(&case.queries, &case.kv_b.matrix, &spec, numerics);
        expect_within(&queries, &case.absorbed_queries(numerics))?;
        let (latents, lse) = latent_attention(&queries, &case.cache, &spec, numerics);
        let (expected_latents, expected_lse) = case.latent_attention(&exact(&queries), numerics);
        expect_within(&latents, &expected_latents)?;
        expect_within(&lse, &expected_lse)?;
        let output = expand_values(&latents, &case.kv_b.matrix, &spec, numerics);
        expect_within(&output, &case.expanded_values(&exact(&latents), numerics))?;
        prop_assert_eq!(
            found_bits(&absorbed(&case.queries, &case.cache, &case.kv_b.matrix, &spec, numerics)),
            found_bits(&Attended { output, lse })
        );
    }

    /// More queries than a tile and more keys than a block hold.
    #[test]
    fn long_sequences_are_the_formula(
        tokens in 50_usize..80, earlier in 0_usize..80, numerics in numerics(), seed: u64,
    ) {
        let spec = HeadSpec { heads: 1, nope: 2, rope: 2, value: 2, latent: 3, softmax_scale: 0.5 };
        let case = Case::new(spec, tokens, earlier, Kind::PLAIN, seed);
        let (bounds, sums) = case.naive(numerics);
        let found = naive(&case.queries, &case.cache, &case.kv_b.matrix, &spec, numerics);
        expect_within(&found.output, &bounds)?;
        expect_within(&found.lse, &sums)?;
    }
}

/// Bits, with one NaN for all.
fn found_bits(found: &Attended) -> Vec<u32> {
    let bits = |value: &f32| if value.is_nan() { f32::NAN.to_bits() } else { value.to_bits() };
    found.output.iter().chain(&found.lse).map(bits).collect()
}
