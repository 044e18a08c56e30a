//! Reads what the config names: its inline indicators and its feed files, into
//! [`Watchlists`]. Duplicates within a target collapse, the first place written wins; what
//! was taken otherwise than it is written becomes a note.

use std::fmt::Display;
use std::fs::File;
use std::path::Path;
use std::time::SystemTime;

use anyhow::anyhow;
use toml::Spanned;

use super::{Allow, Entry, Read, Refused, Target, Watchlist, Watchlists};
use super::{builtin, domains, endpoints, feed, prefixes};
use crate::config::{self, Config, Document, Kind, quote};

/// Notes that one feed file may add: a list whose every line has host bits set says it 20
/// times, and then how often more.
const NOTES_PER_FEED: usize = 20;

impl Watchlists {
    /// Everything that the config watches and allows.
    ///
    /// # Errors
    /// The first thing that is no indicator, or no readable list, with file and line, and for
    /// what the config itself says, the key.
    pub fn load(config: &Config) -> anyhow::Result<Self> {
        let mut notes = Vec::new();
        let mut lists = builtin::load(config.builtin)?;
        for written in &config.watchlists {
            lists.push(load_watchlist(written, config, &mut notes)?);
        }
        let mut inline = Inline { document: &config.document, source: 0, notes: &mut notes };
        let mut allow = Allow {
            prefixes: inline.read(&config.allow.prefixes, prefixes::parse)?,
            endpoints: inline.read(&config.allow.endpoints, endpoints::parse)?,
            domains: inline.read(&config.allow.domains, domains::parse)?,
        };
        collapse(&mut allow.prefixes);
        collapse(&mut allow.endpoints);
        collapse(&mut allow.domains);
        Ok(Self { lists, allow, notes })
    }
}

fn load_watchlist(
    written: &config::Watchlist,
    config: &Config,
    notes: &mut Vec<String>,
) -> anyhow::Result<Watchlist> {
    let name = written.name.get_ref();
    let document = &config.document;
    let mut targets = Vec::new();
    if !(written.prefixes.is_empty() && written.endpoints.is_empty() && written.domains.is_empty()) {
        let (target, source) = target_and_source(&mut targets, name, document.path());
        let mut inline = Inline { document, source, notes: &mut *notes };
        target.prefixes = inline.read(&written.prefixes, prefixes::parse)?;
        target.endpoints = inline.read(&written.endpoints, endpoints::parse)?;
        target.domains = inline.read(&written.domains, domains::parse)?;
    }
    let mut updated: Option<SystemTime> = None;
    for feed in &written.feeds {
        let path = feed.path.get_ref();
        let of_file = |error: anyhow::Error| document.error(&feed.path.span(), format!("{error:#}"));
        let (file, changed) = feed::open(path).map_err(of_file)?;
        let target = feed.target.as_ref().map_or(name, Spanned::get_ref);
        let (target, source) = target_and_source(&mut targets, target, path);
        let limit = match feed.kind {
            Kind::Endpoints => ("limits.endpoints", config.limits.endpoints),
            Kind::Prefixes | Kind::Domains => ("limits.prefixes", config.limits.prefixes),
        };
        let reader = FeedReader { path, source, limit, notes: &mut *notes };
        let taken = match feed.kind {
            Kind::Prefixes => reader.read(file, one(prefixes::parse), &mut target.prefixes),
            Kind::Endpoints => reader.read(file, one(endpoints::parse), &mut target.endpoints),
            Kind::Domains => reader.read(file, domains::parse_line, &mut target.domains),
        }
        .map_err(of_file)?;
        if taken == 0 {
            let why = "an empty feed file is refused: a list that lost its content would watch nothing";
            return Err(of_file(anyhow!("{}: {why}", path.display())));
        }
        updated = Some(updated.map_or(changed, |oldest| oldest.min(changed)));
    }
    if targets.is_empty() {
        let line = document.line(&written.name.span());
        notes.push(format!("{}:{line}: watchlist {name:?} has no indicators", document.path().display()));
    }
    for target in &mut targets {
        collapse(&mut target.prefixes);
        collapse(&mut target.endpoints);
        collapse(&mut target.domains);
    }
    Ok(Watchlist { name: name.clone(), category: written.category, targets, updated })
}

/// The target of this name, new where there is none yet, and the index of a new source of it.
fn target_and_source<'t>(targets: &'t mut Vec<Target>, name: &str, path: &Path) -> (&'t mut Target, u32) {
    let index = targets.iter().position(|target| target.name == name).unwrap_or_else(|| {
        targets.push(Target::new(name));
        targets.len() - 1
    });
    let target = &mut targets[index];
    let source = target.sources.len();
    target.sources.push(path.display().to_string());
    (target, u32::try_from(source).unwrap_or(u32::MAX))
}

/// Sorted, and each indicator once: in the place that was written first.
fn collapse<T: Ord>(entries: &mut Vec<Entry<T>>) {
    entries.sort_unstable();
    entries.dedup_by(|later, first| later.indicator == first.indicator);
}

/// Reads the strings of the config.
struct Inline<'a> {
    document: &'a Document,
    source: u32,
    notes: &'a mut Vec<String>,
}

impl Inline<'_> {
    fn read<T: Display>(
        &mut self,
        written: &[Spanned<String>],
        parse: fn(&str) -> Result<Read<T>, Refused>,
    ) -> anyhow::Result<Vec<Entry<T>>> {
        let mut entries = Vec::with_capacity(written.len());
        for text in written {
            let (span, text) = (text.span(), text.get_ref());
            let read =
                parse(text).map_err(|why| self.document.error(&span, format!("{} {why}", quote(text))))?;
            let line = self.document.line(&span);
            if let Some(remark) = read.remark {
                self.notes.push(note(self.document.path(), line, text, remark, &read.indicator));
            }
            entries.push(Entry { indicator: read.indicator, source: self.source, line });
        }
        Ok(entries)
    }
}

fn note(path: &Path, line: u32, text: &str, remark: &str, taken: &impl Display) -> String {
    format!("{}:{line}: {} {remark}: taken as {taken}", path.display(), quote(text))
}

/// A line that is one indicator.
fn one<T>(
    parse: fn(&str) -> Result<Read<T>, Refused>,
) -> impl Fn(&str, &mut dyn FnMut(Read<T>)) -> Result<(), Refused> {
    move |line, take| {
        take(parse(line)?);
        Ok(())
    }
}

/// Reads one feed file.
struct FeedReader<'a> {
    path: &'a Path,
    source: u32,
    /// Name and value of the limit on its entries.
    limit: (&'static str, u32),
    notes: &'a mut Vec<String>,
}

impl FeedReader<'_> {
    /// `parse` gives each indicator of a line to its second argument. Returns how many entries
    /// the file holds.
    fn read<T: Display>(
        self,
        file: File,
        parse: impl Fn(&str, &mut dyn FnMut(Read<T>)) -> Result<(), Refused>,
        entries: &mut Vec<Entry<T>>,
    ) -> anyhow::Result<usize> {
        let (key, most) = self.limit;
        let mut taken = 0;
        let mut remarks = 0;
        feed::read_lines(self.path, file, |line, text| {
            parse(text, &mut |read| {
                taken += 1;
                if let Some(remark) = read.remark {
                    remarks += 1;
                    if remarks <= NOTES_PER_FEED {
                        self.notes.push(note(self.path, line, text, remark, &read.indicator));
                    }
                }
                entries.push(Entry { indicator: read.indicator, source: self.source, line });
            })?;
            if taken > most as usize {
                let why = format!("is one entry more than {key} = {most} allows in a file");
                return Err(Refused(why.into()));
            }
            Ok(())
        })?;
        if remarks > NOTES_PER_FEED {
            let more = remarks - NOTES_PER_FEED;
            self.notes.push(format!("{}: {more} more lines like these", self.path.display()));
        }
        Ok(taken)
    }
}
