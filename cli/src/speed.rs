//! What the demo measures of a run: speed, speculation, and which experts the tokens went to.

use std::collections::BTreeMap;
use std::time::Duration;

use rorqual::model::generate::{Generation, Generations};
use rorqual::reference::Observer;
use rorqual::reference::gate::Routing;
use serde::Serialize;

/// How fast a run was.
#[derive(Serialize)]
pub struct Speed {
    /// Tokens of all prompts.
    pub prompt_tokens: usize,
    /// Up to the first token of each sequence.
    pub prompt_tokens_per_second: f64,
    /// Tokens of all sequences.
    pub generated_tokens: usize,
    /// After the first token of each sequence.
    pub generated_tokens_per_second: f64,
    /// Passes of the whole batch through the network after the prompts.
    pub passes: usize,
    /// Drafts that were right, of those tried; `None` without any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acceptance_rate: Option<f64>,
}

impl Speed {
    /// The speed of a run on these prompts.
    pub fn of(generations: &Generations, prompts: &[Vec<u32>]) -> Self {
        let rate = |count: usize, time: Duration| count as f64 / time.as_secs_f64().max(1e-9);
        let sum = |of: fn(&Generation) -> usize| generations.sequences.iter().map(of).sum::<usize>();
        let (prompt_tokens, generated_tokens) =
            (prompts.iter().map(Vec::len).sum(), sum(|g| g.token_ids.len()));
        let (drafted, accepted) = (sum(|g| g.drafted), sum(|g| g.accepted));
        Self {
            prompt_tokens,
            prompt_tokens_per_second: rate(prompt_tokens, generations.prefill),
            generated_tokens,
            // The first token of each sequence is the prompt's doing.
            generated_tokens_per_second: rate(generated_tokens - prompts.len(), generations.decode),
            passes: generations.decode_passes,
            acceptance_rate: (drafted > 0).then(|| accepted as f64 / drafted as f64),
        }
    }
}

/// How the experts of a layer were used.
#[derive(Serialize)]
pub struct LayerLoad {
    /// The number of the layer.
    pub layer: usize,
    /// For each expert the share of (token, slot) pairs that it received.
    pub share: Vec<f64>,
}

/// Counts which experts the tokens go to.
#[derive(Default)]
pub struct ExpertLoad {
    /// For each layer seen, the slots that each expert received.
    slots: BTreeMap<usize, Vec<usize>>,
}

impl Observer for ExpertLoad {
    fn routing(&mut self, layer: usize, _logits: &[f32], routing: &Routing) {
        let slots = self.slots.entry(layer).or_insert_with(|| vec![0; routing.experts]);
        for &expert in &routing.topk_idx {
            slots[expert as usize] += 1;
        }
    }
}

impl ExpertLoad {
    /// The shares of every layer seen.
    pub fn shares(&self) -> Vec<LayerLoad> {
        let share = |slots: &Vec<usize>| {
            let all = slots.iter().sum::<usize>().max(1) as f64;
            slots.iter().map(|&count| count as f64 / all).collect()
        };
        self.slots.iter().map(|(&layer, slots)| LayerLoad { layer, share: share(slots) }).collect()
    }
}
