//! Watchlists as the packet path looks them up: one lookup answers for all watchlists, since
//! each entry inherits what covers it in the others.
//!
//! Within a watchlist an endpoint beats the longest prefix, and ties go to the order of the
//! config. What is allowed is cut out: it has no entry, or an empty one where something
//! watched covers it. An entry that would say what the next shorter one says is left out.
//! Domains are in a table of their own, [`Domains`]: no packet carries one where the kernel looks.

mod coverage;
mod domains;
mod fine;
mod flat;
mod inherit;
mod lines;

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use sensor_ebpf::abi::{Address, EndpointKey, FlowKey, TARGETS_PER_PACKET, TargetSet, Version};
use sensor_ebpf::classify::Tables;
use sensor_ebpf::ranges::{self, Found, Line};

use self::coverage::Coverage;
pub use self::domains::{DomainMatch, Domains, Matches};
use self::flat::Ranges;
use self::inherit::{Listed, inherit};
use super::{Target, Watchlists};
use crate::config::{Config, Limits};

/// The tables of one generation.
#[derive(Clone, Debug, Default)]
pub struct Compiled {
    /// As [`sensor_ebpf::ranges`] lays them out.
    pub lines: Vec<Line>,
    /// The bits of [`sensor_ebpf::abi::filter`] that lists set; none: whoever has this does without.
    pub filter: Vec<u64>,
    pub sizes: Sizes,
}

/// How much is in the tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    pub prefixes_v4: usize,
    pub prefixes_v6: usize,
    /// Allowed ones too: nothing learned of their addresses matches them.
    pub endpoints: usize,
}

impl Sizes {
    pub const fn prefixes(&self) -> usize {
        self.prefixes_v4 + self.prefixes_v6
    }
}

/// What is to be looked up: of prefixes the longest, and an endpoint before any prefix.
#[derive(Clone, Debug, Default)]
pub struct Entries {
    /// In their order, each once, as the other two.
    pub v4: Vec<(Ipv4Net, TargetSet)>,
    pub v6: Vec<(Ipv6Net, TargetSet)>,
    pub endpoints: Vec<(SocketAddr, TargetSet)>,
}

/// Why lists that are sound one by one cannot be watched together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CompileError {
    /// A limit of the config, by its key, is below what the lists need.
    Limit { key: &'static str, limit: u32, need: usize },
    /// One packet concerns at most [`TARGETS_PER_PACKET`] targets, one a watchlist.
    Watchlists { indicator: String, watchlists: Vec<String> },
    /// No slot was to be had, or one that no set can name.
    Slot { watchlist: String, target: String },
}

impl CompileError {
    /// The key of the config to look at.
    pub const fn key(&self) -> &'static str {
        match self {
            Self::Limit { key, .. } => key,
            Self::Watchlists { .. } => "watchlist",
            Self::Slot { .. } => "limits.targets",
        }
    }
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limit { limit, need, .. } => {
                write!(f, "{limit} are too few: the lists need {need}")
            }
            Self::Watchlists { indicator, watchlists } => write!(
                f,
                "{indicator} concerns {} watchlists ({}), and a packet counts for at most {TARGETS_PER_PACKET}",
                watchlists.len(),
                watchlists.join(", ")
            ),
            Self::Slot { watchlist, target } => {
                write!(
                    f,
                    "no slot is free for {watchlist}/{target}: targets that left the config keep theirs \
                     until the daemon starts again"
                )
            }
        }
    }
}

impl Error for CompileError {}

/// A target as the tables know it. They refer to it by its place in the order of the config.
struct Owner<'a> {
    /// Of its watchlist among them all, and its own in there.
    place: (usize, usize),
    watchlist: &'a str,
    target: &'a Target,
    slot: u32,
}

impl Compiled {
    /// `slot_of` gives the slot of TOTALS of a watchlist's target, `None` when there is no
    /// more; it is asked once a target, in the order of the config.
    pub fn new(
        watchlists: &Watchlists,
        limits: &Limits,
        slot_of: impl FnMut(&str, &str) -> Option<u32>,
    ) -> Result<Self, CompileError> {
        let need = watchlists.lists.iter().map(|list| list.targets.len()).sum();
        within("limits.targets", limits.targets, need)?;
        let owners = owners(watchlists, slot_of)?;
        let (v4, v6) = listed_prefixes(watchlists, &owners);
        let (v4, v6) = (inherit(v4, &owners)?, inherit(v6, &owners)?);
        within("limits.prefixes", limits.prefixes, v4.len() + v6.len())?;
        let ranges = (Ranges::flatten(&v4), Ranges::flatten(&v6));
        let endpoints = listed_endpoints(watchlists, &owners, &ranges)?;
        within("limits.endpoints", limits.endpoints, endpoints.len())?;
        Ok(Self::of_ranges(&ranges, &Entries { v4, v6, endpoints }))
    }

    /// Tables of these entries, whatever the limits.
    pub fn of(entries: &Entries) -> Self {
        let ranges = (Ranges::flatten(&entries.v4), Ranges::flatten(&entries.v6));
        Self::of_ranges(&ranges, entries)
    }

    fn of_ranges((v4, v6): &(Ranges<u32>, Ranges<u128>), entries: &Entries) -> Self {
        Self {
            lines: lines::lines(v4, v6, entries),
            filter: Coverage::of(entries).words,
            sizes: Sizes {
                prefixes_v4: entries.v4.len(),
                prefixes_v6: entries.v6.len(),
                endpoints: entries.endpoints.len(),
            },
        }
    }

    /// [`Compiled::new`] under the config's own limits.
    ///
    /// # Errors
    /// As [`Compiled::new`], naming the config's file and, where it is written, line.
    pub fn of_config(
        config: &Config,
        watchlists: &Watchlists,
        slot_of: impl FnMut(&str, &str) -> Option<u32>,
    ) -> anyhow::Result<Self> {
        Self::new(watchlists, &config.limits, slot_of)
            .map_err(|error| config.document.error_at_key(error.key(), error))
    }
}

fn owners(
    watchlists: &Watchlists,
    mut slot_of: impl FnMut(&str, &str) -> Option<u32>,
) -> Result<Vec<Owner<'_>>, CompileError> {
    let mut owners = Vec::new();
    for (list_index, list) in watchlists.lists.iter().enumerate() {
        for (index, target) in list.targets.iter().enumerate() {
            let slot = slot_of(&list.name, &target.name)
                .filter(|&slot| TargetSet::of([slot]).is_some())
                .ok_or_else(|| CompileError::Slot {
                    watchlist: list.name.clone(),
                    target: target.name.clone(),
                })?;
            owners.push(Owner { place: (list_index, index), watchlist: &list.name, target, slot });
        }
    }
    Ok(owners)
}

fn within(key: &'static str, limit: u32, need: usize) -> Result<(), CompileError> {
    if need > limit as usize {
        return Err(CompileError::Limit { key, limit, need });
    }
    Ok(())
}

/// Every prefix of every target, and the allowed ones.
fn listed_prefixes(
    watchlists: &Watchlists,
    owners: &[Owner<'_>],
) -> (Vec<Listed<Ipv4Net>>, Vec<Listed<Ipv6Net>>) {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    let mut push = |prefix, owner| match prefix {
        IpNet::V4(prefix) => v4.push(Listed { prefix, owner }),
        IpNet::V6(prefix) => v6.push(Listed { prefix, owner }),
    };
    for entry in &watchlists.allow.prefixes {
        push(entry.indicator, None);
    }
    for (index, owner) in owners.iter().enumerate() {
        for entry in &owner.target.prefixes {
            push(entry.indicator, Some(index));
        }
    }
    (v4, v6)
}

/// Every endpoint of every target, with what it takes over from the prefixes that cover it, and
/// the allowed ones, which stand for nothing.
fn listed_endpoints(
    watchlists: &Watchlists,
    owners: &[Owner<'_>],
    ranges: &(Ranges<u32>, Ranges<u128>),
) -> Result<Vec<(SocketAddr, TargetSet)>, CompileError> {
    let by_slot: HashMap<u32, usize> =
        owners.iter().enumerate().map(|(index, owner)| (owner.slot, index)).collect();
    let mut listed: Vec<(SocketAddr, usize)> = Vec::new();
    for (index, owner) in owners.iter().enumerate() {
        listed.extend(owner.target.endpoints.iter().map(|entry| (entry.indicator, index)));
    }
    listed.sort_unstable();
    let mut entries: BTreeMap<SocketAddr, TargetSet> = BTreeMap::new();
    for same in listed.chunk_by(|(a, _), (b, _)| a == b) {
        let endpoint = same[0].0;
        // Nothing else covers an allowed address, and no entry is needed to say so.
        if watchlists.allow.address(endpoint.ip()).is_some() {
            continue;
        }
        let covering = match endpoint.ip() {
            IpAddr::V4(address) => ranges.0.at(address.to_bits()),
            IpAddr::V6(address) => ranges.1.at(address.to_bits()),
        };
        let inherited: Vec<usize> = covering.slots().map(|slot| by_slot[&slot]).collect();
        let own = same.iter().map(|&(_, index)| index);
        entries.insert(endpoint, target_set(&succeed(&inherited, own, owners), owners, &endpoint)?);
    }
    entries.extend(watchlists.allow.endpoints.iter().map(|entry| (entry.indicator, TargetSet::EMPTY)));
    Ok(entries.into_iter().collect())
}

/// Who owns an indicator: for each watchlist the first of its `own` owners, and else the one
/// that it had in what covers this.
fn succeed(inherited: &[usize], own: impl Iterator<Item = usize>, owners: &[Owner<'_>]) -> Vec<usize> {
    let mut successors: Vec<usize> = Vec::with_capacity(TARGETS_PER_PACKET);
    for index in own.chain(inherited.iter().copied()) {
        let watchlist = owners[index].watchlist;
        if successors.iter().all(|&other| owners[other].watchlist != watchlist) {
            successors.push(index);
        }
    }
    successors
}

fn target_set(
    indices: &[usize],
    owners: &[Owner<'_>],
    indicator: &impl fmt::Display,
) -> Result<TargetSet, CompileError> {
    TargetSet::of(indices.iter().map(|&index| owners[index].slot)).ok_or_else(|| {
        let mut indices = indices.to_vec();
        indices.sort_unstable();
        let names = indices.iter().map(|&index| owners[index].watchlist.to_owned());
        CompileError::Watchlists { indicator: indicator.to_string(), watchlists: names.collect() }
    })
}

impl Tables for Compiled {
    fn covers(&self, version: Version, remote: &Address) -> bool {
        self.filter.is_empty() || coverage::is_set(&self.filter, version, remote)
    }

    fn listed(&self, version: Version, remote: &Address, port: Option<u16>) -> Found {
        ranges::find(&self.lines[..], version, remote, port)
    }

    fn may_know(&self, _: &Address) -> bool {
        false
    }

    /// Lists teach nothing; what the daemon learns is kept beside them.
    fn learned(&self, _: &EndpointKey) -> Option<TargetSet> {
        None
    }

    fn judged(&self, _: &FlowKey) -> Option<TargetSet> {
        None
    }
}

#[cfg(test)]
mod tests;
