//! A sensor that has seen everything: targets of which each has every count that there is, written
//! to the pinned maps of a kernel half that is loaded and attached nowhere.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context, Result, anyhow};
use aya::maps::{HashMap, Map, MapData, PerCpuArray, PerCpuValues};
use aya::util::nr_cpus;
use sensor::bpf::maps::Raw;
use sensor::bpf::pins::Pins;
use sensor::bpf::{self, Loaded};
use sensor::clock::now_ns;
use sensor::config::Config;
use sensor::flows::{Slots, Sweeper};
use sensor::state::{Interfaces, Reload, Shared, Slot, State, Watched};
use sensor::watchlists::{Sizes, Watchlists};
use sensor_ebpf::abi::{Address, Daemon, Flow, FlowKey, TargetSet, Totals, Transport, Version, map};
use tempfile::TempDir;
use tokio::sync::Mutex;

/// Packets and bytes by direction and transport, connections attempted and established by
/// initiator and transport, joined, last seen, flows by initiator and established, peers, info, and
/// detections and mining sessions.
pub const SERIES_PER_TARGET: u64 = 8 + 8 + 4 + 4 + 1 + 1 + 6 + 1 + 1 + 2;

/// Initiator (local, remote, unknown) and whether established, of the flows of a target.
const KINDS: [(u8, u8); 6] = [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)];

/// The targets of one watchlist, each with all its counts in slots from 0 on.
pub struct Counted {
    pub state: State,
    pub targets: u32,
    /// The config that names the targets, without the pins.
    pub tables: String,
    _feeds: TempDir,
}

impl Counted {
    /// Into new pins, which are kept for a daemon to go on with.
    pub fn write(pins: &Path, targets: u32) -> Result<Self> {
        let directory = TempDir::new().context("a directory for feeds")?;
        let tables = feeds(directory.path(), targets)?;
        let config = directory.path().join("poolwatch.toml");
        fs::write(&config, &tables).context("a config")?;
        let config = Config::load(Some(&config))?;
        let lists = Watchlists::load(&config)?;

        let mut pins = Pins::open(pins)?;
        let (programs, maps) = bpf::load(&pins, &config.limits, &[])?;
        write_totals(&pins, targets)?;
        write_flows(&pins, targets)?;
        pins.keep();
        let flows = maps.flows(config.limits.flows as usize)?;
        let view =
            Sweeper::new(Daemon::default(), Slots::default()).sweep(&flows, flows.len() as u64, now_ns());
        let state = State {
            kernel: Arc::new(Loaded { maps, programs: Mutex::new(programs), earlier: Shared::default() }),
            limits: config.limits.clone(),
            watched: Shared::new(watched(lists)),
            interfaces: Shared::new(Interfaces::default()),
            flows: Shared::new(view),
            reattached: Shared::new(0),
            recognised: Shared::default(),
            test_alert: Shared::default(),
            events_dropped: Arc::default(),
            reload: Shared::new(Reload { successful: true, succeeded_at: SystemTime::now() }),
            web: Shared::default(),
        };
        Ok(Self { state, targets, tables, _feeds: directory })
    }
}

/// A feed file a target, with one prefix, and the tables of the config that names them.
fn feeds(directory: &Path, targets: u32) -> Result<String> {
    let mut tables = "[builtin]\nmining = false\ndprk = false\n[[watchlist]]\nname = \"pools\"\n".to_owned();
    for number in 0..targets {
        let path = directory.join(format!("pool-{number:04}.netset"));
        fs::write(&path, format!("11.{}.{}.0/24\n", number / 256, number % 256)).context("a feed")?;
        write!(tables, "[[watchlist.feed]]\ntarget = \"pool-{number:04}\"\npath = \"{}\"\n", path.display())?;
    }
    Ok(tables)
}

/// The first slots, as a daemon on free pins gives them out.
fn watched(lists: Watchlists) -> Watched {
    let targets = lists.lists.iter().flat_map(|list| list.targets.iter().map(move |target| (list, target)));
    let slots: Vec<_> = (0..)
        .zip(targets)
        .map(|(index, (list, target))| Slot {
            watchlist: list.name.clone(),
            target: target.name.clone(),
            category: list.category.name(),
            confidence: target.confidence.name(),
            index,
        })
        .collect();
    let count = slots.len();
    Watched { lists, slots, slots_taken: count, compiled: Sizes { prefixes_v4: count, ..Sizes::default() } }
}

fn write_totals(pins: &Pins, targets: u32) -> Result<()> {
    let mut totals: PerCpuArray<_, Raw<Totals>> = open(pins, map::TOTALS)?.try_into()?;
    let cpus = nr_cpus().map_err(|(file, error)| anyhow!("{file}: {error}"))?;
    for slot in 0..targets {
        let some = 1_234_567 * u64::from(slot + 1);
        let one = Totals {
            packets: [[some; 4]; 2],
            bytes: [[some * 700; 4]; 2],
            connections: [[some / 100; 2]; 2],
            established: [[some / 200; 2]; 2],
            joined: some / 1000,
            last_seen_ns: now_ns(),
        };
        totals.set(slot, PerCpuValues::try_from(vec![Raw(one); cpus])?, 0)?;
    }
    Ok(())
}

/// A flow of each kind a target, each with a peer of its own.
fn write_flows(pins: &Pins, targets: u32) -> Result<()> {
    let mut flows: HashMap<_, Raw<FlowKey>, Raw<Flow>> = open(pins, map::FLOWS)?.try_into()?;
    for slot in 0..targets {
        for (number, (initiator, established)) in (0..).zip(KINDS) {
            let key = FlowKey {
                remote: Address::v4(slot * 8 + number),
                local: Address::v4(1),
                remote_port: 3333,
                local_port: 50_000,
                transport: Transport::Tcp as u8,
                version: Version::V4 as u8,
                reserved: 0,
            };
            let targets = TargetSet::of([slot]).context("a slot")?;
            let flow = Flow { last_ns: now_ns(), targets, initiator, established, ..Flow::default() };
            flows.insert(Raw(key), Raw(flow), 0)?;
        }
    }
    Ok(())
}

fn open(pins: &Pins, name: &str) -> Result<Map> {
    let data = MapData::from_pin(pins.maps().join(name)).with_context(|| name.to_owned())?;
    Ok(Map::from_map_data(data)?)
}
