//! Replay: the kernel half's classifier and sampler over a capture, and the daemon's verdicts on what
//! they sample, without a kernel and without privileges. A capture knows no host, so both addresses of
//! a packet are looked up: a match of the destination counts as egress, of the source as ingress, of
//! both as two observations. What a connection says is heard from one side, its initiator's. Time is
//! the capture's.
//!
//! Nothing here opens files or prints; that is `commands/replay.rs`.

pub mod capture;
mod connections;
mod known;
pub mod link;
mod memory;
mod pcap;
mod pcapng;
pub mod report;
pub mod text;
pub mod watched;

use std::io::Read;
use std::net::{IpAddr, SocketAddr};

use sensor_ebpf::abi::{Direction, FlowKey, Side, TargetSet, Transport};
use sensor_ebpf::classify::{Observation, Tables, look_up};
use sensor_ebpf::count::{count, note};
use sensor_ebpf::headers::{Link, Refused, parse};
use sensor_ebpf::packet::{Aggregate, Captured, Packet};
use sensor_ebpf::sample::{consider, sample};

use crate::config::Inspect;
use crate::flows::end;
use crate::verdict::{Answer, Finding, Known, Overlaid, Sample, Verdicts, Watching};
use capture::{Capture, CaptureError, Frame};
use connections::{Connections, Place};
use known::{KNOWN_MAX, Learning, only_learned};
use memory::Memory;
use report::Report;

const DNS_PORT: u16 = 53;

/// Connections of one capture that are kept, whomever they concern, at up to 900 bytes each while the report is put
/// together. What goes beyond is counted as uncounted (`flow_table`).
pub const CONNECTIONS_MAX: usize = 4_194_304;

/// Answers of one capture that are kept. What goes beyond is counted (`answers`).
pub const ANSWERS_MAX: usize = 1_048_576;

/// What a slot stands for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    pub watchlist: String,
    pub target: String,
}

/// What replay asks of the watchlists.
pub trait Lists {
    /// What was compiled for the packet path.
    type Tables: Tables;

    fn tables(&self) -> &Self::Tables;

    /// By slot.
    fn targets(&self) -> &[Target];

    /// What payload is looked at.
    fn inspect(&self) -> Inspect;

    /// What verdicts need of them.
    fn watching(&self) -> &Watching;

    /// Why the target at `slot` is concerned by this address and port.
    fn signal(&self, slot: u32, address: IpAddr, port: u16) -> &'static str;
}

/// Packets of a capture, whatever is in them.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    packets: u64,
    /// Of the packets as they were on the link.
    bytes: u64,
    /// Earliest and latest time, in nanoseconds since the epoch.
    span_ns: Option<(u64, u64)>,
    /// The last time that a packet told.
    now_ns: u64,
}

impl Seen {
    fn add(&mut self, frame: &Frame) {
        self.packets += 1;
        self.bytes += u64::from(frame.original_len);
        let Some(time_ns) = frame.time_ns else { return };
        self.now_ns = time_ns;
        let (first, last) = self.span_ns.unwrap_or((time_ns, time_ns));
        self.span_ns = Some((first.min(time_ns), last.max(time_ns)));
    }
}

/// Counts a whole capture and judges what its connections say. Where the rest of one cannot be read,
/// what came before it counts and the report says why it ends there.
///
/// # Errors
/// When `reader`, which need not be buffered, gives no capture at all.
pub fn replay<L: Lists>(reader: impl Read, lists: &L) -> Result<Report<'_>, CaptureError> {
    let mut capture = Capture::new(reader)?;
    let mut told = Told::new(lists);
    let mut seen = Seen::default();
    let error = loop {
        match capture.next_frame() {
            Ok(Some(frame)) => {
                seen.add(&frame);
                told.hear(&frame, seen.now_ns);
            }
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
    };
    Ok(report::report(&told, &seen, error))
}

/// An answer to a query for a watched name.
#[derive(Clone, Debug)]
struct Answered {
    answer: Answer,
    client: SocketAddr,
}

/// What a capture has told so far.
struct Told<'a, L> {
    lists: &'a L,
    memory: Memory,
    connections: Connections,
    known: Known,
    verdicts: Verdicts,
    answers: Vec<Answered>,
    /// Answers beyond [`ANSWERS_MAX`].
    answers_left_out: u64,
}

impl<'a, L: Lists> Told<'a, L> {
    fn new(lists: &'a L) -> Self {
        Self {
            lists,
            memory: Memory::new(lists.targets().len(), lists.inspect()),
            connections: Connections::new(CONNECTIONS_MAX),
            known: Known::new(KNOWN_MAX, KNOWN_MAX),
            verdicts: Verdicts::new(false),
            answers: Vec::new(),
            answers_left_out: 0,
        }
    }

    /// Looks up the destination, then the source; then listens.
    fn hear(&mut self, frame: &Frame, now_ns: u64) {
        let Some(link) = frame.link else { return };
        let captured_len = u32::try_from(frame.bytes.len()).unwrap_or(u32::MAX);
        let packet = Captured {
            bytes: frame.bytes,
            // Some writers leave the original length at 0.
            len_bytes: frame.original_len.max(captured_len),
            aggregate: Aggregate::default(),
        };
        self.memory.begin_packet(now_ns, captured_len);
        self.known.now_ns = now_ns;
        let mut seen = match self.see(&packet, link) {
            Ok(seen) => seen,
            // What is wrong with its headers holds both ways.
            Err(refused) => return note(Err(refused), &self.memory),
        };
        let place = self.connections.follow(&seen.egress, &seen.ingress, now_ns);
        if place.is_some_and(|place| place.succeeds) && self.forget(&seen) {
            seen = self.see(&packet, link).unwrap_or(seen);
        }
        if let Some(place) = place {
            self.memory.follow();
            self.concern(place, &seen);
        }
        note(Ok(seen.egress), &self.memory);
        if !seen.ingress.targets.is_empty() {
            count(&seen.ingress, &self.memory);
        }
        self.listen(&packet, &seen, place);
    }

    fn see(&self, packet: &Captured<'_>, link: Link) -> Result<BothWays, Refused> {
        let tables = Overlaid { tables: self.lists.tables(), known: &self.known };
        let headers = parse(packet, link)?;
        let packets = headers.wire_packets(packet.aggregate());
        let towards = |direction| look_up(headers, packets, direction, &tables);
        Ok(BothWays { egress: towards(Direction::Egress), ingress: towards(Direction::Ingress) })
    }

    /// Was anything said of the connection before this one?
    fn forget(&mut self, seen: &BothWays) -> bool {
        let keys = [seen.egress.flow, seen.ingress.flow];
        keys.into_iter().flatten().fold(false, |was_known, key| self.known.unjudge(&key) | was_known)
    }

    fn concern(&mut self, place: Place, seen: &BothWays) {
        let tables = Overlaid { tables: self.lists.tables(), known: &self.known };
        for seen in [&seen.egress, &seen.ingress] {
            let side = if seen.direction == place.direction { Side::Remote } else { Side::Local };
            self.connections.concern(place.index, side, seen.targets, || only_learned(&tables, seen));
        }
    }

    /// Samples the packet as the kernel half would, and hears what is to be said of it.
    fn listen(&mut self, packet: &Captured<'_>, seen: &BothWays, place: Option<Place>) {
        let Some(key) = seen.egress.flow else { return };
        let is_dns = key.local_port == DNS_PORT || key.remote_port == DNS_PORT;
        let direction = match place {
            _ if is_dns => dns_direction(packet, &seen.egress, &key, place),
            Some(place) => place.direction,
            None => Direction::Egress,
        };
        let seen = if direction == Direction::Egress { &seen.egress } else { &seen.ingress };
        let Some(candidate) = consider(packet, seen, &self.memory) else { return };
        if place.is_none() && !is_dns {
            if self.connections.is_full() && seen.targets.is_empty() {
                self.memory.note_unfollowed();
            }
            return;
        }
        sample(packet, &candidate, &self.memory);
        if let Some((header, offset)) = self.memory.take_sample() {
            let payload = &packet.bytes[offset as usize..offset as usize + usize::from(header.captured)];
            self.judge(&Sample { header, payload }, place);
        }
    }

    fn judge(&mut self, sample: &Sample<'_>, place: Option<Place>) {
        let Self { lists, connections, known, verdicts, .. } = self;
        let mut findings = Vec::new();
        let mut world = Learning { tables: lists.tables(), known, connections };
        verdicts.hear(sample, lists.watching(), &mut world, &mut |finding| findings.push(finding));
        for finding in findings {
            match (finding, place) {
                (Finding::Detection(detection), Some(place)) => {
                    self.connections.detect(place.index, detection);
                }
                (Finding::Freed(key), Some(place)) => {
                    let rest = Overlaid { tables: self.lists.tables(), known: &self.known }.judged(&key);
                    self.connections.free(place.index, rest.unwrap_or(TargetSet::EMPTY));
                }
                (Finding::Answer(answer), _) if self.answers.len() < ANSWERS_MAX => {
                    let client = end(&answer.key, Side::Local);
                    self.answers.push(Answered { answer, client });
                }
                (Finding::Answer(_), _) => self.answers_left_out += 1,
                (Finding::Detection(_) | Finding::Freed(_), None) => {}
            }
        }
    }
}

/// One packet, once with its destination looked up and once with its source.
struct BothWays {
    egress: Observation,
    ingress: Observation,
}

/// A client asks from a port of its own; where a server asks another one, from port to port, the message
/// itself says whether it answers.
fn dns_direction(
    packet: &Captured<'_>,
    egress: &Observation,
    key: &FlowKey,
    place: Option<Place>,
) -> Direction {
    const FLAGS: usize = 2;
    const IS_RESPONSE: u8 = 0x80;
    if key.local_port != key.remote_port {
        return if key.remote_port == DNS_PORT { Direction::Egress } else { Direction::Ingress };
    }
    if let (Transport::Tcp, Some(place)) = (egress.transport, place) {
        return place.direction;
    }
    let flags = packet.bytes.get(egress.payload_offset as usize + FLAGS);
    if flags.is_some_and(|flags| flags & IS_RESPONSE != 0) { Direction::Ingress } else { Direction::Egress }
}
