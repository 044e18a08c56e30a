//! An array map of 64-bit words, in this process' memory.

use std::os::fd::AsFd;
use std::sync::atomic::AtomicU64;

use anyhow::{Context, Result};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// Unmapped when it is dropped; what was written stays in the map.
pub(super) struct Mapped {
    base: *const AtomicU64,
    len: usize,
}

impl Mapped {
    /// `map`: a map of the kernel's that can be mapped (`BPF_F_MMAPABLE`).
    ///
    /// # Errors
    /// When it cannot, or is shorter than `len` words.
    pub(super) fn new(map: impl AsFd, len: usize) -> Result<Self> {
        let (anywhere, protection) = (std::ptr::null_mut(), ProtFlags::READ | ProtFlags::WRITE);
        // SAFETY: a new mapping, at an address of the kernel's choice; the kernel refuses to map
        // more than there is.
        let base = unsafe { mmap(anywhere, len * size_of::<u64>(), protection, MapFlags::SHARED, map, 0) };
        Ok(Self { base: base.context("mapping a map into memory")?.cast(), len })
    }

    /// Its words, which programs and other processes may read and write at the same time.
    pub(super) fn words(&self) -> &[AtomicU64] {
        // SAFETY: the mapping begins at a page, is this long and lives as long as `self`; atomics
        // may be shared with whoever else has it mapped.
        unsafe { std::slice::from_raw_parts(self.base, self.len) }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`, of which nothing is borrowed any more. That it goes
        // wrong would mean that it is not one.
        let _ = unsafe { munmap(self.base.cast_mut().cast(), self.len * size_of::<u64>()) };
    }
}
