//! Programs that race detection must classify: in every form, under every policy and whatever the schedule.
//!
//! On top of the comments of [`marked_programs`](super::marked_programs):
//!
//! ```text
//! // vary: .SCOPE = .cta | .gpu              each of them is put in place of `.SCOPE`, in comments too
//! // expect: race                            `race`, `warning` or `clean`
//! // expect .gpu and exempt_reads: clean   where all of these are chosen; the last line that applies holds
//! // corrected warp_report: race             the same of the corrected twin, which is `clean` otherwise
//!     st.shared.u32 [%r1], %r2;  // <- race
//! // report: undefined [race] in ...         the report of the first form that races, of seed 0
//! ```
//!
//! Both lines of a report must be marked: `<- race` those of which there is a report in some form under some seed,
//! `<- maybe` others that another schedule may come to first.

use crate::marked_programs::{Header, Program};
use rorqual_sim::launch_file::{LaunchFile, run};
use rorqual_sim::race::{RacePolicy, WarpPolicy};
use rorqual_sim::{Options, Rule};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Seeds that a program is run with under the default policy; `RORQUAL_SEEDS` overrides it.
const SEEDS: u64 = 20;
/// Seeds that it is run with under every other policy.
const POLICY_SEEDS: u64 = 2;
/// Warp instructions of a launch, if the program does not say otherwise.
const BUDGET: u64 = 1_000_000;

const REPORT: &str = "// report: ";

/// Every policy that differs from the default in one answer, by the name that headers give it.
const POLICIES: [&str; 7] = [
    "default",
    "warp_report",
    "warp_ignore",
    "strict_remote_arrive",
    "strict_proxy_fence",
    "exempt_reads",
    "any_constant_loads",
];

fn policy(name: &str) -> RacePolicy {
    let default = RacePolicy::default();
    match name {
        "warp_report" => RacePolicy { warp: WarpPolicy::Report, ..default },
        "warp_ignore" => RacePolicy { warp: WarpPolicy::Ignore, ..default },
        "strict_remote_arrive" => RacePolicy { strict_remote_arrive: true, ..default },
        "strict_proxy_fence" => RacePolicy { strict_proxy_fence: true, ..default },
        "exempt_reads" => RacePolicy { exempt_reads: true, ..default },
        "any_constant_loads" => RacePolicy { constant_loads: false, ..default },
        _ => default,
    }
}

/// One form of a program: with each variation decided.
struct Form {
    /// What was chosen.
    choices: Vec<String>,
    text: String,
}

/// What is expected where all conditions are chosen.
struct Expectation {
    conditions: Vec<String>,
    verdict: String,
}

/// What the comments of a form ask for.
struct Directives {
    launch: LaunchFile,
    seeds: u64,
    budget: u64,
    expectations: Vec<Expectation>,
    /// Lines that reports must be about, and those that they may be about.
    marked: BTreeSet<u32>,
    allowed: BTreeSet<u32>,
}

/// A run, judged.
struct Judged {
    verdict: String,
    /// The lines that they name.
    lines: BTreeSet<u32>,
    /// Reports and warnings.
    text: String,
}

/// Every form of a text: the product of its variations.
fn forms(text: &str) -> Result<Vec<Form>, String> {
    let mut forms = vec![Form { choices: Vec::new(), text: text.to_owned() }];
    for line in text.lines().filter_map(|line| line.strip_prefix("// vary: ")) {
        let (place, values) = line.split_once(" = ").ok_or_else(|| format!("vary `{line}`"))?;
        let values: Vec<&str> = values.split('|').map(str::trim).collect();
        let vary = |form: &Form| {
            let with = |value: &&str| Form {
                choices: form.choices.iter().cloned().chain([(*value).to_owned()]).collect(),
                text: form.text.replace(place, value),
            };
            values.iter().map(with).collect::<Vec<_>>()
        };
        forms = forms.iter().flat_map(vary).collect();
    }
    Ok(forms)
}

/// The directives of a program in one form; `corrected` if it is the twin.
fn directives(program: &Program, corrected: bool) -> Result<Directives, String> {
    let mut header = Header::new(&program.kernel);
    let (mut marked, mut allowed) = (BTreeSet::new(), BTreeSet::new());
    let mut expectations = Vec::new();
    if corrected {
        expectations.push(Expectation { conditions: Vec::new(), verdict: "clean".to_owned() });
    }
    for (code, number) in program.numbered_lines() {
        if code.contains("// <- race") {
            marked.insert(number);
        }
        if code.contains("// <- maybe") {
            allowed.insert(number);
        }
        let Some((key, value)) = code.strip_prefix("// ").and_then(|comment| comment.split_once(": ")) else {
            continue;
        };
        let (word, conditions) = key.split_once(' ').unwrap_or((key, ""));
        match word {
            "expect" | "corrected" if (word == "corrected") == corrected => {
                let conditions =
                    conditions.split(" and ").map(str::trim).filter(|condition| !condition.is_empty());
                let conditions = conditions.map(str::to_owned).collect();
                expectations.push(Expectation { conditions, verdict: value.trim().to_owned() });
            }
            "expect" | "corrected" | "vary" | "report" => {}
            _ if header.read(key, value.trim())? || key.contains(' ') => {}
            _ => return Err(format!("directive `{key}` is not known")),
        }
    }
    let (seeds, budget) = (header.seeds.unwrap_or(SEEDS), header.budget.unwrap_or(BUDGET));
    Ok(Directives { launch: header.launch()?, seeds, budget, expectations, marked, allowed })
}

impl Directives {
    /// The verdict that is expected where these choices are made.
    fn expected(&self, choices: &[String]) -> Result<&str, String> {
        let applies = |expectation: &&Expectation| {
            expectation.conditions.iter().all(|condition| choices.contains(condition))
        };
        let last = self.expectations.iter().rev().find(applies);
        last.map(|expectation| expectation.verdict.as_str()).ok_or_else(|| "expects nothing".to_owned())
    }

    fn run(&self, folder: &Path, seed: u64, policy: RacePolicy) -> Result<Judged, String> {
        let race = Some(policy);
        let options =
            Options { seed, threads: 1, instruction_budget: self.budget, race, ..Options::default() };
        let outcome =
            run(&self.launch, folder, &options).map_err(|error| format!("does not run: {error}"))?;
        let findings = outcome.reports.iter().chain(&outcome.warnings);
        let text = findings.clone().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        let verdict = match (outcome.reports.first(), outcome.warnings.first()) {
            (Some(report), _) if report.rule != Rule::Race => report.rule.name(),
            (Some(_), _) => "race",
            (None, Some(_)) => "warning",
            (None, None) => "clean",
        };
        let lines = findings.flat_map(|report| [Some(report.line), report.other_line]).flatten();
        Ok(Judged { verdict: verdict.to_owned(), lines: lines.collect(), text })
    }
}

/// Checks every form of a program and of its twin, whose files are written to `scratch`; the report is rewritten in
/// `folder` if it is there.
///
/// # Errors
///
/// The first form that is not what the program says.
pub fn check(program: &Program, scratch: &Path, bless: Option<&Path>) -> Result<(), String> {
    let mut verdicts = BTreeSet::new();
    let (mut report, mut named, mut marked) = (None, BTreeSet::new(), BTreeSet::new());
    let twin = program.has_twin().then(|| program.twin());
    for (program, corrected) in [(program, false)].into_iter().chain(twin.iter().map(|twin| (twin, true))) {
        for (number, form) in forms(&program.text)?.into_iter().enumerate() {
            let folder: PathBuf = scratch.join(format!("{}-{number}-{corrected}", program.kernel));
            std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
            std::fs::write(folder.join(format!("{}.ptx", program.kernel)), &form.text)
                .map_err(|error| error.to_string())?;
            let form_program = Program { kernel: program.kernel.clone(), text: form.text };
            let directives = directives(&form_program, corrected)?;
            for name in POLICIES {
                let mut choices = form.choices.clone();
                choices.push(name.to_owned());
                let expected = directives.expected(&choices)?;
                let what = if corrected { "corrected, " } else { "" };
                let seeds = if name == "default" { seeds_or(directives.seeds) } else { POLICY_SEEDS };
                for seed in 0..seeds {
                    let judged = directives.run(&folder, seed, policy(name))?;
                    let place = format!("({what}{}, seed {seed})", choices.join(", "));
                    if judged.verdict != expected {
                        let verdict = &judged.verdict;
                        return Err(format!("{place} must be `{expected}`, is `{verdict}`\n{}", judged.text));
                    }
                    let known =
                        |line: &&u32| directives.marked.contains(line) || directives.allowed.contains(line);
                    if let Some(line) = judged.lines.iter().find(|line| !known(line)) {
                        return Err(format!(
                            "{place} has a report about line {line}, not marked\n{}",
                            judged.text
                        ));
                    }
                    if judged.verdict != "clean" {
                        report.get_or_insert(judged.text);
                    }
                    named.extend(judged.lines);
                }
                verdicts.insert(expected.to_owned());
            }
            marked.extend(directives.marked);
        }
    }
    if let Some(line) = marked.difference(&named).next() {
        return Err(format!("marks line {line}, which no report names"));
    }
    if verdicts.len() < 2 || !verdicts.contains("clean") {
        return Err(format!("has no racy and clean form, only {verdicts:?}"));
    }
    let report = report.unwrap_or_default();
    let written: Vec<&str> = program.text.lines().filter_map(|line| line.strip_prefix(REPORT)).collect();
    let written = written.join("\n");
    match bless {
        Some(folder) if report != written => program.write_report(folder, REPORT, &report),
        None if report != written => {
            return Err(format!("has the report\n{report}\nand the file says\n{written}"));
        }
        _ => {}
    }
    Ok(())
}

/// As many seeds as `RORQUAL_SEEDS` says.
fn seeds_or(default: u64) -> u64 {
    std::env::var("RORQUAL_SEEDS").map_or(default, |seeds| seeds.parse().expect("RORQUAL_SEEDS is a number"))
}
