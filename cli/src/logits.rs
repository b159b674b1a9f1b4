//! `rorqual logits`: the logits of every position of a prompt, in a file.

use std::fs;
use std::io::{Write, stdout};
use std::path::Path;

use rorqual::model::generate::DEFAULT_PREFILL_CHUNK;
use rorqual::reference::Segment;
use rorqual::reference::mla::Form;
use safetensors::tensor::{Dtype, TensorView, serialize};
use serde_json::json;

use crate::arguments::LogitsArguments;
use crate::checkpoint::{open, prompt_ids, select_device};
use crate::failure::Failure;
use crate::progress::Bars;

/// Computes and writes the logits.
pub fn run(arguments: &LogitsArguments) -> Result<(), Failure> {
    select_device(&arguments.run)?;
    let mut bars = Bars::new(arguments.run.quiet);
    let checkpoint = open(&arguments.model, &arguments.run, &mut bars)?;
    let network = &checkpoint.network;
    let prompt = prompt_ids(&arguments.prompt, &checkpoint)?;
    network.check_prompt(&prompt)?;

    let vocab = network.config().vocab_size;
    let mut cache = network.new_cache();
    let mut bytes = Vec::with_capacity(prompt.len() * vocab * size_of::<f32>());
    for tokens in prompt.chunks(DEFAULT_PREFILL_CHUNK) {
        bars.show("prompt", cache.tokens(), prompt.len());
        let segment = Segment { tokens, form: Form::Naive, cache: &mut cache };
        let states = network.forward(&mut [segment], &mut ())?;
        bytes.extend(network.logits(&states).into_iter().flat_map(f32::to_le_bytes));
    }
    bars.clear();
    let view = TensorView::new(Dtype::F32, vec![prompt.len(), vocab], &bytes).map_err(Failure::input)?;
    let file = serialize([("logits", view)], None).map_err(Failure::input)?;
    write_whole(&arguments.out, &file)?;
    let mut out = stdout().lock();
    if arguments.run.json {
        let report = json!({"out": arguments.out, "prompt_ids": prompt, "shape": [prompt.len(), vocab]});
        writeln!(out, "{report}")?;
    } else if !arguments.run.quiet {
        eprintln!("{}: logits f32 [{}, {vocab}]", arguments.out.display(), prompt.len());
    }
    Ok(())
}

/// Writes `path` so that it is there whole or not at all.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let describe = |error| Failure::input(format_args!("{}: {error}", path.display()));
    let Some(name) = path.file_name() else {
        return Err(Failure::input(format_args!("{}: expected the name of a file", path.display())));
    };
    let mut partial_name = name.to_owned();
    partial_name.push(format!(".{}.partial", std::process::id()));
    let partial = path.with_file_name(partial_name);
    let written = fs::write(&partial, bytes).and_then(|()| fs::rename(&partial, path));
    if written.is_err() {
        // What is left of an attempt that failed for another reason; there may be nothing.
        let _ = fs::remove_file(&partial);
    }
    written.map_err(describe)
}
