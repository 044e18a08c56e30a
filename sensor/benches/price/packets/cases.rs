//! The table of packets whose price is taken: what is sent where, and what must be counted.

use anyhow::{Context, Result};
use sensor_ebpf::abi::{Direction, Side, Totals, Transport};

use super::listed::{ENDPOINTS, Listed, PORT, PREFIXES, To};
use super::trial::{Connection, Counts, OnTrial, Packet, ROUND, Trial};
use crate::build::{Frame, from};

const HOST: &str = "10.0.0.1";
const HOST_V6: &str = "2001:db8::1";
/// Addresses that are overwritten before anything looks at them.
const ANYONE: &str = "192.0.2.1";
const ANYONE_V6: &str = "2001:db8::2";
const LOCAL_PORT: u16 = 40_000;
const ETHERNET_BYTES: usize = 14;

/// A payload that the gate will want to see: the first line of a Monero miner.
const LOGIN: &[u8] =
    br#"{"id":1,"jsonrpc":"2.0","method":"login","params":{"login":"4","pass":"x","agent":"a"}}
"#;

/// What the flow table knows of a packet's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing, and never will: nobody watches it.
    Unmatched,
    Established,
    /// Nothing yet.
    New,
}

/// Whose packets follow one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Round {
    /// Each packet is of another connection, as cold as life is at its worst.
    Of65536,
    /// All are of the same one, as in a download: what the instructions themselves cost.
    OfOne,
}

pub struct Case {
    pub key: &'static str,
    pub what: &'static str,
    pub to: To,
    pub state: State,
    frame: fn() -> Frame,
    payload: Option<&'static [u8]>,
    round: Round,
}

#[rustfmt::skip]
pub const CASES: [Case; 15] = [
    case("tcp_ack_outside", "TCP ACK, outside the filter", To::Outside, State::Unmatched, || out().ack(1001, 5001)),
    case("tcp_data_outside", "TCP data of 1,400 bytes, outside the filter", To::Outside, State::Unmatched, || out().ack(1001, 5001).payload(1400)),
    case("udp_outside", "UDP, outside the filter", To::Outside, State::Unmatched, || out().payload(100)),
    case("ipv6_outside", "IPv6 TCP ACK, outside the filter", To::OutsideV6, State::Unmatched, || out_v6().ack(1001, 5001)),
    case("qinq_outside", "QinQ TCP ACK, outside the filter", To::Outside, State::Unmatched, || out().tagged(&[0x88a8, 0x8100]).ack(1001, 5001)),
    case("tcp_ack_inside", "TCP ACK, inside the filter, not listed", To::Inside, State::Unmatched, || out().ack(1001, 5001)),
    case("ipv6_inside", "IPv6 TCP ACK, inside the filter, not listed", To::InsideV6, State::Unmatched, || out_v6().ack(1001, 5001)),
    case("prefix_established", "TCP ACK, listed by prefix, established", To::Prefix, State::Established, || out().ack(1001, 5001)),
    case("endpoint_established", "TCP ACK, listed by endpoint, established", To::Endpoint, State::Established, || out().ack(1001, 5001)),
    case("new_connection", "TCP SYN, listed by prefix, a new connection", To::Prefix, State::New, || out().syn(1000)),
    case("json_outside", "a Stratum login, outside the filter", To::Outside, State::Unmatched, || out().ack(1001, 5001)).with(LOGIN),
    case("json_matched", "a Stratum login, listed by prefix, established", To::Prefix, State::Established, || out().ack(1001, 5001)).with(LOGIN),
    case("one_outside", "TCP ACK of one connection, outside the filter", To::Outside, State::Unmatched, || out().ack(1001, 5001)).of_one(),
    case("one_inside", "TCP ACK of one connection, inside the filter, not listed", To::Inside, State::Unmatched, || out().ack(1001, 5001)).of_one(),
    case("one_established", "TCP ACK of one connection, listed by prefix, established", To::Prefix, State::Established, || out().ack(1001, 5001)).of_one(),
];

const fn case(key: &'static str, what: &'static str, to: To, state: State, frame: fn() -> Frame) -> Case {
    Case { key, what, to, state, frame, payload: None, round: Round::Of65536 }
}

fn out() -> Frame {
    from(HOST, ANYONE).ports(LOCAL_PORT, PORT)
}

fn out_v6() -> Frame {
    from(HOST_V6, ANYONE_V6).ports(LOCAL_PORT, PORT)
}

impl Case {
    const fn with(self, payload: &'static [u8]) -> Self {
        Self { payload: Some(payload), ..self }
    }

    const fn of_one(self) -> Self {
        Self { round: Round::OfOne, ..self }
    }

    /// One for each packet of a round, all to where the case says.
    pub fn connections(&self, listed: &Listed) -> Result<Vec<Connection>> {
        let remotes = listed.destinations(self.to)?;
        let connections =
            remotes.into_iter().zip(0..).map(|(remote, local_port)| Connection { remote, local_port });
        let mut connections: Vec<_> = connections.collect();
        if self.round == Round::OfOne {
            connections = vec![connections[0]; connections.len()];
        }
        Ok(connections)
    }

    pub fn packet(&self) -> Packet {
        let payload = self.payload.unwrap_or_default();
        let mut frame = (self.frame)();
        if !payload.is_empty() {
            frame = frame.payload(payload.len());
        }
        let mut packet = Packet::new(&frame, Direction::Egress, self.to.is_v6());
        let at = packet.bytes.len() - payload.len();
        packet.bytes[at..].copy_from_slice(payload);
        packet
    }

    /// What this many packets add.
    pub fn counts(&self, packets: u32) -> Counts {
        let mut counts = Counts::default();
        let Some(totals) = self.totals(&mut counts) else { return counts };
        // None of the cases that are counted is tagged.
        let ip_bytes = self.packet().bytes.len() - ETHERNET_BYTES;
        add(totals, Direction::Egress, packets, ip_bytes);
        if self.state == State::New {
            totals.connections[Side::Local as usize][Transport::Tcp as usize] = packets.into();
            counts.own.flows_created = packets.into();
        }
        counts
    }

    /// Lets all of them be established, and sees that each of them was.
    pub fn establish(&self, trial: &mut Trial, connections: &[Connection]) -> Result<()> {
        let before = trial.counts()?;
        let mut counts = Counts::default();
        let totals = self.totals(&mut counts).context("nobody watches this")?;
        for (direction, frame) in [
            (Direction::Egress, out().syn(1000)),
            (Direction::Ingress, from(ANYONE, HOST).ports(PORT, LOCAL_PORT).syn_ack(5000, 1001)),
            (Direction::Egress, out().ack(1001, 5001)),
        ] {
            let packet = Packet::new(&frame, direction, false);
            trial.aim(connections, &packet)?;
            trial.run(OnTrial::Poolwatch, &packet, ROUND)?;
            add(totals, direction, ROUND, packet.bytes.len() - ETHERNET_BYTES);
        }
        let different = if self.round == Round::OfOne { 1 } else { ROUND.into() };
        totals.connections[Side::Local as usize][Transport::Tcp as usize] = different;
        totals.established[Side::Local as usize][Transport::Tcp as usize] = different;
        counts.own.flows_created = different;
        trial.counts()?.hold_against(&before, &counts)
    }

    /// Those of the target that the packets are for.
    fn totals<'a>(&self, counts: &'a mut Counts) -> Option<&'a mut Totals> {
        match self.to {
            To::Prefix => Some(&mut counts.totals[PREFIXES as usize]),
            To::Endpoint => Some(&mut counts.totals[ENDPOINTS as usize]),
            _ => None,
        }
    }
}

fn add(totals: &mut Totals, direction: Direction, packets: u32, ip_bytes: usize) {
    let (direction, packets) = (direction as usize, u64::from(packets));
    totals.packets[direction][Transport::Tcp as usize] += packets;
    totals.bytes[direction][Transport::Tcp as usize] += packets * ip_bytes as u64;
}
