//! A socket buffer as a [`Packet`]: direct access to its linear part, and the helper
//! (`bpf_skb_load_bytes`) only for what lies outside of it.
//!
//! Packet memory is read by instructions of our own. Headers lie at any alignment, and LLVM
//! takes a misaligned load apart into bytes; told not to (`allows-misaligned-mem-access`), it
//! misaligns the stack as well, which the verifier refuses. The kernel takes words at any
//! alignment from a packet on the architectures that have them
//! (`CONFIG_HAVE_EFFICIENT_UNALIGNED_ACCESS`).

#![allow(clippy::cast_possible_truncation, reason = "a load fills no more bits than it is wide")]

use core::arch::asm;

use aya_ebpf::programs::TcContext;
use sensor_ebpf::packet::{Aggregate, Packet, Words};

pub(super) struct Skb<'a>(pub(super) &'a TcContext);

impl Packet for Skb<'_> {
    #[inline(always)]
    fn len_bytes(&self) -> u32 {
        self.0.len()
    }

    #[inline(always)]
    fn load<W: Words>(&self, offset: u32) -> Option<W> {
        let start = self.0.data() + offset as usize;
        if start + size_of::<W>() <= self.0.data_end() {
            // SAFETY: `W` gathers no further than its size, which ends in the linear part.
            Some(W::gather(|at| unsafe { half(start + at) }, |at| unsafe { word(start + at) }))
        } else {
            self.0.load(offset as usize).ok()
        }
    }

    #[inline(always)]
    fn aggregate(&self) -> Aggregate {
        let skb = self.0.skb.skb;
        // SAFETY: fields of the context, which the verifier turns into checked loads.
        unsafe { Aggregate { segments: (*skb).gso_segs, segment_size: (*skb).gso_size } }
    }
}

/// # Safety
/// Two bytes of packet memory must be proven to be there.
#[inline(always)]
unsafe fn half(address: usize) -> u16 {
    let value: u64;
    // SAFETY: the caller's; a load changes nothing.
    unsafe {
        asm!("{value} = *(u16 *)({address} + 0)", value = out(reg) value, address = in(reg) address, options(pure, readonly, nostack));
    }
    value as u16
}

/// # Safety
/// Four bytes of packet memory must be proven to be there.
#[inline(always)]
unsafe fn word(address: usize) -> u32 {
    let value: u64;
    // SAFETY: the caller's; a load changes nothing.
    unsafe {
        asm!("{value} = *(u32 *)({address} + 0)", value = out(reg) value, address = in(reg) address, options(pure, readonly, nostack));
    }
    value as u32
}
