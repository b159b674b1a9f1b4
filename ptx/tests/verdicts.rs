//! The verifier against ptxas: snippets made from every form of the table, with the verdicts that ptxas gave.
//!
//! `verdicts/ptxas.txt` holds the verdicts, a line a form; `verdicts/modules.txt` holds whole modules, a line each, with
//! theirs. With `RORQUAL_PTXAS=path` ptxas is asked again, and with `BLESS=1` the files are rewritten. Where the
//! verifier judges otherwise, `verdicts/disagreements.txt` says why.

#[path = "verdicts/ptxas.rs"]
mod ptxas;
#[path = "verdicts/snippets.rs"]
mod snippets;

use rorqual_ptx::{parse, table, verify};
use snippets::{Snippet, of_form, verdict};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/verdicts")
}

fn read(name: &str) -> String {
    std::fs::read_to_string(folder().join(name)).unwrap_or_default()
}

/// FNV-1a, so that a line of the record is known to be of these snippets.
fn hash(snippets: &[Snippet]) -> u64 {
    let texts = snippets.iter().map(Snippet::to_string);
    texts
        .flat_map(|text| (text + "\n").into_bytes())
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// One form's name and snippets.
fn forms() -> Vec<(String, Vec<Snippet>)> {
    let rows = table::rows().iter();
    rows.flat_map(|row| {
        row.forms.iter().map(move |form| (format!("{}#{}", row.name, form.index), of_form(form)))
    })
    .collect()
}

#[test]
fn verifier_and_ptxas_agree_or_the_reason_is_listed() {
    let forms = forms();
    let bless = std::env::var_os("BLESS").is_some();
    let accepted: Vec<Vec<bool>> = match std::env::var_os("RORQUAL_PTXAS") {
        Some(program) => {
            let all: Vec<Snippet> = forms.iter().flat_map(|(_, snippets)| snippets.clone()).collect();
            let mut verdicts = ptxas::verdicts(Path::new(&program), &all).into_iter();
            forms.iter().map(|(_, snippets)| verdicts.by_ref().take(snippets.len()).collect()).collect()
        }
        None => recorded(&forms),
    };
    if bless {
        std::fs::write(folder().join("ptxas.txt"), record(&forms, &accepted)).unwrap();
    }
    let mut disagreements = BTreeMap::new();
    let mut per_row: BTreeMap<&str, (u32, u32)> = BTreeMap::new();
    for ((name, snippets), accepted) in forms.iter().zip(&accepted) {
        let counts = per_row.entry(name.split('#').next().unwrap_or(name)).or_default();
        for (snippet, accepted) in snippets.iter().zip(accepted) {
            let ours = verdict(snippet);
            match (accepted, ours.is_ok()) {
                (true, true) => counts.0 += 1,
                (false, false) => counts.1 += 1,
                _ => _ = disagreements.insert(snippet.to_string(), (*accepted, ours)),
            }
        }
    }
    let mut list = read("disagreements.txt");
    if bless {
        list = list_of(&disagreements, &reasons(&list));
        std::fs::write(folder().join("disagreements.txt"), &list).unwrap();
    }
    let listed = reasons(&list);
    let mut failures = String::new();
    for (snippet, (accepted, ours)) in &disagreements {
        if listed.get(snippet.as_str()).is_none_or(|reason| reason.starts_with("unexplained")) {
            let ptxas = if *accepted { "accepts" } else { "rejects" };
            writeln!(failures, "ptxas {ptxas}: {snippet}   verify: {ours:?}").unwrap();
        }
    }
    for snippet in listed.keys().filter(|snippet| !disagreements.contains_key(**snippet)) {
        writeln!(failures, "listed, but both agree now: {snippet}").unwrap();
    }
    for (row, (accepted, rejected)) in &per_row {
        if *accepted < 1 || *rejected < 2 {
            writeln!(failures, "{row}: {accepted} snippets accepted by both, {rejected} rejected").unwrap();
        }
    }
    let total: u32 = per_row.values().map(|(accepted, rejected)| accepted + rejected).sum();
    println!(
        "{} rows, {} forms, {total} agreements, {} disagreements",
        per_row.len(),
        forms.len(),
        disagreements.len()
    );
    assert!(failures.is_empty(), "{} lines\n{failures}", failures.lines().count());
}

/// The lines of a list under headings, with their headings.
fn reasons(list: &str) -> BTreeMap<&str, &str> {
    let mut reason = "";
    let mut listed = BTreeMap::new();
    for line in list.lines() {
        match line.strip_prefix("# ") {
            Some(text) => reason = text,
            None if line.is_empty() => {}
            None => _ = listed.insert(line, reason),
        }
    }
    listed
}

fn record(forms: &[(String, Vec<Snippet>)], accepted: &[Vec<bool>]) -> String {
    let mut text = String::new();
    for ((name, snippets), accepted) in forms.iter().zip(accepted) {
        let verdicts: String = accepted.iter().map(|accepted| if *accepted { '+' } else { '-' }).collect();
        writeln!(text, "{name} {:016x} {verdicts}", hash(snippets)).unwrap();
    }
    text
}

fn recorded(forms: &[(String, Vec<Snippet>)]) -> Vec<Vec<bool>> {
    let record = read("ptxas.txt");
    let lines: BTreeMap<&str, &str> = record.lines().filter_map(|line| line.split_once(' ')).collect();
    let verdicts = forms.iter().map(|(name, snippets)| {
        let (hashed, verdicts) =
            lines.get(name.as_str()).and_then(|line| line.split_once(' ')).unwrap_or_default();
        assert!(
            hashed == format!("{:016x}", hash(snippets)) && verdicts.len() == snippets.len(),
            "the snippets of {name} changed: run with RORQUAL_PTXAS and BLESS=1"
        );
        verdicts.bytes().map(|verdict| verdict == b'+').collect()
    });
    let verdicts = verdicts.collect();
    assert_eq!(lines.len(), forms.len(), "a form is gone: run with RORQUAL_PTXAS and BLESS=1");
    verdicts
}

/// Disagreements by reason; those without one come first.
fn list_of(
    disagreements: &BTreeMap<String, (bool, Result<(), String>)>,
    listed: &BTreeMap<&str, &str>,
) -> String {
    let mut by_reason: BTreeMap<(bool, String), Vec<&str>> = BTreeMap::new();
    for (snippet, (accepted, _)) in disagreements {
        let reason = listed.get(snippet.as_str()).map_or_else(
            || format!("unexplained: ptxas {}", if *accepted { "accepts" } else { "rejects" }),
            |reason| (*reason).to_owned(),
        );
        let explained = !reason.starts_with("unexplained");
        by_reason.entry((explained, reason)).or_default().push(snippet);
    }
    let mut text = String::new();
    for ((_, reason), snippets) in by_reason {
        writeln!(text, "# {reason}\n{}\n", snippets.join("\n")).unwrap();
    }
    text
}

/// What stands around a body that calls functions.
const CALLS: (&str, &str) = (
    ".func (.param .b32 r) f(.param .b32 a, .param .align 8 .b8 b[16]) { ret; } \
     .func (.reg .b32 rr) g(.reg .b32 a, .reg .f32 b) { ret; } .func h() { ret; } .func p(.reg .pred q) { ret; } \
     .visible .entry k(.param .u64 pp) { .reg .b32 %r<5>; .reg .b64 %rd<5>; .reg .f32 %f<5>; .reg .pred %p<5>; \
     .reg .u32 %u<5>; .reg .b16 %h<4>; .param .b32 x; .param .b32 x2; .param .align 8 .b8 y[16]; \
     .param .align 4 .b8 y4[16]; .param .align 16 .b8 y16[16]; .param .align 8 .b8 y8[8]; .param .b64 z; \
     .param .f32 fx; .param .u32 ux; .param .align 8 .b64 yy[2]; .param .b8 c; ",
    " ret; }",
);

/// A module that a line of `modules.txt` stands for.
fn module_text(version: &str, target: &str, text: &str) -> String {
    let text = match text.strip_prefix("calls: ") {
        Some(body) => format!("{}{body}{}", CALLS.0, CALLS.1),
        None => text.to_owned(),
    };
    format!(".version {version}\n.target {target}\n.address_size 64\n{text}\n")
}

#[test]
fn modules_are_judged_as_ptxas_judges_them() {
    let list = read("modules.txt");
    let program = std::env::var_os("RORQUAL_PTXAS");
    let mut failures = String::new();
    let mut rewritten = String::new();
    let mut reason = "";
    for line in list.lines() {
        if let Some(text) = line.strip_prefix("# ") {
            reason = text;
            writeln!(rewritten, "{line}").unwrap();
            continue;
        }
        let fields: Vec<_> = line.splitn(4, ' ').collect();
        let [recorded, version, target, text] = fields[..] else { panic!("{line}") };
        let module = module_text(version, target, text);
        let accepted = match &program {
            Some(program) => ptxas::accepts(Path::new(program), target, &module),
            None => recorded == "+",
        };
        writeln!(rewritten, "{} {version} {target} {text}", if accepted { '+' } else { '-' }).unwrap();
        let ours = parse(&module).map_err(|error| error.to_string());
        let ours = ours.and_then(|module| verify::verify(module).map_err(|error| error.to_string()));
        // Under a heading stands what the verifier judges otherwise, for the reason that it gives.
        if (ours.is_ok() == accepted) != reason.is_empty() {
            let ours = ours.map(|_| ());
            writeln!(
                failures,
                "ptxas {}: {text}   verify: {ours:?}",
                if accepted { "accepts" } else { "rejects" }
            )
            .unwrap();
        }
    }
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(folder().join("modules.txt"), rewritten).unwrap();
    }
    assert!(failures.is_empty(), "{} lines\n{failures}", failures.lines().count());
}

#[test]
fn what_compilers_emit_verifies() {
    let kernels = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sim/tests/kernels/ptx");
    let files: Vec<_> = std::fs::read_dir(kernels).unwrap().map(|entry| entry.unwrap().path()).collect();
    let modules = files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "ptx"));
    let mut count = 0;
    for file in modules {
        let module = parse(&std::fs::read_to_string(file).unwrap()).unwrap();
        let errors = verify::verify_all(&module);
        assert!(errors.is_empty(), "{}: {}", file.display(), errors[0]);
        assert!(verify::verify(module).is_ok());
        count += 1;
    }
    assert!(count >= 100, "{count} modules");
}
