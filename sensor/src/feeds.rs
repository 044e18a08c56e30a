//! Which files there were when they were last read, so that a change is noticed: the feeds, the web
//! config and what that names, and a config that was refused. Looked at every few seconds: a file that is replaced
//! by renaming, on whatever file system, is a change like any other.
//!
//! A file that is written in place is half of one for a while. It is left alone until it has been
//! quiet for a moment, and what changed while it was read does not count.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail};

use crate::config::Config;
use crate::web_config;

/// A file is quiet when it was not touched for so long. Not shorter than the step of any file
/// system's clock: within one step, a file changes and its times do not.
const QUIET: Duration = Duration::from_secs(2);

/// The files as they were.
#[derive(Debug)]
pub struct Feeds {
    files: Vec<(PathBuf, Option<Stamp>)>,
    read_at: SystemTime,
}

/// What differs when a file does: which one it is, its length in bytes, when it was written, and
/// when anything about it was changed, which no one can set back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    len_bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Feeds {
    pub fn of(config: &Config) -> Self {
        let read_at = SystemTime::now();
        let feeds = config.watchlists.iter().flat_map(|list| &list.feeds);
        let paths = feeds.map(|feed| feed.path.get_ref().clone()).chain(web_config::files(config));
        Self { files: paths.map(stamped).collect(), read_at }
    }

    /// The same files as they are now, so that a change is a change once, whatever becomes of it.
    #[must_use]
    pub fn again(&self) -> Self {
        let read_at = SystemTime::now();
        Self { files: self.files.iter().map(|(path, _)| stamped(path.clone())).collect(), read_at }
    }

    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|(path, _)| path.as_path())
    }

    /// One more, as it is now.
    pub fn add(&mut self, path: &Path) {
        if !self.paths().any(|known| known == path) {
            self.files.push(stamped(path.to_owned()));
        }
    }

    /// Has any of them changed, come or gone since, or may it have?
    pub fn have_changed(&self) -> bool {
        self.files.iter().any(|(path, before)| {
            stamp(path) != *before || before.is_some_and(|before| !before.is_quiet_at(self.read_at))
        })
    }

    /// One that someone is writing to, as it seems.
    pub fn restless(&self) -> Option<&Path> {
        let now = SystemTime::now();
        let restless = |path: &Path| stamp(path).is_some_and(|found| !found.is_quiet_at(now));
        self.paths().find(|path| restless(path))
    }

    /// Are they what they were?
    ///
    /// # Errors
    /// For one that is not, by its path.
    pub fn ensure_unchanged(&self) -> Result<()> {
        match self.files.iter().find(|(path, before)| stamp(path) != *before) {
            Some((path, _)) => bail!("{}: it changed while it was read", path.display()),
            None => Ok(()),
        }
    }
}

impl Stamp {
    /// What happens in the future, by a clock that was set back since, is long ago.
    fn is_quiet_at(&self, now: SystemTime) -> bool {
        let (seconds, nanoseconds) = self.changed;
        let since = Duration::new(seconds.try_into().unwrap_or(0), nanoseconds.try_into().unwrap_or(0));
        now.duration_since(UNIX_EPOCH + since).map_or(true, |age| age >= QUIET)
    }
}

fn stamped(path: PathBuf) -> (PathBuf, Option<Stamp>) {
    let stamp = stamp(&path);
    (path, stamp)
}

fn stamp(path: &Path) -> Option<Stamp> {
    let found = fs::metadata(path).ok()?;
    Some(Stamp {
        device: found.dev(),
        inode: found.ino(),
        len_bytes: found.len(),
        modified: (found.mtime(), found.mtime_nsec()),
        changed: (found.ctime(), found.ctime_nsec()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feeds(path: &Path) -> Feeds {
        Feeds { files: vec![(path.to_owned(), stamp(path))], read_at: SystemTime::now() }
    }

    #[test]
    fn a_file_is_quiet_a_moment_after_it_was_last_touched_and_until_then_it_may_have_changed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("feed");
        fs::write(&path, "10.0.0.0/8\n").expect("a feed");
        let mut feeds = feeds(&path);
        let (seconds, nanoseconds) = feeds.files[0].1.expect("it is there").changed;
        let touched = UNIX_EPOCH
            + Duration::new(seconds.try_into().expect("now"), nanoseconds.try_into().expect("now"));
        for (age, is_settled) in
            [(Duration::ZERO, false), (QUIET / 2, false), (QUIET, true), (Duration::from_hours(24), true)]
        {
            feeds.read_at = touched + age;
            assert_eq!(feeds.have_changed(), !is_settled, "read {age:?} after");
        }
        feeds.read_at = UNIX_EPOCH;
        assert!(!feeds.have_changed(), "a clock that was set back");
    }

    #[test]
    fn a_file_that_changes_while_it_is_read_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("feed");
        fs::write(&path, "10.0.0.0/8\n").expect("a feed");
        let feeds = feeds(&path);
        feeds.ensure_unchanged().expect("it did not change");
        fs::write(&path, "10.0.0.0/8\n10.0.0.0/9\n").expect("a feed");
        let error = feeds.ensure_unchanged().expect_err("it is longer").to_string();
        assert!(error.ends_with("feed: it changed while it was read"), "{error}");
        assert!(feeds.have_changed());
    }

    #[test]
    fn a_change_that_leaves_length_and_time_of_writing_as_they_were_is_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("feed");
        fs::write(&path, "10.0.0.0/8\n").expect("a feed");
        let mut feeds = feeds(&path);
        feeds.read_at += Duration::from_mins(1);
        let before = feeds.files[0].1.as_mut().expect("it is there");
        before.changed.1 -= 1;
        assert!(feeds.have_changed());
    }

    #[test]
    fn a_change_is_one_once_it_was_looked_at_whatever_became_of_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("feed");
        fs::write(&path, "10.0.0.0/8\n").expect("a feed");
        let mut before = feeds(&path);
        before.read_at += Duration::from_mins(1);
        fs::write(&path, "10.0.0.0/8\n10.0.0.0/9\n").expect("a feed");
        let mut after = before.again();
        after.read_at += Duration::from_mins(1);
        assert!(before.have_changed() && !after.have_changed());
    }
}
