//! Whoever sends a lot makes nothing grow.

use sensor_ebpf::abi::Direction::{Egress, Ingress};
use sensor_ebpf::abi::{Address, FlowKey, SampleHeader, SampleKind, TargetSet, Transport, Version};

use super::wire::Wire;
use crate::inspect::dns::Rtype;
use crate::inspect::dns::written::Written;
use crate::verdict::{Forgotten, Sample, Verdicts};

const MANY: u32 = 100_000;

fn key(number: u32, port: u16) -> FlowKey {
    FlowKey {
        remote: Address::v4(number.to_be()),
        local: Address::v4(1),
        remote_port: port,
        local_port: 40_000,
        transport: if port == 53 { Transport::Udp } else { Transport::Tcp } as u8,
        version: Version::V4 as u8,
        reserved: 0,
    }
}

fn flooded(kind: SampleKind, port: u16, bytes: &[u8]) -> Verdicts {
    paced(kind, port, bytes, 1)
}

/// With so much time between two connections.
fn paced(kind: SampleKind, port: u16, bytes: &[u8], apart_ns: u64) -> Verdicts {
    let mut wire = Wire::with("[builtin]\nmining = false\n");
    for number in 0..MANY {
        for direction in [Egress, Ingress] {
            let len = bytes.len();
            let header = SampleHeader {
                at_ns: u64::from(number) * apart_ns,
                key: key(number, port),
                targets: TargetSet::EMPTY,
                sequence: 1,
                payload: u32::try_from(len).expect("a sample"),
                captured: u16::try_from(len).expect("a sample"),
                kind: kind as u8,
                direction: direction as u8,
                interface: 0,
            };
            let sample = Sample { header, payload: bytes };
            wire.verdicts.hear(&sample, &wire.watching, &mut wire.host, &mut |_| ());
        }
    }
    wire.verdicts
}

#[test]
fn a_hundred_thousand_connections_and_queries_keep_what_is_remembered_within_its_bounds() {
    let query = Written::query("pool.supportxmr.com", Rtype::A).bytes();
    for (what, kind, port, bytes) in [
        ("lines without an end", SampleKind::Json, 3333, &b"{\"id\":1"[..]),
        ("requests without an end", SampleKind::Http, 80, b"POST / HTTP/1.1\r\nX: 1"),
        ("hellos without an end", SampleKind::Tls, 443, b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03"),
        ("halves of work", SampleKind::Json, 8332, b"{\"method\":\"getwork\",\"params\":[],\"id\":0}\n"),
        ("queries", SampleKind::Dns, 53, &query),
    ] {
        let verdicts = flooded(kind, port, bytes);
        let remembered = verdicts.remembered();
        assert!(remembered.iter().any(|(len, _)| *len > 100), "{what} is remembered: {remembered:?}");
        assert!(remembered.iter().all(|(len, max)| len <= max), "{what}: {remembered:?}");
    }
}

#[test]
fn what_has_to_go_while_it_still_matters_is_counted_and_what_is_over_is_not() {
    let query = Written::query("pool.supportxmr.com", Rtype::A).bytes();
    let flooded = |kind, port, bytes: &[u8]| flooded(kind, port, bytes).forgotten();
    let none = Forgotten::default();
    // Each connection says it from both sides.
    let messages = u64::from(2 * MANY - 1024);
    assert_eq!(flooded(SampleKind::Json, 3333, b"{\"id\":1"), Forgotten { messages, ..none });
    let http = flooded(SampleKind::Http, 80, b"GET / HTTP/1.1\r\n\r\n");
    assert_eq!(http, Forgotten { sessions: u64::from(MANY - 4096), ..none });
    let half = b"{\"method\":\"getwork\",\"params\":[],\"id\":0}\n";
    assert_eq!(flooded(SampleKind::Json, 8332, half), Forgotten { sessions: u64::from(MANY - 4096), ..none });
    assert_eq!(flooded(SampleKind::Dns, 53, &query), Forgotten { queries: u64::from(MANY - 8192), ..none });

    // A hundred connections or queries a second.
    let paced = |kind, port, bytes: &[u8]| paced(kind, port, bytes, 10_000_000).forgotten();
    assert_eq!(paced(SampleKind::Json, 3333, b"{\"id\":1"), none);
    assert_eq!(paced(SampleKind::Http, 80, b"GET / HTTP/1.1\r\n\r\n"), none);
    assert_eq!(paced(SampleKind::Dns, 53, &query), none);
}

#[test]
fn one_connection_that_never_ends_a_line_is_kept_within_its_bounds() {
    let mut wire = Wire::new();
    let mut sequence = 1_u32;
    for _ in 0..MANY {
        let piece = [b'{'; 500];
        let header = SampleHeader {
            at_ns: 1,
            key: key(7, 3333),
            targets: TargetSet::EMPTY,
            sequence,
            payload: 500,
            captured: 500,
            kind: SampleKind::Json as u8,
            direction: 1,
            interface: 0,
        };
        wire.verdicts.hear(&Sample { header, payload: &piece }, &wire.watching, &mut wire.host, &mut |_| ());
        sequence = sequence.wrapping_add(500);
    }
    assert!(wire.verdicts.remembered().iter().all(|(len, max)| len <= max));
}
