//! The coverage filter, written through memory that is shared with the kernel: two megabytes in
//! one copy instead of a system call a word.

use anyhow::{Context, Result, ensure};
use aya::maps::MapData;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use sensor_ebpf::abi::{filter, map};

/// Words of one generation.
const HALF: usize = filter::WORDS as usize;
const LEN_BYTES: usize = 2 * HALF * size_of::<u64>();

/// FILTER, mapped; this daemon alone writes it.
pub(super) struct Filter(*mut u64);

impl Filter {
    pub(super) fn map(data: &MapData) -> Result<Self> {
        let (anywhere, protection) = (std::ptr::null_mut(), ProtFlags::READ | ProtFlags::WRITE);
        // SAFETY: a new mapping, at an address of the kernel's choice, of a map that is this long.
        let base = unsafe { mmap(anywhere, LEN_BYTES, protection, MapFlags::SHARED, data.fd(), 0) };
        Ok(Self(base.context("mapping FILTER")?.cast()))
    }

    /// Fills a generation that the programs do not read.
    pub(super) fn write(&mut self, generation: usize, words: &[u64]) -> Result<()> {
        ensure!(words.len() == HALF, "{}: {} words instead of {HALF}", map::FILTER, words.len());
        let start = (generation & 1) * HALF;
        // SAFETY: within the mapping, which begins at a page; nobody else reads it yet.
        unsafe { self.0.add(start).copy_from_nonoverlapping(words.as_ptr(), HALF) };
        Ok(())
    }

    /// Sets a bit of a generation that the programs may be reading: they see it before or after.
    pub(super) fn set(&mut self, generation: usize, word: usize, bit: u64) {
        let index = (generation & 1) * HALF + word.min(HALF - 1);
        // SAFETY: within the mapping, aligned, and written by nobody else.
        unsafe {
            let word = self.0.add(index);
            word.write_volatile(word.read_volatile() | bit);
        }
    }
}

impl Drop for Filter {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `map`, used nowhere else. That it goes wrong would mean that
        // it is not one.
        let _ = unsafe { munmap(self.0.cast(), LEN_BYTES) };
    }
}
