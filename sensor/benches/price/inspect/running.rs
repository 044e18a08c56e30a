//! What a host pays in all for JSON that is nobody's: ten thousand segments a second leave it, and what
//! the programs at the interface and the daemon took is told as a share of one core. Once each segment
//! is of another connection, so that as many are copied and heard as the budget lets through; once all
//! are of a hundred connections, which is life: of each, the first few are.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::about;
use crate::build::from;
use crate::figure::Report;
use crate::process::cpu_seconds;
use crate::setting::Setting;
use crate::support::daemon::{Daemon, Metrics};
use crate::support::namespace::Namespace;
use crate::support::wire::Wire;

/// Segments a second, in bursts of a millisecond.
const A_SECOND: u32 = 10_000;
const BURST: u32 = A_SECOND / 1_000;
/// Ports that connections come from.
const PORTS: u16 = 50_000;
const FEW: u16 = 100;

pub fn measure(seconds: u32, json: &[u8], report: &mut Report) -> Result<()> {
    let _statistics = Setting::set("kernel.bpf_stats_enabled", "1")?;
    let (near, _far) = Namespace::pair();
    for (key, what, connections) in [
        ("core_share_new", "10,000 segments of JSON a second, each of another connection", PORTS),
        ("core_share", "10,000 segments of JSON a second, of 100 connections", FEW),
    ] {
        let daemon = Daemon::start(&near, "");
        let share = share(&near, &daemon, seconds, json, connections)?;
        report.add(&about(key, what, "% of a core"), &[share]);
    }
    Ok(())
}

fn share(near: &Namespace, daemon: &Daemon, seconds: u32, json: &[u8], connections: u16) -> Result<f64> {
    let frames: Vec<_> = (0..connections)
        .map(|port| {
            let frame = from("10.99.0.1", "10.99.0.2").ports(10_000 + port, 8080);
            frame.ack(1_000, 1_000).data(json).bytes()
        })
        .collect();
    let wire = Wire::open(near, "eth0");
    let mut frames = frames.iter().cycle();
    let (before, spent) = (daemon.metrics(), cpu_seconds(daemon.id())?);
    let begun = Instant::now();
    for burst in 1..=seconds * A_SECOND / BURST {
        frames.by_ref().take(BURST as usize).for_each(|frame| wire.send(frame));
        sleep((begun + Duration::from_millis(1) * burst).saturating_duration_since(Instant::now()));
    }
    let spent = cpu_seconds(daemon.id())? - spent;
    let elapsed = begun.elapsed().as_secs_f64();
    let after = daemon.metrics();
    let is_on_time = elapsed < 1.1 * f64::from(seconds);
    ensure!(is_on_time, "this machine sends no {A_SECOND} segments a second: {elapsed} s for {seconds}");
    let in_kernel = run_seconds(&after)? - run_seconds(&before)?;
    let dropped = after.sum("poolwatch_samples_dropped_total", &[("kind", "json")]);
    eprintln!(
        "  daemon {:.2} %, programs {:.2} %, {dropped} of {} not copied",
        100.0 * spent / elapsed,
        100.0 * in_kernel / elapsed,
        seconds * A_SECOND,
    );
    Ok(100.0 * (spent + in_kernel) / elapsed)
}

/// Of all programs, by the kernel's statistics, which are themselves part of it.
fn run_seconds(metrics: &Metrics) -> Result<f64> {
    let values = metrics.0.lines().filter_map(|line| {
        line.strip_prefix("poolwatch_program_run_seconds_total{")?.split_once(' ').map(|(_, value)| value)
    });
    values.map(|value| value.parse::<f64>().with_context(|| value.to_owned())).sum()
}
