//! What privileged tests stand on: network namespaces, a pins directory of their own, a daemon
//! of their own. Each is taken down when it is dropped, also when a test fails.

#![allow(dead_code, reason = "each test binary uses a part of it")]

pub mod bpffs;
pub mod daemon;
pub mod datagrams;
pub mod hooks;
pub mod kernel;
pub mod mining;
pub mod namespace;
pub mod nft;
pub mod prefixes;
pub mod refusal;
pub mod series;
pub mod tcpreplay;
pub mod test_run;
pub mod traffic;
pub mod tun;
pub mod wire;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// How long something that is to come true may take.
pub fn patience() -> Duration {
    patiently(Duration::from_secs(20))
}

/// A wait, made longer where `POOLWATCH_TEST_PATIENCE` says by how many times: in an emulator.
pub fn patiently(wait: Duration) -> Duration {
    static TIMES: OnceLock<u32> = OnceLock::new();
    let times = || {
        let set = std::env::var("POOLWATCH_TEST_PATIENCE");
        set.map_or(1, |times| times.parse().expect("POOLWATCH_TEST_PATIENCE is a number"))
    };
    wait * *TIMES.get_or_init(times)
}

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
