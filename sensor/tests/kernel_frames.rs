//! Frames that no socket makes, put on real interfaces under a real daemon: the table of
//! packets on a veth pair and on a tun, VLAN tags in the data and in the kernel's metadata,
//! malformed packets that arrive, and sockets that know of no link layer.

#[path = "../../sensor-ebpf/tests/packets/mod.rs"]
mod packets;
mod support;

use std::net::{IpAddr, TcpStream, UdpSocket};
use std::time::Duration;

use packets::build::{Frame, from};
use packets::cases::{self, case};
use packets::{
    Case, HOST, HOST_V6, OTHER, Runs, STAR, STAR_SLOT, Step, V6_SLOT, WATCHED_V6, inn, nothing, out,
};
use sensor_ebpf::abi::Side::{Local, Remote};
use sensor_ebpf::abi::Transport::{Tcp, Udp};
use sensor_ebpf::abi::{Direction, Totals, Undecoded};
use sensor_ebpf::headers::Link;
use sensor_ebpf::packet::Aggregate;
use support::PinsDirectory;
use support::daemon::Daemon;
use support::namespace::Namespace;
use support::prefixes::million;
use support::series::Series;
use support::tun::Tun;
use support::wire::{Arrivals, Wire, stay_on_one_cpu};

/// The indicators of the cases, by slot; two slots are learned.
const WATCHLISTS: [&str; 8] = ["star", "alone", "six", "pool", "neighbours", "", "", "wide"];
const CONFIG: &str = r#"
[builtin]
mining = false
dprk = false
[[watchlist]]
name = "star"
prefixes = ["175.45.176.0/22"]
[[watchlist]]
name = "alone"
prefixes = ["175.45.176.9"]
[[watchlist]]
name = "six"
prefixes = ["2001:db8:77::/48"]
[[watchlist]]
name = "pool"
endpoints = ["203.0.113.7:3333"]
[[watchlist]]
name = "neighbours"
prefixes = ["203.0.113.0/24"]
[[watchlist]]
name = "wide"
prefixes = ["198.51.100.0/24"]
"#;

/// What is learned cannot be configured.
const OF_LEARNED: [&str; 7] = [
    "a learned address, on any port",
    "a learned address is known without ports as well",
    "an address learned with its port beats the prefix on that port",
    "what was learned of address and port was put together with what is listed",
    "an endpoint beats what was learned of its address",
    "a connection that was freed is nobody's, and what follows it on another port is",
    "a connection is whose its own payload said, in both directions",
];

const VLAN: u16 = 0x8100;
const QINQ: u16 = 0x88a8;
const QINQ_OLD: u16 = 0x9100;

/// The table's cases that are nothing but packets that begin like this.
fn on_wires(link: Link) -> Vec<Case> {
    let mut cases = cases::all();
    for description in OF_LEARNED {
        let at = cases.iter().position(|case| case.description == description);
        cases.remove(at.unwrap_or_else(|| panic!("the table has no case {description:?}")));
    }
    let is_sent = |step: &Step| match step {
        Step::Packet(_, frame) => frame.link() == link && frame.aggregate == Aggregate::default(),
        Step::Wait(_) => false,
    };
    cases.retain(|case| case.runs != Runs::OnTheHost && case.steps.iter().all(is_sent));
    cases
}

/// What leaves and what arrives with tags: the kernel takes the outermost one of a frame that
/// arrives into its metadata (`skb_vlan_untag` in `net/core/dev.c`), before TC; a frame that a
/// packet socket sends has them all in its data.
fn tagged() -> Vec<Case> {
    let leaves = |tags: &[u16]| out(from(HOST, STAR).tagged(tags));
    let arrives = |tags: &[u16]| inn(from(STAR, HOST).ports(3333, 40_000).tagged(tags));
    let both = |description, tags: &[u16]| {
        let counts = nothing().sent(Udp, 1, 28).received(Udp, 1, 28);
        let counts = counts.connections(Local, Udp, 1).established(Local, Udp, 1);
        case(description, vec![leaves(tags), arrives(tags)], 1, &[(STAR_SLOT, counts)])
    };
    let from_outside = nothing().received(Udp, 1, 28).connections(Remote, Udp, 1);
    let six = |source, destination, tags: &[u16]| from(source, destination).tagged(tags).syn(1);
    vec![
        both("802.1Q: in the data when it leaves, in the metadata when it arrives", &[VLAN]),
        both("802.1ad alone, likewise", &[QINQ]),
        both("QinQ: of two tags that arrive one is in the metadata, one in the data", &[QINQ, VLAN]),
        both("QinQ as it was before 802.1ad: both are in the data", &[QINQ_OLD, VLAN]),
        case("three tags that leave are one more than we follow", vec![leaves(&[QINQ, VLAN, VLAN])], 0, &[]),
        case(
            "of three tags that arrive one is in the metadata, and two are followed",
            vec![arrives(&[QINQ, VLAN, VLAN])],
            1,
            &[(STAR_SLOT, from_outside)],
        ),
        case(
            "four tags that arrive are one more than we follow",
            vec![arrives(&[QINQ, VLAN, VLAN, VLAN])],
            0,
            &[],
        ),
        case(
            "IPv6 behind QinQ, both ways",
            vec![
                out(six(HOST_V6, WATCHED_V6, &[QINQ, VLAN])),
                inn(six(WATCHED_V6, HOST_V6, &[QINQ, VLAN]).ports(3333, 40_000).rst(0, 2)),
            ],
            1,
            &[(V6_SLOT, nothing().sent(Tcp, 1, 60).received(Tcp, 1, 60).connections(Local, Tcp, 1))],
        ),
    ]
}

/// What is malformed arrives as well, and is counted for whoever sent it.
fn malformed_arrivals() -> Vec<Case> {
    let udp = || from(STAR, HOST).ports(3333, 40_000).payload(40);
    let six = || from(WATCHED_V6, HOST_V6).ports(3333, 40_000);
    let received = |transport, bytes| vec![(STAR_SLOT, nothing().received(transport, 1, bytes))];
    [
        ("an IPv4 header that is cut off", udp().cut(14 + 19), Undecoded::IpHeader, vec![]),
        ("an IPv6 header that is cut off", six().cut(14 + 39), Undecoded::IpHeader, vec![]),
        ("IPv4 by its type and 6 by its version", udp().version(6), Undecoded::IpVersion, vec![]),
        ("a total length beyond the packet", udp().length(69), Undecoded::IpLength, vec![]),
        ("behind a tag in the metadata", udp().tagged(&[VLAN]).length(69), Undecoded::IpLength, vec![]),
        ("a payload length beyond the packet", six().length(9), Undecoded::IpLength, vec![]),
        (
            "a TCP header of four words",
            udp().ack(7, 7).data_offset(4),
            Undecoded::TcpHeader,
            received(Tcp, 80),
        ),
        ("a UDP length beyond the packet", udp().udp_length(49), Undecoded::UdpHeader, received(Udp, 68)),
        ("and from nobody's address", from(OTHER, HOST).udp_length(7), Undecoded::UdpHeader, vec![]),
    ]
    .map(|(description, frame, reason, totals)| Case {
        undecoded: vec![reason],
        ..case(description, vec![inn(frame)], 0, &totals)
    })
    .to_vec()
}

/// The packet, with a local address that no other case has: flows outlive their case.
fn bytes(frame: &Frame, number: usize) -> Vec<u8> {
    let octets = |address: &str| match address.parse().expect("an address") {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let mut bytes = frame.bytes();
    for (host, own) in [(HOST, format!("10.1.{number}.1")), (HOST_V6, format!("2001:db8:1:{number:x}::1"))] {
        let (host, own) = (octets(host), octets(&own));
        if let Some(at) = bytes.windows(host.len()).position(|window| window == host) {
            bytes[at..][..own.len()].copy_from_slice(&own);
        }
    }
    bytes
}

fn expected(case: &Case) -> Series {
    let mut series = Series::default();
    for (slot, totals) in &case.totals {
        add_totals(&mut series, WATCHLISTS[*slot as usize], totals);
    }
    for reason in &case.undecoded {
        series.add("poolwatch_undecoded_packets_total", &[("reason", reason.reason())], 1);
    }
    series
}

fn add_totals(series: &mut Series, name: &str, totals: &Totals) {
    let own = [("watchlist", name), ("target", name)];
    for (index, transport) in ["tcp", "udp", "icmp", "other"].into_iter().enumerate() {
        let labels = |key, value| [own[0], own[1], (key, value), ("transport", transport)];
        for (which, direction) in ["ingress", "egress"].into_iter().enumerate() {
            let labels = labels("direction", direction);
            series.add("poolwatch_packets_total", &labels, totals.packets[which][index]);
            series.add("poolwatch_bytes_total", &labels, totals.bytes[which][index]);
        }
        for (which, initiator) in ["local", "remote"].into_iter().enumerate().filter(|_| index < 2) {
            let (labels, attempts) = (labels("initiator", initiator), totals.connections[which][index]);
            series.add("poolwatch_connections_total", &labels, attempts);
            let established = totals.established[which][index];
            series.add("poolwatch_connections_established_total", &labels, established);
        }
    }
    series.add("poolwatch_connections_joined_total", &own, totals.joined);
}

fn counted(daemon: &Daemon) -> Series {
    Series::of_metrics(&daemon.metrics().0)
}

/// Plays one case after another; each must add exactly what it says.
fn play(daemon: &Daemon, cases: &[Case], send: impl Fn(Direction, &[u8])) {
    let mut failures = Vec::new();
    let mut before = counted(daemon);
    for (case, number) in cases.iter().zip(1..) {
        for step in &case.steps {
            if let Step::Packet(direction, frame) = step {
                send(*direction, &bytes(frame, number));
            }
        }
        let after = counted(daemon);
        let differences = after.since(&before).differences(&expected(case));
        if !differences.is_empty() {
            failures.push(format!("{}:\n  {}", case.description, differences.join("\n  ")));
        }
        before = after;
    }
    assert!(failures.is_empty(), "{} of {} cases:\n{}", failures.len(), cases.len(), failures.join("\n"));
}

/// What leaves is sent at the near end of a veth pair, what arrives at the far end.
fn play_on_veth(cases: &[Case], config: &str) {
    let (near, far) = Namespace::pair();
    for namespace in [&near, &far] {
        namespace.ip("link set eth0 mtu 4000");
    }
    let daemon = Daemon::start(&near, config);
    let arrivals = Arrivals::new(&near, &far);
    let (here, there) = (Wire::open(&near, "eth0"), Wire::open(&far, "eth0"));
    near.enter(|| {
        stay_on_one_cpu();
        play(&daemon, cases, |direction, frame| match direction {
            Direction::Egress => here.send(frame),
            Direction::Ingress => {
                there.send(frame);
                arrivals.wait();
            }
        });
    });
}

#[test]
fn every_ethernet_packet_of_the_table_counts_on_a_veth_pair_as_it_says() {
    let cases = on_wires(Link::Ethernet);
    assert!(cases.len() > 80, "{} cases", cases.len());
    play_on_veth(&cases, CONFIG);
}

#[test]
fn with_a_million_prefixes_loaded_every_packet_of_the_table_counts_the_same() {
    let (_feed, million) = million().expect("a feed");
    let cases = [on_wires(Link::Ethernet), tagged(), malformed_arrivals()].concat();
    play_on_veth(&cases, &format!("{CONFIG}{million}"));
}

#[test]
fn tags_in_the_data_of_what_leaves_and_in_the_metadata_of_what_arrives_are_followed() {
    play_on_veth(&tagged(), CONFIG);
}

#[test]
fn malformed_packets_that_arrive_count_as_undecoded_by_their_reason() {
    play_on_veth(&malformed_arrivals(), CONFIG);
}

/// A namespace with a tun through which the watched prefixes are reached.
fn with_tun() -> (Namespace, Tun) {
    let near = Namespace::new("near");
    let tun = Tun::new(&near, "tun0");
    near.ip("address add 10.88.0.1/24 dev tun0");
    near.ip("address add fd88::1/64 dev tun0 nodad");
    near.ip("route add 175.45.176.0/22 dev tun0");
    near.ip("-6 route add 2001:db8:77::/48 dev tun0");
    (near, tun)
}

fn start_on_tun(near: &Namespace) -> Daemon<'_> {
    Daemon::start_on(near, PinsDirectory::new(), "interfaces = [\"tun0\"]", CONFIG, &[])
}

#[test]
fn every_packet_of_the_table_without_a_link_header_counts_on_a_tun_as_it_says() {
    let (near, tun) = with_tun();
    let daemon = start_on_tun(&near);
    let here = Wire::open(&near, "tun0");
    let cases = on_wires(Link::Ip);
    assert!(cases.len() > 2, "{} cases", cases.len());
    play(&daemon, &cases, |direction, packet| match direction {
        Direction::Egress => here.send(packet),
        Direction::Ingress => tun.send(packet),
    });
}

/// Of a raw IPv4 or IPv6 packet to a watched address: watchlist and transport.
fn addressee(packet: &[u8]) -> Option<(&'static str, &'static str)> {
    let (watchlist, protocol) = match packet[0] >> 4 {
        4 if packet[16..19] == [175, 45, 177] => ("star", packet[9]),
        6 if packet[24..30] == [0x20, 0x01, 0x0d, 0xb8, 0, 0x77] => ("six", packet[6]),
        _ => return None,
    };
    Some((watchlist, if protocol == 6 { "tcp" } else { "udp" }))
}

#[test]
fn sockets_behind_a_tun_count_what_left_through_it_byte_for_byte() {
    let (near, tun) = with_tun();
    let daemon = start_on_tun(&near);
    near.enter(|| {
        for (local, remote) in [("0.0.0.0:0", (STAR, 3333)), ("[::]:0", (WATCHED_V6, 3333))] {
            let socket = UdpSocket::bind(local).expect("a socket");
            // The last one leaves in fragments, of which the later ones have no ports.
            for len in [0, 1, 500, 4000] {
                socket.send_to(&vec![7; len], remote).expect("it is sent");
            }
        }
        let nobody = (STAR.parse::<IpAddr>().expect("an address"), 3333).into();
        TcpStream::connect_timeout(&nobody, Duration::from_millis(100)).expect_err("nobody is there");
    });
    let counted = counted(&daemon);
    let mut left = Series::default();
    for packet in tun.received() {
        let Some((name, transport)) = addressee(&packet) else { continue };
        let labels =
            [("watchlist", name), ("target", name), ("direction", "egress"), ("transport", transport)];
        left.add("poolwatch_packets_total", &labels, 1);
        left.add("poolwatch_bytes_total", &labels, packet.len() as u64);
    }
    for (name, transport) in [("star", "udp"), ("star", "tcp"), ("six", "udp")] {
        let labels =
            [("watchlist", name), ("target", name), ("initiator", "local"), ("transport", transport)];
        left.add("poolwatch_connections_total", &labels, 1);
    }
    assert_eq!(counted.differences(&left), Vec::<String>::new());
}

#[test]
fn what_arrives_through_a_tun_counts_byte_for_byte() {
    let (near, tun) = with_tun();
    // What is to nobody here is answered by IPv6, unless there is a route to nowhere.
    near.ip("-6 route add blackhole default");
    let daemon = start_on_tun(&near);
    let six = || from(WATCHED_V6, HOST_V6).ports(3333, 40_000).raw();
    let four = || from(STAR, HOST).ports(3333, 40_000).raw();
    let cases = [
        case(
            "IPv4 and IPv6 datagrams of some lengths",
            vec![inn(four()), inn(four().payload(1)), inn(six().payload(1400)), inn(six().payload(999))],
            2,
            &[
                (STAR_SLOT, nothing().received(Udp, 2, 28 + 29).connections(Remote, Udp, 1)),
                (V6_SLOT, nothing().received(Udp, 2, 1448 + 1047).connections(Remote, Udp, 1)),
            ],
        ),
        case(
            "the middle of a connection",
            vec![inn(four().ack(7, 7).payload(100)), inn(six().ack(7, 7))],
            2,
            &[
                (STAR_SLOT, nothing().received(Tcp, 1, 140).joined(1)),
                (V6_SLOT, nothing().received(Tcp, 1, 60).joined(1)),
            ],
        ),
    ];
    play(&daemon, &cases, |_, packet| tun.send(packet));
}
