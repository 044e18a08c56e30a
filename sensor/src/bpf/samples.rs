//! The reading end of SAMPLES. What does not fit into the ring the kernel half has counted.

use std::io::{self, ErrorKind};

use anyhow::{Context, Result};
use aya::maps::{MapData, RingBuf};
use sensor_ebpf::abi::{Budgets, SampleHeader, SampleKind, WINDOW_NS_LOG2};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::maps::Raw;
use crate::config::Inspect;
use crate::verdict::Sample;

/// Samples, as they come.
pub struct Samples(AsyncFd<RingBuf<MapData>>);

impl Samples {
    pub(super) fn new(ring: RingBuf<MapData>) -> Result<Self> {
        // SAFETY: the map's file descriptor is owned by the ring and always the same.
        unsafe { AsyncFd::register(ring) }.map(Self).context("waiting for samples")
    }

    /// Returns when there may be some.
    ///
    /// # Errors
    /// When that cannot be waited for.
    pub async fn ready(&mut self) -> io::Result<()> {
        // Cleared by `drain`, when it finds the ring empty.
        self.0.readable_mut().await?.retain_ready();
        Ok(())
    }

    /// Hands over at most `max` of them, and tells whether those were all. What is left over keeps it ready.
    ///
    /// # Errors
    /// When that cannot be asked for.
    pub fn drain(&mut self, max: usize, mut hear: impl FnMut(&Sample<'_>)) -> io::Result<bool> {
        let drained = self.0.try_io_mut(Interest::READABLE, |ring| {
            for _ in 0..max {
                // Found empty: it is not ready any more, unless something came meanwhile.
                let entry = ring.next().ok_or(ErrorKind::WouldBlock)?;
                if let Some(sample) = sample(&entry) {
                    hear(&sample);
                }
            }
            Ok(false)
        });
        match drained {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(true),
            drained => drained,
        }
    }
}

/// An entry of the ring; `None`: it is not as this version writes them.
fn sample(entry: &[u8]) -> Option<Sample<'_>> {
    let (header, payload) = entry.split_at_checked(size_of::<SampleHeader>())?;
    let Raw(header): Raw<SampleHeader> = Raw::of_bytes(header).ok()?;
    Some(Sample { payload: payload.get(..usize::from(header.captured))?, header })
}

/// What the config lets each kind have in a window.
pub(super) fn budgets(inspect: Inspect) -> Budgets {
    let mut budgets = Budgets::default();
    for kind in SampleKind::ALL {
        let is_wanted = match kind {
            SampleKind::Json | SampleKind::Http | SampleKind::Binary => inspect.mining,
            SampleKind::Tls => inspect.tls,
            SampleKind::Dns => inspect.dns,
        };
        let a_second = u64::from(inspect.samples_per_second) * u64::from(kind.share_percent()) / 100;
        let in_window = (a_second << WINDOW_NS_LOG2) / 1_000_000_000;
        let at_least_one = u32::try_from(in_window).unwrap_or(u32::MAX).max(1);
        budgets.per_window[kind as usize] = if is_wanted { at_least_one } else { 0 };
    }
    budgets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_share_and_what_is_not_wanted_has_none() {
        let share: u32 = SampleKind::ALL.iter().map(|kind| kind.share_percent()).sum();
        assert_eq!(share, 100);
        let table = [
            ("the default", Inspect::default(), [1073, 536, 536, 402, 134]),
            ("no DNS", Inspect { dns: false, ..Inspect::default() }, [1073, 536, 536, 0, 134]),
            ("TLS alone", Inspect { dns: false, mining: false, ..Inspect::default() }, [0, 0, 536, 0, 0]),
            ("hardly any", Inspect { samples_per_second: 1, ..Inspect::default() }, [1; 5]),
        ];
        for (description, inspect, expected) in table {
            assert_eq!(budgets(inspect).per_window[..5], expected, "{description}");
        }
    }

    #[test]
    fn an_entry_that_is_too_short_is_no_sample() {
        assert!(sample(&[0; 71]).is_none());
        assert!(sample(&[0; 72]).unwrap().payload.is_empty());
        let mut entry = [0; 80];
        entry[64] = 9;
        assert!(sample(&entry).is_none(), "more was captured than is there");
        entry[64] = 8;
        assert_eq!(sample(&entry).unwrap().payload.len(), 8);
    }
}
