//! Every capture as a whole: replay reads it or says why not, and counts the packets and bytes
//! that capinfos counts.

use std::{path::Path, process::Command};

use anyhow::Result;

use super::{
    Bench,
    replayed::{Replayed, replay},
    table::{self, Row, Verdict, verdict},
};
use crate::cargo;

/// Prints the table, and returns how many captures differ.
pub(super) fn compare(bench: &Bench) -> Result<usize> {
    let config = bench.defaults()?;
    let files: Vec<&Path> = bench.captures.iter().map(|capture| capture.path.as_path()).collect();
    let all = replay(&bench.sensor, &config, &files)?;
    let mut rows = Vec::new();
    for (capture, replayed) in bench.captures.iter().zip(&all) {
        rows.push(row(&capture.name, replayed, capinfos(&capture.path)?));
    }
    Ok(table::print(
        "Whole captures, replay against capinfos",
        &["packets", "bytes", "undecoded by reason"],
        &rows,
    ))
}

fn row(name: &str, replayed: &Replayed, other: Option<[u64; 2]>) -> Row {
    let name = name.to_owned();
    let Some(summary) = &replayed.summary else {
        let verdict = match &replayed.error {
            Some(error) => Verdict::Left(error.clone()),
            None => Verdict::Differs(vec!["replay says nothing of it".to_owned()]),
        };
        return Row { cells: Vec::new(), verdict, name };
    };
    let [packets, bytes, undecoded] =
        ["packets", "bytes", "undecoded"].map(|key| summary[key].as_u64().unwrap_or(u64::MAX));
    let reasons: Vec<(String, u64)> = summary["undecoded_reasons"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(reason, count)| (reason.clone(), count.as_u64().unwrap_or(0)))
        .collect();
    let mut differences = Vec::new();
    match other {
        Some(other) if other == [packets, bytes] => {}
        Some([packets, bytes]) => differences.push(format!("capinfos: {packets} packets, {bytes} bytes")),
        None => differences.push("capinfos cannot read it".to_owned()),
    }
    if undecoded != reasons.iter().map(|(_, count)| count).sum::<u64>() {
        differences.push(format!("{undecoded} undecoded, and not all have a reason"));
    }
    let verdict = match &replayed.error {
        Some(error) if !differences.is_empty() => Verdict::Left(error.clone()),
        _ => verdict(differences),
    };
    let reasons: Vec<String> = reasons.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
    Row { cells: vec![packets.to_string(), bytes.to_string(), reasons.join(" ")], verdict, name }
}

/// Packets and their bytes on the link; `None`: it cannot read the file to its end.
fn capinfos(capture: &Path) -> Result<Option<[u64; 2]>> {
    // A table without a header, machine-readable, separated by commas: packets, data size.
    let output =
        cargo::collect(Command::new("capinfos").args(["-T", "-r", "-M", "-m", "-c", "-d"]).arg(capture))?;
    if !output.status.success() {
        return Ok(None);
    }
    Ok(counts(&String::from_utf8_lossy(&output.stdout)))
}

/// The last two values of a line; a file's name may hold commas itself.
fn counts(line: &str) -> Option<[u64; 2]> {
    let mut values = line.trim().rsplit(',').map(str::parse);
    let (bytes, packets) = (values.next()?.ok()?, values.next()?.ok()?);
    Some([packets, bytes])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn replayed(undecoded: u64) -> Replayed {
        let summary = json!({
            "packets": 3, "bytes": 300, "undecoded": undecoded, "undecoded_reasons": { "ip_length": 1 },
        });
        Replayed { summary: Some(summary), ..Replayed::default() }
    }

    #[test]
    fn capinfos_line_ends_with_packets_and_bytes() {
        assert_eq!(counts("a,b.pcap,673,219078\n"), Some([673, 219_078]));
        assert_eq!(counts("a.pcap,n/a,1\n"), None);
        assert_eq!(counts(""), None);
    }

    #[test]
    fn packets_bytes_and_every_undecoded_packet_must_agree() {
        let is_equal =
            |replayed: &Replayed, other| matches!(row("a", replayed, other).verdict, Verdict::Equal);
        assert!(is_equal(&replayed(1), Some([3, 300])));
        assert!(!is_equal(&replayed(1), Some([3, 301])));
        assert!(!is_equal(&replayed(1), None));
        assert!(!is_equal(&replayed(2), Some([3, 300])), "one of two has no reason");
        assert!(!is_equal(&Replayed::default(), Some([3, 300])), "nothing was said");
    }

    #[test]
    fn a_complaint_explains_what_is_missing() {
        let broken = Replayed { error: Some("cut short".to_owned()), ..replayed(1) };
        assert!(matches!(row("a", &broken, None).verdict, Verdict::Left(_)));
        let foreign = Replayed { error: Some("not a capture".to_owned()), ..Replayed::default() };
        assert!(matches!(row("a", &foreign, None).verdict, Verdict::Left(_)));
    }
}
