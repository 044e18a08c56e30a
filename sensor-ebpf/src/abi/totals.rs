//! TOTALS: what is counted for each target.

/// Version of [`super`]: what the maps hold and how they are laid out. Maps of another schema are
/// never used in place; what they counted is taken over by name.
pub const SCHEMA: u32 = 5;

/// The order in which slots are given to targets.
pub fn slots_in_order(slots: u32) -> impl Iterator<Item = u32> {
    0..slots
}

/// TOTALS: one entry a target and CPU, never evicted. Every field only grows.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Totals {
    /// Wire packets, by [`super::Direction`] and [`super::Transport`].
    pub packets: [[u64; 4]; 2],
    /// IP bytes, by [`super::Direction`] and [`super::Transport`].
    pub bytes: [[u64; 4]; 2],
    /// Attempts, by initiator's [`super::Side`] and [`super::Transport`] (TCP, UDP).
    pub connections: [[u64; 2]; 2],
    /// Attempts that were answered, likewise.
    pub established: [[u64; 2]; 2],
    /// TCP connections first seen in their middle.
    pub joined: u64,
    /// When a packet last concerned this target.
    pub last_seen_ns: u64,
}

const _: () = assert!(size_of::<Totals>() == 26 * 8);
