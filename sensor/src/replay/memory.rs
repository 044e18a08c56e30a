//! A [`Ledger`] and a [`Sampler`] in memory: what the kernel half keeps in maps, kept for one capture.
//! Nothing is evicted, and samples have no budget. They are not copied: the packet is at hand.
//!
//! Deliberately without claims: with one thread nobody else can have been first. Whether there is room
//! for another flow is decided by `connections`, which holds all of them.

use std::cell::{Cell, RefCell, RefMut};
use std::collections::HashMap;

use foldhash::fast::RandomState;
use sensor_ebpf::abi::{
    Claim, Flow, FlowKey, Own, SampleHeader, SampleKind, Stream, Totals, Uncounted, Unsampled,
};
use sensor_ebpf::classify::Observation;
use sensor_ebpf::count::{Inserted, Ledger};
use sensor_ebpf::flow::begin;
use sensor_ebpf::packet::Packet;
use sensor_ebpf::sample::{Admission, Sampler};

use crate::config::Inspect;

/// Bits of the filter of sequence numbers.
const EXPECTED_BITS_LOG2: u32 = 16;
/// Fibonacci hashing (Knuth, TAOCP 3, 6.4).
const GOLDEN: u32 = 0x9e37_79b1;

/// Where one capture is counted.
pub struct Memory {
    inspect: Inspect,
    now_ns: Cell<u64>,
    captured_bytes: Cell<u32>,
    /// Is the packet's connection among those that are followed?
    is_followed: Cell<bool>,
    flows: RefCell<HashMap<FlowKey, Flow, RandomState>>,
    totals: RefCell<Vec<Totals>>,
    own: RefCell<Own>,
    streams: RefCell<HashMap<FlowKey, Stream, RandomState>>,
    expected: RefCell<Vec<u64>>,
    /// A sample of the packet in hand, and where its payload begins.
    sampled: Cell<Option<(SampleHeader, u32)>>,
}

impl Memory {
    /// For `slots` targets.
    pub fn new(slots: usize, inspect: Inspect) -> Self {
        Self {
            inspect,
            now_ns: Cell::default(),
            captured_bytes: Cell::default(),
            is_followed: Cell::default(),
            flows: RefCell::default(),
            totals: RefCell::new(vec![Totals::default(); slots]),
            own: RefCell::default(),
            streams: RefCell::default(),
            expected: RefCell::new(vec![0; 1 << (EXPECTED_BITS_LOG2 - 6)]),
            sampled: Cell::default(),
        }
    }

    /// The next packet: when it was captured, and how much of it.
    pub fn begin_packet(&self, now_ns: u64, captured_bytes: u32) {
        self.now_ns.set(now_ns);
        self.captured_bytes.set(captured_bytes);
        self.is_followed.set(false);
    }

    /// The packet's connection is among those that are followed.
    pub fn follow(&self) {
        self.is_followed.set(true);
    }

    /// A connection that nobody watches found no place, so that it cannot be told what it says.
    pub fn note_unfollowed(&self) {
        self.own.borrow_mut().uncounted[Uncounted::FlowTable as usize] += 1;
    }

    /// What was sampled of this packet.
    pub fn take_sample(&self) -> Option<(SampleHeader, u32)> {
        self.sampled.take()
    }

    pub fn totals_by_slot(&self) -> Vec<Totals> {
        self.totals.borrow().clone()
    }

    pub fn own_counts(&self) -> Own {
        *self.own.borrow()
    }

    const fn wants(&self, kind: SampleKind) -> bool {
        match kind {
            SampleKind::Dns => self.inspect.dns,
            SampleKind::Tls => self.inspect.tls,
            SampleKind::Json | SampleKind::Http | SampleKind::Binary => self.inspect.mining,
        }
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
        if self.flows.borrow().contains_key(key) {
            return Inserted::Exists;
        }
        if !self.is_followed.get() {
            return Inserted::Full;
        }
        let mut flow = Flow::default();
        begin(&mut flow, seen, now_ns, 0);
        self.flows.borrow_mut().insert(*key, flow);
        Inserted::New
    }

    /// Always the first.
    fn claim(&self, _: &FlowKey, _opened_ns: u64, milestone: u64) -> Inserted {
        let has_place = milestone != Claim::SUCCEEDED || self.is_followed.get();
        if has_place { Inserted::New } else { Inserted::Full }
    }

    fn totals(&self, slot: u32) -> Option<RefMut<'_, Totals>> {
        RefMut::filter_map(self.totals.borrow_mut(), |totals| totals.get_mut(slot as usize)).ok()
    }

    fn own(&self) -> Option<RefMut<'_, Own>> {
        Some(self.own.borrow_mut())
    }
}

/// Word and bit of a sequence number.
const fn place(sequence: u32) -> (usize, u32) {
    let hash = sequence.wrapping_mul(GOLDEN) >> (32 - EXPECTED_BITS_LOG2);
    ((hash >> 6) as usize, hash & 63)
}

impl Sampler for Memory {
    type Stream<'a> = RefMut<'a, Stream>;

    fn stream(&self, key: &FlowKey) -> Option<RefMut<'_, Stream>> {
        RefMut::filter_map(self.streams.borrow_mut(), |streams| streams.get_mut(key)).ok()
    }

    fn add_stream(&self, key: &FlowKey, stream: &Stream) {
        self.streams.borrow_mut().insert(*key, *stream);
    }

    fn may_continue(&self, sequence: u32) -> bool {
        let (word, bit) = place(sequence);
        self.expected.borrow()[word] >> bit & 1 != 0
    }

    fn expect(&self, sequence: u32) {
        let (word, bit) = place(sequence);
        self.expected.borrow_mut()[word] |= 1 << bit;
    }

    fn admit(&self, kind: SampleKind, _now_ns: u64) -> Admission {
        if self.wants(kind) { Admission::Admitted } else { Admission::Off }
    }

    fn emit(&self, _: &impl Packet, offset: u32, header: &SampleHeader) -> Result<(), Unsampled> {
        let present = self.captured_bytes.get().saturating_sub(offset);
        let captured = u16::try_from(present).unwrap_or(u16::MAX).min(header.captured);
        if captured == 0 {
            return Err(Unsampled::Unreadable);
        }
        self.sampled.set(Some((SampleHeader { captured, ..*header }, offset)));
        Ok(())
    }
}
