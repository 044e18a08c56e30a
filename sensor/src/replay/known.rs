//! What a capture has taught so far: addresses by DNS answers and mining sessions, connections by their
//! own payload. It lies over the compiled tables, as LEARNED and JUDGED do in the kernel, behind the
//! same filter; what has expired is known no more. Time is the capture's.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use sensor_ebpf::abi::{Address, EndpointKey, FlowKey, Judged, Learned, Side, TargetSet, Version, filter};
use sensor_ebpf::classify::{Observation, Tables};
use sensor_ebpf::flow::initiator;
use sensor_ebpf::ranges::Found;

use super::connections::Connections;
use crate::verdict::World;

/// Addresses that are known at a time.
pub const LEARNED_MAX: usize = 1 << 20;

pub struct Known {
    pub now_ns: u64,
    learned: HashMap<EndpointKey, Learned, RandomState>,
    judged: HashMap<FlowKey, Judged, RandomState>,
    /// Bits of addresses that may be in one of them.
    filter: Vec<u64>,
    /// Addresses that found no place.
    pub refused: u64,
}

impl Default for Known {
    fn default() -> Self {
        Self {
            now_ns: 0,
            learned: HashMap::default(),
            judged: HashMap::default(),
            filter: vec![0; filter::LEARNED_WORDS as usize],
            refused: 0,
        }
    }
}

impl Known {
    /// What was said of a connection is not said of the next between the same ends. `false`: nothing was.
    pub fn forget(&mut self, key: &FlowKey) -> bool {
        self.judged.remove(key).is_some()
    }

    fn may_hold(&self, address: &Address) -> bool {
        let (word, bit) = place(address);
        self.filter[word] >> bit & 1 != 0
    }

    fn note(&mut self, address: &Address) {
        let (word, bit) = place(address);
        self.filter[word] |= 1 << bit;
    }

    fn learned(&self, key: &EndpointKey) -> Option<TargetSet> {
        let learned = self.learned.get(key).filter(|learned| self.now_ns < learned.expires_ns);
        learned.map(|learned| learned.targets)
    }

    fn learn(&mut self, key: EndpointKey, learned: Learned) {
        if self.learned.len() >= LEARNED_MAX && !self.learned.contains_key(&key) {
            let now_ns = self.now_ns;
            self.learned.retain(|_, learned| now_ns < learned.expires_ns);
            if self.learned.len() >= LEARNED_MAX {
                self.refused += 1;
                return;
            }
        }
        self.note(&key.address);
        self.learned.insert(key, learned);
    }
}

fn place(address: &Address) -> (usize, u32) {
    let (word, bit) = filter::learned_bit(address);
    ((word - filter::LISTED_WORDS) as usize, bit)
}

/// Compiled tables, and over them what is known.
pub struct Overlaid<'a, T> {
    pub tables: &'a T,
    pub known: &'a Known,
}

impl<T: Tables> Overlaid<'_, T> {
    /// Which of the targets that were found for a packet are learned and not listed.
    pub fn only_learned(&self, seen: &Observation) -> TargetSet {
        let Some(flow) = seen.flow else { return TargetSet::EMPTY };
        let version = Version::of(flow.version);
        let listed = self.tables.listed(version, &flow.remote, Some(flow.remote_port)).targets;
        let learned = [flow.remote_port, 0].map(|port| {
            let key = EndpointKey { address: flow.remote, port, version: flow.version, reserved: 0 };
            self.known.learned(&key).unwrap_or(TargetSet::EMPTY)
        });
        let is_learned =
            |slot: &u32| learned.iter().any(|set| set.contains(*slot)) && !listed.contains(*slot);
        TargetSet::of(seen.targets.slots().filter(is_learned)).unwrap_or(TargetSet::EMPTY)
    }
}

impl<T: Tables> Tables for Overlaid<'_, T> {
    fn covers(&self, version: Version, remote: &Address) -> bool {
        self.tables.covers(version, remote) || self.known.may_hold(remote)
    }

    fn listed(&self, version: Version, remote: &Address, port: Option<u16>) -> Found {
        self.tables.listed(version, remote, port)
    }

    fn may_know(&self, remote: &Address) -> bool {
        self.known.may_hold(remote)
    }

    fn learned(&self, key: &EndpointKey) -> Option<TargetSet> {
        self.known.learned(key)
    }

    fn judged(&self, key: &FlowKey) -> Option<TargetSet> {
        self.known.judged.get(key).map(|judged| judged.targets)
    }
}

/// The same, as verdicts ask it and change it.
pub struct Learning<'a, T> {
    pub tables: &'a T,
    pub known: &'a mut Known,
    pub connections: &'a Connections,
}

impl<T> Learning<'_, T> {
    fn overlaid(&self) -> Overlaid<'_, T> {
        Overlaid { tables: self.tables, known: self.known }
    }
}

impl<T: Tables> Tables for Learning<'_, T> {
    fn covers(&self, version: Version, remote: &Address) -> bool {
        self.overlaid().covers(version, remote)
    }

    fn listed(&self, version: Version, remote: &Address, port: Option<u16>) -> Found {
        self.overlaid().listed(version, remote, port)
    }

    fn may_know(&self, remote: &Address) -> bool {
        self.overlaid().may_know(remote)
    }

    fn learned(&self, key: &EndpointKey) -> Option<TargetSet> {
        self.overlaid().learned(key)
    }

    fn judged(&self, key: &FlowKey) -> Option<TargetSet> {
        self.overlaid().judged(key)
    }
}

impl<T: Tables> World for Learning<'_, T> {
    fn learn(&mut self, key: EndpointKey, learned: Learned) {
        self.known.learn(key, learned);
    }

    fn judge(&mut self, key: FlowKey, judged: Judged) {
        self.known.note(&key.remote);
        self.known.judged.insert(key, judged);
    }

    fn judgement(&self, key: &FlowKey) -> Option<Judged> {
        self.known.judged.get(key).copied()
    }

    fn opened(&self, key: &FlowKey) -> Option<(u64, Option<Side>)> {
        let connection = self.connections.find(key)?;
        Some((connection.flow.opened_ns, initiator(&connection.flow)))
    }
}
