//! The maps, and the library's traits on top of them. Each has one writing side: what is
//! `get` here is written by the daemon, LEARNED and the tables among them; what is
//! `get_ptr_mut` here is only read there.

use aya_ebpf::bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC, BPF_NOEXIST};
use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::macros::map;
use aya_ebpf::maps::lpm_trie::{Key, LpmTrie};
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf};
use sensor_ebpf::abi::{
    Address, Claim, Daemon, EndpointKey, Findings, Flow, FlowKey, Learned, Own, Settings, Stream, TargetName,
    TargetSet, Totals, Version, capacity, filter,
};
use sensor_ebpf::classify::{Observation, Tables};
use sensor_ebpf::count::{Inserted, Ledger};
use sensor_ebpf::flow::begin;

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
static FILTER: Array<u64> = Array::pinned(2 * filter::WORDS, BPF_F_MMAPABLE);
#[map]
static ENDPOINTS_0: HashMap<EndpointKey, TargetSet> = HashMap::pinned(capacity::ENDPOINTS, BPF_F_NO_PREALLOC);
#[map]
static ENDPOINTS_1: HashMap<EndpointKey, TargetSet> = HashMap::pinned(capacity::ENDPOINTS, BPF_F_NO_PREALLOC);
#[map]
static PREFIXES_V4_0: LpmTrie<u32, TargetSet> = LpmTrie::pinned(capacity::PREFIXES, 0);
#[map]
static PREFIXES_V4_1: LpmTrie<u32, TargetSet> = LpmTrie::pinned(capacity::PREFIXES, 0);
#[map]
static PREFIXES_V6_0: LpmTrie<[u32; 4], TargetSet> = LpmTrie::pinned(capacity::PREFIXES, 0);
#[map]
static PREFIXES_V6_1: LpmTrie<[u32; 4], TargetSet> = LpmTrie::pinned(capacity::PREFIXES, 0);
#[map]
static LEARNED: HashMap<EndpointKey, Learned> = HashMap::pinned(capacity::LEARNED, BPF_F_NO_PREALLOC);
#[map]
static STREAMS: LruHashMap<FlowKey, Stream> = LruHashMap::pinned(capacity::STREAMS, 0);
#[map]
static SAMPLES: RingBuf = RingBuf::pinned(capacity::SAMPLES_BYTES, 0);
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

/// The active generation of the compiled tables.
pub(super) struct Compiled {
    generation: u32,
}

impl Compiled {
    /// Reads once which generation is active, so that one packet sees one generation.
    #[inline(always)]
    pub(super) fn active() -> Self {
        let generation = SETTINGS.get(0).map_or(0, |settings| settings.generation);
        Self { generation: generation & 1 }
    }

    #[inline(always)]
    fn filter_has(&self, (word, bit): (u32, u32)) -> bool {
        FILTER.get(self.generation * filter::WORDS + word).is_some_and(|bits| bits >> bit & 1 != 0)
    }
}

impl Tables for Compiled {
    #[inline(always)]
    fn covers(&self, version: Version, remote: &Address) -> bool {
        match version {
            Version::V4 => self.filter_has(filter::v4_bit(remote)),
            Version::V6 => self.filter_has(filter::v6_bit(remote)),
        }
    }

    #[inline(always)]
    fn endpoint(&self, key: &EndpointKey) -> Option<TargetSet> {
        let map = if self.generation == 0 { &ENDPOINTS_0 } else { &ENDPOINTS_1 };
        // SAFETY: the entry is copied out at once; entries are freed after a grace period only.
        unsafe { map.get(key) }.copied()
    }

    #[inline(always)]
    fn learned(&self, key: &EndpointKey) -> Option<TargetSet> {
        // SAFETY: as above.
        unsafe { LEARNED.get(key) }.map(|learned| learned.targets)
    }

    #[inline(always)]
    fn prefix(&self, version: Version, remote: &Address) -> Option<TargetSet> {
        match version {
            Version::V4 => {
                let map = if self.generation == 0 { &PREFIXES_V4_0 } else { &PREFIXES_V4_1 };
                map.get(Key::new(32, remote.v4_word())).copied()
            }
            Version::V6 => {
                let map = if self.generation == 0 { &PREFIXES_V6_0 } else { &PREFIXES_V6_1 };
                map.get(Key::new(128, remote.0)).copied()
            }
        }
    }
}

/// The maps that the kernel half writes, for a packet of one interface.
pub(super) struct Counted {
    pub(super) interface: u32,
}

impl Ledger for Counted {
    type Flow<'a> = &'a mut Flow;
    type Totals<'a> = &'a mut Totals;
    type Own<'a> = &'a mut Own;

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
