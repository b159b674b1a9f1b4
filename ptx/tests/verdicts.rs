//! The verifier against ptxas: snippets made from every form of the table, with the verdicts that ptxas gave.
//!
//! `verdicts/ptxas.txt` holds the verdicts, a line a form. With `RORQUAL_PTXAS=path` ptxas is asked again, and with
//! `BLESS=1` the file is rewritten. Where the verifier judges otherwise, `verdicts/disagreements.txt` says why.

#[path = "verdicts/ptxas.rs"]
mod ptxas;
#[path = "verdicts/snippets.rs"]
mod snippets;

use rorqual_ptx::table;
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
    texts.flat_map(|text| (text + "\n").into_bytes()).fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
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
    let list = read("disagreements.txt");
    let mut listed: BTreeMap<&str, &str> = BTreeMap::new();
    let mut reason = "";
    for line in list.lines() {
        match line.strip_prefix("# ") {
            Some(text) => reason = text,
            None if line.is_empty() => {}
            None => _ = listed.insert(line, reason),
        }
    }
    if bless {
        std::fs::write(folder().join("disagreements.txt"), list_of(&disagreements, &listed)).unwrap();
    }
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
    println!("{} rows, {} forms, {total} agreements, {} disagreements", per_row.len(), forms.len(), disagreements.len());
    assert!(failures.is_empty(), "{} lines\n{failures}", failures.lines().count());
}

fn record(forms: &[(String, Vec<Snippet>)], accepted: &[Vec<bool>]) -> String {
    let mut text = String::new();
    let mut all=String::new();
    for ((name, snippets), accepted) in forms.iter().zip(accepted) { for (s,a) in snippets.iter().zip(accepted) { writeln!(all,"{name} {a} {s}").unwrap(); } }
    std::fs::write("/tmp/p3/all.txt",all).unwrap();
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
        let (hashed, verdicts) = lines.get(name.as_str()).and_then(|line| line.split_once(' ')).unwrap_or_default();
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
