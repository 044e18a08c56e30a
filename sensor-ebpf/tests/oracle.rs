//! Our header parser against etherparse, on packets that are sound, mutated or cut: the same
//! addresses, protocol and ports, or both refuse. Where we differ on purpose it is said here.

mod packets;

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use packets::build::{Extension, Frame, from};
use proptest::prelude::*;
use sensor_ebpf::abi::{Transport, Undecoded, Version};
use sensor_ebpf::headers::{Headers, Link, Refused, parse};
use sensor_ebpf::packet::Captured;

/// What the oracle says: addresses as bytes, protocol number, ports.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    NotIp,
    Refuses,
    Ip {
        source: Vec<u8>,
        destination: Vec<u8>,
        transport: Transport,
        ports: Option<(u16, u16)>,
        fragment: bool,
    },
}

fn oracle(bytes: &[u8]) -> Verdict {
    let Ok(packet) = SlicedPacket::from_ethernet(bytes) else { return Verdict::Refuses };
    let (source, destination, protocol, fragment) = match &packet.net {
        Some(NetSlice::Ipv4(ip)) => (
            ip.header().source().to_vec(),
            ip.header().destination().to_vec(),
            ip.payload().ip_number.0,
            ip.payload().fragmented,
        ),
        Some(NetSlice::Ipv6(ip)) => (
            ip.header().source().to_vec(),
            ip.header().destination().to_vec(),
            ip.payload().ip_number.0,
            ip.payload().fragmented,
        ),
        _ => return Verdict::NotIp,
    };
    let transport = match (protocol, source.len()) {
        (6, _) => Transport::Tcp,
        (17, _) => Transport::Udp,
        (1, 4) | (58, 16) => Transport::Icmp,
        _ => Transport::Other,
    };
    let ports = match &packet.transport {
        Some(TransportSlice::Tcp(tcp)) => Some((tcp.source_port(), tcp.destination_port())),
        Some(TransportSlice::Udp(udp)) => Some((udp.source_port(), udp.destination_port())),
        _ => None,
    };
    Verdict::Ip { source, destination, transport, ports, fragment }
}

/// Bytes of an address, as many as its version has.
fn octets(headers: &Headers) -> (Vec<u8>, Vec<u8>) {
    let of = |address: sensor_ebpf::abi::Address| match address.to_ip(headers.version) {
        std::net::IpAddr::V4(ip) => ip.octets().to_vec(),
        std::net::IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    (of(headers.source), of(headers.destination))
}

/// Where we differ on purpose, so that the oracle's verdict says nothing about ours.
fn is_ours_alone(bytes: &[u8]) -> bool {
    let mut offset = 12;
    let mut ethertype = word(bytes, offset);
    let mut tags = 0;
    while matches!(ethertype, Some(0x8100 | 0x88a8 | 0x9100)) {
        offset += 4;
        tags += 1;
        ethertype = word(bytes, offset);
    }
    let ip = offset + 2;
    match ethertype {
        // We follow two tags, and call what is cut off before its IP header "not IP".
        None => true,
        _ if tags > 2 => true,
        // MACsec and ARP: the oracle looks inside, we do not.
        Some(0x88e5 | 0x0806) => true,
        // A length of 0 is a big packet to us (BIG TCP), and the authentication header is a
        // protocol of its own in IPv4.
        Some(0x0800) => word(bytes, ip + 2) == Some(0) || bytes.get(ip + 9) == Some(&51),
        Some(0x86dd) => word(bytes, ip + 4) == Some(0),
        _ => false,
    }
}

fn word(bytes: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(offset..)?.first_chunk()?))
}

fn agree(bytes: &[u8]) -> Result<(), TestCaseError> {
    let ours = parse(&Captured::from(bytes), Link::Ethernet);
    if is_ours_alone(bytes) {
        return Ok(());
    }
    let theirs = oracle(bytes);
    match (&ours, &theirs) {
        (Err(Refused::NotIp), Verdict::NotIp) | (Err(Refused::Undecoded(_)), Verdict::Refuses) => Ok(()),
        (Ok(headers), Verdict::Refuses) => {
            let stricter = match headers.flaw {
                Some(Undecoded::TcpHeader | Undecoded::UdpHeader | Undecoded::IpExtension) => true,
                // ICMP's own header is none of our business; of IPv6 we take hop-by-hop options
                // anywhere, an authentication header of no length, and nothing after a fragment.
                None => !headers.has_ports || headers.version == Version::V6,
                _ => false,
            };
            prop_assert!(stricter, "the oracle refuses, we read {headers:?}");
            Ok(())
        }
        (Ok(headers), Verdict::Ip { source, destination, transport, ports, fragment }) => {
            prop_assert_eq!(&octets(headers), &(source.clone(), destination.clone()));
            // More extension headers than we follow.
            if headers.flaw == Some(Undecoded::IpExtension) {
                return Ok(());
            }
            // The oracle does not look into fragments; we read the ports of the first.
            if *fragment {
                return Ok(());
            }
            prop_assert_eq!(headers.flaw, None, "the oracle reads it");
            prop_assert_eq!(headers.transport, *transport);
            let ours = headers.has_ports.then_some((headers.ports.source, headers.ports.destination));
            prop_assert_eq!(ours, *ports);
            Ok(())
        }
        _ => Err(TestCaseError::fail(format!("ours {ours:?}, theirs {theirs:?}"))),
    }
}

fn extension() -> impl Strategy<Value = Extension> {
    prop_oneof![
        Just(Extension::HopByHop),
        Just(Extension::Routing),
        (0u8..4).prop_map(Extension::Destination),
        Just(Extension::Authentication),
        (0u16..3, any::<bool>()).prop_map(|(offset, more)| Extension::Fragment(offset, more)),
    ]
}

fn frame() -> impl Strategy<Value = Frame> {
    let tags = prop::collection::vec(prop_oneof![Just(0x8100u16), Just(0x88a8), Just(0x9100)], 0..3);
    let extensions = prop::collection::vec(extension(), 0..8);
    let sizes = (0usize..11, 0usize..80, 0usize..20);
    let ends = (any::<u32>(), any::<u128>(), any::<u16>(), any::<u16>());
    (any::<bool>(), 0u8..5, tags, extensions, sizes, ends, 0u16..3, any::<bool>()).prop_map(
        |(
            v4,
            body,
            tags,
            extensions,
            (options, payload, padding),
            (a, b, source, destination),
            offset,
            more,
        )| {
            let frame = if v4 {
                from(&std::net::Ipv4Addr::from(a).to_string(), "192.0.2.1")
                    .options(options)
                    .fragment(offset / 2, more)
            } else {
                from(&std::net::Ipv6Addr::from(b).to_string(), "2001:db8::1").extensions(&extensions)
            };
            let frame = frame.tagged(&tags).ports(source, destination).payload(payload).padding(padding);
            match body {
                0 => frame.syn(a),
                1 => frame.udp(),
                2 => frame.protocol(if v4 { 1 } else { 58 }),
                3 => frame.protocol(47),
                _ => frame.ack(a, a),
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sound_packets_are_read_alike(frame in frame()) {
        agree(&frame.bytes())?;
    }

    #[test]
    fn mutated_packets_are_read_alike(frame in frame(), changes in prop::collection::vec((0usize..120, any::<u8>()), 1..6)) {
        let mut bytes = frame.bytes();
        for (at, value) in changes {
            let len = bytes.len();
            bytes[at % len] = value;
        }
        agree(&bytes)?;
    }

    #[test]
    fn packets_that_are_cut_are_read_alike(frame in frame(), keep in 0usize..160) {
        let mut bytes = frame.bytes();
        bytes.truncate(keep);
        agree(&bytes)?;
    }

    #[test]
    fn random_bytes_are_read_alike(bytes in prop::collection::vec(any::<u8>(), 0..200), v4 in any::<bool>()) {
        let mut bytes = bytes;
        if let Some(slot) = bytes.get_mut(12..14) {
            slot.copy_from_slice(&if v4 { 0x0800u16 } else { 0x86dd }.to_be_bytes());
        }
        agree(&bytes)?;
    }

    #[test]
    fn what_is_out_of_reach_is_never_read(frame in frame(), keep in 0usize..160, link in 0u8..3) {
        // A capture with a snap length: shorter than its headers say.
        let bytes = frame.bytes();
        let packet = Captured { bytes: &bytes[..keep.min(bytes.len())], ..Captured::from(&bytes[..]) };
        let link = [Link::Ethernet, Link::Ip, Link::Ethertype { ethertype: 0x0800, offset: 4 }][usize::from(link)];
        if let Ok(headers) = parse(&packet, link) {
            prop_assert!(headers.bytes <= packet.len_bytes);
            prop_assert!(headers.payload_offset + headers.payload_len <= packet.len_bytes);
        }
    }
}
