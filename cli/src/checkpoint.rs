//! What the commands share: the checkpoint, the prompt, and the network on a device.

use std::path::Path;

use rorqual::driver;
use rorqual::model::{OpenOptions, Pretrained, Tokenizer};
use rorqual::network::{DeviceNetwork, LoadOptions};

use crate::arguments::{PrecisionArgument, PromptArguments};
use crate::failure::Failure;
use crate::progress::Bars;

/// Opens the checkpoint in `directory`.
pub fn open(directory: &Path, precision: PrecisionArgument, bars: &mut Bars) -> Result<Pretrained, Failure> {
    let options = OpenOptions { precision: precision.into(), ..OpenOptions::default() };
    let opened = Pretrained::open(directory, options, &mut |step| bars.opening(step));
    bars.clear();
    Ok(opened?)
}

/// Brings the network to a device, with a cache for sequences that have so many tokens at most.
pub fn bring(
    checkpoint: &Pretrained,
    device: &driver::Device,
    sequences: impl IntoIterator<Item = usize>,
    bars: &mut Bars,
) -> Result<DeviceNetwork, Failure> {
    let page_size = LoadOptions::default().page_size;
    let positions = checkpoint.network.config().max_position_embeddings;
    // A sequence has whole pages.
    let room = |tokens: usize| tokens.min(positions).next_multiple_of(page_size);
    let cache_tokens = sequences.into_iter().map(room).sum();
    let options = LoadOptions { cache_tokens, page_size };
    let on_layer = &mut |number, count| bars.show("upload", number, count);
    let network = DeviceNetwork::load(&checkpoint.network, device, options, on_layer);
    bars.clear();
    Ok(network?)
}

/// The tokeniser, where the checkpoint has one.
pub fn tokenizer(checkpoint: &Pretrained) -> Result<Option<Tokenizer>, Failure> {
    if checkpoint.directory().join("tokenizer.json").exists() {
        Ok(Some(checkpoint.tokenizer()?))
    } else {
        Ok(None)
    }
}

/// The token ids of the prompt.
pub fn prompt_ids(prompt: &PromptArguments, checkpoint: &Pretrained) -> Result<Vec<u32>, Failure> {
    match (&prompt.prompt, &prompt.prompt_ids) {
        (Some(text), _) => Ok(checkpoint.tokenizer()?.encode(text, true)?),
        (None, Some(ids)) => Ok(ids.0.clone()),
        (None, None) => Ok(Vec::new()),
    }
}
