//! The manual's pages, and the parts of them that a check reads: tables, fenced blocks, code spans.

mod bounds;
mod configuration;
mod events;
mod metrics;
mod usage;

use std::fs;
use std::path::{Path, PathBuf};

use crate::deploy;

/// A page: its path, and what is in it.
#[derive(Clone, Debug)]
pub struct Page {
    pub path: PathBuf,
    pub text: String,
}

impl Page {
    /// As findings call it.
    pub fn name(&self) -> &str {
        self.path.file_name().and_then(|name| name.to_str()).expect("a name in UTF-8")
    }
}

/// One page of deploy/docs.
pub fn page(name: &str) -> String {
    deploy::text(&format!("docs/{name}"))
}

/// All of them, sorted.
pub fn pages() -> Vec<Page> {
    let mut pages: Vec<_> = fs::read_dir(deploy::path("docs"))
        .expect("deploy/docs")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|it| it == "md"))
        .map(|path| Page { text: fs::read_to_string(&path).expect("a page"), path })
        .collect();
    pages.sort_by(|a, b| a.path.cmp(&b.path));
    pages
}

/// The project's own README, whose commands and links users follow as well.
pub fn readme() -> Page {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    Page { text: fs::read_to_string(&path).expect("README.md"), path }
}

/// A row of a table, its cells by their headings.
#[derive(Debug)]
pub struct Row<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Row<'a> {
    pub fn cell(&self, heading: &str) -> &'a str {
        let found = self.0.iter().find(|(name, _)| *name == heading);
        found.unwrap_or_else(|| panic!("no column {heading:?}: {self:?}")).1
    }

    /// The first cell's code span, which is what the row is about.
    pub fn subject(&self) -> &'a str {
        self.0[0].1.trim_matches('`')
    }
}

/// The rows of every table whose first column is called `first`.
pub fn rows<'a>(text: &'a str, first: &str) -> Vec<Row<'a>> {
    let mut rows = Vec::new();
    let mut headings: Option<Vec<&str>> = None;
    for line in text.lines() {
        let Some(cells) = cells(line) else {
            headings = None;
            continue;
        };
        match &headings {
            None => headings = Some(cells),
            Some(names) if names[0] != first || cells[0].starts_with("---") => {}
            Some(names) => {
                assert_eq!(cells.len(), names.len(), "{line}");
                rows.push(Row(names.iter().copied().zip(cells).collect()));
            }
        }
    }
    rows
}

fn cells(line: &str) -> Option<Vec<&str>> {
    let inside = line.strip_prefix('|')?.strip_suffix('|')?;
    Some(inside.split('|').map(str::trim).collect())
}

/// What stands between backticks.
pub fn code_spans(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// What stands in fenced blocks of a language.
pub fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    text.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap_or_default()).collect()
}

/// The text without fenced blocks.
pub fn prose(text: &str) -> String {
    text.split("```").step_by(2).collect()
}

/// Puts a fault into a text; the text must hold what the fault replaces.
pub fn with_fault(text: &str, right: &str, wrong: &str) -> String {
    assert!(text.contains(right), "the text lacks {right:?}");
    text.replacen(right, wrong, 1)
}
