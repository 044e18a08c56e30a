//! What a packet means for the connection it belongs to: the rules behind the words
//! *connection*, *established*, *joined* and *initiator*.
//!
//! | seen | counted |
//! |---|---|
//! | TCP SYN, no flow or another connection's | a connection, by its sender |
//! | the same SYN again (same sequence number, within [`TCP_SILENCE_NS`]) | a retransmission: nothing |
//! | a SYN crossing ours (simultaneous open, RFC 9293, 3.5) | nothing: one connection, the first SYN's |
//! | both SYNs acknowledged by the other side | established, once |
//! | SYN-ACK or RST without a flow | backscatter: nothing |
//! | a reset in answer to a SYN | nothing: a reset is no answer |
//! | another segment without a flow | joined, initiator unknown |
//! | UDP, no flow or silent for [`UDP_SILENCE_NS`] | a connection, by its sender |
//! | UDP from the other side | established, once |
//! | a flow that begins to concern another target | joined for that target |
//!
//! Pure functions on a [`Flow`]; exactly-once between CPUs is [`crate::count`]'s care.

use crate::abi::{Flow, INITIATOR_UNKNOWN, Side, Transport};
use crate::classify::Observation;
use crate::headers::tcp_flag::{ACK, FIN, RST, SYN};

/// A UDP flow that was silent for longer has ended.
pub const UDP_SILENCE_NS: u64 = 60 * 1_000_000_000;
/// A SYN is a retransmission at most this long after the flow's last packet: beyond any
/// backoff (Linux gives up after 127 s), short of a scanner coming back with the same number.
pub const TCP_SILENCE_NS: u64 = 300 * 1_000_000_000;

/// What a packet did to the flow it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing that counts beyond packets and bytes.
    Goes,
    /// The connection is established by it.
    Establishes,
    /// It belongs to a new connection with the same addresses and ports: the flow is as
    /// it was, and [`begin`] says what follows it.
    Succeeds,
}

/// Does a flow begin with this packet? None does with backscatter, resets and scans with
/// impossible flags.
#[inline(always)]
pub fn begins(seen: &Observation) -> bool {
    !matches!(seen.transport, Transport::Tcp) || opens(seen) || joins(seen)
}

/// [`Side`] of the initiator of the flow that begins with this packet; a flow that begins in its
/// middle is joined, and has none.
#[inline(always)]
pub fn opener(seen: &Observation) -> u8 {
    if matches!(seen.transport, Transport::Tcp) && !opens(seen) {
        INITIATOR_UNKNOWN
    } else {
        seen.direction.sender() as u8
    }
}

/// Makes `flow` the one that begins with this packet, at an interface's index.
#[inline(always)]
pub fn begin(flow: &mut Flow, seen: &Observation, now_ns: u64, interface: u32) {
    let sender = seen.direction.sender().index();
    *flow = Flow { opened_ns: now_ns, initiator: opener(seen), interface, ..Flow::default() };
    if matches!(seen.transport, Transport::Tcp) {
        if opens(seen) {
            flow.syn[sender] = 1;
            flow.sequence[sender] = seen.segment.sequence;
        } else if seen.segment.flags & FIN != 0 {
            flow.ended[sender] = 1;
        }
    }
    add(flow, seen, now_ns);
}

/// Takes the packet into a flow that exists.
#[inline(always)]
pub fn follow(flow: &mut Flow, seen: &Observation, now_ns: u64) -> Step {
    if succeeds(flow, seen, now_ns) {
        return Step::Succeeds;
    }
    if matches!(seen.transport, Transport::Tcp) {
        shake_hands(flow, seen);
    }
    add(flow, seen, now_ns);
    if flow.established == 0 && is_established(flow, seen.transport) {
        flow.established = 1;
        if flow.initiator != INITIATOR_UNKNOWN {
            return Step::Establishes;
        }
    }
    Step::Goes
}

/// A segment from the middle of a connection.
#[inline(always)]
fn joins(seen: &Observation) -> bool {
    seen.segment.flags & (SYN | RST | ACK) == ACK
}

/// A SYN that asks for a connection; SYN with FIN is a scan that no stack answers.
#[inline(always)]
fn opens(seen: &Observation) -> bool {
    seen.segment.flags & (SYN | ACK | RST | FIN) == SYN
}

#[inline(always)]
fn succeeds(flow: &Flow, seen: &Observation, now_ns: u64) -> bool {
    let silence_ns = now_ns.saturating_sub(flow.last_ns);
    if !matches!(seen.transport, Transport::Tcp) {
        return silence_ns > UDP_SILENCE_NS;
    }
    if !opens(seen) {
        return false;
    }
    let (sender, other) = (seen.direction.sender().index(), seen.direction.sender().other().index());
    if flow.syn[sender] != 0 {
        let again = flow.sequence[sender] == seen.segment.sequence;
        return !again || silence_ns > TCP_SILENCE_NS;
    }
    let crossing = flow.syn[other] != 0 && flow.acknowledged[other] == 0 && flow.ended[other] == 0;
    !crossing || silence_ns > TCP_SILENCE_NS
}

/// Notes SYNs and their acknowledgements. What carries a reset is no answer, and what
/// acknowledges something that was never sent is a forgery or a leftover.
#[inline(always)]
fn shake_hands(flow: &mut Flow, seen: &Observation) {
    let flags = seen.segment.flags;
    if flags & RST != 0 {
        flow.ended = [1; 2];
        return;
    }
    let (sender, other) = (seen.direction.sender().index(), seen.direction.sender().other().index());
    let acknowledges = flags & ACK != 0
        && flow.syn[other] != 0
        && is_after(seen.segment.acknowledgement, flow.sequence[other]);
    if flags & SYN != 0 && flow.established == 0 && (acknowledges || flags & ACK == 0) {
        flow.sequence[sender] = seen.segment.sequence;
        flow.syn[sender] = 1;
    }
    if acknowledges {
        flow.acknowledged[other] = 1;
    }
    if flags & FIN != 0 {
        flow.ended[sender] = 1;
    }
}

#[inline(always)]
fn is_established(flow: &Flow, transport: Transport) -> bool {
    if matches!(transport, Transport::Tcp) && flow.initiator != INITIATOR_UNKNOWN {
        flow.syn == [1; 2] && flow.acknowledged == [1; 2]
    } else {
        flow.spoke == [1; 2]
    }
}

/// Is this TCP connection over: reset, or closed by both sides?
#[inline(always)]
pub fn is_over(flow: &Flow) -> bool {
    flow.ended == [1; 2]
}

#[inline(always)]
fn add(flow: &mut Flow, seen: &Observation, now_ns: u64) {
    let direction = seen.direction.index();
    let is_reset = matches!(seen.transport, Transport::Tcp) && seen.segment.flags & RST != 0;
    if !is_reset {
        flow.spoke[seen.direction.sender().index()] = 1;
    }
    flow.last_ns = now_ns;
    flow.bytes[direction] += u64::from(seen.bytes);
    flow.packets[direction] = flow.packets[direction].wrapping_add(seen.packets);
    flow.targets = seen.targets;
}

/// `a` comes after `b` in sequence space (RFC 9293, 3.4).
#[inline(always)]
const fn is_after(a: u32, b: u32) -> bool {
    let distance = a.wrapping_sub(b);
    distance != 0 && distance < 1 << 31
}

/// Who opened it, where that is known.
pub fn initiator(flow: &Flow) -> Option<Side> {
    match flow.initiator {
        0 => Some(Side::Local),
        1 => Some(Side::Remote),
        _ => None,
    }
}
