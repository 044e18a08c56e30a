//! What both halves of poolwatch agree on: the layout of everything that crosses
//! the kernel boundary, and the one classifier that the kernel, `replay`, tests,
//! fuzzers and benchmarks run.
//!
//! Nothing here knows where packets come from or where counts go: a [`packet::Packet`]
//! is read, [`classify::Tables`] are asked, a [`count::Ledger`] is written. No `unsafe`,
//! no allocation, no `aya-ebpf`.

#![no_std]
#![forbid(unsafe_code)]
#![allow(
    clippy::inline_always,
    reason = "the packet path must be one function to the verifier, within one stack"
)]
#![allow(clippy::cast_possible_truncation, reason = "fields are taken out of words by casting")]

pub mod abi;
pub mod classify;
pub mod count;
pub mod flow;
pub mod headers;
pub mod packet;
pub mod ranges;
pub mod sample;
