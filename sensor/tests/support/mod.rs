//! What privileged tests stand on: network namespaces, a pins directory of their own, a daemon
//! of their own. Each is taken down when it is dropped, also when a test fails.

#![allow(dead_code, reason = "each test binary uses a part of it")]

pub mod bpffs;
pub mod daemon;
pub mod namespace;
pub mod nft;
pub mod prefixes;
pub mod refusal;
pub mod series;
pub mod tcpreplay;
pub mod tun;
pub mod wire;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A directory on the bpffs that no one else uses.
pub struct PinsDirectory(PathBuf);

impl PinsDirectory {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(PathBuf::from(format!("/sys/fs/bpf/poolwatch-test-{}-{number}", std::process::id())))
    }

    /// One on a bpffs that the test mounted.
    pub const fn at(path: PathBuf) -> Self {
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for PinsDirectory {
    fn drop(&mut self) {
        // Gone already when the test detached.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
