//! A Rust file as the rules see it: comments and the contents of strings blanked, test code marked.

/// One Rust file. All three texts have the same lines.
pub struct Source {
    pub path: String,
    /// The file as written.
    pub text: String,
    /// Comments and the contents of strings and characters are spaces.
    pub code: String,
    /// [`Source::code`] without the items under `#[cfg(test)]`.
    pub shipped: String,
    /// The file is a module that another file declares under `#[cfg(test)]`.
    pub is_test: bool,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Self {
        let code = blank_comments_and_strings(text);
        let (shipped, _) = blank_tests(&code);
        Self { path: path.to_owned(), text: text.to_owned(), code, shipped, is_test: false }
    }
}

/// Marks the files that are declared as `#[cfg(test)] mod name;`, and the files below them.
pub fn mark_tests(mut sources: Vec<Source>) -> Vec<Source> {
    let mut tests = Vec::new();
    for source in &sources {
        let stem = source.path.trim_end_matches(".rs");
        let folder = match stem.rsplit_once('/') {
            Some((folder, "lib" | "main" | "mod")) => folder,
            _ => stem,
        };
        tests.extend(blank_tests(&source.code).1.iter().map(|name| format!("{folder}/{name}")));
    }
    for source in &mut sources {
        let below = |test: &String| source.path.strip_prefix(test.as_str());
        source.is_test = tests.iter().filter_map(below).any(|rest| rest == ".rs" || rest.starts_with('/'));
    }
    sources
}

/// Line number, from 1, of a byte offset.
pub fn line_of(text: &str, offset: usize) -> usize {
    text[..offset].bytes().filter(|&byte| byte == b'\n').count() + 1
}

/// Offsets at which `word` stands alone, not as a part of a longer identifier.
pub fn words<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    text.match_indices(word).map(|(at, _)| at).filter(move |&at| {
        !text[..at].ends_with(is_identifier) && !text[at + word.len()..].starts_with(is_identifier)
    })
}

pub fn is_identifier(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn blank_comments_and_strings(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &text[at..];
        let starts_word = !text[..at].ends_with(is_identifier);
        // `kept` bytes of the token stay at either end: the quotes of a string.
        let (length, kept) = if rest.starts_with("//") {
            (rest.find('\n').unwrap_or(rest.len()), 0)
        } else if rest.starts_with("/*") {
            (block_comment(rest), 0)
        } else if let Some(length) = starts_word.then(|| raw_string(rest)).flatten() {
            (length, 1)
        } else if rest.starts_with('"') {
            (quoted(rest, '"'), 1)
        } else if rest.starts_with('\'') && is_character(rest) {
            (quoted(rest, '\''), 1)
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
            continue;
        };
        for byte in &mut out[at + kept..at + length - kept] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at += length;
    }
    String::from_utf8(out).expect("whole characters are blanked")
}

/// Length of a nested block comment.
fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    loop {
        let Some(next) = text[at..].find(['/', '*']) else { return text.len() };
        at += next;
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
}

/// Length of a raw string, if one starts here: `r"`, `r#"`, `br"`, `cr"`.
fn raw_string(text: &str) -> Option<usize> {
    let prefix = ["r", "br", "cr"].into_iter().find(|prefix| {
        text.strip_prefix(prefix).is_some_and(|rest| rest.trim_start_matches('#').starts_with('"'))
    })?;
    let hashes = text[prefix.len()..].bytes().take_while(|&byte| byte == b'#').count();
    let body = prefix.len() + hashes + 1;
    let end = format!("\"{}", "#".repeat(hashes));
    Some(text[body..].find(&end).map_or(text.len(), |found| body + found + end.len()))
}

/// Length of a string or character with backslash escapes, quotes included.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Tells the character `'a'` from the lifetime `'a`.
fn is_character(text: &str) -> bool {
    let mut rest = text.chars().skip(1);
    rest.next() == Some('\\') || rest.next() == Some('\'')
}

/// Blanks the items under `#[cfg(test)]`; returns also the names of the modules in files of their own.
fn blank_tests(code: &str) -> (String, Vec<String>) {
    let mut out = code.to_owned();
    let mut modules = Vec::new();
    for mark in ["#[cfg(test)]", "#[cfg(all(test,"] {
        while let Some(start) = out.find(mark) {
            let item = start + mark.len();
            let end = match out[item..].find(['{', ';']) {
                None => out.len(),
                Some(stop) if out[item + stop..].starts_with('{') => braces(&out, item + stop),
                Some(stop) => {
                    let declaration = &out[item..item + stop];
                    modules
                        .extend(words(declaration, "mod").map(|at| declaration[at + 3..].trim().to_owned()));
                    item + stop + 1
                }
            };
            let blank: String =
                out[start..end].bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }).collect();
            out.replace_range(start..end, &blank);
        }
    }
    (out, modules)
}

/// Offset after the brace that closes the one at `open`.
fn braces(code: &str, open: usize) -> usize {
    let mut depth = 0;
    for (at, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    code.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_strings_are_blanked() {
        let cases = [
            ("a // b\nc", "a     \nc"),
            ("a /* b /* c */ d */ e", "a                   e"),
            (r#"f("b \" c", d)"#, r#"f("      ", d)"#),
            ("r#\"a\"b\"# c", "r      # c"),
            ("r#type + br\"x\"", "r#type + b   \""),
            ("'{' + '\\'' + 'é' + &'a str", "' ' + '  ' + '  ' + &'a str"),
            ("b\"x\" var\"y\"", "b\" \" var\" \""),
        ];
        for (text, code) in cases {
            assert_eq!(blank_comments_and_strings(text), code, "{text}");
        }
    }

    #[test]
    fn test_items_are_blanked() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() { '}'; }\n}\nfn c() {}\n";
        let source = Source::new("src/a.rs", text);
        assert!(source.code.contains("fn b"));
        assert_eq!(source.shipped.split_whitespace().collect::<String>(), "fna(){}fnc(){}");
        assert_eq!(source.shipped.lines().count(), text.lines().count());
    }

    #[test]
    fn test_modules_in_their_own_file_are_marked() {
        let sources = [
            ("src/lib.rs", "mod a;\n#[cfg(test)]\nmod planted;"),
            ("src/a.rs", "#[cfg(test)] mod tests;"),
            ("src/planted.rs", ""),
            ("src/a/tests.rs", ""),
            ("src/a/tests/deep.rs", ""),
            ("src/a/tested.rs", ""),
        ];
        let sources = mark_tests(sources.map(|(path, text)| Source::new(path, text)).into());
        let marked: Vec<&str> = sources.iter().filter(|s| s.is_test).map(|s| s.path.as_str()).collect();
        assert_eq!(marked, ["src/planted.rs", "src/a/tests.rs", "src/a/tests/deep.rs"]);
    }

    #[test]
    fn words_stand_alone() {
        assert_eq!(words("unsafe_code unsafe r_unsafe unsafe", "unsafe").collect::<Vec<_>>(), [12, 28]);
    }
}
