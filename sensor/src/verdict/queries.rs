//! Queries that left this host and were not answered yet. Only their answers teach: an answer that
//! nobody asked for is a forgery, or another host's.

use std::hash::BuildHasher as _;

use foldhash::fast::RandomState;
use sensor_ebpf::abi::FlowKey;

use super::bounded::Bounded;

/// An answer that comes later is none.
const ANSWERED_WITHIN_NS: u64 = 10 * 1_000_000_000;
/// Queries that wait; of more, the oldest go.
const QUERIES_MAX: usize = 8192;

pub(super) struct Queries {
    /// When each was asked.
    waiting: Bounded<Query, u64>,
    names: RandomState,
    /// Queries that had to go while their answers could still come.
    pub(super) forgotten: u64,
}

/// Addresses and ports, transaction number, and the name's hash.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Query {
    key: FlowKey,
    id: u16,
    name: u64,
}

impl Default for Queries {
    fn default() -> Self {
        Self { waiting: Bounded::new(QUERIES_MAX), names: RandomState::default(), forgotten: 0 }
    }
}

impl Queries {
    pub(super) fn ask(&mut self, key: FlowKey, id: u16, name: &str, at_ns: u64) {
        self.waiting.forget_while(|asked_ns| !is_in_time(*asked_ns, at_ns));
        let query = self.query(key, id, name);
        self.forgotten += u64::from(self.waiting.insert(query, at_ns).is_some());
    }

    /// Was this asked, and not answered before?
    pub(super) fn answer(&mut self, key: FlowKey, id: u16, name: &str, at_ns: u64) -> bool {
        let asked_ns = self.waiting.remove(&self.query(key, id, name));
        asked_ns.is_some_and(|asked_ns| is_in_time(asked_ns, at_ns))
    }

    #[cfg(test)]
    pub(super) fn remembered(&self) -> [(usize, usize); 2] {
        self.waiting.remembered()
    }

    fn query(&self, key: FlowKey, id: u16, name: &str) -> Query {
        Query { key, id, name: self.names.hash_one(name) }
    }
}

fn is_in_time(asked_ns: u64, at_ns: u64) -> bool {
    at_ns.saturating_sub(asked_ns) <= ANSWERED_WITHIN_NS
}
