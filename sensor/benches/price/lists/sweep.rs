//! The sweep of the flow table, every five seconds: reading it, in batches and for comparison one
//! by one, and counting what was read. The table is filled through the map, without packets.

use std::time::Instant;

use anyhow::{Result, ensure};
use aya::maps::{HashMap, Map, MapData};
use sensor::bpf;
use sensor::bpf::maps::Raw;
use sensor::bpf::pins::Pins;
use sensor::clock::now_ns;
use sensor::config::Limits;
use sensor::flows::{Slots, Sweeper};
use sensor_ebpf::abi::{Address, Daemon, Flow, FlowKey, TargetSet, Transport, Version, map};

use super::about;
use crate::figure::Report;
use crate::support::PinsDirectory;

/// Flows in the table.
const FLOWS: [u32; 2] = [1_000, 65_536];
/// Room for all of them: an LRU evicts a little before it is full.
const CAPACITY: u32 = 131_072;

pub fn measure(runs: usize, report: &mut Report) -> Result<()> {
    for count in FLOWS {
        let directory = PinsDirectory::new();
        let pins = Pins::open(directory.path())?;
        let limits = Limits { flows: CAPACITY, ..Limits::default() };
        let (_programs, maps) = bpf::load(&pins, &limits, &[])?;
        let table = fill(&pins, count)?;
        let [mut read, mut one_by_one, mut view] = [const { Vec::new() }; 3];
        for _ in 0..runs {
            let begun = Instant::now();
            let flows = maps.flows(CAPACITY as usize)?;
            read.push(begun.elapsed().as_secs_f64() * 1e3);
            ensure!(flows.len() == count as usize, "{} flows in the table, not {count}", flows.len());

            let begun = Instant::now();
            let same = table.iter().collect::<Result<Vec<_>, _>>()?;
            one_by_one.push(begun.elapsed().as_secs_f64() * 1e3);
            ensure!(same.len() == flows.len(), "{} flows one by one, not {count}", same.len());

            let mut sweeper = Sweeper::new(Daemon::default(), Slots::default());
            let begun = Instant::now();
            sweeper.sweep(&flows, u64::from(count), now_ns());
            view.push(begun.elapsed().as_secs_f64() * 1e3);
        }
        report.add(&about("sweep", "the flow table read", count, "ms"), &read);
        let what = "the flow table read entry by entry";
        report.add(&about("sweep_one_by_one", what, count, "ms"), &one_by_one);
        report.add(&about("sweep_view", "flows and peers counted a target", count, "ms"), &view);
    }
    Ok(())
}

type Flows = HashMap<MapData, Raw<FlowKey>, Raw<Flow>>;

fn fill(pins: &Pins, count: u32) -> Result<Flows> {
    let data = MapData::from_pin(pins.maps().join(map::FLOWS))?;
    let mut flows: Flows = Map::from_map_data(data)?.try_into()?;
    for number in 0..count {
        let key = FlowKey {
            remote: Address::v4(number % 8_192),
            local: Address::v4(1),
            remote_port: 3333,
            local_port: u16::try_from(number / 8_192)?,
            transport: Transport::Tcp as u8,
            version: Version::V4 as u8,
            reserved: 0,
        };
        let targets = TargetSet::of([number % 300]).unwrap_or_default();
        let flow = Flow { opened_ns: 1, last_ns: now_ns(), targets, ..Flow::default() };
        flows.insert(Raw(key), Raw(flow), 0)?;
    }
    Ok(flows)
}
