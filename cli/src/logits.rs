//! `rorqual logits`: the logits of every position of a prompt, in a file.

use std::fs;
use std::io::{self, Write, stdout};
use std::path::{Path, PathBuf};

use rorqual::model::generate::DEFAULT_PREFILL_CHUNK;
use rorqual::network::{Cache, Network, Segment};
use rorqual::reference::mla::Form;
use safetensors::tensor::{Dtype, TensorView, serialize};
use serde_json::json;

use crate::arguments::LogitsArguments;
use crate::checkpoint::{bring, open, prompt_ids};
use crate::failure::{Failure, say};
use crate::place::Place;
use crate::progress::Bars;

/// Computes and writes the logits.
pub fn run(arguments: &LogitsArguments) -> Result<(), Failure> {
    let place = Place::asked_for(&arguments.run)?;
    let mut bars = Bars::new(arguments.run.quiet);
    let checkpoint = open(&arguments.model, place.precision, &mut bars)?;
    let prompt = prompt_ids(&arguments.prompt, &checkpoint)?;
    checkpoint.network.check_prompt(&prompt)?;
    let target = Target::new(&arguments.out, &arguments.model)?;

    let vocab = checkpoint.network.config().vocab_size;
    let bytes = match &place.device {
        Some(device) => logits(&bring(&checkpoint, device, [prompt.len()], &mut bars)?, &prompt, &mut bars)?,
        None => logits(&checkpoint.network, &prompt, &mut bars)?,
    };
    let view = TensorView::new(Dtype::F32, vec![prompt.len(), vocab], &bytes).map_err(Failure::input)?;
    let file = serialize([("logits", view)], None).map_err(Failure::input)?;
    target.write(&file)?;
    let out = arguments.out.to_string_lossy();
    if arguments.run.json {
        let report = json!({"out": out, "prompt_ids": prompt, "shape": [prompt.len(), vocab]});
        writeln!(stdout().lock(), "{report}")?;
    } else if !arguments.run.quiet {
        say(format_args!("{out}: logits f32 [{}, {vocab}]", prompt.len()));
    }
    Ok(())
}

/// The logits of every position, `[tokens, vocab]`, as bytes.
fn logits(network: &impl Network, prompt: &[u32], bars: &mut Bars) -> Result<Vec<u8>, Failure> {
    let mut cache = network.new_cache();
    let mut bytes = Vec::with_capacity(prompt.len() * network.config().vocab_size * size_of::<f32>());
    for tokens in prompt.chunks(DEFAULT_PREFILL_CHUNK) {
        bars.show("prompt", cache.tokens(), prompt.len());
        let segment = Segment { tokens, form: Form::Naive, cache: &mut cache };
        let states = network.forward(&mut [segment], &mut ())?;
        bytes.extend(network.logits(&states)?.into_iter().flat_map(f32::to_le_bytes));
    }
    bars.clear();
    Ok(bytes)
}

/// A file to write, known to be writable before the work begins.
enum Target {
    /// A regular file, which is to be there whole or not at all: written beside itself and then renamed.
    Whole { path: PathBuf, partial: PathBuf },
    /// A pipe or a device, which must not be replaced.
    Stream { path: PathBuf },
}

impl Target {
    /// The target at `path`, which must not be a file of the checkpoint in `model`.
    fn new(path: &Path, model: &Path) -> Result<Self, Failure> {
        let describe = |error| Failure::input(format_args!("{}: {error}", path.display()));
        // Links are followed, so that what they point to is written and they stay.
        let path = match fs::canonicalize(path) {
            Ok(existing) => existing,
            Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
            Err(error) => return Err(describe(error)),
        };
        let is_of_checkpoint =
            fs::canonicalize(model).is_ok_and(|model| path.parent() == Some(model.as_path()));
        if is_of_checkpoint && path.exists() {
            let path = path.display();
            return Err(Failure::input(format_args!(
                "{path}: is a file of the checkpoint, expected another"
            )));
        }
        if path.is_dir() || path.file_name().is_none() {
            return Err(Failure::input(format_args!("{}: expected the name of a file", path.display())));
        }
        if path.exists() && !path.is_file() {
            return Ok(Self::Stream { path });
        }
        let partial = path.with_file_name(format!(".rorqual-{}.partial", std::process::id()));
        fs::File::create(&partial).map_err(describe)?;
        Ok(Self::Whole { path, partial })
    }

    fn write(&self, bytes: &[u8]) -> Result<(), Failure> {
        let (path, written) = match self {
            Self::Stream { path } => (path, fs::write(path, bytes)),
            Self::Whole { path, partial } => {
                (path, fs::write(partial, bytes).and_then(|()| fs::rename(partial, path)))
            }
        };
        written.map_err(|error| Failure::input(format_args!("{}: {error}", path.display())))
    }
}

impl Drop for Target {
    /// Takes away what is left of an attempt that failed.
    fn drop(&mut self) {
        if let Self::Whole { partial, .. } = self {
            // After a rename there is nothing left, which is no error.
            let _ = fs::remove_file(partial);
        }
    }
}
