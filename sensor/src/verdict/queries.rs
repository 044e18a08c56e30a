//! Queries that left this host and were not answered yet. Only their answers teach: an answer that
//! nobody asked for is a forgery, or another host's.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher as _;

use foldhash::fast::RandomState;
use sensor_ebpf::abi::FlowKey;

/// An answer that comes later is none.
const ANSWERED_WITHIN_NS: u64 = 10 * 1_000_000_000;
/// Queries that wait; of more, the oldest go.
const QUERIES_MAX: usize = 8192;

#[derive(Default)]
pub(super) struct Queries {
    /// When each was asked.
    waiting: HashMap<Query, u64, RandomState>,
    /// In the order in which they were asked; may name such as are answered.
    order: VecDeque<(u64, Query)>,
    names: RandomState,
}

/// Addresses and ports, transaction number, and the name's hash.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Query {
    key: FlowKey,
    id: u16,
    name: u64,
}

impl Queries {
    pub(super) fn ask(&mut self, key: FlowKey, id: u16, name: &str, at_ns: u64) {
        let is_over = |asked_ns: u64| at_ns.saturating_sub(asked_ns) > ANSWERED_WITHIN_NS;
        while self.order.len() >= QUERIES_MAX || self.order.front().is_some_and(|(asked, _)| is_over(*asked))
        {
            let Some((asked_ns, query)) = self.order.pop_front() else { break };
            if self.waiting.get(&query) == Some(&asked_ns) {
                self.waiting.remove(&query);
            }
        }
        let query = self.query(key, id, name);
        self.waiting.insert(query, at_ns);
        self.order.push_back((at_ns, query));
    }

    /// Was this asked, and not answered before?
    pub(super) fn answer(&mut self, key: FlowKey, id: u16, name: &str, at_ns: u64) -> bool {
        let asked_ns = self.waiting.remove(&self.query(key, id, name));
        asked_ns.is_some_and(|asked_ns| at_ns.saturating_sub(asked_ns) <= ANSWERED_WITHIN_NS)
    }

    #[cfg(test)]
    pub(super) fn remembered(&self) -> [(usize, usize); 2] {
        [(self.waiting.len(), QUERIES_MAX), (self.order.len(), QUERIES_MAX)]
    }

    fn query(&self, key: FlowKey, id: u16, name: &str) -> Query {
        Query { key, id, name: self.names.hash_one(name) }
    }
}
