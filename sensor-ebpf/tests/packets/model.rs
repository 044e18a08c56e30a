//! Tables and a ledger in memory, simple enough to be right by reading, for tests to hold the
//! real ones against.

use std::cell::{Cell, RefCell, RefMut};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;

use sensor_ebpf::abi::{
    Address, Claim, Direction, EndpointKey, Flow, FlowKey, Own, TargetSet, Totals, Transport, Version,
};
use sensor_ebpf::classify::{Observation, Tables};
use sensor_ebpf::count::{Inserted, Ledger, observe};
use sensor_ebpf::flow::begin;
use sensor_ebpf::packet::Captured;
use sensor_ebpf::ranges::Found;

use super::build::Frame;
use super::{Case, Step, indicators};

/// What is watched: the compiled indicators, with their sets of slots.
#[derive(Clone, Debug, Default)]
pub struct Indicators {
    /// Network, length in bits, targets.
    pub prefixes: Vec<(IpAddr, u8, TargetSet)>,
    pub endpoints: Vec<(IpAddr, u16, TargetSet)>,
    /// Port 0: every port.
    pub learned: Vec<(IpAddr, u16, TargetSet)>,
    /// Remote end and local port, all from [`super::HOST`] and over UDP.
    pub judged: Vec<(IpAddr, u16, u16, TargetSet)>,
}

impl Tables for Indicators {
    fn covers(&self, _: Version, _: &Address) -> bool {
        true
    }

    fn listed(&self, version: Version, remote: &Address, port: Option<u16>) -> Found {
        let remote = remote.to_ip(version);
        let endpoint = port.and_then(|port| find(&self.endpoints, &endpoint_key(remote, port)));
        let targets = endpoint.or_else(|| self.longest_prefix(remote)).unwrap_or(TargetSet::EMPTY);
        Found { targets, is_endpoint: endpoint.is_some() }
    }

    fn may_know(&self, _: &Address) -> bool {
        true
    }

    fn learned(&self, key: &EndpointKey) -> Option<TargetSet> {
        find(&self.learned, key)
    }

    fn judged(&self, key: &FlowKey) -> Option<TargetSet> {
        let is = |(ip, port, local_port, _): &&(IpAddr, u16, u16, TargetSet)| {
            udp_flow_key(*ip, *port, *local_port) == *key
        };
        self.judged.iter().find(is).map(|(.., targets)| *targets)
    }
}

/// A UDP flow of [`super::HOST`].
pub fn udp_flow_key(ip: IpAddr, remote_port: u16, local_port: u16) -> FlowKey {
    let (remote, version) = Address::from_ip(ip);
    let (local, _) = Address::from_ip(super::HOST.parse().expect("an address"));
    let (transport, version) = (Transport::Udp as u8, version as u8);
    FlowKey { remote, local, remote_port, local_port, transport, version, reserved: 0 }
}

impl Indicators {
    fn longest_prefix(&self, remote: IpAddr) -> Option<TargetSet> {
        self.prefixes
            .iter()
            .filter(|(network, len_bits, _)| holds(*network, *len_bits, remote))
            .max_by_key(|(_, len_bits, _)| *len_bits)
            .map(|(_, _, targets)| *targets)
    }
}

fn find(entries: &[(IpAddr, u16, TargetSet)], key: &EndpointKey) -> Option<TargetSet> {
    entries.iter().find(|(ip, port, _)| endpoint_key(*ip, *port) == *key).map(|(_, _, targets)| *targets)
}

pub fn endpoint_key(ip: IpAddr, port: u16) -> EndpointKey {
    let (address, version) = Address::from_ip(ip);
    EndpointKey { address, port, version: version as u8, reserved: 0 }
}

fn holds(network: IpAddr, len_bits: u8, ip: IpAddr) -> bool {
    let bits = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => u128::from(ip.to_bits()) << 96,
        IpAddr::V6(ip) => ip.to_bits(),
    };
    let mask = u128::MAX.checked_shl(128 - u32::from(len_bits)).unwrap_or(0);
    network.is_ipv4() == ip.is_ipv4() && bits(network) & mask == bits(ip) & mask
}

/// Counts kept in memory.
#[derive(Default)]
pub struct Memory {
    pub now_ns: Cell<u64>,
    pub flows: RefCell<HashMap<FlowKey, Flow>>,
    pub claims: RefCell<HashSet<Claim>>,
    pub totals: RefCell<BTreeMap<u32, Totals>>,
    pub own: RefCell<Own>,
    /// Entries that FLOWS may hold, where that matters.
    pub flows_max: Option<usize>,
    /// First slot that TOTALS does not have, where that matters.
    pub slots_end: Option<u32>,
}

impl Memory {
    /// After all of a case's packets, a nanosecond apart, and its silences.
    pub fn of(case: &Case) -> Self {
        const SECOND: u64 = 1_000_000_000;
        let (memory, indicators) = (Self::default(), indicators());
        memory.now_ns.set(1000 * SECOND);
        for step in &case.steps {
            let passed_ns = match step {
                Step::Packet(direction, frame) => {
                    memory.observe(frame, *direction, &indicators);
                    1
                }
                Step::Wait(seconds) => seconds * SECOND,
            };
            memory.now_ns.set(memory.now_ns.get() + passed_ns);
        }
        memory
    }

    pub fn observe(&self, frame: &Frame, direction: Direction, tables: &impl Tables) {
        let bytes = frame.bytes();
        let packet = Captured { aggregate: frame.aggregate, ..Captured::from(&bytes[..]) };
        // What it says besides counting is not asked here.
        let _ = observe(&packet, frame.link(), direction, tables, self);
    }
}

impl Ledger for Memory {
    type Flow<'a> = RefMut<'a, Flow>;
    type Totals<'a> = RefMut<'a, Totals>;
    type Own<'a> = RefMut<'a, Own>;

    fn now_ns(&self) -> u64 {
        self.now_ns.get()
    }

    fn interface(&self) -> u32 {
        0
    }

    fn flow(&self, key: &FlowKey) -> Option<RefMut<'_, Flow>> {
        RefMut::filter_map(self.flows.borrow_mut(), |flows| flows.get_mut(key)).ok()
    }

    fn insert_flow(&self, key: &FlowKey, seen: &Observation, now_ns: u64) -> Inserted {
        let mut flows = self.flows.borrow_mut();
        if flows.contains_key(key) {
            return Inserted::Exists;
        }
        if self.flows_max.is_some_and(|max| flows.len() >= max) {
            return Inserted::Full;
        }
        begin(flows.entry(*key).or_default(), seen, now_ns, 0);
        Inserted::New
    }

    fn claim(&self, key: &FlowKey, opened_ns: u64, milestone: u64) -> Inserted {
        let new = self.claims.borrow_mut().insert(Claim { key: *key, opened_ns, milestone });
        if new { Inserted::New } else { Inserted::Exists }
    }

    fn totals(&self, slot: u32) -> Option<RefMut<'_, Totals>> {
        if self.slots_end.is_some_and(|end| slot >= end) {
            return None;
        }
        Some(RefMut::map(self.totals.borrow_mut(), |totals| totals.entry(slot).or_default()))
    }

    fn own(&self) -> Option<RefMut<'_, Own>> {
        Some(self.own.borrow_mut())
    }
}
