//! Rules on Rust files: unsafe, length, module docs, unfinished code, lint attributes, names.

use crate::Finding;
use crate::source::{Source, line_of, words};

const LONGEST: usize = 800;

/// `unsafe` in a file that is not listed, and listed files that are gone or do without it.
pub fn unsafe_code(sources: &[Source], listed: &[&str]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| !listed.contains(&source.path.as_str())) {
        for at in words(&source.code, "unsafe") {
            findings.push(Finding::new(
                &source.path,
                line_of(&source.code, at),
                "unsafe in a file not listed",
            ));
        }
    }
    for path in listed {
        match sources.iter().find(|source| source.path == *path) {
            None => findings.push(Finding::new(path, 0, "listed, but there is no such file")),
            Some(source) if words(&source.code, "unsafe").next().is_none() => {
                findings.push(Finding::new(path, 0, "listed, but contains no unsafe"));
            }
            Some(_) => {}
        }
    }
    findings
}

/// A crate root that does not restrict unsafe: `forbid`, or `deny` where some modules may have it.
pub fn unsafe_lint(root: &Source, may_deny: bool) -> Option<Finding> {
    let has = |level: &str| root.code.contains(&format!("#![{level}(unsafe_code)]"));
    if has("forbid") || (may_deny && has("deny")) {
        return None;
    }
    let wanted = if may_deny { "deny" } else { "forbid" };
    Some(Finding::new(&root.path, 0, format!("lacks `#![{wanted}(unsafe_code)]`")))
}

/// A crate whose public items may go undocumented.
pub fn docs_lint(root: &Source, manifest: &str) -> Option<Finding> {
    let section = |name: &str| {
        let (_, rest) = manifest.split_once(&format!("\n[{name}]\n"))?;
        rest.split("\n[").next()
    };
    let asks = ["warn", "deny", "forbid"]
        .iter()
        .any(|level| root.code.contains(&format!("#![{level}(missing_docs)]")))
        || section("lints").is_some_and(|lints| lints.contains("workspace = true"))
        || section("lints.rust").is_some_and(|lints| lints.contains("missing_docs"));
    (!asks).then(|| Finding::new(&root.path, 0, "lacks the lint `missing_docs`"))
}

pub fn length(source: &Source) -> Option<Finding> {
    let lines = source.text.lines().count();
    (lines > LONGEST)
        .then(|| Finding::new(&source.path, lines, format!("{lines} lines, at most {LONGEST} are allowed")))
}

pub fn module_doc(source: &Source) -> Option<Finding> {
    let first = source.text.lines().next().unwrap_or_default();
    let says = first.strip_prefix("//!").is_some_and(|doc| !doc.trim().is_empty());
    (!says).then(|| Finding::new(&source.path, 1, "does not start with a `//!` line that says what it is"))
}

/// Macros and attributes in code, marks in any line.
pub fn unfinished(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for name in ["todo", "unimplemented", "dbg"] {
        for at in words(&source.code, name) {
            if source.code[at + name.len()..].starts_with('!') {
                findings.push(Finding::new(&source.path, line_of(&source.code, at), format!("{name}!")));
            }
        }
    }
    for (at, _) in source.code.match_indices("#[ignore") {
        findings.push(Finding::new(&source.path, line_of(&source.code, at), "an ignored test"));
    }
    // In two parts, so that this file is not among the findings.
    for mark in [concat!("FIX", "ME"), concat!("XX", "X")] {
        for at in words(&source.text, mark) {
            findings.push(Finding::new(&source.path, line_of(&source.text, at), mark));
        }
    }
    findings
}

/// `allow` and `expect` attributes without a reason.
pub fn lint_reasons(source: &Source) -> Vec<Finding> {
    let code = &source.code;
    let mut findings = Vec::new();
    for opening in ["#[allow(", "#![allow(", "#[expect(", "#![expect("] {
        for (at, _) in code.match_indices(opening) {
            let attribute = code[at..].split(']').next().unwrap_or_default();
            if words(attribute, "reason").next().is_none() {
                findings.push(Finding::new(
                    &source.path,
                    line_of(code, at),
                    "a silenced lint without a reason",
                ));
            }
        }
    }
    findings
}

/// A file or folder whose name says nothing.
pub fn name(source: &Source) -> Option<Finding> {
    let empty = ["utils", "util", "helpers", "helper", "common", "misc"];
    let part = source.path.trim_end_matches(".rs").split('/').find(|part| empty.contains(part))?;
    Some(Finding::new(&source.path, 0, format!("`{part}` does not say what is in it")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source::new("src/planted.rs", text)
    }

    fn lines(findings: impl IntoIterator<Item = Finding>) -> Vec<usize> {
        findings.into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn unlisted_unsafe_is_caught() {
        let text = "#![deny(unsafe_code)]\n// unsafe {\nlet a = \"unsafe {\";\nunsafe { b() }\n\
            unsafe fn c() {}\nunsafe impl D for E {}\n";
        assert_eq!(lines(unsafe_code(&[source(text)], &[])), [4, 5, 6]);
        assert_eq!(unsafe_code(&[source(text)], &["src/planted.rs"]), []);
    }

    #[test]
    fn stale_unsafe_lists_are_caught() {
        let findings = unsafe_code(&[source("// unsafe\n")], &["src/planted.rs", "src/gone.rs"]);
        let expected = [
            Finding::new("src/planted.rs", 0, "listed, but contains no unsafe"),
            Finding::new("src/gone.rs", 0, "listed, but there is no such file"),
        ];
        assert_eq!(findings, expected);
    }

    #[test]
    fn a_crate_root_without_lints_is_caught() {
        assert!(unsafe_lint(&source("//! A.\n// #![forbid(unsafe_code)]\n"), false).is_some());
        assert!(unsafe_lint(&source("#![deny(unsafe_code)]"), false).is_some());
        assert!(unsafe_lint(&source("#![deny(unsafe_code)]"), true).is_none());
        assert!(unsafe_lint(&source("#![forbid(unsafe_code)]"), false).is_none());

        assert!(docs_lint(&source(""), "[package]\n\n[dependencies]\na = { workspace = true }\n").is_some());
        assert!(docs_lint(&source(""), "[package]\n\n[lints]\nworkspace = true\n").is_none());
        assert!(docs_lint(&source(""), "[package]\n\n[lints.rust]\nmissing_docs = \"warn\"\n").is_none());
        assert!(docs_lint(&source("#![warn(missing_docs)]"), "[package]\n").is_none());
    }

    #[test]
    fn a_long_file_is_caught() {
        assert!(length(&source(&"//\n".repeat(LONGEST))).is_none());
        assert!(length(&source(&"//\n".repeat(LONGEST + 1))).is_some());
    }

    #[test]
    fn a_file_without_doc_is_caught() {
        assert!(module_doc(&source("//! Says it.\n")).is_none());
        for text in ["", "//!\n", "// Says it.\n", "use a::b;\n//! Late.\n"] {
            assert!(module_doc(&source(text)).is_some(), "{text:?}");
        }
    }

    #[test]
    fn unfinished_code_is_caught() {
        let text = "todo!();\nunimplemented!(\"x\");\ndbg!(x);\n#[ignore = \"slow\"]\nlet todo = a != b;\n\
            // todo!() in words\n\"dbg!\";\n";
        assert_eq!(lines(unfinished(&source(text))), [1, 2, 3, 4]);
        let text = format!(
            "// {} later\n// {}\n// {}X\n",
            concat!("FIX", "ME"),
            concat!("XX", "X"),
            concat!("XX", "X")
        );
        assert_eq!(lines(unfinished(&source(&text))), [1, 2]);
    }

    #[test]
    fn a_lint_silenced_without_reason_is_caught() {
        let text = "#[allow(dead_code)]\n#![allow(\n    a,\n)]\n#[expect(b)]\n#[allow(c, reason = \"d\")]\n\
            #[allow(\n    e,\n    reason = \"f\"\n)]\n// #[allow(g)]\n";
        assert_eq!(lines(lint_reasons(&source(text))), [1, 2, 5]);
    }

    #[test]
    fn an_empty_name_is_caught() {
        for path in ["src/utils.rs", "tests/common/mod.rs", "src/a/misc.rs"] {
            assert!(name(&Source::new(path, "")).is_some(), "{path}");
        }
        assert!(name(&Source::new("src/common_prefix.rs", "")).is_none());
    }
}
