//! LEARNED and JUDGED as they are in memory: the daemon's copy of what it wrote, and all that replay
//! has of them.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use sensor_ebpf::abi::{Address, EndpointKey, FlowKey, Judged, Learned, TargetSet, Version};
use sensor_ebpf::classify::Tables;
use sensor_ebpf::ranges::Found;

#[derive(Clone, Debug, Default)]
pub struct Known {
    pub learned: HashMap<EndpointKey, Learned, RandomState>,
    pub judged: HashMap<FlowKey, Judged, RandomState>,
}

impl Known {
    pub fn is_empty(&self) -> bool {
        self.learned.is_empty() && self.judged.is_empty()
    }
}

/// Compiled tables, and over them what is known besides.
pub struct Overlaid<'a, T> {
    pub tables: &'a T,
    pub known: &'a Known,
}

impl<T: Tables> Tables for Overlaid<'_, T> {
    fn covers(&self, version: Version, remote: &Address) -> bool {
        !self.known.is_empty() || self.tables.covers(version, remote)
    }

    fn listed(&self, version: Version, remote: &Address, port: Option<u16>) -> Found {
        self.tables.listed(version, remote, port)
    }

    fn may_know(&self, _: &Address) -> bool {
        !self.known.is_empty()
    }

    fn learned(&self, key: &EndpointKey) -> Option<TargetSet> {
        self.known.learned.get(key).map(|learned| learned.targets)
    }

    fn judged(&self, key: &FlowKey) -> Option<TargetSet> {
        self.known.judged.get(key).map(|judged| judged.targets)
    }
}
