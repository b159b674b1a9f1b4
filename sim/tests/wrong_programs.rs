//! Wrong programs, each of which must be caught with the right rule, lines and message, and their corrected twins, which
//! must run clean.
//!
//! A program is a file `wrong_programs/<kernel>.ptx`. Comments say how it is launched and what must be found:
//!
//! ```text
//! // What is wrong, in one sentence.
//! // launch: grid 2 block 64 cluster 2 shared 1024 seeds 3 budget 100000
//! // buffer: data f32[4,8] random 1     an argument; filled with `fill 0`, `poison` or `random` and a seed
//! // storage: tensor f32[4,8] fill 0    memory that is no argument
//! // map: {"buffer": "tensor", ...}     an argument, as are u32, u64, s32, f32 and bytes
//! // option: strict_store_start          a check that is not made by default
//! // expect: undefined [bounds]         verdict and rule
//!     st.global.u32 [%rd1+4], %r1;  // <- here  // fix: st.global.u32 [%rd1], %r1;
//! // report: undefined [bounds] in ...  the whole report of seed 0
//! ```
//!
//! The report must be about the line that is marked `<- here`, and about the one marked `<- other` as the other party;
//! without a mark it must name no line. Replacing each line that has a `fix:` by what follows it gives the corrected
//! twin. `BLESS=1` rewrites the reports; verdict, rule and lines are never rewritten.
#![cfg(feature = "ptxsim")]

#[path = "marked_programs/mod.rs"]
mod marked_programs;

use marked_programs::{Header, Program, corpus, failures};
use rorqual_sim::launch_file::{FileOutcome, LaunchFile, run};
use rorqual_sim::{Options, Report, Rule, Schedule};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Seeds under which a wrong program is caught, if it does not say otherwise; `RORQUAL_SEEDS` overrides it.
const SEEDS: u64 = 3;
/// Seeds under which a corrected twin runs clean; `RORQUAL_SEEDS` overrides it.
const TWIN_SEEDS: u64 = 10;
/// Warp instructions of a launch, if the program does not say otherwise.
const BUDGET: u64 = 5_000_000;

const REPORT: &str = "// report: ";

/// What the comments of a program ask for.
#[derive(Debug, Clone)]
struct Directives {
    launch: LaunchFile,
    seeds: u64,
    options: Options,
    /// Verdict and rule, as `undefined [bounds]`.
    expected: String,
    /// The marked lines.
    line: u32,
    other_line: Option<u32>,
    report: String,
}

/// As many seeds as `RORQUAL_SEEDS` says.
fn seeds_or(default: u64) -> u64 {
    std::env::var("RORQUAL_SEEDS").map_or(default, |seeds| seeds.parse().expect("RORQUAL_SEEDS is a number"))
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wrong_programs")
}

/// What the header of a program asks for.
fn directives(program: &Program) -> Result<Directives, String> {
    let mut header = Header::new(&program.kernel);
    let mut options = Options { threads: 1, ..Options::default() };
    let (mut expected, mut report) = (String::new(), String::new());
    let (mut here, mut other) = (0, None);
    for (code, number) in program.numbered_lines() {
        if code.contains("// <- here") {
            here = number;
        }
        if code.contains("// <- other") {
            other = Some(number);
        }
        let Some((key, value)) = code.strip_prefix("// ").and_then(|comment| comment.split_once(": ")) else {
            continue;
        };
        let value = value.trim();
        match key {
            _ if header.read(key, value)? => {}
            "option" if value == "strict_store_start" => options.strict_store_start = true,
            "expect" => expected = value.to_owned(),
            "report" => {
                let _ = writeln!(report, "{}", code.strip_prefix(REPORT).unwrap_or(""));
            }
            _ if key.contains(' ') => {}
            _ => return Err(format!("directive `{key}` is not known")),
        }
    }
    options.instruction_budget = header.budget.unwrap_or(BUDGET);
    let seeds = header.seeds.unwrap_or_else(|| seeds_or(SEEDS));
    let report = report.trim_end().to_owned();
    Ok(Directives {
        launch: header.launch()?,
        seeds,
        options,
        expected,
        line: here,
        other_line: other,
        report,
    })
}

impl Directives {
    /// Runs the program, whose file is in a folder.
    fn run(&self, folder: &Path, seed: u64) -> Result<FileOutcome, String> {
        let options = Options { seed, ..self.options.clone() };
        run(&self.launch, folder, &options).map_err(|error| format!("does not run: {error}"))
    }
}

/// Checks that a program is caught; the report of the first seed is written to the file if `bless`.
fn check(program: &Program, folder: &Path, bless: bool) -> Result<(), String> {
    let directives = directives(program)?;
    for seed in 0..directives.seeds {
        let outcome = directives.run(folder, seed)?;
        let [report, ..] = &outcome.reports[..] else {
            return Err(format!("is not caught with seed {seed}"));
        };
        let found = format!("{} [{}]", outcome.verdict(), report.rule.name());
        if found != directives.expected {
            return Err(format!("with seed {seed} must be `{}`, is\n{report}", directives.expected));
        }
        if (report.line, report.other_line) != (directives.line, directives.other_line) {
            return Err(format!(
                "with seed {seed} must be about line {}{}, is\n{report}",
                directives.line,
                directives.other_line.map_or(String::new(), |line| format!(" with line {line}"))
            ));
        }
        let text = joined(&outcome.reports);
        if seed == 0 && bless {
            program.write_report(folder, REPORT, &text);
        } else if seed == 0 && text != directives.report {
            return Err(format!("has the report\n{text}\nand the file says\n{}", directives.report));
        }
    }
    Ok(())
}

/// Checks that the corrected twin runs clean, under stress too.
fn check_twin(program: &Program) -> Result<(), String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("wrong_programs_corrected");
    std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    let twin = program.twin();
    std::fs::write(folder.join(format!("{}.ptx", twin.kernel)), &twin.text)
        .map_err(|error| error.to_string())?;
    let directives = directives(&twin)?;
    let plain = (0..seeds_or(TWIN_SEEDS)).map(|seed| (seed, Schedule::default()));
    for (seed, schedule) in plain.chain((0..).zip(Schedule::stress())) {
        let options = Options { schedule, ..directives.options.clone() };
        let directives = Directives { options, ..directives.clone() };
        if let [report, ..] = &directives.run(&folder, seed)?.reports[..] {
            return Err(format!(
                "is found wrong when corrected, with seed {seed} and schedule {schedule}:\n{report}"
            ));
        }
    }
    Ok(())
}

fn joined(reports: &[Report]) -> String {
    reports.iter().map(Report::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_wrong_program_is_caught() {
    let bless = std::env::var("BLESS").is_ok_and(|value| value == "1");
    let failures = failures(&corpus(&folder()), |program| check(program, &folder(), bless));
    assert!(failures.is_empty(), "{} programs:\n\n{}", failures.len(), failures.join("\n\n"));
}

#[test]
fn corrected_programs_run_clean() {
    let programs: Vec<Program> = corpus(&folder()).into_iter().filter(Program::has_twin).collect();
    let failures = failures(&programs, check_twin);
    assert!(failures.is_empty(), "{} programs:\n\n{}", failures.len(), failures.join("\n\n"));
}

/// Rules that no program of the corpus can break: what does not suit a kernel is refused before it is launched.
const NOT_AT_RUN_TIME: [Rule; 1] = [Rule::Launch];

#[test]
fn the_corpus_covers_every_rule_and_its_programs_can_be_corrected() {
    let programs = corpus(&folder());
    for rule in Rule::ALL.iter().filter(|rule| !NOT_AT_RUN_TIME.contains(rule)) {
        let expected = format!("\n// expect: {} [{}]\n", rule.verdict(), rule.name());
        assert!(
            programs.iter().any(|program| program.text.contains(&expected)),
            "no program breaks {}",
            rule.name()
        );
    }
    for program in &programs {
        let sentence = program.text.lines().next().unwrap_or("");
        assert!(sentence.starts_with("// ") && sentence.ends_with('.'), "{}: no sentence", program.kernel);
        // What the simulator lacks cannot be corrected.
        let unsupported = program.text.contains("\n// expect: unsupported");
        assert!(program.has_twin() || unsupported, "{} has no corrected twin", program.kernel);
    }
}

#[test]
fn a_program_that_is_not_what_it_says_is_noticed() {
    let programs = corpus(&folder());
    let program =
        programs.iter().find(|program| program.kernel == "global_store_past_end").expect("the program");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("wrong_programs_changed");
    std::fs::create_dir_all(&folder).expect("a folder");
    let message_of = |text: String| {
        let changed = Program { text, ..program.clone() };
        std::fs::write(folder.join("global_store_past_end.ptx"), &changed.text)
            .expect("the program can be written");
        check(&changed, &folder, false).expect_err("the program is not what it says")
    };
    let replaced = |from: &str, to: &str| message_of(program.text.replace(from, to));
    assert!(message_of(program.twin().text).starts_with("is not caught"));
    assert!(
        replaced("expect: undefined [bounds]", "expect: undefined [alignment]")
            .starts_with("with seed 0 must be")
    );
    assert!(replaced("  // <- here", "").starts_with("with seed 0 must be about line 0"));
    assert!(replaced("report: undefined", "report: Undefined").starts_with("has the report"));
    assert!(replaced("block 64", "threads 64").starts_with("launch option `threads`"));
}
