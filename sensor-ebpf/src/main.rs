//! The kernel half as an object: the programs and maps of `kernel`, the licence that the
//! kernel asks for, and what Rust needs where there is no operating system below it.
//! On the host it is an empty program, so that one workspace builds both worlds.

#![cfg_attr(target_arch = "bpf", no_std, no_main, feature(asm_experimental_arch))]

#[cfg(target_arch = "bpf")]
#[allow(clippy::inline_always, reason = "a program is one function to the verifier, within one stack")]
mod kernel;

#[cfg(not(target_arch = "bpf"))]
fn main() {}
