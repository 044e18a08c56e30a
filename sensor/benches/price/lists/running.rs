//! A real daemon on a list: from its start to ready, and from one version of the list to the next
//! while packets to a watched address pass. Each of them must be counted.

use std::fs;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use super::{Feed, WATCHED, about};
use crate::figure::Report;
use crate::process::{maps, mib, resident};
use crate::support::PinsDirectory;
use crate::support::daemon::{Daemon, Metrics};
use crate::support::namespace::Namespace;

/// How long a daemon may take to be ready, or to swap its lists.
const PATIENCE: Duration = Duration::from_mins(2);
/// Between two questions to it.
const POLL: Duration = Duration::from_millis(2);
/// Between two looks at the kernel's memory: two generations lie in it for some ten milliseconds.
const SAMPLE: Duration = Duration::from_millis(1);
/// Packets that are sent between two pauses of a millisecond.
const BURST: usize = 10;
/// At rest: after the daemon's first sweeps, and when the kernel has freed what it was to free.
const REST: Duration = Duration::from_secs(1);

pub fn measure(feed: &Feed, runs: usize, report: &mut Report) -> Result<()> {
    let (near, far) = Namespace::pair();
    far.owns(WATCHED);
    let port = format!("{WATCHED}:9");
    // Never read: what does not fit is dropped there, behind where packets are counted.
    let _sink = far.enter(|| UdpSocket::bind(&port)).context("a sink for packets")?;

    let mut load = Vec::new();
    let mut daemon = start(&near, feed, &mut load)?;
    for _ in 1..runs {
        drop(daemon);
        daemon = start(&near, feed, &mut load)?;
    }
    let mut swap = Vec::new();
    // Neighbours find each other before packets are compared: what waits for that may be dropped.
    near.enter(|| UdpSocket::bind("0.0.0.0:0")?.send_to(&[0], &port)).context("sending a packet")?;
    thread::sleep(REST);
    let mut kernel_rest = kernel_memory(&daemon)?;
    let kernel_swap = under_traffic(&near, &daemon, &port, || {
        (0..runs).try_for_each(|run| {
            swap.push(swapped(&daemon, feed, (run + 1) % 2)?);
            Ok(())
        })
    })?;
    thread::sleep(REST);
    kernel_rest = kernel_rest.max(kernel_memory(&daemon)?);
    let (rest, peak) = resident(daemon.id())?;
    feed.replace(0)?;

    let count = feed.count;
    report.add(&about("load", "a daemon from its start to ready", count, "s"), &load);
    report.add(&about("swap", "a list swapped under traffic", count, "s"), &swap);
    let what = "memory of the kernel's maps at rest";
    report.add(&about("kernel_memory_rest", what, count, "MiB"), &[mib(kernel_rest)]);
    let what = "memory of the kernel's maps while lists are swapped";
    report.add(&about("kernel_memory_swap", what, count, "MiB"), &[mib(kernel_swap)]);
    report.add(&about("daemon_resident", "the daemon's memory at rest", count, "MiB"), &[mib(rest)]);
    report.add(&about("daemon_peak", "the daemon's memory at its highest", count, "MiB"), &[mib(peak)]);
    Ok(())
}

/// A daemon that is ready, on pins of its own, and how long that took.
fn start<'a>(near: &'a Namespace, feed: &Feed, seconds: &mut Vec<f64>) -> Result<Daemon<'a>> {
    let begun = Instant::now();
    let daemon = Daemon::spawn(near, PinsDirectory::new(), "interfaces = [\"eth0\"]", &feed.config(), &[]);
    while daemon.get("/readyz").is_none_or(|(code, _)| code != 200) {
        let stat = fs::read_to_string(format!("/proc/{}/stat", daemon.id())).unwrap_or_default();
        let waits = begun.elapsed() < PATIENCE && !stat.is_empty() && !stat.contains(") Z ");
        ensure!(waits, "the daemon does not become ready:\n{}", daemon.log());
        thread::sleep(POLL);
    }
    seconds.push(begun.elapsed().as_secs_f64());
    Ok(daemon)
}

/// Seconds from the new version of the feed to its reload.
fn swapped(daemon: &Daemon, feed: &Feed, version: usize) -> Result<f64> {
    let before = reloaded_at(&daemon.metrics())?;
    feed.replace(version)?;
    let begun = Instant::now();
    daemon.signal(Signal::HUP);
    while reloaded_at(&daemon.metrics())? == before {
        ensure!(begun.elapsed() < PATIENCE, "the lists were never swapped:\n{}", daemon.log());
        thread::sleep(POLL);
    }
    Ok(begun.elapsed().as_secs_f64())
}

/// When the lists were last read, as the daemon writes it.
fn reloaded_at(metrics: &Metrics) -> Result<String> {
    const NAME: &str = "poolwatch_config_last_reload_success_timestamp_seconds ";
    let value = metrics.0.lines().find_map(|line| line.strip_prefix(NAME));
    Ok(value.with_context(|| format!("no {NAME}in:\n{}", metrics.0))?.to_owned())
}

/// Does something while packets to the watched address pass, each of which must be counted.
/// Returns the most that the kernel held for the maps meanwhile, in bytes.
fn under_traffic(
    near: &Namespace,
    daemon: &Daemon,
    port: &str,
    does: impl FnOnce() -> Result<()>,
) -> Result<u64> {
    let counted =
        || daemon.metrics().sum("poolwatch_packets_total", &[("direction", "egress"), ("transport", "udp")]);
    let before = counted();
    let stop = AtomicBool::new(false);
    let (sent, most, done) = thread::scope(|scope| {
        let sender = scope.spawn(|| near.enter(|| send(port, &stop)));
        let watcher = scope.spawn(|| most_kernel_memory(daemon, &stop));
        let done = does();
        stop.store(true, Ordering::Relaxed);
        (sender.join(), watcher.join(), done)
    });
    done?;
    let (sent, most) = match (sent, most) {
        (Ok(sent), Ok(most)) => (sent?, most?),
        (Err(panic), _) | (_, Err(panic)) => std::panic::resume_unwind(panic),
    };
    let counted = counted() - before;
    ensure!(sent > 0 && counted == sent, "{sent} packets were sent and {counted} were counted");
    Ok(most)
}

/// Sends until it is stopped, and says how many packets.
fn send(port: &str, stop: &AtomicBool) -> Result<u64> {
    let socket = UdpSocket::bind("0.0.0.0:0").context("a socket")?;
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) {
        for _ in 0..BURST {
            socket.send_to(&[0; 32], port).context("sending a packet")?;
            sent += 1;
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(sent)
}

fn most_kernel_memory(daemon: &Daemon, stop: &AtomicBool) -> Result<u64> {
    let mut most = 0;
    while !stop.load(Ordering::Relaxed) {
        most = kernel_memory(daemon)?.max(most);
        thread::sleep(SAMPLE);
    }
    Ok(most)
}

fn kernel_memory(daemon: &Daemon) -> Result<u64> {
    Ok(maps(daemon.id())?.values().sum())
}
