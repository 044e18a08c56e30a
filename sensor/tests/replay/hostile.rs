//! Whatever a file holds, reading it comes to an end without a panic, and what is said of it is
//! no more than can be in it.

use std::path::PathBuf;

use proptest::collection::vec;
use proptest::prelude::*;
use sensor::cli::Format;
use sensor::commands::replay::replay_files;
use sensor::replay::replay;

use super::captures::{ETHERNET, LINUX_SLL, Order, Pcap, Pcapng, RAW, SECOND_NS, START, START_NS};
use super::packets::{connection, icmp, ip, udp};
use super::{CLIENT, SERVER, server_watched};

/// A block or a record has at least this many bytes.
const RECORD_MIN: usize = 12;

fn sound_captures() -> Vec<Vec<u8>> {
    let mut packets = connection(CLIENT, SERVER, 1);
    packets.push(udp(CLIENT, SERVER).payload(40));
    packets.push(icmp("10.0.0.1", "192.0.2.1"));
    packets.push(udp("[2001:db8::5]:5000", "[2001:db8::1]:3333").payload(3));
    let mut captures = Vec::new();
    for order in [Order::Big, Order::Little] {
        let mut pcap = Pcap::of(order, Pcap::NANOSECONDS, ETHERNET);
        let mut pcapng = Pcapng::new(order)
            .interface_with(ETHERNET, 96, Some(9), Some(1))
            .interface(RAW)
            .interface(LINUX_SLL)
            .block(4, &[0; 8]) // name resolution
            .block(0x8000_0001, &[0; 4]); // process information
        for (packet, second) in packets.iter().zip(0..) {
            let (frame, raw) = (packet.clone().tagged(&[0x8100]).bytes(), ip(packet));
            pcap = pcap.frame(START_NS + second * SECOND_NS, &frame);
            pcapng = pcapng
                .packet(0, START_NS + second, &frame, frame.len())
                .obsolete_packet(1, START * 1_000_000, &raw)
                .simple_packet(&frame, frame.len())
                .packet(2, START * 1_000_000, &raw, raw.len() + 2);
        }
        captures.push(pcap.bytes);
        captures.push(pcapng.section(order).bytes);
    }
    captures
}

/// A byte that becomes another, or is lost, or comes twice.
#[derive(Clone, Debug)]
enum Mutation {
    Set(prop::sample::Index, u8),
    Remove(prop::sample::Index),
    Repeat(prop::sample::Index),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    prop_oneof![
        8 => (any::<prop::sample::Index>(), any::<u8>()).prop_map(|(at, byte)| Mutation::Set(at, byte)),
        1 => any::<prop::sample::Index>().prop_map(Mutation::Remove),
        1 => any::<prop::sample::Index>().prop_map(Mutation::Repeat),
    ]
}

fn mutate(mut capture: Vec<u8>, mutations: &[Mutation]) -> Vec<u8> {
    for mutation in mutations {
        match mutation {
            Mutation::Set(at, byte) => {
                let at = at.index(capture.len());
                capture[at] = *byte;
            }
            Mutation::Remove(at) => {
                capture.remove(at.index(capture.len()));
            }
            Mutation::Repeat(at) => {
                let at = at.index(capture.len());
                capture.insert(at, capture[at]);
            }
        }
    }
    capture
}

/// Reads the capture, and holds what is said against what there is.
fn check(capture: &[u8]) {
    let lists = server_watched();
    let Ok(report) = replay(capture, &lists) else { return };
    let summary = &report.summary;
    assert!(summary.packets <= (capture.len() / RECORD_MIN) as u64);
    assert!(summary.undecoded <= summary.packets);
    assert!(summary.flows_matched <= 2 * summary.packets);
    for flow in &report.flows {
        assert!(flow.packets <= summary.packets, "{flow:?}");
        assert!(flow.first_seen_ns <= flow.last_seen_ns, "{flow:?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_to_an_end(capture in vec(any::<u8>(), 0..400)) {
        check(&capture);
    }

    #[test]
    fn any_bytes_behind_a_sound_header_are_read_to_an_end(
        header in 0..4_usize,
        rest in vec(any::<u8>(), 0..400),
    ) {
        let header = match header {
            0 => Pcap::new(ETHERNET).bytes,
            1 => Pcap::of(Order::Big, Pcap::NANOSECONDS, RAW).bytes,
            2 => Pcapng::new(Order::Little).interface(ETHERNET).bytes,
            _ => Pcapng::new(Order::Big).interface(LINUX_SLL).bytes,
        };
        check(&[header, rest].concat());
    }

    #[test]
    fn any_block_of_a_pcapng_file_is_read_to_an_end(
        kind in prop_oneof![0..12_u32, Just(0x0a0d_0d0a), Just(0x8000_0001), any::<u32>()],
        body in vec(any::<u32>(), 0..30),
    ) {
        let body: Vec<u8> = body.iter().flat_map(|word| word.to_be_bytes()).collect();
        for order in [Order::Big, Order::Little] {
            check(&Pcapng::new(order).interface(RAW).block(kind, &body).bytes);
        }
    }

    #[test]
    fn a_capture_that_was_tampered_with_is_read_to_an_end(
        which in 0..4_usize,
        mutations in vec(mutation(), 1..12),
    ) {
        check(&mutate(sound_captures().swap_remove(which), &mutations));
    }
}

#[test]
fn the_captures_that_are_tampered_with_are_sound() {
    for capture in sound_captures() {
        let lists = server_watched();
        let report = replay(capture.as_slice(), &lists).unwrap();
        assert!(report.error.is_none(), "{:?}", report.error);
        assert_eq!(report.summary.undecoded, 0, "{:?}", report.summary);
        assert!(report.flows.iter().all(|flow| flow.packets > 0));
    }
}

#[test]
fn an_endless_device_is_not_a_capture() {
    let lists = server_watched();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let files = [PathBuf::from("/dev/zero")];
    assert!(!replay_files(&lists, Format::Json, &files, &mut out, &mut err).unwrap());
    assert!(out.is_empty());
}
