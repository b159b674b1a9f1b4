//! `docs/kernels.md`: every row of the catalog for every target, and what ptxas made of it.
//!
//! `RORQUAL_PTXAS=/path/to/ptxas BLESS=1 cargo test -p rorqual --test catalog` assembles everything and writes the page;
//! without `BLESS` it assembles everything and compares. Without ptxas the page must list exactly the kernels of the
//! catalog, with the hashes of their texts: the figures are of these kernels.

use rorqual::catalog::{Artifact, Row, rows, targets, text_hash};
use rorqual_ptx::module::Statement;
use rorqual_ptx::target::Target;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/kernels.md");

const HEAD: &str = "# The kernels of the catalog

Every specialisation that ships, for every target that it can ship for, as ptxas assembles it: registers of a thread, bytes
of shared memory of a CTA, PTX instructions, milliseconds of assembly on the machine that wrote this page. No kernel
spills a register or uses local memory. The hash is the start of the SHA-256 of the PTX text.

Written by `RORQUAL_PTXAS=/path/to/ptxas BLESS=1 cargo test -p rorqual --test catalog`.
";

/// A kernel to assemble.
struct Kernel {
    artifact: Artifact,
    instructions: usize,
}

/// What ptxas says of a kernel.
struct Assembled {
    registers: u32,
    static_shared_bytes: u32,
    milliseconds: u128,
}

fn kernel(row: &Row, target: Target) -> Kernel {
    let kernel = row.spec.generate(target).expect("a row of the catalog");
    let statements = kernel.module.functions.iter().filter_map(|function| function.body.as_ref()).flatten();
    let instructions = statements.filter(|statement| matches!(statement, Statement::Instruction(_))).count();
    Kernel { artifact: Artifact::from(&kernel), instructions }
}

/// Runs ptxas and reads what it says; fails if it refuses the kernel, spills, uses local memory or serialises wgmma.
fn assemble(ptxas: &str, directory: &Path, artifact: &Artifact) -> Result<Assembled, String> {
    let contract = &artifact.contract;
    let file = directory.join(format!("{}.ptx", contract.kernel));
    fs::write(&file, &artifact.ptx).map_err(|error| error.to_string())?;
    let start = Instant::now();
    let output = Command::new(ptxas)
        .args(["-v", &format!("-arch={}", contract.target), "-o"])
        .args([file.with_extension("cubin"), file])
        .output()
        .map_err(|error| format!("{ptxas}: {error}"))?;
    let milliseconds = start.elapsed().as_millis();
    let said = String::from_utf8_lossy(&output.stderr);
    let wrong = |what: &str| Err(format!("{}: {what}\n{said}", contract.kernel));
    let number_before =
        |words: &str| -> Option<u32> { said.split_once(words)?.0.split_whitespace().last()?.parse().ok() };
    if !output.status.success() {
        return wrong("refused");
    }
    for words in [" bytes stack frame", " bytes spill stores", " bytes spill loads"] {
        if number_before(words) != Some(0) {
            return wrong(&format!("expected 0{words}"));
        }
    }
    if said.contains(" bytes lmem") || said.contains("wgmma.mma_async instructions are serialized") {
        return wrong("local memory, or serialised wgmma");
    }
    let Some(registers) = number_before(" registers") else { return wrong("no number of registers") };
    let static_shared_bytes = number_before(" bytes smem").unwrap_or(0);
    Ok(Assembled { registers, static_shared_bytes, milliseconds })
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
    let of_row = |row| targets().map(move |target| kernel(row, target));
    let kernels: Vec<Kernel> = rows.iter().flat_map(of_row).collect();
    let assembled = std::env::var("RORQUAL_PTXAS").ok().map(|ptxas| assemble_all(&ptxas, &kernels));
    if let (Some(assembled), Ok(_)) = (&assembled, std::env::var("BLESS")) {
        fs::write(PAGE, page(&rows, &kernels, assembled)).expect("a page that can be written");
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

fn assemble_all(ptxas: &str, kernels: &[Kernel]) -> Vec<Assembled> {
    let directory = tempfile::tempdir().expect("a directory");
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(kernel) = kernels.get(index) else { return done };
            done.push((index, assemble(ptxas, directory.path(), &kernel.artifact)));
        }
    };
    let mut all: Vec<(usize, Result<Assembled, String>)> = std::thread::scope(|scope| {
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("no panic")).collect()
    });
    all.sort_by_key(|(index, _)| *index);
    let results = all.into_iter().map(|(_, assembled)| assembled);
    let (right, wrong): (Vec<_>, Vec<_>) = results.partition(Result::is_ok);
    let wrong: Vec<String> = wrong.into_iter().filter_map(Result::err).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    right.into_iter().filter_map(Result::ok).collect()
}

/// The page: for each family its rows with their reasons, then its kernels.
fn page(rows: &[Row], kernels: &[Kernel], assembled: &[Assembled]) -> String {
    let mut page = HEAD.to_owned();
    let per_row = targets().count();
    let mut families: Vec<&str> = Vec::new();
    for row in rows {
        if !families.contains(&row.spec.family()) {
            families.push(row.spec.family());
        }
    }
    for family in families {
        let of_family = || (0..rows.len()).filter(|index| rows[*index].spec.family() == family);
        let mut line = |text: String| writeln!(page, "{text}").expect("a string grows");
        line(format!("\n## `{family}`\n"));
        for index in of_family() {
            let Row { spec, reason, models } = &rows[index];
            line(format!("- {}: {reason}\n  `{}`", models.join(", "), spec.to_json()));
        }
        line("\n| kernel | target | registers | shared | instructions | assembly | text |".to_owned());
        line("|---|---|--:|--:|--:|--:|---|".to_owned());
        for at in of_family().flat_map(|index| index * per_row..(index + 1) * per_row) {
            let (kernel, Assembled { registers, static_shared_bytes, milliseconds }) =
                (&kernels[at], &assembled[at]);
            let (name, hash) = known_columns(kernel);
            let shared = kernel.artifact.contract.shared_bytes + static_shared_bytes;
            let instructions = kernel.instructions;
            line(format!("{name} {registers} | {shared} | {instructions} | {milliseconds} ms | `{hash}` |"));
        }
    }
    page
}
