//! `poolwatch check`: reads the config and every list just as `run` does before it touches
//! the kernel, compiles them, and prints what would be watched. It needs no privileges and
//! attaches nothing; a feed or a web config that is missing or wrong is found here.

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;

use crate::config::Config;
use crate::replay::text::printable;
use crate::verdict::Watching;
use crate::watchlists::{Compiled, Target, Watchlist, Watchlists};
use crate::web_config::Web;

const HEADINGS: [&str; 8] =
    ["WATCHLIST", "CATEGORY", "TARGET", "CONFIDENCE", "PREFIXES", "ENDPOINTS", "DOMAINS", "SOURCE"];

/// Prints what `config` (or the default one) would watch.
///
/// # Errors
/// What is wrong with the config or a list, with file, line and key; or `out` cannot be written.
pub fn check(config: Option<&Path>, out: &mut impl Write) -> anyhow::Result<()> {
    let config = Config::load(config)?;
    let watchlists = Watchlists::load(&config)?;
    let web = Web::load(&config)?;
    // Any slots will do, as long as each target has its own.
    let mut slots = 0..config.limits.targets;
    let mut given = HashMap::new();
    let compiled = Compiled::of_config(&config, &watchlists, |list, target| {
        let slot = slots.next()?;
        given.insert((list.to_owned(), target.to_owned()), slot);
        Some(slot)
    })?;
    Watching::of_config(&config, &watchlists, |list, target| {
        given.get(&(list.to_owned(), target.to_owned())).copied()
    })?;

    let mut rows = vec![HEADINGS.map(str::to_owned)];
    for list in &watchlists.lists {
        rows.extend(list.targets.iter().map(|target| row(list, target)));
    }
    write_table(&rows, out)?;

    let limits = &config.limits;
    writeln!(out)?;
    writeln!(out, "targets    {:>8} of {}", slots.start, limits.targets)?;
    let sizes = compiled.sizes;
    writeln!(out, "prefixes   {:>8} of {}", sizes.prefixes(), limits.prefixes)?;
    writeln!(out, "endpoints  {:>8} of {}", sizes.endpoints, limits.endpoints)?;
    for note in watchlists.notes.iter().chain(&web.notes) {
        writeln!(out, "note: {}", printable(note))?;
    }
    let path = config.document.path();
    if path.as_os_str().is_empty() {
        writeln!(out, "no config file: these are the defaults")?;
    } else {
        writeln!(out, "{} is good", printable(&path.to_string_lossy()))?;
    }
    Ok(())
}

fn row(list: &Watchlist, target: &Target) -> [String; HEADINGS.len()] {
    [
        list.name.clone(),
        list.category.name().to_owned(),
        target.name.clone(),
        target.confidence.name().to_owned(),
        target.prefixes.len().to_string(),
        target.endpoints.len().to_string(),
        target.domains.len().to_string(),
        printable(&target.source()),
    ]
}

/// Columns as wide as their widest cell, numbers to the right, the last column as it comes.
fn write_table<const COLUMNS: usize>(
    rows: &[[String; COLUMNS]],
    out: &mut impl Write,
) -> std::io::Result<()> {
    let widths: [usize; COLUMNS] = std::array::from_fn(|column| {
        rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default()
    });
    for row in rows {
        for (cell, width) in row.iter().zip(widths).take(COLUMNS - 1) {
            if cell.bytes().all(|b| b.is_ascii_digit()) {
                write!(out, "{cell:>width$}  ")?;
            } else {
                write!(out, "{cell:<width$}  ")?;
            }
        }
        writeln!(out, "{}", row[COLUMNS - 1])?;
    }
    Ok(())
}
