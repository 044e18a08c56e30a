//! A limit on requests, whoever asks: a token bucket, as the toolkit has it.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::Place;
use super::written::{RateLimit, given};
use crate::config::quote;

/// One request an interval, and so many at once before that.
#[derive(Debug)]
pub struct Rate {
    interval: Duration,
    burst: u32,
    /// When the bucket will be full again; `None` before the first request.
    full_at: Mutex<Option<Instant>>,
}

impl Rate {
    /// `None` where the interval is 0 or not given, which means no limit.
    pub(super) fn new(place: &Place<'_>, written: &RateLimit) -> Result<Option<Self>> {
        let Some(text) = given(&written.interval) else { return Ok(None) };
        let Some(interval) = duration(&text.value) else {
            let message = format!("{} is no duration such as 1s, 500ms or 1m30s", quote(&text.value));
            return Err(place.error(text.defined.line(), "rate_limit.interval", message));
        };
        if interval.is_zero() {
            return Ok(None);
        }
        let (burst, line) = match &written.burst {
            Some(burst) => (burst.value, burst.defined.line()),
            None => (0, text.defined.line()),
        };
        if burst == 0 {
            return Err(place.error(line, "rate_limit.burst", "0, its default, answers nobody: at least 1"));
        }
        Ok(Some(Self { interval, burst, full_at: Mutex::default() }))
    }

    /// May a request be answered now? If so, it counts.
    pub fn admits(&self, now: Instant) -> bool {
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        let from = full_at.map_or(now, |at| at.max(now));
        let room = self.interval.saturating_mul(self.burst - 1);
        let admits = from.duration_since(now) <= room;
        if admits {
            *full_at = Some(from + self.interval);
        }
        admits
    }
}

/// As Go writes durations: numbers with units, added up.
fn duration(text: &str) -> Option<Duration> {
    /// The longest unit that fits is the one that is meant: "ms" is no "m".
    const UNITS: [(&str, u64); 8] = [
        ("ns", 1),
        ("us", 1_000),
        ("µs", 1_000),
        ("μs", 1_000),
        ("ms", 1_000_000),
        ("s", 1_000_000_000),
        ("m", 60_000_000_000),
        ("h", 3_600_000_000_000),
    ];
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut sum = Duration::ZERO;
    while !rest.is_empty() || text.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let (unit, ns) = UNITS.iter().find(|(unit, _)| rest.starts_with(unit))?;
        let seconds = number * Duration::from_nanos(*ns).as_secs_f64();
        sum = sum.checked_add(Duration::try_from_secs_f64(seconds).ok()?)?;
        rest = &rest[unit.len()..];
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_go_s() {
        for (text, ms) in [
            ("0", 0),
            ("0s", 0),
            ("1s", 1000),
            ("1.5s", 1500),
            ("500ms", 500),
            ("1m30s", 90_000),
            ("2h", 7_200_000),
        ] {
            assert_eq!(duration(text), Some(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "5", "s", "-1s", "1 s", "1s5", "1.2.3s", "1d", "99999999999999999999h"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn a_burst_is_admitted_at_once_and_then_one_an_interval() {
        let rate = Rate { interval: Duration::from_secs(1), burst: 3, full_at: Mutex::default() };
        let start = Instant::now();
        let admitted_at = |ms| rate.admits(start + Duration::from_millis(ms));
        assert_eq!([0, 0, 0, 0].map(admitted_at), [true, true, true, false]);
        assert_eq!([999, 1000, 1001, 2000].map(admitted_at), [false, true, false, true]);
        assert_eq!([60_000, 60_000, 60_000, 60_000].map(admitted_at), [true, true, true, false]);
    }
}
