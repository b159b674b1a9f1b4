//! `rorqual demo`: the main job. The kernels are generated, every family is checked against its oracle on a device, and
//! the bundled checkpoint does sums there and on the reference path side by side.

use std::io::{self, Write, stdout};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rayon::prelude::*;
use rorqual::catalog::{AnySpec, Catalog, rows_for};
use rorqual::driver;
use rorqual::model::Pretrained;
use rorqual::model::generate::{GenerateOptions, Generation, Generations, Progress, generate};
use rorqual::network::Network;
use rorqual::reference::Observer;
use serde::Serialize;
use serde_json::Value;

use crate::arguments::DemoArguments;
use crate::checkpoint::{bring, open};
use crate::devices::vector_extension;
use crate::failure::Failure;
use crate::place::Place;
use crate::progress::Bars;
use crate::speed::{ExpertLoad, LayerLoad, Speed};
use crate::sums::{Answer, answers, prompts};
use crate::verify::{check_all, print_table, to_json, verdict};

/// Where the bundled checkpoint lies in a checkout.
const BUNDLED: &str = "assets/tiny-r1-fp8";

/// Tokens that a sum takes at most.
const MAX_NEW_TOKENS: usize = 64;

/// What `--json` prints.
#[derive(Serialize)]
struct Report {
    device: String,
    /// Where the reference path rounded.
    precision: &'static str,
    /// `null` without a device, as is the next.
    catalog: Option<Emitted>,
    families: Option<Vec<Value>>,
    /// The sums of the device if there is one, else of the reference path.
    problems: Vec<Answer>,
    /// Whether the device gave the tokens of the reference path; `null` without a device.
    same_as_reference: Option<bool>,
    /// The reference path, and with speculation.
    plain: Speed,
    speculative: Option<Speed>,
    /// The device, and with speculation.
    device_plain: Option<Speed>,
    device_speculative: Option<Speed>,
    /// For each mixture-of-experts layer the share of (token, slot) pairs that each expert received.
    expert_load: Vec<LayerLoad>,
}

/// The kernels of the catalog, generated.
#[derive(Serialize)]
struct Emitted {
    target: String,
    kernels: usize,
    ptx_bytes: usize,
    seconds: f64,
    median_kernel_seconds: f64,
}

/// What a network generated.
struct Run {
    plain: Generations,
    /// `None` where there is no module for it.
    speculative: Option<Generations>,
}

/// Runs the demo.
pub fn run(arguments: &DemoArguments) -> Result<(), Failure> {
    let place = Place::asked_for_or_best(&arguments.run)?;
    let mut bars = Bars::new(arguments.run.quiet);
    // What is wrong with a checkpoint is said before the kernels take their time; that there is none, behind them.
    let opened = match arguments.model.clone().or_else(find_bundled) {
        Some(directory) => {
            let checkpoint = open(&directory, place.precision, &mut bars)?;
            let prompts = prompts(&checkpoint, arguments.sums)?;
            Some((checkpoint, prompts))
        }
        None => None,
    };
    // For programs there is one object at the end.
    let mut out: Box<dyn Write> =
        if arguments.run.json { Box::new(io::sink()) } else { Box::new(stdout().lock()) };

    let (mut catalog, mut families) = (None, None);
    if let Some(device) = &place.device {
        let emitted = emit(device)?;
        print_emitted(&emitted, &mut out)?;
        catalog = Some(emitted);
        if arguments.cases > 0 {
            let outcomes = check_all(device, arguments.cases, &mut bars);
            print_table(device.name(), &outcomes, &mut out)?;
            writeln!(out)?;
            verdict(&outcomes)?;
            families = Some(to_json(&outcomes));
        }
    }

    let (checkpoint, prompts) = opened.ok_or_else(no_checkpoint)?;
    print_network(&checkpoint, &place, &mut out)?;
    let mut load = ExpertLoad::default();
    let reference = Run::new(&checkpoint.network, &checkpoint, &prompts, &mut bars, &mut load)?;
    let on_device = match &place.device {
        Some(device) => {
            let tokens = prompts.iter().map(|prompt| prompt.len() + MAX_NEW_TOKENS);
            let network = bring(&checkpoint, device, tokens, &mut bars)?;
            Some(Run::new(&network, &checkpoint, &prompts, &mut bars, &mut ())?)
        }
        None => None,
    };
    let tokenizer = checkpoint.tokenizer()?;
    let expected = answers(&reference.plain.sequences, &tokenizer)?;
    let problems = match &on_device {
        Some(run) => answers(&run.plain.sequences, &tokenizer)?,
        None => answers(&reference.plain.sequences, &tokenizer)?,
    };
    print_sums(&problems, on_device.is_some().then_some(&expected), &mut out)?;

    let speed = |generations: &Generations| Speed::of(generations, &prompts);
    let report = Report {
        device: place.to_string(),
        precision: place.precision.name(),
        catalog,
        families,
        same_as_reference: on_device.as_ref().map(|run| same_tokens(&run.plain, &reference.plain)),
        plain: speed(&reference.plain),
        speculative: reference.speculative.as_ref().map(speed),
        device_plain: on_device.as_ref().map(|run| speed(&run.plain)),
        device_speculative: on_device.as_ref().and_then(|run| run.speculative.as_ref()).map(speed),
        expert_load: load.shares(),
        problems,
    };
    print_speed(&report, place.device.as_ref(), &mut out)?;
    print_load(&report.expert_load, &mut out)?;
    drop(out);
    if arguments.run.json {
        writeln!(stdout().lock(), "{}", serde_json::to_string(&report).map_err(Failure::input)?)?;
    }
    check(&report, &reference, on_device.as_ref())
}

/// The bundled checkpoint, looked for upwards from where the command was called and from where it lies.
fn find_bundled() -> Option<PathBuf> {
    let called_from = std::env::current_dir().ok();
    let lies_in = std::env::current_exe().ok();
    let starts = [called_from.as_deref(), lies_in.as_deref()];
    let mut places = starts.into_iter().flatten().flat_map(Path::ancestors).map(|place| place.join(BUNDLED));
    places.find(|place| place.join("config.json").exists())
}

/// How to get what an installed command comes without.
fn no_checkpoint() -> Failure {
    Failure::input(format_args!(
        "the bundled checkpoint {BUNDLED} is not here: it comes with the source repository; run the command inside a \
         checkout, or name another checkpoint with --model"
    ))
}

/// Generates what the catalog has for a device, also what the build has embedded.
fn emit(device: &driver::Device) -> Result<Emitted, Failure> {
    let target = device.target();
    let target = Catalog::new().target_for(target).ok_or_else(|| {
        Failure::input(format_args!("there are no kernels for {target}, expected sm_80 or later"))
    })?;
    let generate = |spec: &AnySpec| {
        let started = Instant::now();
        let ptx = spec.generate(target).map_err(Failure::input)?.text();
        Ok::<_, Failure>((started.elapsed(), ptx.len()))
    };
    let started = Instant::now();
    let generated: Vec<(Duration, usize)> =
        rows_for(target).par_iter().map(|row| generate(&row.spec)).collect::<Result<_, _>>()?;
    let seconds = started.elapsed().as_secs_f64();
    let mut times: Vec<Duration> = generated.iter().map(|(time, _)| *time).collect();
    times.sort_unstable();
    Ok(Emitted {
        target: target.to_string(),
        kernels: generated.len(),
        ptx_bytes: generated.iter().map(|(_, bytes)| bytes).sum(),
        seconds,
        median_kernel_seconds: times.get(times.len() / 2).copied().unwrap_or_default().as_secs_f64(),
    })
}

impl Run {
    /// Lets a network do all sums in one batch.
    fn new(
        network: &impl Network,
        checkpoint: &Pretrained,
        prompts: &[Vec<u32>],
        bars: &mut Bars,
        observer: &mut dyn Observer,
    ) -> Result<Self, Failure> {
        let mut generate = |speculate: bool, observer: &mut dyn Observer| -> Result<Generations, Failure> {
            let options = GenerateOptions {
                max_new_tokens: MAX_NEW_TOKENS,
                stop_ids: checkpoint.stop_ids.clone(),
                speculate,
                ..GenerateOptions::default()
            };
            let task = if speculate { "speculative" } else { "plain" };
            let mut watcher = Watcher { bars, task, generated: 0, at_most: prompts.len() * MAX_NEW_TOKENS };
            Ok(generate(network, prompts, &options, &mut watcher, observer)?)
        };
        let plain = generate(false, observer)?;
        let speculative = if network.has_mtp() { Some(generate(true, &mut ())?) } else { None };
        bars.clear();
        Ok(Self { plain, speculative })
    }
}

/// Moves a bar with every token.
struct Watcher<'a> {
    bars: &'a mut Bars,
    task: &'static str,
    generated: usize,
    at_most: usize,
}

impl Progress for Watcher<'_> {
    fn generated(&mut self, _sequence: usize, _token: u32) {
        self.generated += 1;
        self.bars.show(self.task, self.generated, self.at_most);
    }
}

fn print_emitted(emitted: &Emitted, out: &mut dyn Write) -> io::Result<()> {
    let Emitted { target, kernels, ptx_bytes, seconds, median_kernel_seconds } = emitted;
    writeln!(
        out,
        "{kernels} kernels for {target}, {:.1} MiB of PTX, generated and verified in {seconds:.1} s, median {:.1} ms\n",
        *ptx_bytes as f64 / f64::from(1 << 20),
        median_kernel_seconds * 1e3,
    )
}

fn print_network(checkpoint: &Pretrained, place: &Place, out: &mut dyn Write) -> io::Result<()> {
    let config = checkpoint.network.config();
    write!(
        out,
        "{}: {} layers, {} experts, top-{}; ",
        checkpoint.directory().file_name().unwrap_or_default().to_string_lossy(),
        config.num_hidden_layers,
        config.n_routed_experts,
        config.num_experts_per_tok,
    )?;
    if let Some(device) = &place.device {
        write!(out, "{} beside the ", device.name())?;
    }
    writeln!(
        out,
        "reference ({} threads, {} vectors), precision {}\n",
        rayon::current_num_threads(),
        vector_extension(),
        place.precision.name(),
    )
}

/// The sums, where a device did them beside those `expected` of it.
fn print_sums(answers: &[Answer], expected: Option<&Vec<Answer>>, out: &mut dyn Write) -> io::Result<()> {
    let mut same = 0;
    for (index, Answer { prompt, trace, answer, expected: solution, correct }) in answers.iter().enumerate() {
        let verdict = if *correct { "right".to_owned() } else { format!("WRONG, expected {solution}") };
        write!(out, "  {prompt:>9}{answer:<5} {verdict:6}  {trace}")?;
        match expected.and_then(|expected| expected.get(index)) {
            Some(other) if other.trace == *trace && other.answer == *answer => same += 1,
            Some(other) => write!(out, "  DIFFERS, the reference has {}  {}", other.answer, other.trace)?,
            None => {}
        }
        writeln!(out)?;
    }
    let right = answers.iter().filter(|answer| answer.correct).count();
    write!(out, "\n{right} of {} right", answers.len())?;
    if expected.is_some() {
        write!(out, " on the device; {same} of {} the same on the reference path", answers.len())?;
    }
    writeln!(out, "\n")
}

fn print_speed(report: &Report, device: Option<&driver::Device>, out: &mut dyn Write) -> io::Result<()> {
    let device = match device {
        Some(device) if device.is_simulated() => "simulated",
        _ => "device",
    };
    writeln!(out, "{:24}prompt tokens/s   generated tokens/s   passes   drafts accepted", "")?;
    for (place, name, speed) in [
        ("reference", "plain", Some(&report.plain)),
        ("reference", "speculative", report.speculative.as_ref()),
        (device, "plain", report.device_plain.as_ref()),
        (device, "speculative", report.device_speculative.as_ref()),
    ] {
        let Some(speed) = speed else { continue };
        let accepted = speed.acceptance_rate.map_or("-".to_owned(), |rate| format!("{:.0} %", rate * 1e2));
        writeln!(
            out,
            "{:<23} {:>15.0} {:>20.0} {:>8} {accepted:>17}",
            format!("{place}, {name}"),
            speed.prompt_tokens_per_second,
            speed.generated_tokens_per_second,
            speed.passes,
        )?;
    }
    Ok(())
}

fn print_load(layers: &[LayerLoad], out: &mut dyn Write) -> io::Result<()> {
    let experts = layers.first().map_or(0, |layer| layer.share.len());
    writeln!(out, "\nexpert load  {}", (0..experts).map(|e| format!("{e:>6}")).collect::<String>())?;
    for LayerLoad { layer, share } in layers {
        let shares: String = share.iter().map(|share| format!("{:>5.1}%", share * 1e2)).collect();
        writeln!(out, "layer {layer:<6} {shares}")?;
    }
    Ok(())
}

fn same_tokens(a: &Generations, b: &Generations) -> bool {
    let tokens = |generations: &Generations| -> Vec<Vec<u32>> {
        let ids = |generation: &Generation| generation.token_ids.clone();
        generations.sequences.iter().map(ids).collect()
    };
    tokens(a) == tokens(b)
}

/// The sums are right, the device and the reference path agree, and speculation changed nothing.
fn check(report: &Report, reference: &Run, on_device: Option<&Run>) -> Result<(), Failure> {
    let wrong: Vec<&str> = report.problems.iter().filter(|p| !p.correct).map(|p| p.prompt).collect();
    if !wrong.is_empty() {
        return Err(Failure::Check(format!("wrong answers: {}", wrong.join(" "))));
    }
    if report.same_as_reference == Some(false) {
        return Err(Failure::Check("the device gave other tokens than the reference path".to_owned()));
    }
    let differs = |run: &&Run| run.speculative.as_ref().is_some_and(|other| !same_tokens(&run.plain, other));
    if std::iter::once(reference).chain(on_device).any(|run| differs(&run)) {
        return Err(Failure::Check(
            "speculative generation gave other tokens than plain generation".to_owned(),
        ));
    }
    Ok(())
}
