//! Which feed files there were when the lists were last read, so that a change is noticed. Looked
//! at every few seconds: a file that is replaced by renaming, on whatever file system, is a
//! change like any other.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::config::Config;

/// The feeds as they were.
#[derive(Debug, PartialEq, Eq)]
pub struct Feeds(Vec<(PathBuf, Option<Stamp>)>);

/// What differs when a file does: which one it is, its length in bytes, when it was written.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    len_bytes: u64,
    modified: (i64, i64),
}

impl Feeds {
    pub fn of(config: &Config) -> Self {
        let paths = config.watchlists.iter().flat_map(|list| &list.feeds).map(|feed| feed.path.get_ref());
        Self(paths.map(|path| (path.clone(), stamp(path))).collect())
    }

    /// Has any of them changed, come or gone since?
    pub fn have_changed(&self) -> bool {
        self.0.iter().any(|(path, before)| stamp(path) != *before)
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let found = fs::metadata(path).ok()?;
    Some(Stamp { inode: found.ino(), len_bytes: found.len(), modified: (found.mtime(), found.mtime_nsec()) })
}
