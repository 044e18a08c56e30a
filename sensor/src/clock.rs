//! The kernel half's clock and the wall's. The kernel counts nanoseconds of `CLOCK_MONOTONIC`
//! (`bpf_ktime_get_ns`); people want dates. What is counted, and how old it is, is a matter of the
//! first alone: the wall's clock may jump. Both are taken for the host's: a daemon in a time
//! namespace that shifts the monotonic clock would mistake ages and dates.

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
    zero_at(SystemTime::now(), now_ns())
}

/// The same, when the wall's clock says `wall` and the kernel half's `now_ns`.
fn zero_at(wall: SystemTime, now_ns: u64) -> SystemTime {
    wall - Duration::from_nanos(now_ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wall_clock_that_jumps_takes_what_was_seen_along_and_makes_nothing_older() {
        let (now_ns, seen_ns) = (5_000_000_000_000, 4_990_000_000_000);
        let year = Duration::from_hours(24 * 365);
        let wall = SystemTime::UNIX_EPOCH + 50 * year;
        // Forwards, backwards, and to where a host without a battery begins.
        for wall in [wall, wall + year, wall - year, SystemTime::UNIX_EPOCH] {
            let seen_at = zero_at(wall, now_ns) + Duration::from_nanos(seen_ns);
            assert_eq!(seen_at, wall - Duration::from_secs(10), "ten seconds ago by whatever clock");
        }
    }
}
