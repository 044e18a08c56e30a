//! The programs: one for each direction, once for interfaces with an Ethernet header and
//! once for those that begin with IP (tun, wireguard, ppp). Whatever happens, the packet
//! goes on to whoever comes next. Names fit the 15 bytes that the kernel keeps of them.

#![allow(clippy::needless_pass_by_value, reason = "the signature that the macro asks for")]

use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use aya_log_ebpf::debug;
use sensor_ebpf::abi::Direction;
use sensor_ebpf::classify::classify;
use sensor_ebpf::count::note;
use sensor_ebpf::headers::{Link, Refused};
use sensor_ebpf::sample::sample;

use super::maps::{Compiled, Counted};
use super::samples::{call_sampler, called_with, propose};
use super::skb::Skb;

/// `TCX_NEXT` on TCX, `TC_ACT_UNSPEC` on clsact: the next program decides.
const NEXT: i32 = -1;

#[classifier]
fn poolwatch_in(context: TcContext) -> i32 {
    run(&context, Link::Ethernet, Direction::Ingress)
}

#[classifier]
fn poolwatch_out(context: TcContext) -> i32 {
    run(&context, Link::Ethernet, Direction::Egress)
}

#[classifier]
fn poolwatch_l3in(context: TcContext) -> i32 {
    run(&context, Link::Ip, Direction::Ingress)
}

#[classifier]
fn poolwatch_l3out(context: TcContext) -> i32 {
    run(&context, Link::Ip, Direction::Egress)
}

/// Called by the others with a packet whose payload may be wanted.
#[classifier]
fn poolwatch_take(context: TcContext) -> i32 {
    if let Some(candidate) = called_with() {
        // SAFETY: a field of the context, which the verifier turns into a checked load.
        let interface = unsafe { (*context.skb.skb).ifindex };
        sample(&Skb(&context), candidate, &Counted { context: &context, interface });
    }
    NEXT
}

#[inline(always)]
fn run(context: &TcContext, link: Link, direction: Direction) -> i32 {
    // SAFETY: a field of the context, which the verifier turns into a checked load.
    let interface = unsafe { (*context.skb.skb).ifindex };
    let (packet, counted) = (Skb(context), Counted { context, interface });
    let seen = classify(&packet, link, direction, &Compiled);
    // Before it is counted: there are far fewer ways to here than to the end, and the verifier walks
    // what follows for each. What was found lies in a map meanwhile, or it would tell them apart.
    if let Ok(seen) = &seen
        && !propose(&packet, seen, &counted)
    {
        return NEXT;
    }
    note(seen, &counted);
    let undecoded = match seen {
        Ok(seen) => {
            call_sampler(&counted);
            seen.flaw
        }
        Err(Refused::Undecoded(reason)) => Some(reason),
        Err(Refused::NotIp) => None,
    };
    if let Some(reason) = undecoded {
        debug!(context, "undecoded packet on interface {}: reason {}", interface, reason as u8);
    }
    NEXT
}
