//! /metrics with few, many and very many targets, each with every series that a target can have:
//! what a scrape takes over HTTP from a real daemon, how large it is, and what gathering it costs
//! by itself, in time and in allocations.
//!
//! What was counted is written to the maps, without packets.

pub mod allocations;
mod counted;

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use sensor::metrics::{self, Process};

use super::Plan;
use super::figure::{About, Report};
use super::support::PinsDirectory;
use super::support::daemon::Daemon;
use super::support::namespace::Namespace;
use counted::Counted;

/// Targets on a page.
const TARGETS: [u32; 3] = [10, 300, 1_000];
/// Where the daemon listens unless its config says otherwise.
const METRICS: &str = "http://127.0.0.1:9750/metrics";
/// Allocations of a scrape, however many targets there are: its texts grow by doubling, and the
/// rest is the process' own metrics. A few more than was measured with the most targets.
const ALLOCATIONS_MAX: u64 = 450;
/// A page may not be larger, in bytes.
const PAGE_MAX: u64 = 64 << 20;

pub fn measure(plan: &Plan, report: &mut Report) -> Result<()> {
    for targets in TARGETS {
        let directory = PinsDirectory::new();
        let counted = Counted::write(directory.path(), targets)?;
        gather(&counted, plan.runs, report)?;
        scrape(directory, &counted, plan.runs, report)?;
    }
    Ok(())
}

fn about(key: &'static str, what: &'static str, targets: u32, unit: &'static str) -> About<'static> {
    About { part: "scrape", key, what, subject: "poolwatch", prefixes: Some(targets), unit }
}

/// The page put together in this process, from the kernel's maps.
fn gather(counted: &Counted, runs: usize, report: &mut Report) -> Result<()> {
    let process = Process::default();
    let mut milliseconds = Vec::new();
    for _ in 0..runs {
        let begun = Instant::now();
        metrics::text(&counted.state, &process)?;
        milliseconds.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    let (page, allocated) = allocations::counted(|| metrics::text(&counted.state, &process));
    page?;
    let targets = counted.targets;
    report.add(&about("gather", "/metrics put together", targets, "ms"), &milliseconds);
    let what = "allocations of a scrape";
    report.add(&about("allocations", what, targets, "allocations"), &[as_float(allocated)]);
    report.judge(&format!("{what} of {targets} targets"), allocated, "allocations", ALLOCATIONS_MAX);
    Ok(())
}

/// The page over HTTP on loopback, a connection each.
fn scrape(pins: PinsDirectory, counted: &Counted, runs: usize, report: &mut Report) -> Result<()> {
    let targets = counted.targets;
    let near = Namespace::new("scrape");
    let daemon = Daemon::start_on(&near, pins, "interfaces = [\"lo\"]", &counted.tables, &[]);
    daemon.wait_for("the flows of each target", |metrics| {
        metrics.0.matches("poolwatch_peers{").count() == targets as usize
    });
    let (milliseconds, page) = near.enter(|| {
        let mut milliseconds = Vec::new();
        let mut page = String::new();
        for _ in 0..runs {
            let begun = Instant::now();
            let mut answer = ureq::get(METRICS).call().context("scraping")?;
            page = answer.body_mut().with_config().limit(PAGE_MAX).read_to_string().context("scraping")?;
            milliseconds.push(begun.elapsed().as_secs_f64() * 1e3);
        }
        anyhow::Ok((milliseconds, page))
    })?;
    let series = page.lines().filter(|line| !line.starts_with('#')).count() as u64;
    let of_targets = page.lines().filter(|line| line.contains("target=\"")).count() as u64;
    let expected = u64::from(targets) * counted::SERIES_PER_TARGET;
    ensure!(of_targets == expected, "{of_targets} series of targets, expected {expected}");
    report.add(&about("latency", "/metrics over HTTP", targets, "ms"), &milliseconds);
    report.add(&about("size", "size of /metrics", targets, "bytes"), &[as_float(page.len() as u64)]);
    report.add(&about("series", "series of /metrics", targets, "series"), &[as_float(series)]);
    Ok(())
}

#[allow(clippy::cast_precision_loss, reason = "counts of a page are far below 2^53")]
fn as_float(count: u64) -> f64 {
    count as f64
}
