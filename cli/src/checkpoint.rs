//! What the commands share: the device, the checkpoint, the prompt.

use std::path::Path;

use rorqual::model::{OpenOptions, Pretrained, Tokenizer};

use crate::arguments::{Device, PromptArguments, RunArguments};
use crate::failure::Failure;
use crate::progress::Bars;

/// Makes the device ready: only the reference path can run the network so far.
pub fn select_device(arguments: &RunArguments) -> Result<(), Failure> {
    if arguments.device != Device::Reference {
        let device = arguments.device;
        return Err(Failure::input(format_args!("device {device} is not available, expected reference")));
    }
    // More threads than cores would only wait for each other.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = arguments.threads.map_or(cores, |threads| cores.min(threads.into()));
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().map_err(Failure::input)?;
    Ok(())
}

/// Opens the checkpoint in `directory`.
pub fn open(directory: &Path, arguments: &RunArguments, bars: &mut Bars) -> Result<Pretrained, Failure> {
    let options = OpenOptions { precision: arguments.precision.into(), ..OpenOptions::default() };
    let opened = Pretrained::open(directory, options, &mut |step| bars.opening(step));
    bars.clear();
    Ok(opened?)
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
