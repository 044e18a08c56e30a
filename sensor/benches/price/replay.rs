//! Replay: packets a second over one long capture, against ndpiReader, which looks into payload
//! and not only at addresses. Whole processes are timed, one after the other in turn, from their
//! start to their end, with the file in the page cache.

mod capture;
mod made_up;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;

use super::Plan;
use super::figure::{About, Report};

const POOLWATCH: &str = env!("CARGO_BIN_EXE_poolwatch");
/// Packets of the capture: enough that starting a process does not matter, or just enough to see
/// that it works.
const PACKETS: usize = 1_000_000;
const PACKETS_QUICK: usize = 50_000;
const RUNS: usize = 7;

/// Everything concerns someone: each packet is looked up and followed in both directions.
const ALL_WATCHED: &str = "[[watchlist]]\nname = \"all\"\nprefixes = [\"0.0.0.0/0\", \"::/0\"]\n";

pub fn measure(plan: &Plan, report: &mut Report) -> Result<()> {
    let directory = TempDir::new().context("a directory for a capture")?;
    let file = directory.path().join("packets.pcap");
    let packets = if plan.quick { PACKETS_QUICK } else { PACKETS };
    let merged = match &plan.captures {
        Some(captures) => capture::of_directory(captures)?,
        None => made_up::packets(),
    };
    capture::write(&file, &merged, packets)?;
    let (usual, all) = (directory.path().join("usual.toml"), directory.path().join("all.toml"));
    fs::write(&usual, "").and_then(|()| fs::write(&all, ALL_WATCHED)).context("configs")?;

    let [mut ours, mut ours_all, mut theirs, mut ratio] = [const { Vec::new() }; 4];
    for _ in 0..plan.runs.min(RUNS) {
        let [own, own_all] = [replay(&file, &usual, packets)?, replay(&file, &all, packets)?];
        let other = inspect(&file)?;
        ours.push(rate(packets, own));
        ours_all.push(rate(packets, own_all));
        theirs.push(rate(packets, other));
        ratio.push(other / own);
    }
    let what = "packets of a capture, built-in lists";
    report.add(&about("packets_per_second", what, "poolwatch", "packets/s"), &ours);
    let what = "packets of a capture, all of them watched";
    report.add(&about("packets_per_second_watched", what, "poolwatch", "packets/s"), &ours_all);
    let what = "packets of a capture, with their payload";
    report.add(&about("packets_per_second", what, "ndpiReader", "packets/s"), &theirs);
    report.add(&about("ratio", "packets a second against ndpiReader's", "poolwatch", "times"), &ratio);
    Ok(())
}

fn about(key: &'static str, what: &'static str, subject: &'static str, unit: &'static str) -> About<'static> {
    About { part: "replay", key, what, subject, prefixes: None, unit }
}

#[allow(clippy::cast_precision_loss, reason = "a million packets")]
fn rate(packets: usize, seconds: f64) -> f64 {
    packets as f64 / seconds
}

/// Seconds that `poolwatch replay` takes, which must have seen every packet.
fn replay(file: &Path, config: &Path, packets: usize) -> Result<f64> {
    let mut command = Command::new(POOLWATCH);
    command.arg("--config").arg(config).args(["replay", "--format", "json"]).arg(file);
    let (seconds, said) = timed(&mut command)?;
    let last = said.lines().last().context("poolwatch replay said nothing")?;
    let summary: Value = serde_json::from_str(last).context("the summary")?;
    ensure!(summary["packets"] == packets, "{packets} packets were replayed as {}", summary["packets"]);
    Ok(seconds)
}

/// Seconds that ndpiReader takes, which has one thread a file.
fn inspect(file: &Path) -> Result<f64> {
    let (seconds, _) = timed(Command::new("ndpiReader").args(["-q", "-i"]).arg(file))
        .context("is ndpiReader (Debian's libndpi-bin) installed?")?;
    Ok(seconds)
}

fn timed(command: &mut Command) -> Result<(f64, String)> {
    command.stdin(Stdio::null()).stderr(Stdio::inherit());
    let begun = Instant::now();
    let output = command.output().with_context(|| format!("{command:?}"))?;
    let seconds = begun.elapsed().as_secs_f64();
    ensure!(output.status.success(), "{command:?}: {}", output.status);
    Ok((seconds, String::from_utf8_lossy(&output.stdout).into_owned()))
}
