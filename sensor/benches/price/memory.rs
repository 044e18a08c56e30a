//! What the sensor holds when nothing happens: the daemon, and the kernel for its maps, with the
//! default config, of which only the interface and the pins directory are changed.
//!
//! The kernel's part is the same in each run on as many CPUs, and is held against a limit.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, anyhow};
use aya::util::nr_cpus;

use super::Plan;
use super::figure::{About, Report};
use super::process::{maps, mib, resident};
use super::support::daemon::Daemon;
use super::support::namespace::Namespace;

/// From ready to at rest.
const REST: Duration = Duration::from_secs(3);
/// Maps below this are not told one by one, in MiB.
const WORTH_TELLING: f64 = 0.2;

/// What the maps may hold: as much whatever the machine, and as much for each possible CPU.
const MAPS_MAX_BYTES: u64 = 23 << 20;
const MAPS_MAX_BYTES_PER_CPU: u64 = 512 << 10;

pub fn measure(_plan: &Plan, report: &mut Report) -> Result<()> {
    let (near, _far) = Namespace::pair();
    let daemon = Daemon::start(&near, "");
    sleep(REST);
    let (now, _) = resident(daemon.id())?;
    let maps = maps(daemon.id())?;
    drop(daemon);

    let total = maps.values().sum();
    let cpus = nr_cpus().map_err(|(file, error)| anyhow!("{file}: {error}"))?;
    add("daemon_resident", "the daemon, built-in lists only", mib(now), report);
    add("kernel_maps", &format!("all kernel maps, {cpus} CPUs"), mib(total), report);
    for (name, bytes) in maps.iter().filter(|(_, bytes)| mib(**bytes) >= WORTH_TELLING) {
        add(&format!("map_{name}"), &format!("kernel map {name}"), mib(*bytes), report);
    }
    let most = MAPS_MAX_BYTES + MAPS_MAX_BYTES_PER_CPU * cpus as u64;
    report.judge("kernel maps, built-in lists only", total, "bytes", most);
    Ok(())
}

fn add(key: &str, what: &str, value: f64, report: &mut Report) {
    let about = About { part: "memory", key, what, subject: "poolwatch", prefixes: None, unit: "MiB" };
    report.add(&about, &[value]);
}
