//! What lies behind the IP header: TCP, UDP, ICMP, or nothing that we read.

use super::{Body, Headers, Ports, Segment};
use crate::abi::{Address, Transport, Undecoded, Version};
use crate::packet::Packet;

const PROTOCOL_ICMP: u8 = 1;
const PROTOCOL_TCP: u8 = 6;
const PROTOCOL_UDP: u8 = 17;
const PROTOCOL_ICMPV6: u8 = 58;

const TCP_LEN: u32 = 20;
const UDP_LEN: u32 = 8;

/// The IP header's part of [`Headers`], and where to go on.
pub(super) struct Network {
    pub(super) version: Version,
    pub(super) source: Address,
    pub(super) destination: Address,
    pub(super) bytes: u32,
    pub(super) protocol: u8,
    /// Offset just past the packet.
    pub(super) end: u32,
    pub(super) body: Body,
}

#[inline(always)]
pub(super) fn transport(packet: &impl Packet, network: &Network) -> Headers {
    let transport = match (network.protocol, network.version) {
        (PROTOCOL_TCP, _) => Transport::Tcp,
        (PROTOCOL_UDP, _) => Transport::Udp,
        (PROTOCOL_ICMP, Version::V4) | (PROTOCOL_ICMPV6, Version::V6) => Transport::Icmp,
        _ => Transport::Other,
    };
    let mut headers = Headers {
        version: network.version,
        source: network.source,
        destination: network.destination,
        transport,
        bytes: network.bytes,
        ports: Ports::default(),
        has_ports: false,
        segment: Segment::default(),
        payload_offset: network.end,
        payload_len: 0,
        flaw: None,
    };
    let (offset, whole) = match network.body {
        Body::Transport { offset, whole } => (offset, whole),
        Body::LaterFragment => return headers,
        Body::Broken => {
            headers.transport = Transport::Other;
            headers.flaw = Some(Undecoded::IpExtension);
            return headers;
        }
    };
    match transport {
        Transport::Tcp => tcp(packet, offset, network.end, &mut headers),
        Transport::Udp => udp(packet, offset, network.end, whole, &mut headers),
        Transport::Icmp | Transport::Other => {
            headers.payload_offset = offset;
            headers.payload_len = network.end.saturating_sub(offset);
        }
    }
    headers
}

#[inline(always)]
fn tcp(packet: &impl Packet, offset: u32, end: u32, headers: &mut Headers) {
    headers.flaw = Some(Undecoded::TcpHeader);
    if offset + TCP_LEN > end {
        return;
    }
    let Some([ports, sequence, acknowledgement, control]) = packet.load::<[u32; 4]>(offset) else {
        return;
    };
    let control = u32::from_be(control);
    let header_len = (control >> 26) & 0x3c;
    if header_len < TCP_LEN || offset + header_len > end {
        return;
    }
    headers.flaw = None;
    headers.ports = split(ports);
    headers.has_ports = true;
    headers.segment = Segment {
        sequence: u32::from_be(sequence),
        acknowledgement: u32::from_be(acknowledgement),
        flags: (control >> 16) as u8,
    };
    headers.payload_offset = offset + header_len;
    headers.payload_len = end - (offset + header_len);
}

#[inline(always)]
fn udp(packet: &impl Packet, offset: u32, end: u32, whole: bool, headers: &mut Headers) {
    headers.flaw = Some(Undecoded::UdpHeader);
    if offset + UDP_LEN > end {
        return;
    }
    let Some([ports, lengths]) = packet.load::<[u32; 2]>(offset) else {
        return;
    };
    let length = u32::from_be(lengths) >> 16;
    let present = end - offset;
    // 0: longer than the field can say (RFC 2675, 4). A first fragment holds only a part.
    let payload = if length == 0 || !whole {
        present
    } else if length < UDP_LEN || length > present {
        return;
    } else {
        length
    } - UDP_LEN;
    headers.flaw = None;
    headers.ports = split(ports);
    headers.has_ports = true;
    headers.payload_offset = offset + UDP_LEN;
    headers.payload_len = payload;
}

#[inline(always)]
fn split(ports: u32) -> Ports {
    let ports = u32::from_be(ports);
    Ports { source: (ports >> 16) as u16, destination: ports as u16 }
}
