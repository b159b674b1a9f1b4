//! What a token computes depends on its own sequence alone, bit for bit.
//!
//! Five sequences of ragged lengths, each alone, its prompt whole and its generated tokens one by one, on one thread:
//! that is the rule. Then the same in other company: all five in one batch (some still reading their prompt while
//! others generate), the prompt in chunks of 1, 7 and 64, several generated tokens at once as when drafts are
//! verified, on two threads. Final states, logits and cache rows must have the same bits, and so must the rows of the
//! multi-token-prediction module where there is one.

use std::ops::Range;

use rayon::ThreadPoolBuilder;
use rorqual::model::cache::LatentCache;
use rorqual::reference::Precision;
use rorqual::reference::mla::Form;
use rorqual::reference::model::{DraftSegment, Model, Segment};

use crate::oracle::assert_same;
use crate::run::{directory, load};

/// Prompt lengths. They lie on both sides of the 64 keys that attention takes at once.
const PROMPTS: [usize; 5] = [1, 6, 17, 64, 131];

/// Generated tokens of each sequence; sequence `i` has `i` more.
const GENERATED: usize = 4;

/// How sequences are run.
#[derive(Debug)]
struct Plan {
    threads: usize,
    /// All sequences in one batch, or one after the other.
    together: bool,
    /// Most tokens of a prompt that run at once.
    chunk: usize,
    /// Most generated tokens that run at once.
    generated: usize,
}

const RULE: Plan = Plan { threads: 1, together: false, chunk: usize::MAX, generated: 1 };

const OTHERS: &[Plan] = &[
    Plan { threads: 2, ..RULE },
    Plan { together: true, ..RULE },
    Plan { chunk: 1, ..RULE },
    Plan { chunk: 7, ..RULE },
    Plan { chunk: 64, ..RULE },
    Plan { generated: 3, ..RULE },
    Plan { threads: 2, together: true, chunk: 7, generated: 2 },
    Plan { threads: 2, together: true, chunk: 64, generated: usize::MAX },
];

#[test]
fn tiny_v3() {
    check("tiny-v3");
}

#[test]
fn tiny_v2lite() {
    check("tiny-v2lite");
}

#[test]
fn tiny_v3_fp8() {
    check("tiny-v3-fp8");
}

#[test]
fn tiny_mtp() {
    check("tiny-mtp");
}

#[test]
fn tiny_r1_fp8() {
    check("tiny-r1-fp8");
}

#[test]
fn small_v3() {
    check("small-v3");
}

fn check(name: &str) {
    for precision in [Precision::F32, Precision::Kernel] {
        let model = load(&directory(name), precision);
        let sequences = sequences(model.config().vocab_size);
        let expected = run(&model, &sequences, &RULE);
        for plan in OTHERS {
            let found = run(&model, &sequences, plan);
            for (at, (found, expected)) in found.iter().zip(&expected).enumerate() {
                found.assert_same(expected, &format!("{name}, {precision:?}, {plan:?}, sequence {at}"));
            }
        }
    }
}

/// Some tokens, the first `prompt` of which are the prompt.
struct Sequence {
    tokens: Vec<u32>,
    prompt: usize,
}

fn sequences(vocab: usize) -> Vec<Sequence> {
    let mut state = 1_u64;
    let mut token = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u32 % vocab as u32
    };
    let lengths = PROMPTS.iter().enumerate().map(|(at, prompt)| prompt + GENERATED + at);
    let tokens = lengths.map(|length| (0..length).map(|_| token()).collect());
    tokens.zip(PROMPTS).map(|(tokens, prompt)| Sequence { tokens, prompt }).collect()
}

/// All that a sequence computes.
#[derive(Default)]
struct Computed {
    states: Vec<f32>,
    logits: Vec<f32>,
    /// For each layer.
    cache: Vec<Vec<f32>>,
    draft_states: Vec<f32>,
    draft_logits: Vec<f32>,
    draft_cache: Vec<f32>,
}

impl Computed {
    #[track_caller]
    fn assert_same(&self, other: &Self, what: &str) {
        let same = |name: &str, found: &[f32], expected: &[f32]| {
            let bits = |values: &[f32]| -> Vec<u32> { values.iter().map(|value| value.to_bits()).collect() };
            assert_same(&format!("{what}: {name}"), &[expected.len()], &bits(found), &bits(expected));
        };
        same("final states", &self.states, &other.states);
        same("logits", &self.logits, &other.logits);
        same("draft states", &self.draft_states, &other.draft_states);
        same("draft logits", &self.draft_logits, &other.draft_logits);
        for (layer, (found, expected)) in self.cache.iter().zip(&other.cache).enumerate() {
            same(&format!("cache of layer {layer}"), found, expected);
        }
        same("draft cache", &self.draft_cache, &other.draft_cache);
    }
}

fn run(model: &Model, sequences: &[Sequence], plan: &Plan) -> Vec<Computed> {
    let pool = ThreadPoolBuilder::new().num_threads(plan.threads).build().expect("a pool of threads");
    pool.install(|| {
        let batch = if plan.together { sequences.len() } else { 1 };
        sequences.chunks(batch).flat_map(|batch| run_batch(model, batch, plan)).collect()
    })
}

fn run_batch(model: &Model, sequences: &[Sequence], plan: &Plan) -> Vec<Computed> {
    let mut all: Vec<Computed> = sequences.iter().map(|_| Computed::default()).collect();
    forward(model, sequences, &mut all, plan);
    if model.has_mtp() {
        draft(model, sequences, &mut all, plan);
    }
    all
}

fn forward(model: &Model, sequences: &[Sequence], all: &mut [Computed], plan: &Plan) {
    let (width, vocab) = (model.config().hidden_size, model.config().vocab_size);
    let mut caches: Vec<LatentCache> = sequences.iter().map(|_| model.new_cache()).collect();
    let pieces: Vec<_> = sequences.iter().map(|s| pieces(0..s.tokens.len(), s.prompt, plan)).collect();
    for step in 0..pieces.iter().map(Vec::len).max().unwrap_or(0) {
        let mut segments = Vec::new();
        for ((sequence, cache), pieces) in sequences.iter().zip(&mut caches).zip(&pieces) {
            if let Some((range, form)) = pieces.get(step) {
                segments.push(Segment { tokens: &sequence.tokens[range.clone()], form: *form, cache });
            }
        }
        let states = model.forward(&mut segments, &mut ()).expect("tokens that fit");
        let logits = model.logits(&states);
        let (mut states, mut logits) = (states.as_slice(), logits.as_slice());
        for (computed, pieces) in all.iter_mut().zip(&pieces) {
            let count = pieces.get(step).map_or(0, |(range, _)| range.len());
            computed.states.extend(states.split_off(..count * width).expect("its rows"));
            computed.logits.extend(logits.split_off(..count * vocab).expect("its rows"));
        }
    }
    for (computed, cache) in all.iter_mut().zip(caches) {
        let layers = 0..model.config().num_hidden_layers;
        computed.cache = layers.map(|layer| cache.rows(layer).to_vec()).collect();
    }
}

/// The rows of the multi-token-prediction module, in pieces that go by the embedded token.
fn draft(model: &Model, sequences: &[Sequence], all: &mut [Computed], plan: &Plan) {
    let (width, vocab) = (model.config().hidden_size, model.config().vocab_size);
    let mut caches: Vec<LatentCache> = sequences.iter().map(|_| model.new_draft_cache()).collect();
    let pieces: Vec<_> = sequences.iter().map(|s| pieces(1..s.tokens.len(), s.prompt, plan)).collect();
    for step in 0..pieces.iter().map(Vec::len).max().unwrap_or(0) {
        let mut segments = Vec::new();
        for (((sequence, computed), cache), pieces) in
            sequences.iter().zip(&*all).zip(&mut caches).zip(&pieces)
        {
            if let Some((range, form)) = pieces.get(step) {
                let hidden = &computed.states[(range.start - 1) * width..(range.end - 1) * width];
                let tokens = &sequence.tokens[range.clone()];
                segments.push(DraftSegment { tokens, hidden, form: *form, cache });
            }
        }
        let states = model.draft(&mut segments, &mut ()).expect("tokens that fit");
        let logits = model.draft_logits(&states);
        let (mut states, mut logits) = (states.as_slice(), logits.as_slice());
        for (computed, pieces) in all.iter_mut().zip(&pieces) {
            let count = pieces.get(step).map_or(0, |(range, _)| range.len());
            computed.draft_states.extend(states.split_off(..count * width).expect("its rows"));
            computed.draft_logits.extend(logits.split_off(..count * vocab).expect("its rows"));
        }
    }
    for (computed, cache) in all.iter_mut().zip(caches) {
        computed.draft_cache = cache.rows(0).to_vec();
    }
}

/// Cuts the tokens of a sequence into what runs at once.
fn pieces(tokens: Range<usize>, prompt: usize, plan: &Plan) -> Vec<(Range<usize>, Form)> {
    let mut pieces = Vec::new();
    let mut first = tokens.start;
    while first < tokens.end {
        let (form, most, end) = if first < prompt {
            (Form::Naive, plan.chunk, prompt)
        } else {
            (Form::Absorbed, plan.generated, tokens.end)
        };
        let next = end.min(first.saturating_add(most));
        pieces.push((first..next, form));
        first = next;
    }
    pieces
}
