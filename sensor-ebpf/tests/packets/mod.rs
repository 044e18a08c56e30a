//! The table of packets: what is sent, seen by whom, and exactly what is counted then. The same
//! table goes through the host build here and, in the sensor's tests, through the kernel.

#![allow(dead_code, reason = "each test binary uses a part of it")]

pub mod build;
pub mod cases;
pub mod connections;
pub mod model;
pub mod samples;
pub mod sampling;
pub mod sampling_cases;

use sensor_ebpf::abi::{Direction, Own, Side, TargetSet, Totals, Transport, Undecoded};

use build::Frame;
use model::Indicators;

/// Our own address, and what the cases send to.
pub const HOST: &str = "10.0.0.1";
pub const HOST_V6: &str = "2001:db8::1";
/// In `star` alone.
pub const STAR: &str = "175.45.177.1";
/// In `star`, and by itself in another watchlist.
pub const BOTH: &str = "175.45.176.9";
/// In `v6`.
pub const WATCHED_V6: &str = "2001:db8:77::5";
/// Its port 3333 is an endpoint; the address is in the prefix of another watchlist.
pub const POOL: &str = "203.0.113.7";
/// Learned, whatever the port; in no prefix.
pub const LEARNED: &str = "198.18.0.5";
/// Learned with port 4444; the address is in a prefix of the same watchlist.
pub const LEARNED_PORT: &str = "198.51.100.6";
/// Its port 3333 is an endpoint; and it is learned, whatever the port.
pub const POOL_AND_LEARNED: &str = "198.18.0.6";
/// Our port of a connection to port 443 of [`LEARNED`] that is nobody's after all, and of one that is
/// `POOL_SLOT`'s.
pub const FREED_PORT: u16 = 40_001;
pub const JUDGED_PORT: u16 = 40_002;
/// Nobody's.
pub const OTHER: &str = "192.0.2.1";
pub const OTHER_V6: &str = "2001:db8:78::5";

pub const STAR_SLOT: u32 = 0;
pub const ALONE_SLOT: u32 = 1;
pub const V6_SLOT: u32 = 2;
pub const POOL_SLOT: u32 = 3;
pub const NEIGHBOURS_SLOT: u32 = 4;
pub const LEARNED_SLOT: u32 = 5;
pub const LEARNED_PORT_SLOT: u32 = 6;
pub const WIDE_SLOT: u32 = 7;

/// What every case watches.
pub fn indicators() -> Indicators {
    let ip = |text: &str| text.parse().expect("an address");
    let set = |slots: &[u32]| TargetSet::of(slots.iter().copied()).expect("at most four");
    Indicators {
        prefixes: vec![
            (ip("175.45.176.0"), 22, set(&[STAR_SLOT])),
            (ip(BOTH), 32, set(&[STAR_SLOT, ALONE_SLOT])),
            (ip("2001:db8:77::"), 48, set(&[V6_SLOT])),
            (ip("203.0.113.0"), 24, set(&[NEIGHBOURS_SLOT])),
            (ip("198.51.100.0"), 24, set(&[WIDE_SLOT])),
        ],
        endpoints: vec![
            (ip(POOL), 3333, set(&[POOL_SLOT, NEIGHBOURS_SLOT])),
            (ip(POOL_AND_LEARNED), 3333, set(&[POOL_SLOT])),
        ],
        learned: vec![
            (ip(LEARNED), 0, set(&[LEARNED_SLOT])),
            (ip(LEARNED_PORT), 4444, set(&[LEARNED_PORT_SLOT])),
            // Whoever learned it knew of the endpoint.
            (ip(POOL), 3335, set(&[LEARNED_PORT_SLOT])),
            // The endpoint beats it.
            (ip(POOL_AND_LEARNED), 0, set(&[LEARNED_SLOT])),
        ],
        judged: vec![
            (ip(LEARNED), 443, FREED_PORT, TargetSet::EMPTY),
            (ip(LEARNED), 443, JUDGED_PORT, set(&[POOL_SLOT])),
        ],
    }
}

/// One step of a case.
#[allow(clippy::large_enum_variant, reason = "nearly all of them are packets")]
#[derive(Clone, Debug)]
pub enum Step {
    Packet(Direction, Frame),
    /// Silence, in seconds.
    Wait(u64),
}

/// Where a case can be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runs {
    Everywhere,
    /// `BPF_PROG_TEST_RUN` takes no IP packet without a whole IP header; a wire does.
    OnWires,
    /// No interface takes a frame shorter than an Ethernet header.
    OnTheHost,
}

/// What is sent, and what is counted then: everything, or nothing else.
#[derive(Clone, Debug)]
pub struct Case {
    pub description: &'static str,
    pub steps: Vec<Step>,
    /// By slot; the times of sightings are not compared.
    pub totals: Vec<(u32, Totals)>,
    pub undecoded: Vec<Undecoded>,
    /// Flows in the table afterwards.
    pub flows: usize,
    pub runs: Runs,
}

impl Case {
    pub fn runs(self, runs: Runs) -> Self {
        Self { runs, ..self }
    }

    /// Those undecoded, as OWN holds them.
    pub fn own_undecoded(&self) -> [u64; 8] {
        let mut own = Own::default();
        for reason in &self.undecoded {
            own.undecoded[*reason as usize] += 1;
        }
        own.undecoded
    }
}

pub fn out(frame: Frame) -> Step {
    Step::Packet(Direction::Egress, frame)
}

pub fn inn(frame: Frame) -> Step {
    Step::Packet(Direction::Ingress, frame)
}

/// Expected counts, in words.
#[derive(Clone, Copy, Debug, Default)]
pub struct Expected(pub Totals);

pub fn nothing() -> Expected {
    Expected::default()
}

impl Expected {
    /// Packets and IP bytes that left.
    pub fn sent(mut self, transport: Transport, packets: u64, bytes: u64) -> Self {
        self.0.packets[Direction::Egress as usize][transport as usize] += packets;
        self.0.bytes[Direction::Egress as usize][transport as usize] += bytes;
        self
    }

    /// Packets and IP bytes that came.
    pub fn received(mut self, transport: Transport, packets: u64, bytes: u64) -> Self {
        self.0.packets[Direction::Ingress as usize][transport as usize] += packets;
        self.0.bytes[Direction::Ingress as usize][transport as usize] += bytes;
        self
    }

    pub fn connections(mut self, initiator: Side, transport: Transport, count: u64) -> Self {
        self.0.connections[initiator as usize][transport as usize] += count;
        self
    }

    pub fn established(mut self, initiator: Side, transport: Transport, count: u64) -> Self {
        self.0.established[initiator as usize][transport as usize] += count;
        self
    }

    pub fn joined(mut self, count: u64) -> Self {
        self.0.joined += count;
        self
    }
}
