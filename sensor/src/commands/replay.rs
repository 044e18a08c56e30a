//! `poolwatch replay FILE…`: what the sensor would have seen in a capture, without privileges.
//!
//! Opens the files and prints; counting is `replay`'s. A file that cannot be read, or not to
//! its end, is reported and does not keep the others from being read.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Serialize;

use crate::cli::Format;
use crate::config::Config;
use crate::replay::report::Report;
use crate::replay::watched::Watched;
use crate::replay::{self, Lists, text};
use crate::watchlists::Watchlists;

/// Replays `files` against the config's watchlists, as [`replay_files`] does.
///
/// # Errors
/// When config or lists are not sound; and as [`replay_files`].
pub fn replay(
    config: Option<&Path>,
    format: Format,
    files: &[PathBuf],
    out: &mut impl Write,
    err: &mut impl Write,
) -> anyhow::Result<bool> {
    let config = Config::load(config)?;
    let watchlists = Watchlists::load(&config)?;
    for note in &watchlists.notes {
        let _ = writeln!(err, "poolwatch: {}", text::printable(note));
    }
    replay_files(&Watched::new(&config, &watchlists)?, format, files, out, err)
}

/// Replays `files` against `lists`, reports to `out`, which should be buffered,
/// and complains to `err`. `false`: some
/// file could not be read, or not to its end.
///
/// # Errors
/// When the report cannot be written. A reader who has gone away is no error.
pub fn replay_files(
    lists: &impl Lists,
    format: Format,
    files: &[PathBuf],
    out: &mut impl Write,
    err: &mut impl Write,
) -> anyhow::Result<bool> {
    let mut all_read = true;
    for (file, capture) in files.iter().zip(names(files)) {
        let replayed = File::open(file)
            .context("cannot be opened")
            .and_then(|opened| Ok(replay::replay(opened, lists)?));
        let error = match replayed {
            Err(error) => Some(error),
            Ok(mut report) => {
                let error = report.error.take();
                match write_report(out, format, &capture, &report) {
                    Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(all_read),
                    written => written.context("the report cannot be written")?,
                }
                error.map(anyhow::Error::new)
            }
        };
        if let Some(error) = error {
            all_read = false;
            let path = text::printable(&file.to_string_lossy());
            // Where nobody listens to complaints, the exit code still tells.
            let _ = writeln!(err, "poolwatch: {path}: {error:#}");
        }
    }
    Ok(all_read)
}

/// What each file is called in the report: its base name, or its path as it was given where
/// another file has the same base name.
fn names(files: &[PathBuf]) -> Vec<String> {
    let base = |file: &PathBuf| file.file_name().unwrap_or(file.as_os_str()).to_owned();
    let bases: Vec<_> = files.iter().map(base).collect();
    let name = |(file, own): (&PathBuf, &OsString)| {
        let is_shared = bases.iter().filter(|other| *other == own).count() > 1;
        let name = if is_shared { file.as_os_str() } else { own };
        name.to_string_lossy().into_owned()
    };
    files.iter().zip(&bases).map(name).collect()
}

/// A line of JSON.
#[derive(Serialize)]
struct Line<'a, T> {
    r#type: &'static str,
    capture: &'a str,
    #[serde(flatten)]
    said: &'a T,
}

fn write_report(out: &mut impl Write, format: Format, capture: &str, report: &Report) -> io::Result<()> {
    match format {
        Format::Text => text::write(out, capture, report)?,
        Format::Json => {
            for flow in &report.flows {
                write_line(out, &Line { r#type: "flow", capture, said: flow })?;
            }
            for lookup in &report.lookups {
                write_line(out, &Line { r#type: "lookup", capture, said: lookup })?;
            }
            write_line(out, &Line { r#type: "summary", capture, said: &report.summary })?;
        }
    }
    out.flush()
}

fn write_line(out: &mut impl Write, line: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capture_goes_by_its_base_name_unless_two_files_share_it() {
        let table = [
            ("one file", vec!["/var/a.pcap"], vec!["a.pcap"]),
            ("two names", vec!["x/a.pcap", "x/b.pcap"], vec!["a.pcap", "b.pcap"]),
            (
                "a name twice, and another",
                vec!["x/a.pcap", "y/a.pcap", "y/b.pcap"],
                vec!["x/a.pcap", "y/a.pcap", "b.pcap"],
            ),
            ("no base name", vec![".."], vec![".."]),
        ];
        for (description, files, expected) in table {
            let files: Vec<PathBuf> = files.into_iter().map(PathBuf::from).collect();
            assert_eq!(names(&files), expected, "{description}");
        }
    }
}
