//! Changes PTX as a clumsy programmer would: lines are deleted, doubled and swapped, words replaced by others of their
//! kind. Most of what comes out still parses, so that it gets where bytes changed at random never do.

/// A seeded sequence of numbers (SplitMix64).
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    /// The sequence of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number below `bound`, 0 if that is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % (bound as u64).max(1)) as usize
    }

    fn pick<'a, T: ?Sized>(&mut self, choices: &[&'a T]) -> Option<&'a T> {
        choices.get(self.below(choices.len())).copied()
    }
}

/// Numbers that are the first or the last to be right, or large enough to overflow something.
const NUMBERS: &[&str] = &[
    "0",
    "1",
    "2",
    "3",
    "7",
    "8",
    "15",
    "16",
    "31",
    "32",
    "33",
    "63",
    "64",
    "127",
    "128",
    "255",
    "256",
    "1023",
    "1024",
    "4096",
    "32767",
    "65535",
    "65536",
    "16777216",
    "2147483647",
    "2147483648",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "0f7F800000",
    "0f7FC00000",
    "0fFF7FFFFF",
    "0d7FF8000000000000",
];

/// Modifiers that many instructions take.
const MODIFIERS: &[&str] = &[
    ".u8",
    ".s8",
    ".b8",
    ".u16",
    ".s16",
    ".b16",
    ".u32",
    ".s32",
    ".b32",
    ".u64",
    ".s64",
    ".b64",
    ".b128",
    ".f16",
    ".f16x2",
    ".bf16",
    ".bf16x2",
    ".f32",
    ".f64",
    ".pred",
    ".v2",
    ".v4",
    ".global",
    ".shared",
    ".shared::cluster",
    ".local",
    ".param",
    ".const",
    ".rn",
    ".rz",
    ".rm",
    ".rp",
    ".ftz",
    ".sat",
    ".lo",
    ".hi",
    ".wide",
    ".cta",
    ".cluster",
    ".gpu",
    ".sys",
    ".relaxed",
    ".acquire",
    ".release",
    ".acq_rel",
    ".volatile",
    ".uni",
    ".aligned",
    ".sync",
    ".x1",
    ".x2",
    ".x4",
    ".trans",
    ".1d",
    ".2d",
    ".3d",
    ".4d",
    ".5d",
    ".add",
    ".min",
    ".max",
    ".inc",
    ".dec",
    ".cas",
    ".exch",
    ".and",
    ".or",
    ".xor",
    ".eq",
    ".ne",
    ".lt",
    ".ge",
    ".up",
    ".down",
    ".bfly",
    ".idx",
    ".read",
    ".noinc",
    ".cc",
];

/// Marks, and nothing.
const MARKS: &[&str] = &["", ",", ";", "{", "}", "[", "]", "(", ")", "!", "@", "|", "_", "+", "-", "<", ">"];

/// Makes so many changes of chance to a text.
pub fn mutate(text: &str, chance: &mut Chance, changes: usize) -> String {
    (0..changes).fold(text.to_owned(), |text, _| change(&text, chance))
}

fn change(text: &str, chance: &mut Chance) -> String {
    match chance.below(16) {
        0..=4 => change_lines(text, chance),
        _ => change_word(text, chance),
    }
}

/// Deletes, doubles, moves or swaps lines that are instructions.
fn change_lines(text: &str, chance: &mut Chance) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    let places: Vec<usize> = (0..lines.len()).filter(|&at| is_instruction(lines[at])).collect();
    let mut place = || places.get(chance.below(places.len())).copied();
    let (Some(first), Some(second)) = (place(), place()) else { return text.to_owned() };
    match chance.below(5) {
        0 => _ = lines.remove(first),
        1 => lines.insert(second, lines[first]),
        2 => lines.swap(first, second),
        3 => {
            let moved = lines.remove(first);
            lines.insert(second.min(lines.len()), moved);
        }
        _ => lines[second] = lines[first],
    }
    lines.join("\n") + "\n"
}

/// Replaces one word by another one of its kind.
fn change_word(text: &str, chance: &mut Chance) -> String {
    let everywhere = chance.below(16) == 0;
    let words: Vec<(usize, &str)> = lines(text)
        .filter(|(_, line)| everywhere || is_instruction(line))
        .flat_map(|(start, line)| words(start, line))
        .collect();
    let Some(&(start, word)) = words.get(chance.below(words.len())) else { return text.to_owned() };
    let like = |kind: &dyn Fn(&str) -> bool| -> Vec<&str> {
        words.iter().map(|(_, word)| *word).filter(|other| kind(other) && *other != word).collect()
    };
    let is_akin = |other: &str| stem(other) == stem(word);
    let replacement = if is_number(word) {
        match chance.below(4) {
            0 => chance.pick(&like(&is_number)).unwrap_or("1").to_owned(),
            1 => word.parse::<u64>().map_or("0".to_owned(), |value| value.wrapping_add(1).to_string()),
            2 => word.parse::<u64>().map_or("1".to_owned(), |value| format!("-{value}")),
            _ => chance.pick(NUMBERS).unwrap_or("0").to_owned(),
        }
    } else if is_register(word) && chance.below(8) == 0 {
        chance.pick(&like(&is_register)).unwrap_or(word).to_owned()
    } else if is_opcode(word) {
        change_opcode(word, &like(&is_opcode), chance)
    } else if word.len() == 1 {
        match chance.below(8) {
            0 => chance.pick(MARKS).unwrap_or("").to_owned(),
            _ => return change_word(text, chance),
        }
    } else {
        chance.pick(&like(&is_akin)).unwrap_or(word).to_owned()
    };
    format!("{}{replacement}{}", &text[..start], &text[start + word.len()..])
}

/// Takes another opcode, or adds, drops or replaces one of the modifiers.
fn change_opcode(opcode: &str, others: &[&str], chance: &mut Chance) -> String {
    let mut parts: Vec<&str> = opcode.split_inclusive('.').collect();
    let at = 1 + chance.below(parts.len() - 1);
    let modifier = chance.pick(MODIFIERS).map_or("", |modifier| &modifier[1..]);
    match chance.below(6) {
        0 => return chance.pick(others).unwrap_or(opcode).to_owned(),
        1 => _ = parts.remove(at),
        2 => parts.insert(at, modifier),
        3 => {
            let other: Vec<&str> = chance.pick(others).unwrap_or(opcode).split('.').skip(1).collect();
            parts[at] = chance.pick(&other).unwrap_or("");
        }
        _ => parts[at] = modifier,
    }
    parts
        .iter()
        .map(|part| part.trim_end_matches('.'))
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(".")
}

/// Lines without comments, with their places.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let place = |line: &str| line.as_ptr().addr() - text.as_ptr().addr();
    text.lines().map(move |line| (place(line), line.split("//").next().unwrap_or("")))
}

fn is_instruction(line: &str) -> bool {
    let line = line.trim();
    line.ends_with(';') && !line.starts_with('.')
}

/// Runs of letters, digits, dots and so on, and single marks of a line, with their places in the text.
fn words(start: usize, line: &str) -> Vec<(usize, &str)> {
    let continues = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '$' | '%' | '.' | ':');
    let mut words = Vec::new();
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        let length = rest.find(|c| !continues(c)).unwrap_or(rest.len()).max(first.len_utf8());
        let word = rest[..length].trim_end_matches(':');
        if !word.is_empty() && !first.is_whitespace() {
            words.push((start + line.len() - rest.len(), word));
        }
        rest = &rest[length..];
    }
    words
}

/// A name without the number at its end.
fn stem(word: &str) -> &str {
    word.trim_end_matches(|c: char| c.is_ascii_digit())
}

fn is_number(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_digit())
}

fn is_register(word: &str) -> bool {
    word.starts_with('%')
}

fn is_opcode(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_lowercase()) && word.contains('.')
}
