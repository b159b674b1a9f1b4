//! `rorqual mutate`: the kernels of every family with one fence, wait, arrival or barrier broken, on the simulator.

use std::io::{self, Write, stdout};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rorqual::verify::mutation::{Mutant, MutatedKernel, Plan, Score, judge_all, kernels, sample};
use rorqual::verify::{FAMILIES, Family};
use serde_json::{Value, json};

use crate::arguments::MutateArguments;
use crate::failure::Failure;
use crate::progress::Bars;

/// The score that a run must reach.
const NEEDED: f64 = 0.95;

/// What came of a family.
struct Outcome {
    family: &'static str,
    kernels: Vec<String>,
    score: Score,
    time: Duration,
}

/// Judges mutants and prints a table.
pub fn run(arguments: &MutateArguments) -> Result<(), Failure> {
    let families = families(arguments.family.as_deref())?;
    let plan = Plan { kernels: arguments.kernels, cases: arguments.cases, seed: arguments.seed };
    if plan.kernels == 0 || plan.cases == 0 {
        return Err(Failure::input("--kernels and --cases are at least 1"));
    }
    let mut bars = Bars::new(arguments.json);
    let mut found: Vec<MutatedKernel> = Vec::new();
    let mut owners = Vec::new();
    for (at, family) in families.iter().enumerate() {
        bars.show("kernels", at, families.len());
        let kernels = kernels(family, &plan)
            .map_err(|error| Failure::Check(format!("{}, before any mutation: {error}", family.name)))?;
        owners.extend(kernels.iter().map(|_| family.name));
        found.extend(kernels);
    }
    if let Some(count) = arguments.sample {
        sample(&mut found, count, arguments.seed);
    }
    if arguments.list {
        bars.clear();
        return Ok(list(&found, arguments.json, &mut stdout().lock())?);
    }
    let mut outcomes: Vec<Outcome> = families
        .iter()
        .map(|family| Outcome {
            family: family.name,
            kernels: vec![],
            score: Score::default(),
            time: Duration::ZERO,
        })
        .collect();
    for (kernel, family) in found.iter().zip(owners) {
        let Some(outcome) = outcomes.iter_mut().find(|outcome| outcome.family == family) else { continue };
        let start = Instant::now();
        let total = kernel.mutants.len();
        let progress = Mutex::new((&mut bars, 0));
        let judged = || {
            if let Ok(mut progress) = progress.lock() {
                progress.1 += 1;
                let (bars, done) = &mut *progress;
                bars.show(family, *done, total);
            }
        };
        outcome.score.add(judge_all(kernel, &judged));
        outcome.kernels.push(kernel.name.clone());
        outcome.time += start.elapsed();
    }
    bars.clear();
    let mut out = stdout().lock();
    if arguments.json {
        writeln!(out, "{}", to_json(&outcomes))?;
    } else if arguments.markdown {
        print_markdown(&outcomes, &mut out)?;
    } else {
        print_table(&outcomes, &mut out)?;
    }
    verdict(&outcomes)
}

fn families(name: Option<&str>) -> Result<Vec<&'static Family>, Failure> {
    let families: Vec<_> =
        FAMILIES.iter().filter(|known| name.is_none_or(|name| name == known.name)).collect();
    match (name, &families[..]) {
        (Some(name), []) => {
            let known: Vec<&str> = FAMILIES.iter().map(|family| family.name).collect();
            Err(Failure::input(format_args!(
                "`{name}` is not a family, expected one of {}",
                known.join(", ")
            )))
        }
        _ => Ok(families),
    }
}

fn list(kernels: &[MutatedKernel], as_json: bool, out: &mut dyn Write) -> io::Result<()> {
    let mutants = kernels.iter().flat_map(|kernel| &kernel.mutants);
    if as_json {
        let names: Vec<String> = mutants.map(Mutant::to_string).collect();
        return writeln!(out, "{}", json!({ "mutants": names }));
    }
    for mutant in mutants {
        writeln!(out, "{mutant}")?;
    }
    Ok(())
}

fn total(outcomes: &[Outcome]) -> Score {
    let mut total = Score::default();
    outcomes.iter().for_each(|outcome| total.add(outcome.score.clone()));
    total
}

/// Counts by name: `race 12, deadlock 3`.
fn counts<'a, K: ToString + 'a>(counts: impl IntoIterator<Item = (&'a K, &'a usize)>) -> String {
    let parts: Vec<String> =
        counts.into_iter().map(|(name, count)| format!("{} {count}", name.to_string())).collect();
    parts.join(", ")
}

fn print_table(outcomes: &[Outcome], out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "{:20} {:>7} {:>7} {:>6} {:>10} {:>5} {:>7} {:>8}  caught by",
        "family", "kernels", "mutants", "caught", "equivalent", "alive", "score", "time"
    )?;
    let mut line = |name: &str, kernels: usize, score: &Score, time: Duration| {
        let percent =
            if score.mutants() == 0 { "-".to_owned() } else { format!("{:.1} %", 100.0 * score.ratio()) };
        writeln!(
            out,
            "{name:20} {kernels:>7} {:>7} {:>6} {:>10} {:>5} {percent:>7} {:>6.1} s  {}",
            score.mutants(),
            score.caught(),
            score.equivalent(),
            score.alive.len(),
            time.as_secs_f64(),
            counts(&score.caught),
        )
    };
    for Outcome { family, kernels, score, time } in outcomes {
        line(family, kernels.len(), score, *time)?;
    }
    let total = total(outcomes);
    line(
        "all",
        outcomes.iter().map(|outcome| outcome.kernels.len()).sum(),
        &total,
        outcomes.iter().map(|outcome| outcome.time).sum(),
    )?;
    for (rule, count) in &total.equivalent {
        writeln!(out, "equivalent, {rule}: {count}")?;
    }
    for (mutant, reached) in &total.alive {
        let reached = if *reached { "" } else { ", which no case executes" };
        writeln!(out, "alive: {mutant}{reached}")?;
    }
    for (mutant, rule) in &total.contradictions {
        writeln!(out, "caught, although {rule}: {mutant}")?;
    }
    Ok(())
}

fn print_markdown(outcomes: &[Outcome], out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "| family | kernels | mutants | caught | equivalent | alive | score | caught by |")?;
    writeln!(out, "|---|---|---|---|---|---|---|---|")?;
    let mut line = |name: &str, kernels: usize, score: &Score| {
        let percent =
            if score.mutants() == 0 { "-".to_owned() } else { format!("{:.1} %", 100.0 * score.ratio()) };
        writeln!(
            out,
            "| {name} | {kernels} | {} | {} | {} | {} | {percent} | {} |",
            score.mutants(),
            score.caught(),
            score.equivalent(),
            score.alive.len(),
            counts(&score.caught),
        )
    };
    for outcome in outcomes {
        line(&format!("`{}`", outcome.family), outcome.kernels.len(), &outcome.score)?;
    }
    let total = total(outcomes);
    line("all", outcomes.iter().map(|outcome| outcome.kernels.len()).sum(), &total)?;
    if !total.equivalent.is_empty() {
        writeln!(out, "\n| equivalent because | mutants |\n|---|---|")?;
    }
    for (rule, count) in &total.equivalent {
        writeln!(out, "| {rule} | {count} |")?;
    }
    writeln!(out, "\nAlive:\n")?;
    if total.alive.is_empty() {
        writeln!(out, "- none")?;
    }
    for (mutant, reached) in &total.alive {
        let reached = if *reached { "" } else { ", which no case executes" };
        writeln!(out, "- `{mutant}`{reached}")?;
    }
    Ok(())
}

fn to_json(outcomes: &[Outcome]) -> Value {
    let score = |score: &Score| {
        let alive = score.alive.iter();
        json!({
            "mutants": score.mutants(),
            "caught": score.caught,
            "equivalent": score.equivalent.iter().map(|(rule, count)| json!({"rule": rule.to_string(), "mutants": count})).collect::<Vec<_>>(),
            "alive": alive.map(|(mutant, reached)| json!({"mutant": mutant.to_string(), "executed": reached})).collect::<Vec<_>>(),
            "contradictions": score.contradictions.iter().map(|(mutant, rule)| json!({"mutant": mutant.to_string(), "rule": rule.to_string()})).collect::<Vec<_>>(),
            "score": score.ratio(),
        })
    };
    let families = outcomes.iter().map(|outcome| {
        let mut object = score(&outcome.score);
        object["family"] = json!(outcome.family);
        object["kernels"] = json!(outcome.kernels);
        object["seconds"] = json!(outcome.time.as_secs_f64());
        object
    });
    json!({ "families": families.collect::<Vec<_>>(), "all": score(&total(outcomes)) })
}

/// A run whose score is too low, or whose rules are wrong, has failed.
fn verdict(outcomes: &[Outcome]) -> Result<(), Failure> {
    let total = total(outcomes);
    if let Some((mutant, rule)) = total.contradictions.first() {
        return Err(Failure::Check(format!("a mutant was caught although {rule}: {mutant}")));
    }
    if total.ratio() < NEEDED {
        return Err(Failure::Check(format!(
            "the score is {:.1} %, expected at least {:.1} %",
            100.0 * total.ratio(),
            100.0 * NEEDED
        )));
    }
    Ok(())
}
