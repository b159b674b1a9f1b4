//! Networks of random weights, left alone. Their logits say little, so the choice of experts is what counts.
//!
//! The reference adds as the tensor cores of the target do ([`Sums`]). Beside one that adds in f32, the 13 bits that Ada
//! and Hopper keep of sums of e4m3 flip codes in every layer, and rows end at cosines of 0.95.
//!
//! A row that keeps the reference's experts in all layers must end where the reference does: cosine 0.99 of states and
//! logits. Where a choice differs, the two scores must have been too close for these roundings to tell apart:
//!
//! - Both sides start from the same bits, and part where two sums that differ in their last bits of f32 are rounded to
//!   different neighbours. A block has 19 such points: norm, both query projections and the norm between them,
//!   rotation, the projection to a latent, its norm, its expansion, the weights of the softmax, attention, the output
//!   projection, the sum with the stream; norm, gate, up, SwiGLU, down, combine, the sum with the stream. Before the
//!   router of layer `l` there are `R = 19 l + 13`.
//! - A neighbour of bf16 is at most `u = 2^-8` off in the mean of its binade; a norm keeps relative errors. An FP8
//!   product turns an error of `2^-8` into a code that is `2^-3` off, but only in one of `2^5` cases: in the mean of
//!   squares `u = 2^-5.5`. Errors of different points are independent, so the row is off by `u sqrt(R)` of itself.
//! - A logit of a random weight is off by that share of what logits are, in the root of the mean square of the row's;
//!   4 times that is not exceeded by one in ten thousand. A sigmoid or a softmax is at most a quarter as steep. Two
//!   experts are compared: twice; where groups are judged by the sum of two, four times.
//!
//! ```text
//! gap <= n * 1/4 * 4 u sqrt(19 l + 13) rms(logits),    n = 2, or 4 between groups
//! ```
//!
//! This is for the first choice of a row that differs. Behind an earlier token that chose otherwise in a layer before,
//! it compares rows that attended to other keys; then it is printed and not judged.

use std::collections::BTreeMap;

use rorqual::model::config::{Config, TopkMethod};
use rorqual::network::{DeviceNetwork, Network};
use rorqual::reference::gate::{GateSpec, Routing, kept_groups};
use rorqual::reference::mla::Form;
use rorqual::reference::{Model, Observer, Sums};

use crate::checkpoint::{self, SOFTMAX, Sequence, forward, tokens};

const COSINE: f64 = 0.99;

/// Targets, and what adds there. Without `RORQUAL_ALL` those after the first are left to [`ON_ALL_TARGETS`].
const TARGETS: [(&str, Sums); 3] = [("sm_80", Sums::Ampere), ("sm_89", Sums::Ada), ("sm_90a", Sums::Hopper)];

/// The checkpoint of FP8 weights.
const ON_ALL_TARGETS: &str = "tiny-v3-fp8";

/// Those of random weights that the families serve; and of a hundred rows, those that keep their experts, at least.
/// Layers of `small-v3` choose 4 of 8 groups and 8 of 32 experts, so that some scores of a row are often close: a
/// reference that adds in f32 and one that adds as Ampere does share the choices of 105 of 129 rows.
const CHECKPOINTS: [(&str, usize); 6] = [
    ("small-v3", 80),
    ("tiny-mtp", 98),
    ("tiny-v3", 98),
    ("tiny-v3-bf16-sharded", 98),
    ("tiny-v3-fp8", 98),
    (SOFTMAX, 98),
];

/// Lengths and seeds of prompts.
const PROMPTS: [(usize, u64); 6] = [(1, 1), (7, 2), (16, 3), (17, 4), (24, 5), (40, 6)];

/// Tokens that follow in the absorbed form.
const ABSORBED: usize = 4;

/// The routing of each layer with experts, with its logits.
#[derive(Default)]
struct Choices(BTreeMap<usize, (Vec<f32>, Routing)>);

impl Observer for Choices {
    fn routing(&mut self, layer: usize, logits: &[f32], routing: &Routing) {
        self.0.insert(layer, (logits.to_vec(), routing.clone()));
    }
}

/// A pass: final states, logits, choices.
struct Pass {
    states: Vec<f32>,
    logits: Vec<f32>,
    choices: Choices,
}

/// All prompts in the naive form, then a few tokens of each in the absorbed form.
fn passes<N: Network>(network: &N, prompts: &[Vec<u32>]) -> [Pass; 2] {
    let vocab = network.config().vocab_size;
    let mut sequences: Vec<Sequence<N>> = prompts.iter().map(|_| Sequence::new(network)).collect();
    let rests: Vec<Vec<u32>> = (0..prompts.len()).map(|at| tokens(vocab, ABSORBED, at as u64)).collect();
    [(prompts, Form::Naive), (&rests, Form::Absorbed)].map(|(tokens, form)| {
        let batch: Vec<(&[u32], Form)> = tokens.iter().map(|tokens| (&tokens[..], form)).collect();
        let mut choices = Choices::default();
        let states = forward(network, &mut sequences, &batch, &mut choices).expect("tokens that fit");
        Pass { logits: network.logits(&states).expect("states"), states, choices }
    })
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let product =
        |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    product(a, b) / (product(a, a) * product(b, b)).sqrt()
}

/// A gate of the reference: its rules, and its bias or zeros.
struct Gate {
    spec: GateSpec,
    bias: Vec<f32>,
    fp8: bool,
}

impl Gate {
    /// Of a layer with experts.
    fn new(name: &str, config: &Config, layer: usize) -> Self {
        let spec = GateSpec::from_config(config);
        let has_bias = spec.method == TopkMethod::NoauxTc;
        let tensor = format!("model.layers.{layer}.mlp.gate.e_score_correction_bias");
        let bias = if has_bias {
            checkpoint::weights(name).vector(&tensor, spec.experts).expect("a bias")
        } else {
            vec![0.0; spec.experts]
        };
        Self { spec, bias, fp8: config.quantization.is_some() }
    }

    /// How far the scores were apart that decided for `reference` and against `found`, and how many scores were
    /// compared.
    fn gap(&self, scores: &[f32], reference: &[u32], found: &[u32]) -> (f32, f32) {
        let biased: Vec<f32> = scores.iter().zip(&self.bias).map(|(score, bias)| score + bias).collect();
        let size = self.spec.experts / self.spec.groups;
        let groups = kept_groups(&biased, &self.spec);
        let lost = reference.iter().filter(|expert| !found.contains(expert));
        let gained = || found.iter().filter(|expert| !reference.contains(expert));
        let stranger = gained().map(|expert| *expert as usize / size).find(|group| !groups.contains(group));
        if let Some(stranger) = stranger {
            let of_group = |group: usize| -> f32 {
                let mut scores = biased[group * size..][..size].to_vec();
                scores.sort_by(|a, b| b.total_cmp(a));
                scores.iter().take(if self.spec.method == TopkMethod::NoauxTc { 2 } else { 1 }).sum()
            };
            let worst_kept = groups.iter().map(|group| of_group(*group)).fold(f32::INFINITY, f32::min);
            return (worst_kept - of_group(stranger), 4.0);
        }
        let worst_lost = lost.map(|expert| biased[*expert as usize]).fold(f32::INFINITY, f32::min);
        let best_gained = gained().map(|expert| biased[*expert as usize]).fold(f32::NEG_INFINITY, f32::max);
        (worst_lost - best_gained, 2.0)
    }

    /// How far scores may be apart that these roundings confuse.
    fn bound(&self, layer: usize, logits: &[f32], compared: f32) -> f32 {
        let unit = if self.fp8 { 2.0_f32.powf(-5.5) } else { 2.0_f32.powi(-8) };
        let square = logits.iter().map(|logit| logit * logit).sum::<f32>() / logits.len() as f32;
        compared * unit * (19.0 * layer as f32 + 13.0).sqrt() * square.sqrt()
    }
}

#[test]
fn rows_that_keep_their_experts_end_where_the_reference_does() {
    for (name, least_kept) in CHECKPOINTS {
        let model = checkpoint::model(name);
        let vocab = model.config().vocab_size;
        let prompts: Vec<Vec<u32>> = PROMPTS.map(|(length, seed)| tokens(vocab, length, seed)).to_vec();
        let runs_all = name == ON_ALL_TARGETS || checkpoint::runs_all();
        for (target, sums) in &TARGETS[..if runs_all { TARGETS.len() } else { 1 }] {
            let expected = passes(&model.clone().with_sums(*sums), &prompts);
            let network = checkpoint::load_inexact(&model, target, 256);
            let found = passes::<DeviceNetwork>(&network, &prompts);
            let case = format!("{name}, {target}");
            let (kept, rows) = compare(name, &case, &model, &prompts, &expected, &found);
            assert!(kept * 100 >= rows * least_kept, "{case}: {kept} of {rows} rows keep their experts");
        }
    }
}

/// That rows of both passes which keep their experts end where the reference does. How many do, and of how many.
fn compare(
    name: &str,
    case: &str,
    model: &Model,
    prompts: &[Vec<u32>],
    expected: &[Pass; 2],
    found: &[Pass; 2],
) -> (usize, usize) {
    let (mut kept, mut rows, mut least) = (0, 0, 1.0_f64);
    for (pass, (expected, found)) in expected.iter().zip(found).enumerate() {
        let lengths: Vec<usize> =
            prompts.iter().map(|prompt| if pass == 0 { prompt.len() } else { ABSORBED }).collect();
        let differing = differing_choices(model, name, pass, &lengths, expected, found);
        rows += differing.len();
        for (row, _) in differing.iter().enumerate().filter(|(_, differs)| !**differs) {
            kept += 1;
            for (expected, found) in [(&expected.states, &found.states), (&expected.logits, &found.logits)] {
                let width = expected.len() / differing.len();
                let of_row = row * width..(row + 1) * width;
                let cosine = cosine(&expected[of_row.clone()], &found[of_row]);
                assert!(cosine >= COSINE, "{case}, pass {pass}, row {row}: cosine {cosine}");
                least = least.min(cosine);
            }
        }
    }
    println!("{case}: {kept} of {rows} rows keep their experts, least cosine {least:.6}");
    (kept, rows)
}

/// For each row of a pass whether any of its choices differs. Judges the first that does.
fn differing_choices(
    model: &Model,
    name: &str,
    pass: usize,
    lengths: &[usize],
    expected: &Pass,
    found: &Pass,
) -> Vec<bool> {
    let mut differs = vec![false; lengths.iter().sum()];
    assert_eq!(expected.choices.0.len(), found.choices.0.len(), "{name}: layers with experts");
    for ((layer, (logits, expected)), (_, found)) in expected.choices.0.iter().zip(found.choices.0.values()) {
        let gate = Gate::new(name, model.config(), *layer);
        let (experts, topk) = (gate.spec.experts, gate.spec.topk);
        let before = differs.clone();
        let mut first = 0;
        for length in lengths {
            for row in first..first + length {
                let chosen = |routing: &Routing| {
                    let mut chosen = routing.topk_idx[row * topk..][..topk].to_vec();
                    chosen.sort_unstable();
                    chosen
                };
                let (expected_choice, found_choice) = (chosen(expected), chosen(found));
                if expected_choice == found_choice {
                    continue;
                }
                if std::mem::replace(&mut differs[row], true) {
                    continue;
                }
                let scores = &expected.scores[row * experts..][..experts];
                let (gap, compared) = gate.gap(scores, &expected_choice, &found_choice);
                let bound = gate.bound(*layer, &logits[row * experts..][..experts], compared);
                let follows = before[first..row].contains(&true);
                println!(
                    "{name}, pass {pass}, row {row}, layer {layer}: {found_choice:?} instead of {expected_choice:?}, \
                     gap {gap:e}, bound {bound:e}, follows another: {follows}"
                );
                assert!(follows || gap <= bound, "{name}: a gap of {gap}, expected at most {bound}");
            }
            first += length;
        }
    }
    differs
}
