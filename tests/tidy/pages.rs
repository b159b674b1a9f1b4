//! Rules on pages and other text: links, machine paths, the pages that must exist, the change log.

use crate::Finding;

/// The files under the heading "Where unsafe is allowed", one a line as "- `path` — reason".
pub fn unsafe_list(path: &str, text: &str, listed: &[&str]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut found = Vec::new();
    let mut heading = None;
    for (index, line) in text.lines().enumerate() {
        if line.starts_with('#') {
            let title = line.trim_start_matches('#').trim().replace('`', "");
            if title == "Where unsafe is allowed" {
                heading = Some(index + 1);
            } else if heading.is_some() {
                break;
            }
        } else if let Some((file, rest)) =
            line.strip_prefix("- `").filter(|_| heading.is_some()).and_then(|entry| entry.split_once('`'))
        {
            if rest.strip_prefix(" — ").is_none_or(|reason| reason.trim().is_empty()) {
                findings.push(Finding::new(path, index + 1, format!("`{file}` has no reason")));
            }
            if !listed.contains(&file) {
                findings.push(Finding::new(path, index + 1, format!("`{file}` is not in UNSAFE_FILES")));
            }
            found.push(file);
        }
    }
    let Some(heading) = heading else {
        findings.push(Finding::new(path, 0, "no heading \"Where unsafe is allowed\""));
        return findings;
    };
    for file in listed.iter().filter(|file| !found.contains(file)) {
        findings.push(Finding::new(path, heading, format!("`{file}` is missing")));
    }
    findings
}

/// Absolute paths into a home or working folder.
pub fn machine_paths(path: &str, text: &str) -> Vec<Finding> {
    // In two parts, so that this file is not among the findings.
    let folders = [concat!("/wo", "rk/"), concat!("/ho", "me/"), concat!("/ro", "ot/")];
    let mut findings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for folder in folders {
            // After a name, a dot or a tilde it is the middle of some other path.
            let absolute =
                |at: usize| !line[..at].ends_with(|c: char| c.is_alphanumeric() || "._-~})".contains(c));
            if line.match_indices(folder).any(|(at, _)| absolute(at)) {
                findings.push(Finding::new(path, index + 1, format!("a path below {folder}")));
            }
        }
    }
    findings
}

/// Relative links whose target is not among `files`, nor a folder of one of them.
pub fn links(path: &str, text: &str, files: &[String]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut fenced = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        for target in targets(line) {
            let target = target.split('#').next().unwrap_or_default();
            let elsewhere = target.is_empty() || target.contains("://") || target.starts_with("mailto:");
            if !elsewhere && !exists(path, target, files) {
                findings.push(Finding::new(path, index + 1, format!("`{target}` does not exist here")));
            }
        }
    }
    findings
}

/// The targets of `[text](target "title")` and `[label]: target` in one line, code spans passed over.
fn targets(line: &str) -> Vec<&str> {
    let mut targets = Vec::new();
    if line.starts_with('[')
        && let Some((_, target)) = line.split_once("]: ")
    {
        targets.extend(target.split_whitespace().next());
    }
    for (at, _) in line.match_indices("](") {
        let in_code = line[..at].matches('`').count() % 2 == 1;
        let target = line[at + 2..].split([')', ' ']).next();
        targets.extend(target.filter(|_| !in_code));
    }
    targets
}

fn exists(page: &str, target: &str, files: &[String]) -> bool {
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            // Above the root is outside the repository, whatever this machine has there.
            ".." => {
                if parts.pop().is_none() {
                    return false;
                }
            }
            part => parts.push(part),
        }
    }
    let target = parts.join("/");
    let folder = format!("{target}/");
    target.is_empty() || files.iter().any(|file| *file == target || file.starts_with(&folder))
}

pub fn missing(pages: &[&str], files: &[String]) -> Vec<Finding> {
    let absent = pages.iter().filter(|page| !files.iter().any(|file| file == *page));
    absent.map(|page| Finding::new(page, 0, "does not exist")).collect()
}

/// A change log whose first section is neither `Unreleased` nor the version in the manifest.
pub fn changelog(path: &str, text: &str, manifest: &str) -> Option<Finding> {
    let version = manifest.lines().find_map(|line| line.strip_prefix("version = "));
    let version = version.expect("a version in the manifest").trim_matches('"');
    let Some((index, heading)) = text.lines().enumerate().find(|(_, line)| line.starts_with("## ")) else {
        return Some(Finding::new(path, 0, "no section"));
    };
    let newest = heading.trim_start_matches("## ").replace(['[', ']'], "");
    let newest = newest.split_whitespace().next().unwrap_or_default();
    (newest != "Unreleased" && newest != version)
        .then(|| Finding::new(path, index + 1, format!("`{newest}` is neither `Unreleased` nor {version}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(findings: impl IntoIterator<Item = Finding>) -> Vec<String> {
        findings.into_iter().map(|finding| finding.to_string()).collect()
    }

    #[test]
    fn a_different_unsafe_list_is_caught() {
        let text = "# A\n- `z` — other\n## Where `unsafe` is allowed\nWords.\n\n- `a` — maps\n- `b` — runs\n- `c`\n# B\n- `d` — no\n";
        assert_eq!(unsafe_list("p", "## Where unsafe is allowed\n- `a` — maps\n", &["a"]), []);
        let expected = ["p:7: `b` is not in UNSAFE_FILES", "p:8: `c` has no reason", "p:3: `d` is missing"];
        assert_eq!(shown(unsafe_list("p", text, &["a", "c", "d"])), expected);
        assert_eq!(shown(unsafe_list("p", "# A\n", &[])), ["p: no heading \"Where unsafe is allowed\""]);
    }

    #[test]
    fn a_machine_path_is_caught() {
        let text = format!(
            "see {0}me/x\n\"{1}x\"\nhttps://example.com{0}me/x\n../some{1}\n$HOME/x\n={2}a\n",
            concat!("/", "ho"),
            concat!("/wo", "rk/"),
            concat!("/ro", "ot/"),
        );
        let lines: Vec<usize> = machine_paths("p", &text).iter().map(|finding| finding.line).collect();
        assert_eq!(lines, [1, 2, 6]);
    }

    #[test]
    fn a_dead_link_is_caught() {
        let files = ["README.md", "docs/a.md", "src/lib.rs"].map(str::to_owned);
        let text = "[a](../README.md#x) [b](a.md) [c](#x) [d](https://example.com/x) [e](../src) [f](../src/)\n\
            `[g](gone.md)` [h](gone.md \"title\") [i](../../outside.md)\n```\n[j](gone.md)\n```\n[k]: gone.md\n\
            [l](../src/lib)\n";
        let expected = [
            "docs/a.md:2: `gone.md` does not exist here",
            "docs/a.md:2: `../../outside.md` does not exist here",
            "docs/a.md:6: `gone.md` does not exist here",
            "docs/a.md:7: `../src/lib` does not exist here",
        ];
        assert_eq!(shown(links("docs/a.md", text, &files)), expected);
    }

    #[test]
    fn a_missing_page_is_caught() {
        let files = ["README.md".to_owned(), "docs/LICENSE-MIT".to_owned()];
        assert_eq!(shown(missing(&["README.md", "LICENSE-MIT"], &files)), ["LICENSE-MIT: does not exist"]);
    }

    #[test]
    fn an_old_change_log_is_caught() {
        let manifest = "[workspace.package]\nversion = \"0.2.0\"\n";
        for text in ["# Changes\n## Unreleased\n## 0.1.0\n", "## [0.2.0] - 2030-01-01\n", "## 0.2.0\n"] {
            assert_eq!(changelog("p", text, manifest), None, "{text}");
        }
        for text in ["# Changes\n", "## 0.1.0\n", "## 0.2.01\n"] {
            assert!(changelog("p", text, manifest).is_some(), "{text}");
        }
    }
}
