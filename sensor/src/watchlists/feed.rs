//! Reads a list file line by line: comments, blanks, CRLF and a byte order mark are taken
//! off, and what is left goes to the parser of its kind. A line is never held longer than
//! [`LINE_MAX`] bytes, and a file not read further than [`SIZE_MAX`]; how many entries there may
//! be is the caller's to limit.
//!
//! A file that was cut off is refused rather than read as far as it goes: the last line has its
//! end, and no line a NUL, which is what a crash leaves where data should be.

use std::fs::File;
use std::io::{BufRead, BufReader, Read as _};
use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context, anyhow, bail, ensure};

use super::Refused;
use crate::config::{open_regular, quote};

/// Longest line, its end included, in bytes.
const LINE_MAX: u64 = 4096;

/// Largest list file, in bytes.
const SIZE_MAX: u64 = 1 << 30;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A list file, and when it was last changed.
///
/// # Errors
/// When it cannot be read, or is no regular file.
pub(super) fn open(path: &Path) -> anyhow::Result<(File, SystemTime)> {
    let file = open_regular(path)?;
    let unreadable = || format!("{}: cannot be read", path.display());
    let found = file.metadata().with_context(unreadable)?;
    ensure!(found.len() <= SIZE_MAX, "{}: larger than {} MiB", path.display(), SIZE_MAX >> 20);
    Ok((file, found.modified().with_context(unreadable)?))
}

/// Gives each line that says something to `take`, with its number counted from 1.
///
/// # Errors
/// `path:line: "…" is …` for a line that `take` refuses, that is too long, cut off or not UTF-8.
pub(super) fn read_lines(
    path: &Path,
    file: File,
    mut take: impl FnMut(u32, &str) -> Result<(), Refused>,
) -> anyhow::Result<()> {
    // It may be growing.
    let mut reader = BufReader::new(file.take(SIZE_MAX));
    let mut line = Vec::new();
    for number in 1.. {
        let place = || format!("{}:{number}", path.display());
        line.clear();
        let read = reader.by_ref().take(LINE_MAX + 1).read_until(b'\n', &mut line);
        if read.with_context(|| format!("{}: cannot be read", place()))? == 0 {
            break;
        }
        if line.len() as u64 > LINE_MAX {
            bail!("{}: the line is longer than {LINE_MAX} bytes", place());
        }
        ensure!(
            !line.contains(&0),
            "{}: the line holds a NUL byte: the file is damaged, or not UTF-8",
            place()
        );
        ensure!(
            line.ends_with(b"\n"),
            "{}: the last line does not end in a newline: the file was cut off, or wants one",
            place()
        );
        let mut said = line.as_slice();
        if number == 1 {
            said = said.strip_prefix(BYTE_ORDER_MARK).unwrap_or(said);
        }
        let said = uncommented(said).trim_ascii();
        if said.is_empty() {
            continue;
        }
        let text = str::from_utf8(said)
            .map_err(|_| anyhow!("{}: {} is not UTF-8", place(), quote(&String::from_utf8_lossy(said))))?;
        take(number, text).map_err(|why| anyhow!("{}: {} {why}", place(), quote(text)))?;
    }
    Ok(())
}

/// A comment begins with `#` or `;` wherever it stands; it need not be UTF-8.
fn uncommented(line: &[u8]) -> &[u8] {
    line.split(|b| matches!(b, b'#' | b';')).next().unwrap_or_default()
}
