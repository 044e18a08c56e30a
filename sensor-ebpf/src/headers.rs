//! From a frame to addresses, transport, ports and lengths: Ethernet or raw IP, VLAN and
//! QinQ (802.1Q, 802.1ad) in the data, IPv4 (RFC 791) with options, IPv6 (RFC 8200) with
//! extension headers, fragments, TCP (RFC 9293), UDP (RFC 768), ICMP.
//!
//! Deliberately absent: checksums, reassembly, tunnels' insides. A sound IP header is
//! enough to count a packet for its address, so a broken transport header is a flaw noted
//! in [`Headers`], not a reason to drop the addresses.

mod transport;

use crate::abi::{Address, Transport, Undecoded, Version};
use crate::packet::{Aggregate, Packet};

use transport::{Network, transport};

/// Where a packet's headers begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// An Ethernet header.
    Ethernet,
    /// An IP header at once: tun, wireguard, ppp.
    Ip,
    /// What this Ethertype says, at this offset: replay's other link types.
    Ethertype { ethertype: u16, offset: u32 },
}

/// Tags in the data that are followed; one more may be in the kernel's metadata.
const VLAN_TAGS_MAX: usize = 2;
/// Extension headers that are followed; RFC 8200 (4.1) recommends at most one of each kind.
const EXTENSIONS_MAX: usize = 6;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_QINQ: u16 = 0x88a8;
/// QinQ before 802.1ad.
const ETHERTYPE_QINQ_OLD: u16 = 0x9100;

const IPV4_LEN: u32 = 20;
const IPV6_LEN: u32 = 40;

const EXTENSION_HOP_BY_HOP: u8 = 0;
const EXTENSION_ROUTING: u8 = 43;
const EXTENSION_FRAGMENT: u8 = 44;
const EXTENSION_AUTHENTICATION: u8 = 51;
const EXTENSION_DESTINATION: u8 = 60;

/// Keeps a computed offset within what the verifier lets a packet pointer move.
const OFFSET_MASK: u32 = 0x3fff;

/// TCP control bits (RFC 9293, 3.1).
pub mod tcp_flag {
    pub const FIN: u8 = 0x01;
    pub const SYN: u8 = 0x02;
    pub const RST: u8 = 0x04;
    pub const ACK: u8 = 0x10;
}

/// What a TCP header adds. Numbers in host byte order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    pub sequence: u32,
    pub acknowledgement: u32,
    /// [`tcp_flag`]s.
    pub flags: u8,
}

/// Source and destination port, host byte order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ports {
    pub source: u16,
    pub destination: u16,
}

/// What a packet's headers say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers {
    pub version: Version,
    pub source: Address,
    pub destination: Address,
    pub transport: Transport,
    /// IPv4 total length, IPv6 payload length + 40; where that field is 0 (BIG TCP),
    /// the length from the network header on.
    pub bytes: u32,
    /// Meaningful where `has_ports` says so. Not an `Option`: what is undefined in a `None` may end
    /// up on the stack, and kernels before 6.3 (commit 6715df8d5d24) refuse to read that back.
    pub ports: Ports,
    /// Not for ICMP and others, for later fragments and for broken transport headers.
    pub has_ports: bool,
    /// All zero unless TCP.
    pub segment: Segment,
    /// Offset of the payload from the link header, in bytes.
    pub payload_offset: u32,
    /// Payload after the transport header, in bytes.
    pub payload_len: u32,
    /// What is wrong with the headers after the IP header.
    pub flaw: Option<Undecoded>,
}

impl Headers {
    /// Wire packets that this one stands for.
    #[inline(always)]
    pub fn wire_packets(&self, aggregate: Aggregate) -> u32 {
        if aggregate.segments != 0 {
            aggregate.segments
        } else if aggregate.segment_size != 0 && self.payload_len > aggregate.segment_size {
            self.payload_len.div_ceil(aggregate.segment_size)
        } else {
            1
        }
    }
}

/// Why there are no [`Headers`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Not an IP packet: not ours, and nothing is wrong with it.
    NotIp,
    Undecoded(Undecoded),
}

/// Reads the headers of `packet`, which begins as `link` says.
///
/// # Errors
/// [`Refused`] when it is no IP packet, or its IP header is malformed.
#[inline(always)]
pub fn parse(packet: &impl Packet, link: Link) -> Result<Headers, Refused> {
    match link {
        Link::Ip => match packet.load::<u16>(0).map(|word| word.to_ne_bytes()[0] >> 4) {
            Some(4) => ipv4(packet, 0),
            Some(6) => ipv6(packet, 0),
            Some(_) => Err(Refused::Undecoded(Undecoded::IpVersion)),
            None => Err(Refused::Undecoded(Undecoded::IpHeader)),
        },
        Link::Ethernet => {
            let ethertype = packet.load::<u16>(12).ok_or(Refused::NotIp)?;
            network(packet, u16::from_be(ethertype), 14)
        }
        Link::Ethertype { ethertype, offset } => network(packet, ethertype, offset),
    }
}

/// Past the tags to the IP header. More tags than we follow: not an IP packet to us.
#[inline(always)]
fn network(packet: &impl Packet, mut ethertype: u16, mut offset: u32) -> Result<Headers, Refused> {
    for _ in 0..VLAN_TAGS_MAX {
        if !matches!(ethertype, ETHERTYPE_VLAN | ETHERTYPE_QINQ | ETHERTYPE_QINQ_OLD) {
            break;
        }
        ethertype = u16::from_be(packet.load::<u16>(offset + 2).ok_or(Refused::NotIp)?);
        offset += 4;
    }
    match ethertype {
        ETHERTYPE_IPV4 => ipv4(packet, offset),
        ETHERTYPE_IPV6 => ipv6(packet, offset),
        _ => Err(Refused::NotIp),
    }
}

#[inline(always)]
fn ipv4(packet: &impl Packet, offset: u32) -> Result<Headers, Refused> {
    let [first, second, third, source, destination] =
        packet.load::<[u32; 5]>(offset).ok_or(Refused::Undecoded(Undecoded::IpHeader))?;
    let first = u32::from_be(first);
    if first >> 28 != 4 {
        return Err(Refused::Undecoded(Undecoded::IpVersion));
    }
    let header_len = (first >> 22) & 0x3c;
    if header_len < IPV4_LEN {
        return Err(Refused::Undecoded(Undecoded::IpHeader));
    }
    let bytes = ip_bytes(packet, offset, first & 0xffff, 0, header_len)?;

    let fragment_offset = u32::from_be(second) & 0x1fff;
    let more_fragments = u32::from_be(second) & 0x2000 != 0;
    let protocol = (u32::from_be(third) >> 16) as u8;
    Ok(transport(
        packet,
        &Network {
            version: Version::V4,
            source: Address::v4(source),
            destination: Address::v4(destination),
            bytes,
            protocol,
            end: offset + bytes,
            body: Body::at(offset + header_len, fragment_offset != 0, more_fragments),
        },
    ))
}

#[inline(always)]
fn ipv6(packet: &impl Packet, offset: u32) -> Result<Headers, Refused> {
    let [first, second, s0, s1, s2, s3, d0, d1, d2, d3] =
        packet.load::<[u32; 10]>(offset).ok_or(Refused::Undecoded(Undecoded::IpHeader))?;
    if u32::from_be(first) >> 28 != 6 {
        return Err(Refused::Undecoded(Undecoded::IpVersion));
    }
    let second = u32::from_be(second);
    let bytes = ip_bytes(packet, offset, second >> 16, IPV6_LEN, IPV6_LEN)?;
    let (protocol, body) = extensions(packet, (second >> 8) as u8, offset + IPV6_LEN, offset + bytes);
    Ok(transport(
        packet,
        &Network {
            version: Version::V6,
            source: Address([s0, s1, s2, s3]),
            destination: Address([d0, d1, d2, d3]),
            bytes,
            protocol,
            end: offset + bytes,
            body,
        },
    ))
}

/// What the length field counts: itself plus `uncounted`, at least `header_len`, at most
/// what there is; 0 means "look at the packet" (BIG TCP, RFC 2675).
#[inline(always)]
fn ip_bytes(
    packet: &impl Packet,
    offset: u32,
    field: u32,
    uncounted: u32,
    header_len: u32,
) -> Result<u32, Refused> {
    let present = packet.len_bytes().saturating_sub(offset);
    let bytes = if field == 0 { present } else { field + uncounted };
    if bytes < header_len || bytes > present {
        return Err(Refused::Undecoded(Undecoded::IpLength));
    }
    Ok(bytes)
}

/// What follows the IP header and its extensions.
#[derive(Clone, Copy)]
enum Body {
    /// A transport header at this offset; `whole` unless it is a first fragment.
    Transport { offset: u32, whole: bool },
    /// The inside of a packet: no transport header.
    LaterFragment,
    /// Extension headers that cannot be followed.
    Broken,
}

impl Body {
    #[inline(always)]
    fn at(offset: u32, later: bool, more: bool) -> Self {
        if later { Self::LaterFragment } else { Self::Transport { offset, whole: !more } }
    }
}

/// Follows the extension headers that Linux follows (`ipv6_ext_hdr` in `net/ipv6/exthdrs_core.c`);
/// ESP hides what comes after it and is a transport of its own.
#[inline(always)]
fn extensions(packet: &impl Packet, mut next: u8, mut offset: u32, end: u32) -> (u8, Body) {
    let mut whole = true;
    for _ in 0..=EXTENSIONS_MAX {
        let is_extension = matches!(
            next,
            EXTENSION_HOP_BY_HOP
                | EXTENSION_ROUTING
                | EXTENSION_FRAGMENT
                | EXTENSION_AUTHENTICATION
                | EXTENSION_DESTINATION
        );
        if !is_extension {
            return (next, Body::Transport { offset, whole });
        }
        // All of them are at least 8 bytes long.
        if offset + 8 > end {
            return (next, Body::Broken);
        }
        let Some([first, _]) = packet.load::<[u32; 2]>(offset) else {
            return (next, Body::Broken);
        };
        let [following, length, high, low] = first.to_ne_bytes();
        match next {
            EXTENSION_FRAGMENT => {
                let field = u16::from_be_bytes([high, low]);
                if field & 0xfff8 != 0 {
                    return (following, Body::LaterFragment);
                }
                whole = whole && field & 1 == 0;
                offset += 8;
            }
            // RFC 4302, 2.2: in words of four bytes, minus 2.
            EXTENSION_AUTHENTICATION => offset += (u32::from(length) + 2) * 4,
            _ => offset += (u32::from(length) + 1) * 8,
        }
        if offset > end {
            return (next, Body::Broken);
        }
        offset &= OFFSET_MASK;
        next = following;
    }
    (next, Body::Broken)
}
