//! The network on a device: each operation a kernel of `rorqual-kernels`, on the simulator or a GPU.
//!
//! [`Network`] is what generation needs of a network; the reference path and [`DeviceNetwork`] both are one. The device
//! network reads like the reference (`reference::model`): a batch goes through embedding, blocks, norm and head, with
//! the same rounding points, so that the two can be held against each other operation by operation.
//!
//! | file | what it is |
//! |---|---|
//! | `sizes.rs` | whether there are kernels for the sizes of a network |
//! | `executor.rs` | kernels by family and specialisation, generated once, launched in order |
//! | `weights.rs` | linear layers and experts in device memory, FP8 as stored |
//! | `cache.rs` | pages of latent records, and which sequence has which |
//! | `batch.rs` | the rows of a pass: positions, slots, block tables |
//! | `operations.rs` | norm, linear layer, SwiGLU, and so on: one launch or a few |
//! | `attention.rs`, `feed_forward.rs` | the two halves of a block |
//! | `device_network.rs` | all of it together |

#[cfg(any(feature = "cuda", feature = "sim"))]
mod attention;
#[cfg(any(feature = "cuda", feature = "sim"))]
mod batch;
#[cfg(any(feature = "cuda", feature = "sim"))]
mod cache;
#[cfg(any(feature = "cuda", feature = "sim"))]
mod device_network;
#[cfg(any(feature = "cuda", feature = "sim"))]
mod executor;
#[cfg(any(feature = "cuda", feature = "sim"))]
mod feed_forward;
#[cfg(any(feature = "cuda", feature = "sim"))]
mod operations;
#[cfg(any(feature = "cuda", feature = "sim"))]
mod sizes;
#[cfg(any(feature = "cuda", feature = "sim"))]
mod weights;

#[cfg(any(feature = "cuda", feature = "sim"))]
pub use cache::DeviceCache;
#[cfg(any(feature = "cuda", feature = "sim"))]
pub use device_network::{DeviceNetwork, LoadOptions};
#[cfg(any(feature = "cuda", feature = "sim"))]
pub use executor::{Executor, Launch, Witness};

use crate::error::Result;
use crate::model::cache::LatentCache;
use crate::model::config::Config;
use crate::reference::mla::Form;
use crate::reference::{InputError, Model, Observer};

/// New tokens of one sequence, and what the sequence remembers.
#[derive(Debug)]
pub struct Segment<'a, C> {
    /// The tokens that follow those in the cache.
    pub tokens: &'a [u32],
    /// [`Form::Naive`] for tokens of the prompt, [`Form::Absorbed`] for generated and speculated ones.
    pub form: Form,
    /// The sequence's cache, from [`Network::new_cache`].
    pub cache: &'a mut C,
}

/// New rows of one sequence for the multi-token-prediction module.
#[derive(Debug)]
pub struct DraftSegment<'a, C> {
    /// For each row the token that it embeds: the one after the token whose state it joins.
    pub tokens: &'a [u32],
    /// For each row the trunk's state, as [`Network::forward`] returns it: `[tokens, hidden]`.
    pub hidden: &'a [f32],
    /// [`Form::Naive`] where the embedded token is of the prompt, else [`Form::Absorbed`].
    pub form: Form,
    /// The sequence's own cache for the module, from [`Network::new_draft_cache`].
    pub cache: &'a mut C,
}

/// What a sequence remembers.
pub trait Cache {
    /// Tokens that every layer remembers.
    fn tokens(&self) -> usize;
    /// Forgets all tokens from `tokens` on, such as drafts that were not accepted.
    fn truncate(&mut self, tokens: usize);
}

impl Cache for LatentCache {
    fn tokens(&self) -> usize {
        self.tokens()
    }

    fn truncate(&mut self, tokens: usize) {
        self.truncate(tokens);
    }
}

/// What generation needs of a network.
pub trait Network {
    /// What a sequence remembers.
    type Cache: Cache;

    /// The configuration.
    fn config(&self) -> &Config;

    /// Whether there is a multi-token-prediction module.
    fn has_mtp(&self) -> bool;

    /// Whether the network can run on `prompt` as the start of a sequence.
    ///
    /// # Errors
    /// [`InputError::EmptyPrompt`], [`InputError::TokenOutOfRange`], [`InputError::TooLong`].
    fn check_prompt(&self, prompt: &[u32]) -> Result<(), InputError>;

    /// An empty cache for a new sequence.
    fn new_cache(&self) -> Self::Cache;

    /// An empty cache for a new sequence in the multi-token-prediction module.
    fn new_draft_cache(&self) -> Self::Cache;

    /// Runs new tokens of some sequences through the network and returns the final state of each, after the last norm:
    /// `[tokens, hidden]`, segment after segment.
    ///
    /// # Errors
    /// Tokens that the network cannot run on and caches that are not its own, before any cache has changed; what the
    /// device says.
    fn forward(
        &self,
        segments: &mut [Segment<'_, Self::Cache>],
        observer: &mut dyn Observer,
    ) -> Result<Vec<f32>>;

    /// Logits of final states `[tokens, hidden]`: `[tokens, vocab]`.
    ///
    /// # Errors
    /// [`InputError::PartialState`]; what the device says.
    fn logits(&self, hidden: &[f32]) -> Result<Vec<f32>>;

    /// Runs new rows of some sequences through the multi-token-prediction module and returns the state of each, after
    /// its head's norm: `[tokens, hidden]`.
    ///
    /// # Errors
    /// As of [`forward`](Self::forward), [`InputError::NoMtp`] and [`InputError::HiddenStates`].
    fn draft(
        &self,
        segments: &mut [DraftSegment<'_, Self::Cache>],
        observer: &mut dyn Observer,
    ) -> Result<Vec<f32>>;

    /// Logits of states from [`draft`](Self::draft): `[tokens, vocab]`.
    ///
    /// # Errors
    /// As of [`logits`](Self::logits).
    fn draft_logits(&self, hidden: &[f32]) -> Result<Vec<f32>>;
}

impl Network for Model {
    type Cache = LatentCache;

    fn config(&self) -> &Config {
        self.config()
    }

    fn has_mtp(&self) -> bool {
        self.has_mtp()
    }

    fn check_prompt(&self, prompt: &[u32]) -> Result<(), InputError> {
        self.check_prompt(prompt)
    }

    fn new_cache(&self) -> LatentCache {
        self.new_cache()
    }

    fn new_draft_cache(&self) -> LatentCache {
        self.new_draft_cache()
    }

    fn forward(
        &self,
        segments: &mut [Segment<'_, LatentCache>],
        observer: &mut dyn Observer,
    ) -> Result<Vec<f32>> {
        let mut segments: Vec<crate::reference::Segment<'_>> = segments
            .iter_mut()
            .map(|segment| crate::reference::Segment {
                tokens: segment.tokens,
                form: segment.form,
                cache: &mut *segment.cache,
            })
            .collect();
        Ok(self.forward(&mut segments, observer)?)
    }

    fn logits(&self, hidden: &[f32]) -> Result<Vec<f32>> {
        self.check_whole_states(hidden)?;
        Ok(self.logits(hidden))
    }

    fn draft(
        &self,
        segments: &mut [DraftSegment<'_, LatentCache>],
        observer: &mut dyn Observer,
    ) -> Result<Vec<f32>> {
        let mut segments: Vec<crate::reference::model::DraftSegment<'_>> = segments
            .iter_mut()
            .map(|segment| crate::reference::model::DraftSegment {
                tokens: segment.tokens,
                hidden: segment.hidden,
                form: segment.form,
                cache: &mut *segment.cache,
            })
            .collect();
        Ok(self.draft(&mut segments, observer)?)
    }

    fn draft_logits(&self, hidden: &[f32]) -> Result<Vec<f32>> {
        self.check_whole_states(hidden)?;
        Ok(self.draft_logits(hidden))
    }
}
