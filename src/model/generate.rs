//! Generation: prompts in, tokens out; greedy or sampled, plain or speculative, one sequence or many together.
//!
//! What a sequence generates does not depend on the batch around it or on the prefill chunk, and speculation changes
//! nothing but the number of passes: a draft is kept only where it is the very token that plain generation chooses at
//! that position. Since random numbers are keyed by (seed, sequence, position), that holds for sampling too.

use std::time::{Duration, Instant};

use super::sampling::Sampling;
use crate::error::{Error, Result};
use crate::network::{Cache, DraftSegment, Network, Segment};
use crate::reference::mla::Form;
use crate::reference::{InputError, Observer};

/// Tokens that one prefill pass takes at most, unless the caller says otherwise.
pub const DEFAULT_PREFILL_CHUNK: usize = 512;

/// How to generate.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerateOptions {
    /// Tokens to generate for each prompt at most.
    pub max_new_tokens: usize,
    /// How a token is chosen. Prompt `i` of a batch is sequence `i` of the random numbers.
    pub sampling: Sampling,
    /// A sequence ends behind one of these.
    pub stop_ids: Vec<u32>,
    /// Let the multi-token-prediction module draft a token ahead.
    pub speculate: bool,
    /// Prompt tokens, of all sequences together, that one pass takes; zero counts as one.
    pub prefill_chunk: usize,
}

impl Default for GenerateOptions {
    fn default() -> Self {
        Self {
            max_new_tokens: 256,
            sampling: Sampling::default(),
            stop_ids: Vec::new(),
            speculate: false,
            prefill_chunk: DEFAULT_PREFILL_CHUNK,
        }
    }
}

/// Why a sequence ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// A stop token was generated; it is the last of the ids.
    StopToken,
    /// As many tokens as asked for.
    MaxNewTokens,
    /// The network has no position for another token.
    PositionsExhausted,
}

/// What was generated for one prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generation {
    /// The generated tokens, a stop token included.
    pub token_ids: Vec<u32>,
    /// Why there are no more.
    pub stop_reason: StopReason,
    /// Drafts that were tried, with speculation.
    pub drafted: usize,
    /// Drafts that were the right token.
    pub accepted: usize,
}

/// What was generated for a batch of prompts, and how long it took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generations {
    /// One for each prompt, in order.
    pub sequences: Vec<Generation>,
    /// Time for the prompts, up to their last logits.
    pub prefill: Duration,
    /// Time for everything after.
    pub decode: Duration,
    /// Passes of the whole batch through the network after the prompts.
    pub decode_passes: usize,
}

/// Hears how far generation has come.
pub trait Progress {
    /// `done` of `total` prompt tokens, of all sequences together, have been read.
    fn prefilled(&mut self, done: usize, total: usize) {
        let _ = (done, total);
    }

    /// Sequence `sequence` has a new token.
    fn generated(&mut self, sequence: usize, token: u32) {
        let _ = (sequence, token);
    }
}

/// Hears nothing.
impl Progress for () {}

/// Generates a continuation of each prompt (token ids, taken as they are).
///
/// # Errors
/// Before anything is computed: an empty prompt, a token outside the vocabulary, a prompt longer than the positions,
/// settings out of range, speculation without a module for it. Later: logits from which no token can be chosen.
pub fn generate<N: Network>(
    network: &N,
    prompts: &[Vec<u32>],
    options: &GenerateOptions,
    progress: &mut dyn Progress,
    observer: &mut dyn Observer,
) -> Result<Generations> {
    options.sampling.validate()?;
    if options.speculate && !network.has_mtp() {
        return Err(InputError::NoMtp.into());
    }
    for prompt in prompts {
        network.check_prompt(prompt)?;
    }
    let mut run = Run {
        network,
        options,
        observer,
        sequences: prompts.iter().map(|prompt| Sequence::new(network, prompt, options)).collect(),
    };
    let started = Instant::now();
    if options.max_new_tokens > 0 {
        let _span = tracing::info_span!("prefill").entered();
        run.prefill(progress)?;
    }
    let prefilled = Instant::now();
    let _span = tracing::info_span!("decode").entered();
    let mut decode_passes = 0;
    while run.sequences.iter().any(|sequence| sequence.stop_reason.is_none()) {
        run.decode_step(progress)?;
        decode_passes += 1;
    }
    Ok(Generations {
        sequences: run.sequences.into_iter().map(Sequence::into_generation).collect(),
        prefill: prefilled - started,
        decode: prefilled.elapsed(),
        decode_passes,
    })
}

/// A batch under way.
struct Run<'a, N: Network> {
    network: &'a N,
    options: &'a GenerateOptions,
    observer: &'a mut dyn Observer,
    sequences: Vec<Sequence<N::Cache>>,
}

/// One sequence under way.
struct Sequence<C> {
    /// Prompt and generated tokens.
    tokens: Vec<u32>,
    prompt_len: usize,
    cache: C,
    draft_cache: C,
    /// Final states of the last tokens in `cache` that the draft module has not seen, `[rows, hidden]`.
    unseen_states: Vec<f32>,
    /// A guess at the token behind the last.
    draft: Option<u32>,
    drafted: usize,
    accepted: usize,
    stop_reason: Option<StopReason>,
}

impl<C: Cache> Sequence<C> {
    fn new(network: &impl Network<Cache = C>, prompt: &[u32], options: &GenerateOptions) -> Self {
        Self {
            tokens: prompt.to_vec(),
            prompt_len: prompt.len(),
            cache: network.new_cache(),
            draft_cache: network.new_draft_cache(),
            unseen_states: Vec::new(),
            draft: None,
            drafted: 0,
            accepted: 0,
            stop_reason: (options.max_new_tokens == 0).then_some(StopReason::MaxNewTokens),
        }
    }

    fn into_generation(self) -> Generation {
        Generation {
            token_ids: self.tokens[self.prompt_len..].to_vec(),
            stop_reason: self.stop_reason.unwrap_or(StopReason::MaxNewTokens),
            drafted: self.drafted,
            accepted: self.accepted,
        }
    }

    fn generated(&self) -> usize {
        self.tokens.len() - self.prompt_len
    }
}

impl<N: Network> Run<'_, N> {
    /// Reads all prompts, a chunk at a time, and chooses the first token of each.
    fn prefill(&mut self, progress: &mut dyn Progress) -> Result<()> {
        let total: usize = self.sequences.iter().map(|sequence| sequence.prompt_len).sum();
        let mut done = 0;
        while done < total {
            let mut room = self.options.prefill_chunk.max(1);
            let mut segments = Vec::new();
            let mut chunks = Vec::new();
            for (index, sequence) in self.sequences.iter_mut().enumerate() {
                let start = sequence.cache.tokens();
                let end = sequence.prompt_len.min(start + room);
                if start == end {
                    continue;
                }
                room -= end - start;
                let tokens = &sequence.tokens[start..end];
                segments.push(Segment { tokens, form: Form::Naive, cache: &mut sequence.cache });
                chunks.push((index, start..end));
            }
            let states = self.network.forward(&mut segments, self.observer)?;
            let mut states = states.as_slice();
            done += chunks.iter().map(|(_, chunk)| chunk.len()).sum::<usize>();
            progress.prefilled(done, total);
            for (index, chunk) in chunks {
                let (own, rest) = states.split_at(chunk.len() * self.network.config().hidden_size);
                states = rest;
                self.prefill_draft(index, chunk.end, own)?;
                if chunk.end == self.sequences[index].prompt_len {
                    let last = &own[own.len() - self.network.config().hidden_size..];
                    let logits = self.network.logits(last)?;
                    self.push_token(index, &logits, progress)?;
                }
            }
        }
        self.draft_next()
    }

    /// Shows the draft module the states of a chunk of the prompt that ends at `end`. The state of the prompt's last
    /// token waits for the token behind it.
    fn prefill_draft(&mut self, index: usize, end: usize, states: &[f32]) -> Result<()> {
        if !self.options.speculate {
            return Ok(());
        }
        let hidden = self.network.config().hidden_size;
        let sequence = &mut self.sequences[index];
        let first = sequence.draft_cache.tokens();
        let rows = end.min(sequence.prompt_len - 1) - first;
        let (seen, unseen) = states.split_at(rows * hidden);
        let tokens = &sequence.tokens[first + 1..first + 1 + rows];
        let cache = &mut sequence.draft_cache;
        let segment = DraftSegment { tokens, hidden: seen, form: Form::Naive, cache };
        self.network.draft(&mut [segment], self.observer)?;
        sequence.unseen_states = unseen.to_vec();
        Ok(())
    }

    /// One pass of every sequence that goes on: the last token, and the draft behind it where there is one.
    fn decode_step(&mut self, progress: &mut dyn Progress) -> Result<()> {
        let hidden = self.network.config().hidden_size;
        let active: Vec<usize> =
            (0..self.sequences.len()).filter(|&index| self.sequences[index].stop_reason.is_none()).collect();
        let inputs: Vec<Vec<u32>> = active
            .iter()
            .map(|&index| {
                let sequence = &self.sequences[index];
                sequence.tokens.last().copied().into_iter().chain(sequence.draft).collect()
            })
            .collect();
        let going_on = self.sequences.iter_mut().filter(|sequence| sequence.stop_reason.is_none());
        let mut segments: Vec<Segment<'_, N::Cache>> = going_on
            .zip(&inputs)
            .map(|(sequence, tokens)| Segment { tokens, form: Form::Absorbed, cache: &mut sequence.cache })
            .collect();
        let states = self.network.forward(&mut segments, self.observer)?;
        let logits = self.network.logits(&states)?;

        let mut rows = states.chunks(hidden).zip(logits.chunks(self.network.config().vocab_size));
        for index in active {
            let (state, logits) = rows.next().expect("a row for each token");
            let draft = self.sequences[index].draft.take();
            let draft_row = draft.and_then(|_| rows.next());
            let chosen = self.push_token(index, logits, progress)?;
            let sequence = &mut self.sequences[index];
            sequence.unseen_states = state.to_vec();
            let Some((draft_state, draft_logits)) = draft_row else { continue };
            sequence.drafted += 1;
            if draft != Some(chosen) {
                // The draft's row was computed for a token that is not there.
                sequence.cache.truncate(sequence.cache.tokens() - 1);
                continue;
            }
            sequence.accepted += 1;
            if sequence.stop_reason.is_none() {
                self.push_token(index, draft_logits, progress)?;
                self.sequences[index].unseen_states.extend_from_slice(draft_state);
            }
        }
        self.draft_next()
    }

    /// Lets the draft module see the newest states and guess a token for every sequence that goes on and has room
    /// for two more.
    fn draft_next(&mut self) -> Result<()> {
        if !self.options.speculate {
            return Ok(());
        }
        let (hidden, positions) =
            (self.network.config().hidden_size, self.network.config().max_position_embeddings);
        let options = self.options;
        let has_room = |sequence: &&mut Sequence<N::Cache>| {
            sequence.stop_reason.is_none()
                && sequence.generated() + 2 <= options.max_new_tokens
                && sequence.tokens.len() < positions
        };
        let mut drafting: Vec<&mut Sequence<N::Cache>> = self.sequences.iter_mut().filter(has_room).collect();
        if drafting.is_empty() {
            return Ok(());
        }
        let mut segments: Vec<DraftSegment<'_, N::Cache>> = drafting
            .iter_mut()
            .map(|sequence| {
                let rows = sequence.unseen_states.len() / hidden;
                DraftSegment {
                    tokens: &sequence.tokens[sequence.tokens.len() - rows..],
                    hidden: &sequence.unseen_states,
                    form: Form::Absorbed,
                    cache: &mut sequence.draft_cache,
                }
            })
            .collect();
        let states = self.network.draft(&mut segments, self.observer)?;
        let mut last_row = 0;
        let mut last_states = Vec::new();
        for sequence in &drafting {
            last_row += sequence.unseen_states.len();
            last_states.extend_from_slice(&states[last_row - hidden..last_row]);
        }
        let logits = self.network.draft_logits(&last_states)?;
        for (sequence, logits) in drafting.iter_mut().zip(logits.chunks(self.network.config().vocab_size)) {
            sequence.unseen_states.clear();
            sequence.draft = super::sampling::argmax(logits).map(|token| token as u32);
        }
        Ok(())
    }

    /// Chooses the next token of a sequence and notes whether it is the last.
    fn push_token(
        &mut self,
        index: usize,
        logits: &[f32],
        progress: &mut dyn Progress,
    ) -> Result<u32, Error> {
        let sequence = &mut self.sequences[index];
        let position = sequence.tokens.len();
        let token = self.options.sampling.choose(logits, index as u64, position as u64)?;
        sequence.tokens.push(token);
        progress.generated(index, token);
        if self.options.stop_ids.contains(&token) {
            sequence.stop_reason = Some(StopReason::StopToken);
        } else if sequence.generated() >= self.options.max_new_tokens {
            sequence.stop_reason = Some(StopReason::MaxNewTokens);
        } else if sequence.tokens.len() > self.network.config().max_position_embeddings {
            sequence.stop_reason = Some(StopReason::PositionsExhausted);
        }
        Ok(token)
    }
}
