//! House rules, checked on the text of the repository.
//!
//! | module | rules |
//! |---|---|
//! | [`imports`] | which package, and which module of the reference network, may name which |
//! | [`code`] | unsafe, file length, module docs, unfinished code, lint attributes, file names |
//! | [`pages`] | links, machine paths, the pages that must exist |
//!
//! A rule is a function from text to findings. Beside each rule stands a test that plants a violation
//! and sees it caught; the tests in this file run the rules on the repository itself.

mod code;
mod imports;
mod pages;
mod source;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use source::Source;

/// The files that may contain `unsafe`. ARCHITECTURE.md gives the reasons; the two lists must agree.
const UNSAFE_FILES: &[&str] = &[
    "sim/driver/src/boundary.rs",
    "sim/driver/tests/exports.rs",
    "src/driver/cuda/preflight.rs",
    "src/driver/cuda/sys.rs",
    "src/driver/launch.rs",
    "src/driver/raw.rs",
    "src/interop/cudarc.rs",
    "src/model/mapped_file.rs",
    "src/reference/matmul.rs",
    "src/verify/on_device.rs",
];

/// Crates whose `unsafe` is confined to [`UNSAFE_FILES`]. Every other crate forbids it.
const CRATES_WITH_UNSAFE: &[&str] = &[".", "sim/driver"];

const PAGES: &[&str] =
    &["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE-MIT", "LICENSE-APACHE"];

/// One broken rule at one place; line 0 stands for the whole file.
#[derive(Debug, PartialEq)]
struct Finding {
    path: String,
    line: usize,
    what: String,
}

impl Finding {
    fn new(path: &str, line: usize, what: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, what: what.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.what),
            line => write!(f, "{}:{line}: {}", self.path, self.what),
        }
    }
}

/// Fails with one line a finding.
#[track_caller]
fn expect_none(rule: &str, findings: impl IntoIterator<Item = Finding>) {
    let list: Vec<String> = findings.into_iter().map(|finding| finding.to_string()).collect();
    assert!(list.is_empty(), "{rule}\n{}\n", list.join("\n"));
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every file below the root that `.gitignore` does not name, with `/` between folders, sorted.
fn files() -> Vec<String> {
    let ignored: Vec<PathBuf> = read(".gitignore")
        .lines()
        .filter_map(|line| line.strip_prefix('/'))
        .map(|line| root().join(line))
        .chain([root().join(".git")])
        .collect();
    let mut files = Vec::new();
    let mut folders = vec![root().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.expect("a readable folder entry").path();
            if ignored.contains(&path) {
                continue;
            } else if path.is_dir() {
                folders.push(path);
            } else {
                let relative = path.strip_prefix(root()).expect("a path below the root");
                files.push(relative.to_str().expect("a UTF-8 path").replace('\\', "/"));
            }
        }
    }
    files.sort();
    files
}

fn sources() -> Vec<Source> {
    let sources: Vec<Source> = files()
        .into_iter()
        .filter(|path| path.ends_with(".rs"))
        .map(|path| Source::new(&path, &read(&path)))
        .collect();
    assert!(sources.iter().any(|source| source.path == "src/lib.rs"), "the walk missed src/lib.rs");
    source::mark_tests(sources)
}

/// Text files a person writes: those of these endings, and the scripts in `.ci`.
fn texts() -> impl Iterator<Item = (String, String)> {
    let written = |path: &String| {
        [".rs", ".md", ".toml", ".sh", ".yml"].iter().any(|end| path.ends_with(end))
            || path.starts_with(".ci/")
    };
    files().into_iter().filter(written).map(|path| {
        let text = read(&path);
        (path, text)
    })
}

/// The members of the workspace whose folder is here: all of them in a checkout, one in a published package.
fn members() -> Vec<String> {
    let mut members = imports::members(&read("Cargo.toml"));
    members.retain(|member| root().join(member).join("Cargo.toml").exists());
    members
}

fn manifest(member: &str) -> (String, String) {
    let path = if member == "." { "Cargo.toml".to_owned() } else { format!("{member}/Cargo.toml") };
    let text = read(&path);
    (path, text)
}

#[test]
fn packages_depend_in_one_direction() {
    let sources = sources();
    let mut findings = Vec::new();
    for member in members() {
        let Some(rule) = imports::rule(&member) else {
            findings.push(Finding::new(
                "Cargo.toml",
                0,
                format!("member `{member}` has no row in imports::RULES"),
            ));
            continue;
        };
        let (path, text) = manifest(&member);
        findings.extend(imports::manifest(rule, &path, &text));
        let folder = if member == "." { "src/".to_owned() } else { format!("{member}/src/") };
        for source in sources.iter().filter(|source| source.path.starts_with(&folder) && !source.is_test) {
            findings.extend(imports::packages(rule, source));
        }
    }
    expect_none("a package names one it must not depend on", findings);
}

#[test]
fn reference_stands_alone() {
    let inside = |source: &&Source| source.path.starts_with("src/reference") && !source.is_test;
    let sources = sources();
    let findings = sources.iter().filter(inside).flat_map(imports::reference);
    expect_none("the reference network may name only the modules in imports::REFERENCE_MAY_NAME", findings);
}

#[test]
fn unsafe_is_only_in_listed_files() {
    let findings = code::unsafe_code(&sources(), UNSAFE_FILES);
    expect_none("`unsafe` and the list UNSAFE_FILES disagree", findings);
}

#[test]
fn architecture_lists_the_same_unsafe_files() {
    let findings = pages::unsafe_list("ARCHITECTURE.md", &read("ARCHITECTURE.md"), UNSAFE_FILES);
    expect_none("\"Where unsafe is allowed\" in ARCHITECTURE.md and UNSAFE_FILES disagree", findings);
}

#[test]
fn crate_roots_restrict_unsafe_and_ask_for_docs() {
    let sources = sources();
    let mut findings = Vec::new();
    for member in members() {
        let (path, manifest) = manifest(&member);
        let folder = path.trim_end_matches("Cargo.toml");
        let roots = [format!("{folder}src/lib.rs"), format!("{folder}src/main.rs")];
        let roots: Vec<&Source> = sources.iter().filter(|source| roots.contains(&source.path)).collect();
        assert!(!roots.is_empty(), "{path}: neither src/lib.rs nor src/main.rs");
        for root in roots {
            findings.extend(code::unsafe_lint(root, CRATES_WITH_UNSAFE.contains(&member.as_str())));
            findings.extend(code::docs_lint(root, &manifest));
        }
    }
    expect_none("a crate root lacks a lint", findings);
}

#[test]
fn files_are_short() {
    expect_none("split these files", sources().iter().filter_map(code::length));
}

#[test]
fn files_say_what_they_are() {
    expect_none("a file starts with `//!`", sources().iter().filter_map(code::module_doc));
}

#[test]
fn nothing_is_left_unfinished() {
    expect_none("finish it or take it out", sources().iter().flat_map(code::unfinished));
}

#[test]
fn silenced_lints_have_a_reason() {
    expect_none("write `reason = \"...\"`", sources().iter().flat_map(code::lint_reasons));
}

#[test]
fn file_names_say_something() {
    expect_none("name the file after what it does", sources().iter().filter_map(code::name));
}

#[test]
fn no_path_of_one_machine() {
    let findings = texts().flat_map(|(path, text)| pages::machine_paths(&path, &text));
    expect_none("a path that exists on one machine only", findings);
}

#[test]
fn links_lead_somewhere() {
    let files = files();
    let markdown = texts().filter(|(path, _)| path.ends_with(".md"));
    let findings = markdown.flat_map(|(path, text)| pages::links(&path, &text, &files));
    expect_none("a link to a file that is not here", findings);
}

#[test]
fn pages_exist() {
    expect_none("a page is missing", pages::missing(PAGES, &files()));
}

#[test]
fn changelog_is_current() {
    let findings = pages::changelog("CHANGELOG.md", &read("CHANGELOG.md"), &read("Cargo.toml"));
    expect_none("the first heading of CHANGELOG.md is `Unreleased` or this version", findings);
}
