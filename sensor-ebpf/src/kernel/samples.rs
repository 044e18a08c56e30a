//! The maps behind [`Sampler`]: budgets, streams, and the ring that the daemon reads.

#![allow(clippy::cast_possible_truncation, reason = "numbers fit where they were compared")]

use core::arch::asm;

use aya_ebpf::EbpfContext as _;
use aya_ebpf::helpers::bpf_skb_load_bytes;
use aya_ebpf::macros::map;
use aya_ebpf::maps::ring_buf::RingBufEntry;
use aya_ebpf::maps::{Array, LruHashMap, PerCpuArray, ProgramArray, RingBuf};
use sensor_ebpf::abi::{
    Budgets, FlowKey, SAMPLE_RECORD_MAX, SAMPLE_TEXT_MAX, SampleHeader, SampleKind, Spent, Stream, Unsampled,
    WINDOW_NS_LOG2, capacity,
};
use sensor_ebpf::classify::Observation;
use sensor_ebpf::count::Ledger as _;
use sensor_ebpf::packet::Packet;
use sensor_ebpf::sample::{Admission, Candidate, Sampler, consider};

use super::maps::Counted;

#[map]
static BUDGETS: Array<Budgets> = Array::with_max_entries(1, 0);
#[map]
static SPENT: PerCpuArray<Spent> = PerCpuArray::with_max_entries(1, 0);
/// Sequence numbers of segments that continue a sample, each at its hash's place. It spares all other
/// segments the look into STREAMS.
#[map]
static EXPECTED: Array<u32> = Array::with_max_entries(capacity::EXPECTED, 0);
#[map]
static STREAMS: LruHashMap<FlowKey, Stream> = LruHashMap::pinned(capacity::STREAMS, 0);
#[map]
static SAMPLES: RingBuf = RingBuf::pinned(capacity::SAMPLES_BYTES, 0);

/// The program that samples, called by those at the interfaces. Pinned, since the kernel empties it
/// when nobody has it open.
#[map]
static SAMPLER: ProgramArray = ProgramArray::pinned(1, 0);
/// What it is called with: one entry, per CPU.
#[map]
static CANDIDATE: PerCpuArray<Candidate> = PerCpuArray::with_max_entries(1, 0);

/// Keeps what may be sampled until [`call_sampler`]. `false`: neither is there anything to be sampled nor
/// to be counted, as of most packets, and nothing was kept.
#[inline(always)]
pub(super) fn propose(packet: &impl Packet, seen: &Observation, counted: &Counted) -> bool {
    let candidate = consider(packet, seen, counted);
    if candidate.is_none() && seen.targets.is_empty() && seen.flaw.is_none() {
        return false;
    }
    if let Some(place) = CANDIDATE.get_ptr_mut(0) {
        // SAFETY: this CPU's entry, and a TC program is not interrupted by another one on it.
        let place = unsafe { &mut *place };
        match candidate {
            Some(candidate) => *place = candidate,
            None => place.kind = Candidate::NONE,
        }
    }
    true
}

/// Goes on as the program that samples, if there is something to be sampled. That does not come back.
#[inline(always)]
pub(super) fn call_sampler(counted: &Counted) {
    let Some(candidate) = called_with() else { return };
    if candidate.kind == Candidate::NONE {
        return;
    }
    // SAFETY: nothing here waits to be dropped.
    unsafe { SAMPLER.tail_call(counted.context, 0) };
    if let (Some(kind), Some(own)) = (SampleKind::of(candidate.kind), counted.own()) {
        own.samples_dropped[kind as usize & 7][Unsampled::Ring as usize & 3] += 1;
    }
}

/// What the programs at the interfaces have found.
#[inline(always)]
pub(super) fn called_with() -> Option<&'static Candidate> {
    CANDIDATE.get(0)
}

/// What the ring holds.
#[repr(C)]
struct Entry<const N: usize> {
    header: SampleHeader,
    payload: [u8; N],
}

/// Fibonacci hashing (Knuth, TAOCP 3, 6.4).
#[inline(always)]
const fn place(sequence: u32) -> u32 {
    sequence.wrapping_mul(0x9e37_79b1) >> (32 - capacity::EXPECTED.ilog2())
}

impl Sampler for Counted<'_> {
    type Stream<'a>
        = &'a mut Stream
    where
        Self: 'a;

    #[inline(always)]
    fn stream(&self, key: &FlowKey) -> Option<&mut Stream> {
        let stream = STREAMS.get_ptr_mut(key)?;
        // SAFETY: the verifier proved the pointer; an entry that is evicted meanwhile stays memory of
        // this map. Another CPU writes the other direction's fields.
        Some(unsafe { &mut *stream })
    }

    #[inline(always)]
    fn add_stream(&self, key: &FlowKey, stream: &Stream) {
        // Where there is no room, a sample has no continuation.
        let _ = STREAMS.insert(key, stream, 0);
    }

    #[inline(always)]
    fn may_continue(&self, sequence: u32) -> bool {
        EXPECTED.get(place(sequence)).is_some_and(|expected| *expected == sequence)
    }

    #[inline(always)]
    fn expect(&self, sequence: u32) {
        if let Some(expected) = EXPECTED.get_ptr_mut(place(sequence)) {
            // SAFETY: the verifier proved the pointer; whoever writes last is remembered.
            unsafe { *expected = sequence };
        }
    }

    #[inline(always)]
    fn admit(&self, kind: SampleKind, now_ns: u64) -> Admission {
        let (Some(budgets), Some(spent)) = (BUDGETS.get(0), SPENT.get_ptr_mut(0)) else {
            return Admission::Off;
        };
        // SAFETY: this CPU's entry, and a TC program is not interrupted by another one on it.
        let spent = unsafe { &mut *spent };
        // The compiler knows what kinds there are, and would leave the mask out that 5.10 asks for.
        let kind = unknown(kind as u64) as usize & 7;
        let budget = budgets.per_window[kind];
        if budget == 0 {
            return Admission::Off;
        }
        let window = now_ns >> WINDOW_NS_LOG2;
        if spent.window != window {
            *spent = Spent { window, samples: [0; 8] };
        }
        if spent.samples[kind] >= budget {
            return Admission::OverBudget;
        }
        spent.samples[kind] += 1;
        Admission::Admitted
    }

    #[inline(always)]
    fn emit(&self, _: &impl Packet, offset: u32, header: &SampleHeader) -> Result<(), Unsampled> {
        if header.captured as usize > SAMPLE_TEXT_MAX {
            let entry = SAMPLES.reserve::<Entry<SAMPLE_RECORD_MAX>>(0).ok_or(Unsampled::Ring)?;
            self.fill(entry, offset, header)
        } else {
            let entry = SAMPLES.reserve::<Entry<SAMPLE_TEXT_MAX>>(0).ok_or(Unsampled::Ring)?;
            self.fill(entry, offset, header)
        }
    }
}

impl Counted<'_> {
    #[inline(always)]
    fn fill<const N: usize>(
        &self,
        mut entry: RingBufEntry<Entry<N>>,
        offset: u32,
        header: &SampleHeader,
    ) -> Result<(), Unsampled> {
        let place = entry.as_mut_ptr();
        let beyond_one = unknown(u64::from(header.captured).wrapping_sub(1));
        // SAFETY: reserved for us alone. The helper writes as many bytes as the comparison lets
        // through; what lies behind them in the ring is not read.
        let copied = unsafe {
            (&raw mut (*place).header).write(*header);
            if beyond_one >= N as u64 {
                -1
            } else {
                let payload = (&raw mut (*place).payload).cast();
                bpf_skb_load_bytes(self.context.as_ptr(), offset, payload, beyond_one as u32 + 1)
            }
        };
        if copied == 0 {
            entry.submit(0);
            Ok(())
        } else {
            entry.discard(0);
            Err(Unsampled::Unreadable)
        }
    }
}

/// The same number, of which the compiler knows nothing any more: a comparison with it is made, and the
/// verifier sees it. (That a sample is not empty the compiler knows, and the verifier does not.)
#[inline(always)]
fn unknown(number: u64) -> u64 {
    let same: u64;
    // SAFETY: a register is copied.
    unsafe {
        asm!("{same} = {number}", same = out(reg) same, number = in(reg) number, options(pure, nomem, nostack));
    }
    same
}
