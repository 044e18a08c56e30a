//! House rules for Cargo.toml: each dependency says, in a comment on its line, what it is for.
//!
//! Reads lines, since a TOML parser drops comments. Workspace members (`path`) and dependencies
//! explained in the workspace's own manifest (`workspace = true`) need none.

use super::Finding;

pub(super) fn findings(text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut in_dependencies = false;
    let mut entry = Entry::default();
    for (number, line) in (1..).zip(text.lines()) {
        let (content, comment) = split_comment(line);
        if entry.is_complete() && content.trim_start().starts_with('[') {
            let header = content.trim().trim_matches(['[', ']']);
            in_dependencies = is_dependencies(header);
            let of_its_own = header.rsplit_once('.').filter(|(parent, _name)| is_dependencies(parent));
            if let (Some((_parent, name)), None) = (of_its_own, comment) {
                findings.push(unexplained(number, name));
            }
            continue;
        }
        if !in_dependencies || (entry.is_complete() && content.trim().is_empty()) {
            continue;
        }
        if entry.is_complete() {
            entry = Entry::starting_at(number);
        }
        entry.add(content, comment);
        if entry.is_complete() && !entry.is_explained() {
            findings.push(unexplained(entry.line, entry.name()));
        }
    }
    findings
}

fn is_dependencies(header: &str) -> bool {
    header
        .rsplit('.')
        .next()
        .is_some_and(|last| matches!(last, "dependencies" | "dev-dependencies" | "build-dependencies"))
}

fn unexplained(line: usize, name: &str) -> Finding {
    Finding::new(line, format!("{name}: say in a comment what it is for"))
}

/// One dependency, which may go over several lines.
#[derive(Default)]
struct Entry {
    line: usize,
    content: String,
    has_comment: bool,
}

impl Entry {
    fn starting_at(line: usize) -> Self {
        Self { line, ..Self::default() }
    }

    fn add(&mut self, content: &str, comment: Option<&str>) {
        self.content.push_str(content);
        self.has_comment |= comment.is_some_and(|comment| !comment.trim().is_empty());
    }

    /// Whether all brackets are closed.
    fn is_complete(&self) -> bool {
        let count = |brackets: [char; 2]| self.content.matches(brackets).count();
        count(['{', '[']) == count(['}', ']'])
    }

    fn is_explained(&self) -> bool {
        let packed: String = self.content.split_whitespace().collect();
        self.has_comment || packed.contains("workspace=true") || packed.contains("path=\"")
    }

    fn name(&self) -> &str {
        let end = self.content.find(['=', '.', ' ']);
        self.content[..end.unwrap_or(self.content.len())].trim()
    }
}

/// The line before and after its `#`, leaving alone one inside a string.
fn split_comment(line: &str) -> (&str, Option<&str>) {
    let mut quoted = false;
    for (at, character) in line.char_indices() {
        match character {
            '"' => quoted = !quoted,
            '#' if !quoted => return (&line[..at], Some(&line[at + 1..])),
            _ => {}
        }
    }
    (line, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_dependency_says_what_it_is_for() {
        for (what, text, lines) in [
            ("explained", "[dependencies]\na = \"1\" # why\n", vec![]),
            ("bare", "[dependencies]\na = \"1\"\n", vec![2]),
            ("an empty comment", "[dev-dependencies]\na = \"1\" #\n", vec![2]),
            ("of one target", "[target.'cfg(unix)'.dependencies]\na = \"1\"\n", vec![2]),
            ("of the workspace", "[workspace.dependencies]\n\na = \"1\"\n", vec![3]),
            ("inherited", "[dependencies]\na.workspace = true\n", vec![]),
            ("inherited, with a feature", "[dependencies]\na = { workspace = true, x = 1 }\n", vec![]),
            ("a member", "[build-dependencies]\na = { path = \"../a\" }\n", vec![]),
            ("a section of its own", "[dependencies.a]\nversion = \"1\"\n", vec![1]),
            ("such a section, explained", "[dependencies.a] # why\nversion = \"1\"\n", vec![]),
            ("over lines", "[dependencies]\na = { features = [\n \"b\",\n] } # why\nc = \"1\"\n", vec![5]),
            ("over lines, bare", "[dependencies]\na = { features = [\n \"b\",\n] }\n", vec![2]),
            ("a hash in a string", "[dependencies]\na = \"#1\"\n", vec![2]),
            ("another section", "[package]\nname = \"a\"\n[lints]\nworkspace = true\n", vec![]),
            ("only a comment", "[dependencies]\n# none yet\n", vec![]),
        ] {
            let found: Vec<usize> = findings(text).iter().map(|finding| finding.line).collect();
            assert_eq!(found, lines, "{what}");
        }
    }

    #[test]
    fn the_finding_names_the_dependency() {
        let findings = findings("[dependencies]\nserde-x = { version = \"1\" }\n");
        assert!(findings[0].rule.starts_with("serde-x:"), "{findings:?}");
    }
}
