//! Asks ptxas which snippets it accepts, many at a time: what it complains of is taken out until it is content.

use super::snippets::{Snippet, header, kernel};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

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
    accepted
}

/// Of snippets for one version and target, those that ptxas accepts.
fn survivors(program: &Path, snippets: &[Snippet], mut batch: Vec<usize>) -> Vec<usize> {
    while let Some(first) = batch.first() {
        let Snippet { version, target, .. } = &snippets[*first];
        let kernels = batch.iter().map(|index| kernel(&format!("k{index}"), &snippets[*index].text));
        let text = header(*version, *target) + &kernels.collect::<String>();
        let Some(complaints) = run(program, &target.to_string(), &text) else { return batch };
        // The first line is the header.
        let wrong: BTreeSet<usize> = complaints.into_iter().filter_map(|line| line.checked_sub(2)).collect();
        if wrong.is_empty() || wrong.iter().any(|line| *line >= batch.len()) {
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

/// The lines with errors; `None` if there are none.
fn run(program: &Path, target: &str, text: &str) -> Option<Vec<usize>> {
    let file = std::env::temp_dir().join(format!("rorqual-verdicts-{}.ptx", std::process::id()));
    std::fs::write(&file, text).expect("a file for ptxas");
    // sm_101 is sm_110 by its old name.
    let arch = target.replace("sm_101", "sm_110");
    let output = Command::new(program).arg("-arch").arg(arch).arg(&file).args(["-o", "/dev/null"]).output();
    let output = output.expect("ptxas runs");
    std::fs::remove_file(&file).expect("the file is there");
    if output.status.success() {
        return None;
    }
    let text = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    let line = |complaint: &str| {
        let (_, rest) = complaint.split_once(", line ")?;
        let (line, rest) = rest.split_once(';')?;
        let severe = rest.trim_start().starts_with("error") || rest.trim_start().starts_with("fatal");
        severe.then(|| line.parse().ok())?
    };
    Some(text.lines().filter_map(line).collect())
}
