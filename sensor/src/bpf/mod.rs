//! The only user of aya: loads the kernel half, hands out its maps, attaches its programs.
//! Nothing in here decides what is watched or what is shown.

pub mod attach;
mod batch;
pub mod carried;
mod document;
mod entries;
mod filter;
mod flow_copies;
pub mod interfaces;
mod known_copies;
mod layout;
pub mod links;
mod log;
mod mapped;
pub mod maps;
pub mod pins;
pub mod samples;
mod succession;
pub mod tables;

use std::collections::HashMap;

use anyhow::{Context, Result, bail};
use aya::maps::{MapData, ProgramArray};
use aya::programs::SchedClassifier;
use aya::{Ebpf, EbpfLoader};
use aya_obj::Object;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sensor_ebpf::abi::{Daemon, Findings, Own, Totals, map, program};
use tokio::sync::Mutex;

use crate::config::Limits;
use crate::recognition::Recognised;
use crate::state::{Cost, Kernel, Shared};
use carried::Carried;
use maps::Maps;
use pins::Pins;
pub use succession::Owners;
use tables::Tables;

/// The kernel half, as the build embedded it.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/poolwatch-kernel"));

/// The kernel half in the kernel: its maps to read, and its programs to attach.
pub struct Loaded {
    pub maps: Maps,
    pub programs: Mutex<Programs>,
    pub earlier: Shared<Earlier>,
}

/// What was counted before the maps in use were made.
#[derive(Debug, Default)]
pub struct Earlier {
    /// By slot.
    pub totals: HashMap<u32, Totals>,
    /// By slot.
    pub findings: HashMap<u32, Findings>,
    pub own: Own,
    /// What daemons counted about themselves.
    pub daemon: Daemon,
}

impl Kernel for Loaded {
    fn totals(&self, slot: u32) -> Result<Totals> {
        let now = self.maps.totals(slot)?;
        Ok(self.earlier.get().totals.get(&slot).map_or(now, |earlier| now.plus(earlier)))
    }

    fn all_totals(&self, slots: u32) -> Result<Vec<Totals>> {
        let mut totals = self.maps.all_totals(slots)?;
        for (slot, earlier) in &self.earlier.get().totals {
            if let Some(now) = totals.get_mut(*slot as usize) {
                *now = now.plus(earlier);
            }
        }
        Ok(totals)
    }

    fn own(&self) -> Result<Own> {
        Ok(self.maps.own()?.plus(&self.earlier.get().own))
    }

    fn findings(&self, slot: u32, recognised: &Recognised) -> Findings {
        let since = recognised.findings.get(&slot).copied().unwrap_or_default();
        self.earlier.get().findings.get(&slot).map_or(since, |earlier| since.plus(earlier))
    }

    fn earlier(&self) -> Daemon {
        self.earlier.get().daemon
    }

    fn costs(&self) -> Result<Vec<Cost>> {
        let mut programs = self.programs.blocking_lock();
        let names = program::ETHERNET.into_iter().chain(program::IP);
        names
            .map(|program| {
                let info = programs.get(program)?.info()?;
                Ok(Cost { program, runs: info.run_count(), time: info.run_time() })
            })
            .collect()
    }
}

/// The loaded programs.
pub struct Programs(Ebpf);

impl Programs {
    /// A program by the name that it has in the object.
    pub fn get(&mut self, name: &str) -> Result<&mut SchedClassifier> {
        let program = self.0.program_mut(name).with_context(|| format!("no program {name}"))?;
        Ok(program.try_into()?)
    }
}

/// Loads the kernel half, on the maps pinned in `pins` where they are what this version would make;
/// others are set aside, to be taken over from. `targets`: those that are to be watched.
///
/// # Errors
/// When pinned maps cannot be read, or the kernel refuses a map or a program.
pub fn load(pins: &Pins, limits: &Limits, targets: &[(&str, &str)]) -> Result<(Programs, Maps)> {
    allow_locked_memory();
    let mut loader = EbpfLoader::new();
    let capacities = capacities(limits);
    for sized in &capacities {
        loader.map_max_entries(sized.map, sized.entries);
    }
    let object = Object::parse(OBJECT).context("reading the embedded kernel half")?;
    let set = succession::prepare(pins, &object, &capacities, targets)?;
    let level = log::level();
    let mut ebpf = loader
        .override_global(aya_log::LEVEL, &level, true)
        .default_map_pin_directory(pins.maps())
        // What BTF describes is not pinned by itself.
        .map_pin_path(map::TABLES, pins.maps().join(map::TABLES))
        .load(OBJECT)
        .with_context(|| format!("the kernel refused the maps of the kernel half{}", remedies()))?;
    for name in program::ETHERNET.iter().chain(&program::IP) {
        let program: &mut SchedClassifier =
            ebpf.program_mut(name).with_context(|| format!("no program {name}"))?.try_into()?;
        program.load().with_context(|| format!("the kernel refused the program {name}"))?;
    }
    let taker: &mut SchedClassifier = ebpf
        .program_mut(program::TAKE)
        .with_context(|| format!("no program {}", program::TAKE))?
        .try_into()?;
    taker.load().with_context(|| format!("the kernel refused the program {}", program::TAKE))?;
    let taker = taker.fd()?.try_clone()?;
    // Pinned, so that programs of a daemon that is gone call the new one as well.
    let mut sampler: ProgramArray<&mut MapData> =
        ebpf.map_mut(map::SAMPLER).with_context(|| format!("no map {}", map::SAMPLER))?.try_into()?;
    sampler.set(0, &taker, 0).context("writing SAMPLER")?;
    if level > log::OFF {
        log::follow(&mut ebpf)?;
    }
    let mut maps = Maps::take(&mut ebpf)?;
    if let Some(writable) = &mut maps.writable {
        succession::announce(pins, set, &mut writable.settings)?;
    }
    Ok((Programs(ebpf), maps))
}

/// Copies flows that former maps hold and those in use do not, where they are not one table.
///
/// # Errors
/// When former maps cannot be read.
pub fn copy_flows(pins: &Pins, tables: &Tables) -> Result<()> {
    let copied = flow_copies::copy(pins, |watchlist, target| tables.named_by_flows(watchlist, target))?;
    if copied > 0 {
        tracing::info!(flows = copied, "copied from earlier maps");
    }
    Ok(())
}

/// Copies what former maps knew of addresses and connections and those in use do not.
///
/// # Errors
/// When former maps cannot be read.
pub fn copy_known(pins: &Pins, tables: &mut Tables) -> Result<()> {
    known_copies::copy(pins, tables).context("taking over what was learned")
}

/// Takes over what former maps counted, now that our programs took the place of theirs everywhere:
/// `attached` are the indices of the interfaces that they hang on. Second: whose the slots were that
/// flows may still name.
///
/// # Errors
/// When former maps cannot be read, or programs that count in them still hang somewhere.
pub fn inherit(pins: &Pins, tables: &mut Tables, attached: &[u32]) -> Result<(Carried, Owners)> {
    if !pins.former()?.is_empty()
        && let Some(index) = attach::attached(pins)?.into_iter().find(|index| !attached.contains(index))
    {
        bail!(
            "earlier programs still count on the interface with index {index}, as the log says why; their counts \
             are kept for the next start"
        );
    }
    tables.wait_for_programs()?;
    copy_flows(pins, tables)?;
    flow_copies::renumber(pins, |watchlist, target| tables.named_by_flows(watchlist, target))?;
    copy_known(pins, tables)?;
    succession::inherit(pins)
}

/// Before 5.11 (commit 3ac1f01b43b6 and its series) maps counted against `RLIMIT_MEMLOCK`. Where
/// the limit may not be raised it is most likely not needed either, and else the kernel says so.
fn allow_locked_memory() {
    let unlimited = Rlimit { current: None, maximum: None };
    if let Err(error) = setrlimit(Resource::Memlock, unlimited) {
        tracing::debug!("RLIMIT_MEMLOCK stays: {error}");
    }
}

/// What may be the matter when a map is refused.
fn remedies() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let filter = is_filtered(&status).then(|| {
        " (a seccomp filter is in force, a container's for example, and may keep bpf(2) from who has CAP_BPF: Docker 23 \
         and containerd 1.7 do not, older ones take `--security-opt seccomp=unconfined`)"
            .to_owned()
    });
    let limit = getrlimit(Resource::Memlock).current.map(|bytes| {
        format!(
            " (before Linux 5.11 maps count against RLIMIT_MEMLOCK, which is {bytes} bytes: `LimitMEMLOCK=infinity` \
             in the unit, or `ulimit -l unlimited`, lifts it)"
        )
    });
    [filter, limit].into_iter().flatten().collect()
}

/// Are system calls filtered? `status`: /proc/self/status, where Seccomp is 2 then (proc(5)).
fn is_filtered(status: &str) -> bool {
    status.lines().filter_map(|line| line.strip_prefix("Seccomp:")).any(|mode| mode.trim() == "2")
}

/// A map whose size the config sets.
struct Capacity {
    map: &'static str,
    entries: u32,
    /// The key of the config that sets it.
    key: &'static str,
}

fn capacities(limits: &Limits) -> Vec<Capacity> {
    let (targets, flows) = (("limits.targets", limits.targets), ("limits.flows", limits.flows));
    let sized =
        [(map::TARGETS, targets), (map::TOTALS, targets), (map::FINDINGS, targets), (map::FLOWS, flows)];
    sized.into_iter().map(|(map, (key, entries))| Capacity { map, entries, key }).collect()
}

#[cfg(test)]
mod tests {
    use super::is_filtered;

    #[test]
    fn a_seccomp_filter_is_read_from_the_status() {
        assert!(is_filtered("NoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t1\n"));
        assert!(!is_filtered("NoNewPrivs:\t1\nSeccomp:\t0\nSeccomp_filters:\t2\n"));
    }
}
