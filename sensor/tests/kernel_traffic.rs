//! Real sockets through a real daemon, against the independent count of nftables: to the byte,
//! and to the packet where every packet is on its own.

mod support;

use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, TcpStream, UdpSocket};

use support::daemon::{Daemon, Metrics};
use support::kernel::{self, Since};
use support::namespace::{Namespace, run};
use support::nft::Nft;
use support::patience;
use support::prefixes::{generated, million};

const ROUTES: [(&str, &str, &str); 3] = [
    ("star-kp", "star", "175.45.176.9"),
    ("unicom", "unicom", "210.52.109.7"),
    ("satgate", "satgate", "77.94.35.5"),
];

const INSIDE: &str = "[[watchlist]]\nname = \"one-of-them\"\nprefixes = [\"175.45.176.9\"]\n";

/// Sends this many bytes over TCP and reads them back.
fn exchange(address: &str, bytes: usize) {
    let mut stream = TcpStream::connect(address).expect("a connection");
    let sent = vec![7; bytes];
    let mut reader = stream.try_clone().expect("a stream");
    let echo = std::thread::spawn(move || {
        let mut back = Vec::new();
        reader.read_to_end(&mut back).expect("the echo");
        back.len()
    });
    stream.write_all(&sent).expect("it is sent");
    stream.shutdown(Shutdown::Write).expect("it ends");
    assert_eq!(echo.join().expect("a thread"), bytes);
}

/// Sends datagrams one by one, waiting for each echo.
fn datagrams(from: &str, address: &str, count: usize) {
    let socket = UdpSocket::bind(from).expect("a socket");
    socket.set_read_timeout(Some(patience())).expect("a socket");
    socket.connect(address).expect("an address");
    let mut echo = [0; 64];
    for number in 0..count {
        socket.send(&number.to_be_bytes()).expect("it is sent");
        assert_eq!(socket.recv(&mut echo).expect("the echo"), size_of::<usize>());
    }
}

fn connections(metrics: &Metrics, name: &str, target: &str, transport: &str) -> u64 {
    metrics.sum(name, &[("target", target), ("initiator", "local"), ("transport", transport)])
}

/// Packets and bytes of a target equal nftables', both ways.
fn assert_equal(metrics: &Metrics, nft: &Nft, target: &str, counter: &str, transport: &str) {
    for (direction, count) in
        [("ingress", nft.ingress(counter, transport)), ("egress", nft.egress(counter, transport))]
    {
        let labels = [("target", target), ("direction", direction), ("transport", transport)];
        let packets = metrics.sum("poolwatch_packets_total", &labels);
        let bytes = metrics.sum("poolwatch_bytes_total", &labels);
        assert_eq!((packets, bytes), (count.packets, count.bytes), "{target} {direction} {transport}");
        assert!(packets > 0, "{target} {direction} {transport}: nothing passed, so nothing is proven");
    }
}

#[test]
fn each_route_counts_what_nftables_counts_and_a_list_inside_counts_beside_it() {
    count_the_routes("", &[]);
}

/// A /32 and a /24 of the million are routes of their own.
#[test]
fn with_a_million_prefixes_loaded_each_route_counts_the_same() {
    let (_feed, million) = million().expect("a feed");
    let listed = generated(20);
    let longest = listed.iter().find(|prefix| prefix.prefix_len() == 32).expect("a /32");
    let block = listed.iter().find(|prefix| prefix.prefix_len() == 24).expect("a /24");
    let inside = block.hosts().nth(76).expect("many hosts");
    count_the_routes(&million, &[longest.addr(), inside]);
}

/// `more`: addresses of the list `million`, which `config` watches.
fn count_the_routes(config: &str, more: &[IpAddr]) {
    let (near, far) = Namespace::pair();
    near.without_offloads();
    far.without_offloads();
    let more: Vec<_> = more.iter().map(ToString::to_string).zip(["million-0", "million-1"]).collect();
    let more = || more.iter().map(|(address, counter)| (*counter, address.as_str()));
    let watched: Vec<_> =
        ROUTES.iter().map(|(_, counter, address)| (*counter, *address)).chain(more()).collect();
    let serve = |(_, address): &(&str, &str)| {
        far.owns(address);
        far.serve(&format!("{address}:3333"))
    };
    let servers: Vec<_> = watched.iter().map(serve).collect();
    let nft = Nft::count(&near, &watched);
    let daemon = Daemon::start(&near, &format!("{INSIDE}{config}"));
    for (_, address) in &watched {
        near.enter(|| {
            exchange(&format!("{address}:3333"), 100_000);
            datagrams("0.0.0.0:0", &format!("{address}:3333"), 1000);
        });
    }
    drop(servers);
    let metrics = daemon.metrics();
    for (target, counter) in
        [("star-kp", "star"), ("unicom", "unicom"), ("satgate", "satgate"), ("one-of-them", "star")]
    {
        for transport in ["tcp", "udp"] {
            assert_equal(&metrics, &nft, target, counter, transport);
            assert_eq!(
                connections(&metrics, "poolwatch_connections_total", target, transport),
                1,
                "{target}"
            );
            assert_eq!(
                connections(&metrics, "poolwatch_connections_established_total", target, transport),
                1
            );
        }
        assert!(!metrics.has("poolwatch_connections_joined_total", &[("target", target)]));
    }
    for transport in ["tcp", "udp"] {
        for direction in ["ingress", "egress"] {
            let of_nft = |(counter, _)| match direction {
                "ingress" => nft.ingress(counter, transport).bytes,
                _ => nft.egress(counter, transport).bytes,
            };
            let labels = [("target", "million"), ("direction", direction), ("transport", transport)];
            let bytes = metrics.sum("poolwatch_bytes_total", &labels);
            assert_eq!(bytes, more().map(of_nft).sum::<u64>(), "million {direction} {transport}");
        }
        let opened = connections(&metrics, "poolwatch_connections_established_total", "million", transport);
        assert_eq!(opened, more().count() as u64, "million {transport}");
    }
    assert_eq!(metrics.sum("poolwatch_packets_uncounted_total", &[]), 0);
    assert_eq!(metrics.sum("poolwatch_undecoded_packets_total", &[]), 0);
}

#[test]
fn ipv6_counts_what_nftables_counts() {
    let (near, far) = Namespace::pair();
    near.without_offloads();
    far.without_offloads();
    far.owns("2001:db8:77::5");
    let server = far.serve("[2001:db8:77::5]:3333");
    let nft = Nft::count(&near, &[("six", "2001:db8:77::5")]);
    let daemon = Daemon::start(&near, "[[watchlist]]\nname = \"six\"\nprefixes = [\"2001:db8:77::/48\"]\n");
    near.enter(|| {
        exchange("[2001:db8:77::5]:3333", 100_000);
        datagrams("[::]:0", "[2001:db8:77::5]:3333", 100);
    });
    drop(server);
    let metrics = daemon.metrics();
    for transport in ["tcp", "udp"] {
        assert_equal(&metrics, &nft, "six", "six", transport);
        assert_eq!(connections(&metrics, "poolwatch_connections_established_total", "six", transport), 1);
    }
}

#[test]
fn connections_from_outside_have_a_remote_initiator() {
    let (near, far) = Namespace::pair();
    far.owns("175.45.176.9");
    near.ip("route replace 175.45.176.9 via 10.77.0.2");
    let server = near.serve("10.77.0.1:8333");
    let daemon = Daemon::start(&near, "");
    far.enter(|| {
        let socket = UdpSocket::bind("175.45.176.9:5000").expect("a socket");
        socket.send_to(b"knock", "10.77.0.1:8333").expect("it is sent");
        // Bound to the watched address by its route.
        far.ip("route add 10.77.0.1/32 dev eth0 src 175.45.176.9");
        exchange("10.77.0.1:8333", 10);
    });
    let labels = [("target", "star-kp"), ("initiator", "remote")];
    let metrics = daemon.wait_for("two established connections", |metrics| {
        metrics.sum("poolwatch_connections_established_total", &labels) == 2
    });
    assert_eq!(metrics.sum("poolwatch_connections_total", &labels), 2);
    assert_eq!(metrics.sum("poolwatch_connections_total", &[("initiator", "local")]), 0);
    drop(server);
}

#[test]
fn a_port_that_nobody_answers_is_an_attempt_and_not_established() {
    let (near, far) = Namespace::pair();
    far.owns("175.45.176.9");
    let daemon = Daemon::start(&near, "");
    near.enter(|| TcpStream::connect("175.45.176.9:1").expect_err("nobody is there"));
    let metrics = daemon.metrics();
    assert_eq!(connections(&metrics, "poolwatch_connections_total", "star-kp", "tcp"), 1);
    assert_eq!(connections(&metrics, "poolwatch_connections_established_total", "star-kp", "tcp"), 0);
    assert_eq!(metrics.sum("poolwatch_packets_total", &[("target", "star-kp")]), 2, "the SYN and the reset");
}

#[test]
fn with_offloads_on_bytes_equal_nftables_and_packets_equal_the_wire() {
    // At the other end aggregates have been taken apart.
    if kernel::lacks(Since::NetdevEgress) {
        return;
    }
    let (near, far) = Namespace::pair();
    far.owns("175.45.176.9");
    // Aggregates down to the driver, packets on the wire, none put together again.
    run(near.command("ethtool").args(["-K", "eth0", "tso", "off", "gso", "on", "gro", "off"]));
    run(far.command("ethtool").args(["-K", "eth0", "gro", "off", "tso", "off", "gso", "off"]));
    let server = far.serve("175.45.176.9:3333");
    let nft = Nft::count(&near, &[("star", "175.45.176.9")]);
    let received = |namespace: &Namespace| -> u64 {
        let statistics = namespace.ip("-j -s link show eth0");
        let statistics: serde_json::Value = serde_json::from_str(&statistics).expect("JSON");
        statistics[0]["stats64"]["rx"]["packets"].as_u64().expect("a number")
    };
    let daemon = Daemon::start(&near, "");
    let other = nft.egress("star", "tcp").packets;
    let before = received(&far);
    near.enter(|| exchange("175.45.176.9:3333", 4_000_000));
    drop(server);
    let metrics = daemon.metrics();
    let out = [("target", "star-kp"), ("direction", "egress"), ("transport", "tcp")];
    let packets = metrics.sum("poolwatch_packets_total", &out);
    let bytes = metrics.sum("poolwatch_bytes_total", &out);
    let count = nft.egress("star", "tcp");
    assert_eq!(bytes, count.bytes);
    assert!(
        packets > count.packets,
        "{packets} packets in {} buffers: no aggregate left, nothing is proven",
        count.packets
    );
    // ARP and neighbour discovery are the only others on this wire.
    let wire = received(&far) - before - other;
    assert!((packets..packets + 20).contains(&wire), "{packets} counted, {wire} on the wire");
    let back = [("target", "star-kp"), ("direction", "ingress"), ("transport", "tcp")];
    assert_eq!(metrics.sum("poolwatch_bytes_total", &back), nft.ingress("star", "tcp").bytes);
}

#[test]
fn a_full_flow_table_evicts_and_says_so_and_loses_no_packet() {
    let (near, far) = Namespace::pair();
    far.owns("175.45.176.9");
    let daemon = Daemon::start(&near, "[limits]\nflows = 256\n");
    near.enter(|| {
        for port in 10_000..12_000 {
            let socket = UdpSocket::bind(("0.0.0.0", port)).expect("a socket");
            socket.send_to(b"x", "175.45.176.9:9").expect("it is sent");
        }
    });
    // A sweep may have come while they were sent.
    let metrics = daemon.wait_for("evicted but for those alive", |metrics| {
        let evicted = metrics.sum("poolwatch_flows_evicted_total", &[]);
        let entries = metrics.sum("poolwatch_map_entries", &[("map", "FLOWS")]);
        evicted > 0 && evicted + entries == 2000
    });
    assert_eq!(connections(&metrics, "poolwatch_connections_total", "star-kp", "udp"), 2000);
    let out = [("target", "star-kp"), ("direction", "egress")];
    assert_eq!(metrics.sum("poolwatch_packets_total", &out), 2000);
}
