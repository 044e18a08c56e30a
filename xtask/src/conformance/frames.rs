//! A conversation over TCP as frames of a link type, written by hand so that nothing of the sensor's own
//! decides what they look like. Checksums are left at 0: no passive sensor looks at them.

use std::net::{IpAddr, SocketAddr};

use super::dialects::Speaker;

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const PUSH: u8 = 0x08;
const ACK: u8 = 0x10;

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const VLAN: u16 = 0x8100;

/// From the IP header on, in their order. `is_whole`: with handshake and end.
pub(super) fn conversation(
    miner: SocketAddr,
    pool: SocketAddr,
    said: &[(Speaker, Vec<u8>)],
    is_whole: bool,
) -> Vec<Vec<u8>> {
    let mut next = [0x1000_0000_u32, 0x2000_0000];
    let mut packets = Vec::new();
    let mut send = |speaker: Speaker, flags: u8, payload: &[u8]| {
        let (from, to) = if speaker == Speaker::Miner { (miner, pool) } else { (pool, miner) };
        let (own, other) = if speaker == Speaker::Miner { (0, 1) } else { (1, 0) };
        let acknowledged = if flags & ACK == 0 { 0 } else { next[other] };
        packets.push(packet(from, to, &segment([from, to], [next[own], acknowledged], flags, payload)));
        let length = u32::try_from(payload.len()).unwrap_or(0);
        next[own] = next[own].wrapping_add(length + u32::from(flags & (SYN | FIN) != 0));
    };
    if is_whole {
        send(Speaker::Miner, SYN, &[]);
        send(Speaker::Pool, SYN | ACK, &[]);
        send(Speaker::Miner, ACK, &[]);
    }
    for (speaker, payload) in said {
        send(*speaker, PUSH | ACK, payload);
    }
    if is_whole {
        send(Speaker::Miner, FIN | ACK, &[]);
        send(Speaker::Pool, FIN | ACK, &[]);
    }
    packets
}

fn segment(
    [from, to]: [SocketAddr; 2],
    [sequence, acknowledged]: [u32; 2],
    flags: u8,
    payload: &[u8],
) -> Vec<u8> {
    const HEADER_WORDS: u8 = 5;
    let mut segment = [from.port().to_be_bytes(), to.port().to_be_bytes()].concat();
    segment.extend(sequence.to_be_bytes());
    segment.extend(acknowledged.to_be_bytes());
    segment.extend([HEADER_WORDS << 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
    segment.extend(payload);
    segment
}

/// Both are of one family.
fn packet(from: SocketAddr, to: SocketAddr, body: &[u8]) -> Vec<u8> {
    const TCP: u8 = 6;
    const TTL: u8 = 64;
    const HEADER_BYTES: u16 = 20;
    let length = u16::try_from(body.len()).unwrap_or(0);
    match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let [high, low] = (HEADER_BYTES + length).to_be_bytes();
            let header = [0x45, 0, high, low, 0, 1, 0, 0, TTL, TCP, 0, 0];
            [&header, &from.octets()[..], &to.octets(), body].concat()
        }
        (from, to) => {
            let [high, low] = length.to_be_bytes();
            let header = [0x60, 0, 0, 0, high, low, TCP, TTL];
            let octets = |ip: IpAddr| match ip {
                IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
                IpAddr::V6(ip) => ip.octets(),
            };
            [&header, &octets(from)[..], &octets(to), body].concat()
        }
    }
}

/// The packet in a frame of this link type (the registry's number); `None`: this one we cannot write, or
/// not with a tag.
pub(super) fn framed(link_type: u32, is_tagged: bool, packet: &[u8]) -> Option<Vec<u8>> {
    let is_v4 = packet.first()? >> 4 == 4;
    let ethertype = (if is_v4 { IPV4 } else { IPV6 }).to_be_bytes();
    let mut header = match link_type {
        1 => vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1],
        _ if is_tagged => return None,
        // Raw IP.
        12 | 14 | 101 => return Some(packet.to_vec()),
        // Address and control, which PPP may leave out and Cisco's framing may not.
        9 | 50 => return Some([&[0xff, 0x03, 0, if is_v4 { 0x21 } else { 0x57 }], packet].concat()),
        104 => vec![0x0f, 0],
        // Linux's cooked header: sent by us, from a network card with an address of six bytes.
        113 => vec![0, 4, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0],
        // An address family, in the byte order of the machine that captured.
        0 => return Some([&[if is_v4 { 2 } else { 30 }, 0, 0, 0], packet].concat()),
        _ => return None,
    };
    if is_tagged {
        header.extend(VLAN.to_be_bytes());
        header.extend([0, 7]);
    }
    header.extend(ethertype);
    header.extend(packet);
    Some(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINER: &str = "10.0.0.1:5000";
    const POOL: &str = "192.0.2.1:3333";

    #[test]
    fn numbers_go_on_where_the_side_left_off() {
        let said = [(Speaker::Miner, b"abc".to_vec()), (Speaker::Pool, b"de".to_vec())];
        let packets = conversation(MINER.parse().unwrap(), POOL.parse().unwrap(), &said, true);
        let numbers: Vec<(u8, u32, u32)> = packets
            .iter()
            .map(|packet| {
                let word = |at: usize| u32::from_be_bytes(packet[at..at + 4].try_into().unwrap());
                (packet[33], word(24) & 0x0fff_ffff, word(28) & 0x0fff_ffff)
            })
            .collect();
        let data = PUSH | ACK;
        assert_eq!(
            numbers,
            [
                (SYN, 0, 0),
                (SYN | ACK, 0, 1),
                (ACK, 1, 1),
                (data, 1, 1),
                (data, 1, 4),
                (FIN | ACK, 4, 3),
                (FIN | ACK, 3, 5)
            ]
        );
        assert_eq!(packets[3].len(), 43);
        assert_eq!(packets[3][2..4], [0, 43]);
    }

    #[test]
    fn a_frame_has_the_header_of_its_link() {
        let (four, six) = ([0x45, 1], [0x60, 1]);
        for (what, link_type, is_tagged, packet, expected) in [
            ("Ethernet", 1, false, &four, Some(vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 1])),
            (
                "tagged",
                1,
                true,
                &six,
                Some(vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x81, 0, 0, 7, 0x86, 0xdd, 0x60, 1]),
            ),
            ("raw", 101, false, &six, Some(vec![0x60, 1])),
            ("PPP", 9, false, &four, Some(vec![0xff, 3, 0, 0x21, 0x45, 1])),
            ("no tag without Ethernet", 101, true, &four, None),
            ("another link", 105, false, &four, None),
        ] {
            assert_eq!(framed(link_type, is_tagged, packet), expected, "{what}");
        }
    }
}
