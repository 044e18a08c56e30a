//! The maps, and the library's traits on top of them. Each has one writing side: what is
//! `get` here is written by the daemon, LEARNED and the tables among them; what is
//! `get_ptr_mut` here is only read there.

use aya_ebpf::bindings::{BPF_F_INNER_MAP, BPF_F_MMAPABLE, BPF_F_NO_PREALLOC, BPF_NOEXIST};
use aya_ebpf::btf_maps::{self, ArrayOfMaps};
use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::macros::{btf_map, map};
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray};
use aya_ebpf::programs::TcContext;
use sensor_ebpf::abi::{
    Address, Claim, Daemon, EndpointKey, Findings, Flow, FlowKey, Judged, Learned, Own, Settings, TargetName,
    TargetSet, Totals, Version, capacity, filter,
};
use sensor_ebpf::classify::{Observation, Tables};
use sensor_ebpf::count::{Inserted, Ledger};
use sensor_ebpf::flow::begin;
use sensor_ebpf::ranges::{self, Found, Generation, Line};

#[map]
static SETTINGS: Array<Settings> = Array::pinned(1, 0);
#[map]
static TARGETS: Array<TargetName> = Array::pinned(capacity::TARGETS, 0);
#[map]
static TOTALS: PerCpuArray<Totals> = PerCpuArray::pinned(capacity::TARGETS, 0);
#[map]
static OWN: PerCpuArray<Own> = PerCpuArray::pinned(1, 0);
#[map]
static FLOWS: LruHashMap<FlowKey, Flow> = LruHashMap::pinned(capacity::FLOWS, 0);
#[map]
static CLAIMS: LruHashMap<Claim, u32> = LruHashMap::pinned(capacity::CLAIMS, 0);
#[map]
static FILTER: Array<u64> = Array::pinned(filter::WORDS, BPF_F_MMAPABLE);
/// One entry: the generation in use. It may have any length (`BPF_F_INNER_MAP`: kernel 5.10,
/// commit 4a8f87e60f6d); the one here says only what its entries are.
#[btf_map]
static TABLES: ArrayOfMaps<Lines, 1> = ArrayOfMaps::new();
#[map]
static LEARNED: HashMap<EndpointKey, Learned> = HashMap::pinned(capacity::LEARNED, BPF_F_NO_PREALLOC);
#[map]
static JUDGED: HashMap<FlowKey, Judged> = HashMap::pinned(capacity::JUDGED, BPF_F_NO_PREALLOC);
#[map]
static FINDINGS: Array<Findings> = Array::pinned(capacity::TARGETS, 0);
#[map]
static DAEMON: Array<Daemon> = Array::pinned(1, 0);

/// What does not fit on the 512 bytes of stack that a program has.
#[repr(C)]
struct Scratch {
    flow: Flow,
    claim: Claim,
}

#[map]
static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);

/// `EEXIST`, as map updates return it.
const EXISTS: i32 = -17;

/// A generation: see [`ranges`].
type Lines = btf_maps::Array<Line, 1, { (BPF_F_INNER_MAP | BPF_F_MMAPABLE) as usize }>;

struct InUse<'a>(&'a Lines);

impl Generation for InUse<'_> {
    #[inline(always)]
    fn line(&self, at: u32) -> Option<&Line> {
        self.0.get(at)
    }
}

/// What the daemon compiled.
pub(super) struct Compiled;

#[inline(always)]
fn filter_has((word, bit): (u32, u32)) -> bool {
    FILTER.get(word).is_some_and(|bits| bits >> bit & 1 != 0)
}

impl Tables for Compiled {
    #[inline(always)]
    fn covers(&self, version: Version, remote: &Address) -> bool {
        filter::covers(version, remote, filter_has)
    }

    #[inline(always)]
    fn listed(&self, version: Version, remote: &Address, port: Option<u16>) -> Found {
        let Some(generation) = TABLES.get(0) else { return Found::NOTHING };
        ranges::find(&InUse(generation), version, remote, port)
    }

    #[inline(always)]
    fn may_know(&self, remote: &Address) -> bool {
        filter_has(filter::learned_bit(remote))
    }

    #[inline(always)]
    fn learned(&self, key: &EndpointKey) -> Option<TargetSet> {
        // SAFETY: the entry is copied out at once; entries are freed after a grace period only.
        unsafe { LEARNED.get(key) }.map(|learned| learned.targets)
    }

    #[inline(always)]
    fn judged(&self, key: &FlowKey) -> Option<TargetSet> {
        // SAFETY: as in `learned`.
        unsafe { JUDGED.get(key) }.map(|judged| judged.targets)
    }
}

/// The maps that the kernel half writes, for a packet of one interface.
pub(super) struct Counted<'c> {
    pub(super) context: &'c TcContext,
    pub(super) interface: u32,
}

impl Ledger for Counted<'_> {
    type Flow<'a>
        = &'a mut Flow
    where
        Self: 'a;
    type Totals<'a>
        = &'a mut Totals
    where
        Self: 'a;
    type Own<'a>
        = &'a mut Own
    where
        Self: 'a;

    #[inline(always)]
    fn now_ns(&self) -> u64 {
        // SAFETY: the helper takes nothing and reads a clock.
        unsafe { bpf_ktime_get_ns() }
    }

    #[inline(always)]
    fn interface(&self) -> u32 {
        self.interface
    }

    #[inline(always)]
    fn flow(&self, key: &FlowKey) -> Option<&mut Flow> {
        let flow = FLOWS.get_ptr_mut(key)?;
        // SAFETY: the verifier proved the pointer; an entry that is evicted meanwhile stays
        // memory of this map. Other CPUs may write too: see `Flow` for why that is harmless.
        Some(unsafe { &mut *flow })
    }

    #[inline(always)]
    fn insert_flow(&self, key: &FlowKey, seen: &Observation, now_ns: u64) -> Inserted {
        let Some(scratch) = SCRATCH.get_ptr_mut(0) else {
            return Inserted::Full;
        };
        // SAFETY: this CPU's entry, and a TC program is not interrupted by another one on it.
        let flow = unsafe { &mut (*scratch).flow };
        begin(flow, seen, now_ns, self.interface);
        inserted(FLOWS.insert(key, flow, u64::from(BPF_NOEXIST)))
    }

    #[inline(always)]
    fn claim(&self, key: &FlowKey, opened_ns: u64, milestone: u64) -> Inserted {
        let Some(scratch) = SCRATCH.get_ptr_mut(0) else {
            return Inserted::Full;
        };
        // SAFETY: as in `insert_flow`.
        let claim = unsafe { &mut (*scratch).claim };
        *claim = Claim { key: *key, opened_ns, milestone };
        inserted(CLAIMS.insert(claim, 0, u64::from(BPF_NOEXIST)))
    }

    #[inline(always)]
    fn totals(&self, slot: u32) -> Option<&mut Totals> {
        // SAFETY: as in `insert_flow`.
        TOTALS.get_ptr_mut(slot).map(|totals| unsafe { &mut *totals })
    }

    #[inline(always)]
    fn own(&self) -> Option<&mut Own> {
        // SAFETY: as in `insert_flow`.
        OWN.get_ptr_mut(0).map(|own| unsafe { &mut *own })
    }
}

#[inline(always)]
fn inserted(result: Result<(), i32>) -> Inserted {
    match result {
        Ok(()) => Inserted::New,
        Err(EXISTS) => Inserted::Exists,
        Err(_) => Inserted::Full,
    }
}
