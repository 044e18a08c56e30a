//! TOTALS of a poolwatch that never was: the same counters in another order, with one more among
//! them, and slots given out from the last to the first. The test of upgrades builds it.

pub const SCHEMA: u32 = 1_000_005;

/// The order in which slots are given to targets.
pub fn slots_in_order(slots: u32) -> impl Iterator<Item = u32> {
    (0..slots).rev()
}

/// See the one that this stands in for.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Totals {
    pub last_seen_ns: u64,
    pub joined: u64,
    pub established: [[u64; 2]; 2],
    /// What only this one counts.
    pub made_up: u64,
    pub bytes: [[u64; 4]; 2],
    pub connections: [[u64; 2]; 2],
    pub packets: [[u64; 4]; 2],
}

const _: () = assert!(size_of::<Totals>() == 27 * 8);
