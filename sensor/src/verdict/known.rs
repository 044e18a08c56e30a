//! What was learned of addresses and said of connections, as LEARNED and JUDGED hold it in the kernel: the
//! daemon's copy of what it wrote there, and all that replay has of them.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use sensor_ebpf::abi::{Address, EndpointKey, FlowKey, Judged, Learned, TargetSet, Version, filter};
use sensor_ebpf::classify::Tables;
use sensor_ebpf::ranges::Found;

/// Bounded: what does not fit is refused and counted.
#[derive(Clone, Debug)]
pub struct Known {
    /// What had expired by then is known no more. 0 where who has this removes it himself.
    pub now_ns: u64,
    learned: HashMap<EndpointKey, Learned, RandomState>,
    judged: HashMap<FlowKey, Judged, RandomState>,
    learned_max: usize,
    judged_max: usize,
    /// Bits of addresses that may be in one of them, as the kernel has them in FILTER.
    filter: Vec<u64>,
    pub refused: Refusals,
}

/// What found no place, in LEARNED and in JUDGED.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refusals {
    pub learned: u64,
    pub judged: u64,
}

impl Known {
    /// Nothing yet, and at most this many addresses and connections.
    pub fn new(learned_max: usize, judged_max: usize) -> Self {
        Self {
            now_ns: 0,
            learned: HashMap::default(),
            judged: HashMap::default(),
            learned_max,
            judged_max,
            filter: vec![0; filter::LEARNED_WORDS as usize],
            refused: Refusals::default(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.learned.is_empty() && self.judged.is_empty()
    }

    /// Entries of LEARNED.
    pub const fn learned(&self) -> &HashMap<EndpointKey, Learned, RandomState> {
        &self.learned
    }

    /// Entries of JUDGED.
    pub const fn judged(&self) -> &HashMap<FlowKey, Judged, RandomState> {
        &self.judged
    }

    /// What is known then; `None`: there is no room. An answer with a short life does not shorten what
    /// another one said.
    pub fn learn(&mut self, key: EndpointKey, learned: Learned) -> Option<Learned> {
        let before = self.learned.get(&key);
        if before.is_none() && self.learned.len() >= self.learned_max {
            let now_ns = self.now_ns;
            self.learned.retain(|_, learned| now_ns < learned.expires_ns);
            if self.learned.len() >= self.learned_max {
                self.refused.learned += 1;
                return None;
            }
        }
        let before = self.learned.get(&key).filter(|before| before.own == learned.own);
        let expires_ns = before.map_or(0, |before| before.expires_ns).max(learned.expires_ns);
        let learned = Learned { expires_ns, ..learned };
        self.note(&key.address);
        self.learned.insert(key, learned);
        Some(learned)
    }

    /// `false`: there is no room.
    pub fn judge(&mut self, key: FlowKey, judged: Judged) -> bool {
        if self.judged.len() >= self.judged_max && !self.judged.contains_key(&key) {
            self.refused.judged += 1;
            return false;
        }
        self.note(&key.remote);
        self.judged.insert(key, judged);
        true
    }

    pub fn unlearn(&mut self, key: &EndpointKey) {
        self.learned.remove(key);
    }

    /// What was said of a connection is not said of the next between the same ends. `false`: nothing was.
    pub fn unjudge(&mut self, key: &FlowKey) -> bool {
        self.judged.remove(key).is_some()
    }

    fn find(&self, key: &EndpointKey) -> Option<TargetSet> {
        let learned = self.learned.get(key).filter(|learned| self.now_ns < learned.expires_ns);
        learned.map(|learned| learned.targets)
    }

    fn may_hold(&self, address: &Address) -> bool {
        let (word, bit) = place(address);
        self.filter[word] >> bit & 1 != 0
    }

    fn note(&mut self, address: &Address) {
        let (word, bit) = place(address);
        self.filter[word] |= 1 << bit;
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

impl<T: Tables> Tables for Overlaid<'_, T> {
    fn covers(&self, version: Version, remote: &Address) -> bool {
        self.tables.covers(version, remote) || self.may_know(remote)
    }

    fn listed(&self, version: Version, remote: &Address, port: Option<u16>) -> Found {
        self.tables.listed(version, remote, port)
    }

    fn may_know(&self, remote: &Address) -> bool {
        // Most captures teach nothing: that spares each of their packets a look into the filter.
        !self.known.is_empty() && self.known.may_hold(remote)
    }

    fn learned(&self, key: &EndpointKey) -> Option<TargetSet> {
        self.known.find(key)
    }

    fn judged(&self, key: &FlowKey) -> Option<TargetSet> {
        self.known.judged.get(key).map(|judged| judged.targets)
    }
}
