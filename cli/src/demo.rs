//! `rorqual demo`: the bundled checkpoint does sums, shows its reasoning, and is checked.

use std::collections::BTreeMap;
use std::io::{self, Write, stdout};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rorqual::model::generate::{GenerateOptions, Generation, Generations, Progress, generate};
use rorqual::model::{Pretrained, Tokenizer};
use rorqual::reference::Observer;
use rorqual::reference::gate::Routing;
use serde::Serialize;

use crate::arguments::DemoArguments;
use crate::checkpoint::{open, select_device};
use crate::devices::vector_extension;
use crate::failure::Failure;
use crate::progress::Bars;

/// Sums that the bundled checkpoint was not trained on.
const PROBLEMS: [&str; 16] = [
    "2+7=", "4-3=", "46+7=", "100-5=", "60-53=", "236+21=", "557-4=", "997-8=", "538+347=", "803-9=",
    "929+698=", "882-355=", "793+891=", "742-337=", "35+965=", "873-798=",
];

/// Where the bundled checkpoint lies in a checkout.
const BUNDLED: &str = "assets/tiny-r1-fp8";

/// What `--json` prints.
#[derive(Serialize)]
struct Report {
    device: String,
    precision: &'static str,
    problems: Vec<Answer>,
    plain: Speed,
    speculative: Option<Speed>,
    /// For each mixture-of-experts layer the share of (token, slot) pairs that each expert received.
    expert_load: Vec<LayerLoad>,
}

/// One problem and what came of it.
#[derive(Serialize)]
struct Answer {
    prompt: &'static str,
    trace: String,
    answer: String,
    expected: i64,
    correct: bool,
}

/// How fast a run was.
#[derive(Serialize)]
struct Speed {
    prompt_tokens: usize,
    prompt_tokens_per_second: f64,
    generated_tokens: usize,
    generated_tokens_per_second: f64,
    passes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    acceptance_rate: Option<f64>,
}

/// How the experts of a layer were used.
#[derive(Serialize)]
struct LayerLoad {
    layer: usize,
    share: Vec<f64>,
}

/// Runs the demo.
pub fn run(arguments: &DemoArguments) -> Result<(), Failure> {
    select_device(&arguments.run)?;
    let directory = match &arguments.model {
        Some(directory) => directory.clone(),
        None => find_bundled()?,
    };
    let mut bars = Bars::new(arguments.run.quiet);
    let checkpoint = open(&directory, &arguments.run, &mut bars)?;
    let tokenizer = checkpoint.tokenizer()?;
    let prompts: Vec<Vec<u32>> =
        PROBLEMS.iter().map(|problem| tokenizer.encode(problem, true)).collect::<Result<_, _>>()?;

    let mut load = ExpertLoad::default();
    let plain = generate_all(&checkpoint, &prompts, false, &mut bars, &mut load)?;
    let speculative = if checkpoint.network.has_mtp() {
        Some(generate_all(&checkpoint, &prompts, true, &mut bars, &mut ())?)
    } else {
        None
    };
    bars.clear();

    let problems = answers(&plain, &tokenizer)?;
    let report = Report {
        device: arguments.run.device.to_string(),
        precision: arguments.run.precision.name(),
        plain: Speed::of(&plain, &prompts),
        speculative: speculative.as_ref().map(|generations| Speed::of(generations, &prompts)),
        expert_load: load.shares(),
        problems,
    };
    let mut out = stdout().lock();
    if arguments.run.json {
        writeln!(out, "{}", serde_json::to_string(&report).map_err(Failure::input)?)?;
    } else {
        print(&report, &checkpoint, &mut out)?;
    }
    check(&report, &plain, speculative.as_ref())
}

/// The bundled checkpoint, looked for upwards from where the command was called and from where it lies.
fn find_bundled() -> Result<PathBuf, Failure> {
    let called_from = std::env::current_dir().ok();
    let lies_in = std::env::current_exe().ok();
    let starts = [called_from.as_deref(), lies_in.as_deref()];
    let mut places = starts.into_iter().flatten().flat_map(Path::ancestors).map(|place| place.join(BUNDLED));
    places.find(|place| place.join("config.json").exists()).ok_or_else(|| {
        Failure::input(format_args!(
            "the bundled checkpoint {BUNDLED} is not here: it comes with the source repository; run the command \
             inside a checkout, or name another checkpoint with --model"
        ))
    })
}

fn generate_all(
    checkpoint: &Pretrained,
    prompts: &[Vec<u32>],
    speculate: bool,
    bars: &mut Bars,
    observer: &mut dyn Observer,
) -> Result<Generations, Failure> {
    let max_new_tokens = 64;
    let options = GenerateOptions {
        max_new_tokens,
        stop_ids: checkpoint.stop_ids.clone(),
        speculate,
        ..GenerateOptions::default()
    };
    let task = if speculate { "speculative" } else { "plain" };
    let mut watcher = Watcher { bars, task, generated: 0, at_most: prompts.len() * max_new_tokens };
    Ok(generate(&checkpoint.network, prompts, &options, &mut watcher, observer)?)
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

/// Counts which experts the tokens go to.
#[derive(Default)]
struct ExpertLoad {
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
    fn shares(&self) -> Vec<LayerLoad> {
        let share = |slots: &Vec<usize>| {
            let all = slots.iter().sum::<usize>().max(1) as f64;
            slots.iter().map(|&count| count as f64 / all).collect()
        };
        self.slots.iter().map(|(&layer, slots)| LayerLoad { layer, share: share(slots) }).collect()
    }
}

impl Speed {
    fn of(generations: &Generations, prompts: &[Vec<u32>]) -> Self {
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

/// Reads trace and answer out of `<think>trace</think>answer`, and does the sum.
fn answers(generations: &Generations, tokenizer: &Tokenizer) -> Result<Vec<Answer>, Failure> {
    let answer = |(&prompt, generation): (&&'static str, &Generation)| {
        let text = tokenizer.decode(&generation.token_ids, true)?;
        let (trace, answer) = text.split_once("</think>").unwrap_or(("", &text));
        let trace = trace.trim_start_matches("<think>").to_owned();
        let answer = answer.trim_end().to_owned();
        let expected = solve(prompt);
        let correct = answer == expected.to_string();
        Ok(Answer { prompt, trace, answer, expected, correct })
    };
    PROBLEMS.iter().zip(&generations.sequences).map(answer).collect()
}

/// The value of `a+b=` or `a-b=`.
fn solve(problem: &str) -> i64 {
    let number = |digits: &str| digits.parse::<i64>().expect("a problem is made of numbers");
    let sum = problem.trim_end_matches('=');
    match sum.split_once('+') {
        Some((a, b)) => number(a) + number(b),
        None => sum.split_once('-').map_or(0, |(a, b)| number(a) - number(b)),
    }
}

fn print(report: &Report, checkpoint: &Pretrained, out: &mut dyn Write) -> io::Result<()> {
    let config = checkpoint.network.config();
    writeln!(
        out,
        "{}: {} layers, {} experts, top-{}; device {} ({} threads, {} vectors), precision {}\n",
        checkpoint.directory().file_name().unwrap_or_default().to_string_lossy(),
        config.num_hidden_layers,
        config.n_routed_experts,
        config.num_experts_per_tok,
        report.device,
        rayon::current_num_threads(),
        vector_extension(),
        report.precision,
    )?;
    for problem in &report.problems {
        let Answer { prompt, trace, answer, expected, correct } = problem;
        let verdict = if *correct { "right".to_owned() } else { format!("WRONG, expected {expected}") };
        writeln!(out, "  {prompt:>9}{answer:<5} {verdict:6}  {trace}")?;
    }
    let right = report.problems.iter().filter(|problem| problem.correct).count();
    writeln!(out, "\n{right} of {} right\n", report.problems.len())?;

    writeln!(out, "             prompt tokens/s   generated tokens/s   passes   drafts accepted")?;
    for (name, speed) in [("plain", Some(&report.plain)), ("speculative", report.speculative.as_ref())] {
        let Some(speed) = speed else { continue };
        let accepted = speed.acceptance_rate.map_or("-".to_owned(), |rate| format!("{:.0} %", rate * 1e2));
        writeln!(
            out,
            "{name:<12} {:>15.0} {:>20.0} {:>8} {accepted:>17}",
            speed.prompt_tokens_per_second, speed.generated_tokens_per_second, speed.passes,
        )?;
    }
    writeln!(
        out,
        "\nexpert load  {}",
        (0..config.n_routed_experts).map(|e| format!("{e:>6}")).collect::<String>()
    )?;
    for LayerLoad { layer, share } in &report.expert_load {
        let shares: String = share.iter().map(|share| format!("{:>5.1}%", share * 1e2)).collect();
        writeln!(out, "layer {layer:<6} {shares}")?;
    }
    Ok(())
}

/// The sums are right, and speculation changed nothing.
fn check(report: &Report, plain: &Generations, speculative: Option<&Generations>) -> Result<(), Failure> {
    let wrong: Vec<&str> = report.problems.iter().filter(|p| !p.correct).map(|p| p.prompt).collect();
    if !wrong.is_empty() {
        return Err(Failure::Check(format!("wrong answers: {}", wrong.join(" "))));
    }
    let differs = |(a, b): (&Generation, &Generation)| a.token_ids != b.token_ids;
    if speculative.is_some_and(|other| plain.sequences.iter().zip(&other.sequences).any(differs)) {
        return Err(Failure::Check(
            "speculative generation gave other tokens than plain generation".to_owned(),
        ));
    }
    Ok(())
}
