//! A [`Ledger`] in memory: what the kernel half keeps in maps, kept for one capture. Nothing
//! is evicted and nothing expires, so that every connection of a capture can be shown, also
//! one whose ports another took over.
//!
//! Deliberately without claims: with one thread nobody else can have been first.

use std::cell::{Cell, RefCell, RefMut};
use std::collections::HashMap;

use foldhash::fast::RandomState;
use sensor_ebpf::abi::{Claim, Direction, Flow, FlowKey, Own, Side, Totals};
use sensor_ebpf::classify::Observation;
use sensor_ebpf::count::{Inserted, Ledger};
use sensor_ebpf::flow::begin;

/// A connection as it ended, or as the capture ended.
#[derive(Clone, Copy, Debug)]
pub struct Connection {
    pub key: FlowKey,
    pub flow: Flow,
    /// Number of the packet that it began with, from 1.
    pub packet: u64,
    /// Who sent that packet, where no initiator is known.
    pub first_sender: Side,
}

/// What was counted in one capture.
#[derive(Debug)]
pub struct Counts {
    /// In the order in which they began.
    pub connections: Vec<Connection>,
    /// By slot.
    pub totals: Vec<Totals>,
    pub own: Own,
}

/// Where one capture is counted.
pub struct Memory {
    now_ns: Cell<u64>,
    packet: Cell<u64>,
    flows: RefCell<HashMap<FlowKey, Connection, RandomState>>,
    /// Those that others took the place of.
    succeeded: RefCell<Vec<Connection>>,
    totals: RefCell<Vec<Totals>>,
    own: RefCell<Own>,
    flows_max: usize,
}

impl Memory {
    /// For `slots` targets and at most `flows_max` connections.
    pub fn new(slots: usize, flows_max: usize) -> Self {
        Self {
            now_ns: Cell::default(),
            packet: Cell::default(),
            flows: RefCell::default(),
            succeeded: RefCell::default(),
            totals: RefCell::new(vec![Totals::default(); slots]),
            own: RefCell::default(),
            flows_max,
        }
    }

    /// The next packet, and when it was captured.
    pub fn begin_packet(&self, now_ns: u64) {
        self.now_ns.set(now_ns);
        self.packet.set(self.packet.get() + 1);
    }

    pub fn into_counts(self) -> Counts {
        let mut connections = self.succeeded.into_inner();
        connections.extend(self.flows.into_inner().into_values());
        connections.sort_unstable_by_key(|it| (it.packet, it.key.remote.0));
        Counts { connections, totals: self.totals.into_inner(), own: self.own.into_inner() }
    }

    fn is_full(&self) -> bool {
        self.flows.borrow().len() + self.succeeded.borrow().len() >= self.flows_max
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
        let connection = RefMut::filter_map(self.flows.borrow_mut(), |flows| flows.get_mut(key)).ok()?;
        Some(RefMut::map(connection, |connection| &mut connection.flow))
    }

    fn insert_flow(&self, key: &FlowKey, seen: &Observation, now_ns: u64) -> Inserted {
        if self.flows.borrow().contains_key(key) {
            return Inserted::Exists;
        }
        if self.is_full() {
            return Inserted::Full;
        }
        let mut flow = Flow::default();
        begin(&mut flow, seen, now_ns, 0);
        let went_in = flow.packets[Direction::Ingress as usize] > 0;
        let direction = if went_in { Direction::Ingress } else { Direction::Egress };
        let (packet, first_sender) = (self.packet.get(), direction.sender());
        let connection = Connection { key: *key, flow, packet, first_sender };
        self.flows.borrow_mut().insert(*key, connection);
        Inserted::New
    }

    /// Always the first. That a connection is succeeded is said before the flow becomes
    /// another's: the moment to put it aside.
    fn claim(&self, key: &FlowKey, _opened_ns: u64, milestone: u64) -> Inserted {
        if milestone == Claim::SUCCEEDED {
            if self.is_full() {
                return Inserted::Full;
            }
            if let Some(connection) = self.flows.borrow_mut().get_mut(key) {
                self.succeeded.borrow_mut().push(*connection);
                connection.packet = self.packet.get();
            }
        }
        Inserted::New
    }

    fn totals(&self, slot: u32) -> Option<RefMut<'_, Totals>> {
        RefMut::filter_map(self.totals.borrow_mut(), |totals| totals.get_mut(slot as usize)).ok()
    }

    fn own(&self) -> Option<RefMut<'_, Own>> {
        Some(self.own.borrow_mut())
    }
}
