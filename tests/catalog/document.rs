//! `docs/kernels.md`: every row of the catalog for every target that it serves, and what ptxas made of it.
//!
//! `RORQUAL_PTXAS=/path/to/ptxas BLESS=1 cargo test -p rorqual --test catalog` assembles everything and writes the page;
//! without `BLESS` it assembles everything and compares. Without ptxas the page must list exactly the kernels of the
//! catalog, with the hashes of their texts: the figures are of these kernels.

use rorqual::catalog::{Artifact, Row, rows, targets, text_hash};
use rorqual_kernels::assemble::{Assembled, Assembler, Search};
use rorqual_kernels::parallel::in_parallel;
use rorqual_ptx::module::Statement;
use rorqual_ptx::target::Target;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::time::Instant;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/kernels.md");

const HEAD: &str = "# The kernels of the catalog

Every specialisation that ships, for every target that it can ship for, as ptxas assembles it: registers of a thread, bytes
of shared memory of a CTA, PTX instructions, milliseconds of assembly on the machine that wrote the line. No kernel
spills a register or uses local memory. The hash is the start of the SHA-256 of the PTX text.

Written by `RORQUAL_PTXAS=/path/to/ptxas BLESS=1 cargo test -p rorqual --test catalog`.
";

/// A kernel to assemble.
struct Kernel {
    /// The index of its row.
    row: usize,
    artifact: Artifact,
    instructions: usize,
}

fn kernel((row, Row { spec, .. }): (usize, &Row), target: Target) -> Kernel {
    let kernel = spec.generate(target).expect("a row of the catalog");
    let statements = kernel.module.functions.iter().filter_map(|function| function.body.as_ref()).flatten();
    let instructions = statements.filter(|statement| matches!(statement, Statement::Instruction(_))).count();
    Kernel { row, artifact: Artifact::from(&kernel), instructions }
}

/// The line of a kernel but for what ptxas says.
fn known_columns(kernel: &Kernel) -> (String, String) {
    let contract = &kernel.artifact.contract;
    let name = format!("| `{}` | {} |", contract.kernel, contract.target);
    (name, text_hash(&kernel.artifact)[..16].to_owned())
}

/// The kernels of the page with the hashes of their texts.
fn listed(page: &str) -> BTreeMap<String, String> {
    let lines = page.lines().filter(|line| line.starts_with("| `") && line.contains("_sm"));
    let entry = |line: &str| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        Some((
            format!("| {} | {} |", cells.get(1)?, cells.get(2)?),
            cells.get(7)?.trim_matches('`').to_owned(),
        ))
    };
    lines.filter_map(entry).collect()
}

#[test]
fn the_page_lists_the_catalog() {
    let rows = rows();
    let of_row = |row: (usize, &Row)| {
        let served = targets().filter(|target| row.1.spec.serves(*target));
        served.map(|target| kernel(row, target)).collect::<Vec<_>>()
    };
    let kernels: Vec<Kernel> = rows.iter().enumerate().flat_map(of_row).collect();
    let directory = tempfile::tempdir().expect("a directory");
    let assembled = Search::named().map(|ptxas| {
        let assembler = Assembler::new(&ptxas, directory.path()).unwrap_or_else(|error| panic!("{error}"));
        assemble_all(&assembler, &kernels)
    });
    if let (Some(assembled), Ok(_)) = (&assembled, std::env::var("BLESS")) {
        let before = fs::read_to_string(PAGE).unwrap_or_default();
        fs::write(PAGE, page(&rows, &kernels, assembled, &before)).expect("a page that can be written");
    }
    let written = listed(&fs::read_to_string(PAGE).expect("docs/kernels.md"));
    let expected: BTreeMap<String, String> = kernels.iter().map(known_columns).collect();
    let how = "RORQUAL_PTXAS=/path/to/ptxas BLESS=1 cargo test -p rorqual --test catalog";
    for (name, hash) in &expected {
        assert_eq!(written.get(name), Some(hash), "{name} in docs/kernels.md; write it anew by\n{how}");
    }
    let gone: Vec<_> = written.keys().filter(|name| !expected.contains_key(*name)).collect();
    assert!(gone.is_empty(), "no rows of the catalog: {gone:?}; write docs/kernels.md anew by\n{how}");
    if assembled.is_none() {
        println!("not assembled: RORQUAL_PTXAS names no ptxas");
    }
}

/// What ptxas makes of every kernel, and the milliseconds that it took.
fn assemble_all(assembler: &Assembler, kernels: &[Kernel]) -> Vec<(Assembled, u128)> {
    let results = in_parallel(kernels, |kernel| {
        let start = Instant::now();
        assembler.assemble(&kernel.artifact).map(|assembled| (assembled, start.elapsed().as_millis()))
    });
    let (right, wrong): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    let wrong: Vec<String> =
        wrong.into_iter().filter_map(Result::err).map(|error| error.to_string()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    right.into_iter().filter_map(Result::ok).collect()
}

/// A line of a kernel without the milliseconds.
fn timeless(line: &str) -> String {
    line.split(" | ").filter(|cell| !cell.ends_with(" ms")).collect::<Vec<_>>().join(" | ")
}

/// The page: for each family its rows with their reasons, then its kernels. A kernel whose milliseconds alone are new
/// keeps its line of the page before.
fn page(rows: &[Row], kernels: &[Kernel], assembled: &[(Assembled, u128)], before: &str) -> String {
    let before: BTreeMap<String, &str> = before.lines().map(|line| (timeless(line), line)).collect();
    let mut page = HEAD.to_owned();
    let mut families: Vec<&str> = Vec::new();
    for row in rows {
        if !families.contains(&row.spec.family()) {
            families.push(row.spec.family());
        }
    }
    for family in families {
        let of_family = |row: &Row| row.spec.family() == family;
        let mut line = |text: String| writeln!(page, "{text}").expect("a string grows");
        line(format!("\n## `{family}`\n"));
        for Row { spec, reason, models } in rows.iter().filter(|row| of_family(row)) {
            line(format!("- {}: {reason}\n  `{}`", models.join(", "), spec.to_json()));
        }
        line("\n| kernel | target | registers | shared | instructions | assembly | text |".to_owned());
        line("|---|---|--:|--:|--:|--:|---|".to_owned());
        let made = kernels.iter().zip(assembled).filter(|(kernel, _)| of_family(&rows[kernel.row]));
        for (kernel, (Assembled { report, .. }, milliseconds)) in made {
            let (name, hash) = known_columns(kernel);
            let shared = kernel.artifact.contract.shared_bytes + report.static_shared_bytes;
            let registers = report.registers;
            let instructions = kernel.instructions;
            let own =
                format!("{name} {registers} | {shared} | {instructions} | {milliseconds} ms | `{hash}` |");
            line(before.get(&timeless(&own)).map_or(own, |kept| (*kept).to_owned()));
        }
    }
    page
}
