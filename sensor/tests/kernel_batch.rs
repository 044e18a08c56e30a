//! What is read in batches is what is read entry by entry: the flow table, empty, small and full,
//! and the totals of all targets.

mod support;

use std::collections::BTreeMap;

use aya::maps::{HashMap, Map, MapData, PerCpuArray, PerCpuValues};
use aya::util::nr_cpus;
use sensor::bpf::load;
use sensor::bpf::maps::{Maps, Raw};
use sensor::bpf::pins::Pins;
use sensor::config::Limits;
use sensor_ebpf::abi::{Address, Flow, FlowKey, Totals, map};
use support::PinsDirectory;

/// Flows that are to fit. An LRU evicts a little before it is full, so that it has room for twice
/// as many.
const FLOWS: u32 = 65_536;
const TARGETS: u32 = 1_024;

/// The maps of a loaded kernel half, and the directory where they are pinned.
fn kernel() -> (Maps, Pins, PinsDirectory) {
    kernel_with_room_for(2 * FLOWS)
}

fn kernel_with_room_for(flows: u32) -> (Maps, Pins, PinsDirectory) {
    let directory = PinsDirectory::new();
    let pins = Pins::open(directory.path()).expect("a pins directory");
    let limits = Limits { flows, targets: TARGETS, ..Limits::default() };
    let (_programs, maps) = load(&pins, &limits, &[]).expect("the kernel half loads");
    (maps, pins, directory)
}

fn open(pins: &Pins, name: &str) -> Map {
    let data = MapData::from_pin(pins.maps().join(name)).expect("it is pinned");
    Map::from_map_data(data).expect("a map that aya knows")
}

/// A key that sorts, of one that does not.
fn address(key: &FlowKey) -> [u32; 4] {
    key.remote.0
}

#[test]
fn flows_in_batches_are_the_flows_one_by_one() {
    let (maps, pins, _directory) = kernel();
    let mut table: HashMap<_, Raw<FlowKey>, Raw<Flow>> = open(&pins, map::FLOWS).try_into().expect("flows");
    let mut filled = 0;
    for count in [0, 1, 1_000, FLOWS] {
        for number in filled..count {
            let key = FlowKey {
                remote: Address::v4(number),
                local: Address::v4(1),
                remote_port: 3333,
                local_port: 50_000,
                transport: 0,
                version: 4,
                reserved: 0,
            };
            let flow = Flow { opened_ns: u64::from(number), ..Flow::default() };
            table.insert(Raw(key), Raw(flow), 0).expect("there is room");
        }
        filled = count;
        let one_by_one: BTreeMap<_, _> = table
            .iter()
            .map(|entry| entry.expect("an entry"))
            .map(|(Raw(key), Raw(flow))| (address(&key), flow))
            .collect();
        let flows = maps.flows(2 * FLOWS as usize).expect("the flow table");
        assert_eq!(flows.len(), count as usize, "each is there once");
        let batched: BTreeMap<_, _> = flows.iter().map(|(key, flow)| (address(key), *flow)).collect();
        assert!(batched == one_by_one, "{count} flows differ");
    }
}

#[test]
fn no_more_flows_are_read_than_were_asked_for() {
    let (maps, pins, _directory) = kernel_with_room_for(128);
    let mut table: HashMap<_, Raw<FlowKey>, Raw<Flow>> = open(&pins, map::FLOWS).try_into().expect("flows");
    for number in 0..64 {
        let (remote, local) = (Address::v4(number), Address::v4(1));
        let (remote_port, local_port, transport, version) = (3333, 50_000, 0, 4);
        let key = FlowKey { remote, local, remote_port, local_port, transport, version, reserved: 0 };
        table.insert(Raw(key), Raw(Flow::default()), 0).expect("there is room");
    }
    // Less than a bucket holds is among them: of as many buckets as entries some hold several.
    for limit in [0, 1, 2, 63, 64, 65] {
        let flows = maps.flows(limit).expect("the flow table");
        assert_eq!(flows.len(), limit.min(64), "limit {limit}");
    }
}

#[test]
fn totals_in_batches_are_the_totals_one_by_one() {
    let (maps, pins, _directory) = kernel();
    let mut totals: PerCpuArray<_, Raw<Totals>> = open(&pins, map::TOTALS).try_into().expect("totals");
    let cpus = u64::try_from(nr_cpus().expect("CPUs")).expect("few of them");
    for slot in [0, 1, 7, TARGETS - 1] {
        let on_cpu =
            |cpu| Raw(Totals { joined: u64::from(slot) + 1, last_seen_ns: cpu, ..Totals::default() });
        let values = PerCpuValues::try_from((0..cpus).map(on_cpu).collect::<Vec<_>>()).expect("one a CPU");
        totals.set(slot, values, 0).expect("there is such a slot");
    }
    for slots in [0, 1, 8, TARGETS] {
        let batched = maps.all_totals(slots).expect("TOTALS");
        let one_by_one: Vec<_> = (0..slots).map(|slot| maps.totals(slot).expect("TOTALS")).collect();
        assert!(batched == one_by_one, "{slots} slots differ");
    }
    let last = maps.all_totals(TARGETS).expect("TOTALS")[TARGETS as usize - 1];
    assert_eq!((last.joined, last.last_seen_ns), (cpus * u64::from(TARGETS), cpus - 1));
}
