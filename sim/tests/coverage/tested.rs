//! Where instructions are tested: which opcodes the sources of the tests name.

use rorqual_ptx::modifier::Modifier;
use rorqual_ptx::table::{Opcode, find_row};
use std::collections::{BTreeSet, HashMap};
use std::path::Path;

/// The suites of the simulator's tests by the names of their files or folders, and what the page calls them.
pub const SUITES: &[(&str, &str)] = &[
    ("opcodes", "o"),
    ("instructions", "i"),
    ("matrix", "m"),
    ("wrong_programs", "w"),
    ("kernels", "k"),
    ("peers", "p"),
];

/// The letters of the suites that name an opcode of a row.
pub fn tested(folder: &Path) -> HashMap<Opcode, BTreeSet<&'static str>> {
    let mut tested = HashMap::new();
    for (name, letter) in SUITES {
        let mut opcodes = BTreeSet::new();
        words_of(&folder.join(name), &mut opcodes);
        words_of(&folder.join(format!("{name}.rs")), &mut opcodes);
        for opcode in opcodes.iter().filter_map(|word| opcode_of(word)) {
            tested.entry(opcode).or_insert_with(BTreeSet::new).insert(*letter);
        }
    }
    tested
}

/// The words of all texts below a path that might be opcodes.
fn words_of(path: &Path, words: &mut BTreeSet<String>) {
    if path.is_dir() {
        let mut entries: Vec<_> =
            std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        entries.sort();
        entries.iter().for_each(|entry| words_of(entry, words));
        return;
    }
    let extension = path.extension().and_then(|extension| extension.to_str());
    let Some(extension @ ("ptx" | "rs" | "txt")) = extension else { return };
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let is_part = |character: char| {
        character.is_ascii_alphanumeric() || matches!(character, '_' | '.' | ':' | '%' | '$')
    };
    let candidates =
        text.split(|character| !is_part(character)).map(|word| word.trim_end_matches(['.', ':']));
    // A word without modifiers may be English, but not in PTX.
    let plain = extension != "rs";
    words
        .extend(candidates.filter(|word| plain && !word.is_empty() || word.contains('.')).map(str::to_owned));
}

/// The row of which a word is an opcode, modifiers included.
fn opcode_of(word: &str) -> Option<Opcode> {
    let (row, rest) = find_row(word)?;
    let words: Vec<Modifier> = rest.split('.').skip(1).map(Modifier::from_name).collect::<Option<_>>()?;
    row.forms.iter().any(|form| form.order_modifiers(&words).is_some()).then_some(row.opcode)
}
