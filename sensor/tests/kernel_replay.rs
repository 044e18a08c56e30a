//! Kernel and replay are one classifier: a capture that is sent through a real daemon's
//! interface, and the same capture read by `poolwatch replay` with the same config, give the
//! same totals, series by series.

#[allow(dead_code, reason = "the classifier's tests build much that no capture needs here")]
#[path = "../../sensor-ebpf/tests/packets/build.rs"]
mod build;
#[allow(dead_code, reason = "replay's tests write captures of every kind")]
#[allow(clippy::unwrap_used, reason = "a test may unwrap: its panic is its message")]
#[path = "replay/captures.rs"]
mod captures;
mod support;

use std::fs;
use std::time::{Duration, Instant};

use build::Extension::{Fragment, HopByHop};
use build::{Frame, from};
use captures::{ETHERNET, Pcap, START_NS};
use serde_json::Value;
use support::PinsDirectory;
use support::daemon::Daemon;
use support::namespace::run;
use support::patience;
use support::series::Series;
use support::tcpreplay;

const CLIENT: &str = "10.0.0.1";
const CLIENT_V6: &str = "2001:db8::1";
const SERVER: &str = "192.0.2.1";
const SERVER_V6: &str = "2001:db8:77::5";
const NOBODY: &str = "198.51.100.1";

const SERVERS: [&str; 2] = ["192.0.2.0/24", "2001:db8:77::/48"];
const CONFIG: &str = r#"
[builtin]
mining = false
dprk = false
[[watchlist]]
name = "servers"
prefixes = ["192.0.2.0/24", "2001:db8:77::/48"]
[[watchlist]]
name = "pool"
endpoints = ["192.0.2.1:3333", "[2001:db8:77::5]:3333"]
"#;

const VLAN: u16 = 0x8100;
const QINQ: u16 = 0x88a8;
const ARP: u16 = 0x0806;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// Long enough for the other side's packet to have arrived before the next one leaves.
const STEP_NS: u64 = 4_000_000;

/// What one client exchanges with one server over a port of its own.
struct Exchange {
    to: Frame,
    fro: Frame,
}

impl Exchange {
    fn new(client: &str, server: &str, client_port: u16, server_port: u16) -> Self {
        Self {
            to: from(client, server).ports(client_port, server_port),
            fro: from(server, client).ports(server_port, client_port),
        }
    }

    fn tagged(self, tags: &[u16]) -> Self {
        Self { to: self.to.tagged(tags), fro: self.fro.tagged(tags) }
    }

    fn to(&self) -> Frame {
        self.to.clone()
    }

    fn fro(&self) -> Frame {
        self.fro.clone()
    }

    /// A handshake, data both ways, and the end.
    fn connection(&self) -> Vec<Frame> {
        vec![
            self.to().syn(100),
            self.fro().syn_ack(900, 101),
            self.to().ack(101, 901),
            self.to().ack(101, 901).payload(100),
            self.fro().ack(901, 201).payload(1400),
            self.fro().ack(2301, 201).payload(77),
            self.to().fin(201, 2378),
            self.fro().fin(2378, 202),
            self.to().ack(202, 2379),
        ]
    }

    fn refused(&self) -> Vec<Frame> {
        vec![self.to().syn(100), self.to().syn(100), self.fro().rst(0, 101)]
    }

    fn opened_by_the_server(&self) -> Vec<Frame> {
        vec![self.fro().syn(1), self.to().syn_ack(9, 2), self.fro().ack(2, 10), self.to().rst(10, 2)]
    }

    /// The capture began too late for it.
    fn middle(&self) -> Vec<Frame> {
        vec![self.fro().ack(7, 7).payload(500), self.to().ack(7, 507), self.fro().fin(507, 7)]
    }

    fn datagrams(&self) -> Vec<Frame> {
        vec![self.to().payload(30), self.fro().payload(400), self.to(), self.fro().payload(1)]
    }
}

/// The traffic of a small office, and what is broken or stray in it.
fn traffic() -> Vec<Frame> {
    let mut frames = Vec::new();
    for (client, server) in [(CLIENT, SERVER), (CLIENT_V6, SERVER_V6)] {
        let port = |client_port, server_port| Exchange::new(client, server, client_port, server_port);
        frames.extend(port(5000, 3333).connection());
        frames.extend(port(5001, 443).connection());
        frames.extend(port(5002, 443).refused());
        frames.extend(port(5003, 22).opened_by_the_server());
        frames.extend(port(5004, 3333).middle());
        frames.extend([port(5005, 443).fro().syn_ack(900, 101), port(5006, 443).fro().rst(1, 1)]);
        frames.extend(port(5007, 53).datagrams());
        frames.extend([port(5008, 3333).to().payload(1200)]);
        frames.extend(port(5009, 443).tagged(&[VLAN]).connection());
        frames.extend(port(5010, 3333).tagged(&[QINQ, VLAN]).datagrams());
        frames.extend([port(5011, 53).to().udp_length(7), port(5012, 80).fro().ack(1, 1).data_offset(4)]);
        // The same ports once more are another connection.
        frames.extend(port(5001, 443).connection());
    }
    let four = Exchange::new(CLIENT, SERVER, 5020, 53);
    frames.extend([four.to().protocol(ICMP).payload(64), four.fro().protocol(ICMP).payload(64)]);
    frames.extend([
        four.to().udp_length(2008).payload(1472).fragment(0, true),
        four.to().payload(528).fragment(185, false),
        four.fro().udp_length(1508).payload(1472).fragment(0, true),
        four.fro().payload(28).fragment(185, false),
    ]);
    frames.extend([
        four.to().options(3).payload(9),
        four.to().protocol(47).payload(20),
        four.fro().padding(18),
    ]);
    let six = Exchange::new(CLIENT_V6, SERVER_V6, 5020, 53);
    frames.extend([six.to().protocol(ICMPV6).payload(64), six.fro().protocol(ICMPV6).payload(64)]);
    frames.extend([
        six.to().udp_length(1408).payload(1200).extensions(&[HopByHop, Fragment(0, true)]),
        six.to().payload(208).extensions(&[HopByHop, Fragment(151, false)]),
        six.fro().payload(8).extensions(&[Fragment(0, false)]),
    ]);
    frames.extend(Exchange::new(CLIENT, NOBODY, 5021, 443).connection());
    frames.extend([four.to().ethertype(ARP), from(CLIENT, NOBODY).version(5)]);
    frames
}

fn capture(frames: &[Frame]) -> Vec<u8> {
    let pcap = Pcap::new(ETHERNET);
    let timed = frames.iter().zip((START_NS..).step_by(usize::try_from(STEP_NS).expect("it is small")));
    timed.fold(pcap, |pcap, (frame, time_ns)| pcap.frame(time_ns, &frame.bytes())).bytes
}

/// The file's summary, as the daemon's own config makes it.
fn replay(daemon: &Daemon, file: &std::path::Path) -> Value {
    let said = run(daemon.command("replay").args(["--format", "json"]).arg(file));
    let objects = said.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    objects.into_iter().find(|object| object["type"] == "summary").expect("a summary")
}

#[test]
fn a_capture_sent_over_a_wire_and_the_same_capture_replayed_give_the_same_totals() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("office.pcap");
    let frames = traffic();
    fs::write(&file, capture(&frames)).expect("a capture");

    let namespace = tcpreplay::silent_pair();
    let interfaces = format!("interfaces = [\"{}\"]", tcpreplay::NEAR);
    let daemon = Daemon::start_on(&namespace, PinsDirectory::new(), &interfaces, CONFIG, &[]);
    let summary = replay(&daemon, &file);
    let replayed = Series::of_replay(&summary);
    assert_eq!(tcpreplay::send(&namespace, &file, &SERVERS), frames.len() as u64);
    assert_eq!(summary["packets"], frames.len());
    assert_eq!(summary["undecoded"], 5);

    let since = Instant::now();
    let differences = loop {
        let differences = Series::of_metrics(&daemon.metrics().0).differences(&replayed);
        if differences.is_empty() || since.elapsed() > patience() {
            break differences;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(differences.is_empty(), "wire and replay differ:\n{}", differences.join("\n"));
    // Equal, and not for want of traffic.
    for name in ["connections_total", "connections_established_total", "connections_joined_total"] {
        let name = format!("poolwatch_{name}");
        for watchlist in ["servers", "pool"] {
            let counted = daemon.metrics().sum(&name, &[("watchlist", watchlist)]);
            assert!(counted > 0, "{name} of {watchlist}");
        }
    }
}
