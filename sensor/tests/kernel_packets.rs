//! The table of packets through the kernel, by `BPF_PROG_TEST_RUN`: what the classifier's own
//! tests expect of the host build is expected here of the loaded programs, map by map.

#[path = "../../sensor-ebpf/tests/packets/mod.rs"]
mod packets;
mod support;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::time::Duration;

use aya::maps::{MapData, PerCpuArray};
use ipnet::IpNet;
use packets::build::{Frame, from};
use packets::model::{Memory, endpoint_key, udp_flow_key};
use packets::{Case, HOST, LEARNED, LEARNED_SLOT, Runs, Step, cases, indicators};
use rustix::time::{ClockId, clock_gettime};
use sensor::bpf::maps::{Maps, Raw};
use sensor::bpf::pins::Pins;
use sensor::bpf::tables::Tables;
use sensor::bpf::{Programs, load};
use sensor::config::Limits;
use sensor::watchlists::{Compiled, Entries};
use sensor_ebpf::abi::{
    Direction, Flow, FlowKey, Judged, Learned, Own, TargetSet, Totals, Transport, map, program,
};
use support::PinsDirectory;
use support::kernel::{self, Since};
use support::prefixes::{MILLION, generated};
use support::test_run::{self, Arriving};

const SECOND: u64 = 1_000_000_000;

/// The loaded kernel half, watching the cases' indicators.
struct Kernel {
    programs: Programs,
    maps: Maps,
    tables: Tables,
    pins: Pins,
    _directory: PinsDirectory,
}

impl Kernel {
    fn load(entries: &Entries) -> Self {
        let directory = PinsDirectory::new();
        let pins = Pins::open(directory.path()).expect("a pins directory");
        let limits = Limits { flows: 1024, targets: 64, prefixes: 1024, endpoints: 64 };
        let (programs, mut maps) = load(&pins, &limits, &[]).expect("the kernel half loads");
        let mut tables = Tables::take(&mut maps).expect("the writing side");
        tables.switch_to(&Compiled::of(entries)).expect("the tables fit");
        for (ip, port, targets) in indicators().learned {
            let learned = Learned { targets, own: targets, expires_ns: u64::MAX };
            tables.learn(endpoint_key(ip, port), learned).expect("LEARNED has room");
        }
        for (ip, remote_port, local_port, targets) in indicators().judged {
            let judged =
                Judged { targets, own: targets, at_ns: 0, signal: Judged::FREED, role: 2, reserved: [0; 6] };
            tables.judge(udp_flow_key(ip, remote_port, local_port), judged).expect("JUDGED has room");
        }
        Self { programs, maps, tables, pins, _directory: directory }
    }

    fn run(&mut self, frame: &Frame, direction: Direction) {
        let bytes = frame.bytes();
        let (link, aggregate) = (frame.link(), frame.aggregate);
        test_run::run(&mut self.programs, &Arriving { bytes: &bytes, link, direction, aggregate }, 1);
    }

    /// Makes everything in the flow table older. Its clock starts with the machine, so that nothing
    /// is older than that: on a machine that has just booted this really waits.
    fn wait(&self, seconds: u64) {
        while clock_gettime(ClockId::Monotonic).tv_sec.cast_unsigned() <= seconds {
            std::thread::sleep(Duration::from_secs(1));
        }
        let data = MapData::from_pin(self.pins.maps().join(map::FLOWS)).expect("FLOWS is pinned");
        let data = aya::maps::Map::LruHashMap(data);
        let mut flows: aya::maps::HashMap<_, Raw<FlowKey>, Raw<Flow>> =
            data.try_into().expect("FLOWS is a hash");
        for (key, mut flow) in self.flows() {
            flow.opened_ns = flow.opened_ns.saturating_sub(seconds * SECOND);
            flow.last_ns = flow.last_ns.saturating_sub(seconds * SECOND);
            flows.insert(Raw(key), Raw(flow), 0).expect("FLOWS takes an update");
        }
    }

    fn flows(&self) -> HashMap<FlowKey, Flow> {
        self.maps.flows(1024).expect("FLOWS can be read").into_iter().collect()
    }

    /// Everything that is not zero.
    fn totals(&self) -> BTreeMap<u32, Totals> {
        (0..64)
            .map(|slot| {
                (slot, Totals { last_seen_ns: 0, ..self.maps.totals(slot).expect("TOTALS can be read") })
            })
            .filter(|(_, totals)| *totals != Totals::default())
            .collect()
    }

    /// As after loading.
    fn clear(&self) {
        for name in [map::TOTALS, map::OWN] {
            let data = MapData::from_pin(self.pins.maps().join(name)).expect("it is pinned");
            zero(name, aya::maps::Map::PerCpuArray(data));
        }
        let data = MapData::from_pin(self.pins.maps().join(map::FLOWS)).expect("FLOWS is pinned");
        let data = aya::maps::Map::LruHashMap(data);
        let mut flows: aya::maps::HashMap<_, Raw<FlowKey>, Raw<Flow>> =
            data.try_into().expect("FLOWS is a hash");
        for key in self.flows().into_keys() {
            flows.remove(&Raw(key)).expect("FLOWS gives an entry up");
        }
    }
}

fn zero(name: &str, data: aya::maps::Map) {
    let cpus = aya::util::nr_cpus().expect("the number of CPUs");
    if name == map::OWN {
        let mut own: PerCpuArray<_, Raw<Own>> = data.try_into().expect("OWN is an array");
        own.set(0, vec![Raw(Own::default()); cpus].try_into().expect("one a CPU"), 0)
            .expect("OWN can be written");
        return;
    }
    let mut totals: PerCpuArray<_, Raw<Totals>> = data.try_into().expect("TOTALS is an array");
    for slot in 0..totals.len() {
        let values = vec![Raw(Totals::default()); cpus].try_into().expect("one a CPU");
        totals.set(slot, values, 0).expect("TOTALS can be written");
    }
}

/// The cases' indicators as the daemon would compile them.
fn entries() -> Entries {
    let indicators = indicators();
    let mut entries = Entries::default();
    for (ip, len_bits, targets) in indicators.prefixes {
        match IpNet::new(ip, len_bits).expect("a prefix") {
            IpNet::V4(prefix) => entries.v4.push((prefix, targets)),
            IpNet::V6(prefix) => entries.v6.push((prefix, targets)),
        }
    }
    let endpoints = indicators.endpoints.into_iter();
    entries.endpoints = endpoints.map(|(ip, port, targets)| (SocketAddr::new(ip, port), targets)).collect();
    entries.endpoints.sort_unstable_by_key(|(endpoint, _)| *endpoint);
    sorted(entries)
}

fn sorted(mut entries: Entries) -> Entries {
    entries.v4.sort_unstable_by_key(|(prefix, _)| *prefix);
    entries.v6.sort_unstable_by_key(|(prefix, _)| *prefix);
    entries
}

/// The same among a million others, which stand for a target of their own.
fn entries_among_a_million() -> Entries {
    let mut entries = entries();
    let targets = TargetSet::of([60]).expect("one slot");
    for prefix in generated(MILLION) {
        match prefix {
            IpNet::V4(prefix) => entries.v4.push((prefix, targets)),
            IpNet::V6(prefix) => entries.v6.push((prefix, targets)),
        }
    }
    sorted(entries)
}

/// Flows without what differs from run to run: times, and the interface.
fn timeless(flows: &HashMap<FlowKey, Flow>) -> BTreeMap<String, Flow> {
    flows
        .iter()
        .map(|(key, flow)| (format!("{key:?}"), Flow { opened_ns: 0, last_ns: 0, interface: 0, ..*flow }))
        .collect()
}

/// The cases of the table in which flows grow old, and the others.
fn aging_and_others() -> (Vec<Case>, Vec<Case>) {
    let ages = |case: &Case| case.steps.iter().any(|step| matches!(step, Step::Wait(_)));
    let (aging, others): (Vec<_>, Vec<_>) =
        cases::all().into_iter().filter(|case| case.runs == Runs::Everywhere).partition(ages);
    assert!(aging.len() > 2 && others.len() > 80, "{} cases, {} of them age", others.len(), aging.len());
    (aging, others)
}

#[test]
fn the_kernel_counts_every_packet_of_the_table_as_it_says_and_as_the_host_does() {
    play(&mut Kernel::load(&entries()), aging_and_others().1);
}

#[test]
fn flows_that_grow_old_between_the_packets_of_the_table_end_as_it_says_and_as_on_the_host() {
    play(&mut Kernel::load(&entries()), aging_and_others().0);
}

#[test]
fn with_a_million_prefixes_loaded_it_counts_every_packet_of_the_table_the_same() {
    let (aging, others) = aging_and_others();
    play(&mut Kernel::load(&entries_among_a_million()), [others, aging].concat());
}

fn play(kernel: &mut Kernel, cases: Vec<Case>) {
    let mut failures = Vec::new();
    for case in cases {
        kernel.clear();
        for step in &case.steps {
            match step {
                Step::Packet(direction, frame) => kernel.run(frame, *direction),
                Step::Wait(seconds) => kernel.wait(*seconds),
            }
        }
        let (totals, own, flows) =
            (kernel.totals(), kernel.maps.own().expect("OWN can be read"), kernel.flows());
        let expected: BTreeMap<u32, Totals> = case.totals.iter().copied().collect();
        if totals != expected {
            failures.push(format!("{}:\n counted  {totals:?}\n expected {expected:?}", case.description));
        }
        if own.undecoded != case.own_undecoded() || own.uncounted != [0; 4] {
            failures.push(format!("{}: {own:?}", case.description));
        }
        let model = Memory::of(&case);
        let modelled = timeless(&model.flows.borrow());
        if timeless(&flows) != modelled {
            failures.push(format!(
                "{}:\n flows    {:?}\n modelled {modelled:?}",
                case.description,
                timeless(&flows)
            ));
        }
        if own != *model.own.borrow() {
            failures.push(format!(
                "{}:\n own      {own:?}\n modelled {:?}",
                case.description,
                model.own.borrow()
            ));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn the_object_has_every_map_and_every_program_that_the_library_names() {
    let object = aya_obj::Object::parse(sensor::bpf::OBJECT).expect("the embedded object");
    let named = [
        map::SETTINGS,
        map::TARGETS,
        map::TOTALS,
        map::OWN,
        map::FLOWS,
        map::CLAIMS,
        map::FILTER,
        map::TABLES,
        map::LEARNED,
        map::STREAMS,
        map::SAMPLES,
        map::SAMPLER,
        map::BUDGETS,
        map::JUDGED,
        map::FINDINGS,
        map::DAEMON,
    ];
    for name in named {
        assert!(object.maps.contains_key(name), "no map {name}");
    }
    for name in program::ETHERNET.iter().chain(&program::IP) {
        assert!(object.programs.contains_key(*name), "no program {name}");
        assert!(name.len() < 16, "the kernel would cut {name}");
    }
}

#[test]
fn the_verifier_walks_far_fewer_instructions_than_it_is_willing_to() {
    const WILLING: u32 = 1_000_000;
    if kernel::lacks(Since::WalkedInstructions) {
        return;
    }
    // 6.1 walks half as many again as those that have TCX.
    let most = if kernel::has(Since::Tcx) { WILLING / 5 } else { WILLING / 3 };
    let mut kernel = Kernel::load(&entries());
    for name in program::ETHERNET.iter().chain(&program::IP).chain(&[program::TAKE]) {
        let info = kernel.programs.get(name).expect("a program").info().expect("its info");
        let walked = info.verified_instruction_count().expect("a kernel since 5.16");
        println!("{name}: {walked} instructions walked, {} bytes of machine code", info.size_jitted());
        assert!(walked < most, "{name}: {walked}");
    }
}

#[test]
fn what_was_learned_is_still_known_after_the_tables_are_switched() {
    let mut kernel = Kernel::load(&entries());
    let packet = from(HOST, LEARNED);
    for switches in 0..3 {
        kernel.run(&packet, Direction::Egress);
        let packets =
            kernel.totals()[&LEARNED_SLOT].packets[Direction::Egress as usize][Transport::Udp as usize];
        assert_eq!(packets, switches + 1, "after {switches} switches");
        kernel.tables.switch_to(&Compiled::of(&entries())).expect("the tables fit");
    }
}
