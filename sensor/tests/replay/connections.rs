//! From packets to connections: what CONTRACT's "Replay output" promises of flows, watchlists
//! and counts.

use sensor::replay::report::{Flow, Report};

use super::captures::{ETHERNET, Pcap, SECOND_NS, START_NS};
use super::lists::Watched;
use super::packets::{Frame, connection, icmp, tcp, udp};
use super::{CLIENT, SERVER, SERVER_ADDRESS, read, server_watched};

/// An Ethernet capture of these packets, a second apart.
fn capture(packets: &[Frame]) -> Vec<u8> {
    let mut capture = Pcap::new(ETHERNET);
    for (packet, second) in packets.iter().zip(0..) {
        capture = capture.frame(START_NS + second * SECOND_NS, &packet.bytes());
    }
    capture.bytes
}

/// Source, destination, packets, bytes, established.
fn told<'a>(report: &'a Report) -> Vec<(String, String, u64, u64, bool)> {
    let tell = |it: &'a Flow| {
        (it.source.to_string(), it.destination.to_string(), it.packets, it.bytes, it.established)
    };
    report.flows.iter().map(tell).collect()
}

fn flow(
    source: &str,
    destination: &str,
    packets: u64,
    bytes: u64,
    established: bool,
) -> (String, String, u64, u64, bool) {
    (source.to_owned(), destination.to_owned(), packets, bytes, established)
}

#[test]
fn a_flow_is_told_from_its_initiator() {
    let answer = tcp(SERVER, CLIENT).syn_ack(9, 1);
    let table = [
        (
            "a connection to what is watched",
            connection(CLIENT, SERVER, 1),
            vec![flow(CLIENT, SERVER, 7, 7 * 40 + 1100, true)],
        ),
        (
            "a connection from what is watched",
            connection(SERVER, CLIENT, 1),
            vec![flow(SERVER, CLIENT, 7, 7 * 40 + 1100, true)],
        ),
        (
            "a connection joined in its middle, the client first",
            connection(CLIENT, SERVER, 1).split_off(3),
            vec![flow(CLIENT, SERVER, 4, 4 * 40 + 1100, true)],
        ),
        (
            "a connection joined in its middle, the server first",
            connection(CLIENT, SERVER, 1).split_off(4),
            vec![flow(SERVER, CLIENT, 3, 3 * 40 + 1000, true)],
        ),
        (
            "an attempt that nobody answers",
            vec![tcp(CLIENT, SERVER).syn(1)],
            vec![flow(CLIENT, SERVER, 1, 40, false)],
        ),
        (
            "an attempt that is refused",
            vec![tcp(CLIENT, SERVER).syn(0), tcp(SERVER, CLIENT).rst(0, 1)],
            vec![flow(CLIENT, SERVER, 2, 80, false)],
        ),
        ("backscatter", vec![answer, tcp(SERVER, CLIENT).rst(1, 1)], vec![]),
        ("a datagram", vec![udp(CLIENT, SERVER).payload(4)], vec![flow(CLIENT, SERVER, 1, 32, false)]),
        (
            "a datagram and its answer",
            vec![udp(CLIENT, SERVER), udp(SERVER, CLIENT).payload(2)],
            vec![flow(CLIENT, SERVER, 2, 58, true)],
        ),
        ("an echo request has no ports", vec![icmp("10.0.0.1", SERVER_ADDRESS)], vec![]),
        ("nobody's traffic", connection(CLIENT, "192.0.2.2:3333", 1), vec![]),
    ];
    for (description, packets, expected) in table {
        let lists = server_watched();
        let report = read(&lists, &capture(&packets));
        assert_eq!(told(&report), expected, "{description}");
        assert_eq!(report.summary.flows_matched, expected.len() as u64, "{description}");
        assert_eq!(report.summary.packets, packets.len() as u64, "{description}");
    }
}

#[test]
fn what_has_no_flow_still_counts_for_its_target() {
    let lists = server_watched();
    let packets = [
        icmp("10.0.0.1", SERVER_ADDRESS),
        tcp(SERVER, CLIENT).rst(1, 1),
        udp(CLIENT, SERVER).payload(1400).fragment(0, true),
        udp(CLIENT, SERVER).payload(600).fragment(176, false),
    ];
    let report = read(&lists, &capture(&packets));
    let [target] = report.summary.targets.as_slice() else { panic!("{:?}", report.summary) };
    assert_eq!(target.packets["egress"], [("icmp", 1), ("udp", 2)].into());
    assert_eq!(target.packets["ingress"], [("tcp", 1)].into());
    assert_eq!(target.bytes["egress"], [("icmp", 28), ("udp", 1428 + 620)].into());
    assert_eq!(target.connections["local"], [("udp", 1)].into());
    assert_eq!(told(&report), [flow(CLIENT, SERVER, 1, 1428, false)]);
    assert_eq!(report.summary.undecoded, 0);
}

#[test]
fn a_connection_on_used_ports_is_a_flow_of_its_own() {
    let lists = server_watched();
    let packets = [connection(CLIENT, SERVER, 1), connection(CLIENT, SERVER, 50_000)].concat();
    let report = read(&lists, &capture(&packets));
    let one = flow(CLIENT, SERVER, 7, 7 * 40 + 1100, true);
    assert_eq!(told(&report), [one.clone(), one]);
    assert_eq!(report.flows[0].last_seen_ns, START_NS + 6 * SECOND_NS);
    assert_eq!(report.flows[1].first_seen_ns, START_NS + 7 * SECOND_NS);
    assert_eq!(report.summary.targets[0].connections["local"]["tcp"], 2);
    assert_eq!(report.summary.targets[0].connections_established["local"]["tcp"], 2);
}

#[test]
fn connections_of_one_instant_are_told_apart() {
    let lists = server_watched();
    let mut all_at_once = Pcap::new(ETHERNET);
    for isn in [10, 20, 30] {
        all_at_once = all_at_once.frame(START_NS, &tcp(CLIENT, SERVER).syn(isn).bytes());
    }
    let report = read(&lists, &all_at_once.bytes);
    assert_eq!(told(&report), vec![flow(CLIENT, SERVER, 1, 40, false); 3]);
    assert_eq!(report.summary.flows_matched, 3);
    assert_eq!(report.summary.targets[0].connections["local"]["tcp"], 3);
}

#[test]
fn sixty_seconds_of_the_captures_time_end_a_udp_flow() {
    let lists = server_watched();
    let packet = udp(CLIENT, SERVER).bytes();
    let capture = Pcap::new(ETHERNET)
        .frame(START_NS, &packet)
        .frame(START_NS + 60 * SECOND_NS, &packet)
        .frame(START_NS + 120 * SECOND_NS + 1_000, &packet);
    let report = read(&lists, &capture.bytes);
    let spans: Vec<_> =
        report.flows.iter().map(|it| (it.packets, it.last_seen_ns - it.first_seen_ns)).collect();
    assert_eq!(spans, [(2, 60 * SECOND_NS), (1, 0)]);
    assert_eq!(report.summary.targets[0].connections["local"]["udp"], 2);
}

#[test]
fn a_capture_that_steps_back_in_time_is_read_as_it_lies() {
    let lists = server_watched();
    let packet = udp(CLIENT, SERVER).bytes();
    let capture = Pcap::new(ETHERNET)
        .frame(START_NS + 90 * SECOND_NS, &packet)
        .frame(START_NS, &packet)
        .frame(START_NS + SECOND_NS, &packet);
    let report = read(&lists, &capture.bytes);
    assert_eq!(told(&report), [flow(CLIENT, SERVER, 3, 84, false)]);
    assert!(report.flows[0].first_seen_ns <= report.flows[0].last_seen_ns);
    assert_eq!(report.summary.nanoseconds, 90 * SECOND_NS);
}

#[test]
fn flows_are_in_the_order_in_which_they_began() {
    let lists = server_watched();
    let ports = [5003, 5001, 5002];
    let packets = ports.map(|port| udp(&format!("10.0.0.1:{port}"), SERVER));
    let told = |capture: &[u8]| -> Vec<u16> {
        read(&lists, capture).flows.iter().map(|it| it.source.port()).collect()
    };
    assert_eq!(told(&capture(&packets)), ports);

    let mut backwards = Pcap::new(ETHERNET);
    for (packet, second) in packets.iter().zip([3, 2, 1]) {
        backwards = backwards.frame(START_NS + second * SECOND_NS, &packet.bytes());
    }
    assert_eq!(told(&backwards.bytes), [5002, 5001, 5003], "by the clock, not by the file");
}

#[test]
fn many_connections_between_watched_addresses_are_each_one_flow() {
    let lists = server_watched().address("office", "client", "10.0.0.1");
    let packets: Vec<Frame> =
        (0..100).flat_map(|i| connection(&format!("10.0.0.1:{}", 5000 + i), SERVER, 1)).collect();
    let report = read(&lists, &capture(&packets));
    assert_eq!(report.summary.flows_matched, 100);
    for (objects, i) in report.flows.chunks(2).zip(0..) {
        assert!(objects.iter().all(|it| it.source.port() == 5000 + i && it.packets == 7), "{objects:?}");
        assert_ne!(objects[0].target, objects[1].target);
    }
}

#[test]
fn a_flow_that_concerns_two_watchlists_is_two_objects() {
    let lists =
        Watched::default().address("office", "building", SERVER_ADDRESS).endpoint("pools", "pool", SERVER);
    let report = read(&lists, &capture(&connection(CLIENT, SERVER, 1)));
    let objects: Vec<_> =
        report.flows.iter().map(|it| (it.watchlist, it.target, it.signals.as_slice(), it.packets)).collect();
    assert_eq!(
        objects,
        [("office", "building", ["prefix"].as_slice(), 7), ("pools", "pool", &["endpoint"], 7)]
    );
    assert_eq!(report.summary.flows_matched, 1);
    for target in &report.summary.targets {
        assert_eq!(target.packets["egress"]["tcp"], 4, "{target:?}");
        assert_eq!(target.packets["ingress"]["tcp"], 3, "{target:?}");
        assert_eq!(target.connections["local"]["tcp"], 1, "{target:?}");
    }
}

#[test]
fn a_packet_between_two_watched_addresses_is_two_observations() {
    let lists = server_watched().address("office", "client", "10.0.0.1");
    let report = read(&lists, &capture(&connection(CLIENT, SERVER, 1)));
    let objects: Vec<_> =
        report.flows.iter().map(|it| (it.target, it.source.to_string(), it.packets)).collect();
    assert_eq!(objects.len(), 2);
    assert!(objects.contains(&("server", CLIENT.to_owned(), 7)), "{objects:?}");
    assert!(objects.contains(&("client", CLIENT.to_owned(), 7)), "{objects:?}");
    assert_eq!(report.summary.flows_matched, 1);
    let [server, client] = report.summary.targets.as_slice() else { panic!("{:?}", report.summary) };
    assert_eq!((server.packets["egress"]["tcp"], server.packets["ingress"]["tcp"]), (4, 3));
    assert_eq!((client.packets["egress"]["tcp"], client.packets["ingress"]["tcp"]), (3, 4));
    assert_eq!(server.connections, [("local", [("tcp", 1)].into())].into());
    assert_eq!(client.connections, [("remote", [("tcp", 1)].into())].into());
}

#[test]
fn a_connection_within_one_target_is_one_object_and_two_observations() {
    let lists =
        Watched::default().address("office", "building", "10.0.0.1").endpoint("office", "building", SERVER);
    let report = read(&lists, &capture(&connection(CLIENT, SERVER, 1)));
    assert_eq!(told(&report), [flow(CLIENT, SERVER, 7, 7 * 40 + 1100, true)]);
    let mut signals = report.flows[0].signals.clone();
    signals.sort_unstable();
    assert_eq!(signals, ["endpoint", "prefix"]);
    let [target] = report.summary.targets.as_slice() else { panic!("{:?}", report.summary) };
    assert_eq!((target.packets["egress"]["tcp"], target.packets["ingress"]["tcp"]), (7, 7));
}

#[test]
fn what_a_port_sends_to_itself_is_not_counted_twice_in_its_flow() {
    let lists = server_watched();
    let report = read(&lists, &capture(&[udp(SERVER, SERVER).payload(2)]));
    assert_eq!(report.flows.len(), 1);
    assert_eq!((report.flows[0].packets, report.flows[0].bytes), (1, 30));
}

#[test]
fn a_packet_that_cannot_be_decoded_is_so_once() {
    let lists = server_watched().address("office", "client", "10.0.0.1");
    let capture = Pcap::new(ETHERNET)
        .frame(START_NS, &udp(CLIENT, SERVER).version(5).bytes())
        .frame(START_NS, &tcp(CLIENT, SERVER).syn(1).data_offset(4).bytes());
    let report = read(&lists, &capture.bytes);
    assert_eq!(report.summary.undecoded, 2);
    assert_eq!(report.summary.undecoded_reasons, [("ip_version", 1), ("tcp_header", 1)].into());
    assert!(report.flows.is_empty());
    // The second still has its addresses.
    assert_eq!(report.summary.targets.len(), 2);
}
