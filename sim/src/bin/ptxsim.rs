//! `ptxsim`: runs launch files and checks PTX.

use clap::{Args, Parser, Subcommand, ValueEnum};
use rorqual_sim::counters::{Counters, LinkCounters};
use rorqual_sim::l2;
use rorqual_sim::launch_file::{self, FileOutcome, LaunchFile, Swept};
use rorqual_sim::mutate::Mutant;
use rorqual_sim::mutate::judge::{Fate, Score};
use rorqual_sim::race::{RacePolicy, WarpPolicy};
use rorqual_sim::trace::{self, Model, Timeline, TraceTarget};
use rorqual_sim::{Options, Precision, Report, Schedule, Verdict};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Runs PTX kernels on the CPU and says what is wrong with them.
///
/// Exit status: 0 done, 1 the program is wrong or deadlocked, 2 bad usage or input, 3 inconclusive.
#[derive(Parser)]
#[command(version)]
struct Command {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Run the launches of a launch file.
    Run(Run),
    /// Run the launches of a launch file and draw when a CTA's warps, copies and products run, by a timing model.
    Report {
        /// What to run.
        #[command(flatten)]
        run: Run,
        /// The picture: `.svg`, or `.html`.
        #[arg(long)]
        out: PathBuf,
    },
    /// Break the modules of a launch file, one fence, wait or barrier at a time, and see that it is noticed: by a report, or
    /// by a saved buffer that differs.
    Mutate(Mutate),
    /// Parse and verify a PTX file.
    Check {
        /// The PTX file.
        file: PathBuf,
    },
}

#[derive(Args)]
struct Run {
    /// The launch file.
    launch: PathBuf,
    /// What to check: `all`, or some of bounds,init,race,sync. `race=strict` has proxy fences count only in the thread
    /// that needs them, and arrivals at remote mbarriers only with `.cluster` scope. `warp` makes accesses of convergent
    /// lanes that no bar.warp.sync orders wrong; `warp=warn`, the default, lists them, and `warp=ignore` does not.
    #[arg(long, value_delimiter = ',', default_value = "all")]
    check: Vec<String>,
    /// How matrix products are added up.
    #[arg(long, value_enum, default_value_t = PrecisionArgument::Exact)]
    precision: PrecisionArgument,
    /// Decides, by the schedule, everything that the PTX ISA leaves open: the same seed, the same run.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Who runs next, and under which stress: random, round-robin or pct:CHANGES, then any of
    /// copies=early|late|shredded, wgmma=early|late, starve=warp:N|warpgroup:N, ahead=cta:N|cluster:N|device:N,
    /// spurious=PERCENT, apart, elect=highest|random, stale, until=DECISIONS, joined by commas.
    #[arg(long, default_value_t = Schedule::default())]
    schedule: Schedule,
    /// Relaxed, volatile and acquiring loads return older values at times, as far as the memory model lets them: `stale`
    /// of the schedule. Takes the check `race`.
    #[arg(long)]
    stale_reads: bool,
    /// Run under so many seeds and the standard stress schedules, to the first failure, which is shrunk.
    #[arg(long, value_name = "SEEDS", conflicts_with = "schedule")]
    sweep: Option<u64>,
    /// Move approximate results within their documented error, by the seed.
    #[arg(long)]
    perturb: bool,
    /// Warp instructions that a launch may issue.
    #[arg(long, default_value_t = Options::default().instruction_budget)]
    budget: u64,
    /// Threads of the host; all cores if 0.
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Write counters as JSON.
    #[arg(long)]
    counters: Option<PathBuf>,
    /// Count what reads fetch from memory by a model of an L2 cache of so many bytes, of an H100's 50 MiB without a number.
    /// The launches then run on one thread.
    #[arg(long, value_name = "BYTES", num_args = 0..=1, require_equals = true, requires = "counters")]
    l2: Option<Option<u64>>,
    /// Write a Chrome trace of a CTA and its cluster, timed by a model.
    #[arg(long)]
    trace: Option<PathBuf>,
    /// The launch to trace, from 0.
    #[arg(long, default_value_t = 0)]
    trace_launch: u64,
    /// The CTA to trace: its index in the grid, x fastest.
    #[arg(long, default_value_t = 0)]
    trace_cta: u64,
    /// Print one JSON object on standard output.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct Mutate {
    /// The launch file.
    launch: PathBuf,
    /// Schedules that each mutant is run under.
    #[arg(long, default_value_t = 4)]
    schedules: u64,
    /// Seed of the first.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Races between convergent lanes of a warp count too.
    #[arg(long)]
    warp: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum PrecisionArgument {
    /// A chain of f32 fused multiply-adds.
    Exact,
    /// As the chip adds.
    Hardware,
}

/// Bad usage or input.
const BAD_INPUT: u8 = 2;

/// Neither right nor wrong: something is not supported, or a limit is reached.
const INCONCLUSIVE: u8 = 3;

/// The score that mutants must reach.
const NEEDED_SCORE: f64 = 0.95;

/// The checks that `all` makes.
const CHECKS: [&str; 4] = ["bounds", "init", "race", "sync"];

/// Checks that are made otherwise than by default.
const VARIANTS: [&str; 5] = ["race=strict", "warp", "warp=report", "warp=warn", "warp=ignore"];

fn main() -> ExitCode {
    let result = match Command::parse().action {
        Action::Run(run) => run_launches(&run, None),
        Action::Report { run, out } => run_launches(&run, Some(&out)),
        Action::Mutate(arguments) => mutate(&arguments),
        Action::Check { file } => check(&file),
    };
    result.unwrap_or_else(|message| {
        complain(&format!("error: {message}"));
        ExitCode::from(BAD_INPUT)
    })
}

/// A line on standard error; where there is none, the exit status has to do.
fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn check(file: &Path) -> Result<ExitCode, String> {
    let in_file = |message: String| format!("{}: {message}", file.display());
    let bytes = std::fs::read(file).map_err(|error| in_file(error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|_| in_file("not UTF-8 text".to_owned()))?;
    let module = match rorqual_ptx::parse(&text) {
        Err(error) if error.kind.is_unsupported() => {
            complain(&format!("unsupported: {}", in_file(error.to_string())));
            return Ok(ExitCode::from(INCONCLUSIVE));
        }
        parsed => parsed.map_err(|error| in_file(error.to_string()))?,
    };
    let verified = rorqual_ptx::verify::verify(module).map_err(|error| in_file(error.to_string()))?;
    let functions = verified.functions.iter().filter(|function| function.body.is_some()).count();
    complain(&format!("{}: {} with {functions} functions, no errors", file.display(), verified.target));
    Ok(ExitCode::SUCCESS)
}

/// Judges the mutants of every module; a line for each that is alive, and one for all.
fn mutate(arguments: &Mutate) -> Result<ExitCode, String> {
    let folder = arguments.launch.parent().unwrap_or(Path::new(""));
    let file = LaunchFile::read(&arguments.launch).map_err(|error| error.to_string())?;
    let warp = if arguments.warp { WarpPolicy::Report } else { WarpPolicy::default() };
    let race = Some(RacePolicy { warp, ..RacePolicy::default() });
    let options = Options { seed: arguments.seed, race, threads: 1, ..Options::default() };
    let modules: BTreeSet<&str> = file.launches.iter().map(|launch| launch.module.as_str()).collect();
    let mut score = Score::default();
    for module in modules {
        let mut judged = |mutant: &Mutant, fate: Fate| {
            if let Fate::Alive { reached } = fate {
                complain(&format!("alive: {mutant}{}", if reached { "" } else { ", which no run executes" }));
            }
        };
        let schedules = arguments.schedules.max(1);
        let result = launch_file::mutate((&file, folder), module, &options, schedules, &mut judged);
        score.add(result.map_err(|error| error.to_string())?);
    }
    let text = format!(
        "{} mutants: {} caught, {} equivalent, {} alive; score {:.1} %\n",
        score.mutants(),
        score.caught(),
        score.equivalent(),
        score.alive.len(),
        100.0 * score.ratio()
    );
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).map_err(|error| format!("cannot write to standard output: {error}"))?;
    for (mutant, rule) in &score.contradictions {
        complain(&format!("caught, although {rule}: {mutant}"));
    }
    Ok(ExitCode::from(u8::from(score.ratio() < NEEDED_SCORE || !score.contradictions.is_empty())))
}

/// Runs launches and writes what was asked for, a picture to `out`.
fn run_launches(arguments: &Run, out: Option<&Path>) -> Result<ExitCode, String> {
    let draw = out.map(drawing).transpose()?;
    let traces = arguments.trace.is_some() || out.is_some();
    let target = TraceTarget { launch: arguments.trace_launch, cta: arguments.trace_cta };
    let checks = chosen_checks(&arguments.check)?;
    let stale = arguments.stale_reads || arguments.schedule.stale;
    let race = race_policy(&checks);
    if stale && race.is_none() {
        return Err(
            "older values (`--stale-reads`, or `stale` in the schedule) take the check `race`".to_owned()
        );
    }
    let schedule = Schedule { stale, ..arguments.schedule };
    let options = Options {
        seed: arguments.seed,
        schedule,
        precision: match arguments.precision {
            PrecisionArgument::Exact => Precision::Exact,
            PrecisionArgument::Hardware => Precision::Hardware,
        },
        perturb_approximations: arguments.perturb,
        check_initialized: checks.contains(&"init"),
        trace: traces.then_some(target),
        race,
        count_accesses: arguments.counters.is_some() || traces,
        l2_bytes: arguments.l2.map(|bytes| bytes.unwrap_or(l2::H100_BYTES)),
        instruction_budget: arguments.budget,
        threads: arguments.threads,
        ..Options::default()
    };
    let folder = arguments.launch.parent().unwrap_or(Path::new(""));
    let file = LaunchFile::read(&arguments.launch).map_err(|error| error.to_string())?;
    let run = match arguments.sweep {
        Some(seeds) => launch_file::sweep(&file, folder, &options, seeds),
        None => launch_file::run(&file, folder, &options).map(|outcome| Swept {
            outcome,
            seed: arguments.seed,
            schedule,
            runs: 1,
        }),
    };
    let run = run.map_err(|error| error.to_string())?;
    let outcome = &run.outcome;
    for (name, bytes) in &outcome.saved {
        if let Some(path) = &file.buffers[name].save {
            write(&folder.join(path), bytes)?;
        }
    }
    if let Some(path) = &arguments.counters {
        write(path, format!("{:#}\n", counters(outcome)).as_bytes())?;
    }
    if let Some(recording) = &outcome.trace {
        let timeline = trace::lay_out(recording, Model::H100);
        if timeline.truncated {
            complain("the trace is cut off: the cluster did more than a recording holds");
        }
        if let Some(path) = &arguments.trace {
            write(path, trace::chrome_json(&timeline).as_bytes())?;
        }
        if let (Some(path), Some(draw)) = (out, draw) {
            write(path, draw(&timeline, &Model::H100).as_bytes())?;
        }
    }
    report(&run, &checks, arguments.json)
}

/// What draws a file of this name.
fn drawing(path: &Path) -> Result<fn(&Timeline, &Model) -> String, String> {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("svg") => Ok(trace::svg::svg),
        Some("html") => Ok(trace::svg::html),
        _ => Err(format!("{}: a report is a file that ends in .svg or .html", path.display())),
    }
}

fn chosen_checks(asked: &[String]) -> Result<Vec<&'static str>, String> {
    let mut chosen = Vec::new();
    for name in asked {
        match (name.as_str(), CHECKS.iter().chain(&VARIANTS).find(|check| *check == name)) {
            ("all", _) => chosen.extend(CHECKS),
            (_, Some(check)) => chosen.push(*check),
            _ => {
                let known = [&CHECKS[..], &VARIANTS[..]].concat().join(", ");
                return Err(format!("check `{name}` is not built; there are all, {known}"));
            }
        }
    }
    chosen.sort_unstable();
    chosen.dedup();
    Ok(chosen)
}

/// How races are looked for, if they are.
fn race_policy(checks: &[&str]) -> Option<RacePolicy> {
    let has = |name| checks.contains(&name);
    let warp = if has("warp") || has("warp=report") {
        WarpPolicy::Report
    } else if has("warp=ignore") {
        WarpPolicy::Ignore
    } else {
        WarpPolicy::Warn
    };
    let strict = has("race=strict");
    let policy = RacePolicy {
        warp,
        strict_remote_arrive: strict,
        strict_proxy_fence: strict,
        ..RacePolicy::default()
    };
    (strict || has("race") || warp == WarpPolicy::Report).then_some(policy)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    std::fs::write(path, bytes).map_err(|error| format!("cannot write {}: {error}", path.display()))
}

/// Reports to standard error, JSON and the text of `printf` to standard output.
fn report(run: &Swept, checks: &[&str], as_json: bool) -> Result<ExitCode, String> {
    let Swept { outcome, seed, schedule, runs } = run;
    for report in &outcome.reports {
        complain(&report.to_string());
    }
    for warning in &outcome.warnings {
        complain(&format!("warning: {warning}"));
    }
    if matches!(outcome.verdict(), Verdict::Undefined | Verdict::Deadlock) {
        complain(&format!("again with --seed {seed} --schedule {schedule}"));
    }
    if *runs > 1 {
        complain(&format!("{runs} runs"));
    }
    let links = links(outcome);
    let mut out = std::io::stdout().lock();
    let written = if as_json {
        let mut object = json!({
            "verdict": outcome.verdict().name(),
            "reports": outcome.reports.iter().map(report_json).collect::<Vec<_>>(),
            "warnings": outcome.warnings.iter().map(report_json).collect::<Vec<_>>(),
            "checks": checks,
            "seed": seed,
            "schedule": schedule.to_string(),
            "runs": runs,
            "output": String::from_utf8_lossy(&outcome.output),
        });
        if !links.is_empty() {
            object["links"] = links.iter().map(rorqual_sim::counters::link_to_json).collect();
        }
        writeln!(out, "{object}")
    } else {
        links.iter().for_each(|link| complain(&link.to_string()));
        out.write_all(&outcome.output)
    };
    written
        .and_then(|()| out.flush())
        .map_err(|error| format!("cannot write to standard output: {error}"))?;
    Ok(ExitCode::from(match outcome.verdict() {
        Verdict::Ok => 0,
        Verdict::Undefined | Verdict::Deadlock => 1,
        Verdict::Unsupported | Verdict::Limit => INCONCLUSIVE,
    }))
}

fn report_json(report: &Report) -> Value {
    let mut object = json!({
        "rule": report.rule.name(),
        "kernel": report.kernel,
        "line": report.line,
        "other_line": report.other_line,
        "cta": report.place.map(|place| place.cta),
        "warp": report.place.map(|place| place.warp),
        "source": report.source.as_ref().map(|(file, line)| format!("{file}:{line}")),
        "message": report.message,
    });
    if let Some(device) = report.device {
        object["device"] = json!(device);
    }
    object
}

/// What went between devices, in all launches together.
fn links(outcome: &FileOutcome) -> Vec<LinkCounters> {
    let mut total = Counters::default();
    outcome.counters.iter().for_each(|(_, counters)| total.add(counters));
    total.links
}

/// Counters of each launch.
fn counters(outcome: &FileOutcome) -> Value {
    let launches = outcome.counters.iter().map(|(kernel, counters)| {
        let mut object = rorqual_sim::counters::to_json(counters);
        object["kernel"] = json!(kernel);
        object
    });
    json!({ "launches": launches.collect::<Vec<_>>() })
}
