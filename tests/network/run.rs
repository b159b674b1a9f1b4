//! Runs of a network on some sequences: what a test compares.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rorqual::model::cache::LatentCache;
use rorqual::model::config::Config;
use rorqual::model::weights::Checkpoint;
use rorqual::reference::Precision;
use rorqual::reference::gate::Routing;
use rorqual::reference::mla::Form;
use rorqual::reference::model::{DraftSegment, Model, Observer, Segment};
use rorqual::reference::rope::MscaleConvention;

use crate::oracle::{fixture, text};

/// The checkpoint that comes with the program.
pub fn bundled() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/tiny-r1-fp8")
}

/// The folder of a checkpoint by its name.
pub fn directory(name: &str) -> PathBuf {
    if name == "tiny-r1-fp8" { bundled() } else { fixture(name) }
}

/// The configuration in `directory`.
pub fn config(directory: &Path) -> Config {
    Config::from_json(&text(&directory.join("config.json"))).expect("a configuration that is supported")
}

/// The network in `directory`.
pub fn load(directory: &Path, precision: Precision) -> Model {
    load_as(directory, config(directory), precision, MscaleConvention::HuggingFace)
}

/// The weights in `directory` under another configuration.
pub fn load_as(directory: &Path, config: Config, precision: Precision, mscale: MscaleConvention) -> Model {
    let checkpoint = Checkpoint::open(directory, &mut |_, _| ()).expect("a checkpoint");
    Model::load(config, &checkpoint, precision, mscale, &mut |_, _| ()).expect("weights that fit")
}

/// Everything an observer sees of one sequence.
#[derive(Default)]
pub struct Seen {
    /// For each layer the residual stream before it; the last is behind the last layer. `[tokens, hidden]`.
    pub streams: BTreeMap<usize, Vec<f32>>,
    /// For each layer with experts the router logits `[tokens, experts]` and what the gate made of them.
    pub routings: BTreeMap<usize, (Vec<f32>, Routing)>,
}

impl Observer for Seen {
    fn residual(&mut self, layer: usize, stream: &[f32]) {
        self.streams.entry(layer).or_default().extend_from_slice(stream);
    }

    fn routing(&mut self, layer: usize, logits: &[f32], routing: &Routing) {
        let Some((all_logits, all)) = self.routings.get_mut(&layer) else {
            self.routings.insert(layer, (logits.to_vec(), routing.clone()));
            return;
        };
        all_logits.extend_from_slice(logits);
        all.scores.extend_from_slice(&routing.scores);
        all.topk_idx.extend_from_slice(&routing.topk_idx);
        all.topk_weight.extend_from_slice(&routing.topk_weight);
    }
}

/// A sequence that grows.
pub struct Sequence {
    /// The tokens of the prompt.
    pub prompt: Vec<u32>,
    /// The tokens that were generated.
    pub generated: Vec<u32>,
    /// For each generated token the logits that it was chosen by, `[vocab]`.
    pub logits: Vec<Vec<f32>>,
    /// Final states of all tokens but the last generated one, `[tokens - 1, hidden]`.
    pub states: Vec<f32>,
}

/// The largest absolute error; infinite where one is no number.
pub fn largest_error(found: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len(), "number of elements");
    let errors = found.iter().zip(expected).map(|(&found, expected)| (f64::from(found) - expected).abs());
    errors.fold(0.0, |largest, error| {
        if error <= largest {
            largest
        } else if error.is_nan() {
            f64::INFINITY
        } else {
            error
        }
    })
}

/// The index of the largest logit, the lowest where several are.
pub fn argmax(logits: &[f32]) -> u32 {
    let mut best = 0;
    for (at, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = at;
        }
    }
    best as u32
}

/// Continues all prompts at once: the prompt in the naive form, each generated token in the absorbed form. A
/// sequence ends after `limit` tokens or a stop token.
pub fn greedy(model: &Model, prompts: &[Vec<u32>], limit: usize, stop: &[u32]) -> Vec<Sequence> {
    let start = |prompt: &Vec<u32>| {
        let sequence = Sequence {
            prompt: prompt.clone(),
            generated: Vec::new(),
            logits: Vec::new(),
            states: Vec::new(),
        };
        (sequence, model.new_cache())
    };
    let mut all: Vec<(Sequence, LatentCache)> = prompts.iter().map(start).collect();
    let width = model.config().hidden_size;
    loop {
        let finished = |sequence: &Sequence| {
            sequence.generated.len() == limit
                || sequence.generated.last().is_some_and(|token| stop.contains(token))
        };
        let mut running: Vec<_> = all.iter_mut().filter(|(sequence, _)| !finished(sequence)).collect();
        if running.is_empty() {
            return all.into_iter().map(|(sequence, _)| sequence).collect();
        }
        let mut segments: Vec<Segment<'_>> = running
            .iter_mut()
            .map(|(sequence, cache)| match sequence.generated.len() {
                0 => Segment { tokens: &sequence.prompt, form: Form::Naive, cache },
                n => Segment { tokens: &sequence.generated[n - 1..], form: Form::Absorbed, cache },
            })
            .collect();
        let counts: Vec<usize> = segments.iter().map(|segment| segment.tokens.len()).collect();
        let states = model.forward(&mut segments, &mut ()).expect("tokens that fit");
        drop(segments);
        let mut rest = states.as_slice();
        for ((sequence, _), count) in running.into_iter().zip(counts) {
            let (states, others) = rest.split_at(count * width);
            rest = others;
            let logits = model.logits(&states[(count - 1) * width..]);
            sequence.generated.push(argmax(&logits));
            sequence.logits.push(logits);
            sequence.states.extend_from_slice(states);
        }
    }
}

/// What the multi-token-prediction module makes of a whole sequence.
pub struct Drafts {
    /// Row `i` embeds token `i + 1`: states after the head's norm, `[tokens - 1, hidden]`.
    pub states: Vec<f32>,
    /// Their logits, `[tokens - 1, vocab]`.
    pub logits: Vec<f32>,
    /// The module's cache.
    pub cache: LatentCache,
}

/// Runs the multi-token-prediction module on `tokens`, the first `prompt` of which are the prompt, joining the final
/// states `[tokens - 1 or more, hidden]` of the network.
pub fn draft(
    model: &Model,
    tokens: &[u32],
    prompt: usize,
    states: &[f32],
    observer: &mut dyn Observer,
) -> Drafts {
    let width = model.config().hidden_size;
    let mut cache = model.new_draft_cache();
    let mut drafted = Vec::new();
    // The form goes by the embedded token.
    for (first, end, form) in [(1, prompt, Form::Naive), (prompt, tokens.len(), Form::Absorbed)] {
        let hidden = &states[(first - 1) * width..(end - 1) * width];
        let segment = DraftSegment { tokens: &tokens[first..end], hidden, form, cache: &mut cache };
        drafted.extend(model.draft(&mut [segment], observer).expect("tokens that fit"));
    }
    Drafts { logits: model.draft_logits(&drafted), states: drafted, cache }
}
