//! Opening and reading files that a person named: regular files only, and never more of
//! them than a limit. A fifo would hang the reader and a device never end.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, anyhow, bail, ensure};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::geteuid;

/// Largest config file, in bytes.
const SIZE_MAX: u64 = 16 << 20;
/// Largest of the files that hold no lists, in bytes.
const SMALL_MAX: u64 = 1 << 20;

/// Opens a regular file for reading; symbolic links are followed.
///
/// # Errors
/// When it cannot be opened, or is something else: a directory, a fifo, a device.
pub(crate) fn open_regular(path: &Path) -> anyhow::Result<File> {
    // NONBLOCK: opening a fifo must not wait for its writer.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file: File = rustix::fs::open(path, flags, Mode::empty())
        .map_err(|error| {
            anyhow::Error::new(std::io::Error::from(error)).context(cannot_be_read(path, error))
        })?
        .into();
    let kind = file.metadata().with_context(|| format!("{}: cannot be read", path.display()))?.file_type();
    ensure!(
        kind.is_file(),
        "{}: {} is not a regular file",
        path.display(),
        if kind.is_dir() { "a directory" } else { "a device, fifo or socket" },
    );
    Ok(file)
}

/// The daemon lays root's power over other users' files down before it reads any, since it would
/// not have it at a reload; whoever is root and refused will want to know.
fn cannot_be_read(path: &Path, error: Errno) -> String {
    let named = format!("{}: cannot be read", path.display());
    if error == Errno::ACCESS && geteuid().is_root() {
        return named
            + ", though by root: poolwatch reads with no power over files, so its owner or mode, or a directory's, must let root in";
    }
    named
}

/// The whole text of a config file.
pub(super) fn read(path: &Path) -> anyhow::Result<String> {
    read_up_to(path, SIZE_MAX, "; long lists belong into feed files")
}

/// The whole text of a web config, a certificate, a key or a password.
///
/// # Errors
/// When it cannot be read, is no regular file or no UTF-8, or is larger than a megabyte.
pub(crate) fn read_small(path: &Path) -> anyhow::Result<String> {
    read_up_to(path, SMALL_MAX, "")
}

fn read_up_to(path: &Path, max: u64, remedy: &str) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    open_regular(path)?
        .take(max + 1)
        .read_to_end(&mut bytes)
        .with_context(|| format!("{}: cannot be read", path.display()))?;
    if bytes.len() as u64 > max {
        bail!("{}: larger than {} MiB{remedy}", path.display(), max >> 20);
    }
    String::from_utf8(bytes).map_err(|error| {
        let sound = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = sound.split(|&b| b == b'\n').count();
        anyhow!("{}:{line}: is not UTF-8", path.display())
    })
}
