//! Events that were not written, counted by why.

use std::sync::atomic::{AtomicU64, Ordering};

/// Why an event was not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// Whoever takes the output is slow.
    Slow = 0,
    /// It could not be written: a full disk, a closed pipe.
    Output = 1,
    /// Its target has had its share of such events.
    Rate = 2,
}

impl Dropped {
    pub const ALL: [Self; 3] = [Self::Slow, Self::Output, Self::Rate];

    /// The label value of `poolwatch_events_dropped_total`.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Slow => "slow",
            Self::Output => "output",
            Self::Rate => "rate",
        }
    }
}

/// By [`Dropped`].
#[derive(Debug, Default)]
pub struct Counts([AtomicU64; 3]);

impl Counts {
    /// Goes on from what was counted before.
    pub fn set(&self, counted: &[u64]) {
        for (mine, counted) in self.0.iter().zip(counted) {
            mine.store(*counted, Ordering::Relaxed);
        }
    }

    pub fn get(&self, reason: Dropped) -> u64 {
        self.0[reason as usize].load(Ordering::Relaxed)
    }

    pub(super) fn add(&self, reason: Dropped) {
        self.0[reason as usize].fetch_add(1, Ordering::Relaxed);
    }
}
