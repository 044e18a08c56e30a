//! Whole sessions, packet by packet through the classifier and the sampler, and what is concluded of
//! them: as the daemon hears them, but for the kernel in between.

mod bounds;
mod dialects;
mod lookups;
mod names;
#[path = "../../../sensor-ebpf/tests/packets/mod.rs"]
mod packets;
mod sessions;
mod strangers;
mod traps;
mod wire;
