//! The join of the multi-token-prediction module.

use proptest::prelude::*;
use rorqual::model::weights::Matrix;
use rorqual::reference::linear::Output;
use rorqual::reference::mla::{HeadSpec, Mla, QueryProjection};
use rorqual::reference::model::{Block, FeedForward};
use rorqual::reference::moe::Mlp;
use rorqual::reference::mtp::Mtp;

use crate::bounded::{Bounded, expect_within};
use crate::draw::{Draw, Kind, kind, size};
use crate::elementwise::norm;
use crate::linear::product;
use crate::{cases, numerics};

/// A block that nobody runs.
fn idle_block() -> Block {
    let one = || Matrix::from_f32(1, 1, &[1.0]);
    let spec = HeadSpec { heads: 1, nope: 1, rope: 2, value: 1, latent: 1, softmax_scale: 1.0 };
    let attention = Mla {
        spec,
        query: QueryProjection::Direct(one()),
        kv_a_proj: one(),
        kv_a_norm: vec![1.0],
        kv_b_proj: one(),
        o_proj: one(),
    };
    let network = Mlp { gate_proj: one(), up_proj: one(), down_proj: one() };
    Block {
        attention_norm: vec![1.0],
        attention,
        feed_forward_norm: vec![1.0],
        feed_forward: FeedForward::Dense(network),
    }
}

proptest! {
    #![proptest_config(cases(96))]

    #[test]
    fn embedding_comes_before_the_state(
        tokens in 0_usize..4, hidden in size(64, 70), kind in kind(), numerics in numerics(), seed: u64,
    ) {
        let mut draw = Draw(seed);
        let joint = draw.weight(hidden, 2 * hidden, Kind::PLAIN);
        let module = Mtp {
            embedding: Matrix::from_f32(0, hidden, &[]),
            embedding_norm: draw.values(hidden, Kind::PLAIN),
            hidden_norm: draw.values(hidden, Kind::PLAIN),
            eh_proj: joint.matrix.clone(),
            block: idle_block(),
            head_norm: Vec::new(),
            head: Matrix::from_f32(0, hidden, &[]),
        };
        let (embedded, states) = (draw.values(tokens * hidden, kind), draw.values(tokens * hidden, kind));
        let expected: Vec<Bounded> = embedded
            .chunks(hidden)
            .zip(states.chunks(hidden))
            .flat_map(|(embedded, state)| {
                let embedded = norm(embedded, &module.embedding_norm, 1e-6, numerics);
                let state = norm(state, &module.hidden_norm, 1e-6, numerics);
                product(&[embedded, state].concat(), &joint, Output::Activation, numerics)
            })
            .collect();
        expect_within(&module.join(&embedded, &states, 1e-6, numerics), &expected)?;
    }
}
