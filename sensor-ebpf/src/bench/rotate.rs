//! The programs and maps of the benchmark's object. Everything is filled by the benchmark, in
//! half words as they lie on the wire, since that is how a packet's headers are aligned.

#![allow(clippy::needless_pass_by_value, reason = "the signature that the macro asks for")]

#[path = "../kernel/object.rs"]
mod object;

use aya_ebpf::macros::{classifier, map};
use aya_ebpf::maps::{Array, ProgramArray};
use aya_ebpf::programs::TcContext;

/// What poolwatch's own programs return: `TCX_NEXT`, `TC_ACT_UNSPEC`.
const NEXT: i32 = -1;
/// `TC_ACT_SHOT`: the packet was not as the benchmark says, or nothing was on trial.
const FAILED: i32 = 2;

/// Destinations, a power of two.
const STOPS: u32 = 1 << 16;
/// Furthest offset at which something is written, a power of two less one for the verifier.
const OFFSET_MAX: u32 = 127;

/// The program that is measured, or `empty`.
#[map]
static ON_TRIAL: ProgramArray = ProgramArray::with_max_entries(1, 0);
/// An address, and last the port at the other end.
#[map]
static STOPS_V4: Array<[u16; 3]> = Array::with_max_entries(STOPS, 0);
#[map]
static STOPS_V6: Array<[u16; 9]> = Array::with_max_entries(STOPS, 0);
/// Where the address and where the port is written, in bytes from the start of the frame.
#[map]
static PLACES: Array<[u32; 2]> = Array::with_max_entries(1, 0);
/// Packets so far.
#[map]
static TURN: Array<u32> = Array::with_max_entries(1, 0);

#[classifier]
fn empty(_: TcContext) -> i32 {
    NEXT
}

#[classifier]
fn rotate_v4(context: TcContext) -> i32 {
    send_on(&context, &STOPS_V4)
}

#[classifier]
fn rotate_v6(context: TcContext) -> i32 {
    send_on(&context, &STOPS_V6)
}

#[inline(always)]
fn send_on<const HALVES: usize>(context: &TcContext, stops: &Array<[u16; HALVES]>) -> i32 {
    if readdress(context, stops).is_some() {
        // SAFETY: it does not come back, and nothing here waits to be dropped.
        unsafe { ON_TRIAL.tail_call(context, 0) };
    }
    FAILED
}

/// Writes the next address and port into the packet.
#[inline(always)]
fn readdress<const HALVES: usize>(context: &TcContext, stops: &Array<[u16; HALVES]>) -> Option<()> {
    let turn = TURN.get_ptr_mut(0)?;
    // SAFETY: the verifier proved the pointer; the benchmark runs one packet at a time.
    let now = unsafe { *turn };
    // SAFETY: as above.
    unsafe { *turn = now.wrapping_add(1) };
    let stop = stops.get(now % STOPS)?;
    let [address_at, port_at] = *PLACES.get(0)?;
    write(context, address_at, &stop[..HALVES - 1])?;
    write(context, port_at, &stop[HALVES - 1..])
}

/// `None`: the packet ends before.
#[inline(always)]
fn write(context: &TcContext, at: u32, halves: &[u16]) -> Option<()> {
    let start = context.data() + (at & OFFSET_MAX) as usize;
    if start + size_of_val(halves) > context.data_end() {
        return None;
    }
    for (index, half) in halves.iter().enumerate() {
        // SAFETY: within the linear part, as just compared; headers behind Ethernet's fourteen
        // bytes lie at even offsets.
        unsafe { (start as *mut u16).add(index).write(*half) };
    }
    Some(())
}
