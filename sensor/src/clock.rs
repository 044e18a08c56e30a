//! The kernel half's clock and the wall's. The kernel counts nanoseconds of `CLOCK_MONOTONIC`
//! (`bpf_ktime_get_ns`); people want dates.

use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, clock_gettime};

/// Now, as the kernel half tells time.
#[allow(clippy::cast_sign_loss, reason = "a monotonic clock does not run before it starts")]
pub fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// When that clock stood at 0, by the wall's clock of this moment.
pub fn boot_at() -> SystemTime {
    SystemTime::now() - Duration::from_nanos(now_ns())
}
