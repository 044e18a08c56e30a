//! The only user of aya: loads the kernel half, hands out its maps, attaches its programs.
//! Nothing in here decides what is watched or what is shown.

pub mod attach;
mod batch;
mod filter;
pub mod interfaces;
mod log;
mod mapped;
pub mod maps;
pub mod pins;
pub mod tables;

use anyhow::{Context, Result};
use aya::programs::SchedClassifier;
use aya::{Ebpf, EbpfLoader};
use rustix::process::{Resource, Rlimit, setrlimit};
use sensor_ebpf::abi::{Own, Totals, map, program};
use tokio::sync::Mutex;

use crate::config::Limits;
use crate::state::{Cost, Kernel};
use maps::Maps;
use pins::Pins;

/// The kernel half, as the build embedded it.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/poolwatch-kernel"));

/// The kernel half in the kernel: its maps to read, and its programs to attach.
pub struct Loaded {
    pub maps: Maps,
    pub programs: Mutex<Programs>,
}

impl Kernel for Loaded {
    fn totals(&self, slot: u32) -> Result<Totals> {
        self.maps.totals(slot)
    }

    fn all_totals(&self, slots: u32) -> Result<Vec<Totals>> {
        self.maps.all_totals(slots)
    }

    fn own(&self) -> Result<Own> {
        self.maps.own()
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

/// Loads the kernel half, on the maps pinned in `pins` where there are any.
///
/// # Errors
/// When a pinned map is not what this version would make, or the kernel refuses a map or a program.
pub fn load(pins: &Pins, limits: &Limits) -> Result<(Programs, Maps)> {
    allow_locked_memory();
    let mut loader = EbpfLoader::new();
    let capacities = capacities(limits);
    for sized in &capacities {
        loader.map_max_entries(sized.map, sized.entries);
    }
    maps::check_schema(&pins.maps())?;
    pins.check_maps(OBJECT, &capacities)?;
    let level = log::level();
    let mut ebpf = loader
        .override_global(aya_log::LEVEL, &level, true)
        .default_map_pin_directory(pins.maps())
        // What BTF describes is not pinned by itself.
        .map_pin_path(map::TABLES, pins.maps().join(map::TABLES))
        .load(OBJECT)
        .context("the kernel refused the maps of the kernel half")?;
    for name in program::ETHERNET.iter().chain(&program::IP) {
        let program: &mut SchedClassifier =
            ebpf.program_mut(name).with_context(|| format!("no program {name}"))?.try_into()?;
        program.load().with_context(|| format!("the kernel refused the program {name}"))?;
    }
    if level > log::OFF {
        log::follow(&mut ebpf)?;
    }
    let maps = Maps::take(&mut ebpf)?;
    Ok((Programs(ebpf), maps))
}

/// Before 5.11 (commit 3ac1f01b43b6 and its series) maps counted against `RLIMIT_MEMLOCK`. Where
/// the limit may not be raised it is most likely not needed either, and else the kernel says so.
fn allow_locked_memory() {
    let unlimited = Rlimit { current: None, maximum: None };
    if let Err(error) = setrlimit(Resource::Memlock, unlimited) {
        tracing::debug!("RLIMIT_MEMLOCK stays: {error}");
    }
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
