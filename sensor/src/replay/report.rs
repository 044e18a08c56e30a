//! What replay found, as CONTRACT's "Replay output" names it: an object for each connection
//! and target that it concerned, and a summary of the file.
//!
//! How it looks is not decided here: JSON is serde's, the table for people is in `text`.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use sensor_ebpf::abi::{Direction, FlowKey, Own, Side, Totals, Transport, Uncounted, Undecoded, Version};
use sensor_ebpf::flow::initiator;
use serde::{Serialize, Serializer};

use super::capture::CaptureError;
use super::memory::{Connection, Counts};
use super::{Lists, Seen, Target};

/// All that is said of one capture.
#[derive(Debug)]
pub struct Report<'a> {
    /// By [`Flow::first_seen_ns`].
    pub flows: Vec<Flow<'a>>,
    pub summary: Summary<'a>,
    /// Why the capture could not be read to its end.
    pub error: Option<CaptureError>,
}

/// A connection, for one of the targets that it concerns.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Flow<'a> {
    /// `tcp` or `udp`.
    pub transport: &'static str,
    /// The initiator, or the first sender where the opening was not captured.
    pub source: SocketAddr,
    pub destination: SocketAddr,
    pub watchlist: &'a str,
    pub target: &'a str,
    /// Without repetition.
    pub signals: Vec<&'static str>,
    pub role: &'static str,
    /// Wire packets of both directions.
    pub packets: u64,
    /// IP bytes of both directions.
    pub bytes: u64,
    pub established: bool,
    /// Nanoseconds since the epoch; JSON: seconds.
    #[serde(rename = "first_seen", serialize_with = "as_seconds")]
    pub first_seen_ns: u64,
    #[serde(rename = "last_seen", serialize_with = "as_seconds")]
    pub last_seen_ns: u64,
}

/// What is said of a capture as a whole.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary<'a> {
    /// Packets in the file, IP or not.
    pub packets: u64,
    /// Of the packets as they were on the link, in bytes.
    pub bytes: u64,
    /// Packets with malformed headers, and by reason.
    pub undecoded: u64,
    pub undecoded_reasons: Reasons,
    /// Packets of targets that were not counted in full, by reason.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub uncounted_reasons: Reasons,
    /// Connections; one that concerns two watchlists is one.
    pub flows_matched: u64,
    /// From the earliest packet to the latest.
    #[serde(rename = "seconds", serialize_with = "as_seconds")]
    pub nanoseconds: u64,
    /// Those that anything was counted for.
    pub targets: Vec<TargetCounts<'a>>,
}

/// Counts by what a metric's labels call them; what is 0 is left out.
pub type Reasons = BTreeMap<&'static str, u64>;
pub type ByTwo = BTreeMap<&'static str, BTreeMap<&'static str, u64>>;

/// What the metrics of a target would say, under the metrics' names.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TargetCounts<'a> {
    pub watchlist: &'a str,
    pub target: &'a str,
    /// Wire packets, by direction and transport.
    pub packets: ByTwo,
    /// IP bytes, by direction and transport.
    pub bytes: ByTwo,
    /// By initiator and transport.
    pub connections: ByTwo,
    /// By initiator and transport.
    pub connections_established: ByTwo,
    pub connections_joined: u64,
}

/// Puts together what was counted.
pub(super) fn report<'a>(
    lists: &'a impl Lists,
    seen: &Seen,
    counts: &Counts,
    error: Option<CaptureError>,
) -> Report<'a> {
    let mut flows = Vec::new();
    let mut flows_matched = 0;
    // A connection between two watched addresses is followed from both sides.
    for sides in counts.connections.chunk_by(|a, b| a.packet == b.packet) {
        flows_matched += 1;
        let first = flows.len();
        for connection in sides {
            add_flows(lists, connection, first, &mut flows);
        }
    }
    flows.sort_by_key(|flow| flow.first_seen_ns);
    let undecoded_reasons = undecoded(&counts.own);
    let summary = Summary {
        packets: seen.packets,
        bytes: seen.bytes,
        undecoded: undecoded_reasons.values().sum(),
        undecoded_reasons,
        uncounted_reasons: uncounted(&counts.own),
        flows_matched,
        nanoseconds: seen.span_ns.map_or(0, |(first, last)| last - first),
        targets: lists
            .targets()
            .iter()
            .zip(&counts.totals)
            .filter(|(_, totals)| **totals != Totals::default())
            .map(|(target, totals)| target_counts(target, totals))
            .collect(),
    };
    Report { flows, summary, error }
}

/// Adds an object for each target of the connection, unless `flows` from `first` on has it
/// from the other side.
fn add_flows<'a>(lists: &'a impl Lists, connection: &Connection, first: usize, flows: &mut Vec<Flow<'a>>) {
    for slot in connection.flow.targets.slots() {
        let Some(target) = lists.targets().get(slot as usize) else { continue };
        let remote = end(&connection.key, Side::Remote);
        let signal = lists.signal(slot, remote.ip(), remote.port());
        let same = |flow: &&mut Flow| flow.watchlist == target.watchlist && flow.target == target.target;
        match flows[first..].iter_mut().find(same) {
            Some(flow) if flow.signals.contains(&signal) => {}
            Some(flow) => flow.signals.push(signal),
            None => flows.push(flow(target, connection, signal)),
        }
    }
}

fn flow<'a>(target: &'a Target, connection: &Connection, signal: &'static str) -> Flow<'a> {
    let Connection { key, flow, first_sender, .. } = connection;
    let source = initiator(flow).unwrap_or(*first_sender);
    let [ingress, egress] = [Direction::Ingress as usize, Direction::Egress as usize];
    // What a port sends to itself is seen in both directions of one flow.
    let is_loop = end(key, Side::Local) == end(key, Side::Remote);
    let incoming = u64::from(!is_loop);
    Flow {
        transport: if key.transport == Transport::Tcp as u8 { "tcp" } else { "udp" },
        source: end(key, source),
        destination: end(key, source.other()),
        watchlist: &target.watchlist,
        target: &target.target,
        signals: vec![signal],
        role: "none",
        packets: u64::from(flow.packets[egress]) + incoming * u64::from(flow.packets[ingress]),
        bytes: flow.bytes[egress] + incoming * flow.bytes[ingress],
        established: flow.established != 0,
        first_seen_ns: flow.opened_ns,
        // Captures may step back in time.
        last_seen_ns: flow.last_ns.max(flow.opened_ns),
    }
}

fn end(key: &FlowKey, side: Side) -> SocketAddr {
    let (address, port) = match side {
        Side::Local => (key.local, key.local_port),
        Side::Remote => (key.remote, key.remote_port),
    };
    let version = if key.version == Version::V4 as u8 { Version::V4 } else { Version::V6 };
    let ip: IpAddr = address.to_ip(version);
    SocketAddr::new(ip, port)
}

fn undecoded(own: &Own) -> Reasons {
    let counted = Undecoded::ALL.map(|reason| (reason.reason(), own.undecoded[reason as usize]));
    counted.into_iter().filter(|(_, count)| *count != 0).collect()
}

fn uncounted(own: &Own) -> Reasons {
    let counted = Uncounted::ALL.map(|reason| (reason.reason(), own.uncounted[reason as usize]));
    counted.into_iter().filter(|(_, count)| *count != 0).collect()
}

const DIRECTIONS: [&str; 2] = ["ingress", "egress"];
const INITIATORS: [&str; 2] = ["local", "remote"];
const TRANSPORTS: [&str; 4] = ["tcp", "udp", "icmp", "other"];

fn target_counts<'a>(target: &'a Target, totals: &Totals) -> TargetCounts<'a> {
    TargetCounts {
        watchlist: &target.watchlist,
        target: &target.target,
        packets: by_two(DIRECTIONS, &totals.packets),
        bytes: by_two(DIRECTIONS, &totals.bytes),
        connections: by_two(INITIATORS, &totals.connections),
        connections_established: by_two(INITIATORS, &totals.established),
        connections_joined: totals.joined,
    }
}

fn by_two<const N: usize>(names: [&'static str; 2], counts: &[[u64; N]; 2]) -> ByTwo {
    let mut by = ByTwo::new();
    for (name, counts) in names.into_iter().zip(counts) {
        for (transport, &count) in TRANSPORTS.into_iter().zip(counts).filter(|(_, count)| **count != 0) {
            by.entry(name).or_default().insert(transport, count);
        }
    }
    by
}

/// A double holds today's seconds to a quarter of a microsecond: microseconds survive, the
/// last digits of nanoseconds do not.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn as_seconds<S: Serializer>(nanoseconds: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(Duration::from_nanos(*nanoseconds).as_secs_f64())
}
