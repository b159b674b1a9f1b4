//! `rorqual generate`: a prompt in, its continuation out.

use std::io::{IsTerminal, Write, stdout};
use std::time::Duration;

use rorqual::model::Tokenizer;
use rorqual::model::generate::{GenerateOptions, Progress, StopReason, generate};
use serde::Serialize;

use crate::arguments::GenerateArguments;
use crate::checkpoint::{bring, open, prompt_ids, tokenizer};
use crate::failure::{Failure, say};
use crate::memory::peak_resident_bytes;
use crate::place::Place;
use crate::progress::Bars;

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
    prompt_ids: &'a [u32],
    token_ids: &'a [u32],
    /// `null` where the checkpoint has no tokeniser.
    text: Option<String>,
    stop_reason: &'static str,
    device: String,
    precision: &'static str,
    prefill_seconds: f64,
    decode_seconds: f64,
    decode_passes: usize,
    /// `null` where the operating system does not say.
    peak_resident_bytes: Option<u64>,
    /// `null` without speculation.
    speculation: Option<Speculation>,
}

/// How well drafts were guessed.
#[derive(Serialize)]
struct Speculation {
    drafted: usize,
    accepted: usize,
    acceptance_rate: Option<f64>,
}

/// Generates.
pub fn run(arguments: &GenerateArguments) -> Result<(), Failure> {
    arguments.sampling().validate().map_err(Failure::input)?;
    let place = Place::asked_for(&arguments.run)?;
    let mut bars = Bars::new(arguments.run.quiet);
    let checkpoint = open(&arguments.model, place.precision, &mut bars)?;
    let prompt = prompt_ids(&arguments.prompt, &checkpoint)?;
    checkpoint.network.check_prompt(&prompt)?;
    let tokenizer = tokenizer(&checkpoint)?;
    let options = GenerateOptions {
        max_new_tokens: arguments.max_new_tokens,
        sampling: arguments.sampling(),
        stop_ids: if arguments.ignore_eos { Vec::new() } else { checkpoint.stop_ids.clone() },
        speculate: arguments.speculate,
        ..GenerateOptions::default()
    };
    let tokens = prompt.len().saturating_add(arguments.max_new_tokens);
    let on_device = match &place.device {
        Some(device) => Some(bring(&checkpoint, device, [tokens], &mut bars)?),
        None => None,
    };
    let streams = !arguments.run.json && stdout().is_terminal();
    let mut watcher = Watcher {
        bars,
        total: arguments.max_new_tokens,
        tokenizer: tokenizer.as_ref().filter(|_| streams),
        ids: Vec::new(),
        printed: 0,
        failure: None,
    };
    let prompts = std::slice::from_ref(&prompt);
    let generations = match &on_device {
        Some(network) => generate(network, prompts, &options, &mut watcher, &mut ())?,
        None => generate(&checkpoint.network, prompts, &options, &mut watcher, &mut ())?,
    };
    watcher.bars.clear();
    if let Some(failure) = watcher.failure {
        return Err(failure);
    }
    let printed = watcher.printed;
    let [generation] = generations.sequences.as_slice() else { unreachable!("one prompt, one continuation") };
    let text = tokenizer.map(|tokenizer| tokenizer.decode(&generation.token_ids, true)).transpose()?;

    let mut out = stdout().lock();
    if arguments.run.json {
        let report = Report {
            prompt_ids: &prompt,
            token_ids: &generation.token_ids,
            text,
            stop_reason: match generation.stop_reason {
                StopReason::StopToken => "stop_token",
                StopReason::MaxNewTokens => "max_new_tokens",
                StopReason::PositionsExhausted => "positions_exhausted",
            },
            device: place.to_string(),
            precision: place.precision.name(),
            prefill_seconds: generations.prefill.as_secs_f64(),
            decode_seconds: generations.decode.as_secs_f64(),
            decode_passes: generations.decode_passes,
            peak_resident_bytes: peak_resident_bytes(),
            speculation: arguments.speculate.then(|| Speculation {
                drafted: generation.drafted,
                accepted: generation.accepted,
                acceptance_rate: ratio(generation.accepted, generation.drafted),
            }),
        };
        writeln!(out, "{}", serde_json::to_string(&report).map_err(Failure::input)?)?;
        return Ok(());
    }
    match text {
        Some(text) => writeln!(out, "{}", text.get(printed..).unwrap_or_default())?,
        None => {
            let ids: Vec<String> = generation.token_ids.iter().map(u32::to_string).collect();
            writeln!(out, "{}", ids.join(","))?;
        }
    }
    if !arguments.run.quiet {
        let decoded = generation.token_ids.len().saturating_sub(1);
        say(format_args!(
            "{} prompt tokens in {:.0} ms ({} tokens/s), {decoded} more in {:.0} ms ({} tokens/s)",
            prompt.len(),
            generations.prefill.as_secs_f64() * 1e3,
            per_second(prompt.len(), generations.prefill),
            generations.decode.as_secs_f64() * 1e3,
            per_second(decoded, generations.decode),
        ));
        if arguments.speculate {
            let (drafted, accepted) = (generation.drafted, generation.accepted);
            let rate = ratio(accepted, drafted).unwrap_or(0.0) * 1e2;
            say(format_args!("{accepted} of {drafted} drafts accepted ({rate:.0} %)"));
        }
    }
    Ok(())
}

/// `count / time`, rounded for reading.
fn per_second(count: usize, time: Duration) -> String {
    format!("{:.0}", count as f64 / time.as_secs_f64().max(1e-9))
}

fn ratio(part: usize, whole: usize) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// Prints text as it comes where a person reads stdout, else moves a bar.
struct Watcher<'a> {
    bars: Bars,
    total: usize,
    tokenizer: Option<&'a Tokenizer>,
    ids: Vec<u32>,
    printed: usize,
    failure: Option<Failure>,
}

impl Watcher<'_> {
    /// Prints what is new in the text, once no character is cut in the middle.
    fn print_new_text(&mut self, tokenizer: &Tokenizer) -> Result<(), Failure> {
        let text = tokenizer.decode(&self.ids, true)?;
        if text.len() > self.printed && text.is_char_boundary(self.printed) && !text.ends_with('\u{fffd}') {
            self.bars.clear();
            let mut out = stdout().lock();
            write!(out, "{}", &text[self.printed..])?;
            out.flush()?;
            self.printed = text.len();
        }
        Ok(())
    }
}

impl Progress for Watcher<'_> {
    fn prefilled(&mut self, done: usize, total: usize) {
        self.bars.show("prompt", done, total);
    }

    fn generated(&mut self, _sequence: usize, token: u32) {
        self.ids.push(token);
        match self.tokenizer {
            Some(tokenizer) => {
                if let Err(failure) = self.print_new_text(tokenizer) {
                    self.failure.get_or_insert(failure);
                }
            }
            None => self.bars.show("tokens", self.ids.len(), self.total),
        }
    }
}
