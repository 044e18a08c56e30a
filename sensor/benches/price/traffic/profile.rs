//! Where a thread spends its time, by `perf record`: the share of samples that were taken in a
//! function or in anything it called, by their call chains. The sampling clock is the CPU's,
//! which virtual machines have as well.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::thread::Pid;
use tempfile::TempDir;

/// Samples a second; not a round number, so that it keeps no step with timers.
const FREQUENCY: &str = "9973";
/// Fewer samples than these say nothing.
const SAMPLES_MIN: usize = 100;

/// What perf recorded of a thread.
pub struct Profile(TempDir);

/// How many of the samples concern a function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    pub inside: usize,
    pub samples: usize,
}

impl Share {
    #[allow(clippy::cast_precision_loss, reason = "fewer samples than a float holds")]
    pub fn of(self, whole: f64) -> f64 {
        whole * self.inside as f64 / self.samples as f64
    }
}

impl Profile {
    /// Records a thread for a while; perf ends by itself.
    pub fn record(thread: Pid, time: Duration) -> Result<Self> {
        let directory = TempDir::new().context("a directory for perf")?;
        let mut perf = Command::new("perf");
        perf.args(["record", "--quiet", "--no-buildid", "--no-buildid-cache"]);
        perf.args(["--event", "cpu-clock", "--call-graph", "fp", "--freq", FREQUENCY]);
        perf.arg("--output").arg(directory.path().join("perf.data"));
        perf.arg("--tid").arg(thread.to_string());
        perf.arg("--").arg("sleep").arg(time.as_secs_f64().to_string());
        run(&mut perf)?;
        Ok(Self(directory))
    }

    /// The share of the functions that `entry` knows by name.
    pub fn share(&self, entry: impl Fn(&str) -> bool) -> Result<Share> {
        let mut perf = Command::new("perf");
        perf.args(["script", "--fields", "ip,sym", "--input"]).arg(self.0.path().join("perf.data"));
        let share = count(&run(&mut perf)?, entry);
        ensure!(share.samples >= SAMPLES_MIN, "perf took only {} samples of the sender", share.samples);
        Ok(share)
    }
}

fn run(perf: &mut Command) -> Result<String> {
    let output = perf.output().context("perf: it is in Debian's package linux-perf")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{perf:?}: {}: {}", output.status, said.trim_end());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Of `perf script`: samples with empty lines between them, a line for each address on the
/// chain, which names the symbol after it.
fn count(script: &str, entry: impl Fn(&str) -> bool) -> Share {
    let mut share = Share::default();
    for sample in script.split("\n\n").filter(|sample| !sample.trim().is_empty()) {
        let symbols = sample.lines().filter_map(|line| line.split_whitespace().nth(1));
        share.samples += 1;
        share.inside += usize::from(symbols.into_iter().any(&entry));
    }
    share
}
