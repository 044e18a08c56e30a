//! Replay's report for people: what was found, where and why, a table a capture.
//!
//! Nothing here is meant to be read by programs; they have JSON.

use std::array;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::time::Duration;

use time::OffsetDateTime;
use time::macros::format_description;

use super::report::{ByTwo, Flow, Lookup, Reasons, Report, Summary, TargetCounts};
use crate::verdict::Role;

/// Writes the report of the capture of that name.
pub fn write(out: &mut impl Write, capture: &str, report: &Report) -> io::Result<()> {
    writeln!(out, "{}", printable(capture))?;
    if !report.flows.is_empty() {
        write_table(out, FLOW_COLUMNS, report.flows.iter().map(flow_row))?;
    }
    if !report.lookups.is_empty() {
        write_table(out, LOOKUP_COLUMNS, report.lookups.iter().map(lookup_row))?;
    }
    if !report.summary.targets.is_empty() {
        write_table(out, TARGET_COLUMNS, report.summary.targets.iter().map(target_row))?;
    }
    writeln!(out, "  {}", summary_line(&report.summary))
}

/// `text` with what would control a terminal, or turn a line around, escaped.
pub fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                printable.extend(character.escape_unicode());
            }
            _ if character.is_control() => printable.extend(character.escape_default()),
            _ => printable.push(character),
        }
    }
    printable
}

/// A heading, and whether numbers stand below it.
type Column = (&'static str, bool);

/// A role that is none, and what nobody said of itself, make no column.
const FLOW_COLUMNS: [Column; 14] = [
    ("first seen (UTC)", false),
    ("lasted", true),
    ("source", false),
    ("destination", false),
    ("protocol", false),
    ("watchlist/target", false),
    ("signals", false),
    ("role", false),
    ("agent", false),
    ("coin", false),
    ("server name", false),
    ("packets", true),
    ("bytes", true),
    ("established", false),
];

fn flow_row(flow: &Flow) -> [String; 14] {
    let said = |said: &Option<String>| said.clone().unwrap_or_default();
    [
        date(flow.first_seen_ns),
        lasted(flow.last_seen_ns - flow.first_seen_ns),
        flow.source.to_string(),
        flow.destination.to_string(),
        flow.transport.to_owned(),
        format!("{}/{}", flow.watchlist, flow.target),
        flow.signals.join(","),
        if flow.role == Role::None.name() { "" } else { flow.role }.to_owned(),
        said(&flow.agent),
        said(&flow.coin),
        said(&flow.server_name),
        flow.packets.to_string(),
        flow.bytes.to_string(),
        if flow.established { "yes" } else { "no" }.to_owned(),
    ]
}

const LOOKUP_COLUMNS: [Column; 5] = [
    ("answered (UTC)", false),
    ("client", false),
    ("looked up", false),
    ("result", false),
    ("watchlist/target", false),
];

fn lookup_row(lookup: &Lookup) -> [String; 5] {
    [
        date(lookup.seen_ns),
        lookup.client.to_string(),
        lookup.query.clone(),
        lookup.result.to_owned(),
        format!("{}/{}", lookup.watchlist, lookup.target),
    ]
}

const TARGET_COLUMNS: [Column; 8] = [
    ("watchlist/target", false),
    ("packets out", true),
    ("bytes out", true),
    ("packets in", true),
    ("bytes in", true),
    ("connections", true),
    ("established", true),
    ("joined", true),
];

fn target_row(target: &TargetCounts) -> [String; 8] {
    let all = |by: &ByTwo| by.values().flat_map(|by| by.values()).sum::<u64>().to_string();
    let of = |by: &ByTwo, name| by.get(name).map_or(0, |by| by.values().sum::<u64>()).to_string();
    [
        format!("{}/{}", target.watchlist, target.target),
        of(&target.packets, "egress"),
        of(&target.bytes, "egress"),
        of(&target.packets, "ingress"),
        of(&target.bytes, "ingress"),
        all(&target.connections),
        all(&target.connections_established),
        target.connections_joined.to_string(),
    ]
}

fn summary_line(summary: &Summary) -> String {
    let mut line = format!(
        "{}, {} bytes in {}; {} matched",
        some(summary.packets, "packet"),
        summary.bytes,
        lasted(summary.nanoseconds),
        some(summary.flows_matched, "flow"),
    );
    for (what, reasons) in
        [("undecoded", &summary.undecoded_reasons), ("not counted in full", &summary.uncounted_reasons)]
    {
        if !reasons.is_empty() {
            let _ = write!(line, "; {} {what} ({})", reasons.values().sum::<u64>(), list(reasons));
        }
    }
    line
}

/// `1 packet`, `2 packets`.
fn some(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn list(reasons: &Reasons) -> String {
    let list: Vec<String> = reasons.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
    list.join(", ")
}

fn date(since_epoch_ns: u64) -> String {
    let format = format_description!("[year]-[month]-[day] [hour]:[minute]:[second].[subsecond digits:6]");
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(since_epoch_ns))
        .ok()
        .and_then(|date| date.format(format).ok())
        .unwrap_or_else(|| format!("{} s", Duration::from_nanos(since_epoch_ns).as_secs_f64()))
}

fn lasted(nanoseconds: u64) -> String {
    format!("{:.3} s", Duration::from_nanos(nanoseconds).as_secs_f64())
}

/// Rows below their headings, each column as wide as its longest cell; without columns that are empty.
fn write_table<const N: usize>(
    out: &mut impl Write,
    columns: [Column; N],
    rows: impl Iterator<Item = [String; N]>,
) -> io::Result<()> {
    let headings = columns.map(|(heading, _)| heading.to_owned());
    let rows: Vec<[String; N]> =
        std::iter::once(headings).chain(rows.map(|row| row.map(|cell| printable(&cell)))).collect();
    let mut widths = [0; N];
    let has_cells: [bool; N] = array::from_fn(|at| rows[1..].iter().any(|row| !row[at].is_empty()));
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    for row in &rows {
        let mut line = String::new();
        let cells = row.iter().zip(widths).zip(columns).zip(has_cells).filter(|(_, has_cells)| *has_cells);
        for (((cell, width), (_, is_number)), _) in cells {
            let _ =
                if is_number { write!(line, "  {cell:>width$}") } else { write!(line, "  {cell:<width$}") };
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_control_a_terminal_is_escaped() {
        let table = [
            ("an ordinary name", "/tmp/größe 1.pcap", "/tmp/größe 1.pcap"),
            ("a colour", "\u{1b}[31mred.pcap", "\\u{1b}[31mred.pcap"),
            ("a new line", "a\nb.pcap", "a\\nb.pcap"),
            ("a C1 control", "a\u{9b}2J.pcap", "a\\u{9b}2J.pcap"),
            ("an override of the direction", "a\u{202e}pacp.b", "a\\u{202e}pacp.b"),
        ];
        for (description, name, expected) in table {
            assert_eq!(printable(name), expected, "{description}");
        }
    }

    #[test]
    fn columns_are_as_wide_as_their_longest_cell() {
        let rows = [["a".to_owned(), "1".to_owned()], ["longer".to_owned(), "100000".to_owned()]];
        let mut out = Vec::new();
        write_table(&mut out, [("name", false), ("count", true)], rows.into_iter()).unwrap();
        let expected = "  name     count\n  a            1\n  longer  100000\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn a_date_is_readable_at_both_ends_of_the_clock() {
        assert_eq!(date(0), "1970-01-01 00:00:00.000000");
        assert_eq!(date(1_400_000_000_123_456_789), "2014-05-13 16:53:20.123456");
        assert_eq!(date(u64::MAX), "2554-07-21 23:34:33.709551");
    }
}
