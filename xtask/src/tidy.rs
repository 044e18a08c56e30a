//! House rules as a test: what rustfmt, clippy and cargo-deny do not check.
//!
//! Each rule is a pure function of a path and a text; this file lists them and reads the files.
//! Rules on Rust source are in `tidy/rust.rs`, on manifests in `tidy/manifest.rs`.

mod manifest;
mod rust;

use std::fs;

use anyhow::{Context as _, Result, bail};

use crate::{cargo, sources};

/// What may lie at the top of the tree, beside dot files and licences.
const TOP_LEVEL: &[&str] = &[
    "Cargo.lock",
    "Cargo.toml",
    "README.md",
    "clippy.toml",
    "deny.toml",
    "deploy",
    "rust-toolchain.toml",
    "rustfmt.toml",
    "sensor",
    "sensor-ebpf",
    "xtask",
];

/// Words that stand for work not done. Spelt in two parts, lest this file break its own rule.
const LEFT_OVER: &[&str] = &[concat!("FIX", "ME"), concat!("XX", "X")];

/// Directories of one person's machine.
const PERSONAL: &[&str] = &[concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/wo", "rk/")];

/// One broken rule. Line 0 concerns the file as a whole.
#[derive(Debug, PartialEq)]
struct Finding {
    line: usize,
    rule: String,
}

impl Finding {
    fn new(line: usize, rule: impl Into<String>) -> Self {
        let rule = rule.into();
        Self { line, rule }
    }
}

/// Every rule over every file of the project; the error lists what was found.
pub(crate) fn check() -> Result<()> {
    let mut report = Vec::new();
    for path in sources::list()? {
        let file = cargo::root().join(&path);
        let bytes = fs::read(&file).with_context(|| format!("cannot read {path}"))?;
        // What is not UTF-8 is data, and only its place can be wrong.
        let text = String::from_utf8(bytes).unwrap_or_default();
        for finding in findings(&path, &text) {
            report.push(format!("{path}:{}: {}", finding.line, finding.rule));
        }
    }
    if report.is_empty() {
        return Ok(());
    }
    bail!("{}", report.join("\n"));
}

fn findings(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = misplaced(path);
    findings.extend(words(text));
    if path.strip_suffix(".rs").is_some() {
        findings.extend(rust::findings(path, text));
    }
    if path == "Cargo.toml" || path.ends_with("/Cargo.toml") {
        findings.extend(manifest::findings(text));
    }
    findings
}

fn misplaced(path: &str) -> Vec<Finding> {
    let top = path.split('/').next().unwrap_or(path);
    if top.starts_with('.') || top.starts_with("LICENSE-") || TOP_LEVEL.contains(&top) {
        return Vec::new();
    }
    vec![Finding::new(0, format!("{top} does not belong at the top level"))]
}

fn words(text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (line, content) in (1..).zip(text.lines()) {
        for word in LEFT_OVER {
            if has_word(content, word) {
                findings.push(Finding::new(line, format!("{word}: do it, or file an issue")));
            }
        }
        for path in PERSONAL {
            if begins_a_path(content, path) {
                findings.push(Finding::new(line, format!("{path}… is a path of one machine")));
            }
        }
    }
    findings
}

/// Whether the word stands in the line by itself, not as part of a longer one.
fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        ![before, after].into_iter().flatten().any(crate::rust_text::is_word)
    })
}

/// Whether an absolute path begins with this one, rather than continuing some other path.
fn begins_a_path(line: &str, start: &str) -> bool {
    line.match_indices(start).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || "._-}*".contains(c))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_named_things_lie_at_the_top() {
        for path in ["README.md", "LICENSE-MIT", ".ci/run", "sensor/src/main.rs", "deploy/x"] {
            assert_eq!(misplaced(path), [], "{path}");
        }
        for path in ["notes.txt", "src/main.rs", "sensor-common/src/lib.rs", "scripts/a"] {
            assert_eq!(misplaced(path).len(), 1, "{path}");
        }
    }

    #[test]
    fn left_over_work_is_found_as_a_word_only() {
        let word = LEFT_OVER[1];
        assert_eq!(words(&format!("a\n# {word}: later\n"))[0].line, 2);
        assert_eq!(words(&format!("mktemp -d name.{word}{word}\n")), []);
        assert_eq!(words(&format!("// {}\n", LEFT_OVER[0])).len(), 1);
    }

    #[test]
    fn a_personal_path_is_found_and_a_path_below_another_is_not() {
        for start in PERSONAL {
            assert_eq!(words(&format!("see {start}me/notes")).len(), 1, "{start}");
            assert_eq!(words(&format!("\"{start}x\"")).len(), 1, "{start}");
            assert_eq!(words(&format!("/proc/1{start}etc and site.example{start}")), []);
        }
    }

    #[test]
    fn rules_apply_by_kind_of_file() {
        let tabbed = "//! About.\n\tlet x;\n";
        assert_eq!(findings("sensor/src/a.rs", tabbed).len(), 1);
        assert_eq!(findings("deploy/a.service", tabbed), []);
        let bare = "[dependencies]\nserde = \"1\"\n";
        assert_eq!(findings("sensor/Cargo.toml", bare).len(), 1);
        assert_eq!(findings("deploy/other.toml", bare), []);
    }
}
