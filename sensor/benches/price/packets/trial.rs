//! The shipped programs in the kernel, and before them the benchmark's own, which sends each run
//! of a packet to another destination (`sensor-ebpf/src/bench/rotate.rs`).

use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use aya::Ebpf;
use aya::maps::{Array, HashMap, Map, MapData, ProgramArray};
use aya::programs::{ProgramFd, SchedClassifier, TestRun, TestRunOptions};
use sensor::bpf::maps::{Maps, Raw};
use sensor::bpf::pins::Pins;
use sensor::bpf::tables::Tables;
use sensor::bpf::{Programs, load};
use sensor::watchlists::Compiled;
use sensor_ebpf::abi::{self, Direction, Flow, FlowKey, Own, Totals, map};

use super::listed::limits;
use crate::build::Frame;
use crate::support::PinsDirectory;

/// Destinations, and so packets until the first of them comes again.
pub const ROUND: u32 = 1 << 16;
/// What every program returns: `TCX_NEXT`, `TC_ACT_UNSPEC`.
const NEXT: i32 = -1;
const EMPTY: &str = "empty";

/// What stands behind the wrapper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnTrial {
    Empty,
    Poolwatch,
}

/// A packet, and where the wrapper writes into it.
pub struct Packet {
    pub bytes: Vec<u8>,
    direction: Direction,
    is_v6: bool,
    /// Offsets of the remote address and of the local port.
    places: [u32; 2],
}

impl Packet {
    /// The headers are as short as they can be.
    pub fn new(frame: &Frame, direction: Direction, is_v6: bool) -> Self {
        let bytes = frame.bytes();
        // Two tags of four bytes, or none.
        let ip = if bytes[12..14] == [0x88, 0xa8] { 22 } else { 14 };
        let (source, destination, ports) = if is_v6 { (8, 24, 40) } else { (12, 16, 20) };
        let places = match direction {
            Direction::Egress => [ip + destination, ip + ports],
            Direction::Ingress => [ip + source, ip + ports + 2],
        };
        Self { bytes, direction, is_v6, places }
    }
}

/// What tells the packets of one round apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Connection {
    pub remote: IpAddr,
    pub local_port: u16,
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Of the two targets, without the time.
    pub totals: [Totals; 2],
    pub own: Own,
}

impl Counts {
    /// Is this what was counted before, and `more`?
    pub fn hold_against(&self, before: &Self, more: &Self) -> Result<()> {
        let wanted = Self {
            totals: [0, 1].map(|target| before.totals[target].plus(&more.totals[target])),
            own: before.own.plus(&more.own),
        };
        ensure!(
            *self == wanted,
            "these packets took another path than their case says:\n counted {self:?}\n instead of {wanted:?}"
        );
        Ok(())
    }
}

/// The programs and maps of the benchmark's object.
struct Rotate {
    ebpf: Ebpf,
    on_trial: ProgramArray<MapData>,
    stops_v4: Array<MapData, [u16; 3]>,
    stops_v6: Array<MapData, [u16; 9]>,
    places: Array<MapData, [u32; 2]>,
}

impl Rotate {
    fn load(object: &Path) -> Result<Self> {
        let mut ebpf = Ebpf::load_file(object)
            .with_context(|| format!("{}: `cargo xtask bench` builds it", object.display()))?;
        for name in [EMPTY, wrapper(false), wrapper(true)] {
            let program: &mut SchedClassifier = ebpf.program_mut(name).context(name)?.try_into()?;
            program.load().with_context(|| format!("the kernel refused the program {name}"))?;
        }
        let mut take = |name: &str| ebpf.take_map(name).with_context(|| format!("no map {name}"));
        let (on_trial, places) = (take("ON_TRIAL")?.try_into()?, take("PLACES")?.try_into()?);
        let (stops_v4, stops_v6) = (take("STOPS_V4")?.try_into()?, take("STOPS_V6")?.try_into()?);
        Ok(Self { ebpf, on_trial, stops_v4, stops_v6, places })
    }
}

fn program<'a>(ebpf: &'a Ebpf, name: &str) -> Result<&'a SchedClassifier> {
    Ok(ebpf.program(name).with_context(|| format!("no program {name}"))?.try_into()?)
}

const fn wrapper(is_v6: bool) -> &'static str {
    if is_v6 { "rotate_v6" } else { "rotate_v4" }
}

pub struct Trial {
    rotate: Rotate,
    pub programs: Programs,
    maps: Maps,
    flows: HashMap<MapData, Raw<FlowKey>, Raw<Flow>>,
    // In this order: what is pinned goes before the place where it is.
    _tables: Tables,
    _pins: Pins,
    _directory: PinsDirectory,
}

impl Trial {
    pub fn load(object: &Path, compiled: &Compiled) -> Result<Self> {
        let directory = PinsDirectory::new();
        let pins = Pins::open(directory.path())?;
        let (programs, mut maps) = load(&pins, &limits(), &[])?;
        let mut tables = Tables::take(&mut maps)?;
        tables.switch_to(compiled)?;
        let flows = Map::LruHashMap(MapData::from_pin(pins.maps().join(map::FLOWS))?).try_into()?;
        let rotate = Rotate::load(object)?;
        Ok(Self { rotate, programs, maps, flows, _tables: tables, _pins: pins, _directory: directory })
    }

    /// Tells the wrapper which connections packets like this one belong to from now on.
    pub fn aim(&mut self, connections: &[Connection], packet: &Packet) -> Result<()> {
        ensure!(connections.len() == ROUND as usize, "{} destinations, not {ROUND}", connections.len());
        self.rotate.places.set(0, packet.places, 0)?;
        for (index, Connection { remote, local_port }) in (0..ROUND).zip(connections) {
            let mut octets = match remote {
                IpAddr::V4(address) => address.octets().to_vec(),
                IpAddr::V6(address) => address.octets().to_vec(),
            };
            octets.extend(local_port.to_be_bytes());
            ensure!(remote.is_ipv6() == packet.is_v6, "{remote} does not fit the packet");
            if packet.is_v6 {
                self.rotate.stops_v6.set(index, halves(&octets), 0)?;
            } else {
                self.rotate.stops_v4.set(index, halves(&octets), 0)?;
            }
        }
        Ok(())
    }

    /// Nanoseconds that one packet takes on its way through the wrapper and what is on trial.
    pub fn run(&mut self, on_trial: OnTrial, packet: &Packet, repeat: u32) -> Result<f64> {
        let behind: &ProgramFd = match on_trial {
            OnTrial::Empty => program(&self.rotate.ebpf, EMPTY)?.fd()?,
            OnTrial::Poolwatch => {
                self.programs.get(abi::program::ETHERNET[packet.direction as usize])?.fd()?
            }
        };
        self.rotate.on_trial.set(0, behind, 0).context("the kernel does not take it behind a tail call")?;
        timed(program(&self.rotate.ebpf, wrapper(packet.is_v6))?, packet, repeat)
    }

    /// The same of an empty program without the wrapper.
    pub fn run_empty(&self, packet: &Packet, repeat: u32) -> Result<f64> {
        timed(program(&self.rotate.ebpf, EMPTY)?, packet, repeat)
    }

    pub fn counts(&self) -> Result<Counts> {
        let timeless = |totals| Totals { last_seen_ns: 0, ..totals };
        let totals = [self.maps.totals(0).map(timeless)?, self.maps.totals(1).map(timeless)?];
        Ok(Counts { totals, own: self.maps.own()? })
    }

    pub fn empty_flows(&mut self) -> Result<()> {
        for (key, _) in self.maps.flows(limits().flows as usize)? {
            self.flows.remove(&Raw(key)).context("emptying FLOWS")?;
        }
        ensure!(self.maps.flows(1)?.is_empty(), "FLOWS is not empty");
        Ok(())
    }
}

fn halves<const N: usize>(octets: &[u8]) -> [u16; N] {
    std::array::from_fn(|index| u16::from_ne_bytes([octets[2 * index], octets[2 * index + 1]]))
}

fn timed(program: &SchedClassifier, packet: &Packet, repeat: u32) -> Result<f64> {
    let options = TestRunOptions { data_in: Some(&packet.bytes), repeat, ..TestRunOptions::default() };
    let result = program.test_run(options).context("BPF_PROG_TEST_RUN")?;
    let returned = result.return_value.cast_signed();
    if returned != NEXT {
        bail!("the program under test was not reached: the wrapper returned {returned}");
    }
    // Well below a second: the kernel counts them in 32 bits.
    Ok(f64::from(result.duration.subsec_nanos()))
}
