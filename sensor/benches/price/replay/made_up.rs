//! Packets of a host as they might be, for when there are no captures: downloads, short requests,
//! datagrams, some of it IPv6 and some of it tagged, many connections at a time.

use super::capture::Packet;
use crate::build::{Frame, from};

/// Connections, each of which goes through all its packets.
const CONNECTIONS: u32 = 5_000;
/// Between two packets.
const STEP_NS: u64 = 20_000;
const VLAN: u16 = 0x8100;

/// In turns: the first packet of each connection, the second of each, and so on.
pub fn packets() -> Vec<Packet> {
    let connections: Vec<Vec<Frame>> = (0..CONNECTIONS).map(connection).collect();
    let longest = connections.iter().map(Vec::len).max().unwrap_or_default();
    let in_turn = (0..longest).flat_map(|turn| connections.iter().filter_map(move |of| of.get(turn)));
    in_turn
        .map(|frame| {
            let bytes = frame.bytes();
            let original_len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            Packet { after_ns: STEP_NS, original_len, bytes }
        })
        .collect()
}

/// Of ten connections four are downloads, three are short requests, and three are datagrams; one
/// of each three is IPv6, one of each seven is tagged.
fn connection(number: u32) -> Vec<Frame> {
    let [_, high, middle, low] = number.to_be_bytes();
    let (local, remote) = if number.is_multiple_of(3) {
        ("2001:db8:1::7".to_owned(), format!("2001:db8:2::{number:x}"))
    } else {
        ("10.0.0.7".to_owned(), format!("203.{high}.{middle}.{low}"))
    };
    let local_port = 20_000 + u16::from_be_bytes([middle, low]) % 40_000;
    let tags: &[u16] = if number.is_multiple_of(7) { &[VLAN] } else { &[] };
    let out = || from(&local, &remote).ports(local_port, 443).tagged(tags);
    let back = || from(&remote, &local).ports(443, local_port).tagged(tags);
    match number % 10 {
        0..4 => exchange(out, back, 20),
        4..7 => exchange(out, back, 2),
        _ => vec![out().payload(60), back().payload(180), out().payload(1_200), back().payload(1_200)],
    }
}

/// A TCP connection: a request, and this many full segments of an answer, every other one
/// acknowledged.
fn exchange(out: impl Fn() -> Frame, back: impl Fn() -> Frame, segments: u32) -> Vec<Frame> {
    const REQUEST: u32 = 300;
    const SEGMENT: u32 = 1_400;
    let mut packets = vec![out().syn(1_000), back().syn_ack(5_000, 1_001), out().ack(1_001, 5_001)];
    packets.push(out().ack(1_001, 5_001).payload(REQUEST as usize));
    let (asked, mut answered) = (1_001 + REQUEST, 5_001);
    for number in 0..segments {
        packets.push(back().ack(answered, asked).payload(SEGMENT as usize));
        answered += SEGMENT;
        if number % 2 == 1 {
            packets.push(out().ack(asked, answered));
        }
    }
    packets.extend([
        out().fin(asked, answered),
        back().fin(answered, asked + 1),
        out().ack(asked + 1, answered + 1),
    ]);
    packets
}
