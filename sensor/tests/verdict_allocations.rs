//! Samples that say nothing cost no memory: once its places are filled, hearing them never asks the
//! allocator, however many connections they come from.

#[path = "../benches/price/scrape/allocations.rs"]
mod allocations;
#[path = "../benches/price/inspect/nobody.rs"]
mod nobody;

use allocations::counted;
use nobody::Nobody;
use sensor::verdict::{Sample, Verdicts, Watching};
use sensor_ebpf::abi::{Address, FlowKey, SampleHeader, SampleKind, TargetSet, Transport, Version};

/// A query for `www.example`, or its answer.
fn message(flags: u8) -> Vec<u8> {
    let header = [0x12, 0x34, flags, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    [&header[..], b"\x03www\x07example\x00\x00\x01\x00\x01"].concat()
}

/// Hears it from either side of a connection of its own.
fn hear(
    verdicts: &mut Verdicts,
    world: &mut Nobody,
    number: u32,
    kind: SampleKind,
    bytes: &[u8],
    sequence: u32,
) {
    let transport = if kind == SampleKind::Dns && sequence == 0 { Transport::Udp } else { Transport::Tcp };
    for direction in [1, 0] {
        let len = u16::try_from(bytes.len()).expect("a sample");
        let header = SampleHeader {
            at_ns: u64::from(number) * 1000,
            key: FlowKey {
                remote: Address::v4(number.to_be()),
                local: Address::v4(1),
                remote_port: 3333,
                local_port: 40_000,
                transport: transport as u8,
                version: Version::V4 as u8,
                reserved: 0,
            },
            targets: TargetSet::EMPTY,
            sequence,
            payload: u32::from(len),
            captured: len,
            kind: kind as u8,
            direction,
            interface: 0,
        };
        let watching = Watching::default();
        verdicts
            .hear(&Sample { header, payload: bytes }, &watching, world, &mut |finding| panic!("{finding:?}"));
    }
}

#[test]
fn samples_that_say_nothing_ask_for_no_memory_in_the_steady_state() {
    const WARM_UP: u32 = 40_000;
    const MEASURED: u32 = 20_000;
    let (query, answer) = (message(1), message(0x81));
    let sized = [&[0, 29][..], &query].concat();
    let hello = [&b"\x16\x03\x01\x00\x30\x01\x00\x00\x2c\x03\x03"[..], &[9; 20]].concat();
    for (what, kind, texts) in [
        (
            "calls of other services",
            SampleKind::Json,
            vec![&b"{\"id\":1,\"method\":\"server.version\"}\n"[..]],
        ),
        ("calls in two segments", SampleKind::Json, vec![b"{\"id\":1,\"method\":", b"\"server.version\"}\n"]),
        ("calls that never end", SampleKind::Json, vec![b"{\"id\":1,\"method\":"]),
        ("calls out of order", SampleKind::Json, vec![b"{\"id\":1,\"method\":", b"", b"{\"id\":2,"]),
        ("requests", SampleKind::Http, vec![b"GET / HTTP/1.1\r\nHost: www.example\r\n\r\n"]),
        ("requests that never end", SampleKind::Http, vec![b"POST / HTTP/1.1\r\nHost: www.example\r\n"]),
        ("hellos that are cut", SampleKind::Tls, vec![&hello[..20], &hello[20..]]),
        ("queries and answers", SampleKind::Dns, vec![&query, &answer]),
        ("queries over TCP", SampleKind::Dns, vec![&sized[..9], &sized[9..]]),
    ] {
        let (mut verdicts, mut world) = (Verdicts::new(true), Nobody::new());
        let mut hear_all = |number| {
            let mut sequence = u32::from(kind != SampleKind::Dns || texts[0].len() == 9);
            for text in &texts {
                hear(&mut verdicts, &mut world, number, kind, text, sequence);
                sequence += if sequence > 0 { u32::try_from(text.len()).expect("a sample") } else { 0 };
            }
        };
        (0..WARM_UP).for_each(&mut hear_all);
        let ((), asked) = counted(|| (WARM_UP..WARM_UP + MEASURED).for_each(&mut hear_all));
        assert_eq!(asked, 0, "{what}");
    }
}
