//! What replay found, as CONTRACT's "Replay output" names it: an object for each connection
//! and target that it concerned, and a summary of the file.
//!
//! How it looks is not decided here: JSON is serde's, the table for people is in `text`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use sensor_ebpf::abi::{Address, Own, SampleKind, Side, Totals, Transport, Uncounted, Undecoded, Unsampled};
use sensor_ebpf::classify::Tables as _;
use serde::{Serialize, Serializer};

use super::capture::CaptureError;
use super::connections::{Concern, Connection};
use super::{Answered, Lists, Seen, Target, Told};
use crate::flows::end;
use crate::verdict::{Detection, Role};

/// All that is said of one capture.
#[derive(Debug)]
pub struct Report<'a> {
    /// By [`Flow::first_seen_ns`].
    pub flows: Vec<Flow<'a>>,
    /// In the order in which they came.
    pub lookups: Vec<Lookup<'a>>,
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
    /// Without repetition: what it is known by, and then what it said itself.
    pub signals: Vec<&'static str>,
    /// Of [`Flow::source`].
    pub role: &'static str,
    /// What the miner calls its program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// Coin or algorithm.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coin: Option<String>,
    /// Whom it asked for by TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
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

/// An answer to a query for a watched name, for one of the targets that the name concerns.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Lookup<'a> {
    pub query: String,
    /// As `poolwatch_dns_answers_total` calls it.
    pub result: &'static str,
    pub watchlist: &'a str,
    pub target: &'a str,
    /// Who asked.
    #[serde(skip)]
    pub client: SocketAddr,
    /// When it was answered: nanoseconds since the epoch.
    #[serde(skip)]
    pub seen_ns: u64,
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
    /// Payload that should have been inspected and was not, by kind and reason.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub samples_dropped: ByTwo,
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

/// Puts together what was counted and heard.
pub(super) fn report<'a, L: Lists>(
    told: &Told<'a, L>,
    seen: &Seen,
    error: Option<CaptureError>,
) -> Report<'a> {
    let (totals, own) = (told.memory.totals_by_slot(), told.memory.own_counts());
    let mut flows = Vec::new();
    let mut flows_matched = 0;
    for (connection, concern) in told.connections.concerned() {
        let first = flows.len();
        for side in [Side::Remote, Side::Local] {
            add_flows(told.lists, connection, concern, side, first, &mut flows);
        }
        flows_matched += u64::from(flows.len() > first);
    }
    flows.sort_by_key(|flow| flow.first_seen_ns);
    let undecoded_reasons = undecoded(&own);
    let summary = Summary {
        packets: seen.packets,
        bytes: seen.bytes,
        undecoded: undecoded_reasons.values().sum(),
        undecoded_reasons,
        uncounted_reasons: uncounted(&own, told),
        samples_dropped: samples_dropped(&own),
        flows_matched,
        nanoseconds: seen.span_ns.map_or(0, |(first, last)| last - first),
        targets: told
            .lists
            .targets()
            .iter()
            .zip(&totals)
            .filter(|(_, totals)| **totals != Totals::default())
            .map(|(target, totals)| target_counts(target, totals))
            .collect(),
    };
    Report { flows, lookups: lookups(told), summary, error }
}

/// Adds an object for each target that the connection concerns by the address of this side, unless
/// `flows` from `first` on has it from the other side.
fn add_flows<'a>(
    lists: &'a impl Lists,
    connection: &Connection,
    concern: &Concern,
    side: Side,
    first: usize,
    flows: &mut Vec<Flow<'a>>,
) {
    for slot in concern.targets[side.index()].slots() {
        let Some(target) = lists.targets().get(slot as usize) else { continue };
        let same = |it: &Flow| it.watchlist == target.watchlist && it.target == target.target;
        let at = flows[first..].iter().position(same).map_or(flows.len(), |at| first + at);
        if at == flows.len() {
            flows.push(flow(target, connection));
        }
        let flow = &mut flows[at];
        if let Some(signal) = signal_by_address(lists, connection, concern, side, slot) {
            flow.add_signal(signal);
        }
        if side == Side::Remote {
            concern.detections.iter().filter(|it| it.targets.contains(slot)).for_each(|it| flow.detect(it));
        }
    }
}

fn signal_by_address(
    lists: &impl Lists,
    connection: &Connection,
    concern: &Concern,
    side: Side,
    slot: u32,
) -> Option<&'static str> {
    if concern.learned[side.index()].contains(slot) {
        return Some("learned");
    }
    let address = end(&connection.key, side);
    let (word, version) = Address::from_ip(address.ip());
    let listed = lists.tables().listed(version, &word, Some(address.port())).targets;
    listed.contains(slot).then(|| lists.signal(slot, address.ip(), address.port()))
}

fn flow<'a>(target: &'a Target, connection: &Connection) -> Flow<'a> {
    let Connection { key, flow, .. } = connection;
    Flow {
        transport: if key.transport == Transport::Tcp as u8 { "tcp" } else { "udp" },
        source: end(key, Side::Local),
        destination: end(key, Side::Remote),
        watchlist: &target.watchlist,
        target: &target.target,
        signals: Vec::new(),
        role: Role::None.name(),
        agent: None,
        coin: None,
        server_name: None,
        packets: flow.packets.into_iter().map(u64::from).sum(),
        bytes: flow.bytes.iter().sum(),
        established: flow.established != 0,
        first_seen_ns: flow.opened_ns,
        // Captures may step back in time.
        last_seen_ns: flow.last_ns.max(flow.opened_ns),
    }
}

impl Flow<'_> {
    fn add_signal(&mut self, signal: &'static str) {
        if !self.signals.contains(&signal) {
            self.signals.push(signal);
        }
    }

    fn detect(&mut self, detection: &Detection) {
        self.add_signal(detection.signal.name());
        if detection.role != Role::None {
            self.role = detection.role.name();
        }
        let said = [&detection.about.agent, &detection.about.coin, &detection.server_name];
        for (known, said) in [&mut self.agent, &mut self.coin, &mut self.server_name].into_iter().zip(said) {
            if known.is_none() {
                known.clone_from(said);
            }
        }
    }
}

/// An object for each answer and watchlist.
fn lookups<'a, L: Lists>(told: &Told<'a, L>) -> Vec<Lookup<'a>> {
    let objects = told.answers.iter().flat_map(|Answered { answer, client }| {
        let targets = answer.targets.slots().filter_map(|slot| told.lists.targets().get(slot as usize));
        targets.map(|target| Lookup {
            query: answer.query.clone(),
            result: answer.outcome.name(),
            watchlist: &target.watchlist,
            target: &target.target,
            client: *client,
            seen_ns: answer.at_ns,
        })
    });
    objects.collect()
}

fn undecoded(own: &Own) -> Reasons {
    let counted = Undecoded::ALL.map(|reason| (reason.reason(), own.undecoded[reason as usize]));
    counted.into_iter().filter(|(_, count)| *count != 0).collect()
}

fn uncounted<L>(own: &Own, told: &Told<'_, L>) -> Reasons {
    let counted = Uncounted::ALL.map(|reason| (reason.reason(), own.uncounted[reason as usize]));
    let left_out = [
        ("learned", told.known.refused.learned),
        ("judged", told.known.refused.judged),
        ("answers", told.answers_left_out),
    ];
    counted.into_iter().chain(left_out).filter(|(_, count)| *count != 0).collect()
}

fn samples_dropped(own: &Own) -> ByTwo {
    let mut by = ByTwo::new();
    for kind in SampleKind::ALL {
        for reason in Unsampled::ALL {
            let count = own.samples_dropped[kind as usize][reason as usize];
            if count != 0 {
                by.entry(kind.name()).or_default().insert(reason.reason(), count);
            }
        }
    }
    by
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
