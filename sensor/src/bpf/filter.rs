//! The coverage filter, written through memory that is shared with the kernel: megabytes in one
//! pass instead of a system call a word. Programs read it all the while, so each word is stored
//! whole, and only where it changes.

use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use aya::maps::MapData;
use sensor_ebpf::abi::filter;

use super::mapped::Mapped;

/// FILTER, mapped; this daemon alone writes it.
pub(super) struct Filter(Mapped);

impl Filter {
    pub(super) fn map(data: &MapData) -> Result<Self> {
        Ok(Self(Mapped::new(data.fd(), filter::WORDS as usize)?))
    }

    /// Sets the bits of these words beside those that are set.
    pub(super) fn add(&self, words: &[u64]) {
        self.each(words, |old, new| old | new);
    }

    /// Sets the bits of these words, and no others.
    pub(super) fn set(&self, words: &[u64]) {
        self.each(words, |_, new| new);
    }

    fn each(&self, words: &[u64], combine: fn(u64, u64) -> u64) {
        for (word, new) in self.0.words().iter().zip(words) {
            let old = word.load(Ordering::Relaxed);
            let combined = combine(old, *new);
            if combined != old {
                word.store(combined, Ordering::Relaxed);
            }
        }
    }

    pub(super) fn set_bit(&self, (word, bit): (u32, u32)) {
        if let Some(word) = self.0.words().get(word as usize) {
            AtomicU64::fetch_or(word, 1 << bit, Ordering::Relaxed);
        }
    }
}
