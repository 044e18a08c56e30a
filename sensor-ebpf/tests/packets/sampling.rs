//! A sampler in memory: what the kernel's maps hold, without their limits.

use std::cell::{Cell, RefCell, RefMut};
use std::collections::{HashMap, HashSet};

use sensor_ebpf::abi::{
    Budgets, Direction, Flow, FlowKey, Own, SampleHeader, SampleKind, Spent, Stream, Totals, Unsampled,
    WINDOW_NS_LOG2,
};
use sensor_ebpf::classify::{Observation, Tables};
use sensor_ebpf::count::{Inserted, Ledger, observe};
use sensor_ebpf::packet::{Captured, Packet};
use sensor_ebpf::sample::{Admission, Sampler, consider, sample};

use super::build::Frame;
use super::model::Memory;

/// A sample: its header, and what was copied.
pub type Taken = (SampleHeader, Vec<u8>);

/// How well the numbers of segments that continue a sample are remembered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expecting {
    /// Each of them, and no others.
    #[default]
    Exactly,
    /// Any segment might be one: as many collisions as can be.
    Anything,
}

#[derive(Default)]
pub struct Sampling {
    pub memory: Memory,
    pub budgets: Budgets,
    pub expecting: Expecting,
    /// Samples that the ring still takes, where that matters.
    pub room: Option<Cell<usize>>,
    pub streams: RefCell<HashMap<FlowKey, Stream>>,
    pub taken: RefCell<Vec<Taken>>,
    pub expected: RefCell<HashSet<u32>>,
    pub spent: Cell<Spent>,
}

impl Sampling {
    pub fn new(budgets: Budgets) -> Self {
        let sampling = Self { budgets, ..Self::default() };
        sampling.memory.now_ns.set(1000 << WINDOW_NS_LOG2);
        sampling
    }

    /// Counts the packet and samples it, as the programs at an interface do.
    pub fn hear(&self, frame: &Frame, direction: Direction, tables: &impl Tables) {
        let bytes = frame.bytes();
        let captured = &bytes[..bytes.len().min(frame.captured())];
        let whole = Captured::from(&bytes[..]);
        let packet = Captured { bytes: captured, aggregate: frame.aggregate, ..whole };
        self.hear_packet(&packet, frame.link(), direction, tables);
    }

    pub fn hear_packet(
        &self,
        packet: &Captured<'_>,
        link: sensor_ebpf::headers::Link,
        direction: Direction,
        tables: &impl Tables,
    ) {
        let Ok(seen) = observe(packet, link, direction, tables, self) else { return };
        if let Some(candidate) = consider(packet, &seen, self) {
            sample(packet, &candidate, self);
        }
        self.memory.now_ns.set(self.memory.now_ns.get() + 1);
    }
}

/// The byte at an offset; loads are of two at least.
fn byte(packet: &impl Packet, offset: u32) -> Option<u8> {
    packet.load::<u16>(offset - 1).map(|half| half.to_ne_bytes()[1])
}

impl Sampler for Sampling {
    type Stream<'a> = RefMut<'a, Stream>;

    fn stream(&self, key: &FlowKey) -> Option<RefMut<'_, Stream>> {
        RefMut::filter_map(self.streams.borrow_mut(), |streams| streams.get_mut(key)).ok()
    }

    fn add_stream(&self, key: &FlowKey, stream: &Stream) {
        self.streams.borrow_mut().insert(*key, *stream);
    }

    fn may_continue(&self, sequence: u32) -> bool {
        self.expecting == Expecting::Anything || self.expected.borrow().contains(&sequence)
    }

    fn expect(&self, sequence: u32) {
        self.expected.borrow_mut().insert(sequence);
    }

    fn admit(&self, kind: SampleKind, now_ns: u64) -> Admission {
        let budget = self.budgets.per_window[kind as usize];
        if budget == 0 {
            return Admission::Off;
        }
        let window = now_ns >> WINDOW_NS_LOG2;
        let mut spent = self.spent.get();
        if spent.window != window {
            spent = Spent { window, ..Spent::default() };
        }
        if spent.samples[kind as usize] >= budget {
            return Admission::OverBudget;
        }
        spent.samples[kind as usize] += 1;
        self.spent.set(spent);
        Admission::Admitted
    }

    fn emit(&self, packet: &impl Packet, offset: u32, header: &SampleHeader) -> Result<(), Unsampled> {
        if let Some(room) = &self.room {
            let left = room.get().checked_sub(1).ok_or(Unsampled::Ring)?;
            room.set(left);
        }
        let offsets = offset..offset + u32::from(header.captured);
        let payload: Vec<u8> = offsets.map_while(|offset| byte(packet, offset)).collect();
        if payload.is_empty() {
            return Err(Unsampled::Unreadable);
        }
        let captured = u16::try_from(payload.len()).expect("no more than was asked for");
        self.taken.borrow_mut().push((SampleHeader { captured, ..*header }, payload));
        Ok(())
    }
}

impl Ledger for Sampling {
    type Flow<'a> = RefMut<'a, Flow>;
    type Totals<'a> = RefMut<'a, Totals>;
    type Own<'a> = RefMut<'a, Own>;

    fn now_ns(&self) -> u64 {
        self.memory.now_ns()
    }

    fn interface(&self) -> u32 {
        self.memory.interface()
    }

    fn flow(&self, key: &FlowKey) -> Option<RefMut<'_, Flow>> {
        self.memory.flow(key)
    }

    fn insert_flow(&self, key: &FlowKey, seen: &Observation, now_ns: u64) -> Inserted {
        self.memory.insert_flow(key, seen, now_ns)
    }

    fn claim(&self, key: &FlowKey, opened_ns: u64, milestone: u64) -> Inserted {
        self.memory.claim(key, opened_ns, milestone)
    }

    fn totals(&self, slot: u32) -> Option<RefMut<'_, Totals>> {
        self.memory.totals(slot)
    }

    fn own(&self) -> Option<RefMut<'_, Own>> {
        self.memory.own()
    }
}
