//! The table of payloads through the kernel, by `BPF_PROG_TEST_RUN`: what the sampler's own tests
//! expect of the host build is expected here of the loaded programs, and each sample is compared with
//! the host's byte for byte.

#[path = "../../sensor-ebpf/tests/packets/mod.rs"]
mod packets;
mod support;

use aya::maps::{Map, MapData, PerCpuArray, RingBuf};
use packets::build::{Frame, from};
use packets::model::Indicators;
use packets::samples::{PLENTY, SampleCase};
use packets::sampling::{Expecting, Taken};
use packets::{HOST, OTHER, Runs, Step, sampling_cases};
use rustix::thread::{CpuSet, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};
use sensor::bpf::maps::{Maps, Raw};
use sensor::bpf::pins::Pins;
use sensor::bpf::tables::Tables;
use sensor::bpf::{Programs, load};
use sensor::config::Limits;
use sensor_ebpf::abi::{
    Address, Direction, FlowKey, Own, SampleHeader, SampleKind, Stream, TargetSet, Unsampled, WINDOW_NS_LOG2,
    map,
};
use support::PinsDirectory;
use support::test_run::{self, Arriving};

/// Length of a [`SampleHeader`] in the ring, and of the two classes of payload behind it.
const HEADER: usize = 72;
const CLASSES: [usize; 2] = [HEADER + 512, HEADER + 2048];

/// The loaded kernel half, on one CPU, which watches nothing.
struct Kernel {
    programs: Programs,
    maps: Maps,
    tables: Tables,
    samples: RingBuf<MapData>,
    pins: Pins,
    _directory: PinsDirectory,
}

impl Kernel {
    fn load() -> Self {
        // Budgets are by CPU.
        let mut first = CpuSet::new();
        first.set(0);
        sched_setaffinity(None, &first).expect("CPU 0 is ours to run on");
        let directory = PinsDirectory::new();
        let pins = Pins::open(directory.path()).expect("a pins directory");
        let limits = Limits { flows: 1024, targets: 64, prefixes: 1024, endpoints: 64 };
        let (programs, mut maps) = load(&pins, &limits, &[]).expect("the kernel half loads");
        let mut tables = Tables::take(&mut maps).expect("the writing side");
        let samples = tables.take_samples().expect("the reading end");
        Self { programs, maps, tables, samples, pins, _directory: directory }
    }

    fn run(&mut self, frame: &Frame, direction: Direction, times: u32) {
        let bytes = frame.bytes();
        let (link, aggregate) = (frame.link(), frame.aggregate);
        test_run::run(&mut self.programs, &Arriving { bytes: &bytes, link, direction, aggregate }, times);
    }

    /// As after loading.
    fn clear(&mut self) {
        self.taken();
        let cpus = aya::util::nr_cpus().expect("the number of CPUs");
        let mut own: PerCpuArray<_, Raw<Own>> =
            Map::PerCpuArray(self.pinned(map::OWN)).try_into().expect("OWN is an array");
        let zeros = vec![Raw(Own::default()); cpus].try_into().expect("one a CPU");
        own.set(0, zeros, 0).expect("OWN can be written");
        let streams = Map::LruHashMap(self.pinned(map::STREAMS));
        let mut streams: aya::maps::HashMap<_, Raw<FlowKey>, [u8; size_of::<Stream>()]> =
            streams.try_into().expect("STREAMS is a hash");
        let keys: Vec<_> = streams.keys().map(|key| key.expect("STREAMS can be read")).collect();
        for key in keys {
            streams.remove(&key).expect("STREAMS gives an entry up");
        }
    }

    fn pinned(&self, name: &str) -> MapData {
        MapData::from_pin(self.pins.maps().join(name)).expect("it is pinned")
    }

    /// All that is in the ring.
    fn taken(&mut self) -> Vec<Taken> {
        let mut taken = Vec::new();
        while let Some(entry) = self.samples.next() {
            assert!(CLASSES.contains(&entry.len()), "{} bytes", entry.len());
            let header = header(&entry);
            taken.push((header, entry[HEADER..][..usize::from(header.captured)].to_vec()));
        }
        taken
    }

    fn dropped(&self) -> [[u64; 4]; 8] {
        self.maps.own().expect("OWN can be read").samples_dropped
    }

    /// Plays the case; within one window of its budgets where they are less than anybody asks.
    fn play(&mut self, case: &SampleCase) -> (Vec<Taken>, [[u64; 4]; 8]) {
        self.tables.set_budgets(case.budgets).expect("BUDGETS can be written");
        let is_bounded = case.budgets != PLENTY;
        for _ in 0..100 {
            self.clear();
            let before = window();
            while is_bounded && window() == before {
                std::thread::yield_now();
            }
            let start = window();
            for step in &case.steps {
                let Step::Packet(direction, frame) = step else { panic!("nobody waits here") };
                self.run(frame, *direction, 1);
            }
            if !is_bounded || window() == start {
                return (self.taken(), self.dropped());
            }
        }
        panic!("{}: the machine is too busy to send a few packets within a window", case.description);
    }
}

/// The window of the budgets that it is now.
fn window() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    (now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()) >> WINDOW_NS_LOG2
}

/// Field by field, in the order of the ABI.
fn header(entry: &[u8]) -> SampleHeader {
    let u16_at = |at: usize| u16::from_ne_bytes(*entry[at..].first_chunk().expect("a header"));
    let u32_at = |at: usize| u32::from_ne_bytes(*entry[at..].first_chunk().expect("a header"));
    let u64_at = |at: usize| u64::from_ne_bytes(*entry[at..].first_chunk().expect("a header"));
    let address = |at: usize| Address(std::array::from_fn(|word| u32_at(at + 4 * word)));
    let key = FlowKey {
        remote: address(8),
        local: address(24),
        remote_port: u16_at(40),
        local_port: u16_at(42),
        transport: entry[44],
        version: entry[45],
        reserved: u16_at(46),
    };
    SampleHeader {
        at_ns: u64_at(0),
        key,
        targets: TargetSet(u64_at(48)),
        sequence: u32_at(56),
        payload: u32_at(60),
        captured: u16_at(64),
        kind: entry[66],
        direction: entry[67],
        interface: u32_at(68),
    }
}

/// Without what differs from run to run.
fn timeless(taken: &[Taken]) -> Vec<Taken> {
    let timeless = |header: &SampleHeader| SampleHeader { at_ns: 0, interface: 0, ..*header };
    taken.iter().map(|(header, payload)| (timeless(header), payload.clone())).collect()
}

/// Nothing is watched here, so that no sample says whose it is.
fn cases() -> Vec<SampleCase> {
    let mut cases = sampling_cases::all();
    cases.retain(|case| case.runs == Runs::Everywhere);
    for wanted in cases.iter_mut().flat_map(|case| &mut case.wanted) {
        wanted.targets = TargetSet::EMPTY;
    }
    cases
}

#[test]
fn the_kernel_takes_the_samples_of_the_table_and_they_are_the_hosts_byte_for_byte() {
    let mut kernel = Kernel::load();
    let mut failures = Vec::new();
    let (mut cases, mut bounded) = (cases(), Vec::new());
    cases.retain(|case| {
        if case.budgets == PLENTY {
            true
        } else {
            bounded.push(case.clone());
            false
        }
    });
    assert!(cases.len() > 500 && bounded.len() > 5, "{} and {} cases", cases.len(), bounded.len());
    for case in cases.iter().chain(&bounded) {
        let (taken, dropped) = kernel.play(case);
        failures.extend(case.complaint(&taken, dropped));
        let host = case.on_host(Expecting::Exactly, &Indicators::default());
        if timeless(&taken) != timeless(&host.taken.borrow()) {
            failures.push(format!("{}: {taken:?}\n on the host {:?}", case.description, host.taken.borrow()));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn a_ring_that_nobody_reads_fills_and_every_sample_is_taken_or_counted() {
    const TIMES: u32 = 2000;
    let mut kernel = Kernel::load();
    kernel.tables.set_budgets(PLENTY).expect("BUDGETS can be written");
    let query = from(HOST, OTHER).ports(40_000, 53);
    for (what, bytes) in [("small ones", 30), ("large ones", 1200)] {
        kernel.clear();
        kernel.run(&query.clone().payload(bytes), Direction::Egress, TIMES);
        let taken = kernel.taken().len() as u64;
        let dropped = kernel.dropped()[SampleKind::Dns as usize][Unsampled::Ring as usize];
        assert_eq!(taken + dropped, u64::from(TIMES), "{what}");
        assert!(taken > 400 && dropped > 100, "{what}: {taken} taken, {dropped} dropped");
    }
}

#[test]
fn before_the_daemon_has_said_what_it_wants_nothing_is_taken_or_counted() {
    let mut kernel = Kernel::load();
    kernel.run(&from(HOST, OTHER).ports(40_000, 53).payload(30), Direction::Egress, 9);
    assert_eq!((kernel.taken(), kernel.dropped()), (Vec::new(), [[0; 4]; 8]));
}
