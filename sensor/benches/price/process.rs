//! What a process holds: its own memory, and the kernel's for the maps that it has open, as
//! /proc tells (proc(5)). What a map holds is the kernel's own word (`memlock` in fdinfo): the
//! memory in use since 6.3 (commit 90a5527d7686), what it may grow to before.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsFd, AsRawFd};

use anyhow::{Context, Result};
use aya::maps::{ArrayOfMaps, Map, MapData, MapInfo};

const MIB: f64 = (1 << 20) as f64;

/// Bytes as MiB.
#[allow(clippy::cast_precision_loss, reason = "memory is far below 2^53")]
pub fn mib(bytes: u64) -> f64 {
    bytes as f64 / MIB
}

/// Resident memory of a process in bytes: now, and at its highest.
pub fn resident(pid: u32) -> Result<(u64, u64)> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| path.clone())?;
    let bytes = |name: &str| -> Option<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.split_whitespace().next()?.parse::<u64>().ok()? << 10)
    };
    bytes("VmRSS:").zip(bytes("VmHWM:")).with_context(|| format!("{path} says nothing of its memory"))
}

/// Seconds that a process has run so far, all its threads, to a hundredth.
pub fn cpu_seconds(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let said = fs::read_to_string(&path).with_context(|| path.clone())?;
    // The name, which may be anything, is in parentheses; utime and stime are fields 14 and 15.
    let fields = said.rsplit_once(") ").map(|(_, rest)| rest.split_whitespace().skip(11));
    let ticks = fields.with_context(|| format!("{path}: {said}"))?.take(2).map(str::parse::<u32>);
    let ticks = ticks.sum::<Result<u32, _>>().with_context(|| format!("{path}: {said}"))?;
    let a_second = u32::try_from(rustix::param::clock_ticks_per_second())?;
    Ok(f64::from(ticks) / f64::from(a_second))
}

/// Bytes of each map that a process has open, and of the maps inside those, by name: maps of one
/// name are one.
pub fn maps(pid: u32) -> Result<BTreeMap<String, u64>> {
    let mut by_id = BTreeMap::new();
    let directory = format!("/proc/{pid}/fdinfo");
    for entry in fs::read_dir(&directory).with_context(|| directory.clone())? {
        // Closed since it was listed.
        let Ok(info) = fs::read_to_string(entry?.path()) else { continue };
        if let Some(id) = field(&info, "map_id:") {
            add(id, &info, &mut by_id)?;
        }
    }
    let mut by_name = BTreeMap::new();
    for (name, bytes) in by_id.into_values() {
        *by_name.entry(name).or_default() += bytes;
    }
    Ok(by_name)
}

fn add(id: u64, info: &str, by_id: &mut BTreeMap<u64, (String, u64)>) -> Result<()> {
    let bytes = field(info, "memlock:").context("fdinfo of a map without memlock")?;
    let number = u32::try_from(id)?;
    // Gone since it was listed.
    let Ok(map) = MapInfo::from_id(number) else { return Ok(()) };
    let name = map.name_as_str().context("the name of a map")?.to_owned();
    let is_known = by_id.insert(id, (name, bytes)).is_some();
    if is_known || map.map_type()? != aya::maps::MapType::ArrayOfMaps {
        return Ok(());
    }
    let outer: ArrayOfMaps<MapData> = Map::from_map_data(MapData::from_id(number)?)?.try_into()?;
    for index in 0..outer.len() {
        // An empty place.
        let Ok(inner) = outer.get(&index, 0) else { continue };
        let fd = inner.fd().as_fd().as_raw_fd();
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).context("fdinfo of a map")?;
        add(u64::from(inner.info()?.id()), &info, by_id)?;
    }
    Ok(())
}

fn field(info: &str, name: &str) -> Option<u64> {
    info.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}
