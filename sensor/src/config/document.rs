//! The text of the config file, and how its errors are told: file, line, key, and what is
//! wrong there. The key is found by looking which value of the parsed text lies at the
//! place in question, so that every check needs to know only a span.

use std::fmt::Display;
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use toml::de::{DeTable, DeValue};

/// A TOML text and the file that it was read from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    path: PathBuf,
    text: String,
    /// Offsets at which lines begin, the first one's (0) left out.
    line_starts: Vec<usize>,
}

impl Document {
    pub(super) fn new(path: &Path, text: String) -> Self {
        let line_starts = text.bytes().zip(1..).filter(|(b, _)| *b == b'\n').map(|(_, at)| at);
        Self { path: path.to_owned(), line_starts: line_starts.collect(), text }
    }

    /// Empty for the built-in defaults.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Does it say nothing, comments aside?
    pub fn is_empty(&self) -> bool {
        DeTable::parse(&self.text).is_ok_and(|table| table.get_ref().is_empty())
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Line of the first byte of `span`, counted from 1.
    pub fn line(&self, span: &Range<usize>) -> u32 {
        let before = self.line_starts.partition_point(|&start| start <= span.start);
        u32::try_from(before + 1).unwrap_or(u32::MAX)
    }

    /// `file:line: key: message` for a value of this document.
    pub fn error(&self, span: &Range<usize>, message: impl Display) -> anyhow::Error {
        let place = format!("{}:{}", self.path.display(), self.line(span));
        match self.key(span.start) {
            Some(key) => anyhow!("{place}: {key}: {message}"),
            None => anyhow!("{place}: {message}"),
        }
    }

    /// As [`Document::error`], for a value known by its key alone, `limits.flows` for example;
    /// where the document does not write that key, only the file is named.
    pub fn error_at_key(&self, key: &str, message: impl Display) -> anyhow::Error {
        if self.path.as_os_str().is_empty() {
            return anyhow!("{key}: {message}");
        }
        let root = DeTable::parse(&self.text).ok();
        let span = root.as_ref().and_then(|root| {
            let mut parts = key.split('.');
            let (table, name) = (parts.next()?, parts.next()?);
            root.get_ref().get(table)?.get_ref().get(name).map(toml::Spanned::span)
        });
        match span {
            Some(span) => self.error(&span, message),
            None => anyhow!("{}: {key}: {message}", self.path.display()),
        }
    }

    /// What the TOML reader refused.
    pub(super) fn toml_error(&self, error: &toml::de::Error) -> anyhow::Error {
        self.error(&error.span().unwrap_or_default(), reword(error.message()))
    }

    /// The key whose value, or whose name, lies at `offset`.
    fn key(&self, offset: usize) -> Option<String> {
        key_in(DeTable::parse(&self.text).ok()?.get_ref(), "", offset)
    }
}

/// serde speaks of fields; we have named the key already.
fn reword(message: &str) -> String {
    match message.strip_prefix("unknown field ").and_then(|rest| rest.split_once(", ")) {
        Some((_, expected)) => format!("unknown key, {expected}"),
        None => message.replace("wanted string or table", "expected a string"),
    }
}

fn key_in(table: &DeTable<'_>, prefix: &str, offset: usize) -> Option<String> {
    table.iter().find_map(|(key, value)| {
        let name = format!("{prefix}{}", key.get_ref());
        let inside = match value.get_ref() {
            DeValue::Table(table) => key_in(table, &format!("{name}."), offset),
            DeValue::Array(items) => items.iter().zip(1..).find_map(|(item, number)| {
                let table = item.get_ref().as_table()?;
                let element = format!("{name} {}", title(table).unwrap_or(number.to_string()));
                key_in(table, &format!("{element}: "), offset)
                    .or_else(|| item.span().contains(&offset).then_some(element))
            }),
            _ => None,
        };
        let here = key.span().contains(&offset) || value.span().contains(&offset);
        inside.or_else(|| here.then_some(name))
    })
}

/// What people call one of several tables of the same name.
fn title(table: &DeTable<'_>) -> Option<String> {
    let name = table.get("name").or_else(|| table.get("target"))?;
    Some(quote(name.get_ref().as_str()?))
}

/// Someone's text inside a message: in quotes, on one line, without control characters, and
/// at most 80 characters of it.
pub(crate) fn quote(text: &str) -> String {
    const LONGEST: usize = 80;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}
