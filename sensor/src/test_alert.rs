//! The test alert: for five minutes the daemon shows one mining session that nobody has, so that an
//! operator can try what comes behind it: scraping, rules, the way to whoever is on duty, events.
//!
//! It lives here and in what is exported, never in the kernel's maps nor in what the daemon keeps there:
//! no count of anything real moves, and it ends with the daemon at the latest.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// The watchlist and its target; the config may call none of its own so.
pub const NAME: &str = "test-alert";
/// A miner's role is what `PoolwatchHostMines` is about.
pub const CATEGORY: &str = "mining";
pub const CONFIDENCE: &str = "confirmed";

/// How long it is shown after it was last asked for.
pub const SHOWN_FOR: Duration = Duration::from_mins(5);

/// Who mines and where: addresses for documentation (RFC 5737), which no host has.
pub const MINER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 49_152);
pub const POOL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)), 3333);

/// What people read wherever it is shown with text.
pub const MESSAGE: &str = "synthetic: asked for by `poolwatch test-alert`, nothing was detected";
/// What programs can tell it by.
pub const TAG: &str = "synthetic";

/// What a daemon has of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct TestAlert {
    /// Times it was asked for, which are as many detections.
    pub count: u64,
    /// When it was last asked for, by the kernel half's clock.
    asked_ns: u64,
}

impl TestAlert {
    /// Asked for once more: it is shown from now on as if it had not been before.
    #[must_use]
    pub const fn asked(self, now_ns: u64) -> Self {
        Self { count: self.count + 1, asked_ns: now_ns }
    }

    pub fn is_shown(&self, now_ns: u64) -> bool {
        self.count > 0 && Duration::from_nanos(now_ns.saturating_sub(self.asked_ns)) < SHOWN_FOR
    }

    pub const fn asked_ns(&self) -> u64 {
        self.asked_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_shown_for_five_minutes_after_it_was_last_asked_for_and_each_time_counts() {
        const MINUTE_NS: u64 = 60_000_000_000;
        let never = TestAlert::default();
        assert!(!never.is_shown(0) && !never.is_shown(MINUTE_NS));
        let once = never.asked(10 * MINUTE_NS);
        assert!(once.is_shown(10 * MINUTE_NS) && once.is_shown(15 * MINUTE_NS - 1));
        assert!(!once.is_shown(15 * MINUTE_NS));
        let twice = once.asked(14 * MINUTE_NS);
        assert!(twice.is_shown(19 * MINUTE_NS - 1) && !twice.is_shown(19 * MINUTE_NS));
        assert_eq!((never.count, once.count, twice.count), (0, 1, 2));
    }
}
