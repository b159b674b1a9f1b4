//! Every fixture checkpoint in [`Precision::F32`] against its oracle, to the last tensor of the file.
//!
//! What an f32 implementation can be held to was measured with two others, and lies about four times their distance:
//!
//! | quantity | tolerance |
//! |---|---|
//! | logits, also of drafts | 1.5e-4; real head sizes 3e-4 |
//! | residual stream, final states, latents, rotated keys | 1e-4 times the root mean square; real head sizes 3e-4 |
//! | log probabilities | 1.5e-4 |
//! | router scores, routing weights | 2e-5; weights that are not normalised 4e-5 |
//! | router logits | 8e-5: a sigmoid is at most a quarter as steep, so that is 2e-5 of a score |
//! | lead of the best logit over the second | that of logits, twice |
//! | chosen experts in their order, greedy tokens, drafts | exact |
//!
//! The decisions are exact because the fixtures were made so that in float64 no other choice is near.
//!
//! Where an oracle has logits of a low-precision run (transformers in bf16, or FP8 activations in float64),
//! [`Precision::Kernel`] is compared with those by the cosine of each row, whose median must be 0.97: a single row
//! may fall to 0.2 when an expert flips, so single rows and elements say nothing.

use std::fs;

use rorqual::model::cache::LatentCache;
use rorqual::model::config::Config;
use rorqual::reference::Precision;
use rorqual::reference::mla::Form;
use rorqual::reference::model::{Model, Segment};
use rorqual::reference::ops::log_probability;

use crate::oracle::{Tensor, Tensors, assert_close, assert_same, fixture, rms, text};
use crate::run::{self, Drafts, Seen, Sequence, argmax, largest_error};

/// A checkpoint and the largest errors that it allows.
struct Case {
    fixture: &'static str,
    /// Of a logit.
    logits: f64,
    /// Of a state, in units of the root mean square.
    states: f64,
    /// Of a routing weight.
    topk_weight: f64,
}

const TINY: Case = Case { fixture: "", logits: 1.5e-4, states: 1e-4, topk_weight: 2e-5 };

const CASES: &[Case] = &[
    Case { fixture: "tiny-v2", topk_weight: 4e-5, ..TINY },
    Case { fixture: "tiny-v2lite", topk_weight: 4e-5, ..TINY },
    Case { fixture: "tiny-v3", ..TINY },
    Case { fixture: "tiny-v3-bf16-sharded", ..TINY },
    Case { fixture: "tiny-v3-fp8", ..TINY },
    Case { fixture: "small-v3", logits: 3e-4, states: 3e-4, ..TINY },
    Case { fixture: "tiny-mtp", ..TINY },
];

const LOG_PROBABILITY: f64 = 1.5e-4;
const ROUTER_LOGIT: f64 = 8e-5;
const SCORE: f64 = 2e-5;
/// A wrong convention shows in some logit of every row, by much more than any tolerance.
const FAR: f64 = 0.1;
const MEDIAN_COSINE: f64 = 0.97;
const PROMPTS: usize = 4;
const GREEDY_TOKENS: usize = 32;

#[test]
fn tiny_v2() {
    check("tiny-v2");
}

#[test]
fn tiny_v2lite() {
    check("tiny-v2lite");
}

#[test]
fn tiny_v3() {
    check("tiny-v3");
}

#[test]
fn tiny_v3_bf16_sharded() {
    check("tiny-v3-bf16-sharded");
}

#[test]
fn tiny_v3_fp8() {
    check("tiny-v3-fp8");
}

#[test]
fn small_v3() {
    check("small-v3");
}

#[test]
fn tiny_mtp() {
    check("tiny-mtp");
}

/// The sparse attention of V3.2 is not built, so its checkpoint must not be run as if it were dense.
#[test]
fn tiny_v32_is_refused() {
    let error = Config::from_json(&text(&fixture("tiny-v32").join("config.json"))).expect_err("V3.2");
    assert_eq!(
        error.to_string(),
        "config field `model_type` is \"deepseek_v32\"; supported: \"deepseek_v2\", \"deepseek_v3\" (the sparse \
         attention of V3.2 is not supported yet)"
    );
}

#[test]
fn every_fixture_has_a_case() {
    let elsewhere = ["tiny-r1-fp8", "tiny-v32", "units", "variants"];
    let mut found: Vec<String> = fs::read_dir(fixture(""))
        .expect("the folder of fixtures")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
        .filter(|name| !elsewhere.contains(&name.as_str()))
        .collect();
    found.sort();
    let mut cases: Vec<&str> = CASES.iter().map(|case| case.fixture).collect();
    cases.sort();
    assert_eq!(found, cases);
}

/// Compares one checkpoint with everything that its oracle holds.
fn check(name: &str) {
    let case = CASES.iter().find(|case| case.fixture == name).expect("a case");
    let directory = fixture(name);
    let oracle = Tensors::open(&directory.join("oracle.safetensors"));
    let model = run::load(&directory, Precision::F32);
    let prompts: Vec<Vec<u32>> =
        (0..PROMPTS).map(|p| oracle.get(&format!("p{p}.input_ids")).integers()).collect();
    let mut check = Check { case, model: &model, oracle: &oracle, worst: Vec::new() };

    for (p, prompt) in prompts.iter().enumerate() {
        check.prompt(p, prompt);
    }
    let sequences = run::greedy(&model, &prompts, GREEDY_TOKENS, &[]);
    for (p, sequence) in sequences.iter().enumerate() {
        check.continuation(p, sequence);
        if model.has_mtp() {
            check.drafts(p, sequence);
        }
    }
    for (quantity, worst) in &check.worst {
        println!("{name}: worst {quantity} at {worst:.3} of its tolerance");
    }
    low_precision(&directory, &oracle, &prompts);
    assert_eq!(oracle.unread(), [""; 0], "tensors of the oracle that nothing was compared with");
}

/// A comparison under way.
struct Check<'a> {
    case: &'a Case,
    model: &'a Model,
    oracle: &'a Tensors,
    /// For each quantity the worst error in units of its tolerance.
    worst: Vec<(String, f64)>,
}

impl Check<'_> {
    /// Holds `found` against the oracle's tensor `{prefix}.{quantity}`, or `layer` of it where it has one for each.
    fn close(
        &mut self,
        prefix: &str,
        quantity: &str,
        layer: Option<usize>,
        found: &[f32],
        tolerance: Tolerance,
    ) {
        let name = format!("{prefix}.{quantity}");
        let (shape, expected) = layer_of(self.oracle.get(&name), layer);
        let tolerance = match tolerance {
            Tolerance::Absolute(tolerance) => tolerance,
            Tolerance::OfRms(tolerance) => tolerance * rms(&expected),
        };
        let what = format!("{} {name}, layer {layer:?}", self.case.fixture);
        let worst = assert_close(&what, &shape, found, &expected, tolerance);
        let quantity = if prefix.contains("mtp") { format!("mtp.{quantity}") } else { quantity.to_owned() };
        match self.worst.iter_mut().find(|(name, _)| *name == quantity) {
            Some((_, known)) => *known = known.max(worst),
            None => self.worst.push((quantity, worst)),
        }
    }

    /// Holds the choice of experts against the oracle.
    fn same_experts(&self, prefix: &str, layer: Option<usize>, found: &[u32]) {
        let name = format!("{prefix}.topk_idx");
        let tensor = self.oracle.get(&name);
        let (shape, range) = layer_range(tensor, layer);
        let what = format!("{} {name}, layer {layer:?}", self.case.fixture);
        assert_same(&what, &shape, found, &tensor.integers()[range]);
    }

    /// One prompt in the naive form.
    fn prompt(&mut self, p: usize, prompt: &[u32]) {
        let (model, oracle, config) = (self.model, self.oracle, self.model.config());
        let (prefix, states) = (format!("p{p}"), Tolerance::OfRms(self.case.states));
        let rows = oracle.get(&format!("{prefix}.rows")).integers();
        let first = rows[0] as usize;
        let last_rows: Vec<u32> = (first as u32..prompt.len() as u32).collect();
        assert_eq!(rows, last_rows, "the stored rows are the last ones");

        let (mut seen, mut cache) = (Seen::default(), model.new_cache());
        let mut segment = [Segment { tokens: prompt, form: Form::Naive, cache: &mut cache }];
        let hidden = model.forward(&mut segment, &mut seen).expect("a prompt that fits");
        let logits = model.logits(&hidden);

        let (width, vocab) = (config.hidden_size, config.vocab_size);
        let logits_of_rows = &logits[first * vocab..];
        self.close(&prefix, "logits", None, logits_of_rows, Tolerance::Absolute(self.case.logits));
        self.close(&prefix, "final_norm", None, &hidden[first * width..], states);
        assert_eq!(seen.streams.len(), config.num_hidden_layers + 1);
        for (&layer, stream) in &seen.streams {
            self.close(&prefix, "hidden", Some(layer), &stream[first * width..], states);
        }
        for layer in 0..config.num_hidden_layers {
            let (latents, keys) = cache_parts(&cache, layer, first, config.kv_lora_rank);
            self.close(&prefix, "ckv", Some(layer), &latents, states);
            self.close(&prefix, "kpe", Some(layer), &keys, states);
        }
        assert_eq!(seen.routings.len(), config.num_hidden_layers - config.first_k_dense_replace);
        for (layer, (logits, routing)) in seen.routings.values().enumerate() {
            let (experts, topk) = (config.n_routed_experts, config.num_experts_per_tok);
            let (layer, weight) = (Some(layer), Tolerance::Absolute(self.case.topk_weight));
            self.same_experts(&prefix, layer, &routing.topk_idx[first * topk..]);
            self.close(&prefix, "topk_weight", layer, &routing.topk_weight[first * topk..], weight);
            let scores = &routing.scores[first * experts..];
            self.close(&prefix, "router_scores", layer, scores, Tolerance::Absolute(SCORE));
            let logits = &logits[first * experts..];
            self.close(&prefix, "router_logits", layer, logits, Tolerance::Absolute(ROUTER_LOGIT));
        }
        if prompt.len() > 1 {
            let next = logits.chunks(vocab).zip(&prompt[1..]);
            let found: Vec<f32> = next.map(|(row, &token)| log_probability(row, token) as f32).collect();
            self.close(&prefix, "logprobs", None, &found, Tolerance::Absolute(LOG_PROBABILITY));
        }
    }

    /// The greedy continuation of a prompt, in the absorbed form.
    fn continuation(&mut self, p: usize, sequence: &Sequence) {
        let prefix = format!("p{p}");
        let expected = self.oracle.get(&format!("{prefix}.greedy_ids")).integers();
        let what = format!("{} {prefix}.greedy_ids", self.case.fixture);
        assert_same(&what, &[GREEDY_TOKENS], &sequence.generated, &expected);
        let chosen = || sequence.logits.iter().zip(&sequence.generated);
        let found: Vec<f32> = chosen().map(|(row, &token)| log_probability(row, token) as f32).collect();
        self.close(&prefix, "greedy_logprobs", None, &found, Tolerance::Absolute(LOG_PROBABILITY));
        let lead = |(row, &token): (&Vec<f32>, &u32)| {
            let others = row.iter().enumerate().filter(|&(at, _)| at != token as usize);
            row[token as usize] - others.map(|(_, &logit)| logit).fold(f32::NEG_INFINITY, f32::max)
        };
        let found: Vec<f32> = chosen().map(lead).collect();
        self.close(&prefix, "greedy_margin", None, &found, Tolerance::Absolute(2.0 * self.case.logits));
    }

    /// The multi-token-prediction module over the prompt and its greedy continuation.
    fn drafts(&mut self, p: usize, sequence: &Sequence) {
        let (oracle, config) = (self.oracle, self.model.config());
        let (prefix, states) = (format!("p{p}.mtp"), Tolerance::OfRms(self.case.states));
        let logits = Tolerance::Absolute(self.case.logits);
        let tokens = [sequence.prompt.as_slice(), &sequence.generated].concat();
        assert_eq!(tokens, oracle.get(&format!("{prefix}.input_ids")).integers());

        let (mut seen, prompt) = (Seen::default(), sequence.prompt.len());
        let drafts = run::draft(self.model, &tokens, prompt, &sequence.states, &mut seen);

        let layer = config.num_hidden_layers;
        self.close(&prefix, "eh_proj_out", None, &seen.streams[&layer], states);
        self.close(&prefix, "block_out", None, &seen.streams[&(layer + 1)], states);
        self.close(&prefix, "shared_head_norm_out", None, &drafts.states, states);
        self.close(&prefix, "logits", None, &drafts.logits, logits);
        self.close(&prefix, "logits_hf", None, &drafts.logits, logits);
        let (latents, keys) = cache_parts(&drafts.cache, 0, 0, config.kv_lora_rank);
        self.close(&prefix, "ckv", None, &latents, states);
        self.close(&prefix, "kpe_pos1", None, &keys, states);
        let (router_logits, routing) = &seen.routings[&layer];
        self.close(&prefix, "router_logits", None, router_logits, Tolerance::Absolute(ROUTER_LOGIT));
        let weight = Tolerance::Absolute(self.case.topk_weight);
        self.close(&prefix, "topk_weight", None, &routing.topk_weight, weight);
        self.same_experts(&prefix, None, &routing.topk_idx);
        self.guesses(&prefix, sequence, &drafts);
        self.wrong_conventions(&prefix, &drafts);
    }

    /// What the module would have drafted after each greedy token, and whether that is what came.
    fn guesses(&self, prefix: &str, sequence: &Sequence, drafts: &Drafts) {
        let rows = drafts.logits.chunks(self.model.config().vocab_size).skip(sequence.prompt.len() - 1);
        let found: Vec<u32> = rows.map(argmax).collect();
        let expected = self.oracle.get(&format!("{prefix}.draft_ids")).integers();
        assert_same(&format!("{prefix}.draft_ids"), &[GREEDY_TOKENS], &found, &expected);
        let accepted: Vec<u32> =
            (1..GREEDY_TOKENS).map(|at| u32::from(found[at - 1] == sequence.generated[at])).collect();
        let expected = self.oracle.get(&format!("{prefix}.accepted")).integers();
        assert_same(&format!("{prefix}.accepted"), &[GREEDY_TOKENS - 1], &accepted, &expected);
    }

    /// The two readings of the paper that the released weights do not have must be far away, in every row.
    fn wrong_conventions(&self, prefix: &str, drafts: &Drafts) {
        let vocab = self.model.config().vocab_size;
        for quantity in ["logits_alt_paper_order", "logits_alt_prenorm_h"] {
            let Some(tensor) = self.oracle.find(&format!("{prefix}.{quantity}")) else { continue };
            let wrong = tensor.floats();
            let rows = drafts.logits.chunks(vocab).zip(wrong.chunks(vocab));
            let errors: Vec<f64> = rows.map(|(ours, wrong)| largest_error(ours, wrong)).collect();
            let least = errors.iter().copied().fold(f64::INFINITY, f64::min);
            println!("{prefix}.{quantity}: rows differ by at least {least:.3}");
            assert!(least > FAR, "{prefix}.{quantity}: a row differs by {least}, expected more than {FAR}");
        }
    }
}

/// The largest error of a quantity.
#[derive(Clone, Copy)]
enum Tolerance {
    Absolute(f64),
    /// Times the root mean square of what is expected.
    OfRms(f64),
}

/// Extents of one layer of a tensor, or of all of it, and where its elements lie.
fn layer_range(tensor: &Tensor, layer: Option<usize>) -> (Vec<usize>, std::ops::Range<usize>) {
    let shape = &tensor.shape[usize::from(layer.is_some())..];
    let count: usize = shape.iter().product();
    let first = layer.unwrap_or(0) * count;
    (shape.to_vec(), first..first + count)
}

fn layer_of(tensor: &Tensor, layer: Option<usize>) -> (Vec<usize>, Vec<f64>) {
    let (shape, range) = layer_range(tensor, layer);
    (shape, tensor.floats()[range].to_vec())
}

/// Latents and rotated keys of one layer's cache, from row `first` on.
fn cache_parts(cache: &LatentCache, layer: usize, first: usize, latent: usize) -> (Vec<f32>, Vec<f32>) {
    let rows = || cache.rows(layer).chunks(cache.width()).skip(first);
    let latents = rows().flat_map(|row| &row[..latent]).copied().collect();
    (latents, rows().flat_map(|row| &row[latent..]).copied().collect())
}

/// Holds [`Precision::Kernel`] against logits of a low-precision run, where the oracle has them.
fn low_precision(directory: &std::path::Path, oracle: &Tensors, prompts: &[Vec<u32>]) {
    let mut cosines = Vec::new();
    let model = run::load(directory, Precision::Kernel);
    let vocab = model.config().vocab_size;
    for (p, prompt) in prompts.iter().enumerate() {
        let names = [format!("p{p}.logits_bf16"), format!("p{p}.logits_actq")];
        let Some(expected) = names.iter().find_map(|name| oracle.find(name)) else { continue };
        let mut cache = model.new_cache();
        let mut segment = [Segment { tokens: prompt, form: Form::Naive, cache: &mut cache }];
        let hidden = model.forward(&mut segment, &mut ()).expect("a prompt that fits");
        let first = prompt.len() - expected.shape[0];
        let logits = model.logits(&hidden[first * model.config().hidden_size..]);
        let expected = expected.floats();
        assert_eq!(logits.len(), expected.len());
        let rows = logits.chunks(vocab).zip(expected.chunks(vocab));
        cosines.extend(rows.map(|(found, expected)| cosine(found, expected)));
    }
    if cosines.is_empty() {
        return;
    }
    cosines.sort_by(f64::total_cmp);
    let (least, median) = (cosines[0], cosines[cosines.len() / 2]);
    println!("{}: low-precision rows: median cosine {median:.4}, least {least:.4}", directory.display());
    assert!(
        median >= MEDIAN_COSINE,
        "median cosine {median} of {} rows, expected {MEDIAN_COSINE}",
        cosines.len()
    );
}

fn cosine(found: &[f32], expected: &[f64]) -> f64 {
    let found: Vec<f64> = found.iter().map(|&value| f64::from(value)).collect();
    let product: f64 = found.iter().zip(expected).map(|(a, b)| a * b).sum();
    product / (rms(&found) * rms(expected) * found.len() as f64)
}
