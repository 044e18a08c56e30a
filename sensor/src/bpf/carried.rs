//! What earlier sets of maps counted: a document ([`super::document`]) beside the set that came after
//! them. That it is pinned is what says that their counts are in it; so it is written once, whole, when
//! nobody counts in them any more.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use sensor_ebpf::abi::{Daemon, Findings, Own, Totals, map};
use serde::{Deserialize, Serialize};

use super::document;
use super::layout::{Counters, Counts, LAST_SEEN};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carried {
    /// By watchlist, then by target; those that left the config too.
    pub(super) targets: BTreeMap<String, BTreeMap<String, Counts>>,
    pub(super) own: Counts,
    pub(super) daemon: Counts,
}

impl Carried {
    /// Pins it: from now on the sets before this one are in it.
    pub(super) fn pin(&self, maps: &Path) -> Result<()> {
        document::pin(&maps.join(map::CARRIED), map::CARRIED, &serde_json::to_string(self)?)
    }

    /// What the sets before this one counted; `None` when there were none, or they are not in it yet.
    pub(super) fn read(maps: &Path) -> Result<Option<Self>> {
        let path = maps.join(map::CARRIED);
        let Some(text) = document::read(&path)? else { return Ok(None) };
        serde_json::from_str(&text).with_context(|| format!("{}", path.display())).map(Some)
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (watchlist, targets) in &other.targets {
            for (target, counts) in targets {
                self.add_target(watchlist, target, counts);
            }
        }
        add(&mut self.own, &other.own);
        add(&mut self.daemon, &other.daemon);
    }

    pub(super) fn add_target(&mut self, watchlist: &str, target: &str, counts: &Counts) {
        let targets = self.targets.entry(watchlist.to_owned()).or_default();
        add(targets.entry(target.to_owned()).or_default(), counts);
    }

    /// `None`: nothing was counted for it.
    pub fn totals(&self, watchlist: &str, target: &str) -> Option<Totals> {
        self.targets.get(watchlist)?.get(target).map(Totals::of_names)
    }

    /// Likewise.
    pub fn findings(&self, watchlist: &str, target: &str) -> Option<Findings> {
        self.targets.get(watchlist)?.get(target).map(Findings::of_names)
    }

    /// What daemons counted about themselves.
    pub fn daemon(&self) -> Daemon {
        Daemon::of_names(&self.daemon)
    }

    pub fn own(&self) -> Own {
        Own::of_names(&self.own)
    }

    /// What daemons counted, `since` on the maps in use, and before.
    pub fn with_daemon(&self, mut since: Daemon) -> Daemon {
        since.each(&mut |name, count| *count += self.daemon.get(&name).copied().unwrap_or(0));
        since
    }

    /// The other way round: what is left of it for the maps in use.
    pub fn without_daemon(&self, mut all: Daemon) -> Daemon {
        all.each(&mut |name, count| *count -= self.daemon.get(&name).copied().unwrap_or(0).min(*count));
        all
    }
}

pub(super) fn add(sum: &mut Counts, counts: &Counts) {
    for (name, count) in counts {
        let mine = sum.entry(name.clone()).or_default();
        *mine = if name == LAST_SEEN { (*mine).max(*count) } else { mine.wrapping_add(*count) };
    }
}

#[cfg(test)]
mod tests {
    use super::super::layout::tests::named;
    use super::*;

    #[test]
    fn counts_add_up_by_name_and_of_two_sightings_the_later_stands() {
        let counts = |packets, seen| Totals {
            packets: [[packets, 0, 0, 0], [0; 4]],
            last_seen_ns: seen,
            ..Totals::default()
        };
        let mut sum = Carried::default();
        for (packets, seen) in [(3, 9), (4, 8)] {
            let mut carried = Carried::default();
            carried.add_target("mining", "pool", &named(counts(packets, seen)));
            carried.own = named(Own { flows_created: packets, ..Own::default() });
            sum.add(&carried);
        }
        assert_eq!(sum.totals("mining", "pool"), Some(counts(7, 9)));
        assert_eq!(sum.totals("mining", "another"), None);
        assert_eq!(sum.own().flows_created, 7);
    }

    #[test]
    fn what_daemons_counted_is_the_sum_of_before_and_since() {
        let daemon = |flows_ended| Daemon { flows_ended, ..Daemon::default() };
        let carried = Carried { daemon: named(daemon(5)), ..Carried::default() };
        assert_eq!(carried.with_daemon(daemon(2)), daemon(7));
        assert_eq!(carried.without_daemon(daemon(7)), daemon(2));
    }

    #[test]
    fn what_another_version_counts_and_this_one_does_not_is_kept_for_it() {
        let text = r#"{"targets":{"mining":{"pool":{"joined":1,"made_up":5}}},"own":{},"daemon":{}}"#;
        let carried: Carried = serde_json::from_str(text).expect("it is one");
        assert_eq!(carried.totals("mining", "pool"), Some(Totals { joined: 1, ..Totals::default() }));
        assert_eq!(serde_json::to_string(&carried).expect("JSON"), text);
    }
}
