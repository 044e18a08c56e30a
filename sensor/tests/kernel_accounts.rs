//! What is not counted is accounted for: each reason that the kernel half can give is provoked,
//! and found in its counter exactly as often.
//!
//! An LRU map makes room instead of refusing (`kernel/bpf/bpf_lru_list.c`): it refuses only while all
//! its entries are on their way into the table on other CPUs, which not even a table of one entry
//! and a packet on each CPU bring about at will. So where a full table is meant, a plain hash stands
//! in for it, under the same programs; that refuses for certain.

#[path = "../../sensor-ebpf/tests/packets/mod.rs"]
mod packets;
mod support;

use std::fs;
use std::path::Path;

use aya::maps::MapData;
use aya::programs::{SchedClassifier, TestRun, TestRunOptions};
use aya::{Ebpf, EbpfLoader};
use aya_obj::generated::bpf_map_type::BPF_MAP_TYPE_HASH;
use ipnet::IpNet;
use packets::build::{Extension, Frame, from};
use packets::{HOST, HOST_V6, STAR, WATCHED_V6};
use rustix::process::Signal;
use sensor::bpf::maps::Maps;
use sensor::bpf::pins::Pins;
use sensor::bpf::tables::Tables;
use sensor::bpf::{OBJECT, load};
use sensor::config::Limits;
use sensor::watchlists::{Compiled, Entries};
use sensor_ebpf::abi::{
    Claim, Direction, Flow, FlowKey, Side, TargetSet, Transport, Uncounted, Undecoded, map, program,
};
use support::PinsDirectory;
use support::daemon::Daemon;
use support::namespace::Namespace;
use support::wire::Wire;
use tempfile::TempDir;

const UDP: usize = Transport::Udp as usize;

#[test]
fn each_reason_for_not_decoding_a_packet_is_counted_under_its_name_and_no_other() {
    let (near, _far) = Namespace::pair();
    let daemon = Daemon::start(&near, "");
    let wire = Wire::open(&near, "eth0");
    let udp = || from(HOST, STAR).payload(40);
    let six = || from(HOST_V6, WATCHED_V6);
    let frames = [
        (Undecoded::IpVersion, udp().version(6)),
        (Undecoded::IpHeader, udp().cut(14 + 19)),
        (Undecoded::IpLength, udp().length(69)),
        (Undecoded::IpExtension, six().extensions(&[const { Extension::Destination(0) }; 7])),
        (Undecoded::TcpHeader, udp().ack(7, 7).data_offset(4)),
        (Undecoded::UdpHeader, udp().udp_length(49)),
    ];
    assert_eq!(frames.each_ref().map(|(reason, _)| *reason), Undecoded::ALL);
    // As many as are asked for by no other reason.
    for (count, (_, frame)) in (1..).zip(&frames) {
        for _ in 0..count {
            wire.send(&frame.bytes());
        }
    }
    let metrics = daemon.metrics();
    for (count, (reason, _)) in (1..).zip(&frames) {
        let labels = [("reason", reason.reason())];
        let counted = metrics.sum("poolwatch_undecoded_packets_total", &labels);
        assert_eq!(counted, count, "{}:\n{}", reason.reason(), metrics.0);
    }
    assert_eq!(metrics.sum("poolwatch_packets_uncounted_total", &[]), 0);
}

/// The programs of the object, on maps of which those of flows and of claims are plain hashes.
struct Kernel {
    ebpf: Ebpf,
    maps: Maps,
    _tables: Tables,
    _pins: Pins,
    _directory: PinsDirectory,
}

const SLOTS: u32 = 16;
const FLOWS: u32 = 2;

impl Kernel {
    /// STAR stands for these slots.
    fn watching(slots: &[u32]) -> Self {
        let directory = PinsDirectory::new();
        let pins = Pins::open(directory.path()).expect("a pins directory");
        let limits = Limits { flows: 64, targets: SLOTS, prefixes: 16, endpoints: 16 };
        let (_, mut maps) = load(&pins, &limits, &[]).expect("the kernel half loads");
        let mut tables = Tables::take(&mut maps).expect("the writing side");
        let IpNet::V4(star) = IpNet::new(STAR.parse().expect("an address"), 32).expect("a prefix") else {
            panic!("{STAR} is not IPv4")
        };
        let targets = TargetSet::of(slots.iter().copied()).expect("at most four");
        let entries = Entries { v4: vec![(star, targets)], ..Entries::default() };
        tables.switch_to(&Compiled::of(&entries)).expect("the tables fit");

        pin_hash::<FlowKey, Flow>(&pins.maps(), map::FLOWS, FLOWS);
        pin_hash::<Claim, u32>(&pins.maps(), map::CLAIMS, 1);
        let mut ebpf = EbpfLoader::new()
            .default_map_pin_directory(pins.maps())
            .map_pin_path(map::TABLES, pins.maps().join(map::TABLES))
            .load(OBJECT)
            .expect("the programs take any map of this name");
        for name in program::ETHERNET {
            classifier(&mut ebpf, name).load().expect("the verifier knows no difference");
        }
        Self { ebpf, maps, _tables: tables, _pins: pins, _directory: directory }
    }

    fn run(&mut self, frame: &Frame, direction: Direction) {
        let data = frame.bytes();
        let options = TestRunOptions { data_in: Some(&data), ..TestRunOptions::default() };
        let program = classifier(&mut self.ebpf, program::ETHERNET[direction as usize]);
        let result = program.test_run(options).expect("it runs");
        assert_eq!(result.return_value.cast_signed(), -1, "the packet goes on");
    }

    fn uncounted(&self, reason: Uncounted) -> u64 {
        self.maps.own().expect("OWN can be read").uncounted[reason as usize]
    }
}

fn classifier<'a>(ebpf: &'a mut Ebpf, name: &str) -> &'a mut SchedClassifier {
    ebpf.program_mut(name).expect("a program").try_into().expect("a classifier")
}

/// Pins a plain hash in the place of a map.
fn pin_hash<K, V>(directory: &Path, name: &str, entries: u32) {
    let size = |bytes: usize| u32::try_from(bytes).expect("a small type");
    let wanted = aya_obj::Map::new_from_params(
        BPF_MAP_TYPE_HASH as u32,
        size(size_of::<K>()),
        size(size_of::<V>()),
        entries,
        0,
    );
    let path = directory.join(name);
    fs::remove_file(&path).expect("the map was pinned");
    MapData::create(wanted, name, None).expect("a map").pin(&path).expect("a pin");
}

#[test]
fn a_packet_to_a_slot_that_is_not_there_is_counted_as_such_and_its_other_targets_count_it() {
    let mut kernel = Kernel::watching(&[3, SLOTS, SLOTS + 1]);
    for _ in 0..5 {
        kernel.run(&from(HOST, STAR), Direction::Egress);
    }
    assert_eq!(kernel.uncounted(Uncounted::Slot), 2 * 5);
    let totals = kernel.maps.totals(3).expect("TOTALS can be read");
    assert_eq!(totals.packets[Direction::Egress as usize][UDP], 5);
    assert_eq!(kernel.maps.own().expect("OWN").uncounted.iter().sum::<u64>(), 10, "and nothing else");
}

#[test]
fn what_the_tables_of_flows_and_claims_do_not_take_is_counted_and_no_packet_is_lost() {
    let mut kernel = Kernel::watching(&[3]);
    for port in 1..=7 {
        kernel.run(&from(HOST, STAR).ports(port, 3333), Direction::Egress);
    }
    let totals = |kernel: &Kernel| kernel.maps.totals(3).expect("TOTALS can be read");
    assert_eq!(kernel.uncounted(Uncounted::FlowTable), 7 - u64::from(FLOWS));
    assert_eq!(totals(&kernel).packets[Direction::Egress as usize][UDP], 7);
    assert_eq!(totals(&kernel).connections[Side::Local as usize][1], u64::from(FLOWS));
    assert_eq!(kernel.maps.own().expect("OWN").flows_created, u64::from(FLOWS));

    // Each of the two is answered; there is room for one claim.
    for port in 1..=2 {
        kernel.run(&from(STAR, HOST).ports(3333, port), Direction::Ingress);
    }
    assert_eq!(kernel.uncounted(Uncounted::ClaimTable), 1);
    assert_eq!(totals(&kernel).established[Side::Local as usize][1], 1);
    assert_eq!(totals(&kernel).packets[Direction::Ingress as usize][UDP], 2);
    assert_eq!(kernel.uncounted(Uncounted::FlowTable), 5, "as before");
}

/// The real table, of one entry, on all CPUs at once: what it refuses is luck, the sum is not.
#[test]
fn each_new_flow_is_a_connection_or_is_counted_as_refused_by_the_flow_table() {
    const EACH: u16 = 20_000;
    let (near, _far) = Namespace::pair();
    let daemon = Daemon::start(&near, "[limits]\nflows = 1\n");
    let senders = std::thread::available_parallelism().expect("a number").get();
    std::thread::scope(|scope| {
        for sender in 0..senders {
            let wire = Wire::open(&near, "eth0");
            scope.spawn(move || {
                let host = format!("10.0.1.{sender}");
                for port in 0..EACH {
                    wire.send(&from(&host, STAR).ports(port, 3333).bytes());
                }
            });
        }
    });
    let metrics = daemon.metrics();
    let sent = u64::from(EACH) * senders as u64;
    let refused = metrics.sum("poolwatch_packets_uncounted_total", &[("reason", "flow_table")]);
    println!("{refused} of {sent} new flows found no room");
    let own = [("target", "star-kp"), ("transport", "udp")];
    assert_eq!(metrics.sum("poolwatch_packets_total", &own), sent);
    assert_eq!(metrics.sum("poolwatch_connections_total", &own) + refused, sent);
}

#[test]
fn flows_are_evicted_exactly_as_often_as_they_were_made_and_are_not_there_also_across_a_restart() {
    let (near, _far) = Namespace::pair();
    let limits = "[limits]\nflows = 256\n";
    let wire = Wire::open(&near, "eth0");
    let mut sent = 0_u64;
    // Connections that do not end: what leaves the table has been evicted.
    let mut flood = |wire: &Wire| {
        for _ in 0..2_000 {
            sent += 1;
            let port = u16::try_from(sent).expect("a few thousand");
            wire.send(&from(HOST, STAR).ports(port, 3333).syn(1).bytes());
        }
        sent
    };
    let at_rest = |daemon: &Daemon, sent: u64| {
        daemon.wait_for("evicted = created − alive", |metrics| {
            let alive = metrics.sum("poolwatch_map_entries", &[("map", map::FLOWS)]);
            alive > 0 && metrics.sum("poolwatch_flows_evicted_total", &[]) + alive == sent
        })
    };
    let daemon = Daemon::start(&near, limits);
    let mut made = flood(&wire);
    at_rest(&daemon, made);
    daemon.signal(Signal::KILL);
    let (_, pins, _) = daemon.stop();
    made = flood(&wire).max(made);
    let daemon = Daemon::start_on(&near, pins, "interfaces = [\"eth0\"]", limits, &[]);
    at_rest(&daemon, made);
    made = flood(&wire);
    let metrics = at_rest(&daemon, made);
    assert_eq!(metrics.sum("poolwatch_connections_total", &[("target", "star-kp")]), made);
    assert_eq!(metrics.sum("poolwatch_packets_uncounted_total", &[]), 0);
}

#[test]
fn a_list_exactly_at_its_limit_is_watched_and_one_entry_more_is_refused_by_name_and_changes_nothing() {
    const LIMIT: u32 = 1_000;
    let (near, _far) = Namespace::pair();
    let directory = TempDir::new().expect("a directory");
    let feed = directory.path().join("feed.netset");
    // No two of them are one.
    let write = |count: u32| {
        let line = |number: u32| format!("198.{}.{}.1\n", 18 + number / 256, number % 256);
        let new = directory.path().join("new");
        fs::write(&new, (0..count).map(line).collect::<String>()).expect("a feed");
        fs::rename(new, &feed).expect("it takes the old one's place");
    };
    write(LIMIT);
    let config = format!(
        "[builtin]\ndprk = false\nmining = false\n[limits]\nprefixes = {LIMIT}\n\
         [[watchlist]]\nname = \"list\"\n[[watchlist.feed]]\npath = \"{}\"\n",
        feed.display()
    );
    let daemon = Daemon::start(&near, &config);
    let size = |metric: &str| daemon.metrics().sum(metric, &[("map", "PREFIXES_V4")]);
    let successful = |value: u64| {
        daemon.wait_for(&format!("a reload that says {value}"), |metrics| {
            metrics.sum("poolwatch_config_last_reload_successful", &[]) == value
        })
    };
    let last = || {
        let wire = Wire::open(&near, "eth0");
        wire.send(&from(HOST, "198.21.231.1").bytes());
        daemon.metrics().sum("poolwatch_packets_total", &[("target", "list")])
    };
    assert_eq!((size("poolwatch_map_entries"), size("poolwatch_map_capacity")), (1_000, 1_000));
    assert_eq!(last(), 1, "the last of them");
    write(LIMIT + 1);
    successful(0);
    assert!(daemon.log().contains("limits.prefixes"), "{}", daemon.log());
    assert_eq!(size("poolwatch_map_entries"), 1_000);
    assert_eq!(last(), 2, "the old list stays");
    write(LIMIT);
    successful(1);
    assert_eq!(last(), 3);
}
