//! TOTALS: what is counted for each target.

use super::add_all;

/// Version of [`super`]: what the maps hold and how they are laid out. Maps of another schema are
/// never used in place; what they counted is taken over by name.
pub const SCHEMA: u32 = 3;

/// The order in which slots are given to targets.
pub fn slots_in_order(slots: u32) -> impl Iterator<Item = u32> {
    0..slots
}

/// TOTALS: one entry a target and CPU, never evicted. Every field only grows.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Totals {
    /// Wire packets, by [`Direction`] and [`Transport`].
    pub packets: [[u64; 4]; 2],
    /// IP bytes, by [`Direction`] and [`Transport`].
    pub bytes: [[u64; 4]; 2],
    /// Attempts, by initiator's [`Side`] and [`Transport`] (TCP, UDP).
    pub connections: [[u64; 2]; 2],
    /// Attempts that were answered, likewise.
    pub established: [[u64; 2]; 2],
    /// TCP connections first seen in their middle.
    pub joined: u64,
    /// When a packet last concerned this target.
    pub last_seen_ns: u64,
}

impl Totals {
    /// The sum of two CPUs' entries; the later of their sightings.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        let mut sum = *self;
        for (mine, theirs) in sum.packets.iter_mut().zip(other.packets) {
            add_all(mine, &theirs);
        }
        for (mine, theirs) in sum.bytes.iter_mut().zip(other.bytes) {
            add_all(mine, &theirs);
        }
        for (mine, theirs) in sum.connections.iter_mut().zip(other.connections) {
            add_all(mine, &theirs);
        }
        for (mine, theirs) in sum.established.iter_mut().zip(other.established) {
            add_all(mine, &theirs);
        }
        sum.joined += other.joined;
        sum.last_seen_ns = sum.last_seen_ns.max(other.last_seen_ns);
        sum
    }
}

const _: () = assert!(size_of::<Totals>() == 26 * 8);
