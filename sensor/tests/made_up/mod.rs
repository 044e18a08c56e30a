//! The state of a daemon that does not run: real lists from a real config, and a kernel half that
//! tells what the test wants it to tell. No privileges, no maps, no interfaces.

#![allow(dead_code, reason = "each test binary uses a part of it")]

pub mod server;

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, anyhow};
use sensor::bpf::attach::Hook;
use sensor::clock::now_ns;
use sensor::config::Config;
use sensor::flows::{TargetFlows, View};
use sensor::inspect::{About, Signal};
use sensor::recognition::Recognised;
use sensor::state::{Cost, Interfaces, Kernel, Reload, Shared, Slot, Standing, State, Watched};
use sensor::verdict::{Detection, Forgotten, Refusals, Role};
use sensor::watchlists::{Compiled, Watchlists};
use sensor_ebpf::abi::{Address, Findings, FlowKey, Own, TargetSet, Totals, Transport, Version};

const CONFIG: &str = r#"
interfaces = ["eth0", "wg*", "ppp0", "tun0"]
builtin.mining = false

[allow]
prefixes = ["198.51.100.128/25"]

[[watchlist]]
name = "office"
category = "custom"
prefixes = ["198.51.100.0/24", "2001:db8::/32"]
endpoints = ["203.0.113.7:3333"]
domains = ["pool.example", "other.example"]
[[watchlist.feed]]
target = "firehol"
path = "firehol.netset"
"#;

/// What the watchlists, targets and interfaces of the state are called.
pub const WATCHLISTS: [&str; 2] = ["dprk", "office"];
pub const TARGETS: [&str; 5] = ["star-kp", "unicom", "satgate", "office", "firehol"];
pub const INTERFACES: [&str; 4] = ["eth0", "ppp0", "tun0", "wg0"];

/// Where each target is counted: not from 0 on, since slots outlive the configs that took them.
pub const STAR_KP: u32 = 7;
pub const OFFICE: u32 = STAR_KP + 3;
/// A slot of TOTALS whose target has left the config.
const RETIRED: u32 = 3;

const FEED_CHANGED_S: u64 = 1_780_000_000;
const RELOADED_S: u64 = 1_790_000_000;

/// A kernel half that tells what it is told to tell.
#[derive(Default)]
pub struct Told {
    /// By slot; no packet concerned the others.
    pub totals: HashMap<u32, Totals>,
    pub own: Own,
    pub costs: Vec<Cost>,
    /// What cannot be read: `totals`, `own`, `costs`.
    pub unreadable: Vec<&'static str>,
}

impl Told {
    fn read<T>(&self, what: &str, told: T) -> Result<T> {
        if self.unreadable.contains(&what) { Err(anyhow!("no {what} today")) } else { Ok(told) }
    }
}

impl Kernel for Told {
    fn totals(&self, slot: u32) -> Result<Totals> {
        self.read("totals", self.totals.get(&slot).copied().unwrap_or_default())
    }

    fn own(&self) -> Result<Own> {
        self.read("own", self.own)
    }

    fn costs(&self) -> Result<Vec<Cost>> {
        self.read("costs", self.costs.clone())
    }
}

/// A host where everything happened that a metric can tell: each number is another one.
pub fn busy() -> Told {
    let everything = Totals {
        packets: [[101, 102, 103, 104], [111, 112, 113, 114]],
        // The largest count that a float tells exactly.
        bytes: [[1001, 1002, 1003, 1004], [(1 << 53) - 1, 1012, 1013, 1014]],
        connections: [[21, 22], [23, 24]],
        established: [[11, 12], [13, 14]],
        joined: 5,
        last_seen_ns: now_ns(),
    };
    let one_scan = Totals {
        packets: [[1, 0, 0, 0], [0; 4]],
        bytes: [[40, 0, 0, 0], [0; 4]],
        connections: [[0, 0], [1, 0]],
        last_seen_ns: now_ns(),
        ..Totals::default()
    };
    let cost = |program, runs| Cost { program, runs, time: Duration::from_micros(1500) };
    Told {
        totals: [(STAR_KP, everything), (OFFICE, one_scan), (RETIRED, everything)].into(),
        own: Own {
            undecoded: [1, 2, 3, 4, 5, 6, 0, 0],
            uncounted: [7, 8, 9, 0],
            samples_dropped: std::array::from_fn(|kind| {
                std::array::from_fn(|reason| 40 + 4 * kind as u64 + reason as u64)
            }),
            ..Own::default()
        },
        costs: vec![cost("poolwatch_in", 3000), cost("poolwatch_out", 0)],
        unreadable: Vec::new(),
    }
}

/// What the sweep of such a host's flow table says.
pub fn flows() -> View {
    let some = TargetFlows { flows: [[1, 2], [3, 4], [0, 6]], peers: 8 };
    View { targets: [(STAR_KP, some.clone()), (RETIRED, some)].into(), entries: 17, evicted: 29 }
}

/// What was recognised on it: a session to either side, and one that is gone.
pub fn recognised() -> Recognised {
    let everything = Findings { detections: [71, 72, 73, 0], answers: [74, 75, 76, 77] };
    let key = FlowKey {
        remote: Address::from_ip(IpAddr::from([175, 45, 176, 9])).0,
        local: Address::from_ip(IpAddr::from([192, 0, 2, 10])).0,
        remote_port: 3333,
        local_port: 50_000,
        transport: Transport::Tcp as u8,
        version: Version::V4 as u8,
        reserved: 0,
    };
    let about =
        About { agent: Some("XMRig/6.26.0".to_owned()), coin: Some("rx/0".to_owned()), ..About::default() };
    let detection = Detection {
        key,
        targets: TargetSet::of([STAR_KP, OFFICE]).expect("two slots"),
        signal: Signal::Stratum,
        role: Role::Miner,
        about,
        server_name: None,
        indicators: Vec::new(),
        interface: 2,
        at_ns: now_ns(),
    };
    let mut signals = [0; 16];
    signals[..3].copy_from_slice(&[81, 82, 83]);
    Recognised {
        findings: [(STAR_KP, everything), (RETIRED, everything)].into(),
        signals,
        sessions: [((STAR_KP, Role::Miner as u8), 61), ((OFFICE, Role::Pool as u8), 62)].into(),
        recent: [detection].into(),
        learned: 63,
        judged: 64,
        refused: Refusals { learned: 68, judged: 69 },
        forgotten: Forgotten { messages: 71, sessions: 72, queries: 73 },
    }
}

/// An interface of each standing.
pub fn interfaces() -> Interfaces {
    let standings = [
        Standing::Attached { index: 2, hook: Hook::Tcx },
        Standing::Failed("ppp0 has neither Ethernet nor IP headers".to_owned()),
        Standing::Absent,
        Standing::Attached { index: 5, hook: Hook::Clsact },
    ];
    Interfaces(INTERFACES.map(str::to_owned).into_iter().zip(standings).collect())
}

/// One interface, attached.
pub fn attached() -> Interfaces {
    let standing = Standing::Attached { index: 2, hook: Hook::Tcx };
    Interfaces(BTreeMap::from([("eth0".to_owned(), standing)]))
}

/// The state of a daemon with this kernel half, these interfaces and these flows.
pub fn state(kernel: impl Kernel + 'static, interfaces: Interfaces, flows: View) -> State {
    let (config, watched) = watched();
    State {
        kernel: Arc::new(kernel),
        limits: config.limits,
        watched: Shared::new(watched),
        interfaces: Shared::new(interfaces),
        flows: Shared::new(flows),
        recognised: Shared::default(),
        test_alert: Shared::default(),
        events_dropped: Arc::default(),
        reattached: Shared::new(31),
        reload: Shared::new(Reload { successful: false, succeeded_at: at(RELOADED_S) }),
        web: Shared::default(),
    }
}

fn watched() -> (Config, Watched) {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let feed = folder.path().join("firehol.netset");
    fs::write(&feed, "# a feed\n192.0.2.0/25\n192.0.2.128\n").expect("a feed");
    File::options()
        .write(true)
        .open(&feed)
        .expect("it is there")
        .set_modified(at(FEED_CHANGED_S))
        .expect("a date");
    let path = folder.path().join("poolwatch.toml");
    fs::write(&path, CONFIG).expect("a config");

    let config = Config::load(Some(&path)).expect("the config is sound");
    let lists = Watchlists::load(&config).expect("the lists are sound");
    let mut slots = Vec::new();
    for list in &lists.lists {
        for target in &list.targets {
            slots.push(Slot {
                watchlist: list.name.clone(),
                target: target.name.clone(),
                category: list.category.name(),
                confidence: target.confidence.name(),
                index: STAR_KP + u32::try_from(slots.len()).expect("few targets"),
            });
        }
    }
    let slot_of = |watchlist: &str, target: &str| {
        slots.iter().find(|slot| slot.watchlist == watchlist && slot.target == target).map(|slot| slot.index)
    };
    let compiled = Compiled::of_config(&config, &lists, slot_of).expect("the lists fit");
    let slots_taken = slots.len();
    (config, Watched { lists, slots, slots_taken, compiled: compiled.sizes })
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}
