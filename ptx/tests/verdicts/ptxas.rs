//! Asks ptxas which snippets it accepts, many at a time: what it complains of is taken out until it is content.

use super::snippets::{Snippet, header, kernel, verdict};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Snippets in one run.
const BATCH: usize = 256;

/// Whether ptxas accepts each snippet.
pub fn verdicts(program: &Path, snippets: &[Snippet]) -> Vec<bool> {
    let mut groups: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for (index, snippet) in snippets.iter().enumerate() {
        groups.entry((snippet.version, snippet.target)).or_default().push(index);
    }
    let mut accepted = vec![false; snippets.len()];
    for group in groups.values() {
        for batch in group.chunks(BATCH) {
            for index in survivors(program, snippets, batch.to_vec()) {
                accepted[index] = true;
            }
        }
    }
    // Among others ptxas at times blames another line than the one that is wrong, or none: what the verifier judges
    // otherwise is asked for alone.
    for (index, snippet) in snippets.iter().enumerate() {
        if accepted[index] != verdict(snippet).is_ok() {
            accepted[index] = !survivors(program, snippets, vec![index]).is_empty();
        }
    }
    accepted
}

/// Whether ptxas accepts a module.
pub fn accepts(program: &Path, target: &str, text: &str) -> bool {
    run(program, target.split(',').next().unwrap_or(target), text).is_none()
}

/// Of snippets for one version and target, those that ptxas accepts.
fn survivors(program: &Path, snippets: &[Snippet], mut batch: Vec<usize>) -> Vec<usize> {
    while let Some(first) = batch.first() {
        let Snippet { version, target, .. } = &snippets[*first];
        let kernels = batch.iter().map(|index| kernel(&format!("k{index}"), &snippets[*index].text));
        let text = header(*version, *target) + &kernels.collect::<String>();
        let Some(complaints) = run(program, &target.to_string(), &text) else { return batch };
        let certain = |complaint: &Complaint| {
            // The first line is the header. Complaints of what ptxas made of an instruction have lines of their own.
            let index = batch.get(complaint.line.checked_sub(2)?)?;
            let blames = snippets[*index].text.contains(complaint.instruction.as_deref().unwrap_or(""));
            blames.then_some(complaint.line - 2)
        };
        let wrong: Option<BTreeSet<usize>> = complaints.iter().map(certain).collect();
        let wrong = wrong.unwrap_or_default();
        if wrong.is_empty() {
            if batch.len() == 1 {
                return Vec::new();
            }
            let half = batch.split_off(batch.len() / 2);
            let mut left = survivors(program, snippets, batch);
            left.extend(survivors(program, snippets, half));
            return left;
        }
        let mut line = 0;
        batch.retain(|_| {
            line += 1;
            !wrong.contains(&(line - 1))
        });
    }
    batch
}

/// An error of ptxas.
struct Complaint {
    line: usize,
    /// The instruction that it names.
    instruction: Option<String>,
}

/// The errors; `None` if ptxas is content.
fn run(program: &Path, target: &str, text: &str) -> Option<Vec<Complaint>> {
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    let run = RUNS.fetch_add(1, Ordering::Relaxed);
    let file = std::env::temp_dir().join(format!("rorqual-verdicts-{}-{run}.ptx", std::process::id()));
    std::fs::write(&file, text).expect("a file for ptxas");
    // sm_101 is sm_110 by its old name.
    let arch = target.replace("sm_101", "sm_110");
    let output = Command::new(program).arg("-arch").arg(arch).arg(&file).args(["-o", "/dev/null"]).output();
    let output = output.expect("ptxas runs");
    std::fs::remove_file(&file).expect("the file is there");
    if output.status.success() {
        return None;
    }
    let text =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    let line = |complaint: &str| {
        let (_, rest) = complaint.split_once(", line ")?;
        let (line, rest) = rest.split_once(';')?;
        let severe = rest.trim_start().starts_with("error") || rest.trim_start().starts_with("fatal");
        let instruction = rest.split_once("for instruction '").and_then(|(_, rest)| rest.split_once('\''));
        let instruction = instruction.map(|(name, _)| name.to_owned());
        severe.then(|| Some(Complaint { line: line.parse().ok()?, instruction }))?
    };
    Some(text.lines().filter_map(line).collect())
}
