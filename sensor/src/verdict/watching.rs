//! What verdicts need of the watchlists: names, exceptions, and how targets of several lists go
//! together.

use std::collections::hash_map::DefaultHasher;
use std::collections::{HashMap, HashSet};
use std::hash::{Hash as _, Hasher as _};
use std::net::{IpAddr, SocketAddr};

use sensor_ebpf::abi::TargetSet;
use sensor_ebpf::ranges::Found;

use crate::config::Config;
use crate::watchlists::{Allow, Category, CompileError, Domains, UNLISTED, Watchlists};

/// A view of the watchlists; made anew with each reload.
#[derive(Debug, Default)]
pub struct Watching {
    pub domains: Domains,
    allow: Allow,
    /// By slot, as sets name it.
    lists: HashMap<u32, List>,
    /// The slot that counts mining which no list names.
    unlisted: Option<u32>,
    /// Hashes of the domains of each slot, and of those that are allowed.
    names: HashMap<u32, HashSet<u64>>,
    allowed_names: HashSet<u64>,
}

#[derive(Clone, Copy, Debug)]
struct List {
    /// Index of the watchlist.
    index: usize,
    is_mining: bool,
}

impl Watching {
    /// `slot_of`: the slot of a watchlist's target, as sets are to name it.
    ///
    /// # Errors
    /// As [`Domains::of`], at the config's line.
    pub fn of_config(
        config: &Config,
        watchlists: &Watchlists,
        slot_of: impl Fn(&str, &str) -> Option<u32>,
    ) -> anyhow::Result<Self> {
        Self::of(watchlists, slot_of).map_err(|error| config.document.error_at_key(error.key(), error))
    }

    /// Likewise.
    ///
    /// # Errors
    /// As [`Domains::of`].
    pub fn of(
        watchlists: &Watchlists,
        slot_of: impl Fn(&str, &str) -> Option<u32>,
    ) -> Result<Self, CompileError> {
        let mut lists = HashMap::new();
        let mut unlisted = None;
        let mut names = HashMap::new();
        for (index, list) in watchlists.lists.iter().enumerate() {
            for target in &list.targets {
                let Some(slot) = slot_of(&list.name, &target.name) else { continue };
                let is_mining = list.category == Category::Mining;
                lists.insert(slot, List { index, is_mining });
                names.insert(slot, target.domains.iter().map(|entry| hash(&entry.indicator)).collect());
                if is_mining && target.name == UNLISTED {
                    unlisted = Some(slot);
                }
            }
        }
        let domains = Domains::of(watchlists, slot_of)?;
        let allow = watchlists.allow.clone();
        let allowed_names = allow.domains.iter().map(|entry| hash(&entry.indicator)).collect();
        Ok(Self { domains, allow, lists, unlisted, names, allowed_names })
    }

    /// Must nothing match that has this other end?
    pub fn allows(&self, remote: IpAddr, port: u16) -> bool {
        let remote = remote.to_canonical();
        self.allow.address(remote).is_some() || self.allow.endpoint(SocketAddr::new(remote, port)).is_some()
    }

    /// May something have been learned of this slot's names that is not to be learned any more? Since it
    /// is not remembered which name taught what, all of them are meant.
    pub fn has_lost_names(&self, before: &Self, slot: u32) -> bool {
        if before.lists.is_empty() {
            // Nothing was watched before: this is the start.
            return false;
        }
        let is_fewer = |before: &HashSet<u64>| self.names.get(&slot).is_none_or(|now| !before.is_subset(now));
        !self.allowed_names.is_subset(&before.allowed_names) || before.names.get(&slot).is_some_and(is_fewer)
    }

    /// Those that are on a list now.
    pub fn still_watched(&self, targets: TargetSet) -> TargetSet {
        Self::those(targets, |slot| self.lists.contains_key(&slot))
    }

    /// `first`, and those of `second` whose watchlists it does not name.
    pub fn joined(&self, first: TargetSet, second: TargetSet) -> TargetSet {
        let list = |slot: u32| self.lists.get(&slot).map(|list| list.index);
        let others = second.slots().filter(|slot| first.slots().all(|own| list(own) != list(*slot)));
        // A packet concerns at most four: of more, the first stand.
        let mut all = first;
        for slot in others {
            all = TargetSet::of(all.slots().chain([slot])).unwrap_or(all);
        }
        all
    }

    /// Those of `targets` of which that is so.
    pub fn those(targets: TargetSet, is: impl Fn(u32) -> bool) -> TargetSet {
        TargetSet::of(targets.slots().filter(|slot| is(*slot))).unwrap_or(TargetSet::EMPTY)
    }

    /// Those of `targets` that are not on the lists themselves.
    pub fn without(targets: TargetSet, listed: TargetSet) -> TargetSet {
        Self::those(targets, |slot| !listed.contains(slot))
    }

    /// What an address stands for of which `own` was learned and `listed` is on the lists: within a
    /// watchlist an endpoint beats what was learned, and that a prefix. Mining that no list names is
    /// nothing any more where one does.
    pub fn composed(&self, own: TargetSet, listed: Found) -> TargetSet {
        let own = if self.has_pool(listed.targets) { Self::without(own, self.unlisted()) } else { own };
        if listed.is_endpoint { self.joined(listed.targets, own) } else { self.joined(own, listed.targets) }
    }

    fn has_pool(&self, targets: TargetSet) -> bool {
        targets.slots().any(|slot| self.lists.get(&slot).is_some_and(|list| list.is_mining))
    }

    fn unlisted(&self) -> TargetSet {
        TargetSet::of(self.unlisted).unwrap_or(TargetSet::EMPTY)
    }

    /// These, and where no list of pools is among them, the target of mining that is on none.
    pub fn with_mining(&self, targets: TargetSet) -> TargetSet {
        if self.has_pool(targets) { targets } else { self.joined(self.unlisted(), targets) }
    }
}

/// Of a domain, as lists have it.
fn hash(domain: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    domain.hash(&mut hasher);
    hasher.finish()
}
