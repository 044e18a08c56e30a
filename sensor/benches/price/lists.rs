//! Lists: how long they take from the file to the kernel and from one version to the next, and
//! what they hold meanwhile; and the sweep of a full flow table.
//!
//! The lists are files of one target, so that what is measured is prefixes. Nothing else is
//! watched.

mod inside;
mod running;
mod sweep;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use ipnet::{IpNet, Ipv4Net};
use tempfile::TempDir;

use super::Plan;
use super::figure::{About, Report};
use crate::prefixes::{generated, write_feed};

const PART: &str = "lists";
/// In both versions of each list, and in nobody's list otherwise.
const WATCHED: &str = "192.0.2.10";
/// Lists of at least this many prefixes are measured fewer times.
const LONG: u32 = 100_000;

pub fn measure(plan: &Plan, report: &mut Report) -> Result<()> {
    for &count in &plan.prefixes {
        let runs = match (plan.quick, count < LONG) {
            (true, false) => 1,
            (_, true) => plan.runs.min(5),
            (false, false) => 3,
        };
        let feed = Feed::new(count)?;
        inside::measure(&feed, runs, report)?;
        running::measure(&feed, runs, report)?;
    }
    sweep::measure(plan.runs.min(7), report)
}

/// What a figure of this part is about.
fn about(key: &'static str, what: &'static str, count: u32, unit: &'static str) -> About<'static> {
    About { part: PART, key, what, subject: "poolwatch", prefixes: Some(count), unit }
}

/// A feed file with two versions, a tenth of which differs.
struct Feed {
    directory: TempDir,
    count: u32,
}

impl Feed {
    fn new(count: u32) -> Result<Self> {
        let directory = TempDir::new().context("a directory for feeds")?;
        let listed = count.saturating_sub(1) as usize;
        let changed = (listed / 10).max(1);
        let prefixes = generated(u32::try_from(listed + changed)?);
        let watched = IpNet::V4(Ipv4Net::new_assert(WATCHED.parse()?, 32));
        for (version, from) in [0, changed].into_iter().enumerate() {
            let mut list = prefixes[from..from + listed].to_vec();
            list.push(watched);
            write_feed(&directory.path().join(format!("version-{version}")), &list)?;
        }
        let feed = Self { directory, count };
        feed.replace(0)?;
        Ok(feed)
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("feed")
    }

    /// Puts a version (0 or 1) in its place, as whoever fetches feeds does: by renaming.
    fn replace(&self, version: usize) -> Result<()> {
        let fetched = self.directory.path().join("fetched");
        fs::copy(self.directory.path().join(format!("version-{version}")), &fetched)
            .and_then(|_| fs::rename(&fetched, self.path()))
            .context("replacing the feed")
    }

    /// The tables of a config that watches it, and nothing else.
    fn config(&self) -> String {
        format!(
            "[builtin]\nmining = false\ndprk = false\n\
             [[watchlist]]\nname = \"list\"\n[[watchlist.feed]]\npath = \"{}\"\n",
            self.path().display()
        )
    }
}
