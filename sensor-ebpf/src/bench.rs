//! What the benchmark puts before a program to measure it as in life: `rotate_v4` and `rotate_v6`
//! send each run of a test packet to another destination, then call the program on trial, which is
//! the shipped one or `empty`. Built by `cargo xtask bench` alone; no part of poolwatch.
//!
//! On the host it is an empty program, so that one workspace builds both worlds.

#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
#[allow(clippy::inline_always, reason = "a program is one function to the verifier, within one stack")]
#[path = "bench/rotate.rs"]
mod rotate;

#[cfg(not(target_arch = "bpf"))]
fn main() {}
