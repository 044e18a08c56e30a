//! `classify`: which targets a packet concerns, and in which flow. Pure: it reads a packet
//! and asks tables, and returns an [`Observation`]; counting is [`crate::count`]'s.
//!
//! Only the remote address is looked up (the destination on egress, the source on
//! ingress). A coverage filter answers "no" for nearly all packets in a load or two; only
//! behind it come the lists, in one search, and what was learned: see [`targets`]. The tables inherit
//! across watchlists when they are compiled, so the
//! first answer is the whole answer.

use crate::abi::{Address, Direction, EndpointKey, FlowKey, TargetSet, Transport, Undecoded, Version};
use crate::headers::{self, Headers, Link, Refused, Segment};
use crate::packet::Packet;
use crate::ranges::Found;

/// What the daemon compiled for the packet path.
pub trait Tables {
    /// May this remote address concern anyone? False positives are allowed.
    fn covers(&self, version: Version, remote: &Address) -> bool;
    /// What the lists say: an endpoint, or else the longest prefix.
    fn listed(&self, version: Version, remote: &Address, port: Option<u16>) -> Found;
    /// May something have been learned of this address? False positives are allowed.
    fn may_know(&self, remote: &Address) -> bool;
    /// `key.port` 0: whatever the port.
    fn learned(&self, key: &EndpointKey) -> Option<TargetSet>;
    /// What the connection's own payload said.
    fn judged(&self, key: &FlowKey) -> Option<TargetSet>;
}

/// What a packet means to the sensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observation {
    pub direction: Direction,
    /// Empty: nobody's.
    pub targets: TargetSet,
    pub transport: Transport,
    /// IP bytes, see [`headers::Headers::bytes`].
    pub bytes: u32,
    /// Wire packets.
    pub packets: u32,
    /// `None` where there are no ports.
    pub flow: Option<FlowKey>,
    pub segment: Segment,
    pub payload_offset: u32,
    pub payload_len: u32,
    /// Broken headers behind a sound IP header.
    pub flaw: Option<Undecoded>,
}

/// Reads the packet's headers and looks its remote address up.
///
/// # Errors
/// [`Refused`] when it is no IP packet, or its IP header is malformed.
#[inline(always)]
pub fn classify(
    packet: &impl Packet,
    link: Link,
    direction: Direction,
    tables: &impl Tables,
) -> Result<Observation, Refused> {
    let headers = headers::parse(packet, link)?;
    let packets = headers.wire_packets(packet.aggregate());
    Ok(look_up(headers, packets, direction, tables))
}

/// What a packet of these headers, which stands for so many wire packets, means when it goes this way.
#[inline(always)]
pub fn look_up(headers: Headers, packets: u32, direction: Direction, tables: &impl Tables) -> Observation {
    let (remote, local) = match direction {
        Direction::Egress => (headers.destination, headers.source),
        Direction::Ingress => (headers.source, headers.destination),
    };
    let ports = headers.ports;
    let (remote_port, local_port) = match direction {
        Direction::Egress => (ports.destination, ports.source),
        Direction::Ingress => (ports.source, ports.destination),
    };
    let key = FlowKey {
        remote,
        local,
        remote_port,
        local_port,
        transport: headers.transport as u8,
        version: headers.version as u8,
        reserved: 0,
    };
    let flow = headers.has_ports.then_some(key);
    Observation {
        direction,
        targets: targets(headers.version, remote, flow, tables),
        transport: headers.transport,
        bytes: headers.bytes,
        packets,
        flow,
        segment: headers.segment,
        payload_offset: headers.payload_offset,
        payload_len: headers.payload_len,
        flaw: headers.flaw,
    }
}

/// What is known of a packet's other end: what its connection said itself; what was learned of address
/// and port, which the daemon put together with the endpoint that is listed there; that endpoint; what
/// was learned of the address; and then the longest prefix. `flow` is a copy: what is passed to the kernel
/// by address is kept in memory all the way, which costs each packet 30 ns.
#[inline(always)]
pub fn targets(version: Version, remote: Address, flow: Option<FlowKey>, tables: &impl Tables) -> TargetSet {
    if !tables.covers(version, &remote) {
        return TargetSet::EMPTY;
    }
    let listed = tables.listed(version, &remote, flow.map(|key| key.remote_port));
    if !tables.may_know(&remote) {
        return listed.targets;
    }
    let mut key = EndpointKey { address: remote, port: 0, version: version as u8, reserved: 0 };
    if let Some(flow) = flow {
        if let Some(found) = tables.judged(&flow) {
            return found;
        }
        key.port = flow.remote_port;
        if let Some(found) = tables.learned(&key) {
            return found;
        }
        key.port = 0;
    }
    if listed.is_endpoint {
        return listed.targets;
    }
    tables.learned(&key).unwrap_or(listed.targets)
}
