//! Who may name whom: packages by their manifests and paths, the reference network by its paths.

use crate::Finding;
use crate::source::{Source, is_identifier, line_of, words};

/// A member of the workspace and the packages of ours that it may depend on outside its tests.
pub struct Rule {
    member: &'static str,
    package: &'static str,
    may_use: &'static [&'static str],
}

/// Rows for members that do not exist are not in force.
const RULES: &[Rule] = &[
    Rule { member: "ptx", package: "rorqual-ptx", may_use: &[] },
    Rule { member: "sim", package: "rorqual-sim", may_use: &["rorqual-ptx"] },
    Rule { member: "sim/driver", package: "rorqual-sim-driver", may_use: &["rorqual-ptx", "rorqual-sim"] },
    Rule { member: "codegen", package: "rorqual-codegen", may_use: &["rorqual-ptx"] },
    Rule { member: "kernels", package: "rorqual-kernels", may_use: &["rorqual-codegen", "rorqual-ptx"] },
    Rule { member: ".", package: "rorqual", may_use: &["rorqual-kernels", "rorqual-ptx", "rorqual-sim"] },
    Rule { member: "cli", package: "rorqual-cli", may_use: &["rorqual"] },
];

/// What a path in `src/reference` may start with.
const REFERENCE_MAY_NAME: &[&[&str]] = &[
    &["crate", "num"],
    &["crate", "reference"],
    &["crate", "model", "config"],
    &["crate", "model", "weights"],
    &["crate", "model", "cache"],
];

pub fn rule(member: &str) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.member == member)
}

/// The `members` of the root manifest; the package itself where there is no workspace.
pub fn members(manifest: &str) -> Vec<String> {
    let Some((_, list)) =
        manifest.split_once("\nmembers").or_else(|| manifest.split_once("[workspace]\nmembers"))
    else {
        return vec![".".to_owned()];
    };
    let list = list.split_once(']').expect("a closed list of members").0;
    list.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Dependencies in a manifest that the rule does not allow. Dev-dependencies are free.
pub fn manifest(rule: &Rule, path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut in_dependencies = false;
    for (index, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let named = if let Some(header) = line.strip_prefix('[') {
            let mut parts = header.trim_end_matches(']').split('.');
            let section = |part: &str| part == "dependencies" || part == "build-dependencies";
            let is_workspace = header.starts_with("workspace");
            in_dependencies = !is_workspace && parts.any(section);
            // `[dependencies.NAME]`: the part after the one that was found.
            parts.next().filter(|_| in_dependencies)
        } else {
            line.split(['=', '.']).next().filter(|_| in_dependencies)
        };
        let renamed = line.split_once("package").filter(|_| in_dependencies);
        let renamed = renamed.and_then(|(_, rest)| rest.split('"').nth(1));
        for name in named.into_iter().chain(renamed).map(|name| name.trim().trim_matches('"')) {
            if is_ours(name) && !rule.may_use.contains(&name) {
                findings.push(Finding::new(path, index + 1, format!("depends on `{name}`")));
            }
        }
    }
    findings
}

fn is_ours(package: &str) -> bool {
    RULES.iter().any(|rule| rule.package == package)
}

/// Paths into our own packages that the rule does not allow.
pub fn packages(rule: &Rule, source: &Source) -> Vec<Finding> {
    own_packages(source, |package| package == rule.package || rule.may_use.contains(&package))
}

fn own_packages(source: &Source, allowed: impl Fn(&str) -> bool) -> Vec<Finding> {
    let code = &source.shipped;
    let mut findings = Vec::new();
    for package in RULES.iter().map(|rule| rule.package).filter(|package| !allowed(package)) {
        let name = package.replace('-', "_");
        for at in words(code, &name) {
            let before = code[..at].trim_end().trim_end_matches(':');
            let is_path = code[at + name.len()..].trim_start().starts_with("::")
                || ["use", "crate", "{", ","].iter().any(|word| before.ends_with(word)) && in_use(code, at);
            if is_path {
                findings.push(Finding::new(&source.path, line_of(code, at), format!("names `{name}`")));
            }
        }
    }
    findings
}

/// Whether the statement around `at` is `use ...` or `extern crate ...`.
fn in_use(code: &str, at: usize) -> bool {
    let statement = code[..at].rsplit([';', '}']).next().unwrap_or_default();
    words(statement, "use").next().is_some() || words(statement, "extern").next().is_some()
}

/// Paths in a file of the reference network that leave it for something not allowed.
pub fn reference(source: &Source) -> Vec<Finding> {
    let module = module_of(&source.path);
    let mut findings = own_packages(source, |_| false);
    for (line, path) in paths(&source.shipped) {
        let absolute = resolve(&module, &path);
        let allowed = REFERENCE_MAY_NAME.iter().any(|prefix| {
            absolute.len() >= prefix.len()
                && absolute.iter().zip(*prefix).all(|(part, wanted)| part == wanted)
        });
        if !allowed {
            findings.push(Finding::new(&source.path, line, format!("names `{}`", absolute.join("::"))));
        }
    }
    findings
}

/// `src/reference/mla.rs` is `crate::reference::mla`.
fn module_of(path: &str) -> Vec<String> {
    let stem = path.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
    std::iter::once("crate").chain(stem.split('/')).map(str::to_owned).collect()
}

/// A path from `crate`, given the module in which it stands.
fn resolve(module: &[String], path: &[String]) -> Vec<String> {
    let ups = path.iter().take_while(|part| *part == "super").count();
    if ups == 0 {
        return path.to_vec();
    }
    let base = &module[..module.len().saturating_sub(ups)];
    base.iter().chain(&path[ups..]).cloned().collect()
}

/// Every path that starts with `crate` or `super`, groups spread out, with its line.
fn paths(code: &str) -> Vec<(usize, Vec<String>)> {
    let mut found = Vec::new();
    for start in ["crate", "super"] {
        for at in words(code, start) {
            let before = code[..at].trim_end();
            let continues = before.ends_with("::") || (start == "super" && before.ends_with('('));
            if !continues && code[at + start.len()..].trim_start().starts_with("::") {
                spread(&mut code[at..].trim_end(), &[], &mut |path| found.push((line_of(code, at), path)));
            }
        }
    }
    found.sort();
    found
}

/// Reads one path or one tree of a `use`, and hands over each path in it. Leaves `rest` after it.
fn spread(rest: &mut &str, prefix: &[String], each: &mut impl FnMut(Vec<String>)) {
    let mut path = prefix.to_vec();
    loop {
        *rest = rest.trim_start();
        if let Some(group) = rest.strip_prefix('{') {
            *rest = group;
            while !rest.is_empty() {
                *rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == ',');
                if let Some(after) = rest.strip_prefix('}') {
                    *rest = after;
                    return;
                }
                let before = rest.len();
                spread(rest, &path, each);
                // `name as other` is read as `name`; what is left over is passed by.
                if rest.len() == before || !rest.trim_start().starts_with([',', '}']) {
                    *rest = rest.trim_start_matches(|c| c != ',' && c != '}');
                }
            }
            return;
        }
        let length =
            if rest.starts_with('*') { 1 } else { rest.find(|c| !is_identifier(c)).unwrap_or(rest.len()) };
        if length > 0 && &rest[..length] != "self" {
            path.push(rest[..length].to_owned());
        }
        *rest = rest[length..].trim_start();
        match rest.strip_prefix("::") {
            // `path::<T>` ends the path.
            Some(after) if length > 0 && !after.trim_start().starts_with('<') => *rest = after,
            _ => break,
        }
    }
    each(path);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(findings: Vec<Finding>) -> Vec<String> {
        findings.iter().map(Finding::to_string).collect()
    }

    #[test]
    fn members_are_read() {
        assert_eq!(members("[workspace]\nmembers = [\".\", \"cli\"]\nexclude = [\"fuzz\"]"), [".", "cli"]);
        assert_eq!(members("[workspace]\nresolver = \"3\"\nmembers = [\n    \"a\",\n]"), ["a"]);
        assert_eq!(members("[package]\nname = \"a\""), ["."]);
    }

    #[test]
    fn a_manifest_that_looks_upwards_is_caught() {
        let text = "[package]\nname = \"rorqual-sim\"\n\
            [dependencies]\nrorqual-ptx = \"1\"\nrorqual-codegen = { path = \"../codegen\" }\nother = \"1\"\n\
            short = { package = \"rorqual-kernels\", path = \"../kernels\" }\nrorqual.workspace = true\n\
            [target.'cfg(unix)'.dependencies.rorqual-cli]\npath = \"../cli\"\n\
            [build-dependencies]\nrorqual-kernels = \"1\"\n\
            [dev-dependencies]\nrorqual = \"1\"\n[dev-dependencies.rorqual-codegen]\n\
            [workspace.dependencies]\nrorqual = \"1\"\n";
        let expected = [
            "sim/Cargo.toml:5: depends on `rorqual-codegen`",
            "sim/Cargo.toml:7: depends on `rorqual-kernels`",
            "sim/Cargo.toml:8: depends on `rorqual`",
            "sim/Cargo.toml:9: depends on `rorqual-cli`",
            "sim/Cargo.toml:12: depends on `rorqual-kernels`",
        ];
        assert_eq!(shown(manifest(rule("sim").unwrap(), "sim/Cargo.toml", text)), expected);
    }

    #[test]
    fn a_path_that_looks_upwards_is_caught() {
        let text = "//! rorqual_codegen::x\nuse rorqual_ptx::Module;\nuse rorqual_codegen::Kernel;\n\
            fn f() { ::rorqual_kernels::g(\"rorqual::x\"); }\nuse {std::fs, rorqual_cli as c};\n\
            extern crate rorqual;\n#[cfg(test)]\nmod tests { use rorqual::x; }\n";
        let expected = [
            "3: names `rorqual_codegen`",
            "4: names `rorqual_kernels`",
            "6: names `rorqual`",
            "5: names `rorqual_cli`",
        ];
        let findings = packages(rule("sim").unwrap(), &Source::new("a", text));
        assert_eq!(shown(findings), expected.map(|line| format!("a:{line}")));
    }

    #[test]
    fn the_command_may_use_the_library_only() {
        let source =
            Source::new("cli/src/main.rs", "use rorqual::model;\nlet rorqual = 1;\nuse rorqual_sim::x;");
        assert_eq!(
            shown(packages(rule("cli").unwrap(), &source)),
            ["cli/src/main.rs:3: names `rorqual_sim`"]
        );
    }

    #[test]
    fn a_reference_that_looks_outside_is_caught() {
        let text = "use crate::num::E4m3;\nuse crate::{num::{self, Bf16}, model::{config::Config, network}};\n\
            use super::ops;\nuse super::super::driver;\nuse crate::model::{cache, weights as w, generate::{a, b}};\n\
            pub(crate) fn f(x: crate::Error) -> crate::reference::T { crate::num::g::<crate::ops::T>() }\n\
            pub(in crate::reference) fn g() {}\npub(super) fn h() {}\nuse crate::*;\nuse rorqual_sim::Machine;\n\
            #[cfg(test)]\nmod tests { use crate::driver; }\n";
        let expected = [
            "10: names `rorqual_sim`",
            "2: names `crate::model::network`",
            "4: names `crate::driver`",
            "5: names `crate::model::generate::a`",
            "5: names `crate::model::generate::b`",
            "6: names `crate::Error`",
            "6: names `crate::ops::T`",
            "9: names `crate::*`",
        ];
        let source = Source::new("src/reference/mla.rs", text);
        assert_eq!(shown(reference(&source)), expected.map(|line| format!("src/reference/mla.rs:{line}")));
        let source = Source::new("src/reference/mod.rs", "use super::model::cache::C;\nuse super::model::D;");
        assert_eq!(shown(reference(&source)), ["src/reference/mod.rs:2: names `crate::model::D`"]);
    }
}
