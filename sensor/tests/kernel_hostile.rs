//! Hostile conditions: floods, scans, forged fragments, reloads without end, clients that misbehave.
//! After each the daemon is alive and ready, has not grown, and its counts are those of what was
//! sent, and of nftables.

#[path = "../../sensor-ebpf/tests/packets/mod.rs"]
mod packets;
mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use packets::build::{Frame, from};
use packets::{HOST, STAR};
use rustix::process::Signal;
use sensor::http::{CONNECTIONS_MAX, HEAD_MAX_BYTES};
use sensor_ebpf::abi::{capacity, map};
use sensor_ebpf::headers::tcp_flag::{ACK, FIN, RST, SYN};
use support::daemon::{Daemon, Metrics};
use support::namespace::Namespace;
use support::nft::{Count, Nft};
use support::prefixes::Random;
use support::wire::{Arrivals, Wire, stay_on_one_cpu};
use tempfile::TempDir;

const TARGET: (&str, &str) = ("target", "star-kp");
/// What a daemon may hold whatever comes, built without optimisation as it is here: most of it is a
/// sweep of a full flow table.
const RESIDENT_KIB: u64 = 64 << 10;

fn resident_kib(daemon: &Daemon) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.id())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// Alive, ready, every collector sound, and no larger than it may be.
fn stands(daemon: &Daemon) -> Metrics {
    let (code, said) = daemon.get("/readyz").expect("it answers");
    assert_eq!(code, 200, "{said}");
    let metrics = daemon.metrics();
    let collectors = metrics.0.lines().filter(|line| line.starts_with("poolwatch_collector_success{"));
    for line in collectors {
        assert!(line.ends_with(" 1"), "{line}\n{}", daemon.log());
    }
    let resident = resident_kib(daemon);
    println!("resident: {resident} KiB");
    assert!(resident < RESIDENT_KIB, "{resident} KiB");
    metrics
}

/// Packets and bytes of the target.
fn counted(metrics: &Metrics, direction: &str, transport: &str) -> Count {
    let labels = [TARGET, ("direction", direction), ("transport", transport)];
    Count {
        packets: metrics.sum("poolwatch_packets_total", &labels),
        bytes: metrics.sum("poolwatch_bytes_total", &labels),
    }
}

fn connections(metrics: &Metrics, initiator: &str) -> u64 {
    metrics.sum("poolwatch_connections_total", &[TARGET, ("initiator", initiator)])
}

/// Offsets in a frame of Ethernet, IPv4 without options, and TCP.
const SOURCE: usize = 14 + 12;
const DESTINATION: usize = SOURCE + 4;
const PORTS: usize = DESTINATION + 4;

/// Overwrites a part of a frame.
fn put(frame: &mut [u8], at: usize, bytes: &[u8]) {
    frame[at..][..bytes.len()].copy_from_slice(bytes);
}

#[test]
fn a_million_spoofed_syns_from_and_to_a_watched_prefix_are_counted_each_through_a_full_table() {
    const EACH: u32 = 500_000;
    let (near, far) = Namespace::pair();
    let nft = Nft::count(&near, &[("star", "175.45.176.0/22")]);
    let daemon = Daemon::start(&near, "");
    let arrivals = Arrivals::new(&near, &far);
    let (here, there) = (Wire::open(&near, "eth0"), Wire::open(&far, "eth0"));
    near.enter(|| {
        stay_on_one_cpu();
        let mut out = from(HOST, STAR).syn(1).bytes();
        let mut inward = from(STAR, HOST).syn(1).bytes();
        for number in 0..EACH {
            // From anywhere in our own network, to one address.
            put(&mut out, SOURCE + 1, &number.to_be_bytes()[1..]);
            here.send(&out);
            // From anywhere in the watched prefix, from 500 ports, to one of ours.
            let [.., host_high, host_low] = (number % 1024).to_be_bytes();
            put(&mut inward, SOURCE, &[175, 45, 176 + host_high, host_low]);
            put(&mut inward, PORTS, &(number / 1024).to_be_bytes()[2..]);
            there.send(&inward);
            if number % 256 == 0 {
                // So that no queue overflows: what is sent is to arrive.
                arrivals.wait();
            }
        }
        arrivals.wait();
    });
    let sent = u64::from(EACH);
    daemon.wait_for("evicted = created − alive", |metrics| {
        let alive = metrics.sum("poolwatch_map_entries", &[("map", map::FLOWS)]);
        alive > 0 && metrics.sum("poolwatch_flows_evicted_total", &[]) + alive == 2 * sent
    });
    let metrics = stands(&daemon);
    assert_eq!([connections(&metrics, "local"), connections(&metrics, "remote")], [sent, sent]);
    assert_eq!(counted(&metrics, "egress", "tcp"), nft.egress("star", "tcp"));
    assert_eq!(counted(&metrics, "ingress", "tcp"), nft.ingress("star", "tcp"));
    assert_eq!(counted(&metrics, "ingress", "tcp"), Count { packets: sent, bytes: 40 * sent });
    assert_eq!(counted(&metrics, "egress", "tcp"), Count { packets: sent, bytes: 40 * sent });
    assert_eq!(metrics.sum("poolwatch_connections_established_total", &[TARGET]), 0);
    assert_eq!(metrics.sum("poolwatch_packets_uncounted_total", &[]), 0);
    let alive = metrics.sum("poolwatch_map_entries", &[("map", map::FLOWS)]);
    assert!(alive <= u64::from(capacity::FLOWS), "{alive}");
}

#[test]
fn a_scan_of_our_ports_is_as_many_attempts_as_ports_and_no_connection() {
    const PORTS: u16 = 1_000;
    let (near, far) = Namespace::pair();
    near.without_offloads();
    far.owns("175.45.176.9");
    far.ip("route replace 10.77.0.0/24 dev eth0 src 175.45.176.9");
    let nft = Nft::count(&near, &[("star", "175.45.176.9")]);
    let daemon = Daemon::start(&near, "");
    far.enter(|| {
        for port in 1..=PORTS {
            let closed = SocketAddr::from(([10, 77, 0, 1], port));
            TcpStream::connect_timeout(&closed, Duration::from_secs(5)).expect_err("nobody listens");
        }
    });
    // What scanners send that no stack does: nothing of it opens or joins a connection.
    let odd = [0, FIN, FIN | 0x28, SYN | FIN, SYN | RST, SYN | ACK, RST];
    let wire = Wire::open(&near, "eth0");
    for flags in odd {
        for port in 1..=PORTS {
            wire.send(&from("10.77.0.1", "175.45.176.9").ports(40_000, port).tcp(flags).bytes());
        }
    }
    let metrics = stands(&daemon);
    assert_eq!(connections(&metrics, "remote"), u64::from(PORTS));
    assert_eq!(connections(&metrics, "local"), 0);
    assert_eq!(metrics.sum("poolwatch_connections_established_total", &[TARGET]), 0);
    assert_eq!(metrics.sum("poolwatch_connections_joined_total", &[TARGET]), 0);
    let egress = counted(&metrics, "egress", "tcp");
    assert_eq!(egress.packets, u64::from(PORTS) * (1 + odd.len() as u64), "each was refused");
    assert_eq!(egress, nft.egress("star", "tcp"));
    assert_eq!(counted(&metrics, "ingress", "tcp"), nft.ingress("star", "tcp"));
}

/// A fragment of anything: first or not, last or not, overlapping others, down to no payload.
fn fragment(random: &mut Random, source: &str, destination: &str) -> Frame {
    let [offset, length, kind, more, port, ..] = random.word().to_be_bytes();
    let frame = from(source, destination).ports(u16::from(port), 3333);
    let frame = if kind & 1 == 0 { frame.syn(u32::from(port)) } else { frame };
    // Every other one is the first of its packet, or says so.
    let offset = if kind & 2 == 0 { 0 } else { u16::from(offset) };
    frame.payload(usize::from(length)).fragment(offset, more & 1 == 1)
}

#[test]
fn forged_fragments_count_as_packets_and_bytes_and_only_their_first_ones_as_attempts() {
    const EACH: u32 = 20_000;
    let (near, far) = Namespace::pair();
    let nft = Nft::count(&near, &[("star", "175.45.176.0/22")]);
    let daemon = Daemon::start(&near, "");
    let arrivals = Arrivals::new(&near, &far);
    let (here, there) = (Wire::open(&near, "eth0"), Wire::open(&far, "eth0"));
    let mut random = Random::new(7);
    near.enter(|| {
        stay_on_one_cpu();
        for number in 0..EACH {
            here.send(&fragment(&mut random, HOST, STAR).bytes());
            there.send(&fragment(&mut random, STAR, HOST).bytes());
            if number % 256 == 0 {
                arrivals.wait();
            }
        }
        arrivals.wait();
    });
    let metrics = stands(&daemon);
    let mut packets = 0;
    for transport in ["tcp", "udp"] {
        let (ingress, egress) = (nft.ingress("star", transport), nft.egress("star", transport));
        assert_eq!(counted(&metrics, "ingress", transport), ingress);
        assert_eq!(counted(&metrics, "egress", transport), egress);
        packets += ingress.packets + egress.packets;
    }
    assert_eq!(packets, 2 * u64::from(EACH));
    // A byte is all that tells their ports apart, by transport.
    let attempts = connections(&metrics, "local") + connections(&metrics, "remote");
    assert!((1..=4 * 256).contains(&attempts), "{attempts}");

    // A first fragment too small for a TCP header is not decoded, as RFC 1858 would have it filtered;
    // one that nobody saw the first of is no attempt.
    let before = stands(&daemon);
    let reason = [("reason", "tcp_header")];
    let undecoded = |metrics: &Metrics| metrics.sum("poolwatch_undecoded_packets_total", &reason);
    let tiny = from(HOST, STAR).syn(1).fragment(0, true).length(20 + 8).cut(14 + 20 + 8);
    here.send(&tiny.bytes());
    here.send(&from(HOST, STAR).ports(1, 1).syn(1).fragment(3, true).bytes());
    let after = stands(&daemon);
    assert_eq!(undecoded(&after) - undecoded(&before), 1);
    assert_eq!(counted(&after, "egress", "tcp").packets - counted(&before, "egress", "tcp").packets, 2);
    assert_eq!(connections(&after, "local"), connections(&before, "local"));
}

#[test]
fn a_storm_of_reloads_of_long_lists_under_traffic_and_scrapes_loses_no_packet_and_no_scrape() {
    const RELOADS: u32 = 200;
    const LONGEST: u32 = 4_000;
    let (near, _far) = Namespace::pair();
    let directory = TempDir::new().expect("a directory");
    let feed = directory.path().join("feed.netset");
    let write = |len: u32| {
        let line = |number: u32| format!("198.{}.{}.0/24\n", 18 + number / 256, number % 256);
        let new = directory.path().join("new");
        fs::write(&new, (0..len).map(line).collect::<String>()).expect("a feed");
        fs::rename(new, &feed).expect("it takes the old one's place");
    };
    write(1);
    let lists =
        format!("[[watchlist]]\nname = \"list\"\n[[watchlist.feed]]\npath = \"{}\"\n", feed.display());
    let daemon = Daemon::start(&near, &lists);
    let first = resident_kib(&daemon);
    let over = AtomicBool::new(false);
    let (sent, scrapes) = std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let wire = Wire::open(&near, "eth0");
            let frame = from(HOST, STAR).bytes();
            let mut sent = 0_u64;
            while !over.load(Ordering::Relaxed) {
                wire.send(&frame);
                sent += 1;
                if sent.is_multiple_of(64) {
                    std::thread::yield_now();
                }
            }
            sent
        });
        let scraper = scope.spawn(|| {
            let (mut scrapes, mut last) = (0, 0);
            while !over.load(Ordering::Relaxed) {
                let metrics = stands(&daemon);
                let now = counted(&metrics, "egress", "udp").packets;
                assert!(now >= last, "{now} after {last}");
                (scrapes, last) = (scrapes + 1, now);
            }
            scrapes
        });
        for reload in 1..=RELOADS {
            write(reload * 7919 % LONGEST + 1);
            daemon.signal(Signal::HUP);
            std::thread::sleep(Duration::from_millis(u64::from(reload % 16)));
        }
        write(LONGEST);
        daemon.signal(Signal::HUP);
        daemon.wait_for("the last list", |metrics| {
            let entries = metrics.sum("poolwatch_watchlist_indicators", &[("watchlist", "list")]);
            entries == u64::from(LONGEST)
        });
        over.store(true, Ordering::Relaxed);
        (sender.join().expect("it sends"), scraper.join().expect("it scrapes"))
    });
    let metrics = stands(&daemon);
    assert_eq!(counted(&metrics, "egress", "udp").packets, sent);
    assert_eq!(connections(&metrics, "local"), 1);
    assert_eq!(metrics.sum("poolwatch_config_last_reload_successful", &[]), 1);
    assert!(scrapes > 0 && sent > 0, "{scrapes} scrapes of {sent} packets");
    println!("{sent} packets, {scrapes} scrapes; resident: {first} KiB at first");
}

#[test]
fn greedy_clients_keep_no_scraper_waiting_and_make_the_daemon_no_larger() {
    const CLIENTS: usize = 10 * CONNECTIONS_MAX;
    /// What as many answers and heads as there are places for take.
    const ROOM_KIB: u64 = 16 << 10;
    let (near, _far) = Namespace::pair();
    let daemon = Daemon::start(&near, "");
    let before = resident_kib(&daemon);
    let head = [b"GET /metrics HTTP/1.1\r\nX-Huge: ", [b'x'; HEAD_MAX_BYTES].as_slice()].concat();
    let kinds: [(&str, &[u8]); 4] = [
        ("silent", b""),
        ("a byte at a time", b"G"),
        ("a head without end", &head),
        ("never reading", b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"),
    ];
    for (description, said) in kinds {
        let stuck: Vec<_> = near.enter(|| {
            let client = |_| {
                let mut stream = TcpStream::connect("127.0.0.1:9750").expect(description);
                // It may have been hung up on.
                let _ = stream.write_all(said);
                stream
            };
            (0..CLIENTS).map(client).collect()
        });
        for mut stream in &stuck {
            let _ = stream.write_all(b"x");
        }
        let since = Instant::now();
        stands(&daemon);
        assert!(
            since.elapsed() < support::patiently(Duration::from_secs(5)),
            "{description}: {:?}",
            since.elapsed()
        );
        drop(stuck);
    }
    let after = resident_kib(&daemon);
    assert!(after < before + ROOM_KIB, "{before} KiB, then {after}");
}

#[test]
fn the_kernel_half_asks_for_no_clock_but_the_monotonic_one() {
    /// `enum bpf_func_id` (include/uapi/linux/bpf.h).
    const MONOTONIC: i32 = 5;
    /// Since boot with suspends, coarse, and international atomic time, which is set with the wall's.
    const OTHERS: [i32; 3] = [125, 160, 208];
    const CALL: u8 = 0x85;
    let object = aya_obj::Object::parse(sensor::bpf::OBJECT).expect("the embedded object");
    let calls: BTreeSet<i32> = object
        .functions
        .values()
        .flat_map(|function| &function.instructions)
        // A helper, not a function of its own.
        .filter(|instruction| instruction.code == CALL && instruction.src_reg() == 0)
        .map(|instruction| instruction.imm)
        .collect();
    assert!(calls.contains(&MONOTONIC), "{calls:?}");
    assert!(OTHERS.iter().all(|other| !calls.contains(other)), "{calls:?}");
}
