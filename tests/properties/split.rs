//! A sequence gives the same bits in whatever chunks its tokens come, and beside whatever other sequences.

use proptest::prelude::*;
use rorqual::model::cache::LatentCache;
use rorqual::reference::mla::{Attended, Form, HeadSpec, Mla, QueryProjection, Rows, absorbed, naive};
use rorqual::reference::rope::{MscaleConvention, Rope};

use crate::attention::{Case, head_spec};
use crate::draw::{Draw, Kind, kind, size};
use crate::{cases, expect_same_bits, numerics};

proptest! {
    #![proptest_config(cases(96))]

    /// Specials in the cache: a key that a query does not see must not be felt, whatever it holds.
    #[test]
    fn attention_in_two_chunks_is_that_in_one(
        spec in head_spec(),
        tokens in size(65, 80),
        earlier in size(63, 140),
        kind in kind(),
        numerics in numerics(),
        seed: u64,
    ) {
        let case = Case::new(spec, tokens, earlier - 1, kind, seed);
        let kv_b = &case.kv_b.matrix;
        let first = Draw(seed).below(tokens + 1);
        let (queries, later_queries) = case.queries.split_at(first * spec.heads * spec.query());
        let cache = &case.cache[..(earlier - 1 + first) * spec.cache_row()];
        for form in [naive, absorbed] {
            let whole = form(&case.queries, &case.cache, kv_b, &spec, numerics);
            let before = form(queries, cache, kv_b, &spec, numerics);
            let after = form(later_queries, &case.cache, kv_b, &spec, numerics);
            expect_same_bits(&[before.output, after.output].concat(), &whole.output)?;
            expect_same_bits(&[before.lse, after.lse].concat(), &whole.lse)?;
        }
    }

    #[test]
    fn future_keys_are_not_felt(
        spec in head_spec(), tokens in 2_usize..70, earlier in 0_usize..70, numerics in numerics(), seed: u64,
    ) {
        let mut case = Case::new(spec, tokens, earlier, Kind::PLAIN, seed);
        let run = |case: &Case| -> Vec<Attended> {
            let form = |form: fn(&_, &_, &_, &_, _) -> _| {
                form(&case.queries[..], &case.cache[..], &case.kv_b.matrix, &spec, numerics)
            };
            vec![form(naive), form(absorbed)]
        };
        let clean = run(&case);
        let mut draw = Draw(!seed);
        let spoilt = 1 + draw.below(tokens - 1);
        let at = (earlier + spoilt) * spec.cache_row();
        let spoil = draw.pick(&[f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX]);
        case.cache[at..][..spec.cache_row()].fill(spoil);
        for (clean, found) in clean.iter().zip(run(&case)) {
            let seen = spoilt * spec.heads;
            expect_same_bits(&found.output[..seen * spec.value], &clean.output[..seen * spec.value])?;
            expect_same_bits(&found.lse[..seen], &clean.lse[..seen])?;
        }
    }

    /// A whole layer, projections and cache included.
    #[test]
    fn layer_in_chunks_and_batches_is_the_layer_alone(
        heads in 1_usize..4,
        hidden in size(128, 140),
        low_rank: bool,
        counts in (1_usize..30, 0_usize..30),
        generated: bool,
        kind in kind(),
        numerics in numerics(),
        seed: u64,
    ) {
        let mut draw = Draw(seed);
        let spec = HeadSpec { heads, nope: 5, rope: 4, value: 3, latent: 17, softmax_scale: 0.3 };
        let mut weight = |rows, columns| draw.weight(rows, columns, Kind::PLAIN).matrix;
        let query = if low_rank {
            QueryProjection::LowRank { down: weight(7, hidden), norm: vec![0.5; 7], up: weight(heads * 9, 7) }
        } else {
            QueryProjection::Direct(weight(heads * 9, hidden))
        };
        let layer = Mla {
            spec,
            query,
            kv_a_proj: weight(21, hidden),
            kv_a_norm: vec![1.5; 17],
            kv_b_proj: weight(heads * 8, 17),
            o_proj: weight(hidden, heads * 3),
        };
        let rope = Rope::new(4, 10_000.0, None, MscaleConvention::default());
        let form = if generated { Form::Absorbed } else { Form::Naive };
        let tokens = counts.0 + counts.1;
        let x = draw.values(tokens * hidden, kind);
        let rotations: Vec<_> = (0..tokens).map(|position| rope.rotation(position)).collect();

        let mut cache = LatentCache::new(1, spec.cache_row());
        let mut batch = [Rows { first: 0, count: tokens, form, cache: &mut cache }];
        let whole = layer.forward(&x, &rotations, 0, &mut batch, numerics);

        // The same tokens in two chunks, the second beside another sequence in the other form.
        let (x, later) = x.split_at(counts.0 * hidden);
        let mut chunked = LatentCache::new(1, spec.cache_row());
        let mut batch = [Rows { first: 0, count: counts.0, form, cache: &mut chunked }];
        let before = layer.forward(x, &rotations[..counts.0], 0, &mut batch, numerics);
        let other_form = if generated { Form::Naive } else { Form::Absorbed };
        let others = draw.values(3 * hidden, kind);
        let mut other_cache = LatentCache::new(1, spec.cache_row());
        let mut batch = [
            Rows { first: 0, count: 3, form: other_form, cache: &mut other_cache },
            Rows { first: 3, count: counts.1, form, cache: &mut chunked },
        ];
        let rotations = [&rotations[..1], &rotations[..1], &rotations[..1], &rotations[counts.0..]].concat();
        let after = layer.forward(&[&others, later].concat(), &rotations, 0, &mut batch, numerics);

        expect_same_bits(&before, &whole[..before.len()])?;
        expect_same_bits(&after[3 * hidden..], &whole[before.len()..])?;
        expect_same_bits(chunked.rows(0), cache.rows(0))?;
    }
}
