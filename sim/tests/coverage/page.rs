//! The page itself.

use crate::Answer;
use crate::tested::SUITES;
use rorqual_ptx::table::{Opcode, Row, rows};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write;

const INTRODUCTION: &str = "# Instructions

What `rorqual-ptx` knows of the PTX ISA, and what of it `rorqual-sim` executes. This page is made by
`cargo test -p rorqual-sim --test coverage`, which fails when it is old; with `BLESS=1` it writes it.

A row is an instruction; its forms are the syntax lines of the manual. Every form is written in ways that together have
each of its modifiers, as far as the verifier passes them, and loaded: *executes* says for how many forms the simulator
has all that was tried. What it lacks is listed after the table; a kernel that has it still loads, and ends with the
verdict *unsupported* where it executes it.

*Tested* names the suites under `sim/tests` whose sources have an opcode of the row, with modifiers and all:

";

const NAMES: &[(&str, &str)] = &[
    ("opcodes", "every opcode of DeepGEMM, FlashMLA, DeepEP and Triton kernels, one kernel each"),
    ("instructions", "values of scalar instructions against an oracle"),
    ("matrix", "values of matrix instructions"),
    ("wrong_programs", "programs that break a rule, and what the report says"),
    ("kernels", "kernels compiled by nvcc and Triton"),
    ("peers", "kernels of several devices"),
];

/// How much of a form executes.
#[derive(PartialEq, Eq, Clone, Copy)]
enum Extent {
    All,
    Part,
    Nothing,
}

fn extent(answer: &Answer) -> Extent {
    match answer.tried.iter().filter(|(_, lacks)| lacks.is_none()).count() {
        count if count == answer.tried.len() => Extent::All,
        0 => Extent::Nothing,
        _ => Extent::Part,
    }
}

/// The name of a section of the table.
fn section(opcode: Opcode) -> (&'static str, &'static str) {
    match opcode {
        Opcode::Arith(_) => ("Arithmetic", "arithmetic"),
        Opcode::Float(_) => ("Floating-point functions", "floating-point-functions"),
        Opcode::Bits(_) => ("Comparison, selection, logic, bits", "comparison-selection-logic-bits"),
        Opcode::Convert(_) => ("Conversion", "conversion"),
        Opcode::Memory(_) => ("Moves, loads, stores", "moves-loads-stores"),
        Opcode::Atomic(_) => ("Atomics and reductions", "atomics-and-reductions"),
        Opcode::AsyncCopy(_) => {
            ("Asynchronous copies and tensor maps", "asynchronous-copies-and-tensor-maps")
        }
        Opcode::Sync(_) => ("Barriers, fences, warp exchange", "barriers-fences-warp-exchange"),
        Opcode::Control(_) => ("Control", "control"),
        Opcode::Mma(_) => ("Matrices", "matrices"),
        Opcode::Tcgen05(_) => ("Tensor memory", "tensor-memory"),
    }
}

/// A row with the answers for its forms.
struct Entry<'a> {
    row: &'static Row,
    answers: Vec<&'a Answer>,
    tested: String,
}

impl Entry<'_> {
    fn count(&self, extent_is: fn(Extent) -> bool) -> usize {
        self.answers.iter().filter(|answer| extent_is(extent(answer))).count()
    }

    fn executing(&self) -> usize {
        self.count(|extent| extent == Extent::All)
    }

    /// Why nothing of it executes, if that is so and there is one reason.
    fn reason(&self) -> Option<&str> {
        let mut reasons =
            self.answers.iter().flat_map(|answer| &answer.tried).map(|(_, lacks)| lacks.as_deref());
        let first = reasons.next()??;
        reasons.all(|reason| reason == Some(first)).then_some(first)
    }
}

/// The text of `docs/coverage.md`.
pub fn page(answers: &[Answer], tested: &HashMap<Opcode, BTreeSet<&'static str>>) -> String {
    let mut sections: Vec<((&str, &str), Vec<Entry<'_>>)> = Vec::new();
    for row in rows() {
        let name = section(row.opcode);
        if sections.last().is_none_or(|(last, _)| *last != name) {
            sections.push((name, Vec::new()));
        }
        let of_row = |answer: &&Answer| answer.form.opcode == row.opcode;
        let entry = Entry {
            row,
            answers: answers.iter().filter(of_row).collect(),
            tested: tested
                .get(&row.opcode)
                .map_or(String::new(), |letters| letters.iter().copied().collect()),
        };
        sections.last_mut().expect("one was added").1.push(entry);
    }
    let mut page = INTRODUCTION.to_owned();
    for ((suite, letter), (_, what)) in SUITES.iter().zip(NAMES) {
        writeln!(page, "- **{letter}** `{suite}`: {what}").expect("memory suffices");
    }
    summary(&mut page, &sections);
    for ((name, _), entries) in &sections {
        table(&mut page, name, entries);
    }
    page
}

fn summary(page: &mut String, sections: &[((&str, &str), Vec<Entry<'_>>)]) {
    page.push_str(
        "\n| section | rows | execute | in part | unsupported | forms | execute | rows not tested |\n",
    );
    page.push_str("|---|--:|--:|--:|--:|--:|--:|--:|\n");
    let mut totals = [0; 7];
    for ((name, anchor), entries) in sections {
        let all = entries.iter().filter(|entry| entry.executing() == entry.answers.len()).count();
        let nothing =
            |entry: &&Entry<'_>| entry.count(|extent| extent == Extent::Nothing) == entry.answers.len();
        let none = entries.iter().filter(nothing).count();
        let forms = entries.iter().map(|entry| entry.answers.len()).sum();
        let executing = entries.iter().map(Entry::executing).sum();
        let untested = entries.iter().filter(|entry| entry.tested.is_empty()).count();
        let counts = [entries.len(), all, entries.len() - all - none, none, forms, executing, untested];
        line(page, &format!("[{name}](#{anchor})"), counts);
        (0..7).for_each(|at| totals[at] += counts[at]);
    }
    line(page, "**together**", totals);
}

fn line(page: &mut String, name: &str, counts: [usize; 7]) {
    let counts = counts.map(|count| count.to_string()).join(" | ");
    writeln!(page, "| {name} | {counts} |").expect("memory suffices");
}

fn table(page: &mut String, name: &str, entries: &[Entry<'_>]) {
    write!(page, "\n## {name}\n\n| instruction | PTX ISA | since | forms | execute | tested |\n")
        .expect("memory suffices");
    page.push_str("|---|---|---|--:|--:|---|\n");
    for entry in entries {
        let Entry { row, answers, tested } = entry;
        let since =
            row.forms.iter().map(|form| &form.since).min_by_key(|since| since.version).expect("a form");
        let targets = since.targets.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let counts = format!("{} | {}", answers.len(), entry.executing());
        let (major, minor) = (since.version.major, since.version.minor);
        writeln!(
            page,
            "| `{}` | {} | {major}.{minor} {targets} | {counts} | {tested} |",
            row.name, row.section
        )
        .expect("memory suffices");
    }
    if entries.iter().all(|entry| entry.executing() == entry.answers.len()) {
        return;
    }
    page.push_str("\nWhat is lacking:\n\n");
    // Rows of which nothing executes for one reason stand together.
    let mut wholly: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for entry in entries {
        match entry.reason() {
            Some(what) => wholly.entry(what).or_default().push(entry.row.name),
            None => entry
                .answers
                .iter()
                .filter(|answer| extent(answer) != Extent::All)
                .for_each(|answer| lacks(page, answer)),
        }
    }
    for (what, rows) in wholly {
        let rows = rows.into_iter().map(|row| format!("`{row}`")).collect::<Vec<_>>().join(", ");
        writeln!(page, "- {what}: all of {rows}").expect("memory suffices");
    }
}

/// A form of which something is lacking.
fn lacks(page: &mut String, answer: &Answer) {
    // Every reason with the first opcode that it is given for.
    let mut reasons: BTreeMap<&str, &str> = BTreeMap::new();
    for (opcode, lacks) in &answer.tried {
        if let Some(what) = lacks {
            reasons.entry(what).or_insert(opcode);
        }
    }
    let (syntax, _) = answer.form.text.split_once(" | ").unwrap_or((answer.form.text, ""));
    let (syntax, _) = syntax.trim().split_once(' ').unwrap_or((syntax, ""));
    let reasons: Vec<String> = match extent(answer) {
        Extent::Nothing => reasons.into_keys().map(str::to_owned).collect(),
        _ => reasons.into_iter().map(|(what, opcode)| format!("{what} (`{opcode}`)")).collect(),
    };
    let part = if extent(answer) == Extent::Part { " in part" } else { "" };
    writeln!(page, "- {}: `{syntax}`{part}", reasons.join("; ")).expect("memory suffices");
}
